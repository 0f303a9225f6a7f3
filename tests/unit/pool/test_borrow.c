/* What a read costs below many snapshots, in look-ups and pages, and that what was borrowed from
 * one is never read once it is not so any more. */
#include "t_pool.h"

#include "pool/internal.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { LEAF_BLOCKS = ENTRIES, BLOCKS = 4 * LEAF_BLOCKS };

struct answer {
        bool done;
        int status;
        struct volume *vol;
};

static void finished(void *ctx, int status)
{
        *(struct answer *)ctx = (struct answer){true, status, NULL};
}

static void made(void *ctx, int status, struct volume *vol)
{
        *(struct answer *)ctx = (struct answer){true, status, vol};
}

static void replaced(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(struct answer *)ctx = (struct answer){true, status, NULL};
}

static int end_of(struct t_pool *t, struct answer *a)
{
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a->done);
        return a->status;
}

static struct volume *snap(struct t_pool *t, struct volume *v, unsigned i)
{
        struct answer a = {0};
        char name[16];
        struct snapshot_spec spec = {.name = name};

        snprintf(name, sizeof(name), "s%u", i);
        memset(spec.uuid.b, 7, 16);
        memcpy(spec.uuid.b, name, strlen(name));
        snapshot_create(v, &spec, &a, made);
        CU_ASSERT_EQUAL_FATAL(end_of(t, &a), 0);
        return a.vol;
}

static void put(struct t_pool *t, struct volume *v, uint64_t block, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, block, version);
        CU_ASSERT_EQUAL_FATAL(t_io(v, t, VOLUME_WRITE, block * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
}

/* version 0: zeroes. */
static void want(struct t_pool *t, struct volume *v, uint64_t block, uint64_t version)
{
        uint8_t buf[ZP_BLOCK] = {0}, read[ZP_BLOCK];

        if (version)
                t_fill(buf, 1, block, version);
        CU_ASSERT_EQUAL(t_io(v, t, VOLUME_READ, block * ZP_BLOCK, read, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, read, sizeof(buf)), 0);
}

struct cost {
        uint64_t trees, borrowed, pages;
};

/* What reading the block takes: trees that were looked into, borrowed entries, pages read. */
static struct cost cost_of(struct t_pool *t, struct volume *v, uint64_t block, uint64_t version)
{
        struct borrow before = t->pool->borrow;
        uint64_t misses = t->pool->pager.misses;

        want(t, v, block, version);
        return (struct cost){t->pool->borrow.trees - before.trees,
                             t->pool->borrow.found - before.found, t->pool->pager.misses - misses};
}

static bool is(struct cost c, uint64_t trees, uint64_t borrowed, uint64_t pages)
{
        return c.trees == trees && c.borrowed == borrowed && c.pages == pages;
}

/* A volume below n snapshots, each of which has a block of its own in the first and last leaf. The
 * odd ones of the blocks between are all in the oldest, as version 1, the even ones are holes. */
static struct volume *chain(struct t_pool *t, unsigned n)
{
        struct volume *v;

        CU_ASSERT_EQUAL_FATAL(t_create(t, "disk", BLOCKS * ZP_BLOCK, &v), 0);
        for (uint64_t b = 1; b < BLOCKS; b += 2)
                put(t, v, b, 1);
        for (unsigned i = 0; i < n; i++) {
                snap(t, v, i);
                put(t, v, 0, i + 2);
                put(t, v, BLOCKS - 2, i + 2);
        }
        return v;
}

static struct volume *reopen(struct t_pool *t)
{
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
        t_crash(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        return volume_by_name(t->pool, "disk");
}

static void test_the_second_read_of_a_block_costs_one_look_up(void)
{
        static const unsigned depths[] = {8, 64, 512};

        for (unsigned i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
                struct t_pool t;
                uint64_t n = depths[i];

                t_pool_new(&t, 1, 256, 128);
                struct volume *v = chain(&t, (unsigned)n);
                CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), n + 1, 0, 0));
                CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), 0, 1, 0));
                CU_ASSERT_TRUE(is(cost_of(&t, v, 4, 0), n + 1, 0, 0)); /* a hole as well */
                CU_ASSERT_TRUE(is(cost_of(&t, v, 4, 0), 0, 1, 0));
                t_fini(&t);
        }
}

