/* See t_nvme.h. */
#include "t_nvme.h"

#include <errno.h>

static void may_submit_changed(struct nvm_front *front)
{
        container_of(front, struct t_nvme, front)->turns++;
}

void t_nvme_init(struct t_nvme *t, uint64_t size_bytes)
{
        struct uuid host = {{1}};
        *t = (struct t_nvme){0};
        CU_ASSERT_EQUAL_FATAL(loop_new(&t->loop), 0);
        CU_ASSERT_EQUAL_FATAL(nvm_subsystem_new(t->loop, &host, &t->s), 0);
        for (int i = 0; i < 2; i++) {
                struct nvm_namespace_spec spec = {
                    .ops = &ram_backing_ops, .backing = &t->ram[i], .uuid = {{0xa0, (uint8_t)i}}};
                ram_init(&t->ram[i], t->loop, size_bytes);
                CU_ASSERT_EQUAL_FATAL(nvm_controller_create(t->s, &spec, &t->c[i], NULL), 0);
                nvc_gate_set(t->c[i], true);
        }
        t->ring = aligned_alloc(4096, T_RING_MEMORY);
        CU_ASSERT_EQUAL_FATAL(nvm_dma_map(t->s, t->ring, T_RING_MEMORY), 0);
        t->front = (struct nvm_front){"test", may_submit_changed};
}

void t_nvme_fini(struct t_nvme *t)
{
        for (int i = 0; i < 2; i++)
                ram_release(&t->ram[i]);
        t_turn(t);
        for (int i = 0; i < 2; i++) {
                struct err err = ERR_INIT;
                nvc_detach_front(t->c[i], &t->front);
                CU_ASSERT_EQUAL(nvm_controller_destroy(t->c[i], &err), 0);
        }
        nvm_subsystem_free(t->s);
        for (int i = 0; i < 2; i++)
                ram_fini(&t->ram[i]);
        loop_free(t->loop);
        free(t->ring);
}

void t_turn(struct t_nvme *t)
{
        for (int i = 0; i < 60; i++)
                loop_turn(t->loop, 0);
}

static void told(struct nvm_request *r)
{
        container_of(r, struct t_req, r)->done++;
}

void t_sqe(struct t_req *q, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6])
{
        *q = (struct t_req){.r.done = told};
        nvme_sqe_init(q->r.sqe, opcode, nsid);
        for (unsigned i = 0; cdw && i < 6; i++)
                nvme_sqe_set_cdw(q->r.sqe, 10 + i, cdw[i]);
}

void t_start(struct t_nvme *t, uint16_t cntlid, struct t_req *q)
{
        nvm_admin_submit(t->s, cntlid, &q->r);
        CU_ASSERT_EQUAL(q->done, 0); /* never from inside the call */
}

uint16_t t_admin(struct t_nvme *t, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6], void *data,
                 size_t len, uint32_t *ret_dw0)
{
        struct t_req q;
        t_sqe(&q, opcode, nsid, cdw);
        q.r.data = data;
        q.r.data_len = len;
        t_start(t, NVM_MMC_CNTLID, &q);
        t_turn(t);
        CU_ASSERT_EQUAL_FATAL(q.done, 1);
        if (ret_dw0)
                *ret_dw0 = q.r.dw0;
        return q.r.status & NVME_SC_MASK;
}

uint16_t t_io(struct t_nvme *t, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6], void *data,
              size_t len)
{
        struct t_req q;
        t_sqe(&q, opcode, nsid, cdw);
        q.r.data = data;
        q.r.data_len = len;
        nvm_io_submit(t->s, &q.r);
        CU_ASSERT_EQUAL(q.done, 0);
        t_turn(t);
        CU_ASSERT_EQUAL_FATAL(q.done, 1);
        return q.r.status & NVME_SC_MASK;
}

