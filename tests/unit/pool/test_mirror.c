/* Volumes of several copies: what is wrong or missing on one device is had from another one, and
 * the pool knows at any time which copy is to be believed. */
#include "t_pool.h"

#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 200, ZONES = 24, ZONE_BLOCKS = 64 };

static void write_some(struct t_pool *t, struct volume *vol, uint64_t n, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        for (uint64_t b = 0; b < n; b++) {
                t_fill(buf, 1, b, version);
                CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, b * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        }
}

/* A volume of two copies with that many blocks, durable. */
static struct volume *mirrored(struct t_pool *t, uint32_t ndevs, uint64_t n)
{
        struct volume *vol = NULL;

        t_pool_new(t, ndevs, ZONES, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
        write_some(t, vol, n, 1);
        CU_ASSERT_EQUAL(t_flush(vol, t), 0);
        return vol;
}

static struct volume *disk(struct t_pool *t)
{
        struct volume *vol = volume_by_name(t->pool, "disk");

        CU_ASSERT_FATAL(vol != NULL);
        return vol;
}

static struct pool_status status(struct t_pool *t)
{
        struct pool_status st;

        pool_get_status(t->pool, &st);
        return st;
}

static struct pool_device_status device(struct t_pool *t, uint32_t i)
{
        struct pool_device_status st;

        pool_get_device_status(t->pool, i, &st);
        return st;
}

static void until_rebuilt(struct t_pool *t)
{
        uint64_t left = UINT64_MAX;

        for (int i = 0; i < 1000 && status(t).rebuild_bytes; i++) {
                CU_ASSERT(status(t).rebuild_bytes <= left);
                left = status(t).rebuild_bytes;
                t_pass(t, 1);
        }
        CU_ASSERT_EQUAL(status(t).rebuild_bytes, 0);
}

/* ---- a wrong copy ---- */

static void test_read_heals_a_wrong_copy(void)
{
        uint64_t healed = 0;
        uint8_t buf[ZP_BLOCK];

        for (uint32_t dev = 0; dev < 2; dev++) { /* one of them is asked first */
                struct t_pool t;
                struct volume *vol = mirrored(&t, 2, 10);
                t_fill(buf, 1, 5, 1);
                CU_ASSERT_FATAL(t_damage_copy(&t, dev, buf));
                CU_ASSERT_EQUAL(t_wrong(&t, vol, 10, 1), 0);
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_HEALED], status(&t).healed_blocks);
                CU_ASSERT_EQUAL(t.events[POOL_EVENT_CORRUPTION], 0);
                if (status(&t).healed_blocks) { /* it has moved: both have it right */
                        CU_ASSERT_EQUAL(t_wrong(&t, vol, 10, 1), 0);
                        healed += status(&t).healed_blocks;
                        t_crash(&t);
                        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << (1 - dev), true), 0);
                        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 10, 1), 0);
                }
                t_check(&t);
                t_fini(&t);
        }
        CU_ASSERT_EQUAL(healed, 1);
}

static void test_both_copies_wrong_is_an_error(void)
{
        struct t_pool t;
        struct volume *vol = mirrored(&t, 2, 10);
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, 5, 1);
        CU_ASSERT_FATAL(t_damage_copy(&t, 0, buf) && t_damage_copy(&t, 1, buf));
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_READ, 5 * ZP_BLOCK, buf, ZP_BLOCK, false), -EILSEQ);
        CU_ASSERT(t.events[POOL_EVENT_CORRUPTION] > 0);
        CU_ASSERT_EQUAL(status(&t).healed_blocks, 0);
        CU_ASSERT_EQUAL(t_wrong(&t, vol, 10, 1), 1);
        t_fini(&t);
}

/* ---- a lost device ---- */

