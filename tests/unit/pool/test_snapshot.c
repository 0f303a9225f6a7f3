/* What snapshots and clones promise: content for ever, O(1), space to the block, one entry a block.
 */
#include "t_pool.h"

#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { MB = 1024 * 1024 };

struct answer {
        bool done;
        int status;
        struct volume *vol;
        unsigned *count;
};

static void finished(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

static void made(void *ctx, int status, struct volume *vol)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        a->vol = vol;
        if (a->count)
                (*a->count)++;
}

static struct uuid uuid_of(const char *name)
{
        struct uuid u;

        memset(u.b, 9, 16);
        memcpy(u.b, name, strnlen(name, 15));
        return u;
}

static int snap(struct t_pool *t, struct volume *vol, const char *name, struct volume **ret)
{
        struct answer a = {0};
        struct snapshot_spec spec = {.name = name, .uuid = uuid_of(name), .time = 1234};

        snapshot_create(vol, &spec, &a, made);
        CU_ASSERT_FALSE(a.done);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        if (ret)
                *ret = a.vol;
        return a.status;
}

static int clone(struct t_pool *t, struct volume *from, const char *name, struct volume **ret)
{
        struct answer a = {0};
        struct volume_spec spec = {.name = name, .uuid = uuid_of(name)};

        spec.uuid.b[15] = 8; /* another than of a snapshot of that name */
        volume_clone(from, &spec, &a, made);
        CU_ASSERT_FALSE(a.done);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        if (ret)
                *ret = a.vol;
        return a.status;
}

static int end_of(struct t_pool *t, struct answer *a)
{
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a->done);
        return a->status;
}

static int snap_delete(struct t_pool *t, struct volume *s)
{
        struct answer a = {0};
        snapshot_delete(s, &a, finished);
        return end_of(t, &a);
}

static int vol_delete(struct t_pool *t, struct volume *v)
{
        struct answer a = {0};
        volume_delete(v, &a, finished);
        return end_of(t, &a);
}

static int revert(struct t_pool *t, struct volume *v, struct volume *s)
{
        struct answer a = {0};
        volume_revert(v, s, &a, finished);
        return end_of(t, &a);
}

/* version 0: a hole is expected or made. */
static void put(struct t_pool *t, struct volume *v, uint64_t block, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        if (!version) {
                CU_ASSERT_EQUAL(t_io(v, t, VOLUME_DISCARD, block * ZP_BLOCK, NULL, ZP_BLOCK, false),
                                0);
                return;
        }
        t_fill(buf, 1, block, version);
        CU_ASSERT_EQUAL(t_io(v, t, VOLUME_WRITE, block * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
}

static void want(struct t_pool *t, struct volume *v, uint64_t block, uint64_t version)
{
        uint8_t buf[ZP_BLOCK], is[ZP_BLOCK];

        memset(buf, 0, sizeof(buf));
        if (version)
                t_fill(buf, 1, block, version);
        CU_ASSERT_EQUAL(t_io(v, t, VOLUME_READ, block * ZP_BLOCK, is, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, is, sizeof(buf)), 0);
}

static uint64_t allocated(struct t_pool *t)
{
        struct pool_status st;
        pool_get_status(t->pool, &st);
        return st.allocated_bytes / ZP_BLOCK;
}

/* From then on with next to no table pages in RAM. */
static void reopen(struct t_pool *t)
{
        t_crash(t);
        t->options.table_cache_bytes = 1;
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_check(t);
}

static void test_a_snapshot_keeps_what_was(void)
{
        struct t_pool t;
        struct volume *v, *s, *c;
        uint8_t buf[ZP_BLOCK] = {0};

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 4 * MB, &v), 0);
        for (uint64_t b = 0; b < 10; b++)
                put(&t, v, b, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "monday", &s), 0);
        CU_ASSERT_EQUAL(snap(&t, v, "monday", NULL), -EEXIST);
        CU_ASSERT_PTR_EQUAL(snapshot_by_name(v, "monday"), s);
        CU_ASSERT_PTR_EQUAL(volume_by_name(t.pool, "monday"), NULL);
        put(&t, v, 3, 2);
        put(&t, v, 4, 0);
        put(&t, v, 20, 2);
        CU_ASSERT_EQUAL(t_io(s, &t, VOLUME_WRITE, 0, buf, ZP_BLOCK, false), -EROFS);
        CU_ASSERT_EQUAL(t_io(s, &t, VOLUME_DISCARD, 0, NULL, ZP_BLOCK, false), -EROFS);
        CU_ASSERT_EQUAL_FATAL(clone(&t, s, "copy", &c), 0);
        put(&t, c, 5, 3);
        for (int round = 0; round < 3; round++) {
                want(&t, s, 3, 1), want(&t, s, 4, 1), want(&t, s, 20, 0), want(&t, s, 5, 1);
                want(&t, v, 3, 2), want(&t, v, 4, 0), want(&t, v, 20, 2), want(&t, v, 5, 1);
                want(&t, c, 3, 1), want(&t, c, 4, 1), want(&t, c, 20, 0), want(&t, c, 5, 3);
                t_check(&t);
                CU_ASSERT_EQUAL(t_flush(v, &t), 0);
                if (round)
                        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                reopen(&t);
                v = volume_by_name(t.pool, "disk");
                c = volume_by_name(t.pool, "copy");
                CU_ASSERT_PTR_NOT_NULL_FATAL(v);
                CU_ASSERT_PTR_NOT_NULL_FATAL(c);
                s = snapshot_by_name(v, "monday");
                CU_ASSERT_PTR_NOT_NULL_FATAL(s);
        }
        struct snapshot_info info;
        snapshot_get_info(s, &info);
        CU_ASSERT_EQUAL(info.time, 1234);
        CU_ASSERT_EQUAL(info.own_bytes, 10 * ZP_BLOCK);
        CU_ASSERT_EQUAL(info.children, 2);
        CU_ASSERT_EQUAL(info.size_bytes, 4 * MB);
        CU_ASSERT_EQUAL(vol_delete(&t, v), -EBUSY);
        t_fini(&t);
}

