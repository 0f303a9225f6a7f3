/* Looking inside, see inspect.h. */
#include "pool/inspect.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

/* ---- pages, in RAM or not ---- */

struct view {
        const struct page *page; /* NULL: not in RAM */
        unsigned level;
        uint64_t index;
        uint64_t addr[ENTRIES];
        uint32_t crc[ENTRIES];
};

/* What the device holds of a page that is not in RAM. */
static int view_peek(struct pool *pool, const struct tree *t, struct entry e, struct view *v)
{
        struct group *g = pool->groups[addr_group(e.addr)];
        int k = member_pick(pool, g, addr_offset(e.addr) + 1, 0);
        struct zdev *dev = k < 0 ? NULL : member_dev(pool, g, (unsigned)k)->dev;
        uint8_t buf[ZP_BLOCK];

        if (!dev || !dev->ops->peek ||
            dev->ops->peek(dev, g->member[k].zone, addr_offset(e.addr), buf) < 0 ||
            crc32c(0, buf, ZP_BLOCK) != e.crc ||
            page_check(pool, t->id, (uint8_t)v->level, v->index, buf) < 0)
                return -EBADMSG;
        for (unsigned i = 0; i < ENTRIES; i++) {
                v->addr[i] = get_le64(buf + 16 + 12 * i);
                v->crc[i] = get_le32(buf + 24 + 12 * i);
        }
        return 0;
}

static int view_get(struct pool *pool, const struct tree *t, const struct page *page,
                    unsigned level, uint64_t index, struct entry e, struct view *ret_view)
{
        ret_view->page = page;
        ret_view->level = level;
        ret_view->index = index;
        if (!page)
                return view_peek(pool, t, e, ret_view);
        memcpy(ret_view->addr, page->addr, sizeof(page->addr));
        memcpy(ret_view->crc, page->crc, sizeof(page->crc));
        return 0;
}

/* The root's, or that of entry i. 1: there is such a page. */
static int view_root(struct pool *pool, const struct tree *t, struct view *ret_view)
{
        if (!t->height)
                return 0;
        int rc = view_get(pool, t, t->root, t->height - 1u, 0, t->root_entry, ret_view);
        return rc < 0 ? rc : 1;
}

static int view_child(struct pool *pool, const struct tree *t, const struct view *v, unsigned i,
                      struct view *ret_view)
{
        const struct page *child = v->page ? v->page->child[i] : NULL;

        if (!child && !v->addr[i])
                return 0;
        int rc = view_get(pool, t, child, v->level - 1, v->index * ENTRIES + i,
                          (struct entry){v->addr[i], v->crc[i]}, ret_view);
        if (rc == 0 && !child && v->page)
                pending_view(pool, v->page, i, ret_view->addr, ret_view->crc);
        return rc < 0 ? rc : 1;
}

/* ---- the table ---- */

static int by_uuid(const void *a, const void *b)
{
        const struct volume *const *x = a, *const *y = b;

        int order = memcmp((*x)->uuid.b, (*y)->uuid.b, 16);

        return order ? order
                     : ((*x)->tree->id > (*y)->tree->id) - ((*x)->tree->id < (*y)->tree->id);
}

struct listing {
        struct pool *pool;
        void *ctx;
        void (*entry)(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                      uint32_t generation, uint64_t offset, uint32_t crc);
};

static void list_page(const struct listing *l, const struct tree *t, const struct view *v)
{
        struct view below;

        for (unsigned i = 0; i < ENTRIES; i++) {
                uint32_t g = addr_group(v->addr[i]);
                if (v->level && view_child(l->pool, t, v, i, &below) > 0)
                        list_page(l, t, &below);
                else if (!v->level && (v->addr[i] & ADDR_MAPPED))
                        l->entry(l->ctx, &t->vol->uuid, v->index * ENTRIES + i, g,
                                 l->pool->groups[g]->generation, addr_offset(v->addr[i]),
                                 v->crc[i]);
        }
}

