/* The pool's own structs, grouped by the file that keeps them. Everything is used on the one thread
 * that drives the pool. docs/pool.md tells the rules; docs/formats.md the bytes. */
#ifndef ZONEPOOL_POOL_INTERNAL_H
#define ZONEPOOL_POOL_INTERNAL_H

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/list.h"
#include "pool/header.h"
#include "pool/pool.h"
#include "pool/root.h"

#include <errno.h>

enum {
        ENTRIES = 340, /* of a table page */
        MAX_HEIGHT = 5, /* levels of a tree: 340^5 blocks are more than VOLUME_MAX_BYTES */
        CATALOG_TREE = 1, /* id of the catalog's tree; volumes start above */
        BATCH_BLOCKS = 256, /* largest batch, header included, where the device allows it */
        MAX_VOLUMES = 65536,
};

/* ---- addresses (table entries) ---- */

#define ADDR_MAPPED (UINT64_C(1) << 63)
#define ADDR_HOLE                                                                                  \
        (UINT64_C(1) << 62) /* an entry of its own that reads as zeroes: hides the parent */

static inline uint64_t addr_make(uint32_t group, uint32_t offset)
{
        return ADDR_MAPPED | (uint64_t)group << 28 | offset;
}

static inline uint32_t addr_group(uint64_t addr)
{
        return (uint32_t)(addr >> 28);
}

static inline uint32_t addr_offset(uint64_t addr)
{
        return (uint32_t)(addr & ((UINT32_C(1) << 28) - 1));
}

struct entry {
        uint64_t addr; /* 0: absent */
        uint32_t crc;
};

/* ---- devices ---- */

struct pdev {
        struct zdev *dev;
        struct uuid uuid;
        uint32_t index;
        struct zdev_zone *zones; /* the report taken at import; states are not kept up */
        struct list free; /* groups that can be opened, reset done */
        uint32_t nfree;
        uint64_t written, flushed; /* counts of completed writes, and of those a flush covered */
        uint64_t written_blocks;
        int error;
        uint32_t failures; /* of writes, in a row */
        bool failed_event;
        uint32_t ring_zone; /* label ring: zone in use, */
        uint32_t ring_wp; /* its end, */
        uint32_t ring_cap; /* blocks of it that are used before the other zone's turn */
        bool ring_switch; /* its tail cannot be trusted: go on in the other zone */
        uint32_t ring_torn; /* import: where the tail ends, to be covered; 0: nothing is */
};

/* One device operation of the pool's own. cb may free what contains it. */
struct pio {
        struct zdev_io io;
        struct iovec iov;
        struct pool *pool; /* NULL while there is none */
        void (*cb)(struct pio *p, int status);
        void *ctx;
};

/* A call to be made from the next turn: callbacks are never made from inside the call that started
 * the operation. */
struct deferred {
        struct list node;
        void (*call)(struct deferred *d);
};

/* ---- groups (group.c) ---- */

enum cls { CLASS_USER, CLASS_CLEAN, CLASS_TABLE, NCLASSES };

enum group_state {
        GROUP_FREE, /* holds nothing that counts */
        GROUP_OPEN, /* a stream writes to it */
        GROUP_SEALING, /* no more batches; the last ones or the summary are on their way */
        GROUP_SEALED,
        GROUP_BAD, /* never used again */
};

struct group {
        uint32_t id;
        enum group_state state;
        enum cls cls;
        uint8_t width;
        struct root_member member[POOL_MAX_GROUP_WIDTH];
        uint32_t generation;
        uint32_t cap; /* blocks */
        uint32_t wp; /* blocks given out */
        uint32_t tail; /* blocks issued: where the next header will stand */
        uint32_t live; /* table entries that point here */
        uint32_t refs; /* reads in flight, cleaner at work */
        uint32_t summary; /* blocks of the summary at its end, 0: none */
        uint64_t last_seq, last_sum;
        uint64_t seal_seq;
        bool needs_reset; /* FREE: what is written there is of an earlier life */
        bool resetting;
        bool freeing; /* the checkpoint under way frees it */
        bool nosummary;
        bool unclean; /* holds blocks that cannot be moved (unreadable) */
        bool busy; /* victim of the cleaner */
        bool finishing; /* its zone is */
        struct list node; /* in pdev.free */
        uint8_t *sum_buf; /* summary gathered so far */
        uint32_t sum_bytes, sum_planned;
};

