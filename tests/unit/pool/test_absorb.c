/* Writes that wait while a later one of their range comes: one is written for both, both are
 * answered in order, and nothing that comes between them is passed over. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { MB = 1024 * 1024, MAX_IOS = 8 };

/* Requests under way together. */
struct burst {
        struct t_pool t;
        struct volume *vol;
        struct request {
                struct volume_io io;
                struct iovec iov;
                struct burst *burst;
                uint8_t buf[2 * ZP_BLOCK];
                int status;
                unsigned place; /* the how manieth answer, from 1; 0: none yet */
        } r[MAX_IOS];
        unsigned n, answered;
};

static void answered(struct volume_io *io, int status)
{
        struct request *r = container_of(io, struct request, io);

        CU_ASSERT_EQUAL(r->place, 0);
        r->status = status;
        r->place = ++r->burst->answered;
}

static struct request *submit(struct burst *b, enum volume_op op, uint64_t offset, uint64_t len,
                              int byte)
{
        struct request *r = &b->r[b->n++];

        memset(r->buf, byte, sizeof(r->buf));
        r->burst = b;
        r->iov = (struct iovec){r->buf, len};
        r->io = (struct volume_io){.op = op,
                                   .fua = byte & 0x80,
                                   .offset_bytes = offset,
                                   .length_bytes = len,
                                   .iov = op == VOLUME_WRITE ? &r->iov : NULL,
                                   .niov = op == VOLUME_WRITE,
                                   .done = answered};
        volume_submit(b->vol, &r->io);
        CU_ASSERT_EQUAL(r->place, 0);
        return r;
}

static struct burst *burst_new(void)
{
        struct burst *b = calloc(1, sizeof(*b));

        t_pool_new(&b->t, 1, 16, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&b->t, "disk", 1 * MB, &b->vol), 0);
        return b;
}

static void burst_free(struct burst *b)
{
        t_check(&b->t);
        t_fini(&b->t);
        free(b);
}

/* All are answered, in the order they came. */
static void all_done(struct burst *b, int status)
{
        t_drive(&b->t);
        CU_ASSERT_EQUAL(b->answered, b->n);
        for (unsigned i = 0; i < b->n; i++) {
                CU_ASSERT_EQUAL(b->r[i].place, i + 1);
                CU_ASSERT_EQUAL(b->r[i].status, status);
        }
}

static uint64_t absorbed_blocks(struct burst *b)
{
        struct pool_status st;

        pool_get_status(b->t.pool, &st);
        return st.absorbed_write_bytes / ZP_BLOCK;
}

static uint64_t written_blocks(struct burst *b)
{
        struct pool_status st;

        pool_get_status(b->t.pool, &st);
        return st.user_write_bytes / ZP_BLOCK;
}

static void reads_as(struct burst *b, struct volume *vol, uint64_t offset, int byte)
{
        uint8_t want[512], got[512];

        memset(want, byte, sizeof(want));
        CU_ASSERT_EQUAL(t_io(vol, &b->t, VOLUME_READ, offset, got, sizeof(got), false), 0);
        CU_ASSERT_EQUAL(memcmp(want, got, sizeof(want)), 0);
}

static void reimport(struct burst *b)
{
        t_crash(&b->t);
        CU_ASSERT_EQUAL_FATAL(t_import(&b->t), 0);
        b->vol = volume_by_name(b->t.pool, "disk");
        CU_ASSERT_PTR_NOT_NULL_FATAL(b->vol);
}

static void test_one_write_stands_for_those_that_waited(void)
{
        struct burst *b = burst_new();

        for (int i = 1; i <= 6; i++)
                submit(b, VOLUME_WRITE, 2 * ZP_BLOCK, 2 * ZP_BLOCK, i);
        all_done(b, 0);
        CU_ASSERT_EQUAL(written_blocks(b), 4); /* the first, and the last for the others */
        CU_ASSERT_EQUAL(absorbed_blocks(b), 8);
        reads_as(b, b->vol, 3 * ZP_BLOCK, 6);
        burst_free(b);
}

static void test_what_was_answered_is_durable_after_a_flush(void)
{
        struct burst *b = burst_new();

        for (int i = 1; i <= 3; i++)
                submit(b, VOLUME_WRITE, 0, ZP_BLOCK, i);
        all_done(b, 0);
        CU_ASSERT_EQUAL(t_flush(b->vol, &b->t), 0);
        reimport(b);
        reads_as(b, b->vol, 0, 3);
        burst_free(b);
}

static void test_fua_is_kept(void)
{
        struct burst *b = burst_new();

        for (int i = 1; i <= 3; i++)
                submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 0x80 + i);
        all_done(b, 0);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 1);
        reimport(b);
        reads_as(b, b->vol, 0, 0x83);
        burst_free(b);
}

