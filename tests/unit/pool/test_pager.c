/* Table pages out of RAM: a small cap changes nothing but what is read; a page that cannot be read
 * fails who wants it; a deletion goes on after a crash. And the largest pools there are. */
#include "t_pool.h"

#include "pool/device/mem.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { LEAF = 340 * ZP_BLOCK };

static const uint64_t tb = UINT64_C(1) << 40;

static struct pool_status status_of(struct t_pool *t)
{
        struct pool_status st;
        pool_get_status(t->pool, &st);
        return st;
}

static void reimport(struct t_pool *t, const char *name, struct volume **vol)
{
        t_crash(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_check(t);
        *vol = volume_by_name(t->pool, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(*vol);
}

/* One block in each of n leaf pages, as version v. */
static void write_leaves(struct t_pool *t, struct volume *vol, unsigned n, uint64_t v)
{
        uint8_t buf[ZP_BLOCK];

        for (unsigned i = 0; i < n; i++) {
                t_fill(buf, 1, i, v);
                CU_ASSERT_EQUAL_FATAL(
                    t_io(vol, t, VOLUME_WRITE, (uint64_t)i * LEAF, buf, ZP_BLOCK, false), 0);
        }
}

static void read_leaves(struct t_pool *t, struct volume *vol, unsigned n, uint64_t v)
{
        uint8_t buf[ZP_BLOCK], want[ZP_BLOCK];

        for (unsigned i = 0; i < n; i++) {
                t_fill(want, 1, i, v);
                CU_ASSERT_EQUAL_FATAL(
                    t_io(vol, t, VOLUME_READ, (uint64_t)i * LEAF, buf, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
        }
}

static void test_pages_beyond_the_cap_leave_and_come_back(void)
{
        enum { N = 600, CAP = 64 * 4160 };
        struct t_pool t;
        struct volume *vol;

        t_pool_new(&t, 2, 20, 512);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)N * LEAF, &vol), 0);
        pool_set_table_cache(t.pool, CAP);
        for (uint64_t v = 1; v <= 3; v++) {
                write_leaves(&t, vol, N, v);
                read_leaves(&t, vol, N, v);
        }
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        struct pool_status st = status_of(&t);
        CU_ASSERT_TRUE(st.table_bytes > N * ZP_BLOCK);
        CU_ASSERT_TRUE(st.table_cache_bytes <= CAP + 8 * 4160);
        CU_ASSERT_EQUAL(st.table_cache_cap_bytes, CAP);
        CU_ASSERT_TRUE(st.table_misses > N);
        t_check(&t);
        t.options.table_cache_bytes = CAP;
        reimport(&t, "disk", &vol);
        read_leaves(&t, vol, N, 3);
        t_fini(&t);
}

static void test_import_reads_only_what_it_needs(void)
{
        enum { N = 600 };
        struct t_pool t;
        struct volume *vol;

        t_pool_new(&t, 1, 40, 512);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)N * LEAF, &vol), 0);
        write_leaves(&t, vol, N, 1);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        write_leaves(&t, vol, 3, 2);
        reimport(&t, "disk", &vol);
        struct pool_status st = status_of(&t);
        CU_ASSERT_TRUE(st.table_bytes > N * ZP_BLOCK);
        CU_ASSERT_TRUE(st.table_misses < 10);
        CU_ASSERT_EQUAL(st.allocated_bytes, N * ZP_BLOCK);
        read_leaves(&t, vol, 3, 2);
        t_fini(&t);
}

static int fail_reads(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_READ ? -EIO : 0;
}

static void test_a_page_that_cannot_be_read_fails_who_wants_it(void)
{
        enum { N = 8 };
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK] = {1};

        t_pool_new(&t, 1, 20, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)N * LEAF, &vol), 0);
        write_leaves(&t, vol, N, 1);
        t_export(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        vol = volume_by_name(t.pool, "disk");
        mem_device_set_fault(t_mem(&t, 0), fail_reads, NULL);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 0, buf, ZP_BLOCK, false), -EIO);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, LEAF, buf, ZP_BLOCK, false), -EIO);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 0, NULL, N * LEAF, false), -EIO);
        CU_ASSERT_FALSE(status_of(&t).readonly);
        t_check(&t);
        mem_device_set_fault(t_mem(&t, 0), NULL, NULL);
        read_leaves(&t, vol, N, 1);
        write_leaves(&t, vol, N, 2);
        reimport(&t, "disk", &vol);
        read_leaves(&t, vol, N, 2);
        t_fini(&t);
}

