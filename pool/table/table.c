/* Block tables: radix trees of pages of 340 entries.
 *
 * A tree of height h maps 340^h blocks; it grows at the root when a higher index is set and is
 * never made lower until it is empty. Pages without entries are removed. A dirty page has only
 * dirty pages above it, and the root of a dirty tree has root_changed set: a checkpoint finds
 * everything from the roots.
 *
 * Every entry that appears counts as live in its group, every one that goes is taken off there: the
 * same for data, table pages and inodes.
 *
 * A page on disk: 0 magic "ZT" (2), 2 level (1), 3 version (1), 4 low half of the index (4),
 * 8 tree (8), 16 340 entries of { address (8), crc32c (4) }. Its own crc32c stands in its parent.
 *
 * Pages may be out of RAM (pager.c). Whoever asks for an entry or changes one holds the pages of
 * its range by a pin; stepping upon one that is not there is a fault of this program.
 */
#include "pool/internal.h"

#include "base/le.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t reach[MAX_HEIGHT + 1] = {1,
                                               UINT64_C(340),
                                               UINT64_C(115600),
                                               UINT64_C(39304000),
                                               UINT64_C(13363360000),
                                               UINT64_C(4543542400000)};

enum { PAGE_VERSION = 1 };

int tree_height_for(uint64_t nblocks)
{
        int h = 1;
        while (h < MAX_HEIGHT && reach[h] < nblocks)
                h++;
        return h;
}

uint64_t table_reach(unsigned level)
{
        return reach[level];
}

static size_t page_size(uint8_t level)
{
        return sizeof(struct page) + (level ? ENTRIES * sizeof(struct page *) : 0);
}

size_t page_bytes(uint8_t level)
{
        return (page_size(level) + 8 + 15) / 16 * 16;
}

/* Room for a page in RAM, in its place. */
static struct page *page_place(struct pool *pool, struct tree *t, struct page *parent,
                               uint16_t slot, uint8_t level, uint64_t index)
{
        struct page *p = calloc(1, page_size(level));

        if (!p)
                return NULL;
        p->parent = parent;
        p->tree = t;
        p->slot = slot;
        p->level = level;
        p->index = index;
        p->touched = true;
        list_add_tail(&pool->pager.pages, &p->node);
        pool->pager.bytes += page_bytes(level);
        if (parent) {
                parent->child[slot] = p;
                parent->children++;
        } else {
                t->root = p;
                t->height = (uint8_t)(level + 1);
        }
        return p;
}

/* A page of its own that the tree did not have. */
static struct page *page_new(struct pool *pool, struct tree *t, struct page *parent, uint16_t slot,
                             uint8_t level, uint64_t index)
{
        struct page *p = page_place(pool, t, parent, slot, level, index);

        if (p) {
                t->npages++;
                pool->npages++;
        }
        return p;
}

/* Takes the page out of RAM, and nothing else. */
static void page_unplace(struct pool *pool, struct page *p)
{
        if (p->dirty)
                pool->ndirty--;
        if (p->parent) {
                p->parent->child[p->slot] = NULL;
                p->parent->children--;
        } else {
                p->tree->root = NULL;
        }
        list_del(&p->node);
        pool->pager.bytes -= page_bytes(p->level);
        free(p);
}

void page_evict(struct pool *pool, struct page *p)
{
        assert(!p->dirty && !p->writing && !p->children);
        page_unplace(pool, p);
}

void page_mark_dirty(struct pool *pool, struct tree *t, struct page *p)
{
        for (; p && !p->dirty; p = p->parent) {
                p->dirty = true;
                pool->ndirty++;
        }
        t->root_changed = true;
        if (t->vol)
                t->vol->dirty = true;
}

/* The page has no entries left: takes it, and parents that become empty, out of the tree. */
static void page_remove(struct pool *pool, struct tree *t, struct page *p)
{
        while (p && !p->used) {
                struct page *parent = p->parent;
                uint64_t addr = parent ? parent->addr[p->slot] : t->root_entry.addr;

                if (parent) {
                        parent->addr[p->slot] = 0;
                        parent->crc[p->slot] = 0;
                        parent->used--;
                        page_mark_dirty(pool, t, parent);
                } else {
                        t->root_entry = (struct entry){0};
                        t->height = 0;
                        t->root_changed = true;
                        if (t->vol)
                                t->vol->dirty = true;
                }
                if (addr)
                        group_live_dec(pool, addr);
                t->npages--;
                pool->npages--;
                page_unplace(pool, p);
                p = parent;
        }
}

