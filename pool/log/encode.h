/* Items as the records of a batch's header: how many bytes they take, and these bytes. */
#ifndef ZONEPOOL_POOL_LOG_ENCODE_H
#define ZONEPOOL_POOL_LOG_ENCODE_H

#include "base/list.h"

#include <stdint.h>

struct item;

/* Items that one record names: n of them from first on, which stand one behind the other. */
struct record_part {
        const struct item *first;
        uint32_t n;
        uint32_t runs; /* of blocks that follow each other */
        uint64_t lowest, highest; /* index */
};

/* A batch's records as far as they are known. All zero: none. */
struct record_plan {
        uint32_t bytes, nrecords; /* of records that are complete */
        const struct item *last;
        struct record_part scattered; /* short runs, that go into one record; */
        struct record_part run; /* and what comes behind: with them, if it stays short */
        uint8_t *buf; /* where complete records are written; NULL: nowhere */
};

/* The item stands behind those that the plan has. Together they never take more than with a record
 * each. */
void record_plan_add(struct record_plan *plan, const struct item *it);
/* Bytes of the records of all items it has. */
uint32_t record_plan_bytes(const struct record_plan *plan);

/* Writes the records of the items (struct item.node) to buf, which has room for what a plan of them
 * says; how many. */
uint32_t records_encode(const struct list *items, uint8_t *buf, uint32_t *ret_bytes);

#endif
