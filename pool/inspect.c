/* Looking inside, see inspect.h. */
#include "pool/inspect.h"

#include "pool/internal.h"

#include <stdlib.h>
#include <string.h>

static int by_uuid(const void *a, const void *b)
{
        const struct volume *const *x = a, *const *y = b;

        return memcmp((*x)->uuid.b, (*y)->uuid.b, 16);
}

void pool_inspect_table(struct pool *pool, void *ctx,
                        void (*entry)(void *ctx, const struct uuid *vol, uint64_t block,
                                      uint32_t group, uint32_t generation, uint64_t offset,
                                      uint32_t crc))
{
        struct volume **vols = calloc(pool->nvolumes + 1, sizeof(*vols));
        struct volume *vol;
        uint32_t n = 0;

        if (!vols)
                return;
        list_for_each (vol, &pool->volumes, node)
                vols[n++] = vol;
        if (n)
                qsort(vols, n, sizeof(*vols), by_uuid);
        for (uint32_t i = 0; i < n; i++) {
                uint64_t end = VOLUME_MAX_BYTES / ZP_BLOCK, b = 0;
                while ((b = tree_next_mapped(&vols[i]->tree, b, end)) < end) {
                        struct entry e = tree_get(&vols[i]->tree, b);
                        uint32_t g = addr_group(e.addr);
                        entry(ctx, &vols[i]->uuid, b, g, pool->groups[g]->generation,
                              addr_offset(e.addr), e.crc);
                        b++;
                }
        }
        free(vols);
}

struct check {
        struct pool *pool;
        struct bitmap *owned; /* one a group */
        uint32_t *live;
        uint64_t pages, dirty, mapped;
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
        if (group->state == GROUP_FREE || off >= group->wp)
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

static int check_page(struct check *c, const struct tree *t, const struct page *p)
{
        unsigned used = 0;
        int rc = 0;

        c->pages++;
        c->dirty += p->dirty;
        if (p->dirty && p->parent && !p->parent->dirty)
                return err_set(c->err, EBADMSG, "tree %llu: dirty page below a clean one",
                               (unsigned long long)t->id);
        for (unsigned i = 0; i < ENTRIES && rc == 0; i++) {
                used += p->addr[i] != 0 || (p->level && p->child[i]);
                if (p->addr[i] & ADDR_MAPPED)
                        rc = claim(c, t, p->addr[i]);
                if (rc == 0 && p->level && p->child[i])
                        rc = check_page(c, t, p->child[i]);
                c->mapped += !p->level && t->vol && (p->addr[i] & ADDR_MAPPED);
        }
        if (rc == 0 && used != p->used)
                rc = err_set(c->err, EBADMSG,
                             "tree %llu: page %llu of level %u counts %u entries, has %u",
                             (unsigned long long)t->id, (unsigned long long)p->index, p->level,
                             p->used, used);
        return rc;
}

static int check_tree(struct check *c, const struct tree *t)
{
        int rc = 0;

        if (t->root_entry.addr)
                rc = claim(c, t, t->root_entry.addr);
        if (rc == 0 && t->root)
                rc = check_page(c, t, t->root);
        return rc;
}

static int check_groups(struct check *c)
{
        struct pool *pool = c->pool;
        struct pool_counts n = {0};

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->live != c->live[i])
                        return err_set(c->err, EBADMSG, "group %u counts %u live blocks, has %u", i,
                                       g->live, c->live[i]);
                n.free += g->state == GROUP_FREE;
                n.ready += g->state == GROUP_FREE && !g->needs_reset;
                n.emptied += g->state == GROUP_SEALED && !g->live;
                n.usable += g->state != GROUP_BAD;
        }
        uint32_t listed = 0;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct group *g;
                list_for_each (g, &pool->devs[i].free, node)
                        listed++;
        }
        if (n.free != pool->count.free || n.ready != pool->count.ready ||
            n.emptied != pool->count.emptied || n.usable != pool->count.usable || listed != n.ready)
                return err_set(c->err, EBADMSG,
                               "groups: free %u/%u ready %u/%u/%u emptied %u/%u usable %u/%u",
                               n.free, pool->count.free, n.ready, pool->count.ready, listed,
                               n.emptied, pool->count.emptied, n.usable, pool->count.usable);
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
        list_for_each (vol, &pool->volumes, node) {
                if (rc == 0)
                        rc = check_tree(&c, &vol->tree);
        }
        if (rc == 0)
                rc = check_groups(&c);
        if (rc == 0 &&
            (c.pages != pool->npages || c.dirty != pool->ndirty || c.mapped != pool->live))
                rc = err_set(err, EBADMSG, "pages %llu/%llu dirty %llu/%llu live %llu/%llu",
                             (unsigned long long)c.pages, (unsigned long long)pool->npages,
                             (unsigned long long)c.dirty, (unsigned long long)pool->ndirty,
                             (unsigned long long)c.mapped, (unsigned long long)pool->live);
        for (uint32_t i = 0; c.owned && i < pool->ngroups; i++)
                bitmap_fini(&c.owned[i]);
        free(c.owned);
        free(c.live);
        return rc;
}

void pool_inspect_space(const struct pool *pool, struct pool_inspect_space *ret_space)
{
        struct pool_inspect_space sp = {.live = pool->live};

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_BAD)
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
