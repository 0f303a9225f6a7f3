/* Scrubbing finds what reads would find, and says where; what of tables is damaged is written anew.
 */
#include "t_pool.h"

#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 500 };

struct answer {
        bool done;
        int status;
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;

        a->done = true;
        a->status = status;
        CU_ASSERT_EQUAL(err != NULL, status < 0);
}

static int ask(struct t_pool *t, enum pool_scrub_what what)
{
        struct answer a = {0};

        pool_scrub(t->pool, what, &a, answered);
        t_drive(t);
        CU_ASSERT(a.done);
        return a.status;
}

static void until_done(struct t_pool *t, struct pool_scrub_status *st)
{
        for (int i = 0; i < 10000; i++) {
                pool_get_scrub_status(t->pool, st);
                if (st->state == POOL_SCRUB_DONE)
                        return;
                t->now_ns += 1000000000;
                pool_tick(t->pool);
                t_drive(t);
        }
        CU_FAIL("the scrub does not end");
}

static struct volume *filled(struct t_pool *t)
{
        struct volume *vol = NULL;
        uint8_t buf[ZP_BLOCK];

        t_pool_new(t, 2, 16, 256);
        CU_ASSERT_EQUAL_FATAL(t_create(t, "disk", BLOCKS * ZP_BLOCK, &vol), 0);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        }
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
        return vol;
}

static void test_sound_pool_is_read_whole(void)
{
        struct t_pool t;
        struct pool_scrub_status st;

        filled(&t);
        pool_get_scrub_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.state, POOL_SCRUB_NONE);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_START), 0);
        until_done(&t, &st);
        CU_ASSERT(st.verified_bytes > (uint64_t)BLOCKS * ZP_BLOCK); /* and the tables */
        CU_ASSERT_EQUAL(st.left_bytes, 0);
        CU_ASSERT_EQUAL(st.damaged_blocks + st.repaired_blocks + st.unknown_batches, 0);
        t_fini(&t);
}

static void test_damaged_block_is_named(void)
{
        struct t_pool t;
        struct volume *vol = filled(&t);
        struct pool_scrub_status st;
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, 123, 1);
        t_damage(&t, buf);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_START), 0);
        until_done(&t, &st);
        CU_ASSERT_EQUAL(st.damaged_blocks, 1);
        CU_ASSERT_EQUAL_FATAL(st.nfindings, 1);
        CU_ASSERT_EQUAL(st.findings[0].block, 123);
        CU_ASSERT(uuid_equal(&st.findings[0].volume, volume_uuid(vol)));
        CU_ASSERT(t.events[POOL_EVENT_CORRUPTION] > 0);
        t_fini(&t);
}

static void test_paused_scrub_goes_on_where_it_was(void)
{
        struct t_pool t;
        struct pool_scrub_status st, before;

        filled(&t);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_PAUSE), -EINVAL);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_CANCEL), -EINVAL);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_START), 0);
        until_done(&t, &before);
        struct answer start = {0}, again = {0}, pause = {0};
        pool_scrub(t.pool, POOL_SCRUB_START, &start, answered);
        pool_scrub(t.pool, POOL_SCRUB_START, &again, answered);
        pool_scrub(t.pool, POOL_SCRUB_PAUSE, &pause, answered);
        t_drive(&t);
        CU_ASSERT_EQUAL(start.status, 0);
        CU_ASSERT_EQUAL(again.status, -EALREADY);
        CU_ASSERT_EQUAL(pause.status, 0);
        pool_get_scrub_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.state, POOL_SCRUB_PAUSED);
        CU_ASSERT(st.left_bytes > 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        pool_get_scrub_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.state, POOL_SCRUB_PAUSED);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_START), 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        until_done(&t, &st); /* by itself */
        CU_ASSERT(st.verified_bytes >= (uint64_t)BLOCKS * ZP_BLOCK);
        CU_ASSERT_EQUAL(st.damaged_blocks, 0);
        t_fini(&t);
}

static void test_cancelled_scrub_begins_anew(void)
{
        struct t_pool t;
        struct pool_scrub_status st;
        struct answer start = {0}, cancel = {0};

        filled(&t);
        pool_scrub(t.pool, POOL_SCRUB_START, &start, answered);
        pool_scrub(t.pool, POOL_SCRUB_CANCEL, &cancel, answered);
        t_drive(&t);
        CU_ASSERT_EQUAL(cancel.status, 0);
        pool_get_scrub_status(t.pool, &st);
        CU_ASSERT_EQUAL(st.state, POOL_SCRUB_NONE);
        CU_ASSERT_EQUAL(ask(&t, POOL_SCRUB_START), 0);
        until_done(&t, &st);
        CU_ASSERT(st.verified_bytes > (uint64_t)BLOCKS * ZP_BLOCK);
        t_fini(&t);
}

/* ---- volumes of several copies ---- */

static struct volume *mirrored(struct t_pool *t)
{
        struct volume *vol = NULL;
        uint8_t buf[ZP_BLOCK];

