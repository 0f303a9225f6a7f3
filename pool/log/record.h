/* What a record of a batch does. */
#ifndef ZONEPOOL_POOL_LOG_RECORD_H
#define ZONEPOOL_POOL_LOG_RECORD_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct record;

/* Applies one record of a batch whose data starts at `data_off` of the group: the one rule of run
 * time and replay. Records that name what is gone are ignored. -ENOMEM. */
int record_apply(struct pool *pool, const struct record *rec, uint64_t seq, uint32_t group,
                 uint32_t data_off);

/* Of a MOVE: where block i came from. False: nothing that is named now can be there. */
bool record_moved(const struct pool *pool, const struct record *rec, uint32_t i,
                  uint64_t *ret_from);

#endif
