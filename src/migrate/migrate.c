/* Ties ownership, peers and engines to pools and controllers, see migrate.h.
 *
 * Here are the effects that owner.h asks for (struct owner_ops): records go to the pools, one
 * atomic write a pool, and are durable when the last has answered; messages go to peers; gates are
 * the controllers'. A group's context is its source (source.c) or its pull (target.c).
 */
#include "migrate/migrate.h"

#include "base/eventlog.h"
#include "base/log.h"
#include "migrate/migrate_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

enum { MAX_PAST = 64 };

#define STOP_POLL_NS UINT64_C(5000000)
#define STOP_MAX_NS UINT64_C(5000000000)

struct store_write {
        struct list node;
        struct owner_write *w; /* NULL: nobody waits any more */
        uint32_t pending;
        int status;
};

struct resume_op {
        struct migrate *m;
        struct owner_token token;
        uint32_t left;
        int status;
        struct loop_defer later;
        struct nvm_request req[OWNER_MAX_VOLUMES];
};

/* ---- small things ---- */

const char *migrate_nvme_text(uint16_t status)
{
        static char buf[48];

        switch (status & NVME_SC_MASK) {
        case NVME_SC_CAPACITY:
                return "the pool is full";
        case NVME_SC_LBA_RANGE:
                return "outside of the volume";
        case NVME_SC_READ_ERROR:
                return "read error";
        case NVME_SC_WRITE_FAULT:
                return "write error";
        case NVME_SC_WRITE_PROTECTED:
                return "the pool is read-only";
        case NVME_SC_INVALID_FIELD:
                return "refused by the controller";
        default:
                snprintf(buf, sizeof(buf), "NVMe status %#x", status & NVME_SC_MASK);
                return buf;
        }
}

void migrate_send_frame(struct peer *p, const struct peer_frame *f)
{
        peer_send(p, f); /* fails with the connection, whose end is told to whom it matters */
}

void migrate_token_text(const struct owner_group *g, char text[OWNER_TOKEN_TEXT])
{
        owner_token_format(owner_group_token(g), owner_group_seq(g), text);
}

struct migrate_volume *migrate_group_volume(const struct owner_group *g, uint32_t i)
{
        struct owner_volume *v = owner_group_volume(g, i);

        return v ? owner_volume_handle(v) : NULL;
}

void migrate_suspend_cmd(uint8_t *sqe, uint16_t cntlid)
{
        nvme_sqe_init(sqe, NVME_ADMIN_MIGRATION_SEND, 0);
        nvme_sqe_set_cdw(sqe, 10, 0);
        nvme_sqe_set_cdw(sqe, 11, cntlid | 1u << 16); /* STYPE: suspend; the queue stays */
}

void migrate_resume_cmd(uint8_t *sqe, uint16_t cntlid)
{
        nvme_sqe_init(sqe, NVME_ADMIN_MIGRATION_SEND, 0);
        nvme_sqe_set_cdw(sqe, 10, 1);
        nvme_sqe_set_cdw(sqe, 11, cntlid);
}

static struct source *source_context(struct migrate *m, const struct owner_group *g)
{
        struct list *it;

        for (it = m->sources.next; it != &m->sources; it = it->next)
                if (source_of(it) == owner_group_context(g))
                        return source_of(it);
        return NULL;
}

static struct pull *pull_context(struct migrate *m, const struct owner_group *g)
{
        struct list *it;

        for (it = m->pulls.next; it != &m->pulls; it = it->next)
                if (pull_of(it) == owner_group_context(g))
                        return pull_of(it);
        return NULL;
}

/* ---- the owner's effects ---- */

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
        struct source *s = source_context(ctx, g);

        if (s)
                source_stop(s);
}

static void op_source_delta(void *ctx, struct owner_group *g, uint64_t seq)
{
        struct source *s = source_context(ctx, g);

        if (s)
                source_delta(s, seq);
}

static void op_target_prepare(void *ctx, struct owner_group *g)
{
        struct pull *p = pull_context(ctx, g);

        if (p)
                pull_prepare(p); /* without one the deadline refuses */
}

