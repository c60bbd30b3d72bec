/* SPDX-License-Identifier: Apache-2.0
 *
 * inner.c: from the action that is in effect to the command of this base tick: hold or interpolate, blend after a
 * change of hands, PD where the guardian closes the joint's loop. The result goes through the envelope.
 *
 * A setpoint is what a channel is wanted to be. Of a PD channel it is the joint's position and the gains; of every
 * other one the command itself. Blending and ramps work on setpoints, so that a torque is always the answer to the
 * newest state and never a mixture of old ones.
 *
 * All arithmetic is float32: what overflows becomes infinite or NaN, and the envelope rejects it.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

static float mixed(float from, float to, float weight) {
    return weight >= 1.0f ? to : from + weight * (to - from);
}

/* What the channel was wanted to be in the command that was written last. */
static erl_setpoint held(const erl_loop *loop, uint32_t i) {
    const erl_command_channel *channel = &loop->config.commands[i];
    if (channel->pd == 0) {
        return (erl_setpoint){.target = loop->envelope.last[i]};
    }
    if (loop->holds_pd) {
        return loop->held[i];
    }
    return (erl_setpoint){.target = loop->state.values[channel->measured], .kp = channel->kp, .kd = channel->kd};
}

/* Another policy takes over: it sets out from the command written last, and is blended in. */
void erl_inner_start(const erl_loop *loop, erl_inner *inner) {
    inner->blend_ns = 0;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const int32_t action = loop->config.commands[i].action;
        inner->blend_from[i] = held(loop, i);
        if (action >= 0) {
            inner->stands[action] = inner->before[action] = inner->blend_from[i].target;
        }
    }
}

/* An action takes effect in this tick, and stays in effect until the next one. */
void erl_inner_take(const erl_loop *loop, erl_inner *inner, const float *values) {
    memcpy(inner->before, inner->stands, sizeof inner->before);
    memcpy(inner->target, values, loop->config.action_count * sizeof(float));
    inner->taken = loop->tick.tick;
    inner->has_target = true;
}

/* Whether the policy's last action is still in effect: it took effect less than policy_divider ticks ago. */
bool erl_inner_current(const erl_loop *loop, const erl_inner *inner) {
    return inner->has_target && loop->tick.tick - inner->taken < loop->config.policy_divider;
}

static void follow(const erl_loop *loop, const erl_inner *inner, float *values) {
    const uint64_t ticks = loop->tick.tick - inner->taken + 1u;
    const bool hold = loop->config.inner_law != ERL_INNER_INTERPOLATE || ticks >= loop->config.policy_divider;
    const float weight = hold ? 1.0f : (float)ticks / (float)loop->config.policy_divider;
    for (uint32_t i = 0; i < loop->config.action_count; i++) {
        values[i] = mixed(inner->before[i], inner->target[i], weight);
    }
}

static void want(const erl_config *config, const float *values, erl_setpoint *wanted) {
    for (uint32_t i = 0; i < config->command_count; i++) {
        const erl_command_channel *channel = &config->commands[i];
        wanted[i] = (erl_setpoint){
            .target = channel->action >= 0 ? values[channel->action] : channel->nominal,
            .kp = channel->kp,
            .kd = channel->kd,
        };
    }
}

/* What the policy drives, and gains: anything else is at its nominal value at once. */
static bool blends(const erl_command_channel *channel) {
    return channel->action >= 0 || channel->role == ERL_ROLE_KP || channel->role == ERL_ROLE_KD;
}

static void blend(const erl_loop *loop, const erl_inner *inner, erl_setpoint *wanted) {
    const float weight = (float)inner->blend_ns / (float)loop->config.blend_ns;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_setpoint *from = &inner->blend_from[i];
        if (blends(&loop->config.commands[i])) {
            wanted[i].target = mixed(from->target, wanted[i].target, weight);
            wanted[i].kp = mixed(from->kp, wanted[i].kp, weight);
            wanted[i].kd = mixed(from->kd, wanted[i].kd, weight);
        }
    }
}

/* The command that a setpoint means. Without a new state a torque stays what it was: the old state is no news. */
float erl_inner_command(const erl_loop *loop, uint32_t i, const erl_setpoint *setpoint) {
    const erl_command_channel *channel = &loop->config.commands[i];
    if (channel->pd == 0) {
        return setpoint->target;
    }
    if (!loop->tick.observed) {
        return loop->envelope.last[i];
    }
    const float position = loop->state.values[channel->measured];
    const float rate = loop->state.values[channel->measured_rate];
    return setpoint->kp * (setpoint->target - position) - setpoint->kd * rate;
}

