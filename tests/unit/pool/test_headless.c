/* Blocks whose header is right nowhere: what empties a device finds them all the same, and so does a
 * scrub. */
#include "t_pool.h"

#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 700, ZONES = 24, ZONE_BLOCKS = 128 };

struct answer {
        bool done;
        int status;
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;

        a->done = true;
        a->status = status;
}

/* What of headers is damaged. */
enum what { BATCHES, SUMMARIES_TOO };

/* Every header on the device that is not of the label ring; how many. */
static unsigned damage_headers(struct t_pool *t, uint32_t dev, enum what what)
{
        struct zdev *mem = t_mem(t, dev);
        uint8_t buf[ZP_BLOCK];
        unsigned n = 0;

        for (uint32_t z = 2; z < mem->geo.nr_zones; z++) {
                struct zdev_zone zone;
                CU_ASSERT_EQUAL_FATAL(t_report(t, dev, z, &zone), 0);
                for (uint64_t b = 0; b < zone.wp_block; b++) {
                        if (mem->ops->peek(mem, z, b, buf) < 0 || memcmp(buf, "ZPBH", 4) != 0 ||
                            (buf[6] != 1 && what == BATCHES))
                                continue;
                        t_damage_place(t, dev, z, b);
                        n++;
                }
        }
        return n;
}

static struct volume *filled(struct t_pool *t, uint32_t ndevs, uint8_t copies)
{
        struct volume *vol = NULL;

        t_pool_new(t, ndevs, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", 2 * BLOCKS * ZP_BLOCK, copies, &vol), 0);
        t_write_all(t, BLOCKS, 1);
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
        return vol;
}

static struct pool_device_status device(struct t_pool *t, uint32_t i)
{
        struct pool_device_status st;

        pool_get_device_status(t->pool, i, &st);
        return st;
}

static void empty(struct t_pool *t, uint32_t dev)
{
        struct answer a = {0};

        CU_ASSERT(device(t, dev).live_bytes > 0);
        pool_device_evacuate(t->pool, dev, &a, answered);
        t_drive(t);
        CU_ASSERT_EQUAL(a.status, 0);
        for (int i = 0; i < 60 && !device(t, dev).drained; i++)
                t_pass(t, 1);
        CU_ASSERT(device(t, dev).drained);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_DEVICE_STUCK], 0);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_CORRUPTION], 0);
        t_check(t);
}

static void test_summaries_tell_what_headers_do_not(void)
{
        struct t_pool t;

        filled(&t, 2, 1);
        CU_ASSERT(damage_headers(&t, 1, BATCHES) > 100);
        empty(&t, 1);
        t_lose(&t, 1, true);
        t_check_all(&t, BLOCKS, 1);
        t_fini(&t);
}

static void test_tables_tell_what_summaries_do_not(void)
{
        struct t_pool t;

        filled(&t, 2, 1);
        CU_ASSERT(damage_headers(&t, 1, SUMMARIES_TOO) > 100);
        empty(&t, 1);
        t_lose(&t, 1, true);
        t_check_all(&t, BLOCKS, 1);
        t_fini(&t);
}

/* Groups that an import closed have no summary; and next to no page is in RAM. */
static void test_tables_that_are_not_in_ram_tell_it_too(void)
{
        struct t_pool t;

        filled(&t, 2, 1);
        t_export(&t);
        t.options.table_cache_bytes = 1;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_write_all(&t, BLOCKS / 2, 2);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT(damage_headers(&t, 1, SUMMARIES_TOO) > 0);
        empty(&t, 1);
        t_check_all(&t, BLOCKS / 2, 2);
        t_fini(&t);
}

static void snapped(void *ctx, int status, struct volume *snap)
{
        answered(ctx, status, NULL);
}

