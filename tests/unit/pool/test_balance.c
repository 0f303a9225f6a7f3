/* After a device was added the pool evens out by itself, moves no more for it than it must, and is
 * quiet then. */
#include "t_pool.h"

#include "base/cleanup.h"
#include "base/rng.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { RUN = 32, FAR_APART = 100, LOOKS = 400 };

static const struct mem_device_spec first = {.nr_zones = 96, .zone_blocks = 64},
                                    large = {.nr_zones = 24, .zone_blocks = 256},
                                    finer = {.nr_zones = 50, .zone_blocks = 128},
                                    small = {.nr_zones = 40, .zone_blocks = 32};

struct answer {
        bool done;
        int status;
};

static void added(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(struct answer *)ctx = (struct answer){true, status};
}

static void done(void *ctx, int status, const struct err *err)
{
        *(struct answer *)ctx = (struct answer){true, status};
}

/* One more device, which is not the pool's. */
static struct zdev *one_more(struct t_pool *t, const struct mem_device_spec *spec)
{
        struct t_pool other;

        t_devices(&other, 1, spec);
        t->devs[t->ndevs++] = other.devs[0];
        return other.devs[0];
}

static int try_to_add(struct t_pool *t, const struct mem_device_spec *spec)
{
        struct answer a = {0};

        pool_device_add(t->pool, one_more(t, spec), &a, added);
        t_drive(t);
        CU_ASSERT_FATAL(a.done);
        if (a.status < 0)
                t_drop_device(t);
        return a.status;
}

static void add(struct t_pool *t, const struct mem_device_spec *spec)
{
        CU_ASSERT_EQUAL_FATAL(try_to_add(t, spec), 0);
}

static void balance(struct t_pool *t, bool on)
{
        struct answer a = {0};

        pool_balance(t->pool, on, &a, done);
        CU_ASSERT_FALSE(a.done);
        t_drive(t);
        CU_ASSERT(a.done);
        CU_ASSERT_EQUAL(a.status, 0);
}

static void write_from(struct t_pool *t, uint64_t block, uint64_t n, uint64_t version)
{
        uint8_t buf[RUN * ZP_BLOCK];

        for (uint64_t i = 0; i < n; i++)
                t_fill(buf + i * ZP_BLOCK, 1, block + i, version);
        CU_ASSERT_EQUAL(t_io(volume_by_name(t->pool, "disk"), t, VOLUME_WRITE, block * ZP_BLOCK,
                             buf, n * ZP_BLOCK, false),
                        0);
}

static void pool_with(struct t_pool *t, uint32_t ndevs, uint64_t blocks, uint8_t copies)
{
        struct volume *vol;

        t_devices(t, ndevs, &first);
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", blocks * ZP_BLOCK, copies, &vol), 0);
        for (uint64_t b = 0; b < blocks; b += RUN)
                write_from(t, b, RUN, 1);
        t_pass(t, 31);
}

static struct pool_balance_status status(struct t_pool *t)
{
        struct pool_balance_status st;

        pool_get_balance_status(t->pool, &st);
        return st;
}

static uint32_t apart(struct t_pool *t)
{
        return status(t).most_used_permille - status(t).least_used_permille;
}

static void until_idle(struct t_pool *t)
{
        for (int i = 0; i < LOOKS && status(t).state != POOL_BALANCE_IDLE; i++)
                t_pass(t, 1);
        CU_ASSERT_EQUAL(status(t).state, POOL_BALANCE_IDLE);
}

/* What lies above the level that all devices would have, in blocks. */
static uint64_t too_high(struct t_pool *t)
{
        struct pool_device_status st;
        uint64_t used[8], all[8], sum_used = 0, sum_all = 0, high = 0;
        uint32_t n = t->ndevs;

        for (uint32_t i = 0; i < n; i++) {
                pool_get_device_status(t->pool, i, &st);
                uint64_t zones = st.full_zones + st.open_zones - 1;
                used[i] = zones * (st.capacity_bytes / (st.nr_zones - 2)) / ZP_BLOCK;
                all[i] = st.capacity_bytes / ZP_BLOCK;
                sum_used += used[i];
                sum_all += all[i];
        }
        for (uint32_t i = 0; i < n; i++)
                high += used[i] * sum_all > sum_used * all[i]
                            ? used[i] - sum_used * all[i] / sum_all
                            : 0;
        return high;
}

