/* The zbd driver without a zoned kernel: what reports mean, and the driver over a file with a
 * stand-in for the zone commands. tests/guest runs it on real zoned devices. */
#include "pool/device/zbd.h"
#include "pool/device/zbd_device.h"
#include "tests/unit/device/t_device.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#define ZONE_BYTES ((uint64_t)ZONE_BLOCKS * ZP_BLOCK)

static void test_what_is_no_zoned_device_is_refused_by_name(void)
{
        struct zdev *dev = NULL;
        struct err err = ERR_INIT;
        const char *path = t_path("file");

        close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        CU_ASSERT_FALSE(zbd_device_detect(path));
        CU_ASSERT_FALSE(zbd_device_detect("/nonexistent"));
        CU_ASSERT_EQUAL(zbd_device_check(path, true, &err), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "is not a zoned block device"));
        CU_ASSERT_EQUAL(zbd_device_erase(path, &err), -EINVAL);
        CU_ASSERT_EQUAL(zbd_device_open(loop, path, &dev, &err), -EINVAL);
        CU_ASSERT_EQUAL(zbd_device_open(loop, "/nonexistent", &dev, &err), -ENOENT);
        CU_ASSERT_PTR_NULL(dev);
}

/* ---- what reports mean ---- */

#define SEQ BLK_ZONE_TYPE_SEQWRITE_REQ

static const struct {
        const char *what;
        uint64_t start, len, capacity, wp; /* bytes; start and wp from the zone's place */
        unsigned type, cond;
        enum zdev_zone_state state;
        uint64_t capacity_blocks, wp_block;
        uint32_t ragged;
} zone_rows[] = {
    {"empty", 0, 32, 24, 0, SEQ, BLK_ZONE_COND_EMPTY, ZDEV_ZONE_EMPTY, 24, 0, 0},
    {"implicitly open", 0, 32, 24, 5, SEQ, BLK_ZONE_COND_IMP_OPEN, ZDEV_ZONE_OPEN, 24, 5, 0},
    {"explicitly open", 0, 32, 24, 0, SEQ, BLK_ZONE_COND_EXP_OPEN, ZDEV_ZONE_OPEN, 24, 0, 0},
    {"closed", 0, 32, 24, 23, SEQ, BLK_ZONE_COND_CLOSED, ZDEV_ZONE_CLOSED, 24, 23, 0},
    {"full", 0, 32, 24, 32, SEQ, BLK_ZONE_COND_FULL, ZDEV_ZONE_FULL, 24, 24, 0},
    {"read-only, pointer lost", 0, 32, 24, 99, SEQ, BLK_ZONE_COND_READONLY, ZDEV_ZONE_READONLY, 24,
     24, 0},
    {"offline", 0, 32, 24, 99, SEQ, BLK_ZONE_COND_OFFLINE, ZDEV_ZONE_OFFLINE, 24, 0, 0},
    {"conventional", 0, 32, 32, 0, BLK_ZONE_TYPE_CONVENTIONAL, BLK_ZONE_COND_NOT_WP,
     ZDEV_ZONE_CONVENTIONAL, 32, 0, 0},
    {"the short last zone", 0, 10, 10, 3, SEQ, BLK_ZONE_COND_CLOSED, ZDEV_ZONE_CLOSED, 10, 3, 0},
    {"elsewhere", 1, 32, 24, 2, SEQ, BLK_ZONE_COND_CLOSED, ZDEV_ZONE_READONLY, 24, 24, 0},
    {"pointer beyond", 0, 32, 24, 25, SEQ, BLK_ZONE_COND_CLOSED, ZDEV_ZONE_READONLY, 24, 24, 0},
    {"longer than a zone", 0, 33, 24, 0, SEQ, BLK_ZONE_COND_EMPTY, ZDEV_ZONE_READONLY, 24, 24, 0},
    {"more capacity than room", 0, 32, 33, 0, SEQ, BLK_ZONE_COND_EMPTY, ZDEV_ZONE_READONLY, 32, 32,
     0},
    {"no state", 0, 32, 24, 0, SEQ, BLK_ZONE_COND_NOT_WP, ZDEV_ZONE_READONLY, 24, 24, 0},
    {"unknown state", 0, 32, 24, 0, SEQ, 7, ZDEV_ZONE_READONLY, 24, 24, 0},
    {"state far off", 0, 32, 24, 0, SEQ, 1000, ZDEV_ZONE_READONLY, 24, 24, 0},
};

