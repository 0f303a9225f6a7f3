/* A group of volumes: its life, what is said of it, and what comes to it beside messages and front
 * ends: Acquire, and what the engine reports. What an event does is in row.c.
 */
#include "migrate/owner/internal.h"

#include <errno.h>
#include <stdio.h>

struct owner_group *owner_group_new(struct owner *o)
{
        struct owner_group *g = calloc(1, sizeof(*g));

        if (!g)
                return NULL;
        g->owner = o;
        g->timer.fire = owner_group_timer;
        g->write.done = owner_group_written;
        list_add_tail(&o->groups, &g->node);
        return g;
}

void owner_group_adopt(struct owner_group *g, uint32_t index, struct owner_volume *v)
{
        if (v->group && v->group != g)
                owner_volume_leave(v);
        g->member[index] = v;
        v->group = g;
}

void owner_volume_leave(struct owner_volume *v)
{
        struct owner_group *g = v->group;
        bool any = false;

        if (!g)
                return;
        v->group = NULL;
        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                if (g->member[i] == v)
                        g->member[i] = NULL;
                any |= g->member[i] != NULL;
        }
        if (!any && !g->row)
                owner_group_dissolve(g);
}

void owner_group_dissolve(struct owner_group *g)
{
        struct owner *o = g->owner;

        for (unsigned i = 0; i < g->base.nvolumes; i++)
                if (g->member[i])
                        g->member[i]->group = NULL;
        if (g->context) {
                o->ops.source_stop(o->ops.ctx, g);
                o->ops.target_stop(o->ops.ctx, g);
        }
        if (g->acquire)
                owner_answer_text(o, steal_ptr(&g->acquire), ECANCELED, "the hand-over has ended");
        if (g->pending)
                owner_answer_text(o, steal_ptr(&g->pending), ECANCELED, "the hand-over has ended");
        if (g->special)
                owner_answer_text(o, steal_ptr(&g->special), ECANCELED, "the hand-over has ended");
        loop_timer_disarm(&g->timer);
        list_del(&g->node);
        free(g->recs);
        free(g);
}

bool owner_group_rings(const struct owner_group *g)
{
        for (unsigned i = 0; i < g->base.nvolumes; i++)
                if (g->member[i] && g->member[i]->rings)
                        return true;
        return false;
}

/* May a QEMU that took these volumes still run? Connected ones do; the one that acquired is known
 * by pid and start time, also over a restart of the daemon (record.h). */
bool owner_group_qemu(const struct owner_group *g)
{
        struct owner *o = g->owner;
        uint64_t start;

        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                const struct owner_volume *v = g->member[i];
                if (v && v->connected)
                        return true;
        }
        if (g->qemu_pid > 0 && o->ops.process_alive(o->ops.ctx, g->qemu_pid, &start) &&
            start == g->qemu_start)
                return true;
        return false;
}

const char *owner_group_text(const struct owner_group *g, char buf[256])
{
        const struct owner_volume *first = NULL;
        unsigned n = 0;

        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                if (!g->member[i])
                        continue;
                if (!n++)
                        first = g->member[i];
        }
        if (!first)
                snprintf(buf, 256, "no volume");
        else if (n == 1)
                snprintf(buf, 256, "%s/%s", first->pool, first->name);
        else
                snprintf(buf, 256, "%s/%s and %u more", first->pool, first->name, n - 1);
        return buf;
}

const char *owner_peer_text(const struct owner_group *g)
{
        return g->base.nhosts && g->base.hosts[0].address[0] ? g->base.hosts[0].address
                                                             : "another host";
}

