/* The state machine of a group of volumes: one event at a time, by the table (table.c).
 *
 * Applying a row: shut the gates, write the records of the whole group, then messages, actions,
 * gates, answers. While a write is under way nothing else of the group moves: messages are dropped
 * (their senders repeat them), rings and failures are looked at again afterwards, one Acquire is
 * kept.
 *
 * Crash behaviour: whatever happens after the write rests on durable records; whatever was only in
 * RAM (OFFERED, SUSPENDED, waiting Acquires) is gone after a restart, which the table allows for.
 *
 * A record that cannot be written leaves the group `broken`: its gates stay shut and all is refused
 * until the daemon starts again and reads what is on disk.
 */
#include "migrate/owner/internal.h"

#include <errno.h>

/* A deletion is answered after so long although a host has not acknowledged. */
#define TOMB_ANSWER_NS (3 * SECOND_NS)

static unsigned conditions(const struct owner_group *g)
{
        unsigned c = 0;

        if (owner_group_rings(g))
                c |= OWNER_C_RINGS;
        if (g->have_delta)
                c |= OWNER_C_DELTA;
        if (g->acquire)
                c |= OWNER_C_ACQUIRE;
        if (g->taking)
                c |= OWNER_C_TAKING;
        if (g->preparing)
                c |= OWNER_C_PREPARING;
        if (owner_group_qemu(g))
                c |= OWNER_C_QEMU;
        return c;
}

static bool same_epochs(const struct owner_group *g, const struct owner_msg *m)
{
        if (m->nvolumes != g->base.nvolumes || m->seq != g->seq)
                return false;
        for (unsigned i = 0; i < m->nvolumes; i++)
                if (!uuid_equal(&m->volumes[i].uuid, &g->base.volumes[i].uuid) ||
                    m->volumes[i].epoch_before != g->base.volumes[i].epoch_before)
                        return false;
        return true;
}

/* The host that took becomes the peer; whoever held a copy before stays in the list. */
static void set_peer(struct owner_group *g, const struct owner_host *to)
{
        struct owner_host list[OWNER_MAX_HOSTS] = {*to};
        uint8_t n = 1;

        for (unsigned i = 0; i < g->base.nhosts && n < OWNER_MAX_HOSTS; i++)
                if (!uuid_equal(&g->base.hosts[i].uuid, &to->uuid))
                        list[n++] = g->base.hosts[i];
        memcpy(g->base.hosts, list, sizeof(list));
        g->base.nhosts = n;
}

static int start_write(struct owner_group *g, const struct owner_rule *row)
{
        struct owner *o = g->owner;
        enum owner_origin origin = OWNER_ORIGIN_NONE;

        if (!g->recs)
                g->recs = calloc(OWNER_MAX_VOLUMES, sizeof(*g->recs));
        if (!g->recs)
                return -ENOMEM;
        if (row->to == OWNER_ACTIVE)
                origin = row->state == OWNER_GIVEN ? OWNER_ORIGIN_BACK : OWNER_ORIGIN_TAKEN;
        g->write.n = 0;
        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                if (!g->member[i])
                        continue;
                struct owner_record *rec = &g->recs[i];
                *rec = g->base;
                rec->state = row->to;
                rec->origin = origin;
                rec->evictable = row->actions & OWNER_A_EVICTABLE;
                rec->epoch = g->base.volumes[i].epoch_before + row->epoch_add;
                rec->qemu_pid = (uint32_t)g->qemu_pid;
                rec->qemu_start = g->qemu_start;
                rec->boot_id = o->s.boot_id;
                g->write.item[g->write.n].volume = g->member[i]->handle;
                g->write.item[g->write.n].record = rec;
                g->write.n++;
        }
        if (!g->write.n)
                return -ENODEV;
        o->ops.write(o->ops.ctx, &g->write);
        return 0;
}

