/* SPDX-License-Identifier: Apache-2.0
 *
 * edgerl_core.h: every struct that two processes share, every number that they agree on, and every function of
 * libedgerl_core.so. edgerl/runtime/core.py mirrors this file; a test compares each size and offset.
 *
 * Rules: fixed-width members in natural alignment with no hidden padding, little-endian, time in integer nanoseconds,
 * counts before arrays. A struct changes only together with ERL_LAYOUT_VERSION.
 */
#ifndef EDGERL_CORE_H
#define EDGERL_CORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define ERL_LAYOUT_VERSION 2u
#define ERL_MAX_STATES 357u            /* (1472 - 32 - 8 - 4) / 4: one STATE datagram within an Ethernet MTU */
#define ERL_MAX_COMMANDS 256u          /* four 64-bit masks in a tick record */
#define ERL_MASK_WORDS 4u              /* ERL_MAX_COMMANDS / 64 */
#define ERL_MAX_OBSERVATION_BYTES 16384u
#define ERL_MAX_DATAGRAM 1472u         /* 1500 (Ethernet) - 20 (IPv4) - 8 (UDP) */
#define ERL_MAX_DRAIN 64u              /* datagrams read in one tick at most, so that a babbling peer cannot hold it */
#define ERL_MAX_WINDOW 1024u           /* ticks that a bucket can look back on */
#define ERL_MAX_ELEMENTS 1024u         /* values of one tick in all observation terms together */
#define ERL_MAX_TERMS 64u
#define ERL_MAX_OPERATOR 16u           /* values of the operator channel */
#define ERL_MAX_RUNGS 4u               /* of one fallback ladder */
#define ERL_POLICY_SLOTS 3u            /* action mailboxes: the acting policy, a candidate, a spare */
#define ERL_MAX_RING 1048576u          /* records */
#define ERL_FRAME_VERSION 1u           /* of the frame mailbox, which cameras' processes write */
#define ERL_FRAME_BUFFERS 4u           /* of one frame mailbox */
#define ERL_MAX_FRAME_BYTES 67108864u  /* 64 MiB: a megapixel of 16 float32 channels */

#define ERL_CONFIG_MAGIC 0x434C5245u      /* "ERLC" in memory */
#define ERL_STATUS_MAGIC 0x534C5245u      /* "ERLS" */
#define ERL_REQUESTS_MAGIC 0x514C5245u    /* "ERLQ" */
#define ERL_OBSERVATION_MAGIC 0x4F4C5245u /* "ERLO" */
#define ERL_ACTION_MAGIC 0x414C5245u      /* "ERLA" */
#define ERL_RING_MAGIC 0x524C5245u        /* "ERLR" */
#define ERL_FRAME_MAGIC 0x464C5245u       /* "ERLF" */
#define ERL_DATAGRAM_MAGIC 0x4D4C5245u    /* "ERLM" */

/* Of erl_datagram_mailbox, which drivers that are not edgerl's have too (docs/robot-port.md). */
#define ERL_DATAGRAM_VERSION 1u
#define ERL_KEY_BYTES 32u /* of a session's keys */
#define ERL_TAG_BYTES 16u /* of keyed BLAKE2s, in place of the CRC */

/* What a function of the library answers. Faults are values. */
typedef enum erl_result {
    ERL_OK = 0,
    ERL_TIMEOUT = 1,     /* nothing new before the deadline */
    ERL_TORN = 2,        /* a writer overtook every one of the bounded reads */
    ERL_BAD = 3,         /* what was read, or an argument, makes no sense */
    ERL_EMPTY = 4,       /* not written yet */
    ERL_LOST = 5,        /* overwritten before it was read */
    ERL_INTERRUPTED = 6, /* a signal arrived; call again */
    ERL_ENDED = 7        /* the loop is over */
} erl_result;

typedef enum erl_mode {
    ERL_MODE_SAFE = 0,
    ERL_MODE_PREPARE = 1, /* on the way to the start pose, and waiting there */
    ERL_MODE_ACTIVE = 2,
    ERL_MODE_FALLBACK = 3,
    ERL_MODE_STOPPED = 4,
    ERL_MODE_COUNT = 5
} erl_mode;

