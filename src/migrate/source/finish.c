/* The end: the controllers are suspended, their logs drained to the marker, the last blocks sent,
 * the controllers' state read; the delta says that all of it has been.
 */
#include "base/eventlog.h"
#include "migrate/source/internal.h"
#include "nvme/state.h"

#include <errno.h>

bool source_delta_complete(const struct source *s)
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

void source_maybe_suspend(struct source *s)
{
        if (!s->want_seq || !s->g)
                return;
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                struct source_volume *v = &s->v[i];
                if (v->suspending || !v->log_started)
                        continue;
                v->suspending = true;
                migrate_suspend_cmd(v->suspend_cmd.req.sqe, nvc_cntlid(v->mv->spec.controller));
                source_submit(s, &v->suspend_cmd, i, suspended);
        }
}

void source_send_delta(struct source *s)
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
        source_send_progress(s);
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
        if (source_delta_complete(s))
                source_send_delta(s);
}

void source_read_states(struct source *s)
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
                source_submit(s, &v->state_cmd, i, state_read);
        }
}

void source_delta(struct source *s, uint64_t seq)
{
        if (s->want_seq == seq) {
                if (s->states_read && source_delta_complete(s))
                        source_send_delta(s);
                return;
        }
        s->want_seq = seq;
        s->suspend_ns = clock_now_ns();
        source_maybe_suspend(s);
        loop_defer(s->m->s.loop, &s->kick);
}
