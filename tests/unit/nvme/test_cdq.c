/* The queue of changed blocks: ring rules, marks, and that nothing is missed. */
#include "base/rng.h"
#include "t_nvme.h"

#include <errno.h>

static struct t_nvme t;
static struct udmq_entry e;

/* Expects the next entry to be a bare mark. */
static void expect_mark(enum udmq_mark mark)
{
        CU_ASSERT_TRUE_FATAL(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(e.mark, mark);
        CU_ASSERT_EQUAL(e.kind, UDMQ_NO_RANGE);
        CU_ASSERT_EQUAL(e.nsid, 0);
}

static void expect_range(uint64_t slba, uint64_t n)
{
        CU_ASSERT_TRUE_FATAL(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(e.mark, UDMQ_ORDINARY);
        CU_ASSERT_EQUAL(e.kind, UDMQ_RANGE);
        CU_ASSERT_EQUAL(e.nsid, nvc_nsid(t.c[0]));
        CU_ASSERT_EQUAL(e.slba, slba);
        CU_ASSERT_EQUAL(e.nblocks, n);
}

static void begin(uint64_t size, uint32_t nslots)
{
        t_nvme_init(&t, size);
        CU_ASSERT_EQUAL_FATAL(t_cdq_create(&t, 0, nslots), 0);
        CU_ASSERT_EQUAL_FATAL(t_track(&t, t.cdqid, 1), 0);
        expect_mark(UDMQ_FIRST);
}

static void test_entry_layout_is_exact(void)
{
        struct udmq_entry in = {.nsid = 0x01020304,
                                .slba = UINT64_C(0x1112131415161718),
                                .nblocks = UINT64_C(1) << 32,
                                .mark = UDMQ_ORDINARY,
                                .deallocated = true};
        uint8_t b[UDMQ_ENTRY_SIZE];
        udmq_encode(b, &in);
        static const uint8_t want[UDMQ_ENTRY_SIZE] = {4,    3,    2,    1,    0xff,       0xff,
                                                      0xff, 0xff, 0x18, 0x17, 0x16,       0x15,
                                                      0x14, 0x13, 0x12, 0x11, [31] = 0x20};
        CU_ASSERT_EQUAL(memcmp(b, want, sizeof(b)), 0);
        CU_ASSERT_EQUAL(udmq_decode(b, &e), 0);
        CU_ASSERT_EQUAL(e.nblocks, UINT64_C(1) << 32);
        in = (struct udmq_entry){.nsid = 5, .mark = UDMQ_FULL, .kind = UDMQ_ALL_BLOCKS};
        udmq_encode(b, &in);
        CU_ASSERT_EQUAL(b[31], 7 << 1 | 1 << 6);
        CU_ASSERT_EQUAL(get_le32(b), 5);
        for (unsigned attr = 0; attr < 256; attr++) { /* reserved values are refused */
                unsigned mark = attr >> 1 & 7, kind = attr >> 6;
                bool good = (mark <= 3 || mark == 7) && kind <= 2 && (mark || !kind);
                b[31] = (uint8_t)attr;
                CU_ASSERT_EQUAL(udmq_decode(b, &e), good ? 0 : -EBADMSG);
        }
}

static void test_changes_are_posted_after_their_effect_and_merged(void)
{
        begin(1 << 20, 16);
        t.ram[0].hold = true;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 8, 2), 1);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 10, 1), 1);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_DISCARD, 40, 5), 1);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e)); /* in flight: not yet */
        ram_release(&t.ram[0]);
        t_turn(&t);
        expect_range(8, 3);
        expect_range(40, 5);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_READ, 0, 1), 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_FLUSH, 0, 0), 0);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE_ZEROES, 8, 1), 0);
        expect_range(8, 1);
        t_nvme_fini(&t);
}

