/* The mount as a tree of files: names, sizes, data, holes. */
#include "base/rng.h"
#include "t_fuse.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- the tree ---- */

static void look_around(void)
{
        struct stat st;
        struct statvfs vfs;
        char path[256];
        int n = 0;
        struct dirent *e;
        DIR *d;

        MUST(stat(t.path, &st) == 0);
        MUST(S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0660);
        MUST(st.st_size == DISK && st.st_blocks == 0 && st.st_nlink == 1);
        MUST(st.st_blksize == 256 << 10); /* cmp and cat read that much at once */
        MUST(stat(t.mnt, &st) == 0 && S_ISDIR(st.st_mode));
        snprintf(path, sizeof(path), "%s/tank", t.mnt);
        MUST(statvfs(path, &vfs) == 0);
        MUST(vfs.f_blocks == (1 << 30) / 4096 && vfs.f_bavail == (1 << 29) / 4096);
        MUST((d = opendir(path)) != NULL);
        while ((e = readdir(d)))
                n += strncmp(e->d_name, "many", 4) == 0 && e->d_type == DT_REG;
        MUST(n == 500);
        closedir(d);
        snprintf(path, sizeof(path), "%s/tank/none", t.mnt);
        FAILS_WITH(stat(path, &st), ENOENT);
        FAILS_WITH(open(path, O_CREAT | O_RDWR, 0600), EPERM);
        FAILS_WITH(mkdir(path, 0700), EPERM);
        FAILS_WITH(rename(t.path, path), EPERM);
        FAILS_WITH(unlink(t.path), EPERM);
        snprintf(path, sizeof(path), "%s/tank", t.mnt);
        FAILS_WITH(rmdir(path), EPERM);
        MUST(chown(t.path, 12, 34) == 0 && chmod(t.path, 0600) == 0);
        MUST(stat(t.path, &st) == 0);
        MUST(st.st_uid == 12 && st.st_gid == 34 && (st.st_mode & 07777) == 0600);
}

static void test_pools_are_directories_and_volumes_files(void)
{
        struct fuse_file *many[500];
        char name[16];
        begin();
        CU_ASSERT_EQUAL(fuse_front_add_pool(t.front, "tank"), -EEXIST);
        CU_ASSERT_EQUAL(fuse_front_add_file(t.front, "no", "v", t.c, &file_ops, &many[0]), -ENOENT);
        CU_ASSERT_EQUAL(fuse_front_add_file(t.front, "tank", "vol", t.c, &file_ops, &many[0]),
                        -EEXIST);
        for (int i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "many%d", i);
                CU_ASSERT_EQUAL_FATAL(
                    fuse_front_add_file(t.front, "tank", name, t.c, &file_ops, &many[i]), 0);
        }
        CU_ASSERT_EQUAL(fuse_front_remove_pool(t.front, "tank"), -ENOTEMPTY);
        CU_ASSERT_EQUAL(fuse_front_remove_pool(t.front, "none"), -ENOENT);
        client(look_around);
        for (int i = 0; i < 500; i++)
                fuse_file_remove(many[i], &t.removed, count);
        CU_ASSERT_EQUAL(t.removed, 0);
        serve_until(&t.removed, 500);
        finish();
}

/* ---- data ---- */

static void copy_in_and_out(void)
{
        shell("dd if=/dev/urandom of=$D/a bs=1M count=8 status=none");
        shell("dd if=$D/a of=\"$F\" bs=1M conv=notrunc,fsync status=none");
        shell("cmp $D/a \"$F\"");
        shell("dd if=\"$F\" of=$D/b bs=12345 status=none && cmp $D/a $D/b");
        shell("dd if=/dev/urandom of=$D/a bs=1000 count=1 seek=777 conv=notrunc status=none");
        shell("dd if=$D/a of=\"$F\" bs=1000 count=1 skip=777 seek=777 conv=notrunc status=none");
        shell("cmp $D/a \"$F\"");
        shell("cp $D/b \"$F\" && cmp $D/b \"$F\"");
        shell("dd if=\"$F\" of=$D/b iflag=direct bs=64k status=none && cmp $D/b \"$F\"");
        shell("rm $D/a $D/b");
}

