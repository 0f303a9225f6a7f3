/* volume.delete, see docs/control.md: a volume that nobody uses, and its snapshots if that is asked
 * for. Clones of either are volumes of their own and stay what they are: the pool keeps what they
 * share (pool/table/chain.c).
 *
 * Crash behaviour: the snapshots go first, each by a record of its own; what a crash leaves is the
 * volume with some of them, or none, and the deletion may be asked for again.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "daemon/clone.h"
#include "daemon/dvol.h"
#include "daemon/migration.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_SHOWN = 200 }; /* bytes of the list in a refusal */

struct removal {
        struct control_request *req;
        struct dvol *v; /* held */
        uint32_t left; /* snapshots that are being deleted, and one for who starts them */
        int status; /* of the first that failed */
};

struct snapshot_removal {
        struct removal *r;
        char name[VOLUME_NAME_MAX + 1];
};

static void deleted(void *ctx, int status, const struct err *err)
{
        struct control_request *req = ctx;

        if (status < 0)
                control_refuse(req, status, err);
        else
                control_reply(req, json_pack("{s:b}", "pending", 0));
}

static void may_delete(void *ctx, int status, const struct err *err)
{
        struct removal *r = ctx;
        struct control_request *req = r->req;
        struct dvol *v = r->v;

        free(r);
        if (status == 0) {
                dvol_delete(v, req, deleted);
                return;
        }
        dvol_release(v);
        if (status == -EINPROGRESS)
                control_reply(req, json_pack("{s:b}", "pending", 1));
        else
                control_refuse(req, status, err);
}

/* ---- snapshots ---- */

static void one_less(struct removal *r)
{
        struct err err = ERR_INIT;

        if (--r->left)
                return;
        if (r->status == 0) {
                migration_before_delete(r->v, r, may_delete);
                return;
        }
        err_set_sys(&err, -r->status, "the snapshots of volume %s/%s cannot be deleted",
                    r->v->pool->spec.name, volume_name(r->v->vol));
        dvol_release(r->v);
        control_refuse(r->req, r->status, &err);
        free(r);
}

static void snapshot_deleted(void *ctx, int status)
{
        struct snapshot_removal *s = ctx;
        struct removal *r = s->r;

        if (status == 0)
                eventlog_emit("snapshot-deleted", "\"pool\":\"%s\",\"snapshot\":\"%s\"",
                              r->v->pool->spec.name, s->name);
        else if (r->status == 0)
                r->status = status;
        free(s);
        one_less(r);
}

/* All at once: they become durable together. */
static void delete_snapshots(struct removal *r)
{
        struct volume *snap = NULL;
        struct snapshot_info info;

        while ((snap = snapshot_next(r->v->vol, snap))) {
                struct snapshot_removal *s = calloc(1, sizeof(*s));

                if (!s) {
                        r->status = r->status ? r->status : -ENOMEM;
                        break;
                }
                snapshot_get_info(snap, &info);
                s->r = r;
                strcpy(s->name, info.name);
                r->left++;
                snapshot_delete(snap, s, snapshot_deleted);
        }
        one_less(r);
}

/* Names as many as fit. */
static int refuse_for_snapshots(const struct dvol *v, struct err *err)
{
        const char *pool = v->pool->spec.name, *volume = volume_name(v->vol);
        struct volume *snap = NULL;
        struct snapshot_info info;
        char names[NAMES_SHOWN + 1] = "";
        unsigned n = 0, hidden = 0;

        for (; (snap = snapshot_next(v->vol, snap)); n++) {
                size_t len = strlen(names);

                snapshot_get_info(snap, &info);
                if (hidden || len + strlen(info.name) + 2 > NAMES_SHOWN)
                        hidden++;
                else
                        snprintf(names + len, sizeof(names) - len, "%s%s", n ? ", " : "",
                                 info.name);
        }
        if (hidden)
                return err_set(err, EBUSY,
                               "volume %s/%s has %u snapshots: %s and %u more; delete them first "
                               "(zonepool snapshot delete), or with it (--delete-snapshots)",
                               pool, volume, n, names, hidden);
        return err_set(err, EBUSY,
                       "volume %s/%s has %u snapshot%s: %s; delete %s first (zonepool snapshot "
                       "delete), or with it (--delete-snapshots)",
                       pool, volume, n, n == 1 ? "" : "s", names, n == 1 ? "it" : "them");
}

/* ---- the method ---- */

void volume_delete_method(struct control_request *req, void *ctx)
{
        const char *pool = NULL, *volume = NULL;
        bool snapshots = false;
        struct dvol *v = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {POOL_AND_VOLUME(pool, volume),
                                              PARAM_BOOL("snapshots", &snapshots, PARAM_OPTIONAL)};
        int rc = dvol_of_request(req, ctx, table, ARRAY_SIZE(table), &v, &err);
        struct removal *r = rc == 0 ? calloc(1, sizeof(*r)) : NULL;
        bool has = rc == 0 && snapshot_next(v->vol, NULL);

        if (rc == 0 && !r)
                rc = -ENOMEM;
        if (rc == 0)
                rc = dvol_check_unread(v, &err);
        if (rc == 0 && has)
                rc = snapshots ? migration_check(v, "delete the snapshots of", &err)
                               : refuse_for_snapshots(v, &err);
        if (rc == 0)
                rc = dvol_hold(v, "delete", &err);
        if (rc < 0) {
                free(r);
                control_refuse(req, rc, &err);
                return;
        }
        *r = (struct removal){.req = req, .v = v, .left = 1};
        delete_snapshots(r);
}
