/* device.add and device.replace: a file or device is made one of empty zones, listed, and joins the
 * pool. What goes wrong before it has joined is undone. */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "base/worker.h"
#include "daemon/device_methods.h"
#include "daemon/devices.h"
#include "daemon/pool_create.h"
#include "daemon/report.h"
#include "pool/device/file.h"
#include "pool/device/zbd.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct join {
        struct dpool *p;
        struct control_request *req;
        char *path, *old; /* old: what is replaced, or NULL */
        struct file_device_spec geometry;
        bool overwrite, missing, made, listed, touched;
        struct worker_job job;
        struct zdev *dev;
        int status;
        struct err err;
        struct loop_defer finish;
};

static void join_free(struct join *j)
{
        if (j->p) {
                j->p->changing--;
                j->p->joining = NULL;
        }
        free(j->path);
        free(j->old);
        free(j);
}

/* ---- on the worker's thread ---- */

static void make(struct worker_job *job)
{
        struct join *j = container_of(job, struct join, job);

        j->status = device_check(j->path, &j->geometry, j->overwrite, &j->err);
        if (j->status < 0)
                return;
        j->missing = access(j->path, F_OK) < 0;
        j->status = device_create(j->path, &j->geometry, j->overwrite, &j->err);
        j->made = j->status == 0;
}

static void unmake(struct worker_job *job)
{
        struct join *j = container_of(job, struct join, job);
        struct err err = ERR_INIT;

        if (!j->made || (!j->touched && zbd_device_detect(j->path)))
                return;
        if (j->missing ? unlink(j->path) < 0 : device_erase(j->path, &err) < 0)
                log_warn("pool", "%s: %s could not be undone: %s", j->p->spec.name, j->path,
                         err.msg[0] ? err.msg : strerror(errno));
}

/* ---- the end ---- */

static void refuse(struct worker_job *job)
{
        struct join *j = container_of(job, struct join, job);

        control_refuse(j->req, j->status, &j->err);
        join_free(j);
}

static void finish(struct loop_defer *defer)
{
        struct join *j = container_of(defer, struct join, finish);

        if (j->status < 0) {
                zdev_close(steal_ptr(&j->dev));
                if (j->listed)
                        dpool_device_unlisted(j->p, j->path);
                j->job.run = unmake;
                j->job.done = refuse;
                worker_submit(j->p->daemon->worker, &j->job);
                return;
        }
        dpool_devices_save(j->p);
        log_info("pool", "%s: device %s added", j->p->spec.name, j->path);
        eventlog_emit("device-added", "\"pool\":\"%s\",\"path\":\"%s\"", j->p->spec.name, j->path);
        control_reply(j->req, report_pool(j->p));
        join_free(j);
}

static bool has_joined(const struct join *j)
{
        struct pool_device_status dev;
        uint32_t slot;

        return j->p->pool && dpool_slot_of(j->p, j->path, &slot, &dev) == 0;
}

static void joined(void *ctx, int status, const struct err *err, uint32_t index)
{
        struct join *j = ctx;

        j->status = status;
        if (err)
                j->err = *err;
        if (status < 0 && has_joined(j)) { /* a replacement whose second half was refused */
                control_refuse(j->req, status, err);
                join_free(j);
                return;
        }
        loop_defer(j->p->daemon->loop, &j->finish);
}

static void made(struct worker_job *job)
{
        struct join *j = container_of(job, struct join, job);
        struct dpool *p = j->p;
        struct pool_device_status dev;
        uint32_t slot = 0;

        if (j->status == 0 && p->state != DPOOL_ACTIVE)
                j->status = err_set(&j->err, ECANCELED, "pool %s is %s", p->spec.name,
                                    dpool_state_name(p->state));
        if (j->status == 0 && j->old && dpool_slot_of(p, j->old, &slot, &dev) < 0)
                j->status =
                    err_set(&j->err, ENOENT, "pool %s has no device %s", p->spec.name, j->old);
        if (j->status == 0)
                j->status = device_open(p->daemon->loop, j->path, &j->dev, &j->err);
        if (j->status == 0)
                j->status = dpool_device_listed(p, j->path, &j->err);
        j->listed = j->status == 0;
        if (j->status < 0) {
                loop_defer(p->daemon->loop, &j->finish);
                return;
        }
        j->touched = true;
        if (j->old)
                pool_device_replace(p->pool, slot, j->dev, j, joined);
        else
                pool_device_add(p->pool, j->dev, j, joined);
}

/* ---- the beginning ---- */

static int check(struct dpool *p, const char *path, const char *old, struct err *err)
{
        struct pool_device_status dev;
        struct dpool *other = dpool_of_device(p->daemon, path);
        uint32_t slot;

        if (path[0] != '/' || strlen(path) > 255)
                return err_set(err, EINVAL,
                               "device '%.80s' must be an absolute path of at most 255 bytes",
                               path);
        /* another device at the path of one that is missing is a new one */
        bool vacant = other == p && dpool_slot_of(p, path, &slot, &dev) == 0 && dev.missing;
        if (other == p && !vacant)
                return err_set(err, EEXIST, "device %s is a member of pool %s already", path,
                               p->spec.name);
        if (other && other != p)
                return err_set(err, EBUSY, "device %s is in use by pool %s", path,
                               other->spec.name);
        if (p->joining)
                return err_set(err, EBUSY,
                               "pool %s: device %s is being added; try again when it is done",
                               p->spec.name, p->joining);
        if (old && dpool_slot_of(p, old, &slot, &dev) < 0)
                return err_set(err, ENOENT,
                               "pool %s has no device %s; see 'zonepool device status'",
                               p->spec.name, old);
        return 0;
}

static void begin(struct control_request *req, struct daemon *d, bool replace)
{
        struct err err = ERR_INIT;
        const char *pool = NULL, *path = NULL, *old = NULL;
        json_t *device = NULL;
        bool overwrite = false;
        struct file_device_spec geometry = {0};
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_OBJECT("device", &device, PARAM_REQUIRED),
            PARAM_BOOL("overwrite", &overwrite, PARAM_OPTIONAL),
            PARAM_STR("old", &old, replace ? PARAM_REQUIRED : PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table) - !replace, &err);

        if (rc == 0)
                rc = pool_parse_device(device, &path, &geometry, &err);
        struct dpool *p = rc == 0 ? dpool_active(d, pool, &err) : NULL;
        if (rc == 0)
                rc = p ? check(p, path, old, &err) : -err.code;
        struct join *j = rc == 0 ? calloc(1, sizeof(*j)) : NULL;
        if (j) {
                j->path = strdup(path);
                j->old = old ? strdup(old) : NULL;
        }
        if (rc == 0 && (!j || !j->path || (old && !j->old))) {
                if (j)
                        join_free(j);
                rc = -ENOMEM;
        }
        if (rc < 0) {
                control_refuse(req, rc, &err);
                return;
        }
        j->p = p;
        j->req = req;
        j->geometry = geometry;
        j->overwrite = overwrite;
        j->finish.call = finish;
        j->job.run = make;
        j->job.done = made;
        p->changing++;
        p->joining = j->path;
        worker_submit(d->worker, &j->job);
}

void device_add(struct control_request *req, void *ctx)
{
        begin(req, ctx, false);
}

void device_replace(struct control_request *req, void *ctx)
{
        begin(req, ctx, true);
}
