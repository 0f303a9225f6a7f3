/* Cloning a volume, see clone.h: one record of the pool, whatever the size. A volume in use is
 * cloned as it is at one moment, as if power had failed then. */
#include "daemon/clone.h"

#include "base/cleanup.h"
#include "base/eventlog.h"
#include "daemon/dvol.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/report.h"

#include <errno.h>

static void cloned(void *ctx, int status, const struct err *err, struct dvol *v)
{
        struct control_request *req = ctx;

        if (status < 0) {
                control_refuse(req, status, err);
                return;
        }
        eventlog_emit("volume-cloned", "\"pool\":\"%s\",\"volume\":\"%s\"", v->pool->spec.name,
                      volume_name(v->vol));
        control_reply(req, report_volume(v));
}

static int prepare(struct control_request *req, struct daemon *d, struct dpool **ret_pool,
                   struct volume **ret_from, struct volume_spec *spec, struct err *err)
{
        const char *pool = NULL, *source = NULL, *snapshot = NULL;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("name", &spec->name, PARAM_REQUIRED),
            PARAM_STR("source", &source, PARAM_REQUIRED),
            PARAM_STR("snapshot", &snapshot, PARAM_OPTIONAL),
            PARAM_U64("size_bytes", &spec->size_bytes, PARAM_OPTIONAL),
            PARAM_U64("reserved_bytes", &spec->reserved_bytes, PARAM_OPTIONAL),
            PARAM_UUID("uuid", &spec->uuid, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), err);
        struct dpool *p = rc == 0 ? dpool_active(d, pool, err) : NULL;
        struct dvol *v = p ? dvol_find(p, source, err) : NULL;
        struct volume *from = v ? v->vol : NULL;

        if (v && snapshot)
                from = snapshot_find(v, snapshot, err);
        if (!from)
                return -err->code;
        if (!spec->size_bytes)
                spec->size_bytes = volume_size_bytes(from);
        if (spec->size_bytes < volume_size_bytes(from))
                return err_set(err, EINVAL, "a clone of %s/%s must have at least its %llu bytes",
                               pool, source, (unsigned long long)volume_size_bytes(from));
        rc = volume_create_check(d, pool, spec->name, spec->size_bytes, ret_pool, err);
        if (rc == 0)
                rc = migration_check(v, "clone", err);
        *ret_from = from;
        return rc;
}

void volume_clone_method(struct control_request *req, void *ctx)
{
        struct volume_spec spec = {0};
        struct volume *from = NULL;
        struct dpool *p = NULL;
        struct err err = ERR_INIT;
        int rc = prepare(req, ctx, &p, &from, &spec, &err);

        if (rc < 0) {
                control_refuse(req, rc, &err);
                return;
        }
        if (uuid_is_nil(&spec.uuid)) {
                random_bytes(NULL, &spec.uuid, sizeof(spec.uuid));
                uuid_from_random(&spec.uuid);
        }
        dvol_clone(p, from, &spec, req, cloned);
}