void pool_inspect_table(struct pool *pool, void *ctx,
                        void (*entry)(void *ctx, const struct uuid *vol, uint64_t block,
                                      uint32_t group, uint32_t generation, uint64_t offset,
                                      uint32_t crc))
{
        struct volume **vols = calloc(pool->nnodes + 1, sizeof(*vols));
        struct volume *vol;
        uint32_t n = 0;

        if (!vols)
                return;
        list_for_each (vol, &pool->nodes, all)
                vols[n++] = vol;
        if (n)
                qsort(vols, n, sizeof(*vols), by_uuid);
        for (uint32_t i = 0; i < n; i++) {
                struct listing l = {pool, ctx, entry};
                struct view root;
                if (view_root(pool, vols[i]->tree, &root) > 0)
                        list_page(&l, vols[i]->tree, &root);
        }
        free(vols);
}

const struct zdev *pool_inspect_member(const struct pool *pool, uint32_t group, uint32_t copy,
                                       uint32_t *ret_zone)
{
        const struct group *g = group < pool->ngroups ? pool->groups[group] : NULL;

        if (!g || copy >= g->width)
                return NULL;
        *ret_zone = g->member[copy].zone;
        return pool->devs[g->member[copy].dev].dev;
}

struct check {
        struct pool *pool;
        struct bitmap *owned; /* one a group */
        uint32_t *live;
        uint64_t pages, dirty, mapped, bytes;
        struct err *err;
};

static int claim(struct check *c, const struct tree *t, uint64_t addr)
{
        uint32_t g = addr_group(addr), off = addr_offset(addr);

        if (g >= c->pool->ngroups || off >= c->pool->groups[g]->cap)
                return err_set(c->err, EBADMSG,
                               "tree %llu names block %u of group %u: out of bounds",
                               (unsigned long long)t->id, off, g);
        const struct group *group = c->pool->groups[g];
        if (group->state == GROUP_FREE || group->state == GROUP_PARKED || off >= group->wp)
                return err_set(c->err, EBADMSG,
                               "tree %llu names block %u of group %u, which is %s, written to %u",
                               (unsigned long long)t->id, off, g,
                               group->state == GROUP_FREE ? "free" : "in use", group->wp);
        if (bitmap_test(&c->owned[g], off))
                return err_set(c->err, EBADMSG, "block %u of group %u has two owners", off, g);
        bitmap_set_range(&c->owned[g], off, 1);
        c->live[g]++;
        return 0;
}

static int check_in_ram(struct check *c, const struct tree *t, const struct page *p)
{
        unsigned used = 0, children = 0;

        c->dirty += p->dirty;
        c->bytes += page_bytes(p->level);
        for (unsigned i = 0; i < ENTRIES; i++) {
                children += p->level && p->child[i];
                used += p->addr[i] != 0 || (p->level && p->child[i]);
        }
        if (p->dirty && p->parent && !p->parent->dirty)
                return err_set(c->err, EBADMSG, "tree %llu: dirty page below a clean one",
                               (unsigned long long)t->id);
        if (used != p->used || children != p->children)
                return err_set(c->err, EBADMSG,
                               "tree %llu: page %llu of level %u counts %u entries and %u pages "
                               "below it in RAM, has %u and %u",
                               (unsigned long long)t->id, (unsigned long long)p->index, p->level,
                               p->used, p->children, used, children);
        return 0;
}

static int check_page(struct check *c, const struct tree *t, const struct view *v, uint64_t *mapped,
                      uint64_t *pages)
{
        struct view below;
        int rc = v->page ? check_in_ram(c, t, v->page) : 0;

        (*pages)++;
        for (unsigned i = 0; i < ENTRIES && rc == 0; i++) {
                if (v->addr[i] & ADDR_MAPPED)
                        rc = claim(c, t, v->addr[i]);
                *mapped += !v->level && (v->addr[i] & ADDR_MAPPED);
                int there = rc == 0 && v->level ? view_child(c->pool, t, v, i, &below) : 0;
                if (there < 0)
                        rc = err_set(c->err, EBADMSG,
                                     "tree %llu: page %llu of level %u is not what its parent says",
                                     (unsigned long long)t->id,
                                     (unsigned long long)(v->index * ENTRIES + i), v->level - 1);
                if (there > 0)
                        rc = check_page(c, t, &below, mapped, pages);
        }
        return rc;
}