static void test_zones_of_a_report(void)
{
        enum { INDEX = 3 };
        for (size_t i = 0; i < ARRAY_SIZE(zone_rows); i++) {
                struct zbd_zone k = {.start = INDEX * ZONE_BYTES + zone_rows[i].start * ZP_BLOCK,
                                     .len = zone_rows[i].len * ZP_BLOCK,
                                     .capacity = zone_rows[i].capacity * ZP_BLOCK,
                                     .type = zone_rows[i].type,
                                     .cond = zone_rows[i].cond};
                k.wp = k.start + zone_rows[i].wp * ZP_BLOCK;
                struct zdev_zone z = zbd_zone_convert(&k, INDEX, ZONE_BYTES);
                bool right = z.state == zone_rows[i].state && z.wp_block == zone_rows[i].wp_block &&
                             z.capacity_blocks == zone_rows[i].capacity_blocks &&
                             zbd_zone_ragged(&k) == zone_rows[i].ragged;
                if (!right)
                        printf("%s: state %d wp %llu\n", zone_rows[i].what, z.state,
                               (unsigned long long)z.wp_block);
                CU_ASSERT_TRUE(right);
        }
}

static void test_ragged_pointers_round_up(void)
{
        struct zbd_zone k = {.start = ZONE_BYTES,
                             .len = ZONE_BYTES,
                             .capacity = 3 * ZP_BLOCK + 1024,
                             .wp = ZONE_BYTES + ZP_BLOCK + 512,
                             .type = SEQ,
                             .cond = BLK_ZONE_COND_CLOSED};

        struct zdev_zone z = zbd_zone_convert(&k, 1, ZONE_BYTES);
        CU_ASSERT_EQUAL(z.wp_block, 2);
        CU_ASSERT_EQUAL(z.capacity_blocks, 3);
        CU_ASSERT_EQUAL(z.state, ZDEV_ZONE_CLOSED);
        CU_ASSERT_EQUAL(zbd_zone_ragged(&k), ZP_BLOCK - 512);
        /* no whole block fits behind it: as good as full, and left alone */
        k.wp = ZONE_BYTES + 3 * ZP_BLOCK + 512;
        z = zbd_zone_convert(&k, 1, ZONE_BYTES);
        CU_ASSERT_EQUAL(z.wp_block, 3);
        CU_ASSERT_EQUAL(z.state, ZDEV_ZONE_FULL);
        CU_ASSERT_EQUAL(zbd_zone_ragged(&k), 0);
        k.wp = ZONE_BYTES + ZP_BLOCK + 512;
        k.cond = BLK_ZONE_COND_READONLY;
        CU_ASSERT_EQUAL(zbd_zone_ragged(&k), 0);
}

static void test_errors_of_the_kernel_become_statuses(void)
{
        static const struct {
                int error;
                enum zdev_zone_state state;
                int status;
        } rows[] = {
            {-EIO, ZDEV_ZONE_OPEN, -EIO},
            {-EIO, ZDEV_ZONE_READONLY, -EROFS},
            {-EIO, ZDEV_ZONE_OFFLINE, -EIO},
            {-EREMOTEIO, ZDEV_ZONE_OPEN, -EIO},
            {-EOVERFLOW, ZDEV_ZONE_EMPTY, -EOVERFLOW},
            {-ETOOMANYREFS, ZDEV_ZONE_EMPTY, -EOVERFLOW},
            {-ENODEV, ZDEV_ZONE_EMPTY, -ENODEV},
            {-ENXIO, ZDEV_ZONE_EMPTY, -ENODEV},
            {-EROFS, ZDEV_ZONE_EMPTY, -EROFS},
            {-EPERM, ZDEV_ZONE_EMPTY, -EROFS},
            {-ENOSPC, ZDEV_ZONE_EMPTY, -EIO},
            {-ENOMEM, ZDEV_ZONE_EMPTY, -EIO},
        };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                CU_ASSERT_EQUAL(zbd_status(rows[i].error, rows[i].state), rows[i].status);
}

/* ---- the driver, with a stand-in for the kernel ---- */

