/* What theory says of a log-structured store: the write amplification to be measured against. */
#ifndef ZONEPOOL_BENCH_LIMIT_H
#define ZONEPOOL_BENCH_LIMIT_H

#include "workload.h"

/* Uniform random overwrites, large segments: 1 / (1 - v), v = exp(-(1 - v) / u) the valid share of
 * a victim. 0 < u < 1. */
double limit_uniform(double u);

/* A bare store simulated: segments of seg_blocks, live blocks at a share u of them, no headers, no
 * tables, nothing asynchronous; SepBIT's six classes with each block's exact last write, and the
 * victim best by age * (1 - u) / u. Six open segments and one free are held apart from u. After
 * `settle` overwrites of all blocks `measure` more are counted. Returns moved and written over
 * written; -1: no memory. */
double limit_simulated(enum workload_kind kind, uint64_t live, double u, uint32_t seg_blocks,
                       unsigned settle, unsigned measure, uint64_t seed);

#endif