static void test_what_is_near_is_not_borrowed(void)
{
        struct t_pool t;
        struct volume *v;

        t_pool_new(&t, 1, 32, 128);
        v = chain(&t, BORROW_DEPTH - 1);
        for (int i = 0; i < 2; i++)
                CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), BORROW_DEPTH, 0, 0));
        CU_ASSERT_EQUAL(t.pool->borrow.bytes, 0);
        snap(&t, v, 99);
        put(&t, v, 0, 1000);
        CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), BORROW_DEPTH + 1, 0, 0));
        CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), 0, 1, 0));
        t_fini(&t);
}

/* RAM for a part of the pages of the chain: what is borrowed needs none of them. */
static void test_what_is_borrowed_needs_no_page(void)
{
        enum { N = 64, CAP = 40 * 4160 };
        struct t_pool t;
        struct pool_status st;
        struct cost c;

        t_pool_new(&t, 1, 128, 128);
        chain(&t, N);
        t.options.table_cache_bytes = CAP;
        struct volume *v = reopen(&t);
        c = cost_of(&t, v, 3, 1); /* the root and a leaf of each tree */
        CU_ASSERT_TRUE(c.pages >= N);
        CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), 0, 1, 0));
        want(&t, v, BLOCKS - 1, 1); /* the pages of block 3 go */
        t_pass(&t, 2);
        CU_ASSERT_TRUE(is(cost_of(&t, v, 3, 1), 0, 1, 0));
        for (uint64_t b = 1; b < BLOCKS; b += 2)
                want(&t, v, b, 1);
        t_pass(&t, 2);
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE(t.pool->borrow.bytes > 0);
        CU_ASSERT_TRUE(t.pool->borrow.bytes <= CAP / 8);
        CU_ASSERT_EQUAL(st.table_cache_bytes, t.pool->pager.bytes + t.pool->borrow.bytes);
        CU_ASSERT_TRUE(st.table_cache_bytes <= CAP + 8 * 4160);
        pool_set_table_cache(t.pool, 0);
        CU_ASSERT_EQUAL(t.pool->borrow.bytes, 0);
        want(&t, v, 3, 1);
        t_check(&t);
        t_fini(&t);
}

static void test_the_table_grows_as_it_is_used(void)
{
        struct t_pool t;
        struct volume *v;
        uint64_t first;

        t_pool_new(&t, 1, 64, 128);
        v = chain(&t, 8);
        want(&t, v, 3, 1);
        first = t.pool->borrow.bytes;
        for (int i = 0; i < 4; i++)
                for (uint64_t b = 1; b < BLOCKS - 2; b++)
                        want(&t, v, b, b % 2);
        CU_ASSERT_EQUAL(t.pool->borrow.bytes, 4 * first);
        uint64_t found = t.pool->borrow.found;
        for (uint64_t b = 1; b < BLOCKS - 2; b++)
                want(&t, v, b, b % 2);
        /* all but what no set had a place for */
        CU_ASSERT_TRUE(t.pool->borrow.found - found > BLOCKS * 9 / 10);
        t_fini(&t);
}

static void test_what_the_volume_does_itself_comes_first(void)
{
        struct t_pool t;
        struct volume *v;
        struct answer a = {0};

        t_pool_new(&t, 1, 64, 128);
        v = chain(&t, 8);
        for (uint64_t b = 1; b < 30; b++)
                want(&t, v, b, b % 2), want(&t, v, b, b % 2);
        put(&t, v, 3, 50);
        put(&t, v, 4, 51);
        want(&t, v, 3, 50);
        want(&t, v, 4, 51);
        CU_ASSERT_EQUAL(t_io(v, &t, VOLUME_DISCARD, 5 * ZP_BLOCK, NULL, ZP_BLOCK, false), 0);
        want(&t, v, 5, 0);
        CU_ASSERT_EQUAL(t_io(v, &t, VOLUME_DISCARD, 3 * ZP_BLOCK, NULL, ZP_BLOCK, false), 0);
        want(&t, v, 3, 0);
        /* all that shows from there on, by the limit */
        want(&t, v, BLOCKS - 1, 1);
        CU_ASSERT_EQUAL(t_io(v, &t, VOLUME_DISCARD, 20 * ZP_BLOCK, NULL,
                             (BLOCKS - 20) * (uint64_t)ZP_BLOCK, false),
                        0);
        for (uint64_t b = 20; b < 30; b++)
                want(&t, v, b, 0);
        want(&t, v, BLOCKS - 1, 0);
        want(&t, v, 19, 1);
        /* the way back, to what the third one had */
        volume_revert(v, snapshot_by_name(v, "s3"), &a, finished);
        CU_ASSERT_EQUAL_FATAL(end_of(&t, &a), 0);
        for (uint64_t b = 1; b < 30; b++)
                want(&t, v, b, b % 2);
        want(&t, v, 0, 4);
        t_check(&t);
        t_fini(&t);
}