static struct stand_in {
        pthread_mutex_t lock; /* the driver's thread and the test's */
        struct zbd_zone zones[ZONES];
        int reports, appends;
        int manage_error;
        sem_t gate, *wait; /* a command waits here when wait is set */
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void at_gate(void)
{
        pthread_mutex_lock(&kernel.lock);
        sem_t *wait = kernel.wait;
        pthread_mutex_unlock(&kernel.lock);
        while (wait && sem_wait(wait) < 0)
                continue;
}

static int fake_report(void *ctx, int fd, uint64_t zone_bytes, uint32_t first, uint32_t n,
                       struct zbd_zone *zones)
{
        at_gate();
        pthread_mutex_lock(&kernel.lock);
        kernel.reports++;
        memcpy(zones, &kernel.zones[first], n * sizeof(*zones));
        pthread_mutex_unlock(&kernel.lock);
        return 0;
}

static int fake_manage(void *ctx, int fd, enum zbd_zone_op op, uint64_t offset, uint64_t len)
{
        at_gate();
        pthread_mutex_lock(&kernel.lock);
        int rc = kernel.manage_error;
        struct zbd_zone *z = &kernel.zones[offset / ZONE_BYTES];
        if (rc == 0) {
                z->wp = op == ZBD_OP_RESET ? z->start : z->start + z->len;
                z->cond = op == ZBD_OP_RESET ? BLK_ZONE_COND_EMPTY : BLK_ZONE_COND_FULL;
        }
        pthread_mutex_unlock(&kernel.lock);
        return rc;
}

static int fake_append(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
        pthread_mutex_lock(&kernel.lock);
        struct zbd_zone *z = &kernel.zones[offset / ZONE_BYTES];
        int rc = offset == z->wp && pwrite(fd, buf, len, (off_t)offset) == (ssize_t)len ? 0 : -EIO;
        if (rc == 0) {
                z->wp += len;
                kernel.appends++;
        }
        pthread_mutex_unlock(&kernel.lock);
        return rc;
}

static const struct zbd_kernel stand_in = {
    .report = fake_report, .manage = fake_manage, .append = fake_append};

static void t_set(uint32_t zone, unsigned cond, uint64_t wp_bytes)
{
        pthread_mutex_lock(&kernel.lock);
        kernel.zones[zone].cond = cond;
        kernel.zones[zone].wp = kernel.zones[zone].start + wp_bytes;
        pthread_mutex_unlock(&kernel.lock);
}

static void t_block(bool on)
{
        pthread_mutex_lock(&kernel.lock);
        kernel.wait = on ? &kernel.gate : NULL;
        pthread_mutex_unlock(&kernel.lock);
        if (!on)
                sem_post(&kernel.gate);
}

/* flags: O_RDWR, or O_RDONLY for a drive whose writes fail. */
static struct zdev *t_open(int flags)
{
        static const struct zdev_geometry geo = {ZONES, ZONE_BLOCKS, 6, 6, 64, false};
        struct zdev *dev = NULL;
        struct err err = ERR_INIT;

        sem_init(&kernel.gate, 0, 0);
        kernel.reports = kernel.appends = kernel.manage_error = 0;
        kernel.wait = NULL;
        for (uint32_t i = 0; i < ZONES; i++)
                kernel.zones[i] = (struct zbd_zone){.start = i * ZONE_BYTES,
                                                    .len = ZONE_BYTES,
                                                    .capacity = CAPACITY * ZP_BLOCK,
                                                    .wp = i * ZONE_BYTES,
                                                    .type = SEQ,
                                                    .cond = BLK_ZONE_COND_EMPTY};
        const char *path = t_path("medium");
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CU_ASSERT_EQUAL_FATAL(ftruncate(fd, ZONES * (off_t)ZONE_BYTES), 0);
        if (flags != O_RDWR) {
                close(fd);
                fd = open(path, flags | O_CLOEXEC);
        }
        int rc = zbd_device_make(loop, fd, &geo, 512, &stand_in, path, &dev, &err);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        return dev;
}

static void test_data_comes_back_to_any_memory(void)
{
        struct zdev *dev = t_open(O_RDWR);
        static uint8_t odd[3 * ZP_BLOCK];

        CU_ASSERT_STRING_EQUAL(dev->ops->kind, "zbd");
        memset(buffer, 0xa1, 2 * ZP_BLOCK);
        memset(buffer + 2 * ZP_BLOCK, 0xa2, ZP_BLOCK);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 3, 0, 3, buffer), 0);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_FLUSH, 0, 0, 0, NULL), 0);
        for (size_t shift = 0; shift < 1024; shift += 8) {
                memset(odd, 0, sizeof(odd));
                CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 3, 1, 2, odd + shift), 0);
                CU_ASSERT_EQUAL(odd[shift], 0xa1);
                CU_ASSERT_EQUAL(odd[shift + ZP_BLOCK - 1], 0xa1);
                CU_ASSERT_EQUAL(odd[shift + ZP_BLOCK], 0xa2);
                CU_ASSERT_EQUAL(odd[shift + 2 * ZP_BLOCK - 1], 0xa2);
                CU_ASSERT_EQUAL(odd[shift + 2 * ZP_BLOCK], 0);
        }
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 3, 3, 1, odd + 8), 0);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 3, 3, 1, buffer), 0);
        CU_ASSERT_EQUAL(memcmp(buffer, odd + 8, ZP_BLOCK), 0);
        zdev_close(dev);
}

