/* What the kernel says of a zoned block device, and what of that suits a pool. */
#ifndef ZONEPOOL_POOL_DEVICE_ZBD_LIMITS_H
#define ZONEPOOL_POOL_DEVICE_ZBD_LIMITS_H

#include "base/err.h"
#include "pool/device.h"

#include <stdbool.h>
#include <stdint.h>

enum zbd_model { ZBD_NONE, ZBD_HOST_MANAGED, ZBD_HOST_AWARE, ZBD_UNKNOWN };

/* A queue folder of sysfs (Documentation/ABI/stable/sysfs-block). An attribute that an old kernel
 * has not, or that does not read as a number, is 0. */
struct zbd_limits {
        enum zbd_model model;
        char model_text[32]; /* as read */
        uint64_t zone_bytes; /* chunk_sectors */
        uint64_t nr_zones;
        uint64_t logical_block; /* bytes */
        uint64_t max_open; /* 0: no limit; so for max_active */
        uint64_t max_active;
        uint64_t max_sectors_kb; /* of one request */
        uint64_t max_segments; /* of one request */
        bool rotational;
};

/* Reads a queue folder, e.g. "/sys/dev/block/259:1/queue". One that is not there is of ZBD_NONE. */
void zbd_limits_read(const char *queue_dir, struct zbd_limits *ret_limits);

/* The geometry a pool sees, or -ENOTSUP, -EINVAL with a text that names path, the limit and the
 * remedy. */
int zbd_limits_geometry(const struct zbd_limits *limits, const char *path,
                        struct zdev_geometry *ret_geo, struct err *err);

#endif
