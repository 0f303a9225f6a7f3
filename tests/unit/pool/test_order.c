/* What has to be durable before what, and what a power cut brings back. The devices tell in which
 * order they were asked. */
#include "t_pool.h"

#include "pool/inspect.h"
#include "pool/root/root.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { ZONES = 64, ZONE_BLOCKS = 64, BLOCKS = 40, FIRST = 5, AT_ONCE = 8 };

/* ---- what devices are asked ---- */

static struct {
        const struct zdev_ops *real;
        struct t_pool *t;
        char order[64]; /* W: a write that is not a root's, F: a flush */
        unsigned n;
        bool named, durable; /* a root that has device 1 in use was written, and flushed */
        unsigned early; /* writes to device 1 before that */
} spy;

static void look_at_root(const struct zdev_io *io)
{
        struct root r;

        if (root_decode(io->iov->iov_base, io->nblocks, &r) < 0)
                return;
        spy.named |= r.ndevices > 1 && r.devices[1].state == ROOT_DEVICE_IN_USE;
        root_fini(&r);
}

static void spied(struct zdev *dev, struct zdev_io *io)
{
        bool data = io->op == ZDEV_WRITE && io->zone >= LABEL_ZONES;

        if ((data || io->op == ZDEV_FLUSH) && spy.n + 1 < sizeof(spy.order))
                spy.order[spy.n++] = data ? 'W' : 'F';
        if (io->op == ZDEV_WRITE && !data)
                look_at_root(io);
        spy.durable |= io->op == ZDEV_FLUSH && spy.named;
        spy.early += data && dev == spy.t->devs[1] && !spy.durable;
        spy.real->submit(dev, io);
}

static void spy_on(struct t_pool *t)
{
        static struct zdev_ops ops;

        memset(&spy, 0, sizeof(spy));
        spy.t = t;
        spy.real = t->devs[0]->ops;
        ops = *spy.real;
        ops.submit = spied;
        for (uint32_t i = 0; i < t->ndevs; i++)
                t->devs[i]->ops = &ops;
}

static void spy_off(struct t_pool *t)
{
        for (uint32_t i = 0; i < t->ndevs; i++)
                t->devs[i]->ops = spy.real;
}

/* ---- pools ---- */

static struct volume *disk(struct t_pool *t)
{
        struct volume *vol = volume_by_name(t->pool, "disk");

        CU_ASSERT_FATAL(vol != NULL);
        return vol;
}

static void make(struct t_pool *t, uint32_t ndevs, uint8_t copies)
{
        struct volume *vol;

        t_pool_new(t, ndevs, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, copies, &vol), 0);
        t_write_all(t, BLOCKS, 1);
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
}

/* AT_ONCE blocks from FIRST on, in one batch that nobody flushes. */
static void write_batch(struct t_pool *t, uint64_t version)
{
        static uint8_t buf[AT_ONCE * ZP_BLOCK];

        for (unsigned i = 0; i < AT_ONCE; i++)
                t_fill(buf + i * ZP_BLOCK, 1, FIRST + i, version);
        CU_ASSERT_EQUAL(t_io(disk(t), t, VOLUME_WRITE, FIRST * ZP_BLOCK, buf, sizeof(buf), false),
                        0);
}

static void check_batch(struct t_pool *t, uint64_t version)
{
        CU_ASSERT_EQUAL(t_wrong(t, disk(t), BLOCKS, version), version == 1 ? 0 : BLOCKS - AT_ONCE);
}

/* ---- shrinking ---- */

static void finished(void *ctx, int status)
{
        *(int *)ctx = status;
}

/* Else a crash could keep the size and lose what cuts off: it would show when the volume grows. */
static void test_what_is_cut_off_is_durable_before_the_size(void)
{
        struct t_pool t;
        struct volume_size to = {BLOCKS / 2 * ZP_BLOCK, VOLUME_KEEP, true};
        int status = -EINPROGRESS;

        make(&t, 1, 1);
        spy_on(&t);
        volume_set_size(disk(&t), &to, &status, finished);
        t_drive(&t);
        CU_ASSERT_EQUAL(status, 0);
        CU_ASSERT_STRING_EQUAL(spy.order, "WFWF");
        spy_off(&t);
        t_check(&t);
        t_fini(&t);
}

/* ---- devices that fail ---- */

static int no_roots(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_WRITE && io->zone < LABEL_ZONES ? -EIO : 0;
}

