/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox.c: one writer hands its newest value to readers in other processes, without a lock (a seqlock). The reader
 * copies out first and looks at the copy only; a writer that dies or stops half-way costs it a bounded number of reads.
 * No end of a mailbox ever waits for the other, except where its name says `wait`.
 *
 * Order: every data word is stored with release and loaded with acquire. If a reader's load sees a word of write k,
 * the odd sequence that opened write k happened before it, so the second load of the sequence differs from the first
 * and the copy is thrown away. This needs no fence, which ThreadSanitizer could not follow.
 */
#include "internal.h"

#include <string.h>

void erl_words_store(_Atomic uint64_t *to, const void *from, size_t words) {
    const unsigned char *bytes = from;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, bytes + 8 * i, 8);
        atomic_store_explicit(&to[i], word, memory_order_release);
    }
}

void erl_words_load(void *to, const _Atomic uint64_t *from, size_t words) {
    unsigned char *bytes = to;
    for (size_t i = 0; i < words; i++) {
        const uint64_t word = atomic_load_explicit(&from[i], memory_order_acquire);
        memcpy(bytes + 8 * i, &word, 8);
    }
}

void erl_write_begin(_Atomic uint32_t *sequence) {
    /* "Or" instead of "plus": a writer killed half-way left the sequence odd, and its successor begins here too. */
    atomic_store_explicit(sequence, atomic_load_explicit(sequence, memory_order_relaxed) | 1u, memory_order_relaxed);
}

void erl_write_end(_Atomic uint32_t *sequence) {
    atomic_store_explicit(sequence, atomic_load_explicit(sequence, memory_order_relaxed) + 1u, memory_order_release);
}

/* One try: OK, EMPTY (nothing newer than *at) or TORN. Advances *at when OK. */
uint32_t erl_read_once(const _Atomic uint32_t *sequence, uint32_t *at, void *to, const _Atomic uint64_t *from,
                       size_t words) {
    const uint32_t before = atomic_load_explicit(sequence, memory_order_acquire);
    if (before == *at) {
        return ERL_EMPTY;
    }
    if (before & 1u) {
        return ERL_TORN;
    }
    erl_words_load(to, from, words);
    if (atomic_load_explicit(sequence, memory_order_relaxed) != before) {
        return ERL_TORN;
    }
    *at = before;
    return ERL_OK;
}

void erl_observation_create(erl_observation_mailbox *mailbox) {
    mailbox->magic = ERL_OBSERVATION_MAGIC;
    mailbox->version = ERL_LAYOUT_VERSION;
}

void erl_action_create(erl_action_mailbox *mailbox) {
    mailbox->magic = ERL_ACTION_MAGIC;
    mailbox->version = ERL_LAYOUT_VERSION;
}

void erl_observation_post(erl_observation_mailbox *mailbox, const erl_observation_header *header, const void *record) {
    erl_write_begin(&mailbox->sequence);
    erl_words_store(mailbox->header, header, ERL_WORDS(erl_observation_header));
    erl_words_store(mailbox->record, record, header->bytes / 8u);
    erl_write_end(&mailbox->sequence);
    erl_futex_wake(&mailbox->sequence);
}

static uint32_t observation_read(const erl_observation_mailbox *mailbox, uint32_t *seen,
                                 erl_observation_header *header, void *record, uint32_t bytes) {
    uint32_t at = *seen;
    const uint32_t answer =
        erl_read_once(&mailbox->sequence, &at, header, mailbox->header, ERL_WORDS(erl_observation_header));
    if (answer != ERL_OK) {
        return answer;
    }
    erl_words_load(record, mailbox->record, bytes / 8u);
    if (atomic_load_explicit(&mailbox->sequence, memory_order_relaxed) != at) {
        return ERL_TORN;
    }
    *seen = at;
    return header->bytes == bytes ? ERL_OK : ERL_BAD;
}

uint32_t erl_observation_wait(const erl_observation_mailbox *mailbox, uint32_t *seen, uint64_t timeout_ns,
                              erl_observation_header *header, void *record, uint32_t bytes) {
    if (bytes % 8u != 0 || bytes > ERL_MAX_OBSERVATION_BYTES) {
        return ERL_BAD;
    }
    const uint64_t deadline_ns = erl_clock_now() + timeout_ns;
    for (uint32_t torn = 0; torn < ERL_MAX_READS;) {
        const uint32_t word = atomic_load_explicit(&mailbox->sequence, memory_order_relaxed);
        const uint32_t answer = observation_read(mailbox, seen, header, record, bytes);
        if (answer == ERL_OK || answer == ERL_BAD) {
            return answer;
        }
        /* Asleep also while a write is under way: its end changes the word, and a dead writer costs the time-out. */
        if (answer == ERL_EMPTY || (word & 1u) != 0) {
            const uint32_t slept = erl_futex_wait(&mailbox->sequence, word, deadline_ns);
            if (slept != ERL_OK) {
                return slept;
            }
        } else {
            torn++;
        }
        if (erl_clock_now() >= deadline_ns) {
            return ERL_TIMEOUT;
        }
    }
    return ERL_TORN;
}

uint32_t erl_action_post(erl_action_mailbox *mailbox, uint64_t epoch, uint64_t sequence, uint64_t infer_ns,
                         const float *values, uint32_t count, const float *raw, uint32_t raw_count) {
    if (count > ERL_MAX_COMMANDS || raw_count > ERL_MAX_COMMANDS) {
        return ERL_BAD;
    }
    erl_action action = {.epoch = epoch, .sequence = sequence, .infer_ns = infer_ns, .count = count,
                         .raw_count = raw_count};
    memcpy(action.values, values, count * sizeof(float));
    if (raw_count > 0) {
        memcpy(action.raw, raw, raw_count * sizeof(float));
    }
    erl_write_begin(&mailbox->sequence);
    erl_words_store(mailbox->words, &action, ERL_WORDS(erl_action));
    erl_write_end(&mailbox->sequence);
    erl_futex_wake(&mailbox->sequence);
    return ERL_OK;
}

uint32_t erl_action_take(const erl_action_mailbox *mailbox, uint32_t *seen, erl_action *out) {
    return erl_read_once(&mailbox->sequence, seen, out, mailbox->words, ERL_WORDS(erl_action));
}

/* Before erl_action_ready: whoever has seen the epoch sees the times of its process. */
void erl_action_measured(erl_action_mailbox *mailbox, uint64_t median_ns, uint64_t worst_ns, uint64_t count) {
    atomic_store_explicit(&mailbox->median_ns, median_ns, memory_order_relaxed);
    atomic_store_explicit(&mailbox->worst_ns, worst_ns, memory_order_relaxed);
    atomic_store_explicit(&mailbox->measured, count, memory_order_relaxed);
}

void erl_action_times(const erl_action_mailbox *mailbox, uint64_t *median_ns, uint64_t *worst_ns, uint64_t *count) {
    *median_ns = atomic_load_explicit(&mailbox->median_ns, memory_order_relaxed);
    *worst_ns = atomic_load_explicit(&mailbox->worst_ns, memory_order_relaxed);
    *count = atomic_load_explicit(&mailbox->measured, memory_order_relaxed);
}

void erl_action_ready(erl_action_mailbox *mailbox, uint64_t epoch) {
    atomic_store_explicit(&mailbox->ready_epoch, epoch, memory_order_release);
}

uint64_t erl_action_ready_epoch(const erl_action_mailbox *mailbox) {
    return atomic_load_explicit(&mailbox->ready_epoch, memory_order_acquire);
}
