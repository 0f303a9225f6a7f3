/* What must be found after a recovery: books, table, volumes, data. */
#ifndef ZONEPOOL_TESTS_SIM_VERIFY_H
#define ZONEPOOL_TESTS_SIM_VERIFY_H

#include "tests/sim/sim.h"

/* Checks the imported pool and settles the oracle on what was found. */
void verify(struct sim *sim);

/* Keeps the table of a pool about to be killed, for the next verify to compare with. */
void verify_keep_table(struct sim *sim);
/* Whether there is one: nothing may be lost then. */
bool verify_table_kept(void);
void verify_table_lost(void);

/* A new pool: what was seen of the last one counts no more. */
void verify_forget(void);

#endif