void group_live_inc(struct pool *pool, uint64_t addr);
void group_live_dec(struct pool *pool, uint64_t addr);
void group_ref(struct group *g);
void group_unref(struct pool *pool, struct group *g);
/* A group for the class, or NULL: none to be had now. */
struct group *group_open(struct pool *pool, enum cls cls);
/* Takes the group out of use after an error or a gap: what it holds stays readable. */
void group_retire(struct pool *pool, struct group *g);
void group_sealed(struct pool *pool, struct group *g);
/* FREE, with a reset to come when needs_reset is set. */
void group_make_free(struct pool *pool, struct group *g);
/* Starts resets that may be done. */
void group_start_resets(struct pool *pool);
/* Blocks of [off, off+n) on the group's first member. */
struct pdev *group_dev(struct pool *pool, const struct group *g);
int group_append_summary(struct group *g, const struct header *h, const uint8_t *records);
void group_drop_summary(struct group *g);
static inline uint32_t group_summary_blocks(const struct group *g, uint32_t more)
{
        if (g->nosummary)
                return 0;
        return (uint32_t)DIV_ROUND_UP(
            (uint64_t)HEADER_FIXED + SUMMARY_TRAILER + g->sum_planned + more, ZP_BLOCK);
}

/* ---- batches and streams (batch.c) ---- */

/* One block to be written, or one record without data. */
struct item {
        struct list node;
        uint8_t type, level; /* enum record_type */
        uint32_t count; /* DISCARD: blocks; control: payload bytes; else 1 */
        uint64_t tree, index;
        uint32_t crc;
        uint32_t from_generation;
        uint64_t from;
        uint64_t addr; /* where it lies, once placed */
        uint8_t *data; /* a block of the pool's, owned; or NULL */
        uint8_t *payload; /* control records, owned */
        uint32_t retries;
        /* After the records were applied (0), or when they never will be. The item is freed by the
         * caller of done. */
        void (*done)(struct item *it, int status);
        void *ctx;
};

enum batch_kind {
        BATCH_RECORDS = HEADER_BATCH,
        BATCH_SUMMARY = HEADER_SUMMARY,
        BATCH_FINISH, /* no write: the zone is finished */
};

struct batch {
        struct list node; /* stream.ready */
        struct list inflight; /* pool.inflight, ascending by seq */
        struct pool *pool;
        struct stream *stream;
        struct group *group;
        enum batch_kind kind;
        uint32_t off, nhdr, ndata;
        uint32_t pages; /* that it may change, at most */
        uint64_t seq;
        struct list items;
        uint8_t *hdr;
        uint32_t record_bytes, nrecords;
        struct iovec *iov;
        int niov;
        uint32_t submitted; /* blocks */
        uint32_t sending;
        struct iovec *part;
        struct pio pio;
};

struct stream {
        enum cls cls;
        struct group *open;
        struct batch *inflight;
        struct list ready; /* placed batches, written before any item is taken */
        struct list items;
        uint32_t nitems;
        bool starved; /* waits for room for the pages its items would change */
        struct group *closing; /* its zone is being finished: nothing is opened before */
};

struct item *item_new(struct pool *pool, uint8_t type, uint64_t tree, uint64_t index);
void item_free(struct pool *pool, struct item *it);
/* Queues for the class. stream_kick sends. */
void stream_add(struct pool *pool, enum cls cls, struct item *it);
void stream_kick(struct pool *pool, enum cls cls);
void stream_kick_all(struct pool *pool);
/* For place.c: an empty batch at the group's end; bytes of records the item adds behind prev. */
struct batch *batch_new(struct pool *pool, struct stream *s, struct group *g, enum batch_kind kind);
void batch_free(struct batch *b);
uint32_t item_cost(const struct item *prev, const struct item *it);
void items_done(struct pool *pool, struct list *items, int status);
/* The group's summary will hold so many bytes of records more. */
void group_account(struct group *g, uint32_t record_bytes);
/* Closes the stream's open group: a summary, if there is room for one as there ought to be. */
void stream_seal(struct pool *pool, struct stream *s);

