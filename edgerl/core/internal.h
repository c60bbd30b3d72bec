/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: what the files of the core share with each other and with nobody else. No struct here crosses a process.
 */
#ifndef EDGERL_INTERNAL_H
#define EDGERL_INTERNAL_H

#include "edgerl_core.h"

#include <signal.h>
#include <stdbool.h>

#ifdef __FAST_MATH__
#error "the envelope relies on NaN and infinity: build without -ffast-math"
#endif

#define ERL_NS_PER_S UINT64_C(1000000000)

/* clock.c */
uint64_t erl_clock_now(void);
void erl_clock_sleep_until(uint64_t time_ns, uint64_t spin_ns);

/* mailbox.c */
#define ERL_MAX_READS 64u /* torn copies in a row before a reader gives up */
#define ERL_WORDS(type) (sizeof(type) / 8u)
void erl_words_store(_Atomic uint64_t *to, const void *from, size_t words);
void erl_words_load(void *to, const _Atomic uint64_t *from, size_t words);
void erl_write_begin(_Atomic uint32_t *sequence);
void erl_write_end(_Atomic uint32_t *sequence);
uint32_t erl_read_once(const _Atomic uint32_t *sequence, uint32_t *at, void *to, const _Atomic uint64_t *from,
                       size_t words);
void erl_observation_post(erl_observation_mailbox *mailbox, const erl_observation_header *header, const void *record);
uint32_t erl_action_take(const erl_action_mailbox *mailbox, uint32_t *seen, erl_action *out);

/* futex.c */
uint32_t erl_futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns);
void erl_futex_wake(_Atomic uint32_t *word);

/* ring.c */
uint32_t erl_record_bytes(const erl_config *config);
void erl_ring_append(erl_ring *ring, const erl_config *config, const void *record);

/* status.c */
void erl_status_publish(erl_status_block *block, const erl_status *status);

/* policies.c: which policies answer; a word is epoch << 8 | slot, 0: none */
static inline uint64_t erl_policy_epoch(uint64_t word) {
    return word >> 8;
}

static inline uint32_t erl_policy_slot(uint64_t word) {
    return (uint32_t)(word & 0xffu);
}

/* envelope.c */
typedef struct erl_envelope {
    const erl_command_channel *channels;
    uint32_t count;
    bool has_last;     /* there is one to set out from: written, or seeded */
    bool has_rate;     /* another one was written since, so that there is a rate */
    uint64_t since_ns; /* time since the last one, in the tick's clock */
    float last[ERL_MAX_COMMANDS];
    double rate[ERL_MAX_COMMANDS]; /* units/s, between the last two writes */
} erl_envelope;

bool erl_channel_valid(const erl_command_channel *channel);
void erl_envelope_start(erl_envelope *envelope, const erl_command_channel *channels, uint32_t count);
void erl_envelope_seed(erl_envelope *envelope, const float *reference, uint64_t since_ns);
void erl_envelope_advance(erl_envelope *envelope, uint64_t elapsed_ns);
uint8_t erl_envelope_check(const erl_envelope *envelope, bool takes_over, const float *wanted, float *out,
                           uint8_t *verdicts);
void erl_envelope_approach(const erl_envelope *envelope, bool takes_over, const float *wanted, float *out);
void erl_envelope_commit(erl_envelope *envelope, bool takes_over, const float *written);

/* bucket.c */
typedef struct erl_bucket {
    uint32_t limit;
    uint32_t window;
    uint32_t next;
    uint32_t level;
    uint64_t bits[ERL_MAX_WINDOW / 64];
} erl_bucket;

void erl_bucket_start(erl_bucket *bucket, uint32_t limit, uint32_t window);
void erl_bucket_push(erl_bucket *bucket, bool degraded);
bool erl_bucket_full(const erl_bucket *bucket);

/* modes.c */
#define ERL_STATE_FAULTS \
    ((1u << ERL_EVENT_STATE_FROZEN) | (1u << ERL_EVENT_STATE_LIMIT) | (1u << ERL_EVENT_STATE_FAULT))
