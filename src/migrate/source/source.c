/* The source of a migration: logs changes, maps what is allocated, sends it as the target asks.
 *
 * What the target lacks is one bitmap a volume, `dirty`: first all that is allocated, then whatever
 * the log reports. A block is sent by clearing its bit, reading it and sending a DATA frame, a
 * "chunk"; until the target has acknowledged the chunk as written it stays in flight. When the
 * connection ends, blocks in flight become dirty again, so a new connection goes on where the old
 * one stood.
 *
 * Why nothing is lost: the log runs before the map is read; a bit is cleared before its block is
 * read, and the log reports a change only after it can be read; after the suspension marker no
 * change comes. Why nothing is overtaken: a block that is in flight is not sent again until it is
 * acknowledged.
 *
 * Zero blocks that the target never got are not sent, others go as a segment without data. When the
 * log is lost (queue full) everything sent and everything allocated becomes dirty.
 *
 * Memory: two bits a block, SOURCE_WINDOW chunks. Left out on purpose: rate limits, compression.
 */
#include "base/eventlog.h"
#include "base/log.h"
#include "migrate/source/internal.h"
#include "nvme/state.h"

#include <errno.h>
#include <stdio.h>

enum { MAP_BYTES = 65536 };

#define TICK_NS UINT64_C(50000000)
#define BUSY_NS UINT64_C(5000000)

static void pump(struct source *s);

/* ---- lists for migrate.c ---- */

struct owner_group *source_group(const struct source *s)
{
        return s->g;
}

struct source *source_of(struct list *node)
{
        return container_of(node, struct source, node);
}

/* ---- commands ---- */

static void cmd_done(struct nvm_request *r)
{
        struct engine_cmd *c = container_of(r, struct engine_cmd, req);
        struct source *s = c->owner;

        s->commands--;
        c->done(c);
        source_maybe_free(s);
}

static void cmd_submit(struct source *s, struct engine_cmd *c, uint32_t index,
                       void (*done)(struct engine_cmd *))
{
        c->owner = s;
        c->index = index;
        c->done = done;
        c->req.done = cmd_done;
        s->commands++;
        s->m->s.target->ops->submit(s->m->s.target, true, &c->req);
}

static void send_fail(struct source *s, int code, const char *text)
{
        struct peer_frame f = {.type = PEER_FAIL, .token = s->token};

        f.fail.code = code;
        snprintf(f.fail.text, sizeof(f.fail.text), "%.255s", text);
        migrate_send_frame(s->peer, &f);
}

void source_fail(struct source *s, const char *fmt, ...)
{
        struct err err = {.code = EIO};
        struct owner_group *g = s->g;
        va_list ap;

        if (!g)
                return;
        va_start(ap, fmt);
        vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
        va_end(ap);
        eventlog_emit("migrate-source-failed", "\"code\":%d", err.code);
        log_debug("migrate", "source: %s", err.msg);
        if (s->peer)
                send_fail(s, err.code, err.msg);
        owner_source_failed(g, &err);
}

/* ---- what remains ---- */

uint64_t source_remaining(const struct source *s)
{
        uint64_t n = s->inflight_blocks;

        for (uint32_t i = 0; i < s->nvolumes; i++)
                n += s->v[i].dirty.nset;
        return n;
}

bool source_all_mapped(const struct source *s)
{
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (!s->v[i].mapped)
                        return false;
        return true;
}

void source_progress(const struct source *s, struct migrate_progress *ret)
{
        *ret = (struct migrate_progress){
            .moved_bytes = s->moved_bytes,
            .remaining_bytes = source_remaining(s) * PEER_BLOCK,
            .passes = s->passes,
            .pause_ns = s->pause_ns,
        };
        ret->total_bytes = ret->moved_bytes + ret->remaining_bytes;
}

static void send_progress(struct source *s)
{
        struct peer_frame f = {.type = PEER_PROGRESS, .token = s->token};

        if (!s->peer)
                return;
        f.progress.remaining_bytes = source_remaining(s) * PEER_BLOCK;
        f.progress.total_bytes = s->moved_bytes + f.progress.remaining_bytes;
        f.progress.passes = s->passes;
        f.progress.mapped = source_all_mapped(s);
        migrate_send_frame(s->peer, &f);
}

