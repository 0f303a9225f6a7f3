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
 *
 * Bounds: MAX_WRITES chunks are being written; a source that sends more is cut off.
 */
#include "base/eventlog.h"
#include "base/log.h"
#include "base/size.h"
#include "migrate/migrate_internal.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_WRITES = 64, DEAC = 1 << 25, MIN_BUDGET_BYTES = 1 << 20 };

#define ASK_NS UINT64_C(4000000000)
#define REDIAL_NS UINT64_C(500000000)
#define SILENT_NS UINT64_C(15000000000)
#define LOST_NS UINT64_C(30000000000)
#define CONVERGE_NS UINT64_C(120000000000)
#define PROGRESS_NS UINT64_C(500000000)

enum pull_phase { ASKING, CREATING, STAGING, CLEARING, PULLING, DONE, ENDED };

struct asked {
        char address[TRANSPORT_ADDRESS];
        struct peer *peer; /* NULL: not reachable, or gone */
        bool answered, found;
        struct err why;
        struct peer_offer *offer; /* found */
        struct owner_host host;
        uint64_t incarnation;
};

struct pull_volume {
        struct migrate_volume *mv;
        bool existed;
        uint8_t state[PEER_STATE_MAX];
        uint16_t state_len;
        struct engine_cmd cmd;
};

struct pull {
        struct migrate *m;
        struct list node;
        enum pull_phase phase;
        struct uuid domain;
        struct migrate_incoming *request; /* NULL: answered */
        uint32_t ndisks;
        struct migrate_disk disks[OWNER_MAX_VOLUMES];
        uint64_t request_id;
        uint32_t nasked;
        struct asked asked[MIGRATE_MAX_PEERS];
        struct peer_offer offer;
        struct owner_host source;
        uint64_t incarnation; /* of the source */
        uint64_t session; /* of this pull: an older one's progress is not ours */
        struct owner_stage stage;
        struct owner_request stage_request;
        bool staging; /* owner_stage is under way */
        bool abandoned;
        uint32_t nvolumes, next; /* volume in work */
        struct pull_volume v[OWNER_MAX_VOLUMES];
        struct peer *peer;
        bool staged; /* the owner has the group */
        uint32_t busy; /* operations under way that come back here */
        uint32_t writes;
        uint32_t preparing; /* commands of pull_prepare */
        bool prepared_failed;
        uint64_t seq;
        bool has_delta;
        uint64_t lost_since_ns, heard_ns, up_ns, mapped_since_ns, progress_ns;
        uint64_t moved_bytes, remaining_bytes, total_bytes;
        uint64_t rate_bytes, rate_ns;
        uint32_t passes;
        bool mapped;
        struct loop_timer timer;
        struct loop_defer later;
        struct err why;
};

/* A chunk that is being written. */
struct write_part {
        struct nvm_request req;
        struct chunk_write *w;
};

struct chunk_write {
        struct pull *p;
        struct peer *peer;
        uint64_t chunk;
        uint32_t left;
        uint16_t status;
        uint8_t *payload;
        uint32_t nparts;
        struct write_part part[];
};

