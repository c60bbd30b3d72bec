/* SPDX-License-Identifier: Apache-2.0
 *
 * frame_scenarios.c: a camera's process and the policy's. The newest frame is named by an index word of its own, so
 * there are two things that could be out of step: the index and the buffer that it names.
 */
#include "scenarios.h"

#include <string.h>

static _Alignas(64) char memory[sizeof(erl_frame_mailbox) + ERL_FRAME_BUFFERS * (sizeof(erl_frame_buffer) + 64)];
#define FRAMES ((erl_frame_mailbox *)memory)
static erl_action_mailbox account;

static void frame_reset(void) {
    memset(memory, 0, sizeof memory);
    memset(&account, 0, sizeof account);
    kernel_reset();
    erl_frame_create(FRAMES, sizeof(uint64_t));
    FRAMES->epoch = EPOCH;
    weak_name(memory, sizeof memory, "frames");
    weak_name(&account, sizeof account, "account");
}

static void post_frame(uint64_t i) {
    const erl_frame frame = {.epoch = EPOCH, .stamp_ns = i, .state_stamp_ns = i};
    weak_expect(erl_frame_post(FRAMES, &frame, &i, sizeof i) == ERL_OK, "a frame is not posted");
}

/* Enough to lap all buffers. */
static void frame_writer(void) {
    for (uint64_t i = 1; i <= POSTS; i++) {
        post_frame(i);
    }
}

/* Killed anywhere in its second frame, before that is named as the newest; its successor begins with the same one. */
static void dying_camera(void) {
    post_frame(1);
    erl_frame_buffer *next = (void *)(memory + sizeof(erl_frame_mailbox));
    const uint64_t stale[sizeof(erl_frame) / 8u + 1u] = {EPOCH, 9, 9, 9};
    const uint32_t done = weak_choose(4);
    if (done > 0) {
        erl_write_begin(&next->sequence);
        erl_words_store(next->frame, stale, done > 1 ? ERL_WORDS(erl_frame) : 0);
    }
    if (done > 2) {
        erl_words_store(next->words, &stale[1], 1);
        erl_write_end(&next->sequence);
    }
    post_frame(2);
}

static void tries(uint32_t count, uint64_t last) {
    uint64_t newest = 0;
    for (uint32_t try = 0; try < count; try++) {
        erl_frame frame;
        uint64_t content = 0;
        const uint32_t answer = erl_frame_read(FRAMES, &frame, &content, sizeof content);
        if (answer != ERL_OK) {
            weak_expect(answer != ERL_EMPTY || newest == 0, "a frame that was there is gone");
            reach(16 + answer);
            continue;
        }
        weak_expect(frame.stamp_ns == content && frame.state_stamp_ns == content && frame.epoch == EPOCH,
                    "a frame is mixed");
        weak_expect(content >= newest && content <= last, "a frame is older than the one before it, or unfinished");
        newest = content;
        reach((uint32_t)content);
    }
}

static void frame_reader(void) {
    tries(2, POSTS);
}

static void dying_reader(void) {
    tries(2, 2);
}

/* In lockstep: the policy waits for the frame of the state that it observes. */
static void state_writer(void) {
    post_frame(1);
    post_frame(2);
}

static void state_reader(void) {
    const erl_observation_header header = {
        .stamp_ns = 2, .deadline_ns = UINT64_MAX / 2, .clock = ERL_CLOCK_LOCKSTEP};
    uint64_t content = 0;
    erl_frame_input input = {.mailbox = FRAMES, .to = &content, .bytes = sizeof content, .dtype = ERL_UINT8};
    const uint32_t verdict = erl_frames_take(&input, 1, &header, 0, &account);
    weak_expect(verdict == ERL_FRAME_TAKEN, "the frame of the state is not read in a bounded number of looks");
    weak_expect(content == 2 && input.frame.stamp_ns == 2, "a frame is mixed, or of another state");
    reach(1);
}

const checked FRAME_SCENARIOS[] = {
    {{"frame", frame_reset, {frame_writer, frame_reader}, nobody_sleeps}, READS | OUTCOME(1) | OUTCOME(2) | OUTCOME(3)},
    {{"frame-successor", frame_reset, {dying_camera, dying_reader}, nobody_sleeps},
     ANSWER(ERL_EMPTY) | OUTCOME(1) | OUTCOME(2)},
    {{"frame-of-state", frame_reset, {state_writer, state_reader}, nobody_sleeps}, OUTCOME(1)},
    {.outcomes = 0},
};
