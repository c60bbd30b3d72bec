/* SPDX-License-Identifier: Apache-2.0
 *
 * operator.c: what a person wants, as the supervisor last wrote it: values for the observation, and the dead-man
 * switch. They are copied out and looked at afterwards; what makes no sense was not said. Values are brought to their
 * limits, and those that are too old are replaced by the configured ones.
 *
 * It asks for nothing and waits for nobody: the operator's silence is an event like any other.
 */
#include "internal.h"

#include <math.h>

/* A stamp from the future would never grow old. */
static bool sensible(const erl_loop *loop, const erl_operator *said) {
    bool finite = true;
    for (uint32_t i = 0; i < loop->config.operator_count; i++) {
        finite = finite && isfinite(said->values[i]);
    }
    return finite && said->count == loop->config.operator_count && said->dead_man <= 1 && said->stamp_ns != 0 &&
           said->stamp_ns <= loop->tick.start_ns;
}

/* One read a tick: a writer that overtakes it, or died half-way, says nothing new; what it said before grows old. */
static void listen(erl_loop *loop) {
    const erl_requests *requests = loop->segments.requests;
    erl_operator said;
    const uint32_t answer = erl_read_once(&requests->operator_sequence, &loop->operator_seen, &said,
                                          requests->operator_words, ERL_WORDS(erl_operator));
    if (answer == ERL_OK && sensible(loop, &said)) {
        loop->operator_said = said;
    }
}

static float limited(const erl_operator_channel *channel, float value) {
    const float raised = value < channel->low ? channel->low : value;
    return raised > channel->high ? channel->high : raised;
}

/* Before this tick's observation: loop->operators, the dead-man switch, and the event bits. */
uint32_t erl_loop_operator(erl_loop *loop) {
    const erl_config *config = &loop->config;
    loop->dead_man_held = true;
    if (config->operator_count == 0 && config->dead_man == 0) {
        return 0;
    }
    listen(loop);
    const erl_operator *said = &loop->operator_said;
    const bool fresh = said->stamp_ns != 0 && loop->tick.start_ns - said->stamp_ns <= config->operator_timeout_ns;
    for (uint32_t i = 0; i < config->operator_count; i++) {
        const erl_operator_channel *channel = &config->operators[i];
        loop->operators[i] = fresh ? limited(channel, said->values[i]) : channel->timeout_value;
    }
    loop->dead_man_held = config->dead_man == 0 || (fresh && said->dead_man == 1);
    loop->tick.operator_stamp_ns = fresh ? said->stamp_ns : 0;
    loop->status.operator_lost += !fresh;
    const bool driving = loop->mode == ERL_MODE_ACTIVE || loop->mode == ERL_MODE_PREPARE;
    return (fresh ? 0u : 1u << ERL_EVENT_OPERATOR_LOST) |
           (loop->dead_man_held || !driving ? 0u : 1u << ERL_EVENT_DEAD_MAN);
}
