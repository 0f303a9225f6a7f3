/* Runs in which fewer devices are in trouble than every volume has copies: whatever these few do,
 * nothing may be lost, no user may be told of an error, and writes go on elsewhere.
 *
 * Trouble comes to the ailing devices alone: they are lost and come back stale, or stay away for
 * many imports; blocks of theirs rot, headers and summaries included; operations fail; zones wear
 * out; they stall for long. They are chosen anew only where the pool says that all is whole
 * again, and that was found by an import: what RAM calls whole need not be durable. */
#ifndef ZONEPOOL_TESTS_SIM_AILING_H
#define ZONEPOOL_TESTS_SIM_AILING_H

#include "tests/sim/sim.h"

/* Whether this is such a run, before anything else is chosen. How many devices there are, or 0. */
uint32_t ailing_choose(struct sim *sim);
/* Zones of the device may fail. */
bool ailing_may_fail(const struct sim *sim, uint32_t media);

/* For how many completions the device forgets a read, while it goes on with others; 0: it does not. */
uint64_t ailing_forgets(struct sim *sim, uint32_t media);

/* Devices took so much room along, or want as many copies again when they are back, that what lives
 * has not enough: what was admitted waits for ever, and where there is none for checkpoints either
 * the pool becomes read-only. Nothing is lost by it. */
bool ailing_took_room(const struct sim *sim, struct pool *pool);

/* An import is through, and nothing has been asked of the pool yet. */
void ailing_imported(struct sim *sim);
/* A life begins: perhaps with other devices in trouble, and what will happen to them. */
void ailing_begin(struct sim *sim);
/* Between events. */
void ailing_step(struct sim *sim);

/* Nothing but devices that stall has anything to do, for some time. */
void ailing_still(struct sim *sim);

/* Power was lost: which devices are there at the next import; again: after one more cut. */
void ailing_power_on(struct sim *sim, bool again);
/* An import without those that are away was refused: what may be tried next. Fails the run where
 * that may not be. */
void ailing_refused(struct sim *sim, int status, const char *text);

#endif