/* What a snapshot keeps and a volume above it has overwritten is in trees of their own. */
static void test_blocks_of_snapshots_are_found(void)
{
        struct t_pool t;
        struct answer a = {0};
        struct volume *vol = filled(&t, 2, 1), *snap;
        struct snapshot_spec spec = {.name = "s", .uuid = {{7}}};
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];

        snapshot_create(vol, &spec, &a, snapped);
        t_drive(&t);
        CU_ASSERT(a.done && a.status == 0);
        t_write_all(&t, BLOCKS / 3, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT(damage_headers(&t, 1, SUMMARIES_TOO) > 100);
        empty(&t, 1);
        t_check_all(&t, BLOCKS / 3, 2);
        snap = snapshot_by_name(vol, "s");
        CU_ASSERT_PTR_NOT_NULL_FATAL(snap);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(want, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(snap, &t, VOLUME_READ, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
        }
        t_fini(&t);
}

static struct pool_scrub_status scrubbed(struct t_pool *t)
{
        struct pool_scrub_status st;
        struct answer a = {0};

        pool_scrub(t->pool, POOL_SCRUB_START, &a, answered);
        t_drive(t);
        CU_ASSERT_EQUAL(a.status, 0);
        for (int i = 0; i < 1000; i++) {
                pool_get_scrub_status(t->pool, &st);
                if (st.state == POOL_SCRUB_DONE)
                        break;
                t_pass(t, 1);
        }
        CU_ASSERT_EQUAL(st.state, POOL_SCRUB_DONE);
        return st;
}

/* It reads what stands behind them, and has it moved: so in the end there is nothing to find. */
static void test_scrub_reads_behind_damaged_headers(void)
{
        for (int what = BATCHES; what <= SUMMARIES_TOO; what++) {
                struct t_pool t;
                struct pool_scrub_status st;
                uint8_t buf[ZP_BLOCK];
                filled(&t, 2, 1);
                t_crash(&t); /* no group stays open */
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                unsigned n = damage_headers(&t, 0, (enum what)what);
                n += damage_headers(&t, 1, (enum what)what);
                CU_ASSERT(n > 100);
                t_fill(buf, 1, 123, 1);
                CU_ASSERT(t_damage_copy(&t, 0, buf) || t_damage_copy(&t, 1, buf));
                st = scrubbed(&t);
                CU_ASSERT(st.wrong_copies > 1);
                CU_ASSERT_EQUAL(st.damaged_blocks, 1);
                CU_ASSERT_EQUAL_FATAL(st.nfindings, 1);
                CU_ASSERT_EQUAL(st.findings[0].block, 123);
                t_pass(&t, 10);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                t_fill(buf, 1, 123, 2);
                CU_ASSERT_EQUAL(t_io(volume_by_name(t.pool, "disk"), &t, VOLUME_WRITE,
                                     123 * ZP_BLOCK, buf, ZP_BLOCK, false),
                                0);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                for (int i = 0; st.wrong_copies && i < 3; i++) /* a group that was open comes late */
                        st = scrubbed(&t);
                CU_ASSERT_EQUAL(st.wrong_copies + st.damaged_blocks, 0);
                t_check(&t);
                t_fini(&t);
        }
}

static void test_mirrors_whose_headers_are_wrong_on_both_are_moved(void)
{
        struct t_pool t;
        struct pool_scrub_status st;

        filled(&t, 2, 2);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        for (uint32_t dev = 0; dev < 2; dev++)
                CU_ASSERT(damage_headers(&t, dev, BATCHES) > 100);
        st = scrubbed(&t);
        CU_ASSERT(st.wrong_copies > 1);
        t_pass(&t, 10);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        for (int i = 0; st.wrong_copies && i < 3; i++)
                st = scrubbed(&t);
        CU_ASSERT_EQUAL(st.wrong_copies + st.damaged_blocks, 0);
        t_check_all(&t, BLOCKS, 1);
        t_check(&t);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_summaries_tell_what_headers_do_not),
    T_CASE(test_tables_tell_what_summaries_do_not),
    T_CASE(test_tables_that_are_not_in_ram_tell_it_too),
    T_CASE(test_blocks_of_snapshots_are_found),
    T_CASE(test_scrub_reads_behind_damaged_headers),
    T_CASE(test_mirrors_whose_headers_are_wrong_on_both_are_moved),
};
T_MAIN("pool-headless", cases)
