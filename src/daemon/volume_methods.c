/* The methods volume.*, see docs/control.md. volume.clone is in clone.c, volume.delete in
 * volume_delete.c, volume.reclaim in migration.c.
 *
 * A change holds the volume (dvol_hold) while it lasts, so that nobody opens it meanwhile.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/clone.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/report.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { MAP_EXTENTS = 4096 };

/* A request about one volume, under way. */
struct change {
        struct control_request *req;
        struct dvol *v;
};

static int check_size(uint64_t size, struct err *err)
{
        if (size < VOLUME_SECTOR || size % VOLUME_SECTOR || size > VOLUME_MAX_BYTES)
                return err_set(err, EINVAL,
                               "size_bytes must be a multiple of %d, of %d to %llu (64 TiB)",
                               VOLUME_SECTOR, VOLUME_SECTOR, (unsigned long long)VOLUME_MAX_BYTES);
        return 0;
}

static int check_reserved(uint64_t reserved, uint64_t size, struct err *err)
{
        if (reserved % VOLUME_SECTOR || reserved > size)
                return err_set(err, EINVAL,
                               "reserved_bytes must be a multiple of %d, at most the volume's "
                               "size of %llu bytes",
                               VOLUME_SECTOR, (unsigned long long)size);
        return 0;
}

/* Begins a change: idle, this host's, and held. */
static int begin_change(struct control_request *req, struct dvol *v, const char *kind,
                        struct change **ret_change, struct err *err)
{
        int rc = v->error.code ? err_set(err, v->error.code, "volume %s/%s is not served: %s",
                                         v->pool->spec.name, volume_name(v->vol), v->error.msg)
                               : migration_check(v, kind, err);
        if (rc == 0)
                rc = dvol_hold(v, kind, err);
        if (rc < 0)
                return rc;
        struct change *c = calloc(1, sizeof(*c));
        if (!c) {
                dvol_release(v);
                return err_set(err, ENOMEM, "out of memory");
        }
        c->req = req;
        c->v = v;
        *ret_change = c;
        return 0;
}

/* Ends a change with the volume's new state, or why not. */
static void end_change(struct change *c, int status, const char *what)
{
        struct dvol *v = c->v;
        struct err err;

        dvol_release(v);
        if (status == -ENOSPC) {
                dvol_no_room(v->pool, volume_name(v->vol), what, &err);
                control_refuse(c->req, status, &err);
        } else if (status < 0) {
                err_set_sys(&err, -status, "volume %s/%s cannot be %s", v->pool->spec.name,
                            volume_name(v->vol), what);
                control_refuse(c->req, status, &err);
        } else {
                eventlog_emit("volume-changed", "\"pool\":\"%s\",\"volume\":\"%s\",\"what\":\"%s\"",
                              v->pool->spec.name, volume_name(v->vol), what);
                control_reply(c->req, report_volume(v));
        }
        free(c);
}

/* ---- reading ---- */

static void list(struct control_request *req, void *ctx)
{
        const char *pool = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_STR("pool", &pool, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, 1, &err);
        struct dpool *p = rc == 0 ? dpool_active(ctx, pool, &err) : NULL;
        struct dvol *v;

        if (!p) {
                control_refuse(req, -err.code, &err);
                return;
        }
        json_t *array = json_array();
        list_for_each (v, &p->volumes, node) {
                if (!v->going)
                        json_array_append_new(array, report_volume(v));
        }
        control_reply(req, json_pack("{s:o, s:o}", "volumes", array, "pool", report_pool(p)));
}

static void info(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                control_reply(req, report_volume(v));
}

struct mapping {
        struct control_request *req;
        struct volume_extent extents[MAP_EXTENTS];
        uint64_t size_bytes;
};

static json_t *extent_json(const struct mapping *m, const struct volume_extent *e)
{
        uint64_t start = e->block * ZP_BLOCK;
        uint64_t end = MIN((e->block + e->nblocks) * ZP_BLOCK, m->size_bytes);
        return json_pack("{s:I, s:I}", "offset_bytes", (json_int_t)start, "length_bytes",
                         (json_int_t)(end - start));
}

static void mapped(void *ctx, int status, uint32_t n, uint64_t next_block)
{
        struct mapping *m = ctx;

        if (status < 0) {
                control_refuse(m->req, status, NULL);
                free(m);
                return;
        }
        json_t *array = json_array();
        for (uint32_t i = 0; i < n; i++)
                json_array_append_new(array, extent_json(m, &m->extents[i]));
        json_t *next = next_block == UINT64_MAX ? json_null()
                                                : json_integer((json_int_t)(next_block * ZP_BLOCK));
        control_reply(m->req, json_pack("{s:o, s:o}", "extents", array, "next_offset_bytes", next));
        free(m);
}

static void map(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        uint64_t offset = 0;
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume),
                                              PARAM_U64("offset_bytes", &offset, PARAM_OPTIONAL)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);
        struct mapping *m = rc == 0 ? calloc(1, sizeof(*m)) : NULL;

        if (!m) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        m->req = req;
        m->size_bytes = volume_size_bytes(v->vol);
        volume_map(v->vol, offset / ZP_BLOCK, m->extents, MAP_EXTENTS, m, mapped);
}

/* ---- making ---- */

static void created(void *ctx, int status, const struct err *err, struct dvol *v)
{
        struct control_request *req = ctx;

        if (status < 0)
                control_refuse(req, status, err);
        else
                control_reply(req, report_volume(v));
}

int volume_create_check(struct daemon *d, const char *pool, const char *name, uint64_t size,
                        struct dpool **ret_pool, struct err *err)
{
        char path[PATH_MAX];
        int rc = volume_name_check(name, err);

