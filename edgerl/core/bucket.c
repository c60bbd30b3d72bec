/* SPDX-License-Identifier: Apache-2.0
 *
 * bucket.c: counts how many of the last `window` ticks degraded, exactly. One late tick is nothing; being late every
 * second tick fills it.
 */
#include "internal.h"

#include <string.h>

void erl_bucket_start(erl_bucket *bucket, uint32_t limit, uint32_t window) {
    memset(bucket, 0, sizeof *bucket);
    bucket->limit = limit;
    bucket->window = window;
}

void erl_bucket_push(erl_bucket *bucket, bool degraded) {
    uint64_t *word = &bucket->bits[bucket->next / 64u];
    const uint64_t bit = UINT64_C(1) << (bucket->next % 64u);
    if (*word & bit) {
        bucket->level--; /* the tick that now leaves the window had degraded */
    }
    *word &= ~bit;
    if (degraded) {
        *word |= bit;
        bucket->level++;
    }
    bucket->next = (bucket->next + 1u) % bucket->window;
}

bool erl_bucket_full(const erl_bucket *bucket) {
    return bucket->level >= bucket->limit;
}
