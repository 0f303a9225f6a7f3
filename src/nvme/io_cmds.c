/* I/O commands of the management controller: how the migration engine reads and writes blocks.
 *
 * LBAs are 4096 bytes, volumes need not be a multiple of that: of the last, partial LBA the part
 * that exists is read or written, the rest reads as zeroes. Writes never wait for space (no_hold):
 * the engine is told Capacity Exceeded and decides.
 *
 * Dataset Management: Deallocate only; its ranges (16 bytes each: 4 context, 4 number of LBAs, 8
 * first LBA) run one after another, and the first failure ends the command.
 */
#include "internal.h"
#include "nvme/status.h"

enum { DSM_RANGE = 16, DSM_MAX_RANGES = 256 };

struct io_cmd {
        struct volume_io io;
        struct iovec iov;
        struct nvm_request *req;
        struct nvm_controller *c;
        uint32_t nranges, range; /* Dataset Management */
};

static void cmd_end(struct io_cmd *cmd, uint16_t status)
{
        struct nvm_controller *c = cmd->c;
        struct nvm_request *req = cmd->req;

        c->mmc_inflight--;
        free(cmd);
        nvm_finish(c->s, req, status);
}

static void cmd_done(struct volume_io *io, int status)
{
        struct io_cmd *cmd = container_of(io, struct io_cmd, io);
        cmd_end(cmd, nvm_status_of(status, io->op != VOLUME_READ));
}

static struct io_cmd *cmd_new(struct nvm_controller *c, struct nvm_request *req, enum volume_op op)
{
        struct io_cmd *cmd = calloc(1, sizeof(*cmd));
        if (!cmd)
                return NULL;
        cmd->req = req;
        cmd->c = c;
        cmd->io.op = op;
        cmd->io.no_hold = true;
        cmd->io.done = cmd_done;
        c->mmc_inflight++;
        return cmd;
}

static void cmd_submit(struct io_cmd *cmd)
{
        cmd->c->ops->submit(cmd->c->backing, &cmd->io);
}

/* Bytes of LBAs [slba, slba + n) that the volume has. False: some are beyond the namespace. */
static bool to_bytes(const struct nvm_controller *c, uint64_t slba, uint64_t n,
                     uint64_t *ret_offset, uint64_t *ret_length)
{
        uint64_t nsze = nvm_nsze(c);
        if (slba >= nsze || n > nsze - slba)
                return false;
        *ret_offset = slba * NVM_BLOCK;
        *ret_length = MIN(n * NVM_BLOCK, nvc_size_bytes(c) - *ret_offset);
        return true;
}

/* Read, Write, Write Zeroes: CDW10/11 first LBA, CDW12 number less one, bit 30 Force Unit Access.
 */
static uint16_t transfer(struct nvm_controller *c, struct nvm_request *req, enum volume_op op)
{
        uint64_t slba = nvme_sqe_cdw64(req->sqe, 10);
        uint32_t dw12 = nvme_sqe_cdw(req->sqe, 12);
        uint64_t n = (uint64_t)nvme_bits(dw12, 15, 0) + 1;
        bool data = op != VOLUME_WRITE_ZEROES;
        uint64_t offset, length;

        if (data &&
            (n * NVM_BLOCK > NVM_MAX_TRANSFER || !req->data || req->data_len < n * NVM_BLOCK))
                return NVME_SC_INVALID_FIELD;
        if (!to_bytes(c, slba, n, &offset, &length))
                return NVME_SC_LBA_RANGE;
        struct io_cmd *cmd = cmd_new(c, req, op);
        if (!cmd)
                return NVME_SC_INTERNAL;
        cmd->io.offset_bytes = offset;
        cmd->io.length_bytes = length;
        cmd->io.fua = op != VOLUME_READ && nvme_bits(dw12, 30, 30);
        if (data) {
                cmd->iov = (struct iovec){req->data, (size_t)length};
                cmd->io.iov = &cmd->iov;
                cmd->io.niov = 1;
        }
        if (op == VOLUME_READ)
                memset((uint8_t *)req->data + length, 0, (size_t)(n * NVM_BLOCK - length));
        cmd_submit(cmd);
        return NVM_PENDING;
}

static uint16_t flush(struct nvm_controller *c, struct nvm_request *req)
{
        struct io_cmd *cmd = cmd_new(c, req, VOLUME_FLUSH);
        if (!cmd)
                return NVME_SC_INTERNAL;
        cmd_submit(cmd);
        return NVM_PENDING;
}

/* ---- Dataset Management ---- */

static void dsm_next(struct io_cmd *cmd);

static void dsm_done(struct volume_io *io, int status)
{
        struct io_cmd *cmd = container_of(io, struct io_cmd, io);
        if (status < 0)
                cmd_end(cmd, nvm_status_of(status, true));
        else
                dsm_next(cmd);
}

static void dsm_next(struct io_cmd *cmd)
{
        while (cmd->range < cmd->nranges) {
                const uint8_t *r = (uint8_t *)cmd->req->data + (size_t)cmd->range++ * DSM_RANGE;
                uint32_t n = get_le32(r + 4);
                if (n == 0)
                        continue;
                if (!to_bytes(cmd->c, get_le64(r + 8), n, &cmd->io.offset_bytes,
                              &cmd->io.length_bytes)) {
                        cmd_end(cmd, NVME_SC_LBA_RANGE | NVME_SC_DNR);
                        return;
                }
                cmd_submit(cmd);
                return;
        }
        cmd_end(cmd, NVME_SC_SUCCESS);
}

static uint16_t dsm(struct nvm_controller *c, struct nvm_request *req)
{
        uint32_t n = nvme_bits(nvme_sqe_cdw(req->sqe, 10), 7, 0) + 1;

        if (!req->data || req->data_len < (size_t)n * DSM_RANGE)
                return NVME_SC_INVALID_FIELD;
        if (!nvme_bits(nvme_sqe_cdw(req->sqe, 11), 2, 2)) /* hints only: nothing to do */
                return NVME_SC_SUCCESS;
        /* A partial last block is freed with its LBA: write zeroes covers sectors, discard would
         * leave it. */
        struct io_cmd *cmd = cmd_new(c, req, VOLUME_WRITE_ZEROES);
        if (!cmd)
                return NVME_SC_INTERNAL;
        cmd->io.done = dsm_done;
        cmd->nranges = n;
        dsm_next(cmd);
        return NVM_PENDING;
}

static uint16_t dispatch(struct nvm_controller *c, struct nvm_request *req)
{
        switch (nvme_sqe_opcode(req->sqe)) {
        case NVME_IO_FLUSH:
                return flush(c, req);
        case NVME_IO_WRITE:
                return transfer(c, req, VOLUME_WRITE);
        case NVME_IO_READ:
                return transfer(c, req, VOLUME_READ);
        case NVME_IO_WRITE_ZEROES:
                return transfer(c, req, VOLUME_WRITE_ZEROES);
        case NVME_IO_DSM:
                return dsm(c, req);
        default:
                return NVME_SC_INVALID_OPCODE;
        }
}

void nvm_io_submit(struct nvm_subsystem *s, struct nvm_request *req)
{
        struct nvm_controller *c = nvm_controller_by_nsid(s, nvme_sqe_nsid(req->sqe));

        list_init(&req->node);
        req->dw0 = req->dw1 = 0;
        uint16_t status = c ? dispatch(c, req) : NVME_SC_INVALID_NAMESPACE;
        if (status != NVM_PENDING)
                nvm_finish(s, req,
                           status == NVME_SC_SUCCESS || status == NVME_SC_INTERNAL
                               ? status
                               : status | NVME_SC_DNR);
}
