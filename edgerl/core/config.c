/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c: says whether a configuration makes sense, before anything is done with it. It repairs nothing.
 */
#include "internal.h"

#define LONGEST_NS (UINT64_C(3600) * ERL_NS_PER_S) /* an hour: no sum of times can overflow */
#define SHORTEST_PERIOD_NS UINT64_C(50000)         /* 20 kHz */

static const char *const FAULT_NAMES[ERL_CONFIG_FAULT_COUNT] = {
    "nothing is wrong with it",
    "its magic, version or size is another edgerl's",
    "state_count, command_count, observation_bytes (a multiple of 64) or ring_capacity is out of range",
    "session is 0",
    ("a time is out of range: it needs 50 us <= period <= valid_for, 0 < budget <= period, lead and spin within a "
     "period, grace below the budget, state_timeout above 0, and nothing above an hour"),
    "policy_divider is not 1 or action_delay is not 0, which this version does not run",
    "it needs 1 <= bucket_limit <= bucket_window <= 1024, and arm_ticks of at least 1",
    "on_reject is not hold, safe or lapse",
    "a state channel has an unknown type, is not aligned to its type, or lies outside the observation record",
    "a command channel needs low <= safe <= high with a finite safe, and a rate and acceleration above 0",
    "priority is not in 0..99, or cpu not in -1..1023",
    "a segment cannot be mapped, is too small, or has another header; or the socket is not a connected UDP socket",
    "the production profile needs real-time priority, affinity and memory lock, and the kernel refused one",
};

static bool counts_valid(const erl_config *config) {
    return config->state_count >= 1 && config->state_count <= ERL_MAX_STATES && config->command_count >= 1 &&
           config->command_count <= ERL_MAX_COMMANDS && config->observation_bytes >= 64 &&
           config->observation_bytes <= ERL_MAX_OBSERVATION_BYTES && config->observation_bytes % 64 == 0 &&
           config->ring_capacity >= 2 && config->ring_capacity <= ERL_MAX_RING;
}

static bool times_valid(const erl_config *config) {
    return config->period_ns >= SHORTEST_PERIOD_NS && config->period_ns <= config->valid_for_ns &&
           config->valid_for_ns <= LONGEST_NS && config->budget_ns >= 1 && config->budget_ns <= config->period_ns &&
           config->lead_ns <= config->period_ns && config->spin_ns <= config->period_ns &&
           config->state_grace_ns < config->budget_ns && config->state_timeout_ns >= 1 &&
           config->state_timeout_ns <= LONGEST_NS && config->heartbeat_timeout_ns <= LONGEST_NS &&
           config->hold_ns <= LONGEST_NS && config->safe_ns <= LONGEST_NS;
}

static bool state_channel_valid(const erl_state_channel *channel, uint32_t observation_bytes) {
    const uint32_t bytes = channel->dtype == ERL_UINT8 ? 1u : 4u;
    return channel->dtype <= ERL_UINT8 && channel->offset % bytes == 0 && channel->offset < observation_bytes;
}

static bool state_channels_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->state_count; i++) {
        if (!state_channel_valid(&config->states[i], config->observation_bytes)) {
            return false;
        }
    }
    return true;
}

static bool command_channels_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->command_count; i++) {
        if (!erl_channel_valid(&config->commands[i])) {
            return false;
        }
    }
    return true;
}

uint32_t erl_config_check(const erl_config *config) {
    if (config->magic != ERL_CONFIG_MAGIC || config->version != ERL_LAYOUT_VERSION ||
        config->bytes != sizeof(erl_config)) {
        return ERL_CONFIG_LAYOUT;
    }
    if (!counts_valid(config)) {
        return ERL_CONFIG_COUNTS;
    }
    if (config->session == 0) {
        return ERL_CONFIG_SESSION;
    }
    if (!times_valid(config)) {
        return ERL_CONFIG_TIMES;
    }
    if (config->policy_divider != 1 || config->action_delay != 0) {
        return ERL_CONFIG_DIVIDER;
    }
    if (config->bucket_limit < 1 || config->bucket_limit > config->bucket_window ||
        config->bucket_window > ERL_MAX_WINDOW || config->arm_ticks < 1) {
        return ERL_CONFIG_BUCKET;
    }
    if (config->on_reject < ERL_SOURCE_HOLD || config->on_reject > ERL_SOURCE_LAPSE) {
        return ERL_CONFIG_ON_REJECT;
    }
    if (!state_channels_valid(config)) {
        return ERL_CONFIG_STATE_CHANNEL;
    }
    if (!command_channels_valid(config)) {
        return ERL_CONFIG_COMMAND_CHANNEL;
    }
    return config->priority >= 0 && config->priority <= 99 && config->cpu >= -1 && config->cpu < 1024
               ? ERL_CONFIG_OK
               : ERL_CONFIG_REALTIME;
}

const char *erl_config_fault_name(uint32_t fault) {
    return fault < ERL_CONFIG_FAULT_COUNT ? FAULT_NAMES[fault] : NULL;
}
