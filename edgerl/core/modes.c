/* SPDX-License-Identifier: Apache-2.0
 *
 * modes.c: the one table that says, for every mode and event, where this tick's command comes from and which mode
 * follows. What is tested, printed and run is this table. It keeps no state and reads no clock.
 *
 * Any mode leaves for STOPPED by ESTOP, and only RESET leads out of FALLBACK and STOPPED. ACTIVE is entered by ARM
 * only, from SAFE or PREPARE.
 */
#include "internal.h"

#define CELL(source_, next_) {.source = ERL_SOURCE_##source_, .next = ERL_MODE_##next_}

static const erl_transition TABLE[ERL_MODE_COUNT][ERL_EVENT_COUNT] = {
    [ERL_MODE_SAFE] =
        {
            [ERL_EVENT_NOMINAL] = CELL(SAFE, SAFE),
            [ERL_EVENT_OPERATOR_LOST] = CELL(SAFE, SAFE),
            [ERL_EVENT_OVERRUN] = CELL(SAFE, SAFE),
            [ERL_EVENT_SWITCH] = CELL(SAFE, SAFE),
            [ERL_EVENT_PREPARE] = CELL(RAMP, PREPARE),
            [ERL_EVENT_ARM] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_ACTION_LATE] = CELL(SAFE, SAFE),
            [ERL_EVENT_STATE_LOST] = CELL(SAFE, SAFE),
            [ERL_EVENT_REJECT] = CELL(SAFE, SAFE),
            [ERL_EVENT_DISARM] = CELL(SAFE, SAFE),
            [ERL_EVENT_DONE] = CELL(SAFE, SAFE),
            [ERL_EVENT_BUCKET_FAULT] = CELL(SAFE, SAFE),
            [ERL_EVENT_JITTER_FAULT] = CELL(SAFE, SAFE),
            [ERL_EVENT_LAPSED] = CELL(SAFE, SAFE),
            [ERL_EVENT_STATE_FROZEN] = CELL(SAFE, SAFE),
            [ERL_EVENT_STATE_LIMIT] = CELL(SAFE, SAFE),
            [ERL_EVENT_STATE_FAULT] = CELL(SAFE, SAFE),
            [ERL_EVENT_INFERENCE_TIMEOUT] = CELL(SAFE, SAFE),
            [ERL_EVENT_POLICY_FAULT] = CELL(SAFE, SAFE),
            [ERL_EVENT_DEAD_MAN] = CELL(SAFE, SAFE),
            [ERL_EVENT_SUPERVISOR_FAULT] = CELL(SAFE, STOPPED),
            [ERL_EVENT_LADDER_END] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_RESET] = CELL(SAFE, SAFE),
            [ERL_EVENT_ESTOP] = CELL(SAFE, STOPPED),
            [ERL_EVENT_QUIT] = CELL(SAFE, STOPPED),
        },
    [ERL_MODE_PREPARE] =
        {
            [ERL_EVENT_NOMINAL] = CELL(RAMP, PREPARE),
            [ERL_EVENT_OPERATOR_LOST] = CELL(RAMP, PREPARE),
            [ERL_EVENT_OVERRUN] = CELL(RAMP, PREPARE),
            [ERL_EVENT_SWITCH] = CELL(RAMP, PREPARE),
            [ERL_EVENT_PREPARE] = CELL(RAMP, PREPARE),
            [ERL_EVENT_ARM] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_ACTION_LATE] = CELL(RAMP, PREPARE),
            [ERL_EVENT_STATE_LOST] = CELL(HOLD, PREPARE),
            [ERL_EVENT_REJECT] = CELL(RAMP, PREPARE),
            [ERL_EVENT_DISARM] = CELL(SAFE, SAFE),
            [ERL_EVENT_DONE] = CELL(SAFE, SAFE),
            [ERL_EVENT_BUCKET_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_JITTER_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LAPSED] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FROZEN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_LIMIT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_INFERENCE_TIMEOUT] = CELL(RAMP, PREPARE),
            [ERL_EVENT_POLICY_FAULT] = CELL(RAMP, PREPARE),
            [ERL_EVENT_DEAD_MAN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_SUPERVISOR_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LADDER_END] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_RESET] = CELL(SAFE, SAFE),
            [ERL_EVENT_ESTOP] = CELL(SAFE, STOPPED),
            [ERL_EVENT_QUIT] = CELL(SAFE, STOPPED),
        },
    [ERL_MODE_ACTIVE] =
        {
            [ERL_EVENT_NOMINAL] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_OPERATOR_LOST] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_OVERRUN] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_SWITCH] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_PREPARE] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_ARM] = CELL(POLICY, ACTIVE),
            [ERL_EVENT_ACTION_LATE] = CELL(HOLD, ACTIVE),
            [ERL_EVENT_STATE_LOST] = CELL(HOLD, ACTIVE),
            [ERL_EVENT_REJECT] = CELL(ON_REJECT, ACTIVE),
            [ERL_EVENT_DISARM] = CELL(SAFE, SAFE),
            [ERL_EVENT_DONE] = CELL(SAFE, SAFE),
            [ERL_EVENT_BUCKET_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_JITTER_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LAPSED] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FROZEN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_LIMIT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_INFERENCE_TIMEOUT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_POLICY_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_DEAD_MAN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_SUPERVISOR_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LADDER_END] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_RESET] = CELL(SAFE, SAFE),
            [ERL_EVENT_ESTOP] = CELL(SAFE, STOPPED),
            [ERL_EVENT_QUIT] = CELL(SAFE, STOPPED),
        },
    [ERL_MODE_FALLBACK] =
        {
            [ERL_EVENT_NOMINAL] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_OPERATOR_LOST] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_OVERRUN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_SWITCH] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_PREPARE] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_ARM] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_ACTION_LATE] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_LOST] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_REJECT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_DISARM] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_DONE] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_BUCKET_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_JITTER_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LAPSED] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FROZEN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_LIMIT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_STATE_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_INFERENCE_TIMEOUT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_POLICY_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_DEAD_MAN] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_SUPERVISOR_FAULT] = CELL(LADDER, FALLBACK),
            [ERL_EVENT_LADDER_END] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_RESET] = CELL(SAFE, SAFE),
            [ERL_EVENT_ESTOP] = CELL(SAFE, STOPPED),
            [ERL_EVENT_QUIT] = CELL(SAFE, STOPPED),
        },
    [ERL_MODE_STOPPED] =
        {
            [ERL_EVENT_NOMINAL] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_OPERATOR_LOST] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_OVERRUN] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_SWITCH] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_PREPARE] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_ARM] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_ACTION_LATE] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_STATE_LOST] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_REJECT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_DISARM] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_DONE] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_BUCKET_FAULT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_JITTER_FAULT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_LAPSED] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_STATE_FROZEN] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_STATE_LIMIT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_STATE_FAULT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_INFERENCE_TIMEOUT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_POLICY_FAULT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_DEAD_MAN] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_SUPERVISOR_FAULT] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_LADDER_END] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_RESET] = CELL(SAFE, SAFE),
            [ERL_EVENT_ESTOP] = CELL(LAPSE, STOPPED),
            [ERL_EVENT_QUIT] = CELL(LAPSE, STOPPED),
        },
};