uint16_t t_cdq_create(struct t_nvme *t, int i, uint32_t nslots)
{
        struct t_req q;
        t_sqe(&q, NVME_ADMIN_DATA_QUEUE, 0,
              (uint32_t[6]){0, 1 | (uint32_t)nvc_cntlid(t->c[i]) << 16, nslots * 8});
        put_le64(q.r.sqe + NVME_SQE_PRP1, (uintptr_t)t->ring);
        memset(t->ring, 0, T_RING_MEMORY);
        t_start(t, NVM_MMC_CNTLID, &q);
        t_turn(t);
        CU_ASSERT_EQUAL_FATAL(q.done, 1);
        t->cdqid = (uint16_t)q.r.dw0;
        t->nslots = nslots;
        t->head = 0;
        t->phase = 1;
        return q.r.status & NVME_SC_MASK;
}

uint16_t t_cdq_delete(struct t_nvme *t)
{
        return t_admin(t, NVME_ADMIN_DATA_QUEUE, 0, (uint32_t[6]){1, t->cdqid}, NULL, 0, NULL);
}

uint16_t t_track(struct t_nvme *t, uint16_t cdqid, int action)
{
        return t_admin(t, NVME_ADMIN_TRACK_SEND, 0, (uint32_t[6]){(uint32_t)action << 16, cdqid},
                       NULL, 0, NULL);
}

bool t_cdq_take(struct t_nvme *t, struct udmq_entry *ret_entry)
{
        const uint8_t *e = t->ring + (size_t)t->head * UDMQ_ENTRY_SIZE;
        if ((__atomic_load_n(e + UDMQ_ATTR, __ATOMIC_ACQUIRE) & 1) != t->phase)
                return false;
        CU_ASSERT_EQUAL(udmq_decode(e, ret_entry), 0);
        if (++t->head == t->nslots) {
                t->head = 0;
                t->phase ^= 1;
        }
        return true;
}

uint16_t t_cdq_head(struct t_nvme *t)
{
        return t_admin(t, NVME_ADMIN_SET_FEATURES, 0,
                       (uint32_t[6]){NVME_FID_DATA_QUEUE, t->cdqid, t->head}, NULL, 0, NULL);
}

uint16_t t_suspend(struct t_nvme *t, int i, bool delete_cdq)
{
        return t_admin(
            t, NVME_ADMIN_MIGRATION_SEND, 0,
            (uint32_t[6]){0, nvc_cntlid(t->c[i]) | 1u << 16 | (delete_cdq ? 1u << 31 : 0)}, NULL, 0,
            NULL);
}

uint16_t t_resume(struct t_nvme *t, int i)
{
        return t_admin(t, NVME_ADMIN_MIGRATION_SEND, 0, (uint32_t[6]){1, nvc_cntlid(t->c[i])}, NULL,
                       0, NULL);
}

struct front_io {
        struct volume_io io;
        struct iovec iov;
        int status;
        bool told, abandoned;
};

static void front_done(struct volume_io *io, int status)
{
        struct front_io *f = container_of(io, struct front_io, io);
        f->status = status;
        f->told = true;
        if (f->abandoned) {
                free(f->iov.iov_base);
                free(f);
        }
}

int t_front_io(struct t_nvme *t, int i, enum volume_op op, uint64_t block, uint64_t nblocks)
{
        struct front_io *f = calloc(1, sizeof(*f));
        int status;

        f->iov = (struct iovec){malloc(nblocks * 4096 + 1), nblocks * 4096};
        memset(f->iov.iov_base, 0x5a, nblocks * 4096);
        f->io = (struct volume_io){.op = op,
                                   .offset_bytes = block * 4096,
                                   .length_bytes = nblocks * 4096,
                                   .iov = &f->iov,
                                   .niov = 1,
                                   .done = front_done};
        nvc_submit(t->c[i], &f->io);
        CU_ASSERT_FALSE(f->told);
        t_turn(t);
        if (!f->told) {
                f->abandoned = true;
                return 1;
        }
        status = f->status;
        free(f->iov.iov_base);
        free(f);
        return status;
}