static void test_dd_cp_and_cmp_agree(void)
{
        begin();
        client(copy_in_and_out);
        CU_ASSERT_TRUE(t.ram.nflushes > 0);
        CU_ASSERT_FALSE(t.ram.nohold_missing);
        finish();
}

static void qemu_img(void)
{
        shell("dd if=/dev/urandom of=$D/a bs=64k count=5 status=none && truncate -s 8M $D/a");
        shell("qemu-img convert -n -f raw -O raw $D/a \"$F\" && cmp $D/a \"$F\"");
        shell("qemu-img info -f raw \"$F\" >/dev/null");
        shell(
            "qemu-io -f raw -c 'write -P 7 1000 3000' -c 'read -P 7 1000 3000' -c 'discard 1M 1M' "
            "-c flush \"$F\" >/dev/null");
        shell("qemu-img map -f raw --output=json \"$F\" >/dev/null; rm $D/a");
}

static void test_qemu_img_works_on_a_file(void)
{
        if (access("/usr/bin/qemu-img", X_OK) < 0) {
                printf("(no qemu-img) ");
                return;
        }
        begin();
        client(qemu_img);
        finish();
}

/* Random ranges, most of them on no boundary, against an array. */
static void random_ranges(void)
{
        static uint8_t want[DISK], got[DISK], data[200000];
        struct rng r = {7};
        int fd = open_it(O_RDWR);

        MUST(fd >= 0);
        for (int i = 0; i < 600; i++) {
                uint64_t n = 1 + rng_below(&r, rng_chance(&r, 1, 2) ? 2000 : sizeof(data));
                uint64_t off = rng_below(&r, DISK - n);
                memset(data, (int)rng_next(&r), n);
                switch (rng_below(&r, 4)) {
                case 0:
                case 1:
                        MUST(pwrite(fd, data, n, (off_t)off) == (ssize_t)n);
                        memcpy(want + off, data, n);
                        break;
                case 2:
                        MUST(fallocate(fd,
                                       rng_chance(&r, 1, 2)
                                           ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                                           : FALLOC_FL_ZERO_RANGE,
                                       (off_t)off, (off_t)n) == 0);
                        memset(want + off, 0, n);
                        break;
                case 3:
                        MUST(pread(fd, got, n, (off_t)off) == (ssize_t)n);
                        MUST(memcmp(got, want + off, n) == 0);
                        break;
                }
        }
        MUST(fsync(fd) == 0);
        MUST(pread(fd, got, DISK, 0) == DISK);
        MUST(memcmp(got, want, DISK) == 0);
        close(fd);
}

static void test_unaligned_ranges_match_a_model(void)
{
        begin();
        client(random_ranges);
        finish();
}

/* Three processes write interleaved stretches of 100 bytes: neighbours share sectors. */
static int writer_no;

static void interleaved_writer(void)
{
        char data[100];
        int fd = open_it(O_WRONLY);

        MUST(fd >= 0);
        memset(data, 'a' + writer_no, sizeof(data));
        for (int i = writer_no; i < 600; i += 3)
                MUST(pwrite(fd, data, 100, i * 100) == 100);
        close(fd);
}

static void test_writers_that_share_sectors_lose_nothing(void)
{
        struct child c[3];
        begin();
        for (writer_no = 0; writer_no < 3; writer_no++)
                spawn(&c[writer_no], interleaved_writer);
        for (int i = 0; i < 3; i++)
                join(&c[i]);
        for (int i = 0; i < 60000; i++)
                if (t.ram.data[i] != 'a' + i / 100 % 3) {
                        CU_ASSERT_EQUAL(i, -1);
                        break;
                }
        finish();
}

