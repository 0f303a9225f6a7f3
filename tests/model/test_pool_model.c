/* A pool against arrays: random operations on three volumes, several in flight at once, with
 * exports and killed processes in between. What was answered must be there; nothing else may be.
 *
 * Usage: test_pool_model [seed [rounds]]. The seed of a failure is printed. */
#include "base/rng.h"
#include "tests/t_suite.h"
#include "tests/unit/pool/t_pool.h"

#include <string.h>

enum { NVOLS = 3, SECTORS = 900, SECTOR = 512, DEPTH = 6 };

static uint64_t seed = 1, rounds = 3000;

struct model {
        struct t_pool t;
        struct rng rng;
        struct volume *vol[NVOLS];
        uint8_t want[NVOLS][SECTORS * SECTOR];
        bool exists[NVOLS];
        uint64_t stamp;
};

struct op {
        struct volume_io io;
        struct iovec iov[3];
        uint8_t *buf;
        bool done;
        int status;
        unsigned vol;
        uint64_t first, n; /* sectors */
};

static void op_done(struct volume_io *io, int status)
{
        struct op *op = io->priv;
        op->done = true;
        op->status = status;
}

static void name_of(unsigned v, char *name)
{
        snprintf(name, 8, "vol%u", v);
}

static void find_volumes(struct model *m)
{
        char name[8];
        for (unsigned v = 0; v < NVOLS; v++) {
                name_of(v, name);
                m->vol[v] = volume_by_name(m->t.pool, name);
                CU_ASSERT_EQUAL(m->vol[v] != NULL, m->exists[v]);
        }
}

/* Operations of one round touch different sectors, but may share blocks. */
static bool overlaps(const struct op *ops, unsigned n, unsigned vol, uint64_t first, uint64_t len)
{
        for (unsigned i = 0; i < n; i++)
                if (ops[i].vol == vol && ops[i].first < first + len &&
                    first < ops[i].first + ops[i].n)
                        return true;
        return false;
}

static void expect_write(struct model *m, const struct op *op)
{
        uint8_t *want = m->want[op->vol] + op->first * SECTOR;
        uint64_t from = op->first * SECTOR, to = from + op->n * SECTOR;

        if (op->io.op == VOLUME_WRITE)
                memcpy(want, op->buf, op->n * SECTOR);
        else if (op->io.op == VOLUME_WRITE_ZEROES)
                memset(want, 0, op->n * SECTOR);
        else if (op->io.op == VOLUME_DISCARD) {
                from = (from + 4095) / 4096 * 4096;
                to = to / 4096 * 4096;
                if (from < to)
                        memset(m->want[op->vol] + from, 0, to - from);
        }
}

static void start(struct model *m, struct op *op)
{
        static const enum volume_op kinds[] = {VOLUME_READ,        VOLUME_READ,  VOLUME_WRITE,
                                               VOLUME_WRITE,       VOLUME_WRITE, VOLUME_DISCARD,
                                               VOLUME_WRITE_ZEROES};
        uint64_t len = op->n * SECTOR, a = rng_below(&m->rng, len + 1),
                 b = rng_below(&m->rng, len + 1);

        op->buf = malloc(len);
        for (uint64_t i = 0; i < len; i += 8) {
                uint64_t w = m->stamp++ * 0x100000001b3;
                memcpy(op->buf + i, &w, 8);
        }
        if (a > b) {
                uint64_t tmp = a;
                a = b;
                b = tmp;
        }
        op->iov[0] = (struct iovec){op->buf, a};
        op->iov[1] = (struct iovec){op->buf + a, b - a};
        op->iov[2] = (struct iovec){op->buf + b, len - b};
        op->io = (struct volume_io){.op = kinds[rng_below(&m->rng, ARRAY_SIZE(kinds))],
                                    .fua = rng_chance(&m->rng, 1, 5),
                                    .offset_bytes = op->first * SECTOR,
                                    .length_bytes = len,
                                    .iov = op->iov,
                                    .niov = 3,
                                    .done = op_done,
                                    .priv = op};
        volume_submit(m->vol[op->vol], &op->io);
}

