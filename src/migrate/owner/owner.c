/* Volumes, gates and requests of the ownership part, see owner.h. The state machine itself is in
 * row.c, what a restart makes of the records in resolve.c, staging in stage.c.
 *
 * Invariants: a volume without a group is plainly ACTIVE, or a tombstone waiting to be grouped;
 * every other state is a group's. A request is answered exactly once, at the end of a turn of the
 * loop.
 */
#include "migrate/owner/internal.h"

#include <errno.h>
#include <stdio.h>

static void answer_all(struct loop_defer *d);

int owner_new(const struct owner_settings *settings, const struct owner_ops *ops,
              struct owner **ret_owner)
{
        struct owner *o = calloc(1, sizeof(*o));

        if (!o)
                return -ENOMEM;
        o->s = *settings;
        o->ops = *ops;
        if (!o->s.max_pause_ns)
                o->s.max_pause_ns = 5 * SECOND_NS;
        if (!o->s.take_ns)
                o->s.take_ns = 20 * SECOND_NS;
        if (!o->s.ask_ns)
                o->s.ask_ns = 20 * SECOND_NS;
        if (!o->s.retry_ns)
                o->s.retry_ns = SECOND_NS / 2;
        if (!o->s.offer_ns)
                o->s.offer_ns = 30 * SECOND_NS;
        list_init(&o->volumes);
        list_init(&o->groups);
        list_init(&o->domains);
        list_init(&o->pools);
        list_init(&o->reports);
        list_init(&o->deletions);
        list_init(&o->done);
        o->done_defer.call = answer_all;
        o->report_timer.fire = owner_report_timer;
        *ret_owner = o;
        return 0;
}

#define FREE_LIST(head, type)                                                                      \
        do {                                                                                       \
                type *it_;                                                                         \
                while ((it_ = list_first(head, type, node))) {                                     \
                        list_del(&it_->node);                                                      \
                        free(it_);                                                                 \
                }                                                                                  \
        } while (0)

void owner_free(struct owner *o)
{
        struct owner_group *g;

        if (!o)
                return;
        while ((g = list_first(&o->groups, struct owner_group, node)))
                owner_group_dissolve(g);
        loop_defer_cancel(&o->done_defer);
        answer_all(&o->done_defer);
        loop_timer_disarm(&o->report_timer);
        FREE_LIST(&o->volumes, struct owner_volume);
        FREE_LIST(&o->domains, struct owner_domain);
        FREE_LIST(&o->pools, struct owner_pool);
        FREE_LIST(&o->reports, struct owner_report);
        FREE_LIST(&o->deletions, struct owner_deletion);
        free(o);
}

/* ---- requests ---- */

static void answer_all(struct loop_defer *d)
{
        struct owner *o = container_of(d, struct owner, done_defer);
        struct owner_request *r;

        while ((r = list_first(&o->done, struct owner_request, node))) {
                list_del(&r->node);
                r->done(r, r->status, &r->err);
        }
}

void owner_answer(struct owner *o, struct owner_request *r, int status, const struct err *err)
{
        r->status = status;
        r->err = err && status ? *err : ERR_INIT;
        list_init(&r->node);
        list_add_tail(&o->done, &r->node);
        loop_defer(o->s.loop, &o->done_defer);
}

void owner_answer_text(struct owner *o, struct owner_request *r, int code, const char *fmt, ...)
{
        struct err err = {.code = code};
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
        va_end(ap);
        owner_acquire_done(o, r, -code, &err);
}

/* An Acquire may wait for several groups: the first refusal is its answer. */
void owner_acquire_done(struct owner *o, struct owner_request *r, int status, const struct err *err)
{
        if (status && !r->status) {
                r->status = status;
                r->err = *err;
        }
        if (r->waiting && --r->waiting)
                return;
        struct err copy = r->err;
        owner_answer(o, r, r->status, &copy);
}

void owner_cancel_requests(struct owner *o)
{
        struct owner_group *g;

        list_for_each (g, &o->groups, node) {
                if (g->acquire && !g->row)
                        owner_answer_text(o, steal_ptr(&g->acquire), ECANCELED,
                                          "zonepoold is stopping");
                if (g->pending)
                        owner_answer_text(o, steal_ptr(&g->pending), ECANCELED,
                                          "zonepoold is stopping");
                if (g->special && g->state == OWNER_TOMB)
                        owner_answer(o, steal_ptr(&g->special), -EINPROGRESS, NULL);
        }
}

