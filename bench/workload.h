/* Which block is written next. */
#ifndef ZONEPOOL_BENCH_WORKLOAD_H
#define ZONEPOOL_BENCH_WORKLOAD_H

#include "base/rng.h"

#include <stdint.h>

enum workload_kind {
        WORKLOAD_UNIFORM,
        WORKLOAD_ZIPF, /* 0.99, over all blocks, ranks scrambled */
        WORKLOAD_HOTCOLD, /* 80 % of the writes to 20 % of the blocks, scrambled */
        WORKLOAD_SEQ, /* one after the other, round and round */
        WORKLOAD_KINDS,
};

struct workload {
        enum workload_kind kind;
        uint64_t n;
        uint64_t next; /* SEQ */
        double *cdf; /* ZIPF: by rank */
        uint32_t *block; /* of a rank */
        struct rng rng;
};

extern const char *const workload_name[WORKLOAD_KINDS];

/* n blocks, 1..2^32. Returns 0 or -ENOMEM. */
int workload_init(struct workload *w, enum workload_kind kind, uint64_t n, uint64_t seed);
void workload_fini(struct workload *w); /* accepts a zeroed struct */
uint64_t workload_next(struct workload *w);

#endif