static void nothing_more_is_moved(struct t_pool *t)
{
        uint64_t moved = status(t).moved_bytes;
        unsigned begun = t->events[POOL_EVENT_BALANCING], ended = t->events[POOL_EVENT_BALANCED];

        t_pass(t, 200);
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
        t_pass(t, 200);
        CU_ASSERT_EQUAL(status(t).moved_bytes, moved);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_BALANCING], begun);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_BALANCED], ended);
}

static void test_unequal_devices_fill_alike_from_the_first_write_on(void)
{
        struct t_pool t;
        struct volume *vol;

        t_devices(&t, 1, &first);
        one_more(&t, &finer);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        balance(&t, false);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 6400 * ZP_BLOCK, &vol), 0);
        for (uint64_t b = 0; b < 6400; b += RUN) {
                write_from(&t, b, RUN, 1);
                CU_ASSERT(apart(&t) <= 2 * FAR_APART); /* checkpoints free in bursts */
        }
        t_check(&t);
        t_fini(&t);
}

static void test_unequal_devices_fill_alike_after_they_were_added(void)
{
        struct t_pool t;

        pool_with(&t, 1, 4480, 1);
        CU_ASSERT_EQUAL(status(&t).moved_bytes, 0);
        add(&t, &large);
        add(&t, &small);
        uint64_t high = too_high(&t);
        CU_ASSERT(apart(&t) > 500);
        until_idle(&t);
        CU_ASSERT(apart(&t) <= FAR_APART);
        CU_ASSERT(status(&t).moved_bytes / ZP_BLOCK > high / 2);
        CU_ASSERT(status(&t).moved_bytes / ZP_BLOCK <= high + high / 2);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_BALANCING], 1);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_BALANCED], 1);
        nothing_more_is_moved(&t);
        t_check_all(&t, 4480, 1);
        t_check(&t);
        t_fini(&t);
}

static void test_users_write_meanwhile(void)
{
        struct t_pool t;
        struct rng r = {7};
        uint64_t version[4480 / RUN] = {0};

        pool_with(&t, 1, 4480, 1);
        add(&t, &finer);
        uint64_t high = too_high(&t);
        for (int i = 0; i < 2000; i++) {
                uint64_t run = rng_below(&r, ARRAY_SIZE(version));
                write_from(&t, run * RUN, RUN, ++version[run] + 1);
                t.now_ns += 20 * 1000 * 1000;
                pool_tick(t.pool);
        }
        until_idle(&t);
        CU_ASSERT(apart(&t) <= FAR_APART);
        CU_ASSERT(status(&t).moved_bytes / ZP_BLOCK <= high + high / 2);
        nothing_more_is_moved(&t);
        for (uint64_t i = 0; i < ARRAY_SIZE(version); i++) {
                uint8_t want[RUN * ZP_BLOCK], buf[RUN * ZP_BLOCK];
                for (uint64_t b = 0; b < RUN; b++)
                        t_fill(want + b * ZP_BLOCK, 1, i * RUN + b, version[i] + 1);
                CU_ASSERT_EQUAL(t_io(volume_by_name(t.pool, "disk"), &t, VOLUME_READ,
                                     i * RUN * ZP_BLOCK, buf, sizeof(buf), false),
                                0);
                CU_ASSERT_EQUAL(memcmp(buf, want, sizeof(buf)), 0);
        }
        t_check(&t);
        t_fini(&t);
}

static void test_mirrored_groups_take_in_a_third_device(void)
{
        struct t_pool t;

        pool_with(&t, 2, 4480, 2);
        add(&t, &first);
        CU_ASSERT(apart(&t) > 500);
        uint64_t high = too_high(&t);
        until_idle(&t);
        CU_ASSERT(apart(&t) <= FAR_APART);
        CU_ASSERT(status(&t).moved_bytes / ZP_BLOCK <= high + high / 2);
        nothing_more_is_moved(&t);
        t_check_all(&t, 4480, 1);
        t_lose(&t, 0, true); /* both copies are there, wherever they went */
        t_check_all(&t, 4480, 1);
        t_check(&t);
        t_fini(&t);
}

/* With two copies a device as large as all others is in every group; it is emptier all the same. */
static void test_mirrored_groups_find_partners_on_a_larger_device(void)
{
        struct t_pool t;
        struct mem_device_spec spec = first;

        pool_with(&t, 2, 2000 / RUN * RUN, 2);
        spec.nr_zones = 400;
        add(&t, &spec);
        until_idle(&t);
        nothing_more_is_moved(&t);
        t_check_all(&t, 2000 / RUN * RUN, 1);
        t_check(&t);
        t_fini(&t);
}

