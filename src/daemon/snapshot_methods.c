/* The methods snapshot.*, see docs/control.md.
 *
 * A snapshot is taken while the volume is in use; only going back needs it idle. None of them is
 * for a volume that another host owns or that is being moved: its copies would no longer agree.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "daemon/clone.h"
#include "daemon/dvol.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { DIFF_CHANGES = 4096 };

struct snapshot_call {
        struct control_request *req;
        struct dpool *p;
        struct dvol *v; /* of a revert: held */
        char name[VOLUME_NAME_MAX + 1];
        uint64_t size_bytes; /* of a diff */
        struct volume_change changes[]; /* of a diff */
};

struct volume *snapshot_find(struct dvol *v, const char *name, struct err *err)
{
        struct volume *snap = snapshot_by_name(v->vol, name);

        if (!snap)
                err_set(err, ENOENT, "volume %s/%s has no snapshot '%.128s'", v->pool->spec.name,
                        volume_name(v->vol), name);
        return snap;
}

static json_t *report_snapshot(const struct volume *snap, const char *volume)
{
        struct snapshot_info si;
        char uuid[UUID_TEXT_LEN], parent[UUID_TEXT_LEN];

        snapshot_get_info(snap, &si);
        uuid_format(&si.uuid, uuid);
        uuid_format(&si.parent, parent);
        return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I}", "volume", volume, "name",
                         si.name, "uuid", uuid, "parent",
                         uuid_is_nil(&si.parent) ? json_null() : json_string(parent), "size_bytes",
                         (json_int_t)si.size_bytes, "allocated_bytes", (json_int_t)si.own_bytes,
                         "time", (json_int_t)si.time, "children", (json_int_t)si.children);
}

/* The pool may not be exported until it ends. */
static struct snapshot_call *begin(struct control_request *req, struct dvol *v, const char *name,
                                   size_t changes)
{
        struct snapshot_call *c = calloc(1, sizeof(*c) + changes * sizeof(struct volume_change));

        if (!c)
                return NULL;
        c->req = req;
        c->p = v->pool;
        c->v = v;
        snprintf(c->name, sizeof(c->name), "%s", name ? name : "");
        c->p->changing++;
        return c;
}

static void end(struct snapshot_call *c)
{
        c->p->changing--;
        free(c);
}

static void refuse(struct snapshot_call *c, int status, const char *what)
{
        struct err err;

        struct volume_info info;
        volume_get_info(c->v->vol, &info);
        if (status == -ENOSPC && info.reserved_bytes)
                err_set(&err, ENOSPC,
                        "snapshot '%s' cannot be %s: what is reserved for volume %s/%s is needed "
                        "once more beside what the snapshot keeps, and there is no room; reserve "
                        "less (zonepool volume reserve) or add a device",
                        c->name, what, c->p->spec.name, info.name);
        else
                err_set_sys(&err, -status, "snapshot '%s' cannot be %s", c->name, what);
        control_refuse(c->req, status, &err);
        end(c);
}

static void note(const struct snapshot_call *c, const char *what)
{
        eventlog_emit(what, "\"pool\":\"%s\",\"snapshot\":\"%s\"", c->p->spec.name, c->name);
}

/* ---- create, list ---- */

static void taken(void *ctx, int status, struct volume *snap)
{
        struct snapshot_call *c = ctx;

        if (status < 0) {
                refuse(c, status, "taken");
                return;
        }
        note(c, "snapshot-taken");
        control_reply(c->req, report_snapshot(snap, volume_name(c->v->vol)));
        end(c);
}

static void create(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL, *name = NULL;
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume),
                                              PARAM_STR("name", &name, PARAM_REQUIRED)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc == 0)
                rc = volume_name_check(name, &err);
        if (rc == 0)
                rc = migration_check(v, "snapshot", &err);
        if (rc == 0 && snapshot_by_name(v->vol, name))
                rc = err_set(&err, EEXIST, "volume %s/%s has a snapshot '%s' already", pool, volume,
                             name);
        struct snapshot_call *c = rc == 0 ? begin(req, v, name, 0) : NULL;
        if (!c) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        struct snapshot_spec spec = {.name = name, .time = (uint64_t)time(NULL)};
        random_bytes(NULL, &spec.uuid, sizeof(spec.uuid));
        uuid_from_random(&spec.uuid);
        snapshot_create(v->vol, &spec, c, taken);
}

static void list(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        struct dvol *v = NULL;
        struct volume *snap = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);

        if (rc < 0) {
                control_refuse(req, rc, &err);
                return;
        }
        json_t *array = json_array();
        while ((snap = snapshot_next(v->vol, snap)))
                json_array_append_new(array, report_snapshot(snap, volume));
        control_reply(req, json_pack("{s:o}", "snapshots", array));
}

/* ---- delete, revert ---- */

