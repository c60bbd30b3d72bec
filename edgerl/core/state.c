/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c: what is wrong with a state that the robot sent: not finite, an attitude that is none, outside its limits,
 * tilted too far, or the same again and again where a sensor's noise makes that impossible. Also, whether the policy
 * may begin from it, and where gravity points.
 *
 * Every comparison is written so that NaN fails it. It reads no clock and changes nothing but what it remembers.
 */
#include "internal.h"

#include <math.h>

#define UNIT_LOW 0.96 /* a norm within 2 %: a sensor's rounding, not another quantity; squared */
#define UNIT_HIGH 1.04

static bool unit(double norm_squared) {
    return norm_squared >= UNIT_LOW && norm_squared <= UNIT_HIGH;
}

/* The world's (0, 0, -1) seen from the body: the third row of the rotation from body to world, downwards. A quaternion
 * is normalized in double precision; a vector is passed on as it came. false: what was sent is no direction. */
bool erl_gravity(const erl_config *config, const float *state, float *gravity) {
    if (config->attitude == ERL_ATTITUDE_NONE) {
        return true;
    }
    const float *at = &state[config->attitude_channel];
    if (config->attitude == ERL_ATTITUDE_GRAVITY) {
        const double x = (double)at[0];
        const double y = (double)at[1];
        const double z = (double)at[2];
        gravity[0] = at[0];
        gravity[1] = at[1];
        gravity[2] = at[2];
        return unit(x * x + y * y + z * z);
    }
    const uint32_t vector = config->attitude == ERL_ATTITUDE_WXYZ ? 1u : 0u;
    const double w = (double)at[config->attitude == ERL_ATTITUDE_WXYZ ? 0u : 3u];
    const double x = (double)at[vector];
    const double y = (double)at[vector + 1u];
    const double z = (double)at[vector + 2u];
    const double norm = w * w + x * x + y * y + z * z;
    if (!unit(norm)) {
        return false;
    }
    gravity[0] = (float)-(2.0 * (x * z - w * y) / norm);
    gravity[1] = (float)-(2.0 * (y * z + w * x) / norm);
    gravity[2] = (float)-((w * w - x * x - y * y + z * z) / norm);
    return true;
}

/* The cosine of the tilt: 1 stands upright, -1 on its head. */
static float upright(const float *gravity) {
    const float norm = sqrtf(gravity[0] * gravity[0] + gravity[1] * gravity[1] + gravity[2] * gravity[2]);
    return -gravity[2] / norm;
}

/* A limit of -1 is none: no rounding may make a robot on its head fall out of it. */
static bool tilt_within(const erl_loop *loop, float least) {
    return least == -1.0f || upright(loop->gravity) >= least;
}

static bool all_finite(const erl_loop *loop) {
    for (uint32_t i = 0; i < loop->config.state_count; i++) {
        if (!isfinite(loop->state.values[i])) {
            return false;
        }
    }
    return true;
}

static bool within_limits(const erl_loop *loop) {
    for (uint32_t i = 0; i < loop->config.state_count; i++) {
        const erl_state_channel *channel = &loop->config.states[i];
        if (!(loop->state.values[i] >= channel->low && loop->state.values[i] <= channel->high)) {
            return false;
        }
    }
    return tilt_within(loop, loop->config.tilt_cos);
}

/* One stuck sensor is enough. A robot that stands still until it is asked may repeat itself meanwhile. */
static bool frozen(erl_loop *loop) {
    const bool waiting = (loop->state.flags & ERL_STATE_WAITING) != 0;
    const bool comparable = loop->status.states_taken > 1 && !waiting;
    bool any = false;
    for (uint32_t i = 0; i < loop->config.state_count; i++) {
        const float value = loop->state.values[i];
        if (!(comparable && value == loop->state_before[i])) {
            loop->unchanged[i] = 0;
        } else if (loop->unchanged[i] < loop->config.frozen_ticks) {
            loop->unchanged[i]++;
        }
        loop->state_before[i] = value;
        any = any || (loop->config.states[i].noisy != 0 && loop->unchanged[i] >= loop->config.frozen_ticks);
    }
    return loop->config.frozen_ticks > 0 && any;
}

/* Of the state just taken: its event bits, and loop->gravity. */
uint32_t erl_state_judge(erl_loop *loop) {
    if (!(all_finite(loop) && erl_gravity(&loop->config, loop->state.values, loop->gravity))) {
        return 1u << ERL_EVENT_STATE_FAULT;
    }
    uint32_t events = within_limits(loop) ? 0u : 1u << ERL_EVENT_STATE_LIMIT;
    events |= frozen(loop) ? 1u << ERL_EVENT_STATE_FROZEN : 0u;
    return events;
}

bool erl_state_in_start_set(const erl_loop *loop) {
    for (uint32_t i = 0; i < loop->config.state_count; i++) {
        const erl_state_channel *channel = &loop->config.states[i];
        if (!(loop->state.values[i] >= channel->start_low && loop->state.values[i] <= channel->start_high)) {
            return false;
        }
    }
    return tilt_within(loop, loop->config.start_tilt_cos);
}
