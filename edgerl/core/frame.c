/* SPDX-License-Identifier: Apache-2.0
 *
 * frame.c: images and other large inputs, from a camera's process to the policy's. The guardian never sees one.
 *
 * A frame mailbox has several buffers, each with the seqlock of mailbox.c. The writer fills them in turn and then says
 * which one is the newest, so it never waits, and a writer that dies or stops half-way leaves the frame before whole.
 * The reader copies out and then validates; it is overtaken only where the writer gets round to its buffer meanwhile.
 * Sizes come from the caller, never from the mailbox.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

#define READS 4u  /* torn copies in a row before a reader gives up: each one costs a whole frame */
#define LOOKS 64u /* frames of other states in a row, in lockstep */

static uint64_t padded(uint64_t bytes) {
    return (bytes + 63u) / 64u * 64u;
}

static uint64_t offset_of(uint32_t number, uint64_t bytes) {
    return sizeof(erl_frame_mailbox) + (number % ERL_FRAME_BUFFERS) * (sizeof(erl_frame_buffer) + padded(bytes));
}

uint64_t erl_frame_segment_bytes(uint64_t frame_bytes) {
    if (frame_bytes == 0 || frame_bytes > ERL_MAX_FRAME_BYTES) {
        return 0;
    }
    return offset_of(ERL_FRAME_BUFFERS - 1u, frame_bytes) + sizeof(erl_frame_buffer) + padded(frame_bytes);
}

void erl_frame_create(erl_frame_mailbox *mailbox, uint64_t frame_bytes) {
    mailbox->magic = ERL_FRAME_MAGIC;
    mailbox->version = ERL_FRAME_VERSION;
    mailbox->frame_bytes = frame_bytes;
    mailbox->buffers = ERL_FRAME_BUFFERS;
}

void erl_frame_admit(erl_frame_mailbox *mailbox, uint64_t epoch) {
    atomic_store_explicit(&mailbox->epoch, epoch, memory_order_relaxed);
}

static void store(erl_frame_buffer *to, const erl_frame *frame, const void *content, uint64_t bytes) {
    const uint64_t whole = bytes / 8u;
    erl_words_store(to->frame, frame, ERL_WORDS(erl_frame));
    erl_words_store(to->words, content, whole);
    if (bytes % 8u != 0) {
        uint64_t rest = 0;
        memcpy(&rest, (const unsigned char *)content + 8u * whole, bytes % 8u);
        erl_words_store(to->words + whole, &rest, 1);
    }
}

uint32_t erl_frame_post(erl_frame_mailbox *mailbox, const erl_frame *frame, const void *content, uint64_t bytes) {
    if (atomic_load_explicit(&mailbox->epoch, memory_order_relaxed) != frame->epoch) {
        return ERL_BAD;
    }
    const uint32_t number = atomic_load_explicit(&mailbox->published, memory_order_relaxed) + 1u;
    erl_frame_buffer *to = (void *)((unsigned char *)mailbox + offset_of(number, bytes));
    erl_write_begin(&to->sequence);
    store(to, frame, content, bytes);
    erl_write_end(&to->sequence);
    atomic_store_explicit(&mailbox->published, number, memory_order_release);
    erl_futex_wake(&mailbox->published);
    return ERL_OK;
}

/* One try; what is in *frame and *to counts only when OK. */
static uint32_t read_newest(const erl_frame_mailbox *mailbox, erl_frame *frame, void *to, uint64_t bytes) {
    const uint32_t number = atomic_load_explicit(&mailbox->published, memory_order_acquire);
    if (number == 0) {
        return ERL_EMPTY;
    }
    const erl_frame_buffer *from = (const void *)((const unsigned char *)mailbox + offset_of(number, bytes));
    const uint64_t whole = bytes / 8u;
    uint32_t at = 0; /* the buffer was written, so its sequence is not that of one that never was */
    if (erl_read_once(&from->sequence, &at, frame, from->frame, ERL_WORDS(erl_frame)) != ERL_OK) {
        return ERL_TORN;
    }
    erl_words_load(to, from->words, whole);
    if (bytes % 8u != 0) {
        uint64_t rest;
        erl_words_load(&rest, from->words + whole, 1);
        memcpy((unsigned char *)to + 8u * whole, &rest, bytes % 8u);
    }
    if (atomic_load_explicit(&from->sequence, memory_order_relaxed) != at) {
        return ERL_TORN;
    }
    /* Whole, but perhaps a later one that is not named yet, in the same buffer: the next read would go back. */
    const uint32_t since = atomic_load_explicit(&mailbox->published, memory_order_relaxed) - number;
    return since < ERL_FRAME_BUFFERS - 1u ? ERL_OK : ERL_TORN;
}

