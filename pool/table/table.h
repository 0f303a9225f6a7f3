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

struct page {
        struct page *parent;
        uint64_t index; /* at its level */
        uint16_t slot; /* in the parent */
        uint8_t level; /* 0: leaf */
        bool dirty;
        uint16_t used; /* entries that are not absent */
        uint64_t addr[ENTRIES];
        uint32_t crc[ENTRIES];
        struct page *child[]; /* level > 0: ENTRIES */
};

struct tree {
        uint64_t id, parent; /* parent 0: none */
        uint8_t height; /* levels; 0: empty */
        bool root_changed; /* its entry must be written where it is kept */
        struct page *root;
        struct entry root_entry;
        uint64_t live; /* mapped blocks */
        uint64_t npages;
        struct volume *vol; /* NULL: the catalog */
        struct list node; /* pool.trees bucket */
};

int tree_height_for(uint64_t nblocks);
struct entry tree_get(const struct tree *t, uint64_t index);
/* addr 0 clears. -ENOMEM. */
int tree_set(struct pool *pool, struct tree *t, uint64_t index, struct entry e);
void tree_clear_range(struct pool *pool, struct tree *t, uint64_t index, uint64_t count);
/* First mapped block in [from, end), or end. */
uint64_t tree_next_mapped(const struct tree *t, uint64_t from, uint64_t end);
/* Leaf pages that writing [first, first + n) would add, with their parents; and unmapped blocks. */
void tree_cost(const struct tree *t, uint64_t first, uint64_t n, uint64_t *ret_blocks,
               uint64_t *ret_pages);
/* Drops all pages; blocks and pages they point to are no longer live. */
void tree_drop(struct pool *pool, struct tree *t, bool count_live);
struct page *tree_find_page(const struct tree *t, unsigned level, uint64_t index);
void page_mark_dirty(struct pool *pool, struct tree *t, struct page *p);
/* True when that page lies at addr; it is marked dirty then. */
bool tree_dirty_page_at(struct pool *pool, struct tree *t, unsigned level, uint64_t index,
                        uint64_t addr);
void page_encode(const struct tree *t, const struct page *p, uint8_t *buf);
/* A page read from disk becomes part of the tree. parent NULL: the root. -EBADMSG, -ENOMEM. */
int page_decode(struct pool *pool, struct tree *t, struct page *parent, uint16_t slot,
                uint8_t level, uint64_t index, const uint8_t *buf, struct page **ret_page);

#endif
