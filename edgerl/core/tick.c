/* SPDX-License-Identifier: Apache-2.0
 *
 * tick.c: one pass of the loop: sense, ask, decide, write, record. The decision is the mode table's alone.
 *
 * Nothing here or below allocates, locks, logs, forks, opens or exits; what goes wrong becomes an event bit, a counter
 * or an errno in the status.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

#define DEGRADED                                                                                                       \
    ((1u << ERL_EVENT_ACTION_LATE) | (1u << ERL_EVENT_STATE_LOST) | (1u << ERL_EVENT_REJECT) |                         \
     (1u << ERL_EVENT_OVERRUN))

/* Only an ACTIVE tick can degrade: before, there is nothing to lose, and after, it is lost already. */
static uint32_t count_degraded(erl_loop *loop, uint32_t events) {
    if (loop->mode != ERL_MODE_ACTIVE) {
        return events;
    }
    erl_bucket_push(&loop->bucket, (events & DEGRADED) != 0);
    return erl_bucket_full(&loop->bucket) ? events | 1u << ERL_EVENT_BUCKET_FAULT : events;
}

static uint32_t meet(erl_loop *loop) {
    uint32_t events = erl_loop_sense(loop);
    loop->tick.tick = loop->status.ticks;
    if (!erl_source_written(loop)) {
        erl_source_seed(loop);
    }
    events |= erl_loop_poll_requests(loop);
    events |= erl_loop_operator(loop);
    events |= erl_loop_watch(loop);
    if (loop->mode == ERL_MODE_FALLBACK && loop->ladder_ns >= erl_ladder_ns(&loop->config.ladders[loop->ladder])) {
        events |= 1u << ERL_EVENT_LADDER_END;
    }
    return count_degraded(loop, erl_loop_ask(loop, events));
}

/* A fault begins its ladder. One of the state, met on another ladder, leads onto the state's, once: there is no way
 * back, so that the time on ladders ends. */
static void choose_ladder(erl_loop *loop, uint32_t event, uint32_t events) {
    const uint32_t ladder = erl_modes_ladder(event, events);
    if (loop->mode != ERL_MODE_FALLBACK || (ladder == ERL_LADDER_STATE && loop->ladder != ERL_LADDER_STATE)) {
        loop->ladder = ladder;
        loop->ladder_ns = 0;
    }
}

/* What a change of mode needs before the first command in the new one. */
static void prepare_change(erl_loop *loop, uint32_t next) {
    if (next == ERL_MODE_PREPARE && loop->mode != ERL_MODE_PREPARE) {
        erl_source_seed(loop);
        erl_ramp_start(loop);
    } else if (loop->mode == ERL_MODE_STOPPED && next != ERL_MODE_STOPPED) {
        erl_source_seed(loop);
    }
}

/* Before the first state there is nothing to answer, so nothing is sent. */
static uint32_t choose_source(const erl_loop *loop, uint32_t named) {
    if (!loop->has_state) {
        return ERL_SOURCE_LAPSE;
    }
    return erl_modes_resolve(named, loop->config.on_reject, loop->has_written, &loop->config.ladders[loop->ladder],
                             loop->ladder_ns);
}

static bool send_command(erl_loop *loop, uint32_t source, uint32_t mode) {
    const erl_command command = {
        .sequence = loop->command_sequence + 1u,
        .stamp_ns = loop->port.now_ns(loop->port.context),
        .state_sequence = loop->state.sequence,
        .state_stamp_ns = loop->state.stamp_ns,
        .valid_for_ns = loop->config.valid_for_ns,
        .mode = (uint8_t)mode,
        .source = (uint8_t)source,
        .count = (uint16_t)loop->config.command_count,
        .values = loop->command,
    };
    const uint32_t bytes = erl_wire_command(&command, &loop->config, loop->datagram);
    if (loop->port.send(loop->port.context, loop->datagram, bytes) != 0) {
        loop->status.send_errors++;
        return false;
    }
    loop->command_sequence++;
    loop->status.commands_sent++;
    loop->tick.write_ns = loop->port.now_ns(loop->port.context);
    return true;
}

