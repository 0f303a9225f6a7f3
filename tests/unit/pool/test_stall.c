/* A device that stalls: what it was asked does not come back, for a while or for good. */
#include "t_pool.h"

#include "tests/t_suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 200, ZONES = 24, ZONE_BLOCKS = 64 };

/* ---- requests that nobody waits for ---- */

struct ask {
        struct volume_io io;
        struct iovec iov;
        uint8_t *buf; /* of its own: whoever touches it when the request is over is found */
        struct t_pool *stops; /* whose devices all stop the moment it is answered; or NULL */
        bool done;
        int status;
};

static void asked(struct volume_io *io, int status)
{
        struct ask *a = container_of(io, struct ask, io);

        a->done = true;
        a->status = status;
        for (uint32_t i = 0; a->stops && i < a->stops->ndevs; i++)
                t_stall(a->stops, i, true);
}

static struct ask *ask(struct t_pool *t, enum volume_op op, uint64_t block, uint64_t version)
{
        struct ask *a = calloc(1, sizeof(*a));

        a->buf = malloc(ZP_BLOCK);
        t_fill(a->buf, 1, block, version);
        a->iov = (struct iovec){a->buf, ZP_BLOCK};
        a->io = (struct volume_io){.op = op,
                                   .offset_bytes = op == VOLUME_FLUSH ? 0 : block * ZP_BLOCK,
                                   .length_bytes = op == VOLUME_FLUSH ? 0 : ZP_BLOCK,
                                   .iov = &a->iov,
                                   .niov = op == VOLUME_FLUSH ? 0 : 1,
                                   .done = asked};
        if (op == VOLUME_READ)
                memset(a->buf, 0, ZP_BLOCK);
        volume_submit(volume_by_name(t->pool, "disk"), &a->io);
        t_drive(t);
        return a;
}

static bool reads_as(const struct ask *a, uint64_t block, uint64_t version)
{
        uint8_t want[ZP_BLOCK];

        t_fill(want, 1, block, version);
        return a->done && a->status == 0 && !memcmp(a->buf, want, ZP_BLOCK);
}

/* It is over, one way or another; returns how. */
static int over(struct ask *a)
{
        int status = a->done ? a->status : -EINPROGRESS;

        CU_ASSERT(a->done);
        free(a->buf);
        free(a);
        return status;
}

static struct volume *pool_of(struct t_pool *t, uint32_t ndevs, uint8_t copies)
{
        struct volume *vol = NULL;

        t_pool_new(t, ndevs, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, copies, &vol), 0);
        t_write_all(t, BLOCKS, 1);
        CU_ASSERT_EQUAL(t_flush(vol, t), 0);
        return vol;
}

static struct pool_device_status device(struct t_pool *t, uint32_t i)
{
        struct pool_device_status st;

        pool_get_device_status(t->pool, i, &st);
        return st;
}

/* Writes one block after the other until the device has one that does not come back. */
static struct ask *write_until_stuck(struct t_pool *t, uint32_t dev, uint64_t version, uint64_t *at)
{
        t_stall(t, dev, true);
        for (*at = 0; *at < BLOCKS; (*at)++) {
                struct ask *a = ask(t, VOLUME_WRITE, *at, version);
                if (!a->done)
                        return a;
                CU_ASSERT_EQUAL(over(a), 0);
        }
        CU_FAIL_FATAL("nothing was written to the device");
        return NULL;
}

static void returned(void *ctx, int status, const struct err *err, uint32_t index)
{
        *(int *)ctx = status;
}

static void checkpointed(void *ctx, int status)
{
        *(int *)ctx = status;
}

/* ---- the state ---- */

static void test_stalled_is_what_does_not_come_back_in_time(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 1);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        t_pass(&t, 3);
        CU_ASSERT_FALSE(device(&t, 1).stalled);
        t_pass(&t, 4);
        CU_ASSERT(device(&t, 1).stalled);
        CU_ASSERT_FALSE(device(&t, 0).stalled || device(&t, 2).stalled);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_STALLED], 1);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_ANSWERS], 0);
        t_stall(&t, 1, false);
        t_drive(&t);
        CU_ASSERT_FALSE(device(&t, 1).stalled);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_STALLED], 1);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_ANSWERS], 1);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 0);
        CU_ASSERT_EQUAL(over(a), 0);
        t_check(&t);
        t_fini(&t);
}

