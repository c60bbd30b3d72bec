/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c: the middle of a tick: which observation is posted, and which answer takes effect, when.
 *
 * The observation of base tick j * n is posted (n: policy_divider), and the answer to it takes effect in base tick
 * j * n + d (d: action_delay). With d = 0 the tick waits for it until the budget. Otherwise no tick waits: an answer
 * that is not there in tick j * n + d is late, is thrown away, and every tick is late until another one is taken in
 * time. Only in lockstep, where the robot waits as well, the tick waits as long as the policy would have had.
 *
 * Ticks count with the periods that were missed before them. A tick without a state posts nothing: the next one does,
 * and n and d count from there. An episode's start drops what was asked before it.
 */
#include "internal.h"

#include <string.h>

static uint64_t now(const erl_loop *loop) {
    return loop->port.now_ns(loop->port.context);
}

/* Nothing is asked any more; what was asked before counts no more. What is late or owed needs no end here: the trial
 * that leads back into ACTIVE settles both. */
void erl_ask_stop(erl_loop *loop) {
    loop->asked.posted = false;
    loop->asked.outstanding = false;
    loop->standby.has_target = false;
}

static bool is_due(const erl_loop *loop) {
    return !loop->asked.posted || loop->asked.ticks >= loop->config.policy_divider || loop->restart;
}

static bool falls_due(const erl_loop *loop) {
    return loop->asked.outstanding && loop->asked.ticks >= loop->config.action_delay;
}

/* What was observed before a pause is no history, and a restart that could not be posted is not forgotten. */
static bool assemble(erl_loop *loop) {
    const erl_inputs inputs = {
        .state = loop->state.values,
        .gravity = loop->gravity,
        .operators = loop->operators,
        .last_raw = loop->last_raw,
    };
    loop->restart = loop->restart || !loop->asked.posted;
    if (loop->restart) {
        memset(loop->last_raw, 0, sizeof loop->last_raw);
    }
    if (!erl_assemble(&loop->config, &inputs, loop->restart, loop->observation)) {
        return false;
    }
    loop->episode += loop->restart;
    loop->restart = false;
    return true;
}

/* Event bits: a state that no observation can be made of is at fault. */
static uint32_t post(erl_loop *loop) {
    const uint64_t from_ns = loop->deadline_ns - loop->config.budget_ns;
    const uint32_t delay = loop->config.action_delay;
    erl_asked *asked = &loop->asked;
    if (!assemble(loop)) {
        return 1u << ERL_EVENT_STATE_FAULT;
    }
    asked->sequence = loop->tick.tick;
    asked->due_ns = delay == 0 ? loop->deadline_ns : from_ns + delay * loop->config.period_ns;
    asked->ticks = 0;
    asked->posted = true;
    asked->outstanding = true;
    const erl_observation_header header = {
        .sequence = asked->sequence,
        .stamp_ns = loop->tick.tick_ns,
        .deadline_ns = asked->due_ns,
        .episode = loop->episode,
        .bytes = loop->config.observation_bytes,
        .clock = loop->status.clock,
    };
    asked->post_ns = now(loop); /* before the policy is woken: it may answer before this process runs again */
    asked->owed_since_ns = asked->owed_since_ns == 0 ? asked->post_ns : asked->owed_since_ns;
    loop->tick.post_ns = asked->post_ns;
    erl_observation_post(loop->segments.observation, &header, loop->observation);
    return 0;
}

/* How long the tick waits for an answer that falls due in it; 0: it does not. */
static uint64_t patience(const erl_loop *loop) {
    const bool waits = loop->config.action_delay == 0 || loop->status.clock == ERL_CLOCK_LOCKSTEP;
    return waits ? loop->asked.due_ns : 0;
}

static void note(erl_loop *loop) {
    loop->status.actions_taken++;
    loop->tick.action_ns = now(loop);
    loop->tick.infer_ns = loop->action.infer_ns;
    loop->tick.epoch = loop->action.epoch;
    loop->tick.action_sequence = loop->action.sequence;
    loop->tick.acting_slot = (uint8_t)erl_policy_slot(loop->status.acting);
    memcpy(loop->action_said, loop->action.values, sizeof loop->action_said);
    memcpy(loop->last_raw, loop->action.raw, sizeof loop->last_raw);
}

static bool take(erl_loop *loop) {
    loop->asked.outstanding = false;
    loop->asked.late = !erl_policies_take(loop, patience(loop));
    if (loop->asked.late) {
        loop->status.actions_late++;
        return false;
    }
    note(loop);
    return true;
}

/* The answers to the newest observation are due. SWITCH: the candidate's became this tick's command. */
static uint32_t resolve(erl_loop *loop, bool askable) {
    if (askable && erl_switch_over(loop, patience(loop))) {
        loop->asked.outstanding = false;
        loop->asked.late = false;
        loop->asked.owed_since_ns = 0;
        note(loop);
        return 1u << ERL_EVENT_SWITCH;
    }
    if (take(loop)) {
        erl_inner_take(loop, &loop->inner, loop->action_said);
    }
    if (erl_policies_hear(loop, 0)) {
        erl_inner_take(loop, &loop->standby, loop->shadow.values);
    }
    return 0;
}

static bool owes(const erl_loop *loop) {
    const uint64_t timeout_ns = loop->config.inference_timeout_ns;
    const uint64_t since_ns = loop->asked.owed_since_ns;
    return timeout_ns != 0 && since_ns != 0 && now(loop) - since_ns >= timeout_ns;
}

