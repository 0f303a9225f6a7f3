/* Requests of volumes (io.c), and reading blocks (read.c). */
#ifndef ZONEPOOL_POOL_IO_IO_H
#define ZONEPOOL_POOL_IO_IO_H

#include "pool/address.h"
#include "pool/io/ask.h"
#include "pool/pdev.h"
#include "pool/pool.h"

struct pool;
struct group;
struct tree;

/* The bytes [skip, skip + len) of iov; out has room for niov. Returns the number of parts. */
int iov_slice(const struct iovec *iov, int niov, size_t skip, size_t len, struct iovec *out);

void read_start(struct volume *vol, struct volume_io *io);
/* Completes the request with that status from the next turn. */
void io_fail_later(struct pool *pool, struct volume_io *io, int status);
/* Reads one block of the volume into buf (zeroes for a hole). done: 0, -EIO, -EILSEQ. */
struct block_read {
        struct ask ask;
        struct iovec iov;
        struct deferred later;
        struct pool *pool;
        struct volume *vol; /* may be NULL: nobody to tell about corruption */
        struct group *group;
        struct entry entry;
        uint64_t block;
        uint8_t *buf;
        bool verify; /* even where the pool's checksums are off */
        bool quiet; /* a wrong checksum is no event: it is what is being asked */
        bool one_member; /* ask no other */
        unsigned member; /* asked now */
        unsigned bad; /* members that gave it wrong, or not at all, twice; a bit each */
        int tries;
        void (*done)(struct block_read *r, int status);
        void *ctx;
};
/* e must be mapped. Members of its group are asked one after the other, each twice. */
void block_read_start(struct pool *pool, struct block_read *r, struct entry e);
/* The same, that member first. */
void block_read_from(struct pool *pool, struct block_read *r, struct entry e, unsigned member);
/* Of that member alone. */
void block_read_member(struct pool *pool, struct block_read *r, struct entry e, unsigned member);
/* A read found members of the group (a bit each) without the right bytes of the block, which are
 * in buf: they are written anew, elsewhere. index is that of the tree. done may be NULL; false:
 * nothing is done, and it is not called. It may be called from inside. */
bool heal_block(struct pool *pool, struct tree *t, uint64_t index, struct entry e,
                const uint8_t *buf, unsigned bad, void *ctx, void (*done)(void *ctx, bool healed));
/* Writes that were held go on as far as there is room. */
void held_resume(struct pool *pool);
/* How many wait for room; sends the event when it is some, or none any more. */
uint64_t held_requests(const struct pool *pool);
void held_tell(struct pool *pool);
/* Requests of the volume that wait for space. */
uint64_t held_of(const struct volume *vol);

#endif
