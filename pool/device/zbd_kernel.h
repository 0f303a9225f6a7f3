/* The kernel's zone commands as the zbd driver uses them, and what their answers mean. A table of
 * functions, so that tests put another kernel in its place.
 *
 * All of them block. Units: bytes. Errors: -errno of the ioctl. */
#ifndef ZONEPOOL_POOL_DEVICE_ZBD_KERNEL_H
#define ZONEPOOL_POOL_DEVICE_ZBD_KERNEL_H

#include "pool/device.h"

#include <linux/blkzoned.h>
#include <stddef.h>

/* struct blk_zone in bytes. */
struct zbd_zone {
        uint64_t start, len, capacity, wp;
        enum blk_zone_type type;
        enum blk_zone_cond cond;
};

enum zbd_zone_op { ZBD_OP_RESET, ZBD_OP_FINISH };

struct zbd_kernel {
        void *ctx; /* the functions' own */
        /* Exactly n zones from `first` on; -EIO when there are less. */
        int (*report)(void *ctx, int fd, uint64_t zone_bytes, uint32_t first, uint32_t n,
                      struct zbd_zone *zones);
        int (*manage)(void *ctx, int fd, enum zbd_zone_op op, uint64_t offset, uint64_t len);
        /* Blocks until the bytes are below the write pointer. */
        int (*append)(void *ctx, int fd, const void *buf, size_t len, uint64_t offset);
};

extern const struct zbd_kernel zbd_kernel_linux;

/* A zone as the pool sees it. Capacities round down to whole blocks, write pointers up. What a
 * drive says of zone `index` and cannot be (another place, a pointer outside) makes it read-only.
 */
struct zdev_zone zbd_zone_convert(const struct zbd_zone *zone, uint32_t index, uint64_t zone_bytes);

/* Bytes that are missing to a whole block at the write pointer of a zone that can be written; 0:
 * none. Power can end a write of 512-byte logical blocks anywhere. */
uint32_t zbd_zone_ragged(const struct zbd_zone *zone);

/* The status of struct zdev_io for a failed command: error is -errno, state that of the zone
 * afterwards. */
int zbd_status(int error, enum zdev_zone_state state);

#endif
