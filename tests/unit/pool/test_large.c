/* The largest there may be, and one more: volumes of 64 TiB, pools of 256 devices, tables much
 * larger than what RAM they may take. */
#include "t_pool.h"

#include "base/rng.h"
#include "pool/internal.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { LEAF = ENTRIES * ZP_BLOCK };

static const uint64_t TB = UINT64_C(1) << 40, END = UINT64_C(64) << 40;

struct answer {
        bool done;
        int status;
        struct volume *vol;
        struct err err;
};

static void finished(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

static void made(void *ctx, int status, struct volume *vol)
{
        finished(ctx, status);
        ((struct answer *)ctx)->vol = vol;
}

static void added(void *ctx, int status, const struct err *err, uint32_t index)
{
        finished(ctx, status);
        if (err)
                ((struct answer *)ctx)->err = *err;
}

static int end_of(struct t_pool *t, struct answer *a)
{
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a->done);
        return a->status;
}

static struct pool_status status_of(struct t_pool *t)
{
        struct pool_status st;
        pool_get_status(t->pool, &st);
        return st;
}

static int resize(struct t_pool *t, struct volume *vol, uint64_t size)
{
        struct volume_size to = {.size_bytes = size, .reserved_bytes = VOLUME_KEEP, .shrink = true};
        struct answer a = {0};

        volume_set_size(vol, &to, &a, finished);
        return end_of(t, &a);
}

static void put(struct t_pool *t, struct volume *v, uint64_t at, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 3, at / ZP_BLOCK, version);
        CU_ASSERT_EQUAL_FATAL(t_io(v, t, VOLUME_WRITE, at, buf, ZP_BLOCK, false), 0);
}

/* version 0: zeroes. */
static void want(struct t_pool *t, struct volume *v, uint64_t at, uint64_t version)
{
        uint8_t buf[ZP_BLOCK] = {0}, read[ZP_BLOCK];

        if (version)
                t_fill(buf, 3, at / ZP_BLOCK, version);
        CU_ASSERT_EQUAL(t_io(v, t, VOLUME_READ, at, read, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, read, sizeof(buf)), 0);
}

static void reimport(struct t_pool *t)
{
        t_crash(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_check(t);
}

static void test_64_tib_grow_shrink_freeze_and_go(void)
{
        struct snapshot_spec spec = {.name = "s", .uuid = {{8, 8}}};
        struct answer a = {0}, b = {0}, c = {0};
        struct t_pool t;
        struct volume *v;

        t_pool_new(&t, 1, 32, 512);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "huge", TB, &v), 0);
        put(&t, v, 0, 1);
        put(&t, v, TB - ZP_BLOCK, 1);
        CU_ASSERT_EQUAL(t_io(v, &t, VOLUME_DISCARD, END - ZP_BLOCK, NULL, ZP_BLOCK, false),
                        -EINVAL);
        CU_ASSERT_EQUAL(resize(&t, v, END + 512), -EINVAL);
        CU_ASSERT_EQUAL(resize(&t, v, UINT64_MAX - 511), -EINVAL);
        CU_ASSERT_EQUAL_FATAL(resize(&t, v, END), 0);
        CU_ASSERT_EQUAL(resize(&t, v, END + 512), -EINVAL);
        put(&t, v, END - ZP_BLOCK, 1);
        reimport(&t);
        v = volume_by_name(t.pool, "huge");
        CU_ASSERT_EQUAL(volume_size_bytes(v), END);
        want(&t, v, TB - ZP_BLOCK, 1);
        want(&t, v, END - ZP_BLOCK, 1);
        want(&t, v, END - 2 * ZP_BLOCK, 0);

        snapshot_create(v, &spec, &a, made);
        CU_ASSERT_EQUAL_FATAL(end_of(&t, &a), 0);
        put(&t, v, END - ZP_BLOCK, 2);
        want(&t, a.vol, END - ZP_BLOCK, 1);
        CU_ASSERT_EQUAL_FATAL(resize(&t, v, TB), 0);
        CU_ASSERT_EQUAL_FATAL(resize(&t, v, END), 0);
        want(&t, v, END - ZP_BLOCK, 0); /* cut off for ever, */
        want(&t, v, TB - ZP_BLOCK, 1);
        want(&t, a.vol, END - ZP_BLOCK, 1); /* but not from the snapshot */
        volume_revert(v, a.vol, &b, finished);
        CU_ASSERT_EQUAL_FATAL(end_of(&t, &b), 0);
        want(&t, v, END - ZP_BLOCK, 1);
        put(&t, v, END - ZP_BLOCK, 3);
        reimport(&t);
        v = volume_by_name(t.pool, "huge");
        want(&t, v, END - ZP_BLOCK, 3);
        want(&t, snapshot_by_name(v, "s"), END - ZP_BLOCK, 1);

        snapshot_delete(snapshot_by_name(v, "s"), &c, finished);
        CU_ASSERT_EQUAL_FATAL(end_of(&t, &c), 0);
        c = (struct answer){0};
        want(&t, v, END - ZP_BLOCK, 3);
        volume_delete(v, &c, finished);
        CU_ASSERT_EQUAL_FATAL(end_of(&t, &c), 0);
        t_pass(&t, 2);
        CU_ASSERT_EQUAL(status_of(&t).allocated_bytes, 0);
        t_check(&t);
        t_fini(&t);
}

