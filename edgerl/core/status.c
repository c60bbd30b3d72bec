/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c: what the guardian says about itself (a seqlock, as in mailbox.c) and what the supervisor asks of it
 * (counters: a change is the request, so none is lost and none needs an answer).
 */
#define _GNU_SOURCE
#include "internal.h"

#include <string.h>
#include <time.h>

#define STATUS_READS 200u /* 50 us apart: a guardian that was preempted half-way gets 10 ms to finish */

void erl_status_create(erl_status_block *block) {
    block->magic = ERL_STATUS_MAGIC;
    block->version = ERL_LAYOUT_VERSION;
}

void erl_status_publish(erl_status_block *block, const erl_status *status) {
    erl_write_begin(&block->sequence);
    erl_words_store(block->words, status, ERL_WORDS(erl_status));
    erl_write_end(&block->sequence);
}

uint32_t erl_status_read(const erl_status_block *block, erl_status *out) {
    for (uint32_t i = 0; i < STATUS_READS; i++) {
        uint32_t at = 1u; /* an odd sequence is never read, so this one is always older */
        if (erl_read_once(&block->sequence, &at, out, block->words, ERL_WORDS(erl_status)) == ERL_OK) {
            return ERL_OK;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    memset(out, 0, sizeof *out);
    return ERL_TORN;
}

void erl_requests_create(erl_requests *requests) {
    requests->magic = ERL_REQUESTS_MAGIC;
    requests->version = ERL_LAYOUT_VERSION;
}

uint32_t erl_request(erl_requests *requests, uint32_t kind) {
    if (kind >= ERL_REQUEST_COUNT) {
        return ERL_BAD;
    }
    atomic_fetch_add_explicit(&requests->counters[kind], 1u, memory_order_release);
    return ERL_OK;
}

void erl_request_policies(erl_requests *requests, uint64_t acting, uint64_t candidate) {
    atomic_store_explicit(&requests->candidate, candidate, memory_order_release);
    atomic_store_explicit(&requests->acting, acting, memory_order_release);
}

/* After the process has ended; it is the guardian's to know whether that was the acting one. */
void erl_policy_died(erl_requests *requests, uint64_t policy) {
    const uint32_t slot = erl_policy_slot(policy);
    if (slot < ERL_POLICY_SLOTS) {
        atomic_store_explicit(&requests->died[slot], erl_policy_epoch(policy), memory_order_release);
    }
}

void erl_request_heartbeat(erl_requests *requests) {
    atomic_fetch_add_explicit(&requests->heartbeat, 1u, memory_order_release);
}

void erl_operator_post(erl_requests *requests, const erl_operator *values) {
    erl_write_begin(&requests->operator_sequence);
    erl_words_store(requests->operator_words, values, ERL_WORDS(erl_operator));
    erl_write_end(&requests->operator_sequence);
}