static int find_snapshot(struct control_request *req, struct daemon *d, struct dvol **ret_v,
                         struct volume **ret_snap, const char **ret_name, const char *what,
                         struct err *err)
{
        const char *pool = NULL, *volume = NULL;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume),
                                              PARAM_STR("name", ret_name, PARAM_REQUIRED)};
        int rc = dvol_of_request(req, d, table, ARRAY_SIZE(table), ret_v, err);

        if (rc == 0)
                rc = migration_check(*ret_v, what, err);
        if (rc < 0)
                return rc;
        *ret_snap = snapshot_find(*ret_v, *ret_name, err);
        return *ret_snap ? 0 : -err->code;
}

static void deleted(void *ctx, int status)
{
        struct snapshot_call *c = ctx;

        if (status < 0) {
                refuse(c, status, "deleted");
                return;
        }
        note(c, "snapshot-deleted");
        control_reply(c->req, json_object());
        end(c);
}

static void delete (struct control_request *req, void *ctx)
{
        const char *name = NULL;
        struct dvol *v = NULL;
        struct volume *snap = NULL;
        struct err err = ERR_INIT;
        int rc = find_snapshot(req, ctx, &v, &snap, &name, "delete a snapshot of", &err);
        struct snapshot_call *c = rc == 0 ? begin(req, v, name, 0) : NULL;

        if (c)
                snapshot_delete(snap, c, deleted);
        else
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
}

static void reverted(void *ctx, int status)
{
        struct snapshot_call *c = ctx;

        dvol_release(c->v);
        if (status < 0) {
                refuse(c, status, "gone back to");
                return;
        }
        note(c, "volume-reverted");
        control_reply(c->req, report_volume(c->v));
        end(c);
}

static void revert(struct control_request *req, void *ctx)
{
        const char *name = NULL;
        struct dvol *v = NULL;
        struct volume *snap = NULL;
        struct err err = ERR_INIT;
        int rc = find_snapshot(req, ctx, &v, &snap, &name, "revert", &err);

        if (rc == 0)
                rc = dvol_check_unread(v, &err);
        if (rc == 0)
                rc = dvol_hold(v, "revert", &err);
        struct snapshot_call *c = rc == 0 ? begin(req, v, name, 0) : NULL;
        if (rc == 0 && !c)
                dvol_release(v);
        if (c)
                volume_revert(v->vol, snap, c, reverted);
        else
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
}

/* ---- diff ---- */

static void diffed(void *ctx, int status, uint32_t n, uint64_t next_block)
{
        struct snapshot_call *c = ctx;

        if (status < 0) {
                refuse(c, status, "compared");
                return;
        }
        json_t *array = json_array();
        for (uint32_t i = 0; i < n; i++) {
                const struct volume_change *x = &c->changes[i];
                uint64_t start = x->block * ZP_BLOCK;
                uint64_t stop = MIN((x->block + x->nblocks) * ZP_BLOCK, c->size_bytes);
                json_array_append_new(array,
                                      json_pack("{s:I, s:I, s:b}", "offset_bytes",
                                                (json_int_t)start, "length_bytes",
                                                (json_int_t)(stop - start), "zeroes", x->zeroes));
        }
        json_t *next = next_block == UINT64_MAX ? json_null()
                                                : json_integer((json_int_t)(next_block * ZP_BLOCK));
        control_reply(c->req, json_pack("{s:o, s:o}", "changes", array, "next_offset_bytes", next));
        end(c);
}

static void diff(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL, *from = NULL, *to = NULL;
        uint64_t offset = 0;
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume),
                                              PARAM_STR("from", &from, PARAM_OPTIONAL),
                                              PARAM_STR("to", &to, PARAM_OPTIONAL),
                                              PARAM_U64("offset_bytes", &offset, PARAM_OPTIONAL)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);
        struct volume *a = NULL, *b = rc == 0 ? v->vol : NULL;

        if (rc == 0 && from && !(a = snapshot_find(v, from, &err)))
                rc = -err.code;
        if (rc == 0 && to && !(b = snapshot_find(v, to, &err)))
                rc = -err.code;
        struct snapshot_call *c = rc == 0 ? begin(req, v, from ? from : to, DIFF_CHANGES) : NULL;
        if (!c) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        c->size_bytes = volume_size_bytes(b);
        volume_diff(a, b, offset / ZP_BLOCK, c->changes, DIFF_CHANGES, c, diffed);
}

int snapshot_register_methods(struct daemon *d)
{
        static const struct {
                const char *name;
                control_handler handler;
        } methods[] = {
            {"snapshot.create", create}, {"snapshot.list", list}, {"snapshot.delete", delete},
            {"snapshot.revert", revert}, {"snapshot.diff", diff},
        };
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(methods); i++)
                rc = control_register(d->control, methods[i].name, methods[i].handler, d);
        return rc;
}
