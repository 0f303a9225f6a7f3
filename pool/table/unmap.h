/* Unmapping a range of any size. */
#ifndef ZONEPOOL_POOL_TABLE_UNMAP_H
#define ZONEPOOL_POOL_TABLE_UNMAP_H

#include "pool/pdev.h"
#include "pool/space/space.h"
#include "pool/table/pager.h"

struct pool;
struct tree;
struct item;

/* Unmaps the mapped blocks of [at, end), a few leaf pages at a time: each step holds its pages, is
 * one DISCARD record, and is applied before the next begins. Where a parent shows blocks, holes
 * hide them, or for the rest of what it shows the limit is lowered, by a LIMIT record. After a
 * crash some steps may have taken effect and others not. The range is locked by the caller for as
 * long, or nobody else has it. */
struct unmap {
        struct pool *pool;
        struct tree *tree;
        uint64_t at, end; /* blocks */
        uint64_t stop; /* of the step under way */
        struct pin pin;
        struct deferred later;
        int status;
        bool starting;
        bool own_only; /* nothing of the parent shows there: the holes that are left go too */
        struct space_claim claim; /* for the pages of holes */
        /* All is applied (0), or a step failed: -ENOSPC no room for pages of holes. Never from
         * inside unmap_start. */
        void (*done)(struct unmap *u, int status);
        void *ctx;
};
/* The caller has filled pool, tree, at, end, done, ctx. */
void unmap_start(struct unmap *u);

#endif
