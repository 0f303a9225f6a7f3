/* Devices that fail while the pool is in use. */
#ifndef ZONEPOOL_POOL_FAULT_H
#define ZONEPOOL_POOL_FAULT_H

#include <stdbool.h>

struct pool;
struct pdev;

/* An operation of the device has failed; -ENODEV: it is gone for good. */
void pool_device_error(struct pool *pool, struct pdev *dev, int status);
/* The device is out of use from now on: nothing is placed on it, and it is read only where there
 * is nothing else. A checkpoint puts that on record. */
void device_fail(struct pool *pool, struct pdev *dev, int status);
/* At the freeze of a checkpoint: mirrored members on devices out of use are stale from now on, as
 * far as another one has all of the group. */
void members_mark_stale(struct pool *pool);
/* The root of the last checkpoint is durable: what it says of devices is on record. */
void devices_recorded(struct pool *pool);
/* Blocks that may not be durable lie on the device alone. */
bool device_has_sole(struct pool *pool, const struct pdev *dev);
/* Closes what is written on devices out of use, as far as nothing of it is in flight. */
void streams_leave_failed(struct pool *pool);

#endif
