/* SPDX-License-Identifier: Apache-2.0
 *
 * scenarios.h: what the scenarios of one subject each share: the system around the core, memory that two subjects use,
 * and the tables that scenarios.c runs.
 */
#ifndef MODEL_SCENARIOS_H
#define MODEL_SCENARIOS_H

#include "internal.h"

#define POSTS 3u
#define EPOCH 7u

/* Not vacuous: over all executions exactly these outcomes happen. */
#define OUTCOME(one) (1u << (one))
#define ANSWER(one) (1u << (16 + (one)))
#define READS (ANSWER(ERL_EMPTY) | ANSWER(ERL_TORN))

typedef struct checked {
    weak_scenario scenario;
    uint32_t outcomes;
} checked;

/* Each ends with one without a name. */
extern const checked MAILBOX_SCENARIOS[];
extern const checked LOOP_SCENARIOS[];
extern const checked FRAME_SCENARIOS[];

/* scenarios.c */
void reach(uint32_t outcome);
void nobody_sleeps(uint32_t asleep);

/* kernel.c */
void kernel_reset(void);

/* mailbox_scenarios.c */
extern erl_observation_mailbox observation;
extern erl_action_mailbox action;
extern erl_status_block status;
void observation_reset(void);
void action_reset(void);
void status_reset(void);

#endif
