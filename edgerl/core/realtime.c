/* SPDX-License-Identifier: Apache-2.0
 *
 * realtime.c: asks the kernel for real-time priority, a CPU and locked memory. It asks once and answers with errno;
 * whether a refusal matters is the profile's to say.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#define STACK_BYTES 65536u /* several times what a tick uses */

int erl_realtime_priority(int priority) {
    const struct sched_param param = {.sched_priority = priority};
    return priority == 0 || sched_setscheduler(0, SCHED_FIFO, &param) == 0 ? 0 : errno;
}

int erl_realtime_affinity(int cpu) {
    if (cpu < 0) {
        return 0;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
}

/* Code, data and a stack that was touched before, so that no tick takes a page fault. Segments are locked one by one,
 * as they are mapped. */
int erl_realtime_lock_process(void) {
    volatile unsigned char stack[STACK_BYTES];
    for (size_t i = 0; i < sizeof stack; i += 4096) {
        stack[i] = 0;
    }
    return mlockall(MCL_CURRENT) == 0 ? 0 : errno;
}

int erl_realtime_lock_segment(const void *start, size_t bytes) {
    return mlock(start, bytes) == 0 ? 0 : errno;
}
