/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c: reads CLOCK_MONOTONIC and sleeps until a time on it. It knows nothing of grids or ticks.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <time.h>

uint64_t erl_clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * ERL_NS_PER_S + (uint64_t)now.tv_nsec;
}

void erl_clock_sleep_until(uint64_t time_ns, uint64_t spin_ns) {
    const uint64_t wake_ns = time_ns > spin_ns ? time_ns - spin_ns : 0;
    const struct timespec wake = {.tv_sec = (time_t)(wake_ns / ERL_NS_PER_S),
                                  .tv_nsec = (long)(wake_ns % ERL_NS_PER_S)};
    if (erl_clock_now() < wake_ns) {
        /* Restarted after a signal: the target is absolute, so nothing drifts. */
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL) == EINTR) {
        }
    }
    while (erl_clock_now() < time_ns) {
    }
}