/* Where this tick's command comes from. The table also names two that the configuration resolves into the others. */
typedef enum erl_source {
    ERL_SOURCE_POLICY = 0,
    ERL_SOURCE_HOLD = 1,    /* the command written last; SAFE where none was */
    ERL_SOURCE_SAFE = 2,    /* the bundle's safe command, approached within the envelope */
    ERL_SOURCE_LAPSE = 3,   /* nothing is sent: the robot's valid_for runs out */
    ERL_SOURCE_RAMP = 4,    /* from the measured pose to the start pose, with gains of its own */
    ERL_SOURCE_DAMP = 5,    /* the bundle's damping command: no position gain, only damping */
    ERL_SOURCE_STANDBY = 6, /* the candidate's action; SAFE where it has none in time */
    ERL_SOURCE_COUNT = 7,
    ERL_SOURCE_LADDER = 7,    /* table only: the rungs of the fault's ladder, then LAPSE */
    ERL_SOURCE_ON_REJECT = 8, /* table only: the configuration's on_reject */
    ERL_SOURCE_NAMES = 9
} erl_source;

/* What a tick met, mildest first: the highest one governs the tick, all of them are recorded as bits (1 << event). */
typedef enum erl_event {
    ERL_EVENT_NOMINAL = 0,
    ERL_EVENT_OPERATOR_LOST = 1, /* no fresh operator values: the configured ones stand in for them */
    ERL_EVENT_OVERRUN = 2,       /* degrade: this tick began a period late or more */
    ERL_EVENT_SWITCH = 3,        /* the candidate took over in this tick */
    ERL_EVENT_PREPARE = 4,       /* ARM is wanted, and the way to the start pose begins */
    ERL_EVENT_ARM = 5,           /* armed: the first action came in time and passed the envelope */
    ERL_EVENT_ACTION_LATE = 6,   /* degrade: no answer to this observation when it was due */
    ERL_EVENT_STATE_LOST = 7,    /* degrade: no state newer than the last tick's */
    ERL_EVENT_REJECT = 8,        /* degrade: the envelope refused the action */
    ERL_EVENT_DISARM = 9,        /* requested */
    ERL_EVENT_DONE = 10,         /* the robot says that the episode or the job is over */
    ERL_EVENT_BUCKET_FAULT = 11, /* bucket_limit of the last bucket_window ticks degraded */
    ERL_EVENT_JITTER_FAULT = 12, /* jitter_limit of the last jitter_window ticks woke later than jitter_budget_ns */
    ERL_EVENT_LAPSED = 13,       /* the command written last was valid no more before this tick */
    ERL_EVENT_STATE_FROZEN = 14, /* noisy channels did not change for frozen_ticks states */
    ERL_EVENT_STATE_LIMIT = 15,  /* a state channel, or the tilt, is outside its limits */
    ERL_EVENT_STATE_FAULT = 16,  /* not finite, not representable, timed out in lockstep, or the robot said BYE */
    ERL_EVENT_INFERENCE_TIMEOUT = 17, /* the policy owes an answer for inference_timeout_ns */
    ERL_EVENT_POLICY_FAULT = 18,      /* the supervisor reports the acting policy dead */
    ERL_EVENT_DEAD_MAN = 19,          /* the operator's dead-man switch is not held, where one is required */
    ERL_EVENT_SUPERVISOR_FAULT = 20,  /* no heartbeat for heartbeat_timeout_ns */
    ERL_EVENT_LADDER_END = 21,        /* the last rung of the fallback ladder is reached */
    ERL_EVENT_RESET = 22,             /* requested: leave FALLBACK or STOPPED for SAFE */
    ERL_EVENT_ESTOP = 23,             /* requested, or the robot's input */
    ERL_EVENT_QUIT = 24,              /* requested: the loop ends with this tick */
    ERL_EVENT_COUNT = 25
} erl_event;

typedef enum erl_clock {
    ERL_CLOCK_WAITING = 0, /* no state has arrived yet */
    ERL_CLOCK_GRID = 1,
    ERL_CLOCK_LOCKSTEP = 2,
    ERL_CLOCK_ROBOT = 3 /* the arrival of a state is the tick */
} erl_clock;

