/* migrate.incoming, migrate.cancel, migrate.status, and what is remembered of migrations that
 * ended. */
#include "base/eventlog.h"
#include "migrate/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PAST = 64 };

struct refused {
        struct loop_defer later;
        struct migrate_incoming *r;
        struct err err;
};

static void refuse_now(struct loop_defer *d)
{
        struct refused *x = container_of(d, struct refused, later);

        x->r->done(x->r, -x->err.code, &x->err);
        free(x);
}

void migrate_incoming(struct migrate *m, const struct uuid *domain,
                      const struct migrate_disk *disks, uint32_t ndisks, struct migrate_incoming *r)
{
        struct refused *x = calloc(1, sizeof(*x));
        struct list *it;

        if (!x)
                abort(); /* a caller that would wait for ever */
        r->priv = NULL;
        if (m->freeing)
                err_set(&x->err, ECANCELED, "zonepoold is stopping");
        else if (!m->s.insecure_lab_transport)
                err_set(&x->err, EPERM,
                        "this zonepoold talks to no peers: set insecure_lab_transport = 1 (in a "
                        "laboratory) in zonepoold.conf on both hosts");
        else if (!ndisks || ndisks > OWNER_MAX_VOLUMES)
                err_set(&x->err, E2BIG, "a domain may have 1 to %d zonepool disks",
                        OWNER_MAX_VOLUMES);
        for (it = m->pulls.next; it != &m->pulls && !x->err.code; it = it->next) {
                struct owner_group *g = pull_group(pull_of(it));
                if (uuid_equal(pull_domain(pull_of(it)), domain) &&
                    (!g || owner_group_state(g) != OWNER_OWNED))
                        err_set(&x->err, EBUSY,
                                "the domain is being migrated to this host already");
        }
        for (uint32_t i = 0; i < ndisks && !x->err.code; i++)
                if (!m->host.pool_by_name(m->host.ctx, disks[i].pool))
                        err_set(&x->err, ENOENT, "pool %s is not imported on this host",
                                disks[i].pool);
        if (x->err.code) {
                x->r = r;
                x->later.call = refuse_now;
                loop_defer(m->s.loop, &x->later);
                return;
        }
        free(x);
        pull_start(m, domain, disks, ndisks, r);
}

void migrate_incoming_cancel(struct migrate_incoming *r)
{
        const struct err why = {ECANCELED, "the migration was cancelled"};
        struct pull *p = r->priv;

        if (p)
                pull_fail(p, &why);
}

int migrate_cancel(struct migrate *m, const struct uuid *domain, struct err *err)
{
        const struct err why = {ECANCELED, "the migration was cancelled"};
        struct owner_group *g = owner_group_offered(m->owner, domain);
        struct list *it, *next;
        bool any = g != NULL;

        if (g)
                owner_source_failed(g, &why);
        for (it = m->pulls.next; it != &m->pulls; it = next) {
                next = it->next;
                if (!uuid_equal(pull_domain(pull_of(it)), domain))
                        continue;
                any = true;
                pull_fail(pull_of(it), &why);
        }
        return any ? 0 : err_set(err, ENOENT, "no migration of that domain is under way");
}

static void fill_status(const struct owner_group *g, struct migrate_status *st)
{
        st->domain = *owner_group_domain(g);
        st->state = owner_group_state(g);
        snprintf(st->peer, sizeof(st->peer), "%s", owner_group_peer(g)->address);
        migrate_token_text(g, st->token);
        for (uint32_t i = 0; i < owner_group_nvolumes(g); i++) {
                struct migrate_volume *mv = migrate_group_volume(g, i);
                if (!mv)
                        continue;
                st->pools[st->nvolumes] = mv->pool;
                st->volumes[st->nvolumes++] = owner_volume_name(mv->owner);
        }
}

void migrate_remember(struct migrate *m, const struct owner_group *g, bool outgoing,
                      const struct migrate_progress *progress)
{
        struct migrate_past *p, *tmp;

        list_for_each_safe (p, tmp, &m->past, node) {
                if (uuid_equal(&p->status.domain, owner_group_domain(g)) || m->npast >= MAX_PAST) {
                        list_del(&p->node);
                        free(p);
                        m->npast--;
                }
        }
        if (!(p = calloc(1, sizeof(*p))))
                return;
        struct migrate_status *st = &p->status;
        fill_status(g, st);
        st->outgoing = outgoing;
        st->progress = *progress;
        for (uint32_t i = 0; i < st->nvolumes; i++) { /* the volumes may go before this does */
                snprintf(p->pools[i], sizeof(p->pools[i]), "%s", st->pools[i]);
                snprintf(p->volumes[i], sizeof(p->volumes[i]), "%s", st->volumes[i]);
                st->pools[i] = p->pools[i];
                st->volumes[i] = p->volumes[i];
        }
        list_add_tail(&m->past, &p->node);
        m->npast++;
        char domain[UUID_TEXT_LEN];
        uuid_format(&st->domain, domain);
        eventlog_emit(
            "migrate-ended",
            "\"domain\":\"%s\",\"direction\":\"%s\",\"state\":\"%s\",\"moved_bytes\":%llu,"
            "\"passes\":%u,\"pause_ns\":%llu",
            domain, outgoing ? "outgoing" : "incoming", owner_state_name(st->state),
            (unsigned long long)progress->moved_bytes, progress->passes,
            (unsigned long long)progress->pause_ns);
}

void migrate_status(struct migrate *m, void *ctx, void (*fn)(void *, const struct migrate_status *))
{
        struct migrate_past *past;
        struct list *it;

        for (it = m->sources.next; it != &m->sources; it = it->next) {
                struct migrate_status st = {.outgoing = true};
                if (!source_group(source_of(it)))
                        continue;
                fill_status(source_group(source_of(it)), &st);
                source_progress(source_of(it), &st.progress);
                fn(ctx, &st);
        }
        for (it = m->pulls.next; it != &m->pulls; it = it->next) {
                struct migrate_status st = {.domain = *pull_domain(pull_of(it))};
                struct owner_group *g = pull_group(pull_of(it));
                if (g)
                        fill_status(g, &st);
                pull_progress(pull_of(it), &st.progress);
                fn(ctx, &st);
        }
        list_for_each (past, &m->past, node)
                fn(ctx, &past->status);
}
