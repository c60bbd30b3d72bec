/* SPDX-License-Identifier: Apache-2.0
 *
 * envelope.c: the last word on every command. Each channel must be finite, within [low, high], and reachable from the
 * command written last within max_rate and max_acceleration over the time since then. A channel outside is rejected or
 * saturated, as its configuration says; what is not finite is always rejected.
 *
 * Every comparison is written so that NaN fails it. Nothing here reads a clock: the caller says how much time went by.
 * What it does not do: choose what is written after a reject (modes.c), or know where the command came from.
 */
#include "internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct window {
    double low;
    double high;
} window;

/* What a channel may be: in itself, and after the one before. */
typedef struct windows {
    window range;
    window rate;
    window acceleration;
} windows;

static const window FLOATS = {.low = -(double)FLT_MAX, .high = (double)FLT_MAX};

bool erl_channel_valid(const erl_command_channel *channel) {
    return channel->low <= channel->safe && channel->safe <= channel->high && isfinite(channel->safe) &&
           channel->max_rate > 0.0f && channel->max_acceleration > 0.0f && channel->on_violation <= ERL_SATURATE;
}

static double seconds(uint64_t time_ns) {
    return (double)time_ns * 1e-9;
}

static bool inside(double value, window limits) {
    return value >= limits.low && value <= limits.high;
}

static double clip(double value, window limits) {
    const double raised = value < limits.low ? limits.low : value;
    return raised > limits.high ? limits.high : raised;
}

void erl_envelope_start(erl_envelope *envelope, const erl_command_channel *channels, uint32_t count) {
    memset(envelope, 0, sizeof *envelope);
    envelope->channels = channels;
    envelope->count = count;
}

/* Sets out from `reference`, brought into range, as if it had been written `since_ns` ago. */
void erl_envelope_seed(erl_envelope *envelope, const float *reference, uint64_t since_ns) {
    for (uint32_t i = 0; i < envelope->count; i++) {
        const erl_command_channel *channel = &envelope->channels[i];
        const window range = {.low = (double)channel->low, .high = (double)channel->high};
        envelope->last[i] = isfinite(reference[i]) ? (float)clip((double)reference[i], range) : channel->safe;
    }
    envelope->has_last = true;
    envelope->has_rate = false;
    envelope->since_ns = since_ns;
}

void erl_envelope_advance(erl_envelope *envelope, uint64_t elapsed_ns) {
    envelope->since_ns += elapsed_ns;
}

static window intersection(window a, window b) {
    return (window){.low = a.low > b.low ? a.low : b.low, .high = a.high < b.high ? a.high : b.high};
}

/* What may follow the last written value; unlimited where no limit applies (infinity times a time of 0 is NaN). */
static window around(double centre, double limit, double factor) {
    if (isinf(limit)) {
        return FLOATS;
    }
    return (window){.low = centre - limit * factor, .high = centre + limit * factor};
}

/* A float within the window, which always holds one: the last written value, or a limit that is a float itself. */
static float narrow(double value, window limits) {
    const float nearest = (float)value;
    if ((double)nearest > limits.high) {
        return nextafterf(nearest, -INFINITY);
    }
    return (double)nearest < limits.low ? nextafterf(nearest, INFINITY) : nearest;
}

/* The rate so far counts where its source commands on. One that takes over may begin at any; what is approached is so
 * from rest. */
static windows around_last(const erl_envelope *envelope, uint32_t i, bool takes_over, bool approach) {
    const erl_command_channel *channel = &envelope->channels[i];
    windows found = {.range = {.low = (double)channel->low, .high = (double)channel->high},
                     .rate = FLOATS,
                     .acceleration = FLOATS};
    if (envelope->has_last) {
        const double last = (double)envelope->last[i];
        const double elapsed_s = seconds(envelope->since_ns);
        const bool moving = envelope->has_rate && !takes_over;
        const double coasting = moving ? last + envelope->rate[i] * elapsed_s : last;
        found.rate = around(last, (double)channel->max_rate, elapsed_s);
        if (moving || approach) {
            found.acceleration = around(coasting, (double)channel->max_acceleration, elapsed_s * elapsed_s);
        }
    }
    return found;
}