static void op_target_stop(void *ctx, struct owner_group *g)
{
        struct pull *p = pull_context(ctx, g);

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

/* ---- peers ---- */

static void answer_who_has(struct migrate *m, struct peer *p, const struct peer_frame *q)
{
        struct peer_frame *f = calloc(1, sizeof(*f));
        struct owner_group *g = owner_group_offered(m->owner, &q->who_has.domain);
        struct peer_offer *o;

        if (!f)
                return;
        o = &f->has.offer;
        f->type = PEER_HAS;
        f->has.request = q->who_has.request;
        f->has.found = g && source_context(m, g);
        if (f->has.found) {
                o->token = *owner_group_token(g);
                o->nvolumes = (uint8_t)owner_group_nvolumes(g);
                for (uint32_t i = 0; i < o->nvolumes; i++) {
                        struct migrate_volume *mv = migrate_group_volume(g, i);
                        struct peer_offer_volume *ov = &o->volumes[i];
                        struct volume_info info;
                        unsigned k = 0;

                        volume_get_info(mv->spec.vol, &info);
                        while (k < o->npools && strcmp(o->pools[k], mv->pool) != 0)
                                k++;
                        if (k == o->npools)
                                snprintf(o->pools[o->npools++], OWNER_POOL_NAME, "%s", mv->pool);
                        ov->member = (struct owner_member){
                            .uuid = info.uuid,
                            .epoch_before = owner_volume_epoch(mv->owner),
                            .pool = (uint8_t)k,
                        };
                        ov->size_bytes = info.size_bytes;
                        ov->allocated_bytes = info.allocated_bytes;
                        memcpy(ov->name, info.name, sizeof(ov->name));
                }
                o->nholders = (uint8_t)owner_group_holders(g, o->holders);
        }
        peer_send(p, f);
        free(f);
}

static void on_frame(void *ctx, struct peer *p, const struct peer_frame *f)
{
        struct migrate *m = ctx;
        struct list *it, *next;
        struct owner_group *g;
        struct source *s;

        switch (f->type) {
        case PEER_WHO_HAS:
                answer_who_has(m, p, f);
                return;
        case PEER_OWNER:
                if (m->host.importing && m->host.importing(m->host.ctx) &&
                    !owner_group_by_token(m->owner, &f->owner.token))
                        return;
                owner_message(m->owner, peer_host(p), &f->owner);
                return;
        case PEER_OPEN:
        case PEER_ACK:
                g = owner_group_by_token(m->owner, &f->token);
                s = g ? source_context(m, g) : NULL;
                if (s) {
                        source_frame(s, p, f);
                } else if (f->type == PEER_OPEN) {
                        struct peer_frame no = {.type = PEER_FAIL, .token = f->token};
                        no.fail.code = EREMOTE;
                        snprintf(no.fail.text, sizeof(no.fail.text), "it is not offered any more");
                        peer_send(p, &no);
                }
                return;
        default:
                for (it = m->pulls.next; it != &m->pulls; it = next) {
                        next = it->next;
                        pull_frame(pull_of(it), p, f);
                }
        }
}

static void on_up(void *ctx, struct peer *p)
{
        struct migrate *m = ctx;
        struct list *it;

        for (it = m->pulls.next; it != &m->pulls; it = it->next)
                pull_peer_up(pull_of(it), p);
}

static void on_down(void *ctx, struct peer *p, const struct err *err)
{
        struct migrate *m = ctx;
        struct list *it;

        log_debug("migrate", "%s", err->msg);
        for (it = m->sources.next; it != &m->sources; it = it->next)
                source_peer_down(source_of(it), p);
        for (it = m->pulls.next; it != &m->pulls; it = it->next)
                pull_peer_down(pull_of(it), p, err);
}

/* ---- life ---- */

static void read_boot_id(struct uuid *id)
{
        char text[64] = "";
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

        if (f && fgets(text, sizeof(text), f))
                text[strcspn(text, "\n")] = '\0';
        if (f)
                fclose(f);
        if (uuid_parse_text(text, id) < 0)
                *id = (struct uuid){0};
}

int migrate_new(const struct migrate_settings *settings, const struct migrate_host_ops *host,
                struct migrate **ret_migrate, struct err *err)
{
        struct migrate *m = calloc(1, sizeof(*m));
        const char *listen = settings->listen && *settings->listen ? settings->listen : NULL;

        if (!m)
                return err_set(err, ENOMEM, "out of memory");
        m->s = *settings;
        m->host = *host;
        if (!m->s.max_pause_ns)
                m->s.max_pause_ns = UINT64_C(5000000000);
        if (!m->s.pause_budget_ns)
                m->s.pause_budget_ns = UINT64_C(200000000);
        list_init(&m->volumes);
        list_init(&m->sources);
        list_init(&m->pulls);
        list_init(&m->past);
        list_init(&m->writes);

        struct owner_settings os = {
            .loop = m->s.loop,
            .host_uuid = m->s.host_uuid,
            .incarnation = m->s.incarnation,
            .max_pause_ns = m->s.max_pause_ns,
        };
        struct owner_ops ops = {
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
        read_boot_id(&os.boot_id);
        struct peers_settings ps = {
            .loop = m->s.loop,
            .transport = m->s.insecure_lab_transport ? &transport_tcp : NULL,
            .host_uuid = m->s.host_uuid,
            .incarnation = m->s.incarnation,
            .listen = listen,
        };
        const char *advertise = m->s.advertise && *m->s.advertise ? m->s.advertise : listen;
        snprintf(ps.advertise, sizeof(ps.advertise), "%s", advertise ? advertise : "");
        snprintf(os.address, sizeof(os.address), "%s", ps.advertise);
        struct peer_handler h = {.frame = on_frame, .up = on_up, .down = on_down, .ctx = m};
        int rc = peers_new(&ps, &h, &m->peers, err);
        if (rc == 0 && (rc = owner_new(&os, &ops, &m->owner)) < 0)
                err_set(err, -rc, "out of memory");
        if (rc < 0) {
                peers_free(m->peers);
                free(m);
                return rc;
        }
        *ret_migrate = m;
        return 0;
}

struct stopping {
        struct migrate *m;
        struct loop_timer timer;
        uint64_t until_ns;
        void *ctx;
        void (*done)(void *ctx);
};

static void stop_more(struct loop_timer *t)
{
        struct stopping *st = container_of(t, struct stopping, timer);
        struct migrate *m = st->m;
        uint64_t now = clock_now_ns();

        if ((!list_empty(&m->sources) || !list_empty(&m->pulls) || !list_empty(&m->writes)) &&
            now < st->until_ns) {
                loop_timer_arm(m->s.loop, t, now + STOP_POLL_NS);
                return;
        }
        st->done(st->ctx);
        free(st);
}

void migrate_stop(struct migrate *m, void *ctx, void (*done)(void *ctx))
{
        struct stopping *st = calloc(1, sizeof(*st));
        struct list *it, *next;
        uint64_t now = clock_now_ns();
        const struct err why = {ECANCELED, "zonepoold is stopping"};

        if (!st)
                abort();
        *st = (struct stopping){.m = m, .until_ns = now + STOP_MAX_NS, .ctx = ctx, .done = done};
        st->timer.fire = stop_more;
        m->freeing = true;
        owner_cancel_requests(m->owner);
        for (it = m->pulls.next; it != &m->pulls; it = next) {
                struct owner_group *g = pull_group(pull_of(it));
                next = it->next;
                if (g && owner_group_context(g) == pull_of(it))
                        pull_stop(pull_of(it));
                else
                        pull_fail(pull_of(it), &why);
        }
        for (it = m->sources.next; it != &m->sources; it = next) {
                next = it->next;
                if (source_group(source_of(it)))
                        source_stop(source_of(it));
        }
        loop_timer_arm(m->s.loop, &st->timer, now + STOP_POLL_NS);
}

void migrate_free(struct migrate *m)
{
        struct migrate_volume *v;
        struct migrate_past *past;
        struct store_write *sw;

        if (!m)
                return;
        while (!list_empty(&m->pulls))
                pull_abandon(pull_of(m->pulls.next));
        while (!list_empty(&m->sources))
                source_abandon(source_of(m->sources.next));
        list_for_each (sw, &m->writes, node)
                sw->w = NULL;
        owner_free(m->owner);
        peers_free(m->peers);
        while ((v = list_first(&m->volumes, struct migrate_volume, node))) {
                list_del(&v->node);
                free(v);
        }
        while ((past = list_first(&m->past, struct migrate_past, node))) {
                list_del(&past->node);
                free(past);
        }
        while ((sw = list_first(&m->writes, struct store_write, node)))
                list_del(&sw->node);
        free(m);
}

struct owner *migrate_owner(struct migrate *m)
{
        return m->owner;
}

int migrate_volume_add(struct migrate *m, const struct migrate_volume_spec *spec,
                       struct migrate_volume **ret_volume, struct err *err)
{
        struct migrate_volume *v = calloc(1, sizeof(*v));
        size_t len;
        const void *record = volume_owner(spec->vol, &len);

        if (!v)
                return err_set(err, ENOMEM, "out of memory");
        v->m = m;
        v->spec = *spec;
        snprintf(v->pool, sizeof(v->pool), "%s", spec->pool_name);
        v->spec.pool_name = v->pool;
        list_add_tail(&m->volumes, &v->node);
        int rc = owner_volume_add(m->owner, v->pool, volume_name(spec->vol), volume_uuid(spec->vol),
                                  record, len, v, &v->owner, err);
        if (rc < 0) {
                list_del(&v->node);
                free(v);
                return rc;
        }
        *ret_volume = v;
        return 0;
}

int migrate_volume_remove(struct migrate_volume *v, bool force, struct err *err)
{
        struct list *it, *next;

        if (!v)
                return 0;
        if (v->logged_by)
                return err_set(err, EBUSY, "the change log of volume %s/%s is in use", v->pool,
                               owner_volume_name(v->owner));
        for (it = v->m->pulls.next; it != &v->m->pulls; it = next) {
                next = it->next;
                struct owner_group *g = pull_group(pull_of(it));
                for (uint32_t i = 0; g && i < owner_group_nvolumes(g); i++)
                        if (owner_group_volume(g, i) == v->owner && !force)
                                return err_set(err, EBUSY, "volume %s/%s is being migrated",
                                               v->pool, owner_volume_name(v->owner));
        }
        int rc = owner_volume_remove(v->owner, force, err);
        if (rc < 0)
                return rc;
        list_del(&v->node);
        free(v);
        return 0;
}

struct owner_volume *migrate_volume_owner(struct migrate_volume *v)
{
        return v->owner;
}

struct volume *migrate_volume_volume(struct migrate_volume *v)
{
        return v->spec.vol;
}

struct migrate_volume *migrate_volume_find(struct migrate *m, const struct volume *vol)
{
        struct migrate_volume *v;

        list_for_each (v, &m->volumes, node)
                if (v->spec.vol == vol)
                        return v;
        return NULL;
}

/* ---- control methods ---- */

struct refused {
        struct loop_defer later;
        struct migrate_incoming *r;
        struct err err;
};

static void refuse_now(struct loop_defer *d)
{
        struct refused *x = container_of(d, struct refused, later);

        x->r->done(x->r, -x->err.code, &x->err);
        free(x);
}

void migrate_incoming(struct migrate *m, const struct uuid *domain,
                      const struct migrate_disk *disks, uint32_t ndisks, struct migrate_incoming *r)
{
        struct refused *x = calloc(1, sizeof(*x));
        struct list *it;

        if (!x)
                abort(); /* a caller that would wait for ever */
        r->priv = NULL;
        if (m->freeing)
                err_set(&x->err, ECANCELED, "zonepoold is stopping");
        else if (!m->s.insecure_lab_transport)
                err_set(&x->err, EPERM,
                        "this zonepoold talks to no peers: set insecure_lab_transport = 1 (in a "
                        "laboratory) in zonepoold.conf on both hosts");
        else if (!ndisks || ndisks > OWNER_MAX_VOLUMES)
                err_set(&x->err, E2BIG, "a domain may have 1 to %d zonepool disks",
                        OWNER_MAX_VOLUMES);
        for (it = m->pulls.next; it != &m->pulls && !x->err.code; it = it->next) {
                struct owner_group *g = pull_group(pull_of(it));
                if (uuid_equal(pull_domain(pull_of(it)), domain) &&
                    (!g || owner_group_state(g) != OWNER_OWNED))
                        err_set(&x->err, EBUSY,
                                "the domain is being migrated to this host already");
        }
        for (uint32_t i = 0; i < ndisks && !x->err.code; i++)
                if (!m->host.pool_by_name(m->host.ctx, disks[i].pool))
                        err_set(&x->err, ENOENT, "pool %s is not imported on this host",
                                disks[i].pool);
        if (x->err.code) {
                x->r = r;
                x->later.call = refuse_now;
                loop_defer(m->s.loop, &x->later);
                return;
        }
        free(x);
        pull_start(m, domain, disks, ndisks, r);
}

void migrate_incoming_cancel(struct migrate_incoming *r)
{
        const struct err why = {ECANCELED, "the migration was cancelled"};
        struct pull *p = r->priv;

        if (p)
                pull_fail(p, &why);
}

int migrate_cancel(struct migrate *m, const struct uuid *domain, struct err *err)
{
        const struct err why = {ECANCELED, "the migration was cancelled"};
        struct owner_group *g = owner_group_offered(m->owner, domain);
        struct list *it, *next;
        bool any = g != NULL;

        if (g)
                owner_source_failed(g, &why);
        for (it = m->pulls.next; it != &m->pulls; it = next) {
                next = it->next;
                if (!uuid_equal(pull_domain(pull_of(it)), domain))
                        continue;
                any = true;
                pull_fail(pull_of(it), &why);
        }
        return any ? 0 : err_set(err, ENOENT, "no migration of that domain is under way");
}

void migrate_remember(struct migrate *m, const struct owner_group *g, bool outgoing,
                      const struct migrate_progress *progress)
{
        struct migrate_past *p, *tmp;

        list_for_each_safe (p, tmp, &m->past, node) {
                if (uuid_equal(&p->domain, owner_group_domain(g)) || m->npast >= MAX_PAST) {
                        list_del(&p->node);
                        free(p);
                        m->npast--;
                }
        }
        if (!(p = calloc(1, sizeof(*p))))
                return;
        p->domain = *owner_group_domain(g);
        p->outgoing = outgoing;
        p->state = owner_group_state(g);
        snprintf(p->peer, sizeof(p->peer), "%s", owner_group_peer(g)->address);
        migrate_token_text(g, p->token);
        for (uint32_t i = 0; i < owner_group_nvolumes(g); i++) {
                struct migrate_volume *mv = migrate_group_volume(g, i);
                if (!mv)
                        continue;
                snprintf(p->pools[p->nvolumes], POOL_NAME_MAX + 1, "%s", mv->pool);
                snprintf(p->volumes[p->nvolumes++], VOLUME_NAME_MAX + 1, "%s",
                         owner_volume_name(mv->owner));
        }
        p->progress = *progress;
        list_add_tail(&m->past, &p->node);
        m->npast++;
        char domain[UUID_TEXT_LEN];
        uuid_format(&p->domain, domain);
        eventlog_emit(
            "migrate-ended",
            "\"domain\":\"%s\",\"direction\":\"%s\",\"state\":\"%s\",\"moved_bytes\":%llu,"
            "\"passes\":%u,\"pause_ns\":%llu",
            domain, outgoing ? "outgoing" : "incoming", owner_state_name(p->state),
            (unsigned long long)progress->moved_bytes, progress->passes,
            (unsigned long long)progress->pause_ns);
}

static void fill_status(const struct owner_group *g, struct migrate_status *st)
{
        st->domain = *owner_group_domain(g);
        st->state = owner_group_state(g);
        snprintf(st->peer, sizeof(st->peer), "%s", owner_group_peer(g)->address);
        migrate_token_text(g, st->token);
        for (uint32_t i = 0; i < owner_group_nvolumes(g); i++) {
                struct migrate_volume *mv = migrate_group_volume(g, i);
                if (!mv)
                        continue;
                st->pools[st->nvolumes] = mv->pool;
                st->volumes[st->nvolumes++] = owner_volume_name(mv->owner);
        }
}

void migrate_status(struct migrate *m, void *ctx, void (*fn)(void *, const struct migrate_status *))
{
        struct migrate_past *past;
        struct list *it;

        for (it = m->sources.next; it != &m->sources; it = it->next) {
                struct migrate_status st = {.outgoing = true};
                if (!source_group(source_of(it)))
                        continue;
                fill_status(source_group(source_of(it)), &st);
                source_progress(source_of(it), &st.progress);
                fn(ctx, &st);
        }
        for (it = m->pulls.next; it != &m->pulls; it = it->next) {
                struct migrate_status st = {.domain = *pull_domain(pull_of(it))};
                struct owner_group *g = pull_group(pull_of(it));
                if (g)
                        fill_status(g, &st);
                pull_progress(pull_of(it), &st.progress);
                fn(ctx, &st);
        }
        list_for_each (past, &m->past, node) {
                struct migrate_status st = {
                    .domain = past->domain,
                    .outgoing = past->outgoing,
                    .state = past->state,
                    .nvolumes = past->nvolumes,
                    .progress = past->progress,
                };
                memcpy(st.peer, past->peer, sizeof(st.peer));
                memcpy(st.token, past->token, sizeof(st.token));
                for (uint32_t i = 0; i < past->nvolumes; i++) {
                        st.pools[i] = past->pools[i];
                        st.volumes[i] = past->volumes[i];
                }
                fn(ctx, &st);
        }
}
