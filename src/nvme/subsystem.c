/* The subsystem: who is in it, who has which number, and the end of every request.
 *
 * Invariants: a request is in at most one list; `finished` holds those that have ended and not been
 * told. Numbers go up and wrap, so that one that has just become free is the last to be used again:
 * a command with a stale number meets nobody.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>

static void tell_finished(struct loop_defer *d)
{
        struct nvm_subsystem *s = container_of(d, struct nvm_subsystem, tell_finished);
        struct list batch;
        struct nvm_request *req;

        list_init(&batch);
        list_splice_tail(&batch, &s->finished);
        while ((req = list_first(&batch, struct nvm_request, node))) {
                list_del(&req->node);
                req->done(req);
        }
}

void nvm_finish(struct nvm_subsystem *s, struct nvm_request *req, uint16_t status)
{
        req->status = status;
        list_add_tail(&s->finished, &req->node);
        loop_defer(s->loop, &s->tell_finished);
}

int nvm_subsystem_new(struct loop *loop, const struct uuid *host_uuid,
                      struct nvm_subsystem **ret_subsystem)
{
        struct nvm_subsystem *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->host_uuid = *host_uuid;
        s->last_cntlid = NVM_MMC_CNTLID;
        list_init(&s->controllers);
        list_init(&s->free_ios);
        list_init(&s->refused);
        list_init(&s->finished);
        list_init(&s->cdqs);
        list_init(&s->aers);
        list_init(&s->dma);
        s->tell_finished.call = tell_finished;
        *ret_subsystem = s;
        return 0;
}

void nvm_subsystem_free(struct nvm_subsystem *s)
{
        struct nvm_dma_range *r;

        if (!s)
                return;
        while ((r = list_first(&s->dma, struct nvm_dma_range, node))) {
                list_del(&r->node);
                free(r);
        }
        loop_defer_cancel(&s->tell_finished);
        loop_defer_cancel(&s->tell_refused);
        nvc_free_ios(s);
        free(s);
}

/* ---- finding ---- */

struct nvm_controller *nvm_controller_by_cntlid(struct nvm_subsystem *s, uint16_t cntlid)
{
        struct nvm_controller *c;
        list_for_each (c, &s->controllers, node)
                if (c->cntlid == cntlid)
                        return c;
        return NULL;
}

struct nvm_controller *nvm_controller_by_nsid(struct nvm_subsystem *s, uint32_t nsid)
{
        struct nvm_controller *c;
        list_for_each (c, &s->controllers, node)
                if (c->nsid == nsid)
                        return c;
        return NULL;
}

struct nvm_controller *nvm_controller_by_uuid(struct nvm_subsystem *s, const struct uuid *uuid)
{
        struct nvm_controller *c;
        list_for_each (c, &s->controllers, node)
                if (uuid_equal(&c->uuid, uuid))
                        return c;
        return NULL;
}

uint64_t nvm_nsze(const struct nvm_controller *c)
{
        return DIV_ROUND_UP(nvc_size_bytes(c), NVM_BLOCK);
}

/* ---- making and destroying ---- */

/* The lists of Identify are ascending; controllers therefore stand in the order of their CNTLID,
 * and because both numbers of a controller are drawn alike, of their NSID. */
static void insert_sorted(struct nvm_subsystem *s, struct nvm_controller *c)
{
        struct nvm_controller *other;
        list_for_each (other, &s->controllers, node)
                if (other->cntlid > c->cntlid)
                        break;
        list_add_tail(&other->node, &c->node);
}

static void draw_numbers(struct nvm_subsystem *s, struct nvm_controller *c)
{
        do {
                if (++s->last_cntlid > NVM_MMC_CNTLID + NVM_LAST_NSID)
                        s->last_cntlid = NVM_MMC_CNTLID + 1;
        } while (nvm_controller_by_cntlid(s, s->last_cntlid));
        c->cntlid = s->last_cntlid;
        c->nsid = (uint32_t)c->cntlid - NVM_MMC_CNTLID;
}

int nvm_controller_create(struct nvm_subsystem *s, const struct nvm_namespace_spec *spec,
                          struct nvm_controller **ret_controller, struct err *err)
{
        char text[UUID_TEXT_LEN];

        if (nvm_controller_by_uuid(s, &spec->uuid)) {
                uuid_format(&spec->uuid, text);
                return err_set(err, EEXIST, "volume %s is attached already", text);
        }
        if (s->ncontrollers == NVM_MAX_CONTROLLERS)
                return err_set(err, ENOSPC, "%d volumes are attached, the most there can be",
                               NVM_MAX_CONTROLLERS);
        struct nvm_controller *c = calloc(1, sizeof(*c));
        if (!c)
                return err_set(err, ENOMEM, "out of memory");
        c->s = s;
        c->uuid = spec->uuid;
        c->ops = spec->ops;
        c->backing = spec->backing;
        draw_numbers(s, c);
        nvc_init(c);
        insert_sorted(s, c);
        s->ncontrollers++;
        *ret_controller = c;
        return 0;
}

int nvm_controller_destroy(struct nvm_controller *c, struct err *err)
{
        if (c->front)
                return err_set(err, EBUSY, "the volume is open for writing through %s",
                               c->front->kind);
        if (c->inflight || c->mmc_inflight)
                return err_set(err, EBUSY, "%u requests of the volume are under way",
                               c->inflight + c->mmc_inflight);
        if (c->cdq)
                nvm_cdq_delete(c->cdq);
        nvm_stage_drop(&c->stage);
        nvc_fini(c);
        list_del(&c->node);
        c->s->ncontrollers--;
        free(c);
        return 0;
}

void nvm_controller_reset(struct nvm_subsystem *s, uint16_t cntlid)
{
        struct nvm_controller *c;
        struct nvm_cdq *q;

        if (cntlid != NVM_MMC_CNTLID) {
                c = nvm_controller_by_cntlid(s, cntlid);
                if (!c)
                        return;
                nvm_stage_drop(&c->stage);
                nvc_resume(c);
                return;
        }
        while ((q = list_first(&s->cdqs, struct nvm_cdq, node)))
                nvm_cdq_delete(q);
        nvm_aer_abort(s);
        list_for_each (c, &s->controllers, node) {
                nvm_stage_drop(&c->stage);
                nvc_resume(c);
        }
}

/* ---- the management controller's memory ---- */

int nvm_dma_map(struct nvm_subsystem *s, void *base, size_t len)
{
        if ((uintptr_t)base % NVME_PAGE_SIZE || len % NVME_PAGE_SIZE || !base || !len)
                return -EINVAL;
        struct nvm_dma_range *r = malloc(sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->base = (uintptr_t)base;
        r->len = len;
        list_add_tail(&s->dma, &r->node);
        return 0;
}

bool nvm_dma_covers(const struct nvm_subsystem *s, uint64_t addr, uint64_t len)
{
        const struct nvm_dma_range *r;
        list_for_each (r, &s->dma, node)
                if (addr >= r->base && addr - r->base <= r->len && len <= r->len - (addr - r->base))
                        return true;
        return false;
}

int nvm_dma_unmap(struct nvm_subsystem *s, void *base)
{
        struct nvm_dma_range *r;
        struct nvm_cdq *q;

        list_for_each (r, &s->dma, node)
                if (r->base == (uintptr_t)base)
                        break;
        if (&r->node == &s->dma)
                return -ENOENT;
        list_for_each (q, &s->cdqs, node)
                if ((uintptr_t)q->base >= r->base && (uintptr_t)q->base - r->base < r->len)
                        return -EBUSY;
        list_del(&r->node);
        free(r);
        return 0;
}
