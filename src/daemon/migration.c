/* Ownership and migration of the daemon's volumes, see migration.h. */
#include "daemon/migration.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "migrate/migrate.h"
#include "nvme/subsystem.h"

#include <errno.h>
#include <stdlib.h>

struct migration {
        struct daemon *daemon;
        struct nvme_target *target;
        struct migrate *engine;
        bool stopped;
};

struct migrate *migration_engine(struct daemon *d)
{
        return d->migration->engine;
}

bool migration_importing(const struct daemon *d)
{
        const struct dpool *p;

        list_for_each (p, &d->pools, node)
                if (p->state == DPOOL_IMPORTING)
                        return true;
        return false;
}

/* ---- what src/migrate asks of the daemon ---- */

static bool importing(void *ctx)
{
        return migration_importing(ctx);
}

static struct pool *pool_by_name(void *ctx, const char *name)
{
        struct dpool *p = dpool_active(ctx, name, NULL);

        return p ? p->pool : NULL;
}

static uint32_t pool_peers(void *ctx, const char *pool, const char **out, uint32_t max)
{
        struct dpool *p = dpool_active(ctx, pool, NULL);
        uint32_t n = 0;

        while (p && n < p->spec.npeers && n < max) {
                out[n] = p->spec.peers[n];
                n++;
        }
        return n;
}

struct create_op {
        void *cb;
        void (*done)(void *cb, int status, const struct err *err, struct migrate_volume *v);
};

static void created(void *ctx, int status, const struct err *err, struct dvol *v)
{
        struct create_op *op = ctx;

        op->done(op->cb, status, err, status < 0 ? NULL : v->migrate);
        free(op);
}

static void volume_create_op(void *ctx, struct pool *pool, const struct volume_spec *spec, void *cb,
                             void (*done)(void *cb, int status, const struct err *err,
                                          struct migrate_volume *v))
{
        struct daemon *d = ctx;
        struct create_op *op = calloc(1, sizeof(*op));
        struct dpool *p;

        list_for_each (p, &d->pools, node) {
                if (p->pool != pool || !op)
                        continue;
                *op = (struct create_op){cb, done};
                dvol_create(p, spec, op, created);
                return;
        }
        free(op);
        done(cb, -ENOMEM, NULL, NULL);
}

struct delete_op {
        void *cb;
        void (*done)(void *cb, int status);
};

static void deleted(void *ctx, int status, const struct err *err)
{
        struct delete_op *op = ctx;

        if (status < 0)
                log_warn("migrate", "%s", err_text(err, status));
        op->done(op->cb, status);
        free(op);
}

static void volume_delete_op(void *ctx, struct migrate_volume *mv, void *cb,
                             void (*done)(void *cb, int status))
{
        struct delete_op *op = calloc(1, sizeof(*op));

        if (!op) {
                done(cb, -ENOMEM);
                return;
        }
        *op = (struct delete_op){cb, done};
        dvol_delete(dvol_of(migrate_volume_volume(mv)), op, deleted);
}

/* ---- life ---- */

int migration_start(struct daemon *d, struct err *err)
{
        struct migration *m = calloc(1, sizeof(*m));
        const struct migrate_host_ops host = {
            .pool_by_name = pool_by_name,
            .pool_peers = pool_peers,
            .volume_create = volume_create_op,
            .volume_delete = volume_delete_op,
            .importing = importing,
            .ctx = d,
        };

        if (!m)
                return err_set(err, ENOMEM, "out of memory");
        int rc = nvme_target_soft(d->nvm, &m->target);
        if (rc < 0) {
                free(m);
                return err_set(err, -rc, "out of memory");
        }
        const struct migrate_settings settings = {
            .loop = d->loop,
            .host_uuid = d->host_uuid,
            .incarnation = d->incarnation,
            .target = m->target,
            .listen = d->cfg.insecure_lab_transport ? d->cfg.peer_listen : NULL,
            .advertise = d->cfg.peer_address,
            .insecure_lab_transport = d->cfg.insecure_lab_transport,
            .max_pause_ns = d->cfg.max_pause_ms * 1000000,
            .pause_budget_ns = d->cfg.pause_budget_ms * 1000000,
        };
        rc = migrate_new(&settings, &host, &m->engine, err);
        if (rc < 0) {
                nvme_target_close(m->target);
                free(m);
                return rc;
        }
        if (d->cfg.peer_listen[0] && !d->cfg.insecure_lab_transport)
                log_warn("migrate",
                         "not listening on %s: there is no TLS yet, and plain TCP needs "
                         "insecure_lab_transport = 1",
                         d->cfg.peer_listen);
        m->daemon = d;
        d->migration = m;
        rc = migration_register_methods(d);
        return rc < 0 ? err_set(err, -rc, "out of memory") : 0;
}