static void run_actions(struct owner_group *g, const struct owner_rule *row)
{
        struct owner *o = g->owner;
        unsigned a = row->actions;

        if (a & OWNER_A_NEW_SEQ)
                g->seq++;
        if (a & (OWNER_A_TOKEN_DEAD | OWNER_A_STOP_SOURCE))
                o->ops.source_stop(o->ops.ctx, g);
        if (a & OWNER_A_STOP_PULL) {
                g->have_delta = g->taking = g->preparing = false;
                o->ops.target_stop(o->ops.ctx, g);
        }
        if (a & OWNER_A_DELTA)
                o->ops.source_delta(o->ops.ctx, g, g->seq);
        if (a & OWNER_A_PREPARE) {
                g->preparing = true;
                owner_group_wait(g, OWNER_MSG_NONE, o->s.take_ns);
                o->ops.target_prepare(o->ops.ctx, g);
        }
        if (a & OWNER_A_WAIT) {
                uint64_t ns = row->send == OWNER_MSG_PULL  ? o->s.max_pause_ns
                              : row->send == OWNER_MSG_ASK ? o->s.ask_ns
                                                           : o->s.take_ns;
                g->taking = row->send == OWNER_MSG_TAKE;
                owner_group_wait(g, row->send, ns);
        }
        if (a & (OWNER_A_RESUME | OWNER_A_TOKEN_DEAD)) {
                g->resuming = true;
                o->ops.resume(o->ops.ctx, g);
        }
}

/* Looks at what came while the write was under way. g may be gone afterwards. */
void owner_group_after_row(struct owner_group *g)
{
        bool rings = owner_group_rings(g);

        if (g->failed_later) {
                g->failed_later = false;
                owner_dispatch(g, OWNER_EV_FAILED, 0, NULL, NULL);
                return;
        }
        if (g->pending) {
                struct owner_request *r = steal_ptr(&g->pending);
                owner_group_acquire(g, g->pending_event, r);
                return;
        }
        if (g->state == OWNER_OWNED && rings && !g->resuming)
                owner_dispatch(g, OWNER_EV_RINGS_ON, 0, NULL, NULL);
}

/* Every host that held a copy has acknowledged the tombstone. */
static void forget(struct owner_group *g)
{
        struct owner *o = g->owner;
        void *handle = g->member[0] ? g->member[0]->handle : NULL;
        struct owner_request *r = steal_ptr(&g->special);

        owner_group_dissolve(g);
        if (r)
                owner_answer(o, r, 0, NULL); /* who asked deletes it */
        else if (handle)
                o->ops.delete_copy(o->ops.ctx, handle);
}

/* The row is durable, if it had to be. g may be gone afterwards. */
static void finish_row(struct owner_group *g)
{
        struct owner *o = g->owner;
        const struct owner_rule *row = g->row;

        g->row = NULL;
        g->state = row->to;
        if (row->state != row->to)
                owner_group_wait_over(g);
        if (row->send == OWNER_MSG_ACTIVE_REPORT)
                owner_report_add(o, &g->base.hosts[0], &g->base.token);
        else if (row->send != OWNER_MSG_NONE && !(row->send == OWNER_MSG_TOMB && !g->base.nhosts))
                owner_group_send(g, row->send,
                                 uuid_is_nil(&g->from.uuid) ? &g->base.hosts[0] : &g->from);
        run_actions(g, row);
        for (unsigned i = 0; i < g->base.nvolumes; i++)
                if (g->member[i])
                        owner_update_gate(g->member[i]);
        if (row->actions & OWNER_A_REFUSE)
                owner_group_answer(g, -1, g->event);
        if ((row->actions & OWNER_A_ANSWER_OK) && !g->resuming)
                owner_group_answer(g, 0, g->event);
        if (!g->acquire && g->state != OWNER_TOMB)
                owner_group_wait_over(g);
        owner_group_wait_for_puller(g);
        if (g->event == OWNER_EV_STAGE && g->special)
                owner_answer(o, steal_ptr(&g->special), 0, NULL);
        if (g->state == OWNER_TOMB && g->event == OWNER_EV_DELETE) {
                g->interval_ns = o->s.retry_ns;
                g->deadline_ns = loop_now_ns(o->s.loop) + TOMB_ANSWER_NS;
                loop_timer_arm(o->s.loop, &g->timer, loop_now_ns(o->s.loop) + g->interval_ns);
        }
        if (row->actions & OWNER_A_FORGET) {
                forget(g);
                return;
        }
        if (g->state == OWNER_ACTIVE && !g->resuming && !g->pending && !g->failed_later) {
                owner_group_dissolve(g);
                return;
        }
        owner_group_after_row(g);
}

