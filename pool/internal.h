/* The pool's own state, and what every file of it shares. Everything is used on the one thread that
 * drives the pool. docs/pool.md tells the rules; docs/formats.md the bytes. */
#ifndef ZONEPOOL_POOL_INTERNAL_H
#define ZONEPOOL_POOL_INTERNAL_H

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/list.h"
#include "pool/address.h"
#include "pool/fault.h"
#include "pool/io/io.h"
#include "pool/io/tomb.h"
#include "pool/log/batch.h"
#include "pool/log/flush.h"
#include "pool/log/header.h"
#include "pool/log/record.h"
#include "pool/member/balance.h"
#include "pool/member/member.h"
#include "pool/member/mover.h"
#include "pool/member/scrub.h"
#include "pool/member/stall.h"
#include "pool/pdev.h"
#include "pool/pool.h"
#include "pool/root/checkpoint.h"
#include "pool/root/root.h"
#include "pool/space/clean.h"
#include "pool/space/group.h"
#include "pool/space/lifetime.h"
#include "pool/space/promise.h"
#include "pool/space/space.h"
#include "pool/table/alias.h"
#include "pool/table/borrow.h"
#include "pool/table/chain.h"
#include "pool/table/pager.h"
#include "pool/table/pending.h"
#include "pool/table/reap.h"
#include "pool/table/table.h"
#include "pool/table/unmap.h"
#include "pool/table/volume.h"

#include <errno.h>

enum {
        TABLE_BATCH_PAGES = 128, /* of one header, at most */
        BATCH_BLOCKS = 256, /* largest batch, header included, where the device allows it */
        MAX_VOLUMES = 65536,
};

struct pool_counts {
        uint32_t free; /* groups FREE */
        uint64_t free_blocks; /* their capacity */
        uint32_t ready; /* of these, without a reset to come */
        uint32_t emptied; /* sealed, nothing live: free after the next checkpoint, */
        uint32_t limbo; /* and of these no release can free */
        uint32_t usable; /* not BAD */
};

enum { TREE_BUCKETS = 1024 };

