/* SPDX-License-Identifier: Apache-2.0
 *
 * edgerl_segments.h: every struct that two processes share. edgerl/runtime/structs.py mirrors this file; a test
 * compares each size and offset.
 *
 * Rules: fixed-width members in natural alignment with no hidden padding, little-endian, time in integer nanoseconds,
 * counts before arrays. A struct changes only together with ERL_LAYOUT_VERSION.
 */
#ifndef EDGERL_SEGMENTS_H
#define EDGERL_SEGMENTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "edgerl_names.h"

/* Configuration: written once by the supervisor, sealed, copied by the guardian. */

typedef struct erl_state_channel {
    float low;  /* outside [low, high]: STATE_LIMIT; infinite where there is none */
    float high;
    float start_low; /* outside [start_low, start_high]: not in the start set */
    float start_high;
    uint32_t noisy; /* 1: a sensor's noise makes equal values in a row unlikely */
    uint32_t reserved;
} erl_state_channel;

/* One value of one tick: clip((value - offset) * scale, low, high). */
typedef struct erl_element {
    uint32_t source; /* erl_element_source */
    uint32_t index;
    float offset;
    float scale;
    float low; /* infinite where there is no clip */
    float high;
} erl_element;

/* Consecutive elements and where their values of the last `history` ticks stand in the record, oldest first. */
typedef struct erl_term {
    uint32_t first;   /* element */
    uint32_t count;   /* elements */
    uint32_t dtype;   /* erl_dtype; histories are float32 */
    uint32_t offset;  /* bytes: of the oldest tick's first value */
    uint32_t history; /* ticks, at least 1 */
    uint32_t stride;  /* bytes from one tick's values to the next tick's */
    uint32_t repeat;  /* at a reset: 1 fills the history with the first value, 0 with zeros */
    uint32_t reserved;
} erl_term;

typedef struct erl_command_channel {
    float low;
    float high;
    float max_rate;         /* units/s, INFINITY where there is none */
    float max_acceleration; /* units/s^2, INFINITY where there is none */
    float safe;             /* within [low, high] */
    uint32_t on_violation;  /* erl_on_violation */
    uint32_t role;          /* erl_role */
    int32_t action;         /* index in the policy's answer, -1: nominal is sent */
    int32_t measured;       /* state channel of the same quantity (PD: the joint's position), -1: none */
    int32_t measured_rate;  /* PD: state channel of the joint's velocity, -1: none */
    float nominal;          /* while the policy acts, where the channel has no action */
    float damp;             /* within [low, high] */
    float prepare;          /* where the ramp of PREPARE ends (PD: a position); of gains, throughout PREPARE */
    uint32_t pd;            /* 1: the action is a position, and kp * (action - measured) - kd * rate is sent */
    float kp;
    float kd;
    float prepare_kp; /* PD: throughout PREPARE */
    float prepare_kd;
    float damp_kd;    /* PD: damp - damp_kd * rate is sent where the state can be relied on */
    float target_low; /* PD: smallest position that may be asked for */
    float target_high;
} erl_command_channel;

typedef struct erl_operator_channel {
    float low; /* outside [low, high] is brought to the limit */
    float high;
    float timeout_value; /* stands in for values that are too old */
    uint32_t reserved;
} erl_operator_channel;

typedef struct erl_rung {
    uint64_t duration_ns;
    uint32_t source; /* HOLD, SAFE, DAMP, STANDBY or LAPSE */
    uint32_t reserved;
} erl_rung;

typedef struct erl_ladder {
    uint32_t count;
    uint32_t reserved;
    erl_rung rungs[ERL_MAX_RUNGS];
} erl_ladder;

