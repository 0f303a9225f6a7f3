/* Importing a pool: open, check the labels, recover, attach every volume; see dpool.h.
 *
 * The daemon before this one may just have been killed, and the kernel keeps its devices locked
 * until its last I/O has ended: a busy device is tried again, at a start for as long as that may
 * take, for a person for a moment.
 *
 * One struct import a try. Whatever fails, the devices are closed and nothing is left but, when
 * that was asked for, the FAILED entry in the registry.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/devices.h"
#include "daemon/dpool.h"
#include "daemon/dvol.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "frontend/fuse/fuse_front.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define START_PATIENCE_NS UINT64_C(30000000000)
#define PERSON_PATIENCE_NS UINT64_C(1000000000)
#define BUSY_RETRY_NS UINT64_C(100000000)

struct import {
        struct dpool *p;
        struct zdev **devs; /* NULL: not ours (any more) */
        bool keep_failed;
        uint64_t start_ns;
        struct loop_timer retry;
        int status;
        struct err err;
        char dropped[160]; /* listed devices that are no members, for people */
        struct loop_defer
            finish; /* callbacks never come from inside, and devices are closed here */
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err, struct dpool *p);
};

static void finish(struct loop_defer *defer)
{
        struct import *im = container_of(defer, struct import, finish);
        struct dpool *p = im->p;

        devices_close(im->devs, p->spec.ndevices);
        if (im->status < 0 && im->keep_failed) {
                p->state = DPOOL_FAILED;
                p->error = im->err;
        } else if (im->status < 0) {
                dpool_free(p);
                p = NULL;
        }
        im->done(im->ctx, im->status, &im->err, p);
        free(im);
}

static void end(struct import *im, int status)
{
        im->status = status;
        if (status < 0 && !im->err.msg[0])
                err_set_sys(&im->err, -status, "pool %s cannot be imported", im->p->spec.name);
        im->err.code = -status;
        loop_defer(im->p->daemon->loop, &im->finish);
}

/* A volume that cannot be attached is no reason to refuse the others. */
static void attach_all(struct dpool *p)
{
        struct volume *vol = NULL;
        struct fuse_front *fuse = p->daemon->fuse;
        int rc = fuse ? fuse_front_add_pool(fuse, p->spec.name) : 0;

        if (rc < 0)
                log_error("pool", "%s: no directory under the mount: %s", p->spec.name,
                          strerror(-rc));
        while ((vol = volume_next(p->pool, vol))) {
                struct dvol *v = dvol_add(p, vol);
                if (!v)
                        log_error("pool", "%s/%s: out of memory, the volume is not served",
                                  p->spec.name, volume_name(vol));
                else if (v->error.code)
                        log_error("pool", "%s/%s is not served: %s", p->spec.name, volume_name(vol),
                                  v->error.msg);
        }
        migration_pool_ready(p);
}

static int make_socket_dir(const struct dpool *p, struct err *err)
{
        char dir[PATH_MAX];
        if (snprintf(dir, sizeof(dir), "%s/%s", p->daemon->cfg.rundir, p->spec.name) >=
            (int)sizeof(dir))
                return err_set(err, ENAMETOOLONG, "pool %s: the run directory's name is too long",
                               p->spec.name);
        return dir_make(dir, 0755, err);
}

/* A listed device is not the pool's: it has left, or never joined (dpool_devices.c). Whether one is
 * missing the labels of the others tell. */
static void drop(struct import *im, uint32_t i, const char *why)
{
        struct pool_spec *s = &im->p->spec;
        size_t have = strlen(im->dropped);

        log_warn("pool", "%s: %s %s; it is not used", s->name, s->devices[i], why);
        snprintf(im->dropped + have, sizeof(im->dropped) - have, "%s%s %s", have ? ", " : "",
                 s->devices[i], why);
        free(s->devices[i]);
        if (im->devs) {
                zdev_close(im->devs[i]);
                memmove(&im->devs[i], &im->devs[i + 1], (s->ndevices - i - 1) * sizeof(*im->devs));
        }
        memmove(&s->devices[i], &s->devices[i + 1], (s->ndevices - i - 1) * sizeof(*s->devices));
        s->ndevices--;
}

/* Before they are opened: unless none could be a member. */
static void drop_plain(struct import *im)
{
        struct pool_spec *s = &im->p->spec;
        uint32_t could = 0;

        for (uint32_t i = 0; i < s->ndevices; i++)
                could += device_may_be_member(s->devices[i]);
        for (uint32_t i = s->ndevices; could && i-- > 0;)
                if (!device_may_be_member(s->devices[i]))
                        drop(im, i, "is no zoned device or not there");
}

