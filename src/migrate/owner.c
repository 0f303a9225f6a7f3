/* Volumes, domains and requests of the ownership part, see owner.h. The state machine itself is in
 * owner_group.c, what a restart makes of the records in owner_resolve.c, staging in owner_stage.c.
 *
 * Invariants: a volume without a group is plainly ACTIVE, or a tombstone waiting to be grouped;
 * every other state is a group's. A request is answered exactly once, at the end of a turn of the
 * loop.
 */
#include "migrate/owner_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static void answer_all(struct loop_defer *d);
static void send_reports(struct loop_timer *t);

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
        list_init(&o->volumes);
        list_init(&o->groups);
        list_init(&o->domains);
        list_init(&o->pools);
        list_init(&o->reports);
        list_init(&o->deletions);
        list_init(&o->done);
        o->done_defer.call = answer_all;
        o->report_timer.fire = send_reports;
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

struct owner_volume *owner_volume_by_uuid(struct owner *o, const struct uuid *uuid)
{
        struct owner_volume *v;

        list_for_each (v, &o->volumes, node)
                if (uuid_equal(&v->uuid, uuid))
                        return v;
        return NULL;
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

/* ---- reports ---- */

void owner_report_add(struct owner *o, const struct owner_host *to, const struct owner_token *token)
{
        struct owner_report *r;

        if (o->nreports >= OWNER_MAX_REPORTS || !(r = calloc(1, sizeof(*r))))
                return; /* the copy there is not evicted: space, not safety */
        r->to = *to;
        r->token = *token;
        list_add_tail(&o->reports, &r->node);
        o->nreports++;
        send_reports(&o->report_timer);
}

void owner_report_acked(struct owner *o, const struct owner_token *token)
{
        struct owner_report *r, *tmp;

        list_for_each_safe (r, tmp, &o->reports, node) {
                if (owner_token_equal(&r->token, token)) {
                        list_del(&r->node);
                        free(r);
                        o->nreports--;
                }
        }
}

static void send_reports(struct loop_timer *t)
{
        struct owner *o = container_of(t, struct owner, report_timer);
        struct owner_report *r, *tmp;

        list_for_each_safe (r, tmp, &o->reports, node) {
                struct owner_msg m = {.kind = OWNER_MSG_ACTIVE_REPORT, .token = r->token};
                if (r->tries++ < OWNER_REPORT_TRIES) {
                        o->ops.send(o->ops.ctx, &r->to, &m);
                        continue;
                }
                list_del(&r->node);
                free(r);
                o->nreports--;
        }
        if (!list_empty(&o->reports))
                loop_timer_arm(o->s.loop, t, loop_now_ns(o->s.loop) + 2 * SECOND_NS);
}

/* ---- domains ---- */

static struct owner_domain *domain_find(struct owner *o, const struct uuid *uuid)
{
        struct owner_domain *d;

        list_for_each (d, &o->domains, node)
                if (uuid_equal(&d->uuid, uuid))
                        return d;
        return NULL;
}

static struct owner_domain *domain_get(struct owner *o, const struct uuid *uuid)
{
        struct owner_domain *d = domain_find(o, uuid);

        if (d || !(d = calloc(1, sizeof(*d))))
                return d;
        d->uuid = *uuid;
        list_add_tail(&o->domains, &d->node);
        return d;
}

int owner_domain_seed(struct owner *o, const struct uuid *domain, struct owner_volume *const *vols,
                      uint32_t n, const char *missing, struct err *err)
{
        struct owner_domain *d;

        if (n > OWNER_MAX_VOLUMES)
                return err_set(err, E2BIG, "a domain may have at most %d zonepool disks",
                               OWNER_MAX_VOLUMES);
        if (!(d = domain_get(o, domain)))
                return err_set(err, ENOMEM, "out of memory");
        memcpy(d->seeds, vols, n * sizeof(*vols));
        d->nseeds = n;
        snprintf(d->missing, sizeof(d->missing), "%s", missing ? missing : "");
        return 0;
}

void owner_domain_released(struct owner *o, const struct uuid *domain)
{
        struct owner_domain *d = domain_find(o, domain);
        struct owner_group *g, *tmp;

        list_for_each_safe (g, tmp, &o->groups, node)
                if (uuid_equal(&g->base.domain, domain) &&
                    (g->state == OWNER_OFFERED || g->state == OWNER_SUSPENDED ||
                     g->state == OWNER_OWNED))
                        owner_dispatch(g, OWNER_EV_QEMU_GONE, 0, NULL, NULL);
        if (d) {
                list_del(&d->node);
                free(d);
        }
}

static bool belongs(const struct owner_volume *v, const struct owner_domain *d)
{
        for (unsigned i = 0; i < d->nseeds; i++)
                if (d->seeds[i] == v)
                        return true;
        if (v->connected && d->pid > 0 && v->peer_pid == d->pid)
                return true;
        /* After a restart: what was handed over for this domain is known from the records. */
        return v->group && v->group->state != OWNER_ACTIVE &&
               uuid_equal(&v->group->base.domain, &d->uuid) && !d->nseeds;
}

static uint32_t domain_volumes(struct owner *o, const struct owner_domain *d,
                               struct owner_volume *out[OWNER_MAX_VOLUMES + 1])
{
        struct owner_volume *v;
        uint32_t n = 0;

