/* What is left of deleted volumes and snapshots goes, step by step.
 *
 * A deletion is one record: the node is doomed, nobody finds it any more. Here its tree is emptied,
 * some leaf pages a step, each step a record like any other: with one child, whatever the child
 * sees becomes the child's (chain.c); without, the blocks are freed. Then the tree itself goes.
 * With several children it stays, hidden, until it has one or none.
 *
 * One step is under way in a pool at any time. It can be broken off anywhere: what is left to do is
 * what the tree still holds. A step locks its range of the heir where that is a volume in use, so
 * that no write or discard is in flight there; those that wait for space do not hold it up.
 *
 * The pages of a step are pinned: what goes, with all above it, and the heir's.
 *
 * Pace: a step is taken while few table pages are changed, so that what users write always finds
 * room for its pages before the next checkpoint; behind it the next follows at once.
 */
#include "pool/internal.h"

#include <stdlib.h>

struct reaper {
        struct pool *pool;
        struct list nodes; /* volume.reap */
        struct lock lock;
        struct volume *vol; /* which is locked, NULL: none */
        struct volume *node;
        struct tree *heir; /* of the step, NULL: none */
        uint64_t first, end; /* blocks of the step */
        uint64_t id, from; /* of that tree nothing is left below; 0: none */
        struct pin pin[2]; /* what goes, with all above it; the heir's */
        uint32_t loading;
        int status;
        bool busy;
        uint64_t failed_root; /* a step failed at that generation: not before the next */
        bool failed;
};

/* A slot is given out again when it is durable that the node went. */
struct slot_wait {
        struct flush_wait flush;
        struct pool *pool;
        uint32_t slot;
};

int reap_init(struct pool *pool)
{
        pool->reaper = calloc(1, sizeof(*pool->reaper));
        if (!pool->reaper)
                return -ENOMEM;
        pool->reaper->pool = pool;
        list_init(&pool->reaper->nodes);
        return 0;
}

void reap_fini(struct pool *pool)
{
        free(pool->reaper);
        pool->reaper = NULL;
}

void reap_check(struct pool *pool, struct volume *node)
{
        if (!node->doomed || node->unreapable || node->pins || node->tree->nkids > 1 ||
            !list_empty(&node->reap))
                return;
        if (node->tree->nkids)
                list_add_tail(&pool->reaper->nodes, &node->reap);
        else /* what has no heir first: its parent may have one fewer to think of */
                list_add_head(&pool->reaper->nodes, &node->reap);
}

static void slot_free(struct flush_wait *f, int status)
{
        struct slot_wait *w = container_of(f, struct slot_wait, flush);

        if (status == 0)
                bitmap_clear_range(&w->pool->slots, w->slot, 1);
        pool_release(w); /* else it stays taken until the next import */
}

static void free_slot(struct pool *pool, uint32_t slot)
{
        struct slot_wait *w = pool_alloc(pool, sizeof(*w));

        if (!w)
                return;
        w->pool = pool;
        w->slot = slot;
        w->flush.done = slot_free;
        flush_add(pool, &w->flush);
}

static void end(struct reaper *r)
{
        struct volume *vol = steal_ptr(&r->vol);

        pin_drop(&r->pin[0]);
        pin_drop(&r->pin[1]);
        if (vol)
                lock_release(&vol->locks, &r->lock);
        r->busy = false;
}

static void fail(struct reaper *r)
{
        r->failed = true;
        r->failed_root = r->pool->generation;
        end(r);
}

static void stepped(struct item *it, int status)
{
        struct reaper *r = it->ctx;

        if (status < 0) {
                fail(r);
                return;
        }
        if (it->type == RECORD_GONE)
                free_slot(r->pool, (uint32_t)it->index);
        end(r);
}

static struct tree *heir_of(const struct volume *node)
{
        return list_first(&node->tree->kids, struct tree, kin);
}

static void send(struct reaper *r, uint8_t type, uint64_t index, uint32_t count)
{
        struct pool *pool = r->pool;
        struct stream *s = pool_stream(pool, CLASS_USER, pool->copies);
        struct item *it = item_new(pool, type, r->node->tree->id, index);

        if (!it) {
                fail(r);
                return;
        }
        it->count = count;
        it->pages = count / ENTRIES + 2 * MAX_HEIGHT + 2;
        it->done = stepped;
        it->ctx = r;
        stream_add(s, it);
        stream_kick(pool, s);
}

