/* SPDX-License-Identifier: Apache-2.0
 *
 * replay.c: the guardian's envelope on recorded commands, and its assembler on recorded states, for `edgerl pack` and
 * for tests. The envelope decides as tick.c does in ACTIVE: a good or saturated row is written, a rejected one writes
 * what on_reject says. The assembler goes on as ask.c does: a reset waits for the next row that can be made.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

static void begin_episode(erl_envelope *envelope, const erl_command_channel *channels, uint32_t count,
                          uint64_t seed_ns) {
    erl_envelope_start(envelope, channels, count);
    if (seed_ns == 0) {
        return;
    }
    float safe[ERL_MAX_COMMANDS];
    for (uint32_t i = 0; i < count; i++) {
        safe[i] = channels[i].safe;
    }
    erl_envelope_seed(envelope, safe, seed_ns);
}

static void write_row(erl_envelope *envelope, uint32_t source, bool takes_over, const float *candidate,
                      float *written) {
    const uint32_t resolved = erl_modes_resolve(source, source, envelope->has_last, NULL, 0);
    if (resolved == ERL_SOURCE_LAPSE) {
        for (uint32_t i = 0; i < envelope->count; i++) {
            written[i] = NAN;
        }
        return;
    }
    if (resolved == ERL_SOURCE_POLICY) {
        memcpy(written, candidate, envelope->count * sizeof(float));
    } else if (resolved == ERL_SOURCE_HOLD) {
        erl_envelope_approach(envelope, takes_over, envelope->last, written);
    } else {
        float safe[ERL_MAX_COMMANDS];
        for (uint32_t i = 0; i < envelope->count; i++) {
            safe[i] = envelope->channels[i].safe;
        }
        erl_envelope_approach(envelope, takes_over, safe, written);
    }
    erl_envelope_commit(envelope, takes_over, written);
}

uint32_t erl_envelope_replay(const erl_command_channel *channels, uint32_t count, uint32_t on_reject,
                             uint64_t seed_ns, uint64_t rows, const float *commands, const uint64_t *times_ns,
                             const uint8_t *episode_start, uint8_t *verdicts, float *written) {
    if (count < 1 || count > ERL_MAX_COMMANDS || on_reject < ERL_SOURCE_HOLD || on_reject > ERL_SOURCE_LAPSE) {
        return ERL_BAD;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!erl_channel_valid(&channels[i])) {
            return ERL_BAD;
        }
    }
    erl_envelope envelope;
    float candidate[ERL_MAX_COMMANDS];
    uint32_t last_source = ERL_SOURCE_LAPSE;
    for (uint64_t row = 0; row < rows; row++) {
        if (row == 0 || episode_start[row] != 0) {
            begin_episode(&envelope, channels, count, seed_ns);
        } else {
            erl_envelope_advance(&envelope, times_ns[row] > times_ns[row - 1] ? times_ns[row] - times_ns[row - 1] : 0);
        }
        const uint8_t all = erl_envelope_check(&envelope, last_source != ERL_SOURCE_POLICY, commands + row * count,
                                               candidate, verdicts + row * count);
        const uint32_t source = (all & ERL_VERDICT_REJECTED) != 0 ? on_reject : ERL_SOURCE_POLICY;
        write_row(&envelope, source, source != last_source, candidate, written + row * count);
        last_source = source;
    }
    return ERL_OK;
}

uint32_t erl_assembler_replay(const erl_config *config, uint64_t rows, const float *states, const float *operators,
                              const float *raws, const uint8_t *reset, uint8_t *records, uint8_t *made) {
    static const float no_raw[ERL_MAX_COMMANDS];
    uint8_t record[ERL_MAX_OBSERVATION_BYTES] = {0};
    float gravity[3];
    bool restart = true;
    if (erl_config_check(config) != ERL_CONFIG_OK) {
        return ERL_BAD;
    }
    for (uint64_t row = 0; row < rows; row++) {
        restart = restart || reset[row] != 0;
        const erl_inputs inputs = {
            .state = states + row * config->state_count,
            .gravity = gravity,
            .operators = operators + row * config->operator_count,
            .last_raw = restart ? no_raw : raws + row * config->raw_count,
        };
        made[row] = erl_gravity(config, inputs.state, gravity) && erl_assemble(config, &inputs, restart, record);
        restart = restart && !made[row];
        memcpy(records + row * config->observation_bytes, record, config->observation_bytes);
    }
    return ERL_OK;
}