/* A command that the kernel did not take was not written: the envelope goes on from the one before, and from its
 * source. */
static void write_command(erl_loop *loop, uint32_t source, uint32_t mode) {
    if (source == ERL_SOURCE_LAPSE) {
        loop->last_source = source;
        return;
    }
    const bool pd = erl_source_fill(loop, source, mode);
    if (send_command(loop, source, mode)) {
        erl_envelope_commit(&loop->envelope, loop->last_source != source, loop->command);
        memcpy(loop->held, loop->wanted, sizeof loop->held);
        loop->last_source = source;
        loop->holds_pd = pd;
        loop->has_written = true;
        loop->silent_ns = loop->stale_ns; /* the robot counts from the state's stamp */
        if (source == ERL_SOURCE_RAMP) {
            erl_ramp_written(loop, loop->command);
        }
    }
}

static uint8_t *put_floats(uint8_t *at, const float *values, uint32_t count, bool known) {
    for (uint32_t i = 0; i < count; i++) {
        const float value = known ? values[i] : NAN;
        memcpy(at + 4u * i, &value, sizeof value);
    }
    return at + 4u * count;
}

static void record(erl_loop *loop) {
    const erl_config *config = &loop->config;
    memcpy(loop->record, &loop->tick, sizeof loop->tick);
    uint8_t *at = loop->record + sizeof loop->tick;
    at = put_floats(at, loop->state.values, config->state_count, loop->has_state);
    at = put_floats(at, loop->action_said, config->action_count, loop->tick.action_ns != 0);
    at = put_floats(at, loop->command, config->command_count, loop->tick.write_ns != 0);
    at = put_floats(at, loop->shadow_said, config->action_count, loop->tick.shadow_epoch != 0);
    (void)put_floats(at, loop->operators, config->operator_count, true);
    erl_ring_append(loop->segments.ring, config, loop->record);
}

static void publish(erl_loop *loop, bool ended) {
    erl_status *status = &loop->status;
    status->phase = ended ? ERL_PHASE_ENDED : ERL_PHASE_RUNNING;
    status->mode = loop->mode;
    status->source = loop->tick.source;
    status->event = loop->tick.event;
    status->bucket_level = loop->bucket.level;
    status->ladder = loop->ladder;
    status->arm_pending = loop->arm_left;
    status->done += loop->tick.event == ERL_EVENT_DONE;
    status->ticks++;
    status->time_ns = loop->port.now_ns(loop->port.context);
    erl_status_publish(loop->segments.status, status);
}

uint32_t erl_tick(erl_loop *loop) {
    const uint32_t events = meet(loop);
    const uint32_t event = erl_modes_governing(loop->mode, events);
    const erl_transition cell = erl_modes_cell(loop->mode, event);
    if (cell.next == ERL_MODE_FALLBACK) {
        choose_ladder(loop, event, events);
    }
    prepare_change(loop, cell.next);
    uint32_t source = choose_source(loop, cell.source);
    if (source == ERL_SOURCE_STANDBY && !erl_source_stand_by(loop)) {
        source = ERL_SOURCE_SAFE;
    }
    write_command(loop, source, cell.next);
    loop->tick.events = events != 0 ? events : 1u << ERL_EVENT_NOMINAL;
    loop->tick.event = (uint8_t)event;
    loop->tick.from_mode = (uint8_t)loop->mode;
    loop->tick.mode = cell.next;
    loop->tick.source = (uint8_t)source;
    loop->tick.bucket_level = loop->bucket.level;
    erl_loop_enter(loop, cell.next, event);
    record(loop);
    /* Without a supervisor nobody can RESET, so a stopped guardian has nothing left to do. */
    const bool ended = event == ERL_EVENT_QUIT || (loop->seen.supervisor_lost && loop->mode == ERL_MODE_STOPPED);
    publish(loop, ended);
    return ended ? ERL_ENDED : ERL_OK;
}