static void ends_and_sizes(void)
{
        char buf[1000] = {1};
        struct stat st;
        int fd = open_it(O_RDWR | O_TRUNC); /* ignored */

        MUST(fd >= 0);
        MUST(pwrite(fd, buf, 1000, DISK - 300) == 300);
        FAILS_WITH(pwrite(fd, buf, 1, DISK), ENOSPC);
        FAILS_WITH(pwrite(fd, buf, 1, (off_t)DISK << 20), ENOSPC);
        MUST(pread(fd, buf, 1000, DISK - 300) == 300);
        MUST(pread(fd, buf, 1000, DISK) == 0);
        MUST(lseek(fd, 0, SEEK_END) == DISK);
        FAILS_WITH(ftruncate(fd, 0), EPERM);
        FAILS_WITH(ftruncate(fd, DISK + 512), EPERM);
        MUST(ftruncate(fd, DISK) == 0);
        FAILS_WITH(fallocate(fd, 0, 0, 4096), EOPNOTSUPP);
        FAILS_WITH(fallocate(fd, FALLOC_FL_ZERO_RANGE, DISK - 10, 20), ENOSPC);
        MUST(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, DISK - 10, 20) == 0);
        MUST(fstat(fd, &st) == 0 && st.st_size == DISK);
        close(fd);
        MUST((fd = open_it(O_WRONLY | O_APPEND)) >= 0);
        FAILS_WITH(write(fd, buf, 1), ENOSPC);
        close(fd);
}

static void test_a_file_has_the_size_of_its_volume(void)
{
        begin();
        client(ends_and_sizes);
        finish();
}

static void holes(void)
{
        static char data[65536];
        struct stat st;
        int fd = open_it(O_RDWR);

        MUST(fd >= 0);
        FAILS_WITH(lseek(fd, 0, SEEK_DATA), ENXIO);
        MUST(lseek(fd, 5, SEEK_HOLE) == 5);
        memset(data, 1, sizeof(data));
        MUST(pwrite(fd, data, sizeof(data), 1 << 20) == sizeof(data));
        MUST(lseek(fd, 100, SEEK_DATA) == 1 << 20);
        MUST(lseek(fd, (1 << 20) + 5, SEEK_DATA) == (1 << 20) + 5);
        MUST(lseek(fd, (1 << 20) + 5, SEEK_HOLE) == (1 << 20) + 65536);
        FAILS_WITH(lseek(fd, (1 << 20) + 65536, SEEK_DATA), ENXIO);
        FAILS_WITH(lseek(fd, DISK, SEEK_HOLE), ENXIO);
        MUST(fstat(fd, &st) == 0 && st.st_blocks == 128);
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 32768) == 0);
        MUST(lseek(fd, 0, SEEK_DATA) == (1 << 20) + 32768);
        MUST(fstat(fd, &st) == 0 && st.st_blocks == 64);
        MUST(pwrite(fd, data, 4096, DISK - 4096) == 4096);
        MUST(lseek(fd, DISK - 1, SEEK_HOLE) == DISK);
        close(fd);
}

static void test_holes_are_seen_and_made(void)
{
        for (int run = 0; run < 4; run += 3) { /* the map may answer in pieces */
                begin();
                t.ram.map_run = (uint64_t)run;
                client(holes);
                finish();
        }
}

static const struct t_case cases[] = {
    T_CASE(test_pools_are_directories_and_volumes_files),
    T_CASE(test_dd_cp_and_cmp_agree),
    T_CASE(test_qemu_img_works_on_a_file),
    T_CASE(test_unaligned_ranges_match_a_model),
    T_CASE(test_writers_that_share_sectors_lose_nothing),
    T_CASE(test_a_file_has_the_size_of_its_volume),
    T_CASE(test_holes_are_seen_and_made),
};
T_MAIN("FUSE files", cases)
