/* Admin commands: who may send which, and Asynchronous Event Requests.
 *
 * Only the management controller has the migration commands (Base 2.3, host managed live
 * migration); a migratable controller answers Identify, and Invalid Opcode to all else: its guest
 * reaches it as a virtio disk, never here.
 *
 * Statuses of refused commands carry Do Not Retry, except those that time can cure: a queue that is
 * full, a controller that is suspended.
 */
#include "internal.h"

/* ---- Asynchronous Event Request ---- */

static uint16_t cmd_async_event(struct nvm_subsystem *s, struct nvm_request *req)
{
        if (s->naers == NVM_MAX_AER)
                return NVME_SC_AER_LIMIT;
        list_add_tail(&s->aers, &req->node);
        s->naers++;
        nvm_aer_kick(s);
        return NVM_PENDING;
}

static struct nvm_request *take_aer(struct nvm_subsystem *s)
{
        struct nvm_request *req = list_first(&s->aers, struct nvm_request, node);
        if (req) {
                list_del(&req->node);
                s->naers--;
        }
        return req;
}

static bool report(struct nvm_subsystem *s, const struct nvm_cdq *q, unsigned info)
{
        struct nvm_request *req = take_aer(s);
        if (!req)
                return false;
        req->dw0 = NVME_AET_ONE_SHOT | info << 8;
        req->dw1 = q->id;
        nvm_finish(s, req, NVME_SC_SUCCESS);
        return true;
}

void nvm_aer_kick(struct nvm_subsystem *s)
{
        struct nvm_cdq *q;
        list_for_each (q, &s->cdqs, node) {
                if (q->full_event && report(s, q, NVME_AEI_CDQ_FULL))
                        q->full_event = false;
                if (q->tail_event && report(s, q, NVME_AEI_CDQ_TAIL))
                        q->tail_event = false;
        }
}

void nvm_aer_abort(struct nvm_subsystem *s)
{
        struct nvm_request *req;
        while ((req = take_aer(s)))
                nvm_finish(s, req, NVME_SC_ABORT_QUEUE_DELETED);
}

/* ---- features, sanitize ---- */

static uint16_t cmd_features(struct nvm_subsystem *s, struct nvm_request *req, bool set)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10);

        if (nvme_bits(dw10, 7, 0) != NVME_FID_DATA_QUEUE)
                return NVME_SC_INVALID_FIELD;
        if (set) /* not saveable */
                return nvme_bits(dw10, 31, 31) ? NVME_SC_INVALID_FIELD
                                               : nvm_feature_cdq_set(s, req);
        return nvme_bits(dw10, 10, 8) ? NVME_SC_INVALID_FIELD : nvm_feature_cdq_get(s, req);
}

/* Not supported; but the refusal that suspension demands comes first. */
static uint16_t cmd_sanitize(struct nvm_subsystem *s)
{
        const struct nvm_controller *c;
        list_for_each (c, &s->controllers, node)
                if (c->state == NVC_SUSPENDED)
                        return NVME_SC_SUSPENDED;
        return NVME_SC_INVALID_OPCODE;
}

/* ---- dispatch ---- */

static uint16_t dispatch_mmc(struct nvm_subsystem *s, struct nvm_request *req)
{
        switch (nvme_sqe_opcode(req->sqe)) {
        case NVME_ADMIN_IDENTIFY:
                return nvm_cmd_identify(s, NVM_MMC_CNTLID, req);
        case NVME_ADMIN_GET_LOG_PAGE:
                return nvm_cmd_log_page(s, req);
        case NVME_ADMIN_SET_FEATURES:
                return cmd_features(s, req, true);
        case NVME_ADMIN_GET_FEATURES:
                return cmd_features(s, req, false);
        case NVME_ADMIN_ASYNC_EVENT:
                return cmd_async_event(s, req);
        case NVME_ADMIN_TRACK_SEND:
                return nvm_cmd_track_send(s, req);
        case NVME_ADMIN_MIGRATION_SEND:
                return nvm_cmd_migration_send(s, req);
        case NVME_ADMIN_MIGRATION_RECEIVE:
                return nvm_cmd_migration_receive(s, req);
        case NVME_ADMIN_DATA_QUEUE:
                return nvm_cmd_data_queue(s, req);
        case NVME_ADMIN_SANITIZE:
                return cmd_sanitize(s);
        case NVME_ADMIN_GET_LBA_STATUS:
                return nvm_cmd_lba_status(s, req);
        default: /* Track Receive among them: TRATTR.THMCS = 0 */
                return NVME_SC_INVALID_OPCODE;
        }
}

static bool retry_may_help(uint16_t status)
{
        return status == NVME_SC_SUCCESS || status == NVME_SC_CDQ_FULL ||
               status == NVME_SC_SUSPENDED || status == NVME_SC_NO_RESOURCES ||
               status == NVME_SC_INTERNAL || status == NVME_SC_AER_LIMIT;
}

void nvm_admin_submit(struct nvm_subsystem *s, uint16_t cntlid, struct nvm_request *req)
{
        uint16_t status;

        list_init(&req->node);
        req->dw0 = req->dw1 = 0;
        if (cntlid == NVM_MMC_CNTLID)
                status = dispatch_mmc(s, req);
        else if (!nvm_controller_by_cntlid(s, cntlid))
                status = NVME_SC_INVALID_CONTROLLER;
        else if (nvme_sqe_opcode(req->sqe) == NVME_ADMIN_IDENTIFY)
                status = nvm_cmd_identify(s, cntlid, req);
        else
                status = NVME_SC_INVALID_OPCODE;
        if (status != NVM_PENDING)
                nvm_finish(s, req, retry_may_help(status) ? status : status | NVME_SC_DNR);
}
