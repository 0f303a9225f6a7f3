/* Devices that fail, see fault.h.
 *
 * A device that failed is not written any more, so what others write from then on makes its copies
 * stale. That must be on record before anybody relies on it: the next checkpoint's root names the
 * device as out and its mirrored members as not to be read. Until that root is durable no flush
 * completes, and no group is opened with fewer members than copies were asked for. Then the pool
 * goes on without the device, and at a later import its old root does not count against the newer
 * ones that know of its failure.
 *
 * Which root is the newest can be told from more than half of the devices that it was written to,
 * because of one rule here: of the devices a root names as in use, at least half must be among
 * those its successor is written to. Where more fail at once the pool becomes read-only. */
#include "pool/fault.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

void pool_device_error(struct pool *pool, struct pdev *dev, int status)
{
        if (status == -ENODEV)
                device_fail(pool, dev, status);
        if (dev->failed_event)
                return;
        dev->failed_event = true;
        pool_event_send(pool, POOL_EVENT_DEVICE_FAILED, status, dev->index, NULL, 0);
}

void device_fail(struct pool *pool, struct pdev *dev, int status)
{
        unsigned left = 0;

        if (dev->error)
                return;
        dev->error = status;
        dev->returning = false;
        dev->failed_event = true;
        pool_event_send(pool, POOL_EVENT_DEVICE_FAILED, status, dev->index, NULL, 0);
        if (!pdev_holds(dev))
                return; /* it does not join, then */
        pool->unrecorded++;
        for (uint32_t i = 0; i < pool->ndevs; i++)
                left += pdev_holds(&pool->devs[i]) && pdev_usable(&pool->devs[i]);
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (pool->groups[i]->member[0].dev == dev->index)
                        group_count(pool, pool->groups[i]);
        space_init(pool);
        if (left && 2 * left < left + pool->unrecorded)
                pool_set_readonly(pool, status);
        else if (pool->nusable && pool->running)
                ckpt_start(pool, NULL);
        pool->rebuild = true;
}

void members_mark_stale(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->width < 2 || !members_whole(pool, g))
                        continue;
                for (unsigned k = 0; k < g->width; k++)
                        if (!pdev_usable(member_dev(pool, g, k)))
                                g->member[k].good = 0;
        }
}

void devices_recorded(struct pool *pool)
{
        const struct root *root = &pool->ckpt.root;

        for (uint32_t i = 0; i < MIN(pool->ndevs, root->ndevices); i++) {
                struct pdev *d = &pool->devs[i];
                if (!pdev_holds(d))
                        continue;
                if (root->devices[i].state == ROOT_DEVICE_IN_USE) {
                        d->last_root = root->generation;
                } else if (d->error && !d->recorded) {
                        d->recorded = true;
                        pool->unrecorded--;
                }
        }
}

bool device_has_sole(struct pool *pool, const struct pdev *dev)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                bool on = false, elsewhere = false;
                if (!g->live || g->last_seq <= pool->mark)
                        continue;
                for (unsigned k = 0; k < g->width; k++) {
                        const struct pdev *d = member_dev(pool, g, k);
                        if (!member_good(g, k, g->tail))
                                continue;
                        on |= d == dev;
                        elsewhere |= d != dev && pdev_usable(d);
                }
                if (on && !elsewhere)
                        return true;
        }
        return false;
}

static bool on_failed(struct pool *pool, const struct group *g)
{
        for (unsigned k = 0; k < g->width; k++)
                if (!pdev_usable(member_dev(pool, g, k)))
                        return true;
        return false;
}

void streams_leave_failed(struct pool *pool)
{
        struct stream *q;

        if (!pool->unrecorded || !pool->nusable)
                return;
        for_each_queue (q, pool) {
                for (struct stream *s = q; s; s = s->next) {
                        if (!s->open || s->inflight || !list_empty(&s->ready) ||
                            !on_failed(pool, s->open))
                                continue;
                        s->open->nosummary = true;
                        group_retire(pool, s->open);
                        s->open = NULL;
                }
        }
}
