/* SPDX-License-Identifier: Apache-2.0
 *
 * explorer.c: a depth-first search over all choices: which thread goes on, and which store a load returns. Every
 * execution starts from the beginning and repeats the choices up to the last one that has an alternative.
 *
 * Stores need no choice of their own: a store only adds to what others may load, and they need not load it, so it is
 * made at once. A state that was met before is not searched again. A state is all there is: stores, views, and of every
 * thread its registers, its stack and the memory that the scenario calls private (as a 128-bit hash).
 */
#define _GNU_SOURCE
#include "explorer.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define NAMES 16u
#define PRIVATES 4u
#define DEPTH 4096u
#define EVENTS 8192u
#define STACK 8192u
#define RED_ZONE 128u /* below the frame address: registers that a function saved */

typedef enum state { RUNNABLE, ASLEEP, FINISHED } state;

typedef struct thread {
    state state;
    const volatile void *sleeps_on;
    bool started;
    jmp_buf registers;
    char *top; /* of its stack, as it is while it does not run */
    ucontext_t first;
} thread;

typedef struct event {
    uint32_t thread;
    const char *what;
    const volatile void *at;
    uint64_t value;
    uint32_t behind; /* stores that a load could have seen and did not */
} event;

static const weak_scenario *scenario;
static thread threads[WEAK_MAX_THREADS];
static _Alignas(64) char stacks[WEAK_MAX_THREADS][STACK];
static uint32_t thread_count;
uint32_t explorer_running;
static bool alone;
static jmp_buf scheduler;
static ucontext_t fresh; /* every thread starts with these registers, so that equal states are equal */
static struct {
    uint32_t taken;
    uint32_t count;
} choices[DEPTH];
static uint32_t depth;
static uint32_t recorded;
static const char *broken;
static event events[EVENTS];
static uint32_t event_count;
static struct {
    const volatile char *start;
    size_t bytes;
    const char *name;
} names[NAMES];
static uint32_t name_count;
static struct {
    const void *start;
    size_t bytes;
} privates[PRIVATES];
static uint32_t private_count;
static hash *visited;
static size_t visited_room;
static size_t visited_count;

_Noreturn void explorer_refuse(const char *why) {
    fprintf(stderr, "%s: the checker cannot judge this: %s\n", scenario->name, why);
    exit(2);
}

/* Hashes, and the set of states that were met. */

