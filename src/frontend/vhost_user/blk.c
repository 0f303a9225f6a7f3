/* A chain as a virtio-blk request, and the configuration space (virtio 1.2, section 5.2).
 *
 * Invariants: a request is prepared (everything read out of the guest and judged) before it is
 * marked in flight and submitted; what is wrong with its contents is answered in its status byte,
 * only what cannot be answered breaks the ring.
 *
 * Without the FLUSH feature the guest believes in write-through: then every write is FUA.
 * CONFIG_WCE is not offered: QEMU does not migrate the guest's choice.
 */
#include "frontend/vhost_user/internal.h"

#include "base/le.h"

#include <errno.h>

enum {
        BLK_T_IN = 0,
        BLK_T_OUT = 1,
        BLK_T_FLUSH = 4,
        BLK_T_GET_ID = 8,
        BLK_T_DISCARD = 11,
        BLK_T_WRITE_ZEROES = 13,

        BLK_S_OK = 0,
        BLK_S_IOERR = 1,
        BLK_S_UNSUPP = 2,

        HEADER_BYTES = 16, /* 0 4 type; 4 4 reserved; 8 8 sector */
        RANGE_BYTES = 16, /* 0 8 sector; 8 4 sectors; 12 4 flags */
        RANGE_UNMAP = 1,

        SECTOR_SHIFT = 9,
};

static void io_done(struct volume_io *io, int status)
{
        struct vub_req *req = container_of(io, struct vub_req, io);
        req->virtio_status = status == 0 ? BLK_S_OK : BLK_S_IOERR;
        req->pending = 0;
        vub_ring_complete(req);
}

static void segment_done(struct volume_io *io, int status)
{
        struct vub_req *req = container_of(io, struct vub_segment, io)->req;
        if (status < 0)
                req->virtio_status = BLK_S_IOERR;
        if (--req->pending == 0)
                vub_ring_complete(req);
}

/* [sector, sector + length) inside the volume? */
static bool in_volume(const struct vub_server *s, uint64_t sector, uint64_t length)
{
        uint64_t size = nvc_size_bytes(s->controller);
        return sector <= size >> SECTOR_SHIFT && length <= size - (sector << SECTOR_SHIFT);
}

static uint8_t prepare_rw(struct vub_req *req, bool write, uint64_t sector)
{
        struct vub_conn *c = req->ring->conn;
        struct vub_chain *chain = &req->chain;
        uint64_t length = write ? chain->out_bytes : chain->in_bytes;

        if (length == 0 || length % VOLUME_SECTOR != 0 || length > VUB_MAX_DATA ||
            !in_volume(c->server, sector, length))
                return BLK_S_IOERR;
        req->io = (struct volume_io){.op = write ? VOLUME_WRITE : VOLUME_READ,
                                     .fua = write && !(c->features & VUB_F_BLK_FLUSH),
                                     .offset_bytes = sector << SECTOR_SHIFT,
                                     .length_bytes = length,
                                     .iov = write ? chain->iov : vub_chain_in(chain),
                                     .niov = write ? chain->nout : chain->nin,
                                     .done = io_done};
        req->pending = 1;
        req->data_in = write ? 0 : length;
        return BLK_S_OK;
}

static uint8_t prepare_ranges(struct vub_req *req, bool zeroes)
{
        struct vub_conn *c = req->ring->conn;
        uint8_t raw[VUB_MAX_SEGMENTS * RANGE_BYTES];
        uint64_t bytes = req->chain.out_bytes;
        uint32_t n = 0;

        if (bytes == 0 || bytes % RANGE_BYTES != 0 || bytes > sizeof(raw) ||
            !vub_chain_take_out(&req->chain, raw, bytes))
                return BLK_S_IOERR;
        for (uint64_t at = 0; at < bytes; at += RANGE_BYTES) {
                uint64_t sector = get_le64(raw + at);
                uint64_t length = (uint64_t)get_le32(raw + at + 8) << SECTOR_SHIFT;
                uint32_t flags = get_le32(raw + at + 12);

                if (flags & ~(uint32_t)(zeroes ? RANGE_UNMAP : 0))
                        return BLK_S_UNSUPP;
                if (length >> SECTOR_SHIFT > VUB_MAX_DISCARD_SECTORS ||
                    !in_volume(c->server, sector, length))
                        return BLK_S_IOERR;
                if (length == 0)
                        continue;
                req->segments[n++] =
                    (struct vub_segment){.io = {.op = zeroes ? VOLUME_WRITE_ZEROES : VOLUME_DISCARD,
                                                .fua = !(c->features & VUB_F_BLK_FLUSH),
                                                .offset_bytes = sector << SECTOR_SHIFT,
                                                .length_bytes = length,
                                                .done = segment_done},
                                         .req = req};
        }
        req->pending = n;
        return BLK_S_OK;
}

