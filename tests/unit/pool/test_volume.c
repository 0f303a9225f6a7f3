/* What volumes promise: sub-block writes, discard, zeroes, growth, ownership, refusals, being full.
 */
#include "t_pool.h"

#include "pool/device/mem.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { MB = 1024 * 1024 };

struct answer {
        bool done;
        int status;
};

static void finished(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

static int answer_of(struct t_pool *t, struct answer *a)
{
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a->done);
        return a->status;
}

static void reimport(struct t_pool *t, const char *name, struct volume **vol)
{
        t_crash(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_check(t);
        *vol = volume_by_name(t->pool, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(*vol);
}

static void test_sub_block_writes_keep_what_is_around(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t want[4 * ZP_BLOCK], buf[4 * ZP_BLOCK];

        t_pool_new(&t, 1, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB + 512, &vol), 0);
        memset(want, 0, sizeof(want));
        static const struct {
                uint64_t off, len;
        } writes[] = {{512, 512}, {0, 4096}, {3584, 1024}, {1024, 8192}, {4096 * 3 + 512, 3584},
                      {512, 512}};
        for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
                memset(buf, (int)i + 1, writes[i].len);
                memset(want + writes[i].off, (int)i + 1, writes[i].len);
                CU_ASSERT_EQUAL(
                    t_io(vol, &t, VOLUME_WRITE, writes[i].off, buf, writes[i].len, i & 1), 0);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, buf, sizeof(buf), false), 0);
                CU_ASSERT_EQUAL(memcmp(want, buf, sizeof(buf)), 0);
        }
        memset(want + 5 * 512, 0, 9 * 512);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE_ZEROES, 5 * 512, NULL, 9 * 512, true), 0);
        reimport(&t, "disk", &vol);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, buf, sizeof(buf), false), 0);
        CU_ASSERT_EQUAL(memcmp(want, buf, sizeof(buf)), 0);
        /* the last sector, in a block that reaches past the end */
        memset(buf, 0xee, 512);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 1 * MB, buf, 512, true), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 1 * MB + 512, buf, 512, true), -EINVAL);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 100, buf, 512, true), -EINVAL);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, UINT64_MAX - 511, buf, 512, true), -EINVAL);
        t_fini(&t);
}

static void test_discard_frees_whole_blocks_only(void)
{
        struct t_pool t;
        struct volume *vol;
        struct volume_info info;
        static uint8_t buf[64 * ZP_BLOCK], back[64 * ZP_BLOCK];

        t_pool_new(&t, 1, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        memset(buf, 0x5a, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, sizeof(buf), false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 512, NULL, 10 * ZP_BLOCK, false), 0);
        memset(buf + ZP_BLOCK, 0, 9 * ZP_BLOCK);
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, 55 * ZP_BLOCK);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 20 * ZP_BLOCK + 512, NULL, ZP_BLOCK, false),
                        0);
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, 55 * ZP_BLOCK);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        reimport(&t, "disk", &vol);
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, 55 * ZP_BLOCK);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, back, sizeof(back), false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, back, sizeof(buf)), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 0, NULL, 1 * MB, true), 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        struct pool_status st;
        pool_get_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.allocated_bytes, 0);
        t_check(&t);
        t_fini(&t);
}

struct mapped {
        uint32_t n;
        uint64_t next;
};

static void map_done(void *ctx, int status, uint32_t n, uint64_t next)
{
        struct mapped *m = ctx;
        CU_ASSERT_EQUAL(status, 0);
        m->n = n;
        m->next = next;
}

