/* SPDX-License-Identifier: Apache-2.0
 *
 * assembler.c: writes the packed observation record from the robot's state: channel i goes to its byte offset, in its
 * type. It scales, stacks and clips nothing: the terms of this version are opaque, so the robot's side sends the
 * environment's own observation.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

static bool put_int32(uint8_t *to, double value) {
    if (!(value >= -2147483648.0 && value <= 2147483647.0)) {
        return false;
    }
    const int32_t whole = (int32_t)value;
    memcpy(to, &whole, sizeof whole);
    return true;
}

static bool put_uint8(uint8_t *to, double value) {
    if (!(value >= 0.0 && value <= 255.0)) {
        return false;
    }
    *to = (uint8_t)value;
    return true;
}

/* false: a value is not finite, or its type cannot hold it; the record is then not to be used. */
bool erl_assemble(const erl_config *config, const float *state, uint8_t *record) {
    for (uint32_t i = 0; i < config->state_count; i++) {
        const erl_state_channel *channel = &config->states[i];
        uint8_t *to = record + channel->offset;
        if (!isfinite(state[i])) {
            return false;
        }
        if (channel->dtype == ERL_FLOAT32) {
            memcpy(to, &state[i], sizeof(float));
            continue;
        }
        const double whole = nearbyint((double)state[i]);
        if (!(channel->dtype == ERL_INT32 ? put_int32(to, whole) : put_uint8(to, whole))) {
            return false;
        }
    }
    return true;
}
