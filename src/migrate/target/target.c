/* The target of a migration: finds the source, prepares the volumes, pulls.
 *
 *   ASKING    every peer of the disks' pools is asked who has a live token for the domain
 *   CREATING  the offer is checked whole before anything is made; then what is missing is created
 *   STAGING   STAGED(tok) is made durable for all volumes
 *   CLEARING  controllers suspended (nothing can be served), older copies emptied
 *   PULLING   OPEN sent; every chunk is written, then acknowledged
 *   DONE      what remained fitted the pause budget: the hook was answered; pulling goes on
 *
 * A lost connection is dialled again; the source sends again what was not acknowledged. Another
 * incarnation of the source means that the token is dead: the copy is refused. Everything that was
 * acknowledged is made durable by one flush before TAKE.
 */
#include "base/eventlog.h"
#include "base/log.h"
#include "migrate/target/internal.h"

#include <errno.h>
#include <stdio.h>

enum { MIN_BUDGET_BYTES = 1 << 20 };

#define REDIAL_NS UINT64_C(500000000)
#define SILENT_NS UINT64_C(15000000000)
#define LOST_NS UINT64_C(30000000000)
#define CONVERGE_NS UINT64_C(120000000000)
#define PROGRESS_NS UINT64_C(500000000)

struct pull *pull_of(struct list *node)
{
        return container_of(node, struct pull, node);
}

const struct uuid *pull_domain(const struct pull *p)
{
        return &p->domain;
}

struct owner_group *pull_group(const struct pull *p)
{
        return p->staged ? owner_group_by_token(p->m->owner, &p->stage.token) : NULL;
}

void pull_progress(const struct pull *p, struct migrate_progress *ret)
{
        *ret = (struct migrate_progress){
            .moved_bytes = p->moved_bytes,
            .total_bytes = MAX(p->total_bytes, p->moved_bytes),
            .remaining_bytes = p->remaining_bytes,
            .passes = p->passes,
        };
}

/* ---- life ---- */

static void answer(struct pull *p, int status, const struct err *err)
{
        struct migrate_incoming *r = steal_ptr(&p->request);

        if (!r)
                return;
        r->priv = NULL;
        r->done(r, status, err);
}

static void pull_free(struct pull *p)
{
        loop_timer_disarm(&p->timer);
        loop_defer_cancel(&p->later);
        for (uint32_t i = 0; i < p->nasked; i++)
                free(p->asked[i].offer);
        list_del(&p->node);
        free(p);
}

/* Answers and frees at the end of a turn, when nothing comes back any more. */
static void ended(struct loop_defer *d)
{
        struct pull *p = container_of(d, struct pull, later);

        answer(p, p->why.code ? -p->why.code : -ECANCELED, &p->why);
        if (!p->busy && !p->writes && !p->preparing)
                pull_free(p);
}

void pull_look_again(struct pull *p)
{
        p->later.call = ended;
        loop_defer(p->m->s.loop, &p->later);
}

static void end(struct pull *p)
{
        p->phase = ENDED;
        p->peer = NULL;
        loop_timer_disarm(&p->timer);
        pull_look_again(p);
}

/* The source would keep its token, and log, for nothing. */
static void tell_source(struct pull *p)
{
        struct peer_frame f = {.type = PEER_FAIL, .token = p->offer.token};

        f.fail.code = p->why.code ? p->why.code : ECANCELED;
        snprintf(f.fail.text, sizeof(f.fail.text), "%.255s", p->why.msg);
        if (p->peer && peer_is_up(p->peer))
                migrate_send_frame(p->peer, &f);
}

void pull_refuse(struct pull *p, int code, const char *fmt, ...)
{
        struct owner_group *g;
        va_list ap;

        if (p->phase == ENDED)
                return;
        if (!p->why.code) {
                p->why.code = code;
                va_start(ap, fmt);
                vsnprintf(p->why.msg, sizeof(p->why.msg), fmt, ap);
                va_end(ap);
        }
        eventlog_emit("migrate-target-failed", "\"code\":%d", code);
        log_debug("migrate", "target: %s", p->why.msg);
        if ((g = pull_group(p)) && owner_group_context(g) == p) {
                owner_target_failed(g, &p->why); /* comes back in pull_stop */
                return;
        }
        if (p->staging)
                return; /* owner_stage's answer comes back and ends it */
        tell_source(p);
        end(p);
}

void pull_stop(struct pull *p)
{
        struct owner_group *g = pull_group(p);
        struct migrate_progress progress;

        pull_progress(p, &progress);
        if (!g || owner_group_state(g) == OWNER_REFUSED)
                tell_source(p);
        if (g) {
                migrate_remember(p->m, g, false, &progress);
                owner_group_set_context(g, NULL);
        }
        if (!p->why.code)
                err_set(&p->why, ECANCELED, "the migration was given up");
        end(p);
}