struct pool {
        struct pool_host host;
        struct pool_options options;
        char name[POOL_NAME_MAX + 1];
        struct uuid uuid;
        uint8_t secret[KEYED_SECRET_BYTES];
        uint8_t tomb[ZP_BLOCK]; /* what stands for a block that was given up, */
        uint32_t tomb_crc; /* and its crc32c */
        uint32_t ndevs;
        struct pdev *devs; /* room for POOL_MAX_DEVICES: they stay where they are */
        uint32_t ngroups;
        struct group **groups; /* grows; the groups themselves stay where they are */
        struct pool_counts count;
        uint32_t min_cap, max_cap; /* of the groups' capacities */
        uint32_t next_dev;
        bool no_slot; /* the last group_open found no device that allows one more open zone */
        struct stream streams[NCLASSES][POOL_MAX_GROUP_WIDTH]; /* by copies - 1; one for tables */
        struct stream lanes[NCLASSES][POOL_MAX_GROUP_WIDTH]
                           [STREAM_LANES - 1]; /* all but the first */
        unsigned nusable; /* devices in use */
        uint64_t healed;
        bool rebuild; /* groups may be short of a member */
        unsigned unrecorded; /* devices that failed since the last root: it does not say so */
        uint32_t table_finishing; /* zones of table groups that are being finished */
        uint8_t copies; /* of the most redundant volume, at least 1: so many have the tables */
        struct list inflight; /* batches by sequence */
        uint64_t seq; /* last one issued */
        uint64_t mark; /* durable mark */
        uint64_t mark_limit; /* which it may not pass: a batch above failed half-way, */
        uint64_t failed_seq; /* the last such */
        uint64_t generation; /* of the last root */
        uint16_t claims; /* so many roots were written by imports once more */
        uint64_t next_tree;
        struct tree catalog;
        struct list volumes;
        struct list nodes; /* all that has an inode */
        uint32_t nvolumes, nnodes;
        struct alias_table aliases;
        struct bitmap slots;
        struct list creating; /* creations and deletions that are not durable yet */
        struct list trees[TREE_BUCKETS];
        uint64_t npages, ndirty; /* table pages of all trees, and changed ones */
        struct pager pager;
        struct borrow borrow;
        struct pending *pending; /* what replay found and no page has taken yet; NULL: nothing */
        uint64_t sending; /* pages that batches in flight may change */
        uint64_t live; /* mapped blocks of all volumes, */
        uint64_t live_of[POOL_MAX_GROUP_WIDTH + 1]; /* and by their copies */
        uint64_t reserved; /* blocks promised to writes under way, */
        uint64_t reserved_of[POOL_MAX_GROUP_WIDTH + 1]; /* and by their copies */
        struct promise promised; /* to volumes, and not taken up: reservations, */
        uint64_t promised_of[POOL_MAX_GROUP_WIDTH + 1]; /* blocks by their copies, */
        uint64_t taken_of[POOL_MAX_GROUP_WIDTH + 1]; /* and of these what writes under way have */
        bool reserves; /* a volume had a reservation since the import */
        bool budget_changed; /* since overcommitted was looked at */
        bool overcommitted, overcommitted_told; /* more is promised than the budget has */
        uint64_t room[POOL_MAX_GROUP_WIDTH]; /* space.c: with mirrors, what budget is without */
        uint32_t volumes_of[POOL_MAX_GROUP_WIDTH + 1]; /* by copies; being created ones too */
        uint64_t budget; /* blocks that data and pages may take */
        struct list held; /* requests that map blocks there is no room for, */
        struct list held_over; /* and overwrites, where not even what is mapped has room */
        uint64_t nheld;
        bool held_event;
        struct list flush_waits, flush_running;
        struct deferred flush_defer;
        uint32_t flush_pending;
        uint64_t flush_target, flush_covers;
        int flush_status;
        bool flush_active;
        struct flush_wait own_flush; /* of nobody but the pool */
        bool own_flushing;
        uint64_t flush_sent; /* device_blocks when the last flush began */
        struct ckpt ckpt;
        bool frozen; /* no new batch may be issued */
        bool table_failed;
        struct cleaner *cleaner;
        struct lifetime lifetime;
        struct reaper *reaper;
        struct mover *mover;
        struct balance balance;
        struct scrub *scrub;
        struct list member_ops; /* devices that are to come or go */
        bool leave_waits; /* the first of them waits for groups that are free on the others, */
        uint32_t leave_slot; /* it is that device's */
        uint64_t requests; /* of users, ever */
        uint64_t absorbed_blocks; /* written by users, and by a later write in their place */
        struct list deferred;
        struct list blocks; /* free block buffers, */
        struct list slabs; /* and what they are cut from */
        struct list allocs; /* pool_alloc */
        bool running; /* import is done */
        bool readonly;
        bool marks_held; /* recovery: the mark stands until the first root */
        bool settling, polling;
        bool completing; /* a completion's callback runs: what it brings is sent when it is through
                          */
        bool dead; /* freed when the present completion is through and nothing is in flight */
        /* Before a dead pool is freed, nothing of it in flight any more: its import failed. */
        void (*gone)(void *ctx);
        void *gone_ctx;
        bool closing; /* devices are closed then */
        struct pio kick; /* stands in for a missing host wake-up */
        bool kicking;
        uint32_t ops; /* device operations in flight */
        struct list flights; /* and what drivers have of them, the oldest first */
        struct list scans; /* of labels, under way */
        struct list asks; /* reads of members under way */
        uint64_t stall_ns, stall_tick_ns; /* the clock of stall.h; the last tick */
        uint32_t nstalled; /* devices */
        struct deferred *when_idle; /* called when there is none any more */
        uint64_t last_ckpt_ns;
        uint64_t user_since; /* user blocks written since the last checkpoint, */
        uint64_t log_since; /* and all blocks, */
        uint64_t headers_since; /* and what names them: headers and summaries, not of tables */
        uint64_t user_blocks, device_blocks, clean_blocks, table_blocks;
};

/* Where blocks of that class go that are to be kept so many times. */
static inline struct stream *pool_stream(struct pool *pool, enum cls cls, uint32_t copies)
{
        return &pool->streams[cls][cls == CLASS_TABLE ? 0 : copies - 1];
}

enum { NQUEUES = NCLASSES * POOL_MAX_GROUP_WIDTH };

/* The first lanes of all streams: by class, then by copies. */
#define queue_at(pool, i) (&(pool)->streams[(i) / POOL_MAX_GROUP_WIDTH][(i) % POOL_MAX_GROUP_WIDTH])
#define for_each_queue(q, pool)                                                                    \
        for (unsigned q##_at = 0; q##_at < NQUEUES && ((q) = queue_at(pool, q##_at), true);        \
             q##_at++)

void pool_defer(struct pool *pool, struct deferred *d);
/* Does all that has become possible. Never calls back to the user (but for events). */
void pool_poll(struct pool *pool);
void pool_settle(struct pool *pool);
uint8_t *pool_block_get(struct pool *pool); /* NULL: no memory */
void pool_block_put(struct pool *pool, uint8_t *block);
/* Zeroed memory that is freed with the pool at the latest: what operations under way hang on. */
void *pool_alloc(struct pool *pool, size_t size);
void pool_release(void *mem); /* accepts NULL */
void pool_event_send(struct pool *pool, enum pool_event_kind kind, int status, uint32_t device,
                     struct volume *vol, uint64_t block);
void pool_set_readonly(struct pool *pool, int status);
struct pool *pool_new(const struct pool_host *host, const struct pool_options *options);
void pool_free(struct pool *pool);

#endif
