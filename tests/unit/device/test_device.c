/* Zoned devices: every rule of zone_model.h on mem and file alike, and what is the file device's
 * own: refusals, reopening, damage, the lock, a killed process. */
#include "base/crc32c.h"
#include "base/le.h"
#include "pool/device/file.h"
#include "pool/device/file_format.h"
#include "pool/device/mem.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ZONES = 20, ZONE_BLOCKS = 32, CAPACITY = 24, MAX_OPEN = 3, MAX_ACTIVE = 5 };

static char tmp_dir[] = "/tmp/zonepool-device-XXXXXX";
static struct loop *loop;

/* ---- driving a device to the end of one operation ---- */

struct t_op {
        struct zdev_io io;
        bool done;
        int status;
};

static void t_done(struct zdev_io *io, int status)
{
        struct t_op *op = container_of(io, struct t_op, io);
        CU_ASSERT_FALSE(op->done);
        op->done = true;
        op->status = status;
}

static int t_wait(struct t_op *op)
{
        uint64_t deadline = clock_now_ns() + UINT64_C(10000000000);
        while (!op->done && clock_now_ns() < deadline)
                loop_turn(loop, 100 * 1000 * 1000);
        CU_ASSERT_TRUE_FATAL(op->done);
        return op->status;
}

static int t_do(struct zdev *dev, enum zdev_op kind, uint32_t zone, uint64_t block, uint32_t n,
                void *buf)
{
        struct iovec iov = {buf, (size_t)n * ZP_BLOCK};
        struct t_op op = {.io = {.op = kind,
                                 .zone = zone,
                                 .block = block,
                                 .nblocks = n,
                                 .iov = &iov,
                                 .niov = 1,
                                 .done = t_done}};
        zdev_submit(dev, &op.io);
        CU_ASSERT_FALSE(op.done); /* never from inside submit */
        return t_wait(&op);
}

static uint8_t buffer[64 * ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));

static int t_write(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill)
{
        memset(buffer, fill, (size_t)n * ZP_BLOCK);
        return t_do(dev, ZDEV_WRITE, zone, block, n, buffer);
}

/* Whether the n blocks hold nothing but fill. */
static bool t_holds(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill)
{
        memset(buffer, ~fill, (size_t)n * ZP_BLOCK);
        if (t_do(dev, ZDEV_READ, zone, block, n, buffer) != 0)
                return false;
        for (size_t i = 0; i < (size_t)n * ZP_BLOCK; i++)
                if (buffer[i] != fill)
                        return false;
        return true;
}

static struct zdev_zone t_zone(struct zdev *dev, uint32_t zone)
{
        struct zdev_zone z = {0};
        struct t_op op = {
            .io = {.op = ZDEV_REPORT, .zone = zone, .nblocks = 1, .report = &z, .done = t_done}};
        zdev_submit(dev, &op.io);
        CU_ASSERT_EQUAL(t_wait(&op), 0);
        return z;
}

static int t_manage(struct zdev *dev, enum zdev_op kind, uint32_t zone)
{
        return t_do(dev, kind, zone, 0, 0, NULL);
}

/* ---- the rules, on every kind of device ---- */

static char *t_path(const char *name)
{
        static char path[128];
        snprintf(path, sizeof(path), "%s/%s", tmp_dir, name);
        return path;
}

static const struct file_device_spec small = {
    .size_bytes = FILE_FORMAT_ALIGN + (uint64_t)ZONES * ZONE_BLOCKS * ZP_BLOCK,
    .zone_bytes = ZONE_BLOCKS * ZP_BLOCK,
    .zone_capacity_bytes = CAPACITY * ZP_BLOCK,
    .max_open = MAX_OPEN,
    .max_active = MAX_ACTIVE,
};

static struct zdev *t_open_file(const char *path)
{
        struct zdev *dev = NULL;
        struct err err = ERR_INIT;
        int rc = file_device_open(loop, path, &dev, &err);
        if (rc < 0)
                printf("%s\n", err.msg);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        return dev;
}

