/* A small deterministic generator (splitmix64) for simulations and tests. Not for secrets. */
#ifndef ZONEPOOL_BASE_RNG_H
#define ZONEPOOL_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
        uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
        uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

/* Uniform in [0, n); n > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
        return (uint64_t)((unsigned __int128)rng_next(r) * n >> 64);
}

/* True in num of den cases. */
static inline bool rng_chance(struct rng *r, uint64_t num, uint64_t den)
{
        return rng_below(r, den) < num;
}

#endif