/* ---- gates and front ends ---- */

static bool may_serve(const struct owner_volume *v)
{
        const struct owner_group *g = v->group;

        if (!v->rings)
                return false;
        if (!g)
                return v->rec.state == OWNER_ACTIVE;
        if (g->broken || g->unresolved || (g->row && g->row->gate == OWNER_GATE_SHUT))
                return false;
        return g->state == OWNER_ACTIVE || g->state == OWNER_OFFERED;
}

void owner_update_gate(struct owner_volume *v)
{
        bool open = may_serve(v);

        if (open == v->gate)
                return;
        v->gate = open;
        v->owner->ops.gate(v->owner->ops.ctx, v->handle, open);
}

static void rings_changed(struct owner_volume *v, bool on)
{
        v->rings = on;
        if (v->group)
                owner_dispatch(v->group, on ? OWNER_EV_RINGS_ON : OWNER_EV_RINGS_OFF, 0, NULL,
                               NULL);
        owner_update_gate(v);
}

static void front_event(void *ctx, enum front_event event, pid_t peer_pid)
{
        struct owner_volume *v = ctx;

        switch (event) {
        case FRONT_CONNECTED:
                v->connected = true;
                v->peer_pid = peer_pid;
                break;
        case FRONT_RINGS_ON:
                rings_changed(v, true);
                break;
        case FRONT_RINGS_OFF:
                rings_changed(v, false);
                break;
        case FRONT_FIRST_REQUEST:
        case FRONT_LOG_ON:
                break;
        case FRONT_LOG_OFF:
                if (v->group &&
                    (v->group->state == OWNER_OFFERED || v->group->state == OWNER_SUSPENDED))
                        owner_dispatch(v->group, OWNER_EV_LOG_OFF, 0, NULL, NULL);
                break;
        case FRONT_DISCONNECTED:
                v->connected = false;
                v->peer_pid = 0;
                if (v->rings)
                        rings_changed(v, false);
                break;
        }
}

struct front_observer owner_volume_observer(struct owner_volume *v)
{
        return (struct front_observer){.event = front_event, .ctx = v};
}

/* ---- volumes ---- */

int owner_volume_add(struct owner *o, const char *pool, const char *name, const struct uuid *uuid,
                     const void *record, size_t len, void *handle, struct owner_volume **ret_volume,
                     struct err *err)
{
        struct owner_volume *v = calloc(1, sizeof(*v));

        if (!v)
                return err_set(err, ENOMEM, "out of memory");
        int rc = owner_record_decode(record, len, &v->rec, err);
        if (rc < 0) {
                err_prefix(err, "volume %s/%s", pool, name);
                free(v);
                return rc;
        }
        v->owner = o;
        snprintf(v->pool, sizeof(v->pool), "%s", pool);
        snprintf(v->name, sizeof(v->name), "%s", name);
        v->uuid = *uuid;
        v->handle = handle;
        list_add_tail(&o->volumes, &v->node);
        if (v->rec.state != OWNER_ACTIVE)
                owner_resolve_volume(v);
        *ret_volume = v;
        return 0;
}

int owner_volume_remove(struct owner_volume *v, bool force, struct err *err)
{
        struct owner_domain *d;

        if (!v)
                return 0;
        if (v->group && !force &&
            (v->group->row || v->group->acquire || v->group->state == OWNER_OFFERED ||
             v->group->state == OWNER_SUSPENDED || v->group->state == OWNER_STAGED))
                return err_set(err, EBUSY, "volume %s/%s is being migrated", v->pool, v->name);
        if (v->group && v->group->row) { /* force: the write's end finds no member any more */
                for (unsigned i = 0; i < v->group->base.nvolumes; i++)
                        if (v->group->member[i] == v)
                                v->group->member[i] = NULL;
                v->group = NULL;
        }
        owner_volume_leave(v);
        list_for_each (d, &v->owner->domains, node) {
                for (unsigned i = 0; i < d->nseeds; i++)
                        if (d->seeds[i] == v) {
                                d->seeds[i--] = d->seeds[--d->nseeds];
                                snprintf(d->missing, sizeof(d->missing), "%s/%s", v->pool, v->name);
                        }
        }
        list_del(&v->node);
        free(v);
        return 0;
}

