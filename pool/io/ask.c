/* Asking members of a group, see ask.h. */
#include "pool/io/ask.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <string.h>

static struct pdev *device_of(const struct ask *a, unsigned k)
{
        return &a->pool->devs[a->member[k].dev];
}

int ask_pick(const struct ask *a, unsigned tried)
{
        int best = -1;

        for (unsigned k = 0; k < a->width; k++) {
                const struct pdev *d = device_of(a, k);
                if ((tried >> k & 1) || !d->dev || a->member[k].good < a->off + a->n)
                        continue;
                if (best < 0 || pdev_nearer(d, device_of(a, (unsigned)best)))
                        best = (int)k;
        }
        return best;
}

/* A member besides those that could be asked as well; -1: none. */
static int another(const struct ask *a, unsigned but)
{
        int k = ask_pick(a, but);

        return k >= 0 && pdev_usable(device_of(a, (unsigned)k)) ? k : -1;
}

static void answered(struct pio *p, int status)
{
        struct ask *a = p->ctx;
        unsigned k = (unsigned)(p - a->pio);

        a->asked &= ~(1u << k);
        if (status < 0) {
                pool_device_error(a->pool, device_of(a, k), status);
                a->failed |= 1u << k;
                if (a->asked)
                        return;
        }
        for (unsigned i = 0; a->asked; i++) {
                if (a->asked >> i & 1)
                        pio_leave(&a->pio[i]);
                a->asked &= ~(1u << i);
        }
        list_del(&a->node);
        a->done(a, k, status);
}

void ask_member(struct ask *a, unsigned k)
{
        struct pool *pool = a->pool;
        struct pio *p = &a->pio[k];

        if (!a->width) {
                a->width = a->group->width;
                memcpy(a->member, a->group->member, sizeof(a->member));
        }
        if (!a->asked) {
                a->failed = 0;
                a->apart = pool->running && (a->alone ? a->width > 1
                                                     : another(a, a->but | 1u << k) >= 0);
                list_add_tail(&pool->asks, &a->node);
        }
        a->asked |= 1u << k;
        p->cb = answered;
        p->ctx = a;
        p->group = a->group;
        p->apart = a->apart;
        p->io = (struct zdev_io){
            .op = ZDEV_READ,
            .zone = a->member[k].zone,
            .block = a->off,
            .nblocks = a->n,
            .iov = a->iov,
            .niov = a->niov,
        };
        pio_submit(pool, device_of(a, k)->dev, p);
}

void ask_alone(struct pool *pool, struct group *g, unsigned k, struct pio *p)
{
        p->group = g;
        p->apart = pool->running && g->width > 1;
        pio_submit(pool, member_dev(pool, g, k)->dev, p);
}

static bool all_stall(const struct ask *a)
{
        for (unsigned k = 0; k < a->width; k++)
                if ((a->asked >> k & 1) && !device_of(a, k)->stalled)
                        return false;
        return true;
}

void asks_hedge(struct pool *pool)
{
        struct ask *a;

        list_for_each (a, &pool->asks, node) {
                if (a->alone || !a->apart || !all_stall(a))
                        continue;
                int k = another(a, a->but | a->asked | a->failed);
                if (k >= 0 && !device_of(a, (unsigned)k)->stalled)
                        ask_member(a, (unsigned)k);
        }
}
