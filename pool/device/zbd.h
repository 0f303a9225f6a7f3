/* A kernel zoned block device: NVMe ZNS, host-managed SMR, or what behaves as one.
 *
 * The zones, their states and their limits are the drive's: the driver adds no bytes of its own and
 * keeps no copy of a zone's state. Device zone i is zone i of the pool; conventional zones are
 * reported as such. Reads, writes and flushes go through io_uring with O_DIRECT; report, reset and
 * finish are ioctls that may take seconds and run on a thread of the device (base/worker.h).
 *
 * Durability is the drive's: a completed ZDEV_FLUSH has gone through its cache.
 *
 * Threads: the loop's. zbd_device_open reads sysfs and sends no command to the drive; check and
 * erase do, and block for as long as a report, or a reset of all zones, takes. */
#ifndef ZONEPOOL_POOL_DEVICE_ZBD_H
#define ZONEPOOL_POOL_DEVICE_ZBD_H

#include "base/err.h"
#include "base/loop.h"
#include "pool/device.h"

#include <stdbool.h>

/* Whether path is a block device that the kernel calls zoned, of whatever model. False when it
 * cannot be told. */
bool zbd_device_detect(const char *path);

/* Refuses what cannot become a member, and changes nothing. -EBUSY: mounted, or another process has
 * it as a device. -EINVAL: its zones do not suit a pool. -ENOTSUP: host-aware. -EEXIST: it holds
 * data and overwrite is false; data is any written zone, a signature libblkid knows, or anything
 * but zeroes in the first MiB of conventional zones. -EROFS, -EIO, ... A device that passes is
 * ready for zbd_device_open; the pool resets its zones. */
int zbd_device_check(const char *path, bool overwrite, struct err *err);

/* Resets every zone: what the device held is lost, conventional zones excepted. -EBUSY, -EIO, ...
 */
int zbd_device_erase(const char *path, struct err *err);

/* Opens the device for this process alone (O_EXCL). Freed by zdev_close, with nothing in flight.
 * Errors as zbd_device_check but for -EEXIST; -EMFILE, -ENOMEM, ... */
int zbd_device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err);

#endif