/* Looks at the mailbox before it accuses: the answer may be there, and not due yet or of no use any more. */
static bool overdue(erl_loop *loop) {
    if (!owes(loop)) {
        return false;
    }
    (void)erl_policies_take(loop, 0);
    return owes(loop);
}

static uint32_t act(erl_loop *loop, bool askable) {
    const bool at_once = loop->config.action_delay == 0;
    loop->asked.late = loop->asked.late && !at_once;
    loop->asked.outstanding = loop->asked.outstanding && !(askable && loop->restart);
    uint32_t met = falls_due(loop) ? resolve(loop, askable) : 0u;
    if (askable && is_due(loop)) {
        met |= post(loop);
        met |= at_once && met == 0 ? resolve(loop, true) : 0u;
    }
    if (loop->asked.late) {
        met |= 1u << ERL_EVENT_ACTION_LATE;
    } else if (askable && met == 0) {
        met = erl_inner_act(loop, &loop->inner, ERL_SOURCE_POLICY);
    }
    return met | (overdue(loop) ? 1u << ERL_EVENT_INFERENCE_TIMEOUT : 0u);
}

/* One tick of the trial that leads into ACTIVE: the first answer must come when it is due and pass the envelope. ARM:
 * it did, and loop->judged may be written; 0: it is not due yet. */
uint32_t erl_ask_try(erl_loop *loop) {
    uint32_t met = !loop->asked.posted || loop->restart ? post(loop) : 0u;
    loop->asked.tried = met == 0;
    if (met != 0 || !falls_due(loop)) {
        return met;
    }
    met = take(loop) ? erl_inner_try(loop, &loop->inner, loop->action_said) : 1u << ERL_EVENT_ACTION_LATE;
    if (met == 0 && is_due(loop)) {
        met = post(loop);
    }
    loop->asked.tried = met == 0;
    return met == 0 ? 1u << ERL_EVENT_ARM : met;
}

/* The candidate's answer is there when it is due: it takes effect, and is what was done last. */
static void take_candidate(erl_loop *loop, uint64_t deadline_ns) {
    if (erl_policies_hear(loop, deadline_ns)) {
        erl_inner_take(loop, &loop->standby, loop->shadow.values);
        memcpy(loop->last_raw, loop->shadow.raw, sizeof loop->last_raw);
    }
}

/* While a ladder may lead to the candidate, it gets every observation, and its answers take effect when due. */
static uint32_t attend_candidate(erl_loop *loop) {
    if (falls_due(loop) && loop->config.action_delay > 0) {
        loop->asked.outstanding = false;
        take_candidate(loop, patience(loop));
    }
    return loop->asked.usable && is_due(loop) ? post(loop) : 0u;
}

static bool leads_to_candidate(const erl_loop *loop) {
    const erl_ladder *ladder = &loop->config.ladders[loop->ladder];
    bool leads = false;
    for (uint32_t i = 0; i < ladder->count; i++) {
        leads = leads || ladder->rungs[i].source == ERL_SOURCE_STANDBY;
    }
    return leads && loop->status.candidate != 0;
}

/* The ladder is at the candidate, and it is ready: with d = 0 its answer to this tick's observation is waited for. */
void erl_ask_candidate(erl_loop *loop) {
    if (loop->config.action_delay > 0 || !loop->asked.usable) {
        return;
    }
    if (loop->tick.post_ns != 0 || post(loop) == 0) {
        take_candidate(loop, loop->deadline_ns);
    }
}

static uint32_t ask_by_mode(erl_loop *loop, uint32_t events) {
    if (loop->mode == ERL_MODE_ACTIVE) {
        return events | act(loop, (events & ~ERL_ASKED_BESIDE) == 0);
    }
    if (loop->mode == ERL_MODE_FALLBACK && leads_to_candidate(loop)) {
        return events | attend_candidate(loop);
    }
    loop->asked.tried = false;
    uint32_t met = events;
    if (erl_switch_idle(loop)) {
        met |= 1u << ERL_EVENT_SWITCH;
    } else if (loop->arm_left > 0) {
        met = erl_loop_arm(loop, events);
    }
    if (!loop->asked.tried) {
        erl_ask_stop(loop);
    }
    return met;
}

/* Whoever is new in a role owes nothing, and has said nothing. */
static void notice_change(erl_loop *loop) {
    if (loop->asked.acting != loop->status.acting) {
        loop->asked.acting = loop->status.acting;
        loop->asked.owed_since_ns = 0;
    }
    if (loop->asked.candidate != loop->status.candidate) {
        loop->asked.candidate = loop->status.candidate;
        loop->standby.has_target = false;
    }
}

/* The policy is asked in ACTIVE, and on the way there when ARM is wanted; not in a tick that already ends otherwise. */
uint32_t erl_loop_ask(erl_loop *loop, uint32_t events) {
    const uint64_t passed = (uint64_t)loop->asked.ticks + 1u + loop->tick.missed_periods;
    loop->asked.ticks = passed < UINT32_MAX ? (uint32_t)passed : UINT32_MAX;
    loop->asked.usable = loop->tick.observed != 0 && (events & ERL_STATE_FAULTS) == 0;
    notice_change(loop);
    if ((events & (1u << ERL_EVENT_DISARM)) != 0) {
        loop->arm_left = 0;
    }
    const uint32_t met = ask_by_mode(loop, events);
    erl_switch_end_tick(loop);
    return met;
}
