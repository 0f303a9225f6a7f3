/* Trees above trees.
 *
 * A tree with a parent says what differs from it: a mapped entry, or a hole that hides what the
 * parent shows. What is absent is asked of the parent, below the limit: the parent's blocks beyond
 * what the volume had when it was frozen, or has had since, do not show through. Only the youngest
 * tree of a volume ever changes its content; those above are frozen.
 *
 * Every block has one owner entry, in the oldest tree that has it. When a tree goes (reap.c), its
 * entries become its only child's where that one has none: the blocks stay where they are. Their
 * headers then name a tree that is gone, and alias.c says which took its place.
 *
 * A hole stands only where it hides something, but for those that became useless by the limit.
 *
 * Left out: holes of a whole page. Discarding what a parent maps takes an entry a block.
 */
#include "pool/internal.h"
#include "pool/table/alias.h"

#include <string.h>

struct entry tree_lookup(const struct tree *t, uint64_t index)
{
        for (; t; t = t->up) {
                struct entry e = tree_get(t, index);
                if (e.addr & ADDR_MAPPED)
                        return e;
                if (e.addr || index >= t->limit)
                        break;
        }
        return (struct entry){0};
}

uint64_t tree_next_shown(const struct tree *t, uint64_t from, uint64_t end)
{
        if (!t->up)
                return tree_next_mapped(t, from, end);
        while (from < end) {
                uint64_t next = end, stop = end; /* up to where the chain so far shows */
                for (const struct tree *a = t; a && from < stop && from < next; a = a->up) {
                        uint64_t to = MIN(next, stop), n = tree_next_entry(a, from, to);
                        next = n < to ? n : next;
                        stop = MIN(stop, a->limit);
                }
                if (next == end || tree_lookup(t, next).addr)
                        return next;
                from = next + 1;
        }
        return end;
}

static uint64_t end_of(uint64_t index, uint64_t count)
{
        uint64_t end;

        return __builtin_add_overflow(index, count, &end) ? UINT64_MAX : end;
}

uint64_t tree_next_shown_maybe(const struct tree *t, uint64_t from, uint64_t end)
{
        uint64_t next = end, stop = end;

        for (; t && from < stop && from < next; t = t->up) {
                uint64_t to = MIN(next, stop), n = tree_next_maybe(t, from, to);
                next = n < to ? n : next;
                stop = MIN(stop, t->limit);
        }
        return next;
}

void tree_lower_limit(struct pool *pool, struct tree *t, uint64_t limit)
{
        struct tree *up = t->up;

        if (!up || limit >= t->limit)
                return;
        t->limit = limit;
        t->vol->dirty = true;
        if (limit)
                return;
        tree_unlink(t);
        if (up->vol)
                reap_check(pool, up->vol);
}

/* The first entry in [from, end) that a discard changes: up to stop holes may be needed. */
static uint64_t next_to_go(const struct tree *t, uint64_t from, uint64_t stop, uint64_t end)
{
        if (from < stop) {
                uint64_t next = tree_next_mapped(t, from, stop);
                if (next < stop)
                        return next;
                from = stop;
        }
        return tree_next_entry(t, from, end);
}

int tree_discard(struct pool *pool, struct tree *t, uint64_t index, uint64_t count)
{
        uint64_t end = end_of(index, count);
        uint64_t stop = t->up ? MIN(end, t->limit) : 0;
        uint64_t own = next_to_go(t, index, stop, end);
        uint64_t above = index < stop ? tree_next_shown(t->up, index, stop) : stop;
        for (;;) {
                uint64_t i = above < stop ? MIN(own, above) : own;
                if (i >= end)
                        return 0;
                struct entry e = {above == i && above < stop ? ADDR_HOLE : 0, 0};
                if (tree_get(t, i).addr != e.addr) {
                        int rc = tree_set(pool, t, i, e);
                        if (rc < 0)
                                return rc;
                }
                if (own == i)
                        own = next_to_go(t, i + 1, stop, end);
                if (above == i && above < stop)
                        above = tree_next_shown(t->up, i + 1, stop);
        }
}

uint64_t tree_discard_cost(const struct tree *t, uint64_t index, uint64_t count)
{
        uint64_t end = end_of(index, count), pages = 0;

        if (!t->up)
                return 0;
        end = MIN(end, t->limit);
        while (index < end && (index = tree_next_shown(t->up, index, end)) < end) {
                if (!tree_find_page(t, 0, index / ENTRIES))
                        pages += 2;
                index = (index / ENTRIES + 1) * ENTRIES;
        }
        return pages ? pages + MAX_HEIGHT : 0;
}

uint32_t tree_step_leaves(const struct pool *pool)
{
        uint64_t n = MIN(space_dirty_limit(pool), pager_dirty_limit(pool)) / 8;

        return (uint32_t)MAX(MIN(n, 16u), 1u);
}

/* ---- links ---- */

void tree_init(struct tree *t)
{
        list_init(&t->node);
        list_init(&t->kids);
        list_init(&t->kin);
        list_init(&t->pins);
        t->up = NULL;
        t->nkids = 0;
}

void tree_link(struct tree *t, struct tree *up)
{
        t->up = up;
        t->parent = up->id;
        t->holes = true;
        list_add_tail(&up->kids, &t->kin);
        up->nkids++;
        if (t->vol)
                promise_update(t->vol);
}

void tree_unlink(struct tree *t)
{
        if (!t->up)
                return;
        list_del(&t->kin);
        t->up->nkids--;
        t->up = NULL;
        t->parent = 0;
}

/* ---- merging ---- */

/* One entry of t: what becomes of the heir's at the same place. -ENOMEM. */
static int hand_over(struct pool *pool, struct tree *t, struct tree *heir, uint64_t i)
{
        struct entry e = tree_get(t, i), own = tree_get(heir, i);
        bool above = t->up && i < t->limit && tree_lookup(t->up, i).addr;

        if (i >= heir->limit || (own.addr & ADDR_MAPPED))
                return 0; /* nobody sees it */
        if (own.addr) /* a hole that perhaps hides nothing any more */
                return above ? 0 : tree_set(pool, heir, i, (struct entry){0});
        if ((e.addr & ADDR_MAPPED) || above)
                return tree_set(pool, heir, i, e);
        return 0;
}

int tree_merge(struct pool *pool, struct tree *t, uint64_t index, uint64_t count)
{
        struct tree *heir = list_first(&t->kids, struct tree, kin);
        uint64_t end = end_of(index, count);

        while ((index = tree_next_entry(t, index, end)) < end) {
                int rc = heir ? hand_over(pool, t, heir, index) : 0;
                if (rc == 0)
                        rc = tree_set(pool, t, index, (struct entry){0});
                if (rc < 0)
                        return rc;
                index++;
        }
        return 0;
}

struct tree *tree_heir(const struct tree *t)
{
        bool going = t->vol && t->vol->doomed && t->nkids == 1;

        return going ? list_first(&t->kids, struct tree, kin) : NULL;
}

/* All on the way to the block is in RAM: as a rule, for whoever asks has pinned it. But a tree may
 * have gone since, and its heir's page have been written and dropped. */
static bool in_ram(const struct tree *t, uint64_t index)
{
        struct absent a;

        return !tree_next_absent(t, 0, &index, index + 1, &a);
}

struct tree *tree_of_block(struct pool *pool, uint64_t tree, uint64_t index, uint64_t addr)
{
        struct tree *t = pool_tree(pool, alias_resolve(pool, tree));

        while (t && (!in_ram(t, index) || tree_get(t, index).addr != addr))
                t = tree_heir(t);
        return t;
}