static void advance(struct pull *p);
static void fail(struct pull *p, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct list *pull_node(struct pull *p)
{
        return &p->node;
}

struct pull *pull_of(struct list *node)
{
        return container_of(node, struct pull, node);
}

const struct uuid *pull_domain(const struct pull *p)
{
        return &p->domain;
}

const struct owner_token *pull_token(const struct pull *p)
{
        return &p->stage.token;
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

static void end(struct pull *p)
{
        p->phase = ENDED;
        p->peer = NULL;
        loop_timer_disarm(&p->timer);
        p->later.call = ended;
        loop_defer(p->m->s.loop, &p->later);
}

static void fail(struct pull *p, int code, const char *fmt, ...)
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
        end(p);
}

void pull_stop(struct pull *p)
{
        struct owner_group *g = pull_group(p);
        struct migrate_progress progress;

        pull_progress(p, &progress);
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
        fail(p, why->code, "%s", why->msg);
}

void pull_abandon(struct pull *p)
{
        struct owner_group *g = pull_group(p);

        if (g && owner_group_context(g) == p)
                owner_group_set_context(g, NULL);
        answer(p, -ECANCELED, &(struct err){ECANCELED, "zonepoold is stopping"});
        pull_free(p);
}

/* ---- who has it? ---- */

static struct asked *asked_of(struct pull *p, const struct peer *peer)
{
        for (uint32_t i = 0; i < p->nasked; i++)
                if (p->asked[i].peer == peer)
                        return &p->asked[i];
        return NULL;
}

static void decide(struct pull *p)
{
        struct asked *one = NULL;
        char silent[200] = "";

        for (uint32_t i = 0; i < p->nasked; i++) {
                struct asked *a = &p->asked[i];
                if (a->found && one && uuid_equal(&one->host.uuid, &a->host.uuid))
                        continue; /* the same host under two addresses */
                if (a->found && one) {
                        fail(p, EEXIST,
                             "two hosts offer the domain's volumes, %s and %s: end one "
                             "of the two migrations",
                             one->address, a->address);
                        return;
                }
                if (a->found)
                        one = a;
                else if (!a->answered && strlen(silent) + strlen(a->address) + 3 < sizeof(silent))
                        snprintf(silent + strlen(silent), sizeof(silent) - strlen(silent), " %s",
                                 a->address);
        }
        if (!one) {
                fail(p, ENOENT,
                     "no peer offers the domain's volumes: is zonepool's lock driver "
                     "active on the source host?%s%s",
                     silent[0] ? " Not reached:" : "", silent);
                return;
        }
        p->offer = *one->offer;
        p->source = one->host;
        p->incarnation = one->incarnation;
        p->peer = one->peer;
        p->phase = CREATING;
        advance(p);
}

static bool all_answered(const struct pull *p)
{
        for (uint32_t i = 0; i < p->nasked; i++)
                if (!p->asked[i].answered && !p->asked[i].why.code)
                        return false;
        return true;
}

static void ask_peers(struct pull *p)
{
        struct migrate *m = p->m;
        struct peer_frame f = {.type = PEER_WHO_HAS};

        p->request_id = ++m->next_request;
        f.who_has.request = p->request_id;
        f.who_has.domain = p->domain;
        for (uint32_t d = 0; d < p->ndisks; d++) {
                const char *list[MIGRATE_MAX_PEERS];
                uint32_t n =
                    m->host.pool_peers(m->host.ctx, p->disks[d].pool, list, MIGRATE_MAX_PEERS);
                for (uint32_t i = 0; i < n && p->nasked < MIGRATE_MAX_PEERS; i++) {
                        uint32_t k = 0;
                        while (k < p->nasked && strcmp(p->asked[k].address, list[i]) != 0)
                                k++;
                        if (k == p->nasked)
                                snprintf(p->asked[p->nasked++].address, TRANSPORT_ADDRESS, "%s",
                                         list[i]);
                }
        }
        if (!p->nasked) {
                fail(p, ENOENT,
                     "pool %s has no peers: name the other hosts' zonepoold in its "
                     "settings",
                     p->disks[0].pool);
                return;
        }
        for (uint32_t k = 0; k < p->nasked; k++) {
                struct asked *a = &p->asked[k];
                if (peers_dial(m->peers, a->address, &a->peer, &a->why) < 0)
                        a->peer = NULL;
                else
                        peer_send(a->peer, &f);
        }
        loop_timer_arm(m->s.loop, &p->timer, loop_now_ns(m->s.loop) + ASK_NS);
        if (all_answered(p))
                decide(p);
}

static void got_has(struct pull *p, struct peer *peer, const struct peer_frame *f)
{
        struct asked *a = asked_of(p, peer);

        if (p->phase != ASKING || !a || a->answered || f->has.request != p->request_id)
                return;
        a->answered = true;
        a->host = *peer_host(peer);
        a->incarnation = peer_incarnation(peer);
        if (f->has.found && (a->offer = malloc(sizeof(*a->offer)))) {
                *a->offer = f->has.offer;
                a->found = true;
        }
        if (all_answered(p))
                decide(p);
}

/* ---- may it come here? ---- */

static const struct migrate_disk *disk_of(const struct pull *p, const char *pool, const char *name)
{
        for (uint32_t i = 0; i < p->ndisks; i++)
                if (!strcmp(p->disks[i].pool, pool) && !strcmp(p->disks[i].volume, name))
                        return &p->disks[i];
        return NULL;
}

/* One volume of the offer against what is here. False: fail() was called. */
static bool check_volume(struct pull *p, const struct peer_offer_volume *ov)
{
        struct migrate *m = p->m;
        const char *pool_name = p->offer.pools[ov->member.pool];
        struct pool *pool = m->host.pool_by_name(m->host.ctx, pool_name);
        struct err err = ERR_INIT;

        if (!pool) {
                fail(p, ENOENT, "pool %s is not imported on this host", pool_name);
                return false;
        }
        struct volume *by_name = volume_by_name(pool, ov->name);
        struct volume *by_uuid = volume_by_uuid(pool, &ov->member.uuid);
        if (by_name && by_name != by_uuid) {
                fail(p, EEXIST,
                     "pool %s has another volume with the name %s on this host: rename "
                     "or delete one of them",
                     pool_name, ov->name);
                return false;
        }
        if (by_uuid && by_uuid != by_name) {
                fail(p, EEXIST, "volume %s of pool %s is known on this host under the name %s",
                     ov->name, pool_name, volume_name(by_uuid));
                return false;
        }
        struct owner_volume *o = owner_volume_in_pool(m->owner, pool_name, &ov->member.uuid);
        if (by_uuid && !o) {
                fail(p, EBUSY, "volume %s/%s is not ready on this host", pool_name, ov->name);
                return false;
        }
        if (owner_stage_check(m->owner, o, ov->member.epoch_before, &p->source, &err) < 0) {
                fail(p, err.code, "%s", err.msg);
                return false;
        }
        if (by_uuid && volume_size_bytes(by_uuid) > ov->size_bytes) {
                fail(p, EINVAL,
                     "the old copy of volume %s/%s on this host is larger than the "
                     "volume: delete it first",
                     pool_name, ov->name);
                return false;
        }
        return true;
}

/* What every pool has to take in, less what its old copies give back. */
static bool check_space(struct pull *p)
{
        struct migrate *m = p->m;

        for (unsigned k = 0; k < p->offer.npools; k++) {
                struct pool *pool = m->host.pool_by_name(m->host.ctx, p->offer.pools[k]);
                struct pool_status st;
                uint64_t need = 0, have;

                pool_get_status(pool, &st);
                have = st.available_bytes;
                for (unsigned i = 0; i < p->offer.nvolumes; i++) {
                        const struct peer_offer_volume *ov = &p->offer.volumes[i];
                        struct volume_info info;
                        if (ov->member.pool != k)
                                continue;
                        need += MIN(ov->allocated_bytes, ov->size_bytes);
                        struct volume *old = volume_by_uuid(pool, &ov->member.uuid);
                        if (old) {
                                volume_get_info(old, &info);
                                have += info.allocated_bytes;
                        }
                }
                if (st.readonly || need > have) {
                        char n[16], h[16];
                        size_format(need, n);
                        size_format(have, h);
                        fail(p, ENOSPC,
                             st.readonly ? "pool %s is read-only on this host (needs %s, "
                                           "has %s)"
                                         : "pool %s is too full on this host: the "
                                           "volumes need %s, it has %s",
                             p->offer.pools[k], n, h);
                        return false;
                }
        }
        return true;
}

static bool check_offer(struct pull *p)
{
        const struct peer_offer *o = &p->offer;

        for (unsigned i = 0; i < o->nvolumes; i++) {
                const char *pool = o->pools[o->volumes[i].member.pool];
                if (!disk_of(p, pool, o->volumes[i].name)) {
                        fail(p, EINVAL,
                             "the source offers volume %s/%s, which the domain's "
                             "definition does not name",
                             pool, o->volumes[i].name);
                        return false;
                }
        }
        if (o->nvolumes != p->ndisks) {
                for (uint32_t d = 0; d < p->ndisks; d++) {
                        bool found = false;
                        for (unsigned i = 0; i < o->nvolumes; i++)
                                found |= disk_of(p, o->pools[o->volumes[i].member.pool],
                                                 o->volumes[i].name) == &p->disks[d];
                        if (!found) {
                                fail(p, EINVAL,
                                     "the source does not offer volume %s/%s of the "
                                     "domain",
                                     p->disks[d].pool, p->disks[d].volume);
                                return false;
                        }
                }
        }
        for (unsigned i = 0; i < o->nvolumes; i++)
                if (!check_volume(p, &o->volumes[i]))
                        return false;
        return check_space(p);
}

static void make_stage(struct pull *p)
{
        struct owner_stage *s = &p->stage;

        s->token = p->offer.token;
        s->domain = p->domain;
        s->source = p->source;
        s->nvolumes = p->offer.nvolumes;
        s->npools = p->offer.npools;
        memcpy(s->pools, p->offer.pools, sizeof(s->pools));
        for (unsigned i = 0; i < s->nvolumes; i++)
                s->volumes[i] = p->offer.volumes[i].member;
        s->nholders = p->offer.nholders;
        memcpy(s->holders, p->offer.holders, sizeof(s->holders));
        p->nvolumes = s->nvolumes;
}

/* ---- creating, growing, staging, clearing: one volume after another ---- */

/* Comes first in every completion. False: it is over. */
static bool back(struct pull *p)
{
        p->busy--;
        if (p->phase != ENDED)
                return true;
        p->later.call = ended;
        loop_defer(p->m->s.loop, &p->later);
        return false;
}

static void created(void *cb, int status, const struct err *err, struct migrate_volume *mv)
{
        struct pull *p = cb;
        const struct peer_offer_volume *ov = &p->offer.volumes[p->next];

        if (!back(p))
                return;
        if (status) {
                fail(p, -status, "volume %s cannot be created: %s", ov->name,
                     err_text(err, status));
                return;
        }
        p->v[p->next++].mv = mv;
        advance(p);
}

static void grown(void *cb, int status)
{
        struct pull *p = cb;

        if (!back(p))
                return;
        if (status) {
                fail(p, -status, "volume %s cannot be grown: %s", p->offer.volumes[p->next].name,
                     err_text(NULL, status));
                return;
        }
        p->next++;
        advance(p);
}

static void create_next(struct pull *p)
{
        struct migrate *m = p->m;
        const struct peer_offer_volume *ov = &p->offer.volumes[p->next];
        struct pull_volume *v = &p->v[p->next];
        const char *pool_name = p->offer.pools[ov->member.pool];
        struct pool *pool = m->host.pool_by_name(m->host.ctx, pool_name);
        struct volume *vol = pool ? volume_by_uuid(pool, &ov->member.uuid) : NULL;
        struct owner_record rec;
        uint8_t buf[OWNER_RECORD_MAX];

        if (!pool) {
                fail(p, ENOENT, "pool %s is not imported any more", pool_name);
                return;
        }
        p->busy++;
        if (vol) {
                struct owner_volume *o =
                    owner_volume_in_pool(m->owner, pool_name, &ov->member.uuid);
                v->mv = o ? owner_volume_handle(o) : NULL;
                v->existed = true;
                if (!v->mv) {
                        p->busy--;
                        fail(p, EBUSY, "volume %s/%s is not ready on this host", pool_name,
                             ov->name);
                } else if (volume_size_bytes(vol) < ov->size_bytes) {
                        volume_resize(vol, ov->size_bytes, p, grown);
                } else {
                        p->busy--;
                        p->next++;
                        advance(p);
                }
                return;
        }
        if (owner_stage_record(m->owner, &p->stage, &ov->member.uuid, &rec, &p->why) < 0) {
                p->busy--;
                fail(p, p->why.code, "%s", p->why.msg);
                return;
        }
        struct volume_spec spec = {
            .name = ov->name,
            .uuid = ov->member.uuid,
            .size_bytes = ov->size_bytes,
            .owner = buf,
            .owner_len = owner_record_encode(&rec, buf),
        };
        m->host.volume_create(m->host.ctx, pool, &spec, p, created);
}

static void staged(struct owner_request *r, int status, const struct err *err)
{
        struct pull *p = r->ctx;
        struct owner_group *g;

        p->staging = false;
        if (p->phase == ENDED) {
                back(p);
                return;
        }
        p->busy--;
        if (status) {
                fail(p, -status, "%s", err_text(err, status));
                return;
        }
        p->staged = true;
        if (!(g = pull_group(p))) {
                fail(p, ECANCELED, "the staging was undone");
                return;
        }
        owner_group_set_context(g, p);
        if (p->why.code) { /* failed or cancelled meanwhile */
                owner_target_failed(g, &p->why);
                return;
        }
        eventlog_emit("migrate-staged", "\"volumes\":%u", p->nvolumes);
        p->phase = CLEARING;
        p->next = 0;
        advance(p);
}

static void stage(struct pull *p)
{
        p->stage_request = (struct owner_request){.done = staged, .ctx = p};
        p->staging = true;
        p->busy++;
        owner_stage(p->m->owner, &p->stage, &p->stage_request);
}

static void cleared(void *cb, int status)
{
        struct pull *p = cb;

        if (!back(p))
                return;
        if (status) {
                fail(p, -status, "the old copy of %s cannot be emptied: %s",
                     p->offer.volumes[p->next].name, err_text(NULL, status));
                return;
        }
        p->next++;
        advance(p);
}

static void suspended(struct nvm_request *r)
{
        struct engine_cmd *c = container_of(r, struct engine_cmd, req);
        struct pull *p = c->owner;
        struct pull_volume *v = &p->v[c->index];

        if (!back(p))
                return;
        if (r->status) {
                fail(p, EIO, "the controller of %s does not suspend: %s",
                     p->offer.volumes[c->index].name, migrate_nvme_text(r->status));
                return;
        }
        if (!v->existed) {
                p->next++;
                advance(p);
                return;
        }
        p->busy++;
        volume_clear(v->mv->spec.vol, p, cleared);
}

static void clear_next(struct pull *p)
{
        struct pull_volume *v = &p->v[p->next];

        migrate_suspend_cmd(v->cmd.req.sqe, nvc_cntlid(v->mv->spec.controller));
        v->cmd.owner = p;
        v->cmd.index = p->next;
        v->cmd.req.done = suspended;
        p->busy++;
        p->m->s.target->ops->submit(p->m->s.target, true, &v->cmd.req);
}

/* ---- pulling ---- */

static void open_stream(struct pull *p)
{
        struct peer_frame f = {.type = PEER_OPEN, .token = p->stage.token};

        f.open.session = p->session;
        if (p->peer && peer_is_up(p->peer))
                migrate_send_frame(p->peer, &f);
}

static void advance(struct pull *p)
{
        struct migrate *m = p->m;
        uint64_t now = loop_now_ns(m->s.loop);

        switch (p->phase) {
        case ASKING:
                break;
        case CREATING:
                if (!p->nvolumes) { /* first time here */
                        loop_timer_disarm(&p->timer);
                        if (!check_offer(p))
                                return;
                        make_stage(p);
                }
                if (p->next < p->nvolumes) {
                        create_next(p);
                        return;
                }
                p->phase = STAGING;
                stage(p);
                break;
        case STAGING:
                break;
        case CLEARING:
                if (p->next < p->nvolumes) {
                        clear_next(p);
                        return;
                }
                p->phase = PULLING;
                p->heard_ns = p->rate_ns = now;
                if (!p->peer)
                        p->lost_since_ns = now;
                loop_timer_arm(m->s.loop, &p->timer, now);
                open_stream(p);
                break;
        case PULLING:
        case DONE:
        case ENDED:
                break;
        }
}

static void write_done(struct nvm_request *r)
{
        struct write_part *part = container_of(r, struct write_part, req);
        struct chunk_write *w = part->w;
        struct pull *p = w->p;

        if (r->status && !w->status)
                w->status = r->status;
        if (--w->left)
                return;
        p->writes--;
        struct peer_frame ack = {.type = PEER_ACK, .token = p->stage.token};
        ack.ack.chunk = w->chunk;
        uint16_t status = w->status;
        if (!status && w->peer == p->peer && p->peer)
                migrate_send_frame(p->peer, &ack);
        free(w->payload);
        free(w);
        if (p->phase == ENDED) {
                p->later.call = ended;
                loop_defer(p->m->s.loop, &p->later);
                return;
        }
        if (status)
                fail(p, (status & NVME_SC_MASK) == NVME_SC_CAPACITY ? ENOSPC : EIO,
                     "the copy cannot be written: %s", migrate_nvme_text(status));
}

static void got_data(struct pull *p, struct peer *peer, const struct peer_frame *f)
{
        struct migrate *m = p->m;

        if (p->writes >= MAX_WRITES || f->data.volume >= p->nvolumes) {
                fail(p, EPROTO, "the source sends what was not asked for");
                return;
        }
        struct migrate_volume *mv = p->v[f->data.volume].mv;
        size_t size = sizeof(struct chunk_write) + f->data.nsegments * sizeof(struct write_part);
        struct chunk_write *w = calloc(1, size);
        if (w && f->data.payload_len)
                w->payload = aligned_alloc(PEER_BLOCK, f->data.payload_len);
        if (!w || (f->data.payload_len && !w->payload)) {
                free(w);
                fail(p, ENOMEM, "out of memory");
                return;
        }
        if (f->data.payload_len)
                memcpy(w->payload, f->data.payload, f->data.payload_len);
        w->p = p;
        w->peer = peer;
        w->chunk = f->data.chunk;
        w->left = w->nparts = f->data.nsegments;
        p->writes++;
        p->moved_bytes += f->data.payload_len;
        p->rate_bytes += f->data.payload_len;
        uint8_t *at = w->payload;
        for (uint32_t i = 0; i < f->data.nsegments; i++) {
                const struct peer_segment *s = &f->data.segments[i];
                struct nvm_request *r = &w->part[i].req;

                w->part[i].w = w;
                nvme_sqe_init(r->sqe, s->zero ? NVME_IO_WRITE_ZEROES : NVME_IO_WRITE,
                              mv->spec.nsid);
                nvme_sqe_set_cdw64(r->sqe, 10, s->block);
                nvme_sqe_set_cdw(r->sqe, 12, (s->nblocks - 1) | (s->zero ? DEAC : 0));
                if (!s->zero) {
                        r->data = at;
                        r->data_len = (size_t)s->nblocks * PEER_BLOCK;
                        at += r->data_len;
                }
                r->done = write_done;
                m->s.target->ops->submit(m->s.target, false, r);
        }
}

/* Does what remains fit into the pause that a guest may notice? */
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
                fail(p, EPROTO, "the source sends states of other controllers");
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
                got_has(p, peer, f);
                return;
        }
        if (peer != p->peer || (p->phase != PULLING && p->phase != DONE) ||
            !owner_token_equal(&f->token, &p->stage.token))
                return;
        p->heard_ns = loop_now_ns(p->m->s.loop);
        if (f->type == PEER_DATA)
                got_data(p, peer, f);
        else if (f->type == PEER_PROGRESS)
                got_progress(p, f);
        else if (f->type == PEER_DELTA)
                got_delta(p, f);
        else if (f->type == PEER_FAIL)
                fail(p, f->fail.code ? f->fail.code : EIO, "the source gave up: %s", f->fail.text);
}

