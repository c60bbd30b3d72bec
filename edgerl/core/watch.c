/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c: the loop watches itself: ticks that came a period late, wake-ups that are late too often, and commands that
 * ran out before the next one. What it finds is an event; what happens then is the mode table's.
 */
#include "internal.h"

static bool driving(const erl_loop *loop) {
    return loop->mode == ERL_MODE_ACTIVE || loop->mode == ERL_MODE_PREPARE;
}

/* Counted while there is something to lose, as in the bucket of degraded ticks. */
static bool jitters(erl_loop *loop) {
    if (loop->config.jitter_budget_ns == 0) {
        return false;
    }
    erl_bucket_push(&loop->jitter, loop->late_ns > loop->config.jitter_budget_ns);
    return erl_bucket_full(&loop->jitter);
}

/* The robot counts from the stamp of the state that the last command answered, and that was no later than the tick
 * which took it: when this says so, the robot has already reacted in its own way. Commands that answer one old state
 * again and again run out with it. */
static bool lapsed(const erl_loop *loop) {
    return !erl_source_written(loop);
}

uint32_t erl_loop_watch(erl_loop *loop) {
    uint32_t events = 0;
    if (loop->tick.missed_periods > 0) {
        loop->status.overruns++;
        events = 1u << ERL_EVENT_OVERRUN;
    }
    if (driving(loop)) {
        events |= jitters(loop) ? 1u << ERL_EVENT_JITTER_FAULT : 0u;
        events |= lapsed(loop) ? 1u << ERL_EVENT_LAPSED : 0u;
    }
    loop->status.jitter_level = loop->jitter.level;
    return events;
}