static void test_map_lists_merged_runs(void)
{
        struct t_pool t;
        struct volume *vol;
        struct mapped m = {0};
        struct volume_extent x[2];
        static uint8_t buf[8 * ZP_BLOCK];

        t_pool_new(&t, 1, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)1024 * MB, &vol), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 3 * ZP_BLOCK, buf, 4 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 7 * ZP_BLOCK, buf, 2 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 339 * ZP_BLOCK, buf, 2 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(
            t_io(vol, &t, VOLUME_WRITE, 200000 * (uint64_t)ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        volume_map(vol, 0, x, 2, &m, map_done);
        t_drive(&t);
        CU_ASSERT_EQUAL(m.n, 2);
        CU_ASSERT_TRUE(x[0].block == 3 && x[0].nblocks == 6);
        CU_ASSERT_TRUE(x[1].block == 339 && x[1].nblocks == 2);
        volume_map(vol, m.next, x, 2, &m, map_done);
        t_drive(&t);
        CU_ASSERT_EQUAL(m.n, 1);
        CU_ASSERT_TRUE(x[0].block == 200000 && x[0].nblocks == 1);
        CU_ASSERT_EQUAL(m.next, UINT64_MAX);
        t_fini(&t);
}

static void test_names_and_sizes_are_checked(void)
{
        struct t_pool t;
        struct volume *vol;
        char longest[VOLUME_NAME_MAX + 2];

        memset(longest, 'x', sizeof(longest));
        longest[VOLUME_NAME_MAX + 1] = 0;
        t_pool_new(&t, 1, 16, 128);
        CU_ASSERT_EQUAL(t_create(&t, "disk", 4096, &vol), 0);
        CU_ASSERT_EQUAL(t_create(&t, "disk", 4096, &vol), -EEXIST);
        CU_ASSERT_EQUAL(t_create(&t, "", 4096, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, "..", 4096, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, "a/b", 4096, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, longest, 4096, &vol), -EINVAL);
        longest[VOLUME_NAME_MAX] = 0;
        CU_ASSERT_EQUAL(t_create(&t, longest, 4096, &vol), 0);
        CU_ASSERT_EQUAL(t_create(&t, "zero", 0, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, "odd", 513, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, "large", VOLUME_MAX_BYTES + 512, &vol), -EINVAL);
        CU_ASSERT_EQUAL(t_create(&t, "largest", VOLUME_MAX_BYTES, &vol), 0);
        uint8_t buf[ZP_BLOCK], back[ZP_BLOCK];
        memset(buf, 7, sizeof(buf));
        CU_ASSERT_EQUAL(
            t_io(vol, &t, VOLUME_WRITE, VOLUME_MAX_BYTES - ZP_BLOCK, buf, ZP_BLOCK, true), 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        reimport(&t, "largest", &vol);
        CU_ASSERT_EQUAL(
            t_io(vol, &t, VOLUME_READ, VOLUME_MAX_BYTES - ZP_BLOCK, back, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
        t_fini(&t);
}

static void test_control_operations_are_durable(void)
{
        struct t_pool t;
        struct volume *vol, *other;
        struct answer a = {0};
        struct volume_info info;
        static uint8_t buf[16 * ZP_BLOCK];

        t_pool_new(&t, 2, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "other", 1 * MB, &other), 0);
        volume_resize(vol, 512, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), -EINVAL);
        a.done = false;
        volume_resize(vol, (uint64_t)2000 * MB, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, (uint64_t)1999 * MB, buf, sizeof(buf), true),
                        0);
        reimport(&t, "disk", &vol);
        CU_ASSERT_EQUAL(volume_size_bytes(vol), (uint64_t)2000 * MB);
        a.done = false;
        volume_clear(vol, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        other = volume_by_name(t.pool, "other");
        a.done = false;
        volume_delete(other, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        CU_ASSERT_PTR_NULL(volume_by_name(t.pool, "other"));
        reimport(&t, "disk", &vol);
        CU_ASSERT_PTR_NULL(volume_by_name(t.pool, "other"));
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, 0);
        CU_ASSERT_EQUAL(info.size_bytes, (uint64_t)2000 * MB);
        CU_ASSERT_EQUAL(t_create(&t, "other", 1 * MB, &other), 0);
        t_fini(&t);
}

/* A power cut could lose the deletion and keep the creation: two volumes of one name. */
static void test_a_name_is_free_again_only_when_the_deletion_is_durable(void)
{
        struct t_pool t;
        struct volume *vol;
        struct answer a = {0};

        t_pool_new(&t, 1, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        volume_delete(vol, &a, finished);
        while (volume_by_name(t.pool, "disk"))
                CU_ASSERT_TRUE_FATAL(mem_device_step(t_mem(&t, 0)));
        CU_ASSERT_FALSE(a.done);
        CU_ASSERT_EQUAL(t_create(&t, "disk", 1 * MB, &vol), -EEXIST);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        CU_ASSERT_EQUAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        t_fini(&t);
}

static void test_owners_of_many_change_in_one_step(void)
{
        enum { N = 64 };
        struct t_pool t;
        struct volume *vol[N];
        struct volume_owner_update up[N];
        struct answer a = {0};
        static char record[N][VOLUME_OWNER_MAX];
        char name[16];
        size_t len;

        t_pool_new(&t, 1, 24, 256);
        for (int i = 0; i < N; i++) {
                snprintf(name, sizeof(name), "v%02d", i);
                CU_ASSERT_EQUAL_FATAL(t_create(&t, name, 1 * MB, &vol[i]), 0);
                memset(record[i], 'a' + i % 26, sizeof(record[i]));
                up[i] = (struct volume_owner_update){vol[i], record[i], sizeof(record[i])};
        }
        volume_set_owner(t.pool, up, N, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        for (int crash = 0; crash < 2; crash++) {
                for (int i = 0; i < N; i++) {
                        snprintf(name, sizeof(name), "v%02d", i);
                        const void *got = volume_owner(volume_by_name(t.pool, name), &len);
                        CU_ASSERT_EQUAL(len, VOLUME_OWNER_MAX);
                        CU_ASSERT_EQUAL(memcmp(got, record[i], len), 0);
                }
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        }
        up[0].vol = volume_by_name(t.pool, "v00");
        up[0].len = VOLUME_OWNER_MAX + 1;
        a.done = false;
        volume_set_owner(t.pool, up, 1, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), -EINVAL);
        t_fini(&t);
}

static void count_done(struct volume_io *io, int status)
{
        struct answer *a = io->priv;
        a->done = true;
        a->status = status;
}

static void test_writes_without_room_are_held_until_there_is(void)
{
        struct t_pool t;
        struct volume *vol;
        struct pool_status st;
        uint8_t buf[ZP_BLOCK] = {1};
        struct iovec iov = {buf, ZP_BLOCK};
        uint64_t n = 0;

        t_pool_new(&t, 1, 16, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 64 * MB, &vol), 0);
        while (t_io_nohold(vol, &t, n * ZP_BLOCK, buf, ZP_BLOCK) == 0)
                n++;
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE(st.available_bytes <= 8 * ZP_BLOCK);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_HELD], 0);
        struct answer a[3] = {{0}};
        struct volume_io io[3];
        for (int i = 0; i < 3; i++) {
                io[i] = (struct volume_io){.op = VOLUME_WRITE,
                                           .offset_bytes = (n + 10 + (uint64_t)i) * ZP_BLOCK,
                                           .length_bytes = ZP_BLOCK,
                                           .iov = &iov,
                                           .niov = 1,
                                           .done = count_done,
                                           .priv = &a[i]};
                volume_submit(vol, &io[i]);
        }
        t_drive(&t);
        CU_ASSERT_FALSE(a[0].done || a[1].done || a[2].done);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_HELD], 1);
        pool_get_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.held_requests, 3);
        /* what is mapped can be overwritten all the same, and discard makes room */
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, ZP_BLOCK, true), 0);
        CU_ASSERT_FALSE(a[0].done);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 0, NULL, 16 * ZP_BLOCK, true), 0);
        t_drive(&t);
        CU_ASSERT_TRUE(a[0].done && a[1].done && a[2].done);
        CU_ASSERT_EQUAL(a[0].status, 0);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_RELEASED], 1);
        /* and a held one can be given up */
        while (t_io_nohold(vol, &t, (n + 20) * ZP_BLOCK, buf, ZP_BLOCK) == 0)
                n++;
        a[0].done = false;
        io[0].offset_bytes = (n + 30) * ZP_BLOCK;
        io[0].priv = &a[0];
        volume_submit(vol, &io[0]);
        t_drive(&t);
        CU_ASSERT_FALSE(a[0].done);
        volume_cancel_held(vol);
        t_drive(&t);
        CU_ASSERT_TRUE(a[0].done);
        CU_ASSERT_EQUAL(a[0].status, -ECANCELED);
        /* delete goes through at 100 % */
        a[1].done = false;
        volume_delete(vol, &a[1], finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a[1]), 0);
        pool_get_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.allocated_bytes, 0);
        t_fini(&t);
}