static void test_write_goes_elsewhere_when_a_member_fails(void)
{
        struct t_pool t;
        struct volume *vol = mirrored(&t, 3, 50);
        uint64_t before = status(&t).generation;

        t_lose(&t, 1, true);
        write_some(&t, vol, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        CU_ASSERT_EQUAL(device(&t, 1).error, -ENODEV);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 1);
        CU_ASSERT(status(&t).generation > before); /* it is on record */
        CU_ASSERT_EQUAL(t_wrong(&t, vol, BLOCKS, 2), 0);
        t_check(&t);
        t_crash(&t);
        /* so nobody need say that it may be missing */
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 1, false), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), BLOCKS, 2), 0);
        CU_ASSERT(device(&t, 1).missing);
        t_fini(&t);
}

static void test_returning_member_is_not_read_before_it_is_rebuilt(void)
{
        struct t_pool t;
        struct volume *vol = mirrored(&t, 2, BLOCKS);

        t_lose(&t, 0, true);
        write_some(&t, vol, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        t_crash(&t);
        t_lose(&t, 0, false);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), BLOCKS, 2), 0);
        until_rebuilt(&t);
        CU_ASSERT(status(&t).clean_write_bytes > 0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT_EQUAL(device(&t, 0).stale_bytes, 0);
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 1, true), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), BLOCKS, 2), 0);
        t_fini(&t);
}

/* More than is moved at once. */
static void test_rebuild_copies_what_lives_alone(void)
{
        enum { MANY = 4000, AT_ONCE = 40 };
        static uint8_t buf[AT_ONCE * ZP_BLOCK];
        struct t_pool t;
        struct volume *vol = NULL;

        t_pool_new(&t, 3, 160, ZONE_BLOCKS);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", MANY * ZP_BLOCK, 2, &vol), 0);
        for (uint64_t b = 0; b < MANY; b += AT_ONCE) {
                for (unsigned i = 0; i < AT_ONCE; i++)
                        t_fill(buf + i * ZP_BLOCK, 1, b + i, 1);
                CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, b * ZP_BLOCK, buf, sizeof(buf), false),
                                0);
        }
        CU_ASSERT_EQUAL(
            t_io(vol, &t, VOLUME_DISCARD, MANY / 2 * ZP_BLOCK, NULL, MANY / 4 * ZP_BLOCK, false),
            0);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        uint64_t before = status(&t).clean_write_bytes;
        t_lose(&t, 1, true);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0); /* whose root cannot be written there */
        uint64_t left = status(&t).rebuild_bytes;
        CU_ASSERT(left > 0);
        until_rebuilt(&t);
        uint64_t moved = status(&t).clean_write_bytes - before;
        CU_ASSERT(moved >= left / 2); /* the rest is of tables */
        CU_ASSERT(moved < status(&t).allocated_bytes);
        t_check(&t);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 3u, true), 0); /* the third has it all */
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), MANY / 2, 1), 0);
        t_fini(&t);
}

/* ---- missing devices at import ---- */

static void test_missing_device_takes_the_word_of_the_operator(void)
{
        struct t_pool t;

        mirrored(&t, 2, 10);
        t_crash(&t);
        CU_ASSERT_EQUAL(t_import_degraded(&t, 1u << 0, false), -ENXIO);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 0, true), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 10, 1), 0);
        write_some(&t, disk(&t), 10, 2);
        CU_ASSERT_EQUAL(t_flush(disk(&t), &t), 0);
        t_crash(&t);
        /* the other one, used apart, would be believed against the first */
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 10, 2), 0);
        t_fini(&t);
}

static void test_fewer_than_half_are_never_enough(void)
{
        struct t_pool t;

        mirrored(&t, 3, 10);
        t_crash(&t);
        CU_ASSERT(t_import_degraded(&t, 6u, true) < 0);
        CU_ASSERT_EQUAL(t_import_degraded(&t, 4u, true), 0);
        t_fini(&t);
}

static void test_single_copies_take_all_devices(void)
{
        const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct t_pool t;
        struct volume *vol = NULL;

        t_devices(&t, 4, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&t, "single", 10 * ZP_BLOCK, &vol), 0);
        t_crash(&t);
        CU_ASSERT(t_import_degraded(&t, 1u << 3, true) < 0);
        CU_ASSERT_EQUAL(t_import(&t), 0);
        t_fini(&t);
}

/* ---- what power took from one member ---- */

