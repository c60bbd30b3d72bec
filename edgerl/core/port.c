/* SPDX-License-Identifier: Apache-2.0
 *
 * port.c: the real world of the loop: CLOCK_MONOTONIC, a connected UDP socket, and the wait for an action. Every call
 * is bounded in time; an error comes back as a value.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t udp_now(void *context) {
    (void)context;
    return erl_clock_now();
}

static void udp_sleep_until(void *context, uint64_t time_ns) {
    const erl_udp *udp = context;
    erl_clock_sleep_until(time_ns, udp->spin_ns);
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
    const erl_udp *udp = context;
    for (;;) {
        const ssize_t size = recv(udp->descriptor, buffer, capacity, MSG_DONTWAIT | MSG_TRUNC);
        if (size >= 0) {
            /* An empty datagram is not "none": it counts as one that is too short. */
            return size == 0 ? 1 : (int32_t)size;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (!readable_before(udp->descriptor, deadline_ns)) {
            return 0;
        }
    }
}

static int32_t udp_send(void *context, const void *bytes, uint32_t count) {
    const erl_udp *udp = context;
    return send(udp->descriptor, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)count ? 0 : -errno;
}

static void udp_wait_word(void *context, const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    (void)context;
    (void)erl_futex_wait(word, seen, deadline_ns);
}

erl_port erl_udp_port(erl_udp *udp) {
    return (erl_port){
        .context = udp,
        .now_ns = udp_now,
        .sleep_until = udp_sleep_until,
        .receive = udp_receive,
        .send = udp_send,
        .wait_word = udp_wait_word,
    };
}