static void stopped(void *ctx)
{
        struct migration *m = ctx;

        m->stopped = true;
}

void migration_stop(struct daemon *d)
{
        migrate_stop(d->migration->engine, d->migration, stopped);
}

bool migration_stopped(const struct daemon *d)
{
        return d->migration->stopped;
}

void migration_free(struct daemon *d)
{
        struct migration *m = steal_ptr(&d->migration);

        if (!m)
                return;
        migrate_free(m->engine);
        nvme_target_close(m->target);
        free(m);
}

/* ---- volumes and pools ---- */

int migration_attach(struct dvol *v, struct err *err)
{
        const struct migrate_volume_spec spec = {
            .pool_name = v->pool->spec.name,
            .vol = v->vol,
            .controller = v->nvc,
            .nsid = nvc_nsid(v->nvc),
        };
        int rc = migrate_volume_add(v->pool->daemon->migration->engine, &spec, &v->migrate, err);

        if (rc == 0)
                v->owner = owner_volume_observer(migrate_volume_owner(v->migrate));
        return rc;
}

bool migration_detach(struct dvol *v)
{
        if (!v->migrate)
                return true;
        if (migrate_volume_remove(v->migrate, true, NULL) < 0)
                return false;
        v->migrate = NULL;
        v->owner = (struct front_observer){0};
        nvc_gate_set(v->nvc, false);
        return true;
}

void migration_pool_ready(struct dpool *p)
{
        migration_seed_domains(p->daemon);
        owner_pool_ready(migrate_owner(p->daemon->migration->engine), p->spec.name);
}

void migration_pool_gone(struct dpool *p)
{
        owner_pool_gone(migrate_owner(p->daemon->migration->engine), p->spec.name);
}

size_t migration_first_record(uint8_t buf[OWNER_RECORD_MAX])
{
        return owner_record_initial(buf);
}

void migration_volume_info(const struct dvol *v, struct migration_info *ret_info)
{
        struct owner_info info;

        if (!v->migrate) {
                *ret_info = (struct migration_info){.state = "UNKNOWN"};
                return;
        }
        owner_volume_info(migrate_volume_owner(v->migrate), &info);
        *ret_info = (struct migration_info){
            .state = owner_state_name(info.state),
            .epoch = info.epoch,
            .hidden = info.hidden,
            .migrating = info.migrating,
        };
        memcpy(ret_info->peer, info.peer, sizeof(ret_info->peer));
}

int migration_check(const struct dvol *v, const char *what, struct err *err)
{
        return v->migrate ? owner_volume_check(migrate_volume_owner(v->migrate), what, err) : 0;
}

struct before_delete {
        struct owner_request r;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
};

static void may_delete(struct owner_request *r, int status, const struct err *err)
{
        struct before_delete *b = container_of(r, struct before_delete, r);

        b->done(b->ctx, status, err);
        free(b);
}

void migration_before_delete(struct dvol *v, void *ctx,
                             void (*done)(void *ctx, int status, const struct err *err))
{
        struct before_delete *b = v->migrate ? calloc(1, sizeof(*b)) : NULL;

        if (!b) { /* a volume that is not attached has no copies that are known */
                done(ctx, v->migrate ? -ENOMEM : 0, NULL);
                return;
        }
        *b = (struct before_delete){.r.done = may_delete, .ctx = ctx, .done = done};
        owner_delete(migrate_volume_owner(v->migrate), &b->r);
}
