/* Device operations, see pio.h. Every completion comes in here: it runs its callback, then
 * pool_settle makes the deferred calls and polls. */
#include "pool/internal.h"

#include <stdlib.h>
#include <string.h>

void keep_put(struct keep *k)
{
        if (k && !--k->refs)
                k->done(k);
}

/* ---- memory of reads that are apart ---- */

static void blocks_put(struct pool *pool, struct flight *f)
{
        for (int i = 0; i < f->io.niov; i++)
                for (size_t at = 0; at < f->iov[i].iov_len; at += ZP_BLOCK)
                        pool_block_put(pool, (uint8_t *)f->iov[i].iov_base + at);
        f->io.niov = 0;
}

static bool blocks_get(struct pool *pool, struct flight *f)
{
        f->io.niov = 0;
        for (uint32_t n = 0; n < f->io.nblocks; n++) {
                struct iovec *last = f->io.niov ? &f->iov[f->io.niov - 1] : NULL;
                uint8_t *block = pool_block_get(pool);
                if (!block) {
                        blocks_put(pool, f);
                        return false;
                }
                if (last && (uint8_t *)last->iov_base + last->iov_len == block)
                        last->iov_len += ZP_BLOCK;
                else
                        f->iov[f->io.niov++] = (struct iovec){block, ZP_BLOCK};
        }
        return true;
}

/* To whoever asked. */
static void hand_over(const struct flight *f, const struct zdev_io *to)
{
        size_t skip = 0;
        int k = 0;

        for (int i = 0; i < f->io.niov; i++) {
                const uint8_t *from = f->iov[i].iov_base;
                size_t left = f->iov[i].iov_len;
                while (left) {
                        size_t n = MIN(left, to->iov[k].iov_len - skip);
                        memcpy((uint8_t *)to->iov[k].iov_base + skip, from, n);
                        from += n;
                        left -= n;
                        skip += n;
                        if (skip == to->iov[k].iov_len) {
                                skip = 0;
                                k++;
                        }
                }
        }
}

/* ---- flights ---- */

static void flight_end(struct flight *f)
{
        list_del(&f->node);
        if (f->apart)
                blocks_put(f->pool, f);
        if (f->group)
                group_unref(f->pool, f->group);
        keep_put(f->keep);
        pool_release(f);
}

static void flight_done(struct zdev_io *io, int status)
{
        struct flight *f = container_of(io, struct flight, io);
        struct pool *pool = f->pool;
        struct pdev *d = f->pdev;
        /* of a pool that was given up meanwhile: what it belonged to is freed with the last one */
        struct pio *p = pool->dead && !pool->closing ? NULL : f->pio;

        f->dev->inflight--;
        pool->ops--;
        pool->completing = true;
        if (f->pio)
                f->pio->flight = NULL;
        if (p && f->apart && status == 0)
                hand_over(f, &p->io);
        flight_end(f);
        if (d)
                stall_heard(pool, d);
        if (p)
                p->cb(p, status);
        pool->completing = false;
        pool_settle(pool);
}

static struct flight *flight_new(struct pool *pool, struct zdev *dev, struct pio *p)
{
        size_t niov = p->apart ? p->io.nblocks : (size_t)p->io.niov;
        struct flight *f = pool_alloc(pool, sizeof(*f) + niov * sizeof(f->iov[0]));

        if (!f)
                return NULL;
        f->io = p->io;
        f->io.iov = f->iov;
        f->io.done = flight_done;
        f->pool = pool;
        f->dev = dev;
        f->pdev = stall_pdev(pool, dev);
        f->since = pool->stall_ns;
        f->apart = p->apart;
        if (p->apart && !blocks_get(pool, f)) {
                pool_release(f);
                return NULL;
        }
        if (!p->apart && niov)
                memcpy(f->iov, p->io.iov, niov * sizeof(f->iov[0]));
        f->keep = p->keep;
        if (f->keep)
                f->keep->refs++;
        list_add_tail(&pool->flights, &f->node);
        return f;
}

static void refuse_now(struct deferred *d)
{
        struct pio *p = container_of(d, struct pio, later);

        p->pool->ops--;
        p->cb(p, p->refused);
}

static void refuse(struct pio *p, int status)
{
        p->refused = status;
        p->later.call = refuse_now;
        p->pool->ops++;
        pool_defer(p->pool, &p->later);
}

/* ---- before there is a pool ---- */

static void done_alone(struct zdev_io *io, int status)
{
        struct pio *p = container_of(io, struct pio, io);

        p->dev->inflight--;
        p->cb(p, status);
}

void pio_submit(struct pool *pool, struct zdev *dev, struct pio *p)
{
        p->pool = pool;
        p->dev = dev;
        if (!pool) {
                dev->inflight++;
                p->io.done = done_alone;
                zdev_submit(dev, &p->io);
                return;
        }
        if (stall_refuses(pool, dev, p)) {
                refuse(p, -ENODEV);
                return;
        }
        p->flight = flight_new(pool, dev, p);
        if (!p->flight) {
                refuse(p, -ENOMEM);
                return;
        }
        p->flight->pio = p;
        dev->inflight++;
        pool->ops++;
        zdev_submit(dev, &p->flight->io);
}

bool pio_leavable(const struct pio *p)
{
        switch (p->io.op) {
        case ZDEV_READ:
                return p->apart;
        case ZDEV_WRITE:
        case ZDEV_REPORT:
                return p->keep;
        default:
                return true;
        }
}

void pio_leave(struct pio *p)
{
        struct flight *f = p->flight;

        if (!f) { /* it was refused, and that was not told yet */
                list_del(&p->later.node);
                p->pool->ops--;
                return;
        }
        f->pio = NULL;
        p->flight = NULL;
        f->group = p->group;
        if (f->group)
                group_ref(f->group);
}

void pio_forget_all(struct pool *pool)
{
        struct flight *f;

        while ((f = list_first(&pool->flights, struct flight, node)))
                flight_end(f);
}