static struct zdev *t_new_file(const char *path)
{
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL_FATAL(file_device_create(path, &small, true, &err), 0);
        return t_open_file(path);
}

static struct zdev *t_new_mem(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES,
                                                    .zone_blocks = ZONE_BLOCKS,
                                                    .zone_capacity_blocks = CAPACITY,
                                                    .max_open = MAX_OPEN,
                                                    .max_active = MAX_ACTIVE};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, loop, &dev), 0);
        return dev;
}

enum what { WRITE, READ, RESET, FINISH, FLUSH };

/* Steps of one device's life, in order, and what each must answer. */
static const struct step {
        const char *rule;
        enum what what;
        uint32_t zone;
        uint64_t block;
        uint32_t n;
        int status;
        enum zdev_zone_state state; /* of zone, afterwards */
        uint64_t wp;
} steps[] = {
    {"a new zone may be read", READ, 0, 0, 4, 0, ZDEV_ZONE_EMPTY, 0},
    {"a write above the pointer fails", WRITE, 0, 1, 1, -EIO, ZDEV_ZONE_EMPTY, 0},
    {"a write opens an empty zone", WRITE, 0, 0, 4, 0, ZDEV_ZONE_OPEN, 4},
    {"a write below the pointer fails", WRITE, 0, 0, 1, -EIO, ZDEV_ZONE_OPEN, 4},
    {"a write goes on at the pointer", WRITE, 0, 4, 1, 0, ZDEV_ZONE_OPEN, 5},
    {"a write over the capacity fails", WRITE, 0, 5, CAPACITY - 4, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a write of nothing fails", WRITE, 0, 5, 0, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a read over the capacity fails", READ, 0, CAPACITY - 1, 2, -EIO, ZDEV_ZONE_OPEN, 5},
    {"a read above the pointer is allowed", READ, 0, 4, 4, 0, ZDEV_ZONE_OPEN, 5},
    {"a write up to the capacity fills", WRITE, 0, 5, CAPACITY - 5, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"a full zone is not written", WRITE, 0, CAPACITY, 1, -EIO, ZDEV_ZONE_FULL, CAPACITY},
    {"a full zone is read", READ, 0, 0, CAPACITY, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"first open zone", WRITE, 1, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"second open zone", WRITE, 2, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"third open zone", WRITE, 3, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"zone 1 becomes the last written", WRITE, 1, 1, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"the open limit closes another", WRITE, 4, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"... namely the longest unwritten", READ, 2, 0, 1, 0, ZDEV_ZONE_CLOSED, 1},
    {"... and no other", READ, 1, 0, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"a closed zone opens again", WRITE, 2, 1, 1, 0, ZDEV_ZONE_OPEN, 2},
    {"... and another is closed", READ, 3, 0, 1, 0, ZDEV_ZONE_CLOSED, 1},
    {"fifth active zone", WRITE, 5, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"a sixth is one too many", WRITE, 6, 0, 1, -EOVERFLOW, ZDEV_ZONE_EMPTY, 0},
    {"finish ends a zone", FINISH, 5, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"... so that another may begin", WRITE, 6, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
    {"finish of a closed zone", FINISH, 1, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"finish of an empty zone", FINISH, 7, 0, 0, 0, ZDEV_ZONE_FULL, CAPACITY},
    {"reset of an open zone", RESET, 6, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"reset of a full zone", RESET, 0, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"reset of an empty zone", RESET, 0, 0, 0, 0, ZDEV_ZONE_EMPTY, 0},
    {"a reset zone is written again", WRITE, 0, 0, 2, 0, ZDEV_ZONE_OPEN, 2},
    {"flush", FLUSH, 0, 0, 0, 0, ZDEV_ZONE_OPEN, 2},
    {"the last zone", WRITE, ZONES - 1, 0, 1, 0, ZDEV_ZONE_OPEN, 1},
};

static int t_step(struct zdev *dev, const struct step *s)
{
        static const enum zdev_op ops[] = {[WRITE] = ZDEV_WRITE,
                                           [READ] = ZDEV_READ,
                                           [RESET] = ZDEV_RESET,
                                           [FINISH] = ZDEV_FINISH,
                                           [FLUSH] = ZDEV_FLUSH};
        return t_do(dev, ops[s->what], s->zone, s->block, s->n, buffer);
}

static void run_steps(struct zdev *dev)
{
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                const struct step *s = &steps[i];
                int status = t_step(dev, s);
                struct zdev_zone z = t_zone(dev, s->zone);
                bool right = status == s->status && z.state == s->state && z.wp_block == s->wp &&
                             z.capacity_blocks == CAPACITY;
                if (!right)
                        printf("%s: \"%s\": status %d state %d wp %llu\n", dev->ops->kind, s->rule,
                               status, z.state, (unsigned long long)z.wp_block);
                CU_ASSERT_TRUE(right);
        }
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_WRITE, ZONES, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, ZONES), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, ZONES), -EIO);
}