/* Small answers, copied into the guest's buffers. */
static void answer(struct vub_req *req, const void *data, size_t len)
{
        const uint8_t *from = data;
        struct vub_chain *chain = &req->chain;
        struct iovec *in = vub_chain_in(chain);

        req->data_in = MIN(len, chain->in_bytes);

        for (uint16_t i = 0; i < chain->nin && len > 0; i++) {
                size_t n = MIN(len, in[i].iov_len);
                memcpy(in[i].iov_base, from, n);
                from += n;
                len -= n;
        }
}

int vub_blk_prepare(struct vub_req *req, struct err *err)
{
        struct vub_server *s = req->ring->conn->server;
        uint8_t header[HEADER_BYTES];
        uint8_t id[VUB_ID_MAX] = {0};

        req->status = vub_chain_take_status(&req->chain, &req->status_gpa);
        if (!req->status)
                return err_set(err, EBADMSG, "request without room for its status");
        if (!vub_chain_take_out(&req->chain, header, sizeof(header)))
                return err_set(err, EBADMSG, "request shorter than its header");

        req->in_bytes = req->chain.in_bytes;
        req->data_in = 0;
        req->pending = 0;
        req->ranges = false;
        switch (get_le32(header)) {
        case BLK_T_IN:
                req->virtio_status = prepare_rw(req, false, get_le64(header + 8));
                break;
        case BLK_T_OUT:
                req->virtio_status = prepare_rw(req, true, get_le64(header + 8));
                break;
        case BLK_T_FLUSH:
                req->io = (struct volume_io){.op = VOLUME_FLUSH, .done = io_done};
                req->pending = 1;
                req->virtio_status = BLK_S_OK;
                break;
        case BLK_T_GET_ID:
                memcpy(id, s->options.id, strnlen(s->options.id, sizeof(id)));
                answer(req, id, sizeof(id));
                req->virtio_status = BLK_S_OK;
                break;
        case BLK_T_DISCARD:
        case BLK_T_WRITE_ZEROES:
                req->ranges = true;
                req->in_bytes = 0;
                req->virtio_status = prepare_ranges(req, get_le32(header) == BLK_T_WRITE_ZEROES);
                break;
        default:
                req->virtio_status = BLK_S_UNSUPP;
        }
        return 0;
}

void vub_blk_submit(struct vub_req *req)
{
        struct nvm_controller *controller = req->ring->conn->server->controller;
        uint32_t n = req->pending;

        if (n == 0) {
                vub_ring_complete(req);
        } else if (req->ranges) {
                for (uint32_t i = 0; i < n; i++)
                        nvc_submit(controller, &req->segments[i].io);
        } else {
                nvc_submit(controller, &req->io);
        }
}

void vub_blk_fail(struct vub_req *req)
{
        req->virtio_status = BLK_S_IOERR;
        req->pending = 0;
        vub_ring_complete(req);
}

void vub_blk_config(const struct vub_server *s, uint8_t config[VUB_CONFIG_MAX])
{
        memset(config, 0, VUB_CONFIG_MAX);
        put_le64(config + 0, nvc_size_bytes(s->controller) >> SECTOR_SHIFT); /* capacity */
        put_le32(config + 8, VUB_SIZE_MAX);
        put_le32(config + 12, VUB_SEG_MAX);
        put_le32(config + 20, VOLUME_SECTOR); /* blk_size */
        put_u8(config + 24, 3); /* 2^3 logical blocks a physical one */
        put_u8(config + 25, 0); /* alignment offset */
        put_le16(config + 26, 8); /* min_io_size, logical blocks */
        put_le32(config + 28, 0); /* opt_io_size: no preference */
        put_u8(config + 32, 1); /* writeback: a volatile cache */
        put_le16(config + 34, VUB_QUEUES);
        put_le32(config + 36, VUB_MAX_DISCARD_SECTORS);
        put_le32(config + 40, VUB_MAX_SEGMENTS);
        put_le32(config + 44, ZP_BLOCK / VOLUME_SECTOR); /* discard alignment */
        put_le32(config + 48, VUB_MAX_DISCARD_SECTORS);
        put_le32(config + 52, VUB_MAX_SEGMENTS);
        put_u8(config + 56, 1); /* write zeroes may unmap */
}