        list_for_each (v, &o->volumes, node)
                if (belongs(v, d) && n <= OWNER_MAX_VOLUMES)
                        out[n++] = v;
        return n;
}

static void set_qemu(struct owner_group *g, pid_t pid)
{
        struct owner *o = g->owner;
        uint64_t start;

        if (pid > 0 && o->ops.process_alive(o->ops.ctx, pid, &start)) {
                g->qemu_pid = pid;
                g->qemu_start = start;
        }
}

#define MISSING_TEXT "volume %s of the domain is not here: is its pool imported?"

/* ---- the lock driver ---- */

/* A token for these volumes: every one plainly ACTIVE, or OFFERED before. */
static int mint(struct owner *o, const struct owner_domain *d, const struct owner_token *token,
                struct owner_volume *const *vols, uint32_t n, struct owner_group **ret_group,
                struct err *err)
{
        struct owner_group *g = owner_group_new(o);

        if (!g)
                return err_set(err, ENOMEM, "out of memory");
        g->state = OWNER_ACTIVE;
        g->base.domain = d->uuid;
        g->base.token = *token;
        for (unsigned i = 0; i < n; i++) {
                struct owner_member *m = &g->base.volumes[i];
                unsigned p = 0;
                while (p < g->base.npools && strcmp(g->base.pools[p], vols[i]->pool) != 0)
                        p++;
                if (p == OWNER_MAX_POOLS) {
                        g->base.nvolumes = 0;
                        owner_group_dissolve(g);
                        return err_set(err, E2BIG, "the disks of a domain may lie in %d pools",
                                       OWNER_MAX_POOLS);
                }
                if (p == g->base.npools) {
                        memcpy(g->base.pools[p], vols[i]->pool, OWNER_POOL_NAME);
                        g->base.npools++;
                }
                *m = (struct owner_member){vols[i]->uuid, vols[i]->rec.epoch, (uint8_t)p};
                for (unsigned h = 0; h < vols[i]->rec.nhosts; h++) {
                        unsigned k = 0;
                        while (k < g->base.nhosts &&
                               !uuid_equal(&g->base.hosts[k].uuid, &vols[i]->rec.hosts[h].uuid))
                                k++;
                        if (k == g->base.nhosts && k < OWNER_MAX_HOSTS)
                                g->base.hosts[g->base.nhosts++] = vols[i]->rec.hosts[h];
                }
                g->base.nvolumes = (uint8_t)(i + 1);
                owner_group_adopt(g, i, vols[i]); /* an older token's group ends here */
        }
        *ret_group = g;
        return 0;
}

static struct owner_token new_token(struct owner *o)
{
        struct owner_token t = {.incarnation = o->s.incarnation};

        o->ops.random(o->ops.ctx, t.b, sizeof(t.b));
        return t;
}

/* Makes the token live for all volumes of the domain. */
static int offer(struct owner *o, struct owner_domain *d, const struct owner_token *token,
                 struct owner_group **ret_group, struct err *err)
{
        struct owner_volume *vols[OWNER_MAX_VOLUMES + 1];
        struct owner_group *g;