static void nobody_hears(struct volume_io *io, int status)
{
}

/* Writes that are under way when the pool ends: of the second blocks of leaves. */
static void leave_under_way(struct t_pool *t, struct volume *v)
{
        enum { N = 8 };
        static struct volume_io io[N];
        static uint8_t buf[ZP_BLOCK];
        static struct iovec iov = {buf, ZP_BLOCK};

        for (uint64_t i = 0; i < N; i++) {
                io[i] = (struct volume_io){.op = VOLUME_WRITE,
                                           .offset_bytes = i * LEAF + ZP_BLOCK,
                                           .length_bytes = ZP_BLOCK,
                                           .iov = &iov,
                                           .niov = 1,
                                           .done = nobody_hears};
                volume_submit(v, &io[i]);
        }
}

/* Killed with a checkpoint behind it or not: what was flushed is there. */
static void test_256_devices_survive_a_cut_and_take_no_more(void)
{
        enum { N = POOL_MAX_DEVICES, LEAVES = 300 };
        struct mem_device_spec spec = {
            .nr_zones = 16, .zone_blocks = 256, .max_open = 5, .max_active = 5};
        struct t_pool t;
        struct answer a = {0};
        struct volume *v;

        t_devices(&t, N + 1, &spec);
        CU_ASSERT_EQUAL(t_format(&t, "wide"), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(t.err.msg, "1 to 256 devices"));
        t.ndevs = N;
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "wide"), 0);
        t.ndevs = N + 1;
        CU_ASSERT_EQUAL(t_import(&t), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(t.err.msg, "1 to 256 devices"));
        t.ndevs = N;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(status_of(&t).ndevices, N);
        t.ndevs = N + 1; /* all of them are driven */
        pool_device_add(t.pool, t.devs[N], &a, added);
        CU_ASSERT_EQUAL(end_of(&t, &a), -ENOSPC);
        t.ndevs = N;
        CU_ASSERT_STRING_EQUAL(a.err.msg, "pool wide has 256 devices; remove one first");

        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)LEAVES * LEAF, &v), 0);
        for (uint64_t version = 1; version <= 3; version++) {
                for (uint64_t i = 0; i < LEAVES; i++)
                        put(&t, v, i * LEAF, version);
                CU_ASSERT_EQUAL(version == 2 ? t_checkpoint(&t) : t_flush(v, &t), 0);
                leave_under_way(&t, v);
                reimport(&t);
                v = volume_by_name(t.pool, "disk");
                for (uint64_t i = 0; i < LEAVES; i++)
                        want(&t, v, i * LEAF, version);
        }
        t_crash(&t);
        t.ndevs = N + 1;
        t_fini(&t);
}