/* ---- the map of what is allocated ---- */

static void map_more(struct source_volume *v, uint64_t slba);

static void map_done(struct engine_cmd *c)
{
        struct source *s = c->owner;
        struct source_volume *v = &s->v[c->index];
        uint32_t n = get_le32(v->map_buf);
        uint64_t next = 0;

        if (!s->g) {
                v->mapping = false;
                return;
        }
        if (c->req.status) {
                v->mapping = false;
                source_fail(s, "the allocation map of %s cannot be read: %s",
                            owner_volume_name(v->mv->owner), migrate_nvme_text(c->req.status));
                return;
        }
        for (uint32_t i = 0; i < n && 8 + (size_t)(i + 1) * 16 <= MAP_BYTES; i++) {
                const uint8_t *d = v->map_buf + 8 + (size_t)i * 16;
                uint64_t first = get_le64(d), len = (uint64_t)get_le32(d + 8) + 1;
                if (first >= v->dirty.nbits)
                        break;
                len = MIN(len, v->dirty.nbits - first);
                bitmap_set_range(&v->dirty, first, len);
                next = first + len;
        }
        if (v->map_buf[4] == 1 && n && next < v->dirty.nbits) {
                map_more(v, next);
        } else {
                v->mapping = false;
                v->mapped = true;
                if (source_all_mapped(s)) {
                        s->pass_left = source_remaining(s);
                        eventlog_emit("migrate-mapped", "\"allocated_bytes\":%llu",
                                      (unsigned long long)(s->pass_left * PEER_BLOCK));
                        send_progress(s);
                }
        }
        loop_defer(s->m->s.loop, &s->kick);
}

static void map_more(struct source_volume *v, uint64_t slba)
{
        uint8_t *sqe = v->map_cmd.req.sqe;

        v->mapping = true;
        nvme_sqe_init(sqe, NVME_ADMIN_GET_LBA_STATUS, v->mv->spec.nsid);
        nvme_sqe_set_cdw64(sqe, 10, slba);
        nvme_sqe_set_cdw(sqe, 12, MAP_BYTES / 4 - 1);
        nvme_sqe_set_cdw(sqe, 13, (uint32_t)NVME_ATYPE_ALLOCATED << 24);
        v->map_cmd.req.data = v->map_buf;
        v->map_cmd.req.data_len = MAP_BYTES;
        cmd_submit(v->s, &v->map_cmd, v->index, map_done);
}

/* ---- the log ---- */

static void log_range(struct change_log *log, uint64_t first, uint64_t n)
{
        struct source_volume *v = log->ctx;

        if (first >= v->dirty.nbits)
                return;
        bitmap_set_range(&v->dirty, first, MIN(n, v->dirty.nbits - first));
        loop_defer(v->s->m->s.loop, &v->s->kick);
}

static void mark_sent_dirty(struct source_volume *v)
{
        uint64_t at = 0;

        while ((at = bitmap_next_set(&v->sent, at)) < v->sent.nbits) {
                uint64_t end = bitmap_next_clear(&v->sent, at);
                bitmap_set_range(&v->dirty, at, end - at);
                at = end;
        }
}

/* Nobody knows what changed: all that is there now and all that was sent before. */
static void resend_all(struct source_volume *v)
{
        mark_sent_dirty(v);
        v->mapped = false;
        if (!v->mapping)
                map_more(v, 0);
}

static void maybe_suspend(struct source *s);

static void log_event(struct change_log *log, enum change_log_event event, const char *why)
{
        struct source_volume *v = log->ctx;
        struct source *s = v->s;

        switch (event) {
        case CHANGE_LOG_STARTED:
                v->log_started = true;
                if (!s->g)
                        break;
                eventlog_emit("migrate-logging", "\"volume\":\"%s\"",
                              owner_volume_name(v->mv->owner));
                map_more(v, 0);
                maybe_suspend(s);
                break;
        case CHANGE_LOG_SUSPENDED:
                v->drained = true;
                loop_defer(s->m->s.loop, &s->kick);
                break;
        case CHANGE_LOG_LOST:
                if (s->g)
                        resend_all(v);
                break;
        case CHANGE_LOG_FAILED:
                source_fail(s, "volume %s: %s", owner_volume_name(v->mv->owner), why);
                break;
        case CHANGE_LOG_STOPPED:
                v->log_running = false;
                v->log_stopped = true;
                if (v->mv && v->mv->logged_by == s)
                        v->mv->logged_by = NULL;
                source_maybe_free(s);
                break;
        }
}

