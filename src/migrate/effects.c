/* What the ownership tables ask for (struct owner_ops), done on pools, controllers, peers and
 * engines.
 *
 * Records go to the pools, one atomic write a pool, and are durable when the last has answered. A
 * group's context is its source (source/source.c) or its pull (target/target.c).
 */
#include "base/eventlog.h"
#include "migrate/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

struct resume_op {
        struct list node; /* of migrate.resumes */
        struct migrate *m;
        struct owner_token token;
        uint32_t left;
        int status;
        struct loop_defer later;
        struct nvm_request req[OWNER_MAX_VOLUMES];
};

struct source *migrate_source_of(struct migrate *m, const struct owner_group *g)
{
        struct list *it;

        for (it = m->sources.next; it != &m->sources; it = it->next)
                if (source_of(it) == owner_group_context(g))
                        return source_of(it);
        return NULL;
}

static struct pull *migrate_pull_of(struct migrate *m, const struct owner_group *g)
{
        struct list *it;

        for (it = m->pulls.next; it != &m->pulls; it = it->next)
                if (pull_of(it) == owner_group_context(g))
                        return pull_of(it);
        return NULL;
}

static void stored(void *ctx, int status)
{
        struct store_write *sw = ctx;

        if (status && !sw->status)
                sw->status = status;
        if (--sw->pending)
                return;
        struct owner_write *w = sw->w;
        int rc = sw->status;
        list_del(&sw->node);
        free(sw);
        if (w)
                w->done(w, rc);
}

static void op_write(void *ctx, struct owner_write *w)
{
        struct migrate *m = ctx;
        struct volume_owner_update updates[OWNER_MAX_VOLUMES];
        bool done[OWNER_MAX_VOLUMES] = {false};
        struct store_write *sw = calloc(1, sizeof(*sw));
        uint8_t(*bytes)[OWNER_RECORD_MAX] = calloc(w->n, OWNER_RECORD_MAX);

        if (!sw || !bytes)
                abort(); /* a record that cannot be written and a caller that cannot be told */
        sw->w = w;
        sw->pending = 1;
        list_add_tail(&m->writes, &sw->node);
        for (uint32_t i = 0; i < w->n; i++) {
                struct migrate_volume *mv = w->item[i].volume;
                struct pool *pool = volume_pool(mv->spec.vol);
                uint32_t n = 0;
                for (uint32_t k = i; k < w->n; k++) {
                        struct migrate_volume *other = w->item[k].volume;
                        if (done[k] || volume_pool(other->spec.vol) != pool)
                                continue;
                        done[k] = true;
                        updates[n].vol = other->spec.vol;
                        updates[n].record = bytes[k];
                        updates[n].len = owner_record_encode(w->item[k].record, bytes[k]);
                        n++;
                }
                if (!n)
                        continue;
                sw->pending++;
                volume_set_owner(pool, updates, n, sw, stored);
        }
        free(bytes);
        sw->pending--; /* the pools answer later, at least one of them */
}

static void op_send(void *ctx, const struct owner_host *to, const struct owner_msg *msg)
{
        struct migrate *m = ctx;
        struct peer_frame f = {.type = PEER_OWNER, .owner = *msg};
        char token[OWNER_TOKEN_TEXT];

        owner_token_format(&msg->token, msg->seq, token);
        eventlog_emit("owner-send", "\"message\":\"%s\",\"token\":\"%s\",\"to\":\"%s\"",
                      owner_msg_name(msg->kind), token, to->address);
        peers_send_to(m->peers, to, &f);
}

static void op_gate(void *ctx, void *volume, bool open)
{
        struct migrate_volume *mv = volume;

        nvc_gate_set(mv->spec.controller, open);
        eventlog_emit("gate", "\"pool\":\"%s\",\"volume\":\"%s\",\"open\":%s,\"epoch\":%llu",
                      mv->pool, owner_volume_name(mv->owner), open ? "true" : "false",
                      (unsigned long long)owner_volume_epoch(mv->owner));
}

static void op_source_start(void *ctx, struct owner_group *g)
{
        source_start(ctx, g);
}

static void op_source_stop(void *ctx, struct owner_group *g)
{
        struct source *s = migrate_source_of(ctx, g);

        if (s)
                source_stop(s);
}

static void op_source_delta(void *ctx, struct owner_group *g, uint64_t seq)
{
        struct source *s = migrate_source_of(ctx, g);

        if (s)
                source_delta(s, seq);
}

static void op_target_prepare(void *ctx, struct owner_group *g)
{
        struct pull *p = migrate_pull_of(ctx, g);

        if (p)
                pull_prepare(p); /* without one the deadline refuses */
}

static void op_target_stop(void *ctx, struct owner_group *g)
{
        struct pull *p = migrate_pull_of(ctx, g);

        if (p)
                pull_stop(p);
}

static void resume_ended(struct resume_op *op)
{
        struct owner_group *g = owner_group_by_token(op->m->owner, &op->token);

        if (g) {
                eventlog_emit("controller-resumed", "\"status\":%d", op->status);
                owner_resumed(g, op->status);
        }
        list_del(&op->node);
        free(op);
}

