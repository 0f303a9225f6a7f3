/* Member devices, see devices.h. */
#include "daemon/devices.h"

#include "base/cleanup.h"
#include "pool/device/file.h"
#include "pool/device/zbd.h"

#include <errno.h>
#include <string.h>

static int check_zoned(const char *path, const struct file_device_spec *spec, bool overwrite,
                       struct err *err)
{
        if (spec->size_bytes || spec->zone_bytes || spec->zone_capacity_bytes || spec->max_open ||
            spec->max_active)
                return err_set(err, EINVAL,
                               "%s is a zoned block device, whose zones and limits are its own: "
                               "leave out size, zone, capacity, max-open and max-active",
                               path);
        return zbd_device_check(path, overwrite, err);
}

int device_check(const char *path, const struct file_device_spec *spec, bool overwrite,
                 struct err *err)
{
        return zbd_device_detect(path) ? check_zoned(path, spec, overwrite, err)
                                       : file_device_check(path, spec, overwrite, err);
}

int device_create(const char *path, const struct file_device_spec *spec, bool overwrite,
                  struct err *err)
{
        return zbd_device_detect(path) ? check_zoned(path, spec, overwrite, err)
                                       : file_device_create(path, spec, overwrite, err);
}

int device_erase(const char *path, struct err *err)
{
        return zbd_device_detect(path) ? zbd_device_erase(path, err) : file_device_erase(path, err);
}

bool device_may_be_member(const char *path)
{
        return zbd_device_detect(path) || file_device_is_formatted(path);
}

int device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err)
{
        return zbd_device_detect(path) ? zbd_device_open(loop, path, ret_dev, err)
                                       : file_device_open(loop, path, ret_dev, err);
}

int devices_open(struct loop *loop, char *const *paths, uint32_t n, struct zdev ***ret_devs,
                 struct err *err)
{
        struct zdev **devs = calloc(n, sizeof(*devs));
        int rc = devs ? 0 : err_set(err, ENOMEM, "out of memory");

        for (uint32_t i = 0; rc == 0 && i < n; i++)
                rc = device_open(loop, paths[i], &devs[i], err);
        if (rc < 0)
                devices_close(devs, n);
        else
                *ret_devs = devs;
        return rc;
}

void devices_close(struct zdev **devs, uint32_t n)
{
        for (uint32_t i = 0; devs && i < n; i++)
                zdev_close(devs[i]);
        free(devs);
}

struct probe {
        struct zdev *const *devs;
        uint32_t n, next;
        struct device_label *labels;
        void *ctx;
        void (*done)(void *ctx, const struct device_label *labels, uint32_t n);
};

static void probe_next(struct probe *p);

static void probed(void *ctx, int status, const struct pool_label *label)
{
        struct probe *p = ctx;
        struct device_label *l = &p->labels[p->next++];

        l->status = status;
        if (label)
                l->label = *label;
        probe_next(p);
}

static void probe_next(struct probe *p)
{
        if (p->next < p->n) {
                pool_probe(p->devs[p->next], p, probed);
                return;
        }
        p->done(p->ctx, p->labels, p->n);
        free(p->labels);
        free(p);
}

int devices_probe(struct zdev *const *devs, uint32_t n, void *ctx,
                  void (*done)(void *ctx, const struct device_label *labels, uint32_t n))
{
        struct probe *p = calloc(1, sizeof(*p));
        struct device_label *labels = calloc(n, sizeof(*labels));

        if (!p || !labels) {
                free(p);
                free(labels);
                return -ENOMEM;
        }
        *p = (struct probe){devs, n, 0, labels, ctx, done};
        probe_next(p);
        return 0;
}

static int check_status(const char *path, int status, struct err *err)
{
        switch (-status) {
        case 0:
                return 0;
        case ENOENT:
                return err_set(err, ENOENT, "device %s belongs to no pool", path);
        case EPROTONOSUPPORT:
                return err_set(
                    err, EPROTONOSUPPORT,
                    "device %s belongs to a pool of another format; use the zonepool that made it",
                    path);
        case EBADMSG:
                return err_set(err, EBADMSG, "device %s: the pool's label is damaged", path);
        default:
                return err_set_sys(err, -status, "device %s: the label cannot be read", path);
        }
}

int devices_check_labels(struct zdev *const *devs, const struct device_label *labels, uint32_t n,
                         const char *name, const struct uuid *uuid, struct err *err)
{
        for (uint32_t i = 0; i < n; i++) {
                const struct pool_label *l = &labels[i].label;
                char found[UUID_TEXT_LEN];
                int rc = check_status(devs[i]->path, labels[i].status, err);
                if (rc < 0)
                        return rc;
                uuid_format(&l->pool_uuid, found);
                if (strcmp(l->pool_name, name) != 0)
                        return err_set(err, EEXIST, "device %s belongs to pool '%s', not '%s'",
                                       devs[i]->path, l->pool_name, name);
                if (!uuid_is_nil(uuid) && !uuid_equal(&l->pool_uuid, uuid))
                        return err_set(err, EEXIST,
                                       "device %s belongs to another pool of the name '%s' (%s)",
                                       devs[i]->path, name, found);
                if (!uuid_equal(&l->pool_uuid, &labels[0].label.pool_uuid))
                        return err_set(err, EEXIST, "devices %s and %s belong to different pools",
                                       devs[0]->path, devs[i]->path);
        }
        return 0;
}