/* What became of the frames of one observation: index of erl_action_mailbox.frames. All but TAKEN are not answered. */
typedef enum erl_frame_verdict {
    ERL_FRAME_TAKEN = 0,
    ERL_FRAME_MISSING = 1,     /* none was ever written */
    ERL_FRAME_STALE = 2,       /* older than allowed, or stamped in the future */
    ERL_FRAME_TORN = 3,        /* the writer overtook every one of the bounded reads */
    ERL_FRAME_OTHER_STATE = 4, /* lockstep: the frame of the observed state did not come before the deadline */
    ERL_FRAME_NOT_FINITE = 5,
    ERL_FRAME_VERDICTS = 6
} erl_frame_verdict;

typedef enum erl_phase {
    ERL_PHASE_STARTING = 0,
    ERL_PHASE_READY = 1,   /* segments are mapped: the supervisor may seal them */
    ERL_PHASE_RUNNING = 2, /* at least one tick was made */
    ERL_PHASE_ENDED = 3,
    ERL_PHASE_REFUSED = 4  /* start_fault says why; no tick was made */
} erl_phase;

typedef enum erl_request_kind {
    ERL_REQUEST_ARM = 0,
    ERL_REQUEST_DISARM = 1,
    ERL_REQUEST_ESTOP = 2,
    ERL_REQUEST_RESET = 3,
    ERL_REQUEST_QUIT = 4,
    ERL_REQUEST_SWITCH = 5, /* the candidate is to take over */
    ERL_REQUEST_COUNT = 6
} erl_request_kind;

/* Which ladder a fault leads onto. */
typedef enum erl_ladder_class {
    ERL_LADDER_POLICY = 0,  /* the policy is to blame: the state can be relied on */
    ERL_LADDER_STATE = 1,   /* the state is to blame: no rung may need one */
    ERL_LADDER_MACHINE = 2, /* the computer, the supervisor or the operator is */
    ERL_LADDER_COUNT = 3
} erl_ladder_class;

/* What a command channel means to the motor. */
typedef enum erl_role {
    ERL_ROLE_OTHER = 0,
    ERL_ROLE_POSITION = 1,
    ERL_ROLE_VELOCITY = 2,
    ERL_ROLE_TORQUE = 3,
    ERL_ROLE_KP = 4,
    ERL_ROLE_KD = 5,
    ERL_ROLE_COUNT = 6
} erl_role;

/* What the guardian does between two actions of a policy that is slower than the base tick. */
typedef enum erl_inner_law {
    ERL_INNER_HOLD = 0,
    ERL_INNER_INTERPOLATE = 1, /* from the target before to the new one, over policy_divider ticks */
    ERL_INNER_COUNT = 2
} erl_inner_law;

/* Where the robot says how it stands. */
typedef enum erl_attitude_kind {
    ERL_ATTITUDE_NONE = 0,
    ERL_ATTITUDE_WXYZ = 1,    /* four channels: quaternion, body to world */
    ERL_ATTITUDE_XYZW = 2,
    ERL_ATTITUDE_GRAVITY = 3, /* three channels: direction of gravity in the body's frame, a unit vector */
    ERL_ATTITUDE_COUNT = 4
} erl_attitude_kind;

/* Where a value of an observation comes from. */
typedef enum erl_element_source {
    ERL_ELEMENT_STATE = 0,    /* index: state channel */
    ERL_ELEMENT_GRAVITY = 1,  /* index: axis 0..2 of gravity's direction in the body's frame */
    ERL_ELEMENT_OPERATOR = 2, /* index: value of the operator channel */
    ERL_ELEMENT_LAST_RAW = 3, /* index: value of the last raw action, 0 before the first */
    ERL_ELEMENT_SOURCES = 4
} erl_element_source;

typedef enum erl_dtype { ERL_FLOAT32 = 0, ERL_INT32 = 1, ERL_UINT8 = 2 } erl_dtype;

typedef enum erl_on_violation { ERL_REJECT = 0, ERL_SATURATE = 1 } erl_on_violation;

/* How datagrams travel between guardian and robot. */
typedef enum erl_port_kind {
    ERL_PORT_UDP = 0,
    ERL_PORT_SHM = 1, /* two datagram mailboxes */
    ERL_PORT_COUNT = 2
} erl_port_kind;

/* Causes of one channel's verdict (bits), and what was done about them. */
#define ERL_CAUSE_NOT_FINITE 0x01u
#define ERL_CAUSE_LOW 0x02u
#define ERL_CAUSE_HIGH 0x04u
#define ERL_CAUSE_RATE 0x08u
#define ERL_CAUSE_ACCELERATION 0x10u
#define ERL_CAUSE_COUNT 5u
#define ERL_VERDICT_SATURATED 0x40u
#define ERL_VERDICT_REJECTED 0x80u

