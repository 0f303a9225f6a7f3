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

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* A deletion is answered after so long although a host has not acknowledged. */
#define TOMB_ANSWER_NS (3 * SECOND_NS)

static void group_timer(struct loop_timer *t);
static void write_done(struct owner_write *w, int status);

struct owner_group *owner_group_new(struct owner *o)
{
        struct owner_group *g = calloc(1, sizeof(*g));

        if (!g)
                return NULL;
        g->owner = o;
        g->timer.fire = group_timer;
        g->write.done = write_done;
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

/* ---- waiting ---- */

static void wait_for(struct owner_group *g, enum owner_msg_kind repeat, uint64_t total_ns)
{
        struct owner *o = g->owner;
        uint64_t now = loop_now_ns(o->s.loop);

        g->repeat = repeat;
        g->interval_ns = o->s.retry_ns;
        g->deadline_ns = now + total_ns;
        loop_timer_arm(o->s.loop, &g->timer, now + MIN(g->interval_ns, total_ns));
}

static void wait_over(struct owner_group *g)
{
        g->repeat = OWNER_MSG_NONE;
        loop_timer_disarm(&g->timer);
}

/* libvirt does not say that a migration ended before its target came to pull: an offer that nobody
 * has come for ends by its age, or as soon as its guest has gone. What came for it may still run
 * the guest. */
static void wait_for_puller(struct owner_group *g)
{
        struct owner *o = g->owner;

        if (g->state != OWNER_OFFERED || g->pulled)
                return;
        if (g->event == OWNER_EV_INQUIRE)
                g->deadline_ns = loop_now_ns(o->s.loop) + o->s.offer_ns;
        else if (g->event == OWNER_EV_QEMU_GONE)
                g->deadline_ns = loop_now_ns(o->s.loop);
        loop_timer_arm(o->s.loop, &g->timer, g->deadline_ns);
}

void owner_group_set_pulled(struct owner_group *g)
{
        g->pulled = true;
        if (g->state == OWNER_OFFERED)
                wait_over(g);
}

static void group_timer(struct loop_timer *t)
{
        struct owner_group *g = container_of(t, struct owner_group, timer);
        struct owner *o = g->owner;
        uint64_t now = loop_now_ns(o->s.loop);

        if (g->row) { /* a write is under way: look again later */
                loop_timer_arm(o->s.loop, &g->timer, now + o->s.retry_ns);
                return;
        }
        if (g->state == OWNER_TOMB) {
                if (g->special && now >= g->deadline_ns)
                        owner_answer(o, steal_ptr(&g->special), -EINPROGRESS, NULL);
                g->interval_ns = MIN(g->interval_ns * 2, 60 * SECOND_NS);
                loop_timer_arm(o->s.loop, &g->timer, now + g->interval_ns);
                owner_dispatch(g, OWNER_EV_TIMEUP, 0, NULL, NULL);
                return;
        }
        if (g->state == OWNER_OFFERED) {
                if (now < g->deadline_ns)
                        loop_timer_arm(o->s.loop, &g->timer, g->deadline_ns);
                else
                        owner_dispatch(g, OWNER_EV_FAILED, 0, NULL, NULL);
                return;
        }
        if (now >= g->deadline_ns) {
                g->repeat = OWNER_MSG_NONE;
                owner_dispatch(g, OWNER_EV_TIMEUP, 0, NULL, NULL);
                return;
        }
        if (g->repeat != OWNER_MSG_NONE && g->base.nhosts)
                owner_group_send(g, g->repeat, &g->base.hosts[0]);
        loop_timer_arm(o->s.loop, &g->timer, MIN(now + g->interval_ns, g->deadline_ns));
}

/* ---- texts of refusals ---- */

static void refusal(const struct owner_group *g, enum owner_event event, struct err *err)
{
        char what[256];
        const char *peer = owner_peer_text(g);

        owner_group_text(g, what);
        if (g->state == OWNER_GIVEN && event == OWNER_EV_TIMEUP)
                err_set(err, ETIMEDOUT,
                        "%s was handed over to %s, which does not answer: bring it back, then try "
                        "again (if it is lost for good: zonepool volume reclaim --force)",
                        what, peer);
        else if (g->state == OWNER_GIVEN)
                err_set(err, EREMOTE,
                        "%s belongs to %s now: run the domain there and destroy it here", what,
                        peer);
        else if (g->state == OWNER_REFUSED && g->why.code)
                err_set(err, g->why.code, "%s was not taken over from %s: %s", what, peer,
                        g->why.msg);
        else if (g->state == OWNER_REFUSED || g->state == OWNER_STAGED)
                err_set(err, EREMOTE,
                        "%s is only a copy, its owner is %s: resume or start the domain there",
                        what, peer);
        else
                err_set(err, EBUSY, "%s is %s: %s is refused", what, owner_state_name(g->state),
                        owner_event_name(event));
}

/* What is remembered as the reason when a target refuses. */
static void remember_why(struct owner_group *g, enum owner_event event)
{
        const char *peer = owner_peer_text(g);

        if (g->why.code)
                return;
        if (event == OWNER_EV_NO)
                err_set(&g->why, EREMOTE, "%s no longer offers it", peer);
        else if (event == OWNER_EV_TIMEUP && g->taking)
                err_set(&g->why, ETIMEDOUT, "%s did not answer the request to hand over", peer);
        else if (event == OWNER_EV_TIMEUP && g->preparing)
                err_set(&g->why, ETIMEDOUT, "the staged data could not be flushed in time");
        else if (event == OWNER_EV_TIMEUP)
                err_set(&g->why, ETIMEDOUT, "the last changes did not come from %s in time", peer);
        else if (event == OWNER_EV_ASK)
                err_set(&g->why, EREMOTE, "%s asked for it back", peer);
}

static void answer_acquire(struct owner_group *g, int status, enum owner_event event)
{
        struct err err = ERR_INIT;
        struct owner_request *r = steal_ptr(&g->acquire);

        if (!r)
                return;
        if (status)
                refusal(g, event, &err);
        owner_acquire_done(g->owner, r, status ? -err.code : 0, &err);
}

/* ---- applying a row ---- */

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
                wait_for(g, OWNER_MSG_NONE, o->s.take_ns);
                o->ops.target_prepare(o->ops.ctx, g);
        }
        if (a & OWNER_A_WAIT) {
                uint64_t ns = row->send == OWNER_MSG_PULL  ? o->s.max_pause_ns
                              : row->send == OWNER_MSG_ASK ? o->s.ask_ns
                                                           : o->s.take_ns;
                g->taking = row->send == OWNER_MSG_TAKE;
                wait_for(g, row->send, ns);
        }
        if (a & (OWNER_A_RESUME | OWNER_A_TOKEN_DEAD)) {
                g->resuming = true;
                o->ops.resume(o->ops.ctx, g);
        }
}

/* Looks at what came while the write was under way. g may be gone afterwards. */
static void after_row(struct owner_group *g)
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
                wait_over(g);
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
                answer_acquire(g, -1, g->event);
        if ((row->actions & OWNER_A_ANSWER_OK) && !g->resuming)
                answer_acquire(g, 0, g->event);
        if (!g->acquire && g->state != OWNER_TOMB)
                wait_over(g);
        wait_for_puller(g);
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
        after_row(g);
}

static void write_done(struct owner_write *w, int status)
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
        wait_over(g);
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
                remember_why(g, event);
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
                write_done(&g->write, rc);
        return true;
}

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
                answer_acquire(g, -1, event);
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
        answer_acquire(g, 0, g->event);
        if (g->state == OWNER_ACTIVE && !g->pending && !g->row) {
                owner_group_dissolve(g);
                return;
        }
        if (!g->row)
                after_row(g);
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
