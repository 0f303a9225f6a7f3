/* What an import writes before it resets anything. */
#include "t_pool.h"

#include "pool/root/root.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { MB = 1024 * 1024, ZONES = 32, ZONE_BLOCKS = 64, BLOCKS = 40 };

/* Stands between the pool and its devices. */
static struct {
        const struct zdev_ops *real;
        struct zdev *fails; /* writes to its label ring do */
        uint64_t written, flushed; /* generations of the first device's roots */
        unsigned resets, early; /* of zones that are not the ring's; before a root was durable */
        uint64_t flushing;
} spy;

static void spied(struct zdev *dev, struct zdev_io *io)
{
        struct root r;
        bool ring = io->zone < LABEL_ZONES;

        if (io->op == ZDEV_WRITE && ring && dev == spy.fails) {
                io->op = ZDEV_READ; /* nothing arrives, */
                io->block = UINT64_MAX; /* and the device refuses it */
        } else if (io->op == ZDEV_WRITE && ring && !root_decode_fixed(io->iov->iov_base, &r)) {
                spy.written = r.generation;
        } else if (io->op == ZDEV_FLUSH) {
                spy.flushed = spy.written;
        } else if (io->op == ZDEV_RESET && !ring) {
                spy.resets++;
                spy.early += !spy.flushed;
        }
        spy.real->submit(dev, io);
}

static void spy_on(struct t_pool *t, struct zdev *fails)
{
        static struct zdev_ops ops;

        memset(&spy, 0, sizeof(spy));
        spy.real = t->devs[0]->ops;
        spy.fails = fails;
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

static void probed(void *ctx, int status, const struct pool_label *label)
{
        CU_ASSERT_EQUAL_FATAL(status, 0);
        *(uint64_t *)ctx = label->generation;
}

static uint64_t generation(struct t_pool *t, uint32_t i)
{
        uint64_t found = 0;

        pool_probe(t->devs[i], &found, probed);
        t_drive(t);
        return found;
}

static void written(struct zdev_io *io, int status)
{
        CU_ASSERT_EQUAL(status, 0);
}

/* A block that is nobody's in an empty zone: it is to be reset before the zone is used. */
static void litter(struct t_pool *t, uint32_t zone)
{
        static uint8_t block[ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));
        struct iovec iov = {block, ZP_BLOCK};
        struct zdev_io io = {
            .op = ZDEV_WRITE, .zone = zone, .nblocks = 1, .iov = &iov, .niov = 1, .done = written};

        memset(block, 0x5a, sizeof(block));
        zdev_submit(t_mem(t, 0), &io);
        t_drive(t);
}

static void test_nothing_is_reset_before_the_claim_is_durable(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK];

        t_pool_new(&t, 1, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", MB, &vol), 0);
        t_fill(buf, 1, 0, 1);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, ZP_BLOCK, true), 0);
        t_export(&t);
        uint64_t before = generation(&t, 0);
        litter(&t, ZONES - 1);
        spy_on(&t, NULL);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(spy.resets, 1);
        CU_ASSERT_EQUAL(spy.early, 0);
        CU_ASSERT(spy.written > before + 16);
        spy_off(&t);
        t_check(&t);
        t_fini(&t);
}

static int fail_once(void *ctx, const struct zdev_io *io)
{
        unsigned *asked = ctx;

        return io->op == ZDEV_FINISH && io->zone == ZONES - 1 && !(*asked)++ ? -EIO : 0;
}

/* What was left open takes one of few active zones: it is asked for again. */
static void test_a_zone_that_is_not_finished_at_once_is_asked_again(void)
{
        unsigned asked = 0;
        struct t_pool t;

        t_pool_new(&t, 1, ZONES, ZONE_BLOCKS);
        t_export(&t);
        litter(&t, ZONES - 1);
        mem_device_set_fault(t_mem(&t, 0), fail_once, &asked);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(asked, 2);
        t_check(&t);
        t_fini(&t);
}

struct made {
        int status;
        struct volume *vol;
};

static void made(void *ctx, int status, struct volume *vol)
{
        *(struct made *)ctx = (struct made){status, vol};
}

