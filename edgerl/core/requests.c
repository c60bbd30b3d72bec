/* SPDX-License-Identifier: Apache-2.0
 *
 * requests.c: what the supervisor asked for since the last tick, and whether it is alive. Every counter is compared
 * for "different", so a request made before the guardian's first tick counts too.
 */
#include "internal.h"

/* Wanting ARM or SWITCH raises nothing: arm.c and switch.c do when it happens. */
static const uint32_t EVENTS_OF[ERL_REQUEST_COUNT] = {
    [ERL_REQUEST_DISARM] = 1u << ERL_EVENT_DISARM,
    [ERL_REQUEST_ESTOP] = 1u << ERL_EVENT_ESTOP,
    [ERL_REQUEST_RESET] = 1u << ERL_EVENT_RESET,
    [ERL_REQUEST_QUIT] = 1u << ERL_EVENT_QUIT,
};

static uint32_t counter(const erl_loop *loop, uint32_t kind) {
    return atomic_load_explicit(&loop->segments.requests->counters[kind], memory_order_acquire);
}

static bool asked_anew(const erl_loop *loop, uint32_t kind) {
    return counter(loop, kind) != loop->seen.counters[kind];
}

static bool heartbeat_missing(const erl_loop *loop, uint64_t now_ns) {
    const uint64_t timeout_ns = loop->config.heartbeat_timeout_ns;
    return timeout_ns != 0 && now_ns - loop->seen.heartbeat_ns >= timeout_ns &&
           atomic_load_explicit(&loop->segments.requests->heartbeat, memory_order_acquire) == loop->seen.heartbeat;
}

static void watch_supervisor(erl_loop *loop) {
    const uint64_t now_ns = loop->port.now_ns(loop->port.context);
    loop->seen.supervisor_lost = heartbeat_missing(loop, now_ns);
    const uint64_t heartbeat = atomic_load_explicit(&loop->segments.requests->heartbeat, memory_order_acquire);
    if (heartbeat != loop->seen.heartbeat) {
        loop->seen.heartbeat = heartbeat;
        loop->seen.heartbeat_ns = now_ns;
    }
}

/* Of words whose slot is one. */
static bool dead(const erl_loop *loop, uint64_t policy) {
    const _Atomic uint64_t *died = &loop->segments.requests->died[erl_policy_slot(policy)];
    return policy != 0 && erl_policy_epoch(policy) <= atomic_load_explicit(died, memory_order_acquire);
}

static uint64_t living(const erl_loop *loop, uint64_t policy) {
    return erl_policy_slot(policy) < ERL_POLICY_SLOTS && !dead(loop, policy) ? policy : 0;
}

/* Event bits. Only a change of the acting word counts, so that a switch stays until the supervisor has taken note of
 * it. The supervisor reports who died, and may not know yet who acts: an old policy that dies as another one takes over
 * is no fault, and one that has just taken over is. Who it names acts then. */
static uint32_t watch_policies(erl_loop *loop) {
    const bool lost = dead(loop, loop->status.acting);
    const uint64_t acting = atomic_load_explicit(&loop->segments.requests->acting, memory_order_acquire);
    if (lost || acting != loop->seen.acting) {
        loop->seen.acting = acting;
        loop->status.acting = living(loop, acting);
    }
    const uint64_t candidate = atomic_load_explicit(&loop->segments.requests->candidate, memory_order_acquire);
    loop->status.candidate = candidate != loop->status.acting ? living(loop, candidate) : 0;
    return lost ? 1u << ERL_EVENT_POLICY_FAULT : 0u;
}

static void want_arm(erl_loop *loop) {
    if (loop->mode == ERL_MODE_SAFE || loop->mode == ERL_MODE_PREPARE) {
        loop->arm_left = loop->config.arm_ticks;
        loop->status.arm_blockers = 0;
    } else if (loop->mode != ERL_MODE_ACTIVE) {
        loop->status.arm_blockers = ERL_ARM_NOT_SAFE_MODE;
        loop->status.arm_refused++;
    }
}

uint32_t erl_loop_poll_requests(erl_loop *loop) {
    uint32_t events = 0;
    bool switches = false;
    for (uint32_t kind = 0; kind < ERL_REQUEST_COUNT; kind++) {
        const uint32_t now = counter(loop, kind);
        if (now == loop->seen.counters[kind]) {
            continue;
        }
        loop->seen.counters[kind] = now;
        events |= EVENTS_OF[kind];
        if (kind == ERL_REQUEST_ARM) {
            want_arm(loop);
        }
        switches |= kind == ERL_REQUEST_SWITCH;
    }
    watch_supervisor(loop);
    if (loop->seen.supervisor_lost) {
        events |= 1u << ERL_EVENT_SUPERVISOR_FAULT;
    }
    if (loop->terminate) {
        events |= 1u << ERL_EVENT_QUIT;
    }
    events |= watch_policies(loop);
    if (switches) {
        erl_switch_want(loop);
    }
    return events;
}

/* A loss that was raised already does not hurry the next wait again. */
bool erl_loop_request_urgent(const erl_loop *loop) {
    return asked_anew(loop, ERL_REQUEST_DISARM) || asked_anew(loop, ERL_REQUEST_ESTOP) ||
           asked_anew(loop, ERL_REQUEST_QUIT) || dead(loop, loop->status.acting) || loop->terminate ||
           (!loop->seen.supervisor_lost && heartbeat_missing(loop, loop->port.now_ns(loop->port.context)));
}
