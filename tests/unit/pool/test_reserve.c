/* Reservations and sizes: what is promised is kept, what does not fit is refused, and what was cut
 * off never comes back. */
#include "t_pool.h"

#include "pool/device/mem.h"
#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { MB = 1024 * 1024 };

struct answer {
        bool done;
        int status;
        struct volume *vol;
};

static void finished(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

static void made(void *ctx, int status, struct volume *vol)
{
        struct answer *a = ctx;
        finished(a, status);
        a->vol = vol;
}

static int answer_of(struct t_pool *t, struct answer *a)
{
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a->done);
        a->done = false;
        return a->status;
}

static int create_copies(struct t_pool *t, const char *name, uint64_t size, uint64_t reserved,
                         uint8_t copies, struct volume **ret_vol)
{
        struct answer a = {0};
        struct volume_spec spec = {
            .name = name, .size_bytes = size, .reserved_bytes = reserved, .copies = copies};

        memset(spec.uuid.b, 9, 16);
        memcpy(spec.uuid.b, name, strnlen(name, 15));
        volume_create(t->pool, &spec, &a, made);
        int rc = answer_of(t, &a);
        *ret_vol = a.vol;
        return rc;
}

static int create(struct t_pool *t, const char *name, uint64_t size, uint64_t reserved,
                  struct volume **ret_vol)
{
        return create_copies(t, name, size, reserved, 1, ret_vol);
}

static int set_size(struct t_pool *t, struct volume *vol, uint64_t size, uint64_t reserved,
                    bool shrink)
{
        struct answer a = {0};
        struct volume_size to = {size, reserved, shrink};

        volume_set_size(vol, &to, &a, finished);
        return answer_of(t, &a);
}

static int snapshot(struct t_pool *t, struct volume *vol, const char *name, struct volume **ret)
{
        struct answer a = {0};
        struct snapshot_spec spec = {.name = name};

        memset(spec.uuid.b, 11, 16);
        memcpy(spec.uuid.b, name, strnlen(name, 15));
        snapshot_create(vol, &spec, &a, made);
        int rc = answer_of(t, &a);
        *ret = a.vol;
        return rc;
}

static int write_block(struct t_pool *t, struct volume *vol, uint64_t block)
{
        uint8_t buf[ZP_BLOCK];

        t_fill(buf, 1, block, 1);
        return t_io_nohold(vol, t, block * ZP_BLOCK, buf, sizeof(buf));
}

/* Writes blocks one by one until there is no room; how many. */
static uint64_t fill(struct t_pool *t, struct volume *vol, uint64_t stride)
{
        uint64_t n = 0, blocks = volume_size_bytes(vol) / ZP_BLOCK;
        int rc = 0;

        for (uint64_t b = 0; b < blocks && rc == 0; b += stride, n += rc == 0)
                rc = write_block(t, vol, b);
        CU_ASSERT(rc == 0 || rc == -ENOSPC);
        return n;
}

static struct pool_status status_of(struct t_pool *t)
{
        struct pool_status st;

        pool_get_status(t->pool, &st);
        return st;
}

static struct volume *reimport(struct t_pool *t, const char *name)
{
        t_crash(t);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
        t_check(t);
        struct volume *vol = volume_by_name(t->pool, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(vol);
        return vol;
}

static void test_others_cannot_take_what_is_reserved(void)
{
        struct t_pool t;
        struct volume *kept, *other;
        struct volume_info info;

        t_pool_new(&t, 1, 24, 64);
        uint64_t reserved = 200 * ZP_BLOCK;
        CU_ASSERT_EQUAL_FATAL(create(&t, "kept", 64 * MB, reserved, &kept), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "other", 64 * MB, 0, &other), 0);
        volume_get_info(kept, &info);
        CU_ASSERT_EQUAL(info.reserved_bytes, reserved);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, reserved);
        fill(&t, other, 1);
        CU_ASSERT_EQUAL(status_of(&t).available_bytes, 0);
        kept = reimport(&t, "kept"); /* it is in the inode */
        other = volume_by_name(t.pool, "other");
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, reserved);
        CU_ASSERT_EQUAL(write_block(&t, other, 64 * MB / ZP_BLOCK - 1), -ENOSPC);
        for (uint64_t i = 0; i < 200; i++) /* wherever they are: each with pages of its own */
                CU_ASSERT_EQUAL_FATAL(write_block(&t, kept, (i * 7919) % (64 * 256)), 0);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 0);
        CU_ASSERT_EQUAL(status_of(&t).unbacked_bytes, 0);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_UNBACKED], 0);
        t_check(&t);
        t_fini(&t);
}