/* ---- the last step before TAKE ---- */

static void prepared(struct pull *p)
{
        struct owner_group *g = pull_group(p);

        if (--p->preparing)
                return;
        if (p->phase == ENDED) {
                p->later.call = ended;
                loop_defer(p->m->s.loop, &p->later);
                return;
        }
        if (g)
                owner_target_ready(g, p->prepared_failed ? -EIO : 0, &p->why);
}

static void state_set(struct nvm_request *r)
{
        struct engine_cmd *c = container_of(r, struct engine_cmd, req);
        struct pull *p = c->owner;
        const char *name = p->offer.volumes[c->index].name;

        if (r->status) {
                p->prepared_failed = true;
                if (!p->why.code)
                        err_set(&p->why, EIO,
                                "the controller of %s does not take the state of the source's: %s "
                                "(is the disk configured alike on both hosts?)",
                                name, migrate_nvme_text(r->status));
        } else {
                eventlog_emit("migrate-state-set", "\"volume\":\"%s\"", name);
        }
        prepared(p);
}

static void flushed(struct nvm_request *r)
{
        struct engine_cmd *c = container_of(r, struct engine_cmd, req);
        struct pull *p = c->owner;
        struct pull_volume *v = &p->v[c->index];
        uint8_t *sqe = v->cmd.req.sqe;

        if (r->status || p->phase == ENDED) {
                p->prepared_failed = true;
                if (!p->why.code)
                        err_set(&p->why, EIO, "the copy of %s cannot be flushed: %s",
                                p->offer.volumes[c->index].name, migrate_nvme_text(r->status));
                prepared(p);
                return;
        }
        nvme_sqe_init(sqe, NVME_ADMIN_MIGRATION_SEND, 0);
        nvme_sqe_set_cdw(sqe, 10, 2u | 3u << 16); /* Set Controller State, all in one part */
        nvme_sqe_set_cdw(sqe, 11, nvc_cntlid(v->mv->spec.controller) | 1u << 16 | 1u << 24);
        nvme_sqe_set_cdw(sqe, 15, v->state_len / 4u);
        v->cmd.req.data = v->state;
        v->cmd.req.data_len = v->state_len;
        v->cmd.req.done = state_set;
        p->m->s.target->ops->submit(p->m->s.target, true, &v->cmd.req);
}