static struct volume *origin_of(struct t_pool *t, const char *name)
{
        struct volume *v = volume_by_name(t->pool, name);

        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        return volume_origin(v);
}

/* A clone of a clone that was never written shares what the first one shares, and is a clone of
 * the second all the same. */
static void test_a_clone_knows_what_it_was_cloned_from(void)
{
        struct t_pool t;
        struct volume *v, *s, *a, *b, *c;

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "base", MB, &v), 0);
        put(&t, v, 0, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "monday", &s), 0);
        CU_ASSERT_EQUAL_FATAL(clone(&t, s, "a", &a), 0);
        CU_ASSERT_EQUAL_FATAL(clone(&t, a, "b", &b), 0);
        put(&t, v, 0, 2);
        CU_ASSERT_EQUAL_FATAL(clone(&t, v, "c", &c), 0);
        /* Names of clones, snapshots and volumes are apart, as they were. */
        CU_ASSERT_EQUAL(clone(&t, s, "c", NULL), -EEXIST);
        CU_ASSERT_EQUAL(snap(&t, v, "c1", NULL), 0);
        CU_ASSERT_EQUAL(clone(&t, a, "c1", NULL), 0);
        CU_ASSERT_EQUAL(revert(&t, v, c), -EINVAL);
        CU_ASSERT_EQUAL(t_flush(v, &t), 0);
        for (int round = 0; round < 2; round++) {
                v = volume_by_name(t.pool, "base");
                CU_ASSERT_PTR_NULL(origin_of(&t, "base"));
                CU_ASSERT_PTR_EQUAL(origin_of(&t, "a"), snapshot_by_name(v, "monday"));
                CU_ASSERT_PTR_EQUAL(origin_of(&t, "b"), volume_by_name(t.pool, "a"));
                CU_ASSERT_PTR_EQUAL(origin_of(&t, "c"), v);
                t_check(&t);
                reopen(&t);
        }
        v = volume_by_name(t.pool, "base");
        CU_ASSERT_EQUAL(snap_delete(&t, snapshot_by_name(v, "monday")), 0);
        CU_ASSERT_PTR_NULL(origin_of(&t, "a"));
        CU_ASSERT_EQUAL(vol_delete(&t, v), -EBUSY);
        CU_ASSERT_EQUAL(snap_delete(&t, snapshot_by_name(v, "c1")), 0);
        CU_ASSERT_EQUAL(vol_delete(&t, v), 0);
        CU_ASSERT_PTR_NULL(origin_of(&t, "c"));
        CU_ASSERT_EQUAL(vol_delete(&t, volume_by_name(t.pool, "a")), 0);
        CU_ASSERT_PTR_NULL(origin_of(&t, "b"));
        want(&t, volume_by_name(t.pool, "b"), 0, 1);
        want(&t, volume_by_name(t.pool, "c"), 0, 2);
        t_check(&t);
        t_fini(&t);
}

