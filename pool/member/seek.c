/* See seek.h. Trees are taken by the buckets they are hashed into, and by their ids in these, so
 * that the walk's place outlives any of them. */
#include "pool/member/seek.h"
#include "pool/internal.h"

enum { STEP_LEAVES = 64 };

static struct tree *tree_at(const struct seek *s)
{
        return s->tree ? pool_tree(s->pool, s->tree) : NULL;
}

/* The next one behind the place. */
static struct tree *next_tree(struct seek *s)
{
        for (; s->bucket < TREE_BUCKETS; s->bucket++, s->tree = 0) {
                struct tree *t, *best = NULL;
                list_for_each (t, &s->pool->trees[s->bucket], node)
                        if (t->id > s->tree && (!best || t->id < best->id))
                                best = t;
                if (!best)
                        continue;
                s->tree = best->id;
                s->at = s->stop = s->behind = 0;
                s->one = false;
                return best;
        }
        return NULL;
}

/* The page that is in the way is left out, with what is below it. */
static void pass_over(struct seek *s, const struct tree *t)
{
        struct absent a;
        uint64_t at = s->at;

        if (!s->one && s->stop > (s->at / ENTRIES + 1) * ENTRIES) {
                s->one = true;
                return;
        }
        s->one = false;
        s->unread++;
        if (!tree_next_absent(t, 0, &at, s->stop, &a))
                at = s->stop;
        else if (a.level + 1u == t->height)
                at = UINT64_MAX; /* its root: nothing of the tree can be told */
        s->at = MAX(at, s->at + 1);
}

static void shown(struct seek *s, struct tree *t)
{
        s->step(s, t);
}

static void go_on(struct seek *s);

static void pages_there(struct batch_pins *b)
{
        struct seek *s = b->ctx;
        struct tree *t = tree_at(s);

        if (t && b->status == 0) {
                shown(s, t);
                return;
        }
        batch_pins_free(steal_ptr(&s->pins));
        if (t)
                pass_over(s, t);
        go_on(s);
}

static void take_step(struct seek *s, struct tree *t)
{
        uint64_t leaves = s->one ? 1 : s->leaves ? s->leaves : STEP_LEAVES;

        s->stop = (s->at / ENTRIES + leaves) * ENTRIES;
        if (batch_pins_range(s->pool, t, s->at, s->stop, pages_there, s, &s->pins)) {
                shown(s, t);
        } else if (!s->pins) { /* no memory: this walk misses it */
                s->unread++;
                s->at = s->stop;
                go_on(s);
        }
}

static void turn(struct deferred *d)
{
        struct seek *s = container_of(d, struct seek, later);
        struct tree *t = tree_at(s);

        while (!s->pool->dead) {
                if (t && (s->at = tree_next_entry_maybe(t, s->at, UINT64_MAX)) < UINT64_MAX) {
                        take_step(s, t);
                        return;
                }
                t = next_tree(s);
                if (!t) {
                        s->done(s);
                        return;
                }
        }
}

static void go_on(struct seek *s)
{
        s->later.call = turn;
        pool_defer(s->pool, &s->later);
}

void seek_start(struct seek *s)
{
        s->bucket = 0;
        s->tree = 0;
        s->unread = 0;
        go_on(s);
}

void seek_next(struct seek *s)
{
        seek_stop(s);
        s->at = s->behind = s->stop;
        go_on(s);
}

void seek_stop(struct seek *s)
{
        batch_pins_free(steal_ptr(&s->pins));
}

/* A page above the leaves is told with the first step that it is in. */
static void each_page(struct seek *s, struct tree *t, uint8_t level, void *ctx,
                      void (*found)(void *ctx, struct tree *t, uint8_t type, uint8_t level,
                                    uint64_t index, struct entry e))
{
        uint64_t reach = table_reach(level + 1u);

        for (uint64_t i = s->at / reach; i * reach < s->stop; i++) {
                const struct page *p = tree_find_page(t, level, i);
                if (!p || i * reach < s->behind)
                        continue;
                found(ctx, t, RECORD_PAGE, level, i,
                      p->parent
                          ? (struct entry){p->parent->addr[p->slot], p->parent->crc[p->slot]}
                          : t->root_entry);
        }
}

void seek_each(struct seek *s, struct tree *t, void *ctx,
               void (*found)(void *ctx, struct tree *t, uint8_t type, uint8_t level, uint64_t index,
                             struct entry e))
{
        uint8_t type = t->vol ? RECORD_WRITE : RECORD_INODE;

        for (uint8_t level = 0; level < t->height; level++)
                each_page(s, t, level, ctx, found);
        for (uint64_t i = s->at; (i = tree_next_mapped(t, i, s->stop)) < s->stop; i++)
                found(ctx, t, type, 0, i, tree_get(t, i));
}
