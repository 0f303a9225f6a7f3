/* Making batches durable. */
#ifndef ZONEPOOL_POOL_LOG_FLUSH_H
#define ZONEPOOL_POOL_LOG_FLUSH_H

#include "base/list.h"

struct pool;

struct flush_wait {
        struct list node;
        void (*done)(struct flush_wait *w, int status);
        void *ctx;
        bool ckpt; /* a checkpoint's own: does not wait for failures to be on record */
};
/* Durable are then all batches issued before. */
void flush_add(struct pool *pool, struct flush_wait *w);
void flush_poll(struct pool *pool);

#endif
