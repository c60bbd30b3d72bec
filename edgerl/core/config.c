/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c: says whether a configuration makes sense, before anything is done with it. It repairs nothing.
 */
#include "internal.h"

#include <math.h>

#define LONGEST_NS (UINT64_C(3600) * ERL_NS_PER_S) /* an hour: no sum of times can overflow */
#define SHORTEST_PERIOD_NS UINT64_C(50000)         /* 20 kHz */

static const char *const FAULT_NAMES[ERL_CONFIG_FAULT_COUNT] = {
    "nothing is wrong with it",
    "its magic, version or size is another edgerl's",
    "a count of channels, values, terms or records is out of range, or observation_bytes is not a multiple of 64",
    "session is 0",
    ("a time is out of range: it needs 50 us <= period <= valid_for, 0 < budget <= period, lead and spin within a "
     "period, grace below the budget, state_timeout above 0, and nothing above an hour"),
    "it needs 0 < action_delay <= policy_divider, or a policy_divider of 1 with an action_delay of 0",
    "it needs 1 <= limit <= window <= 1024 for each bucket, and arm_ticks above action_delay",
    "on_reject is not hold, safe or lapse",
    "a state channel needs low <= high and start_low <= start_high",
    ("a command channel needs low <= safe <= high with a finite safe, a rate and acceleration above 0, and an action "
     "and state channels that exist"),
    "priority is not in 0..99, or cpu not in -1..1023",
    "an observation term or one of its values is of an unknown kind, names what is not there, or is outside the record",
    "a fallback ladder has too many rungs, a source that is no rung, or for state faults one that needs a state",
    "an operator value needs low <= timeout_value <= high, all finite, and an operator_timeout",
    "the attitude is of an unknown kind, outside the state, or a cosine is outside [-1, 1] or limits no attitude",
    "the clock is neither grid nor robot, or the inner law is unknown",
    "the robot port is neither UDP nor shared memory, or has tags where it takes none, or no room for state and tag",
    ("a segment cannot be mapped, is too small, or has another header; or the robot is not one connected UDP socket or "
     "two mailboxes"),
    "the production profile needs real-time priority, affinity and memory lock, and the kernel refused one",
};

static bool counts_valid(const erl_config *config) {
    /* A policy may observe nothing but images, which do not come this way. */
    return config->state_count <= ERL_MAX_STATES && config->command_count >= 1 &&
           config->command_count <= ERL_MAX_COMMANDS && config->action_count >= 1 &&
           config->action_count <= ERL_MAX_COMMANDS && config->raw_count <= ERL_MAX_COMMANDS &&
           config->operator_count <= ERL_MAX_OPERATOR && config->element_count <= ERL_MAX_ELEMENTS &&
           config->term_count <= ERL_MAX_TERMS && config->observation_bytes <= ERL_MAX_OBSERVATION_BYTES &&
           config->observation_bytes % 64 == 0 && config->ring_capacity >= 2 &&
           config->ring_capacity <= ERL_MAX_RING;
}

static bool times_valid(const erl_config *config) {
    return config->period_ns >= SHORTEST_PERIOD_NS && config->period_ns <= config->valid_for_ns &&
           config->valid_for_ns <= LONGEST_NS && config->budget_ns >= 1 && config->budget_ns <= config->period_ns &&
           config->lead_ns <= config->period_ns && config->spin_ns <= config->period_ns &&
           config->state_grace_ns < config->budget_ns && config->state_timeout_ns >= 1 &&
           config->state_timeout_ns <= LONGEST_NS && config->heartbeat_timeout_ns <= LONGEST_NS &&
           config->inference_timeout_ns <= LONGEST_NS && config->jitter_budget_ns <= LONGEST_NS &&
           config->operator_timeout_ns <= LONGEST_NS && config->prepare_ns <= LONGEST_NS &&
           config->blend_ns <= LONGEST_NS;
}

static bool divider_valid(const erl_config *config) {
    if (config->action_delay == 0) {
        return config->policy_divider == 1;
    }
    return config->action_delay <= config->policy_divider && config->policy_divider <= ERL_MAX_WINDOW;
}

static bool bucket_valid(uint32_t limit, uint32_t window) {
    return limit >= 1 && limit <= window && window <= ERL_MAX_WINDOW;
}

static bool buckets_valid(const erl_config *config) {
    return bucket_valid(config->bucket_limit, config->bucket_window) && config->arm_ticks > config->action_delay &&
           (config->jitter_budget_ns == 0 || bucket_valid(config->jitter_limit, config->jitter_window));
}

static bool state_channels_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->state_count; i++) {
        const erl_state_channel *channel = &config->states[i];
        if (!(channel->low <= channel->high && channel->start_low <= channel->start_high)) {
            return false;
        }
    }
    return true;
}

static bool within(const erl_command_channel *channel, float value) {
    return channel->low <= value && value <= channel->high && isfinite(value);
}

static bool index_valid(int32_t index, uint32_t count) {
    return index >= -1 && (index < 0 || (uint32_t)index < count);
}

static bool gain_valid(float gain) {
    return gain >= 0.0f && isfinite(gain);
}

static bool pd_valid(const erl_command_channel *channel) {
    return channel->pd == 1 && channel->role == ERL_ROLE_TORQUE && channel->action >= 0 && channel->measured >= 0 &&
           channel->measured_rate >= 0 && gain_valid(channel->kp) && gain_valid(channel->kd) &&
           gain_valid(channel->prepare_kp) && gain_valid(channel->prepare_kd) && gain_valid(channel->damp_kd) &&
           channel->target_low <= channel->prepare && channel->prepare <= channel->target_high &&
           isfinite(channel->prepare);
}

