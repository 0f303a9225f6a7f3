/* How much the pool can hold. */
#ifndef ZONEPOOL_POOL_SPACE_SPACE_H
#define ZONEPOOL_POOL_SPACE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct pool;

/* What so many blocks and table pages take of the budget. */
uint64_t space_charge(uint64_t blocks, uint64_t pages);
/* Blocks that densely written volumes can map. */
uint64_t space_capacity(const struct pool *pool);
/* What is left of the budget. */
uint64_t space_left(const struct pool *pool);
/* Blocks, each as redundant as the tables, that are charged beyond what there is room for. */
uint64_t space_excess(const struct pool *pool);
/* What blocks and table pages that are there, under way or promised take of it. */
uint64_t space_charged(const struct pool *pool);

/* Blocks promised to an operation under way, and table pages that may come with them. */
struct space_claim {
        uint64_t blocks, pages;
        uint8_t copies, page_copies;
};

/* Whether the pool has room for them, each kept so many times. */
bool space_admits(const struct pool *pool, uint64_t blocks, uint64_t pages, unsigned copies);
/* The same, beside what is there and under way, whatever is promised. */
bool space_admits_now(const struct pool *pool, uint64_t blocks, uint64_t pages, unsigned copies);
/* Blocks of devices' room that what there is takes beyond what there is room for: a device was lost
 * that held a part of it. 0: all fits. */
uint64_t space_lacking(const struct pool *pool);
/* Where not all fits users write only into what is free: whether it is enough for so many blocks
 * that are mapped already, and what is queued. */
bool space_admits_overwrite(const struct pool *pool, uint64_t blocks, unsigned copies);
void space_claim(struct pool *pool, struct space_claim *claim, uint64_t blocks, uint64_t pages,
                 unsigned copies);
void space_unclaim(struct pool *pool, struct space_claim *claim);
/* Blocks that volumes of so many copies could still map. */
uint64_t space_available(const struct pool *pool, unsigned copies);
/* A volume of so many copies comes, or goes: the most redundant one decides how the tables are
 * kept. */
void space_volume_comes(struct pool *pool, unsigned copies);
void space_volume_goes(struct pool *pool, unsigned copies);
/* Zones that a member must be able to keep open: two groups for each number of copies in use, one
 * for tables, the label's. */
uint32_t space_open_zones(const struct pool *pool);
/* Such a volume can be made now, with so much promised to it. 0; -ENODEV fewer devices in use than
 * copies; -EMFILE some device allows too few open zones for one more number of copies beside the
 * others; -ENOSPC. */
int space_admits_volume(struct pool *pool, unsigned copies, uint64_t blocks, uint64_t pages);
/* The same for volumes of 1, 2, 3 copies at once, that many of each, which map so many blocks
 * densely; ret_copies: which of them, where the answer is no. */
int space_admits_volumes(struct pool *pool, const uint32_t *volumes, const uint64_t *blocks,
                         unsigned *ret_copies);
/* Changed pages beyond which a checkpoint is due; at twice that batches wait for it. */
uint64_t space_dirty_limit(const struct pool *pool);
uint64_t space_table_room(const struct pool *pool);
/* Groups that may be open besides one of each kind: half of the reserve at most, what stands
 * unwritten in them is not there for data. */
uint32_t space_extra_groups(const struct pool *pool);
/* After groups or devices have come or gone, or begun to. */
void space_init(struct pool *pool);
/* The budget when a device has left, and how many groups there are then. */
uint64_t space_without(const struct pool *pool, uint32_t leaving, uint32_t *ret_groups);
/* Lets held requests go as far as space reaches. */
void space_release(struct pool *pool);

#endif