/* Places a table page (checkpoint only, place.c); sets it->addr. -ENOSPC. */
int stream_place(struct pool *pool, struct item *it);
/* The batch stream_place builds is complete. */
void stream_place_end(struct pool *pool);
/* Throws away what stream_place placed and was not written. done is called with status. */
void stream_drop_ready(struct pool *pool, int status);
/* Fails what is queued where nothing can be written any more. Calls back. */
void stream_fail_stuck(struct pool *pool);
void stream_free_all(struct pool *pool);
uint64_t pool_lowest_inflight(const struct pool *pool); /* UINT64_MAX: none */

/* ---- tables (table.c) ---- */

struct page {
        struct page *parent;
        uint64_t index; /* at its level */
        uint16_t slot; /* in the parent */
        uint8_t level; /* 0: leaf */
        bool dirty;
        uint16_t used; /* entries that are not absent */
        uint64_t addr[ENTRIES];
        uint32_t crc[ENTRIES];
        struct page *child[]; /* level > 0: ENTRIES */
};

struct tree {
        uint64_t id, parent; /* parent 0: none */
        uint8_t height; /* levels; 0: empty */
        bool root_changed; /* its entry must be written where it is kept */
        struct page *root;
        struct entry root_entry;
        uint64_t live; /* mapped blocks */
        uint64_t npages;
        struct volume *vol; /* NULL: the catalog */
        struct list node; /* pool.trees bucket */
};

int tree_height_for(uint64_t nblocks);
struct entry tree_get(const struct tree *t, uint64_t index);
/* addr 0 clears. -ENOMEM. */
int tree_set(struct pool *pool, struct tree *t, uint64_t index, struct entry e);
void tree_clear_range(struct pool *pool, struct tree *t, uint64_t index, uint64_t count);
/* First mapped block in [from, end), or end. */
uint64_t tree_next_mapped(const struct tree *t, uint64_t from, uint64_t end);
/* Leaf pages that writing [first, first + n) would add, with their parents; and unmapped blocks. */
void tree_cost(const struct tree *t, uint64_t first, uint64_t n, uint64_t *ret_blocks,
               uint64_t *ret_pages);
/* Drops all pages; blocks and pages they point to are no longer live. */
void tree_drop(struct pool *pool, struct tree *t, bool count_live);
struct page *tree_find_page(const struct tree *t, unsigned level, uint64_t index);
void page_mark_dirty(struct pool *pool, struct tree *t, struct page *p);
/* True when that page lies at addr; it is marked dirty then. */
bool tree_dirty_page_at(struct pool *pool, struct tree *t, unsigned level, uint64_t index,
                        uint64_t addr);
void page_encode(const struct tree *t, const struct page *p, uint8_t *buf);
/* A page read from disk becomes part of the tree. parent NULL: the root. -EBADMSG, -ENOMEM. */
int page_decode(struct pool *pool, struct tree *t, struct page *parent, uint16_t slot,
                uint8_t level, uint64_t index, const uint8_t *buf, struct page **ret_page);

/* ---- volumes (catalog.c, volume.c) ---- */

struct volume {
        struct list node; /* pool.volumes */
        struct pool *pool;
        char name[VOLUME_NAME_MAX + 1];
        struct uuid uuid;
        uint64_t size_bytes;
        uint32_t slot;
        struct tree tree;
        uint64_t created_seq, user_blocks;
        bool dirty; /* its inode */
        uint8_t owner[VOLUME_OWNER_MAX];
        uint16_t owner_len;
        void *context;
        struct list locks; /* struct lock, in order of arrival */
};

enum { INODE_FIXED = 256 };
/* buf: INODE_FIXED + owner_len bytes. Returns that length. */
uint32_t inode_encode(const struct volume *vol, uint8_t *buf);
/* Fills vol (zeroed) but for lists. -EBADMSG. */
int inode_decode(const uint8_t *buf, uint32_t len, struct volume *vol);
struct tree *pool_tree(struct pool *pool, uint64_t id);
struct volume *catalog_add(struct pool *pool, const struct volume *from, uint32_t slot);
void catalog_remove(struct pool *pool, struct volume *vol, bool count_live);
bool volume_name_valid(const char *name);

/* A range of a volume's blocks that one operation works on. Granted in order of arrival; two that
 * overlap are never granted together. */
