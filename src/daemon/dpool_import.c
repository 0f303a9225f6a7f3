/* Importing a pool: open, check the labels, recover, attach every volume; see dpool.h.
 *
 * The daemon before this one may just have been killed, and the kernel keeps its devices locked
 * until its last I/O has ended: a busy device is tried again, at a start for as long as that may
 * take, for a person for a moment.
 *
 * Devices that are not there: a start waits for them for a while, then goes on without them where
 * that cannot be wrong; a person is asked (`degraded`).
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
#define MISSING_RETRY_NS UINT64_C(500000000)

struct import {
        struct dpool *p;
        struct zdev **devs; /* as listed; NULL: it is not there, or the pool's by now */
        struct zdev *used[POOL_MAX_DEVICES]; /* those of it that have a label of some pool */
        uint32_t place[POOL_MAX_DEVICES]; /* in the list, of these */
        uint32_t nused;
        bool keep_failed;
        struct pool_spec before; /* of the FAILED pool that this is a person's try of; or zeroes */
        bool sure; /* of what is missing enough was waited for: without it, where that is right */
        uint64_t start_ns;
        struct loop_timer retry;
        int status;
        struct err err;
        char without[200]; /* listed devices that are not used, and why, for people */
        struct loop_defer
            finish; /* callbacks never come from inside, and devices are closed here */
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err, struct dpool *p);
};

/* A person's try: the registry has what it had. */
static void fail_as_before(struct import *im)
{
        struct dpool *p = im->p;

        if (!im->before.name[0]) {
                dpool_free(p);
                return;
        }
        pool_spec_fini(&p->spec);
        p->spec = im->before;
        im->before = (struct pool_spec){0};
        dpool_failed(p, &im->err);
}

