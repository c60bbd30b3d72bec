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

#define ERL_LAYOUT_VERSION 1u
#define ERL_MAX_STATES 357u            /* (1472 - 32 - 8 - 4) / 4: one STATE datagram within an Ethernet MTU */
#define ERL_MAX_COMMANDS 256u          /* four 64-bit masks in a tick record */
#define ERL_MASK_WORDS 4u              /* ERL_MAX_COMMANDS / 64 */
#define ERL_MAX_OBSERVATION_BYTES 16384u
#define ERL_MAX_DATAGRAM 1472u         /* 1500 (Ethernet) - 20 (IPv4) - 8 (UDP) */
#define ERL_MAX_DRAIN 64u              /* datagrams read in one tick at most, so that a babbling peer cannot hold it */
#define ERL_MAX_WINDOW 1024u           /* ticks that the degrade bucket can look back on */
#define ERL_MAX_RING 1048576u          /* records */

#define ERL_CONFIG_MAGIC 0x434C5245u      /* "ERLC" in memory */
#define ERL_STATUS_MAGIC 0x534C5245u      /* "ERLS" */
#define ERL_REQUESTS_MAGIC 0x514C5245u    /* "ERLQ" */
#define ERL_OBSERVATION_MAGIC 0x4F4C5245u /* "ERLO" */
#define ERL_ACTION_MAGIC 0x414C5245u      /* "ERLA" */
#define ERL_RING_MAGIC 0x524C5245u        /* "ERLR" */

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
    ERL_MODE_PREPARE = 1, /* reserved: not entered by this version */
    ERL_MODE_ACTIVE = 2,
    ERL_MODE_FALLBACK = 3,
    ERL_MODE_STOPPED = 4,
    ERL_MODE_COUNT = 5
} erl_mode;

/* Where this tick's command comes from. The table also names two that the configuration resolves into the others. */
typedef enum erl_source {
    ERL_SOURCE_POLICY = 0,
    ERL_SOURCE_HOLD = 1,  /* the command written last; SAFE where none was */
    ERL_SOURCE_SAFE = 2,  /* the bundle's safe command, approached within the envelope */
    ERL_SOURCE_LAPSE = 3, /* nothing is sent: the robot's valid_for runs out */
    ERL_SOURCE_COUNT = 4,
    ERL_SOURCE_LADDER = 4,    /* table only: HOLD for hold_ns, then SAFE for safe_ns, then LAPSE */
    ERL_SOURCE_ON_REJECT = 5, /* table only: the configuration's on_reject */
    ERL_SOURCE_NAMES = 6
} erl_source;

/* What a tick met, mildest first: the highest one governs the tick, all of them are recorded as bits (1 << event). */
typedef enum erl_event {
    ERL_EVENT_NOMINAL = 0,
    ERL_EVENT_ARM = 1,              /* armed: the first action came in time and passed the envelope */
    ERL_EVENT_ACTION_LATE = 2,      /* degrade: no answer to this observation within the budget */
    ERL_EVENT_STATE_LOST = 3,       /* degrade: no state newer than the last tick's */
    ERL_EVENT_REJECT = 4,           /* degrade: the envelope refused the action */
    ERL_EVENT_DISARM = 5,           /* requested */
    ERL_EVENT_DONE = 6,             /* the robot says that the episode or the job is over */
    ERL_EVENT_BUCKET_FAULT = 7,     /* bucket_limit of the last bucket_window ticks degraded */
    ERL_EVENT_STATE_FAULT = 8,      /* not finite, not representable, timed out in lockstep, or the robot said BYE */
    ERL_EVENT_POLICY_FAULT = 9,     /* the supervisor reports that the policy process died */
    ERL_EVENT_SUPERVISOR_FAULT = 10, /* no heartbeat for heartbeat_timeout_ns */
    ERL_EVENT_LADDER_END = 11,      /* the last rung of the fallback ladder is reached */
    ERL_EVENT_RESET = 12,           /* requested: leave FALLBACK or STOPPED for SAFE */
    ERL_EVENT_ESTOP = 13,           /* requested, or the robot's input */
    ERL_EVENT_QUIT = 14,            /* requested: the loop ends with this tick */
    ERL_EVENT_COUNT = 15
} erl_event;