static void test_deleting_returns_exactly_what_nobody_sees(void)
{
        struct t_pool t;
        struct volume *v, *s1, *s2, *c;

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 4 * MB, &v), 0);
        for (uint64_t b = 0; b < 100; b++)
                put(&t, v, b, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", &s1), 0);
        for (uint64_t b = 0; b < 50; b++)
                put(&t, v, b, 2);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s2", &s2), 0);
        for (uint64_t b = 0; b < 25; b++)
                put(&t, v, b, 3);
        put(&t, v, 99, 0);
        CU_ASSERT_EQUAL(allocated(&t), 175);
        CU_ASSERT_EQUAL_FATAL(clone(&t, s2, "copy", &c), 0);
        CU_ASSERT_EQUAL(allocated(&t), 175);
        /* s1: of its 100 blocks 50 are seen by nobody else */
        CU_ASSERT_EQUAL(snap_delete(&t, s1), 0);
        CU_ASSERT_EQUAL(allocated(&t), 125);
        t_check(&t);
        want(&t, s2, 10, 2), want(&t, s2, 60, 1), want(&t, s2, 99, 1);
        /* s2 has two children: hidden, and nothing comes back */
        CU_ASSERT_EQUAL(snap_delete(&t, s2), 0);
        CU_ASSERT_EQUAL(allocated(&t), 125);
        CU_ASSERT_PTR_NULL(snapshot_next(v, NULL));
        CU_ASSERT_EQUAL(t_flush(v, &t), 0);
        reopen(&t);
        v = volume_by_name(t.pool, "disk");
        c = volume_by_name(t.pool, "copy");
        want(&t, c, 10, 2), want(&t, c, 60, 1), want(&t, c, 99, 1);
        want(&t, v, 10, 3), want(&t, v, 40, 2), want(&t, v, 60, 1), want(&t, v, 99, 0);
        /* without the clone the volume has what it sees: 99 blocks */
        CU_ASSERT_EQUAL(vol_delete(&t, c), 0);
        CU_ASSERT_EQUAL(allocated(&t), 99);
        t_check(&t);
        want(&t, v, 10, 3), want(&t, v, 40, 2), want(&t, v, 60, 1), want(&t, v, 99, 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        reopen(&t);
        v = volume_by_name(t.pool, "disk");
        want(&t, v, 10, 3), want(&t, v, 40, 2), want(&t, v, 60, 1), want(&t, v, 99, 0);
        CU_ASSERT_EQUAL(vol_delete(&t, v), 0);
        CU_ASSERT_EQUAL(allocated(&t), 0);
        t_check(&t);
        t_fini(&t);
}

static void test_going_back_and_sizes(void)
{
        struct t_pool t;
        struct volume *v, *s1, *s2;
        struct answer a = {0};

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &v), 0);
        put(&t, v, 0, 1), put(&t, v, 255, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", &s1), 0);
        volume_resize(v, 2 * MB, &a, finished);
        CU_ASSERT_EQUAL(end_of(&t, &a), 0);
        put(&t, v, 0, 2), put(&t, v, 500, 2), want(&t, v, 255, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s2", &s2), 0);
        put(&t, v, 1, 3);
        CU_ASSERT_EQUAL(revert(&t, v, s1), 0);
        CU_ASSERT_EQUAL(volume_size_bytes(v), 1 * MB);
        want(&t, v, 0, 1), want(&t, v, 1, 0), want(&t, v, 255, 1);
        a.done = false;
        volume_resize(v, 2 * MB, &a, finished);
        CU_ASSERT_EQUAL(end_of(&t, &a), 0);
        want(&t, v, 500, 0);
        CU_ASSERT_EQUAL(allocated(&t), 4);
        CU_ASSERT_EQUAL(revert(&t, v, s2), 0);
        CU_ASSERT_EQUAL(volume_size_bytes(v), 2 * MB);
        want(&t, v, 0, 2), want(&t, v, 500, 2), want(&t, v, 255, 1), want(&t, v, 1, 0);
        CU_ASSERT_EQUAL(t_flush(v, &t), 0);
        reopen(&t);
        v = volume_by_name(t.pool, "disk");
        want(&t, v, 0, 2), want(&t, v, 500, 2), want(&t, v, 255, 1), want(&t, v, 1, 0);
        CU_ASSERT_EQUAL(revert(&t, v, snapshot_by_name(v, "s1")), 0);
        want(&t, v, 0, 1);
        CU_ASSERT_EQUAL(snap_delete(&t, snapshot_by_name(v, "s2")), 0);
        CU_ASSERT_EQUAL(allocated(&t), 2);
        t_check(&t);
        t_fini(&t);
}

/* What a first write after a snapshot costs: its block and one header, as any other. */
static void test_the_first_write_after_a_snapshot_is_one_block_and_its_record(void)
{
        struct t_pool t;
        struct volume *v;
        struct pool_status before, after;

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)1024 * MB, &v), 0);
        for (uint64_t b = 0; b < 600; b += 7)
                put(&t, v, b, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", NULL), 0);
        pool_get_status(t.pool, &before);
        put(&t, v, 7, 2);
        pool_get_status(t.pool, &after);
        CU_ASSERT_EQUAL(after.device_write_bytes - before.device_write_bytes, 2 * ZP_BLOCK);
        CU_ASSERT_EQUAL(after.user_write_bytes - before.user_write_bytes, ZP_BLOCK);
        CU_ASSERT_EQUAL(after.allocated_bytes - before.allocated_bytes, ZP_BLOCK);
        CU_ASSERT_EQUAL(after.sequence - before.sequence, 1);
        t_fini(&t);
}

