/* A device is lost and the others cannot hold what there is: writes wait, say so, and go on when
 * there is room. Nothing is written in vain meanwhile: t_drive fails the test when a pool comes to
 * no rest. */
#include "t_pool.h"

#include "pool/root/root.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { ZONES = 24, ZONE_BLOCKS = 64, SPARE = 3, MAX_BLOCKS = 4000, WRITES = 2000 };

struct write {
        struct volume_io io;
        struct iovec iov;
        uint8_t buf[ZP_BLOCK];
        bool done;
        int status;
};

static struct write writes[WRITES];

static void written(struct volume_io *io, int status)
{
        struct write *w = io->priv;

        w->done = true;
        w->status = status;
}

/* All at once; not driven. */
static void overwrite(struct volume *vol, uint64_t n, uint64_t version)
{
        CU_ASSERT_FATAL(n <= WRITES);
        for (uint64_t b = 0; b < n; b++) {
                struct write *w = &writes[b];
                w->done = false;
                t_fill(w->buf, 1, b, version);
                w->iov = (struct iovec){w->buf, ZP_BLOCK};
                w->io = (struct volume_io){.op = VOLUME_WRITE,
                                           .offset_bytes = b * ZP_BLOCK,
                                           .length_bytes = ZP_BLOCK,
                                           .iov = &w->iov,
                                           .niov = 1,
                                           .done = written,
                                           .priv = w};
                volume_submit(vol, &w->io);
        }
}

static uint64_t still_waiting(uint64_t n)
{
        uint64_t waiting = 0;

        for (uint64_t b = 0; b < n; b++) {
                waiting += !writes[b].done;
                CU_ASSERT(!writes[b].done || writes[b].status == 0);
        }
        return waiting;
}

/* ndevs devices in a pool, one more beside it; a volume that leaves no room. Returns its blocks. */
static uint64_t full(struct t_pool *t, uint32_t ndevs, uint8_t copies, struct volume **ret_vol)
{
        const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        uint8_t buf[ZP_BLOCK];
        uint64_t n = 0;

        t_devices(t, ndevs + 1, &spec);
        t->ndevs = ndevs;
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t->ndevs = ndevs + 1;
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", MAX_BLOCKS * ZP_BLOCK, copies, ret_vol),
                              0);
        for (t_fill(buf, 1, n, 1); t_io_nohold(*ret_vol, t, n * ZP_BLOCK, buf, ZP_BLOCK) == 0;
             t_fill(buf, 1, n, 1))
                n++;
        CU_ASSERT_EQUAL(t_flush(*ret_vol, t), 0);
        return n;
}

static struct pool_status status(struct t_pool *t)
{
        struct pool_status st;

        pool_get_status(t->pool, &st);
        return st;
}

static void added(void *ctx, int rc, const struct err *err, uint32_t index)
{
        *(int *)ctx = rc;
}

static void add_spare(struct t_pool *t)
{
        int rc = 1;

        pool_device_add(t->pool, t->devs[t->ndevs - 1], &rc, added);
        t_drive(t);
        CU_ASSERT_EQUAL(rc, 0);
}

/* Overwrites the volume until writes wait, and a while longer. Returns how many do. */
static uint64_t until_held(struct t_pool *t, struct volume *vol, uint64_t n, uint64_t *version)
{
        uint64_t waiting = 0;

        for (int i = 0; i < 20 && !waiting; i++) {
                overwrite(vol, n, ++*version);
                t_drive(t);
                waiting = still_waiting(n);
        }
        CU_ASSERT_FATAL(waiting > 0);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_HELD], 1);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_RELEASED], 0);
        CU_ASSERT_EQUAL(status(t).held_requests, waiting);
        CU_ASSERT(status(t).lacking_bytes > 0);
        t_pass(t, 60); /* what is timed goes on for a while, and then there is rest */
        uint64_t wrote = status(t).device_write_bytes, generation = status(t).generation;
        t_pass(t, 300);
        CU_ASSERT_EQUAL(status(t).device_write_bytes, wrote);
        CU_ASSERT_EQUAL(status(t).generation, generation);
        CU_ASSERT_FALSE(status(t).readonly);
        CU_ASSERT_EQUAL(still_waiting(n), waiting);
        t_check(t);
        return waiting;
}

static void released(struct t_pool *t, struct volume *vol, uint64_t n, uint64_t version)
{
        t_pass(t, 60);
        CU_ASSERT_EQUAL(still_waiting(n), 0);
        CU_ASSERT_EQUAL(t->events[POOL_EVENT_RELEASED], t->events[POOL_EVENT_HELD]);
        CU_ASSERT_EQUAL(status(t).held_requests, 0);
        CU_ASSERT_EQUAL(t_wrong(t, vol, n, version), 0);
        t_check(t);
}

static void test_added_device_lets_writes_go_on(void)
{
        struct t_pool t;
        struct volume *vol = NULL;
        uint64_t n = full(&t, SPARE, 2, &vol), version = 1;

        t_lose(&t, 0, true);
        until_held(&t, vol, n, &version);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_DEVICE_FAILED], 1);
        add_spare(&t);
        released(&t, vol, n, version);
        CU_ASSERT_EQUAL(status(&t).lacking_bytes, 0);
        CU_ASSERT_EQUAL(status(&t).rebuild_bytes, 0);
        t_fini(&t);
}