/* The other device would be believed: no root says that it lacks what is flushed now. */
static void test_no_flush_completes_while_a_failed_device_is_off_the_record(void)
{
        struct t_pool t;

        make(&t, 2, 2);
        write_batch(&t, 2);
        mem_device_set_fault(t_mem(&t, 0), no_roots, NULL);
        t_lose(&t, 1, true);
        CU_ASSERT(t_flush(disk(&t), &t) < 0);
        CU_ASSERT(t.events[POOL_EVENT_READONLY] > 0);
        mem_device_set_fault(t_mem(&t, 0), NULL, NULL);
        t_lose(&t, 1, false);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check(&t);
        t_fini(&t);
}

/* A guest that writes without end, until it is told to stop. */
static struct guest {
        struct volume_io io;
        struct iovec iov;
        uint8_t buf[AT_ONCE * ZP_BLOCK];
        struct t_pool *t;
        uint64_t at;
        unsigned failed;
        bool stop;
} guests[BLOCKS / AT_ONCE]; /* each has its blocks */

static void write_next(struct volume_io *io, int status)
{
        struct guest *g = container_of(io, struct guest, io);

        g->failed += status < 0;
        if (g->stop)
                return;
        for (unsigned i = 0; i < AT_ONCE; i++)
                t_fill(g->buf + i * ZP_BLOCK, 1, g->at + i, 3);
        g->iov = (struct iovec){g->buf, sizeof(g->buf)};
        g->io = (struct volume_io){.op = VOLUME_WRITE,
                                   .offset_bytes = g->at * ZP_BLOCK,
                                   .length_bytes = sizeof(g->buf),
                                   .iov = &g->iov,
                                   .niov = 1,
                                   .done = write_next};
        volume_submit(disk(g->t), &g->io);
}

static void returned(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(int *)ctx = status;
        for (unsigned i = 0; i < ARRAY_SIZE(guests); i++)
                guests[i].stop = true;
}

/* P9: an import that lacks the device would not ask for it. */
static void test_nothing_is_placed_on_a_returned_device_before_a_root_has_it(void)
{
        struct t_pool t;
        int status = -EINPROGRESS;

        make(&t, 3, 2);
        t_lose(&t, 1, true);
        t_write_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, 1, NULL), 0);
        t_lose(&t, 1, false);
        spy_on(&t);
        memset(guests, 0, sizeof(guests));
        for (unsigned i = 0; i < ARRAY_SIZE(guests); i++) {
                guests[i].t = &t;
                guests[i].at = i * AT_ONCE;
                write_next(&guests[i].io, 0);
        }
        pool_device_return(t.pool, t.devs[1], &status, returned);
        t_drive(&t);
        CU_ASSERT_EQUAL(status, 0);
        CU_ASSERT(spy.durable);
        CU_ASSERT_EQUAL(spy.early, 0);
        for (unsigned i = 0; i < ARRAY_SIZE(guests); i++)
                CU_ASSERT_EQUAL(guests[i].failed, 0);
        spy_off(&t);
        t_check_all(&t, BLOCKS, 3);
        t_check(&t);
        t_fini(&t);
}

/* ---- what power brings back ---- */

static void stored(struct zdev_io *io, int status)
{
        CU_ASSERT_EQUAL(status, 0);
}

static void store(struct t_pool *t, uint32_t dev, uint32_t zone, uint64_t block, uint8_t *bytes,
                  uint32_t nblocks)
{
        struct iovec iov = {bytes, (size_t)nblocks * ZP_BLOCK};
        struct zdev_io io = {.op = ZDEV_WRITE,
                             .zone = zone,
                             .block = block,
                             .nblocks = nblocks,
                             .iov = &iov,
                             .niov = 1,
                             .done = stored};

        zdev_submit(t_mem(t, dev), &io);
        t_drive(t);
}

static void peek(struct t_pool *t, uint32_t dev, uint32_t zone, uint64_t block, uint8_t *bytes,
                 uint32_t nblocks)
{
        struct zdev *mem = t_mem(t, dev);

        for (uint32_t i = 0; i < nblocks; i++)
                mem->ops->peek(mem, zone, block + i, bytes + (size_t)i * ZP_BLOCK);
}