static void test_what_is_discarded_stays_reserved(void)
{
        struct t_pool t;
        struct volume *kept, *other;
        static uint8_t none[1];

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "kept", 400 * ZP_BLOCK, 400 * ZP_BLOCK, &kept), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "other", 64 * MB, 0, &other), 0);
        CU_ASSERT_EQUAL(fill(&t, kept, 1), 400);
        fill(&t, other, 1);
        CU_ASSERT_EQUAL(t_io(kept, &t, VOLUME_DISCARD, 0, none, 400 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 400 * ZP_BLOCK);
        CU_ASSERT_EQUAL(write_block(&t, other, 64 * MB / ZP_BLOCK - 1), -ENOSPC);
        CU_ASSERT_EQUAL(fill(&t, kept, 1), 400);
        t_check(&t);
        t_fini(&t);
}

static void test_reservation_is_refused_where_it_does_not_fit(void)
{
        struct t_pool t;
        struct volume *vol, *other;
        static uint8_t none[1];

        t_pool_new(&t, 1, 24, 64);
        uint64_t all = status_of(&t).capacity_bytes / (8 * ZP_BLOCK) * (8 * ZP_BLOCK);
        CU_ASSERT_EQUAL(create(&t, "vol", 64 * MB, all + ZP_BLOCK, &vol), -ENOSPC);
        CU_ASSERT_EQUAL(create(&t, "vol", 1 * MB, 2 * MB, &vol), -EINVAL);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 2 * all, all / 2, &vol), 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 0, 2 * all + ZP_BLOCK, false), -EINVAL);
        CU_ASSERT_EQUAL(set_size(&t, vol, 3 * all, 3 * all, false), -ENOSPC);
        CU_ASSERT_EQUAL(volume_size_bytes(vol), 2 * all);
        CU_ASSERT_EQUAL(create(&t, "other", all, all * 3 / 4, &other), -ENOSPC);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, all / 2);
        /* what it has counts: reserving that takes nothing more */
        CU_ASSERT_EQUAL(set_size(&t, vol, 0, 0, false), 0);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 0);
        uint64_t n = fill(&t, vol, 1); /* but for pages it may need elsewhere */
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 0, none, 30 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 0, n / 2 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 0, (n + 64) * ZP_BLOCK, false), -ENOSPC);
        t_check(&t);
        t_fini(&t);
}

/* Two devices with open zones enough for volumes of one copy and of two. */
static void two_devices(struct t_pool *t)
{
        struct mem_device_spec spec = {
            .nr_zones = 32, .zone_blocks = 64, .max_open = 8, .max_active = 8};

        t_devices(t, 2, &spec);
        t->random = 1;
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
}

/* A volume of two copies that has reserved what there is; how much. */
static uint64_t reserve_most(struct t_pool *t, struct volume **ret_vol)
{
        uint64_t most = status_of(t).capacity_bytes / (8 * ZP_BLOCK) * (8 * ZP_BLOCK);

        CU_ASSERT_EQUAL_FATAL(create_copies(t, "kept", most, 0, 2, ret_vol), 0);
        while (most && set_size(t, *ret_vol, 0, most, false) == -ENOSPC)
                most -= 8 * ZP_BLOCK;
        CU_ASSERT_FATAL(most > 500 * ZP_BLOCK);
        CU_ASSERT_EQUAL(status_of(t).available_by_copies[0], 0);
        return most;
}

/* Volumes of another number of copies have open groups of their own: the first one is refused where
 * what is reserved would not fit beside these. */
static void test_first_of_its_copies_takes_nothing_reserved(void)
{
        struct t_pool t;
        struct volume *kept, *plain;

        two_devices(&t);
        uint64_t most = reserve_most(&t, &kept);
        CU_ASSERT_EQUAL(create(&t, "plain", 1 * MB, 0, &plain), -ENOSPC);
        CU_ASSERT_EQUAL(set_size(&t, kept, 0, most - 256 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "plain", 1 * MB, 0, &plain), 0);
        CU_ASSERT_EQUAL(set_size(&t, kept, 0, most, false), -ENOSPC);
        fill(&t, plain, 1);
        kept = reimport(&t, "kept"); /* which reckons all of it anew */
        CU_ASSERT_EQUAL(status_of(&t).unbacked_bytes, 0);
        fill(&t, volume_by_name(t.pool, "plain"), 1);
        for (uint64_t b = 0; b < most / ZP_BLOCK - 256; b++)
                CU_ASSERT_EQUAL_FATAL(write_block(&t, kept, b), 0);
        CU_ASSERT_EQUAL(t.events[POOL_EVENT_UNBACKED], 0);
        t_check(&t);
        t_fini(&t);
}