static void test_rules_hold_on_mem(void)
{
        struct zdev *dev = t_new_mem();
        run_steps(dev);
        zdev_close(dev);
}

static void test_rules_hold_on_file(void)
{
        struct zdev *dev = t_new_file(t_path("rules"));
        run_steps(dev);
        zdev_close(dev);
}

static void data_comes_back(struct zdev *dev)
{
        CU_ASSERT_EQUAL(t_write(dev, 3, 0, 5, 0xa1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 3, 5, 7, 0xa2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 4, 0, 1, 0xa3), 0);
        CU_ASSERT_TRUE(t_holds(dev, 3, 0, 5, 0xa1));
        CU_ASSERT_TRUE(t_holds(dev, 3, 5, 7, 0xa2));
        CU_ASSERT_TRUE(t_holds(dev, 4, 0, 1, 0xa3));
        /* scattered and misaligned memory */
        static uint8_t odd[3 * ZP_BLOCK + 512];
        struct iovec iov[] = {{odd + 256, 1000}, {odd + 1256, ZP_BLOCK}, {odd + 5352, 3096}};
        struct t_op op = {.io = {.op = ZDEV_READ,
                                 .zone = 3,
                                 .block = 4,
                                 .nblocks = 2,
                                 .iov = iov,
                                 .niov = 3,
                                 .done = t_done}};
        zdev_submit(dev, &op.io);
        CU_ASSERT_EQUAL(t_wait(&op), 0);
        CU_ASSERT_EQUAL(odd[256], 0xa1);
        CU_ASSERT_EQUAL(odd[256 + ZP_BLOCK - 1], 0xa1);
        CU_ASSERT_EQUAL(odd[256 + ZP_BLOCK], 0xa2);
        CU_ASSERT_EQUAL(odd[256 + 2 * ZP_BLOCK - 1], 0xa2);
        op = (struct t_op){.io = {.op = ZDEV_WRITE,
                                  .zone = 4,
                                  .block = 1,
                                  .nblocks = 2,
                                  .iov = iov,
                                  .niov = 3,
                                  .done = t_done}};
        zdev_submit(dev, &op.io);
        CU_ASSERT_EQUAL(t_wait(&op), 0);
        CU_ASSERT_TRUE(t_holds(dev, 4, 1, 1, 0xa1));
        CU_ASSERT_TRUE(t_holds(dev, 4, 2, 1, 0xa2));
        zdev_close(dev);
}

static void test_data_comes_back(void)
{
        data_comes_back(t_new_mem());
        data_comes_back(t_new_file(t_path("data")));
}

/* A second write, a reset or a finish of a zone with a write in flight is refused: on a real device
 * their order would be anybody's guess. */
static void one_write_in_flight(struct zdev *dev)
{
        static const enum zdev_op second[] = {ZDEV_WRITE, ZDEV_RESET, ZDEV_FINISH};
        for (uint32_t i = 0; i < ARRAY_SIZE(second); i++) {
                struct iovec iov = {buffer, ZP_BLOCK};
                struct t_op a = {.io = {.op = ZDEV_WRITE,
                                        .zone = i,
                                        .nblocks = 1,
                                        .iov = &iov,
                                        .niov = 1,
                                        .done = t_done}};
                struct t_op b = a;
                b.io.op = second[i];
                b.io.block = 1;
                zdev_submit(dev, &a.io);
                zdev_submit(dev, &b.io);
                CU_ASSERT_EQUAL(t_wait(&a), 0);
                CU_ASSERT_EQUAL(t_wait(&b), -EIO);
                CU_ASSERT_EQUAL(t_zone(dev, i).wp_block, 1);
        }
        zdev_close(dev);
}