static void resume_later(struct loop_defer *d)
{
        resume_ended(container_of(d, struct resume_op, later));
}

static void resumed(struct nvm_request *r)
{
        struct resume_op *op = r->ctx;
        uint16_t sc = r->status & NVME_SC_MASK;

        if (sc && sc != NVME_SC_NOT_SUSPENDED)
                op->status = -EIO;
        if (--op->left == 0)
                resume_ended(op);
}

static void op_resume(void *ctx, struct owner_group *g)
{
        struct migrate *m = ctx;
        struct resume_op *op = calloc(1, sizeof(*op));

        if (!op)
                abort(); /* an Acquire that would never be answered */
        op->m = m;
        op->token = *owner_group_token(g);
        op->later.call = resume_later;
        list_add_tail(&m->resumes, &op->node);
        for (uint32_t i = 0; i < owner_group_nvolumes(g); i++)
                op->left += migrate_group_volume(g, i) != NULL;
        if (!op->left)
                loop_defer(m->s.loop, &op->later);
        for (uint32_t i = 0; i < owner_group_nvolumes(g); i++) {
                struct migrate_volume *mv = migrate_group_volume(g, i);
                if (!mv)
                        continue;
                migrate_resume_cmd(op->req[i].sqe, nvc_cntlid(mv->spec.controller));
                op->req[i].done = resumed;
                op->req[i].ctx = op;
                m->s.target->ops->submit(m->s.target, true, &op->req[i]);
        }
}

struct deletion {
        struct migrate *m;
        struct uuid volume;
};

static void copy_deleted(void *cb, int status)
{
        struct deletion *d = cb;

        owner_copy_deleted(d->m->owner, &d->volume, status);
        free(d);
}

static void op_delete_copy(void *ctx, void *volume)
{
        struct migrate *m = ctx;
        struct migrate_volume *mv = volume;
        struct deletion *d = calloc(1, sizeof(*d));

        if (!d)
                return; /* asked again by the tombstone */
        d->m = m;
        d->volume = *owner_volume_uuid(mv->owner);
        m->host.volume_delete(m->host.ctx, mv, d, copy_deleted);
}

static void op_transition(void *ctx, const struct owner_group *g, const struct owner_rule *row,
                          enum owner_event event)
{
        char domain[UUID_TEXT_LEN], token[OWNER_TOKEN_TEXT];
        struct owner_volume *first = NULL;

        uuid_format(owner_group_domain(g), domain);
        migrate_token_text(g, token);
        for (uint32_t i = 0; !first && i < owner_group_nvolumes(g); i++)
                first = owner_group_volume(g, i);
        eventlog_emit(
            row ? "owner" : "owner-refused",
            "\"domain\":\"%s\",\"volume\":\"%s\",\"volumes\":%u,\"token\":\"%s\",\"seq\":%llu,"
            "\"from\":\"%s\",\"cause\":\"%s\",\"to\":\"%s\",\"row\":\"%s\"",
            domain, first ? owner_volume_name(first) : "", owner_group_nvolumes(g), token,
            (unsigned long long)owner_group_seq(g), owner_state_name(owner_group_state(g)),
            owner_event_name(event), owner_state_name(row ? row->to : owner_group_state(g)),
            row ? row->row : "");
}

/* Start time of a process (field 22 of /proc/PID/stat), 0 when there is none. */
static uint64_t start_time(pid_t pid)
{
        char path[48], buf[1024];
        unsigned long long start = 0;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "re");
        if (!f)
                return 0;
        size_t n = fread(buf, 1, sizeof(buf) - 1, f);
        fclose(f);
        buf[n] = '\0';
        const char *p = strrchr(buf, ')'); /* the name may hold anything */
        if (!p || sscanf(p + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                         "%*d %*d %llu",
                         &start) != 1)
                return 0;
        return start;
}

/* By pidfd, so that a dead process whose parent has not noticed yet counts as gone. */
static bool op_process_alive(void *ctx, pid_t pid, uint64_t *ret_start)
{
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd pf = {.fd = fd, .events = POLLIN};

        if (fd < 0) {
                *ret_start = 0;
                return errno != ESRCH;
        }
        *ret_start = start_time(pid);
        bool alive = poll(&pf, 1, 0) == 0;
        close(fd);
        return alive;
}

static void op_random(void *ctx, void *buf, size_t len)
{
        uint8_t *p = buf;

        while (len) {
                ssize_t n = getrandom(p, len, 0);
                if (n <= 0)
                        abort(); /* a token that could be guessed */
                p += n;
                len -= (size_t)n;
        }
}

struct owner_ops migrate_owner_ops(struct migrate *m)
{
        return (struct owner_ops){
            .write = op_write,
            .send = op_send,
            .gate = op_gate,
            .source_start = op_source_start,
            .source_stop = op_source_stop,
            .source_delta = op_source_delta,
            .target_prepare = op_target_prepare,
            .target_stop = op_target_stop,
            .resume = op_resume,
            .delete_copy = op_delete_copy,
            .transition = op_transition,
            .process_alive = op_process_alive,
            .random = op_random,
            .ctx = m,
        };
}