static void test_failed_writes_are_logged(void)
{
        begin(1 << 20, 16);
        t.ram[0].fail = -EIO;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 5, 1), -EIO);
        expect_range(5, 1);
        t.ram[0].fail = 0;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 250, 100), -EINVAL); /* clipped */
        expect_range(250, 6);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, UINT64_MAX / 4096, 1), -EINVAL);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        t_nvme_fini(&t);
}

static void ignore_done(struct volume_io *io, int status)
{
}

static void test_sectors_are_rounded_out_to_blocks(void)
{
        struct volume_io io = {
            .op = VOLUME_DISCARD, .offset_bytes = 3584, .length_bytes = 1024, .done = ignore_done};
        begin(1 << 20, 16);
        nvc_submit(t.c[0], &io);
        t_turn(&t);
        expect_range(0, 2);
        t_nvme_fini(&t);
}

static void test_other_controllers_and_the_mmc_are_not_logged(void)
{
        static uint8_t block[4096];
        begin(1 << 20, 16);
        CU_ASSERT_EQUAL(t_front_io(&t, 1, VOLUME_WRITE, 8, 2), 0);
        CU_ASSERT_EQUAL(t_io(&t, NVME_IO_WRITE, nvc_nsid(t.c[0]), (uint32_t[6]){3}, block, 4096),
                        0);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        t_nvme_fini(&t);
}

static void test_full_ring_delays_and_merges_but_loses_nothing(void)
{
        begin(4 << 20, 8); /* 7 entries; the last is the marks' */
        for (uint64_t b = 0; b < 40; b += 2)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 0);
        int n = 0;
        while (t_cdq_take(&t, &e))
                CU_ASSERT_EQUAL(e.slba, 2 * (uint64_t)n++);
        CU_ASSERT_EQUAL(n, 5); /* 7, less the first mark whose slot is not told free, less one */
        for (uint64_t b = 1; b < 40; b += 2) /* the gaps: what waits becomes one range */
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 0);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
        uint64_t seen = 0;
        do {
                while (t_cdq_take(&t, &e))
                        for (uint64_t b = e.slba; b < e.slba + e.nblocks; b++)
                                seen |= UINT64_C(1) << b;
                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
        } while (t.ring[(size_t)t.head * 32 + 31] % 2 == t.phase);
        CU_ASSERT_EQUAL(seen | 0x155, (UINT64_C(1) << 40) - 1);
        t_nvme_fini(&t);
}

static void test_phase_flips_with_every_pass(void)
{
        begin(1 << 20, 4);
        for (unsigned i = 0; i < 50; i++) {
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, i, 1), 0);
                expect_range(i, 1);
                CU_ASSERT_FALSE(t_cdq_take(&t, &e));
                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
        }
        t_nvme_fini(&t);
}

static void test_ranges_do_not_cross_chunks_and_reach_far(void)
{
        t_nvme_init(&t, 1 << 20);
        t.ram[0].fail = -EIO; /* a disk of 1 TiB that only logs */
        t.ram[0].size_bytes = UINT64_C(1) << 40;
        CU_ASSERT_EQUAL_FATAL(t_cdq_create(&t, 0, 16), 0);
        CU_ASSERT_EQUAL_FATAL(t_track(&t, t.cdqid, 1), 0);
        expect_mark(UDMQ_FIRST);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 32767, 2), -EIO);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, (UINT64_C(1) << 28) - 1, 1), -EIO);
        expect_range(32767, 1);
        expect_range(32768, 1);
        expect_range((UINT64_C(1) << 28) - 1, 1);
        t.ram[0].fail = 0;
        t_nvme_fini(&t);
}