static void finish(struct loop_defer *defer)
{
        struct import *im = container_of(defer, struct import, finish);
        struct dpool *p = im->p;

        devices_close(im->devs, p->spec.ndevices);
        if (im->status < 0 && im->keep_failed) {
                dpool_failed(p, &im->err);
        } else if (im->status < 0) {
                fail_as_before(im);
                p = NULL;
        }
        im->done(im->ctx, im->status, &im->err, p);
        pool_spec_fini(&im->before);
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

/* A listed device is not used. When it is a member the labels of the others tell; if not, it has
 * left or never joined (dpool_devices.c). */
static void leave_out(struct import *im, uint32_t i, const char *why)
{
        size_t have = strlen(im->without);

        snprintf(im->without + have, sizeof(im->without) - have, "%s%s", have ? "; " : "", why);
        zdev_close(im->devs[i]);
        im->devs[i] = NULL;
}

static void add_text(struct err *err, const char *before, const char *text, const char *after)
{
        size_t have = strlen(err->msg);

        snprintf(err->msg + have, sizeof(err->msg) - have, "%s%s%s", before, text, after);
}

/* What to do where the pool says that devices are missing. */
static void add_remedy(struct import *im)
{
        const struct dpool *p = im->p;
        char devices[300] = "";

        for (uint32_t i = 0; i < im->nused; i++) {
                size_t have = strlen(devices);
                snprintf(devices + have, sizeof(devices) - have, " %s",
                         p->spec.devices[im->place[i]]);
        }
        if (im->without[0])
                add_text(&im->err, " (", im->without, ")");
        if (im->err.code == ENXIO && !p->spec.options.degraded)
                add_text(&im->err, ". Without what is missing: 'zonepool pool import --degraded ",
                         p->spec.name, devices);
        if (im->err.code == ENXIO && !p->spec.options.degraded)
                add_text(&im->err, "'", "", "");
}

/* What is missing may only be late. True: it is waited for. */
static bool wait_for_devices(struct import *im, int status)
{
        struct daemon *d = im->p->daemon;
        uint64_t until = im->start_ns + d->cfg.missing_device_wait_s * 1000000000;

        if (status != -ENXIO || !im->keep_failed || im->sure || d->stopping)
                return false;
        im->sure = clock_now_ns() >= until;
        im->p->spec.options.degraded_if_sure = im->sure;
        devices_close(steal_ptr(&im->devs), im->p->spec.ndevices);
        im->err = ERR_INIT;
        im->without[0] = '\0';
        loop_timer_arm(d->loop, &im->retry,
                       im->sure ? clock_now_ns() : MIN(until, clock_now_ns() + MISSING_RETRY_NS));
        return true;
}

/* The pool is imported: which devices it does without. */
static void tell_missing(const struct dpool *p)
{
        struct pool_device_status dev;
        struct pool_status st;

        pool_get_status(p->pool, &st);
        for (uint32_t i = 0; i < st.ndevices; i++) {
                char uuid[UUID_TEXT_LEN];
                dpool_device_status(p, p->pool, i, &dev);
                if (dev.state == POOL_DEVICE_NONE || !dev.missing)
                        continue;
                uuid_format(&dev.uuid, uuid);
                log_warn("pool", "%s: device %s (uuid %s) is missing; the pool goes on without it",
                         p->spec.name, dev.path, uuid);
                eventlog_emit("device-missing", "\"pool\":\"%s\",\"path\":\"%s\",\"uuid\":\"%s\"",
                              p->spec.name, dev.path, uuid);
        }
}

static void settle_list(struct import *im)
{
        struct dpool *p = im->p;

        if (im->without[0])
                log_warn("pool", "%s: not used: %s", p->spec.name, im->without);
        if (im->keep_failed)
                dpool_devices_save(p);
        else
                dpool_devices_known(p); /* it is stored with the answer */
        tell_missing(p);
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        struct import *im = ctx;
        struct dpool *p = im->p;

        if (status < 0) {
                dpool_stop_ticking(p);
                if (wait_for_devices(im, status))
                        return;
                if (err)
                        im->err = *err;
                add_remedy(im);
                end(im, status);
                return;
        }
        for (uint32_t i = 0; i < im->nused; i++)
                im->devs[im->place[i]] = NULL; /* the pool's now */
        devices_close(steal_ptr(&im->devs), p->spec.ndevices);
        p->pool = pool;
        p->state = DPOOL_ACTIVE;
        settle_list(im);
        dpool_share_table_cache(p->daemon); /* it may have changed since the import began */
        attach_all(p);
        dpool_start_ticking(p);
        uint64_t ms = (clock_now_ns() - im->start_ns) / 1000000;
        log_info("pool", "%s imported in %llu ms", p->spec.name, (unsigned long long)ms);
        eventlog_emit("pool-imported", "\"pool\":\"%s\",\"ms\":%llu", p->spec.name,
                      (unsigned long long)ms);
        end(im, 0);
}

/* A device that has no label, or gives none, among others that have one. */
static bool is_left_out(struct import *im, uint32_t i, int status)
{
        char why[160];

        if (status == 0 || status == -EPROTONOSUPPORT || status == -ENOMEM)
                return false;
        snprintf(why, sizeof(why), "%.100s %s", im->p->spec.devices[i],
                 status == -ENOENT    ? "has no label"
                 : status == -EBADMSG ? "has a damaged label"
                                      : "does not answer");
        leave_out(im, i, why);
        return true;
}

static void probed(void *ctx, const struct device_label *labels, uint32_t n)
{
        struct import *im = ctx;
        struct dpool *p = im->p;
        struct device_label *own = calloc(n, sizeof(*own));
        bool any = false;

        for (uint32_t i = 0; i < n; i++)
                any |= labels[i].status == 0;
        im->nused = 0;
        for (uint32_t i = 0; own && i < n; i++) {
                uint32_t at = im->place[i];
                if (any && is_left_out(im, at, labels[i].status))
                        continue;
                own[im->nused] = labels[i];
                im->place[im->nused] = at;
                im->used[im->nused++] = im->devs[at];
        }
        int rc = own ? devices_check_labels(im->used, own, im->nused, p->spec.name, &p->spec.uuid,
                                            &im->err)
                     : -ENOMEM;
        if (rc == 0)
                p->spec.uuid = own[0].label.pool_uuid;
        free(own);
        if (rc < 0) {
                end(im, rc);
                return;
        }
        pool_import(im->used, im->nused, &p->host, &p->spec.options, im, imported);
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

/* Why a device could not be opened says nothing of the device. */
static bool is_ours(int rc)
{
        return rc == -EBUSY || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -EACCES ||
               rc == -EPERM;
}

/* All that are there; at least one. */
static int open_listed(struct import *im, struct err *err)
{
        struct pool_spec *s = &im->p->spec;
        int rc = 0, first = 0;
        bool any = false;

        im->devs = calloc(s->ndevices, sizeof(*im->devs));
        if (!im->devs)
                return err_set(err, ENOMEM, "out of memory");
        for (uint32_t i = 0; i < s->ndevices; i++) {
                struct err why = ERR_INIT;
                rc = device_open(im->p->daemon->loop, s->devices[i], &im->devs[i], &why);
                any |= rc == 0;
                if (rc == 0)
                        continue;
                if (!first || is_ours(rc))
                        *err = why;
                if (is_ours(rc))
                        break;
                first = first ? first : rc;
                leave_out(im, i, why.msg);
        }
        rc = is_ours(rc) ? rc : any ? 0 : first;
        if (rc == 0)
                *err = ERR_INIT;
        else
                devices_close(steal_ptr(&im->devs), s->ndevices);
        return rc;
}

/* What can fail at once. */
static int begin(struct import *im, struct err *err)
{
        struct dpool *p = im->p;
        int rc = make_socket_dir(p, err);

        if (rc == 0 && !im->devs)
                rc = open_listed(im, err);
        im->nused = 0;
        for (uint32_t i = 0; rc == 0 && i < p->spec.ndevices; i++) {
                im->place[im->nused] = i;
                im->used[im->nused] = im->devs[i];
                im->nused += im->devs[i] != NULL;
        }
        if (rc == 0 && devices_probe(im->used, im->nused, im, probed) < 0)
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
                im->without[0] = '\0';
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
                if (old && !keep_failed) {
                        im->before = old->spec;
                        old->spec = (struct pool_spec){0};
                }
                dpool_free(old); /* FAILED: this is the new try */
                im->p = dpool_new(d, spec);
        }
        if (!im || !im->p) {
                if (taken)
                        err_set(&err, EEXIST, "a pool '%s' is imported already", spec->name);
                devices_close(devs, n);
                pool_spec_fini(spec);
                if (im)
                        pool_spec_fini(&im->before);
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