static void start_logs(struct source *s)
{
        struct err err = ERR_INIT;

        for (uint32_t i = 0; i < s->nvolumes && s->g; i++) {
                struct source_volume *v = &s->v[i];
                if (v->log_running || v->log_stopped || v->mv->logged_by)
                        continue; /* a former token's log is still being taken down */
                v->log = (struct change_log){
                    .loop = s->m->s.loop,
                    .target = s->m->s.target,
                    .cntlid = nvc_cntlid(v->mv->spec.controller),
                    .nsid = v->mv->spec.nsid,
                    .range = log_range,
                    .event = log_event,
                    .ctx = v,
                };
                if (change_log_start(&v->log, &err) < 0) {
                        source_fail(s, "%s", err.msg);
                        return;
                }
                v->log_running = true;
                v->mv->logged_by = s;
        }
}

/* ---- the end: suspend, drain, last blocks, state ---- */

/* Everything up to the suspension is at the target. */
static bool delta_complete(const struct source *s)
{
        if (!s->want_seq || source_remaining(s) || !source_all_mapped(s))
                return false;
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (!s->v[i].suspended || !s->v[i].drained)
                        return false;
        return true;
}

static void suspended(struct engine_cmd *c)
{
        struct source *s = c->owner;
        struct source_volume *v = &s->v[c->index];

        if (!s->g)
                return;
        if (c->req.status) {
                source_fail(s, "the controller of %s does not suspend: %s",
                            owner_volume_name(v->mv->owner), migrate_nvme_text(c->req.status));
                return;
        }
        v->suspended = true;
        eventlog_emit("migrate-source-suspended", "\"volume\":\"%s\",\"seq\":%llu",
                      owner_volume_name(v->mv->owner), (unsigned long long)s->want_seq);
        change_log_drain(&v->log);
}

static void maybe_suspend(struct source *s)
{
        if (!s->want_seq || !s->g)
                return;
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                struct source_volume *v = &s->v[i];
                if (v->suspending || !v->log_started)
                        continue;
                v->suspending = true;
                migrate_suspend_cmd(v->suspend_cmd.req.sqe, nvc_cntlid(v->mv->spec.controller));
                cmd_submit(s, &v->suspend_cmd, i, suspended);
        }
}

static void send_delta(struct source *s)
{
        struct peer_frame f = {.type = PEER_DELTA, .token = s->token};

        if (!s->peer)
                return;
        s->delta_session = s->session;
        f.delta.seq = s->want_seq;
        f.delta.nvolumes = (uint8_t)s->nvolumes;
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                f.delta.v[i].state = s->v[i].state;
                f.delta.v[i].len = s->v[i].state_len;
        }
        eventlog_emit("migrate-delta-sent",
                      "\"seq\":%llu,\"delta_bytes\":%llu,\"moved_bytes\":%llu",
                      (unsigned long long)s->want_seq, (unsigned long long)s->delta_bytes,
                      (unsigned long long)s->moved_bytes);
        send_progress(s);
        migrate_send_frame(s->peer, &f);
}

static void state_read(struct engine_cmd *c)
{
        struct source *s = c->owner;
        struct source_volume *v = &s->v[c->index];
        struct err err = ERR_INIT;
        size_t size = 0;

        if (!s->g)
                return;
        /* CSUP in the completion and CSATTR bit 0 in the structure: suspended all the while. */
        if (!c->req.status && (!(c->req.dw0 & 1) || !(v->state_buf[2] & 1)))
                err_set(&err, EIO, "it was not suspended while its state was read");
        else if (!c->req.status)
                nvm_state_size(v->state_buf, &size, &err);
        if (!err.code && !c->req.status && size > PEER_STATE_MAX)
                err_set(&err, EFBIG, "its state has %zu bytes", size);
        if (err.code || c->req.status) {
                source_fail(s, "the controller state of %s cannot be read: %s",
                            owner_volume_name(v->mv->owner),
                            err.code ? err.msg : migrate_nvme_text(c->req.status));
                return;
        }
        memcpy(v->state, v->state_buf, size);
        v->state_len = (uint16_t)size;
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (!s->v[i].state_len)
                        return;
        s->states_read = true;
        if (delta_complete(s))
                send_delta(s);
}

