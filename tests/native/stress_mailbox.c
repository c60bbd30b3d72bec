/* SPDX-License-Identifier: Apache-2.0
 *
 * stress_mailbox.c: one thread writes as fast as it can, another reads; every copy that the reader is told is good must
 * be whole. Runs under ThreadSanitizer, which also reports any access that is not atomic. Argument: seconds per stage.
 * Prints how many good and torn reads each stage saw; exit code 1 if one was mixed.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static erl_action_mailbox action_mailbox;
static erl_observation_mailbox observation_mailbox;
static erl_status_block status_block;
static erl_config config = {.state_count = 40, .command_count = 20, .ring_capacity = 8};
static erl_ring *ring;
static atomic_bool stop;

typedef struct stage {
    const char *name;
    void (*write)(uint64_t i);
    uint32_t (*read)(bool *whole);
} stage;

static bool all_equal(const uint64_t *words, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (words[i] != words[0]) {
            return false;
        }
    }
    return true;
}

static void write_action(uint64_t i) {
    float values[ERL_MAX_COMMANDS];
    for (size_t c = 0; c < ERL_MAX_COMMANDS; c++) {
        values[c] = (float)(i % 1000);
    }
    erl_action_post(&action_mailbox, i, i, i, values, ERL_MAX_COMMANDS, values, ERL_MAX_COMMANDS);
}

static uint32_t read_action(bool *whole) {
    static uint32_t seen;
    erl_action action;
    const uint32_t answer = erl_action_take(&action_mailbox, &seen, &action);
    *whole = true;
    if (answer == ERL_OK) {
        *whole = action.epoch == action.sequence && action.epoch == action.infer_ns;
        for (size_t c = 0; c < ERL_MAX_COMMANDS; c++) {
            *whole = *whole && action.values[c] == (float)(action.epoch % 1000);
        }
    }
    return answer;
}

static void write_observation(uint64_t i) {
    uint64_t record[64];
    for (size_t w = 0; w < 64; w++) {
        record[w] = i;
    }
    const erl_observation_header header = {.sequence = i, .stamp_ns = i, .deadline_ns = i, .bytes = 512};
    erl_observation_post(&observation_mailbox, &header, record);
}

static uint32_t read_observation(bool *whole) {
    static uint32_t seen;
    erl_observation_header header;
    uint64_t record[64];
    const uint32_t answer = erl_observation_wait(&observation_mailbox, &seen, 1000000, &header, record, 512);
    *whole = answer != ERL_BAD;
    if (answer == ERL_OK) {
        *whole = all_equal(record, 64) && record[0] == header.sequence && header.sequence == header.deadline_ns;
    }
    return answer;
}

static void write_status(uint64_t i) {
    erl_status status;
    uint64_t words[sizeof status / 8];
    for (size_t w = 0; w < sizeof words / 8; w++) {
        words[w] = i;
    }
    memcpy(&status, words, sizeof status);
    erl_status_publish(&status_block, &status);
}

static uint32_t read_status(bool *whole) {
    erl_status status;
    uint64_t words[sizeof status / 8];
    const uint32_t answer = erl_status_read(&status_block, &status);
    memcpy(words, &status, sizeof words);
    *whole = answer != ERL_OK || all_equal(words, sizeof words / 8);
    return answer;
}

static void write_ring(uint64_t i) {
    uint64_t words[128];
    for (size_t w = 0; w < 128; w++) {
        words[w] = i;
    }
    erl_ring_append(ring, &config, words);
}

static uint32_t read_ring(bool *whole) {
    static uint64_t next;
    uint64_t words[128];
    const uint64_t index = next;
    const uint32_t answer = erl_ring_read(ring, index, words, sizeof words);
    *whole = answer != ERL_OK || (words[0] == index && all_equal(words, ring->record_bytes / 8));
    if (answer == ERL_OK) {
        next++;
    } else if (answer == ERL_LOST) {
        const uint64_t head = erl_ring_head(ring);
        next = head > 1 ? head - 2 : head;
    }
    return answer;
}

static erl_datagram_mailbox datagram_mailbox;

static void write_datagram(uint64_t i) {
    uint64_t words[ERL_MAX_DATAGRAM / 8];
    for (size_t w = 0; w < sizeof words / 8; w++) {
        words[w] = i;
    }
    erl_datagram_post(&datagram_mailbox, words, (uint32_t)(8 * (1 + i % (sizeof words / 8))));
}

static uint32_t read_datagram(bool *whole) {
    static uint32_t seen;
    uint64_t words[ERL_MAX_DATAGRAM / 8];
    const int32_t size = erl_datagram_take(&datagram_mailbox, &seen, words, sizeof words, erl_clock_now() + 1000000);
    const size_t count = (size_t)size / 8;
    *whole = size == 0 || (size % 8 == 0 && count == 1 + words[0] % (sizeof words / 8) && all_equal(words, count));
    return size > 0 ? ERL_OK : ERL_TIMEOUT;
}

#define FRAME_WORDS 32u
#define FRAME_BYTES (8u * FRAME_WORDS - 3u) /* so that the last word is not whole */

