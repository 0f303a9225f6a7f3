/* device.lost, device.give_up: what keeps a device from leaving because nobody can read it, and the
 * operator's word that it is lost. */
#include "daemon/daemon.h"
#include "daemon/device_methods.h"
#include "daemon/dpool.h"
#include "daemon/report.h"

#include "base/eventlog.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

struct call {
        struct control_request *req;
        struct dpool *p;
        uint32_t slot;
        uint64_t bytes;
        struct pool_device_status dev;
};

static struct call *parse(struct control_request *req, struct daemon *d, bool wants_bytes)
{
        struct err err = ERR_INIT;
        const char *pool = NULL, *device = NULL;
        struct call *c = calloc(1, sizeof(*c));
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("device", &device, PARAM_REQUIRED),
            PARAM_U64("bytes", c ? &c->bytes : NULL, PARAM_REQUIRED),
        };
        int rc = c ? control_parse(control_params(req), table, wants_bytes ? 3 : 2, &err) : -ENOMEM;
        struct dpool *p = rc == 0 ? dpool_active(d, pool, &err) : NULL;

        if (rc == 0 && !p)
                rc = -err.code;
        if (rc == 0 && dpool_slot_of(p, device, &c->slot, &c->dev) < 0)
                rc = err_set(&err, ENOENT, "pool %s has no device %s; see 'zonepool device status'",
                             pool, device);
        if (rc == 0 && c->dev.state != POOL_DEVICE_LEAVING)
                rc = err_set(&err, EINVAL,
                             "device %s is not leaving pool %s: have it removed or replaced first, "
                             "and what can be read is saved",
                             c->dev.path, pool);
        if (rc < 0) {
                control_refuse(req, rc, &err);
                free(c);
                return NULL;
        }
        c->req = req;
        c->p = p;
        p->changing++;
        return c;
}

/* ---- whose it is ---- */

static json_t *found(const struct pool_lost *l, const char *volume, const char *snapshot)
{
        char uuid[UUID_TEXT_LEN];

        uuid_format(&l->uuid, uuid);
        return json_pack("{s:s?, s:s?, s:s, s:I}", "volume", volume, "snapshot", snapshot, "uuid",
                         uuid, "bytes", (json_int_t)l->bytes);
}

static json_t *named(struct pool *pool, const struct pool_lost *l)
{
        struct volume *vol = NULL, *snap;

        while ((vol = volume_next(pool, vol))) {
                if (uuid_equal(volume_uuid(vol), &l->uuid))
                        return found(l, volume_name(vol), NULL);
                for (snap = snapshot_next(vol, NULL); snap; snap = snapshot_next(vol, snap))
                        if (uuid_equal(volume_uuid(snap), &l->uuid))
                                return found(l, volume_name(vol), volume_name(snap));
        }
        return found(l, NULL, NULL); /* what clones see of something deleted */
}

static void listed(void *ctx, int status, const struct pool_lost *lost, uint32_t n)
{
        struct call *c = ctx;
        json_t *array = json_array();

        c->p->changing--;
        for (uint32_t i = 0; i < n; i++)
                json_array_append_new(array, named(c->p->pool, &lost[i]));
        pool_get_device_status(c->p->pool, c->slot, &c->dev);
        if (status < 0)
                control_refuse(c->req, status, NULL);
        else
                control_reply(c->req,
                              json_pack("{s:I, s:O}", "stuck_bytes", (json_int_t)c->dev.stuck_bytes,
                                        "lost", array));
        json_decref(array);
        free(c);
}

void device_lost(struct control_request *req, void *ctx)
{
        struct call *c = parse(req, ctx, false);

        if (c)
                pool_device_lost(c->p->pool, c->slot, c, listed);
}

/* ---- giving it up ---- */

static void given_up(void *ctx, int status, const struct err *err)
{
        struct call *c = ctx;
        const char *pool = c->p->spec.name;

        c->p->changing--;
        if (status < 0) {
                control_refuse(c->req, status, err);
        } else {
                log_warn("pool", "%s: up to %llu bytes of device %s are given up", pool,
                         (unsigned long long)c->bytes, c->dev.path);
                eventlog_emit("device-given-up", "\"pool\":\"%s\",\"path\":\"%s\",\"bytes\":%llu",
                              pool, c->dev.path, (unsigned long long)c->bytes);
                control_reply(c->req, report_pool(c->p));
        }
        free(c);
}

void device_give_up(struct control_request *req, void *ctx)
{
        struct call *c = parse(req, ctx, true);

        if (c)
                pool_device_give_up(c->p->pool, c->slot, c->bytes, c, given_up);
}
