/* What is the file device's own: refusals, reopening, damage, the lock, a killed process. */
#include "base/crc32c.h"
#include "base/le.h"
#include "pool/device/file_format.h"
#include "tests/unit/device/t_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
        uint64_t least = UINT64_MAX; /* of many: a busy machine takes its time now and then */
        for (int i = 0; i < 20; i++) {
                uint64_t before = clock_now_ns();
                expect_open(path, -EBUSY, "in use by another");
                least = MIN(least, clock_now_ns() - before);
        }
        CU_ASSERT_TRUE(least < UINT64_C(250000000)); /* it does not wait */
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

/* ---- a file that is cut short under the device ---- */

static bool cut_short(const struct zdev *dev)
{
        return dev->trouble && strstr(dev->trouble, "cut short");
}

static void test_a_file_cut_to_nothing_fails_and_nobody_dies(void)
{
        char *path = t_path("cut");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 3, 1), 0);
        CU_ASSERT_EQUAL(truncate(path, 0), 0);
        CU_ASSERT_EQUAL(t_write(dev, 0, 3, 1, 1), -EIO); /* its state has no place */
        CU_ASSERT_TRUE(cut_short(dev));
        CU_ASSERT_EQUAL(t_write(dev, 1, 0, 1, 1), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_RESET, 2), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FINISH, 3), -EIO);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FLUSH, 0), -EIO);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 5, 0, 1, buffer), -EIO);
        zdev_close(dev);
        expect_open(path, -ENOENT, "not a zonepool file device");
}

static void test_reset_and_finish_need_a_place_for_their_state(void)
{
        static const enum zdev_op ops[] = {ZDEV_RESET, ZDEV_FINISH};
        for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
                char *path = t_path("cut");
                struct zdev *dev = t_new_file(path);
                CU_ASSERT_EQUAL(t_write(dev, 0, 0, 3, 1), 0);
                CU_ASSERT_EQUAL(truncate(path, 0), 0);
                CU_ASSERT_EQUAL(t_manage(dev, ops[i], 0), -EIO);
                zdev_close(dev);
        }
}

static void test_what_is_left_of_a_cut_file_is_read(void)
{
        char *path = t_path("part");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_write(dev, 0, 0, 3, 1), 0);
        CU_ASSERT_EQUAL(t_write(dev, 9, 0, 3, 2), 0);
        CU_ASSERT_EQUAL(truncate(path, FILE_FORMAT_ALIGN + ZONE_BLOCKS * ZP_BLOCK), 0);
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 3, 1));
        CU_ASSERT_PTR_NULL(dev->trouble);
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_READ, 9, 0, 3, buffer), -EIO); /* and not zeroes */
        CU_ASSERT_TRUE(cut_short(dev));
        CU_ASSERT_EQUAL(t_write(dev, 0, 3, 1, 1), -EIO); /* it would make the file long again */
        CU_ASSERT_TRUE(t_holds(dev, 0, 0, 3, 1));
        zdev_close(dev);
}

static void test_a_flush_notices_that_the_file_was_cut(void)
{
        char *path = t_path("flush");
        struct zdev *dev = t_new_file(path);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FLUSH, 0), 0);
        CU_ASSERT_EQUAL(truncate(path, FILE_FORMAT_ALIGN + ZONE_BLOCKS * ZP_BLOCK), 0);
        CU_ASSERT_EQUAL(t_manage(dev, ZDEV_FLUSH, 0), -EIO);
        CU_ASSERT_TRUE(cut_short(dev));
        zdev_close(dev);
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
    T_CASE(test_a_file_cut_to_nothing_fails_and_nobody_dies),
    T_CASE(test_reset_and_finish_need_a_place_for_their_state),
    T_CASE(test_what_is_left_of_a_cut_file_is_read),
    T_CASE(test_a_flush_notices_that_the_file_was_cut),
    T_CASE(test_zone_states_encode_and_decode),
};

int main(void)
{
        return t_device_run("file device", cases, ARRAY_SIZE(cases));
}
