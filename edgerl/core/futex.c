/* SPDX-License-Identifier: Apache-2.0
 *
 * futex.c: sleeps on a word in shared memory until another process changes it, and wakes such sleepers. Absolute
 * deadlines on CLOCK_MONOTONIC. A waiter may return early; callers look at the word again.
 *
 * FUTEX_WAIT works on a read-only mapping of a shared file, so the policy needs no write access to its observation.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(_Atomic uint32_t) == 4 && ATOMIC_INT_LOCK_FREE == 2, "a futex word is a plain 32-bit word");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && ATOMIC_LLONG_LOCK_FREE == 2, "64-bit words are shared without a lock");

uint32_t erl_futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    const struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / ERL_NS_PER_S),
                                      .tv_nsec = (long)(deadline_ns % ERL_NS_PER_S)};
    const long answer =
        syscall(SYS_futex, (const void *)word, FUTEX_WAIT_BITSET, seen, &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    if (answer == 0 || errno == EAGAIN) {
        return ERL_OK;
    }
    if (errno == EINTR) {
        return ERL_INTERRUPTED;
    }
    return errno == ETIMEDOUT ? ERL_TIMEOUT : ERL_BAD;
}

void erl_futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, (void *)word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
