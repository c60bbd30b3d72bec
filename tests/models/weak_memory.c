/* SPDX-License-Identifier: Apache-2.0
 *
 * weak_memory.c: the memory of weak_memory.h: what was stored, and what each thread may still load.
 */
#include "explorer.h"

#include <string.h>

#define LOCATIONS 16u
#define STORES 48u
#define CHANGED_BY_ALL (UINT32_MAX - 1u)

typedef struct view {
    uint8_t oldest[LOCATIONS];
} view;

typedef struct store {
    uint64_t value;
    view carried;
} store;

typedef struct location {
    const volatile void *at;
    uint32_t owner;
    uint32_t count;
    store stores[STORES];
} location;

typedef struct thread_views {
    view current;  /* what a load may return at the least */
    view acquired; /* what an acquire fence would add */
    view released; /* what a release fence has fixed for later relaxed stores */
} thread_views;

static location locations[LOCATIONS];
static uint32_t location_count;
static thread_views threads[WEAK_MAX_THREADS];
static view sc_view;
static view lock_view;
static hash stored; /* of all stores, in any order */

void memory_forget(void) {
    location_count = 0;
}

void memory_start(void) {
    stored = (hash){1, 2};
    memset(threads, 0, sizeof threads);
    memset(&sc_view, 0, sizeof sc_view);
    memset(&lock_view, 0, sizeof lock_view);
    for (uint32_t i = 0; i < location_count; i++) {
        locations[i].count = 0;
        locations[i].owner = NOBODY;
    }
}

void memory_hash(hash *to, uint32_t count) {
    hash_word(to, stored.low);
    hash_word(to, stored.high);
    hash_bytes(to, threads, count * sizeof threads[0]);
    hash_bytes(to, &sc_view, sizeof sc_view);
    hash_bytes(to, &lock_view, sizeof lock_view);
}

static void join(view *to, const view *from) {
    for (uint32_t i = 0; i < LOCATIONS; i++) {
        to->oldest[i] = to->oldest[i] > from->oldest[i] ? to->oldest[i] : from->oldest[i];
    }
}

static uint32_t index_of(const volatile void *at, size_t bytes) {
    uint32_t i = 0;
    while (i < location_count && locations[i].at != at) {
        i++;
    }
    if (i == LOCATIONS) {
        explorer_refuse("too many locations");
    }
    if (i == location_count) {
        location_count++;
        locations[i].at = at;
        locations[i].owner = NOBODY;
        locations[i].count = 0;
    }
    if (locations[i].count == 0) {
        locations[i].count = 1;
        memset(&locations[i].stores[0], 0, sizeof locations[i].stores[0]);
        memcpy(&locations[i].stores[0].value, (const void *)(uintptr_t)at, bytes);
    }
    return i;
}

static bool acquires(memory_order order) {
    return order == memory_order_acquire || order == memory_order_acq_rel;
}

static bool releases(memory_order order) {
    return order == memory_order_release || order == memory_order_acq_rel;
}

static uint64_t see(uint32_t i, uint32_t which, memory_order order) {
    thread_views *self = &threads[explorer_running];
    const store *seen = &locations[i].stores[which];
    self->current.oldest[i] = (uint8_t)which;
    self->acquired.oldest[i] = self->acquired.oldest[i] > which ? self->acquired.oldest[i] : (uint8_t)which;
    join(&self->acquired, &seen->carried);
    if (acquires(order)) {
        join(&self->current, &seen->carried);
    }
    return seen->value;
}

static void append(uint32_t i, uint64_t value, memory_order order, const view *also) {
    thread_views *self = &threads[explorer_running];
    location *to = &locations[i];
    if (to->count == STORES) {
        explorer_refuse("too many stores to one location");
    }
    const uint8_t which = (uint8_t)to->count;
    self->current.oldest[i] = which;
    self->acquired.oldest[i] = which;
    store *new = &to->stores[to->count++];
    new->value = value;
    new->carried = releases(order) ? self->current : self->released;
    new->carried.oldest[i] = which;
    if (also != NULL) {
        join(&new->carried, also);
    }
    hash one = {i, which};
    hash_word(&one, value);
    hash_bytes(&one, &new->carried, sizeof new->carried);
    stored.low += one.low;
    stored.high += one.high;
}

uint64_t weak_load(const volatile void *at, size_t bytes, memory_order order) {
    if (order == memory_order_seq_cst || releases(order)) {
        explorer_refuse("a load of this order");
    }
    const uint32_t i = index_of(at, bytes);
    if (locations[i].owner != explorer_running) {
        explorer_others_may_go_first();
    }
    const uint32_t newest = locations[i].count - 1;
    const uint32_t behind = explorer_choose(newest - threads[explorer_running].current.oldest[i] + 1u);
    const uint64_t value = see(i, newest - behind, order);
    explorer_note(acquires(order) ? "load acquire" : "load relaxed", at, value, behind);
    return value;
}

void weak_store(volatile void *at, size_t bytes, uint64_t value, memory_order order) {
    if (order == memory_order_seq_cst || acquires(order)) {
        explorer_refuse("a store of this order");
    }
    const uint32_t i = index_of(at, bytes);
    if (locations[i].owner != explorer_running && locations[i].owner != NOBODY) {
        explorer_refuse("two threads store to one location");
    }
    locations[i].owner = explorer_running;
    append(i, value, order, NULL);
    explorer_note(releases(order) ? "store release" : "store relaxed", at, value, 0);
}

uint64_t weak_fetch_add(volatile void *at, size_t bytes, uint64_t value, memory_order order) {
    if (order == memory_order_seq_cst) {
        explorer_refuse("a read-modify-write of this order");
    }
    explorer_others_may_go_first();
    const uint32_t i = index_of(at, bytes);
    if (locations[i].owner != CHANGED_BY_ALL && locations[i].owner != NOBODY) {
        explorer_refuse("stores and read-modify-writes on one location");
    }
    locations[i].owner = CHANGED_BY_ALL;
    const uint32_t last = locations[i].count - 1;
    const uint64_t before = see(i, last, order);
    append(i, before + value, order, &locations[i].stores[last].carried);
    explorer_note("fetch and add, then", at, before + value, 0);
    return before;
}

void weak_fence(memory_order order) {
    thread_views *self = &threads[explorer_running];
    const bool total = order == memory_order_seq_cst;
    if (total) {
        explorer_others_may_go_first();
    }
    if (total || acquires(order)) {
        self->current = self->acquired;
    }
    if (total) {
        join(&self->current, &sc_view);
        sc_view = self->current;
        join(&self->acquired, &self->current);
    }
    if (total || releases(order)) {
        self->released = self->current;
    }
    explorer_note("fence", NULL, order, 0);
}

/* The kernel's counter and lock. */

void weak_count(volatile void *at, size_t bytes, uint64_t value) {
    static const view nothing;
    threads[explorer_running].released = nothing;
    (void)weak_fetch_add(at, bytes, value, memory_order_relaxed);
}

void weak_lock(void) {
    explorer_others_may_go_first();
    thread_views *self = &threads[explorer_running];
    explorer_hold(true);
    join(&self->current, &lock_view);
    join(&self->acquired, &lock_view);
    explorer_note("lock", NULL, 0, 0);
}

void weak_unlock(void) {
    lock_view = threads[explorer_running].current;
    explorer_note("unlock", NULL, 0, 0);
    explorer_hold(false);
}
