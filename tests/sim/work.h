/* What users ask of a pool: I/O and control operations, picked by the seed. */
#ifndef ZONEPOOL_TESTS_SIM_WORK_H
#define ZONEPOOL_TESTS_SIM_WORK_H

#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

struct work *work_new(struct sim *sim);
void work_free(struct work *w);

/* Another mix of operations. */
void work_new_mix(struct work *w);
/* Asks for one more thing, if as many as the mix allows are not under way already. */
void work_ask(struct work *w);
/* A guest changes bytes of a write it has asked for. */
void work_scribble(struct work *w);
/* Whether that is memory of a read under way: the guest's, who may change it. */
bool work_reads_into(const struct work *w, const void *p);
/* Some read is under way. */
bool work_reads_waiting(const struct work *w);
/* Operations asked for since work_new_mix. */
uint32_t work_asked(const struct work *w);
/* Operations that have not ended; those with I/O only. */
uint32_t work_outstanding(const struct work *w);
/* Nothing goes on by itself although operations are outstanding: fails the run unless they wait for
 * space rightly; then makes some. */
void work_relieve(struct work *w);
/* How often that was done since an operation ended. */
unsigned work_relieved_in_vain(const struct work *w);
/* The pool is gone: whatever was under way may or may not have happened. */
void work_power_cut(struct work *w);

/* The volume has the reservation that it was given. */
void work_check_reservation(const struct work *w, const struct oracle_volume *v);
/* No write waits that was within its volume's reservation when it was asked for. */
void work_check_held(const struct work *w);
/* With nothing in flight, no more is promised than there is. */
void work_check_budget(const struct work *w);

#endif