erl_transition erl_modes_cell(uint32_t mode, uint32_t event);
uint32_t erl_modes_governing(uint32_t mode, uint32_t events);
uint32_t erl_modes_ladder(uint32_t event, uint32_t events);
uint64_t erl_ladder_ns(const erl_ladder *ladder);
uint32_t erl_modes_resolve(uint32_t source, uint32_t on_reject, bool has_last, const erl_ladder *ladder,
                           uint64_t spent_ns);

/* assembler.c */
bool erl_terms_valid(const erl_config *config);

/* What the elements of an observation are read from. */
typedef struct erl_inputs {
    const float *state;
    const float *gravity;   /* 3 */
    const float *operators; /* in use: limited, or their time-out values */
    const float *last_raw;
} erl_inputs;

bool erl_assemble(const erl_config *config, const erl_inputs *inputs, bool reset, uint8_t *record);

/* prepare.c */
typedef struct erl_ramp {
    bool over;         /* the start pose was written */
    uint64_t spent_ns; /* of prepare_ns */
    float from[ERL_MAX_COMMANDS];
} erl_ramp;

/* inner.c */
typedef struct erl_setpoint {
    float target; /* of a PD channel the joint's position, of any other one the command */
    float kp;     /* of PD channels */
    float kd;
} erl_setpoint;

/* What one policy has said last, and how far its commands have followed. */
typedef struct erl_inner {
    bool has_target;
    uint64_t taken;    /* tick in which the target took effect */
    uint64_t blend_ns; /* time since the policy took over */
    float target[ERL_MAX_COMMANDS]; /* the action in effect */
    float before[ERL_MAX_COMMANDS]; /* where the way to it began */
    float stands[ERL_MAX_COMMANDS]; /* where it stood in the last command that passed */
    erl_setpoint blend_from[ERL_MAX_COMMANDS];
} erl_inner;

/* wire.c */
#define ERL_KIND_WELCOME 2u
#define ERL_KIND_STATE 4u
#define ERL_KIND_COMMAND 5u
#define ERL_KIND_BYE 6u
#define ERL_WIRE_HEADER 32u

typedef struct erl_state {
    uint64_t sequence;
    uint64_t stamp_ns;
    uint32_t kind; /* STATE or BYE; of a BYE the rest is not set */
    uint32_t flags;
    float values[ERL_MAX_STATES];
} erl_state;

typedef struct erl_command {
    uint64_t sequence;
    uint64_t stamp_ns;
    uint64_t state_sequence;
    uint64_t state_stamp_ns;
    uint64_t valid_for_ns;
    uint8_t mode;
    uint8_t source;
    uint16_t count;
    const float *values;
} erl_command;

uint32_t erl_crc32(const void *bytes, size_t count);
size_t erl_wire_state_bytes(const erl_config *config);
#define ERL_WIRE_WELCOME (ERL_DROP_CAUSES + 1) /* the answer to the supervisor's keep-alive, which nobody waits for */
uint32_t erl_wire_parse(const uint8_t *bytes, size_t size, const erl_config *config, erl_state *out);
uint32_t erl_wire_command(const erl_command *command, const erl_config *config, uint8_t *out);

/* blake2s.c */
bool erl_tags_equal(const uint8_t *one, const uint8_t *other);

/* port.c */
typedef struct erl_robot {
    int descriptor;                   /* UDP: connected socket */
    const erl_datagram_mailbox *from; /* shm: what the driver says */
    erl_datagram_mailbox *to;
    uint32_t seen;
    uint64_t spin_ns;
} erl_robot;

erl_port erl_udp_port(erl_robot *robot);
erl_port erl_shm_port(erl_robot *robot);

/* realtime.c */
int erl_realtime_priority(int priority);
int erl_realtime_affinity(int cpu);
int erl_realtime_lock_process(void);
int erl_realtime_lock_segment(const void *start, size_t bytes);

/* loop.c */
typedef struct erl_requests_seen {
    uint32_t counters[ERL_REQUEST_COUNT];
    uint64_t acting; /* the word, as the supervisor last wrote it */
    bool supervisor_lost;
    uint64_t heartbeat;
    uint64_t heartbeat_ns; /* when it last changed */
} erl_requests_seen;

