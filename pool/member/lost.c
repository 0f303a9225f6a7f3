/* What a device that is leaving holds and nobody can read: whose it is, by a walk over all tables.
 * Giving it up is the mover's. */
#include "pool/internal.h"
#include "pool/member/seek.h"

#include <stdlib.h>

struct lost {
        struct seek seek;
        struct deferred later;
        uint32_t index;
        struct pool_lost *found;
        uint32_t n, room;
        int status;
        void *ctx;
        void (*done)(void *ctx, int status, const struct pool_lost *lost, uint32_t n);
};

static void tell(struct deferred *d)
{
        struct lost *l = container_of(d, struct lost, later);

        l->done(l->ctx, l->status, l->found, l->status < 0 ? 0 : l->n);
        free(l->found);
        pool_release(l);
}

/* Each tree comes once. */
static struct pool_lost *slot_for(struct lost *l, const struct volume *vol)
{
        if (l->n && uuid_equal(&l->found[l->n - 1].uuid, &vol->uuid))
                return &l->found[l->n - 1];
        if (l->n == l->room) {
                uint32_t room = l->room ? 2 * l->room : 16;
                struct pool_lost *more = realloc(l->found, room * sizeof(*more));
                if (!more)
                        return NULL;
                l->found = more;
                l->room = room;
        }
        l->found[l->n] = (struct pool_lost){.uuid = vol->uuid};
        return &l->found[l->n++];
}

static void found(void *ctx, struct tree *t, uint8_t type, uint8_t level, uint64_t index,
                  struct entry e)
{
        struct lost *l = ctx;
        struct pool *pool = l->seek.pool;

        if (type != RECORD_WRITE || !(e.addr & ADDR_MAPPED) ||
            !group_on(pool->groups[addr_group(e.addr)], l->index))
                return;
        struct pool_lost *slot = slot_for(l, t->vol);
        if (slot)
                slot->bytes += ZP_BLOCK;
        else
                l->status = -ENOMEM;
}

static void step(struct seek *s, struct tree *t)
{
        seek_each(s, t, s->ctx, found);
        seek_next(s);
}

static void walked(struct seek *s)
{
        tell(&((struct lost *)s->ctx)->later);
}

void pool_device_lost(struct pool *pool, uint32_t index, void *ctx,
                      void (*done)(void *ctx, int status, const struct pool_lost *lost, uint32_t n))
{
        struct lost *l = pool_alloc(pool, sizeof(*l));

        if (!l) {
                done(ctx, -ENOMEM, NULL, 0);
                return;
        }
        l->index = index;
        l->ctx = ctx;
        l->done = done;
        if (index >= pool->ndevs || pool->devs[index].state != POOL_DEVICE_LEAVING) {
                l->status = -EINVAL;
                l->later.call = tell;
                pool_defer(pool, &l->later);
                return;
        }
        l->seek = (struct seek){.pool = pool, .ctx = l, .step = step, .done = walked};
        seek_start(&l->seek);
}
