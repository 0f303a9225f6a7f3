/* device.remove, device.evacuate, device.keep, device.wait.
 *
 * The first three answer when it is durable that it has begun; what follows goes on by itself,
 * after a restart too. device.wait follows it, with progress, and does nothing. */
#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/device_methods.h"
#include "daemon/dpool.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>

#define LOOK_NS UINT64_C(200000000)

struct leave {
        struct control_request *req;
        struct daemon *d;
        struct dpool *p;
        struct loop_timer timer;
        char pool[POOL_NAME_MAX + 1];
        char path[256];
        struct uuid uuid;
};

/* ---- waiting ---- */

static void wait_refuse(struct leave *l, int rc, const struct err *err)
{
        control_refuse(l->req, rc, err);
        free(l);
}

/* False: it is over, l is gone. */
static bool look(struct leave *l)
{
        struct err err = ERR_INIT;
        struct pool_device_status dev;
        char uuid[UUID_TEXT_LEN];
        uint32_t slot;
        struct dpool *p = l->d->stopping ? NULL : dpool_find(l->d, l->pool);

        if (!p || p->state != DPOOL_ACTIVE) {
                wait_refuse(l,
                            err_set(&err, ECANCELED,
                                    "pool %s is being exported; device %s goes on leaving when it "
                                    "is imported again",
                                    l->pool, l->path),
                            &err);
                return false;
        }
        uuid_format(&l->uuid, uuid);
        bool gone = dpool_slot_until_gone(p, uuid, &slot, &dev) < 0;
        if (gone || (dev.state == POOL_DEVICE_LEAVING && dev.drained && !dev.removing)) {
                control_reply(l->req, report_pool(p));
                free(l);
                return false;
        }
        if (dev.state == POOL_DEVICE_LEFT) {
                control_progress(l->req, "wiping its label", 1, 1);
                return true;
        }
        if (dev.state != POOL_DEVICE_LEAVING) {
                wait_refuse(
                    l, err_set(&err, ECANCELED, "device %s stays in pool %s", l->path, l->pool),
                    &err);
                return false;
        }
        if (dev.stuck_bytes) {
                const char *name = dev.path[0] ? dev.path : l->path;
                wait_refuse(
                    l,
                    err_set(&err, EIO,
                            "device %s: %llu bytes on it cannot be read; delete or restore the "
                            "volumes that hold them, give them up ('zonepool device give-up %s "
                            "%s' says whose they are), or keep the device ('zonepool device keep')",
                            name, (unsigned long long)dev.stuck_bytes, l->pool, name),
                    &err);
                return false;
        }
        uint64_t total = MAX(dev.leaving_bytes, dev.live_bytes);
        control_progress(l->req, dev.waiting ? "waiting for cleaning" : "moving data",
                         total - dev.live_bytes, total);
        return true;
}

static void fire(struct loop_timer *t)
{
        struct leave *l = container_of(t, struct leave, timer);
        struct loop *loop = l->d->loop;

        if (look(l))
                loop_timer_arm(loop, t, loop_now_ns(loop) + LOOK_NS);
}

/* ---- asking ---- */

static void begun(void *ctx, int status, const struct err *err)
{
        struct leave *l = ctx;

        l->p->changing--;
        if (status < 0)
                control_refuse(l->req, status, err);
        else
                control_reply(l->req, report_pool(l->p));
        free(l);
}

static struct leave *parse(struct control_request *req, struct daemon *d, uint32_t *ret_slot)
{
        struct err err = ERR_INIT;
        struct pool_device_status dev;
        const char *pool = NULL, *device = NULL;
        bool begun = false; /* it was asked to leave: if it is not there, it has left */
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("device", &device, PARAM_REQUIRED),
            PARAM_BOOL("begun", &begun, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct dpool *p = rc == 0 ? dpool_active(d, pool, &err) : NULL;

        if (rc == 0 && !p)
                rc = -err.code;
        bool gone = rc == 0 && (begun ? dpool_slot_until_gone(p, device, ret_slot, &dev)
                                      : dpool_slot_of(p, device, ret_slot, &dev)) < 0;
        if (gone && begun) {
                control_reply(req, report_pool(p));
                return NULL;
        }
        if (gone)
                rc = err_set(&err, ENOENT, "pool %s has no device %s; see 'zonepool device status'",
                             pool, device);
        struct leave *l = rc == 0 ? calloc(1, sizeof(*l)) : NULL;
        if (!l) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return NULL;
        }
        l->req = req;
        l->d = d;
        l->p = p;
        l->uuid = dev.uuid;
        strcpy(l->pool, pool);
        snprintf(l->path, sizeof(l->path), "%s", device);
        return l;
}

static void ask(struct control_request *req, struct daemon *d,
                void (*what)(struct pool *pool, uint32_t index, void *ctx,
                             void (*done)(void *ctx, int status, const struct err *err)))
{
        uint32_t slot = 0;
        struct leave *l = parse(req, d, &slot);

        if (!l)
                return;
        l->p->changing++;
        what(l->p->pool, slot, l, begun);
}

void device_remove(struct control_request *req, void *ctx)
{
        ask(req, ctx, pool_device_remove);
}

void device_evacuate(struct control_request *req, void *ctx)
{
        ask(req, ctx, pool_device_evacuate);
}

void device_keep(struct control_request *req, void *ctx)
{
        ask(req, ctx, pool_device_keep);
}

void device_wait(struct control_request *req, void *ctx)
{
        uint32_t slot = 0;
        struct leave *l = parse(req, ctx, &slot);

        if (!l)
                return;
        l->timer.fire = fire;
        if (look(l))
                loop_timer_arm(l->d->loop, &l->timer, loop_now_ns(l->d->loop) + LOOK_NS);
}
