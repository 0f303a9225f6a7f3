/* Messages of peers, deletion and its tombstones, reclaim; see owner.h. */
#include "migrate/owner/internal.h"

#include <errno.h>
#include <stdio.h>

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