static void test_one_write_of_a_zone_is_in_flight(void)
{
        one_write_in_flight(t_new_mem());
        one_write_in_flight(t_new_file(t_path("inflight")));
}

static void test_many_operations_at_once_all_complete(void)
{
        struct zdev *devs[] = {t_new_mem(), t_new_file(t_path("many"))};
        for (size_t d = 0; d < ARRAY_SIZE(devs); d++) {
                CU_ASSERT_EQUAL(t_write(devs[d], 0, 0, CAPACITY, 0x55), 0);
                enum { N = 1000 };
                static struct t_op ops[N];
                static struct iovec iov[N];
                for (int i = 0; i < N; i++) {
                        iov[i] = (struct iovec){buffer, ZP_BLOCK};
                        ops[i] = (struct t_op){.io = {.op = ZDEV_READ,
                                                      .block = i % CAPACITY,
                                                      .nblocks = 1,
                                                      .iov = &iov[i],
                                                      .niov = 1,
                                                      .done = t_done}};
                        zdev_submit(devs[d], &ops[i].io);
                }
                for (int i = 0; i < N; i++)
                        CU_ASSERT_EQUAL(t_wait(&ops[i]), 0);
                zdev_close(devs[d]);
        }
}

static void test_bad_zones_on_mem(void)
{
        struct zdev *dev = t_new_mem();
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), 0);
        mem_device_set_zone(dev, 0, ZDEV_ZONE_READONLY, 2);
        CU_ASSERT_EQUAL(t_write(dev, 0, 2, 1, 1), -EROFS);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EROFS);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 0), -EROFS);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 2, 1));
        mem_device_set_zone(dev, 0, ZDEV_ZONE_OFFLINE, 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 1, 1), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 0, 0, 1, buffer), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).state, ZDEV_ZONE_OFFLINE);
        /* its place among the active ones is free again */
        for (uint32_t z = 1; z <= MAX_ACTIVE; z++)
                CU_ASSERT_EQUAL(t_write(dev, z, 0, 1, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, MAX_ACTIVE + 1, 0, 1, 1), -EOVERFLOW);
        zdev_close(dev);
}

static void test_conventional_zones_on_mem(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES,
                                                    .zone_blocks = ZONE_BLOCKS,
                                                    .zone_capacity_blocks = CAPACITY,
                                                    .nr_conventional = 1};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, loop, &dev), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 7, 2, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 3, 1, 2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, ZONE_BLOCKS - 1, 1, 3), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, ZONE_BLOCKS, 1, 3), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 0), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).state, ZDEV_ZONE_CONVENTIONAL);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 0);
        CU_ASSERT_EQUAL(t_zone(dev, 0).capacity_blocks, ZONE_BLOCKS);
        CU_ASSERT_EQUAL(t_zone(dev, 1).capacity_blocks, CAPACITY);
        CU_ASSERT_EQUAL(t_write(dev, 1, 7, 1, 1), -EIO);
        zdev_close(dev);
}

static int fail_writes(void *ctx, const struct zdev_io *io)
{
        return io->op == ZDEV_WRITE && *(bool *)ctx ? -EIO : 0;
}

static void test_a_failed_write_leaves_the_pointer(void)
{
        bool fail = true;
        struct zdev *dev = t_new_mem();
        mem_device_set_fault(dev, fail_writes, &fail);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), -EIO);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 0);
        fail = false;
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 2, 1), 0);
        CU_ASSERT_EQUAL(t_zone(dev, 0).wp_block, 2);
        zdev_close(dev);
}