static void test_a_snapshot_costs_the_same_whatever_the_size(void)
{
        struct t_pool t;
        uint64_t cost[2];

        for (int big = 0; big < 2; big++) {
                struct volume *v;
                struct pool_status before, after;
                t_pool_new(&t, 1, 64, 128);
                CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)1024 * MB, &v), 0);
                for (uint64_t b = 0; b < (big ? 2000 : 2); b++)
                        put(&t, v, b * 50, 1);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                pool_get_status(t.pool, &before);
                CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", NULL), 0);
                pool_get_status(t.pool, &after);
                cost[big] = after.device_write_bytes - before.device_write_bytes;
                t_fini(&t);
        }
        CU_ASSERT_EQUAL(cost[0], cost[1]);
        CU_ASSERT_EQUAL(cost[1], ZP_BLOCK);
}

static void test_a_thousand_clones_in_a_second(void)
{
        enum { N = 1000 };
        struct t_pool t;
        struct volume *v, *first;
        static struct answer a[N];
        unsigned count = 0;
        struct timespec from, to;
        struct pool_status st;

        memset(a, 0, sizeof(a));
        t_pool_new(&t, 1, 128, 256);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "image", 64 * MB, &v), 0);
        for (uint64_t b = 0; b < 1000; b++)
                put(&t, v, b, 1);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < N; i++) {
                char name[32];
                snprintf(name, sizeof(name), "clone-%d", i);
                struct volume_spec spec = {.name = name, .uuid = uuid_of(name)};
                a[i].count = &count;
                volume_clone(v, &spec, &a[i], made);
        }
        t_drive(&t);
        clock_gettime(CLOCK_MONOTONIC, &to);
        CU_ASSERT_EQUAL(count, N);
        for (int i = 0; i < N; i++)
                CU_ASSERT_EQUAL(a[i].status, 0);
        double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        printf("(%d clones in %.3f s) ", N, s);
        CU_ASSERT_TRUE(s < 1.0);
        pool_get_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.allocated_bytes, 1000 * ZP_BLOCK);
        CU_ASSERT_EQUAL(st.nvolumes, N + 1);
        reopen(&t);
        pool_get_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.nvolumes, N + 1);
        first = volume_by_name(t.pool, "clone-0");
        CU_ASSERT_PTR_NOT_NULL_FATAL(first);
        want(&t, first, 999, 1);
        put(&t, first, 999, 2);
        want(&t, volume_by_name(t.pool, "clone-999"), 999, 1);
        want(&t, volume_by_name(t.pool, "image"), 999, 1);
        t_check(&t);
        t_fini(&t);
}