static void test_cut_off_it_goes_on(void)
{
        struct t_pool t;

        pool_with(&t, 1, 4480, 1);
        add(&t, &large);
        uint64_t high = too_high(&t), moved = 0;
        for (int cut = 0; cut < 6; cut++) {
                for (int n = 0; n < 20000 && status(&t).moved_bytes / ZP_BLOCK < 200; n++) {
                        t.now_ns += 1000 * 1000;
                        pool_tick(t.pool);
                        for (uint32_t i = 0; i < t.ndevs; i++)
                                mem_device_step(t_mem(&t, i));
                }
                CU_ASSERT_EQUAL(status(&t).state, POOL_BALANCE_RUNNING);
                moved += status(&t).moved_bytes / ZP_BLOCK;
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        }
        until_idle(&t);
        moved += status(&t).moved_bytes / ZP_BLOCK;
        CU_ASSERT(apart(&t) <= FAR_APART);
        CU_ASSERT(moved <= high + high / 2);
        nothing_more_is_moved(&t);
        t_check_all(&t, 4480, 1);
        t_check(&t);
        t_fini(&t);
}

static void test_off_it_stays_off(void)
{
        struct t_pool t;

        pool_with(&t, 1, 4480, 1);
        balance(&t, false);
        add(&t, &large);
        t_pass(&t, 60);
        CU_ASSERT_EQUAL(status(&t).state, POOL_BALANCE_OFF);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_pass(&t, 60);
        CU_ASSERT_EQUAL(status(&t).state, POOL_BALANCE_OFF);
        CU_ASSERT_EQUAL(status(&t).moved_bytes, 0);
        balance(&t, true);
        until_idle(&t);
        CU_ASSERT(status(&t).moved_bytes > 0);
        CU_ASSERT(apart(&t) <= FAR_APART);
        t_check_all(&t, 4480, 1);
        t_check(&t);
        t_fini(&t);
}

static void test_one_that_leaves_comes_first(void)
{
        struct t_pool t;
        struct answer a = {0};
        struct pool_device_status st;

        pool_with(&t, 2, 4480, 1);
        add(&t, &large);
        pool_device_remove(t.pool, 0, &a, done);
        t_drive(&t);
        CU_ASSERT_EQUAL(a.status, 0);
        for (int i = 0; i < LOOKS; i++) {
                pool_get_device_status(t.pool, 0, &st);
                if (st.state != POOL_DEVICE_LEAVING)
                        break;
                CU_ASSERT_NOT_EQUAL(status(&t).state, POOL_BALANCE_RUNNING);
                t_pass(&t, 1);
        }
        CU_ASSERT_EQUAL(st.state, POOL_DEVICE_NONE);
        until_idle(&t);
        CU_ASSERT(apart(&t) <= FAR_APART);
        nothing_more_is_moved(&t);
        t_check_all(&t, 4480, 1);
        t_check(&t);
        t_fini(&t);
}

static struct mem_device_spec any_device(struct rng *r)
{
        struct mem_device_spec spec = {.nr_zones = 20 + (uint32_t)rng_below(r, 80),
                                       .zone_blocks = 32u << rng_below(r, 4)};

        if (rng_chance(r, 1, 3))
                spec.max_open = spec.max_active = 4 + (uint32_t)rng_below(r, 6);
        return spec;
}

static void fill(struct t_pool *t, struct rng *r, uint8_t copies)
{
        struct pool_status st;
        struct volume *vol;

        pool_get_status(t->pool, &st);
        uint64_t runs = st.available_by_copies[copies - 1] / ZP_BLOCK / RUN;
        runs = runs * (20 + rng_below(r, 70)) / 100;
        CU_ASSERT_EQUAL_FATAL(
            t_create_copies(t, "disk", MAX(runs, 1) * RUN * ZP_BLOCK, copies, &vol), 0);
        for (uint64_t i = 0; i < runs; i++)
                write_from(t, i * RUN, RUN, 1);
        for (uint64_t n = rng_below(r, 2 * runs); n; n--) /* cleaning runs in some */
                write_from(t, rng_below(r, runs) * RUN, RUN, 1);
        t_pass(t, 31);
}

/* As near as zones are small: one of the fullest and what takes its blocks, and those that are
 * open.
 */
