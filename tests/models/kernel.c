/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.c: the system around the core, for the scenarios. The futex is modelled as Linux has it: a waiter counts
 * itself, full barrier, then compares and queues under the lock; a waker has a full barrier, looks at the count and
 * leaves if there is none, else wakes under the lock.
 */
#include "scenarios.h"

#include <time.h>

static uint32_t kernel_waiters;

void kernel_reset(void) {
    kernel_waiters = 0;
    weak_name(&kernel_waiters, sizeof kernel_waiters, "kernel's waiters");
}

uint32_t erl_futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns) {
    (void)deadline_ns; /* never: a wake-up that is lost is to show */
    weak_count(&kernel_waiters, 4, 1);
    weak_fence(memory_order_seq_cst);
    weak_lock();
    if (weak_load(word, 4, memory_order_relaxed) == seen) {
        weak_sleep(word);
    }
    weak_unlock();
    weak_count(&kernel_waiters, 4, UINT32_MAX);
    return ERL_OK;
}

void erl_futex_wake(_Atomic uint32_t *word) {
#ifndef MODEL_KERNEL_WITHOUT_BARRIER
    weak_fence(memory_order_seq_cst);
#endif
    if ((uint32_t)weak_load(&kernel_waiters, 4, memory_order_relaxed) != 0) {
        weak_lock();
        weak_wake(word);
        weak_unlock();
    }
}

uint64_t erl_clock_now(void) {
    return 1;
}

int nanosleep(const struct timespec *time, struct timespec *left) {
    (void)time;
    (void)left;
    return 0;
}
