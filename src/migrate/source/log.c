/* The log of what changes while the guest runs, one a volume: every range it reports is what the
 * target lacks again.
 */
#include "base/eventlog.h"
#include "migrate/source/internal.h"

static void log_range(struct change_log *log, uint64_t first, uint64_t n)
{
        struct source_volume *v = log->ctx;

        if (first >= v->dirty.nbits)
                return;
        bitmap_set_range(&v->dirty, first, MIN(n, v->dirty.nbits - first));
        loop_defer(v->s->m->s.loop, &v->s->kick);
}

void source_mark_sent_dirty(struct source_volume *v)
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
        source_mark_sent_dirty(v);
        v->mapped = false;
        if (!v->mapping)
                source_map(v, 0);
}

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
                source_map(v, 0);
                source_maybe_suspend(s);
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

void source_start_logs(struct source *s)
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
