/* Imports that go on with the log they found, and crashes behind them. */
#include "t_pool.h"

#include "pool/inspect.h"
#include "pool/root/root.h"
#include "tests/t_suite.h"

#include <string.h>

enum { ZONES = 64, ZONE_BLOCKS = 64, BLOCKS = 1000, CHANGED = 300 };

/* Writes that are not a root's, while it looks. */
static struct {
        const struct zdev_ops *real;
        unsigned writes;
} spy;

static void spied(struct zdev *dev, struct zdev_io *io)
{
        spy.writes += io->op == ZDEV_WRITE && io->zone >= LABEL_ZONES;
        spy.real->submit(dev, io);
}

static void spy_on(struct t_pool *t)
{
        static struct zdev_ops ops;

        spy.real = t->devs[0]->ops;
        spy.writes = 0;
        ops = *spy.real;
        ops.submit = spied;
        t->devs[0]->ops = &ops;
}

static void import_by_root_alone(struct t_pool *t)
{
        spy_on(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t->devs[0]->ops = spy.real;
        CU_ASSERT_EQUAL(spy.writes, 0);
}

static void write_block(struct t_pool *t, uint64_t block, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, block, version);
        CU_ASSERT_EQUAL_FATAL(t_io(volume_by_name(t->pool, "disk"), t, VOLUME_WRITE,
                                   block * ZP_BLOCK, buf, ZP_BLOCK, false),
                              0);
}

static void check_blocks(struct t_pool *t, const uint64_t *version)
{
        uint8_t want[ZP_BLOCK], back[ZP_BLOCK];

        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(want, 1, b, version[b]);
                CU_ASSERT_EQUAL_FATAL(t_io(volume_by_name(t->pool, "disk"), t, VOLUME_READ,
                                           b * ZP_BLOCK, back, ZP_BLOCK, false),
                                      0);
                CU_ASSERT_EQUAL(memcmp(want, back, ZP_BLOCK), 0);
        }
}

static void begin(struct t_pool *t, uint64_t *version)
{
        struct volume *vol;

        t_pool_new(t, 1, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create(t, "disk", (uint64_t)BLOCKS * ZP_BLOCK, &vol), 0);
        for (uint64_t b = 0; b < BLOCKS; b++)
                write_block(t, b, version[b] = 1);
        CU_ASSERT_EQUAL_FATAL(t_checkpoint(t), 0);
}

static void change(struct t_pool *t, uint64_t *version, uint64_t first, uint64_t to)
{
        for (uint64_t i = 0; i < CHANGED; i++) {
                uint64_t b = (first + i * 7) % BLOCKS;
                write_block(t, b, version[b] = to);
        }
        CU_ASSERT_EQUAL_FATAL(t_flush(volume_by_name(t->pool, "disk"), t), 0);
}

/* Neither the first log nor what came behind it is lost, whether its pages were looked at or not.
 */
static void test_crashes_in_a_row_add_to_one_log(void)
{
        uint64_t version[BLOCKS];
        struct t_pool t;

        begin(&t, version);
        for (uint64_t life = 2; life < 5; life++) {
                change(&t, version, life * 13, life);
                t_crash(&t);
                import_by_root_alone(&t);
                t_check(&t); /* the tables as they will be */
                if (life == 3)
                        check_blocks(&t, version);
        }
        CU_ASSERT_EQUAL_FATAL(t_checkpoint(&t), 0);
        t_check(&t);
        check_blocks(&t, version);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        check_blocks(&t, version);
        t_fini(&t);
}

/* Next to no RAM for pages: what was read takes its records, whoever reads it. */
static void test_pages_take_what_waits_for_them_with_little_ram(void)
{
        uint64_t version[BLOCKS];
        struct t_pool t;

        begin(&t, version);
        change(&t, version, 5, 2);
        t_crash(&t);
        t.options.table_cache_bytes = 1;
        import_by_root_alone(&t);
        change(&t, version, 11, 3);
        check_blocks(&t, version);
        t_export(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check(&t);
        check_blocks(&t, version);
        t_fini(&t);
}

/* An import asks for a checkpoint when it is due: time passes. */
static void test_the_checkpoint_follows(void)
{
        uint64_t version[BLOCKS];
        struct t_pool t;

        begin(&t, version);
        change(&t, version, 3, 2);
        t_crash(&t);
        import_by_root_alone(&t);
        spy_on(&t);
        t_pass(&t, 60);
        t.devs[0]->ops = spy.real;
        CU_ASSERT(spy.writes > 0); /* pages that nobody asked for */
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check(&t);
        check_blocks(&t, version);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_crashes_in_a_row_add_to_one_log),
    T_CASE(test_pages_take_what_waits_for_them_with_little_ram),
    T_CASE(test_the_checkpoint_follows),
};
T_MAIN("resume", cases)