/* Where what is left of the tree begins, as far as the pages in RAM tell. What was passed over may
 * have got entries of a parent that went meanwhile: from the start again when the rest is gone. */
static uint64_t next_left(const struct reaper *r)
{
        const uint64_t all = VOLUME_MAX_BYTES / ZP_BLOCK;
        const struct tree *t = r->node->tree;
        uint64_t from = r->id == t->id ? r->from : 0;
        uint64_t next = tree_next_entry_maybe(t, from, all);

        return next < all ? next : tree_next_entry_maybe(t, 0, from);
}

/* The pages are there, and what is locked is still the heir: or a snapshot was taken of it, or
 * somebody began to use what goes. Where the pages show that nothing is left in the step's range
 * that is remembered: they may be out of RAM by the next one. */
static void send_step(struct reaper *r)
{
        struct volume *node = r->node;
        uint64_t next = node->tree->height ? next_left(r) : 0;

        if (node->pins || node->tree->nkids > 1 || heir_of(node) != r->heir ||
            (r->heir && !r->heir->vol->frozen && r->heir->vol != r->vol)) {
                end(r);
        } else if (!node->tree->height) {
                send(r, RECORD_GONE, node->slot, 0);
        } else if (next < r->first || next >= r->end) {
                r->id = node->tree->id;
                r->from = next;
                end(r);
        } else {
                send(r, RECORD_MERGE, r->first, (uint32_t)(r->end - r->first));
        }
}

static void pages_there(struct pin *pin, int status)
{
        struct reaper *r = pin->ctx;

        if (status < 0)
                r->status = status;
        if (--r->loading)
                return;
        if (r->status == 0) {
                send_step(r);
                return;
        }
        r->node->unreapable = true; /* until the next import: a page cannot be read */
        list_del(&r->node->reap);
        end(r);
}

static void pin_pages(struct reaper *r)
{
        r->status = 0;
        r->loading = 1;
        for (int i = 0; i < 2; i++)
                r->pin[i] = (struct pin){.first = r->first,
                                         .end = r->end,
                                         .now = true,
                                         .chain = i == 0,
                                         .ready = pages_there,
                                         .ctx = r};
        if (r->node->tree->height) {
                r->loading += !pin_take(r->pool, r->node->tree, &r->pin[0]);
                if (r->heir)
                        r->loading += !pin_take(r->pool, r->heir, &r->pin[1]);
        }
        if (!--r->loading)
                send_step(r);
}

static void granted(struct lock *l)
{
        pin_pages(container_of(l, struct reaper, lock));
}

static void step(struct reaper *r)
{
        struct tree *t = r->node->tree;

        r->busy = true;
        r->vol = NULL;
        r->heir = heir_of(r->node);
        r->first = t->height ? next_left(r) / ENTRIES * ENTRIES : 0;
        r->end = t->height ? r->first + (uint64_t)tree_step_leaves(r->pool) * ENTRIES : UINT64_MAX;
        if (!r->heir || r->heir->vol->frozen) {
                pin_pages(r);
                return;
        }
        r->vol = r->heir->vol;
        r->lock =
            (struct lock){.first = r->first, .end = r->end, .over_idle = true, .grant = granted};
        if (lock_take(&r->vol->locks, &r->lock))
                pin_pages(r);
}

/* The pages a step changes leave users enough until the next checkpoint. */
static bool may_step(struct pool *pool)
{
        uint64_t step = tree_step_leaves(pool) + 2u * MAX_HEIGHT + 2;
        uint64_t changed = pool->ndirty + pool->sending;
        uint64_t limit = MIN(space_dirty_limit(pool), pager_dirty_limit(pool));

        if (!changed || changed + step <= limit / 2)
                return true;
        if (pool->ckpt.state == CKPT_IDLE)
                ckpt_start(pool, NULL);
        return false;
}

/* Some were noted in replay and have got children since; noted again when these go. */
static struct volume *next_node(struct reaper *r)
{
        struct volume *node;

        while ((node = list_first(&r->nodes, struct volume, reap)) && node->tree->nkids > 1)
                list_del(&node->reap);
        return node;
}

void reap_poll(struct pool *pool)
{
        struct reaper *r = pool->reaper;

        struct volume *node = next_node(r);

        if (!node || r->busy || pool->readonly || pool->frozen)
                return;
        if (r->failed && r->failed_root == pool->generation)
                return;
        if (!may_step(pool) || (node->tree->nkids && alias_full(pool)))
                return;
        r->failed = false;
        r->node = node;
        step(r);
}
