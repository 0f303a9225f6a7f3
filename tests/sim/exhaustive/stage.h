/* A pool on its disks, driven in one fixed order, so that it does the same every time.
 *
 * Whatever the pool does by itself is done first; then one command completes: the oldest, or, as
 * the stage is told, the newest. Between the two nothing happens by itself: these are the moments
 * at which power may fail, and at_rest hears of each. Threads: one. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_STAGE_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_STAGE_H

#include "base/rng.h"
#include "pool/pool.h"
#include "tests/sim/exhaustive/disk.h"

enum { MAX_DISKS = 3 };

struct stage {
        struct disk *disks[MAX_DISKS];
        uint32_t ndisks;
        bool newest_first;
        void (*at_rest)(struct stage *s, void *ctx); /* NULL: nobody */
        void *ctx;

        struct pool *pool; /* NULL: not imported */
        struct pool *woken;
        struct pool_host host;
        struct pool_options options;
        struct rng rng; /* what the pool is given as random */
        uint64_t now_ns;
        uint64_t numbers; /* of commands */
        bool faults_fair; /* a device is lost, or a zone of it: events may tell of it */
        bool readonly; /* the pool said so */
        bool holds; /* writes wait for space, by its events */
};

/* Without disks. */
void stage_init(struct stage *s);
/* The same disks, in memory of their own; carried_out: see disk_clone. */
void stage_copy(struct stage *s, const struct stage *from, bool carried_out);
/* The pool is gone without a trace, and so are the disks. */
void stage_fini(struct stage *s);

/* False: nothing is left that could happen. */
bool stage_step(struct stage *s);
/* Until *flag; a failure that names `what` when nothing happens any more. */
void stage_run(struct stage *s, const bool *flag, const char *what);

/* Raised whenever the disks may remember something else than before. */
uint64_t stage_version(const struct stage *s);

void stage_format(struct stage *s);
/* Returns the status, with the text for people in err. ndisks: how many of the disks are given. */
int stage_import(struct stage *s, uint32_t ndisks, struct err *err);
void stage_checkpoint(struct stage *s);
void stage_export(struct stage *s);

#endif