enum { FIRST = 5, AT_ONCE = 8 };

static uint64_t rebuild_left(struct t_pool *t)
{
        return status(t).rebuild_bytes;
}

/* Where the device has that block. */
static void find(struct t_pool *t, uint32_t dev, const uint8_t *block, uint32_t *ret_zone,
                 uint64_t *ret_at)
{
        struct zdev *mem = t_mem(t, dev);
        uint8_t buf[ZP_BLOCK];

        for (*ret_zone = 0; *ret_zone < mem->geo.nr_zones; ++*ret_zone)
                for (*ret_at = 0; *ret_at < mem->geo.zone_blocks; ++*ret_at) {
                        mem->ops->peek(mem, *ret_zone, *ret_at, buf);
                        if (memcmp(buf, block, ZP_BLOCK) == 0)
                                return;
                }
        CU_FAIL_FATAL("the device does not have it");
}

/* A flushed version of all blocks, and one more of some, in a batch of which the second device
 * keeps `kept` blocks of data only, the first of them perhaps wrong. */
static void power_takes(struct t_pool *t, unsigned kept, bool wrong)
{
        static uint8_t buf[AT_ONCE * ZP_BLOCK];
        struct volume *vol = mirrored(t, 2, 20);
        uint32_t zone;
        uint64_t at;

        for (unsigned i = 0; i < AT_ONCE; i++)
                t_fill(buf + i * ZP_BLOCK, 1, FIRST + i, 2);
        CU_ASSERT_EQUAL(t_io(vol, t, VOLUME_WRITE, FIRST * ZP_BLOCK, buf, sizeof(buf), false), 0);
        t_crash(t);
        find(t, 1, buf, &zone, &at);
        mem_device_set_zone(t_mem(t, 1), zone, ZDEV_ZONE_CLOSED, at + kept);
        if (wrong)
                t_damage_place(t, 1, zone, at);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL(t_wrong(t, disk(t), 20, 2), 20 - AT_ONCE); /* the others are version 1 */
}

static void test_a_member_that_lost_a_batch_gets_it_again(void)
{
        for (unsigned kept = 0; kept < AT_ONCE; kept += 3) {
                struct t_pool t;
                power_takes(&t, kept, false);
                CU_ASSERT_EQUAL(rebuild_left(&t), 0);
                t_check(&t);
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 0, true), 0);
                CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 20, 2), 20 - AT_ONCE);
                CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 20, 1), AT_ONCE);
                t_fini(&t);
        }
}

/* What stands below the pointer cannot be written again. */
static void test_a_member_that_is_wrong_below_its_end_is_rebuilt(void)
{
        struct t_pool t;

        power_takes(&t, 3, true);
        CU_ASSERT(rebuild_left(&t) > 0);
        until_rebuilt(&t);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 0, true), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), 20, 2), 20 - AT_ONCE);
        t_fini(&t);
}

/* ---- zones that fail by themselves ---- */

struct zones {
        struct t_pool *t;
        enum zdev_zone_state state;
        unsigned n;
};

/* The first copy of what lies in group of block 0. */
static void spoil(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                  uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct zones *z = ctx;
        uint32_t zone;
        const struct zdev *dev = pool_inspect_member(z->t->pool, group, 0, &zone);

        for (uint32_t i = 0; i < z->t->ndevs && block == 0; i++) {
                if (z->t->devs[i] != dev)
                        continue;
                struct zdev_zone now;
                CU_ASSERT_EQUAL_FATAL(t_report(z->t, i, zone, &now), 0);
                mem_device_set_zone(t_mem(z->t, i), zone, z->state, now.wp_block);
                z->n++;
        }
}

static void zone_fails(struct t_pool *t, enum zdev_zone_state state)
{
        struct zones z = {t, state, 0};

        pool_inspect_table(t->pool, &z, spoil);
        CU_ASSERT_EQUAL(z.n, 1);
}