/* Nobody asked for what had come back: that is no fault of the device. */
static void test_time_without_ticks_does_not_count(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 1);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        pool_tick(t.pool);
        t.now_ns += UINT64_C(3600) * 1000000000;
        pool_tick(t.pool);
        CU_ASSERT_FALSE(device(&t, 1).stalled);
        t_stall(&t, 1, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_STALLED], 0);
        CU_ASSERT_EQUAL(over(a), 0);
        t_fini(&t);
}

/* ---- writes ---- */

/* For longer than checkpoints are apart. */
static void test_writes_go_on_elsewhere(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 1);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        t_pass(&t, 7);
        for (int round = 3; round < 10; round++) {
                for (uint64_t b = at + 1; b < BLOCKS; b++)
                        CU_ASSERT_EQUAL(over(ask(&t, VOLUME_WRITE, b, (uint64_t)round)), 0);
                t_pass(&t, 10);
        }
        CU_ASSERT_FALSE(a->done);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 0);
        t_stall(&t, 1, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(over(a), 0);
        CU_ASSERT_EQUAL(t_flush(volume_by_name(t.pool, "disk"), &t), 0);
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, at + 1, 2);
        struct ask *last = ask(&t, VOLUME_READ, BLOCKS - 1, 0);
        CU_ASSERT(reads_as(last, BLOCKS - 1, 9));
        over(last);
        t_fini(&t);
}

/* As whoever has a disk expects it, and nothing is lost. */
static void test_what_can_go_nowhere_else_waits(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 1, 1);
        struct ask *a = write_until_stuck(&t, 0, 2, &at);
        struct ask *more = ask(&t, VOLUME_WRITE, at + 1, 2), *flush = ask(&t, VOLUME_FLUSH, 0, 0);
        t_pass(&t, 120);
        CU_ASSERT_FALSE(a->done || more->done || flush->done);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_STALLED], 1);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 0);
        t_stall(&t, 0, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(over(a), 0);
        CU_ASSERT_EQUAL(over(more), 0);
        CU_ASSERT_EQUAL(over(flush), 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, at + 2, 2);
        t_fini(&t);
}

/* ---- reads ---- */

static void test_mirrored_reads_go_to_the_other_member(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 2);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        t_pass(&t, 7);
        CU_ASSERT(device(&t, 1).stalled);
        for (uint64_t b = 0; b < BLOCKS; b++) {
                if (b == at)
                        continue;
                struct ask *r = ask(&t, VOLUME_READ, b, 0);
                CU_ASSERT(reads_as(r, b, b < at ? 2 : 1));
                over(r);
        }
        t_stall(&t, 1, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(over(a), 0);
        t_fini(&t);
}

/* One that waits already is asked of the other member; what the first says in the end goes nowhere,
 * the caller's memory being freed by then. */
static void test_a_read_that_waits_is_asked_of_the_other_member(void)
{
        struct t_pool t;
        unsigned waited = 0;

        pool_of(&t, 3, 2);
        for (uint32_t dev = 0; dev < 3; dev++) {
                struct ask *r[BLOCKS];
                t_stall(&t, dev, true);
                for (uint64_t b = 0; b < BLOCKS; b++)
                        r[b] = ask(&t, VOLUME_READ, b, 0);
                for (uint64_t b = 0; b < BLOCKS; b++)
                        waited += !r[b]->done;
                t_pass(&t, 7);
                for (uint64_t b = 0; b < BLOCKS; b++) {
                        CU_ASSERT(reads_as(r[b], b, 1));
                        over(r[b]);
                }
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 0);
                t_stall(&t, dev, false);
                t_drive(&t);
        }
        CU_ASSERT(waited > 0);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_HEALED], 0);
        t_check(&t);
        t_fini(&t);
}

/* Stands between the pool and its devices, and keeps the first read it sees. */
static struct {
        const struct zdev_ops *real;
        struct zdev *dev;
        struct zdev_io *kept;
        uint32_t zone;
        unsigned resets; /* of the zone that is read, all the time */
} late;

static void delayed(struct zdev *dev, struct zdev_io *io)
{
        late.resets += io->op == ZDEV_RESET && dev == late.dev && io->zone == late.zone;
        if (io->op == ZDEV_READ && !late.dev) {
                late.dev = dev;
                late.kept = io;
                late.zone = io->zone;
                return;
        }
        late.real->submit(dev, io);
}

/* Another member has answered, and nobody waits for the read any more; but the device may carry it
 * out yet. */