        if (d->missing[0])
                return err_set(err, EAGAIN, MISSING_TEXT, d->missing);
        uint32_t n = domain_volumes(o, d, vols);
        if (!n)
                return err_set(err, ENOENT,
                               "no zonepool volume of this host belongs to the domain");
        if (n > OWNER_MAX_VOLUMES)
                return err_set(err, E2BIG, "a domain may have at most %d zonepool disks",
                               OWNER_MAX_VOLUMES);
        for (unsigned i = 0; i < n; i++) {
                g = vols[i]->group;
                enum owner_state s = g ? g->state : vols[i]->rec.state;
                bool free_now = !g || (!g->row && !g->resuming && !g->broken && !g->unresolved);
                if (!free_now || !owner_rule_find(s, OWNER_EV_INQUIRE, 0))
                        return err_set(err, EBUSY,
                                       "volume %s/%s is %s: it cannot be migrated now%s",
                                       vols[i]->pool, vols[i]->name, owner_state_name(s),
                                       s == OWNER_SUSPENDED ? ", resume the domain first" : "");
        }
        int rc = mint(o, d, token, vols, n, &g, err);
        if (rc < 0)
                return rc;
        set_qemu(g, d->pid);
        owner_dispatch(g, OWNER_EV_INQUIRE, 0, NULL, NULL);
        o->ops.source_start(o->ops.ctx, g);
        *ret_group = g;
        return 0;
}

int owner_inquire(struct owner *o, const struct uuid *domain, pid_t pid,
                  char ret_state[OWNER_TOKEN_TEXT], struct err *err)
{
        struct owner_domain *d = domain_get(o, domain);
        struct owner_token token = new_token(o);
        struct owner_group *g;

        if (!d)
                return err_set(err, ENOMEM, "out of memory");
        d->pid = pid;
        d->announced = false;
        int rc = offer(o, d, &token, &g, err);
        if (rc == 0)
                owner_token_format(&g->base.token, g->seq, ret_state);
        return rc;
}

struct owner_group *owner_group_offered(struct owner *o, const struct uuid *domain)
{
        struct owner_domain *d = domain_find(o, domain);
        struct owner_group *g;

        list_for_each (g, &o->groups, node)
                if (uuid_equal(&g->base.domain, domain) && !g->row &&
                    (g->state == OWNER_OFFERED || g->state == OWNER_SUSPENDED))
                        return g;
        if (!d || !d->announced)
                return NULL;
        d->announced = false;
        return offer(o, d, &d->announcement, &g, NULL) == 0 ? g : NULL;
}

/* Which event an Acquire is for this group. Source and owner side take no token's Acquire. */
static enum owner_event acquire_event(const struct owner_group *g, const char *state)
{
        struct owner_token t;

