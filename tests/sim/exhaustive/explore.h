/* Tries every crash of one sequence of operations. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_EXPLORE_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_EXPLORE_H

#include "tests/sim/exhaustive/script.h"
#include "tests/sim/exhaustive/seen.h"

/* How the operations of a sequence follow each other. */
enum order {
        ORDER_ONE, /* each when the one before has ended; commands complete as they were given */
        ORDER_ALL, /* all at once; the newest command completes first */
        NORDERS,
};
extern const char *const order_names[NORDERS];

struct sequence {
        struct base *base;
        enum order order;
        uint32_t n;
        char ops[MAX_OPS + 1];
};

struct explorer {
        struct seen seen;
        uint64_t sequences, points, recoveries, pruned;
        uint64_t picked; /* recoveries from crashes of sequences, not of recoveries, */
        uint64_t fresh; /* and how often a state came up that could have been */
        uint64_t bound; /* of states; UINT64_MAX: none */
        /* states whose mixed hash is above are left out, UINT64_MAX: none; of crashes in recovery
         */
        uint64_t hash_limit, inner_limit;
        const struct case_pick *only; /* NULL: everything; else that path */
        uint32_t nonly;
};

void explorer_init(struct explorer *x);
void explorer_fini(struct explorer *x);

/* Recovers the states that the sequence leads to by one crash, and those that crashes in their
 * recoveries lead to; nothing where the sequence makes no sense. */
void explore(struct explorer *x, const struct sequence *seq);

#endif