typedef enum erl_clock {
    ERL_CLOCK_WAITING = 0, /* no state has arrived yet */
    ERL_CLOCK_GRID = 1,
    ERL_CLOCK_LOCKSTEP = 2
} erl_clock;

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
    ERL_REQUEST_POLICY_DIED = 5,
    ERL_REQUEST_COUNT = 6
} erl_request_kind;

typedef enum erl_dtype { ERL_FLOAT32 = 0, ERL_INT32 = 1, ERL_UINT8 = 2 } erl_dtype;

typedef enum erl_on_violation { ERL_REJECT = 0, ERL_SATURATE = 1 } erl_on_violation;

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
    ERL_CONFIG_COUNTS = 2,       /* state_count, command_count, observation_bytes or ring_capacity out of range */
    ERL_CONFIG_SESSION = 3,      /* session is 0 */
    ERL_CONFIG_TIMES = 4,        /* period, budget, valid_for or a time-out out of range */
    ERL_CONFIG_DIVIDER = 5,      /* policy_divider is not 1 or action_delay not 0 */
    ERL_CONFIG_BUCKET = 6,       /* not 1 <= bucket_limit <= bucket_window <= ERL_MAX_WINDOW */
    ERL_CONFIG_ON_REJECT = 7,    /* not HOLD, SAFE or LAPSE */
    ERL_CONFIG_STATE_CHANNEL = 8, /* dtype unknown, misaligned or outside the record */
    ERL_CONFIG_COMMAND_CHANNEL = 9, /* limits not ordered, safe outside them, a NaN, a negative rate */
    ERL_CONFIG_REALTIME = 10,    /* priority or cpu out of range */
    ERL_START_SEGMENT = 11,      /* a descriptor cannot be mapped, or its header is another */
    ERL_START_REALTIME = 12,     /* production profile, and the kernel refused priority, affinity or memory lock */
    ERL_CONFIG_FAULT_COUNT = 13
} erl_config_fault;

/* Configuration: written once by the supervisor, sealed, copied by the guardian. */

typedef struct erl_state_channel {
    uint32_t offset; /* byte offset in the packed observation record */
    uint32_t dtype;  /* erl_dtype */
} erl_state_channel;

typedef struct erl_command_channel {
    float low;
    float high;
    float max_rate;         /* units/s, INFINITY where there is none */
    float max_acceleration; /* units/s^2, INFINITY where there is none */
    float safe;             /* within [low, high] */
    uint32_t on_violation;  /* erl_on_violation */
} erl_command_channel;

typedef struct erl_config {
    uint32_t magic;
    uint32_t version;
    uint32_t bytes; /* sizeof(erl_config) */
    uint32_t production; /* 1: refuse to start without real-time scheduling and memory lock */
    uint64_t session; /* not 0 */
    uint64_t period_ns;
    uint64_t budget_ns;            /* from t_k until the action must be there; < period_ns */
    uint64_t valid_for_ns;         /* said in every command; >= period_ns */
    uint64_t lead_ns;              /* the grid stands this long after the first state's arrival */
    uint64_t spin_ns;              /* the last part of a grid sleep is spun */
    uint64_t state_grace_ns;       /* a grid tick that finds no state waits this long for one */
    uint64_t state_timeout_ns;     /* lockstep: no state for this long is a state fault */
    uint64_t heartbeat_timeout_ns; /* 0: the supervisor's death is not watched */
    uint64_t hold_ns;              /* ladder: HOLD this long */
    uint64_t safe_ns;              /* ladder: then SAFE this long, then LAPSE and STOPPED */
    uint32_t allow_lockstep;
    uint32_t bucket_limit;  /* m */
    uint32_t bucket_window; /* k */
    uint32_t on_reject;     /* erl_source: HOLD, SAFE or LAPSE */
    uint32_t arm_ticks;     /* a wanted ARM is given up after this many ticks */
    uint32_t policy_divider; /* n: 1 in this version */
    uint32_t action_delay;   /* d: 0 in this version */
    uint32_t state_count;
    uint32_t command_count;
    uint32_t observation_bytes; /* of the packed record, a multiple of 64 */
    uint32_t ring_capacity;     /* records */
    int32_t priority;  /* SCHED_FIFO 1..99, 0: leave the scheduling alone */
    int32_t cpu;       /* -1: leave the affinity alone */
    uint32_t lock_memory;
    erl_state_channel states[ERL_MAX_STATES];
    erl_command_channel commands[ERL_MAX_COMMANDS];
} erl_config;