static void test_a_page_that_is_not_what_it_should_be_is_reported(void)
{
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK] = {1}, page[ZP_BLOCK];
        bool found = false;

        t_pool_new(&t, 1, 20, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 8 * LEAF, &vol), 0);
        write_leaves(&t, vol, 2, 1);
        t_export(&t);
        struct zdev *mem = t_mem(&t, 0);
        for (uint32_t zone = 2; zone < 20 && !found; zone++) {
                for (uint64_t b = 0; b < 128 && !found; b++) {
                        mem->ops->peek(mem, zone, b, page);
                        found = page[0] == 'Z' && page[1] == 'T' && page[2] == 0 && page[4] == 1;
                }
        }
        CU_ASSERT_TRUE_FATAL(found);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        vol = volume_by_name(t.pool, "disk");
        t_damage(&t, page);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, LEAF, buf, ZP_BLOCK, false), -EILSEQ);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 1);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, LEAF, buf, ZP_BLOCK, false), -EILSEQ);
        read_leaves(&t, vol, 1, 1);
        t_fini(&t);
}

static void deleted(void *ctx, int status)
{
        *(int *)ctx = status;
}

static void test_a_deletion_goes_on_after_a_crash(void)
{
        enum { N = 900 };
        struct t_pool t;
        struct volume *vol;
        int answer = 1;
        bool midway = false;

        t_pool_new(&t, 1, 40, 512);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", (uint64_t)N * LEAF, &vol), 0);
        write_leaves(&t, vol, N, 1);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        volume_delete(vol, &answer, deleted);
        while (mem_device_step(t_mem(&t, 0))) {
                uint64_t left = status_of(&t).allocated_bytes;
                midway = left && left < N * ZP_BLOCK / 2;
                if (midway)
                        break;
        }
        CU_ASSERT_TRUE_FATAL(midway);
        CU_ASSERT_EQUAL(answer, 0); /* durable; its blocks go behind */
        CU_ASSERT_PTR_NULL(volume_by_name(t.pool, "disk"));
        CU_ASSERT_EQUAL(status_of(&t).nvolumes, 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_drive(&t);
        t_check(&t);
        CU_ASSERT_PTR_NULL(volume_by_name(t.pool, "disk"));
        CU_ASSERT_EQUAL(status_of(&t).allocated_bytes, 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", LEAF, &vol), 0);
        t_fini(&t);
}

/* Somebody who reads one leaf after the other. */
struct reader {
        struct volume *vol;
        struct volume_io io;
        struct iovec iov;
        uint8_t buf[ZP_BLOCK];
        uint64_t leaf;
        bool busy;
};

static void was_read(struct volume_io *io, int status)
{
        struct reader *r = container_of(io, struct reader, io);

        CU_ASSERT_EQUAL(status, 0);
        r->busy = false;
}

static void read_on(struct reader *r, uint64_t leaves)
{
        r->busy = true;
        r->iov = (struct iovec){r->buf, ZP_BLOCK};
        r->io = (struct volume_io){.op = VOLUME_READ,
                                   .offset_bytes = r->leaf++ % leaves * LEAF,
                                   .length_bytes = ZP_BLOCK,
                                   .iov = &r->iov,
                                   .niov = 1,
                                   .done = was_read};
        volume_submit(r->vol, &r->io);
}

/* Where the only leaf lies is known only while the page above is in RAM; others drive that out at
 * once. */
static void test_a_deletion_finds_what_is_left_while_others_take_the_ram(void)
{
        static const uint64_t at[] = {(uint64_t)5 * LEAF, (uint64_t)700 * LEAF};
        enum { N = sizeof(at) / sizeof(at[0]), STEPS = 5000, LEAVES = 200 };
        struct t_pool t;
        struct volume *vol;
        struct reader r = {0};

        t_pool_new(&t, 1, 60, 128);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "other", LEAVES * (uint64_t)LEAF, &r.vol), 0);
        write_leaves(&t, r.vol, LEAVES, 1);
        for (unsigned i = 0; i < N; i++) {
                int answer = 1;
                CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", 1000 * (uint64_t)LEAF, &vol), 0);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, at[i], r.buf, ZP_BLOCK, true), 0);
                t_export(&t);
                t.options.table_cache_bytes = 1;
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                r.vol = volume_by_name(t.pool, "other");
                volume_delete(volume_by_name(t.pool, "disk"), &answer, deleted);
                for (unsigned n = 0; n < STEPS; n++) {
                        if (!r.busy)
                                read_on(&r, LEAVES);
                        mem_device_step(t_mem(&t, 0));
                }
                while (r.busy && mem_device_step(t_mem(&t, 0)))
                        ;
                CU_ASSERT_EQUAL(answer, 0);
                CU_ASSERT_EQUAL_FATAL(status_of(&t).allocated_bytes, LEAVES * ZP_BLOCK);
                t_check(&t);
        }
        t_fini(&t);
}

