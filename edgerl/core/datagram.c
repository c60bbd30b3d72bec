/* SPDX-License-Identifier: Apache-2.0
 *
 * datagram.c: a robot port without a network: one datagram in a mailbox of shared memory, replaced by the next one. The
 * protocol is mailbox.c's. A writer that dies, stops or babbles costs its reader the deadline at most, and a bounded
 * number of copies; what is in the copy is judged by wire.c, as if it had come over UDP.
 */
#include "internal.h"

#include <string.h>

#define MAX_LOOKS 16u /* a reader that is overtaken so often has a writer that babbles: nothing came */

typedef struct datagram {
    uint32_t size;
    uint32_t reserved;
    uint8_t bytes[ERL_MAX_DATAGRAM];
} datagram;

_Static_assert(sizeof(datagram) == sizeof(((erl_datagram_mailbox *)0)->words), "the mailbox holds one");

void erl_datagram_create(erl_datagram_mailbox *mailbox) {
    mailbox->magic = ERL_DATAGRAM_MAGIC;
    mailbox->version = ERL_DATAGRAM_VERSION;
}

uint32_t erl_datagram_post(erl_datagram_mailbox *mailbox, const void *bytes, uint32_t size) {
    if (size > ERL_MAX_DATAGRAM) {
        return ERL_BAD;
    }
    datagram copy = {.size = size};
    memcpy(copy.bytes, bytes, size);
    erl_write_begin(&mailbox->sequence);
    erl_words_store(mailbox->words, &copy, 1u + (size + 7u) / 8u);
    erl_write_end(&mailbox->sequence);
    erl_futex_wake(&mailbox->sequence);
    return ERL_OK;
}

/* What recv() would answer; the writer may have claimed any size. */
static int32_t hand_over(const datagram *copy, void *buffer, uint32_t capacity) {
    const uint32_t most = capacity < ERL_MAX_DATAGRAM ? capacity : ERL_MAX_DATAGRAM;
    memcpy(buffer, copy->bytes, copy->size < most ? copy->size : most);
    if (copy->size == 0) {
        return 1; /* not "none": it counts as one that is too short */
    }
    return copy->size <= ERL_MAX_DATAGRAM ? (int32_t)copy->size : (int32_t)ERL_MAX_DATAGRAM + 1;
}

int32_t erl_datagram_take(const erl_datagram_mailbox *mailbox, uint32_t *seen, void *buffer, uint32_t capacity,
                          uint64_t deadline_ns) {
    for (uint32_t looks = 0; looks < MAX_LOOKS; looks++) {
        datagram copy;
        const uint32_t word = atomic_load_explicit(&mailbox->sequence, memory_order_relaxed);
        const uint32_t answer = erl_read_once(&mailbox->sequence, seen, &copy, mailbox->words, ERL_WORDS(datagram));
        if (answer == ERL_OK) {
            return hand_over(&copy, buffer, capacity);
        }
        if (answer == ERL_TORN && (word & 1u) == 0) {
            continue; /* overtaken: there is a newer one already */
        }
        if (erl_clock_now() >= deadline_ns) {
            return 0;
        }
        /* Asleep also while a write is under way: its end changes the word, and a dead writer costs the deadline. */
        (void)erl_futex_wait(&mailbox->sequence, word, deadline_ns);
    }
    return 0;
}
