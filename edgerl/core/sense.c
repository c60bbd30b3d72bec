/* SPDX-License-Identifier: Apache-2.0
 *
 * sense.c: the front half of a tick: waits for its time, takes the newest state that arrived, and says what is wrong
 * with it. Clocks: an absolute grid on CLOCK_MONOTONIC (missed points are counted, never replayed); the robot's own,
 * where the arrival of a state is the tick and its stamp the time; or lockstep, where the robot waits for each command.
 *
 * It reads a bounded number of datagrams, takes no state for new that newer ones may wait behind, decides nothing, and
 * never waits longer than state_timeout_ns.
 */
#include "internal.h"

#include <string.h>

#define SLICE_NS UINT64_C(5000000) /* how often a wait for a state looks for an urgent request */
#define STICKY_FLAGS (ERL_STATE_EPISODE_START | ERL_STATE_ESTOP | ERL_STATE_DONE)

typedef enum read_result { READ_NONE, READ_ONE, READ_ERROR } read_result;

static uint64_t now(const erl_loop *loop) {
    return loop->port.now_ns(loop->port.context);
}

/* A flag of a state that was overtaken within the tick is not lost; the rest of an overtaken state is. */
static void accept(erl_loop *loop) {
    const erl_state *incoming = &loop->incoming;
    if (incoming->kind == ERL_KIND_BYE) {
        loop->bye = true;
        loop->status.byes++;
        return;
    }
    if (loop->has_state &&
        (incoming->sequence <= loop->state.sequence || incoming->stamp_ns <= loop->state.stamp_ns)) {
        loop->status.dropped[ERL_DROP_OLD]++;
        return;
    }
    if (loop->has_state) {
        loop->status.states_skipped += incoming->sequence - loop->state.sequence - 1u + loop->tick.observed;
    }
    loop->tick.state_flags = (loop->tick.state_flags & STICKY_FLAGS) | incoming->flags;
    loop->tick.observed = 1;
    loop->has_state = true;
    loop->state = *incoming;
}

static bool may_read(const erl_loop *loop) {
    return loop->drained < ERL_MAX_DRAIN;
}

static read_result read_one(erl_loop *loop, uint64_t deadline_ns) {
    const int32_t size = loop->port.receive(loop->port.context, loop->datagram, sizeof loop->datagram, deadline_ns);
    if (size == 0) {
        return READ_NONE;
    }
    loop->drained++;
    if (size < 0) {
        loop->status.receive_errors++;
        return READ_ERROR;
    }
    const uint32_t cause = erl_wire_parse(loop->datagram, (size_t)size, &loop->config, &loop->incoming);
    if (cause == ERL_DROP_CAUSES) {
        accept(loop);
    } else if (cause < ERL_DROP_CAUSES) {
        loop->status.dropped[cause]++;
    }
    return READ_ONE;
}

/* Past an error too: a refused command of ours must not hide the robot's state behind it. */
static void drain(erl_loop *loop) {
    while (may_read(loop) && read_one(loop, 0) != READ_NONE) {
    }
}

/* Until a state, an urgent request or the time-out. A socket that fails or babbles is left alone for a slice. */
static void wait_for_state(erl_loop *loop) {
    /* Without a supervisor nobody else can end this wait, and the ladder goes on in real time. */
    const bool alone = loop->seen.supervisor_lost;
    const uint64_t deadline_ns = now(loop) + (alone ? loop->config.period_ns : loop->config.state_timeout_ns);
    while (!loop->tick.observed && !erl_loop_request_urgent(loop)) {
        const uint64_t now_ns = now(loop);
        if (now_ns >= deadline_ns) {
            loop->timed_out = true;
            break;
        }
        const uint64_t slice_ns = deadline_ns - now_ns < SLICE_NS ? deadline_ns : now_ns + SLICE_NS;
        if (!may_read(loop) || read_one(loop, slice_ns) == READ_ERROR) {
            loop->port.sleep_until(loop->port.context, slice_ns);
            loop->drained = 0;
        }
    }
    loop->tick.start_ns = now(loop);
    loop->tick.scheduled_ns = loop->tick.start_ns;
    drain(loop);
}

