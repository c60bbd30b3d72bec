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

static const window FLOATS = {.low = -(double)FLT_MAX, .high = (double)FLT_MAX};

bool erl_channel_valid(const erl_command_channel *channel) {
    return channel->low <= channel->safe && channel->safe <= channel->high && isfinite(channel->safe) &&
           channel->max_rate > 0.0f && channel->max_acceleration > 0.0f && channel->on_violation <= ERL_SATURATE;
}

void erl_envelope_start(erl_envelope *envelope, const erl_command_channel *channels, uint32_t count) {
    memset(envelope, 0, sizeof *envelope);
    envelope->channels = channels;
    envelope->count = count;
}

/* The command changes hands: its rate so far belongs to another source. The last written command stays. */
void erl_envelope_forget_rate(erl_envelope *envelope) {
    envelope->has_rate = false;
}

void erl_envelope_advance(erl_envelope *envelope, uint64_t elapsed_ns) {
    envelope->since_ns += elapsed_ns;
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

static uint8_t check_channel(const erl_envelope *envelope, uint32_t i, bool never_reject, float wanted, float *out) {
    const erl_command_channel *channel = &envelope->channels[i];
    *out = channel->safe;
    if (!isfinite(wanted)) {
        return ERL_CAUSE_NOT_FINITE | ERL_VERDICT_REJECTED;
    }
    const double value = (double)wanted;
    const double elapsed_s = seconds(envelope->since_ns);
    window hard = {.low = (double)channel->low, .high = (double)channel->high};
    window rate = FLOATS;
    window acceleration = FLOATS;
    if (envelope->has_last) {
        const double last = (double)envelope->last[i];
        rate = around(last, (double)channel->max_rate, elapsed_s);
        if (envelope->has_rate) {
            const double coasting = last + envelope->rate[i] * elapsed_s;
            acceleration = around(coasting, (double)channel->max_acceleration, elapsed_s * elapsed_s);
        }
    }
    const uint8_t causes = (uint8_t)((value >= hard.low ? 0u : ERL_CAUSE_LOW) |
                                     (value <= hard.high ? 0u : ERL_CAUSE_HIGH) |
                                     (inside(value, rate) ? 0u : ERL_CAUSE_RATE) |
                                     (inside(value, acceleration) ? 0u : ERL_CAUSE_ACCELERATION));
    if (causes == 0u) {
        *out = wanted;
        return 0u;
    }
    if (channel->on_violation != ERL_SATURATE && !never_reject) {
        return causes | ERL_VERDICT_REJECTED;
    }
    /* Where they conflict (braking before a limit), acceleration yields to range and rate. */
    hard = intersection(intersection(hard, FLOATS), rate);
    *out = narrow(clip(clip(value, acceleration), hard), hard);
    return causes | ERL_VERDICT_SATURATED;
}

/* Checks a whole command; returns the bits of all channels together. `out` may be written only if none of them is
 * REJECTED. `never_reject`: the safe command is approached as fast as the envelope lets it, never refused. */
uint8_t erl_envelope_check(const erl_envelope *envelope, bool never_reject, const float *wanted, float *out,
                           uint8_t *verdicts) {
    uint8_t all = 0;
    for (uint32_t i = 0; i < envelope->count; i++) {
        verdicts[i] = check_channel(envelope, i, never_reject, wanted[i], &out[i]);
        all |= verdicts[i];
    }
    return all;
}

/* This command was sent. */
void erl_envelope_commit(erl_envelope *envelope, const float *written) {
    const double elapsed_s = seconds(envelope->since_ns);
    const bool moved = envelope->has_last && envelope->since_ns > 0;
    for (uint32_t i = 0; i < envelope->count; i++) {
        if (moved) {
            envelope->rate[i] = ((double)written[i] - (double)envelope->last[i]) / elapsed_s;
        }
        envelope->last[i] = written[i];
    }
    envelope->has_rate = envelope->has_rate || moved;
    envelope->has_last = true;
    envelope->since_ns = 0;
}