static void test_discard_lets_writes_go_on(void)
{
        struct t_pool t;
        struct volume *vol = NULL;
        uint64_t n = full(&t, SPARE, 2, &vol), version = 1, keep = n / 3;

        t_lose(&t, 0, true);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        until_held(&t, vol, keep, &version);
        CU_ASSERT_EQUAL(
            t_io(vol, &t, VOLUME_DISCARD, keep * ZP_BLOCK, NULL, (n - keep) * ZP_BLOCK, false), 0);
        released(&t, vol, keep, version);
        CU_ASSERT_EQUAL(status(&t).lacking_bytes, 0);
        t_fini(&t);
}

/* Each device of two holds all of it: nothing is short when one is lost, and nothing more is let in
 * than fits the other. */
static void test_one_of_two_devices_has_room_for_all(void)
{
        struct t_pool t;
        struct volume *vol = NULL;
        uint64_t n = full(&t, 2, 2, &vol), version = 1;
        uint8_t buf[ZP_BLOCK] = {0};

        t_lose(&t, 0, true);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT(status(&t).available_bytes < n / 4 * ZP_BLOCK);
        while (version < 6) {
                overwrite(vol, n, ++version);
                t_drive(&t);
                CU_ASSERT_EQUAL(still_waiting(n), 0);
        }
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_HELD], 0);
        CU_ASSERT_EQUAL(status(&t).lacking_bytes, 0);
        uint64_t more = 0;
        while (t_io_nohold(vol, &t, (n + more) * ZP_BLOCK, buf, ZP_BLOCK) == 0)
                more++;
        CU_ASSERT(more < n / 4); /* what a second copy takes to write */
        CU_ASSERT_EQUAL(t_wrong(&t, vol, n, version), 0);
        t_check(&t);
        t_fini(&t);
}

/* All of the device's zones that are free go bad. */
static void leave_no_zone(struct t_pool *t, uint32_t dev)
{
        struct zdev_zone zone;

        for (uint32_t z = LABEL_ZONES; z < ZONES; z++) {
                CU_ASSERT_EQUAL_FATAL(t_report(t, dev, z, &zone), 0);
                if (zone.state == ZDEV_ZONE_EMPTY)
                        mem_device_set_zone(t_mem(t, dev), z, ZDEV_ZONE_OFFLINE, 0);
        }
}

static void turned_off(void *ctx, int status, const struct err *err)
{
        *(int *)ctx = status;
}

/* Four devices and everything three times; one has no zone left, which nothing is moved away from
 * to make room, and another one is lost. */
static void lose_room(struct t_pool *t, uint64_t blocks)
{
        const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct volume *vol;
        int off = 1;

        t_devices(t, 4, &spec);
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        CU_ASSERT_EQUAL_FATAL(t_create_copies(t, "disk", MAX_BLOCKS * ZP_BLOCK, 3, &vol), 0);
        pool_balance(t->pool, false, &off, turned_off);
        t_write_all(t, blocks, 1);
        CU_ASSERT_EQUAL(off, 0);
        t_export(t);
        leave_no_zone(t, 2);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_write_all(t, blocks, 2);
        t_lose(t, 3, true);
}

/* Table pages have two copies then where three cannot be, and the pool stays what it is. */
static void test_tables_go_on_where_a_copy_finds_no_room(void)
{
        enum { N = 40 };
        struct t_pool t;

        lose_room(&t, N);
        CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        CU_ASSERT_FALSE(status(&t).readonly);
        t_check_all(&t, N, 2);
        t_check(&t);
        for (int i = 0; i < 5; i++) {
                t_crash(&t);
                CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 3, true), 0);
                t_check_all(&t, N, 2);
                t_check(&t);
                CU_ASSERT_EQUAL(t_checkpoint(&t), 0);
        }
        t_crash(&t); /* and with that one there again, and another one lost, nothing is */
        t_lose(&t, 3, false);
        t_lose(&t, 0, true);
        CU_ASSERT_EQUAL_FATAL(t_import_degraded(&t, 1u << 0, true), 0);
        t_check_all(&t, N, 2);
        t_fini(&t);
}

static int fail_resets(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_RESET && io->zone >= LABEL_ZONES ? -EIO : 0;
}

/* One copy would be lost with the next device, and three were promised to survive two. */
static void test_tables_have_no_fewer_copies_than_survive_what_they_should(void)
{
        struct t_pool t;
        int rc = 0;

        lose_room(&t, 40);
        mem_device_set_fault(t_mem(&t, 1), fail_resets, NULL);
        mem_device_set_fault(t_mem(&t, 2), fail_resets, NULL);
        for (int i = 0; i < 10 && rc == 0; i++) {
                t_export(&t);
                leave_no_zone(&t, 1);
                leave_no_zone(&t, 2);
                rc = t_import_degraded(&t, 1u << 3, true);
        }
        CU_ASSERT_EQUAL(rc, -ENOSPC);
        t_fini(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_added_device_lets_writes_go_on),
    T_CASE(test_discard_lets_writes_go_on),
    T_CASE(test_one_of_two_devices_has_room_for_all),
    T_CASE(test_tables_go_on_where_a_copy_finds_no_room),
    T_CASE(test_tables_have_no_fewer_copies_than_survive_what_they_should),
};
T_MAIN("pool-lost-room", cases)
