/* Pools filled to the last block that is promised, on geometries from tiny to ordinary and volumes
 * from dense to one block a table page: then everything is overwritten several times, in random
 * order and several at once. Half of the pools have a reservation that is taken up when they are
 * full. Whatever is asked must be answered once the devices have nothing left to do; a write that
 * finds no room must say so; discarding, deleting and clearing must work there and give room again.
 *
 * Usage: test_pool_brink [first seed [number of seeds [passes]]]. The seed of a failure is printed.
 */
#include "base/rng.h"
#include "tests/t_suite.h"
#include "tests/unit/pool/t_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { DEPTH = 16, MAX_BLOCKS = 6000, MAX_KEPT = 64 };

static uint64_t first_seed = 1, nseeds = 4, passes = 4;

struct brink {
        struct t_pool t;
        struct rng rng;
        struct volume *vol;
        uint64_t
            nkept; /* blocks reserved for a volume of its own, in which they may lie anywhere */
        uint64_t seed, stride, size;
        uint64_t n; /* blocks mapped: index * stride */
        uint64_t version[MAX_BLOCKS];
};

struct op {
        struct volume_io io;
        struct iovec iov;
        uint8_t buf[ZP_BLOCK];
        bool done;
        int status;
};

static void op_done(struct volume_io *io, int status)
{
        struct op *op = io->priv;
        op->done = true;
        op->status = status;
}

static void submit(struct brink *b, struct op *op, enum volume_op kind, uint64_t index,
                   bool no_hold)
{
        op->done = false;
        op->iov = (struct iovec){op->buf, ZP_BLOCK};
        op->io = (struct volume_io){.op = kind,
                                    .no_hold = no_hold,
                                    .fua = rng_chance(&b->rng, 1, 64),
                                    .offset_bytes = index * b->stride * ZP_BLOCK,
                                    .length_bytes = ZP_BLOCK,
                                    .iov = &op->iov,
                                    .niov = kind == VOLUME_DISCARD ? 0 : 1,
                                    .done = op_done,
                                    .priv = op};
        volume_submit(b->vol, &op->io);
}

/* Nothing is in flight any more: every request has its answer. */
static void all_answered(struct brink *b, const struct op *ops, unsigned n, const char *what)
{
        t_drive(&b->t);
        for (unsigned i = 0; i < n; i++) {
                if (ops[i].done)
                        continue;
                printf("\n    seed %" PRIu64 ": %s: no answer, and nothing in flight\n", b->seed,
                       what);
                CU_FAIL_FATAL("a request is never answered");
        }
        CU_ASSERT_EQUAL_FATAL(b->t.events[POOL_EVENT_READONLY], 0);
}

static void geometry(struct brink *b)
{
        static const uint64_t strides[] = {1,   7,   20,   50,     100,
                                           170, 340, 1019, 115601, 340 * 340 * 3};
        struct mem_device_spec spec = {.max_open = 4, .max_active = 4};
        uint32_t ndevs = 1 + (uint32_t)rng_below(&b->rng, 3);

        spec.nr_zones = 16 + (uint32_t)rng_below(&b->rng, 18);
        spec.zone_blocks = 34 + (uint32_t)rng_below(&b->rng, rng_chance(&b->rng, 1, 4) ? 350 : 45);
        b->stride = strides[rng_below(&b->rng, ARRAY_SIZE(strides))];
        if (rng_chance(&b->rng, 1, 2)) {
                unsigned bits = (unsigned)rng_below(&b->rng, 12);
                b->stride = 1 + rng_below(&b->rng, UINT64_C(1) << bits);
        }
        t_devices(&b->t, ndevs, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(&b->t, "brink"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&b->t), 0);
        b->size = MAX_BLOCKS * b->stride * ZP_BLOCK;
        CU_ASSERT_EQUAL_FATAL(t_create(&b->t, "vol", b->size, &b->vol), 0);
        printf("\n    seed %" PRIu64 ": %u devices of %u zones of %" PRIu64
               " blocks, stride %" PRIu64 ": ",
               b->seed, ndevs, spec.nr_zones, (uint64_t)spec.zone_blocks, b->stride);
}