static void read_states(struct source *s)
{
        s->reading_states = true;
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                struct source_volume *v = &s->v[i];
                uint8_t *sqe = v->state_cmd.req.sqe;

                nvme_sqe_init(sqe, NVME_ADMIN_MIGRATION_RECEIVE, 0);
                nvme_sqe_set_cdw(sqe, 10, 1u << 16); /* CSVI 1 */
                nvme_sqe_set_cdw(sqe, 11, nvc_cntlid(v->mv->spec.controller) | 1u << 16);
                nvme_sqe_set_cdw(sqe, 15, sizeof(v->state_buf) / 4 - 1);
                v->state_cmd.req.data = v->state_buf;
                v->state_cmd.req.data_len = sizeof(v->state_buf);
                cmd_submit(s, &v->state_cmd, i, state_read);
        }
}

static void pump(struct source *s)
{
        uint32_t idle = 0;

        if (!s->g || !s->peer)
                return;
        while (s->nchunks < SOURCE_WINDOW && idle < s->nvolumes) {
                struct source_volume *v = &s->v[s->turn];
                s->turn = (s->turn + 1) % s->nvolumes;
                idle = source_send_chunk(s, v) ? 0 : idle + 1;
        }
        if (delta_complete(s) && !s->reading_states)
                read_states(s);
        else if (delta_complete(s) && s->states_read && s->delta_session != s->session)
                send_delta(s);
}

static void kick(struct loop_defer *d)
{
        pump(container_of(d, struct source, kick));
}

static void tick(struct loop_timer *t)
{
        struct source *s = container_of(t, struct source, tick);
        bool waits = false;

        start_logs(s);
        for (uint32_t i = 0; i < s->nvolumes; i++)
                waits |= !s->v[i].log_running;
        if (!s->g)
                return;
        loop_timer_arm(s->m->s.loop, t, loop_now_ns(s->m->s.loop) + (waits ? BUSY_NS : TICK_NS));
        send_progress(s);
        pump(s);
}

/* ---- life ---- */

static void source_free(struct source *s)
{
        struct chunk *c;

        loop_timer_disarm(&s->tick);
        loop_defer_cancel(&s->kick);
        while ((c = list_first(&s->chunks, struct chunk, node)))
                source_chunk_free(c);
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                bitmap_fini(&s->v[i].dirty);
                bitmap_fini(&s->v[i].sent);
                free(s->v[i].map_buf);
        }
        list_del(&s->node);
        free(s->v);
        free(s);
}

void source_maybe_free(struct source *s)
{
        if (s->g || s->commands)
                return;
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (s->v[i].log_running)
                        return;
        source_free(s);
}

static void late_free(struct loop_defer *d)
{
        source_maybe_free(container_of(d, struct source, kick));
}

static void gave_up(struct loop_defer *d)
{
        source_fail(container_of(d, struct source, kick), "out of memory for the map of changes");
}

void source_start(struct migrate *m, struct owner_group *g)
{
        struct source *s = calloc(1, sizeof(*s));
        uint32_t n = owner_group_nvolumes(g);

        if (s)
                s->v = calloc(n, sizeof(*s->v));
        if (!s || !s->v) {
                free(s);
                return; /* a token without a source: whoever pulls it is refused */
        }
        s->m = m;
        s->g = g;
        s->token = *owner_group_token(g);
        s->nvolumes = n;
        list_init(&s->chunks);
        s->tick.fire = tick;
        s->kick.call = kick;
        list_add_tail(&m->sources, &s->node);
        owner_group_set_context(g, s);
        for (uint32_t i = 0; i < n; i++) {
                struct source_volume *v = &s->v[i];
                v->s = s;
                v->index = i;
                v->mv = migrate_group_volume(g, i);
                uint64_t blocks = DIV_ROUND_UP(nvc_size_bytes(v->mv->spec.controller), PEER_BLOCK);
                v->map_buf = malloc(MAP_BYTES);
                if (!v->map_buf || bitmap_init(&v->dirty, blocks) < 0 ||
                    bitmap_init(&v->sent, blocks) < 0) {
                        s->kick.call = gave_up;
                        loop_defer(m->s.loop, &s->kick);
                        return;
                }
        }
        loop_timer_arm(m->s.loop, &s->tick, 0);
}

