/* Track Send, Migration Send and Migration Receive of the management controller (Base 2.3).
 *
 * Where the specification leaves it open: an unknown CNTLID is Invalid Controller Identifier for
 * every operation; a redundant stop of logging succeeds; a Suspend Notification does nothing, DUDMQ
 * included; Resume of a controller that is still draining ends that drain (its Suspends are
 * aborted) and succeeds, so that a host whose Suspend takes too long can go back. A Suspend that
 * shall delete a queue without a free slot is refused as queue full: there would be no place to say
 * what was lost.
 *
 * Set Controller State is staged and takes effect as a whole: header, every size and every fact is
 * checked before; a part that fails drops all of it.
 */
#include "base/log.h"
#include "internal.h"
#include "nvme/state.h"

#include <errno.h>

enum {
        TRACK_USER_DATA = 0,
        MSEND_SUSPEND = 0,
        MSEND_RESUME = 1,
        MSEND_SET_STATE = 2,
        MRECV_GET_STATE = 0,
        STYPE_NOTIFY = 0,
        STYPE_SUSPEND = 1,
        SEQ_FIRST = 1, /* bit 0 of SEQIND: the first part, bit 1: the last */
        SEQ_LAST = 2,
        FORMATS = 1, /* entries of either list of Identify CNS 20h */
};

static struct nvm_controller *target(struct nvm_subsystem *s, const struct nvm_request *req)
{
        return nvm_controller_by_cntlid(s, (uint16_t)nvme_bits(nvme_sqe_cdw(req->sqe, 11), 15, 0));
}

/* ---- Track Send ---- */

uint16_t nvm_cmd_track_send(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10), action = nvme_bits(dw10, 19, 16);
        struct nvm_cdq *q =
            nvm_cdq_by_id(s, (uint16_t)nvme_bits(nvme_sqe_cdw(req->sqe, 11), 15, 0));

        /* Track Memory Changes is not supported (TRATTR.THMCS = 0): guest memory is QEMU's. */
        if (nvme_bits(dw10, 7, 0) != TRACK_USER_DATA || action > 1 || nvme_bits(dw10, 31, 20))
                return NVME_SC_INVALID_FIELD;
        if (!q)
                return NVME_SC_INVALID_CDQ;
        if (q->mc->state == NVC_SUSPENDED)
                return NVME_SC_SUSPENDED;
        if (action)
                return nvm_log_start(q->mc);
        nvm_log_stop(q->mc);
        return NVME_SC_SUCCESS;
}

/* ---- Suspend, Resume ---- */

static uint16_t suspend(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw11 = nvme_sqe_cdw(req->sqe, 11), type = nvme_bits(dw11, 23, 16);
        bool delete_cdq = nvme_bits(dw11, 31, 31);
        struct nvm_controller *c = target(s, req);

        if (type > STYPE_SUSPEND)
                return NVME_SC_INVALID_FIELD;
        if (!c)
                return NVME_SC_INVALID_CONTROLLER;
        if (type == STYPE_NOTIFY)
                return NVME_SC_SUCCESS;
        if (delete_cdq && c->cdq && c->state != NVC_SUSPENDED) {
                nvm_log_pump(c);
                if (nvm_cdq_room(c->cdq) == 0)
                        return NVME_SC_CDQ_FULL;
        }
        nvc_suspend(c, req, delete_cdq);
        return NVM_PENDING;
}

static uint16_t resume(struct nvm_subsystem *s, struct nvm_request *req)
{
        struct nvm_controller *c = target(s, req);

        if (!c)
                return NVME_SC_INVALID_CONTROLLER;
        if (c->state == NVC_RUNNING)
                return NVME_SC_NOT_SUSPENDED;
        if (c->stage.open)
                return NVME_SC_SEQUENCE;
        nvc_resume(c);
        return NVME_SC_SUCCESS;
}

/* ---- Set Controller State ---- */

void nvm_stage_drop(struct nvm_stage *stage)
{
        free(stage->buf);
        bitmap_fini(&stage->present);
        *stage = (struct nvm_stage){0};
}

static uint16_t stage_open(struct nvm_stage *stage)
{
        nvm_stage_drop(stage);
        stage->buf = calloc(1, NVM_STATE_CAP);
        if (!stage->buf || bitmap_init(&stage->present, NVM_STATE_CAP / 4) < 0) {
                nvm_stage_drop(stage);
                return NVME_SC_INTERNAL;
        }
        stage->open = true;
        return NVME_SC_SUCCESS;
}

static uint16_t stage_put(struct nvm_stage *stage, const struct nvm_request *req)
{
        uint64_t offset = nvme_sqe_cdw64(req->sqe, 12);
        uint64_t dwords = nvme_sqe_cdw(req->sqe, 15);

        if (offset % 4 || offset > NVM_STATE_CAP || dwords > (NVM_STATE_CAP - offset) / 4 ||
            (dwords && (!req->data || req->data_len < dwords * 4)))
                return NVME_SC_INVALID_FIELD;
        if (dwords) {
                memcpy(stage->buf + offset, req->data, (size_t)dwords * 4);
                bitmap_set_range(&stage->present, offset / 4, dwords);
        }
        return NVME_SC_SUCCESS;
}

/* What the source says of its disk against what this one is. */
static int compare_facts(const struct nvm_controller *c, const struct vendor_state *v,
                         struct err *err)
{
        const struct nvm_front_facts *f = &c->facts;