static void test_only_what_is_alike_is_joined(void)
{
        struct burst *b = burst_new();

        submit(b, VOLUME_WRITE, 0, 2 * ZP_BLOCK, 1);
        submit(b, VOLUME_WRITE, 0, 2 * ZP_BLOCK, 2);
        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 3); /* shorter */
        submit(b, VOLUME_WRITE, ZP_BLOCK, ZP_BLOCK, 4); /* beside it */
        submit(b, VOLUME_WRITE, ZP_BLOCK, ZP_BLOCK, 0x85); /* with FUA */
        t_drive(&b->t);
        CU_ASSERT_EQUAL(b->answered, b->n);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 0);
        reads_as(b, b->vol, 0, 3);
        reads_as(b, b->vol, ZP_BLOCK, 0x85);
        burst_free(b);
}

static void test_parts_of_a_block_keep_what_is_around(void)
{
        struct burst *b = burst_new();

        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 1);
        submit(b, VOLUME_WRITE, 512, 512, 2);
        submit(b, VOLUME_WRITE, 512, 512, 3); /* for it */
        submit(b, VOLUME_WRITE, 1024, 512, 4); /* of the same block, not of the same range */
        all_done(b, 0);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 1);
        reads_as(b, b->vol, 0, 1);
        reads_as(b, b->vol, 512, 3);
        reads_as(b, b->vol, 1024, 4);
        reads_as(b, b->vol, 1536, 1);
        burst_free(b);
}

struct made {
        int status;
        struct volume *vol;
};

static void made(void *ctx, int status, struct volume *vol)
{
        *(struct made *)ctx = (struct made){status, vol};
}

static void test_a_snapshot_between_has_the_earlier_one(void)
{
        struct burst *b = burst_new();
        struct snapshot_spec spec = {.name = "snap", .uuid = {{5}}, .time = 1};
        struct made m = {.status = -EINPROGRESS};

        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 1);
        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 2);
        snapshot_create(b->vol, &spec, &m, made);
        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 3);
        submit(b, VOLUME_WRITE, 0, ZP_BLOCK, 4); /* for that one alone */
        all_done(b, 0);
        CU_ASSERT_EQUAL_FATAL(m.status, 0);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 1);
        reads_as(b, b->vol, 0, 4);
        reads_as(b, m.vol, 0, 2);
        burst_free(b);
}

static void test_a_discard_between_is_not_passed(void)
{
        struct burst *b = burst_new();

        submit(b, VOLUME_WRITE, 0, 2 * ZP_BLOCK, 1);
        submit(b, VOLUME_WRITE, 0, 2 * ZP_BLOCK, 2);
        submit(b, VOLUME_DISCARD, 0, 2 * ZP_BLOCK, 0);
        submit(b, VOLUME_WRITE, 0, 2 * ZP_BLOCK, 3);
        submit(b, VOLUME_DISCARD, 0, 2 * ZP_BLOCK, 0);
        all_done(b, 0);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 0);
        reads_as(b, b->vol, 0, 0);
        burst_free(b);
}

static int fail_writes(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_WRITE || io->op == ZDEV_RESET ? -EIO : 0;
}

static void test_a_write_that_fails_fails_all_it_stands_for(void)
{
        struct burst *b = burst_new();
        uint8_t buf[ZP_BLOCK];

        memset(buf, 9, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(b->vol, &b->t, VOLUME_WRITE, 0, buf, sizeof(buf), true), 0);
        mem_device_set_fault(t_mem(&b->t, 0), fail_writes, NULL);
        for (int i = 1; i <= 4; i++)
                submit(b, VOLUME_WRITE, 0, ZP_BLOCK, i);
        t_drive(&b->t);
        CU_ASSERT_EQUAL(b->answered, 4);
        for (unsigned i = 0; i < 4; i++)
                CU_ASSERT_TRUE(b->r[i].status == -EIO || b->r[i].status == -EROFS);
        CU_ASSERT_EQUAL(absorbed_blocks(b), 0);
        mem_device_set_fault(t_mem(&b->t, 0), NULL, NULL);
        reimport(b);
        reads_as(b, b->vol, 0, 9);
        burst_free(b);
}

static const struct t_case cases[] = {
    T_CASE(test_one_write_stands_for_those_that_waited),
    T_CASE(test_what_was_answered_is_durable_after_a_flush),
    T_CASE(test_fua_is_kept),
    T_CASE(test_only_what_is_alike_is_joined),
    T_CASE(test_parts_of_a_block_keep_what_is_around),
    T_CASE(test_a_snapshot_between_has_the_earlier_one),
    T_CASE(test_a_discard_between_is_not_passed),
    T_CASE(test_a_write_that_fails_fails_all_it_stands_for),
};
T_MAIN("writes that wait for one another", cases)
