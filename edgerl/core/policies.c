/* SPDX-License-Identifier: Apache-2.0
 *
 * policies.c: listens to the policies: to the acting one, whose answers become commands, and to the candidate beside
 * it, whose answers are recorded. Each has a mailbox of its own.
 *
 * A policy is a stranger: its answer is copied out first, its epoch, sequence and counts are compared afterwards, and
 * one that posts without end is read a bounded number of times. Nothing is decided here: when an answer is due, and
 * what it is good for, is ask.c's and switch.c's.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

#define MAX_TAKES 4096u

static uint64_t now(const erl_loop *loop) {
    return loop->port.now_ns(loop->port.context);
}

/* Epoch 0 is nobody: its answers would be those of a policy that is gone. */
static bool believable(const erl_loop *loop, uint64_t word, const erl_action *action) {
    const uint64_t epoch = erl_policy_epoch(word);
    return epoch != 0 && action->epoch == epoch && action->sequence <= loop->asked.sequence &&
           action->count == loop->config.action_count && action->raw_count == loop->config.raw_count;
}

static bool answers(const erl_loop *loop, uint64_t word, const erl_action *action) {
    return believable(loop, word, action) && action->sequence == loop->asked.sequence;
}

/* The acting policy owes an answer from the first observation that it could have answered; one to an earlier
 * observation shows that it lives, and works on the newest now. */
static void settle(erl_loop *loop, bool answered) {
    loop->asked.owed_since_ns = answered ? 0 : loop->asked.post_ns;
    loop->status.actions_stale += !answered;
}

/* What the candidate says is recorded, also when it answers an earlier observation. */
static void note(erl_loop *loop) {
    loop->status.shadow_taken++;
    loop->tick.shadow_epoch = loop->shadow.epoch;
    loop->tick.shadow_sequence = loop->shadow.sequence;
    loop->tick.shadow_infer_ns = loop->shadow.infer_ns;
    memcpy(loop->shadow_said, loop->shadow.values, sizeof loop->shadow_said);
}

/* A raw action that is not finite would spoil every observation to come: the whole answer is none, then, and the
 * envelope says so. */
static void judge_raw(const erl_loop *loop, erl_action *action) {
    bool finite = true;
    for (uint32_t i = 0; i < loop->config.raw_count; i++) {
        finite = finite && isfinite(action->raw[i]);
    }
    for (uint32_t i = 0; i < loop->config.action_count && !finite; i++) {
        action->values[i] = NAN;
    }
    if (!finite) {
        memcpy(action->raw, loop->last_raw, sizeof action->raw);
    }
}

/* loop->heard is a whole copy of what the policy's mailbox holds. */
static bool accept(erl_loop *loop, uint64_t word, erl_action *kept) {
    if (!believable(loop, word, &loop->heard)) {
        loop->status.actions_stale++;
        return false;
    }
    *kept = loop->heard;
    judge_raw(loop, kept);
    const bool answered = answers(loop, word, kept);
    if (kept == &loop->action) {
        settle(loop, answered);
    } else {
        note(loop);
    }
    return answered;
}

/* Until `kept` is the policy's answer to the newest observation; till the deadline at most. Looks once more after it:
 * an answer that is there then is better than none, and waits for nobody. */
static bool listen(erl_loop *loop, uint64_t word, erl_action *kept, uint64_t deadline_ns) {
    const uint32_t slot = erl_policy_slot(word);
    const erl_action_mailbox *mailbox = loop->segments.actions[slot];
    if (answers(loop, word, kept)) {
        return true;
    }
    for (uint32_t i = 0; i < MAX_TAKES; i++) {
        const uint64_t now_ns = now(loop);
        const uint32_t seen = atomic_load_explicit(&mailbox->sequence, memory_order_relaxed);
        if (erl_action_take(mailbox, &loop->action_seen[slot], &loop->heard) == ERL_OK && accept(loop, word, kept)) {
            return true;
        }
        if (now_ns >= deadline_ns) {
            return false;
        }
        loop->port.wait_word(loop->port.context, &mailbox->sequence, seen, deadline_ns);
    }
    return false;
}

/* Whether loop->action is the acting policy's answer to the newest observation, at the deadline at the latest. */
bool erl_policies_take(erl_loop *loop, uint64_t deadline_ns) {
    return listen(loop, loop->status.acting, &loop->action, deadline_ns);
}

/* The same of the candidate and loop->shadow. */
bool erl_policies_hear(erl_loop *loop, uint64_t deadline_ns) {
    return loop->status.candidate != 0 && listen(loop, loop->status.candidate, &loop->shadow, deadline_ns);
}

/* Whether the policy has said that it is warm and has passed its golden set. */
bool erl_policies_ready(const erl_loop *loop, uint64_t word) {
    const uint64_t epoch = erl_policy_epoch(word);
    return epoch != 0 && erl_action_ready_epoch(loop->segments.actions[erl_policy_slot(word)]) == epoch;
}