typedef struct erl_config {
    uint32_t magic;
    uint32_t version;
    uint32_t bytes; /* sizeof(erl_config) */
    uint32_t production; /* 1: refuse to start without real-time scheduling and memory lock */
    uint64_t session; /* not 0 */
    uint64_t period_ns;
    uint64_t budget_ns;            /* d = 0: from t_k until the action must be there; <= period_ns */
    uint64_t valid_for_ns;         /* said in every command; >= period_ns */
    uint64_t lead_ns;              /* the grid stands this long after the first state's arrival */
    uint64_t spin_ns;              /* the last part of a grid sleep is spun */
    uint64_t state_grace_ns;       /* a grid tick that finds no state waits this long for one */
    uint64_t state_timeout_ns;     /* lockstep: no state for this long is a state fault; robot: a tick without one */
    uint64_t heartbeat_timeout_ns; /* 0: the supervisor's death is not watched */
    uint64_t inference_timeout_ns; /* 0: how long the policy owes an answer is not watched */
    uint64_t jitter_budget_ns;     /* 0: the lateness of wake-ups is not watched */
    uint64_t operator_timeout_ns;  /* operator values older than this are replaced */
    uint64_t prepare_ns;           /* the ramp of PREPARE takes this long; 0: no PREPARE */
    uint64_t blend_ns;             /* from the command before to the policy's, at ARM and SWITCH */
    uint32_t clock;                /* erl_clock: GRID or ROBOT */
    uint32_t allow_lockstep;
    uint32_t bucket_limit;  /* m */
    uint32_t bucket_window; /* k */
    uint32_t jitter_limit;
    uint32_t jitter_window;
    uint32_t frozen_ticks;  /* 0: frozen states are not watched */
    uint32_t on_reject;     /* erl_source: HOLD, SAFE or LAPSE */
    uint32_t arm_ticks;     /* a wanted ARM, or SWITCH, is given up after this many ticks */
    uint32_t policy_divider; /* n: the policy is asked in every n-th tick */
    uint32_t action_delay;   /* d: its action takes effect d ticks later; 0: in the same tick, n = 1 only */
    uint32_t inner_law;      /* erl_inner_law */
    uint32_t state_count;
    uint32_t command_count;
    uint32_t action_count; /* values of the policy's answer */
    uint32_t raw_count;    /* values of its raw action that observations use; 0: none */
    uint32_t operator_count;
    uint32_t dead_man; /* 1: the operator must hold the dead-man switch */
    uint32_t element_count;
    uint32_t term_count;
    uint32_t observation_bytes; /* of the packed record, a multiple of 64 */
    uint32_t ring_capacity;     /* records */
    int32_t priority;  /* SCHED_FIFO 1..99, 0: leave the scheduling alone */
    int32_t cpu;       /* -1: leave the affinity alone */
    uint32_t lock_memory;
    uint32_t attitude;         /* erl_attitude_kind */
    uint32_t attitude_channel; /* the first of its state channels */
    float tilt_cos;            /* STATE_LIMIT where the cosine of the tilt is below; -1: no limit */
    float start_tilt_cos;      /* not in the start set where it is below */
    uint32_t port;          /* erl_port_kind */
    uint32_t authenticated; /* 1: a datagram ends in a tag, not in a CRC */
    uint8_t receive_key[ERL_KEY_BYTES]; /* of what the robot sends in this session; both 0 where there are no tags */
    uint8_t send_key[ERL_KEY_BYTES];
    uint32_t reserved;
    erl_ladder ladders[ERL_LADDER_COUNT];
    erl_operator_channel operators[ERL_MAX_OPERATOR];
    erl_term terms[ERL_MAX_TERMS];
    erl_state_channel states[ERL_MAX_STATES];
    erl_element elements[ERL_MAX_ELEMENTS];
    erl_command_channel commands[ERL_MAX_COMMANDS];
} erl_config;

/* Requests: supervisor to guardian. */

/* What the operator wants; 0 ns: nobody has said anything yet. */
typedef struct erl_operator {
    uint64_t stamp_ns; /* CLOCK_MONOTONIC */
    uint32_t dead_man; /* 1: held */
    uint32_t count;
    float values[ERL_MAX_OPERATOR];
} erl_operator;

typedef struct erl_requests {
    uint32_t magic;
    uint32_t version;
    _Atomic uint64_t acting;    /* policy that may answer: epoch << 8 | slot; 0: none */
    _Atomic uint64_t candidate; /* policy that is listened to beside it */
    _Atomic uint64_t died[ERL_POLICY_SLOTS]; /* by slot: no policy of this epoch or an earlier one lives there now */
    _Atomic uint64_t heartbeat; /* any change is a sign of life */
    _Atomic uint32_t counters[ERL_REQUEST_COUNT]; /* by erl_request_kind; a change is the request */
    _Atomic uint32_t operator_sequence;           /* odd while it is being written */
    uint32_t reserved;
    _Atomic uint64_t operator_words[sizeof(erl_operator) / 8];
} erl_requests;

/* Status: guardian to supervisor. */

