/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox_scenarios.c: the core's mailboxes, status block and ring, one writer and one reader each, and the operator's
 * values.
 */
#include "scenarios.h"

#include <string.h>

/* The bare protocol: writes of any size look like this one. */

#define WORDS 3u

static _Atomic uint32_t sequence;
static _Atomic uint64_t words[WORDS];

static void bare_reset(void) {
    weak_name(&sequence, sizeof sequence, "sequence");
    weak_name(words, sizeof words, "words");
}

static void bare_write(uint64_t value, size_t count) {
    const uint64_t values[WORDS] = {value, value, value};
    erl_words_store(words, values, count);
}

static void bare_writer(void) {
    for (uint64_t i = 1; i <= POSTS; i++) {
        erl_write_begin(&sequence);
        bare_write(i, WORDS);
        erl_write_end(&sequence);
    }
}

/* Two tries; of_sequence[at / 2] is what the copy must hold. */
static void bare_tries(const uint64_t *of_sequence) {
    uint32_t at = 0;
    for (uint32_t try = 0; try < 2; try++) {
        uint64_t copy[WORDS];
        const uint32_t before = at;
        const uint32_t answer = erl_read_once(&sequence, &at, copy, words, WORDS);
        if (answer != ERL_OK) {
            weak_expect(at == before, "a read that failed counts as done");
            reach(16 + answer);
            continue;
        }
        weak_expect(at % 2 == 0 && at > before, "the sequence went back");
        for (size_t i = 0; i < WORDS; i++) {
            weak_expect(copy[i] == of_sequence[at / 2], "a copy is mixed or stale");
        }
        reach(at / 2);
    }
}

static void bare_reader(void) {
    bare_tries((const uint64_t[]){0, 1, 2, 3});
}

/* Killed anywhere in its second write; the kernel orders its death before its successor's start. */
static void dying_writer(void) {
    erl_write_begin(&sequence);
    bare_write(1, WORDS);
    erl_write_end(&sequence);
    const uint32_t done = weak_choose(WORDS + 2);
    if (done > 0) {
        erl_write_begin(&sequence);
        bare_write(2, done - 1);
    }
    erl_write_begin(&sequence);
    bare_write(3, WORDS);
    erl_write_end(&sequence);
}

static void dying_reader(void) {
    bare_tries((const uint64_t[]){0, 1, 3});
}

/* Guardian to policy. The reader goes on until it has the last one. */

erl_observation_mailbox observation;

void observation_reset(void) {
    memset(&observation, 0, sizeof observation);
    weak_name(&observation, sizeof observation, "observation");
    kernel_reset();
}

static void post_observation(uint64_t i) {
    const uint64_t record = i;
    const erl_observation_header header = {
        .sequence = i, .stamp_ns = i, .deadline_ns = i, .episode = (uint32_t)i, .bytes = sizeof record};
    erl_observation_post(&observation, &header, &record);
}

static void observation_writer(void) {
    post_observation(1);
    post_observation(2);
}

static void observation_reader(void) {
    uint32_t seen = 0;
    uint64_t last = 0;
    while (last < 2) {
        erl_observation_header header;
        uint64_t record = 0;
        const uint32_t answer = erl_observation_wait(&observation, &seen, UINT64_MAX / 2, &header, &record, 8);
        weak_expect(answer == ERL_OK, "an observation is not read whole in a bounded number of tries");
        weak_expect(header.sequence == record && header.stamp_ns == record &&
                        header.deadline_ns == record && header.episode == record && header.bytes == 8,
                    "an observation is mixed");
        weak_expect(record > last && record == seen / 2, "an observation is stale");
        last = record;
        reach((uint32_t)record);
    }
}

/* Policy to guardian, without the answers() of ask.c. */

erl_action_mailbox action;

void action_reset(void) {
    memset(&action, 0, sizeof action);
    weak_name(&action, sizeof action, "action");
    kernel_reset();
}

static void action_writer(void) {
    for (uint32_t i = 1; i <= POSTS; i++) {
        const float values[ERL_MAX_COMMANDS] = {(float)i};
        (void)erl_action_post(&action, i, i, i, values, ERL_MAX_COMMANDS, NULL, 0);
    }
}

static void action_reader(void) {
    uint32_t seen = 0;
    for (uint32_t try = 0; try < 2; try++) {
        erl_action copy;
        const uint32_t before = seen;
        const uint32_t answer = erl_action_take(&action, &seen, &copy);
        if (answer == ERL_OK) {
            weak_expect(seen > before && copy.epoch == seen / 2, "an action is stale");
            weak_expect(copy.sequence == copy.epoch && copy.infer_ns == copy.epoch && copy.count == ERL_MAX_COMMANDS &&
                            copy.values[0] == (float)copy.epoch,
                        "an action is mixed");
            reach((uint32_t)copy.epoch);
        } else {
            reach(16 + answer);
        }
    }
}

/* Driver to guardian, or back. The reader goes on until it has the last one. */

static erl_datagram_mailbox datagrams;

static void datagram_reset(void) {
    memset(&datagrams, 0, sizeof datagrams);
    weak_name(&datagrams, sizeof datagrams, "datagrams");
    kernel_reset();
}

static void datagram_writer(void) {
    for (uint64_t i = 1; i <= 2; i++) {
        const uint64_t content[ERL_MAX_DATAGRAM / 8u] = {i, i};
        weak_expect(erl_datagram_post(&datagrams, content, sizeof content) == ERL_OK, "a datagram is not posted");
    }
}