/* ask.c */
typedef struct erl_asked {
    uint64_t sequence;      /* tick of the newest observation that was posted */
    uint64_t post_ns;       /* CLOCK_MONOTONIC */
    uint64_t due_ns;        /* when the answer to it is due */
    uint64_t owed_since_ns; /* since when the acting policy owes an answer; 0: it owes none */
    uint64_t acting;        /* who owes it */
    uint64_t candidate;     /* whose last action loop->standby holds */
    uint32_t ticks;         /* base ticks since it was posted, missed ones included */
    bool posted;            /* an observation was, since the asking began */
    bool outstanding;       /* the answer to it is not due yet */
    bool late;              /* an answer was not there when it was due, and none was since */
    bool usable;            /* this tick has a state that may be shown to a policy */
    bool tried;             /* this tick was one of a trial */
} erl_asked;

struct erl_loop {
    erl_config config;
    erl_segments segments;
    erl_port port;
    erl_envelope envelope;
    erl_bucket bucket;
    erl_bucket jitter;
    erl_status status;
    erl_requests_seen seen;
    uint32_t mode;
    uint32_t last_source;
    uint64_t ladder_ns;     /* spent on the fallback ladder */
    uint64_t ahead_ns;      /* of it: since the robot's clock stands still */
    uint64_t elapsed_ns;    /* of the tick's clock since the last tick */
    uint64_t stale_ns;      /* of the tick's clock since the newest state was taken */
    uint64_t silent_ns;     /* of the tick's clock since the state that the last command answered was taken */
    bool has_written;       /* a command was sent */
    uint64_t next_ns;       /* the next grid point */
    uint64_t last_tick_ns;  /* the tick's clock at the last tick */
    uint64_t last_start_ns; /* CLOCK_MONOTONIC at the last tick */
    uint64_t last_state_ns; /* CLOCK_MONOTONIC at the last tick that took a state */
    uint64_t late_ns;       /* how late this tick began, periods without a tick included */
    uint64_t command_sequence;
    uint32_t arm_left; /* ticks until a wanted ARM is given up; 0: none is wanted */
    uint32_t ladder;     /* erl_ladder_class that FALLBACK goes down */
    uint32_t action_seen[ERL_POLICY_SLOTS];
    uint32_t switch_left; /* ticks until a wanted SWITCH is given up; 0: none is wanted */
    uint64_t switch_to;   /* the candidate that it is about */
    erl_asked asked;
    uint32_t episode; /* counts the resets asked for: the policy may pass over an observation, not over a reset */
    uint32_t drained;     /* datagrams read in this tick */
    uint64_t deadline_ns; /* of this tick's action, CLOCK_MONOTONIC */
    volatile sig_atomic_t terminate; /* set by the guardian's SIGTERM */
    bool timed_out;
    bool bye;
    bool has_state;
    erl_state state;    /* the newest one taken */
    erl_state incoming; /* being parsed */
    float state_before[ERL_MAX_STATES];  /* values of the state before */
    uint32_t unchanged[ERL_MAX_STATES]; /* how often a channel's value came again */
    float gravity[3];                   /* direction in the body's frame, of the newest state */
    uint32_t operator_seen;
    erl_operator operator_said;        /* the last that made sense */
    float operators[ERL_MAX_OPERATOR]; /* in use in this tick */
    bool dead_man_held;                /* or none is needed */
    bool restart;                      /* the next observation begins an episode */
    float last_raw[ERL_MAX_COMMANDS];  /* of the last action taken in this episode */
    erl_action heard;  /* as a mailbox held it; nobody has looked at it yet */
    erl_action action; /* the acting policy's newest answer */
    erl_action shadow; /* the candidate's */
    float action_said[ERL_MAX_COMMANDS];
    float shadow_said[ERL_MAX_COMMANDS];
    erl_inner inner;   /* of the acting policy */
    erl_inner standby; /* of the candidate */
    uint64_t stands_by; /* whose command STANDBY was last */
    erl_ramp ramp;
    erl_setpoint wanted[ERL_MAX_COMMANDS]; /* of this tick */
    erl_setpoint held[ERL_MAX_COMMANDS];   /* of the command written last */
    bool holds_pd; /* whether the PD channels of that one were PD's, and it is still in force */
    float judged[ERL_MAX_COMMANDS]; /* the policy's command after the envelope */
    float command[ERL_MAX_COMMANDS];
    uint8_t verdicts[ERL_MAX_COMMANDS];
    erl_tick_header tick; /* the record in progress */
    uint8_t datagram[ERL_MAX_DATAGRAM];
    _Alignas(64) uint8_t observation[ERL_MAX_OBSERVATION_BYTES];
    _Alignas(8) uint8_t
        record[sizeof(erl_tick_header) + 4u * (ERL_MAX_STATES + 3u * ERL_MAX_COMMANDS + ERL_MAX_OPERATOR) + 8u];
};

