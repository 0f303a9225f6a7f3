/* The pages that the records of one batch are about. */
#ifndef ZONEPOOL_POOL_TABLE_BATCH_PINS_H
#define ZONEPOOL_POOL_TABLE_BATCH_PINS_H

#include "pool/table/pager.h"

struct pool;

/* Pins of all records of a batch: of WRITE, MOVE, DISCARD the leaves, of PAGE the page. Records of
 * trees that are not there need none. They do not wait in line: taken by the cleaner, for one batch
 * at a time, and by recovery. Freed by batch_pins_free, or with the pool. */
struct batch_pins {
        struct pool *pool;
        uint32_t n, loading;
        uint32_t users; /* the taker's to count */
        int status; /* the first page that could not be had */
        void (*ready)(struct batch_pins *b); /* not from inside batch_pins_take */
        void *ctx;
        struct pin pins[];
};
/* True: *ret_pins are ready, and ready is not called. NULL: no memory. */
bool batch_pins_take(struct pool *pool, const uint8_t *records, uint32_t bytes,
                     void (*ready)(struct batch_pins *b), void *ctx, struct batch_pins **ret_pins);
/* The same, with one pin: of a range of blocks of a tree. */
bool batch_pins_range(struct pool *pool, struct tree *t, uint64_t first, uint64_t end,
                      void (*ready)(struct batch_pins *b), void *ctx,
                      struct batch_pins **ret_pins);
void batch_pins_free(struct batch_pins *b); /* accepts NULL */

#endif
