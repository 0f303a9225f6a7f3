/* Every state that disks may be found in after a power cut, or after the process was killed.
 *
 * A zone whose changes are not all durable has several outcomes: a prefix of its changes survives;
 * of the first one lost, when it is a write, perhaps some blocks (torn), or all its bytes but not
 * the pointer (the pointer behind); of those that survived perhaps not the bytes (the pointer
 * ahead). What was in flight counts as carried out, and may be lost like the rest. Zones are
 * independent of each other, so the states are the product of their outcomes; where that is too
 * large, each outcome of each zone beside zones that lost all, or nothing, and a sample of the
 * rest.
 *
 * A killed process loses nothing that completed, yet that is still not durable: such a state keeps
 * its changes. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_CUT_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_CUT_H

#include "tests/sim/exhaustive/stage.h"

enum { MAX_LOOSE = 24, MAX_OUTCOMES = 48 };

struct zone_outcome {
        enum zdev_zone_state state;
        uint32_t wp;
        uint64_t sum, hash;
        struct cell *cells;
        const char *how; /* for people */
        uint32_t survive;
        bool below, above; /* bytes below the pointer are lost; lost ones are there above it */
};

struct loose_zone {
        uint32_t disk, zone;
        uint64_t now_hash; /* with everything carried out */
        uint32_t n;
        struct zone_outcome outcomes[MAX_OUTCOMES]; /* [0]: all survives; [1]: nothing does */
};

struct cuts {
        struct stage all; /* everything in flight carried out */
        struct stage kill; /* nothing of it */
        bool all_differs; /* from kill */
        bool ring_turns; /* a label ring begins anew in a zone, and that is not durable */
        uint32_t nloose;
        struct loose_zone loose[MAX_LOOSE];
        struct cell *cells; /* of the outcomes */
        uint64_t base_hash; /* of `all`, all changes durable */
        uint64_t product;
        uint32_t nstates;
        uint32_t limit;
};

/* The states after a crash of the stage as it is now: at most about `limit`. */
void cuts_init(struct cuts *c, const struct stage *now, uint32_t limit);
void cuts_fini(struct cuts *c);

/* State number i of c->nstates: its hash, and the state itself. */
uint64_t cuts_hash(const struct cuts *c, uint32_t i);
void cuts_make(const struct cuts *c, uint32_t i, struct stage *ret_stage);
/* The one in which nothing survives that is not durable. */
uint32_t cuts_all_lost(const struct cuts *c);
/* In state i bytes that writes left below a pointer are lost; bytes that were lost are there above
 * one. */
bool cuts_takes_below(const struct cuts *c, uint32_t i);
bool cuts_leaves_above(const struct cuts *c, uint32_t i);
void cuts_describe(const struct cuts *c, uint32_t i);

#endif