static void test_zone_that_went_offline_is_done_without(void)
{
        struct t_pool t;
        struct volume *vol = mirrored(&t, 3, BLOCKS);

        zone_fails(&t, ZDEV_ZONE_OFFLINE);
        CU_ASSERT_EQUAL(t_wrong(&t, vol, BLOCKS, 1), 0);
        write_some(&t, vol, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, vol, BLOCKS, 2), 0);
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), BLOCKS, 2), 0);
        t_fini(&t);
}

static void test_zone_that_turns_read_only_is_left(void)
{
        struct t_pool t;
        struct volume *vol = mirrored(&t, 3, 5); /* in the open group */

        zone_fails(&t, ZDEV_ZONE_READONLY);
        write_some(&t, vol, BLOCKS, 2);
        CU_ASSERT_EQUAL(t_flush(vol, &t), 0);
        CU_ASSERT_EQUAL(device(&t, 0).error + device(&t, 1).error + device(&t, 2).error, 0);
        CU_ASSERT_EQUAL(t_wrong(&t, vol, BLOCKS, 2), 0);
        t_check(&t);
        t_crash(&t);
        CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
        CU_ASSERT_EQUAL(t_wrong(&t, disk(&t), BLOCKS, 2), 0);
        t_fini(&t);
}

/* Stands between the pool and a device, and keeps the first that is to finish a zone. */
static struct {
        const struct zdev_ops *real;
        struct zdev *dev;
        struct zdev_io *kept;
} finish;

static void kept_back(struct zdev *dev, struct zdev_io *io)
{
        if (dev == finish.dev && io->op == ZDEV_FINISH && !finish.kept)
                finish.kept = io;
        else
                finish.real->submit(dev, io);
}

/* Zones of the larger device are finished when a group is full, and that takes longer than the
 * group lives. The books say what is still active, and then that it is not. */
static void test_a_zone_is_active_until_it_is_finished(void)
{
        const struct mem_device_spec small = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS},
                                     large = {.nr_zones = ZONES, .zone_blocks = 2 * ZONE_BLOCKS};
        static struct zdev_ops ops;
        struct volume *vol = NULL;
        struct t_pool t, other;

        for (uint32_t held = 0; held < 2; held++) { /* whichever of them owns the group */
                t_devices(&t, 1, held ? &small : &large);
                t_devices(&other, 1, held ? &large : &small);
                t.devs[t.ndevs++] = other.devs[0];
                CU_ASSERT_EQUAL_FATAL(t_format(&t, "tank"), 0);
                CU_ASSERT_EQUAL_FATAL(t_import(&t), 0);
                CU_ASSERT_EQUAL_FATAL(t_create_copies(&t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
                memset(&finish, 0, sizeof(finish));
                finish.real = t.devs[held]->ops;
                finish.dev = t.devs[held];
                ops = *finish.real;
                ops.submit = kept_back;
                t.devs[held]->ops = &ops;
                for (uint64_t version = 1; version < 4; version++) {
                        write_some(&t, vol, BLOCKS, version);
                        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
                        t_check(&t);
                }
                CU_ASSERT_PTR_NOT_NULL_FATAL(finish.kept);
                finish.real->submit(finish.dev, finish.kept);
                t_drive(&t);
                t_check(&t);
                t.devs[held]->ops = finish.real;
                t_fini(&t);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_read_heals_a_wrong_copy),
    T_CASE(test_both_copies_wrong_is_an_error),
    T_CASE(test_write_goes_elsewhere_when_a_member_fails),
    T_CASE(test_returning_member_is_not_read_before_it_is_rebuilt),
    T_CASE(test_rebuild_copies_what_lives_alone),
    T_CASE(test_missing_device_takes_the_word_of_the_operator),
    T_CASE(test_fewer_than_half_are_never_enough),
    T_CASE(test_single_copies_take_all_devices),
    T_CASE(test_a_member_that_lost_a_batch_gets_it_again),
    T_CASE(test_a_member_that_is_wrong_below_its_end_is_rebuilt),
    T_CASE(test_zone_that_went_offline_is_done_without),
    T_CASE(test_zone_that_turns_read_only_is_left),
    T_CASE(test_a_zone_is_active_until_it_is_finished),
};
T_MAIN("pool-mirror", cases)