void erl_loop_enter(erl_loop *loop, uint32_t next, uint32_t event);

/* A tick's share of what takes its time: the loop does not make up for periods that it missed. */
static inline uint64_t erl_progress_ns(const erl_loop *loop) {
    return loop->elapsed_ns < loop->config.period_ns ? loop->elapsed_ns : loop->config.period_ns;
}

/* inner.c: the policy's last action as the command of this tick; acting and trying answer with event bits */
void erl_inner_start(const erl_loop *loop, erl_inner *inner);
void erl_inner_take(const erl_loop *loop, erl_inner *inner, const float *values);
bool erl_inner_current(const erl_loop *loop, const erl_inner *inner);
float erl_inner_command(const erl_loop *loop, uint32_t channel, const erl_setpoint *setpoint);
uint32_t erl_inner_act(erl_loop *loop, erl_inner *inner, uint32_t source);
uint32_t erl_inner_try(erl_loop *loop, erl_inner *inner, const float *values);
bool erl_inner_offer(erl_loop *loop, erl_inner *inner, const float *values);

/* prepare.c: the way to the start pose */
void erl_ramp_start(erl_loop *loop);
void erl_ramp_want(erl_loop *loop, erl_setpoint *wanted);
void erl_ramp_written(erl_loop *loop, const float *command);

/* sources.c: the command of each source */
bool erl_source_written(const erl_loop *loop);
void erl_source_seed(erl_loop *loop);
bool erl_source_stand_by(erl_loop *loop);
bool erl_source_fill(erl_loop *loop, uint32_t source, uint32_t mode);

/* sense.c: waits for this tick's time and takes the newest state */
uint32_t erl_loop_sense(erl_loop *loop); /* event bits */

/* state.c */
bool erl_gravity(const erl_config *config, const float *state, float *gravity);
uint32_t erl_state_judge(erl_loop *loop); /* event bits */
bool erl_state_in_start_set(const erl_loop *loop);

/* operator.c */
uint32_t erl_loop_operator(erl_loop *loop); /* event bits */

/* watch.c */
uint32_t erl_loop_watch(erl_loop *loop); /* event bits */

/* Beside these the policy is asked as if nothing had been met. */
#define ERL_ASKED_BESIDE ((1u << ERL_EVENT_OPERATOR_LOST) | (1u << ERL_EVENT_OVERRUN))

/* requests.c */
uint32_t erl_loop_poll_requests(erl_loop *loop);    /* event bits */
bool erl_loop_request_urgent(const erl_loop *loop); /* one that cannot wait for a state */

/* arm.c: the way into ACTIVE */
uint32_t erl_loop_arm(erl_loop *loop, uint32_t events); /* event bits, with those of the arming */

/* policies.c: what the policies answer */
bool erl_policies_take(erl_loop *loop, uint64_t deadline_ns);
bool erl_policies_hear(erl_loop *loop, uint64_t deadline_ns);
bool erl_policies_ready(const erl_loop *loop, uint64_t word);

/* switch.c: another policy takes over */
void erl_switch_want(erl_loop *loop);
bool erl_switch_idle(erl_loop *loop);
bool erl_switch_over(erl_loop *loop, uint64_t deadline_ns);
void erl_switch_end_tick(erl_loop *loop);

/* ask.c: observation to policy, action back, envelope */
uint32_t erl_loop_ask(erl_loop *loop, uint32_t events); /* event bits, with those of the asking */
uint32_t erl_ask_try(erl_loop *loop);                   /* event bits */
void erl_ask_candidate(erl_loop *loop);
void erl_ask_stop(erl_loop *loop);

#endif
