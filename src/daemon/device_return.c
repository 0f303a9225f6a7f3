/* device.return: a member that was lost and is there again goes on. And what does so by itself: a
 * listed device that is missing is looked for every few seconds, which costs one look at its path;
 * what is there then tells by its label whether it is the one.
 *
 * One that fails without vanishing (it answers with errors) is not taken back by itself: a person
 * says when it is mended. */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/device_methods.h"
#include "daemon/devices.h"
#include "daemon/dpool.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>

#define LOOK_NS UINT64_C(2000000000)

struct comeback {
        struct dpool *p;
        struct control_request *req; /* NULL: nobody asked */
        char *path;
        struct zdev *dev; /* NULL: the pool's, or never opened */
        bool listed; /* for this */
        int status;
        struct err err;
        struct loop_defer finish; /* devices are closed from here */
};

/* Said once: it is tried again and again. */
static void tell_refusal(struct comeback *c)
{
        struct dpool *p = c->p;

        if (c->status == -EAGAIN || !strcmp(p->not_back, c->err.msg))
                return;
        snprintf(p->not_back, sizeof(p->not_back), "%s", c->err.msg);
        log_warn("pool", "%s: %s is not taken back: %s", p->spec.name, c->path, c->err.msg);
}

static void finish(struct loop_defer *defer)
{
        struct comeback *c = container_of(defer, struct comeback, finish);
        struct dpool *p = c->p;

        p->changing--;
        p->joining = NULL;
        if (c->status < 0) {
                zdev_close(c->dev);
                if (c->listed)
                        dpool_device_unlisted(p, c->path);
        }
        if (c->status < 0 && c->req)
                control_refuse(c->req, c->status, &c->err);
        else if (c->status < 0)
                tell_refusal(c);
        else if (c->req)
                control_reply(c->req, report_pool(p));
        free(c->path);
        free(c);
}

static void returned(void *ctx, int status, const struct err *err, uint32_t index)
{
        struct comeback *c = ctx;
        struct dpool *p = c->p;
        struct pool_device_status dev;
        uint32_t slot;

        c->status = status;
        if (err)
                c->err = *err;
        bool has = dpool_slot_of(p, c->path, &slot, &dev) == 0 && !dev.missing;
        if (status == 0) {
                log_info("pool", "%s: device %s is back", p->spec.name, c->path);
                eventlog_emit("device-returned", "\"pool\":\"%s\",\"path\":\"%s\"", p->spec.name,
                              c->path);
                p->not_back[0] = '\0';
                dpool_devices_save(p);
        }
        if (has) { /* read-only by now: the pool has it all the same */
                c->dev = NULL;
                c->listed = false;
        }
        loop_defer(p->daemon->loop, &c->finish);
}

static bool is_listed(const struct dpool *p, const char *path)
{
        for (uint32_t i = 0; i < p->spec.ndevices; i++)
                if (!strcmp(p->spec.devices[i], path))
                        return true;
        return false;
}

/* What the pool has of it goes first: the device is locked by that. */
static int let_go(struct dpool *p, const char *path, struct err *err)
{
        struct pool_device_status dev;
        uint32_t slot;

        if (dpool_slot_of(p, path, &slot, &dev) < 0 || dev.missing)
                return 0;
        return pool_device_detach(p->pool, slot, err);
}

static int open_it(struct comeback *c, struct err *err)
{
        struct dpool *p = c->p;
        int rc = let_go(p, c->path, err);

        if (rc == 0)
                rc = device_open(p->daemon->loop, c->path, &c->dev, err);
        if (rc == 0 && !is_listed(p, c->path)) {
                rc = dpool_device_listed(p, c->path, err);
                c->listed = rc == 0;
        }
        return rc;
}

/* Answers, or tells, in the end. */
static void begin(struct dpool *p, const char *path, struct control_request *req)
{
        struct comeback *c = calloc(1, sizeof(*c));

        if (c)
                c->path = strdup(path);
        if (!c || !c->path) {
                free(c);
                if (req)
                        control_refuse(req, -ENOMEM, NULL);
                return;
        }
        c->p = p;
        c->req = req;
        c->finish.call = finish;
        p->changing++;
        p->joining = c->path;
        c->status = open_it(c, &c->err);
        if (c->status < 0)
                loop_defer(p->daemon->loop, &c->finish);
        else
                pool_device_return(p->pool, c->dev, c, returned);
}

/* One that vanished is missing from the moment something is at its path again. */
void device_return_look(struct dpool *p)
{
        struct pool_device_status dev;
        struct pool_status st;
        uint64_t now = loop_now_ns(p->daemon->loop);

        if (p->state != DPOOL_ACTIVE || p->joining || p->daemon->stopping || now < p->look_ns)
                return;
        p->look_ns = now + LOOK_NS;
        pool_get_status(p->pool, &st);
        for (uint32_t i = 0; i < st.ndevices && !st.readonly; i++) {
                dpool_device_status(p, p->pool, i, &dev);
                bool gone = dev.missing || dev.error == -ENODEV;
                if (dev.state > POOL_DEVICE_LEAVING || !gone || !dev.path[0] ||
                    !device_may_be_member(dev.path))
                        continue;
                begin(p, dev.path, NULL);
                return;
        }
}

void device_return(struct control_request *req, void *ctx)
{
        struct err err = ERR_INIT;
        struct pool_device_status dev;
        const char *pool = NULL, *device = NULL;
        uint32_t slot;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("device", &device, PARAM_REQUIRED),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct dpool *p = rc == 0 ? dpool_active(ctx, pool, &err) : NULL;

        if (rc == 0 && !p)
                rc = -err.code;
        if (rc == 0 && p->joining)
                rc = err_set(&err, EBUSY,
                             "pool %s: device %s is being added; try again when it is done", pool,
                             p->joining);
        if (rc == 0 && dpool_slot_of(p, device, &slot, &dev) == 0)
                device = dev.path;
        if (rc == 0 && (device[0] != '/' || strlen(device) > 255))
                rc = err_set(&err, EINVAL,
                             "where device '%.80s' is now is not known: give its path", device);
        struct dpool *other = rc == 0 ? dpool_of_device(ctx, device) : NULL;
        if (other && other != p)
                rc = err_set(&err, EBUSY, "device %s is in use by pool %s", device,
                             other->spec.name);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                begin(p, device, req);
}
