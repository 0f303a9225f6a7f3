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

#include <errno.h>
#include <stdio.h>

#define TICK_NS UINT64_C(50000000)
#define BUSY_NS UINT64_C(5000000)

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

void source_submit(struct source *s, struct engine_cmd *c, uint32_t index,
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

void source_send_progress(struct source *s)
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
        if (source_delta_complete(s) && !s->reading_states)
                source_read_states(s);
        else if (source_delta_complete(s) && s->states_read && s->delta_session != s->session)
                source_send_delta(s);
}

static void kick(struct loop_defer *d)
{
        pump(container_of(d, struct source, kick));
}

static void tick(struct loop_timer *t)
{
        struct source *s = container_of(t, struct source, tick);
        bool waits = false;

        source_start_logs(s);
        for (uint32_t i = 0; i < s->nvolumes; i++)
                waits |= !s->v[i].log_running;
        if (!s->g)
                return;
        loop_timer_arm(s->m->s.loop, t, loop_now_ns(s->m->s.loop) + (waits ? BUSY_NS : TICK_NS));
        source_send_progress(s);
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
                v->map_buf = malloc(SOURCE_MAP_BYTES);
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
                source_mark_sent_dirty(v);
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
                source_send_progress(s);
                if (s->states_read && source_delta_complete(s))
                        source_send_delta(s);
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
