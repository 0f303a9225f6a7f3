/* Making and deleting volumes, see dvol.h. One struct a change; p->changing counts them, so that
 * the pool is not exported under their feet.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/dvol.h"
#include "daemon/migration.h"

#include <errno.h>
#include <string.h>

struct creation {
        struct dpool *p;
        struct dvol *v;
        char name[VOLUME_NAME_MAX + 1];
        struct err err;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err, struct dvol *v);
};

void dvol_no_room(const struct dpool *p, const char *name, const char *what, struct err *err)
{
        struct pool_status st;
        char free_text[16];

        pool_get_status(p->pool, &st);
        size_format(st.available_bytes, free_text);
        err_set(err, ENOSPC,
                "volume %s/%s cannot be %s: pool %s has room for %s more, and table pages are "
                "reserved along; reserve less, delete something or add a device",
                p->spec.name, name, what, p->spec.name, free_text);
}

static void creation_end(struct creation *c, int status)
{
        c->p->changing--;
        if (status == -ENODEV && !c->err.msg[0])
                err_set(
                    &c->err, ENODEV,
                    "volume %s/%s cannot be made: the pool has fewer devices in use than copies "
                    "are asked for; add a device",
                    c->p->spec.name, c->name);
        if (status == -EMFILE && !c->err.msg[0])
                err_set(
                    &c->err, EMFILE,
                    "volume %s/%s cannot be made: a device of the pool allows too few open zones "
                    "for volumes of one more number of copies; use one of those there are",
                    c->p->spec.name, c->name);
        if (status == -ENOSPC && !c->err.msg[0])
                dvol_no_room(c->p, c->name, "made", &c->err);
        if (status < 0 && !c->err.msg[0])
                err_set_sys(&c->err, -status, "volume %s/%s cannot be made", c->p->spec.name,
                            c->name);
        c->done(c->ctx, status, &c->err, status < 0 ? NULL : c->v);
        free(c);
}

static void undone(void *ctx, int status)
{
        struct creation *c = ctx;
        int rc = -c->err.code;

        if (status < 0)
                log_error("volume", "%s/%s could not be attached, and not be removed again: %s",
                          c->p->spec.name, c->name, strerror(-status));
        creation_end(c, rc);
}

/* Not before the controller is gone, which others' work may hold up: it reads the volume. */
static void detached_for_undoing(void *ctx)
{
        struct creation *c = ctx;
        struct volume *vol = c->v->vol;

        dvol_free(steal_ptr(&c->v));
        volume_delete(vol, c, undone);
}

static void created(void *ctx, int status, struct volume *vol)
{
        struct creation *c = ctx;

        if (status == -EEXIST)
                err_set(&c->err, EEXIST, "pool %s has a volume '%s' already", c->p->spec.name,
                        c->name);
        if (status < 0) {
                creation_end(c, status);
                return;
        }
        c->v = dvol_add(c->p, vol);
        if (c->v && !c->v->error.code) {
                eventlog_emit("volume-created", "\"pool\":\"%s\",\"volume\":\"%s\"",
                              c->p->spec.name, c->name);
                creation_end(c, 0);
                return;
        }
        if (c->v) {
                c->err = c->v->error;
                dvol_detach(c->v, c, detached_for_undoing);
                return;
        }
        err_set(&c->err, ENOMEM, "out of memory");
        volume_delete(vol, c, undone);
}

static void create(struct dpool *p, struct volume *from, const struct volume_spec *spec, void *ctx,
                   void (*done)(void *ctx, int status, const struct err *err, struct dvol *v))
{
        struct creation *c = calloc(1, sizeof(*c));
        uint8_t record[OWNER_RECORD_MAX];
        struct volume_spec own = *spec;

        if (!c) {
                done(ctx, -ENOMEM, NULL, NULL);
                return;
        }
        *c = (struct creation){.p = p, .ctx = ctx, .done = done};
        strncpy(c->name, spec->name, sizeof(c->name) - 1);
        if (!own.owner) {
                own.owner = record;
                own.owner_len = migration_first_record(record);
        }
        p->changing++;
        if (from)
                volume_clone(from, &own, c, created);
        else
                volume_create(p->pool, &own, c, created);
}

void dvol_create(struct dpool *p, const struct volume_spec *spec, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err, struct dvol *v))
{
        create(p, NULL, spec, ctx, done);
}

void dvol_clone(struct dpool *p, struct volume *from, const struct volume_spec *spec, void *ctx,
                void (*done)(void *ctx, int status, const struct err *err, struct dvol *v))
{
        create(p, from, spec, ctx, done);
}

struct deletion {
        struct dvol *v;
        int status;
        struct err err;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
};

static void deleted(void *ctx, int status)
{
        struct deletion *del = ctx;
        struct dvol *v = del->v;
        struct dpool *p = v->pool;
        struct err err = ERR_INIT;

        p->changing--;
        if (status == 0) {
                list_del(&v->node);
                free(v);
        } else {
                err_set_sys(&del->err, -status, "volume %s/%s cannot be deleted", p->spec.name,
                            volume_name(v->vol));
                v->going = false;
                if (dvol_attach(v, &err) < 0)
                        v->error = err;
        }
        del->done(del->ctx, status, &del->err);
        free(del);
}

static void detached_for_deletion(void *ctx)
{
        struct deletion *del = ctx;

        eventlog_emit("volume-deleted", "\"pool\":\"%s\",\"volume\":\"%s\"",
                      del->v->pool->spec.name, volume_name(del->v->vol));
        volume_delete(del->v->vol, del, deleted);
}

void dvol_delete(struct dvol *v, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err))
{
        struct deletion *del = v->going ? NULL : calloc(1, sizeof(*del));

        if (!del) {
                done(ctx, v->going ? -EBUSY : -ENOMEM, NULL);
                return;
        }
        *del = (struct deletion){.v = v, .ctx = ctx, .done = done};
        v->pool->changing++;
        dvol_detach(v, del, detached_for_deletion);
}