/* Requests: supervisor to guardian. */

typedef struct erl_requests {
    uint32_t magic;
    uint32_t version;
    _Atomic uint64_t epoch;     /* of the policy process that may answer; 0: none */
    _Atomic uint64_t heartbeat; /* any change is a sign of life */
    _Atomic uint32_t counters[ERL_REQUEST_COUNT]; /* by erl_request_kind; a change is the request */
    uint32_t reserved[4];
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
    uint32_t reserved;
    uint64_t time_ns; /* CLOCK_MONOTONIC of the last update */
    uint64_t ticks;
    uint64_t epoch;
    uint64_t state_sequence;
    uint64_t fault_tick;
    uint64_t missed_periods;
    uint64_t armed;
    uint64_t arm_refused;
    uint64_t actions_taken;
    uint64_t actions_late;
    uint64_t actions_stale; /* answers to another observation or epoch, ignored */
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
    uint64_t epoch;
    uint64_t sequence;    /* of the tick; the answer echoes it */
    uint64_t stamp_ns;    /* the tick's clock */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC: later answers are thrown away */
    uint32_t episode; /* recurrent state and histories start anew where it differs from the last one that was read */
    uint32_t bytes;
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
    uint64_t epoch;    /* echoed */
    uint64_t sequence; /* echoed */
    uint64_t infer_ns; /* inside Runner.infer */
    uint32_t count;
    uint32_t reserved;
    float values[ERL_MAX_COMMANDS];
} erl_action;

typedef struct erl_action_mailbox {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t sequence; /* odd while it is being written; the guardian's futex word */
    uint32_t reserved0;
    _Atomic uint64_t ready_epoch; /* set once the golden set has passed */
    uint64_t reserved[5];
    _Atomic uint64_t words[sizeof(erl_action) / 8];
} erl_action_mailbox;

/* Ring of tick records: guardian to supervisor. */

/* In the ring, float state[state_count], action[command_count] and command[command_count] follow the header, then
 * padding to a multiple of 8 bytes. */
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
    uint64_t epoch;
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
    uint8_t reserved[6];
} erl_tick_header;

typedef struct erl_ring {
    uint32_t magic;
    uint32_t version;
    uint32_t record_bytes;
    uint32_t capacity;
    uint32_t state_count;
    uint32_t command_count;
    _Atomic uint64_t head; /* records written since the start */
    uint64_t reserved[4];
    _Atomic uint64_t words[]; /* capacity * record_bytes / 8 */
} erl_ring;

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
    const erl_action_mailbox *action;
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
ERL_API void erl_request_epoch(erl_requests *requests, uint64_t epoch);
ERL_API void erl_request_heartbeat(erl_requests *requests);
ERL_API uint32_t erl_status_read(const erl_status_block *block, erl_status *out);
ERL_API uint64_t erl_ring_head(const erl_ring *ring);
ERL_API uint32_t erl_ring_read(const erl_ring *ring, uint64_t index, void *out, uint32_t bytes);

/* Policy's side. `seen` is the caller's memory of the last mailbox sequence, 0 at first. */
ERL_API uint32_t erl_observation_wait(const erl_observation_mailbox *mailbox, uint32_t *seen, uint64_t timeout_ns,
                                      erl_observation_header *header, void *record, uint32_t bytes);
ERL_API uint32_t erl_action_post(erl_action_mailbox *mailbox, uint64_t epoch, uint64_t sequence, uint64_t infer_ns,
                                 const float *values, uint32_t count);
ERL_API void erl_action_ready(erl_action_mailbox *mailbox, uint64_t epoch);
ERL_API uint64_t erl_action_ready_epoch(const erl_action_mailbox *mailbox);

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

/* The loop itself. */
ERL_API uint64_t erl_loop_bytes(void);
ERL_API uint32_t erl_loop_start(erl_loop *loop, const erl_config *config, const erl_segments *segments,
                                const erl_port *port);
ERL_API uint32_t erl_tick(erl_loop *loop); /* ERL_OK, or ERL_ENDED */

#endif