/* Flags of a STATE datagram. */
#define ERL_STATE_EPISODE_START 0x01u
#define ERL_STATE_LOCKSTEP 0x02u
#define ERL_STATE_ESTOP 0x04u
#define ERL_STATE_WAITING 0x08u
#define ERL_STATE_DONE 0x10u

/* Why a wanted ARM has not happened yet (bits of status.arm_blockers). */
#define ERL_ARM_NO_STATE 0x01u /* no new state in this tick, or no safe command sent yet */
#define ERL_ARM_STATE_FAULT 0x02u
#define ERL_ARM_ESTOP 0x04u
#define ERL_ARM_POLICY_NOT_READY 0x08u
#define ERL_ARM_ACTION_LATE 0x10u
#define ERL_ARM_REJECTED 0x20u
#define ERL_ARM_NOT_SAFE_MODE 0x40u
#define ERL_ARM_DONE 0x80u
#define ERL_ARM_OUTSIDE_START 0x100u /* the state is not in the start set */
#define ERL_ARM_DEAD_MAN 0x200u      /* the dead-man switch is not held */
#define ERL_ARM_PREPARING 0x400u     /* on the way to the start pose */

/* Why a datagram was dropped: index of status.dropped. */
typedef enum erl_drop {
    ERL_DROP_LENGTH = 0,
    ERL_DROP_MAGIC = 1,
    ERL_DROP_VERSION = 2,
    ERL_DROP_KIND = 3,
    ERL_DROP_SESSION = 4,
    ERL_DROP_CRC = 5,
    ERL_DROP_FIELD = 6,  /* count of channels not as configured, unknown flag, reserved field not 0 */
    ERL_DROP_OLD = 7,    /* sequence or stamp did not advance */
    ERL_DROP_CAUSES = 8
} erl_drop;

/* What erl_config_check finds wrong, and what keeps a guardian from starting. */
typedef enum erl_config_fault {
    ERL_CONFIG_OK = 0,
    ERL_CONFIG_LAYOUT = 1,       /* magic, version or size */
    ERL_CONFIG_COUNTS = 2,       /* a count is out of range */
    ERL_CONFIG_SESSION = 3,      /* session is 0 */
    ERL_CONFIG_TIMES = 4,        /* period, budget, valid_for or a time-out out of range */
    ERL_CONFIG_DIVIDER = 5,      /* not 0 < action_delay <= policy_divider, or both 1 and 0 */
    ERL_CONFIG_BUCKET = 6,       /* not 1 <= limit <= window <= ERL_MAX_WINDOW, or arm_ticks too few */
    ERL_CONFIG_ON_REJECT = 7,    /* not HOLD, SAFE or LAPSE */
    ERL_CONFIG_STATE_CHANNEL = 8, /* limits not ordered, or a NaN */
    ERL_CONFIG_COMMAND_CHANNEL = 9, /* limits not ordered, safe outside them, a NaN, a negative rate, a bad index */
    ERL_CONFIG_REALTIME = 10,    /* priority or cpu out of range */
    ERL_CONFIG_TERM = 11,        /* a term or an element outside the record or of an unknown kind */
    ERL_CONFIG_LADDER = 12,      /* a rung is not allowed in its ladder */
    ERL_CONFIG_OPERATOR = 13,    /* limits not ordered, or the time-out value outside them */
    ERL_CONFIG_ATTITUDE = 14,    /* channels outside the state, or a cosine outside [-1, 1] */
    ERL_CONFIG_CLOCK = 15,       /* neither grid nor robot, or an unknown inner law */
    ERL_CONFIG_PORT = 16,        /* of an unknown kind, tags in shared memory, or too many states beside a tag */
    ERL_START_SEGMENT = 17,      /* a descriptor cannot be mapped, or its header is another */
    ERL_START_REALTIME = 18,     /* production profile, and the kernel refused priority, affinity or memory lock */
    ERL_CONFIG_FAULT_COUNT = 19
} erl_config_fault;

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
    _Atomic uint64_t died[ERL_POLICY_SLOTS]; /* by slot: no policy of this epoch or an earlier one lives there any more */
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
 * operator[operator_count] follow the header, then padding to a multiple of 8 bytes. What a tick does not have is NaN. */
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