/* Cleaning moves a shared block once, and finds blocks whose tree is gone. */
static void test_cleaning_moves_shared_blocks_once(void)
{
        struct t_pool t;
        struct volume *v, *s, *noise, *c[8];

        t_pool_new(&t, 1, 32, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 4 * MB, &v), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "noise", 4 * MB, &noise), 0);
        for (uint64_t b = 0; b < 100; b++)
                put(&t, v, b, 1), put(&t, noise, b, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", &s), 0);
        for (int i = 0; i < 8; i++) {
                char name[16];
                snprintf(name, sizeof(name), "c%d", i);
                CU_ASSERT_EQUAL_FATAL(clone(&t, s, name, &c[i]), 0);
        }
        for (uint64_t r = 2; r < 60; r++)
                for (uint64_t b = 0; b < 100; b++)
                        put(&t, noise, b, r);
        CU_ASSERT_EQUAL(allocated(&t), 200);
        struct pool_status st;
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE(st.clean_write_bytes > 0);
        for (uint64_t b = 0; b < 100; b++)
                for (int i = 0; i < 8; i++)
                        want(&t, c[i], b, 1);
        for (int i = 1; i < 8; i++)
                CU_ASSERT_EQUAL(vol_delete(&t, c[i]), 0);
        CU_ASSERT_EQUAL(vol_delete(&t, v), -EBUSY);
        CU_ASSERT_EQUAL(snap_delete(&t, s), 0);
        CU_ASSERT_EQUAL(vol_delete(&t, v), 0);
        CU_ASSERT_EQUAL(allocated(&t), 200);
        t_check(&t);
        /* the blocks are the clone's now, though their headers name a tree that is gone */
        for (int round = 0; round < 2; round++) {
                noise = volume_by_name(t.pool, "noise");
                for (uint64_t r = 2; r < 60; r++)
                        for (uint64_t b = 0; b < 100; b++)
                                put(&t, noise, b, r);
                for (uint64_t b = 0; b < 100; b++)
                        want(&t, volume_by_name(t.pool, "c0"), b, 1);
                t_check(&t);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                reopen(&t);
        }
        CU_ASSERT_EQUAL(allocated(&t), 200);
        t_fini(&t);
}

static void test_a_long_chain_reads_right_and_merges(void)
{
        enum { N = 60 };
        struct t_pool t;
        struct volume *v, *s[N];

        t_pool_new(&t, 1, 64, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 4 * MB, &v), 0);
        for (uint64_t i = 0; i < N; i++) {
                char name[16];
                put(&t, v, i, i + 1);
                put(&t, v, 500, i + 1);
                snprintf(name, sizeof(name), "s%d", (int)i);
                CU_ASSERT_EQUAL_FATAL(snap(&t, v, name, &s[i]), 0);
        }
        for (uint64_t i = 0; i < N; i++) {
                want(&t, s[i], 500, i + 1);
                want(&t, s[i], i / 2, i / 2 + 1);
                want(&t, s[i], i + 1, 0);
                want(&t, v, i, i + 1);
        }
        for (uint64_t i = 0; i < N; i += 2)
                CU_ASSERT_EQUAL(snap_delete(&t, s[i]), 0);
        for (uint64_t i = 1; i < N; i += 2) {
                want(&t, s[i], 500, i + 1);
                want(&t, s[i], i - 1, i);
        }
        CU_ASSERT_EQUAL(allocated(&t), N + N / 2);
        for (uint64_t i = N - 1; i < N; i -= 2)
                CU_ASSERT_EQUAL(snap_delete(&t, s[i]), 0);
        CU_ASSERT_EQUAL(allocated(&t), N + 1);
        for (uint64_t i = 0; i < N; i++)
                want(&t, v, i, i + 1);
        t_check(&t);
        t_fini(&t);
}

