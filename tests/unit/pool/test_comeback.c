/* A member that is lost while the pool is in use, and comes back. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 300 };

struct answer {
        bool done;
        int status;
        struct err err;
        uint32_t index;
};

static void returned(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(struct answer *)ctx = (struct answer){.done = true, .status = status, .index = index};
        if (err)
                ((struct answer *)ctx)->err = *err;
}

static void pool_of(struct t_pool *t, uint32_t ndevs, uint8_t copies, uint64_t random)
{
        struct mem_device_spec mem = {
            .nr_zones = 32, .zone_blocks = 64, .max_open = 8, .max_active = 8};
        struct volume *vol;

        t_devices(t, ndevs, &mem);
        t->random = random;
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, copies, &vol), 0);
}

static int take_back(struct t_pool *t, uint32_t i, struct answer *a)
{
        *a = (struct answer){0};
        pool_device_return(t->pool, t->devs[i], a, returned);
        t_drive(t);
        CU_ASSERT(a->done);
        CU_ASSERT_EQUAL(a->err.code != 0, a->status < 0);
        return a->status;
}

static uint64_t stale(struct t_pool *t, uint32_t i)
{
        struct pool_device_status st;

        pool_get_device_status(t->pool, i, &st);
        return st.stale_bytes;
}

static void until_rebuilt(struct t_pool *t)
{
        struct pool_status st;

        for (int i = 0; i < 2000; i++) {
                pool_get_status(t->pool, &st);
                if (!st.rebuild_bytes)
                        return;
                t->now_ns += 100000000;
                pool_tick(t->pool);
                t_drive(t);
        }
        CU_FAIL("the rebuilding does not end");
}

static void test_one_that_comes_back_is_stale_until_it_is_rebuilt(void)
{
        struct t_pool t;
        struct answer a;
        struct pool_device_status st;
        struct err err = ERR_INIT;

        pool_of(&t, 3, 2, 1);
        t_write_all(&t, BLOCKS, 1);
        t_lose(&t, 1, true);
        t_write_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        pool_get_device_status(t.pool, 1, &st);
        CU_ASSERT_EQUAL(st.error, -ENODEV);
        CU_ASSERT_EQUAL(take_back(&t, 1, &a), -ENODEV); /* it is still lost */
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, 0, &err), -EINVAL); /* in use */
        t_lose(&t, 1, false);
        CU_ASSERT_EQUAL(take_back(&t, 1, &a), -EEXIST); /* the pool has it still */
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, 1, &err), 0);
        pool_get_device_status(t.pool, 1, &st);
        CU_ASSERT(st.missing);
        t_check_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(take_back(&t, 1, &a), 0);
        CU_ASSERT_EQUAL(a.index, 1);
        pool_get_device_status(t.pool, 1, &st);
        CU_ASSERT_EQUAL(st.error, 0);
        CU_ASSERT_FALSE(st.missing);
        t_check_all(&t, BLOCKS, 2);
        t_check(&t);
        until_rebuilt(&t);
        t_check_all(&t, BLOCKS, 2);
        t_check(&t);
        CU_ASSERT_EQUAL(stale(&t, 1), 0);
        t_lose(&t, 0, true); /* and now it has its share of what there is */
        t_check_all(&t, BLOCKS, 2);
        t_write_all(&t, BLOCKS, 3);
        t_check_all(&t, BLOCKS, 3);
        t_lose(&t, 0, false);
        t_export(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, BLOCKS, 3);
        t_check(&t);
        t_fini(&t);
}

/* A crash behind the answer: the next import must ask for it. */
static void test_what_came_back_is_demanded_by_the_next_import(void)
{
        struct t_pool t;
        struct answer a;

        pool_of(&t, 3, 2, 1);
        t_write_all(&t, BLOCKS, 1);
        t_lose(&t, 2, true);
        t_write_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, 2, NULL), 0);
        t_crash(&t);
        t.ndevs = 2;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0); /* it is out, by record */
        t.ndevs = 3;
        t_lose(&t, 2, false);
        CU_ASSERT_EQUAL(take_back(&t, 2, &a), 0);
        t_write_all(&t, BLOCKS, 3);
        t_crash(&t);
        t.ndevs = 2;
        CU_ASSERT_EQUAL(t_import(&t), -ENXIO);
        t.options.degraded_if_sure = true; /* two of three: nothing newer can be there */
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, BLOCKS, 3);
        t_crash(&t);
        t.ndevs = 3;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, BLOCKS, 3);
        t_check(&t);
        t_fini(&t);
}

static void test_one_of_two_is_not_sure(void)
{
        struct t_pool t;

        pool_of(&t, 3, 2, 1);
        t_export(&t);
        struct zdev *last = t.devs[2];
        t.ndevs = 1;
        t.options.degraded_if_sure = true;
        CU_ASSERT_EQUAL(t_import(&t), -ENXIO); /* one of three */
        t.options.degraded = true;
        CU_ASSERT_EQUAL(t_import(&t), -ENXIO);
        t.ndevs = 3;
        t.devs[2] = last;
        t.options = POOL_OPTIONS_DEFAULT;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_fini(&t);
}

/* The first went on without the second; then the second was used without the first. */
static void test_what_was_used_apart_is_not_taken_back(void)
{
        struct t_pool t;
        struct answer a;

        pool_of(&t, 2, 2, 1);
        struct zdev *first = t.devs[0], *second = t.devs[1];
        t_write_all(&t, BLOCKS, 1);
        t_lose(&t, 1, true);
        t_write_all(&t, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        t_crash(&t);
        t_lose(&t, 1, false);
        t.ndevs = 1;
        t.devs[0] = second;
        t.options.degraded = true;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_write_all(&t, BLOCKS, 3);
        t_export(&t);
        t.devs[0] = first;
        t.options.degraded = false;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t.devs[1] = second;
        t.ndevs = 2;
        CU_ASSERT_EQUAL(take_back(&t, 1, &a), -EEXIST);
        CU_ASSERT(strstr(a.err.msg, "used apart") != NULL);
        t_check_all(&t, BLOCKS, 2);
        t_fini(&t);
}

static void test_what_is_no_member_is_not_taken_back(void)
{
        struct t_pool t, other;
        struct answer a;

        pool_of(&t, 2, 2, 1);
        pool_of(&other, 1, 1, 77000);
        t_export(&other);
        t.devs[2] = other.devs[0];
        t.ndevs = 3;
        CU_ASSERT_EQUAL(take_back(&t, 2, &a), -EINVAL);
        CU_ASSERT(strstr(a.err.msg, "belongs to pool") != NULL);
        t.ndevs = 2;
        t_fini(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&other), 0); /* it is what it was */
        t_check(&other);
        t_fini(&other);
}

static const struct t_case cases[] = {
    T_CASE(test_one_that_comes_back_is_stale_until_it_is_rebuilt),
    T_CASE(test_what_came_back_is_demanded_by_the_next_import),
    T_CASE(test_one_of_two_is_not_sure),
    T_CASE(test_what_was_used_apart_is_not_taken_back),
    T_CASE(test_what_is_no_member_is_not_taken_back),
};
T_MAIN("comeback", cases)