/* The world as the loop sees it: the real one is in port.c, tests bring their own. */

typedef struct erl_port {
    void *context;
    uint64_t (*now_ns)(void *context);
    void (*sleep_until)(void *context, uint64_t time_ns);
    /* One datagram: its size (above capacity: truncated); 0: none before the deadline (which is past: do not wait);
     * < 0: -errno. */
    int32_t (*receive)(void *context, void *buffer, uint32_t capacity, uint64_t deadline_ns);
    /* 0, or -errno. Never waits. */
    int32_t (*send)(void *context, const void *bytes, uint32_t count);
    /* Returns when *word is no longer `seen`, at the deadline, or earlier. */
    void (*wait_word)(void *context, const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns);
} erl_port;

typedef struct erl_segments {
    erl_status_block *status;
    const erl_requests *requests;
    erl_observation_mailbox *observation;
    const erl_action_mailbox *actions[ERL_POLICY_SLOTS];
    erl_ring *ring;
} erl_segments;

typedef struct erl_transition {
    uint8_t source; /* erl_source, LADDER and ON_REJECT included */
    uint8_t next;   /* erl_mode */
} erl_transition;

typedef struct erl_loop erl_loop;

/* Functions. */

#define ERL_API __attribute__((visibility("default")))

/* Layout, so that a mirror in another language can be tested. `field` as in "erl_config.period_ns"; a bare struct name
 * gives its size. -1: unknown. */
ERL_API int64_t erl_layout(const char *field);

/* Configuration and segments: what the supervisor does before it starts a guardian. */
ERL_API uint32_t erl_config_check(const erl_config *config);
ERL_API const char *erl_config_fault_name(uint32_t fault);
ERL_API uint64_t erl_ring_bytes(const erl_config *config);
ERL_API void erl_status_create(erl_status_block *block);
ERL_API void erl_requests_create(erl_requests *requests);
ERL_API void erl_observation_create(erl_observation_mailbox *mailbox);
ERL_API void erl_action_create(erl_action_mailbox *mailbox);
ERL_API void erl_ring_create(erl_ring *ring, const erl_config *config);

/* Supervisor's side. */
ERL_API uint32_t erl_request(erl_requests *requests, uint32_t kind);
ERL_API void erl_request_policies(erl_requests *requests, uint64_t acting, uint64_t candidate);
ERL_API void erl_policy_died(erl_requests *requests, uint64_t policy);
ERL_API void erl_request_heartbeat(erl_requests *requests);
ERL_API void erl_operator_post(erl_requests *requests, const erl_operator *values);
ERL_API uint32_t erl_status_read(const erl_status_block *block, erl_status *out);
ERL_API uint64_t erl_ring_head(const erl_ring *ring);
ERL_API uint32_t erl_ring_read(const erl_ring *ring, uint64_t index, void *out, uint32_t bytes);

/* Policy's side. `seen` is the caller's memory of the last mailbox sequence, 0 at first. */
ERL_API uint32_t erl_observation_wait(const erl_observation_mailbox *mailbox, uint32_t *seen, uint64_t timeout_ns,
                                      erl_observation_header *header, void *record, uint32_t bytes);
ERL_API uint32_t erl_action_post(erl_action_mailbox *mailbox, uint64_t epoch, uint64_t sequence, uint64_t infer_ns,
                                 const float *values, uint32_t count, const float *raw, uint32_t raw_count);
ERL_API void erl_action_measured(erl_action_mailbox *mailbox, uint64_t median_ns, uint64_t worst_ns, uint64_t count);
ERL_API void erl_action_ready(erl_action_mailbox *mailbox, uint64_t epoch);
ERL_API uint64_t erl_action_ready_epoch(const erl_action_mailbox *mailbox);
ERL_API void erl_action_times(const erl_action_mailbox *mailbox, uint64_t *median_ns, uint64_t *worst_ns,
                              uint64_t *count);

/* Frames. A segment is zeros of erl_frame_segment_bytes (0: no such frame), then created, then its writer admitted.
 * Post: ERL_BAD where another writer was admitted since. Read: the newest one, ERL_OK, ERL_EMPTY or ERL_TORN. */