static void test_suspended_mark_follows_every_change(void)
{
        struct t_req s;
        begin(1 << 20, 8);
        t.ram[0].hold = true;
        for (uint64_t b = 0; b < 60; b += 2)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 1);
        t_sqe(&s, NVME_ADMIN_MIGRATION_SEND, 0, (uint32_t[6]){0, nvc_cntlid(t.c[0]) | 1u << 16});
        t_start(&t, NVM_MMC_CNTLID, &s);
        t_turn(&t);
        CU_ASSERT_EQUAL(s.done, 0);
        ram_release(&t.ram[0]);
        t_turn(&t);
        CU_ASSERT_EQUAL(s.done, 1); /* does not wait for the reader */
        uint64_t seen = 0;
        bool mark = false;
        for (int i = 0; i < 20 && !mark; i++) {
                while (!mark && t_cdq_take(&t, &e)) {
                        mark = e.mark == UDMQ_SUSPENDED;
                        if (!mark)
                                seen |= UINT64_C(1) << e.slba;
                }
                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
        }
        CU_ASSERT_TRUE(mark);
        CU_ASSERT_EQUAL(seen, UINT64_C(0x0555555555555555));
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e)); /* no second mark */
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        expect_mark(UDMQ_FIRST);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 9, 1), 0);
        expect_range(9, 1);
        t_nvme_fini(&t);
}

static void test_suspended_mark_comes_even_when_nothing_is_logged(void)
{
        t_nvme_init(&t, 1 << 20);
        CU_ASSERT_EQUAL_FATAL(t_cdq_create(&t, 0, 8), 0);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, false), 0);
        expect_mark(UDMQ_SUSPENDED);
        CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e)); /* not logging: no first mark */
        t_nvme_fini(&t);
}

static void test_suspend_may_delete_the_queue_after_the_mark(void)
{
        begin(1 << 20, 8);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 9, 1), 0);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, true), 0);
        expect_range(9, 1);
        expect_mark(UDMQ_SUSPENDED);
        CU_ASSERT_EQUAL(t_cdq_head(&t), NVME_SC_INVALID_CDQ);
        CU_ASSERT_EQUAL(nvm_dma_unmap(t.s, t.ring), 0);
        t_nvme_fini(&t);
}

static void test_deleting_suspend_says_when_changes_did_not_fit(void)
{
        struct t_req aer;
        begin(1 << 20, 4);
        for (uint64_t b = 0; b < 20; b += 2)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 0);
        t_sqe(&aer, NVME_ADMIN_ASYNC_EVENT, 0, NULL);
        t_start(&t, NVM_MMC_CNTLID, &aer);
        CU_ASSERT_EQUAL(t_suspend(&t, 0, true), 0);
        expect_range(0, 1);
        CU_ASSERT_TRUE(t_cdq_take(&t, &e));
        CU_ASSERT_EQUAL(e.mark, UDMQ_FULL);
        CU_ASSERT_EQUAL(e.kind, UDMQ_ALL_BLOCKS);
        CU_ASSERT_EQUAL(e.nsid, nvc_nsid(t.c[0]));
        CU_ASSERT_EQUAL(aer.done, 1);
        CU_ASSERT_EQUAL(aer.r.dw0, 4 | 1 << 8);
        CU_ASSERT_EQUAL(aer.r.dw1, t.cdqid);
        t_nvme_fini(&t);
}

static void test_stop_is_marked_after_all_and_start_waits_for_room(void)
{
        begin(1 << 20, 4);
        for (uint64_t b = 0; b < 8; b += 2)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 0);
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 1), NVME_SC_INVALID_CDQ); /* logs already */
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 0), 0);
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 0), 0); /* redundant */
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 1), NVME_SC_CDQ_FULL);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 100, 1), 0); /* after the stop */
        uint64_t n = 0;
        for (int i = 0; i < 10; i++) {
                while (t_cdq_take(&t, &e) && e.mark != UDMQ_STOPPED)
                        CU_ASSERT_EQUAL(e.slba, 2 * n++);
                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
        }
        CU_ASSERT_EQUAL(n, 4);
        CU_ASSERT_EQUAL(e.mark, UDMQ_STOPPED);
        CU_ASSERT_EQUAL(t_track(&t, t.cdqid, 1), 0);
        expect_mark(UDMQ_FIRST);
        CU_ASSERT_FALSE(t_cdq_take(&t, &e));
        t_nvme_fini(&t);
}