static int check_tree(struct check *c, const struct tree *t)
{
        struct view root;
        uint64_t mapped = 0, pages = 0;
        int rc = 0;

        if (t->root_entry.addr)
                rc = claim(c, t, t->root_entry.addr);
        int there = rc == 0 ? view_root(c->pool, t, &root) : 0;
        if (there < 0)
                rc = err_set(c->err, EBADMSG, "tree %llu: its root is not what its inode says",
                             (unsigned long long)t->id);
        if (there > 0)
                rc = check_page(c, t, &root, &mapped, &pages);
        bool exact = !pending_pages(c->pool) || !t->vol; /* else the counts are still to come */
        if (rc == 0 && ((exact && mapped != t->live) || pages != t->npages))
                rc = err_set(c->err, EBADMSG,
                             "tree %llu counts %llu blocks, %llu pages; has %llu, %llu",
                             (unsigned long long)t->id, (unsigned long long)t->live,
                             (unsigned long long)t->npages, (unsigned long long)mapped,
                             (unsigned long long)pages);
        c->mapped += t->vol ? mapped : 0;
        c->pages += pages;
        return rc;
}

static int check_groups(struct check *c)
{
        struct pool *pool = c->pool;
        struct pool_counts n = {0};
        uint32_t lent = 0, borrowed = 0;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (pending_pages(pool) ? g->live < c->live[i] : g->live != c->live[i])
                        return err_set(c->err, EBADMSG, "group %u counts %u live blocks, has %u", i,
                                       g->live, c->live[i]);
                if (g->counted !=
                    (g->state == GROUP_FREE && pdev_takes(&pool->devs[g->member[0].dev])))
                        return err_set(c->err, EBADMSG, "group %u is %scounted as free", i,
                                       g->counted ? "" : "not ");
                for (unsigned k = 1; k < g->width; k++) {
                        const struct group *own = pool->groups[g->lent[k]];
                        if (own->state != GROUP_LENT || own->member[0].dev != g->member[k].dev ||
                            own->member[0].zone != g->member[k].zone)
                                return err_set(c->err, EBADMSG,
                                               "group %u does not have the zone of group %u", i,
                                               own->id);
                        borrowed++;
                }
                lent += g->state == GROUP_LENT;
                n.free += g->counted;
                n.ready += g->counted && !g->needs_reset;
                n.emptied += g->state == GROUP_SEALED && !g->live;
                n.limbo += g->state == GROUP_SEALED && !g->live && group_in_limbo(g);
                n.usable += group_counts(pool, g);
        }
        if (lent != borrowed)
                return err_set(c->err, EBADMSG, "%u zones are lent and %u borrowed", lent,
                               borrowed);
        uint32_t listed = 0;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct group *g;
                list_for_each (g, &pool->devs[i].free, node)
                        listed++;
        }
        if (n.free != pool->count.free || n.ready != pool->count.ready ||
            n.emptied != pool->count.emptied || n.limbo != pool->count.limbo ||
            n.usable != pool->count.usable || listed != n.ready)
                return err_set(c->err, EBADMSG,
                               "groups: free %u/%u ready %u/%u/%u emptied %u/%u limbo %u/%u usable "
                               "%u/%u",
                               n.free, pool->count.free, n.ready, pool->count.ready, listed,
                               n.emptied, pool->count.emptied, n.limbo, pool->count.limbo, n.usable,
                               pool->count.usable);
        return 0;
}

/* Groups' zones that are open, or are still being finished, are what their devices count. */
static int check_active(struct check *c)
{
        const struct pool *pool = c->pool;

        for (uint32_t i = 0; i < pool->ndevs; i++) {
                uint32_t n = 0;
                for (uint32_t k = 0; k < pool->ngroups; k++)
                        for (unsigned m = 0; m < pool->groups[k]->active; m++)
                                n += pool->groups[k]->member[m].dev == i;
                if (n != pool->devs[i].active)
                        return err_set(c->err, EBADMSG, "device %u counts %u active zones, has %u",
                                       i, pool->devs[i].active, n);
        }
        return 0;
}