ERL_API uint64_t erl_frame_segment_bytes(uint64_t frame_bytes);
ERL_API void erl_frame_create(erl_frame_mailbox *mailbox, uint64_t frame_bytes);
ERL_API void erl_frame_admit(erl_frame_mailbox *mailbox, uint64_t epoch);
ERL_API uint32_t erl_frame_post(erl_frame_mailbox *mailbox, const erl_frame *frame, const void *content,
                                uint64_t bytes);
ERL_API uint32_t erl_frame_read(const erl_frame_mailbox *mailbox, erl_frame *frame, void *to, uint64_t bytes);

/* All frames for one observation, into the runner's inputs: not older than max_age_ns or, in lockstep, those of the
 * observed state, for which it waits until the deadline. Answers an erl_frame_verdict, and counts it in the account. */
ERL_API uint32_t erl_frames_take(erl_frame_input *inputs, uint32_t count,
                                 const erl_observation_header *header, uint64_t max_age_ns,
                                 erl_action_mailbox *account);
/* Datagram mailboxes. Post: OK, or BAD where it is too long. Take: the size of one newer than `seen` (above capacity:
 * truncated), 0 where none came before the deadline on CLOCK_MONOTONIC. */
ERL_API void erl_datagram_create(erl_datagram_mailbox *mailbox);
ERL_API uint32_t erl_datagram_post(erl_datagram_mailbox *mailbox, const void *bytes, uint32_t size);
ERL_API int32_t erl_datagram_take(const erl_datagram_mailbox *mailbox, uint32_t *seen, void *buffer, uint32_t capacity,
                                  uint64_t deadline_ns);

/* What the policy process does before its first observation: from then on it can only compute (confine.c). Whether the
 * kernel could, and doing it: 0 or errno. `flags`: SECCOMP_FILTER_FLAG_* of linux/seccomp.h. */
ERL_API int32_t erl_confinement(void);
ERL_API int32_t erl_confine(uint32_t flags);

/* BLAKE2s (RFC 7693); the tag of an authenticated datagram has a key of ERL_KEY_BYTES and is ERL_TAG_BYTES long. */
ERL_API void erl_blake2s(const uint8_t *key, uint32_t key_bytes, const void *message, uint32_t bytes, uint8_t *digest,
                         uint32_t digest_bytes);

/* The tables. Names are lower case with dashes; NULL: out of range. */
ERL_API uint32_t erl_modes_transition(uint32_t mode, uint32_t event, erl_transition *out);
ERL_API const char *erl_mode_name(uint32_t mode);
ERL_API const char *erl_event_name(uint32_t event);
ERL_API const char *erl_source_name(uint32_t source);

/* The envelope on arrays. Row i holds `count` commands at times_ns[i]; episode_start[i] != 0 seeds it anew: with the
 * safe command written seed_ns before that row, or with nothing where seed_ns is 0. A rejected row writes what
 * on_reject says (LAPSE: NaN). verdicts and written are rows * count. ERL_BAD: what erl_config_check would refuse. */
ERL_API uint32_t erl_envelope_replay(const erl_command_channel *channels, uint32_t count, uint32_t on_reject,
                                     uint64_t seed_ns, uint64_t rows, const float *commands, const uint64_t *times_ns,
                                     const uint8_t *episode_start, uint8_t *verdicts, float *written);

/* The assembler on arrays. Row i is one tick of the policy: states are rows * state_count, operators rows *
 * operator_count (in use: limited already), raws rows * raw_count (of the last action before the row). reset[i] != 0
 * begins an episode. records are rows * observation_bytes; made[i] is 1, or 0 where a value of the row was not finite
 * or its type cannot hold it, so that the record is still the one before. ERL_BAD: erl_config_check refuses. */
ERL_API uint32_t erl_assembler_replay(const erl_config *config, uint64_t rows, const float *states,
                                      const float *operators, const float *raws, const uint8_t *reset,
                                      uint8_t *records, uint8_t *made);

/* The loop itself. */
ERL_API uint64_t erl_loop_bytes(void);
ERL_API uint32_t erl_loop_start(erl_loop *loop, const erl_config *config, const erl_segments *segments,
                                const erl_port *port);
ERL_API uint32_t erl_tick(erl_loop *loop); /* ERL_OK, or ERL_ENDED */
ERL_API void erl_loop_terminate(erl_loop *loop); /* QUIT, from a signal's handler */

#endif