static void test_last_of_its_copies_gives_room_back(void)
{
        struct t_pool t;
        struct volume *kept, *plain;
        struct answer a = {0};

        two_devices(&t);
        uint64_t most = reserve_most(&t, &kept);
        CU_ASSERT_EQUAL(set_size(&t, kept, 0, most - 256 * ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "plain", 1 * MB, 0, &plain), 0);
        CU_ASSERT_EQUAL(set_size(&t, kept, 0, most - 8 * ZP_BLOCK, false), -ENOSPC);
        volume_delete(plain, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        t_pass(&t, 100); /* what is left of it goes by and by */
        CU_ASSERT_EQUAL(set_size(&t, kept, 0, most - 8 * ZP_BLOCK, false), 0);
        t_check(&t);
        t_fini(&t);
}

/* Blocks of one copy take a half of what the budget of the tables' redundancy is told in. */
static void test_what_fits_is_told_as_backed(void)
{
        struct t_pool t;
        struct volume *kept, *plain, *snap;
        struct pool_inspect_space space;

        two_devices(&t);
        CU_ASSERT_EQUAL_FATAL(create_copies(&t, "kept", 64 * MB, 40 * ZP_BLOCK, 2, &kept), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "plain", 64 * MB, 0, &plain), 0);
        uint64_t budget = status_of(&t).capacity_bytes / ZP_BLOCK, n = fill(&t, plain, 1);
        CU_ASSERT(n > budget);
        pool_inspect_space(t.pool, &space);
        CU_ASSERT_EQUAL(space.excess, 0);
        CU_ASSERT_EQUAL(status_of(&t).unbacked_bytes, 0);
        static uint8_t none[1];
        uint64_t gone = (n - budget) / 2 * ZP_BLOCK;
        CU_ASSERT_EQUAL(t_io(plain, &t, VOLUME_DISCARD, 0, none, gone, false), 0);
        /* neither do a snapshot and holes above it wait for what the half does not need */
        CU_ASSERT_EQUAL(snapshot(&t, plain, "snap", &snap), 0);
        CU_ASSERT_EQUAL(t_io(plain, &t, VOLUME_DISCARD, gone, none, ZP_BLOCK, false), 0);
        pool_inspect_space(t.pool, &space);
        CU_ASSERT_EQUAL(space.excess, 0);
        t_check(&t);
        t_fini(&t);
}

static void test_snapshot_promises_anew(void)
{
        struct t_pool t;
        struct volume *vol, *other, *snap;
        struct answer a = {0};

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 2 * MB, 100 * ZP_BLOCK, &vol), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "other", 64 * MB, 0, &other), 0);
        CU_ASSERT_EQUAL(fill(&t, vol, 3), 171);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 0);
        CU_ASSERT_EQUAL(snapshot(&t, vol, "one", &snap), 0);
        CU_ASSERT_EQUAL(status_of(&t).reserved_bytes, 100 * ZP_BLOCK);
        fill(&t, other, 1);
        for (uint64_t b = 0; b < 100; b++) /* overwritten, they are new ones */
                CU_ASSERT_EQUAL_FATAL(write_block(&t, vol, 3 * b), 0);
        CU_ASSERT_EQUAL(write_block(&t, vol, 3 * 100), -ENOSPC);
        /* a snapshot, a clone or going back needs room for as much again */
        struct volume *two;
        CU_ASSERT_EQUAL(snapshot(&t, vol, "two", &two), -ENOSPC);
        volume_revert(vol, snap, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), -ENOSPC);
        struct volume_spec spec = {.name = "clone", .uuid.b = {1}};
        volume_clone(vol, &spec, &a, made);
        CU_ASSERT_EQUAL(answer_of(&t, &a), -ENOSPC);
        CU_ASSERT_EQUAL(status_of(&t).unbacked_bytes, 0);
        t_check(&t);
        CU_ASSERT_EQUAL(set_size(&t, vol, 0, 0, false), 0);
        volume_revert(vol, snap, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        t_check(&t);
        t_fini(&t);
}

/* A clone of a volume in use comes with something frozen: two inodes, where there is room for one.
 */