static void test_mem_without_a_loop_completes_when_told(void)
{
        static const struct mem_device_spec spec = {.nr_zones = ZONES, .zone_blocks = ZONE_BLOCKS};
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, NULL, &dev), 0);
        struct iovec iov = {buffer, ZP_BLOCK};
        struct t_op a = {
            .io = {.op = ZDEV_WRITE, .nblocks = 1, .iov = &iov, .niov = 1, .done = t_done}};
        struct t_op b = {.io = {.op = ZDEV_FLUSH, .done = t_done}};
        zdev_submit(dev, &a.io);
        zdev_submit(dev, &b.io);
        loop_turn(loop, 0);
        CU_ASSERT_FALSE(a.done);
        CU_ASSERT_TRUE(mem_device_step(dev));
        CU_ASSERT_TRUE(a.done && !b.done);
        CU_ASSERT_EQUAL(mem_device_run(dev), 1);
        CU_ASSERT_TRUE(b.done);
        CU_ASSERT_FALSE(mem_device_step(dev));
        zdev_close(dev);
}

/* ---- the file device's own ---- */

static void test_reopened_file_shows_states_and_data(void)
{
        char *path = t_path("reopen");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, CAPACITY, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 1, 0, 3, 2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 2, 0, 3, 3), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 2), 0);
        CU_ASSERT_EQUAL(t_write(dev, 3, 0, 1, 4), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 3), 0);
        zdev_close(dev);
        dev = t_open_file(path);
        CU_ASSERT_EQUAL(dev->geo.nr_zones, ZONES);
        CU_ASSERT_EQUAL(dev->geo.zone_blocks, ZONE_BLOCKS);
        CU_ASSERT_EQUAL(dev->geo.max_open, MAX_OPEN);
        CU_ASSERT_EQUAL(dev->geo.max_active, MAX_ACTIVE);
        CU_ASSERT_EQUAL(t_zone(dev, 0).state, ZDEV_ZONE_FULL);
        CU_ASSERT_EQUAL(t_zone(dev, 1).state, ZDEV_ZONE_CLOSED);
        CU_ASSERT_EQUAL(t_zone(dev, 1).wp_block, 3);
        CU_ASSERT_EQUAL(t_zone(dev, 2).state, ZDEV_ZONE_EMPTY);
        CU_ASSERT_EQUAL(t_zone(dev, 3).state, ZDEV_ZONE_FULL);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, CAPACITY, 1));
        CU_ASSERT_TRUE(t_holds(dev, 1, 0, 3, 2));
        CU_ASSERT_EQUAL(t_write(dev, 1, 3, 1, 5), 0);
        zdev_close(dev);
}

static void test_reset_gives_space_back(void)
{
        char *path = t_path("punch");
        struct zdev *dev = t_new_file(path);
        struct stat before, full, after;
        CU_ASSERT_EQUAL(stat(path, &before), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, CAPACITY, 1), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FLUSH, 0), 0);
        CU_ASSERT_EQUAL(stat(path, &full), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 0), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FLUSH, 0), 0);
        CU_ASSERT_EQUAL(stat(path, &after), 0);
        CU_ASSERT_TRUE(full.st_blocks >= before.st_blocks + CAPACITY * 8);
        CU_ASSERT_TRUE(after.st_blocks <= full.st_blocks - CAPACITY * 8);
        zdev_close(dev);
}

static void t_put(const char *path, off_t at, const void *bytes, size_t len)
{
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        CU_ASSERT_EQUAL(pwrite(fd, bytes, len, at), (ssize_t)len);
        close(fd);
}

static void expect_create(const char *path, int rc, const char *text)
{
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL(file_device_create(path, &small, false, &err), rc);
        bool said = strstr(err.msg, text) != NULL;
        if (!said)
                printf("\"%s\" lacks \"%s\"\n", err.msg, text);
        CU_ASSERT_TRUE(said);
}

