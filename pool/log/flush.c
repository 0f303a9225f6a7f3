/* Flushes: durable are then all batches that were issued before the call.
 *
 * One flush runs at a time; callers that come meanwhile share the next. It waits for the batches
 * issued before it, then flushes every device written since its last flush.
 *
 * P2: after the last device's flush completed, everything up to flush_covers is durable; headers
 * from then on say so (durable mark).
 *
 * Where others have all that a device holds it is tried again, and left out when it has failed; but
 * only once a root says that it did (fault.c). Until then the callers wait.
 */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FLUSH_FAILURES = 3 };

/* Blocks between two flushes. */
static const uint64_t MIN_UNFLUSHED = 256, MAX_UNFLUSHED = 32768;

void flush_add(struct pool *pool, struct flush_wait *w)
{
        list_add_tail(&pool->flush_waits, &w->node);
}

/* Devices have failed and that can be put on record, but is not yet: what the others hold may not
 * be relied on. */
static bool recording(const struct pool *pool)
{
        return pool->unrecorded && pool->nusable && !pool->readonly;
}

static void advance_mark(struct pool *pool)
{
        uint64_t to = MIN(pool->flush_covers, pool->mark_limit);

        if (!pool->marks_held && to > pool->mark)
                pool->mark = to;
}

static void finish(struct pool *pool)
{
        struct list done;

        pool->flush_active = false;
        if (pool->flush_status == 0 && !pool->unrecorded) /* P2: durable up to flush_covers */
                advance_mark(pool);
        list_init(&done);
        list_splice_tail(&done, &pool->flush_running);
        struct flush_wait *wait, *tmp;
        list_for_each_safe (wait, tmp, &done, node) { /* these once more, when it is */
                if (!recording(pool) || wait->ckpt)
                        continue;
                list_del(&wait->node);
                list_add_tail(&pool->flush_waits, &wait->node);
        }
        bool lost = pool->unrecorded && pool->readonly && !pool->flush_status;
        /* to who waits -ENODEV would be that too few devices are there and nothing was done */
        int status = lost || pool->flush_status == -ENODEV ? -EIO : pool->flush_status;
        while (!list_empty(&done)) {
                struct flush_wait *w = list_first(&done, struct flush_wait, node);
                list_del(&w->node);
                w->done(w, status);
        }
}

struct flush_dev {
        struct pio pio;
        struct pdev *dev;
        uint64_t covers;
};

static void device_flushed(struct pio *p, int status)
{
        struct flush_dev *f = container_of(p, struct flush_dev, pio);
        struct pool *pool = p->pool;

        if (status == 0) {
                f->dev->flushed = MAX(f->dev->flushed, f->covers);
                f->dev->flush_failures = 0;
        } else {
                pool_device_error(pool, f->dev, status);
                bool joins = f->dev->state == POOL_DEVICE_JOINING;
                if (joins || (++f->dev->flush_failures >= MAX_FLUSH_FAILURES && pool->nusable > 1))
                        device_fail(pool, f->dev, status);
                if (!device_has_sole(pool, f->dev)) { /* others have all of it */
                        if (pdev_usable(f->dev) && pool->nusable > 1) {
                                pio_submit(pool, f->dev->dev, p);
                                return;
                        }
                        status = pdev_usable(f->dev) ? status : 0;
                }
                if (status < 0)
                        pool->flush_status = status;
        }
        pool_release(f);
        if (!--pool->flush_pending)
                finish(pool);
}

static void send(struct pool *pool)
{
        uint64_t lowest = pool_lowest_inflight(pool);

        pool->flush_active = true;
        pool->flush_status = 0;
        pool->flush_sent = pool->device_blocks;
        pool->flush_covers = lowest == UINT64_MAX ? pool->seq : lowest - 1;
        pool->flush_pending = 1;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                struct pdev *d = &pool->devs[i];
                if (!d->dev || d->written == d->flushed)
                        continue;
                if (d->error && !device_has_sole(pool, d))
                        continue;
                struct flush_dev *f = pool_alloc(pool, sizeof(*f));
                if (!f) {
                        pool->flush_status = -ENOMEM;
                        continue;
                }
                f->dev = d;
                f->covers = d->written;
                f->pio.cb = device_flushed;
                f->pio.io = (struct zdev_io){.op = ZDEV_FLUSH};
                pool->flush_pending++;
                pio_submit(pool, d->dev, &f->pio);
        }
        pool->flush_pending--;
}

/* Nothing was to be flushed: the callers are told from the next turn. */
static void nothing_flushed(struct deferred *d)
{
        struct pool *pool = container_of(d, struct pool, flush_defer);

        finish(pool);
}

static void own_done(struct flush_wait *w, int status)
{
        container_of(w, struct pool, own_flush)->own_flushing = false;
}

/* What no header calls durable has to be read and checked by recovery: where nobody asks for a
 * flush for long the pool does. */
static void flush_now_and_then(struct pool *pool)
{
        uint64_t many = MAX(MIN(pool->budget / 4, MAX_UNFLUSHED), MIN_UNFLUSHED);

        if (!pool->running || pool->own_flushing || pool->device_blocks - pool->flush_sent < many)
                return;
        pool->own_flushing = true;
        pool->own_flush.done = own_done;
        flush_add(pool, &pool->own_flush);
}

void flush_poll(struct pool *pool)
{
        flush_now_and_then(pool);
        if (pool->flush_active)
                return;
        if (list_empty(&pool->flush_running)) {
                struct flush_wait *w, *tmp;
                list_for_each_safe (w, tmp, &pool->flush_waits, node) {
                        if (recording(pool) && !w->ckpt)
                                continue;
                        list_del(&w->node);
                        list_add_tail(&pool->flush_running, &w->node);
                }
                if (list_empty(&pool->flush_running))
                        return;
                pool->flush_target = pool->seq;
        }
        if (pool_lowest_inflight(pool) <= pool->flush_target)
                return;
        send(pool);
        if (!pool->flush_pending) {
                pool->flush_defer.call = nothing_flushed;
                pool_defer(pool, &pool->flush_defer);
        }
}