static void save_dropped(struct import *im)
{
        struct err err = ERR_INIT;

        if (im->dropped[0] && dpool_store_save(im->p->daemon, &im->p->spec, &err) < 0)
                log_warn("pool", "%s: the list of devices could not be stored: %s",
                         im->p->spec.name, err.msg);
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        struct import *im = ctx;
        struct dpool *p = im->p;

        if (status < 0) {
                dpool_stop_ticking(p);
                if (err)
                        im->err = *err;
                if (err && im->dropped[0]) {
                        size_t have = strlen(im->err.msg);
                        snprintf(im->err.msg + have, sizeof(im->err.msg) - have, " (%s)",
                                 im->dropped);
                }
                end(im, status);
                return;
        }
        free(im->devs); /* the devices are the pool's now */
        im->devs = NULL;
        p->pool = pool;
        p->state = DPOOL_ACTIVE;
        save_dropped(im);
        dpool_share_table_cache(p->daemon); /* it may have changed since the import began */
        attach_all(p);
        dpool_start_ticking(p);
        uint64_t ms = (clock_now_ns() - im->start_ns) / 1000000;
        log_info("pool", "%s imported in %llu ms", p->spec.name, (unsigned long long)ms);
        eventlog_emit("pool-imported", "\"pool\":\"%s\",\"ms\":%llu", p->spec.name,
                      (unsigned long long)ms);
        end(im, 0);
}

static void probed(void *ctx, const struct device_label *labels, uint32_t n)
{
        struct import *im = ctx;
        struct dpool *p = im->p;
        struct device_label *own = calloc(n, sizeof(*own));
        uint32_t good = 0;

        for (uint32_t i = 0; i < n; i++)
                good += labels[i].status == 0;
        for (uint32_t i = n; own && good && i-- > 0;) {
                if (labels[i].status == -ENOENT)
                        drop(im, i, "has no label");
                else if (labels[i].status == -EBADMSG)
                        drop(im, i, "has a damaged label");
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; own && i < n; i++)
                if (!good || (labels[i].status != -ENOENT && labels[i].status != -EBADMSG))
                        own[kept++] = labels[i];
        int rc =
            own ? devices_check_labels(im->devs, own, kept, p->spec.name, &p->spec.uuid, &im->err)
                : -ENOMEM;
        if (rc == 0)
                p->spec.uuid = own[0].label.pool_uuid;
        free(own);
        if (rc < 0) {
                end(im, rc);
                return;
        }
        pool_import(im->devs, kept, &p->host, &p->spec.options, im, imported);
}

static int check_not_open(struct daemon *d, const struct pool_spec *spec, struct err *err)
{
        for (uint32_t i = 0; i < spec->ndevices; i++) {
                struct dpool *other = dpool_of_device(d, spec->devices[i]);
                if (other)
                        return err_set(err, EBUSY, "device %s is in use by pool %s",
                                       spec->devices[i], other->spec.name);
        }
        return 0;
}

/* What can fail at once. */
static int begin(struct import *im, struct err *err)
{
        struct dpool *p = im->p;
        int rc = make_socket_dir(p, err);

        if (rc == 0 && !im->devs)
                drop_plain(im);
        if (rc == 0 && !im->devs)
                rc = devices_open(p->daemon->loop, p->spec.devices, p->spec.ndevices, &im->devs,
                                  err);
        if (rc == 0 && devices_probe(im->devs, p->spec.ndevices, im, probed) < 0)
                rc = err_set(err, ENOMEM, "out of memory");
        return rc;
}

static void try_to_begin(struct import *im)
{
        struct loop *loop = im->p->daemon->loop;
        uint64_t patience_ns = im->keep_failed ? START_PATIENCE_NS : PERSON_PATIENCE_NS;
        int rc = begin(im, &im->err);

        if (rc == -EBUSY && !im->p->daemon->stopping &&
            clock_now_ns() < im->start_ns + patience_ns) {
                im->err = ERR_INIT;
                loop_timer_arm(loop, &im->retry, clock_now_ns() + BUSY_RETRY_NS);
        } else if (rc < 0) {
                end(im, rc);
        }
}

static void retry(struct loop_timer *t)
{
        try_to_begin(container_of(t, struct import, retry));
}

void dpool_import(struct daemon *d, struct pool_spec *spec, struct zdev **devs, bool keep_failed,
                  void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err, struct dpool *p))
{
        struct err err = ERR_INIT;
        uint32_t n = spec->ndevices;
        struct dpool *old = dpool_find(d, spec->name);
        bool taken = old && old->state != DPOOL_FAILED;
        struct import *im = taken ? NULL : calloc(1, sizeof(*im));
        /* Devices that came open are in nobody else's registry entry. */
        int rc = devs || taken ? 0 : check_not_open(d, spec, &err);

        if (im) {
                dpool_free(old); /* FAILED: this is the new try */
                im->p = dpool_new(d, spec);
        }
        if (!im || !im->p) {
                if (taken)
                        err_set(&err, EEXIST, "a pool '%s' is imported already", spec->name);
                devices_close(devs, n);
                pool_spec_fini(spec);
                free(im);
                done(ctx, taken ? -EEXIST : -ENOMEM, &err, NULL);
                return;
        }
        im->keep_failed = keep_failed;
        im->start_ns = clock_now_ns();
        im->finish.call = finish;
        im->ctx = ctx;
        im->done = done;
        im->err = err;
        im->devs = devs;
        im->retry.fire = retry;
        if (rc < 0)
                end(im, rc);
        else
                try_to_begin(im);
}