/* The page below it on the way to the index, or NULL: the tree has none. */
static struct page *below(const struct page *p, uint64_t index)
{
        uint16_t slot = (uint16_t)(index / reach[p->level] % ENTRIES);

        assert(p->child[slot] || !p->addr[slot]); /* held by a pin */
        return p->child[slot];
}

/* The leaf that holds the index, or NULL. */
static struct page *descend(const struct tree *t, uint64_t index)
{
        struct page *p = t->root;

        if (!t->height || index >= reach[t->height])
                return NULL;
        assert(p);
        while (p && p->level)
                p = below(p, index);
        return p;
}

struct page *tree_find_page(const struct tree *t, unsigned level, uint64_t index)
{
        if (!t->root || level >= t->height)
                return NULL;
        if (level + 1u == t->height)
                return index ? NULL : t->root;
        /* a page of that level is entry `index` of the level above */
        if (index >= reach[t->height - level - 1])
                return NULL;
        struct page *p = t->root;
        while (p && p->level > level)
                p = p->child[index / reach[p->level - level - 1] % ENTRIES];
        return p;
}

struct entry tree_get(const struct tree *t, uint64_t index)
{
        struct page *p = descend(t, index);

        if (!p)
                return (struct entry){0};
        return (struct entry){p->addr[index % ENTRIES], p->crc[index % ENTRIES]};
}

void tree_prefetch(const struct tree *t, uint64_t index)
{
        const struct page *p = t->root;

        if (index >= reach[t->height])
                return;
        while (p && p->level)
                p = p->child[index / reach[p->level] % ENTRIES];
        if (!p)
                return;
        __builtin_prefetch(p, 1);
        __builtin_prefetch(&p->addr[index % ENTRIES], 1);
        __builtin_prefetch(&p->crc[index % ENTRIES], 1);
}

/* Makes the tree reach the index and returns the leaf. */
static struct page *grow_to(struct pool *pool, struct tree *t, uint64_t index)
{
        if (!t->height && !page_new(pool, t, NULL, 0, (uint8_t)(tree_height_for(index + 1) - 1), 0))
                return NULL;
        while (index >= reach[t->height]) {
                struct page *old = t->root; /* NULL: not in RAM */
                struct page *up = page_new(pool, t, NULL, 0, t->height, 0);
                if (!up)
                        return NULL;
                up->addr[0] = t->root_entry.addr;
                up->crc[0] = t->root_entry.crc;
                up->used = 1;
                if (old) {
                        up->child[0] = old;
                        up->children = 1;
                        old->parent = up;
                        old->slot = 0;
                }
                t->root_entry = (struct entry){0};
                page_mark_dirty(pool, t, up);
        }
        struct page *p = t->root;
        while (p && p->level) {
                uint16_t slot = (uint16_t)(index / reach[p->level] % ENTRIES);
                struct page *next = below(p, index);
                if (!next) {
                        next = page_new(pool, t, p, slot, (uint8_t)(p->level - 1),
                                        index / reach[p->level]);
                        if (next)
                                p->used++;
                }
                p = next;
        }
        return p;
}

static void leaf_set(struct pool *pool, struct tree *t, struct page *p, uint64_t index,
                     struct entry e)
{
        uint16_t i = (uint16_t)(index % ENTRIES);
        uint64_t old = p->addr[i];

        p->addr[i] = e.addr;
        p->crc[i] = e.crc;
        if (t->up)
                borrow_forget(pool, t, index);
        if (old && !e.addr)
                p->used--;
        if (!old && e.addr)
                p->used++;
        page_mark_dirty(pool, t, p);
        if (e.addr & ADDR_MAPPED) {
                group_live_inc(pool, e.addr);
                t->live++;
                if (t->vol)
                        pool->live++;
        }
        if (old & ADDR_MAPPED) {
                group_live_dec(pool, old);
                t->live--;
                if (t->vol)
                        pool->live--;
        }
        if (!p->used)
                page_remove(pool, t, p);
        if (t->vol && t->vol->reserved_bytes)
                promise_update(t->vol);
}

