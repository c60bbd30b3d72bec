/* SPDX-License-Identifier: Apache-2.0
 *
 * futex.pml: erl_observation_wait against posts that each end in FUTEX_WAKE: does the reader always end with the newest?
 * An end state in which it sleeps is a lost wake-up; a cycle in which it reads nothing new is a livelock.
 *
 * The kernel as in Linux: a waiter counts itself, full barrier, then compares and queues under the lock; a waker has a
 * full barrier, looks at the count, and wakes under the lock. A switch set to 1 breaks one thing: BARE_WAKE lets the
 * waker's look at the count be done before its store, as ARM would without that barrier; BARE_WAIT is the same on the
 * other side; WAKE_FIRST wakes before the write ends; LATE_WORD loads the word after the mailbox was found empty; SPINS
 * never sleeps, beside a writer that dies in its last write.
 */
#ifndef BARE_WAKE
#define BARE_WAKE 0
#endif
#ifndef BARE_WAIT
#define BARE_WAIT 0
#endif
#ifndef WAKE_FIRST
#define WAKE_FIRST 0
#endif
#ifndef LATE_WORD
#define LATE_WORD 0
#endif
#ifndef SPINS
#define SPINS 0
#endif

#define POSTS 3

byte sequence, waiters;
bool asleep;

inline look_and_wake() {
    if
    :: early == 0 -> count = waiters
    :: else -> skip
    fi;
    early = 0;
    if
    :: count > 0 -> atomic { asleep = false }
    :: else -> skip
    fi;
    count = 0
}

active proctype writer() {
    byte post, count;
    bool early;
    do
    :: post < POSTS ->
        sequence = 2 * post + 1;
        if
        :: SPINS && post == POSTS - 1 -> break
        :: else -> skip
        fi;
        if
        :: BARE_WAKE -> count = waiters; early = 1
        :: WAKE_FIRST -> look_and_wake()
        :: !BARE_WAKE && !WAKE_FIRST -> skip
        fi;
        sequence = 2 * post + 2;
        if
        :: WAKE_FIRST -> skip
        :: !WAKE_FIRST -> look_and_wake()
        fi;
        post++
    :: else -> break
    od
}

inline futex_wait(seen) {
    if
    :: BARE_WAIT -> compared = sequence; waiters++
    :: !BARE_WAIT -> waiters++; compared = 255
    fi;
    atomic {
        if
        :: (compared == 255 -> sequence : compared) == seen -> asleep = true
        :: else -> skip
        fi
    };
    !asleep;
    waiters--
}

active proctype reader() {
    byte seen, word, before, compared;
    do
    :: seen == 2 * POSTS -> break
    :: else ->
        word = sequence;
        before = sequence;
        if
        :: before == seen || before % 2 == 1 ->
            if
            :: LATE_WORD -> word = sequence
            :: !LATE_WORD -> skip
            fi;
            if
            :: !SPINS && (before == seen || word % 2 == 1) -> futex_wait(word)
            :: else -> skip /* torn: look again */
            fi
        :: else ->
            if
            :: sequence == before -> seen = before; progress: skip
            :: else -> skip
            fi
        fi
    od
}