        if (rc == 0)
                rc = check_size(size, err);
        if (rc < 0)
                return rc;
        struct dpool *p = dpool_active(d, pool, err);
        if (!p)
                return -err->code;
        rc = dvol_socket_path(d, pool, name, path, sizeof(path), err);
        if (rc == 0 && volume_by_name(p->pool, name))
                rc = err_set(err, EEXIST, "pool %s has a volume '%s' already", pool, name);
        if (rc == 0)
                *ret_pool = p;
        return rc;
}

static void create(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *name = NULL;
        uint64_t size = 0, copies = 1, reserved = 0;
        struct uuid uuid = {0};
        struct dpool *p = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("name", &name, PARAM_REQUIRED),
            PARAM_U64("size_bytes", &size, PARAM_REQUIRED),
            PARAM_UUID("uuid", &uuid, PARAM_OPTIONAL),
            PARAM_U64("copies", &copies, PARAM_OPTIONAL),
            PARAM_U64("reserved_bytes", &reserved, PARAM_OPTIONAL)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc == 0)
                rc = copies_check(copies, &err);
        if (rc == 0)
                rc = volume_create_check(ctx, pool, name, size, &p, &err);
        if (rc == 0 && !json_object_get(control_params(req), "copies"))
                copies = p->spec.copies;
        if (rc == 0)
                rc = check_reserved(reserved, size, &err);
        if (rc < 0) {
                control_refuse(req, rc, &err);
                return;
        }
        if (uuid_is_nil(&uuid)) {
                random_bytes(NULL, &uuid, sizeof(uuid));
                uuid_from_random(&uuid);
        }
        const struct volume_spec spec = {.name = name,
                                         .uuid = uuid,
                                         .size_bytes = size,
                                         .copies = (uint8_t)copies,
                                         .reserved_bytes = reserved};
        dvol_create(p, &spec, req, created);
}

/* ---- changing ---- */

static void resized(void *ctx, int status)
{
        end_change(ctx, status, "resized");
}

static void resize(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        struct volume_size to = {.reserved_bytes = VOLUME_KEEP};
        struct dvol *v = NULL;
        struct change *c = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {
            POOL_AND_VOLUME(pool, volume), PARAM_U64("size_bytes", &to.size_bytes, PARAM_REQUIRED),
            PARAM_BOOL("shrink", &to.shrink, PARAM_OPTIONAL),
            PARAM_U64("reserved_bytes", &to.reserved_bytes, PARAM_OPTIONAL)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc == 0)
                rc = check_size(to.size_bytes, &err);
        if (rc == 0 && to.reserved_bytes != VOLUME_KEEP)
                rc = check_reserved(to.reserved_bytes, to.size_bytes, &err);
        if (rc == 0 && to.size_bytes < volume_size_bytes(v->vol) && !to.shrink)
                rc = err_set(&err, EINVAL,
                             "volume %s/%s has %llu bytes and cannot shrink to %llu without "
                             "--shrink: what lies behind its new end would be lost",
                             pool, volume, (unsigned long long)volume_size_bytes(v->vol),
                             (unsigned long long)to.size_bytes);
        if (rc == 0 && to.size_bytes < volume_size_bytes(v->vol))
                rc = dvol_check_unread(v, &err);
        if (rc == 0)
                rc = begin_change(req, v, "resize", &c, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                volume_set_size(v->vol, &to, c, resized);
}

/* In use or not: what it asks of the volume is that writes stand still for a moment. */
static void reserved(void *ctx, int status)
{
        struct change *c = ctx;
        struct dvol *v = c->v;
        struct err err;

        v->pool->changing--;
        if (status < 0) {
                if (status == -ENOSPC)
                        dvol_no_room(v->pool, volume_name(v->vol), "given that reservation", &err);
                else
                        err_set_sys(&err, -status, "volume %s/%s cannot be given that reservation",
                                    v->pool->spec.name, volume_name(v->vol));
                control_refuse(c->req, status, &err);
        } else {
                eventlog_emit("volume-changed",
                              "\"pool\":\"%s\",\"volume\":\"%s\",\"what\":\"reserved\"",
                              v->pool->spec.name, volume_name(v->vol));
                control_reply(c->req, report_volume(v));
        }
        free(c);
}

static void reserve(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        struct volume_size to = {0};
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {
            POOL_AND_VOLUME(pool, volume),
            PARAM_U64("reserved_bytes", &to.reserved_bytes, PARAM_REQUIRED)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc == 0)
                rc = check_reserved(to.reserved_bytes, volume_size_bytes(v->vol), &err);
        if (rc == 0)
                rc = migration_check(v, "reserve", &err);
        struct change *c = rc == 0 ? calloc(1, sizeof(*c)) : NULL;
        if (!c) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        *c = (struct change){req, v};
        v->pool->changing++;
        volume_set_size(v->vol, &to, c, reserved);
}

static void wiped(void *ctx, int status)
{
        end_change(ctx, status, "wiped");
}

static void wipe(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        struct dvol *v = NULL;
        struct change *c = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc == 0)
                rc = begin_change(req, v, "wipe", &c, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                volume_clear(v->vol, c, wiped);
}

int volume_register_methods(struct daemon *d)
{
        static const struct {
                const char *name;
                control_handler handler;
        } methods[] = {
            {"volume.create", create},
            {"volume.list", list},
            {"volume.info", info},
            {"volume.resize", resize},
            {"volume.delete", volume_delete_method},
            {"volume.wipe", wipe},
            {"volume.map", map},
            {"volume.clone", volume_clone_method},
            {"volume.reserve", reserve},
        };
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(methods); i++)
                rc = control_register(d->control, methods[i].name, methods[i].handler, d);
        return rc < 0 ? rc : snapshot_register_methods(d);
}
