/* What goes wrong with devices while users work: one is lost for good, or stalls; zones wear out; a
 * block rots. (Operations that fail by themselves, and all about power, are media.h's.) */
#ifndef ZONEPOOL_TESTS_SIM_TROUBLE_H
#define ZONEPOOL_TESTS_SIM_TROUBLE_H

#include "tests/sim/sim.h"

enum { MAX_WORN = 2 }; /* zones in a run: what the reserve can bear */

/* What this run knows of. */
void trouble_choose(struct sim *sim);
/* At the beginning of a power-up; the pool has just been recovered and looked at. */
void trouble_begin(struct sim *sim);
/* Once before each event. */
void trouble_step(struct sim *sim);
/* Whether what is in flight on devices that stall is to be completed all the same: nothing else is
 * left to happen. */
void trouble_wake(struct sim *sim);
/* An event of the pool: a device stalls, or answers again. */
void trouble_told(struct sim *sim, struct pool *pool, const struct pool_event *e);

#endif