struct lock {
        struct list node;
        uint64_t first, end;
        bool granted;
        void (*grant)(struct lock *l); /* not from inside lock_take */
};
/* True: granted at once. */
bool lock_take(struct volume *vol, struct lock *l);
void lock_release(struct volume *vol, struct lock *l);

/* ---- records (record.c) ---- */

/* Applies one record of a batch whose data starts at `data_off` of the group: the one rule of run
 * time and replay. Records that name what is gone are ignored. -ENOMEM. */
int record_apply(struct pool *pool, const struct record *rec, uint64_t seq, uint32_t group,
                 uint32_t data_off);

/* ---- flush (flush.c) ---- */

struct flush_wait {
        struct list node;
        void (*done)(struct flush_wait *w, int status);
        void *ctx;
};
/* Durable are then all batches issued before. */
void flush_add(struct pool *pool, struct flush_wait *w);
void flush_poll(struct pool *pool);

/* ---- space (space.c) ---- */

bool space_admits(const struct pool *pool, uint64_t blocks);
uint64_t space_budget(const struct pool *pool);
/* Changed pages beyond which a checkpoint is due; at twice that batches wait for it. */
uint64_t space_dirty_limit(const struct pool *pool);
uint64_t space_table_room(const struct pool *pool);
void space_init(struct pool *pool);
/* Lets held requests go as far as space reaches. */
void space_release(struct pool *pool);

/* ---- requests (io.c, read.c) ---- */

/* The bytes [skip, skip + len) of iov; out has room for niov. Returns the number of parts. */
int iov_slice(const struct iovec *iov, int niov, size_t skip, size_t len, struct iovec *out);

void read_start(struct volume *vol, struct volume_io *io);
/* Completes the request with that status from the next turn. */
void io_fail_later(struct pool *pool, struct volume_io *io, int status);
/* Reads one block of the volume into buf (zeroes for a hole). done: 0, -EIO, -EILSEQ. */
struct block_read {
        struct pio pio;
        struct pool *pool;
        struct volume *vol; /* may be NULL: nobody to tell about corruption */
        struct group *group;
        struct entry entry;
        uint64_t block;
        uint8_t *buf;
        bool verify; /* even where the pool's checksums are off */
        bool quiet; /* a wrong checksum is no event: it is what is being asked */
        int tries;
        void (*done)(struct block_read *r, int status);
        void *ctx;
};
/* e must be mapped. */
void block_read_start(struct pool *pool, struct block_read *r, struct entry e);
void held_resume(struct pool *pool);

/* ---- checkpoint (checkpoint.c) ---- */

enum ckpt_state { CKPT_IDLE, CKPT_FREEZING, CKPT_PAGES, CKPT_FLUSH, CKPT_ROOT, CKPT_FLUSH_ROOT };

struct ckpt_wait {
        struct list node;
        void (*done)(struct ckpt_wait *w, int status);
};

struct ckpt {
        enum ckpt_state state;
        struct list waits; /* served by the one under way */
        struct list next; /* come after its freeze: by the next */
        bool again;
        uint64_t seq; /* of the freeze */
        uint32_t pending; /* pages, or roots, not yet written */
        int status;
        uint32_t failures; /* in a row */
        struct root root;
        uint8_t **bufs; /* one a device */
        struct flush_wait flush;
        uint32_t roots_ok;
};
/* Starts one, or sees to it that one follows. w may be NULL. */
void ckpt_start(struct pool *pool, struct ckpt_wait *w);
/* Called whenever something may have become possible. */
void ckpt_poll(struct pool *pool);
void ckpt_free(struct pool *pool);
/* ckpt_root.c: at the freeze, notes the root and decides which groups it frees. -ENOMEM. */
int root_note(struct pool *pool);
/* Table groups are noted again as they stand after the pages: nothing in them is ever replayed. */
void root_note_tables(struct pool *pool);
/* Fills ckpt.bufs. -ENOMEM. */
int root_encode_all(struct pool *pool);

/* ---- label ring (label.c) ---- */

