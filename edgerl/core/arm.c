/* SPDX-License-Identifier: Apache-2.0
 *
 * arm.c: the way into ACTIVE. A wanted ARM first leads over the start pose, where one is configured; then it happens in
 * the tick whose answer comes in time and passes the envelope, or it is given up. Nothing else arms.
 */
#include "internal.h"

static uint32_t blockers_of(const erl_loop *loop, uint32_t events) {
    const bool policy = erl_policies_ready(loop, loop->status.acting);
    uint32_t blockers = 0;
    /* The first action is held against the safe command or the start pose, so one must have been sent. */
    blockers |= loop->tick.observed && erl_source_written(loop) ? 0u : ERL_ARM_NO_STATE;
    blockers |= (events & ERL_STATE_FAULTS) != 0 ? ERL_ARM_STATE_FAULT : 0u;
    blockers |= loop->dead_man_held ? 0u : ERL_ARM_DEAD_MAN;
    blockers |= (events & (1u << ERL_EVENT_ESTOP)) != 0 ? ERL_ARM_ESTOP : 0u;
    blockers |= (events & (1u << ERL_EVENT_DONE)) != 0 ? ERL_ARM_DONE : 0u;
    blockers |= policy && (events & (1u << ERL_EVENT_POLICY_FAULT)) == 0 ? 0u : ERL_ARM_POLICY_NOT_READY;
    return blockers;
}

/* Gives up after arm_ticks states, so that a wish from long ago never comes true by surprise. */
static void not_armed(erl_loop *loop, uint32_t blockers) {
    loop->status.arm_blockers = blockers;
    loop->arm_left -= loop->has_state;
    loop->status.arm_refused += loop->arm_left == 0;
}

static uint32_t missing(uint32_t met) {
    if ((met & (1u << ERL_EVENT_STATE_FAULT)) != 0) {
        return ERL_ARM_STATE_FAULT;
    }
    return (met & (1u << ERL_EVENT_REJECT)) != 0 ? ERL_ARM_REJECTED : ERL_ARM_ACTION_LATE;
}

static uint32_t try_to_arm(erl_loop *loop) {
    const uint32_t met = erl_ask_try(loop);
    if (met != 1u << ERL_EVENT_ARM) {
        not_armed(loop, missing(met));
        return met;
    }
    loop->arm_left = 0;
    loop->status.arm_blockers = 0;
    loop->status.armed++;
    erl_bucket_start(&loop->bucket, loop->config.bucket_limit, loop->config.bucket_window);
    return met;
}

/* One tick of a wanted ARM, in SAFE or PREPARE. */
uint32_t erl_loop_arm(erl_loop *loop, uint32_t events) {
    if (loop->mode == ERL_MODE_PREPARE && !loop->ramp.over) {
        loop->status.arm_blockers = ERL_ARM_PREPARING; /* it may take its time: this does not count as a try */
        return events;
    }
    const bool prepares = loop->mode == ERL_MODE_SAFE && loop->config.prepare_ns != 0;
    uint32_t blockers = blockers_of(loop, events);
    if (blockers == 0 && !prepares) {
        blockers = erl_state_in_start_set(loop) ? 0u : ERL_ARM_OUTSIDE_START;
    }
    if (blockers != 0) {
        not_armed(loop, blockers);
        return events;
    }
    if ((events & ~ERL_ASKED_BESIDE) != 0) {
        return events;
    }
    return events | (prepares ? 1u << ERL_EVENT_PREPARE : try_to_arm(loop));
}
