/* Requests of volumes (io.c), and reading blocks (read.c). */
#ifndef ZONEPOOL_POOL_IO_IO_H
#define ZONEPOOL_POOL_IO_IO_H

#include "pool/address.h"
#include "pool/pdev.h"
#include "pool/pool.h"

struct pool;
struct group;

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

#endif