/* The newest root of the device, and the end of the zone that it stands in. */
static void newest_root(struct t_pool *t, uint32_t dev, struct root *ret_root, uint32_t *ret_zone,
                        uint64_t *ret_end)
{
        static uint8_t buf[4 * ZP_BLOCK];
        struct root r, *best = ret_root;
        struct zdev_zone z;

        memset(best, 0, sizeof(*best));
        for (uint32_t zone = 0; zone < LABEL_ZONES; zone++) {
                CU_ASSERT_EQUAL_FATAL(t_report(t, dev, zone, &z), 0);
                for (uint64_t at = 0; at < z.wp_block; at += r.blocks) {
                        peek(t, dev, zone, at, buf, 4);
                        CU_ASSERT_EQUAL_FATAL(root_decode_fixed(buf, &r), 0);
                        CU_ASSERT_EQUAL_FATAL(root_decode(buf, r.blocks, &r), 0);
                        if (r.generation < best->generation) {
                                root_fini(&r);
                                continue;
                        }
                        root_fini(best);
                        *best = r;
                        *ret_zone = zone;
                        *ret_end = at + r.blocks;
                }
        }
}

/* Below the pointer stands the beginning of a root that was never durable, above it the rest. Where
 * the zone is finished it must not come to light. */
static void test_a_torn_root_is_covered_before_its_zone_is_finished(void)
{
        static uint8_t buf[4 * ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));
        struct t_pool t;
        struct root r, torn;
        struct zdev_zone z;
        uint32_t zone = 0;
        uint64_t end = 0;

        make(&t, 1, 1);
        t_export(&t);
        newest_root(&t, 0, &r, &zone, &end);
        CU_ASSERT_FATAL(r.blocks == 2);
        r.generation++;
        root_encode(&r, buf);
        root_set_device(buf, r.blocks, &r.device, r.index);
        store(&t, 0, zone, end, buf, r.blocks);
        mem_device_set_zone(t_mem(&t, 0), zone, ZDEV_ZONE_CLOSED, end + 1);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_report(&t, 0, zone, &z), 0);
        CU_ASSERT_EQUAL(z.state, ZDEV_ZONE_FULL);
        peek(&t, 0, zone, end, buf, r.blocks);
        CU_ASSERT_EQUAL(root_decode(buf, r.blocks, &torn), -EBADMSG);
        root_fini(&r);
        t_check_all(&t, BLOCKS, 1);
        t_check(&t);
        t_fini(&t);
}

/* Where the device has the first block of that version. */
static void find(struct t_pool *t, uint32_t dev, uint64_t version, uint32_t *ret_zone,
                 uint64_t *ret_at)
{
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];

        t_fill(want, 1, FIRST, version);
        for (*ret_zone = LABEL_ZONES; *ret_zone < ZONES; ++*ret_zone)
                for (*ret_at = 0; *ret_at < ZONE_BLOCKS; ++*ret_at) {
                        peek(t, dev, *ret_zone, *ret_at, buf, 1);
                        if (memcmp(buf, want, ZP_BLOCK) == 0)
                                return;
                }
        CU_FAIL_FATAL("the device does not have it");
}

/* A batch is lost in a power cut. So is, on one member, the next one at its place, whose bytes go
 * while the pointer stays: there the first one shows again. */
static void test_a_leftover_does_not_stand_for_the_batch_written_in_its_place(void)
{
        enum { HEADER = 1 };
        static uint8_t old[(HEADER + AT_ONCE) * ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));

        for (uint32_t dev = 0; dev < 2; dev++) { /* one of them is walked first */
                struct t_pool t;
                uint32_t zone[2], then;
                uint64_t at[2], again;
                make(&t, 2, 2);
                write_batch(&t, 2);
                t_crash(&t);
                for (uint32_t i = 0; i < 2; i++) {
                        find(&t, i, 2, &zone[i], &at[i]);
                        mem_device_set_zone(t_mem(&t, i), zone[i], ZDEV_ZONE_CLOSED,
                                            at[i] - HEADER);
                }
                peek(&t, dev, zone[dev], at[dev] - HEADER, old, HEADER + AT_ONCE);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                check_batch(&t, 1);
                write_batch(&t, 3);
                t_crash(&t);
                find(&t, dev, 3, &then, &again);
                CU_ASSERT_FATAL(then == zone[dev] && again == at[dev]);
                mem_device_set_zone(t_mem(&t, dev), then, ZDEV_ZONE_CLOSED, again - HEADER);
                store(&t, dev, then, again - HEADER, old, HEADER + AT_ONCE);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                check_batch(&t, 3);
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
                t_check(&t);
                t_fini(&t);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_what_is_cut_off_is_durable_before_the_size),
    T_CASE(test_no_flush_completes_while_a_failed_device_is_off_the_record),
    T_CASE(test_nothing_is_placed_on_a_returned_device_before_a_root_has_it),
    T_CASE(test_a_torn_root_is_covered_before_its_zone_is_finished),
    T_CASE(test_a_leftover_does_not_stand_for_the_batch_written_in_its_place),
};
T_MAIN("order", cases)