/* One device gets no claim, whatever often an import is tried. What it has is no older by that. */
static void test_a_device_that_missed_claims_is_not_old(void)
{
        struct mem_device_spec mem = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct volume_spec spec = {
            .name = "disk", .uuid = {{7}}, .size_bytes = MB, .copies = 2, .owner = ""};
        struct volume_info info;
        struct t_pool t;
        struct made m = {-EIO, NULL};
        uint8_t buf[ZP_BLOCK];

        t_devices(&t, 2, &mem);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        volume_create(t.pool, &spec, &m, made);
        t_drive(&t);
        CU_ASSERT_EQUAL_FATAL(m.status, 0);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(m.vol, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, true),
                                0);
        }
        t_export(&t);
        uint64_t before = generation(&t, 1);
        for (int i = 0; i < 30; i++) {
                spy_on(&t, t.devs[1]);
                CU_ASSERT_NOT_EQUAL(t_import(&t), 0);
                spy_off(&t);
        }
        CU_ASSERT_EQUAL(generation(&t, 0), before + (uint64_t)30 * 16);
        CU_ASSERT_EQUAL(generation(&t, 1), before);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check(&t);
        volume_get_info(volume_by_name(t.pool, "disk"), &info);
        CU_ASSERT_EQUAL(info.moved_write_bytes, 0); /* or what it has would be made once more */
        t_export(&t);
        struct zdev *first = t.devs[0];
        t.ndevs = 1;
        t.devs[0] = t.devs[1]; /* and it has all of it */
        t.devs[1] = first;
        t.options.degraded = true;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                uint8_t back[ZP_BLOCK];
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(volume_by_name(t.pool, "disk"), &t, VOLUME_READ, b * ZP_BLOCK,
                                     back, ZP_BLOCK, false),
                                0);
                CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
        }
        t_crash(&t);
        t.ndevs = 2;
        t_fini(&t);
}

/* Roots of the pool before can come to light again where a power cut takes one of this pool's: they
 * are too old to be chosen. */
static void test_a_new_pool_is_newer_than_what_the_devices_held(void)
{
        struct mem_device_spec mem = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        uint64_t before = 0;
        struct t_pool t;

        t_devices(&t, 2, &mem);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "old"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        for (int i = 0; i < 5; i++) {
                struct volume *vol;
                char name[] = {'v', (char)('0' + i), 0};
                CU_ASSERT_EQUAL_FATAL(t_create(&t, name, MB, &vol), 0);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        }
        t_export(&t);
        for (uint32_t i = 0; i < 2; i++)
                before = MAX(before, generation(&t, i));
        CU_ASSERT_TRUE(before > 5);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "new"), 0);
        for (uint32_t i = 0; i < 2; i++)
                CU_ASSERT_TRUE(generation(&t, i) > before);
        t_fini(&t);
}

static int fails_after(void *ctx, const struct zdev_io *io)
{
        unsigned *left = ctx;

        if (!*left)
                return -EIO;
        --*left;
        return 0;
}

/* However often that is cut off, and wherever. */
static void test_a_pool_made_in_several_attempts_is_newer_too(void)
{
        struct mem_device_spec mem = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        unsigned attempts = 0;
        uint64_t before;
        struct t_pool t;
        int rc = -1;

        t_devices(&t, 2, &mem);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "old"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        for (int i = 0; i < 5; i++)
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        t_export(&t);
        before = MIN(generation(&t, 0), generation(&t, 1));
        CU_ASSERT_TRUE(before > 3);
        for (; rc < 0; attempts++) {
                unsigned left = attempts;
                for (uint32_t i = 0; i < 2; i++)
                        mem_device_set_fault(t_mem(&t, i), fails_after, &left);
                rc = t_format(&t, "new");
                for (uint32_t i = 0; i < 2; i++)
                        mem_device_set_fault(t_mem(&t, i), NULL, NULL);
        }
        CU_ASSERT_TRUE(attempts > 2 * ZONES);
        for (uint32_t i = 0; i < 2; i++)
                CU_ASSERT_TRUE(generation(&t, i) > before);
        CU_ASSERT_EQUAL(t_import(&t), 0);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_nothing_is_reset_before_the_claim_is_durable),
    T_CASE(test_a_zone_that_is_not_finished_at_once_is_asked_again),
    T_CASE(test_a_device_that_missed_claims_is_not_old),
    T_CASE(test_a_new_pool_is_newer_than_what_the_devices_held),
    T_CASE(test_a_pool_made_in_several_attempts_is_newer_too),
};
T_MAIN("claim", cases)