static void test_create_refuses_a_file_that_holds_data(void)
{
        char *path = t_path("busy");
        t_put(path, (off_t)small.size_bytes - 1, "", 1); /* zeroes only: empty enough */
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL(file_device_create(path, &small, false, &err), 0);
        expect_create(path, -EEXIST, "holds a zonepool device already");
        CU_ASSERT_TRUE(file_device_is_formatted(path));

        path = t_path("first");
        t_put(path, 12345, "x", 1);
        expect_create(path, -EEXIST, "unknown kind");
        CU_ASSERT_FALSE(file_device_is_formatted(path));
        path = t_path("last");
        t_put(path, 3 << 20, "x", 1);
        expect_create(path, -EEXIST, "unknown kind");

        /* enough of a swap header for libblkid */
        path = t_path("swap");
        t_put(path, (off_t)(16 << 20), "", 1);
        t_put(path, 4096 - 10, "SWAPSPACE2", 10);
        t_put(path, 1024, "\1\0\0\0\377\1\0\0", 8);
        expect_create(path, -EEXIST, "holds data (swap)");
        struct err none = ERR_INIT;
        CU_ASSERT_EQUAL(file_device_create(path, &small, true, &none), 0);
        CU_ASSERT_TRUE(file_device_is_formatted(path));
}

static void test_create_checks_its_sizes(void)
{
        static const struct {
                struct file_device_spec spec;
                const char *text;
        } rows[] = {
            {{.size_bytes = 0}, "give the size"},
            {{.size_bytes = 1 << 20, .zone_bytes = 1 << 20}, "only 0 zones of 1.00 MiB"},
            {{.size_bytes = 16 << 20, .zone_bytes = 1 << 20}, "only 15 zones of 1.00 MiB"},
            {{.size_bytes = 64 << 20, .zone_bytes = (1 << 20) + 512}, "multiples of 4096"},
            {{.size_bytes = 64 << 20, .zone_bytes = 1 << 20, .zone_capacity_bytes = 1 << 21},
             "must not exceed"},
            {{.size_bytes = 64 << 20, .max_open = 8, .max_active = 4}, "active zones (4)"},
            {{.size_bytes = 64 << 20, .max_open = -2}, "negative"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char *path = t_path("sizes");
                struct err err = ERR_INIT;
                CU_ASSERT_EQUAL(file_device_create(path, &rows[i].spec, false, &err), -EINVAL);
                bool said = strstr(err.msg, rows[i].text) != NULL;
                if (!said)
                        printf("\"%s\" lacks \"%s\"\n", err.msg, rows[i].text);
                CU_ASSERT_TRUE(said);
                CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0); /* nothing is left behind */
        }
}

static void test_create_chooses_sensible_zones(void)
{
        static const struct {
                uint64_t size;
                uint64_t zone_bytes;
        } rows[] = {{UINT64_C(2) << 20, 64 << 10},
                    {UINT64_C(64) << 20, 1 << 20},
                    {UINT64_C(1) << 30, 8 << 20},
                    {UINT64_C(10) << 30, 64 << 20},
                    {UINT64_C(1) << 40, 256 << 20}};
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char *path = t_path("defaults");
                struct file_device_spec spec = {.size_bytes = rows[i].size};
                struct err err = ERR_INIT;
                CU_ASSERT_EQUAL_FATAL(file_device_create(path, &spec, true, &err), 0);
                struct zdev *dev = t_open_file(path);
                CU_ASSERT_EQUAL(dev->geo.zone_blocks * ZP_BLOCK, rows[i].zone_bytes);
                CU_ASSERT_TRUE(dev->geo.nr_zones >= 16);
                zdev_close(dev);
                unlink(path);
        }
}

static void expect_open(const char *path, int rc, const char *text)
{
        struct err err = ERR_INIT;
        struct zdev *dev = NULL;
        CU_ASSERT_EQUAL(file_device_open(loop, path, &dev, &err), rc);
        CU_ASSERT_PTR_NULL(dev);
        bool said = strstr(err.msg, text) && strstr(err.msg, path);
        if (!said)
                printf("\"%s\" lacks \"%s\"\n", err.msg, text);
        CU_ASSERT_TRUE(said);
}