static void test_corruption_is_reported_not_returned(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK];

        t_pool_new(&t, 1, 16, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        t_fill(buf, 1, 2, 3);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, ZP_BLOCK, true), 0);
        t_damage(&t, buf);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, buf, ZP_BLOCK, false), -EILSEQ);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 1);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 512, buf, 512, false), -EILSEQ);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, buf, ZP_BLOCK, false), 0);
        t_fini(&t);
}

static int fail_some_writes(void *ctx, const struct zdev_io *io)
{
        int *left = ctx;
        return io->op == ZDEV_WRITE && io->zone >= 2 && (*left)-- > 0 ? -EIO : 0;
}

static void test_failed_writes_go_elsewhere(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK], back[ZP_BLOCK];
        int left = 0;

        t_pool_new(&t, 2, 24, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        for (uint32_t i = 0; i < 2; i++)
                mem_device_set_fault(t_mem(&t, i), fail_some_writes, &left);
        for (uint64_t b = 0; b < 200; b++) {
                left = b % 50 == 13;
                t_fill(buf, 1, b, 0);
                CU_ASSERT_EQUAL(
                    t_io(vol, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, b % 7 == 0), 0);
        }
        CU_ASSERT_TRUE(t.events[POOL_EVENT_DEVICE_FAILED] >= 1);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        t_check(&t);
        for (uint32_t i = 0; i < 2; i++)
                mem_device_set_fault(t_mem(&t, i), NULL, NULL);
        reimport(&t, "disk", &vol);
        for (uint64_t b = 0; b < 200; b++) {
                t_fill(buf, 1, b, 0);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, b * ZP_BLOCK, back, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, back, ZP_BLOCK), 0);
        }
        t_fini(&t);
}

