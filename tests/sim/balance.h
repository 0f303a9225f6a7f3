/* Data that even out over the devices: that it is wanted or not, and that it comes to an end. */
#ifndef ZONEPOOL_TESTS_SIM_BALANCE_H
#define ZONEPOOL_TESTS_SIM_BALANCE_H

#include "tests/sim/sim.h"

/* What users were told last. */
enum balance_told { BALANCE_UNSURE, BALANCE_ON, BALANCE_OFF };

/* Asks for it, or for none, if it is time. */
void balance_act(struct sim *sim);
/* Data are moved for evenness, or that is over. */
void balance_event(struct sim *sim, struct pool *pool, const struct pool_event *e);
/* After a recovery: it is wanted or not, as users were told. */
void balance_check(struct sim *sim);
/* Nobody asks for anything any more: what lies unevenly is moved, and then nothing is. */
void balance_rests(struct sim *sim);

#endif