static void test_what_is_read_late_is_not_reset_before(void)
{
        static struct zdev_ops ops;
        struct t_pool t;

        pool_of(&t, 2, 2);
        memset(&late, 0, sizeof(late));
        late.real = t.devs[0]->ops;
        ops = *late.real;
        ops.submit = delayed;
        for (uint32_t i = 0; i < 2; i++)
                t.devs[i]->ops = &ops;
        struct ask *r = ask(&t, VOLUME_READ, 0, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(late.kept);
        CU_ASSERT_FALSE(r->done);
        t_pass(&t, 7);
        CU_ASSERT(reads_as(r, 0, 1));
        over(r);
        for (uint64_t version = 2; version < 12; version++) {
                t_write_all(&t, BLOCKS, version);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        }
        CU_ASSERT_EQUAL(late.resets, 0);
        late.real->submit(late.dev, late.kept);
        t_drive(&t);
        for (uint64_t version = 12; version < 22; version++) {
                t_write_all(&t, BLOCKS, version);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        }
        CU_ASSERT(late.resets > 0);
        for (uint32_t i = 0; i < 2; i++)
                t.devs[i]->ops = late.real;
        t_check(&t);
        t_fini(&t);
}

/* The other member has it wrong: the one that stalls is waited for. */
static void test_the_first_right_answer_counts(void)
{
        struct t_pool t;
        uint8_t block[ZP_BLOCK];

        for (uint32_t dev = 0; dev < 2; dev++) {
                pool_of(&t, 2, 2);
                t_fill(block, 1, 5, 1);
                CU_ASSERT_FATAL(t_damage_copy(&t, 1 - dev, block));
                t_stall(&t, dev, true);
                struct ask *r = ask(&t, VOLUME_READ, 5, 0);
                t_pass(&t, 7);
                CU_ASSERT_FALSE(r->done);
                t_stall(&t, dev, false);
                t_drive(&t);
                CU_ASSERT(reads_as(r, 5, 1));
                over(r);
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
                t_check(&t);
                t_fini(&t);
        }
}

/* ---- given up ---- */

static uint64_t generation(struct t_pool *t)
{
        struct pool_status st;

        pool_get_status(t->pool, &st);
        return st.generation;
}

/* A write that waits for the device, and a flush, end when another one has what it lacks and that
 * is on record. The rest of what it had been given comes much later. */
static void given_up(uint32_t ndevs, uint32_t dev)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, ndevs, 2);
        struct ask *a = write_until_stuck(&t, dev, 2, &at), *flush = ask(&t, VOLUME_FLUSH, 0, 0);
        uint64_t before = generation(&t);
        t_pass(&t, 20);
        CU_ASSERT_FALSE(a->done || flush->done);
        CU_ASSERT_EQUAL(device(&t, dev).error, 0);
        t_pass(&t, 20);
        CU_ASSERT_EQUAL(device(&t, dev).error, -ETIMEDOUT);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 1);
        CU_ASSERT_EQUAL(over(a), 0);
        CU_ASSERT_EQUAL(over(flush), 0);
        CU_ASSERT(generation(&t) > before);
        t_write_all(&t, BLOCKS, 3);
        t_check_all(&t, BLOCKS, 3);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, dev, NULL), -EAGAIN); /* it has it still */
        t_stall(&t, dev, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_ANSWERS], 1);
        t_check_all(&t, BLOCKS, 3);
        t_check(&t);
        CU_ASSERT_EQUAL(pool_device_detach(t.pool, dev, NULL), 0);
        int back = -EINPROGRESS;
        pool_device_return(t.pool, t.devs[dev], &back, returned);
        t_drive(&t);
        CU_ASSERT_EQUAL(back, 0);
        t_write_all(&t, BLOCKS / 2, 4);
        t_pass(&t, 20);
        CU_ASSERT_EQUAL(device(&t, dev).stale_bytes, 0); /* rebuilt */
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, BLOCKS / 2, 4);
        t_fini(&t);
}

static void test_a_mirror_goes_on_without_it(void)
{
        for (uint32_t dev = 0; dev < 3; dev++)
                given_up(3, dev);
        given_up(2, 0);
        given_up(2, 1);
}

/* What was acknowledged without it is there without it, and nobody need say that it may miss: power
 * fails at that very moment. */
static void test_it_is_on_record_before_anything_is_acknowledged(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 2);
        struct ask *a = write_until_stuck(&t, 1, 2, &at), *flush = ask(&t, VOLUME_FLUSH, 0, 0);
        flush->stops = &t;
        t_pass(&t, 40);
        CU_ASSERT_EQUAL(over(a), 0);
        CU_ASSERT_EQUAL(over(flush), 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 1, false), 0);
        t_check_all(&t, at + 1, 2);
        CU_ASSERT(device(&t, 1).missing);
        t_fini(&t);
}

