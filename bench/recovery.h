/* How long import takes after a crash at the worst moment, see docs/bench.md. */
#ifndef ZONEPOOL_BENCH_RECOVERY_H
#define ZONEPOOL_BENCH_RECOVERY_H

#include "base/err.h"

/* Prints a line a row. argv[0] is the benchmark's name. Errors: -errno with text. */
int bench_recovery(int argc, char **argv, struct err *err);

#endif