static bool command_channel_valid(const erl_config *config, const erl_command_channel *channel) {
    return erl_channel_valid(channel) && channel->role < ERL_ROLE_COUNT &&
           index_valid(channel->action, config->action_count) && index_valid(channel->measured, config->state_count) &&
           index_valid(channel->measured_rate, config->state_count) && within(channel, channel->damp) &&
           (channel->action >= 0 || within(channel, channel->nominal)) &&
           (channel->pd == 0 ? config->prepare_ns == 0 || within(channel, channel->prepare) : pd_valid(channel));
}

static bool command_channels_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->command_count; i++) {
        if (!command_channel_valid(config, &config->commands[i])) {
            return false;
        }
    }
    return true;
}

static bool rung_valid(const erl_rung *rung, uint32_t ladder) {
    switch (rung->source) {
    case ERL_SOURCE_HOLD:
    case ERL_SOURCE_SAFE:
    case ERL_SOURCE_LAPSE:
    case ERL_SOURCE_DAMP:
        return rung->duration_ns <= LONGEST_NS;
    case ERL_SOURCE_STANDBY:
        return rung->duration_ns <= LONGEST_NS && ladder != ERL_LADDER_STATE;
    default:
        return false;
    }
}

static bool ladders_valid(const erl_config *config) {
    for (uint32_t i = 0; i < ERL_LADDER_COUNT; i++) {
        const erl_ladder *ladder = &config->ladders[i];
        if (ladder->count > ERL_MAX_RUNGS) {
            return false;
        }
        for (uint32_t k = 0; k < ladder->count; k++) {
            if (!rung_valid(&ladder->rungs[k], i)) {
                return false;
            }
        }
    }
    return true;
}

static bool operator_valid(const erl_config *config) {
    for (uint32_t i = 0; i < config->operator_count; i++) {
        const erl_operator_channel *channel = &config->operators[i];
        if (!(isfinite(channel->low) && isfinite(channel->high) && channel->low <= channel->timeout_value &&
              channel->timeout_value <= channel->high)) {
            return false;
        }
    }
    return config->dead_man <= 1 &&
           ((config->operator_count == 0 && config->dead_man == 0) || config->operator_timeout_ns >= 1);
}

static bool cosine_valid(float value) {
    return value >= -1.0f && value <= 1.0f;
}

static bool attitude_valid(const erl_config *config) {
    const uint32_t channels = config->attitude == ERL_ATTITUDE_GRAVITY ? 3u : 4u;
    const bool limited = config->tilt_cos != -1.0f || config->start_tilt_cos != -1.0f;
    return config->attitude < ERL_ATTITUDE_COUNT && cosine_valid(config->tilt_cos) &&
           cosine_valid(config->start_tilt_cos) &&
           (config->attitude == ERL_ATTITUDE_NONE
                ? !limited
                : config->attitude_channel < config->state_count &&
                      channels <= config->state_count - config->attitude_channel);
}

static bool kinds_valid(const erl_config *config) {
    return (config->clock == ERL_CLOCK_GRID || config->clock == ERL_CLOCK_ROBOT) &&
           config->inner_law < ERL_INNER_COUNT;
}

static bool port_valid(const erl_config *config) {
    if (config->authenticated == 0) {
        return config->port < ERL_PORT_COUNT;
    }
    return config->authenticated == 1 && config->port == ERL_PORT_UDP &&
           erl_wire_state_bytes(config) <= ERL_MAX_DATAGRAM;
}

uint32_t erl_config_check(const erl_config *config) {
    if (config->magic != ERL_CONFIG_MAGIC || config->version != ERL_LAYOUT_VERSION ||
        config->bytes != sizeof(erl_config)) {
        return ERL_CONFIG_LAYOUT;
    }
    if (!counts_valid(config)) {
        return ERL_CONFIG_COUNTS;
    }
    const struct {
        bool valid;
        uint32_t fault;
    } checks[] = {
        {config->session != 0, ERL_CONFIG_SESSION},
        {times_valid(config), ERL_CONFIG_TIMES},
        {divider_valid(config), ERL_CONFIG_DIVIDER},
        {buckets_valid(config), ERL_CONFIG_BUCKET},
        {config->on_reject >= ERL_SOURCE_HOLD && config->on_reject <= ERL_SOURCE_LAPSE, ERL_CONFIG_ON_REJECT},
        {state_channels_valid(config), ERL_CONFIG_STATE_CHANNEL},
        {command_channels_valid(config), ERL_CONFIG_COMMAND_CHANNEL},
        {config->priority >= 0 && config->priority <= 99 && config->cpu >= -1 && config->cpu < 1024,
         ERL_CONFIG_REALTIME},
        {erl_terms_valid(config), ERL_CONFIG_TERM},
        {ladders_valid(config), ERL_CONFIG_LADDER},
        {operator_valid(config), ERL_CONFIG_OPERATOR},
        {attitude_valid(config), ERL_CONFIG_ATTITUDE},
        {kinds_valid(config), ERL_CONFIG_CLOCK},
        {port_valid(config), ERL_CONFIG_PORT},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (!checks[i].valid) {
            return checks[i].fault;
        }
    }
    return ERL_CONFIG_OK;
}

const char *erl_config_fault_name(uint32_t fault) {
    return fault < ERL_CONFIG_FAULT_COUNT ? FAULT_NAMES[fault] : NULL;
}
