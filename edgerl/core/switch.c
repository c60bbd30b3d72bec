/* SPDX-License-Identifier: Apache-2.0
 *
 * switch.c: another policy takes over while the loop runs. In ACTIVE that happens in a tick in which the candidate is
 * ready, its answer is there when it is due, and passes the envelope against the command written last; until then the
 * old policy goes on, and no tick is missed for it. Where no policy commands, the candidate only has to be ready.
 *
 * A wish is given up after arm_ticks, when the candidate is another one, and in FALLBACK and STOPPED.
 */
#include "internal.h"

#include <string.h>

static bool latched(const erl_loop *loop) {
    return loop->mode == ERL_MODE_FALLBACK || loop->mode == ERL_MODE_STOPPED;
}

static bool pending(const erl_loop *loop) {
    return loop->switch_left > 0 && loop->status.candidate == loop->switch_to;
}

static void give_up(erl_loop *loop) {
    loop->switch_left = 0;
    loop->status.switch_refused++;
}

/* The supervisor wants it. A wish that was pending is taken for the same one. */
void erl_switch_want(erl_loop *loop) {
    if (loop->status.candidate == 0 || latched(loop)) {
        give_up(loop);
        return;
    }
    loop->switch_left = loop->config.arm_ticks;
    loop->switch_to = loop->status.candidate;
}

static void change_hands(erl_loop *loop) {
    loop->status.acting = loop->status.candidate;
    loop->status.candidate = 0;
    loop->status.switched++;
    loop->switch_left = 0;
}

/* Outside ACTIVE; true: it has happened. */
bool erl_switch_idle(erl_loop *loop) {
    if (latched(loop) || !pending(loop) || !erl_policies_ready(loop, loop->switch_to)) {
        return false;
    }
    change_hands(loop);
    return true;
}

/* In ACTIVE, when an answer is due; true: it has happened, and loop->judged may be written. */
bool erl_switch_over(erl_loop *loop, uint64_t deadline_ns) {
    if (!pending(loop) || !erl_policies_ready(loop, loop->switch_to) || !erl_policies_hear(loop, deadline_ns) ||
        !erl_inner_offer(loop, &loop->standby, loop->shadow.values)) {
        return false;
    }
    change_hands(loop);
    loop->action = loop->shadow;
    loop->inner = loop->standby;
    loop->tick.shadow_epoch = loop->tick.shadow_sequence = loop->tick.shadow_infer_ns = 0;
    return true;
}

/* At the end of every tick's asking. */
void erl_switch_end_tick(erl_loop *loop) {
    if (loop->switch_left > 0) {
        if (!pending(loop) || latched(loop) || loop->switch_left == 1) {
            give_up(loop);
        } else {
            loop->switch_left--;
        }
    }
    loop->status.switch_pending = loop->switch_left;
}
