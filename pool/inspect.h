/* What tests look at inside a pool: its table as it stands, and whether its books balance.
 * Read only. Not for the data path: both calls walk everything. */
#ifndef ZONEPOOL_POOL_INSPECT_H
#define ZONEPOOL_POOL_INSPECT_H

#include "base/err.h"
#include "base/uuid.h"
#include "pool/pool.h"

#include <stdint.h>

/* Calls entry for every mapped block of every volume, ascending by uuid, then block. Holes are not
 * listed. generation is that of the group the block lies in. */
void pool_inspect_table(struct pool *pool, void *ctx,
                        void (*entry)(void *ctx, const struct uuid *vol, uint64_t block,
                                      uint32_t group, uint32_t generation, uint64_t offset,
                                      uint32_t crc));

/* The device that has a group's copy of that number, and the zone it lies in; NULL: there is none.
 */
const struct zdev *pool_inspect_member(const struct pool *pool, uint32_t group, uint32_t copy,
                                       uint32_t *ret_zone);

/* 0 when all holds, else -EBADMSG and the first fault in err: live counts equal what the tables
 * reference, every physical block has one owner, counters and lists agree with the groups. */
int pool_inspect_check(struct pool *pool, struct err *err);

/* Where the blocks of all groups are. They add up to `groups`. */
struct pool_inspect_space {
        uint64_t excess; /* blocks charged beyond the budget */
        uint64_t pending; /* leaf pages that have not taken what replay found */
        uint64_t groups; /* capacity of all groups that are not bad */
        uint64_t free; /* of groups that hold nothing, or only what the next root gives up */
        uint64_t tails; /* not written yet, of groups open for data */
        uint64_t tables; /* of groups of table pages, their tails included */
        uint64_t headers; /* in groups of data, and summaries there; written since the import */
        uint64_t data; /* blocks written in groups of data, live and dead */
        uint64_t live; /* mapped blocks of all volumes, a part of data */
        uint32_t open_groups; /* with tails */
};

void pool_inspect_space(const struct pool *pool, struct pool_inspect_space *ret_space);

#endif
