/* SPDX-License-Identifier: Apache-2.0
 *
 * scenarios.c: runs the core's own mailboxes, ring, status, requests, frames and round trip by the checker of
 * weak_memory.h. The core's sources are compiled as they are, but for sizes that the test makes small. Arguments: names
 * of scenarios; none: all. Exit code 1 if one is refuted or did not reach what it should reach.
 */
#include "scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t reached; /* bits of outcomes, over all executions of a scenario */

void reach(uint32_t outcome) {
    reached |= 1u << outcome;
}

void nobody_sleeps(uint32_t asleep) {
    weak_expect(asleep == 0, "a wake-up is lost: somebody sleeps forever");
}

static bool wanted(const char *name, int count, char **arguments) {
    bool named = count == 1;
    for (int i = 1; i < count; i++) {
        named = named || strcmp(arguments[i], name) == 0;
    }
    return named;
}

static bool holds(const checked *one) {
    reached = 0;
    const bool fine = weak_explore(&one->scenario);
    if (fine && reached != one->outcomes) {
        printf("%s: VACUOUS: outcomes %#x, expected %#x\n", one->scenario.name, reached, one->outcomes);
    }
    fflush(stdout);
    return fine && reached == one->outcomes;
}

int main(int count, char **arguments) {
    const checked *const subjects[] = {MAILBOX_SCENARIOS, LOOP_SCENARIOS, FRAME_SCENARIOS};
    bool fine = true;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        for (const checked *one = subjects[i]; one->scenario.name != NULL; one++) {
            if (wanted(one->scenario.name, count, arguments)) {
                fine = holds(one) && fine;
            }
        }
    }
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
