/* The zbd driver on a real zoned device of the kernel: what it promises in zbd.h, and what the
 * kernel and the drive answer when a rule is broken.
 *
 *   zbd_rules KIND DEVICE [NULLB]     KIND: zns, null_blk or smr; NULLB: null_blk's folder in
 * configfs
 *
 * Prints GT-RULE ok|FAIL KIND what. All that the device holds is lost. Exit status 0: all kept. */
#include "base/cleanup.h"
#include "pool/device/zbd.h"
#include "pool/device/zbd_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char *kind, *device;
static struct loop *loop;
static struct zdev *dev;
static struct zdev_zone *zones;
static uint32_t first; /* sequential zone */
static int failed;
static uint8_t *buffer, *back;

enum { MAX_BLOCKS = 64 };

static void rule(bool kept, const char *what, int got)
{
        printf("GT-RULE %s %s: %s (%d)\n", kept ? "ok" : "FAIL", kind, what, got);
        failed += !kept;
}

/* ---- one operation ---- */

static bool done;
static int status;

static void op_done(struct zdev_io *io, int result)
{
        done = true;
        status = result;
}

static int run(struct zdev_io *io)
{
        io->done = op_done;
        done = false;
        zdev_submit(dev, io);
        while (!done)
                loop_turn(loop, UINT64_MAX);
        return status;
}

static int transfer(enum zdev_op op, uint32_t zone, uint64_t block, uint32_t n, uint8_t *buf)
{
        struct iovec iov = {buf, (size_t)n * ZP_BLOCK};
        return run(&(struct zdev_io){
            .op = op, .zone = zone, .block = block, .nblocks = n, .iov = &iov, .niov = 1});
}

static int write_at(uint32_t zone, uint64_t block, uint32_t n)
{
        return transfer(ZDEV_WRITE, zone, block, n, buffer);
}

static int manage(enum zdev_op op, uint32_t zone)
{
        return run(&(struct zdev_io){.op = op, .zone = zone});
}

static struct zdev_zone look(uint32_t zone)
{
        struct zdev_zone z = {0};
        int rc =
            run(&(struct zdev_io){.op = ZDEV_REPORT, .zone = zone, .nblocks = 1, .report = &z});
        if (rc < 0)
                rule(false, "a report", rc);
        return z;
}

static bool is(uint32_t zone, enum zdev_zone_state state, uint64_t wp)
{
        struct zdev_zone z = look(zone);
        return z.state == state && z.wp_block == wp;
}

/* ---- the rules ---- */

static void open_device(void)
{
        struct err err = ERR_INIT;
        int rc = zbd_device_open(loop, device, &dev, &err);
        if (rc < 0) {
                printf("GT-FATAL zbd_rules: %s\n", err.msg);
                exit(1);
        }
}

static void opens_alone(void)
{
        struct zdev *other = NULL;
        struct err err = ERR_INIT;

        int rc = zbd_device_open(loop, device, &other, &err);
        rule(rc == -EBUSY && strstr(err.msg, device), "a second opener is refused", rc);
        rc = zbd_device_check(device, true, &err);
        rule(rc == -EBUSY, "a device in use cannot become a member", rc);
}

static void reports(void)
{
        uint32_t conventional = 0, n = dev->geo.nr_zones;

        zones = calloc(n, sizeof(*zones));
        int rc = run(&(struct zdev_io){.op = ZDEV_REPORT, .nblocks = n, .report = zones});
        while (conventional < n && zones[conventional].state == ZDEV_ZONE_CONVENTIONAL)
                conventional++;
        first = conventional;
        bool below = zones[first].capacity_blocks < dev->geo.zone_blocks;
        if (!strcmp(kind, "zns"))
                rule(rc == 0 && !conventional && below && dev->geo.max_active == 14 &&
                         dev->geo.max_open == 14,
                     "no conventional zones, capacity below size, 14 active", rc);
        else if (!strcmp(kind, "null_blk"))
                rule(rc == 0 && conventional == 4 && below && dev->geo.max_active == 10 &&
                         dev->geo.max_open == 8,
                     "4 conventional zones, capacity below size, 8 open, 10 active", rc);
        else
                rule(rc == 0 && conventional == 3 && !below && dev->geo.max_active == 0 &&
                         dev->geo.max_open == 8,
                     "3 conventional zones, 8 open, active without limit", rc);
}

