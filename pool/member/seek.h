/* A walk over all table trees, the catalog's included, a few leaf pages at a time: who has an entry
 * that names some place, where no header tells. Slow, and for what is rare.
 *
 * Trees that come, go or hand their entries over meanwhile may be missed; whoever must have all
 * walks again. A step is taken from a turn of its own, so that walks of tables that are in RAM are
 * in nobody's way. */
#ifndef ZONEPOOL_POOL_MEMBER_SEEK_H
#define ZONEPOOL_POOL_MEMBER_SEEK_H

#include "pool/pdev.h"
#include "pool/table/batch_pins.h"
#include "pool/table/table.h"

struct seek {
        struct pool *pool;
        void *ctx;
        /* A step's pages are in RAM as long as `pins` is: taken along (set to NULL), or given back
         * by the next step. seek_each tells what is there; seek_next goes on. */
        void (*step)(struct seek *s, struct tree *t);
        /* All trees were walked. */
        void (*done)(struct seek *s);
        uint32_t leaves; /* of a step, at most; 0: 64 */
        uint32_t unread; /* page tables with all below them that could not be read */
        /* private but for pins */
        struct batch_pins *pins;
        struct deferred later;
        unsigned bucket; /* of pool.trees, and */
        uint64_t tree; /* the tree there: id; 0: before the first */
        uint64_t at, stop, behind; /* blocks: the step's, and the end of the one before */
        bool one; /* leaf by leaf: a page of the last step cannot be read */
};

/* The caller has filled pool, ctx, step and done; the rest is zero. */
void seek_start(struct seek *s);
void seek_next(struct seek *s);
/* Gives up what a step holds. Not between seek_next and its step. */
void seek_stop(struct seek *s);
/* For every page and block that the step's pages name: type RECORD_PAGE, RECORD_INODE (a block of
 * the catalog) or RECORD_WRITE. */
void seek_each(struct seek *s, struct tree *t, void *ctx,
               void (*found)(void *ctx, struct tree *t, uint8_t type, uint8_t level, uint64_t index,
                             struct entry e));

#endif
