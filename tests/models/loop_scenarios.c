/* SPDX-License-Identifier: Apache-2.0
 *
 * loop_scenarios.c: parts of the guardian's tick and whoever they talk with: a policy's round trip, the supervisor's
 * requests, and a switch of policies.
 */
#include "scenarios.h"

#include <math.h>
#include <string.h>

/* None of these ticks is one of SAFE. */
uint32_t erl_loop_arm(erl_loop *loop, uint32_t events) {
    (void)loop;
    return events;
}

/* Both directions, through ask.c: the guardian's ticks and a policy that answers what it observed. */

#define TICKS 2u

static erl_loop loop;
static bool may_be_late;
static _Alignas(8) bool late[8];

static uint64_t port_now(void *context) {
    (void)context;
    return late[0] ? 3 : 1;
}

static void port_wait(void *context, const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    (void)context;
    late[0] = may_be_late && loop.tick.tick == 1 && weak_choose(2) == 1;
    if (!late[0]) {
        (void)erl_futex_wait(word, seen, deadline_ns);
    }
}

/* But for what never changes, and for a copy that is written whole before anybody looks at it. */
static void loop_is_private(void) {
    const size_t heard = offsetof(erl_loop, heard) - offsetof(erl_loop, envelope);
    weak_private(&loop.envelope, heard);
    weak_private(&loop.action, sizeof loop - offsetof(erl_loop, action));
}

static void trip_reset(void) {
    observation_reset();
    action_reset();
    memset(&loop, 0, sizeof loop);
    may_be_late = false;
    late[0] = false;
    loop_is_private();
    weak_private(late, sizeof late);
    loop.config.command_count = ERL_MAX_COMMANDS;
    loop.config.action_count = ERL_MAX_COMMANDS;
    loop.config.policy_divider = 1;
    loop.config.observation_bytes = 8;
    for (uint32_t i = 0; i < ERL_MAX_COMMANDS; i++) {
        loop.config.commands[i] =
            (erl_command_channel){.low = -9, .high = 9, .max_rate = INFINITY, .max_acceleration = INFINITY,
                                  .action = (int32_t)i};
    }
    loop.segments.observation = &observation;
    loop.segments.actions[0] = &action;
    loop.segments.status = &status;
    loop.port.now_ns = port_now;
    loop.port.wait_word = port_wait;
    loop.mode = ERL_MODE_ACTIVE;
    loop.deadline_ns = 2;
    loop.status.acting = (uint64_t)EPOCH << 8;
    erl_envelope_start(&loop.envelope, loop.config.commands, ERL_MAX_COMMANDS);
}

static void late_trip_reset(void) {
    trip_reset();
    may_be_late = true;
}

static void trip_guardian(void) {
    for (uint64_t tick = 1; tick <= TICKS; tick++) {
        memset(&loop.tick, 0, sizeof loop.tick);
        loop.tick.tick = tick;
        loop.tick.observed = 1;
        memcpy(loop.observation, &tick, sizeof tick); /* no term is configured: the assembler leaves it as it is */
        late[0] = may_be_late && tick == 1 && weak_choose(2) == 1;
        const uint32_t events = erl_loop_ask(&loop, 0);
        if (events != 0) {
            weak_expect(may_be_late && events == 1u << ERL_EVENT_ACTION_LATE, "a tick without an action");
            reach(16);
            continue;
        }
        weak_expect(loop.judged[0] == (float)tick,
                    "the command answers another observation, or is mixed");
        reach((uint32_t)tick);
    }
}

static void trip_policy(void) {
    uint32_t seen = 0;
    uint64_t record = 0;
    while (record < TICKS) {
        erl_observation_header header;
        const uint32_t answer = erl_observation_wait(&observation, &seen, UINT64_MAX / 2, &header, &record, 8);
        weak_expect(answer == ERL_OK, "an observation is not read whole in a bounded number of tries");
        const float values[ERL_MAX_COMMANDS] = {(float)record};
        (void)erl_action_post(&action, EPOCH, header.sequence, 0, values, ERL_MAX_COMMANDS, NULL, 0);
    }
}

