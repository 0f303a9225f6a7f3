/* The Controller Data Queue: ring, command 45h, feature 21h.
 *
 * The ring is memory of the reader. N slots hold N - 1 entries; the reader's head is known only
 * from feature 21h, the tail is never told. The byte with the phase is stored last, with release
 * order (it pairs with the reader's acquire load, udmq.h).
 *
 * Invariants: an MC has at most one queue; the queue lies inside mapped memory (nvm_dma_map) for as
 * long as it lives. Two limits are ours and stricter than the specification: one contiguous buffer
 * (PC = 1), and at least four slots.
 */
#include "internal.h"

enum {
        CDQ_CREATE = 0,
        CDQ_DELETE = 1,
        CDQ_MIN_SLOTS = 4,
        FEATURE_DATA_LEN = 512,
};

#define ETPT (UINT32_C(1) << 31)

/* ---- ring ---- */

uint32_t nvm_cdq_room(const struct nvm_cdq *q)
{
        return (uint32_t)(((uint64_t)q->head + q->nslots - q->tail - 1) % q->nslots);
}

void nvm_cdq_post(struct nvm_cdq *q, const struct udmq_entry *entry)
{
        uint8_t bytes[UDMQ_ENTRY_SIZE];
        uint8_t *slot = q->base + (size_t)q->tail * UDMQ_ENTRY_SIZE;
        uint32_t posted = q->tail;

        udmq_encode(bytes, entry);
        memcpy(slot, bytes, UDMQ_ATTR);
        __atomic_store_n(slot + UDMQ_ATTR, (uint8_t)(bytes[UDMQ_ATTR] | q->phase),
                         __ATOMIC_RELEASE);
        if (++q->tail == q->nslots) {
                q->tail = 0;
                q->phase ^= 1;
        }
        if (q->etpt && posted == q->tpt) {
                q->etpt = false;
                q->tail_event = true;
                nvm_aer_kick(q->s);
        }
}

void nvm_cdq_raise_full(struct nvm_cdq *q)
{
        q->full_event = true;
        nvm_aer_kick(q->s);
}

void nvm_cdq_drop_full(struct nvm_cdq *q)
{
        q->full_event = false;
}

struct nvm_cdq *nvm_cdq_by_id(struct nvm_subsystem *s, uint16_t id)
{
        struct nvm_cdq *q;
        list_for_each (q, &s->cdqs, node)
                if (q->id == id)
                        return q;
        return NULL;
}

void nvm_cdq_delete(struct nvm_cdq *q)
{
        nvm_log_drop(q->mc);
        q->mc->cdq = NULL;
        list_del(&q->node);
        free(q);
}

/* ---- command 45h ---- */

static uint16_t cdq_create(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw10 = nvme_sqe_cdw(req->sqe, 10), dw11 = nvme_sqe_cdw(req->sqe, 11);
        uint32_t dwords = nvme_sqe_cdw(req->sqe, 12);
        uint64_t prp1 = get_le64(req->sqe + NVME_SQE_PRP1);
        uint16_t cntlid = (uint16_t)nvme_bits(dw11, 31, 16);
        struct nvm_controller *c = nvm_controller_by_cntlid(s, cntlid);

        if (nvme_bits(dw10, 31, 16) != 0 || nvme_bits(dw10, 15, 8) != 0 ||
            nvme_bits(dw11, 15, 1) != 0)
                return NVME_SC_INVALID_FIELD;
        if (!c) /* the MMC is not migratable: not among them */
                return NVME_SC_INVALID_CONTROLLER;
        if (prp1 % NVME_PAGE_SIZE)
                return NVME_SC_PRP_OFFSET;
        if (!nvme_bits(dw11, 0, 0) || dwords % UDMQ_ENTRY_DWORDS ||
            dwords / UDMQ_ENTRY_DWORDS < CDQ_MIN_SLOTS ||
            !nvm_dma_covers(s, prp1, (uint64_t)dwords * 4) || c->cdq)
                return NVME_SC_INVALID_FIELD;
        struct nvm_cdq *q = calloc(1, sizeof(*q));
        if (!q)
                return NVME_SC_NO_RESOURCES;
        q->s = s;
        q->mc = c;
        q->base = (uint8_t *)(uintptr_t)prp1;
        q->nslots = dwords / UDMQ_ENTRY_DWORDS;
        q->phase = 1;
        do
                q->id = ++s->last_cdqid;
        while (nvm_cdq_by_id(s, q->id));
        list_add_tail(&s->cdqs, &q->node);
        c->cdq = q;
        req->dw0 = q->id;
        return NVME_SC_SUCCESS;
}

static uint16_t cdq_delete(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw11 = nvme_sqe_cdw(req->sqe, 11);
        struct nvm_cdq *q = nvm_cdq_by_id(s, (uint16_t)nvme_bits(dw11, 15, 0));

        if (nvme_bits(dw11, 31, 16) != 0)
                return NVME_SC_INVALID_FIELD;
        if (!q)
                return NVME_SC_INVALID_CDQ;
        nvm_cdq_delete(q);
        return NVME_SC_SUCCESS;
}

uint16_t nvm_cmd_data_queue(struct nvm_subsystem *s, struct nvm_request *req)
{
        switch (nvme_bits(nvme_sqe_cdw(req->sqe, 10), 7, 0)) {
        case CDQ_CREATE:
                return cdq_create(s, req);
        case CDQ_DELETE:
                return cdq_delete(s, req);
        default:
                return NVME_SC_INVALID_FIELD;
        }
}

/* ---- feature 21h ---- */

/* A head may move to any slot that holds an entry, or behind the last of them. */
static bool head_valid(const struct nvm_cdq *q, uint32_t hp)
{
        uint64_t n = q->nslots;
        if (hp >= n)
                return false;
        return (hp + n - q->head) % n <= (q->tail + n - q->head) % n;
}

uint16_t nvm_feature_cdq_set(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint32_t dw11 = nvme_sqe_cdw(req->sqe, 11);
        uint32_t hp = nvme_sqe_cdw(req->sqe, 12), tpt = nvme_sqe_cdw(req->sqe, 13);
        struct nvm_cdq *q = nvm_cdq_by_id(s, (uint16_t)nvme_bits(dw11, 15, 0));

        if (!q)
                return NVME_SC_INVALID_CDQ;
        if (!head_valid(q, hp) || ((dw11 & ETPT) && tpt >= q->nslots))
                return NVME_SC_INVALID_FIELD;
        q->head = hp;
        q->etpt = dw11 & ETPT;
        q->tpt = q->etpt ? tpt : 0;
        q->tail_event = false;
        nvm_log_pump(q->mc);
        return NVME_SC_SUCCESS;
}

uint16_t nvm_feature_cdq_get(struct nvm_subsystem *s, struct nvm_request *req)
{
        struct nvm_cdq *q =
            nvm_cdq_by_id(s, (uint16_t)nvme_bits(nvme_sqe_cdw(req->sqe, 11), 15, 0));
        uint8_t *data = req->data;

        if (!q)
                return NVME_SC_INVALID_CDQ;
        if (!data || req->data_len < FEATURE_DATA_LEN)
                return NVME_SC_INVALID_FIELD;
        memset(data, 0, FEATURE_DATA_LEN);
        put_le32(data, q->head);
        put_le32(data + 4, q->tpt);
        req->dw0 = q->id | (q->etpt ? ETPT : 0);
        return NVME_SC_SUCCESS;
}
