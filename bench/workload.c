/* See workload.h. */
#include "workload.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

const char *const workload_name[WORKLOAD_KINDS] = {"uniform", "zipf0.99", "80/20", "seq"};

static const double zipf_exponent = 0.99;

static int scramble(struct workload *w)
{
        w->block = malloc(w->n * sizeof(*w->block));
        if (!w->block)
                return -ENOMEM;
        for (uint64_t i = 0; i < w->n; i++) {
                uint64_t other = rng_below(&w->rng, i + 1);
                w->block[i] = w->block[other];
                w->block[other] = (uint32_t)i;
        }
        return 0;
}

static int ranks(struct workload *w)
{
        double sum = 0;

        w->cdf = malloc(w->n * sizeof(*w->cdf));
        if (!w->cdf)
                return -ENOMEM;
        for (uint64_t i = 0; i < w->n; i++) {
                sum += pow((double)(i + 1), -zipf_exponent);
                w->cdf[i] = sum;
        }
        return 0;
}

int workload_init(struct workload *w, enum workload_kind kind, uint64_t n, uint64_t seed)
{
        int rc = 0;

        *w = (struct workload){.kind = kind, .n = n, .rng = {seed}};
        if (kind == WORKLOAD_ZIPF || kind == WORKLOAD_HOTCOLD)
                rc = scramble(w);
        if (rc == 0 && kind == WORKLOAD_ZIPF)
                rc = ranks(w);
        if (rc < 0)
                workload_fini(w);
        return rc;
}

void workload_fini(struct workload *w)
{
        free(w->cdf);
        free(w->block);
        *w = (struct workload){0};
}

static double unit(struct rng *r)
{
        return (double)(rng_next(r) >> 11) * 0x1p-53;
}

static uint64_t zipf_rank(struct workload *w)
{
        double x = unit(&w->rng) * w->cdf[w->n - 1];
        uint64_t low = 0, high = w->n - 1;

        while (low < high) {
                uint64_t mid = low + (high - low) / 2;
                if (w->cdf[mid] < x)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

uint64_t workload_next(struct workload *w)
{
        uint64_t hot = w->n / 5;

        switch (w->kind) {
        case WORKLOAD_ZIPF:
                return w->block[zipf_rank(w)];
        case WORKLOAD_HOTCOLD:
                if (hot && rng_below(&w->rng, 5) < 4)
                        return w->block[rng_below(&w->rng, hot)];
                return w->block[hot + rng_below(&w->rng, w->n - hot)];
        case WORKLOAD_SEQ:
                return w->next++ % w->n;
        case WORKLOAD_UNIFORM:
        case WORKLOAD_KINDS:
                break;
        }
        return rng_below(&w->rng, w->n);
}
