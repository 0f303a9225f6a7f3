/* Block tables: radix trees of pages. */
#ifndef ZONEPOOL_POOL_TABLE_TABLE_H
#define ZONEPOOL_POOL_TABLE_TABLE_H

#include "base/list.h"
#include "pool/address.h"
#include <stdbool.h>

struct pool;
struct volume;

enum {
        ENTRIES = 340, /* of a table page */
        MAX_HEIGHT = 5, /* levels of a tree: 340^5 blocks are more than VOLUME_MAX_BYTES */
        CATALOG_TREE = 1, /* id of the catalog's tree; volumes start above */
};

/* A page in RAM. One that is not stands in its parent (or as the tree's root entry) as an address
 * without a child. */
struct page {
        struct page *parent;
        struct tree *tree;
        struct list node; /* pool.pages, in the order the clock comes by */
        uint64_t index; /* at its level */
        uint16_t slot; /* in the parent */
        uint16_t used; /* entries that are not absent */
        uint16_t children; /* pages below it in RAM */
        uint32_t
            pending; /* level 1: leaves below it have not taken what replay found (pending.c) */
        uint8_t level; /* 0: leaf */
        bool dirty : 1;
        bool writing : 1; /* its last checkpoint has not written it yet */
        bool touched : 1; /* used since the clock came by */
        uint64_t addr[ENTRIES];
        uint32_t crc[ENTRIES];
        struct page *child[]; /* level > 0: ENTRIES */
};

struct tree {
        uint64_t id, parent; /* parent 0: none */
        uint64_t limit; /* blocks of the parent that show through */
        struct tree *up; /* the parent */
        struct list kids, kin; /* whose parent it is; in up->kids */
        uint32_t nkids;
        bool holes; /* it stands, or stood, above another: entries may be holes */
        bool aliased; /* blocks of trees that went may be its own (alias.h) */
        uint8_t height; /* levels; 0: empty */
        bool root_changed; /* its entry must be written where it is kept */
        struct page *root;
        struct entry root_entry;
        uint64_t live; /* mapped blocks */
        uint64_t npages; /* in RAM or not */
        struct list pins; /* what operations hold of it, pager.h */
        uint32_t map; /* replay sorts records by its pages (pending.c) */
        struct volume *vol; /* NULL: the catalog */
        struct list node; /* pool.trees bucket */
};

/* Blocks that an entry of a page of that level, 0..MAX_HEIGHT, stands for. */
uint64_t table_reach(unsigned level);
int tree_height_for(uint64_t nblocks);
/* But for tree_next_maybe, tree_next_entry_maybe and tree_next_absent, all that follows asks and
 * changes only what a pin holds in RAM (pager.h). */
struct entry tree_get(const struct tree *t, uint64_t index);
/* The entry will be changed soon. */
void tree_prefetch(const struct tree *t, uint64_t index);
/* addr 0 clears. -ENOMEM. */
int tree_set(struct pool *pool, struct tree *t, uint64_t index, struct entry e);
/* First mapped block in [from, end), or end. */
uint64_t tree_next_mapped(const struct tree *t, uint64_t from, uint64_t end);
/* First block in [from, end) that is mapped or a hole of its own, or end. */
uint64_t tree_next_entry(const struct tree *t, uint64_t from, uint64_t end);
uint64_t tree_next_entry_maybe(const struct tree *t, uint64_t from, uint64_t end);
/* First block in [from, end) that is mapped or stands below a page that is not in RAM, or end. */
uint64_t tree_next_maybe(const struct tree *t, uint64_t from, uint64_t end);
/* A page that exists and is not in RAM. */
struct absent {
        uint8_t level;
        uint64_t index;
        struct entry entry;
};
/* The first page of `level` or above on the way to a block of [*at, end) that is not in RAM; *at
 * moves behind what it stands for. False: all are there, and are marked as touched. */
bool tree_next_absent(const struct tree *t, unsigned level, uint64_t *at, uint64_t end,
                      struct absent *ret_page);
/* Leaf pages that writing [first, first + n) would add, with their parents; and unmapped blocks. */
void tree_cost(const struct tree *t, uint64_t first, uint64_t n, uint64_t *ret_blocks,
               uint64_t *ret_pages);
/* Forgets all pages in RAM: the pool is freed. */
void tree_forget(struct pool *pool, struct tree *t);
/* An entry of a leaf page that is in RAM. */
void page_set(struct pool *pool, struct page *leaf, unsigned i, struct entry e);
struct page *tree_find_page(const struct tree *t, unsigned level, uint64_t index);
void page_mark_dirty(struct pool *pool, struct tree *t, struct page *p);
/* True when that page lies at addr; it is marked dirty then. */
bool tree_dirty_page_at(struct pool *pool, struct tree *t, unsigned level, uint64_t index,
                        uint64_t addr);
/* A checkpoint's write of the page to addr is over: if it still lies there it may leave RAM. */
void page_is_written(struct tree *t, unsigned level, uint64_t index, uint64_t addr);
void page_encode(const struct tree *t, const struct page *p, uint8_t *buf);
/* Addresses from disk must lie in a group that can hold data. */
bool addr_valid(const struct pool *pool, uint64_t addr);
/* A page read from disk: 0 when it is that one and its entries make sense, else -EBADMSG. */
int page_check(const struct pool *pool, uint64_t tree, uint8_t level, uint64_t index,
               const uint8_t *buf);
/* A page that was not in RAM is from now on. parent NULL: the root. -EBADMSG, -ENOMEM. */
int page_decode(struct pool *pool, struct tree *t, struct page *parent, uint16_t slot,
                uint8_t level, uint64_t index, const uint8_t *buf, struct page **ret_page);
/* A clean page without children leaves RAM. */
void page_evict(struct pool *pool, struct page *p);
/* Bytes of RAM a page of the level takes, what the allocator adds included. */
size_t page_bytes(uint8_t level);

#endif
