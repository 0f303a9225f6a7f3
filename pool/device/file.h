/* A zoned device made of a regular file or a conventional block device.
 *
 * Every rule of zone_model.h is enforced. The layout is that of file_format.h. I/O goes through
 * io_uring, with O_DIRECT where file system and buffers allow.
 *
 * Durability. A completed operation survives the end of the process, however sudden. It survives a
 * loss of power only once a ZDEV_FLUSH has covered it; before that data and write pointer may be
 * lost one without the other, in either direction.
 *
 * Threads: one, the loop's. create, open, is_formatted and close block for as long as a few reads
 * and writes of metadata take. */
#ifndef ZONEPOOL_POOL_DEVICE_FILE_H
#define ZONEPOOL_POOL_DEVICE_FILE_H

#include "base/err.h"
#include "base/loop.h"
#include "pool/device.h"

#include <stdbool.h>
#include <stdint.h>

enum { FILE_DEVICE_NO_LIMIT = -1 };

/* 0 stands for the default throughout. */
struct file_device_spec {
        uint64_t size_bytes; /* of the whole file; default: what is there. A block device: <= its */
        uint64_t
            zone_bytes; /* multiple of 4096; default: a power of two that makes 128 zones or more,
                           1 MiB to 256 MiB; smaller where that gives less than 16 zones */
        uint64_t zone_capacity_bytes; /* multiple of 4096; default zone_bytes */
        int32_t max_open; /* default 14; FILE_DEVICE_NO_LIMIT */
        int32_t max_active; /* default 14; FILE_DEVICE_NO_LIMIT; >= max_open */
        bool rotational; /* report the device as one of the capacity tier */
};

/* Makes the file (one that is missing, with mode 0600 and size_bytes) a device of empty zones.
 * -EEXIST: it holds data and overwrite is false. Data is a file device, a signature libblkid knows,
 * or anything but zeroes in the first and the last MiB. -EBUSY: a process has it open as a device,
 * or the kernel uses the block device. -EINVAL: the sizes do not fit. -ENOSPC, -EIO, ...
 * With overwrite all that the file held is lost. On failure a file that was missing is removed. */
int file_device_create(const char *path, const struct file_device_spec *spec, bool overwrite,
                       struct err *err);

/* Refuses all that file_device_create would refuse (beside what goes wrong while writing), and
 * changes nothing. For asking about several devices before the first one is touched. */
int file_device_check(const char *path, const struct file_device_spec *spec, bool overwrite,
                      struct err *err);

/* Makes a device a plain file or block device again: a file keeps its size and reads as zeroes, of
 * a block device the first and the last MiB do. What it held is lost. -ENOENT not a file device;
 * -EBUSY in use; -EIO, ... */
int file_device_erase(const char *path, struct err *err);

/* Opens and locks a device made by file_device_create. Freed by zdev_close, with nothing in flight.
 * -ENOENT no such file, or not a file device; -EBUSY another process, or this one, has it (a
 * killed process keeps its lock until the kernel has ended its I/O: try again later); -EBADMSG
 * header damaged or file too short; -EPROTONOSUPPORT made by a newer zonepool; -EACCES, -EIO, ...
 */
int file_device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err);

/* Whether the file begins as a file device does, damaged or newer ones included. False when it
 * cannot be read. */
bool file_device_is_formatted(const char *path);

#endif