        t_pool_new(t, 2, 24, 128);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(buf, 1, b, 1);
                CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        }
        CU_ASSERT_EQUAL(t_checkpoint(t), 0);
        return vol;
}

static void damage(struct t_pool *t, uint32_t dev, uint64_t block)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, block, 1);
        CU_ASSERT_FATAL(t_damage_copy(t, dev, buf));
}

static struct pool_scrub_status scrub(struct t_pool *t)
{
        struct pool_scrub_status st;

        CU_ASSERT_EQUAL(ask(t, POOL_SCRUB_START), 0);
        until_done(t, &st);
        return st;
}

/* Each device by itself has every block. */
static void check_each_device(struct t_pool *t)
{
        uint64_t bad = 0;

        for (uint32_t gone = 0; gone < 2; gone++) {
                for (uint32_t dev = 0; dev < 2; dev++)
                        t_lose(t, dev, dev == gone);
                t_crash(t);
                CU_ASSERT_EQUAL_FATAL(t_import_degraded(t, 1u << gone, true), 0);
                bad += t_wrong(t, volume_by_name(t->pool, "disk"), BLOCKS, 1);
                t_lose(t, gone, false);
                t_crash(t);
                CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
                t_pass(t, 5); /* what it missed is made anew */
        }
        CU_ASSERT_EQUAL(bad, 0);
}

static void test_wrong_copy_of_any_member_is_healed(void)
{
        struct t_pool t;
        struct pool_scrub_status st;
        struct pool_status ps;

        mirrored(&t);
        damage(&t, 0, 17);
        damage(&t, 1, 170);
        damage(&t, 1, 171);
        st = scrub(&t);
        CU_ASSERT_EQUAL(st.wrong_copies, 3);
        CU_ASSERT_EQUAL(st.repaired_blocks, 3);
        CU_ASSERT_EQUAL(st.damaged_blocks + st.unknown_batches, 0);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_HEALED], 3);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
        pool_get_status(t.pool, &ps);
        CU_ASSERT_EQUAL(ps.healed_blocks, 3);
        st = scrub(&t);
        CU_ASSERT_EQUAL(st.wrong_copies, 0);
        t_check(&t);
        check_each_device(&t);
        t_fini(&t);
}

static void test_block_wrong_everywhere_is_lost(void)
{
        struct t_pool t;
        struct pool_scrub_status st;

        mirrored(&t);
        damage(&t, 0, 17);
        damage(&t, 1, 17);
        damage(&t, 1, 18);
        st = scrub(&t);
        CU_ASSERT_EQUAL(st.wrong_copies, 3);
        CU_ASSERT_EQUAL(st.repaired_blocks, 1);
        CU_ASSERT_EQUAL(st.damaged_blocks, 1);
        CU_ASSERT_EQUAL_FATAL(st.nfindings, 1);
        CU_ASSERT_EQUAL(st.findings[0].block, 17);
        CU_ASSERT(t.events[POOL_EVENT_CORRUPTION] > 0);
        t_fini(&t);
}

struct place {
        struct t_pool *t;
        uint32_t copy;
        uint64_t block;
        bool found;
};

static void damage_header(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                          uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct place *p = ctx;
        uint32_t zone;
        const struct zdev *dev = pool_inspect_member(p->t->pool, group, p->copy, &zone);

        for (uint32_t i = 0; block == p->block && i < p->t->ndevs; i++) {
                if (p->t->devs[i] != dev)
                        continue;
                t_damage_place(p->t, i, zone, offset - 1); /* it was written by itself */
                p->found = true;
        }
}

static void test_wrong_header_is_healed_by_moving_its_group(void)
{
        for (uint32_t copy = 0; copy < 2; copy++) {
                struct t_pool t;
                struct pool_scrub_status st;
                struct place p = {&t, copy, 3, false};
                mirrored(&t);
                pool_inspect_table(t.pool, &p, damage_header);
                CU_ASSERT_FATAL(p.found);
                st = scrub(&t);
                CU_ASSERT_EQUAL(st.wrong_copies, 1);
                CU_ASSERT_EQUAL(st.damaged_blocks + st.unknown_batches, 0);
                CU_ASSERT(st.verified_bytes >= (uint64_t)BLOCKS * ZP_BLOCK);
                t_pass(&t, 5);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                st = scrub(&t);
                CU_ASSERT_EQUAL(st.wrong_copies, 0);
                t_check(&t);
                check_each_device(&t);
                t_fini(&t);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_sound_pool_is_read_whole),
    T_CASE(test_damaged_block_is_named),
    T_CASE(test_paused_scrub_goes_on_where_it_was),
    T_CASE(test_cancelled_scrub_begins_anew),
    T_CASE(test_wrong_copy_of_any_member_is_healed),
    T_CASE(test_block_wrong_everywhere_is_lost),
    T_CASE(test_wrong_header_is_healed_by_moving_its_group),
};
T_MAIN("pool-scrub", cases)