struct label_scan {
        struct zdev *dev;
        struct pool *pool; /* NULL before there is one */
        struct zdev_zone *zones; /* all of the device; the caller's to free */
        int status; /* 0, -ENOENT, -EPROTONOSUPPORT, -EBADMSG, -EIO */
        struct root best; /* status 0; fixed part valid with -EPROTONOSUPPORT */
        uint32_t best_zone, best_end;
        bool best_tail_clean;
        void (*done)(struct label_scan *s);
        void *ctx;
        /* private */
        struct pio pio;
        uint32_t zone;
        uint64_t off;
        uint8_t *buf;
        uint32_t need, got;
        bool seen;
        struct root foreign;
        bool newer;
};
/* Flushes and reports the device, then reads its rings. */
void label_scan_start(struct label_scan *s);

struct label_write {
        struct pool *pool;
        struct pdev *pdev;
        uint8_t *buf; /* not owned */
        uint32_t blocks, sent;
        struct pio pio;
        int step;
        uint32_t cover; /* blocks still to be covered */
        void (*done)(struct label_write *w, int status);
        void *ctx;
};
/* The pointer of a ring zone behind which bytes of a lost root may stand; 0: no such. */
uint32_t label_torn_at(const struct zdev_zone *z);
/* Appends a root to the ring, changing zones when it is full. Not durable before a flush. */
void label_write_start(struct label_write *w);

/* ---- walking a group's chain (walk.c) ---- */

struct walk {
        struct pool *pool;
        struct group *group;
        uint32_t off, end; /* where the next header is looked for, and where to stop */
        uint64_t prev_seq, prev_sum;
        bool any_prev; /* whatever it names as the batch before it */
        struct header h;
        uint8_t *buf; /* header blocks of h */
        uint32_t cap, need, got;
        bool stop;
        struct pio pio;
        /* Each verified header; the walk goes on when walk_next is called. buf may be taken (set to
         * NULL). */
        void (*found)(struct walk *w);
        /* status: 0 end or gap at off; -EIO unreadable; -ENOMEM. */
        void (*done)(struct walk *w, int status);
        void *ctx;
};
/* The header is the one of that group and life that belongs at off, behind the one named by prev.
 */
bool walk_follows(const struct pool *pool, const struct group *g, const struct header *h,
                  uint32_t off, uint32_t end_off, uint64_t prev_seq, uint64_t prev_sum);
void walk_start(struct walk *w);
void walk_next(struct walk *w);
void walk_fini(struct walk *w);

/* ---- the summary of a sealed group (summary.c) ---- */

struct summary_read {
        struct pool *pool;
        struct group *group; /* written to its last block */
        struct header h;
        uint8_t *buf; /* status 1: all its blocks; the caller's to free */
        uint32_t blocks, got;
        struct pio pio;
        /* status: 1 there is one, in h and buf; 0 none that verifies; -EIO, -ENOMEM. */
        void (*done)(struct summary_read *s, int status);
        void *ctx;
};
void summary_read_start(struct summary_read *s);

/* ---- import (import.c, load.c, recover.c) ---- */

/* A batch that was found above the root. */
struct found {
        struct group *group;
        struct header h;
        uint8_t *buf; /* records at HEADER_FIXED */
        bool from_summary; /* its own header was not looked at */
        bool dropped;
};