static void test_what_breaks_the_rules_is_refused(void)
{
        struct zdev *dev = t_open(O_RDWR);
        struct zdev_zone zones[ZONES + 1];

        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_RESET, ZONES, 0, 0, NULL), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_FINISH, ZONES, 0, 0, NULL), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 0, 0, 0, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 0, 0, 65, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 0, ZONE_BLOCKS - 1, 2, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 0, UINT64_MAX, 2, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_REPORT, 0, 0, ZONES + 1, zones), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_REPORT, ZONES, 0, 1, zones), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_REPORT, ZONES, 0, 0, zones), 0);
        zdev_close(dev);
}

/* One command that changes a zone at a time: the kernel would take them in any order. */
static void test_one_change_of_a_zone_is_in_flight(void)
{
        static const enum zdev_op kinds[] = {ZDEV_WRITE, ZDEV_RESET, ZDEV_FINISH};
        struct zdev *dev = t_open(O_RDWR);

        for (size_t a = 0; a < ARRAY_SIZE(kinds); a++) {
                for (size_t b = 0; b < ARRAY_SIZE(kinds); b++) {
                        struct t_op first = {0}, second = {0}, other = {0};
                        t_start(dev, &first, kinds[a], 5, 0, 1, buffer);
                        t_start(dev, &second, kinds[b], 5, 1, 1, buffer);
                        t_start(dev, &other, kinds[b], 6, 0, 1, buffer);
                        CU_ASSERT_EQUAL(t_wait(&first), 0);
                        CU_ASSERT_EQUAL(t_wait(&second), -EIO);
                        CU_ASSERT_EQUAL(t_wait(&other), 0);
                        CU_ASSERT_EQUAL(t_do(dev, kinds[b], 5, 0, 1, buffer), 0);
                }
        }
        zdev_close(dev);
}

static void test_the_loop_goes_on_while_the_drive_resets(void)
{
        struct zdev *dev = t_open(O_RDWR);
        struct t_op reset = {0}, finish = {0};

        t_set(1, BLK_ZONE_COND_FULL, 0);
        t_block(true);
        t_start(dev, &reset, ZDEV_RESET, 1, 0, 0, NULL);
        t_start(dev, &finish, ZDEV_FINISH, 2, 0, 0, NULL);
        for (uint32_t i = 0; i < 10; i++)
                CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 3, i, 1, buffer), 0);
        CU_ASSERT_FALSE(reset.done);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 1, 0, 1, buffer), -EIO);
        t_block(false);
        CU_ASSERT_EQUAL(t_wait(&reset), 0);
        sem_post(&kernel.gate); /* for a finish that had come to the gate before it was opened */
        CU_ASSERT_EQUAL(t_wait(&finish), 0);
        CU_ASSERT_EQUAL(kernel.zones[1].cond, BLK_ZONE_COND_EMPTY);
        CU_ASSERT_EQUAL(kernel.zones[2].cond, BLK_ZONE_COND_FULL);
        zdev_close(dev);
}

