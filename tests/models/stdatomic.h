/* SPDX-License-Identifier: Apache-2.0
 *
 * stdatomic.h: stands in front of the compiler's own, so that the core's sources, compiled as they are, ask the checker
 * of weak_memory.h for every atomic access. It has what the core uses and nothing else: any other operation fails to
 * compile, and so would be noticed.
 */
#ifndef MODEL_STDATOMIC_H
#define MODEL_STDATOMIC_H

#include "weak_memory.h"

#define atomic_load_explicit(at, order) ((__typeof__(*(at) + 0))weak_load((at), sizeof *(at), (order)))
#define atomic_store_explicit(at, value, order) weak_store((at), sizeof *(at), (value), (order))
#define atomic_fetch_add_explicit(at, value, order) weak_fetch_add((at), sizeof *(at), (value), (order))
#define atomic_thread_fence(order) weak_fence(order)

#endif
