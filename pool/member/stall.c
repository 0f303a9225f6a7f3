/* Devices that stall, see stall.h. */
#include "pool/member/stall.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <errno.h>

enum { DEFAULT_STALL_MS = 5000, DEFAULT_GIVE_UP_MS = 30000, STEPS = 5 };

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

bool device_silent(const struct pool *pool, const struct pdev *d)
{
        return pdev_slow(d) && pool->stall_ns - d->heard_ns >= stalled_after_ns(pool);
}

bool stall_silent(const struct pool *pool)
{
        for (uint32_t i = 0; pool->nstalled && i < pool->ndevs; i++)
                if (device_silent(pool, &pool->devs[i]))
                        return true;
        return false;
}

bool group_stalled(const struct pool *pool, const struct group *g)
{
        for (unsigned k = 0; pool->nstalled && k < g->width; k++)
                if (pdev_slow(member_dev(pool, g, k)))
                        return true;
        return false;
}

/* ---- giving up ---- */

bool stall_refuses(struct pool *pool, const struct zdev *dev, const struct pio *p)
{
        const struct pdev *d = stall_pdev(pool, dev);
        bool waits = p->io.op == ZDEV_READ && !p->apart; /* nobody else can be asked */

        return d && d->given_up && !waits;
}

/* What lies on the device and cannot be lost lies on another one in use too. Of single blocks that
 * is what no flush covered: the rest is read when the device answers. */
static bool others_have(struct pool *pool, const struct pdev *d)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                bool on = false, elsewhere = false;
                if (!g->live && !g->refs)
                        continue;
                for (unsigned k = 0; k < g->width; k++) {
                        const struct pdev *m = member_dev(pool, g, k);
                        if (!member_good(g, k, g->tail))
                                continue;
                        on |= m == d;
                        elsewhere |= m != d && pdev_usable(m);
                }
                bool single = g->copies == 1 && g->width == 1 && g->cls != CLASS_TABLE;
                if (on && !elsewhere && (!single || g->last_seq > pool->mark))
                        return false;
        }
        return true;
}

/* As many devices go on as must know of it, see fault.c. */
static bool enough_left(const struct pool *pool, const struct pdev *d)
{
        unsigned left = 0;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                left += &pool->devs[i] != d && pdev_holds(&pool->devs[i]) &&
                        pdev_usable(&pool->devs[i]);
        return left && 2 * left > left + pool->unrecorded;
}

static bool overdue(const struct pool *pool, const struct pdev *d)
{
        uint32_t ms = pool->options.give_up_ms;

        return ms != UINT32_MAX &&
               oldest_ns(pool, d) >= (uint64_t)(ms ? ms : DEFAULT_GIVE_UP_MS) * 1000000;
}

static struct pio *to_leave(struct pool *pool, const struct pdev *d)
{
        struct flight *f;

        list_for_each (f, &pool->flights, node)
                if (f->pdev == d && f->pio && pio_leavable(f->pio))
                        return f->pio;
        return NULL;
}

/* From now on it is a device that has failed. Who waits for it hears so, and goes on as if it had
 * said so itself. */
static void give_up(struct pool *pool, struct pdev *d)
{
        struct pio *p;

        d->given_up = true;
        device_fail(pool, d, -ETIMEDOUT);
        pool_device_error(pool, d, -ETIMEDOUT);
        while ((p = to_leave(pool, d))) {
                pio_leave(p);
                pool->completing = true;
                p->cb(p, -ENODEV);
                pool->completing = false;
        }
}

static void look_for_lost(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                struct pdev *d = &pool->devs[i];
                if (!pool->readonly && pool->copies > 1 && pdev_slow(d) && pdev_holds(d) &&
                    overdue(pool, d) && enough_left(pool, d) && others_have(pool, d))
                        give_up(pool, d);
        }
}

void stall_tick(struct pool *pool, uint64_t now)
{
        uint64_t passed = now - pool->stall_tick_ns;

        pool->stall_tick_ns = now;
        pool->stall_ns += MIN(passed, stalled_after_ns(pool) / STEPS);
        for (uint32_t i = 0; pool->running && i < pool->ndevs; i++)
                look(pool, &pool->devs[i]);
        if (!pool->running || !pool->nstalled)
                return;
        asks_hedge(pool);
        look_for_lost(pool);
}

uint64_t stall_next_ns(const struct pool *pool)
{
        if (!pool->running || list_empty(&pool->flights))
                return UINT64_MAX;
        return pool->stall_tick_ns + stalled_after_ns(pool) / STEPS;
}