static void some_io(struct model *m)
{
        struct op ops[DEPTH] = {{.done = false}};
        unsigned n = 0, tries = 1 + (unsigned)rng_below(&m->rng, DEPTH);

        while (tries--) {
                unsigned v = (unsigned)rng_below(&m->rng, NVOLS);
                uint64_t max = rng_chance(&m->rng, 1, 8) ? 300 : 24;
                uint64_t first = rng_below(&m->rng, SECTORS), len = 1 + rng_below(&m->rng, max);
                len = MIN(len, SECTORS - first);
                /* a discard's whole blocks: keep clear of neighbours */
                if (!m->vol[v] || overlaps(ops, n, v, first - first % 8, len + 16))
                        continue;
                ops[n].vol = v;
                ops[n].first = first;
                ops[n].n = len;
                start(m, &ops[n++]);
        }
        t_drive(&m->t);
        for (unsigned i = 0; i < n; i++) {
                CU_ASSERT_TRUE_FATAL(ops[i].done);
                CU_ASSERT_EQUAL_FATAL(ops[i].status, 0);
                if (ops[i].io.op == VOLUME_READ)
                        CU_ASSERT_EQUAL(memcmp(ops[i].buf,
                                               m->want[ops[i].vol] + ops[i].first * SECTOR,
                                               ops[i].n * SECTOR),
                                        0);
                expect_write(m, &ops[i]);
                free(ops[i].buf);
        }
}

static void verify_all(struct model *m)
{
        static uint8_t buf[SECTORS * SECTOR];
        for (unsigned v = 0; v < NVOLS; v++) {
                if (!m->vol[v])
                        continue;
                CU_ASSERT_EQUAL_FATAL(
                    t_io(m->vol[v], &m->t, VOLUME_READ, 0, buf, sizeof(buf), false), 0);
                CU_ASSERT_EQUAL_FATAL(memcmp(buf, m->want[v], sizeof(buf)), 0);
        }
        t_check(&m->t);
}

struct ended {
        bool done;
        int status;
};

static void control_done(void *ctx, int status)
{
        struct ended *e = ctx;
        e->done = true;
        e->status = status;
}

static void create_delete_clear(struct model *m)
{
        unsigned v = (unsigned)rng_below(&m->rng, NVOLS);
        struct ended e = {0};
        char name[8];

        name_of(v, name);
        if (!m->vol[v]) {
                CU_ASSERT_EQUAL_FATAL(t_create(&m->t, name, SECTORS * SECTOR, &m->vol[v]), 0);
                m->exists[v] = true;
                memset(m->want[v], 0, sizeof(m->want[v]));
                return;
        }
        if (rng_chance(&m->rng, 1, 2)) {
                volume_delete(m->vol[v], &e, control_done);
                m->vol[v] = NULL;
                m->exists[v] = false;
        } else {
                volume_clear(m->vol[v], &e, control_done);
        }
        memset(m->want[v], 0, sizeof(m->want[v]));
        t_drive(&m->t);
        CU_ASSERT_TRUE_FATAL(e.done);
        CU_ASSERT_EQUAL(e.status, 0);
}

/* The process ends; without a power cut everything that completed is still there. */
static void again(struct model *m, bool clean)
{
        if (clean)
                t_export(&m->t);
        else
                t_crash(&m->t);
        CU_ASSERT_EQUAL_FATAL(t_import(&m->t), 0);
        find_volumes(m);
        verify_all(m);
}

static void test_behaves_as_arrays_do(void)
{
        struct model *m = calloc(1, sizeof(*m));

        m->rng.state = seed;
        t_pool_new(&m->t, 1 + (uint32_t)rng_below(&m->rng, 3), 16 + (uint32_t)rng_below(&m->rng, 8),
                   64 + (uint32_t)rng_below(&m->rng, 64));
        for (uint64_t i = 0; i < rounds; i++) {
                uint64_t what = rng_below(&m->rng, 200);
                if (what < 4)
                        create_delete_clear(m);
                else if (what < 6)
                        again(m, what == 4);
                else if (what >= 8)
                        some_io(m);
                else if (t_checkpoint(&m->t) < 0)
                        CU_FAIL_FATAL("a checkpoint failed");
        }
        verify_all(m);
        t_fini(&m->t);
        free(m);
}

int main(int argc, char **argv)
{
        static const struct t_case cases[] = {T_CASE(test_behaves_as_arrays_do)};
        if (argc > 1)
                seed = strtoull(argv[1], NULL, 0);
        if (argc > 2)
                rounds = strtoull(argv[2], NULL, 0);
        int rc = t_run("pool model", cases, 1);
        if (rc)
                printf("seed %llu\n", (unsigned long long)seed);
        return rc;
}
