/* Every short sequence of operations, every crash. docs/simulation.md tells the model. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_EXHAUSTIVE_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_EXHAUSTIVE_H

#include <stdint.h>

enum { EXHAUSTIVE_STATES = 100000 }; /* bound when none is given */

struct exhaustive_arguments {
        uint64_t states; /* bound of different ones, 0: none */
        uint64_t seed; /* of the sample of long sequences */
        unsigned jobs;
        const char *only; /* a case (case.h), told step by step; NULL: all */
};

/* Returns the program's exit status. */
int exhaustive_run(const struct exhaustive_arguments *args);

#endif
