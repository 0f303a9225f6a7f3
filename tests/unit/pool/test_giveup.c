/* What only a lost device had is given up: the device can go, and the blocks read as errors, never as
 * zeroes or as anything else, until they are overwritten or discarded. */
#include "t_pool.h"

#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { BLOCKS = 600, ZONES = 24, ZONE_BLOCKS = 128, PARENTS = 200 };

struct answer {
        bool done;
        int status;
        uint64_t bytes;
        uint32_t n;
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;

        a->done = true;
        a->status = status;
        CU_ASSERT_EQUAL(err != NULL, status < 0);
}

static void snapped(void *ctx, int status, struct volume *snap)
{
        answered(ctx, status, status < 0 ? &(struct err){.code = 1} : NULL);
}

static void listed(void *ctx, int status, const struct pool_lost *lost, uint32_t n)
{
        struct answer *a = ctx;

        a->done = true;
        a->status = status;
        a->n = n;
        for (uint32_t i = 0; i < n; i++)
                a->bytes += lost[i].bytes;
}

/* Where blocks of "disk" lie. */
struct places {
        struct t_pool *t;
        const struct uuid *disk;
        uint32_t dev[BLOCKS];
        uint32_t count[3];
};

static void place(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                  uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct places *p = ctx;
        uint32_t zone;
        const struct zdev *dev = pool_inspect_member(p->t->pool, group, 0, &zone);

        for (uint32_t i = 0; uuid_equal(vol, p->disk) && i < 3; i++) {
                if (p->t->devs[i] != dev)
                        continue;
                p->dev[block] = i;
                p->count[i]++;
        }
}

struct world {
        struct t_pool t;
        struct places at;
        uint32_t dead;
        uint64_t lost; /* blocks, of these */
};

static struct volume *disk(struct world *w)
{
        return volume_by_name(w->t.pool, "disk");
}

static bool is_lost(const struct world *w, uint64_t b)
{
        return w->at.dev[b] == w->dead;
}

static struct pool_device_status dead(struct world *w)
{
        struct pool_device_status st;

        pool_get_device_status(w->t.pool, w->dead, &st);
        return st;
}

static int give_up(struct world *w, uint64_t bytes)
{
        struct answer a = {0};

        pool_device_give_up(w->t.pool, w->dead, bytes, &a, answered);
        t_drive(&w->t);
        CU_ASSERT(a.done);
        return a.status;
}

/* Tables are kept twice, "disk" once. */
static void filled(struct world *w)
{
        const struct mem_device_spec spec = {
            .nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS, .max_open = 14, .max_active = 14};
        struct volume *vol = NULL;

        memset(w, 0, sizeof(*w));
        t_devices(&w->t, 3, &spec);
        w->t.random = 4711;
        CU_ASSERT_EQUAL_FATAL(t_format(&w->t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&w->t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&w->t, "twice", 100 * ZP_BLOCK, 2, &vol), 0);
        CU_ASSERT_EQUAL_FATAL(t_create(&w->t, "disk", 2 * BLOCKS * ZP_BLOCK, &vol), 0);
        t_write_all(&w->t, BLOCKS, 1);
        CU_ASSERT_EQUAL(t_checkpoint(&w->t), 0);
}

static void lose_the_fullest(struct world *w)
{
        struct uuid uuid = *volume_uuid(disk(w));

        w->at.t = &w->t;
        w->at.disk = &uuid;
        pool_inspect_table(w->t.pool, &w->at, place);
        for (uint32_t i = 1; i < 3; i++)
                w->dead = w->at.count[i] > w->at.count[w->dead] ? i : w->dead;
        for (uint64_t b = 0; b < BLOCKS; b++)
                w->lost += is_lost(w, b);
        CU_ASSERT_FATAL(w->lost > 0);
        t_lose(&w->t, w->dead, true);
        CU_ASSERT_EQUAL(t_checkpoint(&w->t), 0);
        t_pass(&w->t, 5);
}

