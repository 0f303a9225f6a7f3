/* What a checkpoint writes before its root: all changed pages of all trees, lowest first, inodes
 * and heirs in the catalog's. During the freeze they get their addresses; they are written behind
 * it. */
#include "pool/internal.h"
#include "pool/table/catalog.h"

#include "base/crc32c.h"

#include <string.h>

static void page_written(struct item *it, int status)
{
        struct pool *pool = it->ctx;
        struct ckpt *c = &pool->ckpt;

        struct tree *t = pool_tree(pool, it->tree);

        c->pending--;
        if (it->type == RECORD_PAGE && t)
                page_is_written(t, it->level, it->index, it->addr);
        if (status == 0)
                return;
        c->status = status;
        if (it->type == RECORD_PAGE) {
                if (t)
                        tree_dirty_page_at(pool, t, it->level, it->index, it->addr);
                return;
        }
        catalog_mark_dirty(pool, it->index);
}

/* Gives the block an address; it is written when the freeze is over. */
static int place(struct pool *pool, struct item *it, struct entry *ret_entry)
{
        it->crc = crc32c(0, it->data, ZP_BLOCK);
        it->done = page_written;
        it->ctx = pool;
        int rc = stream_place(pool, it);
        if (rc < 0) {
                item_free(pool, it);
                return rc;
        }
        pool->ckpt.pending++;
        *ret_entry = (struct entry){it->addr, it->crc};
        return 0;
}

static int save_page(struct pool *pool, struct tree *t, struct page *p)
{
        struct entry e;

        for (unsigned i = 0; p->level && i < ENTRIES; i++) {
                if (p->child[i] && p->child[i]->dirty) {
                        int rc = save_page(pool, t, p->child[i]);
                        if (rc < 0)
                                return rc;
                }
        }
        struct item *it = item_new(pool, RECORD_PAGE, t->id, p->index);
        if (!it || !(it->data = pool_block_get(pool))) {
                item_free(pool, it);
                return -ENOMEM;
        }
        it->level = p->level;
        page_encode(t, p, it->data);
        int rc = place(pool, it, &e);
        if (rc < 0)
                return rc;
        p->dirty = false;
        p->writing = true;
        pool->ndirty--;
        uint64_t *addr = p->parent ? &p->parent->addr[p->slot] : &t->root_entry.addr;
        uint32_t *crc = p->parent ? &p->parent->crc[p->slot] : &t->root_entry.crc;
        group_live_inc(pool, e.addr);
        if (*addr)
                group_live_dec(pool, *addr);
        *addr = e.addr;
        *crc = e.crc;
        return 0;
}

static int save_tree(struct pool *pool, struct tree *t)
{
        if (t->root && t->root->dirty) {
                int rc = save_page(pool, t, t->root);
                if (rc < 0)
                        return rc;
        }
        t->root_changed = false;
        return 0;
}

static struct item *catalog_item(struct pool *pool, uint64_t index)
{
        struct item *it = item_new(pool, RECORD_INODE, CATALOG_TREE, index);

        if (!it || !(it->data = pool_block_get(pool))) {
                item_free(pool, it);
                return NULL;
        }
        memset(it->data, 0, ZP_BLOCK);
        return it;
}

static int place_in_catalog(struct pool *pool, struct item *it)
{
        uint64_t index = it->index;
        struct entry e;
        int rc = place(pool, it, &e);

        return rc < 0 ? rc : tree_set(pool, &pool->catalog, index, e);
}

static int save_inode(struct pool *pool, struct volume *vol)
{
        struct item *it = catalog_item(pool, vol->slot);

        if (!it)
                return -ENOMEM;
        inode_encode(vol, it->data);
        int rc = place_in_catalog(pool, it);
        if (rc == 0)
                vol->dirty = false;
        return rc;
}

static int save_aliases(struct pool *pool)
{
        for (uint32_t b = 0; (b = alias_next_dirty(pool, b)) != UINT32_MAX; b++) {
                struct item *it = catalog_item(pool, MAX_VOLUMES + b);
                int rc;
                if (!it)
                        return -ENOMEM;
                if (alias_encode(pool, b, it->data)) {
                        rc = place_in_catalog(pool, it);
                } else {
                        item_free(pool, it);
                        rc = tree_set(pool, &pool->catalog, MAX_VOLUMES + b, (struct entry){0});
                }
                if (rc < 0) {
                        alias_mark_dirty(pool, b);
                        return rc;
                }
        }
        return 0;
}

int ckpt_save_tables(struct pool *pool)
{
        struct volume *vol;
        int rc = 0;

        list_for_each (vol, &pool->nodes, all) {
                rc = save_tree(pool, vol->tree);
                if (rc == 0 && vol->dirty)
                        rc = save_inode(pool, vol);
                if (rc < 0)
                        break;
        }
        if (rc == 0)
                rc = save_aliases(pool);
        if (rc == 0)
                rc = save_tree(pool, &pool->catalog);
        stream_place_end(pool);
        return rc;
}