/* A root, a flush and resets wait too when nobody writes. */
static void test_a_checkpoint_goes_on_without_it(void)
{
        struct t_pool t;

        for (uint32_t dev = 0; dev < 3; dev++) {
                pool_of(&t, 3, 2);
                int saved = -EINPROGRESS;
                t_stall(&t, dev, true);
                pool_checkpoint(t.pool, &saved, checkpointed);
                t_drive(&t);
                CU_ASSERT_EQUAL(saved, -EINPROGRESS);
                t_pass(&t, 40);
                CU_ASSERT_EQUAL(saved, 0);
                CU_ASSERT_EQUAL(device(&t, dev).error, -ETIMEDOUT);
                t_write_all(&t, BLOCKS, 2);
                t_stall(&t, dev, false);
                t_drive(&t);
                t_check_all(&t, BLOCKS, 2);
                t_check(&t);
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                t_check_all(&t, BLOCKS, 2);
                t_fini(&t);
        }
}

/* Power fails while the device still has what it was left with. */
static void test_a_crash_before_it_answers(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 2);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        t_pass(&t, 40);
        CU_ASSERT_EQUAL(over(a), 0);
        t_write_all(&t, BLOCKS, 3);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        t_check_all(&t, BLOCKS, 3);
        t_check(&t);
        t_fini(&t);
}

static void fill_single(struct t_pool *t, struct volume *single)
{
        uint8_t buf[ZP_BLOCK];

        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(buf, 2, b, 1);
                CU_ASSERT_EQUAL(t_io(single, t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false),
                                0);
        }
}

static void check_single(struct t_pool *t)
{
        struct volume *single = volume_by_name(t->pool, "single");
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];

        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(want, 2, b, 1);
                CU_ASSERT_EQUAL(t_io(single, t, VOLUME_READ, b * ZP_BLOCK, buf, ZP_BLOCK, false),
                                0);
                CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
        }
}

/* Blocks that no flush covers lie there alone: not of every device. */
static void test_what_would_be_lost_is_waited_for(void)
{
        const struct mem_device_spec spec = {.nr_zones = 2 * ZONES, .zone_blocks = ZONE_BLOCKS};
        unsigned waited = 0;

        for (uint32_t dev = 0; dev < 3; dev++) {
                struct t_pool t;
                struct volume *vol = NULL;
                uint64_t at;
                t_devices(&t, 3, &spec);
                CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
                CU_ASSERT_EQUAL_FATAL(t_create(&t, "single", BLOCKS * ZP_BLOCK, &vol), 0);
                fill_single(&t, vol);
                struct ask *a = write_until_stuck(&t, dev, 2, &at);
                t_pass(&t, 120);
                waited += !device(&t, dev).error;
                CU_ASSERT_EQUAL(a->done, device(&t, dev).error != 0);
                t_stall(&t, dev, false);
                t_drive(&t);
                CU_ASSERT_EQUAL(over(a), 0);
                CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_READONLY], 0);
                check_single(&t);
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                check_single(&t);
                t_check(&t);
                t_fini(&t);
        }
        CU_ASSERT(waited > 0);
}

static void test_never_is_never(void)
{
        struct t_pool t;
        uint64_t at;

        pool_of(&t, 3, 2);
        t_crash(&t);
        t.options.give_up_ms = UINT32_MAX;
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        struct ask *a = write_until_stuck(&t, 1, 2, &at);
        t_pass(&t, 120);
        CU_ASSERT_FALSE(a->done);
        CU_ASSERT(device(&t, 1).stalled);
        CU_ASSERT_EQUAL(device(&t, 1).error, 0);
        t_stall(&t, 1, false);
        t_drive(&t);
        CU_ASSERT_EQUAL(over(a), 0);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_stalled_is_what_does_not_come_back_in_time),
    T_CASE(test_time_without_ticks_does_not_count),
    T_CASE(test_writes_go_on_elsewhere),
    T_CASE(test_what_can_go_nowhere_else_waits),
    T_CASE(test_mirrored_reads_go_to_the_other_member),
    T_CASE(test_a_read_that_waits_is_asked_of_the_other_member),
    T_CASE(test_what_is_read_late_is_not_reset_before),
    T_CASE(test_the_first_right_answer_counts),
    T_CASE(test_a_mirror_goes_on_without_it),
    T_CASE(test_it_is_on_record_before_anything_is_acknowledged),
    T_CASE(test_a_checkpoint_goes_on_without_it),
    T_CASE(test_a_crash_before_it_answers),
    T_CASE(test_what_would_be_lost_is_waited_for),
    T_CASE(test_never_is_never),
};
T_MAIN("stall", cases)
