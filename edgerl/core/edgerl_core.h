/* SPDX-License-Identifier: Apache-2.0
 *
 * edgerl_core.h: every function of libedgerl_core.so, and the world that its loop is given. Numbers and structs that
 * processes share are in edgerl_names.h and edgerl_segments.h.
 */
#ifndef EDGERL_CORE_H
#define EDGERL_CORE_H

#include <stddef.h>

#include "edgerl_segments.h"

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
