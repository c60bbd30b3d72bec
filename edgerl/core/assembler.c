/* SPDX-License-Identifier: Apache-2.0
 *
 * assembler.c: makes the packed observation record, as the configuration's program of terms says. A value is
 * clip((value - offset) * scale) in float32, one operation after the other, and is then brought to its input's type.
 * The record is its own memory: a term with a history moves its past back by one tick and puts the new values last.
 *
 * All values of a tick are made before the first is written: a record is whole, or it is the one before. It knows no
 * clock and no mode: whoever calls it decides when a tick of the policy is.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

static uint32_t value_bytes(uint32_t dtype) {
    return dtype == ERL_UINT8 ? 1u : 4u;
}

/* The sums are in 64 bits: nothing that a configuration can say makes them wrap. */
static bool term_valid(const erl_config *config, const erl_term *term) {
    const uint64_t width = (uint64_t)term->count * value_bytes(term->dtype);
    const uint64_t past = term->history >= 1 ? (uint64_t)(term->history - 1u) * term->stride : UINT64_MAX;
    const bool history = term->history == 1 || (term->dtype == ERL_FLOAT32 && term->stride >= width &&
                                                term->stride % 4u == 0 && term->repeat <= 1);
    return term->dtype <= ERL_UINT8 && term->first <= config->element_count &&
           term->count <= config->element_count - term->first && history &&
           term->offset % value_bytes(term->dtype) == 0 && past <= config->observation_bytes &&
           term->offset + past + width <= config->observation_bytes;
}

static bool source_valid(const erl_config *config, const erl_element *element) {
    switch (element->source) {
    case ERL_ELEMENT_STATE:
        return element->index < config->state_count;
    case ERL_ELEMENT_GRAVITY:
        return config->attitude != ERL_ATTITUDE_NONE && element->index < 3u;
    case ERL_ELEMENT_OPERATOR:
        return element->index < config->operator_count;
    case ERL_ELEMENT_LAST_RAW:
        return element->index < config->raw_count;
    default:
        return false;
    }
}

static bool element_valid(const erl_config *config, const erl_element *element) {
    return source_valid(config, element) && isfinite(element->offset) && isfinite(element->scale) &&
           element->low <= element->high;
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

static float raw_value(const erl_inputs *inputs, const erl_element *element) {
    switch (element->source) {
    case ERL_ELEMENT_STATE:
        return inputs->state[element->index];
    case ERL_ELEMENT_GRAVITY:
        return inputs->gravity[element->index];
    case ERL_ELEMENT_OPERATOR:
        return inputs->operators[element->index];
    default:
        return inputs->last_raw[element->index];
    }
}

static float transformed(const erl_element *element, float value) {
    const float scaled = (value - element->offset) * element->scale;
    const float raised = scaled < element->low ? element->low : scaled;
    return raised > element->high ? element->high : raised;
}

/* NaN is in no range. */
static bool representable(float value, uint32_t dtype) {
    const double whole = nearbyint((double)value);
    if (dtype == ERL_INT32) {
        return whole >= -2147483648.0 && whole <= 2147483647.0;
    }
    return dtype == ERL_UINT8 ? whole >= 0.0 && whole <= 255.0 : isfinite(value);
}

static bool evaluate(const erl_config *config, const erl_inputs *inputs, float *values) {
    for (uint32_t i = 0; i < config->element_count; i++) {
        const erl_element *element = &config->elements[i];
        values[i] = transformed(element, raw_value(inputs, element));
    }
    for (uint32_t i = 0; i < config->term_count; i++) {
        const erl_term *term = &config->terms[i];
        for (uint32_t k = 0; k < term->count; k++) {
            if (!representable(values[term->first + k], term->dtype)) {
                return false;
            }
        }
    }
    return true;
}

static void put(uint8_t *to, uint32_t dtype, float value) {
    if (dtype == ERL_FLOAT32) {
        memcpy(to, &value, sizeof value);
        return;
    }
    const int32_t whole = (int32_t)nearbyint((double)value);
    if (dtype == ERL_INT32) {
        memcpy(to, &whole, sizeof whole);
    } else {
        *to = (uint8_t)whole;
    }
}

/* The past of a term whose newest values stand in the record already. */
static void fill_past(const erl_term *term, uint8_t *oldest, const uint8_t *newest) {
    for (uint32_t k = 0; k + 1u < term->history; k++) {
        uint8_t *slot = oldest + (size_t)k * term->stride;
        if (term->repeat) {
            memcpy(slot, newest, term->count * sizeof(float));
        } else {
            memset(slot, 0, term->count * sizeof(float));
        }
    }
}

static void shift_past(const erl_term *term, uint8_t *oldest) {
    for (uint32_t k = 0; k + 1u < term->history; k++) {
        uint8_t *slot = oldest + (size_t)k * term->stride;
        memcpy(slot, slot + term->stride, term->count * sizeof(float));
    }
}

static void write_term(const erl_term *term, const float *values, bool reset, uint8_t *record) {
    uint8_t *oldest = record + term->offset;
    uint8_t *newest = oldest + (size_t)(term->history - 1u) * term->stride;
    if (!reset) {
        shift_past(term, oldest);
    }
    for (uint32_t k = 0; k < term->count; k++) {
        put(newest + k * value_bytes(term->dtype), term->dtype, values[term->first + k]);
    }
    if (reset) {
        fill_past(term, oldest, newest);
    }
}

/* One tick of the policy: true, and the record is the next one; or false, since a value is not finite or its type
 * cannot hold it, and the record is as it was. `reset`: an episode begins, and no history reaches back beyond it. */
bool erl_assemble(const erl_config *config, const erl_inputs *inputs, bool reset, uint8_t *record) {
    float values[ERL_MAX_ELEMENTS];
    if (!evaluate(config, inputs, values)) {
        return false;
    }
    for (uint32_t i = 0; i < config->term_count; i++) {
        write_term(&config->terms[i], values, reset, record);
    }
    return true;
}
