/* Write amplification under the workloads of docs/bench.md. */
#ifndef ZONEPOOL_BENCH_WA_H
#define ZONEPOOL_BENCH_WA_H

#include "base/err.h"

/* `bench wa ...`: one line a row on standard output. Returns 0 or -errno with text. */
int bench_wa(int argc, char **argv, struct err *err);

#endif
