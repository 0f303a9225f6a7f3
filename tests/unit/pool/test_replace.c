/* A replacement is one act: wherever it is cut off, the new device is out, or the old one goes. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 200, NEW = 2, MAX_CUTS = 4000 };

struct answer {
        bool done;
        int status;
};

static void replaced(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(struct answer *)ctx = (struct answer){.done = true, .status = status};
}

/* Two devices and a third one that is not the pool's. */
static void two_and_one(struct t_pool *t, uint8_t copies)
{
        struct mem_device_spec mem = {
            .nr_zones = 32, .zone_blocks = 64, .max_open = 8, .max_active = 8};
        struct volume *vol;

        t_devices(t, 3, &mem);
        t->ndevs = 2;
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, copies, &vol), 0);
        t_write_all(t, BLOCKS, 1);
        t->ndevs = 3;
}

static void probed(void *ctx, int status, const struct pool_label *label)
{
        *(int *)ctx = status;
}

static bool labelled(struct t_pool *t, uint32_t i)
{
        int status = 1;

        pool_probe(t->devs[i], &status, probed);
        t_drive(t);
        return status == 0;
}

/* As the daemon does: of those that have a label. */
static void import_labelled(struct t_pool *t)
{
        struct zdev *all[3] = {t->devs[0], t->devs[1], t->devs[2]};
        uint32_t n = 0;

        for (uint32_t i = 0; i < 3; i++)
                if (labelled(t, i))
                        t->devs[n++] = all[i];
        t->ndevs = n;
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        memcpy(t->devs, all, sizeof(all));
        t->ndevs = 3;
}

/* Members that stay. */
static unsigned staying(struct t_pool *t)
{
        struct pool_device_status st;
        struct pool_status ps;
        unsigned n = 0;

        pool_get_status(t->pool, &ps);
        for (uint32_t i = 0; i < ps.ndevices; i++) {
                pool_get_device_status(t->pool, i, &st);
                n += st.state == POOL_DEVICE_MEMBER;
        }
        return n;
}

static bool run_some(struct t_pool *t, unsigned n)
{
        for (unsigned i = 0; n; i++) {
                bool any = false;
                for (uint32_t d = 0; d < 3 && n; d++) {
                        bool one = mem_device_step(t_mem(t, d));
                        any |= one;
                        n -= one;
                }
                if (!any)
                        return false;
        }
        return true;
}

static bool run_two(struct t_pool *t)
{
        bool first = mem_device_step(t_mem(t, 0));

        return mem_device_step(t_mem(t, 1)) || first;
}

static bool is_over(struct t_pool *t)
{
        struct pool_device_status st;
        struct pool_status ps;
        bool leaves = false;

        pool_get_status(t->pool, &ps);
        for (uint32_t i = 0; i < ps.ndevices; i++) {
                pool_get_device_status(t->pool, i, &st);
                leaves |= st.state != POOL_DEVICE_MEMBER && st.state != POOL_DEVICE_NONE;
        }
        return !leaves && !ps.rebuild_bytes;
}

static void until_left(struct t_pool *t)
{
        for (int i = 0; i < 2000 && !is_over(t); i++) {
                t->now_ns += 1000000000;
                pool_tick(t->pool);
                t_drive(t);
        }
        CU_ASSERT(is_over(t));
}

static void test_cut_off_anywhere_it_goes_on_or_never_was(void)
{
        unsigned joined = 0, never = 0;

        for (unsigned cut = 0; cut < MAX_CUTS; cut++) {
                struct t_pool t;
                struct answer a = {0};
                two_and_one(&t, 1);
                pool_device_replace(t.pool, 0, t.devs[NEW], &a, replaced);
                bool cut_off = run_some(&t, cut);
                t_crash(&t);
                bool there = labelled(&t, NEW);
                import_labelled(&t);
                /* the old one stays alone, or the new one does; never all three */
                CU_ASSERT_EQUAL(staying(&t), 2 - (there && staying(&t) == 1));
                joined += there;
                never += !there;
                t_check_all(&t, BLOCKS, 1);
                if (there)
                        until_left(&t);
                CU_ASSERT_EQUAL(staying(&t), 2);
                t_check_all(&t, BLOCKS, 1);
                t_check(&t);
                t_fini(&t);
                if (a.done || !cut_off)
                        break;
        }
        CU_ASSERT(joined > 3);
        CU_ASSERT(never > 3);
}

