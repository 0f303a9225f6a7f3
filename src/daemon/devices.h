/* Member devices: which driver a path needs, opening a list of them, and reading their labels one
 * by one.
 *
 * A zoned block device of the kernel goes to `zbd`, everything else to `file`.
 */
#ifndef ZONEPOOL_DAEMON_DEVICES_H
#define ZONEPOOL_DAEMON_DEVICES_H

#include "base/err.h"
#include "base/loop.h"
#include "pool/pool.h"

#include <stdint.h>

struct file_device_spec;

/* As file_device_check and file_device_create, for whatever path is. A zoned block device has its
 * own geometry: -EINVAL when spec asks for one. Making one changes nothing, the pool resets its
 * zones. All of these may block for seconds: they are for a worker thread. */
int device_check(const char *path, const struct file_device_spec *spec, bool overwrite,
                 struct err *err);
int device_create(const char *path, const struct file_device_spec *spec, bool overwrite,
                  struct err *err);
/* Takes everything of a pool's off the device. */
int device_erase(const char *path, struct err *err);

/* Whether the device may belong to a pool, so that opening it makes sense. */
bool device_may_be_member(const char *path);
/* Does not block. */
int device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err);

/* Opens all or none. The array is the caller's to free, the devices by devices_close. */
int devices_open(struct loop *loop, char *const *paths, uint32_t n, struct zdev ***ret_devs,
                 struct err *err);
/* Closes those that are not NULL, and frees the array. NULL is accepted. */
void devices_close(struct zdev **devs, uint32_t n);

/* Refuses, naming the device, unless every label was read and is of the pool called name, with that
 * uuid (nil: any, but one for all). */
struct device_label;
int devices_check_labels(struct zdev *const *devs, const struct device_label *labels, uint32_t n,
                         const char *name, const struct uuid *uuid, struct err *err);

/* The result of reading one label. */
struct device_label {
        int status; /* as in pool_probe */
        struct pool_label label;
};

/* Reads the labels of n > 0 devices, one after the other. done: later, once; labels[i] belongs to
 * devs[i], and is valid during the call. Returns 0, or -ENOMEM: done will not come. */
int devices_probe(struct zdev *const *devs, uint32_t n, void *ctx,
                  void (*done)(void *ctx, const struct device_label *labels, uint32_t n));

#endif
