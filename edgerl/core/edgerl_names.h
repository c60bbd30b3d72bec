/* SPDX-License-Identifier: Apache-2.0
 *
 * edgerl_names.h: every limit, every enum and every flag that two processes agree on. edgerl/runtime/enums.py mirrors
 * this file; a test compares each value.
 */
#ifndef EDGERL_NAMES_H
#define EDGERL_NAMES_H

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

#endif
