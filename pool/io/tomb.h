/* Blocks that were given up: their data was on a device that is lost, and an operator said so. What
 * stands in their place is a block like any other to all that keeps, moves and verifies blocks; only
 * who reads a volume is told -EIO instead, until the block is overwritten as a whole or discarded.
 *
 * It is known by its content, which is keyed with the pool's secret: nobody who only writes to a
 * volume can make one. */
#ifndef ZONEPOOL_POOL_IO_TOMB_H
#define ZONEPOOL_POOL_IO_TOMB_H

#include <stdbool.h>
#include <stdint.h>

struct pool;

/* The secret is known. */
void tomb_init(struct pool *pool);
/* A block whose entry has that crc32c may be one: look at it. */
bool tomb_may_be(const struct pool *pool, uint32_t crc);
bool tomb_is(const struct pool *pool, uint32_t crc, const uint8_t *block);

#endif
