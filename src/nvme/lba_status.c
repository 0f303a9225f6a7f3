/* Get LBA Status, ATYPE 02h: which blocks are allocated (NVM Command Set 1.2; TP4165).
 *
 * One block of the map is one LBA and one unit of tracking (TLBAAG = 1), so what the map lists is
 * what is reported, clipped to the range that was asked for. The map is read in pieces,
 * asynchronously; adjacent pieces become one descriptor.
 *
 *   offset  size  meaning                                   descriptor: 0   8  first LBA
 *   0       4     number of descriptors                                 8   4  LBAs less one
 *   4       1     2 complete, 1 there is more                           13  1  2: allocated
 *   8       16*n  descriptors, ascending
 */
#include "internal.h"
#include "nvme/status.h"

enum { HEADER = 8, DESCRIPTOR = 16, PIECE = 128, CMPC_MORE = 1, CMPC_COMPLETE = 2 };

struct lba_status {
        struct nvm_request *req;
        struct nvm_controller *c;
        uint64_t end; /* of the range asked for */
        uint32_t n, max;
        uint64_t run_first, run_n; /* gathered, not written; run_n 0: none */
        struct volume_extent piece[PIECE];
};

static void finish(struct lba_status *op, uint16_t status, uint8_t cmpc)
{
        struct nvm_request *req = op->req;
        struct nvm_controller *c = op->c;

        if (status == NVME_SC_SUCCESS) {
                put_le32(req->data, op->n);
                put_u8((uint8_t *)req->data + 4, cmpc);
        }
        c->mmc_inflight--;
        free(op);
        nvm_finish(c->s, req, status);
}

/* Writes the gathered run, in parts of at most 2^32 LBAs. False: the list is full before its end.
 */
static bool write_run(struct lba_status *op)
{
        while (op->run_n) {
                uint64_t n = MIN(op->run_n, UINT64_C(1) << 32);
                if (op->n == op->max)
                        return false;
                uint8_t *d = (uint8_t *)op->req->data + HEADER + (size_t)op->n * DESCRIPTOR;
                put_le64(d, op->run_first);
                put_le32(d + 8, (uint32_t)(n - 1));
                put_u8(d + 13, NVME_LBARS_ALLOCATED);
                op->n++;
                op->run_first += n;
                op->run_n -= n;
        }
        return true;
}

/* False: the list is full. */
static bool add_extent(struct lba_status *op, uint64_t first, uint64_t n)
{
        if (op->run_n && op->run_first + op->run_n == first) {
                op->run_n += n;
                return true;
        }
        if (!write_run(op))
                return false;
        op->run_first = first;
        op->run_n = n;
        return true;
}

static void piece_done(void *ctx, int status, uint32_t n, uint64_t next);

static void next_piece(struct lba_status *op, uint64_t first)
{
        op->c->ops->map(op->c->backing, first, op->piece, PIECE, op, piece_done);
}

static void piece_done(void *ctx, int status, uint32_t n, uint64_t next)
{
        struct lba_status *op = ctx;
        uint64_t slba = nvme_sqe_cdw64(op->req->sqe, 10);

        if (status < 0) {
                finish(op, nvm_status_of(status, false), 0);
                return;
        }
        for (uint32_t i = 0; i < n; i++) {
                uint64_t first = MAX(op->piece[i].block, slba);
                uint64_t end = MIN(op->piece[i].block + op->piece[i].nblocks, op->end);
                if (first >= end)
                        continue;
                if (!add_extent(op, first, end - first)) {
                        finish(op, NVME_SC_SUCCESS, CMPC_MORE);
                        return;
                }
        }
        if (next < op->end)
                next_piece(op, next);
        else
                finish(op, NVME_SC_SUCCESS, write_run(op) ? CMPC_COMPLETE : CMPC_MORE);
}

uint16_t nvm_cmd_lba_status(struct nvm_subsystem *s, struct nvm_request *req)
{
        uint64_t slba = nvme_sqe_cdw64(req->sqe, 10);
        uint64_t bytes = ((uint64_t)nvme_sqe_cdw(req->sqe, 12) + 1) * 4;
        uint32_t dw13 = nvme_sqe_cdw(req->sqe, 13), rl = nvme_bits(dw13, 15, 0);
        struct nvm_controller *c = nvm_controller_by_nsid(s, nvme_sqe_nsid(req->sqe));

        if (nvme_bits(dw13, 31, 24) != NVME_ATYPE_ALLOCATED || nvme_bits(dw13, 23, 16) ||
            !req->data || bytes < HEADER + DESCRIPTOR || bytes > req->data_len)
                return NVME_SC_INVALID_FIELD;
        if (!c)
                return NVME_SC_INVALID_NAMESPACE;
        uint64_t nsze = nvm_nsze(c);
        if (slba >= nsze || rl > nsze - slba)
                return NVME_SC_LBA_RANGE;
        struct lba_status *op = calloc(1, sizeof(*op));
        if (!op)
                return NVME_SC_INTERNAL;
        op->req = req;
        op->c = c;
        op->end = rl ? slba + rl : nsze;
        op->max = (uint32_t)MIN((bytes - HEADER) / DESCRIPTOR, UINT32_MAX);
        memset(req->data, 0, (size_t)bytes);
        c->mmc_inflight++;
        next_piece(op, slba);
        return NVM_PENDING;
}