static void test_open_refuses_what_is_not_whole(void)
{
        char *path = t_path("whole");
        expect_open(path, -ENOENT, "No such file");
        t_put(path, 0, "x", 1);
        expect_open(path, -ENOENT, "not a zonepool file device");
}

static void test_damaged_header_is_refused(void)
{
        char *path = t_path("damaged");
        static const off_t places[] = {12, 17, 33, 45, 50, 90, 4095};
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                zdev_close(t_new_file(path));
                t_put(path, places[i], "\xee", 1);
                expect_open(path, -EBADMSG, "header is damaged");
        }
        zdev_close(t_new_file(path));
        CU_ASSERT_EQUAL(truncate(path, (off_t)small.size_bytes - 1), 0);
        expect_open(path, -EBADMSG, "cut short");
}

static void test_newer_format_is_refused(void)
{
        char *path = t_path("newer");
        zdev_close(t_new_file(path));
        uint8_t block[ZP_BLOCK];
        int fd = open(path, O_RDONLY);
        CU_ASSERT_EQUAL(pread(fd, block, sizeof(block), 0), ZP_BLOCK);
        close(fd);
        put_le32(block + 8, 2);
        put_le32(block + 12, 0);
        put_le32(block + 12, crc32c(0, block, sizeof(block)));
        t_put(path, 0, block, sizeof(block));
        expect_open(path, -EPROTONOSUPPORT, "version 2 is newer");
}

static void test_a_damaged_zone_state_makes_the_zone_readonly(void)
{
        char *path = t_path("state");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_write(dev, 6, 0, 3, 9), 0);
        zdev_close(dev);
        t_put(path, ZP_BLOCK + 6 * 8, "\x07", 1);
        dev = t_open_file(path);
        CU_ASSERT_EQUAL(t_zone(dev, 6).state, ZDEV_ZONE_READONLY);
        CU_ASSERT_EQUAL(t_write(dev, 6, 7, 1, 9), -EROFS);
        CU_ASSERT_TRUE(t_holds(dev, 6, 0, 3, 9));
        CU_ASSERT_EQUAL(t_zone(dev, 5).state, ZDEV_ZONE_EMPTY);
        zdev_close(dev);
}

static void test_one_opener_at_a_time(void)
{
        char *path = t_path("lock");
        struct zdev *dev = t_new_file(path);
        uint64_t before = clock_now_ns();
        expect_open(path, -EBUSY, "in use by another");
        CU_ASSERT_TRUE(clock_now_ns() - before < UINT64_C(250000000)); /* it does not wait */
        struct err err = ERR_INIT;
        CU_ASSERT_EQUAL(file_device_create(path, &small, true, &err), -EBUSY);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 1, 1), 0); /* unharmed */
        zdev_close(dev);
        dev = t_open_file(path);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 1, 1));
        zdev_close(dev);
}

static void test_a_closed_device_is_free_while_its_file_is_still_open_somewhere(void)
{
        char *path = t_path("late");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 1, 1), 0);
        pid_t child = fork(); /* has the same open file, as a ring that is being taken down has */
        if (child == 0)
                for (;;)
                        pause();
        zdev_close(dev);
        struct err err = ERR_INIT;
        int rc = file_device_open(loop, path, &dev, &err);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 1, 1));
        zdev_close(dev);
}

/* The kernel may still be ending the I/O of a process that is dead. */
static struct zdev *open_after_kill(const char *path)
{
        uint64_t deadline = clock_now_ns() + UINT64_C(10000000000);
        struct zdev *dev = NULL;
        struct err err = ERR_INIT;
        int rc;

        while ((rc = file_device_open(loop, path, &dev, &err)) == -EBUSY &&
               clock_now_ns() < deadline)
                loop_turn(loop, 1000 * 1000);
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        return dev;
}

/* The child tells each completed write in shared memory and is killed in the middle of them. */
static void write_until_killed(const char *path, volatile uint32_t *told)
{
        struct zdev *dev = t_open_file(path);
        for (uint32_t zone = 0; zone < ZONES; zone++) {
                for (uint32_t block = 0; block < CAPACITY; block++) {
                        if (t_write(dev, zone, block, 1, (uint8_t)(1 + block)) != 0)
                                _exit(1);
                        *told = zone * CAPACITY + block + 1;
                }
        }
        for (;;)
                pause();
}

