/* Listing what of a volume is mapped. */
#include "pool/internal.h"

enum { MAP_WALK = 65536 }; /* mapped blocks a call of volume_map looks at */

struct map_call {
        struct deferred later;
        uint32_t n;
        uint64_t next;
        void *ctx;
        void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block);
};

static void map_done(struct deferred *d)
{
        struct map_call c = *container_of(d, struct map_call, later);

        pool_release(container_of(d, struct map_call, later));
        c.done(c.ctx, 0, c.n, c.next);
}

void volume_map(struct volume *vol, uint64_t first_block, struct volume_extent *out, uint32_t max,
                void *ctx, void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        struct map_call *c = pool_alloc(vol->pool, sizeof(*c));
        uint64_t end = DIV_ROUND_UP(vol->size_bytes, ZP_BLOCK), at = first_block;

        if (!c) {
                done(ctx, -ENOMEM, 0, UINT64_MAX);
                return;
        }
        c->ctx = ctx;
        c->done = done;
        for (uint32_t seen = 0; seen < MAP_WALK && at < end; seen++) {
                at = tree_next_mapped(&vol->tree, at, end);
                if (at >= end)
                        break;
                struct volume_extent *x = c->n ? &out[c->n - 1] : NULL;
                if (x && x->block + x->nblocks == at) {
                        x->nblocks++;
                } else if (c->n < max) {
                        out[c->n++] = (struct volume_extent){at, 1};
                } else {
                        break;
                }
                at++;
        }
        c->next = at < end ? at : UINT64_MAX;
        c->later.call = map_done;
        pool_defer(vol->pool, &c->later);
}