static void test_clone_takes_nothing_reserved(void)
{
        struct t_pool t;
        struct volume *kept, *vol;
        struct pool_inspect_space space;
        struct answer a = {0};
        struct volume_spec spec = {.name = "clone", .uuid.b = {1}};

        t_pool_new(&t, 1, 24, 64);
        uint64_t most = status_of(&t).capacity_bytes / ZP_BLOCK * ZP_BLOCK;
        CU_ASSERT_EQUAL_FATAL(create(&t, "kept", most, 0, &kept), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 1 * MB, 0, &vol), 0);
        CU_ASSERT_EQUAL(write_block(&t, vol, 0), 0);
        while (most && set_size(&t, kept, 0, most, false) == -ENOSPC)
                most -= ZP_BLOCK;
        for (unsigned n = 0; n < 40; n++, most -= ZP_BLOCK) {
                CU_ASSERT_EQUAL(set_size(&t, kept, 0, most, false), 0);
                volume_clone(vol, &spec, &a, made);
                pool_inspect_space(t.pool, &space);
                CU_ASSERT_EQUAL(space.excess, 0);
                int rc = answer_of(&t, &a);
                pool_inspect_space(t.pool, &space);
                CU_ASSERT_EQUAL(space.excess, 0);
                CU_ASSERT(rc == 0 || (rc == -ENOSPC && n < 30));
                if (rc == 0)
                        break;
        }
        t_check(&t);
        t_fini(&t);
}

static void io_done(struct volume_io *io, int status)
{
        finished(io->priv, status);
}

/* One that waits gets through when its volume is given a reservation, past those before it. */
static void test_held_write_passes_with_a_reservation(void)
{
        struct t_pool t;
        struct volume *vol, *other, *junk;
        static uint8_t buf[ZP_BLOCK], none[1];
        struct answer first = {0}, second = {0};
        struct iovec iov = {buf, sizeof(buf)};
        struct volume_io io[2] = {{.op = VOLUME_WRITE,
                                   .length_bytes = ZP_BLOCK,
                                   .iov = &iov,
                                   .niov = 1,
                                   .done = io_done,
                                   .priv = &first}};

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 1 * MB, 0, &vol), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "junk", 1 * MB, 20 * ZP_BLOCK, &junk), 0);
        CU_ASSERT_EQUAL_FATAL(create(&t, "other", 64 * MB, 0, &other), 0);
        uint64_t n = fill(&t, other, 1);
        io[1] = io[0];
        io[0].offset_bytes = n * ZP_BLOCK;
        io[1].priv = &second;
        volume_submit(other, &io[0]);
        volume_submit(vol, &io[1]);
        t_drive(&t);
        CU_ASSERT(!first.done && !second.done);
        CU_ASSERT_EQUAL(status_of(&t).held_requests, 2);
        struct volume_size less = {.reserved_bytes = 0}, more = {.reserved_bytes = ZP_BLOCK};
        struct answer a = {0}, b = {0};
        volume_set_size(junk, &less, &a, finished);
        volume_set_size(vol, &more, &b, finished);
        t_drive(&t);
        CU_ASSERT(a.done && b.done && second.done);
        CU_ASSERT_EQUAL(second.status, 0);
        CU_ASSERT_EQUAL(t_io(other, &t, VOLUME_DISCARD, 0, none, 20 * ZP_BLOCK, false), 0);
        CU_ASSERT(first.done);
        t_check(&t);
        t_fini(&t);
}

static bool reads_zero(struct t_pool *t, struct volume *vol, uint64_t from, uint64_t len)
{
        static uint8_t buf[64 * ZP_BLOCK], zero[sizeof(buf)];

        CU_ASSERT_FATAL(len <= sizeof(buf));
        CU_ASSERT_EQUAL_FATAL(t_io(vol, t, VOLUME_READ, from, buf, len, false), 0);
        return !memcmp(buf, zero, len);
}