uint32_t erl_frame_read(const erl_frame_mailbox *mailbox, erl_frame *frame, void *to, uint64_t bytes) {
    uint32_t answer = ERL_TORN;
    for (uint32_t reads = 0; reads < READS && answer == ERL_TORN; reads++) {
        answer = read_newest(mailbox, frame, to, bytes);
    }
    return answer;
}

static bool all_finite(const erl_frame_input *input) {
    for (uint64_t at = 0; input->dtype == ERL_FLOAT32 && at < input->bytes; at += sizeof(float)) {
        float value;
        memcpy(&value, (const unsigned char *)input->to + at, sizeof value);
        if (!isfinite(value)) {
            return false;
        }
    }
    return true;
}

static uint32_t read_input(erl_frame_input *input) {
    const uint32_t answer = erl_frame_read(input->mailbox, &input->frame, input->to, input->bytes);
    if (answer == ERL_OK) {
        return ERL_FRAME_TAKEN;
    }
    return answer == ERL_EMPTY ? ERL_FRAME_MISSING : ERL_FRAME_TORN;
}

/* A stamp of the future is as wrong as one of long ago. */
static uint32_t take_fresh(erl_frame_input *input, uint64_t max_age_ns) {
    const uint32_t verdict = read_input(input);
    if (verdict != ERL_FRAME_TAKEN) {
        return verdict;
    }
    const uint64_t now_ns = erl_clock_now();
    input->age_ns = now_ns - input->frame.stamp_ns;
    return input->frame.stamp_ns <= now_ns && input->age_ns <= max_age_ns ? ERL_FRAME_TAKEN : ERL_FRAME_STALE;
}

/* In lockstep time stands still, so age means nothing: the frame must be of the very state that was observed. */
static uint32_t take_of_state(erl_frame_input *input, const erl_observation_header *header) {
    uint32_t verdict = ERL_FRAME_MISSING;
    for (uint32_t looks = 0; looks < LOOKS; looks++) {
        const uint32_t word = atomic_load_explicit(&input->mailbox->published, memory_order_relaxed);
        verdict = read_input(input);
        if (verdict == ERL_FRAME_TAKEN && input->frame.state_stamp_ns == header->stamp_ns) {
            return ERL_FRAME_TAKEN;
        }
        if (erl_clock_now() >= header->deadline_ns) {
            break;
        }
        (void)erl_futex_wait(&input->mailbox->published, word, header->deadline_ns);
    }
    return verdict == ERL_FRAME_TAKEN ? ERL_FRAME_OTHER_STATE : verdict;
}

static void account_for(erl_action_mailbox *account, uint32_t verdict, uint64_t age_ns) {
    _Atomic uint64_t *counter = &account->frames[verdict];
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1u, memory_order_relaxed);
    if (age_ns > atomic_load_explicit(&account->oldest_frame_ns, memory_order_relaxed)) {
        atomic_store_explicit(&account->oldest_frame_ns, age_ns, memory_order_relaxed);
    }
}

uint32_t erl_frames_take(erl_frame_input *inputs, uint32_t count, const erl_observation_header *header,
                         uint64_t max_age_ns, erl_action_mailbox *account) {
    uint32_t verdict = ERL_FRAME_TAKEN;
    uint64_t oldest_ns = 0;
    for (uint32_t i = 0; i < count && verdict == ERL_FRAME_TAKEN; i++) {
        erl_frame_input *input = &inputs[i];
        input->age_ns = 0;
        verdict = header->clock == ERL_CLOCK_LOCKSTEP ? take_of_state(input, header) : take_fresh(input, max_age_ns);
        if (verdict == ERL_FRAME_TAKEN && !all_finite(input)) {
            verdict = ERL_FRAME_NOT_FINITE;
        }
        oldest_ns = input->age_ns > oldest_ns ? input->age_ns : oldest_ns;
    }
    account_for(account, verdict, verdict == ERL_FRAME_TAKEN ? oldest_ns : 0);
    return verdict;
}