/* The position that a joint is asked for has limits of its own: those of its torque bound no position. */
static uint8_t limit_target(const erl_command_channel *channel, float *target) {
    if (channel->pd == 0 || (*target >= channel->target_low && *target <= channel->target_high)) {
        return 0;
    }
    if (!isfinite(*target)) {
        return ERL_CAUSE_NOT_FINITE | ERL_VERDICT_REJECTED;
    }
    const bool low = *target < channel->target_low;
    const uint8_t cause = low ? ERL_CAUSE_LOW : ERL_CAUSE_HIGH;
    if (channel->on_violation != ERL_SATURATE) {
        return cause | ERL_VERDICT_REJECTED;
    }
    *target = low ? channel->target_low : channel->target_high;
    return cause | ERL_VERDICT_SATURATED;
}

static uint8_t judge(erl_loop *loop, bool takes_over) {
    float command[ERL_MAX_COMMANDS];
    uint8_t targets[ERL_MAX_COMMANDS];
    uint8_t all = 0;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        targets[i] = limit_target(&loop->config.commands[i], &loop->wanted[i].target);
        command[i] = erl_inner_command(loop, i, &loop->wanted[i]);
    }
    (void)erl_envelope_check(&loop->envelope, takes_over, command, loop->judged, loop->verdicts);
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        loop->verdicts[i] |= targets[i];
        all |= loop->verdicts[i];
    }
    return all;
}

static uint32_t account(erl_loop *loop, uint8_t all) {
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const uint8_t verdict = loop->verdicts[i];
        const uint64_t bit = UINT64_C(1) << (i % 64u);
        loop->tick.rejected[i / 64u] |= (verdict & ERL_VERDICT_REJECTED) != 0 ? bit : 0u;
        loop->tick.saturated[i / 64u] |= (verdict & ERL_VERDICT_SATURATED) != 0 ? bit : 0u;
        for (uint32_t cause = 0; verdict != 0 && cause < ERL_CAUSE_COUNT; cause++) {
            atomic_fetch_add_explicit(&loop->segments.status->violations[i][cause], (verdict >> cause) & 1u,
                                      memory_order_relaxed);
        }
    }
    loop->tick.causes = all & ((1u << ERL_CAUSE_COUNT) - 1u);
    loop->status.rejected += (all & ERL_VERDICT_REJECTED) != 0;
    loop->status.saturated += (all & ERL_VERDICT_SATURATED) != 0;
    return (all & ERL_VERDICT_REJECTED) != 0 ? 1u << ERL_EVENT_REJECT : 0u;
}

static uint8_t make(erl_loop *loop, erl_inner *inner, bool takes_over) {
    float values[ERL_MAX_COMMANDS];
    follow(loop, inner, values);
    want(&loop->config, values, loop->wanted);
    if (inner->blend_ns < loop->config.blend_ns) {
        inner->blend_ns += erl_progress_ns(loop);
        blend(loop, inner, loop->wanted);
    }
    const uint8_t all = judge(loop, takes_over);
    if ((all & ERL_VERDICT_REJECTED) == 0) {
        memcpy(inner->stands, values, loop->config.action_count * sizeof(float));
    }
    return all;
}

/* Makes this tick's command of the action in effect. 0: loop->judged may be written. REJECT: it may not. */
uint32_t erl_inner_act(erl_loop *loop, erl_inner *inner, uint32_t source) {
    return account(loop, make(loop, inner, loop->last_source != source));
}

/* A policy's first action must pass as the policy says it before it is blended in. */
static uint8_t begin(erl_loop *loop, erl_inner *inner, const float *values) {
    erl_inner_start(loop, inner);
    erl_inner_take(loop, inner, values);
    inner->blend_ns = loop->config.blend_ns;
    const uint8_t all = make(loop, inner, true);
    if ((all & ERL_VERDICT_REJECTED) != 0) {
        return all;
    }
    inner->blend_ns = 0;
    return make(loop, inner, true);
}

/* The same of the first action of a policy that is to take charge. */
uint32_t erl_inner_try(erl_loop *loop, erl_inner *inner, const float *values) {
    return account(loop, begin(loop, inner, values));
}

/* The same beside a policy that is in charge, and stays so unless it passes: a refusal is not this tick's. */
bool erl_inner_offer(erl_loop *loop, erl_inner *inner, const float *values) {
    const uint8_t all = begin(loop, inner, values);
    if ((all & ERL_VERDICT_REJECTED) != 0) {
        return false;
    }
    (void)account(loop, all);
    return true;
}
