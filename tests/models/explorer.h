/* SPDX-License-Identifier: Apache-2.0
 *
 * explorer.h: what the two halves of the checker tell each other: explorer.c, which runs threads in every order, and
 * weak_memory.c, which knows what a load may return.
 */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

#include "weak_memory.h"

#define NOBODY UINT32_MAX

typedef struct hash {
    uint64_t low;
    uint64_t high;
} hash;

/* explorer.c */
extern uint32_t explorer_running; /* thread */
_Noreturn void explorer_refuse(const char *why);
uint32_t explorer_choose(uint32_t count);
void explorer_others_may_go_first(void); /* before whatever another thread can influence */
void explorer_note(const char *what, const volatile void *at, uint64_t value, uint32_t behind);
void explorer_hold(bool alone); /* true: no other thread runs from now on */
void hash_word(hash *to, uint64_t word);
void hash_bytes(hash *to, const void *bytes, size_t count); /* a multiple of 8 */

/* weak_memory.c */
void memory_forget(void); /* the locations, before another scenario */
void memory_start(void);  /* before every execution */
void memory_hash(hash *to, uint32_t threads);

#endif