void page_set(struct pool *pool, struct page *leaf, unsigned i, struct entry e)
{
        leaf_set(pool, leaf->tree, leaf, leaf->index * ENTRIES + i, e);
}

int tree_set(struct pool *pool, struct tree *t, uint64_t index, struct entry e)
{
        struct page *p = e.addr ? grow_to(pool, t, index) : descend(t, index);

        if (!p)
                return e.addr ? -ENOMEM : 0;
        leaf_set(pool, t, p, index, e);
        return 0;
}

/* The lowest page in RAM on the way to the index, which the tree reaches; NULL: not even the root.
 */
static struct page *lowest(const struct tree *t, uint64_t index)
{
        struct page *p = t->root;

        while (p && p->level && p->child[index / reach[p->level] % ENTRIES])
                p = p->child[index / reach[p->level] % ENTRIES];
        return p;
}

static uint64_t next_maybe(const struct tree *t, uint64_t from, uint64_t end, uint64_t bits)
{
        while (from < end) {
                if (!t->height || from >= reach[t->height])
                        return end;
                struct page *p = lowest(t, from);
                if (!p || (p->level && p->addr[from / reach[p->level] % ENTRIES]))
                        return from;
                if (p->level) { /* nothing below this entry */
                        from = (from / reach[p->level] + 1) * reach[p->level];
                        continue;
                }
                for (unsigned i = (unsigned)(from % ENTRIES); i < ENTRIES && from < end;
                     i++, from++)
                        if (p->addr[i] & bits)
                                return from;
        }
        return end;
}

uint64_t tree_next_maybe(const struct tree *t, uint64_t from, uint64_t end)
{
        return next_maybe(t, from, end, ADDR_MAPPED);
}

uint64_t tree_next_entry_maybe(const struct tree *t, uint64_t from, uint64_t end)
{
        return next_maybe(t, from, end, ADDR_MAPPED | ADDR_HOLE);
}

uint64_t tree_next_entry(const struct tree *t, uint64_t from, uint64_t end)
{
        uint64_t at = tree_next_entry_maybe(t, from, end);

        assert(at >= end || !lowest(t, at)->level);
        return at;
}

uint64_t tree_next_mapped(const struct tree *t, uint64_t from, uint64_t end)
{
        uint64_t at = tree_next_maybe(t, from, end);

        assert(at >= end || !lowest(t, at)->level);
        return at;
}

bool tree_next_absent(const struct tree *t, unsigned level, uint64_t *at, uint64_t end,
                      struct absent *ret_page)
{
        while (*at < end && t->height > level && *at < reach[t->height]) {
                struct page *p = t->root;
                while (p && p->level > level && p->child[*at / reach[p->level] % ENTRIES]) {
                        p->touched = true;
                        p = p->child[*at / reach[p->level] % ENTRIES];
                }
                if (!p) {
                        *ret_page = (struct absent){(uint8_t)(t->height - 1), 0, t->root_entry};
                        *at = end;
                        return true;
                }
                p->touched = true;
                if (p->level <= level) {
                        *at = (*at / reach[p->level + 1] + 1) * reach[p->level + 1];
                        continue;
                }
                uint64_t index = *at / reach[p->level];
                struct entry e = {p->addr[index % ENTRIES], p->crc[index % ENTRIES]};
                *at = (index + 1) * reach[p->level];
                if (e.addr) {
                        *ret_page = (struct absent){(uint8_t)(p->level - 1), index, e};
                        return true;
                }
        }
        return false;
}

