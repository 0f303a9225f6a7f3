/* A RAM disk behind a controller, for tests of controllers and front ends.
 *
 * Requests complete at the end of the loop's turn, or, while `hold` is set, when ram_release is
 * called. Blocks are mapped by being written, unmapped by discard and write-zeroes, as in the pool.
 */
#ifndef ZONEPOOL_TESTS_RAM_BACKING_H
#define ZONEPOOL_TESTS_RAM_BACKING_H

#include "base/bitmap.h"
#include "base/loop.h"
#include "nvme/controller.h"

struct ram_backing {
        struct loop *loop;
        uint8_t *data;
        uint64_t size_bytes;
        struct bitmap mapped;
        bool hold; /* keep what is submitted */
        int fail; /* 0, or -errno that every request completes with, without effect */
        uint32_t map_max; /* extents an answer at most; 0: as asked */
        uint64_t map_run; /* blocks of an extent at most; 0: as long as they are */
        uint32_t nflushes, nsubmitted;
        bool nohold_missing; /* a write came that would wait for space */

        struct volume_io *queue[256]; /* submitted, not done */
        uint32_t nqueue;
        struct loop_defer complete;
        struct ram_map {
                uint64_t first;
                struct volume_extent *out;
                uint32_t max;
                void *ctx;
                void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block);
        } maps[256];
        uint32_t nmaps;
        struct loop_defer map_complete;
};

extern const struct nvm_backing_ops ram_backing_ops;

void ram_init(struct ram_backing *r, struct loop *loop, uint64_t size_bytes);
void ram_fini(struct ram_backing *r);
/* Completes what is held, at the end of the turn. */
void ram_release(struct ram_backing *r);

#endif