static void test_shrinking_cuts_off_for_ever(void)
{
        struct t_pool t;
        struct volume *vol;
        struct volume_info info;
        static uint8_t buf[40 * ZP_BLOCK];

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 40 * ZP_BLOCK, 40 * ZP_BLOCK, &vol), 0);
        memset(buf, 0x5a, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, sizeof(buf), true), 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 10 * ZP_BLOCK + 512, VOLUME_KEEP, false), -EINVAL);
        CU_ASSERT_EQUAL(set_size(&t, vol, 10 * ZP_BLOCK + 100, VOLUME_KEEP, true), -EINVAL);
        CU_ASSERT_EQUAL(set_size(&t, vol, 10 * ZP_BLOCK + 512, VOLUME_KEEP, true), 0);
        vol = reimport(&t, "vol");
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.size_bytes, 10 * ZP_BLOCK + 512);
        CU_ASSERT_EQUAL(info.reserved_bytes, 10 * ZP_BLOCK + 512);
        CU_ASSERT_EQUAL(info.allocated_bytes, 11 * ZP_BLOCK);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 10 * ZP_BLOCK, buf, ZP_BLOCK, false), -EINVAL);
        CU_ASSERT_EQUAL(set_size(&t, vol, 40 * ZP_BLOCK, VOLUME_KEEP, false), 0);
        CU_ASSERT(reads_zero(&t, vol, 10 * ZP_BLOCK + 512, 30 * ZP_BLOCK - 512));
        CU_ASSERT_FALSE(reads_zero(&t, vol, 10 * ZP_BLOCK, 512));
        t_check(&t);
        t_fini(&t);
}

/* Above a snapshot what is cut off shows neither from there nor as holes, and the snapshot keeps
 * it. */
static void test_shrinking_above_a_snapshot(void)
{
        struct t_pool t;
        struct volume *vol, *snap;
        struct answer a = {0};
        struct volume_info info;
        static uint8_t buf[400 * ZP_BLOCK], back[ZP_BLOCK], none[1];

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 400 * ZP_BLOCK, 0, &vol), 0);
        memset(buf, 0x5a, sizeof(buf));
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 0, buf, sizeof(buf), true), 0);
        CU_ASSERT_EQUAL(snapshot(&t, vol, "snap", &snap), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_WRITE, 50 * ZP_BLOCK, buf, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(t_io(vol, &t, VOLUME_DISCARD, 360 * ZP_BLOCK, none, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 10 * ZP_BLOCK, VOLUME_KEEP, true), 0);
        vol = reimport(&t, "vol");
        snap = snapshot_by_name(vol, "snap");
        volume_get_info(vol, &info);
        CU_ASSERT_EQUAL(info.allocated_bytes, 0);
        CU_ASSERT_EQUAL(set_size(&t, vol, 400 * ZP_BLOCK, VOLUME_KEEP, false), 0);
        for (uint64_t b = 10; b < 400; b += 30)
                CU_ASSERT(reads_zero(&t, vol, b * ZP_BLOCK, ZP_BLOCK));
        CU_ASSERT_FALSE(reads_zero(&t, vol, 9 * ZP_BLOCK, ZP_BLOCK));
        CU_ASSERT_EQUAL(t_io(snap, &t, VOLUME_READ, 399 * ZP_BLOCK, back, ZP_BLOCK, false), 0);
        CU_ASSERT_EQUAL(memcmp(back, buf, ZP_BLOCK), 0);
        volume_revert(vol, snap, &a, finished);
        CU_ASSERT_EQUAL(answer_of(&t, &a), 0);
        CU_ASSERT_FALSE(reads_zero(&t, vol, 399 * ZP_BLOCK, ZP_BLOCK));
        t_check(&t);
        t_fini(&t);
}

static void test_full_pool_can_shrink(void)
{
        struct t_pool t;
        struct volume *vol;

        t_pool_new(&t, 1, 24, 64);
        CU_ASSERT_EQUAL_FATAL(create(&t, "vol", 64 * MB, 0, &vol), 0);
        uint64_t n = fill(&t, vol, 2);
        CU_ASSERT_EQUAL(set_size(&t, vol, n * ZP_BLOCK + 512, VOLUME_KEEP, true), 0);
        CU_ASSERT_EQUAL(write_block(&t, vol, 1), 0);
        t_check(&t);
        t_fini(&t);
}

int main(void)
{
        static const struct t_case cases[] = {
            T_CASE(test_others_cannot_take_what_is_reserved),
            T_CASE(test_what_is_discarded_stays_reserved),
            T_CASE(test_reservation_is_refused_where_it_does_not_fit),
            T_CASE(test_first_of_its_copies_takes_nothing_reserved),
            T_CASE(test_last_of_its_copies_gives_room_back),
            T_CASE(test_what_fits_is_told_as_backed),
            T_CASE(test_snapshot_promises_anew),
            T_CASE(test_clone_takes_nothing_reserved),
            T_CASE(test_held_write_passes_with_a_reservation),
            T_CASE(test_shrinking_cuts_off_for_ever),
            T_CASE(test_shrinking_above_a_snapshot),
            T_CASE(test_full_pool_can_shrink),
        };
        return t_run("reservations and sizes", cases, sizeof(cases) / sizeof(cases[0]));
}
