/* Unmapping in steps, see unmap.h. */
#include "pool/table/unmap.h"
#include "pool/internal.h"

enum { STEP_LEAVES = 64 };

static void step(struct unmap *u);

static void ended(struct deferred *d)
{
        struct unmap *u = container_of(d, struct unmap, later);

        u->done(u, u->status);
}

static void end(struct unmap *u, int status)
{
        u->status = status;
        if (!u->starting) {
                u->done(u, status);
                return;
        }
        u->later.call = ended;
        pool_defer(u->pool, &u->later);
}

static void applied(struct item *it, int status)
{
        struct unmap *u = it->ctx;

        pin_drop(&u->pin);
        space_unclaim(u->pool, &u->claim);
        if (it->type == RECORD_DISCARD)
                u->at = u->stop;
        if (status < 0)
                end(u, status);
        else
                step(u);
}

/* As redundant as the volume's blocks. */
static void queue(struct unmap *u, struct item *it)
{
        struct stream *s = pool_stream(u->pool, CLASS_USER, u->tree->vol->copies);

        it->done = applied;
        it->ctx = u;
        stream_add(s, it);
        stream_kick(u->pool, s);
}

/* Holes may need pages. */
static bool reserve(struct unmap *u, uint64_t first)
{
        uint64_t pages = tree_discard_cost(u->tree, first, u->stop - first);
        unsigned copies = u->tree->vol->copies;

        if (pages && !space_admits(u->pool, 0, pages, copies))
                return false;
        space_claim(u->pool, &u->claim, 0, pages, copies);
        return true;
}

/* The pages of the step are there. False: nothing is mapped. */
static bool discard(struct unmap *u)
{
        uint64_t first = u->own_only ? tree_next_entry(u->tree, u->at, u->stop)
                                     : tree_next_shown(u->tree, u->at, u->stop);
        struct item *it = NULL;
        int rc = -ENOSPC;

        if (first >= u->stop)
                return false;
        if (reserve(u, first)) {
                it = item_new(u->pool, RECORD_DISCARD, u->tree->id, first);
                rc = -ENOMEM;
        }
        if (!it) {
                pin_drop(&u->pin);
                space_unclaim(u->pool, &u->claim);
                end(u, rc);
                return true;
        }
        it->count = (uint32_t)(u->stop - first);
        if (u->tree->up)
                it->pages = it->count / ENTRIES + 2 + 2 * MAX_HEIGHT;
        queue(u, it);
        return true;
}

/* The rest of what the parent shows goes in one. */
static bool lower_limit(struct unmap *u)
{
        const struct tree *t = u->tree;

        if (!t->up || u->at >= t->limit || u->end < t->limit)
                return false;
        struct item *it = item_new(u->pool, RECORD_LIMIT, t->id, u->at);
        if (!it) {
                end(u, -ENOMEM);
                return true;
        }
        it->count = 0;
        queue(u, it);
        return true;
}

static void pages_there(struct pin *pin, int status)
{
        struct unmap *u = pin->ctx;

        if (status < 0) {
                end(u, status);
                return;
        }
        if (discard(u))
                return;
        pin_drop(pin);
        u->at = u->stop;
        step(u);
}

static uint64_t next_maybe(const struct unmap *u)
{
        return u->own_only ? tree_next_entry_maybe(u->tree, u->at, u->end)
                           : tree_next_shown_maybe(u->tree, u->at, u->end);
}

static void step(struct unmap *u)
{
        uint32_t leaves = u->tree->up ? tree_step_leaves(u->pool) : STEP_LEAVES;

        while ((u->at = next_maybe(u)) < u->end) {
                u->stop = MIN(u->end, (u->at / ENTRIES + leaves) * ENTRIES);
                u->pin = (struct pin){.first = u->at,
                                      .end = u->stop,
                                      .now = u->pin.now,
                                      .chain = true,
                                      .ready = pages_there,
                                      .ctx = u};
                if (!pin_take(u->pool, u->tree, &u->pin) || discard(u))
                        return;
                pin_drop(&u->pin);
                u->at = u->stop;
        }
        end(u, 0);
}

void unmap_start(struct unmap *u)
{
        u->starting = true;
        if (!lower_limit(u))
                step(u);
        u->starting = false;
}