static void test_tail_event_fires_once_for_the_slot_just_written(void)
{
        struct t_req aer;
        uint8_t data[512];
        uint32_t dw0;

        begin(1 << 20, 8);
        CU_ASSERT_EQUAL(t_cdq_head(&t), 0); /* head 1, empty */
        CU_ASSERT_EQUAL(t_admin(&t, NVME_ADMIN_SET_FEATURES, 0,
                                (uint32_t[6]){0x21, t.cdqid | 1u << 31, 1, 2}, NULL, 0, NULL),
                        0);
        CU_ASSERT_EQUAL(
            t_admin(&t, NVME_ADMIN_GET_FEATURES, 0, (uint32_t[6]){0x21, t.cdqid}, data, 512, &dw0),
            0);
        CU_ASSERT_EQUAL(dw0, t.cdqid | 1u << 31);
        CU_ASSERT_EQUAL(get_le32(data), 1);
        CU_ASSERT_EQUAL(get_le32(data + 4), 2);
        t_sqe(&aer, NVME_ADMIN_ASYNC_EVENT, 0, NULL);
        t_start(&t, NVM_MMC_CNTLID, &aer);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0); /* slot 1 */
        CU_ASSERT_EQUAL(aer.done, 0);
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0); /* slot 2 */
        CU_ASSERT_EQUAL(aer.done, 1);
        CU_ASSERT_EQUAL(aer.r.dw0, 4);
        CU_ASSERT_EQUAL(aer.r.dw1, t.cdqid);
        CU_ASSERT_EQUAL(
            t_admin(&t, NVME_ADMIN_GET_FEATURES, 0, (uint32_t[6]){0x21, t.cdqid}, data, 512, &dw0),
            0);
        CU_ASSERT_EQUAL(dw0, t.cdqid); /* one-shot */
        t_nvme_fini(&t);
}

static void test_pending_tail_event_waits_for_a_request_and_is_cleared_by_set(void)
{
        struct t_req aer;
        begin(1 << 20, 8);
        for (int pass = 0; pass < 2; pass++) {
                uint32_t head = t.head;
                CU_ASSERT_EQUAL(t_admin(&t, NVME_ADMIN_SET_FEATURES, 0,
                                        (uint32_t[6]){0x21, t.cdqid | 1u << 31, head, head}, NULL,
                                        0, NULL),
                                0);
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 0, 1), 0);
                expect_range(0, 1);
                if (pass == 1)
                        CU_ASSERT_EQUAL(t_cdq_head(&t), 0); /* clears the event */
                t_sqe(&aer, NVME_ADMIN_ASYNC_EVENT, 0, NULL);
                t_start(&t, NVM_MMC_CNTLID, &aer);
                t_turn(&t);
                CU_ASSERT_EQUAL(aer.done, pass == 0);
        }
        nvm_controller_reset(t.s, NVM_MMC_CNTLID);
        t_nvme_fini(&t);
}

static void test_head_moves_only_within_what_is_posted(void)
{
        begin(1 << 20, 8);
        for (uint64_t b = 0; b < 6; b += 2)
                CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, b, 1), 0);
        /* posted: slots 0..3 */
        static const struct {
                uint32_t hp;
                uint16_t status;
        } rows[] = {{5, NVME_SC_INVALID_FIELD},
                    {7, NVME_SC_INVALID_FIELD},
                    {8, NVME_SC_INVALID_FIELD},
                    {UINT32_MAX, NVME_SC_INVALID_FIELD},
                    {0, 0},
                    {2, 0},
                    {1, NVME_SC_INVALID_FIELD},
                    {4, 0},
                    {5, NVME_SC_INVALID_FIELD},
                    {3, NVME_SC_INVALID_FIELD},
                    {4, 0}};
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                t.head = rows[i].hp;
                CU_ASSERT_EQUAL(t_cdq_head(&t), rows[i].status);
        }
        t_nvme_fini(&t);
}

