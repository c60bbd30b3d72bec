/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c: the life of a loop around its ticks: its start, and what comes with a change of mode.
 */
#include "internal.h"

#include <string.h>

uint64_t erl_loop_bytes(void) {
    return sizeof(erl_loop);
}

/* `loop` is memory of erl_loop_bytes(), aligned to 64. Answers an erl_config_fault. */
uint32_t erl_loop_start(erl_loop *loop, const erl_config *config, const erl_segments *segments, const erl_port *port) {
    memset(loop, 0, sizeof *loop);
    loop->config = *config;
    const uint32_t fault = erl_config_check(&loop->config);
    if (fault != ERL_CONFIG_OK) {
        return fault;
    }
    loop->segments = *segments;
    loop->port = *port;
    loop->mode = ERL_MODE_SAFE;
    loop->last_source = ERL_SOURCE_LAPSE;
    loop->last_start_ns = port->now_ns(port->context);
    loop->last_tick_ns = loop->last_start_ns;
    loop->seen.heartbeat_ns = loop->last_start_ns;
    erl_envelope_start(&loop->envelope, loop->config.commands, loop->config.command_count);
    erl_bucket_start(&loop->bucket, loop->config.bucket_limit, loop->config.bucket_window);
    erl_bucket_start(&loop->jitter, loop->config.jitter_limit, loop->config.jitter_window);
    loop->status.phase = ERL_PHASE_READY;
    return ERL_CONFIG_OK;
}

/* From a signal's context too: the next tick is the last. */
void erl_loop_terminate(erl_loop *loop) {
    loop->terminate = 1;
}

void erl_loop_enter(erl_loop *loop, uint32_t next, uint32_t event) {
    if (next == loop->mode) {
        return;
    }
    const bool latched = next == ERL_MODE_FALLBACK || next == ERL_MODE_STOPPED;
    if (!latched) {
        loop->status.fault = ERL_EVENT_NOMINAL;
    } else if (event != ERL_EVENT_LADDER_END) {
        /* The end of the ladder is not a fault of its own: the one that led onto it stays. */
        loop->status.fault = event;
        loop->status.fault_tick = loop->tick.tick;
    }
    if (loop->arm_left > 0 && next != ERL_MODE_PREPARE) {
        loop->arm_left = 0;
        loop->status.arm_blockers |= ERL_ARM_NOT_SAFE_MODE;
        loop->status.arm_refused++;
    }
    erl_bucket_start(&loop->jitter, loop->config.jitter_limit, loop->config.jitter_window);
    if (next != ERL_MODE_ACTIVE && next != ERL_MODE_FALLBACK) {
        erl_ask_stop(loop);
    }
    loop->mode = next;
}
