/* SPDX-License-Identifier: Apache-2.0
 *
 * port.c: the real world of the loop: CLOCK_MONOTONIC, the robot behind a connected UDP socket or behind two datagram
 * mailboxes, and the wait for an action. Every call is bounded in time; an error comes back as a value.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t real_now(void *context) {
    (void)context;
    return erl_clock_now();
}

static void real_sleep_until(void *context, uint64_t time_ns) {
    const erl_robot *robot = context;
    erl_clock_sleep_until(time_ns, robot->spin_ns);
}

static void real_wait_word(void *context, const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    (void)context;
    (void)erl_futex_wait(word, seen, deadline_ns);
}

static bool readable_before(int descriptor, uint64_t deadline_ns) {
    const uint64_t now_ns = erl_clock_now();
    if (now_ns >= deadline_ns) {
        return false;
    }
    const uint64_t left_ns = deadline_ns - now_ns;
    const struct timespec left = {.tv_sec = (time_t)(left_ns / ERL_NS_PER_S),
                                  .tv_nsec = (long)(left_ns % ERL_NS_PER_S)};
    struct pollfd poll_for = {.fd = descriptor, .events = POLLIN};
    return ppoll(&poll_for, 1, &left, NULL) > 0;
}

static int32_t udp_receive(void *context, void *buffer, uint32_t capacity, uint64_t deadline_ns) {
    const erl_robot *robot = context;
    for (;;) {
        const ssize_t size = recv(robot->descriptor, buffer, capacity, MSG_DONTWAIT | MSG_TRUNC);
        if (size >= 0) {
            /* An empty datagram is not "none": it counts as one that is too short. */
            return size == 0 ? 1 : (int32_t)size;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (!readable_before(robot->descriptor, deadline_ns)) {
            return 0;
        }
    }
}

static int32_t udp_send(void *context, const void *bytes, uint32_t count) {
    const erl_robot *robot = context;
    return send(robot->descriptor, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)count ? 0 : -errno;
}

static int32_t shm_receive(void *context, void *buffer, uint32_t capacity, uint64_t deadline_ns) {
    erl_robot *robot = context;
    return erl_datagram_take(robot->from, &robot->seen, buffer, capacity, deadline_ns);
}

static int32_t shm_send(void *context, const void *bytes, uint32_t count) {
    const erl_robot *robot = context;
    return erl_datagram_post(robot->to, bytes, count) == ERL_OK ? 0 : -EMSGSIZE;
}

erl_port erl_udp_port(erl_robot *robot) {
    return (erl_port){
        .context = robot,
        .now_ns = real_now,
        .sleep_until = real_sleep_until,
        .receive = udp_receive,
        .send = udp_send,
        .wait_word = real_wait_word,
    };
}

erl_port erl_shm_port(erl_robot *robot) {
    erl_port port = erl_udp_port(robot);
    port.receive = shm_receive;
    port.send = shm_send;
    return port;
}
