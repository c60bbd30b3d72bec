/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.c: sizes and offsets of the shared structs, asserted here for the C side and told to whoever mirrors them.
 */
#include "internal.h"

#include <string.h>

_Static_assert(sizeof(erl_state_channel) == 8, "layout");
_Static_assert(sizeof(erl_command_channel) == 24, "layout");
_Static_assert(offsetof(erl_config, states) == 160, "layout");
_Static_assert(sizeof(erl_config) == 160 + 8 * ERL_MAX_STATES + 24 * ERL_MAX_COMMANDS, "layout");
_Static_assert(sizeof(erl_requests) == 64, "layout");
_Static_assert(sizeof(erl_status) == 296, "layout");
_Static_assert(sizeof(erl_status_block) == 16 + 296 + 32 * ERL_MAX_COMMANDS, "layout");
_Static_assert(sizeof(erl_observation_header) == 40, "layout");
_Static_assert(offsetof(erl_observation_mailbox, record) == 128, "layout");
_Static_assert(sizeof(erl_observation_mailbox) == 128 + ERL_MAX_OBSERVATION_BYTES, "layout");
_Static_assert(sizeof(erl_action) == 32 + 4 * ERL_MAX_COMMANDS, "layout");
_Static_assert(offsetof(erl_action_mailbox, words) == 64, "layout");
_Static_assert(sizeof(erl_action_mailbox) == 64 + 32 + 4 * ERL_MAX_COMMANDS, "layout");
_Static_assert(sizeof(erl_tick_header) == 184, "layout");
_Static_assert(offsetof(erl_ring, words) == 64, "layout");

#define SIZE(type) {#type, (int64_t)sizeof(type)}
#define FIELD(type, name) {#type "." #name, (int64_t)offsetof(type, name)}