        if (state && *state && owner_token_parse(state, &t, NULL) == 0 &&
            owner_token_equal(&t, &g->base.token) &&
            (g->state == OWNER_STAGED || g->state == OWNER_OWNED || g->state == OWNER_REFUSED))
                return OWNER_EV_ACQUIRE_TOKEN;
        return OWNER_EV_ACQUIRE_OWN;
}

void owner_acquire(struct owner *o, const struct uuid *domain, pid_t pid, const char *state,
                   bool reg, struct owner_request *r)
{
        struct owner_volume *vols[OWNER_MAX_VOLUMES + 1];
        struct owner_group *groups[OWNER_MAX_VOLUMES + 1];
        struct owner_domain *d = domain_get(o, domain);
        uint32_t ngroups = 0;

        r->waiting = 1;
        r->status = 0;
        r->err = ERR_INIT;
        if (!d) {
                owner_answer_text(o, r, ENOMEM, "out of memory");
                return;
        }
        d->pid = pid;
        d->announced = false;
        if (d->missing[0]) {
                owner_answer_text(o, r, EAGAIN, MISSING_TEXT, d->missing);
                return;
        }
        uint32_t n = domain_volumes(o, d, vols);
        if (!n) {
                owner_answer_text(o, r, ENOENT,
                                  "none of the domain's zonepool volumes is here: is its pool "
                                  "imported?");
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                struct owner_group *g = vols[i]->group;
                uint32_t k = 0;
                if (!g && vols[i]->rec.state != OWNER_ACTIVE) {
                        owner_answer_text(o, r, EREMOTE, "volume %s/%s is %s here", vols[i]->pool,
                                          vols[i]->name, owner_state_name(vols[i]->rec.state));
                        return;
                }
                while (g && k < ngroups && groups[k] != g)
                        k++;
                if (g && k == ngroups)
                        groups[ngroups++] = g;
        }
        for (uint32_t k = 0; k < ngroups; k++) {
                struct owner_group *g = groups[k];
                set_qemu(g, pid);
                if (reg && g->state == OWNER_STAGED)
                        continue; /* the incoming QEMU, before exec: nothing is served yet */
                r->waiting++;
                owner_group_acquire(g, acquire_event(g, state), r);
        }
        owner_acquire_done(o, r, 0, NULL);
}

void owner_release(struct owner *o, const struct uuid *domain, pid_t pid,
                   char ret_state[OWNER_TOKEN_TEXT])
{
        struct owner_group *g, *tmp;
        struct owner_volume *vols[OWNER_MAX_VOLUMES + 1];
        struct owner_domain *d = domain_find(o, domain);

        ret_state[0] = '\0';
        if (!d)
                return;
        d->pid = pid;
        uint32_t n = domain_volumes(o, d, vols);
        list_for_each_safe (g, tmp, &o->groups, node) {
                bool ours = false;
                for (uint32_t i = 0; i < n; i++)
                        ours |= vols[i]->group == g;
                if (!ours)
                        continue;
                owner_dispatch(g, OWNER_EV_RELEASE, 0, NULL, NULL);
        }
        bool plain = n > 0;
        for (uint32_t i = 0; i < n; i++) {
                plain &= !vols[i]->group && vols[i]->rec.state == OWNER_ACTIVE && !vols[i]->rings;
                if (vols[i]->group && vols[i]->group->state != OWNER_ACTIVE)
                        owner_token_format(&vols[i]->group->base.token, vols[i]->group->seq,
                                           ret_state);
        }
        if (!plain)
                return;
        if (!d->announced)
                d->announcement = new_token(o);
        d->announced = true;
        owner_token_format(&d->announcement, 0, ret_state);
}

/* ---- messages ---- */

/* A tombstone names a volume, not a token: the volume leaves its group and its copy goes. */
static void tomb(struct owner *o, const struct owner_host *from, const struct owner_msg *m)
{
        struct owner_volume *v;
        struct owner_deletion *d;

        if (m->nvolumes != 1 || !owner_pool_is_ready(o, m->pool))
                return; /* asked again when the pool is here */
        list_for_each (d, &o->deletions, node)
                if (uuid_equal(&d->volume, &m->volumes[0].uuid))
                        return;
        v = owner_volume_in_pool(o, m->pool, &m->volumes[0].uuid);
        if (!v) {
                struct owner_msg ack = *m;
                ack.kind = OWNER_MSG_ACK;
                o->ops.send(o->ops.ctx, from, &ack);
                return;
        }
        struct owner_group *g = v->group;
        const struct owner_rule *row =
            g && !g->row
                ? owner_rule_find(g->state, OWNER_EV_TOMB, g->acquire ? OWNER_C_ACQUIRE : 0)
                : NULL;
        if (g)
                o->ops.transition(o->ops.ctx, g, row, OWNER_EV_TOMB);
        if (!row || owner_group_rings(g) || !(d = calloc(1, sizeof(*d))))
                return;
        d->volume = v->uuid;
        d->to = *from;
        list_add_tail(&o->deletions, &d->node);
        if (row->actions & OWNER_A_STOP_PULL)
                o->ops.target_stop(o->ops.ctx, g);
        o->ops.delete_copy(o->ops.ctx, v->handle);
}

void owner_copy_deleted(struct owner *o, const struct uuid *volume, int status)
{
        struct owner_deletion *d, *tmp;

        list_for_each_safe (d, tmp, &o->deletions, node) {
                if (!uuid_equal(&d->volume, volume))
                        continue;
                struct owner_msg m = {.kind = OWNER_MSG_ACK, .nvolumes = 1};
                m.volumes[0].uuid = d->volume;
                if (!status)
                        o->ops.send(o->ops.ctx, &d->to, &m);
                list_del(&d->node);
                free(d);
        }
}

static void tomb_ack(struct owner *o, const struct owner_host *from, const struct owner_msg *m)
{
        struct owner_volume *v;

        if (m->nvolumes != 1)
                return;
        list_for_each (v, &o->volumes, node) {
                struct owner_group *g = v->group;
                if (!g || g->state != OWNER_TOMB || !uuid_equal(&v->uuid, &m->volumes[0].uuid))
                        continue;
                for (unsigned i = 0; i < g->base.nhosts; i++)
                        if (uuid_equal(&g->base.hosts[i].uuid, &from->uuid))
                                g->base.hosts[i--] = g->base.hosts[--g->base.nhosts];
                if (!g->base.nhosts)
                        owner_dispatch(g, OWNER_EV_ACK, 0, NULL, NULL);
                return;
        }
}

static const struct {
        enum owner_msg_kind kind;
        enum owner_event event;
} msg_events[] = {
    {OWNER_MSG_PULL, OWNER_EV_PULL}, {OWNER_MSG_TAKE, OWNER_EV_TAKE},
    {OWNER_MSG_OK, OWNER_EV_OK},     {OWNER_MSG_NO, OWNER_EV_NO},
    {OWNER_MSG_ASK, OWNER_EV_ASK},   {OWNER_MSG_BACK, OWNER_EV_BACK},
    {OWNER_MSG_NAK, OWNER_EV_NAK},   {OWNER_MSG_ACTIVE_REPORT, OWNER_EV_ACTIVE_REPORT},
};

void owner_message(struct owner *o, const struct owner_host *from, const struct owner_msg *msg)
{
        struct owner_group *g;
        const struct owner_rule *row;

        switch (msg->kind) {
        case OWNER_MSG_TOMB:
                tomb(o, from, msg);
                return;
        case OWNER_MSG_ACK:
                tomb_ack(o, from, msg);
                return;
        case OWNER_MSG_ACTIVE_ACK:
                owner_report_acked(o, &msg->token);
                return;
        default:
                break;
        }
        for (size_t i = 0; i < ARRAY_SIZE(msg_events); i++) {
                if (msg_events[i].kind != msg->kind)
                        continue;
                if ((g = owner_group_by_token(o, &msg->token))) {
                        owner_dispatch(g, msg_events[i].event, 0, from, msg);
                        return;
                }
                row = owner_rule_find(OWNER_NONE, msg_events[i].event, 0);
                if (row && row->send != OWNER_MSG_NONE) {
                        struct owner_msg m = {.kind = row->send, .token = msg->token};
                        o->ops.send(o->ops.ctx, from, &m);
                }
                return;
        }
}

/* ---- deletion and reclaim ---- */

void owner_delete(struct owner_volume *v, struct owner_request *r)
{
        struct owner *o = v->owner;
        struct owner_group *g = v->group;
        struct err err = ERR_INIT;

        r->waiting = 1;
        r->status = 0;
        if (owner_volume_check(v, "delete", &err) < 0) {
                owner_acquire_done(o, r, -err.code, &err);
                return;
        }
        if (v->rings || (g && owner_group_qemu(g))) {
                owner_answer_text(o, r, EBUSY, "volume %s/%s is in use", v->pool, v->name);
                return;
        }
        if (!v->rec.nhosts) { /* nobody holds a copy */
                owner_volume_leave(v);
                owner_answer(o, r, 0, NULL);
                return;
        }
        struct owner_record rec = v->rec;
        enum owner_state state = g ? g->state : OWNER_ACTIVE;
        owner_volume_leave(v);
        if (!(g = owner_group_new(o))) {
                owner_answer_text(o, r, ENOMEM, "out of memory");
                return;
        }
        g->state = state;
        g->base = rec;
        g->base.nvolumes = g->base.npools = 1;
        g->base.volumes[0] = (struct owner_member){v->uuid, rec.epoch, 0};
        memcpy(g->base.pools[0], v->pool, OWNER_POOL_NAME);
        owner_group_adopt(g, 0, v);
        g->special = r;
        if (!owner_dispatch(g, OWNER_EV_DELETE, 0, NULL, NULL)) {
                g->special = NULL;
                owner_answer_text(o, r, EBUSY, "volume %s/%s cannot be deleted now", v->pool,
                                  v->name);
                owner_group_dissolve(g);
        }
}

void owner_reclaim(struct owner_volume *v, bool force, struct owner_request *r)
{
        struct owner *o = v->owner;
        struct owner_group *g = v->group;

        r->waiting = 1;
        r->status = 0;
        r->err = ERR_INIT;
        if (!g && v->rec.state == OWNER_ACTIVE) {
                owner_answer(o, r, 0, NULL);
                return;
        }
        if (!g || g->state != OWNER_GIVEN) {
                owner_answer_text(o, r, EINVAL,
                                  "volume %s/%s is %s: only what was given away whole can be "
                                  "taken back",
                                  v->pool, v->name, owner_state_name(g ? g->state : v->rec.state));
                return;
        }
        if (!force) {
                owner_group_acquire(g, OWNER_EV_ACQUIRE_OWN, r);
                return;
        }
        if (g->unresolved)
                g->unresolved = false; /* a person has decided */
        owner_group_acquire(g, OWNER_EV_FORCE, r);
}
