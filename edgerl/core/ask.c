/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c: the middle of a tick: posts the observation, waits for the answer until the deadline, and makes the command of
 * it, through the envelope.
 *
 * The policy is a stranger: its answer is copied out first, its epoch, sequence and count are compared afterwards, and
 * a policy that posts without end is read a bounded number of times.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

#define MAX_TAKES 4096u

static uint64_t now(const erl_loop *loop) {
    return loop->port.now_ns(loop->port.context);
}

/* A reset that could not be posted is not forgotten. */
static bool post(erl_loop *loop) {
    const erl_inputs inputs = {
        .state = loop->state.values,
        .gravity = loop->gravity,
        .operators = loop->operators,
        .last_raw = loop->last_raw,
    };
    if (loop->restart) {
        memset(loop->last_raw, 0, sizeof loop->last_raw);
    }
    if (!erl_assemble(&loop->config, &inputs, loop->restart, loop->observation)) {
        return false;
    }
    loop->episode += loop->restart;
    loop->restart = false;
    const erl_observation_header header = {
        .sequence = loop->tick.tick,
        .stamp_ns = loop->tick.tick_ns,
        .deadline_ns = loop->deadline_ns,
        .episode = loop->episode,
        .bytes = loop->config.observation_bytes,
        .clock = loop->status.clock,
    };
    loop->tick.post_ns = now(loop); /* before the policy is woken: it may answer before this process runs again */
    erl_observation_post(loop->segments.observation, &header, loop->observation);
    return true;
}

/* Epoch 0 is nobody: its answers would be those of a policy that is gone. */
static bool answers(const erl_loop *loop) {
    return loop->action.epoch != 0 && loop->action.epoch == erl_policy_epoch(loop->status.acting) &&
           loop->action.sequence == loop->tick.tick && loop->action.count == loop->config.action_count &&
           loop->action.raw_count == loop->config.raw_count;
}

/* Looks once more after the deadline: an answer that is there then is better than none, and waits for nobody. */
static bool take(erl_loop *loop) {
    const uint32_t slot = erl_policy_slot(loop->status.acting);
    const erl_action_mailbox *mailbox = loop->segments.actions[slot];
    loop->tick.acting_slot = (uint8_t)slot;
    for (uint32_t i = 0; i < MAX_TAKES; i++) {
        const uint64_t now_ns = now(loop);
        const uint32_t word = atomic_load_explicit(&mailbox->sequence, memory_order_relaxed);
        if (erl_action_take(mailbox, &loop->action_seen[slot], &loop->action) == ERL_OK) {
            if (answers(loop)) {
                loop->tick.action_ns = now(loop);
                return true;
            }
            loop->status.actions_stale++;
        }
        if (now_ns >= loop->deadline_ns) {
            return false;
        }
        loop->port.wait_word(loop->port.context, &mailbox->sequence, word, loop->deadline_ns);
    }
    return false;
}

/* What the policy is to observe of itself from now on; not finite, it would spoil every observation to come. */
static bool remember_raw(erl_loop *loop) {
    for (uint32_t i = 0; i < loop->config.raw_count; i++) {
        if (!isfinite(loop->action.raw[i])) {
            return false;
        }
    }
    memcpy(loop->last_raw, loop->action.raw, loop->config.raw_count * sizeof(float));
    return true;
}

/* 0: loop->judged may be written. */
uint32_t erl_loop_ask(erl_loop *loop, bool first) {
    if (!post(loop)) {
        return 1u << ERL_EVENT_STATE_FAULT;
    }
    if (!take(loop)) {
        loop->status.actions_late++;
        return 1u << ERL_EVENT_ACTION_LATE;
    }
    loop->status.actions_taken++;
    loop->tick.infer_ns = loop->action.infer_ns;
    loop->tick.epoch = loop->action.epoch;
    loop->tick.action_sequence = loop->action.sequence;
    memcpy(loop->action_said, loop->action.values, sizeof loop->action_said);
    if (!remember_raw(loop)) {
        loop->tick.causes = ERL_CAUSE_NOT_FINITE;
        loop->status.rejected++;
        return 1u << ERL_EVENT_REJECT;
    }
    if (first) {
        return erl_inner_try(loop, &loop->inner, loop->action_said);
    }
    erl_inner_take(loop, &loop->inner, loop->action_said);
    return erl_inner_act(loop, &loop->inner, ERL_SOURCE_POLICY);
}