void owner_group_send(struct owner_group *g, enum owner_msg_kind kind, const struct owner_host *to)
{
        struct owner *o = g->owner;
        struct owner_msg m = {.kind = kind, .token = g->base.token, .seq = g->seq};

        if (kind == OWNER_MSG_TAKE || kind == OWNER_MSG_TOMB) {
                m.nvolumes = g->base.nvolumes;
                memcpy(m.volumes, g->base.volumes, sizeof(m.volumes));
                for (unsigned i = 0; i < m.nvolumes; i++)
                        m.volumes[i].pool = 0; /* an index of ours */
        }
        if (kind == OWNER_MSG_TOMB) {
                snprintf(m.pool, sizeof(m.pool), "%s", g->base.pools[0]);
                for (unsigned i = 0; i < g->base.nhosts; i++)
                        o->ops.send(o->ops.ctx, &g->base.hosts[i], &m);
                return;
        }
        o->ops.send(o->ops.ctx, to, &m);
}

/* ---- what the lock driver asks ---- */

void owner_group_acquire(struct owner_group *g, enum owner_event event, struct owner_request *r)
{
        struct owner *o = g->owner;
        struct err err = ERR_INIT;
        char what[256];
        bool waits = g->acquire && g->state == OWNER_STAGED;

        if (g->broken || g->unresolved) {
                if (g->broken)
                        err_set(&err, EIO,
                                "the ownership of %s could not be recorded: mend the "
                                "pool, then restart zonepoold",
                                owner_group_text(g, what));
                else
                        err_set(&err, EAGAIN,
                                "who owns %s is not known until all pools of its last migration "
                                "are imported: import them",
                                owner_group_text(g, what));
                owner_acquire_done(o, r, -err.code, &err);
                return;
        }
        if (g->row || g->resuming) {
                if (g->pending)
                        owner_answer_text(o, g->pending, EBUSY, "a newer request took its place");
                g->pending = r;
                g->pending_event = event;
                return;
        }
        if (g->acquire)
                owner_answer_text(o, steal_ptr(&g->acquire), EBUSY,
                                  "a newer request took its place");
        g->acquire = r;
        if (waits && event == OWNER_EV_ACQUIRE_TOKEN)
                return; /* goes on where the former stood */
        if (!owner_dispatch(g, event, 0, NULL, NULL))
                owner_group_answer(g, -1, event);
}

/* ---- what the engine and the ops report ---- */

void owner_resumed(struct owner_group *g, int status)
{
        struct owner *o = g->owner;

        if (!g->resuming)
                return;
        g->resuming = false;
        if (status && g->acquire) {
                char what[256];
                struct err err = ERR_INIT;
                err_set(&err, status < 0 ? -status : EIO, "the controller of %s does not resume",
                        owner_group_text(g, what));
                owner_acquire_done(o, steal_ptr(&g->acquire), -err.code, &err);
        }
        owner_group_answer(g, 0, g->event);
        if (g->state == OWNER_ACTIVE && !g->pending && !g->row) {
                owner_group_dissolve(g);
                return;
        }
        if (!g->row)
                owner_group_after_row(g);
}

void owner_delta(struct owner_group *g, uint64_t seq)
{
        uint64_t before = g->seq;

        if (g->state != OWNER_STAGED || g->row || g->broken || g->taking || g->preparing)
                return;
        g->seq = seq;
        g->have_delta = true;
        if (!owner_dispatch(g, OWNER_EV_DELTA, OWNER_C_TOKEN, NULL, NULL))
                g->seq = before;
}

void owner_target_ready(struct owner_group *g, int status, const struct err *err)
{
        if (!g->preparing)
                return;
        if (status) {
                owner_target_failed(g, err);
                return;
        }
        g->preparing = false;
        owner_dispatch(g, OWNER_EV_READY, 0, NULL, NULL);
}

void owner_target_failed(struct owner_group *g, const struct err *err)
{
        if (g->state == OWNER_STAGED || (g->row && g->row->to == OWNER_STAGED)) {
                if (err && !g->why.code)
                        g->why = *err;
                owner_dispatch(g, OWNER_EV_FAILED, 0, NULL, NULL);
        }
}

void owner_source_failed(struct owner_group *g, const struct err *err)
{
        if (g->state == OWNER_OFFERED || (g->state == OWNER_SUSPENDED && !g->row))
                owner_dispatch(g, OWNER_EV_FAILED, 0, NULL, NULL);
}