/* Supervisor to guardian. */

#define PREVIOUS ((uint64_t)(EPOCH - 1u) << 8)

static erl_requests requests;

static void requests_reset(void) {
    memset(&requests, 0, sizeof requests);
    memset(&loop, 0, sizeof loop);
    weak_name(&requests, sizeof requests, "requests");
    requests.acting = PREVIOUS;
    may_be_late = false;
    late[0] = false;
    loop_is_private();
    loop.segments.requests = &requests;
    loop.port.now_ns = port_now;
    loop.config.arm_ticks = 1;
}

static void requests_writer(void) {
    erl_request_policies(&requests, (uint64_t)EPOCH << 8, 0);
    (void)erl_request(&requests, ERL_REQUEST_ARM);
    erl_policy_died(&requests, (uint64_t)EPOCH << 8);
    erl_request_policies(&requests, 0, 0);
}

static void requests_reader(void) {
    bool armed = false;
    for (uint32_t poll = 0; poll < 2; poll++) {
        loop.arm_left = 0;
        const uint32_t events = erl_loop_poll_requests(&loop);
        if (loop.arm_left != 0) {
            weak_expect(!armed, "one request counts twice");
            armed = true;
            reach(1);
        }
        weak_expect(!armed || loop.status.acting != PREVIOUS, "armed before the policy is known");
        if ((events & 1u << ERL_EVENT_POLICY_FAULT) != 0) {
            weak_expect(loop.status.acting == 0, "the dead policy's epoch still counts");
            reach(2);
        }
    }
}

/* The same, while the guardian exchanges the policies and the supervisor follows it. */

#define ACTING ((uint64_t)EPOCH << 8)
#define CANDIDATE ((uint64_t)(EPOCH + 1u) << 8 | 1u)

static void switch_reset(void) {
    requests_reset();
    action_reset();
    status_reset();
    action.ready_epoch = EPOCH + 1u;
    loop.config.arm_ticks = 3;
    loop.segments.actions[1] = &action;
}

static void switch_supervisor(void) {
    erl_request_policies(&requests, ACTING, CANDIDATE);
    (void)erl_request(&requests, ERL_REQUEST_SWITCH);
    for (uint32_t look = 0; look < 2; look++) {
        erl_status now;
        if (erl_status_read(&status, &now) == ERL_OK && now.phase == EPOCH + 1u) {
            erl_request_policies(&requests, CANDIDATE, 0);
            reach(1);
            return;
        }
    }
}

static void switch_guardian(void) {
    bool switched = false;
    for (uint32_t tick = 0; tick < 3; tick++) {
        (void)erl_loop_poll_requests(&loop);
        weak_expect(loop.status.switch_refused == 0, "a switch is wanted before the candidate is known");
        weak_expect(!switched || loop.status.acting == CANDIDATE, "a switch is taken back");
        weak_expect(loop.status.candidate != loop.status.acting || loop.status.acting == 0, "one policy has two roles");
        if (erl_switch_idle(&loop)) {
            weak_expect(!switched, "one wish switches twice");
            switched = true;
            reach(2);
        }
        const erl_status now = {.phase = (uint32_t)erl_policy_epoch(loop.status.acting)};
        erl_status_publish(&status, &now);
    }
}

const checked LOOP_SCENARIOS[] = {
    {{"round-trip", trip_reset, {trip_guardian, trip_policy}, nobody_sleeps}, OUTCOME(1) | OUTCOME(2)},
    {{"late-round-trip", late_trip_reset, {trip_guardian, trip_policy}, nobody_sleeps},
     OUTCOME(1) | OUTCOME(2) | OUTCOME(16)},
    {{"requests", requests_reset, {requests_writer, requests_reader}, nobody_sleeps}, OUTCOME(1) | OUTCOME(2)},
    {{"switch", switch_reset, {switch_supervisor, switch_guardian}, nobody_sleeps}, OUTCOME(1) | OUTCOME(2)},
    {.outcomes = 0},
};