/* Snapshots go, one after the other, and what they hand down stays where it is. */
static void test_merging_changes_nothing_that_is_borrowed(void)
{
        enum { N = 12 };
        struct t_pool t;
        struct volume *v;

        t_pool_new(&t, 1, 64, 128);
        v = chain(&t, N);
        want(&t, v, 3, 1);
        for (unsigned i = 0; i < N; i++) {
                char name[16];
                struct answer a = {0};
                snprintf(name, sizeof(name), "s%u", i * 5 % N);
                snapshot_delete(snapshot_by_name(v, name), &a, finished);
                CU_ASSERT_EQUAL_FATAL(end_of(&t, &a), 0);
                t_pass(&t, 1);
                CU_ASSERT_TRUE(
                    is(cost_of(&t, v, 3, 1), 0, i + 1 < N, 0)); /* in the end it has it */
                want(&t, v, 0, N + 1);
                want(&t, v, 2, 0);
        }
        t_check(&t);
        t_fini(&t);
}

/* Cleaning moves what is borrowed, and the place is written anew. */
static void test_a_move_ends_what_is_borrowed(void)
{
        struct t_pool t;
        struct volume *v, *noise;
        struct pool_status st;
        uint64_t trees;

        t_pool_new(&t, 1, 32, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "noise", 100 * ZP_BLOCK, &noise), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", BLOCKS * ZP_BLOCK, &v), 0);
        for (uint64_t b = 0; b < 100; b++)
                put(&t, v, b, 1), put(&t, noise, b, 1);
        for (unsigned i = 0; i < 8; i++) {
                snap(&t, v, i);
                put(&t, v, 200, i);
        }
        for (uint64_t r = 2; r < 80; r++) {
                for (uint64_t b = 0; b < 100; b++)
                        put(&t, noise, b, r);
                want(&t, v, r % 100, 1);
                want(&t, v, r % 100, 1);
        }
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE(st.clean_write_bytes > 0);
        trees = t.pool->borrow.trees;
        for (uint64_t b = 0; b < 100; b++)
                want(&t, v, b, 1);
        CU_ASSERT_TRUE(t.pool->borrow.trees > trees); /* some were moved, and looked for */
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
        t_check(&t);
        t_fini(&t);
}

static void replace(struct t_pool *t, uint32_t slot, struct zdev *by)
{
        struct pool_device_status st;
        struct answer a = {0};

        pool_device_replace(t->pool, slot, by, &a, replaced);
        CU_ASSERT_EQUAL_FATAL(end_of(t, &a), 0);
        for (int i = 0; i < 2000; i++) {
                t_pass(t, 1);
                pool_get_device_status(t->pool, slot, &st);
                if (st.state == POOL_DEVICE_NONE)
                        return;
        }
        CU_FAIL("the device does not leave");
}

/* The groups of a device that has left are another one's later: these count on. */
static void test_groups_that_are_used_again_lend_nothing_of_their_first_life(void)
{
        struct mem_device_spec mem = {.nr_zones = 32, .zone_blocks = 64};
        struct t_pool t;
        struct volume *v;

        t_devices(&t, 3, &mem);
        t.ndevs = 1;
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", BLOCKS * ZP_BLOCK, &v), 0);
        for (uint64_t b = 0; b < 100; b++)
                put(&t, v, b, 1);
        for (unsigned i = 0; i < 8; i++) {
                snap(&t, v, i);
                put(&t, v, 200, i);
        }
        for (uint64_t b = 0; b < 100; b++)
                want(&t, v, b, 1);
        t.ndevs = 3;
        replace(&t, 0, t.devs[1]);
        replace(&t, 1, t.devs[2]); /* which takes slot 0 */
        uint64_t found = t.pool->borrow.found;
        for (uint64_t b = 0; b < 100; b++)
                want(&t, v, b, 1);
        CU_ASSERT_EQUAL(t.pool->borrow.found, found);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
        t_check(&t);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_the_second_read_of_a_block_costs_one_look_up),
    T_CASE(test_what_is_near_is_not_borrowed),
    T_CASE(test_what_is_borrowed_needs_no_page),
    T_CASE(test_the_table_grows_as_it_is_used),
    T_CASE(test_what_the_volume_does_itself_comes_first),
    T_CASE(test_merging_changes_nothing_that_is_borrowed),
    T_CASE(test_a_move_ends_what_is_borrowed),
    T_CASE(test_groups_that_are_used_again_lend_nothing_of_their_first_life),
};
T_MAIN("borrowed entries", cases)
