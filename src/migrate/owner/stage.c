/* Staging on the target, and what the engine asks about groups, see owner.h. */
#include "migrate/owner/internal.h"

#include <errno.h>
#include <stdio.h>

int owner_stage_check(struct owner *o, const struct owner_volume *v, uint64_t epoch_before,
                      const struct owner_host *source, struct err *err)
{
        if (!v)
                return 0;
        const struct owner_group *g = v->group;
        enum owner_state state = g ? g->state : v->rec.state;
        unsigned c = v->rings ? OWNER_C_RINGS : 0;

        if (g && g->acquire)
                c |= OWNER_C_ACQUIRE;
        if (g && (g->row || g->broken || g->resuming || (g->unresolved && g->state != OWNER_GIVEN)))
                return err_set(err, EBUSY,
                               "volume %s/%s is in the middle of another hand-over: try again",
                               v->pool, v->name);
        if (!owner_rule_find(state, OWNER_EV_STAGE, c)) {
                if (state == OWNER_ACTIVE || state == OWNER_OWNED || state == OWNER_OFFERED ||
                    state == OWNER_SUSPENDED)
                        return err_set(err, EEXIST,
                                       "volume %s/%s belongs to this host already (%s): two hosts "
                                       "claim it, run the domain where its newest data is",
                                       v->pool, v->name, owner_state_name(state));
                return err_set(err, EBUSY, "volume %s/%s is %s and in use here", v->pool, v->name,
                               owner_state_name(state));
        }
        /* REFUSED answers ASK of its source: only a newer offer of that source, or of an owner of
         * a later epoch, may replace it. What was given comes back at the epoch it left with. */
        bool same = v->rec.nhosts && uuid_equal(&v->rec.hosts[0].uuid, &source->uuid);
        if (epoch_before < v->rec.epoch ||
            (state == OWNER_REFUSED && !same && epoch_before == v->rec.epoch))
                return err_set(err, ESTALE,
                               "volume %s/%s is known here at epoch %llu, %s offers epoch %llu: an "
                               "older copy is not taken",
                               v->pool, v->name, (unsigned long long)v->rec.epoch, source->address,
                               (unsigned long long)epoch_before);
        return 0;
}

static int base_record(struct owner *o, const struct owner_stage *s, struct owner_record *rec,
                       struct err *err)
{
        *rec = (struct owner_record){.state = OWNER_STAGED, .token = s->token, .domain = s->domain};
        if (!s->nvolumes || s->nvolumes > OWNER_MAX_VOLUMES || !s->npools ||
            s->npools > OWNER_MAX_POOLS || s->nholders > OWNER_MAX_HOSTS)
                return err_set(err, EINVAL, "the list of volumes of the offer makes no sense");
        rec->nvolumes = (uint8_t)s->nvolumes;
        rec->npools = (uint8_t)s->npools;
        memcpy(rec->volumes, s->volumes, sizeof(rec->volumes));
        memcpy(rec->pools, s->pools, sizeof(rec->pools));
        rec->hosts[rec->nhosts++] = s->source;
        for (unsigned i = 0; i < s->nholders; i++) {
                unsigned k = 0;
                if (uuid_equal(&s->holders[i].uuid, &o->s.host_uuid))
                        continue;
                while (k < rec->nhosts && !uuid_equal(&rec->hosts[k].uuid, &s->holders[i].uuid))
                        k++;
                if (k == rec->nhosts && k < OWNER_MAX_HOSTS)
                        rec->hosts[rec->nhosts++] = s->holders[i];
        }
        return 0;
}

int owner_stage_record(struct owner *o, const struct owner_stage *s, const struct uuid *volume,
                       struct owner_record *ret_rec, struct err *err)
{
        struct owner_record rec;
        int rc = base_record(o, s, &rec, err);

        if (rc < 0)
                return rc;
        for (unsigned i = 0; i < rec.nvolumes; i++) {
                if (uuid_equal(&rec.volumes[i].uuid, volume)) {
                        rec.epoch = rec.volumes[i].epoch_before;
                        *ret_rec = rec;
                        return 0;
                }
        }
        return err_set(err, EINVAL, "the offer does not list this volume");
}

void owner_stage(struct owner *o, const struct owner_stage *s, struct owner_request *r)
{
        struct owner_volume *vols[OWNER_MAX_VOLUMES];
        struct owner_record base;
        struct err err = ERR_INIT;
        struct owner_group *g;

        r->waiting = 1;
        r->status = 0;
        r->err = ERR_INIT;
        if (base_record(o, s, &base, &err) < 0)
                goto refuse;
        for (unsigned i = 0; i < base.nvolumes; i++) {
                vols[i] = owner_volume_in_pool(o, base.pools[base.volumes[i].pool],
                                               &base.volumes[i].uuid);
                /* A volume without a group that is STAGED was created for this. */
                if (!vols[i])
                        err_set(&err, ENOENT, "a volume of the offer has vanished");
                else if ((vols[i]->group || vols[i]->rec.state != OWNER_STAGED) &&
                         owner_stage_check(o, vols[i], base.volumes[i].epoch_before, &s->source,
                                           &err) < 0)
                        vols[i] = NULL;
                if (!vols[i])
                        goto refuse;
        }
        if (!(g = owner_group_new(o))) {
                err_set(&err, ENOMEM, "out of memory");
                goto refuse;
        }
        g->base = base;
        g->state = OWNER_NONE;
        g->special = r;
        for (unsigned i = 0; i < base.nvolumes; i++) {
                if (vols[i]->group && vols[i]->group->context)
                        o->ops.target_stop(o->ops.ctx, vols[i]->group);
                owner_group_adopt(g, i, vols[i]);
        }
        owner_dispatch(g, OWNER_EV_STAGE, 0, NULL, NULL);
        return;
refuse:
        owner_acquire_done(o, r, -err.code, &err);
}

/* ---- groups, for the engine ---- */

enum owner_state owner_group_state(const struct owner_group *g)
{
        return g->state;
}

const struct owner_token *owner_group_token(const struct owner_group *g)
{
        return &g->base.token;
}

const struct uuid *owner_group_domain(const struct owner_group *g)
{
        return &g->base.domain;
}

uint64_t owner_group_seq(const struct owner_group *g)
{
        return g->seq;
}

const struct owner_host *owner_group_peer(const struct owner_group *g)
{
        return &g->base.hosts[0];
}

uint32_t owner_group_nvolumes(const struct owner_group *g)
{
        return g->base.nvolumes;
}

struct owner_volume *owner_group_volume(const struct owner_group *g, uint32_t i)
{
        return g->member[i];
}

uint32_t owner_group_holders(const struct owner_group *g, struct owner_host out[OWNER_MAX_HOSTS])
{
        memcpy(out, g->base.hosts, sizeof(g->base.hosts));
        return g->base.nhosts;
}

void *owner_group_context(const struct owner_group *g)
{
        return g->context;
}

void owner_group_set_context(struct owner_group *g, void *context)
{
        g->context = context;
}

struct owner_group *owner_group_by_token(struct owner *o, const struct owner_token *token)
{
        struct owner_group *g;

        list_for_each (g, &o->groups, node)
                if (owner_token_equal(&g->base.token, token))
                        return g;
        return NULL;
}
