/* SPDX-License-Identifier: Apache-2.0
 *
 * weak_memory.h: runs a few threads in every way that C11 allows, on any processor, and says whether one of them breaks
 * an expectation.
 *
 * Memory model: C11 without load buffering (RC11), as views. A location is the list of all stores to it; a thread has a
 * view, the oldest store of each location that it may still read. A load may return any store not older than that. A
 * release store carries its thread's view, an acquire load takes it over; fences as in RC11.
 *
 * Rules: a location has one storing thread, or is changed by read-modify-write only (anything else is refused), so that
 * the order of its stores is that of the program. Sequentially consistent loads and stores are refused too. Threads are
 * deterministic but for what they load. Nothing here is told about accesses that are not atomic.
 */
#ifndef MODEL_WEAK_MEMORY_H
#define MODEL_WEAK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum memory_order {
    memory_order_relaxed,
    memory_order_consume,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst
} memory_order;

#define WEAK_MAX_THREADS 4u

typedef struct weak_scenario {
    const char *name;
    void (*reset)(void);                     /* before every execution: memory and results as at first */
    void (*threads[WEAK_MAX_THREADS])(void); /* NULL: no more */
    void (*end)(uint32_t asleep);            /* after every execution; bit t: thread t sleeps forever */
} weak_scenario;

/* Runs every execution. False: one broke an expectation; it was printed. */
bool weak_explore(const weak_scenario *scenario);

/* In a thread: each of 0 .. count - 1 is tried. */
uint32_t weak_choose(uint32_t count);
/* In a thread or in end(). */
void weak_expect(bool holds, const char *what);
/* In reset(): static memory that threads keep to themselves and that outlives what they do next; 64-bit words. */
void weak_private(const void *start, size_t bytes);
/* In reset(), for the printed execution. */
void weak_name(const volatile void *start, size_t bytes, const char *name);

uint64_t weak_load(const volatile void *at, size_t bytes, memory_order order);
void weak_store(volatile void *at, size_t bytes, uint64_t value, memory_order order);
uint64_t weak_fetch_add(volatile void *at, size_t bytes, uint64_t value, memory_order order);
void weak_fence(memory_order order);

/* Adds to a counter of the kernel. It carries no view: nobody may rely on it for more than its value. */
void weak_count(volatile void *at, size_t bytes, uint64_t value);
/* A section that the kernel guards with its own lock. No other thread runs within. */
void weak_lock(void);
void weak_unlock(void);
/* Within a locked section: sleep on `at` from its end on; wake all who do. */
void weak_sleep(const volatile void *at);
void weak_wake(const volatile void *at);

#endif