typedef struct erl_status {
    uint32_t phase;       /* erl_phase */
    uint32_t start_fault; /* erl_config_fault */
    int32_t pid;
    int32_t priority_errno; /* 0: granted or not asked for */
    int32_t affinity_errno;
    int32_t lock_errno;
    uint32_t mode;
    uint32_t source;
    uint32_t event; /* the one that governed the last tick */
    uint32_t clock;
    uint32_t fault; /* the event that led to FALLBACK or STOPPED; NOMINAL: none is latched */
    uint32_t state_flags;
    uint32_t bucket_level;
    uint32_t arm_blockers; /* of the wanted, or last refused, ARM */
    uint32_t arm_pending;
    uint32_t switch_pending;
    uint32_t jitter_level;
    uint32_t ladder; /* erl_ladder_class of the latched fault */
    uint64_t acting;    /* epoch << 8 | slot of the policy whose answers count; 0: none */
    uint64_t candidate; /* of the one beside it */
    uint64_t time_ns; /* CLOCK_MONOTONIC of the last update */
    uint64_t ticks;
    uint64_t state_sequence;
    uint64_t fault_tick;
    uint64_t missed_periods;
    uint64_t overruns; /* ticks with missed periods */
    uint64_t armed;
    uint64_t arm_refused;
    uint64_t actions_taken;
    uint64_t actions_late;
    uint64_t actions_stale; /* answers to another observation or epoch, ignored */
    uint64_t switched;
    uint64_t switch_refused;
    uint64_t shadow_taken; /* answers of the candidate that were recorded */
    uint64_t operator_lost; /* ticks without fresh operator values, where there are any */
    uint64_t states_taken;
    uint64_t states_lost;    /* ticks without a new one */
    uint64_t states_skipped; /* never seen, or overtaken by a newer one within the same tick */
    uint64_t commands_sent;
    uint64_t send_errors;
    uint64_t receive_errors;
    uint64_t rejected;  /* commands with a rejected channel */
    uint64_t saturated; /* commands with a saturated channel */
    uint64_t done;      /* ticks governed by DONE */
    uint64_t byes;
    uint64_t dropped[ERL_DROP_CAUSES];
} erl_status;

typedef struct erl_status_block {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t sequence; /* odd while it is being written */
    uint32_t reserved;
    _Atomic uint64_t words[sizeof(erl_status) / 8];
    _Atomic uint32_t violations[ERL_MAX_COMMANDS][8]; /* per channel and cause bit; the last three stay 0 */
} erl_status_block;

/* Observation mailbox: guardian to policy. */

typedef struct erl_observation_header {
    uint64_t sequence;    /* of the tick; the answer echoes it */
    uint64_t stamp_ns;    /* the tick's clock */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC: when the answer is due */
    uint32_t episode; /* recurrent state and histories start anew where it differs from the last one that was read */
    uint32_t bytes;
    uint32_t clock; /* erl_clock; LOCKSTEP: stamp_ns is that of the state */
    uint32_t reserved;
} erl_observation_header;

typedef struct erl_observation_mailbox {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t sequence; /* odd while it is being written; the policy's futex word */
    uint32_t reserved[13];
    _Atomic uint64_t header[sizeof(erl_observation_header) / 8];
    uint64_t reserved_end[3];
    _Atomic uint64_t record[ERL_MAX_OBSERVATION_BYTES / 8];
} erl_observation_mailbox;

/* Action mailbox: policy to guardian. */

typedef struct erl_action {
    uint64_t epoch;    /* of the policy process that answers */
    uint64_t sequence; /* echoed */
    uint64_t infer_ns; /* inside Runner.infer */
    uint32_t count;
    uint32_t raw_count;
    float values[ERL_MAX_COMMANDS]; /* in the command's units */
    float raw[ERL_MAX_COMMANDS];    /* in the network's own, for policies that observe their last action */
} erl_action;

typedef struct erl_action_mailbox {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t sequence; /* odd while it is being written; the guardian's futex word */
    uint32_t reserved0;
    _Atomic uint64_t ready_epoch; /* set once the golden set has passed */
    _Atomic uint64_t median_ns;   /* of inferences while warming up; written before ready_epoch */
    _Atomic uint64_t worst_ns;
    _Atomic uint64_t measured;    /* how many these were */
    uint64_t reserved[2];
    _Atomic uint64_t words[sizeof(erl_action) / 8];
    _Atomic uint64_t frames[ERL_FRAME_VERDICTS]; /* observations, by erl_frame_verdict */
    _Atomic uint64_t oldest_frame_ns; /* largest age of a frame that was taken, not in lockstep */
    uint64_t reserved_end;
} erl_action_mailbox;

/* Frame mailbox: a camera's process to the policy. */

typedef struct erl_frame {
    uint64_t epoch;    /* of its writer */
    uint64_t sequence; /* the writer's own count, from 1 */
    uint64_t stamp_ns; /* CLOCK_MONOTONIC: when it was taken */
    uint64_t state_stamp_ns; /* stamp of the STATE that it belongs to, in the robot's clock; 0: of none */
} erl_frame;