/* Writes new blocks until one is refused that came alone: several at once ask for more than they
 * take. */
static void fill(struct brink *b)
{
        static struct op ops[DEPTH];
        bool full = false, alone = false;

        while (!full && b->n + DEPTH <= MAX_BLOCKS) {
                unsigned n = alone ? 1 : 1 + (unsigned)rng_below(&b->rng, DEPTH), kept = 0;
                for (unsigned i = 0; i < n; i++) {
                        b->version[b->n + i] = 1;
                        t_fill(ops[i].buf, 1, b->n + i, 1);
                        submit(b, &ops[i], VOLUME_WRITE, b->n + i, true);
                }
                all_answered(b, ops, n, "filling");
                while (kept < n && !ops[kept].status)
                        kept++;
                for (unsigned i = kept; i < n; i++)
                        CU_ASSERT_EQUAL_FATAL(ops[i].status, -ENOSPC);
                b->n += kept;
                full = kept < n && alone;
                alone |= kept < n;
        }
        if (full) { /* held, visibly, until asked to give up */
                struct pool_status st;
                t_fill(ops[0].buf, 1, b->n, 1);
                submit(b, &ops[0], VOLUME_WRITE, b->n, false);
                t_drive(&b->t);
                pool_get_status(b->t.pool, &st);
                if (!ops[0].done) {
                        CU_ASSERT_EQUAL(st.held_requests, 1);
                        volume_cancel_held(b->vol);
                        all_answered(b, ops, 1, "cancelling");
                }
                if (!ops[0].status) /* the estimate for the one refused was higher */
                        b->version[b->n++] = 1;
                else
                        CU_ASSERT_EQUAL(ops[0].status, -ECANCELED);
        }
}

static void overwrite(struct brink *b)
{
        static struct op ops[DEPTH];
        static uint64_t order[MAX_BLOCKS];
        bool shuffled = rng_chance(&b->rng, 3, 4);

        for (uint64_t i = 0; i < b->n; i++)
                order[i] = i;
        for (uint64_t i = b->n; shuffled && i > 1; i--) {
                uint64_t j = rng_below(&b->rng, i), tmp = order[i - 1];
                order[i - 1] = order[j];
                order[j] = tmp;
        }
        for (uint64_t at = 0; at < b->n;) {
                uint64_t want = 1 + rng_below(&b->rng, DEPTH);
                unsigned n = (unsigned)MIN(want, b->n - at);
                for (unsigned i = 0; i < n; i++) {
                        uint64_t index = order[at + i];
                        t_fill(ops[i].buf, 1, index, ++b->version[index]);
                        submit(b, &ops[i], VOLUME_WRITE, index, true);
                }
                all_answered(b, ops, n, "overwriting");
                for (unsigned i = 0; i < n; i++) {
                        if (ops[i].status)
                                printf("\n    seed %" PRIu64 ": block %" PRIu64 " of %" PRIu64
                                       ": %s\n",
                                       b->seed, order[at + i], b->n, strerror(-ops[i].status));
                        CU_ASSERT_EQUAL_FATAL(ops[i].status, 0);
                }
                at += n;
        }
}

static void kept_made(void *ctx, int status, struct volume *vol)
{
        struct volume **ret = ctx;

        CU_ASSERT_FATAL(status == 0 || status == -ENOSPC);
        *ret = vol;
}

/* Before the pool is filled; less where a small pool has no room for so many pages. */
static void reserve(struct brink *b)
{
        struct volume *vol = NULL;

        b->nkept = rng_chance(&b->rng, 1, 2) ? 0 : 1 + rng_below(&b->rng, MAX_KEPT);
        while (b->nkept && !vol) {
                struct volume_spec spec = {.name = "kept",
                                           .uuid.b = {1},
                                           .size_bytes = b->size,
                                           .reserved_bytes = b->nkept * ZP_BLOCK};
                volume_create(b->t.pool, &spec, &vol, kept_made);
                t_drive(&b->t);
                b->nkept = vol ? b->nkept : b->nkept / 2;
        }
        CU_ASSERT_FATAL(vol || b->nkept == 0);
}

