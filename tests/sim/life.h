/* Power-ups and power cuts of a pool, and what must be found after them. */
#ifndef ZONEPOOL_TESTS_SIM_LIFE_H
#define ZONEPOOL_TESTS_SIM_LIFE_H

#include "tests/sim/sim.h"

/* Makes the pool; power may fail meanwhile (then it is made again). */
void life_format(struct sim *sim);
/* Imports, with power cuts in the middle of it when the seed says so, then checks everything that
 * is promised of volumes, data and books. clean: the pool was exported. */
void life_recover(struct sim *sim, bool clean);
/* Power fails, or the process is killed, with whatever is under way. */
void life_cut(struct sim *sim);
/* Waits for what is under way, exports and imports again; power may fail in the export. False: it
 * was lost before, and life_cut is to follow. */
bool life_export(struct sim *sim);

#endif
