/* Scrubbing finds what reads would find, and says where; what of tables is damaged is written anew.
 */
#include "t_pool.h"

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

static const struct t_case cases[] = {
    T_CASE(test_sound_pool_is_read_whole),
    T_CASE(test_damaged_block_is_named),
    T_CASE(test_paused_scrub_goes_on_where_it_was),
    T_CASE(test_cancelled_scrub_begins_anew),
};
T_MAIN("pool-scrub", cases)