static void data_comes_back(void)
{
        uint32_t z = first, n = MIN(dev->geo.max_io_blocks, (uint32_t)MAX_BLOCKS);

        for (uint32_t i = 0; i < n * ZP_BLOCK; i++)
                buffer[i] = (uint8_t)(i * 7 + i / ZP_BLOCK);
        int rc = write_at(z, 0, n);
        rule(rc == 0 && is(z, ZDEV_ZONE_OPEN, n), "a write opens a zone and moves its pointer", rc);
        rc = manage(ZDEV_FLUSH, 0);
        rule(rc == 0, "flush", rc);
        rc = transfer(ZDEV_READ, z, 0, n, back);
        rule(rc == 0 && !memcmp(buffer, back, (size_t)n * ZP_BLOCK), "data comes back", rc);
        rc = transfer(ZDEV_READ, z, 1, 2, back + 24);
        rule(rc == 0 && !memcmp(buffer + ZP_BLOCK, back + 24, 2 * ZP_BLOCK),
             "... into memory that is not aligned", rc);
        rc = write_at(z, n, 1);
        rule(rc == 0, "a write goes on at the pointer", rc);
        rc = transfer(ZDEV_READ, z, n, 2, back);
        rule(rc == 0, "a read may cross the pointer", rc);
}

/* Linux 6.10 and newer refuse all later writes of the zone unless somebody reports it. */
static void goes_on_after_a_failed_write(void)
{
        uint32_t z = first + 1;

        int rc = write_at(z, 5, 1);
        rule(rc == -EIO && is(z, ZDEV_ZONE_EMPTY, 0), "a write off the pointer fails", rc);
        rc = write_at(z, 0, 2);
        rule(rc == 0 && is(z, ZDEV_ZONE_OPEN, 2), "... and a right one after it does not", rc);
        rc = write_at(z, 0, 1);
        rule(rc == -EIO, "a write below the pointer fails", rc);
        rc = write_at(z, 2, 1);
        rule(rc == 0, "... and a right one after it does not", rc);
}

static void manages(void)
{
        uint32_t z = first + 1;
        uint64_t capacity = zones[z].capacity_blocks;

        int rc = manage(ZDEV_FINISH, z);
        rule(rc == 0 && is(z, ZDEV_ZONE_FULL, capacity), "finish fills", rc);
        rc = write_at(z, 3, 1);
        rule(rc == -EIO, "a full zone is not written", rc);
        rc = manage(ZDEV_RESET, z);
        rule(rc == 0 && is(z, ZDEV_ZONE_EMPTY, 0), "reset empties", rc);
        rc = write_at(z, 0, 1);
        rule(rc == 0, "a zone that was reset is written again", rc);
        uint64_t at = 1;
        uint32_t n = MIN(dev->geo.max_io_blocks, (uint32_t)MAX_BLOCKS);
        for (rc = 0; rc == 0 && at < capacity; at += n) {
                n = (uint32_t)MIN(n, capacity - at);
                rc = write_at(z, at, n);
        }
        rule(rc == 0 && is(z, ZDEV_ZONE_FULL, capacity), "writing to the capacity fills", rc);
        manage(ZDEV_RESET, z);
        manage(ZDEV_RESET, first);
}

static void limits_active_zones(void)
{
        uint32_t limit = dev->geo.max_active ? dev->geo.max_active : dev->geo.max_open, n;
        int rc = 0;

        for (n = 0; n < limit + 1 && rc == 0; n++)
                rc = write_at(first + n, 0, 1);
        if (dev->geo.max_active)
                rule(rc == -EOVERFLOW && n == limit + 1, "one active zone too many is refused", rc);
        else
                rule(rc == 0, "open zones are closed for others", rc);
        rc = manage(ZDEV_FINISH,
                    first + limit - 1); /* open: null_blk refuses to finish a closed one */
        rule(rc == 0, "finish at the limit", rc);
        rc = write_at(first + limit, dev->geo.max_active ? 0 : 1, 1);
        rule(rc == 0, "... makes room", rc);
        for (n = 0; n < limit + 1; n++)
                manage(ZDEV_RESET, first + n);
        rule(is(first + limit, ZDEV_ZONE_EMPTY, 0), "all are empty again", 0);
}