void hash_word(hash *to, uint64_t word) {
    const uint64_t low = (to->low ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
    const uint64_t high = (to->high + word) * UINT64_C(0x94d049bb133111eb);
    to->low = low ^ (low >> 29) ^ (high >> 35);
    to->high = high ^ (high >> 32);
}

void hash_bytes(hash *to, const void *bytes, size_t count) {
    for (size_t i = 0; i + 8 <= count; i += 8) {
        uint64_t word;
        memcpy(&word, (const char *)bytes + i, 8);
        hash_word(to, word);
    }
}

static bool insert(hash *into, size_t room, hash one) {
    size_t i = one.low & (room - 1);
    while (into[i].low != 0 || into[i].high != 0) {
        if (into[i].low == one.low && into[i].high == one.high) {
            return false;
        }
        i = (i + 1) & (room - 1);
    }
    into[i] = one;
    return true;
}

static bool is_new(hash one) {
    if (2 * (visited_count + 1) > visited_room) {
        const size_t room = visited_room == 0 ? 1u << 16 : 2 * visited_room;
        hash *larger = calloc(room, sizeof *larger);
        if (larger == NULL) {
            explorer_refuse("out of memory");
        }
        for (size_t i = 0; i < visited_room; i++) {
            if (visited[i].low != 0 || visited[i].high != 0) {
                (void)insert(larger, room, visited[i]);
            }
        }
        free(visited);
        visited = larger;
        visited_room = room;
    }
    const bool added = insert(visited, visited_room, one);
    visited_count += added;
    return added;
}

static hash whole_state(void) {
    hash all = {1, 2};
    memory_hash(&all, thread_count);
    for (uint32_t t = 0; t < thread_count; t++) {
        const thread *one = &threads[t];
        hash_word(&all, one->state);
        hash_word(&all, (uint64_t)(uintptr_t)one->sleeps_on);
        if (one->state != FINISHED) {
            hash_bytes(&all, &one->registers, sizeof one->registers);
            hash_bytes(&all, one->top, (size_t)(stacks[t] + STACK - one->top));
        }
    }
    for (uint32_t i = 0; i < private_count; i++) {
        hash_bytes(&all, privates[i].start, privates[i].bytes);
    }
    return all;
}

/* Choices. */

uint32_t explorer_choose(uint32_t count) {
    if (count == 1) {
        return 0;
    }
    if (depth == DEPTH) {
        explorer_refuse("an execution has too many choices");
    }
    if (depth == recorded) {
        choices[recorded].taken = 0;
        choices[recorded].count = count;
        recorded++;
    }
    return choices[depth++].taken;
}

static bool next_choices(void) {
    while (recorded > 0 && choices[recorded - 1].taken + 1 == choices[recorded - 1].count) {
        recorded--;
    }
    if (recorded > 0) {
        choices[recorded - 1].taken++;
    }
    return recorded > 0;
}

/* Only where new ground begins: what lies before the last choice was met by the execution before. */
static bool met_before(void) {
    return depth == recorded && !is_new(whole_state());
}

/* What earlier calls left below would make equal states look different. */
static __attribute__((noinline)) void scrub(void) {
    volatile uint64_t room[32];
    for (size_t i = 0; i < sizeof room / sizeof room[0]; i++) {
        room[i] = 0;
    }
}

static __attribute__((noinline)) void to_scheduler(void) {
    threads[explorer_running].top = (char *)__builtin_frame_address(0) - RED_ZONE;
    if (_setjmp(threads[explorer_running].registers) == 0) {
        _longjmp(scheduler, 1);
    }
}

void explorer_others_may_go_first(void) {
    if (!alone) {
        scrub();
        to_scheduler();
    }
}

void explorer_hold(bool hold) {
    alone = hold;
    if (!hold && threads[explorer_running].state == ASLEEP) {
        to_scheduler();
    }
}

void weak_sleep(const volatile void *at) {
    explorer_note("sleep", at, 0, 0);
    threads[explorer_running].state = ASLEEP;
    threads[explorer_running].sleeps_on = at;
}

void weak_wake(const volatile void *at) {
    explorer_note("wake", at, 0, 0);
    for (uint32_t t = 0; t < thread_count; t++) {
        if (threads[t].state == ASLEEP && threads[t].sleeps_on == at) {
            threads[t].state = RUNNABLE;
        }
    }
}

void explorer_note(const char *what, const volatile void *at, uint64_t value, uint32_t behind) {
    if (event_count == EVENTS) {
        explorer_refuse("an execution is too long: does a thread never end?");
    }
    events[event_count++] = (event){explorer_running, what, at, value, behind};
}

/* Executions. */

static void body(void) {
    scenario->threads[explorer_running]();
    threads[explorer_running].state = FINISHED;
    to_scheduler();
}

static void start_execution(void) {
    depth = 0;
    alone = false;
    event_count = 0;
    memory_start();
    scenario->reset();
    for (uint32_t t = 0; t < thread_count; t++) {
        thread *one = &threads[t];
        memset(one, 0, sizeof *one);
        memset(stacks[t], 0, STACK);
        one->first = fresh;
        one->first.uc_stack.ss_sp = stacks[t];
        one->first.uc_stack.ss_size = STACK;
        makecontext(&one->first, body, 0);
    }
}

/* Up to the next thing that another thread can influence. Not swapcontext, which costs two system calls. */
static void run(uint32_t t) {
    explorer_running = t;
    if (_setjmp(scheduler) == 0) {
        if (threads[t].started) {
            _longjmp(threads[t].registers, 1);
        }
        threads[t].started = true;
        setcontext(&threads[t].first);
    }
}

static uint32_t in_state(state which, uint32_t *list) {
    uint32_t count = 0;
    for (uint32_t t = 0; t < thread_count; t++) {
        if (threads[t].state == which) {
            list[count++] = t;
        }
    }
    return count;
}

static void execute(void) {
    uint32_t list[WEAK_MAX_THREADS];
    start_execution();
    for (uint32_t t = 0; t < thread_count && broken == NULL; t++) {
        run(t);
    }
    while (broken == NULL) {
        const uint32_t count = in_state(RUNNABLE, list);
        if (count == 0) {
            break;
        }
        if (met_before()) {
            return;
        }
        run(list[explorer_choose(count)]);
    }
    if (broken == NULL) {
        const uint32_t count = in_state(ASLEEP, list);
        uint32_t asleep = 0;
        for (uint32_t i = 0; i < count; i++) {
            asleep |= 1u << list[i];
        }
        explorer_running = NOBODY;
        scenario->end(asleep);
    }
}

static void print_name(const volatile void *at) {
    for (uint32_t n = 0; n < name_count; n++) {
        const size_t offset = (size_t)((const volatile char *)at - names[n].start);
        if ((const volatile char *)at >= names[n].start && offset < names[n].bytes) {
            printf(" %s+%zu", names[n].name, offset);
            return;
        }
    }
    printf(" %p", (const void *)(uintptr_t)at);
}

static void print_execution(void) {
    printf("%s: REFUTED: %s\n", scenario->name, broken);
    for (uint32_t e = 0; e < event_count; e++) {
        const event *one = &events[e];
        printf("  thread %u: %s", one->thread, one->what);
        if (one->at != NULL) {
            print_name(one->at);
            printf(" %llu", (unsigned long long)one->value);
        }
        if (one->behind > 0) {
            printf(" (%u newer not seen)", one->behind);
        }
        putchar('\n');
    }
}

uint32_t weak_choose(uint32_t count) {
    const uint32_t chosen = explorer_choose(count);
    explorer_note("choose", NULL, chosen, 0);
    return chosen;
}

void weak_expect(bool holds, const char *what) {
    if (holds) {
        return;
    }
    broken = what;
    if (explorer_running != NOBODY) {
        to_scheduler();
    }
}

void weak_private(const void *start, size_t bytes) {
    for (uint32_t i = 0; i < private_count; i++) {
        if (privates[i].start == start) {
            return;
        }
    }
    if (private_count == PRIVATES || bytes % 8 != 0) {
        explorer_refuse("too many private pieces, or one that is not made of 64-bit words");
    }
    privates[private_count].start = start;
    privates[private_count].bytes = bytes;
    private_count++;
}

void weak_name(const volatile void *start, size_t bytes, const char *name) {
    for (uint32_t n = 0; n < name_count; n++) {
        if (names[n].start == start && names[n].bytes == bytes) {
            return;
        }
    }
    if (name_count == NAMES) {
        explorer_refuse("too many names");
    }
    names[name_count].start = start;
    names[name_count].bytes = bytes;
    names[name_count].name = name;
    name_count++;
}

bool weak_explore(const weak_scenario *which) {
    volatile uint64_t executions = 0; /* outlives longjmp */
    scenario = which;
    memory_forget();
    name_count = 0;
    private_count = 0;
    getcontext(&fresh);
    recorded = 0;
    broken = NULL;
    free(visited);
    visited = NULL;
    visited_room = 0;
    visited_count = 0;
    thread_count = 0;
    while (thread_count < WEAK_MAX_THREADS && scenario->threads[thread_count] != NULL) {
        thread_count++;
    }
    do {
        execute();
        executions++;
    } while (broken == NULL && next_choices());
    if (broken != NULL) {
        print_execution();
        return false;
    }
    printf("%s: holds in every execution (%llu runs, %zu states)\n", scenario->name, (unsigned long long)executions,
           visited_count);
    return true;
}
