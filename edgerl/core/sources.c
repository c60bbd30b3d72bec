/* SPDX-License-Identifier: Apache-2.0
 *
 * sources.c: what each source of a command sends. The policy's command has passed the envelope already; every other
 * source is approached within the envelope and never refused, since it is what is left when something was.
 *
 * It also says from where the envelope sets out: from the command written last while that is valid, otherwise from
 * where the robot was measured (docs/decisions/0016-where-a-source-sets-out-from.md).
 */
#include "internal.h"

#include <string.h>

/* Whether the robot may still be acting on a command of ours: not when the state that it answers is too old. */
bool erl_source_written(const erl_loop *loop) {
    return loop->has_written && loop->silent_ns <= loop->config.valid_for_ns;
}

/* Where the channel stands when no command holds it: as measured, without torque, otherwise at its safe value. */
static float standing(const erl_loop *loop, const erl_command_channel *channel, float last) {
    switch (channel->role) {
    case ERL_ROLE_POSITION:
    case ERL_ROLE_VELOCITY:
        return channel->measured >= 0 ? loop->state.values[channel->measured] : last;
    case ERL_ROLE_TORQUE:
        return 0.0f;
    default:
        return channel->safe;
    }
}

/* No command of ours is in force, or none may count: the next one sets out from the robot itself. */
void erl_source_seed(erl_loop *loop) {
    float reference[ERL_MAX_COMMANDS];
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_command_channel *channel = &loop->config.commands[i];
        reference[i] = standing(loop, channel, loop->has_written ? loop->envelope.last[i] : channel->safe);
    }
    erl_envelope_seed(&loop->envelope, reference, loop->config.period_ns);
    loop->holds_pd = false;
}

static void approach(erl_loop *loop, uint32_t source, const float *command) {
    erl_envelope_approach(&loop->envelope, loop->last_source != source, command, loop->command);
}

/* PD goes on around the position that was wanted last, unless a ladder holds: that sends what was sent. */
static bool hold(erl_loop *loop, bool in_charge) {
    float command[ERL_MAX_COMMANDS];
    const bool pd = in_charge && loop->holds_pd;
    memcpy(loop->wanted, loop->held, sizeof loop->wanted);
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        command[i] = pd && loop->config.commands[i].pd != 0 ? erl_inner_command(loop, i, &loop->held[i])
                                                            : loop->envelope.last[i];
    }
    approach(loop, ERL_SOURCE_HOLD, command);
    return pd;
}

static void safe(erl_loop *loop) {
    float command[ERL_MAX_COMMANDS];
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        command[i] = loop->config.commands[i].safe;
    }
    approach(loop, ERL_SOURCE_SAFE, command);
}

/* Where the guardian closes the loop, damping needs the joint's speed, and is not to be had without a state. */
static void damp(erl_loop *loop) {
    float command[ERL_MAX_COMMANDS];
    const bool measured = loop->tick.observed && loop->ladder != ERL_LADDER_STATE;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_command_channel *channel = &loop->config.commands[i];
        command[i] = channel->damp;
        if (channel->pd != 0 && measured) {
            command[i] -= channel->damp_kd * loop->state.values[channel->measured_rate];
        }
    }
    approach(loop, ERL_SOURCE_DAMP, command);
}

static void ramp(erl_loop *loop) {
    float command[ERL_MAX_COMMANDS];
    erl_ramp_want(loop, loop->wanted);
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        command[i] = erl_inner_command(loop, i, &loop->wanted[i]);
    }
    approach(loop, ERL_SOURCE_RAMP, command);
}

/* Makes the candidate's command of this tick. true: there is one, and loop->judged may be written. A candidate that is
 * not ready has none, whatever it says, and each that takes over is blended in, also from another one. */
bool erl_source_stand_by(erl_loop *loop) {
    const uint64_t candidate = loop->status.candidate;
    if (!erl_policies_ready(loop, candidate)) {
        return false;
    }
    erl_ask_candidate(loop);
    if (!erl_inner_current(loop, &loop->standby)) {
        return false;
    }
    if (loop->last_source != ERL_SOURCE_STANDBY || loop->stands_by != candidate) {
        erl_inner_start(loop, &loop->standby);
    }
    loop->stands_by = candidate;
    return erl_inner_act(loop, &loop->standby, ERL_SOURCE_STANDBY) == 0;
}

/* Fills loop->command. Answers whether the PD channels are held at loop->wanted. */
bool erl_source_fill(erl_loop *loop, uint32_t source, uint32_t mode) {
    switch (source) {
    case ERL_SOURCE_POLICY:
    case ERL_SOURCE_STANDBY:
        memcpy(loop->command, loop->judged, loop->config.command_count * sizeof(float));
        return true;
    case ERL_SOURCE_HOLD:
        return hold(loop, mode == ERL_MODE_ACTIVE || mode == ERL_MODE_PREPARE);
    case ERL_SOURCE_RAMP:
        ramp(loop);
        return true;
    case ERL_SOURCE_DAMP:
        damp(loop);
        return false;
    default:
        safe(loop);
        return false;
    }
}