bool owner_pool_is_ready(const struct owner *o, const char *pool)
{
        struct owner_pool *p;

        list_for_each (p, &o->pools, node)
                if (!strcmp(p->name, pool))
                        return true;
        return false;
}

void owner_pool_ready(struct owner *o, const char *pool)
{
        if (!owner_pool_is_ready(o, pool)) {
                struct owner_pool *p = calloc(1, sizeof(*p));
                if (!p)
                        return; /* its groups stay unresolved: refused, not wrong */
                snprintf(p->name, sizeof(p->name), "%s", pool);
                list_add_tail(&o->pools, &p->node);
        }
        owner_resolve_all(o);
}

void owner_pool_gone(struct owner *o, const char *pool)
{
        struct owner_pool *p, *tmp;

        list_for_each_safe (p, tmp, &o->pools, node) {
                if (!strcmp(p->name, pool)) {
                        list_del(&p->node);
                        free(p);
                }
        }
}

struct owner_volume *owner_volume_in_pool(struct owner *o, const char *pool,
                                          const struct uuid *uuid)
{
        struct owner_volume *v;

        list_for_each (v, &o->volumes, node)
                if (uuid_equal(&v->uuid, uuid) && !strcmp(v->pool, pool))
                        return v;
        return NULL;
}

void *owner_volume_handle(const struct owner_volume *v)
{
        return v->handle;
}

const char *owner_volume_pool(const struct owner_volume *v)
{
        return v->pool;
}

const char *owner_volume_name(const struct owner_volume *v)
{
        return v->name;
}

const struct uuid *owner_volume_uuid(const struct owner_volume *v)
{
        return &v->uuid;
}

uint64_t owner_volume_epoch(const struct owner_volume *v)
{
        return v->rec.epoch;
}

void owner_volume_info(const struct owner_volume *v, struct owner_info *ret_info)
{
        const struct owner_group *g = v->group;
        enum owner_state state = g && g->state != OWNER_NONE ? g->state : v->rec.state;
        const struct owner_record *rec = g ? &g->base : &v->rec;

        *ret_info = (struct owner_info){
            .state = state,
            .epoch = v->rec.epoch,
            .hidden = state == OWNER_GIVEN || state == OWNER_STAGED || state == OWNER_REFUSED ||
                      state == OWNER_TOMB,
            .evictable = v->rec.evictable,
            .migrating =
                g && (state == OWNER_OFFERED || state == OWNER_SUSPENDED || state == OWNER_STAGED),
            .rings_on = v->rings,
        };
        if (state != OWNER_ACTIVE && rec->nhosts)
                snprintf(ret_info->peer, sizeof(ret_info->peer), "%s", rec->hosts[0].address);
}

int owner_volume_check(const struct owner_volume *v, const char *what, struct err *err)
{
        struct owner_info info;

        owner_volume_info(v, &info);
        if (info.hidden)
                return err_set(err, EREMOTE, "cannot %s volume %s/%s: it is %s here%s%s", what,
                               v->pool, v->name, owner_state_name(info.state),
                               info.peer[0] ? ", the other side is " : "", info.peer);
        if (info.state == OWNER_OFFERED && !v->group->pulled)
                return err_set(err, EBUSY,
                               "cannot %s volume %s/%s: it is offered for a migration; if no host "
                               "comes for it that ends within %llu s, or with its guest",
                               what, v->pool, v->name,
                               (unsigned long long)(v->owner->s.offer_ns / SECOND_NS));
        if (info.migrating || (v->group && v->group->row))
                return err_set(err, EBUSY, "cannot %s volume %s/%s: it is being migrated", what,
                               v->pool, v->name);
        if (v->group && (v->group->broken || v->group->unresolved))
                return err_set(err, EAGAIN,
                               "cannot %s volume %s/%s: who owns it is not known until all pools "
                               "of its last migration are imported",
                               what, v->pool, v->name);
        return 0;
}
