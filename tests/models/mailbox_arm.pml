/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox_arm.pml: the seqlock of mailbox.c as ARMv8 instructions that may be done out of order.
 *
 * Memory is one for all (ARMv8 is multi-copy atomic); what is weak is the order in which a processor does its
 * instructions: a release store (STLR) after everything before it, everything after an acquire load (LDAR, LDAPR) after
 * it, and two accesses of one address in their order. Nothing else is ordered, branches included. This is independent of
 * weak_memory.c, which the same protocol is checked with as C11.
 *
 * Each switch is 1 as the core is compiled and 0 for the plain instruction (STR, LDR).
 */
#ifndef WORD_RELEASE
#define WORD_RELEASE 1
#endif
#ifndef END_RELEASE
#define END_RELEASE 1
#endif
#ifndef WORD_ACQUIRE
#define WORD_ACQUIRE 1
#endif
#ifndef SEQUENCE_ACQUIRE
#define SEQUENCE_ACQUIRE 1
#endif

#define POSTS 3
#define TRIES 2

byte sequence, word0, word1;

#define EARLIER(i) ((1 << (i)) - 1)
#define HAS(all, some) (((all) & (some)) == (some))
#define READY(i, need) (!(done & (1 << (i))) && HAS(done, need))

/* Store i: post i / 4 + 1; the parts of a post are 0: sequence odd, 1: word0, 2: word1, 3: sequence even. */
#define SEQUENCE_STORES 2457 /* bits 0, 3, 4, 7, 8, 11 */
#define STORES_BEFORE(i) \
    ((i) % 4 == 0 -> EARLIER(i) & SEQUENCE_STORES : \
    ((i) % 4 == 3 -> (END_RELEASE -> EARLIER(i) : EARLIER(i) & SEQUENCE_STORES) : \
    (WORD_RELEASE -> EARLIER(i) : EARLIER(i) & (273 << ((i) % 4)))))

#define STORE(i) \
    :: READY(i, STORES_BEFORE(i)) -> d_step { \
        if \
        :: (i) % 4 == 0 -> sequence = (i) / 4 * 2 + 1 \
        :: (i) % 4 == 1 -> word0 = (i) / 4 + 1 \
        :: (i) % 4 == 2 -> word1 = (i) / 4 + 1 \
        :: (i) % 4 == 3 -> sequence = (i) / 4 * 2 + 2 \
        fi; \
        done = done | (1 << (i)) }

active proctype writer() {
    int done;
    do
    STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7) STORE(8) STORE(9) STORE(10) STORE(11)
    :: done == EARLIER(4 * POSTS) -> break
    od
}

/* Load i: try i / 4; the parts of a try are 0: sequence, 1: word0, 2: word1, 3: sequence again. */
#define SEQUENCE_LOADS 153 /* bits 0, 3, 4, 7 */
#define ACQUIRES ((SEQUENCE_ACQUIRE -> 17 : 0) | (WORD_ACQUIRE -> 102 : 0))
#define LOADS_BEFORE(i) \
    (EARLIER(i) & (ACQUIRES | ((i) % 4 == 0 || (i) % 4 == 3 -> SEQUENCE_LOADS : 17 << ((i) % 4))))

#define LOAD(i) \
    :: READY(i, LOADS_BEFORE(i)) -> d_step { \
        if \
        :: (i) % 4 == 1 -> got[i] = word0 \
        :: (i) % 4 == 2 -> got[i] = word1 \
        :: else -> got[i] = sequence \
        fi; \
        done = done | (1 << (i)) }

#define ACCEPTED(t) (got[4 * (t)] > 0 && got[4 * (t)] % 2 == 0 && got[4 * (t) + 3] == got[4 * (t)])
#define WHOLE(t) (got[4 * (t) + 1] == got[4 * (t)] / 2 && got[4 * (t) + 2] == got[4 * (t)] / 2)

active proctype reader() {
    int done;
    byte got[4 * TRIES];
    do
    LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7)
    :: done == EARLIER(4 * TRIES) -> break
    od;
#ifdef NEVER_ACCEPTED
    assert(!ACCEPTED(0) || !ACCEPTED(1) || got[0] == got[4])
#else
    assert(!ACCEPTED(0) || WHOLE(0));
    assert(!ACCEPTED(1) || WHOLE(1));
    assert(!ACCEPTED(0) || !ACCEPTED(1) || got[4] >= got[0])
#endif
}
