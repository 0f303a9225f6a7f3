/* A zoned device in RAM that drops data and keeps metadata, so that terabytes fit.
 *
 * A block of one fixed content (drop_fill) is not stored: its place in the zone is remembered by
 * nothing being kept there. Any other block (headers, summaries, table pages, roots) is stored
 * whole. So the device gives back exactly what was written: a program that writes only drop_fill
 * blocks to its volumes can run the real pool, checksums, cleaning and recovery on it.
 *
 * The rules are those of pool/device/zone_model.h, judged at submission and carried out at
 * completion, in the order of submission, one by one from drop_media_step.
 *
 * The medium outlives the device: zdev_close (pool_export, pool_abandon) closes the device only.
 * What was submitted and not completed by then has not happened; all else stands, flushed or not.
 * drop_device_open opens the medium again, with zones as they stood.
 *
 * Memory: a zone costs 64 bytes; each kept block 4112. A batch of 254 scattered blocks keeps two
 * blocks, and about as much again in its group's summary: about 60 bytes for each block written.
 *
 * Threads: one. */
#ifndef ZONEPOOL_BENCH_DROPDEV_H
#define ZONEPOOL_BENCH_DROPDEV_H

#include "pool/device.h"

struct drop_spec {
        uint32_t nr_zones;
        uint32_t zone_blocks;
        uint32_t zone_capacity_blocks; /* 0: zone_blocks */
        uint32_t max_open, max_active; /* 0: no limit */
        uint32_t max_io_blocks; /* 0: 256 */
        bool rotational;
};

struct drop_counts {
        uint64_t written_blocks, read_blocks; /* as they completed */
        uint64_t writes, reads, resets, finishes, flushes;
        uint64_t finished_blocks; /* given up behind the pointers of zones that were finished */
        uint64_t kept_blocks; /* in memory now */
};

struct drop_media;

/* Returns 0, -EINVAL or -ENOMEM. */
int drop_media_new(const struct drop_spec *spec, struct drop_media **ret_media);
/* Not while a device is open on it. Accepts NULL. */
void drop_media_free(struct drop_media *m);
/* The medium's one device, or NULL: it is open already, or no memory. Freed by zdev_close. */
struct zdev *drop_device_open(struct drop_media *m);
/* Completes the oldest operation. False: none is queued. May be followed by a close from within. */
bool drop_media_step(struct drop_media *m);
const struct drop_counts *drop_media_counts(const struct drop_media *m);
/* Operations queued. */
uint32_t drop_media_queued(const struct drop_media *m);

/* Makes the content that is dropped. buf: ZP_BLOCK bytes. */
void drop_fill(void *buf);

#endif
