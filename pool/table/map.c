/* Listing what of a volume is mapped: a few leaf pages at a time, each step with its pages held. */
#include "pool/internal.h"

enum {
        MAP_WALK = 65536, /* mapped blocks a call of volume_map looks at */
        STEP_LEAVES = 64,
};

struct map_call {
        struct deferred later;
        struct pin pin;
        struct pool *pool;
        struct tree *tree;
        uint64_t at, end;
        struct volume_extent *out;
        uint32_t n, max, seen;
        int status;
        bool starting;
        void *ctx;
        void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block);
};

static void tell(struct deferred *d)
{
        struct map_call c = *container_of(d, struct map_call, later);

        pool_release(container_of(d, struct map_call, later));
        c.done(c.ctx, c.status, c.n, c.at < c.end ? c.at : UINT64_MAX);
}

static void end(struct map_call *c, int status)
{
        pin_drop(&c->pin);
        c->status = status;
        c->later.call = tell;
        if (c->starting)
                pool_defer(c->pool, &c->later);
        else
                tell(&c->later);
}

/* The pages of the step are there. True: the call is through. */
static bool list(struct map_call *c)
{
        while (c->seen < MAP_WALK) {
                c->at = tree_next_shown(c->pin.tree, c->at, c->pin.end);
                if (c->at >= c->pin.end)
                        return false;
                struct volume_extent *x = c->n ? &c->out[c->n - 1] : NULL;
                if (x && x->block + x->nblocks == c->at)
                        x->nblocks++;
                else if (c->n < c->max)
                        c->out[c->n++] = (struct volume_extent){c->at, 1};
                else
                        return true;
                c->at++;
                c->seen++;
        }
        return true;
}

static void pages_there(struct pin *pin, int status);

static void step(struct map_call *c)
{
        while ((c->at = tree_next_shown_maybe(c->tree, c->at, c->end)) < c->end) {
                c->pin = (struct pin){.first = c->at,
                                      .end = MIN(c->end, (c->at / ENTRIES + STEP_LEAVES) * ENTRIES),
                                      .now = true,
                                      .chain = true,
                                      .ready = pages_there,
                                      .ctx = c};
                if (!pin_take(c->pool, c->tree, &c->pin))
                        return;
                if (list(c))
                        break;
                pin_drop(&c->pin);
        }
        end(c, 0);
}

static void pages_there(struct pin *pin, int status)
{
        struct map_call *c = pin->ctx;

        if (status == 0 && !pin->tree)
                status = -ENOENT; /* the volume was deleted meanwhile */
        if (status < 0) {
                end(c, status);
                return;
        }
        if (list(c)) {
                end(c, 0);
                return;
        }
        pin_drop(pin);
        step(c);
}

void volume_map(struct volume *vol, uint64_t first_block, struct volume_extent *out, uint32_t max,
                void *ctx, void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        struct map_call *c = pool_alloc(vol->pool, sizeof(*c));

        if (!c) {
                done(ctx, -ENOMEM, 0, UINT64_MAX);
                return;
        }
        c->pool = vol->pool;
        c->tree = vol->tree;
        c->at = first_block;
        c->end = DIV_ROUND_UP(vol->size_bytes, ZP_BLOCK);
        c->out = out;
        c->max = max;
        c->ctx = ctx;
        c->done = done;
        c->starting = true;
        step(c);
        c->starting = false;
}