static erl_frame_mailbox *frames;

static void write_frame(uint64_t i) {
    uint64_t words[FRAME_WORDS];
    for (size_t w = 0; w < FRAME_WORDS; w++) {
        words[w] = i;
    }
    const erl_frame frame = {.sequence = i + 1, .stamp_ns = i, .state_stamp_ns = i};
    (void)erl_frame_post(frames, &frame, words, FRAME_BYTES);
}

/* Whole, and never an older one than the one before it. */
static uint32_t read_frame(bool *whole) {
    static uint64_t newest;
    erl_frame frame;
    uint64_t words[FRAME_WORDS];
    const uint32_t answer = erl_frame_read(frames, &frame, words, FRAME_BYTES);
    *whole = true;
    if (answer == ERL_OK) {
        words[FRAME_WORDS - 1u] &= UINT64_C(0xffffffffff);
        *whole = all_equal(words, FRAME_WORDS - 1u) && words[FRAME_WORDS - 1u] == (words[0] & UINT64_C(0xffffffffff)) &&
                 frame.stamp_ns == words[0] && frame.state_stamp_ns == words[0] && frame.sequence == words[0] + 1 &&
                 frame.sequence >= newest;
        newest = frame.sequence;
    }
    return answer;
}

static void *write_forever(void *argument) {
    const stage *what = argument;
    for (uint64_t i = 0; !atomic_load(&stop); i++) {
        what->write(i);
    }
    return NULL;
}

static bool run(const stage *what, uint64_t duration_ns) {
    pthread_t writer;
    uint64_t good = 0;
    uint64_t other = 0;
    bool fine = true;
    atomic_store(&stop, false);
    pthread_create(&writer, NULL, write_forever, (void *)(uintptr_t)what);
    const uint64_t end_ns = erl_clock_now() + duration_ns;
    while (fine && erl_clock_now() < end_ns) {
        bool whole = false;
        if (what->read(&whole) == ERL_OK) {
            good++;
        } else {
            other++;
        }
        fine = whole;
    }
    atomic_store(&stop, true);
    pthread_join(writer, NULL);
    printf("%s: %llu good, %llu torn or none, %s\n", what->name, (unsigned long long)good, (unsigned long long)other,
           fine ? "all whole" : "MIXED");
    return fine && good > 0;
}

int main(int count, char **arguments) {
    const uint64_t duration_ns = (uint64_t)(atof(count > 1 ? arguments[1] : "1") * 1e9);
    ring = calloc(1, erl_ring_bytes(&config));
    erl_ring_create(ring, &config);
    frames = calloc(1, erl_frame_segment_bytes(FRAME_BYTES));
    erl_frame_create(frames, FRAME_BYTES);
    const stage stages[] = {
        {"action", write_action, read_action},
        {"observation", write_observation, read_observation},
        {"status", write_status, read_status},
        {"ring", write_ring, read_ring},
        {"datagram", write_datagram, read_datagram},
        {"frame", write_frame, read_frame},
    };
    bool fine = true;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        fine = run(&stages[i], duration_ns) && fine;
    }
    free(ring);
    free(frames);
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
