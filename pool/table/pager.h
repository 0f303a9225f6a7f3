/* Which table pages are in RAM: pins, faults, and the clock that drops cold pages.
 *
 * An operation takes a pin on the range of blocks it is about: from when the pin is ready until it
 * is dropped every page of the tree on the way to these blocks is in RAM and stays there, those
 * included that come to be meanwhile. Whatever asks for entries or changes them (table.h) does so
 * under a pin; so the rest of the pool, applying of records and checkpoints above all, finds what
 * it needs and never waits for a page.
 *
 * What a volume reads as may stand in trees above its own: a chain pin holds the range in all of
 * them.
 *
 * Dropped are clean pages without children in RAM that no pin covers, by a clock, while the pages
 * of the pool take more than its cap. The catalog stays.
 *
 * Not beyond the cap for ever, and no deadlock: where changed pages are in the way a checkpoint is
 * started, and batches wait for it as they do for other reasons; where pins are, users' operations
 * that would have to read pages wait in line. What holds a pin never waits for one of these: locks
 * come before pins, requests held for space have none, and cleaning, recovery, reads and second
 * pins of an operation (`now`) are not in the line. One of the line goes on in any case.
 */
#ifndef ZONEPOOL_POOL_TABLE_PAGER_H
#define ZONEPOOL_POOL_TABLE_PAGER_H

#include "base/list.h"
#include "pool/pdev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct page;
struct tree;

enum { FAULT_BUCKETS = 256 };

struct pager {
        uint64_t cap; /* bytes; 0: none */
        uint64_t bytes; /* of the pages in RAM */
        struct list pages; /* struct page, in the order the clock comes by */
        struct list faults[FAULT_BUCKETS]; /* pages being read */
        uint32_t nfaults;
        struct list line; /* pins that wait for room */
        uint32_t holders; /* pins with pages, but for those that were not in the line's way */
        uint64_t hits, misses; /* pins that found their pages in RAM, and pages read */
};

struct pin {
        struct list node; /* tree.pins while it holds pages */
        struct list wait; /* fault.waiters or pager.line */
        struct pool *pool;
        struct tree *tree; /* NULL: gone meanwhile, and nothing to hold */
        uint64_t first, end; /* blocks */
        uint64_t seen; /* up to here the pages are there */
        uint8_t level; /* lowest level of the pages wanted: 0, but for the cleaner's */
        bool now; /* does not wait in line */
        bool chain; /* also what the trees above it show through in that range, */
        struct pin *above; /* which have pins of their own */
        bool taken;
        struct deferred later;
        /* 0: ready. -EIO, -EILSEQ, -ENOMEM: a page cannot be had; the pin is dropped already. Never
         * from inside pin_take. */
        void (*ready)(struct pin *pin, int status);
        void *ctx;
};

void pager_init(struct pool *pool);
/* The caller has filled first, end, level, now, ready, ctx. True: ready at once, and ready is not
 * called. */
bool pin_take(struct pool *pool, struct tree *t, struct pin *pin);
/* Accepts one that is not taken, or not ready yet (ready is not called then). */
void pin_drop(struct pin *pin);
/* The tree goes: its pins hold nothing from now on. */
void pager_forget_tree(struct pool *pool, struct tree *t);
/* The cap is another one from now on, and cold pages beyond it go at once. */
void pager_set_cap(struct pool *pool, uint64_t cap);
/* Drops cold pages beyond the cap, and lets pins that wait go on. */
void pager_poll(struct pool *pool);
/* RAM that table pages take, and what was borrowed from them. */
uint64_t pager_bytes(const struct pool *pool);
/* Changed pages beyond which the cap wants a checkpoint; UINT64_MAX: no cap. */
uint64_t pager_dirty_limit(const struct pool *pool);

#endif