static int fail_writes(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_WRITE || io->op == ZDEV_RESET ? -EIO : 0;
}

static void test_a_pool_that_cannot_write_says_so_and_reads_on(void)
{
        struct t_pool t;
        struct volume *vol;
        struct pool_status st;
        static uint8_t buf[8 * ZP_BLOCK], back[8 * ZP_BLOCK];

        t_pool_new(&t, 2, 16, 64);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1 * MB, &vol), 0);
        memset(buf, 3, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, sizeof(buf), true), 0);
        mem_device_set_fault(t_mem(&t, 0), fail_writes, NULL);
        mem_device_set_fault(t_mem(&t, 1), fail_writes, NULL);
        for (int i = 0; i < 3; i++) {
                int rc = t_io(vol, &t, VOLUME_WRITE, 0, back, sizeof(back), true);
                CU_ASSERT_TRUE(rc == -EIO || rc == -EROFS);
        }
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_READONLY], 1);
        pool_get_status(t.pool, &st);
        CU_ASSERT_TRUE(st.readonly);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, back, sizeof(back), false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, back, sizeof(buf)), 0);
        mem_device_set_fault(t_mem(&t, 0), NULL, NULL);
        mem_device_set_fault(t_mem(&t, 1), NULL, NULL);
        reimport(&t, "disk", &vol);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, back, sizeof(back), false), 0);
        CU_ASSERT_EQUAL(memcmp(buf, back, sizeof(buf)), 0);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_a_pool_that_cannot_write_says_so_and_reads_on),
    T_CASE(test_sub_block_writes_keep_what_is_around),
    T_CASE(test_discard_frees_whole_blocks_only),
    T_CASE(test_map_lists_merged_runs),
    T_CASE(test_names_and_sizes_are_checked),
    T_CASE(test_control_operations_are_durable),
    T_CASE(test_a_name_is_free_again_only_when_the_deletion_is_durable),
    T_CASE(test_owners_of_many_change_in_one_step),
    T_CASE(test_writes_without_room_are_held_until_there_is),
    T_CASE(test_corruption_is_reported_not_returned),
    T_CASE(test_failed_writes_go_elsewhere),
};
T_MAIN("pool volumes", cases)
