/* Trees that are gone, and which took their place.
 *
 * The header of a block names the tree it was written for. When that tree goes, its blocks become
 * its heir's without being written again; the cleaner finds the heir here.
 *
 * On disk: blocks of the catalog's tree behind the inodes' slots, each
 *
 *   offset size  meaning
 *        0    4  magic "ZPAL"
 *        4    2  version, 1
 *        6   10  zero
 *       16       255 x { tree that is gone (8), its heir (8) }; 0, 0: not used
 *
 * An heir may be gone itself: then another entry names its heir.
 */
#ifndef ZONEPOOL_POOL_TABLE_ALIAS_H
#define ZONEPOOL_POOL_TABLE_ALIAS_H

#include "base/bitmap.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

enum {
        ALIASES_PER_BLOCK = 255,
        ALIAS_BLOCKS_MAX = 49152,
};

struct alias {
        uint64_t from, to; /* 0: not used */
        uint32_t next; /* in its hash chain: index + 1, 0: the last */
};

struct alias_table {
        struct alias *entries; /* blocks * ALIASES_PER_BLOCK */
        uint32_t blocks; /* with room in RAM */
        uint32_t used, hint;
        uint32_t *buckets;
        uint32_t nbuckets; /* a power of two */
        struct bitmap dirty; /* one a block */
};

int alias_init(struct alias_table *a);
void alias_fini(struct alias_table *a);
/* The tree that has taken the place of `tree`; itself when it never went. */
uint64_t alias_resolve(struct pool *pool, uint64_t tree);
/* `from` is gone, `to` took its place. -ENOMEM, -ENOSPC. */
int alias_add(struct pool *pool, uint64_t from, uint64_t to);
/* `tree` is gone without an heir: so are those it was heir of. */
void alias_drop(struct pool *pool, uint64_t tree);
/* No more can be added. */
bool alias_full(const struct pool *pool);
/* Blocks that are not empty, or were: each takes a block of the catalog. */
uint32_t alias_blocks(const struct pool *pool);
void alias_mark_dirty(struct pool *pool, uint64_t block); /* may be out of range */
void alias_mark_all_dirty(struct pool *pool);
/* Next block at or above `from` that must be written; UINT32_MAX: none. */
uint32_t alias_next_dirty(const struct pool *pool, uint32_t from);
/* buf: ZP_BLOCK bytes. False: nothing is left in it. It is no longer dirty then. */
bool alias_encode(struct pool *pool, uint32_t block, uint8_t *buf);
/* After all inodes and blocks were read. */
void alias_loaded(struct pool *pool);
/* -EBADMSG, -ENOMEM. */
int alias_decode(struct pool *pool, uint64_t block, const uint8_t *buf);

#endif
