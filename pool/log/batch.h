/* Streams of items that are written as batches (batch.c), and where they go (place.c). */
#ifndef ZONEPOOL_POOL_LOG_BATCH_H
#define ZONEPOOL_POOL_LOG_BATCH_H

#include "base/list.h"
#include "pool/address.h"
#include "pool/pdev.h"
#include "pool/space/group.h"

struct pool;

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
        struct volume *promised; /* a block out of its reservation, promise.h; or NULL */
        uint32_t retries;
        uint32_t pages; /* without data: table pages it may change, at most; 0: a few */
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
        struct keep keep; /* for members that were given up and may yet read what was to be written */
        bool left; /* to them: the blocks in iov are theirs, and the items' others */
        struct list node; /* stream.ready */
        struct list inflight; /* pool.inflight, ascending by seq */
        struct pool *pool;
        struct stream *stream;
        struct group *group;
        enum batch_kind kind;
        uint32_t off, nhdr, ndata;
        uint32_t pages; /* that it may change, at most */
        uint64_t seq;
        bool control; /* has records that are neither blocks nor discards */
        struct list items;
        uint8_t *hdr;
        uint32_t record_bytes, nrecords;
        struct iovec *iov;
        int niov;
        struct batch_part { /* to one member */
                struct batch *b;
                unsigned k;
                uint32_t submitted; /* blocks */
                uint32_t sending;
                struct iovec *iov;
                struct pio pio;
        } part[POOL_MAX_GROUP_WIDTH];
        unsigned pending; /* parts */
        unsigned failed; /* members that do not have it, a bit each */
        int status;
};

/* Where blocks of one class and number of copies go: items wait in one queue, and lanes take from
 * it, each with an open group and at most one batch in flight. The first lane is the stream; the
 * others help where much is waiting, on other devices where there are any. */
enum { STREAM_LANES = 8 };

struct stream {
        enum cls cls;
        uint8_t copies; /* of its blocks; tables: as many as pool->copies */
        struct stream *queue; /* the first lane: items, nitems and controls are there alone */
        struct stream *next; /* lane, or NULL */
        struct group *open;
        struct batch *inflight;
        struct list ready; /* placed batches, written before any item is taken */
        struct list items;
        uint32_t nitems;
        uint32_t controls; /* batches with control records made and not through: one at a time, they
                              keep their order */
        uint32_t passed; /* batches of the first class that went since this one's were ready */
        bool starved; /* waits for room: for the pages its items would change, or for data where its
                         group was opened for records */
};

void streams_init(struct pool *pool);
/* Of any lane: where the stream could write now, or soon. */
bool stream_has_group(const struct stream *s);
bool stream_busy(const struct stream *s);
/* No stream of the kind and number of copies has an open group, or anything on its way. */
bool stream_kind_idle(struct pool *pool, const struct stream *s);

struct item *item_new(struct pool *pool, uint8_t type, uint64_t tree, uint64_t index);
/* A copy of the block at e elsewhere, as a MOVE: done and ctx are the caller's to set. NULL: no
 * memory. */
struct item *item_move(struct pool *pool, uint64_t tree, uint64_t index, struct entry e,
                       const uint8_t *data);
void item_free(struct pool *pool, struct item *it);
/* Queues. stream_kick sends. */
void stream_add(struct stream *s, struct item *it);
/* Items of that owner, told by their done, that are in no batch yet go to the end of the list; how
 * many. */
uint32_t stream_take_back(struct stream *s, void (*done)(struct item *it, int status),
                          struct list *list);
void stream_kick(struct pool *pool, struct stream *s);
void stream_kick_all(struct pool *pool);
/* A device was lost, and the others have no room left for users' data: of what is queued only
 * records without data go on, which may give room. They come to the head of the queue. True: the
 * first is one. */
bool stream_records_first(struct pool *pool, struct stream *s);
/* For stream.c: makes one batch of the items at the head, false: nothing can be done now; sends
 * what was made. */
bool batch_make(struct pool *pool, struct stream *s);
void batch_issue(struct batch *b);
int batch_alloc(struct batch *b);
/* For place.c: an empty batch at the group's end. */
struct batch *batch_new(struct pool *pool, struct stream *s, struct group *g, enum batch_kind kind);
void batch_free(struct batch *b);
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
/* Nothing can be written any more: all devices are out of use, or the pool is read-only. */
bool stream_hopeless(const struct pool *pool);
/* Fails what is queued where nothing can be written any more. Calls back. */
void stream_fail_stuck(struct pool *pool);
void stream_free_all(struct pool *pool);
uint64_t pool_lowest_inflight(const struct pool *pool); /* UINT64_MAX: none */

#endif