static void test_a_volume_that_grows_is_logged_to_its_end(void)
{
        begin(1 << 20, 8);
        t.ram[0].fail = -EIO;
        t.ram[0].size_bytes = 8 << 20;
        CU_ASSERT_EQUAL(t_front_io(&t, 0, VOLUME_WRITE, 2047, 1), -EIO);
        expect_range(2047, 1);
        t_nvme_fini(&t);
}

/* Random writes, a reader of random speed, random suspensions: after every "suspended" mark the
 * copy made of the reported blocks equals the disk. */
static void test_model_reader_never_misses_a_change(void)
{
        static uint8_t copy[256 * 4096];
        struct rng r = {20};

        begin(sizeof(copy), 5);
        memset(copy, 0, sizeof(copy));
        for (int step = 0, marks = 0; marks < 60; step++) {
                bool suspend = rng_chance(&r, 1, 20);
                uint64_t b = rng_below(&r, 250);
                for (uint64_t n = rng_below(&r, 8); n && !suspend; n--) {
                        b = rng_below(&r, 250);
                        t.ram[0].data[b * 4096] = (uint8_t)rng_next(&r);
                        t_front_io(&t, 0, rng_chance(&r, 1, 3) ? VOLUME_DISCARD : VOLUME_WRITE, b,
                                   1 + rng_below(&r, 6));
                }
                if (suspend)
                        CU_ASSERT_EQUAL_FATAL(t_suspend(&t, 0, false), 0);
                bool marked = false;
                for (uint64_t n = suspend ? 10000 : rng_below(&r, 6); n && !marked; n--) {
                        if (!t_cdq_take(&t, &e)) {
                                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
                                continue;
                        }
                        if (e.kind == UDMQ_RANGE)
                                memcpy(copy + e.slba * 4096, t.ram[0].data + e.slba * 4096,
                                       e.nblocks * 4096);
                        marked = e.mark == UDMQ_SUSPENDED;
                        if (rng_chance(&r, 1, 2))
                                CU_ASSERT_EQUAL(t_cdq_head(&t), 0);
                }
                if (!suspend)
                        continue;
                CU_ASSERT_TRUE_FATAL(marked);
                CU_ASSERT_EQUAL_FATAL(memcmp(copy, t.ram[0].data, sizeof(copy)), 0);
                CU_ASSERT_EQUAL(t_resume(&t, 0), 0);
                marks++;
        }
        t_nvme_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_entry_layout_is_exact),
    T_CASE(test_changes_are_posted_after_their_effect_and_merged),
    T_CASE(test_failed_writes_are_logged),
    T_CASE(test_sectors_are_rounded_out_to_blocks),
    T_CASE(test_other_controllers_and_the_mmc_are_not_logged),
    T_CASE(test_full_ring_delays_and_merges_but_loses_nothing),
    T_CASE(test_phase_flips_with_every_pass),
    T_CASE(test_ranges_do_not_cross_chunks_and_reach_far),
    T_CASE(test_suspended_mark_follows_every_change),
    T_CASE(test_suspended_mark_comes_even_when_nothing_is_logged),
    T_CASE(test_suspend_may_delete_the_queue_after_the_mark),
    T_CASE(test_deleting_suspend_says_when_changes_did_not_fit),
    T_CASE(test_stop_is_marked_after_all_and_start_waits_for_room),
    T_CASE(test_tail_event_fires_once_for_the_slot_just_written),
    T_CASE(test_pending_tail_event_waits_for_a_request_and_is_cleared_by_set),
    T_CASE(test_head_moves_only_within_what_is_posted),
    T_CASE(test_a_volume_that_grows_is_logged_to_its_end),
    T_CASE(test_model_reader_never_misses_a_change),
};
T_MAIN("data queue", cases)