/* As many zones as one label can name: one more is refused by name, and nothing was written. */
static void test_a_label_fits_its_zones_or_is_refused(void)
{
        enum { N = 32, SMALL = 64 };
        struct t_pool t;
        struct mem_device_spec spec = {.zone_blocks = SMALL};
        uint32_t most = 0;

        while (root_blocks(N, N * (most + 1)) <= SMALL)
                most++;
        for (uint32_t more = 0; more < 2; more++) {
                spec.nr_zones = most + more + 2; /* two hold labels */
                t_devices(&t, N, &spec);
                CU_ASSERT_EQUAL(t_format(&t, "labels"), more ? -EINVAL : 0);
                if (more) {
                        CU_ASSERT_PTR_NOT_NULL(strstr(
                            t.err.msg, "zones of 64 blocks are too small for a label of 65"));
                } else {
                        CU_ASSERT_EQUAL(t_import(&t), 0);
                }
                t_fini(&t);
        }
}

/* RAM that a TiB mapped at random takes: all its pages, the groups of zones of 256 MiB, and the
 * most that is borrowed. */
static void test_ram_of_a_tib(void)
{
        uint64_t bytes = 0, n = TB / ZP_BLOCK;

        for (uint8_t level = 0; n > 1; level++) {
                n = DIV_ROUND_UP(n, ENTRIES);
                bytes += n * page_bytes(level);
        }
        bytes += (TB >> 28) * sizeof(struct group) + (UINT64_C(32) << 20);
        CU_ASSERT_TRUE(bytes <= 13 * (TB / 1024) / 4); /* 3.25 GiB */
        CU_ASSERT_TRUE(bytes > 3 * (TB / 1024));
}

/* A table three times as large as its cap, written and read at random. */
static void test_a_cap_of_16_mib(void)
{
        enum { CAP = 16 << 20, LEAVES = 12000, ROUNDS = 20000 };
        static uint32_t version[LEAVES];
        struct t_pool t;
        struct volume *v;
        struct rng rng = {16};
        uint64_t most = 0;

        memset(version, 0, sizeof(version));
        t_pool_new(&t, 1, 256, 512);
        pool_set_table_cache(t.pool, CAP);
        t.options.table_cache_bytes = CAP;
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)LEAVES * LEAF, &v), 0);
        for (uint64_t i = 0; i < LEAVES; i++)
                put(&t, v, i * LEAF, ++version[i]);
        CU_ASSERT_TRUE(status_of(&t).table_bytes > 2.9 * CAP);
        for (int k = 0; k < ROUNDS; k++) {
                uint64_t i = rng_below(&rng, LEAVES);
                if (rng_chance(&rng, 1, 2))
                        put(&t, v, i * LEAF, ++version[i]);
                else
                        want(&t, v, i * LEAF, version[i]);
                most = MAX(most, status_of(&t).table_cache_bytes);
                if (k == ROUNDS / 2) {
                        reimport(&t);
                        v = volume_by_name(t.pool, "disk");
                }
        }
        CU_ASSERT_TRUE(most > CAP / 2);
        CU_ASSERT_TRUE(most <= CAP + CAP / 16);
        struct pool_status st = status_of(&t);
        CU_ASSERT_EQUAL(st.table_cache_cap_bytes, CAP);
        CU_ASSERT_TRUE(st.table_misses > ROUNDS / 4);
        CU_ASSERT_TRUE(st.table_hits > ROUNDS / 16);
        for (uint64_t i = 0; i < LEAVES; i++)
                want(&t, v, i * LEAF, version[i]);
        t_check(&t);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_64_tib_grow_shrink_freeze_and_go),
    T_CASE(test_256_devices_survive_a_cut_and_take_no_more),
    T_CASE(test_a_label_fits_its_zones_or_is_refused),
    T_CASE(test_ram_of_a_tib),
    T_CASE(test_a_cap_of_16_mib),
};
T_MAIN("largest", cases)