static const struct {
    const char *name;
    int64_t value;
} LAYOUT[] = {
    SIZE(erl_state_channel),
    FIELD(erl_state_channel, offset),
    FIELD(erl_state_channel, dtype),
    SIZE(erl_command_channel),
    FIELD(erl_command_channel, low),
    FIELD(erl_command_channel, high),
    FIELD(erl_command_channel, max_rate),
    FIELD(erl_command_channel, max_acceleration),
    FIELD(erl_command_channel, safe),
    FIELD(erl_command_channel, on_violation),
    SIZE(erl_config),
    FIELD(erl_config, magic),
    FIELD(erl_config, version),
    FIELD(erl_config, bytes),
    FIELD(erl_config, production),
    FIELD(erl_config, session),
    FIELD(erl_config, period_ns),
    FIELD(erl_config, budget_ns),
    FIELD(erl_config, valid_for_ns),
    FIELD(erl_config, lead_ns),
    FIELD(erl_config, spin_ns),
    FIELD(erl_config, state_grace_ns),
    FIELD(erl_config, state_timeout_ns),
    FIELD(erl_config, heartbeat_timeout_ns),
    FIELD(erl_config, hold_ns),
    FIELD(erl_config, safe_ns),
    FIELD(erl_config, allow_lockstep),
    FIELD(erl_config, bucket_limit),
    FIELD(erl_config, bucket_window),
    FIELD(erl_config, on_reject),
    FIELD(erl_config, arm_ticks),
    FIELD(erl_config, policy_divider),
    FIELD(erl_config, action_delay),
    FIELD(erl_config, state_count),
    FIELD(erl_config, command_count),
    FIELD(erl_config, observation_bytes),
    FIELD(erl_config, ring_capacity),
    FIELD(erl_config, priority),
    FIELD(erl_config, cpu),
    FIELD(erl_config, lock_memory),
    FIELD(erl_config, states),
    FIELD(erl_config, commands),
    SIZE(erl_requests),
    FIELD(erl_requests, magic),
    FIELD(erl_requests, version),
    FIELD(erl_requests, epoch),
    FIELD(erl_requests, heartbeat),
    FIELD(erl_requests, counters),
    FIELD(erl_requests, reserved),
    SIZE(erl_status),
    FIELD(erl_status, phase),
    FIELD(erl_status, start_fault),
    FIELD(erl_status, pid),
    FIELD(erl_status, priority_errno),
    FIELD(erl_status, affinity_errno),
    FIELD(erl_status, lock_errno),
    FIELD(erl_status, mode),
    FIELD(erl_status, source),
    FIELD(erl_status, event),
    FIELD(erl_status, clock),
    FIELD(erl_status, fault),
    FIELD(erl_status, state_flags),
    FIELD(erl_status, bucket_level),
    FIELD(erl_status, arm_blockers),
    FIELD(erl_status, arm_pending),
    FIELD(erl_status, reserved),
    FIELD(erl_status, time_ns),
    FIELD(erl_status, ticks),
    FIELD(erl_status, epoch),
    FIELD(erl_status, state_sequence),
    FIELD(erl_status, fault_tick),
    FIELD(erl_status, missed_periods),
    FIELD(erl_status, armed),
    FIELD(erl_status, arm_refused),
    FIELD(erl_status, actions_taken),
    FIELD(erl_status, actions_late),
    FIELD(erl_status, actions_stale),
    FIELD(erl_status, states_taken),
    FIELD(erl_status, states_lost),
    FIELD(erl_status, states_skipped),
    FIELD(erl_status, commands_sent),
    FIELD(erl_status, send_errors),
    FIELD(erl_status, receive_errors),
    FIELD(erl_status, rejected),
    FIELD(erl_status, saturated),
    FIELD(erl_status, done),
    FIELD(erl_status, byes),
    FIELD(erl_status, dropped),
    SIZE(erl_status_block),
    FIELD(erl_status_block, magic),
    FIELD(erl_status_block, version),
    FIELD(erl_status_block, sequence),
    FIELD(erl_status_block, reserved),
    FIELD(erl_status_block, words),
    FIELD(erl_status_block, violations),
    SIZE(erl_observation_header),
    FIELD(erl_observation_header, epoch),
    FIELD(erl_observation_header, sequence),
    FIELD(erl_observation_header, stamp_ns),
    FIELD(erl_observation_header, deadline_ns),
    FIELD(erl_observation_header, episode),
    FIELD(erl_observation_header, bytes),
    SIZE(erl_observation_mailbox),
    FIELD(erl_observation_mailbox, magic),
    FIELD(erl_observation_mailbox, version),
    FIELD(erl_observation_mailbox, sequence),
    FIELD(erl_observation_mailbox, reserved),
    FIELD(erl_observation_mailbox, header),
    FIELD(erl_observation_mailbox, reserved_end),
    FIELD(erl_observation_mailbox, record),
    SIZE(erl_action),
    FIELD(erl_action, epoch),
    FIELD(erl_action, sequence),
    FIELD(erl_action, infer_ns),
    FIELD(erl_action, count),
    FIELD(erl_action, reserved),
    FIELD(erl_action, values),
    SIZE(erl_action_mailbox),
    FIELD(erl_action_mailbox, magic),
    FIELD(erl_action_mailbox, version),
    FIELD(erl_action_mailbox, sequence),
    FIELD(erl_action_mailbox, reserved0),
    FIELD(erl_action_mailbox, ready_epoch),
    FIELD(erl_action_mailbox, reserved),
    FIELD(erl_action_mailbox, words),
    SIZE(erl_tick_header),
    FIELD(erl_tick_header, tick),
    FIELD(erl_tick_header, tick_ns),
    FIELD(erl_tick_header, scheduled_ns),
    FIELD(erl_tick_header, start_ns),
    FIELD(erl_tick_header, state_sequence),
    FIELD(erl_tick_header, stamp_ns),
    FIELD(erl_tick_header, post_ns),
    FIELD(erl_tick_header, action_ns),
    FIELD(erl_tick_header, write_ns),
    FIELD(erl_tick_header, infer_ns),
    FIELD(erl_tick_header, epoch),
    FIELD(erl_tick_header, rejected),
    FIELD(erl_tick_header, saturated),
    FIELD(erl_tick_header, events),
    FIELD(erl_tick_header, state_flags),
    FIELD(erl_tick_header, missed_periods),
    FIELD(erl_tick_header, bucket_level),
    FIELD(erl_tick_header, causes),
    FIELD(erl_tick_header, from_mode),
    FIELD(erl_tick_header, mode),
    FIELD(erl_tick_header, source),
    FIELD(erl_tick_header, event),
    FIELD(erl_tick_header, clock),
    FIELD(erl_tick_header, observed),
    FIELD(erl_tick_header, reserved),
    SIZE(erl_ring),
    FIELD(erl_ring, magic),
    FIELD(erl_ring, version),
    FIELD(erl_ring, record_bytes),
    FIELD(erl_ring, capacity),
    FIELD(erl_ring, state_count),
    FIELD(erl_ring, command_count),
    FIELD(erl_ring, head),
    FIELD(erl_ring, reserved),
    FIELD(erl_ring, words),
    SIZE(erl_transition),
    FIELD(erl_transition, source),
    FIELD(erl_transition, next),
};

int64_t erl_layout(const char *field) {
    for (size_t i = 0; i < sizeof LAYOUT / sizeof LAYOUT[0]; i++) {
        if (strcmp(LAYOUT[i].name, field) == 0) {
            return LAYOUT[i].value;
        }
    }
    return -1;
}
