/* Table pages in groups that recovery had to close are marked as changed, so that the checkpoint
 * that follows writes them anew: crashes in a row would use groups up else. Which pages these are
 * the headers of the group say, up to where it stood at the root: what came behind no table names.
 */
#include "pool/internal.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

static void next_group(struct import *im);

static void mark_inode(struct pool *pool, uint64_t slot, uint64_t addr)
{
        if (tree_get(&pool->catalog, slot).addr == addr)
                catalog_mark_dirty(pool, slot);
}

static void mark(struct import *im)
{
        const struct walk *w = &im->walk;
        struct pool *pool = im->pool;
        struct record rec;
        uint32_t pos = 0, data = 0;

        while (im->retired->status == 0 &&
               record_next(w->buf + HEADER_FIXED, w->h.record_bytes, &pos, &data, &rec) > 0) {
                struct tree *t = pool_tree(pool, rec.tree);
                uint32_t off = w->h.offset + w->h.header_blocks + rec.data;
                uint32_t n = t ? record_data_blocks(rec.type, rec.count) : 0;
                for (uint32_t i = 0; i < n; i++) {
                        uint64_t addr = addr_make(w->group->id, off + i);
                        uint64_t index = record_index(&rec, i);
                        if (rec.type == RECORD_PAGE)
                                tree_dirty_page_at(pool, t, rec.level, index, addr);
                        else if (rec.type == RECORD_INODE)
                                mark_inode(pool, index, addr);
                }
        }
        batch_pins_free(im->retired); /* a page that cannot be read stays where it is */
        im->retired = NULL;
        walk_next(&im->walk);
}

static void pages_there(struct batch_pins *b)
{
        mark(b->ctx);
}

static void header_found(struct walk *w)
{
        struct import *im = w->ctx;

        if (batch_pins_take(im->pool, w->buf + HEADER_FIXED, w->h.record_bytes, pages_there, im,
                            &im->retired))
                mark(im);
        else if (!im->retired)
                import_fail(im, ENOMEM, "pool %s: no memory", im->pool->name);
}

static void walked(struct walk *w, int status)
{
        next_group(w->ctx);
}

static void next_group(struct import *im)
{
        struct pool *pool = im->pool;

        while (im->next_retired < im->root.ngroups) {
                struct group *g = pool->groups[im->next_retired];
                const struct root_group *rg = &im->root.groups[im->next_retired++];
                if (rg->state != ROOT_GROUP_OPEN || rg->cls != CLASS_TABLE || !rg->wp ||
                    g->state != GROUP_SEALED)
                        continue;
                int k = member_pick(pool, g, rg->wp, 0);
                if (k < 0)
                        continue;
                walk_fini(&im->walk);
                im->walk = (struct walk){.pool = pool,
                                         .group = g,
                                         .member = (unsigned)k,
                                         .end = rg->wp,
                                         .found = header_found,
                                         .done = walked,
                                         .ctx = im};
                walk_start(&im->walk);
                return;
        }
        import_replayed(im);
}

void retired_start(struct import *im)
{
        next_group(im);
}