static const char *const MODE_NAMES[ERL_MODE_COUNT] = {"safe", "prepare", "active", "fallback", "stopped"};

static const char *const EVENT_NAMES[ERL_EVENT_COUNT] = {
    "nominal",      "operator-lost", "overrun",     "switch",        "prepare",     "arm",
    "action-late",  "state-lost",    "reject",      "disarm",        "done",        "bucket-fault",
    "jitter-fault", "lapsed",        "state-frozen", "state-limit",  "state-fault", "inference-timeout",
    "policy-fault", "dead-man",      "supervisor-fault", "ladder-end", "reset",     "estop",
    "quit",
};

static const char *const SOURCE_NAMES[ERL_SOURCE_NAMES] = {"policy", "hold",    "safe",   "lapse",    "ramp",
                                                           "damp",   "standby", "ladder", "on-reject"};

/* Out of range is a broken caller: the safest cell there is. */
erl_transition erl_modes_cell(uint32_t mode, uint32_t event) {
    if (mode >= ERL_MODE_COUNT || event >= ERL_EVENT_COUNT) {
        return (erl_transition)CELL(LAPSE, STOPPED);
    }
    return TABLE[mode][event];
}

/* The most severe of the tick's events governs it, but one that changes nothing hides none that leads to another mode:
 * in PREPARE the death of a policy that commands nothing must not cover up a state fault. RESET is no such one: an
 * e-stop that is still pressed keeps it from leading out. */
