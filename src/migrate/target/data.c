/* Writing what comes, and the last step before TAKE: flush, then Set Controller State.
 *
 * A chunk is acknowledged when it is written, not when it is durable: one flush before TAKE is. At
 * most MAX_WRITES chunks are being written; a source that sends more is cut off.
 */
#include "base/eventlog.h"
#include "migrate/target/internal.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_WRITES = 64, DEAC = 1 << 25 };

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
                pull_look_again(p);
                return;
        }
        if (p->want_open && !p->writes)
                pull_open(p);
        if (status)
                pull_refuse(p, (status & NVME_SC_MASK) == NVME_SC_CAPACITY ? ENOSPC : EIO,
                            "the copy cannot be written: %s", migrate_nvme_text(status));
}

void pull_got_data(struct pull *p, struct peer *peer, const struct peer_frame *f)
{
        struct migrate *m = p->m;

        if (p->writes >= MAX_WRITES || f->data.volume >= p->nvolumes) {
                pull_refuse(p, EPROTO, "the source sends what was not asked for");
                return;
        }
        struct migrate_volume *mv = p->v[f->data.volume].mv;
        size_t size = sizeof(struct chunk_write) + f->data.nsegments * sizeof(struct write_part);
        struct chunk_write *w = calloc(1, size);
        if (w && f->data.payload_len)
                w->payload = aligned_alloc(PEER_BLOCK, f->data.payload_len);
        if (!w || (f->data.payload_len && !w->payload)) {
                free(w);
                pull_refuse(p, ENOMEM, "out of memory");
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
/* ---- the last step before TAKE ---- */

static void prepared(struct pull *p)
{
        struct owner_group *g = pull_group(p);

        if (--p->preparing)
                return;
        if (p->phase == ENDED) {
                pull_look_again(p);
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