/* The newest grid point that has passed: those between it and the last tick were missed. */
static void wait_for_grid(erl_loop *loop) {
    loop->port.sleep_until(loop->port.context, loop->next_ns);
    const uint64_t start_ns = now(loop);
    const uint64_t late_ns = start_ns > loop->next_ns ? start_ns - loop->next_ns : 0;
    const uint64_t missed = late_ns / loop->config.period_ns;
    loop->late_ns = late_ns;
    loop->tick.missed_periods = missed < UINT32_MAX ? (uint32_t)missed : UINT32_MAX;
    loop->tick.scheduled_ns = loop->next_ns + missed * loop->config.period_ns;
    loop->tick.start_ns = start_ns;
    loop->next_ns = loop->tick.scheduled_ns + loop->config.period_ns;
    loop->status.missed_periods += missed;
    drain(loop);
    while (!loop->tick.observed && may_read(loop) &&
           read_one(loop, loop->tick.scheduled_ns + loop->config.state_grace_ns) == READ_ONE) {
    }
}

/* The robot's flag says which clock rules, where the configuration lets it. */
static void choose_clock(erl_loop *loop) {
    if (!loop->tick.observed) {
        return;
    }
    const bool lockstep = loop->config.allow_lockstep != 0 && (loop->state.flags & ERL_STATE_LOCKSTEP) != 0;
    const uint32_t before = loop->status.clock;
    loop->status.clock = lockstep ? ERL_CLOCK_LOCKSTEP : loop->config.clock;
    const bool grid = loop->status.clock == ERL_CLOCK_GRID;
    if (before == ERL_CLOCK_WAITING && grid) {
        loop->next_ns = loop->tick.start_ns + loop->config.lead_ns;
        wait_for_grid(loop);
    } else if (before == ERL_CLOCK_LOCKSTEP && grid) {
        loop->next_ns = loop->tick.start_ns + loop->config.period_ns + loop->config.lead_ns;
    }
}

/* On the robot's clock: when this state was due, had it taken as long as the one before, and how many of the robot's
 * periods went by without a tick. The states that were passed over are counted as skipped, never caught up with. */
static void compare_with_robot(erl_loop *loop) {
    erl_tick_header *tick = &loop->tick;
    const uint64_t passed_ns = loop->state.stamp_ns - loop->last_tick_ns;
    const uint64_t real_ns = tick->start_ns - loop->last_state_ns;
    const uint64_t period_ns = loop->config.period_ns;
    const uint64_t periods = passed_ns / period_ns + (passed_ns % period_ns >= period_ns - period_ns / 2u);
    const uint64_t missed = periods > 1 ? periods - 1u : 0;
    loop->late_ns = real_ns > passed_ns ? real_ns - passed_ns : 0;
    tick->scheduled_ns = tick->start_ns - loop->late_ns;
    tick->missed_periods = missed < UINT32_MAX ? (uint32_t)missed : UINT32_MAX;
    loop->status.missed_periods += missed;
}

/* A robot may stamp what it likes: no sum of times wraps, and so begins anew. */
static uint64_t later(uint64_t time_ns, uint64_t by_ns) {
    return by_ns < UINT64_MAX - time_ns ? time_ns + by_ns : UINT64_MAX;
}

/* The ladder goes on in real time while the robot's clock stands still, and does not count that time again when the
 * next stamp has caught up with it. */
static void advance_ladder(erl_loop *loop, bool frozen, uint64_t real_ns) {
    if (frozen) {
        loop->ladder_ns = later(loop->ladder_ns, real_ns);
        loop->ahead_ns += real_ns;
        return;
    }
    const uint64_t ahead_ns = loop->ahead_ns < loop->elapsed_ns ? loop->ahead_ns : loop->elapsed_ns;
    loop->ladder_ns = later(loop->ladder_ns, loop->elapsed_ns - ahead_ns);
    loop->ahead_ns = 0;
}

/* How much of the tick's clock went by. Where it is the robot's it stands still without a state, so nothing may move;
 * what counts real time there (the fallback ladder) takes it from CLOCK_MONOTONIC. */
