/* The device list of a pool that changes while it is imported, see dpool.h.
 *
 * Order: a device that is to join is in the stored list before the pool hears of it, one that
 * leaves is taken off when it has left. So a daemon that dies in between finds every member in its
 * list; what has no label there is not taken for one (dpool_import.c). */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "base/worker.h"
#include "daemon/devices.h"
#include "daemon/dpool.h"

#include <errno.h>
#include <string.h>

static void save(struct dpool *p)
{
        struct err err = ERR_INIT;

        if (dpool_store_save(p->daemon, &p->spec, &err) < 0)
                log_warn("pool", "%s: the list of devices could not be stored: %s", p->spec.name,
                         err.msg);
}

int dpool_device_listed(struct dpool *p, const char *path, struct err *err)
{
        for (uint32_t i = 0; i < p->spec.ndevices; i++) {
                if (strcmp(p->spec.devices[i], path) != 0)
                        continue;
                p->spec.uuids[i] = (struct uuid){0}; /* of one that is missing: no more there */
                return dpool_store_save(p->daemon, &p->spec, err);
        }
        if (p->spec.ndevices == POOL_MAX_DEVICES)
                return err_set(err, ENOSPC, "pool %s has %d devices; remove one first",
                               p->spec.name, POOL_MAX_DEVICES);
        char **more = realloc(p->spec.devices, (p->spec.ndevices + 1) * sizeof(*more));

        if (!more)
                return err_set(err, ENOMEM, "out of memory");
        p->spec.devices = more;
        p->spec.uuids[p->spec.ndevices] = (struct uuid){0};
        more[p->spec.ndevices] = strdup(path);
        if (!more[p->spec.ndevices])
                return err_set(err, ENOMEM, "out of memory");
        p->spec.ndevices++;
        int rc = dpool_store_save(p->daemon, &p->spec, err);
        if (rc < 0)
                dpool_device_unlisted(p, path);
        return rc;
}

void dpool_device_unlisted(struct dpool *p, const char *path)
{
        for (uint32_t i = 0; i < p->spec.ndevices; i++) {
                if (strcmp(p->spec.devices[i], path) != 0)
                        continue;
                pool_spec_drop(&p->spec, i);
                save(p);
                return;
        }
}

void dpool_device_status(const struct dpool *p, const struct pool *pool, uint32_t slot,
                         struct pool_device_status *ret_status)
{
        const struct pool_spec *s = &p->spec;

        pool_get_device_status(pool, slot, ret_status);
        for (uint32_t i = 0; ret_status->missing && i < s->ndevices; i++)
                if (uuid_equal(&s->uuids[i], &ret_status->uuid))
                        snprintf(ret_status->path, sizeof(ret_status->path), "%s", s->devices[i]);
}

/* What the pool says of the device listed: at that path, or the one that was there last. */
static bool is_used(const struct dpool *p, const struct pool *pool, uint32_t listed,
                    struct pool_device_status *dev)
{
        const struct uuid *uuid = &p->spec.uuids[listed];
        struct pool_status st;

        pool_get_status(pool, &st);
        for (uint32_t i = 0; i < st.ndevices; i++) {
                pool_get_device_status(pool, i, dev);
                if (dev->state == POOL_DEVICE_NONE)
                        continue;
                if (!strcmp(dev->path, p->spec.devices[listed]) ||
                    (dev->missing && (uuid_is_nil(uuid) || uuid_equal(uuid, &dev->uuid))))
                        return true;
        }
        return false;
}

bool dpool_devices_known(struct dpool *p)
{
        struct pool_spec *s = &p->spec;
        bool changed = false;

        for (uint32_t i = s->ndevices; i-- > 0;) {
                struct pool_device_status dev;
                if (!is_used(p, p->pool, i, &dev)) {
                        pool_spec_drop(s, i);
                        changed = true;
                } else if (!dev.missing && !uuid_equal(&s->uuids[i], &dev.uuid)) {
                        s->uuids[i] = dev.uuid;
                        changed = true;
                }
        }
        return changed;
}

void dpool_devices_save(struct dpool *p)
{
        if (dpool_devices_known(p))
                save(p);
}

