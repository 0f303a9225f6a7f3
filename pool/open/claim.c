/* Before an import resets a zone, it writes the root it goes by once more, under a generation that
 * no lost root can have.
 *
 * What a power cut took may come back: the bytes of a root that was lost can stand above the
 * pointer, and when the next root is written to that place and lost in its turn, with the pointer
 * but not the data, the first one is read. Its tables would be those of zones that recovery has
 * reset meanwhile. Behind a claim it is too old to be chosen; and before the claim is durable
 * nothing is reset.
 *
 * A claim says what its root said, of devices too: those that are out, and those whose content is
 * of an earlier time, do not get it. They would count as up to date, and nothing says yet what is
 * stale on them. Nor does it take the generations of a degraded import: that what is missing is out
 * the checkpoint says, and as long as it does not the others may come back. */
#include "pool/internal.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static void claim_over(struct import *im, int status)
{
        struct pool *pool = im->pool;

        free(im->claim);
        im->claim = NULL;
        if (status == 0 && pool->readonly) /* too few of the devices have it */
                status = -EIO;
        if (status < 0) {
                import_fail(im, -status, "pool %s: writing its root once more: %s", pool->name,
                            strerror(-status));
                return;
        }
        pool->generation += CLAIM_GENERATIONS;
        pool->claims++;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                struct pdev *d = &pool->devs[i];
                if (!im->claimant[i] || !pdev_usable(d))
                        continue;
                d->ring_durable = true;
                d->last_root = im->root.generation + CLAIM_GENERATIONS;
        }
        settle_resets(im);
}

static void claim_durable(struct flush_wait *w, int status)
{
        claim_over(w->ctx, status);
}

static void claim_all_written(struct import *im)
{
        struct pool *pool = im->pool;
        bool any = false;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                any |= im->claimant[i] && pdev_usable(&pool->devs[i]);
        if (im->status == 0 && !any)
                im->status = -EIO;
        if (im->status < 0) {
                claim_over(im, im->status);
                return;
        }
        im->flush.done = claim_durable;
        im->flush.ctx = im;
        im->flush.ckpt = true;
        flush_add(pool, &im->flush);
}

static void claim_written(struct label_write *w, int status)
{
        struct import *im = w->ctx;

        if (status < 0) {
                pool_device_error(im->pool, w->pdev, status);
                if (pdev_usable(w->pdev)) /* one that is gone is put on record, as at run time */
                        im->status = status;
        }
        free(w->buf);
        pool_release(w);
        if (!--im->pending)
                claim_all_written(im);
}

static int claim_one(struct import *im, uint32_t index)
{
        struct pool *pool = im->pool;
        uint32_t blocks = im->claim_blocks;
        struct label_write *w = pool_alloc(pool, sizeof(*w));
        void *buf = NULL;

        if (!w || posix_memalign(&buf, ZP_BLOCK, (size_t)blocks * ZP_BLOCK)) {
                pool_release(w);
                return -ENOMEM;
        }
        memcpy(buf, im->claim, (size_t)blocks * ZP_BLOCK);
        root_set_device(buf, blocks, &pool->devs[index].uuid, index);
        w->pool = pool;
        w->pdev = &pool->devs[index];
        w->buf = buf;
        w->blocks = blocks;
        w->done = claim_written;
        w->ctx = im;
        im->pending++;
        label_write_start(w);
        return 0;
}

int claim_prepare(struct import *im)
{
        struct pool *pool = im->pool;
        struct root *r = &im->root;

        im->claim_blocks = r->blocks;
        im->claim = calloc(r->blocks, ZP_BLOCK);
        if (!im->claim)
                return -ENOMEM;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                im->claimant[i] = pdev_labelled(&pool->devs[i]) &&
                                  r->devices[i].state == ROOT_DEVICE_IN_USE &&
                                  !import_is_old(im, i);
                if (im->claimant[i]) /* or it would lag further behind with each claim */
                        r->devices[i].generation = r->generation;
        }
        r->generation += CLAIM_GENERATIONS;
        r->claims++;
        root_encode(r, im->claim);
        r->generation -= CLAIM_GENERATIONS;
        r->claims--;
        return 0;
}

void claim_start(struct import *im)
{
        struct pool *pool = im->pool;

        im->status = 0;
        im->pending = 1;
        for (uint32_t i = 0; i < pool->ndevs && im->status == 0; i++)
                if (im->claimant[i] && pdev_usable(&pool->devs[i]))
                        im->status = claim_one(im, i);
        if (!--im->pending)
                claim_all_written(im);
}
