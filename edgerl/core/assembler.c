/* SPDX-License-Identifier: Apache-2.0
 *
 * assembler.c: writes the packed observation record from the robot's state, as the terms of the configuration say.
 * A value is clip((value - offset) * scale) in float32, then brought to the input's type.
 *
 * The record is written only when every value of the tick is there and finite.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

static bool term_valid(const erl_config *config, const erl_term *term) {
    const uint32_t bytes = term->dtype == ERL_UINT8 ? 1u : 4u;
    return term->dtype <= ERL_UINT8 && term->first <= config->element_count &&
           term->count <= config->element_count - term->first && term->history == 1 && term->offset % bytes == 0 &&
           term->offset <= config->observation_bytes &&
           term->count * bytes <= config->observation_bytes - term->offset;
}

static bool element_valid(const erl_config *config, const erl_element *element) {
    return element->source == ERL_ELEMENT_STATE && element->index < config->state_count &&
           isfinite(element->offset) && isfinite(element->scale) && element->low <= element->high;
}

bool erl_terms_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->element_count; i++) {
        if (!element_valid(config, &config->elements[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < config->term_count; i++) {
        if (!term_valid(config, &config->terms[i])) {
            return false;
        }
    }
    return true;
}

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

static bool put(uint8_t *to, uint32_t dtype, float value) {
    if (!isfinite(value)) {
        return false;
    }
    if (dtype == ERL_FLOAT32) {
        memcpy(to, &value, sizeof value);
        return true;
    }
    const double whole = nearbyint((double)value);
    return dtype == ERL_INT32 ? put_int32(to, whole) : put_uint8(to, whole);
}

static float transformed(const erl_element *element, float value) {
    const float scaled = (value - element->offset) * element->scale;
    const float raised = scaled < element->low ? element->low : scaled;
    return raised > element->high ? element->high : raised;
}

/* false: a value is not finite, or its type cannot hold it; the record is then not to be used. */
bool erl_assemble(const erl_config *config, const float *state, uint8_t *record) {
    for (uint32_t i = 0; i < config->term_count; i++) {
        const erl_term *term = &config->terms[i];
        const uint32_t bytes = term->dtype == ERL_UINT8 ? 1u : 4u;
        for (uint32_t k = 0; k < term->count; k++) {
            const erl_element *element = &config->elements[term->first + k];
            if (!put(record + term->offset + k * bytes, term->dtype, transformed(element, state[element->index]))) {
                return false;
            }
        }
    }
    for (uint32_t i = 0; i < config->state_count; i++) {
        if (!isfinite(state[i])) {
            return false;
        }
    }
    return true;
}