void pull_prepare(struct pull *p)
{
        if (p->preparing)
                return;
        p->prepared_failed = false;
        p->preparing = p->nvolumes;
        for (uint32_t i = 0; i < p->nvolumes; i++) {
                struct pull_volume *v = &p->v[i];
                v->cmd.owner = p;
                v->cmd.index = i;
                nvme_sqe_init(v->cmd.req.sqe, NVME_IO_FLUSH, v->mv->spec.nsid);
                v->cmd.req.data = NULL;
                v->cmd.req.data_len = 0;
                v->cmd.req.done = flushed;
                p->m->s.target->ops->submit(p->m->s.target, false, &v->cmd.req);
        }
}

/* ---- connections and time ---- */

void pull_peer_up(struct pull *p, struct peer *peer)
{
        struct asked *a;

        if (p->phase == ASKING) {
                if ((a = asked_of(p, peer)))
                        a->why = ERR_INIT;
                return;
        }
        if (peer != p->peer || p->phase == ENDED)
                return;
        if (peer_incarnation(peer) != p->incarnation ||
            !uuid_equal(&peer_host(peer)->uuid, &p->source.uuid)) {
                fail(p, ECONNRESET, "the source's zonepoold was restarted");
                return;
        }
        p->lost_since_ns = 0;
        p->up_ns = loop_now_ns(p->m->s.loop);
        if (p->phase == PULLING || p->phase == DONE)
                open_stream(p);
}

void pull_peer_down(struct pull *p, struct peer *peer, const struct err *err)
{
        struct asked *a = asked_of(p, peer);
        uint64_t now = loop_now_ns(p->m->s.loop);

        if (a) {
                a->peer = NULL;
                if (!a->answered && !a->why.code)
                        a->why = *err;
        }
        if (p->phase == ENDED)
                return;
        if (p->phase == ASKING) {
                if (all_answered(p))
                        decide(p);
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
                fail(p, ETIMEDOUT, "the connection to the source was lost and does not come back");
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
                decide(p);
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
                fail(p, ETIMEDOUT, "the source does not send any more");
                return;
        }
        if (p->phase == PULLING && p->mapped && p->passes && !fits(p, now) &&
            now - p->mapped_since_ns > CONVERGE_NS && p->passes > 20)
                fail(p, ETIMEDOUT,
                     "the guest writes faster than its volumes can be moved: %llu "
                     "bytes differ still after %u passes",
                     (unsigned long long)p->remaining_bytes, p->passes);
}

static void begin(struct loop_defer *d)
{
        ask_peers(container_of(d, struct pull, later));
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
