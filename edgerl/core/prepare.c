/* SPDX-License-Identifier: Apache-2.0
 *
 * prepare.c: the ramp of PREPARE. Positions go from where they were measured to the start pose along a minimum-jerk
 * profile; gains and everything else are at their prepare values throughout. It wants; the envelope decides how fast.
 *
 * Time that the loop lost is not made up for: a tick moves the ramp by one period at most.
 */
#include "internal.h"

/* Where a ramp of duration 1 is at x: 0 and 1 at the ends, with neither speed nor acceleration there.
 * Flash and Hogan, "The coordination of arm movements", 1985. */
static double minimum_jerk(double x) {
    return x * x * x * (10.0 + x * (6.0 * x - 15.0));
}

static bool ramped(const erl_command_channel *channel) {
    return channel->role == ERL_ROLE_POSITION || channel->pd != 0;
}

/* The envelope was seeded from the measured state: that is where positions set out. */
void erl_ramp_start(erl_loop *loop) {
    loop->ramp.spent_ns = 0;
    loop->ramp.over = false;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_command_channel *channel = &loop->config.commands[i];
        loop->ramp.from[i] = channel->pd != 0 ? loop->state.values[channel->measured] : loop->envelope.last[i];
    }
}

/* What PREPARE wants in this tick. */
void erl_ramp_want(erl_loop *loop, erl_setpoint *wanted) {
    erl_ramp *ramp = &loop->ramp;
    ramp->spent_ns += erl_progress_ns(loop);
    const bool past = ramp->spent_ns >= loop->config.prepare_ns;
    const double way = minimum_jerk((double)ramp->spent_ns / (double)loop->config.prepare_ns);
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_command_channel *channel = &loop->config.commands[i];
        const double from = (double)ramp->from[i];
        const double to = (double)channel->prepare;
        wanted[i] = (erl_setpoint){
            .target = past || !ramped(channel) ? channel->prepare : (float)(from + (to - from) * way),
            .kp = channel->prepare_kp,
            .kd = channel->prepare_kd,
        };
    }
}

/* It is over when its time is and the envelope let every position get there. */
void erl_ramp_written(erl_loop *loop, const float *command) {
    bool there = loop->ramp.spent_ns >= loop->config.prepare_ns;
    for (uint32_t i = 0; i < loop->config.command_count; i++) {
        const erl_command_channel *channel = &loop->config.commands[i];
        there = there && (channel->pd != 0 || command[i] == channel->prepare);
    }
    loop->ramp.over = there;
}