void pull_fail(struct pull *p, const struct err *why)
{
        pull_refuse(p, why->code, "%s", why->msg);
}

void pull_abandon(struct pull *p)
{
        struct owner_group *g = pull_group(p);

        if (g && owner_group_context(g) == p)
                owner_group_set_context(g, NULL);
        answer(p, -ECANCELED, &(struct err){ECANCELED, "zonepoold is stopping"});
        pull_free(p);
}

/* ---- pulling ---- */

void pull_open(struct pull *p)
{
        struct peer_frame f = {.type = PEER_OPEN, .token = p->stage.token};

        p->want_open = p->writes > 0;
        f.open.session = p->session;
        if (!p->want_open && p->peer && peer_is_up(p->peer))
                migrate_send_frame(p->peer, &f);
}

void pull_advance(struct pull *p)
{
        struct migrate *m = p->m;
        uint64_t now = loop_now_ns(m->s.loop);

        switch (p->phase) {
        case ASKING:
                break;
        case CREATING:
                if (!p->nvolumes) { /* first time here */
                        loop_timer_disarm(&p->timer);
                        if (!pull_check_offer(p))
                                return;
                }
                if (p->next < p->nvolumes) {
                        pull_create_next(p);
                        return;
                }
                p->phase = STAGING;
                pull_stage(p);
                break;
        case STAGING:
                break;
        case CLEARING:
                if (p->next < p->nvolumes) {
                        pull_clear_next(p);
                        return;
                }
                p->phase = PULLING;
                p->heard_ns = p->rate_ns = now;
                if (!p->peer)
                        p->lost_since_ns = now;
                loop_timer_arm(m->s.loop, &p->timer, now);
                pull_open(p);
                break;
        case PULLING:
        case DONE:
        case ENDED:
                break;
        }
}

static bool fits(const struct pull *p, uint64_t now)
{
        uint64_t ns = now - p->rate_ns;

        if (!p->mapped)
                return false;
        if (p->remaining_bytes <= MIN_BUDGET_BYTES)
                return true;
        double rate = ns ? (double)p->rate_bytes / (double)ns : 0;
        return (double)p->remaining_bytes <= rate * (double)p->m->s.pause_budget_ns;
}

static void report(struct pull *p, uint64_t now)
{
        struct migrate_progress progress;

        if (!p->request || !p->request->progress || now - p->progress_ns < PROGRESS_NS)
                return;
        p->progress_ns = now;
        pull_progress(p, &progress);
        p->request->progress(p->request, &progress);
}

static void got_progress(struct pull *p, const struct peer_frame *f)
{
        uint64_t now = loop_now_ns(p->m->s.loop);

        p->remaining_bytes = f->progress.remaining_bytes;
        p->total_bytes = f->progress.total_bytes;
        p->passes = f->progress.passes;
        if (f->progress.mapped && !p->mapped)
                p->mapped_since_ns = now;
        p->mapped |= f->progress.mapped;
        if (p->phase == PULLING && fits(p, now)) {
                p->phase = DONE;
                eventlog_emit("migrate-bulk-done",
                              "\"moved_bytes\":%llu,\"remaining_bytes\":%llu,\"passes\":%u",
                              (unsigned long long)p->moved_bytes,
                              (unsigned long long)p->remaining_bytes, p->passes);
                answer(p, 0, NULL);
        }
        if (p->passes && now - p->rate_ns > 2 * PROGRESS_NS) {
                p->rate_ns = now - PROGRESS_NS; /* a rate of late */
                p->rate_bytes /= 2;
        }
}

static void got_delta(struct pull *p, const struct peer_frame *f)
{
        struct owner_group *g = pull_group(p);

        if (f->delta.nvolumes != p->nvolumes) {
                pull_refuse(p, EPROTO, "the source sends states of other controllers");
                return;
        }
        if (p->writes || !g)
                return; /* not after what was acknowledged: no delta of ours */
        for (uint32_t i = 0; i < p->nvolumes; i++) {
                p->v[i].state_len = f->delta.v[i].len;
                memcpy(p->v[i].state, f->delta.v[i].state, f->delta.v[i].len);
        }
        p->seq = f->delta.seq;
        p->has_delta = true;
        eventlog_emit("migrate-delta-received", "\"seq\":%llu,\"moved_bytes\":%llu",
                      (unsigned long long)p->seq, (unsigned long long)p->moved_bytes);
        owner_delta(g, p->seq);
}