struct import {
        struct pool *pool;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err, struct pool *pool);
        struct err err;
        struct label_scan *scans;
        uint32_t nscans, pending;
        struct root root;
        struct ckpt_wait wait;
        /* load.c */
        struct list jobs;
        uint32_t reading;
        int status;
        /* recover.c */
        struct walk walk;
        struct summary_read summary;
        uint32_t next_group;
        struct found *found;
        uint32_t nfound, found_cap;
        uint32_t verify; /* next of found to verify */
        struct block_read check;
        uint32_t check_block;
        struct record check_rec;
        uint32_t check_pos, check_data;
        uint64_t seen; /* highest sequence */
        uint64_t mark; /* highest durable mark */
        bool retired_tables;
        bool failed;
};
/* Ends the import: everything it had is freed after done was called. */
void import_fail(struct import *im, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Brings catalog and tables of the root into RAM, then calls recover_start. */
void load_start(struct import *im);
/* Replays what the groups hold above the root, settles the groups, then calls import_replayed. */
void recover_start(struct import *im);
/* The last step of recover_start. */
void settle_start(struct import *im);
void import_replayed(struct import *im);
void recover_fini(struct import *im);
uint64_t zone_end(const struct zdev_zone *z); /* blocks that may have been written */

/* The report of import on the group's zone, and the blocks of it that may have been written. */
static inline const struct zdev_zone *zone_of(struct pool *pool, const struct group *g)
{
        return &group_dev(pool, g)->zones[g->member[0].zone];
}

static inline uint64_t zone_end_of(struct pool *pool, const struct group *g)
{
        return MIN((uint64_t)g->cap, zone_end(zone_of(pool, g)));
}

/* ---- cleaning (clean.c) ---- */

struct cleaner;
int clean_init(struct pool *pool);
void clean_fini(struct pool *pool);
void clean_poll(struct pool *pool);
bool clean_wanted(const struct pool *pool);
/* Nothing is being moved, and nothing will be unless something changes. */
bool clean_idle(const struct pool *pool);

/* ---- the pool (pool.c) ---- */

struct pool_counts {
        uint32_t free; /* groups FREE */
        uint64_t free_blocks; /* their capacity */
        uint32_t ready; /* of these, without a reset to come */
        uint32_t emptied; /* sealed, nothing live: free after the next checkpoint */
        uint32_t usable; /* not BAD */
};

enum { TREE_BUCKETS = 1024 };

struct pool {
        struct pool_host host;
        struct pool_options options;
        char name[POOL_NAME_MAX + 1];
        struct uuid uuid;
        uint8_t secret[KEYED_SECRET_BYTES];
        uint32_t ndevs;
        struct pdev *devs;
        uint32_t ngroups;
        struct group *groups;
        struct pool_counts count;
        uint32_t min_cap, max_cap; /* of the groups' capacities */
        uint32_t next_dev;
        struct stream streams[NCLASSES];
        struct list inflight; /* batches by sequence */
        uint64_t seq; /* last one issued */
        uint64_t mark; /* durable mark */
        uint64_t mark_limit; /* which it may not pass: a batch above failed half-way, */
        uint64_t failed_seq; /* the last such */
        uint64_t generation; /* of the last root */
        uint64_t next_tree;
        struct tree catalog;
        struct list volumes;
        uint32_t nvolumes;
        struct bitmap slots;
        struct list creating; /* creations and deletions that are not durable yet */
        struct list trees[TREE_BUCKETS];
        uint64_t npages, ndirty; /* table pages in RAM, and changed ones */
        uint64_t sending; /* pages that batches in flight may change */
        uint64_t live; /* mapped blocks of all volumes */
        uint64_t reserved; /* blocks promised to writes under way */
        uint64_t budget; /* blocks that data and pages may take */
        struct list held;
        uint64_t nheld;
        bool held_event;
        struct list flush_waits, flush_running;
        struct deferred flush_defer;
        uint32_t flush_pending;
        uint64_t flush_target, flush_covers;
        int flush_status;
        bool flush_active;
        struct ckpt ckpt;
        bool frozen; /* no new batch may be issued */
        bool table_failed;
        struct cleaner *cleaner;
        struct list deferred;
        struct list blocks; /* free block buffers, */
        struct list slabs; /* and what they are cut from */
        struct list allocs; /* pool_alloc */
        bool running; /* import is done */
        bool readonly;
        bool marks_held; /* recovery: the mark stands until the first root */
        bool settling, polling;
        bool dead; /* freed when the present completion is through and nothing is in flight */
        /* Before a dead pool is freed, nothing of it in flight any more: its import failed. */
        void (*gone)(void *ctx);
        void *gone_ctx;
        bool closing; /* devices are closed then */
        struct pio kick; /* stands in for a missing host wake-up */
        bool kicking;
        uint32_t ops; /* device operations in flight */
        uint32_t resets;
        uint64_t last_ckpt_ns;
        uint64_t user_since; /* user blocks written since the last checkpoint, */
        uint64_t log_since; /* and all blocks */
        uint64_t user_blocks, device_blocks, clean_blocks, table_blocks;
};

void pio_submit(struct pool *pool, struct zdev *dev, struct pio *p);
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
void pool_device_error(struct pool *pool, struct pdev *dev, int status);
void pool_set_readonly(struct pool *pool, int status);
struct pool *pool_new(const struct pool_host *host, const struct pool_options *options);
void pool_free(struct pool *pool);

#endif
