/* Making room for what comes: missing volumes are created (STAGED from the first record on), small
 * ones grown, all staged by one durable step, controllers suspended, old copies emptied. */
#include "base/eventlog.h"
#include "migrate/target/internal.h"

#include <errno.h>
#include <stdio.h>

/* ---- creating, growing, staging, clearing: one volume after another ---- */

/* Comes first in every completion. False: it is over. */
static bool back(struct pull *p)
{
        p->busy--;
        if (p->phase != ENDED)
                return true;
        pull_look_again(p);
        return false;
}

static void created(void *cb, int status, const struct err *err, struct migrate_volume *mv)
{
        struct pull *p = cb;
        const struct peer_offer_volume *ov = &p->offer.volumes[p->next];

        if (!back(p))
                return;
        if (status) {
                pull_refuse(p, -status, "volume %s cannot be created: %s", ov->name,
                            err_text(err, status));
                return;
        }
        p->v[p->next++].mv = mv;
        pull_advance(p);
}

static void grown(void *cb, int status)
{
        struct pull *p = cb;

        if (!back(p))
                return;
        if (status) {
                pull_refuse(p, -status, "volume %s cannot be given its size or reservation: %s",
                            p->offer.volumes[p->next].name, err_text(NULL, status));
                return;
        }
        p->next++;
        pull_advance(p);
}

void pull_create_next(struct pull *p)
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
                pull_refuse(p, ENOENT, "pool %s is not imported any more", pool_name);
                return;
        }
        p->busy++;
        if (vol) {
                struct volume_info info;
                struct owner_volume *o =
                    owner_volume_in_pool(m->owner, pool_name, &ov->member.uuid);
                v->mv = o ? owner_volume_handle(o) : NULL;
                v->existed = true;
                volume_get_info(vol, &info);
                if (!v->mv) {
                        p->busy--;
                        pull_refuse(p, EBUSY, "volume %s/%s is not ready on this host", pool_name,
                                    ov->name);
                } else if (info.size_bytes < ov->size_bytes ||
                           info.reserved_bytes != ov->reserved_bytes) {
                        struct volume_size to = {.size_bytes = ov->size_bytes,
                                                 .reserved_bytes = ov->reserved_bytes};
                        volume_set_size(vol, &to, p, grown);
                } else {
                        p->busy--;
                        p->next++;
                        pull_advance(p);
                }
                return;
        }
        if (owner_stage_record(m->owner, &p->stage, &ov->member.uuid, &rec, &p->why) < 0) {
                p->busy--;
                pull_refuse(p, p->why.code, "%s", p->why.msg);
                return;
        }
        struct volume_spec spec = {
            .name = ov->name,
            .uuid = ov->member.uuid,
            .size_bytes = ov->size_bytes,
            .reserved_bytes = ov->reserved_bytes,
            .copies = ov->copies,
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
                pull_refuse(p, -status, "%s", err_text(err, status));
                return;
        }
        p->staged = true;
        if (!(g = pull_group(p))) {
                pull_refuse(p, ECANCELED, "the staging was undone");
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
        pull_advance(p);
}

void pull_stage(struct pull *p)
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
                pull_refuse(p, -status, "the old copy of %s cannot be emptied: %s",
                            p->offer.volumes[p->next].name, err_text(NULL, status));
                return;
        }
        p->next++;
        pull_advance(p);
}

static void suspended(struct nvm_request *r)
{
        struct engine_cmd *c = container_of(r, struct engine_cmd, req);
        struct pull *p = c->owner;
        struct pull_volume *v = &p->v[c->index];

        if (!back(p))
                return;
        if (r->status) {
                pull_refuse(p, EIO, "the controller of %s does not suspend: %s",
                            p->offer.volumes[c->index].name, migrate_nvme_text(r->status));
                return;
        }
        if (!v->existed) {
                p->next++;
                pull_advance(p);
                return;
        }
        p->busy++;
        volume_clear(v->mv->spec.vol, p, cleared);
}

void pull_clear_next(struct pull *p)
{
        struct pull_volume *v = &p->v[p->next];

        migrate_suspend_cmd(v->cmd.req.sqe, nvc_cntlid(v->mv->spec.controller));
        v->cmd.owner = p;
        v->cmd.index = p->next;
        v->cmd.req.done = suspended;
        p->busy++;
        p->m->s.target->ops->submit(p->m->s.target, true, &v->cmd.req);
}