/* What power left of a block is filled up before its zone is written on, and not by looking. */
static void test_ragged_zones_are_filled_before_they_are_written_on(void)
{
        struct zdev *dev = t_open(O_RDWR);
        struct zdev_zone zones[ZONES];

        t_set(4, BLK_ZONE_COND_CLOSED, 3 * ZP_BLOCK + 1536);
        t_set(5, BLK_ZONE_COND_READONLY, 1536);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_REPORT, 0, 0, ZONES, zones), 0);
        CU_ASSERT_EQUAL(zones[4].wp_block, 4);
        CU_ASSERT_EQUAL(zones[5].state, ZDEV_ZONE_READONLY);
        CU_ASSERT_EQUAL(zones[6].capacity_blocks, CAPACITY);
        CU_ASSERT_EQUAL(kernel.appends, 0);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 6, 0, 1, buffer), 0);
        CU_ASSERT_EQUAL(kernel.reports, 1); /* a zone that begins cannot be ragged */
        memset(buffer, 0x77, ZP_BLOCK);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 4, 4, 1, buffer), 0);
        CU_ASSERT_EQUAL(kernel.reports, 2);
        CU_ASSERT_EQUAL(kernel.appends, 1);
        CU_ASSERT_EQUAL(kernel.zones[4].wp, 4 * ZONE_BYTES + 4 * ZP_BLOCK);
        t_set(4, BLK_ZONE_COND_IMP_OPEN, 5 * ZP_BLOCK + 512);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 4, 5, 1, buffer), 0);
        CU_ASSERT_EQUAL(kernel.reports, 2); /* looked at once */
        CU_ASSERT_EQUAL(kernel.appends, 1);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 4, 4, 1, buffer), 0);
        CU_ASSERT_EQUAL(buffer[0], 0x77);
        zdev_close(dev);
}

static void test_a_failed_write_is_looked_into_before_it_is_told(void)
{
        struct zdev *dev = t_open(O_RDONLY);

        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 2, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(kernel.reports, 1);
        t_set(2, BLK_ZONE_COND_READONLY, 0);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, 2, 0, 1, buffer), -EROFS);
        CU_ASSERT_EQUAL(kernel.reports, 2);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 2, 0, 1, buffer), 0);
        kernel.manage_error = -EIO;
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_RESET, 2, 0, 0, NULL), -EROFS);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_RESET, 3, 0, 0, NULL), -EIO);
        kernel.manage_error = -EOVERFLOW;
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_FINISH, 3, 0, 0, NULL), -EOVERFLOW);
        CU_ASSERT_EQUAL(kernel.reports, 5);
        zdev_close(dev);
}

static void test_more_operations_than_the_ring_holds_all_complete(void)
{
        enum { N = 1000 };
        struct zdev *dev = t_open(O_RDWR);
        static struct t_op ops[N];
        struct zdev_zone zones[ZONES];

        for (uint32_t i = 0; i < N; i++) {
                if (i % 100 == 99)
                        t_start(dev, &ops[i], ZDEV_REPORT, 0, 0, ZONES, zones);
                else
                        t_start(dev, &ops[i], ZDEV_READ, i % ZONES, 0, 1, buffer);
        }
        for (uint32_t i = 0; i < N; i++)
                CU_ASSERT_EQUAL(t_wait(&ops[i]), 0);
        zdev_close(dev);
}

static void test_a_device_may_be_closed_from_inside_any_completion(void)
{
        static const enum zdev_op kinds[] = {ZDEV_READ, ZDEV_RESET, ZDEV_REPORT, ZDEV_FLUSH};
        struct zdev_zone zones[ZONES];

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                struct t_op op = {.close = t_open(O_RDWR)};
                void *buf = kinds[i] == ZDEV_REPORT ? (void *)zones : buffer;
                t_start(op.close, &op, kinds[i], 0, 0, 1, buf);
                CU_ASSERT_EQUAL(t_wait(&op), 0);
                loop_turn(loop, 0);
        }
        struct t_op refused = {.close = t_open(O_RDWR)};
        t_start(refused.close, &refused, ZDEV_READ, ZONES, 0, 1, buffer);
        CU_ASSERT_EQUAL(t_wait(&refused), -EIO);
}

static const struct t_case cases[] = {
    T_CASE(test_what_is_no_zoned_device_is_refused_by_name),
    T_CASE(test_zones_of_a_report),
    T_CASE(test_ragged_pointers_round_up),
    T_CASE(test_errors_of_the_kernel_become_statuses),
    T_CASE(test_data_comes_back_to_any_memory),
    T_CASE(test_what_breaks_the_rules_is_refused),
    T_CASE(test_one_change_of_a_zone_is_in_flight),
    T_CASE(test_the_loop_goes_on_while_the_drive_resets),
    T_CASE(test_ragged_zones_are_filled_before_they_are_written_on),
    T_CASE(test_a_failed_write_is_looked_into_before_it_is_told),
    T_CASE(test_more_operations_than_the_ring_holds_all_complete),
    T_CASE(test_a_device_may_be_closed_from_inside_any_completion),
};

int main(void)
{
        return t_device_run("zbd", cases, ARRAY_SIZE(cases));
}