/* What power can leave of a write of 512-byte blocks. */
static void fills_ragged_blocks(void)
{
        uint64_t at = ((uint64_t)(first + 2) * dev->geo.zone_blocks) * ZP_BLOCK;

        zdev_close(dev);
        int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
        memset(buffer, 0x5a, ZP_BLOCK);
        int error = pwrite(fd, buffer, 512, (off_t)at) < 0 ? errno : 0;
        close(fd);
        open_device();
        if (error) {
                rule(error == EINVAL, "the device has no 512-byte blocks", error);
                return;
        }
        rule(is(first + 2, ZDEV_ZONE_OPEN, 1), "a pointer inside a block is shown behind it", 0);
        int rc = write_at(first + 2, 1, 1);
        rule(rc == 0 && is(first + 2, ZDEV_ZONE_OPEN, 2), "... and its zone can be written on", rc);
        rc = transfer(ZDEV_READ, first + 2, 0, 1, back);
        rule(rc == 0 && back[511] == 0x5a && back[512] == 0, "... and was filled up with zeroes",
             rc);
        manage(ZDEV_RESET, first + 2);
}

static bool put(const char *folder, const char *name, unsigned long value)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        FILE *f = fopen(path, "w");
        if (!f)
                return false;
        fprintf(f, "%lu\n", value);
        return fclose(f) == 0;
}

static void tells_worn_zones(const char *nullb)
{
        uint32_t readonly = first + 5, offline = first + 6;
        uint64_t sectors = dev->geo.zone_blocks * (ZP_BLOCK / 512);

        write_at(readonly, 0, 2);
        rule(put(nullb, "zone_readonly", readonly * sectors) &&
                 put(nullb, "zone_offline", offline * sectors),
             "zones can be worn out", 0);
        rule(look(readonly).state == ZDEV_ZONE_READONLY, "a read-only zone is reported", 0);
        int rc = write_at(readonly, 2, 1);
        rule(rc == -EROFS, "... not written", rc);
        rc = manage(ZDEV_RESET, readonly);
        rule(rc == -EROFS, "... not reset", rc);
        rc = transfer(ZDEV_READ, readonly, 0, 2, back);
        rule(rc == 0, "... and read", rc);
        rule(is(offline, ZDEV_ZONE_OFFLINE, 0), "an offline zone is reported", 0);
        rc = write_at(offline, 0, 1);
        rule(rc == -EIO, "... and not written", rc);
}

static void refuses_data(void)
{
        struct err err = ERR_INIT;

        write_at(first + 3, 0, 1);
        zdev_close(dev);
        int rc = zbd_device_check(device, false, &err);
        rule(rc == -EEXIST && strstr(err.msg, "1 of its zones"), "a device with data is refused",
             rc);
        rc = zbd_device_check(device, true, &err);
        rule(rc == 0, "... but for overwriting", rc);
        rc = zbd_device_erase(device, &err);
        rule(rc == 0, "wiping", rc);
        rc = zbd_device_check(device, false, &err);
        rule(rc == 0, "an empty device is taken", rc);
        open_device();
        if (first == 0)
                return;
        zdev_close(dev);
        int fd = open(device, O_RDWR | O_CLOEXEC);
        memset(buffer, 0x5a, ZP_BLOCK);
        bool wrote = pwrite(fd, buffer, ZP_BLOCK, 65536) == ZP_BLOCK && fsync(fd) == 0;
        rc = zbd_device_check(device, false, &err);
        rule(wrote && rc == -EEXIST && strstr(err.msg, "conventional"),
             "data in conventional zones is refused", rc);
        memset(buffer, 0, ZP_BLOCK);
        wrote = pwrite(fd, buffer, ZP_BLOCK, 65536) == ZP_BLOCK && fsync(fd) == 0;
        close(fd);
        rule(wrote, "... and left as it is", 0);
        open_device();
}

int main(int argc, char **argv)
{
        if (argc < 3 || loop_new(&loop) < 0)
                return 2;
        setvbuf(stdout, NULL, _IOLBF, 0);
        kind = argv[1];
        device = argv[2];
        if (posix_memalign((void **)&buffer, ZP_BLOCK, MAX_BLOCKS * ZP_BLOCK) ||
            posix_memalign((void **)&back, ZP_BLOCK, (MAX_BLOCKS + 1) * ZP_BLOCK))
                return 2;
        rule(zbd_device_detect(device), "it is known as zoned", 0);
        open_device();
        opens_alone();
        reports();
        data_comes_back();
        goes_on_after_a_failed_write();
        manages();
        limits_active_zones();
        fills_ragged_blocks();
        refuses_data();
        if (argc > 3)
                tells_worn_zones(argv[3]);
        zdev_close(dev);
        loop_free(loop);
        free(zones);
        free(buffer);
        free(back);
        return failed ? 1 : 0;
}
