/* What users see of an imported pool. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_LOOK_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_LOOK_H

#include "tests/sim/exhaustive/history.h"
#include "tests/sim/exhaustive/stage.h"

/* Checks the pool's books and reads every volume to its end. errors_fair: a read may fail. */
void look_at(struct stage *s, bool errors_fair, struct outcome *ret_outcome);

#endif