/* Where they conflict (braking before a limit), acceleration yields to range and rate. */
static float bring_within(double value, const windows *limits) {
    const window hard = intersection(intersection(limits->range, FLOATS), limits->rate);
    return narrow(clip(clip(value, limits->acceleration), hard), hard);
}

static uint8_t check_channel(const erl_envelope *envelope, uint32_t i, bool takes_over, float wanted, float *out) {
    const erl_command_channel *channel = &envelope->channels[i];
    *out = channel->safe;
    if (!isfinite(wanted)) {
        return ERL_CAUSE_NOT_FINITE | ERL_VERDICT_REJECTED;
    }
    const double value = (double)wanted;
    const windows limits = around_last(envelope, i, takes_over, false);
    const uint8_t causes = (uint8_t)((value >= limits.range.low ? 0u : ERL_CAUSE_LOW) |
                                     (value <= limits.range.high ? 0u : ERL_CAUSE_HIGH) |
                                     (inside(value, limits.rate) ? 0u : ERL_CAUSE_RATE) |
                                     (inside(value, limits.acceleration) ? 0u : ERL_CAUSE_ACCELERATION));
    if (causes == 0u) {
        *out = wanted;
        return 0u;
    }
    if (channel->on_violation != ERL_SATURATE) {
        return causes | ERL_VERDICT_REJECTED;
    }
    *out = bring_within(value, &limits);
    return causes | ERL_VERDICT_SATURATED;
}

/* Checks the policy's command; returns the bits of all channels together. `out` may be written only if none of them is
 * REJECTED. `takes_over`: the command before was another source's. */
uint8_t erl_envelope_check(const erl_envelope *envelope, bool takes_over, const float *wanted, float *out,
                           uint8_t *verdicts) {
    uint8_t all = 0;
    for (uint32_t i = 0; i < envelope->count; i++) {
        verdicts[i] = check_channel(envelope, i, takes_over, wanted[i], &out[i]);
        all |= verdicts[i];
    }
    return all;
}

/* How near to `wanted` the next value may be so that the speed of getting there can still be braked away in time: of
 * the speeds v with v * dt + v * v / (2 * limit) <= distance, the highest. What one tick can brake is gone at once. */
static double braked(double last, double wanted, double limit, double elapsed_s) {
    const double distance = fabs(wanted - last);
    if (distance <= limit * elapsed_s * elapsed_s) {
        return wanted;
    }
    const double speed = limit * (sqrt(elapsed_s * elapsed_s + 2.0 * distance / limit) - elapsed_s);
    return last + copysign(speed * elapsed_s, wanted - last);
}

static float approach_channel(const erl_envelope *envelope, uint32_t i, bool takes_over, float wanted) {
    const erl_command_channel *channel = &envelope->channels[i];
    const windows limits = around_last(envelope, i, takes_over, true);
    double value = (double)(isfinite(wanted) ? wanted : channel->safe);
    if (envelope->has_last && isfinite(channel->max_acceleration)) {
        value = braked((double)envelope->last[i], value, (double)channel->max_acceleration,
                       seconds(envelope->since_ns));
    }
    return bring_within(value, &limits);
}

/* What is no policy's is never refused but approached, from rest and to rest, as fast as the envelope lets it. */
void erl_envelope_approach(const erl_envelope *envelope, bool takes_over, const float *wanted, float *out) {
    for (uint32_t i = 0; i < envelope->count; i++) {
        out[i] = approach_channel(envelope, i, takes_over, wanted[i]);
    }
}

/* This command was sent. One in no time has no rate of its own, and another source's does not count. */
void erl_envelope_commit(erl_envelope *envelope, bool takes_over, const float *written) {
    const double elapsed_s = seconds(envelope->since_ns);
    const bool moved = envelope->has_last && envelope->since_ns > 0;
    for (uint32_t i = 0; i < envelope->count; i++) {
        if (moved) {
            envelope->rate[i] = ((double)written[i] - (double)envelope->last[i]) / elapsed_s;
        }
        envelope->last[i] = written[i];
    }
    envelope->has_rate = moved || (envelope->has_rate && !takes_over);
    envelope->has_last = true;
    envelope->since_ns = 0;
}