/* What is promised is what each volume lacks of its reservation. */
static int check_promises(const struct pool *pool, struct err *err)
{
        struct promise sum = {0};
        const struct volume *vol;

        list_for_each (vol, &pool->nodes, all) {
                const struct tree *t = vol->tree;
                struct promise p = {0};
                if (!vol->frozen)
                        p = promise_whole(vol->size_bytes, vol->reserved_bytes, t->holes);
                p.blocks -= MIN(p.blocks, t->live);
                p.pages -= MIN(p.pages, t->npages);
                if (vol->taken)
                        p = vol->promise;
                if (p.blocks != vol->promise.blocks || p.pages != vol->promise.pages)
                        return err_set(err, EBADMSG,
                                       "volume %s is promised %llu blocks, %llu pages; counted are "
                                       "%llu, %llu",
                                       vol->name, (unsigned long long)p.blocks,
                                       (unsigned long long)p.pages,
                                       (unsigned long long)vol->promise.blocks,
                                       (unsigned long long)vol->promise.pages);
                sum.blocks += p.blocks;
                sum.pages += p.pages;
        }
        if (sum.blocks != pool->promised.blocks || sum.pages != pool->promised.pages)
                return err_set(err, EBADMSG,
                               "volumes are promised %llu blocks, %llu pages; the pool counts "
                               "%llu, %llu",
                               (unsigned long long)sum.blocks, (unsigned long long)sum.pages,
                               (unsigned long long)pool->promised.blocks,
                               (unsigned long long)pool->promised.pages);
        return 0;
}

int pool_inspect_check(struct pool *pool, struct err *err)
{
        struct check c = {.pool = pool, .err = err};
        struct volume *vol;
        int rc = 0;

        c.owned = calloc(pool->ngroups + 1, sizeof(*c.owned));
        c.live = calloc(pool->ngroups + 1, sizeof(*c.live));
        if (!c.owned || !c.live)
                rc = err_set(err, ENOMEM, "no memory to check pool %s", pool->name);
        for (uint32_t i = 0; rc == 0 && i < pool->ngroups; i++)
                rc = bitmap_init(&c.owned[i], pool->groups[i]->cap + 1);
        if (rc == 0)
                rc = check_tree(&c, &pool->catalog);
        list_for_each (vol, &pool->nodes, all) {
                if (rc == 0)
                        rc = check_tree(&c, vol->tree);
        }
        if (rc == 0)
                rc = check_groups(&c);
        if (rc == 0)
                rc = check_active(&c);
        if (rc == 0)
                rc = check_promises(pool, err);
        if (rc == 0 &&
            (c.pages != pool->npages || c.dirty != pool->ndirty ||
             (c.mapped != pool->live && !pending_pages(pool)) || c.bytes != pool->pager.bytes))
                rc = err_set(err, EBADMSG,
                             "pages %llu/%llu dirty %llu/%llu live %llu/%llu bytes %llu/%llu",
                             (unsigned long long)c.pages, (unsigned long long)pool->npages,
                             (unsigned long long)c.dirty, (unsigned long long)pool->ndirty,
                             (unsigned long long)c.mapped, (unsigned long long)pool->live,
                             (unsigned long long)c.bytes, (unsigned long long)pool->pager.bytes);
        for (uint32_t i = 0; c.owned && i < pool->ngroups; i++)
                bitmap_fini(&c.owned[i]);
        free(c.owned);
        free(c.live);
        return rc;
}

void pool_inspect_space(const struct pool *pool, struct pool_inspect_space *ret_space)
{
        struct pool_inspect_space sp = {.live = pool->live, .excess = space_excess(pool), .pending = pending_pages(pool)};

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_BAD || g->state == GROUP_GONE || g->state == GROUP_LENT)
                        continue;
                sp.groups += g->cap;
                if (g->state == GROUP_FREE || (g->state == GROUP_SEALED && !g->live)) {
                        sp.free += g->cap;
                } else if (g->cls == CLASS_TABLE) {
                        sp.tables += g->cap;
                } else {
                        uint32_t tail = g->state == GROUP_OPEN ? g->cap - g->wp : 0;
                        sp.tails += tail;
                        sp.headers += g->headers;
                        sp.data += g->cap - tail - g->headers;
                        sp.open_groups += g->state == GROUP_OPEN;
                }
        }
        *ret_space = sp;
}