static void test_a_volume_of_64_tib(void)
{
        static const uint64_t at[] = {0,
                                      LEAF,
                                      339 * (uint64_t)LEAF,
                                      0x1234567 * (uint64_t)ZP_BLOCK,
                                      0x3fffffff0000,
                                      0x3ffffffff000};
        struct t_pool t;
        struct volume *vol;
        uint8_t buf[ZP_BLOCK], want[ZP_BLOCK];

        t_pool_new(&t, 1, 20, 512);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "huge", 64 * tb, &vol), 0);
        CU_ASSERT_EQUAL(t_create(&t, "more", 64 * tb + 512, &vol), -EINVAL);
        t.options.table_cache_bytes = 1;
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
                        t_fill(want, 9, i, 0);
                        if (!round)
                                CU_ASSERT_EQUAL_FATAL(
                                    t_io(vol, &t, VOLUME_WRITE, at[i], want, ZP_BLOCK, true), 0);
                        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, at[i], buf, ZP_BLOCK, false), 0);
                        CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
                }
                reimport(&t, "huge", &vol);
        }
        CU_ASSERT_TRUE(status_of(&t).table_bytes < 32 * ZP_BLOCK); /* holes cost nothing */
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 0, NULL, 64 * tb, true), 0);
        CU_ASSERT_EQUAL(status_of(&t).allocated_bytes, 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0); /* imports that go on with the log write no catalog */
        CU_ASSERT_EQUAL(status_of(&t).table_bytes / ZP_BLOCK, 1); /* the catalog's */
        t_check(&t);
        t_fini(&t);
}

static void test_a_pool_of_256_devices(void)
{
        enum { N = POOL_MAX_DEVICES, LEAVES = 300 };
        struct mem_device_spec spec = {
            .nr_zones = 16, .zone_blocks = 256, .max_open = 5, .max_active = 5};
        struct t_pool t;
        struct volume *vol;

        t_devices(&t, N, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "wide"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(status_of(&t).ndevices, N);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "disk", LEAVES * LEAF, &vol), 0);
        for (uint64_t v = 1; v <= 3; v++) {
                write_leaves(&t, vol, LEAVES, v);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        }
        reimport(&t, "disk", &vol);
        read_leaves(&t, vol, LEAVES, 3);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_pages_beyond_the_cap_leave_and_come_back),
    T_CASE(test_import_reads_only_what_it_needs),
    T_CASE(test_a_page_that_cannot_be_read_fails_who_wants_it),
    T_CASE(test_a_page_that_is_not_what_it_should_be_is_reported),
    T_CASE(test_a_deletion_goes_on_after_a_crash),
    T_CASE(test_a_deletion_finds_what_is_left_while_others_take_the_ram),
    T_CASE(test_a_volume_of_64_tib),
    T_CASE(test_a_pool_of_256_devices),
};
T_MAIN("table pages", cases)