typedef struct erl_frame_mailbox {
    uint32_t magic;
    uint32_t version; /* ERL_FRAME_VERSION */
    uint64_t frame_bytes;
    _Atomic uint64_t epoch;     /* of the one writer that may write */
    _Atomic uint32_t published; /* frames so far; frame k is in buffer k % ERL_FRAME_BUFFERS; the reader's futex word */
    uint32_t buffers;           /* ERL_FRAME_BUFFERS; they follow this header */
    uint64_t reserved[4];
} erl_frame_mailbox;

/* Followed by the next one after frame_bytes, padded to a multiple of 64. */
typedef struct erl_frame_buffer {
    _Atomic uint32_t sequence; /* odd while it is being written */
    uint32_t reserved[7];
    _Atomic uint64_t frame[sizeof(erl_frame) / 8];
    _Atomic uint64_t words[];
} erl_frame_buffer;

/* One frame input of the policy, in its own memory. */
typedef struct erl_frame_input {
    const erl_frame_mailbox *mailbox;
    void *to;        /* the runner's input */
    uint64_t bytes;  /* of one frame */
    uint32_t dtype;  /* erl_dtype */
    uint32_t reserved;
    uint64_t age_ns; /* of the frame that was read last; 0 in lockstep */
    erl_frame frame; /* the one that was read last */
} erl_frame_input;

/* Ring of tick records: guardian to supervisor. */

/* In the ring, float state[state_count], action[action_count], command[command_count], shadow[action_count] and
 * operator[operator_count] follow the header, then padding to a multiple of 8 bytes. What a tick does not have is
 * NaN. */
typedef struct erl_tick_header {
    uint64_t tick;           /* counts from 0: the index in the ring */
    uint64_t tick_ns;        /* the tick's clock: the grid point, or the robot's stamp in lockstep */
    uint64_t scheduled_ns;   /* CLOCK_MONOTONIC; in lockstep the arrival of the state */
    uint64_t start_ns;       /* woken */
    uint64_t state_sequence; /* of the state that was used last */
    uint64_t stamp_ns;       /* its stamp, in the robot's clock */
    uint64_t post_ns;        /* observation posted; 0: none was */
    uint64_t action_ns;      /* action taken; 0: none was */
    uint64_t write_ns;       /* command sent; 0: none was */
    uint64_t infer_ns;       /* as the policy says */
    uint64_t epoch;          /* of the policy whose action was taken */
    uint64_t action_sequence;  /* the observation that it answers */
    uint64_t shadow_epoch;     /* of the candidate whose action was taken; 0: none was */
    uint64_t shadow_sequence;  /* the observation that it answers; it may be an earlier tick's */
    uint64_t shadow_infer_ns;
    uint64_t operator_stamp_ns; /* of the operator values in use; 0: their time-out values */
    uint64_t rejected[ERL_MASK_WORDS];  /* one bit per channel */
    uint64_t saturated[ERL_MASK_WORDS]; /* one bit per channel */
    uint32_t events;         /* bits 1 << erl_event */
    uint32_t state_flags;    /* of the states read in this tick; 0: none was */
    uint32_t missed_periods; /* grid points skipped before this tick */
    uint32_t bucket_level;
    uint32_t causes;         /* ERL_CAUSE_* of all channels together */
    uint8_t from_mode;       /* in which the tick began */
    uint8_t mode;            /* in which it ended, as said in the command */
    uint8_t source;          /* resolved: POLICY, HOLD, SAFE or LAPSE */
    uint8_t event;           /* the one that governed */
    uint8_t clock;
    uint8_t observed;        /* 1: a new state was taken */
    uint8_t acting_slot;
    uint8_t reserved[5];
} erl_tick_header;

typedef struct erl_ring {
    uint32_t magic;
    uint32_t version;
    uint32_t record_bytes;
    uint32_t capacity;
    uint32_t state_count;
    uint32_t command_count;
    uint32_t action_count;
    uint32_t operator_count;
    _Atomic uint64_t head; /* records written since the start */
    uint64_t reserved[3];
    _Atomic uint64_t words[]; /* capacity * record_bytes / 8 */
} erl_ring;

/* Datagram mailbox: driver to guardian, and another one back. */

typedef struct erl_datagram_mailbox {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t sequence; /* odd while it is being written; the reader's futex word */
    uint32_t reserved[13];
    _Atomic uint64_t words[1u + ERL_MAX_DATAGRAM / 8u]; /* u32 size, u32 0, the datagram */
} erl_datagram_mailbox;

#endif
