/* Whether an import may end before its checkpoint, and what that means for the next one.
 *
 * The tables of the root it went by and the log above it are what the pool is made of until the
 * checkpoint: another crash replays that log once more, and what was added to it. For that the
 * root is written anew, resumed (root.h): with what the import has found in each group, the
 * generations of those that were reset, and the sequence above which the log goes on. All else it
 * says as it did; so an import that has more to put on record waits for the checkpoint: devices
 * that failed, joined or leave, members of mirrored groups that lack something. */
#include "pool/internal.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

enum {
        RESUME_FREE = 8, /* free groups: the checkpoint needs some, and gives none before */
        RESUME_LEFT =
            64, /* of the budget is left so much: what waits is charged as more than it is */
};

bool import_current(const struct import *im, uint32_t group, uint32_t offset, uint64_t seq)
{
        if (!im->root.resumed)
                return seq > im->root.seq;
        return offset < im->root.groups[group].replayed || seq > im->root.durable;
}

static bool device_as_before(struct import *im, uint32_t index)
{
        const struct pdev *d = &im->pool->devs[index];
        const struct root_device *rd = &im->root.devices[index];

        if (rd->slot == POOL_DEVICE_NONE)
                return d->state == POOL_DEVICE_NONE;
        return rd->slot == POOL_DEVICE_MEMBER && d->state == POOL_DEVICE_MEMBER && !d->error &&
               rd->state == ROOT_DEVICE_IN_USE && !import_is_old(im, index);
}

static bool group_as_before(const struct import *im, uint32_t index)
{
        const struct group *g = im->pool->groups[index];
        const struct root_group *rg = &im->root.groups[index];
        bool released = rg->flags & ROOT_GROUP_RELEASED;

        if (g->width != 1 || rg->width != 1 || g->copies != 1 || g->state == GROUP_LENT ||
            g->member[0].good != rg->member[0].good)
                return false;
        if ((g->state == GROUP_BAD) != (rg->state == ROOT_GROUP_BAD))
                return false;
        /* moves out of it name the generation before the root's */
        return !released || g->generation == rg->generation;
}

bool import_may_resume(struct import *im)
{
        struct pool *pool = im->pool;

        if (!im->nfound || im->absent || pool->unrecorded || pool->readonly ||
            groups_free(pool) < RESUME_FREE || space_left(pool) < pool->budget / RESUME_LEFT)
                return false;
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (!device_as_before(im, i))
                        return false;
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (!group_as_before(im, i))
                        return false;
        return true;
}

void import_resume(struct import *im)
{
        struct pool *pool = im->pool;

        for (uint32_t i = 0; i < im->nfound; i++) {
                const struct found *f = &im->found[i];
                if (f->dropped || f->h.seq <= im->root.seq)
                        continue;
                pool->log_since += f->h.header_blocks + f->h.data_blocks;
                if (f->h.cls != CLASS_TABLE)
                        pool->headers_since += f->h.header_blocks;
                if (class_is_user((enum cls)f->h.cls))
                        pool->user_since += f->h.data_blocks;
        }
        ckpt_resume(pool, &im->root, &im->wait);
}
