/* Domains: which volumes are whose, and the lock driver's three calls, see owner.h.
 *
 * A domain is what the hook listed and what its QEMU is connected to. It is offered and granted
 * whole or not at all.
 */
#include "migrate/owner/internal.h"

#include <errno.h>
#include <stdio.h>

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
        const struct err ended = {ECANCELED, "the domain has ended on this host"};
        struct owner_domain *d = domain_find(o, domain);
        struct owner_group *g, *tmp;

        list_for_each_safe (g, tmp, &o->groups, node) {
                if (!uuid_equal(&g->base.domain, domain) || g->unresolved)
                        continue;
                if (g->state == OWNER_STAGED)
                        owner_target_failed(g, &ended); /* its QEMU will not run any more */
                else if (g->state == OWNER_OFFERED || g->state == OWNER_SUSPENDED ||
                         g->state == OWNER_OWNED)
                        owner_dispatch(g, OWNER_EV_QEMU_GONE, 0, NULL, NULL);
        }
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