static void advance(erl_loop *loop, uint32_t clock_before) {
    erl_tick_header *tick = &loop->tick;
    const bool by_stamps = loop->status.clock == ERL_CLOCK_LOCKSTEP || loop->status.clock == ERL_CLOCK_ROBOT;
    const bool frozen = by_stamps && !tick->observed;
    const bool anew = loop->status.clock != clock_before; /* times of two clocks have no difference */
    if (tick->observed && loop->status.clock == ERL_CLOCK_ROBOT && clock_before == ERL_CLOCK_ROBOT) {
        compare_with_robot(loop);
    }
    const uint64_t real_ns = tick->start_ns - loop->last_start_ns;
    tick->tick_ns = tick->scheduled_ns;
    if (by_stamps) {
        tick->tick_ns = tick->observed || anew ? loop->state.stamp_ns : loop->last_tick_ns;
    }
    const uint64_t elapsed_ns = anew ? loop->config.period_ns : tick->tick_ns - loop->last_tick_ns;
    erl_envelope_advance(&loop->envelope, elapsed_ns);
    loop->elapsed_ns = elapsed_ns;
    loop->silent_ns = later(loop->silent_ns, elapsed_ns);
    loop->stale_ns = tick->observed ? 0 : later(loop->stale_ns, elapsed_ns);
    advance_ladder(loop, frozen, real_ns);
    loop->last_tick_ns = tick->tick_ns;
    loop->last_start_ns = tick->start_ns;
    loop->last_state_ns = tick->observed || anew ? tick->start_ns : loop->last_state_ns;
    tick->clock = (uint8_t)loop->status.clock;
    const uint64_t from_ns = loop->status.clock == ERL_CLOCK_GRID ? tick->scheduled_ns : tick->start_ns;
    loop->deadline_ns = from_ns + loop->config.budget_ns;
}

static uint32_t judge(erl_loop *loop) {
    const uint32_t flags = loop->tick.state_flags;
    /* On the robot's clock a time-out is a tick without a state; anywhere else there is no tick without one. */
    const bool timed_out = loop->timed_out && loop->status.clock != ERL_CLOCK_ROBOT;
    uint32_t events;
    if (loop->tick.observed) {
        loop->status.states_taken++;
        loop->status.state_sequence = loop->state.sequence;
        loop->status.state_flags = flags;
        events = erl_state_judge(loop);
    } else {
        loop->status.states_lost += loop->has_state;
        events = 1u << ERL_EVENT_STATE_LOST;
    }
    loop->restart = loop->restart || (flags & ERL_STATE_EPISODE_START) != 0;
    loop->tick.state_sequence = loop->state.sequence;
    loop->tick.stamp_ns = loop->state.stamp_ns;
    events |= loop->bye || timed_out ? 1u << ERL_EVENT_STATE_FAULT : 0u;
    events |= (flags & ERL_STATE_ESTOP) != 0 ? 1u << ERL_EVENT_ESTOP : 0u;
    events |= (flags & ERL_STATE_DONE) != 0 ? 1u << ERL_EVENT_DONE : 0u;
    return events;
}

/* As many were read as one tick may read: what waits behind them, or was dropped for want of room, is newer, so that
 * the newest of these is an old one, and is lost. In lockstep the robot waits for the answer to its newest. */
static void disown_old(erl_loop *loop) {
    if (loop->tick.observed && !may_read(loop) && loop->status.clock != ERL_CLOCK_LOCKSTEP) {
        loop->tick.observed = 0;
        loop->status.states_skipped++;
    }
}

uint32_t erl_loop_sense(erl_loop *loop) {
    const uint32_t clock_before = loop->status.clock;
    memset(&loop->tick, 0, sizeof loop->tick);
    loop->drained = 0;
    loop->late_ns = 0;
    loop->timed_out = false;
    loop->bye = false;
    if (clock_before == ERL_CLOCK_GRID) {
        wait_for_grid(loop);
    } else {
        wait_for_state(loop);
    }
    choose_clock(loop);
    disown_old(loop);
    advance(loop, clock_before);
    return judge(loop);
}
