/* Commands to the NVM subsystem from somebody who means harm, with a front end at work beside.
 *
 * The input is a list of steps of 32 bytes:
 *
 *   0   what: 0 admin of the MMC, 1 admin of an MC, 2 I/O, 3 a front end's request, 4 turn, 5 gate,
 *       6 hold the disk, 7 release it
 *   1   opcode (by index into those that are known, or as it stands)
 *   2   NSID, or the operation of a front end       3   bytes of data / 32
 *   4   PRP1 relative to the ring, in units of 8    8   CDW10 .. CDW15
 *
 * Whatever comes, every request ends exactly once after a reset of everything, and nothing is left.
 */
#include "nvme/subsystem.h"
#include "unit/nvme/ram_backing.h"

#include <stdlib.h>
#include <string.h>

enum { STEP = 32, MAX_STEPS = 64, RING = 8192, DISK = 1 << 20 };

struct request {
        struct nvm_request r;
        struct volume_io io;
        struct iovec iov;
        int under_way;
};

static void must(bool holds)
{
        if (!holds)
                abort();
}

static void request_done(struct nvm_request *r)
{
        must(--container_of(r, struct request, r)->under_way == 0);
}

static void io_done(struct volume_io *io, int status)
{
        must(--container_of(io, struct request, io)->under_way == 0);
}

static void turn(struct loop *loop)
{
        for (int i = 0; i < 8; i++)
                loop_turn(loop, 0);
}

static uint8_t opcode_of(uint8_t b)
{
        static const uint8_t known[] = {0x02, 0x06, 0x09, 0x0a, 0x0c, 0x3d, 0x41, 0x42,
                                        0x45, 0x86, 0x84, 0x00, 0x01, 0x08, 0x3d, 0x41};
        return b < 64 ? known[b % sizeof(known)] : b;
}

struct world {
        struct loop *loop;
        struct nvm_subsystem *s;
        struct ram_backing ram[2];
        struct nvm_controller *c[2];
        uint8_t *ring;
        struct request req[MAX_STEPS];
};

static void command(struct world *w, struct request *q, const uint8_t *p)
{
        q->r.data_len = p[3] * 32u;
        q->r.data = q->r.data_len ? malloc(q->r.data_len) : NULL;
        if (q->r.data)
                memset(q->r.data, p[31], q->r.data_len);
        q->r.done = request_done;
        nvme_sqe_init(q->r.sqe, opcode_of(p[1]), p[2] == 255 ? UINT32_MAX : p[2]);
        put_le64(q->r.sqe + NVME_SQE_PRP1, (uintptr_t)w->ring + 8 * (uint64_t)get_le32(p + 4));
        memcpy(q->r.sqe + 40, p + 8, 24);
        q->under_way = 1;
        if (p[0] % 8 == 2)
                nvm_io_submit(w->s, &q->r);
        else
                nvm_admin_submit(w->s, p[0] % 8 == 0 ? NVM_MMC_CNTLID : 2, &q->r);
}

static void front_request(struct world *w, struct request *q, const uint8_t *p)
{
        q->iov = (struct iovec){malloc(4096), 4096};
        memset(q->iov.iov_base, 1, 4096);
        q->io = (struct volume_io){.op = p[2] % 5,
                                   .offset_bytes = (uint64_t)p[4] % 250 * 4096,
                                   .length_bytes = 4096,
                                   .iov = &q->iov,
                                   .niov = 1,
                                   .done = io_done};
        q->under_way = 1;
        nvc_submit(w->c[p[1] % 2], &q->io);
}

static void step(struct world *w, struct request *q, const uint8_t *p)
{
        switch (p[0] % 8) {
        case 0:
        case 1:
        case 2:
                command(w, q, p);
                break;
        case 3:
                front_request(w, q, p);
                break;
        case 4:
                turn(w->loop);
                break;
        case 5:
                nvc_gate_set(w->c[p[1] % 2], p[2] % 2);
                break;
        case 6:
                w->ram[p[1] % 2].hold = true;
                break;
        case 7:
                ram_release(&w->ram[p[1] % 2]);
                break;
        }
}

static void begin(struct world *w)
{
        struct uuid host = {{1}};

        memset(w, 0, sizeof(*w));
        must(loop_new(&w->loop) == 0 && nvm_subsystem_new(w->loop, &host, &w->s) == 0);
        for (int i = 0; i < 2; i++) {
                struct nvm_namespace_spec spec = {&ram_backing_ops, &w->ram[i], {{2, (uint8_t)i}}};
                ram_init(&w->ram[i], w->loop, DISK);
                must(nvm_controller_create(w->s, &spec, &w->c[i], NULL) == 0);
                nvc_gate_set(w->c[i], true);
        }
        w->ring = aligned_alloc(4096, RING);
        memset(w->ring, 0, RING);
        must(nvm_dma_map(w->s, w->ring, RING) == 0);
}

static void end(struct world *w)
{
        for (int i = 0; i < 2; i++)
                ram_release(&w->ram[i]);
        for (int i = 0; i < 40; i++) /* commands of many ranges go on turn by turn */
                turn(w->loop);
        nvm_controller_reset(w->s, NVM_MMC_CNTLID);
        turn(w->loop);
        for (int i = 0; i < MAX_STEPS; i++) {
                must(w->req[i].under_way == 0);
                free(w->req[i].r.data);
                free(w->req[i].iov.iov_base);
        }
        for (int i = 0; i < 2; i++) {
                must(nvc_state(w->c[i]) == NVC_RUNNING && nvc_inflight(w->c[i]) == 0);
                must(nvm_controller_destroy(w->c[i], NULL) == 0);
                ram_fini(&w->ram[i]);
        }
        must(nvm_dma_unmap(w->s, w->ring) == 0);
        nvm_subsystem_free(w->s);
        loop_free(w->loop);
        free(w->ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct world w;

        begin(&w);
        for (size_t i = 0; i < MAX_STEPS && (i + 1) * STEP <= size; i++)
                step(&w, &w.req[i], data + i * STEP);
        end(&w);
        return 0;
}
