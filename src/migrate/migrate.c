/* Ties ownership, peers and engines to pools and controllers, see migrate.h.
 * The effects that the tables ask for are in effects.c, the control methods in
 * control.c.
 */
#include "migrate/migrate.h"

#include "base/eventlog.h"
#include "base/log.h"
#include "migrate/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STOP_POLL_NS UINT64_C(5000000)
#define STOP_MAX_NS UINT64_C(5000000000)

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
        f->has.found = g && migrate_source_of(m, g);
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
                        ov->reserved_bytes = info.reserved_bytes;
                        ov->copies = info.copies;
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
        case PEER_FAIL:
                g = owner_group_by_token(m->owner, &f->token);
                s = g ? migrate_source_of(m, g) : NULL;
                if (s) {
                        source_frame(s, p, f);
                } else if (f->type == PEER_OPEN) {
                        struct peer_frame no = {.type = PEER_FAIL, .token = f->token};
                        no.fail.code = EREMOTE;
                        snprintf(no.fail.text, sizeof(no.fail.text), "it is not offered any more");
                        peer_send(p, &no);
                }
                if (s || f->type != PEER_FAIL)
                        return;
                /* of a source, then */
                __attribute__((fallthrough));
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
        list_init(&m->resumes);

        struct owner_settings os = {
            .loop = m->s.loop,
            .host_uuid = m->s.host_uuid,
            .incarnation = m->s.incarnation,
            .max_pause_ns = m->s.max_pause_ns,
        };
        struct owner_ops ops = migrate_owner_ops(m);
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

        if ((!list_empty(&m->sources) || !list_empty(&m->pulls) || !list_empty(&m->writes) ||
             !list_empty(&m->resumes)) &&
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
        if (!list_empty(&v->m->resumes))
                return err_set(err, EBUSY, "controllers are being resumed");
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