uint32_t erl_modes_governing(uint32_t mode, uint32_t events) {
    uint32_t governing = ERL_EVENT_NOMINAL;
    bool leaves = false;
    for (uint32_t event = 0; event < ERL_EVENT_COUNT; event++) {
        const bool away = erl_modes_cell(mode, event).next != mode;
        if ((events & (1u << event)) != 0 && (away || !leaves)) {
            governing = event;
            leaves = away && event != ERL_EVENT_RESET;
        }
    }
    return governing;
}

/* The ladder that a fault leads onto: the state's wherever the state is in doubt, too. A full bucket is the state's
 * fault where the state was missing in this tick. */
uint32_t erl_modes_ladder(uint32_t event, uint32_t events) {
    if ((events & ERL_STATE_FAULTS) != 0) {
        return ERL_LADDER_STATE;
    }
    switch (event) {
    case ERL_EVENT_BUCKET_FAULT:
        return (events & (1u << ERL_EVENT_STATE_LOST)) != 0 ? ERL_LADDER_STATE : ERL_LADDER_POLICY;
    case ERL_EVENT_INFERENCE_TIMEOUT:
    case ERL_EVENT_POLICY_FAULT:
        return ERL_LADDER_POLICY;
    default:
        return ERL_LADDER_MACHINE;
    }
}

/* The rung that is reached after `spent_ns` on the ladder; past the last one, LAPSE. */
static uint32_t rung(const erl_ladder *ladder, uint64_t spent_ns) {
    uint64_t until_ns = 0;
    for (uint32_t i = 0; i < ladder->count; i++) {
        until_ns += ladder->rungs[i].duration_ns;
        if (spent_ns < until_ns) {
            return ladder->rungs[i].source;
        }
    }
    return ERL_SOURCE_LAPSE;
}

uint64_t erl_ladder_ns(const erl_ladder *ladder) {
    uint64_t all_ns = 0;
    for (uint32_t i = 0; i < ladder->count; i++) {
        all_ns += ladder->rungs[i].duration_ns;
    }
    return all_ns;
}

/* From what the table names to a source that is sent. Holding nothing is the safe command. */
uint32_t erl_modes_resolve(uint32_t source, uint32_t on_reject, bool has_last, const erl_ladder *ladder,
                           uint64_t spent_ns) {
    uint32_t resolved = source;
    if (source == ERL_SOURCE_LADDER) {
        resolved = rung(ladder, spent_ns);
    } else if (source == ERL_SOURCE_ON_REJECT) {
        resolved = on_reject;
    }
    return resolved == ERL_SOURCE_HOLD && !has_last ? ERL_SOURCE_SAFE : resolved;
}

uint32_t erl_modes_transition(uint32_t mode, uint32_t event, erl_transition *out) {
    *out = erl_modes_cell(mode, event);
    return mode < ERL_MODE_COUNT && event < ERL_EVENT_COUNT ? ERL_OK : ERL_BAD;
}

const char *erl_mode_name(uint32_t mode) {
    return mode < ERL_MODE_COUNT ? MODE_NAMES[mode] : NULL;
}

const char *erl_event_name(uint32_t event) {
    return event < ERL_EVENT_COUNT ? EVENT_NAMES[event] : NULL;
}

const char *erl_source_name(uint32_t source) {
    return source < ERL_SOURCE_NAMES ? SOURCE_NAMES[source] : NULL;
}