static void test_one_that_is_dead_is_replaced_from_its_mirrors(void)
{
        struct t_pool t;
        struct answer a = {0};

        two_and_one(&t, 2);
        t_lose(&t, 0, true);
        t_write_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        pool_device_replace(t.pool, 0, t.devs[NEW], &a, replaced);
        t_drive(&t);
        CU_ASSERT_EQUAL_FATAL(a.status, 0);
        until_left(&t);
        t_check_all(&t, BLOCKS, 2);
        t_check(&t);
        t_lose(&t, 1, true);
        t_check_all(&t, BLOCKS, 2); /* all of it is on the new one */
        t_fini(&t);
}

static void test_one_that_is_too_small_is_refused_before_it_joins(void)
{
        struct mem_device_spec mem = {
            .nr_zones = 16, .zone_blocks = 64, .max_open = 8, .max_active = 8};
        struct t_pool t, small;
        struct answer a = {0};
        uint8_t buf[ZP_BLOCK] = {1};
        struct volume *big;

        two_and_one(&t, 1);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "big", 2400 * ZP_BLOCK, &big), 0);
        for (uint64_t b = 0; b < 2400; b++)
                CU_ASSERT_EQUAL(t_io(big, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        t_devices(&small, 1, &mem);
        t.devs[3] = small.devs[0];
        t.ndevs = 4;
        pool_device_replace(t.pool, 0, t.devs[3], &a, replaced);
        t_drive(&t);
        CU_ASSERT(a.done);
        CU_ASSERT_EQUAL(a.status, -ENOSPC);
        CU_ASSERT_EQUAL(staying(&t), 2);
        t_check(&t);
        CU_ASSERT_FALSE(labelled(&t, 3));
        t_fini(&t);
}

/* What is written while the new device joins is let in by the room there will be. */
static void test_nothing_is_let_in_meanwhile_that_will_not_fit(void)
{
        struct mem_device_spec mem = {
            .nr_zones = 24, .zone_blocks = 64, .max_open = 8, .max_active = 8};
        struct t_pool t, small;
        struct answer a = {0};
        struct pool_status st;
        struct volume *big;
        uint8_t buf[ZP_BLOCK] = {1};
        uint64_t n = 0;

        t_devices(&t, 1, &(struct mem_device_spec){.nr_zones = 48, .zone_blocks = 64});
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "big", 4000 * ZP_BLOCK, &big), 0);
        for (; n < 500; n++)
                CU_ASSERT_EQUAL(t_io(big, &t, VOLUME_WRITE, n * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        t_devices(&small, 1, &mem);
        t.devs[1] = small.devs[0];
        t.ndevs = 2;
        pool_device_replace(t.pool, 0, t.devs[1], &a, replaced);
        do {
                pool_get_status(t.pool, &st);
        } while (st.ndevices < 2 && run_two(&t));
        CU_ASSERT_EQUAL_FATAL(st.ndevices, 2);
        CU_ASSERT_FALSE(a.done);
        CU_ASSERT_TRUE(st.available_bytes < 900 * (uint64_t)ZP_BLOCK);
        CU_ASSERT_TRUE(st.available_bytes > 0);
        t_drive(&t);
        CU_ASSERT_EQUAL(a.status, 0);
        t_check(&t);
        t_fini(&t);
}

/* With mirrors all zones count as large as the smallest. */
static void test_small_zones_are_refused_where_they_take_room(void)
{
        struct mem_device_spec mem = {
            .nr_zones = 16, .zone_blocks = 34, .max_open = 8, .max_active = 8};
        struct t_pool t, small;
        struct answer a = {0};
        struct volume *big;
        uint8_t buf[ZP_BLOCK] = {1};
        uint64_t n = 0;

        two_and_one(&t, 2);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "big", 4000 * ZP_BLOCK, 2, &big), 0);
        while (t_io_nohold(big, &t, n * ZP_BLOCK, buf, ZP_BLOCK) == 0)
                n++;
        t_devices(&small, 1, &mem);
        t.devs[3] = small.devs[0];
        t.ndevs = 4;
        pool_device_add(t.pool, t.devs[3], &a, replaced);
        t_drive(&t);
        CU_ASSERT_EQUAL(a.status, -ENOSPC);
        a.done = false;
        CU_ASSERT_EQUAL(t_io(big, &t, VOLUME_DISCARD, 0, NULL, n / 4 * 3 * ZP_BLOCK, true), 0);
        pool_device_add(t.pool, t.devs[3], &a, replaced);
        t_drive(&t);
        CU_ASSERT_EQUAL(a.status, 0);
        t_check(&t);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_cut_off_anywhere_it_goes_on_or_never_was),
    T_CASE(test_one_that_is_dead_is_replaced_from_its_mirrors),
    T_CASE(test_one_that_is_too_small_is_refused_before_it_joins),
    T_CASE(test_nothing_is_let_in_meanwhile_that_will_not_fit),
    T_CASE(test_small_zones_are_refused_where_they_take_room),
};
T_MAIN("replace", cases)
