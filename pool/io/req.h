/* A request of a volume that changes it, between io.c, which takes it through, admit.c and held.c.
 */
#ifndef ZONEPOOL_POOL_IO_REQ_H
#define ZONEPOOL_POOL_IO_REQ_H

#include "pool/internal.h"

struct req {
        struct lock lock;
        struct deferred later;
        struct list held; /* pool.held */
        struct list older; /* writes of the same range it is written instead of, by arrival, */
        struct list instead; /* or the place in that list */
        struct flush_wait flush;
        struct volume *vol;
        struct pool *pool;
        struct volume_io *io;
        uint64_t first, end; /* blocks */
        struct pin pin[2]; /* what is written; of zeroes the first and the last block */
        uint8_t npins, loading; /* not ready yet */
        bool is_held;
        uint64_t lacks, lacks_pages; /* held: blocks and pages there was no room for */
        struct space_claim claim;
        uint64_t promised; /* blocks out of the volume's reservation that no item has yet */
        struct unmap unmap;
        enum cls cls; /* of all it writes, so that it is found together again */
        uint32_t pending; /* items, edge reads, the discard */
        int status;
        uint8_t *edge_buf[2]; /* first and last block, where covered in part */
        uint64_t edge_block[2];
        struct block_read edge_read[2];
        int nedges;
};

/* io.c: what the request asks of the table. False: it goes on when the pages are there. */
bool req_pin_pages(struct req *r);
void req_unpin(struct req *r);
/* It has room, and its pages. */
void req_admitted(struct req *r);
/* Ends it from the next turn. */
void req_end_later(struct req *r, int status);

/* admit.c: room is taken for it; false: there is none, and r->lacks says for what. */
bool req_admit(struct req *r);
/* Whether there is room for what it lacked. */
bool req_has_room(const struct req *r);

/* held.c: it waits for room, with its lock and without its pages. */
void req_hold(struct req *r);
void req_unhold(struct req *r);

#endif