static void test_completed_writes_survive_kill(void)
{
        char *path = t_path("kill");
        volatile uint32_t *told =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        for (uint32_t round = 0; round < 8; round++) {
                zdev_close(t_new_file(path));
                *told = 0;
                pid_t child = fork();
                if (child == 0) {
                        loop_new(&loop);
                        write_until_killed(path, told);
                }
                while (*told < 7 + round * 23)
                        usleep(50);
                kill(child, SIGKILL);
                int status;
                waitpid(child, &status, 0);
                CU_ASSERT_TRUE(WIFSIGNALED(status));
                uint32_t written = *told;
                struct zdev *dev = open_after_kill(path);
                uint64_t found = 0;
                for (uint32_t zone = 0; zone < ZONES; zone++)
                        found += t_zone(dev, zone).wp_block;
                CU_ASSERT_TRUE(found == written || found == written + 1);
                for (uint32_t i = 0; i < written; i++)
                        CU_ASSERT_TRUE(t_holds(dev, i / CAPACITY, i % CAPACITY, 1,
                                               (uint8_t)(1 + i % CAPACITY)));
                zdev_close(dev);
        }
        munmap((void *)told, 4096);
}

static void test_zone_states_encode_and_decode(void)
{
        for (int s = ZDEV_ZONE_CONVENTIONAL; s <= ZDEV_ZONE_OFFLINE; s++) {
                enum zdev_zone_state state;
                uint64_t wp;
                uint64_t word = file_format_encode_zone(77, (enum zdev_zone_state)s, 0xabcdef1234);
                CU_ASSERT_EQUAL(file_format_decode_zone(77, word, &state, &wp), 0);
                CU_ASSERT_EQUAL(state, (enum zdev_zone_state)s);
                CU_ASSERT_EQUAL(wp, 0xabcdef1234);
                CU_ASSERT_EQUAL(file_format_decode_zone(78, word, &state, &wp), -EBADMSG);
                for (int bit = 0; bit < 64; bit++)
                        CU_ASSERT_EQUAL(
                            file_format_decode_zone(77, word ^ UINT64_C(1) << bit, &state, &wp),
                            -EBADMSG);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_rules_hold_on_mem),
    T_CASE(test_rules_hold_on_file),
    T_CASE(test_data_comes_back),
    T_CASE(test_one_write_of_a_zone_is_in_flight),
    T_CASE(test_many_operations_at_once_all_complete),
    T_CASE(test_bad_zones_on_mem),
    T_CASE(test_conventional_zones_on_mem),
    T_CASE(test_a_failed_write_leaves_the_pointer),
    T_CASE(test_mem_without_a_loop_completes_when_told),
    T_CASE(test_reopened_file_shows_states_and_data),
    T_CASE(test_reset_gives_space_back),
    T_CASE(test_create_refuses_a_file_that_holds_data),
    T_CASE(test_create_checks_its_sizes),
    T_CASE(test_create_chooses_sensible_zones),
    T_CASE(test_open_refuses_what_is_not_whole),
    T_CASE(test_damaged_header_is_refused),
    T_CASE(test_newer_format_is_refused),
    T_CASE(test_a_damaged_zone_state_makes_the_zone_readonly),
    T_CASE(test_one_opener_at_a_time),
    T_CASE(test_a_closed_device_is_free_while_its_file_is_still_open_somewhere),
    T_CASE(test_completed_writes_survive_kill),
    T_CASE(test_zone_states_encode_and_decode),
};

int main(void)
{
        if (!mkdtemp(tmp_dir) || loop_new(&loop) < 0)
                return 1;
        int rc = t_run("zoned devices", cases, ARRAY_SIZE(cases));
        loop_free(loop);
        char command[64];
        snprintf(command, sizeof(command), "rm -rf %s", tmp_dir);
        return system(command) == 0 ? rc : 1;
}