/* The slot that bears the name and is not in `end` or any state behind it. */
static int find(const struct dpool *p, const char *text, enum pool_device_state end,
                uint32_t *ret_slot, struct pool_device_status *ret_status)
{
        struct pool_status st;
        char uuid[UUID_TEXT_LEN];

        pool_get_status(p->pool, &st);
        for (uint32_t i = 0; i < st.ndevices; i++) {
                dpool_device_status(p, p->pool, i, ret_status);
                uuid_format(&ret_status->uuid, uuid);
                if (ret_status->state >= end ||
                    (strcmp(ret_status->path, text) != 0 && strcmp(uuid, text) != 0))
                        continue;
                *ret_slot = i;
                return 0;
        }
        return -ENOENT;
}

int dpool_slot_of(const struct dpool *p, const char *text, uint32_t *ret_slot,
                  struct pool_device_status *ret_status)
{
        return find(p, text, POOL_DEVICE_LEFT, ret_slot, ret_status);
}

int dpool_slot_until_gone(const struct dpool *p, const char *text, uint32_t *ret_slot,
                          struct pool_device_status *ret_status)
{
        return find(p, text, POOL_DEVICE_NONE, ret_slot, ret_status);
}

/* ---- what has left ---- */

struct erasure {
        struct worker_job job;
        char pool[POOL_NAME_MAX + 1];
        char *path;
        int status;
        struct err err;
};

static void erase(struct worker_job *job)
{
        struct erasure *e = container_of(job, struct erasure, job);

        e->status = device_erase(e->path, &e->err);
}

static void erased(struct worker_job *job)
{
        struct erasure *e = container_of(job, struct erasure, job);

        if (e->status < 0)
                log_warn("pool", "%s: %s has left, but was not made plain again: %s", e->pool,
                         e->path, e->err.msg);
        free(e->path);
        free(e);
}

/* Its label is gone; now what made it a zoned device goes too, so that it can be used for anything.
 */
static void erase_start(struct dpool *p, const char *path)
{
        struct erasure *e = calloc(1, sizeof(*e));
        char *copy = strdup(path);

        if (!e || !copy) {
                free(e);
                free(copy);
                return;
        }
        strcpy(e->pool, p->spec.name);
        e->path = copy;
        e->job.run = erase;
        e->job.done = erased;
        worker_submit(p->daemon->worker, &e->job);
}

/* A device of slot e->device has left: which, the list says that is not there any more. */
static void device_left(struct dpool *p, struct pool *pool, int status)
{
        for (uint32_t i = 0; i < p->spec.ndevices;) {
                struct pool_device_status dev;
                CLEANUP(free_ptr) char *path = strdup(p->spec.devices[i]);
                if (!path)
                        return;
                if (is_used(p, pool, i, &dev) || (p->joining && !strcmp(p->joining, path))) {
                        i++;
                        continue;
                }
                if (status < 0)
                        log_warn("pool",
                                 "%s: device %s has left, but its label could not be wiped: %s",
                                 p->spec.name, path, strerror(-status));
                else
                        log_info("pool", "%s: device %s has left", p->spec.name, path);
                eventlog_emit("device-removed", "\"pool\":\"%s\",\"path\":\"%s\",\"errno\":%d",
                              p->spec.name, path, -status);
                dpool_device_unlisted(p, path);
                if (status == 0)
                        erase_start(p, path);
        }
}

void dpool_device_event(struct dpool *p, struct pool *pool, const struct pool_event *e)
{
        struct pool_device_status dev;

        if (e->kind == POOL_EVENT_DEVICE_REMOVED) {
                device_left(p, pool, e->status);
                return;
        }
        dpool_device_status(p, pool, e->device, &dev);
        if (e->kind == POOL_EVENT_DEVICE_EMPTY) {
                log_info("pool", "%s: device %s is empty", p->spec.name, dev.path);
                eventlog_emit("device-empty", "\"pool\":\"%s\",\"path\":\"%s\"", p->spec.name,
                              dev.path);
        } else {
                log_error("pool",
                          "%s: %llu bytes on device %s cannot be read, so it cannot be emptied",
                          p->spec.name, (unsigned long long)dev.live_bytes, dev.path);
                eventlog_emit("device-stuck", "\"pool\":\"%s\",\"path\":\"%s\",\"bytes\":%llu",
                              p->spec.name, dev.path, (unsigned long long)dev.live_bytes);
        }
}