/* With the pool full: what is reserved is there, each block with table pages of its own. */
static void take_reserved(struct brink *b)
{
        struct volume *vol = b->nkept ? volume_by_name(b->t.pool, "kept") : NULL;
        static uint8_t buf[ZP_BLOCK];
        uint64_t step = b->nkept ? b->size / ZP_BLOCK / b->nkept : 0;

        for (uint64_t i = 0; vol && i < b->nkept; i++) {
                t_fill(buf, 2, i, 1);
                CU_ASSERT_EQUAL_FATAL(t_io_nohold(vol, &b->t, i * step * ZP_BLOCK, buf, ZP_BLOCK),
                                      0);
        }
}

static void verify(struct brink *b)
{
        static uint8_t got[ZP_BLOCK], want[ZP_BLOCK];

        for (uint64_t i = 0; i < b->n; i++) {
                t_fill(want, 1, i, b->version[i]);
                CU_ASSERT_EQUAL_FATAL(t_io(b->vol, &b->t, VOLUME_READ, i * b->stride * ZP_BLOCK,
                                           got, ZP_BLOCK, false),
                                      0);
                CU_ASSERT_EQUAL_FATAL(memcmp(got, want, ZP_BLOCK), 0);
        }
        t_check(&b->t);
}

/* A tenth goes, from the end; what goes can be written again. */
static void discard_and_refill(struct brink *b)
{
        static struct op ops[DEPTH];
        uint64_t keep = b->n - b->n / 10, had = b->n;

        while (b->n > keep) {
                unsigned n = (unsigned)MIN((uint64_t)DEPTH, b->n - keep);
                for (unsigned i = 0; i < n; i++)
                        submit(b, &ops[i], VOLUME_DISCARD, b->n - 1 - i, false);
                all_answered(b, ops, n, "discarding");
                for (unsigned i = 0; i < n; i++)
                        CU_ASSERT_EQUAL_FATAL(ops[i].status, 0);
                b->n -= n;
        }
        fill(b);
        CU_ASSERT_TRUE(b->n + DEPTH >= had);
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

static void delete_all(struct brink *b)
{
        struct ended e = {0};

        volume_delete(b->vol, &e, control_done);
        t_drive(&b->t);
        CU_ASSERT_TRUE_FATAL(e.done);
        CU_ASSERT_EQUAL_FATAL(e.status, 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&b->t, "again", b->size, &b->vol), 0);
        b->n = 0;
        fill(b);
        verify(b);
}

static void one(uint64_t seed)
{
        struct brink *b = calloc(1, sizeof(*b));

        b->seed = seed;
        b->rng.state = seed;
        geometry(b);
        reserve(b);
        fill(b);
        take_reserved(b);
        printf("%" PRIu64 " blocks ", b->n);
        for (uint64_t p = 0; p < passes; p++)
                overwrite(b);
        discard_and_refill(b);
        overwrite(b);
        verify(b);
        if (rng_chance(&b->rng, 1, 2))
                t_export(&b->t);
        else
                t_crash(&b->t);
        CU_ASSERT_EQUAL_FATAL(t_import(&b->t), 0);
        b->vol = volume_by_name(b->t.pool, "vol");
        CU_ASSERT_PTR_NOT_NULL_FATAL(b->vol);
        verify(b);
        overwrite(b);
        verify(b);
        delete_all(b);
        t_fini(&b->t);
        free(b);
}

static void test_full_pool_goes_on(void)
{
        for (uint64_t i = 0; i < nseeds; i++)
                one(first_seed + i);
        printf("\n    ");
}

int main(int argc, char **argv)
{
        static const struct t_case cases[] = {T_CASE(test_full_pool_goes_on)};
        if (argc > 1)
                first_seed = strtoull(argv[1], NULL, 0);
        if (argc > 2)
                nseeds = strtoull(argv[2], NULL, 0);
        if (argc > 3)
                passes = strtoull(argv[3], NULL, 0);
        return t_run("pool at the brink", cases, 1);
}