static void ask_to_leave(struct world *w)
{
        struct answer a = {0};

        pool_device_remove(w->t.pool, w->dead, &a, answered);
        t_drive(&w->t);
        CU_ASSERT(a.done && a.status == 0);
}

static void until_stuck(struct world *w)
{
        for (int i = 0; i < 200 && !dead(w).stuck_bytes; i++)
                t_pass(&w->t, 1);
        CU_ASSERT_FATAL(dead(w).stuck_bytes > 0);
}

static void until_gone(struct world *w)
{
        for (int i = 0; i < 200 && dead(w).state != POOL_DEVICE_NONE; i++)
                t_pass(&w->t, 1);
        CU_ASSERT_EQUAL(dead(w).state, POOL_DEVICE_NONE);
}

/* What was lost gives errors, everything else is what it was. */
static void check(struct world *w, struct volume *vol)
{
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];
        uint64_t errors = 0, wrong = 0;

        for (uint64_t b = 0; b < BLOCKS; b++) {
                t_fill(want, 1, b, 1);
                memset(buf, 0, sizeof(buf));
                int rc = t_io(vol, &w->t, VOLUME_READ, b * ZP_BLOCK, buf, ZP_BLOCK, false);
                errors += is_lost(w, b) && (rc == -EIO || rc == -ENODEV);
                wrong += is_lost(w, b) ? rc >= 0 : rc < 0 || memcmp(buf, want, ZP_BLOCK) != 0;
        }
        CU_ASSERT_EQUAL(errors, w->lost);
        CU_ASSERT_EQUAL(wrong, 0);
        t_check(&w->t);
}

static void reopen(struct world *w)
{
        t_crash(&w->t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&w->t, 1u << w->dead, false), 0);
}

static void test_a_lost_device_goes_when_its_blocks_are_given_up(void)
{
        struct world w;
        struct answer a = {0};

        filled(&w);
        lose_the_fullest(&w);
        CU_ASSERT_EQUAL(give_up(&w, UINT64_MAX), -EINVAL); /* it does not leave */
        ask_to_leave(&w);
        until_stuck(&w);
        CU_ASSERT_EQUAL(dead(&w).stuck_bytes, w.lost * ZP_BLOCK);
        CU_ASSERT(w.t.events[POOL_EVENT_DEVICE_STUCK] > 0);
        pool_device_lost(w.t.pool, w.dead, &a, listed);
        t_drive(&w.t);
        CU_ASSERT(a.done && a.status == 0);
        CU_ASSERT_EQUAL(a.n, 1);
        CU_ASSERT_EQUAL(a.bytes, w.lost * ZP_BLOCK);
        CU_ASSERT_EQUAL(give_up(&w, w.lost * ZP_BLOCK - 1), -ESTALE);
        t_pass(&w.t, 100);
        CU_ASSERT_EQUAL(dead(&w).stuck_bytes, w.lost * ZP_BLOCK);
        check(&w, disk(&w));
        CU_ASSERT_EQUAL(give_up(&w, w.lost * ZP_BLOCK), 0);
        until_gone(&w);
        check(&w, disk(&w));
        reopen(&w);
        check(&w, disk(&w));
        t_fini(&w.t);
}