struct listed {
        bool done;
        uint32_t n;
        uint64_t next;
};

static void listed(void *ctx, int status, uint32_t n, uint64_t next)
{
        struct listed *l = ctx;
        CU_ASSERT_EQUAL(status, 0);
        *l = (struct listed){true, n, next};
}

/* Marks blocks that the diff lists: 1 changed, 2 zeroes. */
static void diff(struct t_pool *t, struct volume *from, struct volume *to, uint8_t *marks,
                 uint64_t nmarks)
{
        struct volume_change x[3];
        struct listed l = {.next = 0};

        memset(marks, 0, nmarks);
        while (l.next != UINT64_MAX) {
                l.done = false;
                volume_diff(from, to, l.next, x, 3, &l, listed);
                CU_ASSERT_FALSE(l.done);
                t_drive(t);
                CU_ASSERT_TRUE_FATAL(l.done);
                for (uint32_t i = 0; i < l.n; i++)
                        for (uint64_t b = x[i].block; b < x[i].block + x[i].nblocks; b++)
                                if (b < nmarks)
                                        marks[b] = x[i].zeroes ? 2 : 1;
        }
}

static void test_a_diff_lists_what_changed(void)
{
        enum { N = 1024 };
        struct t_pool t;
        struct volume *v, *s1, *s2;
        uint8_t marks[N], want_marks[N] = {0};

        t_pool_new(&t, 1, 32, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 4 * MB, &v), 0);
        for (uint64_t b = 0; b < 400; b++)
                put(&t, v, b, 1);
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s1", NULL), 0);
        for (uint64_t b = 10; b < 800; b += 50)
                put(&t, v, b, 2), want_marks[b] = 1;
        put(&t, v, 5, 0), want_marks[5] = 2;
        put(&t, v, 900, 0); /* nothing there before and after */
        CU_ASSERT_EQUAL_FATAL(snap(&t, v, "s2", NULL), 0);
        put(&t, v, 11, 3);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        reopen(&t);
        v = volume_by_name(t.pool, "disk");
        s1 = snapshot_by_name(v, "s1");
        s2 = snapshot_by_name(v, "s2");
        diff(&t, s1, s2, marks, N);
        CU_ASSERT_EQUAL(memcmp(marks, want_marks, N), 0);
        diff(&t, s2, v, marks, N);
        CU_ASSERT_EQUAL(marks[11], 1);
        marks[11] = 0;
        for (uint64_t b = 0; b < N; b++)
                CU_ASSERT_EQUAL(marks[b], 0);
        diff(&t, s1, v, marks, N);
        want_marks[11] = 1;
        CU_ASSERT_EQUAL(memcmp(marks, want_marks, N), 0);
        diff(&t, v, s1, marks, N); /* and back: what is gone there is zeroes here */
        CU_ASSERT_TRUE(marks[5] == 1 && marks[410] == 2 && marks[10] == 1 && !marks[12]);
        diff(&t, NULL, s2, marks, N);
        CU_ASSERT_TRUE(marks[0] == 1 && !marks[5] && marks[410] == 1 && !marks[411]);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_a_diff_lists_what_changed),
    T_CASE(test_a_snapshot_keeps_what_was),
    T_CASE(test_a_clone_knows_what_it_was_cloned_from),
    T_CASE(test_deleting_returns_exactly_what_nobody_sees),
    T_CASE(test_going_back_and_sizes),
    T_CASE(test_the_first_write_after_a_snapshot_is_one_block_and_its_record),
    T_CASE(test_a_snapshot_costs_the_same_whatever_the_size),
    T_CASE(test_a_thousand_clones_in_a_second),
    T_CASE(test_cleaning_moves_shared_blocks_once),
    T_CASE(test_a_long_chain_reads_right_and_merges),
};
T_MAIN("pool snapshots", cases)