static uint32_t near_enough(struct t_pool *t)
{
        struct pool_device_status st;
        uint32_t most = 0, open = 0;
        uint64_t largest = 0, smallest = UINT64_MAX;

        for (uint32_t i = 0; i < t->ndevs; i++) {
                pool_get_device_status(t->pool, i, &st);
                uint64_t zone = st.capacity_bytes / (st.nr_zones - 2);
                largest = MAX(largest, zone);
                smallest = MIN(smallest, zone);
                most = MAX(most, 1000 / (st.nr_zones - 2));
                open = MAX(open, 1000 * (st.open_zones - 1) / (st.nr_zones - 2));
        }
        return MAX(FAR_APART, most * (1 + (uint32_t)(largest / smallest))) + open;
}

static void any_pool(struct t_pool *t, struct rng *r)
{
        uint32_t n = 1 + (uint32_t)rng_below(r, 3);
        struct mem_device_spec spec = any_device(r);

        t_devices(t, 1, &spec);
        while (t->ndevs < n) {
                spec = any_device(r);
                one_more(t, &spec);
        }
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
}

static void test_whatever_the_devices_are_it_comes_to_an_end(void)
{
        unsigned ran = 0;

        for (uint64_t seed = 1; seed <= 60; seed++) {
                struct t_pool t;
                struct rng r = {seed};
                struct pool_status ps;
                any_pool(&t, &r);
                uint8_t copies = (uint8_t)(1 + rng_below(&r, t.ndevs));
                fill(&t, &r, copies);
                CU_ASSERT_EQUAL(status(&t).moved_bytes, 0); /* users' writes keep it even */
                balance(&t, false);
                for (uint32_t more = 1 + (uint32_t)rng_below(&r, 2); more; more--) {
                        struct mem_device_spec spec = any_device(&r);
                        int rc = try_to_add(&t, &spec);
                        CU_ASSERT(rc == 0 || (rc == -ENOSPC && copies > 1)); /* small zones */
                }
                uint64_t high = too_high(&t);
                balance(&t, true);
                pool_get_status(t.pool, &ps);
                CU_ASSERT_EQUAL(ps.lacking_bytes, 0);
                until_idle(&t);
                CU_ASSERT(status(&t).moved_bytes / ZP_BLOCK <= high + high / 2);
                CU_ASSERT(copies > 1 || apart(&t) <= near_enough(&t));
                ran += status(&t).moved_bytes != 0;
                nothing_more_is_moved(&t);
                t_check(&t);
                t_fini(&t);
        }
        CU_ASSERT(ran > 40);
}

/* Overwritten for a long time, all alike or some places more often, devices of any kind stay near
 * by that alone. */
static void test_users_writes_need_no_help(void)
{
        static const uint64_t seeds[] = {1, 2, 6, 9}; /* of several devices */
        uint64_t wrote = 0, moved = 0;

        for (size_t n = 0; n < ARRAY_SIZE(seeds); n++) {
                struct t_pool t;
                struct rng r = {seeds[n]};
                struct pool_status ps;
                any_pool(&t, &r);
                fill(&t, &r, 1);
                pool_get_status(t.pool, &ps);
                uint64_t runs = ps.allocated_bytes / ZP_BLOCK / RUN;
                for (int i = 0; i < 3000; i++) {
                        uint64_t of =
                            seeds[n] % 2 && rng_below(&r, 10) ? DIV_ROUND_UP(runs, 5) : runs;
                        write_from(&t, rng_below(&r, of) * RUN, RUN, 1);
                        t.now_ns += 100 * 1000 * 1000;
                        pool_tick(t.pool);
                }
                pool_get_status(t.pool, &ps);
                wrote += ps.user_write_bytes;
                moved += status(&t).moved_bytes;
                t_fini(&t);
        }
        CU_ASSERT(moved < wrote / 100);
}

static const struct t_case cases[] = {
    T_CASE(test_unequal_devices_fill_alike_from_the_first_write_on),
    T_CASE(test_unequal_devices_fill_alike_after_they_were_added),
    T_CASE(test_users_write_meanwhile),
    T_CASE(test_mirrored_groups_take_in_a_third_device),
    T_CASE(test_mirrored_groups_find_partners_on_a_larger_device),
    T_CASE(test_cut_off_it_goes_on),
    T_CASE(test_off_it_stays_off),
    T_CASE(test_one_that_leaves_comes_first),
    T_CASE(test_whatever_the_devices_are_it_comes_to_an_end),
    T_CASE(test_users_writes_need_no_help),
};
T_MAIN("balance", cases)