static void datagram_reader(void) {
    uint32_t seen = 0;
    uint64_t last = 0;
    while (last < 2) {
        uint64_t content[ERL_MAX_DATAGRAM / 8u] = {0, 0};
        const int32_t size = erl_datagram_take(&datagrams, &seen, content, sizeof content, UINT64_MAX / 2);
        weak_expect(size == (int32_t)sizeof content, "a datagram is not read whole in a bounded number of looks");
        weak_expect(content[1] == content[0], "a datagram is mixed");
        weak_expect(content[0] > last && content[0] == seen / 2, "a datagram is stale");
        last = content[0];
        reach((uint32_t)last);
    }
}

/* Guardian to supervisor: status and ring. */

erl_status_block status;

void status_reset(void) {
    memset(&status, 0, sizeof status);
    weak_name(&status, sizeof status, "status");
}

static void status_writer(void) {
    for (uint32_t i = 1; i <= POSTS; i++) {
        const erl_status now = {.phase = i, .start_fault = i, .pid = (int32_t)i, .priority_errno = (int32_t)i};
        erl_status_publish(&status, &now);
    }
}

static void status_reader(void) {
    erl_status copy;
    const uint32_t answer = erl_status_read(&status, &copy);
    if (answer == ERL_OK) {
        weak_expect(copy.start_fault == copy.phase && copy.pid == (int32_t)copy.phase &&
                        copy.priority_errno == (int32_t)copy.phase,
                    "a status is mixed");
    }
    reach(answer == ERL_OK ? copy.phase : 16 + answer);
}

#define CAPACITY 2u
#define RECORDS 5u

static const erl_config ring_config = {.state_count = 2, .command_count = 2, .ring_capacity = CAPACITY};
static _Alignas(64) char ring_memory[sizeof(erl_ring) + CAPACITY * 64];
#define RING ((erl_ring *)ring_memory)

static void ring_reset(void) {
    memset(ring_memory, 0, sizeof ring_memory);
    erl_ring_create(RING, &ring_config);
    weak_name(ring_memory, sizeof ring_memory, "ring");
}

static void ring_writer(void) {
    for (uint64_t i = 0; i < RECORDS; i++) {
        const uint64_t record[2] = {i, i};
        erl_ring_append(RING, &ring_config, record);
    }
}

/* As the supervisor drains it. */
static void ring_reader(void) {
    uint64_t next = 0;
    for (uint32_t try = 0; try < 3; try++) {
        uint64_t copy[2];
        const uint32_t answer = erl_ring_read(RING, next, copy, sizeof copy);
        if (answer == ERL_OK) {
            weak_expect(copy[0] == next && copy[1] == next, "a record is mixed, or another one");
            reach((uint32_t)next);
            next++;
        } else if (answer == ERL_LOST) {
            const uint64_t oldest = erl_ring_head(RING) - CAPACITY + 1;
            next = oldest > next ? oldest : next + 1;
        }
        if (answer != ERL_OK) {
            reach(16 + answer);
        }
    }
}

/* Supervisor to guardian: the operator's values. */

static erl_requests requests;

static void operator_reset(void) {
    memset(&requests, 0, sizeof requests);
    weak_name(&requests, sizeof requests, "requests");
}

static void operator_writer(void) {
    for (uint32_t i = 1; i <= POSTS; i++) {
        const erl_operator values = {.stamp_ns = i, .dead_man = i, .count = i, .values = {(float)i, (float)i}};
        erl_operator_post(&requests, &values);
    }
}

static void operator_reader(void) {
    uint32_t at = 0;
    for (uint32_t try = 0; try < 2; try++) {
        erl_operator copy;
        const uint32_t before = at;
        const uint32_t answer = erl_read_once(&requests.operator_sequence, &at, &copy, requests.operator_words,
                                              ERL_WORDS(erl_operator));
        if (answer == ERL_OK) {
            weak_expect(at > before && copy.stamp_ns == at / 2, "the operator's values are stale");
            weak_expect(copy.dead_man == copy.stamp_ns && copy.count == copy.stamp_ns &&
                            copy.values[0] == (float)copy.stamp_ns && copy.values[1] == (float)copy.stamp_ns,
                        "the operator's values are mixed");
            reach((uint32_t)copy.stamp_ns);
        } else {
            reach(16 + answer);
        }
    }
}

const checked MAILBOX_SCENARIOS[] = {
    {{"bare", bare_reset, {bare_writer, bare_reader}, nobody_sleeps}, READS | OUTCOME(1) | OUTCOME(2) | OUTCOME(3)},
    {{"successor", bare_reset, {dying_writer, dying_reader}, nobody_sleeps}, READS | OUTCOME(1) | OUTCOME(2)},
    {{"observation", observation_reset, {observation_writer, observation_reader}, nobody_sleeps},
     OUTCOME(1) | OUTCOME(2)},
    {{"action", action_reset, {action_writer, action_reader}, nobody_sleeps},
     READS | OUTCOME(1) | OUTCOME(2) | OUTCOME(3)},
    {{"datagram", datagram_reset, {datagram_writer, datagram_reader}, nobody_sleeps}, OUTCOME(1) | OUTCOME(2)},
    {{"status", status_reset, {status_writer, status_reader}, nobody_sleeps},
     ANSWER(ERL_TORN) | OUTCOME(0) | OUTCOME(1) | OUTCOME(2) | OUTCOME(3)},
    {{"ring", ring_reset, {ring_writer, ring_reader}, nobody_sleeps},
     ANSWER(ERL_EMPTY) | ANSWER(ERL_LOST) | OUTCOME(0) | OUTCOME(1) | OUTCOME(2) | OUTCOME(3) | OUTCOME(4)},
    {{"operator", operator_reset, {operator_writer, operator_reader}, nobody_sleeps},
     READS | OUTCOME(1) | OUTCOME(2) | OUTCOME(3)},
    {.outcomes = 0},
};
