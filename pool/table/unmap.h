/* Unmapping a range of any size, and what goes on behind a deletion. */
#ifndef ZONEPOOL_POOL_TABLE_UNMAP_H
#define ZONEPOOL_POOL_TABLE_UNMAP_H

#include "pool/pdev.h"
#include "pool/table/pager.h"

struct pool;
struct tree;
struct item;

/* Unmaps the mapped blocks of [at, end), a few leaf pages at a time: each step holds its pages, is
 * one DISCARD record, and is applied before the next begins. After a crash some steps may have
 * taken effect and others not. The range is locked by the caller for as long, or nobody else has
 * it. */
struct unmap {
        struct pool *pool;
        struct tree *tree;
        uint64_t at, end; /* blocks */
        uint64_t stop; /* of the step under way */
        struct pin pin;
        struct deferred later;
        int status;
        bool starting;
        bool background; /* stops for good when the pool is being exported */
        /* All is applied (0), or a step failed. Never from inside unmap_start. */
        void (*done)(struct unmap *u, int status);
        void *ctx;
};
/* The caller has filled pool, tree, at, end, done, ctx. */
void unmap_start(struct unmap *u);

/* Volumes that are deleted and still have blocks are emptied one after the other, and then go. */
struct reaper;
int reap_init(struct pool *pool);
void reap_fini(struct pool *pool);
void reap_poll(struct pool *pool);

#endif