void source_stop(struct source *s)
{
        struct migrate_progress p;

        if (s->suspend_ns && !s->pause_ns)
                s->pause_ns = clock_now_ns() - s->suspend_ns;
        if (s->peer && owner_group_state(s->g) != OWNER_GIVEN)
                send_fail(s, ECANCELED, "the migration was given up on the source");
        source_progress(s, &p);
        migrate_remember(s->m, s->g, true, &p);
        owner_group_set_context(s->g, NULL);
        s->g = NULL;
        s->peer = NULL;
        loop_timer_disarm(&s->tick);
        loop_defer_cancel(&s->kick);
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (s->v[i].log_running)
                        change_log_stop(&s->v[i].log);
        s->kick.call = late_free; /* not now: a callback of ours may be on the stack */
        loop_defer(s->m->s.loop, &s->kick);
}

void source_abandon(struct source *s)
{
        for (uint32_t i = 0; i < s->nvolumes; i++)
                if (s->v[i].mv && s->v[i].mv->logged_by == s)
                        s->v[i].mv->logged_by = NULL;
        if (s->g)
                owner_group_set_context(s->g, NULL);
        source_free(s);
}

void source_delta(struct source *s, uint64_t seq)
{
        if (s->want_seq == seq) {
                if (s->states_read && delta_complete(s))
                        send_delta(s);
                return;
        }
        s->want_seq = seq;
        s->suspend_ns = clock_now_ns();
        maybe_suspend(s);
        loop_defer(s->m->s.loop, &s->kick);
}

void source_peer_down(struct source *s, struct peer *p)
{
        struct chunk *c, *tmp;

        if (s->peer != p)
                return;
        s->peer = NULL;
        list_for_each_safe (c, tmp, &s->chunks, node)
                if (c->seq)
                        source_chunk_again(c);
}

/* Another copy, empty at first: what an earlier one got is lacking here. */
static void begin_session(struct source *s, struct peer *p, uint64_t session)
{
        struct chunk *c, *tmp;

        s->session = session;
        s->puller = peer_host(p)->uuid;
        list_for_each_safe (c, tmp, &s->chunks, node)
                c->peer = NULL; /* still being read for the former one: dirty again at its end */
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                struct source_volume *v = &s->v[i];
                mark_sent_dirty(v);
                bitmap_clear_range(&v->sent, 0, v->sent.nbits);
        }
        s->passes = 0;
        s->pass_left = source_remaining(s);
}

void source_frame(struct source *s, struct peer *p, const struct peer_frame *f)
{
        struct chunk *c;

        if (f->type == PEER_OPEN) {
                if (s->peer)
                        source_peer_down(s, s->peer);
                s->peer = p;
                owner_group_set_pulled(s->g);
                if (s->session != f->open.session || !uuid_equal(&s->puller, &peer_host(p)->uuid))
                        begin_session(s, p, f->open.session);
                eventlog_emit("migrate-pulled", "\"volumes\":%u", s->nvolumes);
                send_progress(s);
                if (s->states_read && delta_complete(s))
                        send_delta(s);
                loop_defer(s->m->s.loop, &s->kick);
                return;
        }
        if (f->type == PEER_FAIL && (p == s->peer || !s->session)) {
                const struct err why = {f->fail.code ? f->fail.code : EIO, "the target gave up"};
                owner_source_failed(s->g, &why);
                return;
        }
        if (f->type != PEER_ACK || p != s->peer)
                return;
        list_for_each (c, &s->chunks, node) {
                if (c->seq == f->ack.chunk && c->seq) {
                        source_chunk_free(c);
                        break;
                }
        }
        loop_defer(s->m->s.loop, &s->kick);
}
