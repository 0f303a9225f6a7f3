/* The label ring takes one of a device's active zones, whatever fails. */
#include "t_pool.h"

#include "pool/root/label.h"
#include "tests/t_suite.h"

#include <errno.h>

/* Roots take a block each, and 1024 blocks of a ring zone are used: it is finished with some left.
 */
enum { MB = 1024 * 1024, ZONES = 32, ZONE_BLOCKS = 1100, LONG_ENOUGH = 1200 };

struct fault {
        unsigned left; /* so many finishes of ring zones fail */
        unsigned failed;
};

static int fail_finish(void *ctx, const struct zdev_io *io)
{
        struct fault *f = ctx;

        if (io->op != ZDEV_FINISH || io->zone >= LABEL_ZONES || f->failed == f->left)
                return 0;
        f->failed++;
        return -EIO;
}

static bool active(struct t_pool *t, uint32_t dev, uint32_t zone)
{
        struct zdev_zone z;

        CU_ASSERT_EQUAL_FATAL(t_report(t, dev, zone, &z), 0);
        return z.state == ZDEV_ZONE_OPEN || z.state == ZDEV_ZONE_CLOSED;
}

/* A root for a block that changed. */
static int next_root(struct t_pool *t, uint64_t version)
{
        struct volume *vol = volume_by_name(t->pool, "disk");
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, 0, version);
        CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, 0, buf, ZP_BLOCK, true), 0);
        int rc = t_checkpoint(t);
        for (uint32_t i = 0; i < t->ndevs; i++)
                CU_ASSERT_FALSE(active(t, i, 0) && active(t, i, 1));
        return rc;
}

static void make(struct t_pool *t, uint32_t ndevs, uint8_t copies)
{
        struct volume *vol;

        t_pool_new(t, ndevs, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", MB, copies, &vol), 0);
}

static void test_a_zone_that_is_not_finished_keeps_the_other_one_shut(void)
{
        struct t_pool t;
        struct fault f = {.left = 2};
        uint64_t version = 0;

        make(&t, 1, 1);
        mem_device_set_fault(t_mem(&t, 0), fail_finish, &f);
        while (version < LONG_ENOUGH)
                (void)next_root(&t, ++version); /* a root that fails is tried again */
        CU_ASSERT_EQUAL(f.failed, 2);
        CU_ASSERT(!active(&t, 0, 0) && active(&t, 0, 1));
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, 1, version);
        t_export(&t);
        t_fini(&t);
}

static void test_a_device_that_finishes_no_zone_is_put_out_of_use(void)
{
        struct t_pool t;
        struct fault f = {.left = UINT32_MAX};
        struct pool_device_status st = {0};
        uint64_t version = 0;

        make(&t, 2, 2);
        mem_device_set_fault(t_mem(&t, 1), fail_finish, &f);
        while (version < LONG_ENOUGH && !st.error) {
                (void)next_root(&t, ++version); /* those that wait for it fail */
                pool_get_device_status(t.pool, 1, &st);
        }
        CU_ASSERT_EQUAL(st.error, -EIO);
        CU_ASSERT_EQUAL(next_root(&t, ++version), 0);
        t_check_all(&t, 1, version);
        t_crash(&t);
        t_fini(&t);
}

static void test_a_zone_that_became_read_only_needs_no_finish(void)
{
        struct t_pool t;
        uint32_t ring = 0;
        uint64_t version = 0;

        make(&t, 1, 1);
        CU_ASSERT_EQUAL(next_root(&t, ++version), 0);
        ring = active(&t, 0, 0) ? 0 : 1;
        mem_device_set_zone(t_mem(&t, 0), ring, ZDEV_ZONE_READONLY, 1);
        (void)next_root(&t, ++version); /* finds out */
        CU_ASSERT_EQUAL(next_root(&t, ++version), 0);
        CU_ASSERT(active(&t, 0, !ring));
        t_check_all(&t, 1, version);
        t_crash(&t);
        t_fini(&t);
}

struct lost_root {
        uint32_t first; /* the ring zone that has roots */
        bool lost; /* the first root of the other was */
        unsigned resets[LABEL_ZONES]; /* since then */
};

/* The first root that is written to the other zone does not arrive. */
static int lose_root(void *ctx, const struct zdev_io *io)
{
        struct lost_root *l = ctx;

        if (io->zone >= LABEL_ZONES)
                return 0;
        if (io->op == ZDEV_RESET && l->lost)
                l->resets[io->zone]++;
        if (io->op != ZDEV_WRITE || io->zone == l->first || l->lost)
                return 0;
        l->lost = true;
        return -EIO;
}

static void test_the_zone_with_the_only_durable_roots_is_kept(void)
{
        struct t_pool t;
        struct lost_root l = {0};
        uint64_t version = 0;

        make(&t, 1, 1);
        l.first = active(&t, 0, 0) ? 0 : 1;
        mem_device_set_fault(t_mem(&t, 0), lose_root, &l);
        while (!l.lost && version < LONG_ENOUGH)
                (void)next_root(&t, ++version);
        CU_ASSERT_TRUE_FATAL(l.lost);
        (void)next_root(&t, ++version);
        CU_ASSERT_EQUAL(l.resets[l.first], 0);
        CU_ASSERT_EQUAL(l.resets[1 - l.first], 1);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, 1, version);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_a_zone_that_is_not_finished_keeps_the_other_one_shut),
    T_CASE(test_a_device_that_finishes_no_zone_is_put_out_of_use),
    T_CASE(test_a_zone_that_became_read_only_needs_no_finish),
    T_CASE(test_the_zone_with_the_only_durable_roots_is_kept),
};
T_MAIN("ring", cases)
