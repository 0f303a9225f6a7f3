/* Devices that stall, see stall.h. */
#include "pool/member/stall.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

enum { DEFAULT_STALL_MS = 5000, STEPS = 5 };

static uint64_t stalled_after_ns(const struct pool *pool)
{
        uint32_t ms = pool->options.stall_ms;

        return (uint64_t)(ms ? ms : DEFAULT_STALL_MS) * 1000000;
}

struct pdev *stall_pdev(struct pool *pool, const struct zdev *dev)
{
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].dev == dev)
                        return &pool->devs[i];
        return NULL;
}

/* How long its oldest operation has been under way. */
static uint64_t oldest_ns(const struct pool *pool, const struct pdev *d)
{
        const struct flight *f;

        list_for_each (f, &pool->flights, node)
                if (f->pdev == d)
                        return pool->stall_ns - f->since;
        return 0;
}

static void look(struct pool *pool, struct pdev *d)
{
        bool stalled = oldest_ns(pool, d) >= stalled_after_ns(pool);

        if (stalled == d->stalled)
                return;
        d->stalled = stalled;
        if (stalled)
                pool->nstalled++;
        else
                pool->nstalled--;
        pool_event_send(pool, stalled ? POOL_EVENT_DEVICE_STALLED : POOL_EVENT_DEVICE_ANSWERS, 0,
                        d->index, NULL, 0);
}

void stall_heard(struct pool *pool, struct pdev *d)
{
        d->heard_ns = pool->stall_ns;
        if (d->stalled)
                look(pool, d);
}

bool stall_silent(const struct pool *pool)
{
        for (uint32_t i = 0; pool->nstalled && i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                if (pdev_slow(d) && pool->stall_ns - d->heard_ns >= stalled_after_ns(pool))
                        return true;
        }
        return false;
}

bool group_stalled(const struct pool *pool, const struct group *g)
{
        for (unsigned k = 0; pool->nstalled && k < g->width; k++)
                if (pdev_slow(member_dev(pool, g, k)))
                        return true;
        return false;
}

bool stall_refuses(const struct pool *pool, const struct zdev *dev, const struct pio *p)
{
        return false;
}

void stall_tick(struct pool *pool, uint64_t now)
{
        uint64_t passed = now - pool->stall_tick_ns;

        pool->stall_tick_ns = now;
        pool->stall_ns += MIN(passed, stalled_after_ns(pool) / STEPS);
        for (uint32_t i = 0; pool->running && i < pool->ndevs; i++)
                look(pool, &pool->devs[i]);
        if (pool->nstalled)
                asks_hedge(pool);
}

uint64_t stall_next_ns(const struct pool *pool)
{
        if (!pool->running || list_empty(&pool->flights))
                return UINT64_MAX;
        return pool->stall_tick_ns + stalled_after_ns(pool) / STEPS;
}