void owner_group_written(struct owner_write *w, int status)
{
        struct owner_group *g = container_of(w, struct owner_group, write);
        struct owner *o = g->owner;
        struct err err = ERR_INIT;
        char what[256];

        if (!status) {
                for (unsigned i = 0; i < g->base.nvolumes; i++)
                        if (g->member[i])
                                g->member[i]->rec = g->recs[i];
                finish_row(g);
                return;
        }
        g->broken = true;
        g->row = NULL;
        owner_group_wait_over(g);
        err_set(&err, status < 0 ? -status : EIO,
                "the ownership of %s could not be recorded: mend the pool, then restart zonepoold",
                owner_group_text(g, what));
        for (unsigned i = 0; i < g->base.nvolumes; i++)
                if (g->member[i])
                        owner_update_gate(g->member[i]);
        if (g->acquire)
                owner_acquire_done(o, steal_ptr(&g->acquire), -err.code, &err);
        if (g->pending)
                owner_acquire_done(o, steal_ptr(&g->pending), -err.code, &err);
        if (g->special)
                owner_answer(o, steal_ptr(&g->special), -err.code, &err);
}

/* A token may have been staged by more hosts than one: what was given was given to one, and only
 * that one may take again, give back or report. A target listens to its source only. */
static bool from_our_peer(const struct owner_group *g, const struct owner_host *from)
{
        if (g->state == OWNER_OFFERED || g->state == OWNER_SUSPENDED || g->state == OWNER_ACTIVE)
                return true;
        return g->base.nhosts && uuid_equal(&g->base.hosts[0].uuid, &from->uuid);
}

bool owner_dispatch(struct owner_group *g, enum owner_event event, unsigned extra,
                    const struct owner_host *from, const struct owner_msg *msg)
{
        struct owner *o = g->owner;
        const struct owner_rule *row;
        int rc = 0;

        if (g->row || g->broken || g->unresolved) {
                g->failed_later |= event == OWNER_EV_FAILED && g->row;
                return g->row != NULL;
        }
        if (msg && owner_token_equal(&msg->token, &g->base.token) && from_our_peer(g, from))
                extra |= OWNER_C_TOKEN;
        if (msg && same_epochs(g, msg))
                extra |= OWNER_C_SEQ;
        row = owner_rule_find(g->state, event, conditions(g) | extra);
        o->ops.transition(o->ops.ctx, g, row, event);
        if (!row)
                return false;
        g->row = row;
        g->event = event;
        g->from = from ? *from : (struct owner_host){0};
        if (event == OWNER_EV_TAKE && row->to == OWNER_GIVEN && row->durable)
                set_peer(g, from);
        if (row->to == OWNER_REFUSED && row->durable)
                owner_group_remember_why(g, event);
        if (row->gate == OWNER_GATE_SHUT)
                for (unsigned i = 0; i < g->base.nvolumes; i++)
                        if (g->member[i])
                                owner_update_gate(g->member[i]);
        if (!row->durable) {
                finish_row(g);
                return true;
        }
        rc = start_write(g, row);
        if (rc < 0)
                owner_group_written(&g->write, rc);
        return true;
}