static void test_what_was_given_up_can_be_overwritten_and_discarded(void)
{
        struct world w;
        uint8_t buf[ZP_BLOCK], want[ZP_BLOCK];
        uint64_t first = 0, second;

        filled(&w);
        lose_the_fullest(&w);
        ask_to_leave(&w);
        until_stuck(&w);
        CU_ASSERT_EQUAL(give_up(&w, dead(&w).stuck_bytes), 0);
        until_gone(&w);
        while (!is_lost(&w, first))
                first++;
        for (second = first + 1; !is_lost(&w, second);)
                second++;
        struct volume *vol = disk(&w);
        memset(buf, 9, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(vol, &w.t, VOLUME_WRITE, first * ZP_BLOCK, buf, 512, false), -EIO);
        CU_ASSERT_EQUAL(t_io(vol, &w.t, VOLUME_READ, first * ZP_BLOCK, buf, 512, false), -EIO);
        t_fill(want, 1, first, 2);
        CU_ASSERT_EQUAL(t_io(vol, &w.t, VOLUME_WRITE, first * ZP_BLOCK, want, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &w.t, VOLUME_DISCARD, second * ZP_BLOCK, NULL, ZP_BLOCK, false),
                        0);
        CU_ASSERT_EQUAL(t_flush(vol, &w.t), 0);
        for (int i = 0; i < 2; i++) {
                vol = disk(&w);
                CU_ASSERT_EQUAL(
                    t_io(vol, &w.t, VOLUME_READ, first * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
                CU_ASSERT_EQUAL(memcmp(buf, want, ZP_BLOCK), 0);
                CU_ASSERT_EQUAL(
                    t_io(vol, &w.t, VOLUME_READ, second * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
                CU_ASSERT(!buf[0] && !memcmp(buf, buf + 1, ZP_BLOCK - 1));
                reopen(&w);
        }
        t_fini(&w.t);
}

/* They are a snapshot's; a volume above it shows them, and a volume that overwrote them does not. */
static void test_blocks_of_a_snapshot_are_given_up_in_its_place(void)
{
        struct world w;
        struct answer a = {0};
        struct snapshot_spec spec = {.name = "s", .uuid = {{7}}};
        uint8_t buf[ZP_BLOCK];

        filled(&w);
        snapshot_create(disk(&w), &spec, &a, snapped);
        t_drive(&w.t);
        CU_ASSERT_FATAL(a.done && a.status == 0);
        struct volume *snap = snapshot_by_name(disk(&w), "s");
        CU_ASSERT_EQUAL(t_checkpoint(&w.t), 0);
        /* of the snapshot now, and the same places */
        struct uuid uuid = *volume_uuid(disk(&w));
        w.at.t = &w.t;
        w.at.disk = &uuid;
        memset(w.at.dev, 0xff, sizeof(w.at.dev));
        CU_ASSERT_PTR_NOT_NULL_FATAL(snap);
        uuid = *volume_uuid(snap);
        pool_inspect_table(w.t.pool, &w.at, place);
        for (uint32_t i = 1; i < 3; i++)
                w.dead = w.at.count[i] > w.at.count[w.dead] ? i : w.dead;
        for (uint64_t b = 0; b < BLOCKS; b++)
                w.lost += is_lost(&w, b);
        CU_ASSERT_FATAL(w.lost > 0);
        t_lose(&w.t, w.dead, true);
        CU_ASSERT_EQUAL(t_checkpoint(&w.t), 0);
        t_pass(&w.t, 5);
        ask_to_leave(&w);
        until_stuck(&w);
        CU_ASSERT_EQUAL(give_up(&w, dead(&w).stuck_bytes), 0);
        until_gone(&w);
        check(&w, disk(&w));
        check(&w, snapshot_by_name(disk(&w), "s"));
        t_write_all(&w.t, PARENTS, 2);
        t_check_all(&w.t, PARENTS, 2);
        check(&w, snapshot_by_name(disk(&w), "s"));
        reopen(&w);
        t_check_all(&w.t, PARENTS, 2);
        check(&w, snapshot_by_name(disk(&w), "s"));
        /* cleaning and scrubs keep them as they are */
        for (uint64_t round = 3; round < 30; round++)
                t_write_all(&w.t, PARENTS, round);
        check(&w, snapshot_by_name(disk(&w), "s"));
        CU_ASSERT_EQUAL(
            t_io(disk(&w), &w.t, VOLUME_READ, (BLOCKS - 1) * ZP_BLOCK, buf, ZP_BLOCK, false),
            is_lost(&w, BLOCKS - 1) ? -EIO : 0);
        t_fini(&w.t);
}

static unsigned left;

static int fail_after(void *ctx, const struct zdev_io *io)
{
        return left ? (--left, 0) : -EIO;
}

/* Cut off at any command, it is begun again, and ends alike. */
static void test_cut_off_it_is_begun_again(void)
{
        for (unsigned cut = 0; cut < 60; cut += 3) {
                struct world w;
                filled(&w);
                lose_the_fullest(&w);
                ask_to_leave(&w);
                until_stuck(&w);
                struct answer a = {0};
                left = cut;
                for (uint32_t i = 0; i < 3; i++)
                        if (i != w.dead)
                                mem_device_set_fault(t_mem(&w.t, i), fail_after, NULL);
                pool_device_give_up(w.t.pool, w.dead, dead(&w).stuck_bytes, &a, answered);
                t_drive(&w.t);
                for (uint32_t i = 0; i < 3; i++)
                        if (i != w.dead)
                                mem_device_set_fault(t_mem(&w.t, i), NULL, NULL);
                reopen(&w);
                check(&w, disk(&w));
                for (int i = 0; i < 200 && dead(&w).state != POOL_DEVICE_NONE; i++) {
                        t_pass(&w.t, 1);
                        if (dead(&w).stuck_bytes)
                                CU_ASSERT_EQUAL(give_up(&w, dead(&w).stuck_bytes), 0);
                }
                until_gone(&w);
                check(&w, disk(&w));
                reopen(&w);
                check(&w, disk(&w));
                t_fini(&w.t);
        }
}

struct pair {
        struct t_pool *t;
        uint32_t dev[2];
};

static void pair_of(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                    uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct pair *p = ctx;
        uint32_t zone;

        for (uint32_t k = 0; block == 0 && k < 2; k++)
                for (uint32_t i = 0; i < p->t->ndevs; i++)
                        if (p->t->devs[i] == pool_inspect_member(p->t->pool, group, k, &zone))
                                p->dev[k] = i;
}

/* Both devices that have a block are gone, and only one of them was given up. */
static void test_what_a_missing_mirror_may_have_is_not_given_up(void)
{
        const struct mem_device_spec spec = {
            .nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS, .max_open = 14, .max_active = 14};
        struct world w = {.dead = 0};
        struct volume *vol = NULL;

        t_devices(&w.t, 4, &spec);
        w.t.random = 4711;
        CU_ASSERT_EQUAL_FATAL(t_format(&w.t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(&w.t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(&w.t, "disk", BLOCKS * ZP_BLOCK, 2, &vol), 0);
        t_write_all(&w.t, BLOCKS, 1);
        CU_ASSERT_EQUAL(t_checkpoint(&w.t), 0);
        struct pair pair = {&w.t, {0, 0}};
        pool_inspect_table(w.t.pool, &pair, pair_of);
        CU_ASSERT_FATAL(pair.dev[0] != pair.dev[1]);
        w.dead = pair.dev[0];
        t_lose(&w.t, pair.dev[0], true);
        t_lose(&w.t, pair.dev[1], true);
        CU_ASSERT_EQUAL(t_checkpoint(&w.t), 0);
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL(pool_device_detach(w.t.pool, pair.dev[1], &err), 0);
        uint64_t gone = t_wrong(&w.t, vol, BLOCKS, 1);
        CU_ASSERT_FATAL(gone > 0);
        ask_to_leave(&w);
        until_stuck(&w);
        CU_ASSERT_EQUAL(give_up(&w, UINT64_MAX), 0);
        until_stuck(&w); /* again: what is left is not its alone */
        t_lose(&w.t, pair.dev[1], false);
        t_crash(&w.t);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&w.t, 1u << w.dead, false), 0);
        t_check_all(&w.t, BLOCKS, 1);
        until_gone(&w);
        t_check_all(&w.t, BLOCKS, 1);
        t_check(&w.t);
        t_fini(&w.t);
}

static const struct t_case cases[] = {
    T_CASE(test_a_lost_device_goes_when_its_blocks_are_given_up),
    T_CASE(test_what_was_given_up_can_be_overwritten_and_discarded),
    T_CASE(test_blocks_of_a_snapshot_are_given_up_in_its_place),
    T_CASE(test_cut_off_it_is_begun_again),
    T_CASE(test_what_a_missing_mirror_may_have_is_not_given_up),
};
T_MAIN("pool-giveup", cases)
