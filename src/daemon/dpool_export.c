/* Exporting a pool: detach every volume, checkpoint, close; see dpool.h. */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/dpool.h"
#include "daemon/dvol.h"
#include "daemon/migration.h"
#include "frontend/fuse/fuse_front.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct export
{
        struct dpool *p;
        unsigned detaching; /* volumes still to come, and one for the loop that starts them */
        int status;
        struct err err;
        struct loop_defer finish;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
};

int dpool_check_idle(const struct dpool *p, struct err *err)
{
        struct dvol *v;

        if (p->state == DPOOL_IMPORTING || p->state == DPOOL_EXPORTING)
                return err_set(err, EBUSY, "pool %s is %s", p->spec.name,
                               dpool_state_name(p->state));
        if (p->changing)
                return err_set(err, EBUSY,
                               "pool %s: %u changes of volumes or devices are under way",
                               p->spec.name, p->changing);
        list_for_each (v, &p->volumes, node) {
                int rc = dvol_check_unread(v, err);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

static void finish(struct loop_defer *defer)
{
        struct export *ex = container_of(defer, struct export, finish);
        struct dpool *p = ex->p;
        char dir[PATH_MAX];

        if (p->pool || ex->status < 0) {
                log_info("pool", "%s exported%s%s", p->spec.name,
                         ex->status < 0 ? ", but its last checkpoint failed: " : "",
                         ex->status < 0 ? ex->err.msg : "");
                eventlog_emit("pool-exported", "\"pool\":\"%s\",\"errno\":%d", p->spec.name,
                              -ex->status);
        }
        snprintf(dir, sizeof(dir), "%s/%s", p->daemon->cfg.rundir, p->spec.name);
        if (rmdir(dir) < 0)
                log_debug("pool", "%s stays", dir);
        p->pool = NULL;
        dpool_free(p);
        ex->done(ex->ctx, ex->status, &ex->err);
        free(ex);
}

static void exported(void *ctx, int status)
{
        struct export *ex = ctx;

        dpool_stop_ticking(ex->p);
        ex->status = status;
        if (status < 0)
                err_set_sys(&ex->err, -status,
                            "pool %s: the last checkpoint failed, the next import will recover",
                            ex->p->spec.name);
        loop_defer(ex->p->daemon->loop, &ex->finish);
}

static void one_detached(struct export *ex)
{
        struct dpool *p = ex->p;
        struct dvol *v;

        if (--ex->detaching > 0)
                return;
        while ((v = list_first(&p->volumes, struct dvol, node)))
                dvol_free(v);
        migration_pool_gone(p);
        if (p->daemon->fuse && p->pool)
                fuse_front_remove_pool(p->daemon->fuse, p->spec.name);
        if (p->pool)
                pool_export(p->pool, ex, exported);
        else
                loop_defer(p->daemon->loop, &ex->finish);
}

static void detached(void *ctx)
{
        one_detached(ctx);
}

void dpool_export(struct dpool *p, void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err))
{
        struct export *ex = calloc(1, sizeof(*ex));
        struct dvol *v;

        if (!ex) {
                struct err err;
                err_set(&err, ENOMEM, "pool %s: out of memory", p->spec.name);
                done(ctx, -ENOMEM, &err);
                return;
        }
        *ex = (struct export){
            .p = p, .detaching = 1, .finish = {.call = finish}, .ctx = ctx, .done = done};
        p->state = DPOOL_EXPORTING;
        list_for_each (v, &p->volumes, node) {
                ex->detaching++;
                dvol_detach(v, ex, detached);
        }
        one_detached(ex);
}