void pull_frame(struct pull *p, struct peer *peer, const struct peer_frame *f)
{
        if (p->phase == ENDED)
                return;
        if (f->type == PEER_HAS) {
                pull_got_has(p, peer, f);
                return;
        }
        if (peer != p->peer || (p->phase != PULLING && p->phase != DONE) ||
            !owner_token_equal(&f->token, &p->stage.token))
                return;
        p->heard_ns = loop_now_ns(p->m->s.loop);
        if (f->type == PEER_DATA)
                pull_got_data(p, peer, f);
        else if (f->type == PEER_PROGRESS)
                got_progress(p, f);
        else if (f->type == PEER_DELTA)
                got_delta(p, f);
        else if (f->type == PEER_FAIL)
                pull_refuse(p, f->fail.code ? f->fail.code : EIO, "the source gave up: %s",
                            f->fail.text);
}

/* ---- connections and time ---- */

void pull_peer_up(struct pull *p, struct peer *peer)
{
        struct asked *a;

        if (p->phase == ASKING) {
                if ((a = pull_asked(p, peer)))
                        a->why = ERR_INIT;
                return;
        }
        if (peer != p->peer || p->phase == ENDED)
                return;
        if (peer_incarnation(peer) != p->incarnation ||
            !uuid_equal(&peer_host(peer)->uuid, &p->source.uuid)) {
                pull_refuse(p, ECONNRESET, "the source's zonepoold was restarted");
                return;
        }
        p->lost_since_ns = 0;
        p->up_ns = loop_now_ns(p->m->s.loop);
        if (p->phase == PULLING || p->phase == DONE)
                pull_open(p);
}

void pull_peer_down(struct pull *p, struct peer *peer, const struct err *err)
{
        struct asked *a = pull_asked(p, peer);
        uint64_t now = loop_now_ns(p->m->s.loop);

        if (a) {
                a->peer = NULL;
                if (!a->answered && !a->why.code)
                        a->why = *err;
        }
        if (p->phase == ENDED)
                return;
        if (p->phase == ASKING) {
                if (pull_all_answered(p))
                        pull_decide(p);
                return;
        }
        if (peer != p->peer)
                return;
        p->peer = NULL;
        p->lost_since_ns = now;
        if (p->phase == PULLING || p->phase == DONE)
                loop_timer_arm(p->m->s.loop, &p->timer, now + REDIAL_NS);
}

static void redial(struct pull *p, uint64_t now)
{
        struct err err = ERR_INIT;

        if (now - p->lost_since_ns > LOST_NS) {
                pull_refuse(p, ETIMEDOUT,
                            "the connection to the source was lost and does not come back");
                return;
        }
        if (peers_dial(p->m->peers, p->source.address, &p->peer, &err) < 0)
                p->peer = NULL;
        else if (peer_is_up(p->peer))
                pull_peer_up(p, p->peer);
}

static void on_timer(struct loop_timer *t)
{
        struct pull *p = container_of(t, struct pull, timer);
        uint64_t now = loop_now_ns(p->m->s.loop);

        if (p->phase == ASKING) {
                pull_decide(p);
                return;
        }
        if (p->phase != PULLING && p->phase != DONE)
                return;
        struct owner_group *g = pull_group(p);
        if (!g || owner_group_state(g) != OWNER_STAGED)
                return; /* it is this host's now: nothing more is pulled */
        loop_timer_arm(p->m->s.loop, t, now + REDIAL_NS);
        report(p, now);
        if (!p->peer) {
                redial(p, now);
                return;
        }
        if (!p->has_delta && now - MAX(p->heard_ns, p->up_ns) > SILENT_NS) {
                pull_refuse(p, ETIMEDOUT, "the source does not send any more");
                return;
        }
        if (p->phase == PULLING && p->mapped && p->passes && !fits(p, now) &&
            now - p->mapped_since_ns > CONVERGE_NS && p->passes > 20)
                pull_refuse(p, ETIMEDOUT,
                            "the guest writes faster than its volumes can be moved: %llu "
                            "bytes differ still after %u passes",
                            (unsigned long long)p->remaining_bytes, p->passes);
}

static void begin(struct loop_defer *d)
{
        pull_ask_peers(container_of(d, struct pull, later));
}

void pull_start(struct migrate *m, const struct uuid *domain, const struct migrate_disk *disks,
                uint32_t n, struct migrate_incoming *r)
{
        struct pull *p = calloc(1, sizeof(*p));

        if (!p)
                return;
        p->m = m;
        p->phase = ASKING;
        p->session = ++m->next_request << 32 | (uint32_t)m->s.incarnation;
        p->domain = *domain;
        p->request = r;
        r->priv = p;
        p->ndisks = n;
        memcpy(p->disks, disks, n * sizeof(*disks));
        p->timer.fire = on_timer;
        p->later.call = begin;
        list_add_tail(&m->pulls, &p->node);
        loop_defer(m->s.loop, &p->later);
}