void tree_cost(const struct tree *t, uint64_t first, uint64_t n, uint64_t *ret_blocks,
               uint64_t *ret_pages)
{
        uint64_t blocks = 0, pages = 0, end = first + n;
        int want = tree_height_for(end);

        if (want > t->height)
                pages += (uint64_t)(want - t->height);
        while (first < end) {
                struct page *p = descend(t, first);
                uint64_t stop = MIN(end, (first / ENTRIES + 1) * ENTRIES);
                if (!p) {
                        blocks += stop - first;
                        pages += MAX(want, (int)t->height) > 2 ? 2 : 1;
                        first = stop;
                        continue;
                }
                for (; first < stop; first++)
                        blocks += !(p->addr[first % ENTRIES] & ADDR_MAPPED);
        }
        *ret_blocks = blocks;
        *ret_pages = pages + (blocks && want > 3 ? 3 : 0);
}

static void forget(struct pool *pool, struct page *p)
{
        for (unsigned i = 0; p->level && p->children && i < ENTRIES; i++)
                if (p->child[i])
                        forget(pool, p->child[i]);
        page_unplace(pool, p);
}

void tree_forget(struct pool *pool, struct tree *t)
{
        if (t->root)
                forget(pool, t->root);
}

static struct page *page_at(const struct tree *t, unsigned level, uint64_t index, uint64_t addr)
{
        struct page *p = tree_find_page(t, level, index);

        return p && (p->parent ? p->parent->addr[p->slot] : t->root_entry.addr) == addr ? p : NULL;
}

void page_is_written(struct tree *t, unsigned level, uint64_t index, uint64_t addr)
{
        struct page *p = page_at(t, level, index, addr);

        if (p)
                p->writing = false;
}

bool tree_dirty_page_at(struct pool *pool, struct tree *t, unsigned level, uint64_t index,
                        uint64_t addr)
{
        struct page *p = page_at(t, level, index, addr);

        if (!p)
                return false;
        page_mark_dirty(pool, t, p);
        return true;
}

void page_encode(const struct tree *t, const struct page *p, uint8_t *buf)
{
        buf[0] = 'Z';
        buf[1] = 'T';
        put_u8(buf + 2, p->level);
        put_u8(buf + 3, PAGE_VERSION);
        put_le32(buf + 4, (uint32_t)p->index);
        put_le64(buf + 8, t->id);
        for (unsigned i = 0; i < ENTRIES; i++) {
                put_le64(buf + 16 + 12 * i, p->addr[i]);
                put_le32(buf + 24 + 12 * i, p->crc[i]);
        }
}

bool addr_valid(const struct pool *pool, uint64_t addr)
{
        if (!(addr & ADDR_MAPPED))
                return addr == 0 || addr == ADDR_HOLE;
        return !(addr & ADDR_HOLE) && addr_group(addr) < pool->ngroups &&
               addr == addr_make(addr_group(addr), addr_offset(addr)) &&
               addr_offset(addr) < pool->groups[addr_group(addr)]->zone_cap;
}

int page_check(const struct pool *pool, uint64_t tree, uint8_t level, uint64_t index,
               const uint8_t *buf)
{
        bool any = false;

        if (buf[0] != 'Z' || buf[1] != 'T' || get_u8(buf + 2) != level ||
            get_u8(buf + 3) != PAGE_VERSION || get_le32(buf + 4) != (uint32_t)index ||
            get_le64(buf + 8) != tree)
                return -EBADMSG;
        for (unsigned i = 0; i < ENTRIES; i++) {
                uint64_t addr = get_le64(buf + 16 + 12 * i);
                if (!addr_valid(pool, addr) || (level && (addr & ADDR_HOLE)))
                        return -EBADMSG;
                any |= addr != 0;
        }
        return any ? 0 : -EBADMSG;
}

int page_decode(struct pool *pool, struct tree *t, struct page *parent, uint16_t slot,
                uint8_t level, uint64_t index, const uint8_t *buf, struct page **ret_page)
{
        int rc = page_check(pool, t->id, level, index, buf);

        if (rc < 0)
                return rc;
        struct page *p = page_place(pool, t, parent, slot, level, index);
        if (!p)
                return -ENOMEM;
        for (unsigned i = 0; i < ENTRIES; i++) {
                p->addr[i] = get_le64(buf + 16 + 12 * i);
                p->crc[i] = get_le32(buf + 24 + 12 * i);
                p->used = (uint16_t)(p->used + (p->addr[i] != 0));
        }
        *ret_page = p;
        return 0;
}
