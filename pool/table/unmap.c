/* Unmapping in steps (unmap.h), and the reaper of deleted volumes.
 *
 * A deletion is durable with its first record: the volume has no name any more and its inode says
 * so. The reaper then unmaps it step by step and writes the DELETE record once more, which takes
 * the tree and the inode away. A crash in between finds the inode, and the reaper goes on from what
 * is left.
 */
#include "pool/table/unmap.h"
#include "pool/internal.h"

#include <stdlib.h>

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
        u->at = u->stop;
        if (status < 0)
                end(u, status);
        else
                step(u);
}

/* The pages of the step are there. False: nothing is mapped. */
static bool discard(struct unmap *u)
{
        uint64_t first = tree_next_mapped(u->tree, u->at, u->stop);

        if (first >= u->stop)
                return false;
        struct item *it = item_new(u->pool, RECORD_DISCARD, u->tree->id, first);
        if (!it) {
                pin_drop(&u->pin);
                end(u, -ENOMEM);
                return true;
        }
        it->count = (uint32_t)(u->stop - first);
        it->done = applied;
        it->ctx = u;
        struct stream *s = pool_stream(u->pool, CLASS_USER, u->tree->vol->copies);
        stream_add(s, it);
        stream_kick(u->pool, s);
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

static void step(struct unmap *u)
{
        if (u->background && !u->pool->running)
                return;
        while ((u->at = tree_next_maybe(u->tree, u->at, u->end)) < u->end) {
                u->stop = MIN(u->end, (u->at / ENTRIES + STEP_LEAVES) * ENTRIES);
                u->pin = (struct pin){.first = u->at,
                                      .end = u->stop,
                                      .now = u->pin.now,
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
        step(u);
        u->starting = false;
}

/* ---- the reaper ---- */

struct reaper {
        struct unmap unmap;
        struct flush_wait flush;
        struct pool *pool;
        struct volume *vol; /* being emptied; NULL: none */
        uint64_t tree; /* its tree */
        uint32_t slot;
};

int reap_init(struct pool *pool)
{
        pool->reaper = calloc(1, sizeof(*pool->reaper));
        if (!pool->reaper)
                return -ENOMEM;
        pool->reaper->pool = pool;
        return 0;
}

void reap_fini(struct pool *pool)
{
        free(pool->reaper);
        pool->reaper = NULL;
}

/* What is left of it stays until the next import: a page cannot be read, or nothing be written. */
static void leave(struct volume *vol)
{
        vol->unreapable = true;
        volume_reaped(vol->pool, vol->tree.id);
}

static void give_up(struct reaper *r)
{
        leave(r->vol);
        r->vol = NULL;
}

static void gone_for_good(struct flush_wait *w, int status)
{
        struct reaper *r = container_of(w, struct reaper, flush);

        r->vol = NULL;
        if (status == 0)
                bitmap_clear_range(&r->pool->slots, r->slot, 1);
        volume_reaped(r->pool, r->tree);
}

static void gone(struct item *it, int status)
{
        struct reaper *r = it->ctx;

        if (status < 0) {
                give_up(r);
                return;
        }
        r->flush.done = gone_for_good;
        flush_add(r->pool, &r->flush);
}

static void emptied(struct unmap *u, int status)
{
        struct reaper *r = u->ctx;
        struct item *it = NULL;

        if (status == 0)
                it = item_new(r->pool, RECORD_DELETE, r->tree, 0);
        if (!it) {
                give_up(r);
                return;
        }
        it->count = 0;
        it->done = gone;
        it->ctx = r;
        struct stream *s = pool_stream(r->pool, CLASS_USER, r->pool->copies);
        stream_add(s, it);
        stream_kick(r->pool, s);
}

/* The deletion is durable: no step of the reaper's may outlive it in a crash. */
static void deleted(struct flush_wait *w, int status)
{
        struct reaper *r = container_of(w, struct reaper, flush);

        if (status < 0) {
                give_up(r);
                return;
        }
        r->unmap = (struct unmap){.pool = r->pool,
                                  .tree = &r->vol->tree,
                                  .end = VOLUME_MAX_BYTES / ZP_BLOCK,
                                  .background = true,
                                  .done = emptied,
                                  .ctx = r};
        unmap_start(&r->unmap);
}

void reap_poll(struct pool *pool)
{
        struct reaper *r = pool->reaper;
        struct volume *vol;

        if (!pool->ndying || r->vol)
                return;
        list_for_each (vol, &pool->volumes, node) {
                if (!vol->dying || vol->unreapable)
                        continue;
                if (pool->readonly) {
                        leave(vol);
                        continue;
                }
                r->vol = vol;
                r->tree = vol->tree.id;
                r->slot = vol->slot;
                r->flush.done = deleted;
                flush_add(pool, &r->flush);
                return;
        }
}