        if (!uuid_equal(&v->volume, &c->uuid))
                return err_set(err, EINVAL, "it is of another volume");
        if (v->size_bytes != nvc_size_bytes(c))
                return err_set(err, EINVAL, "the volume has %llu bytes there and %llu here",
                               (unsigned long long)v->size_bytes,
                               (unsigned long long)nvc_size_bytes(c));
        if (v->sector_bytes != VENDOR_STATE_SECTOR || v->block_bytes != NVM_BLOCK)
                return err_set(err, EINVAL, "its sectors and blocks are %u and %u bytes",
                               v->sector_bytes, v->block_bytes);
        if (f->offered_features && (v->features & ~f->offered_features))
                return err_set(err, EINVAL,
                               "the guest uses virtio features %#llx, not offered here",
                               (unsigned long long)(v->features & ~f->offered_features));
        if (f->max_queues && v->queues > f->max_queues)
                return err_set(err, EINVAL, "the guest uses %u queues, here are %u", v->queues,
                               f->max_queues);
        return 0;
}

static int stage_commit(const struct nvm_controller *c, uint32_t csvi, uint32_t csuuidi,
                        struct err *err)
{
        const struct nvm_stage *stage = &c->stage;
        struct nvm_state st;
        size_t size;

        if (bitmap_next_clear(&stage->present, 0) < NVM_STATE_HEADER / 4)
                return err_set(err, EBADMSG, "its header is incomplete");
        int rc = nvm_state_size(stage->buf, &size, err);
        if (rc < 0)
                return rc;
        if (stage->present.nset != size / 4 || bitmap_next_clear(&stage->present, 0) < size / 4)
                return err_set(err, EBADMSG, "it is not as long as its header says");
        rc = nvm_state_decode(stage->buf, size, &st, err);
        if (rc < 0)
                return rc;
        if ((st.has_nvme && !csvi) || (st.has_vendor && !csuuidi))
                return err_set(err, EINVAL, "a part of it has no format index");
        return st.has_vendor ? compare_facts(c, &st.vendor, err) : 0;
}

static uint16_t set_state(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10), dw11 = nvme_sqe_cdw(req->sqe, 11);
        uint32_t seq = nvme_bits(dw10, 17, 16);
        uint32_t csvi = nvme_bits(dw11, 23, 16), csuuidi = nvme_bits(dw11, 31, 24);
        struct nvm_controller *c = target(s, req);
        struct err err = ERR_INIT;
        uint16_t status = NVME_SC_SUCCESS;

        if (!c)
                return NVME_SC_INVALID_CONTROLLER;
        if (csvi > FORMATS || csuuidi > FORMATS || (!csvi && !csuuidi) || nvme_bits(dw10, 31, 18) ||
            (nvme_sqe_cdw(req->sqe, 15) == 0 && seq != SEQ_LAST)) {
                nvm_stage_drop(&c->stage);
                return NVME_SC_INVALID_FIELD;
        }
        if (seq & SEQ_FIRST)
                status = stage_open(&c->stage);
        else if (!c->stage.open)
                return NVME_SC_SEQUENCE;
        if (status == NVME_SC_SUCCESS)
                status = stage_put(&c->stage, req);
        if (status == NVME_SC_SUCCESS && (seq & SEQ_LAST) &&
            stage_commit(c, csvi, csuuidi, &err) < 0) {
                log_debug("nvme", "controller %u: state refused: %s", c->cntlid, err.msg);
                status = NVME_SC_INVALID_FIELD;
        }
        if (status != NVME_SC_SUCCESS || (seq & SEQ_LAST))
                nvm_stage_drop(&c->stage);
        return status;
}

uint16_t nvm_cmd_migration_send(struct nvm_subsystem *s, struct nvm_request *req)
{
        switch (nvme_bits(nvme_sqe_cdw(req->sqe, 10), 7, 0)) {
        case MSEND_SUSPEND:
                return suspend(s, req);
        case MSEND_RESUME:
                return resume(s, req);
        case MSEND_SET_STATE:
                return set_state(s, req);
        default:
                return NVME_SC_INVALID_FIELD;
        }
}

/* ---- Migration Receive: Get Controller State ---- */

uint16_t nvm_cmd_migration_receive(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10), dw11 = nvme_sqe_cdw(req->sqe, 11);
        uint32_t csvi = nvme_bits(dw10, 23, 16), csuuidi = nvme_bits(dw11, 23, 16);
        uint64_t offset = nvme_sqe_cdw64(req->sqe, 12);
        uint64_t bytes = ((uint64_t)nvme_sqe_cdw(req->sqe, 15) + 1) * 4;
        struct nvm_controller *c = target(s, req);
        uint8_t buf[NVM_STATE_MAX];

        if (nvme_bits(dw10, 7, 0) != MRECV_GET_STATE || csvi > FORMATS || csuuidi > FORMATS)
                return NVME_SC_INVALID_FIELD;
        if (!c)
                return NVME_SC_INVALID_CONTROLLER;
        struct nvm_state st = {
            .suspended = c->state == NVC_SUSPENDED,
            .has_nvme = csvi != 0,
            .has_vendor = csuuidi != 0,
            .vendor =
                {
                    .volume = c->uuid,
                    .size_bytes = nvc_size_bytes(c),
                    .features = c->facts.negotiated_features,
                    .queues = c->facts.queues,
                    .sector_bytes = VENDOR_STATE_SECTOR,
                    .block_bytes = NVM_BLOCK,
                },
        };
        size_t size = nvm_state_encode(&st, buf);
        if (offset % 4 || offset >= size || !req->data || bytes > req->data_len)
                return NVME_SC_INVALID_FIELD;
        memset(req->data, 0, (size_t)bytes);
        memcpy(req->data, buf + offset, (size_t)MIN(bytes, size - offset));
        req->dw0 = st.suspended;
        return NVME_SC_SUCCESS;
}
