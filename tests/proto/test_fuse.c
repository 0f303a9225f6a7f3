/* The mount, used through real system calls by child processes: the server must never touch it
 * itself.
 *
 * Each case mounts in a directory of its own, with RAM disks behind. `client` runs a function in a
 * child while the parent serves; the child's exit code is the line that failed.
 */
#include "base/rng.h"
#include "frontend/fuse/fuse_front.h"
#include "nvme/subsystem.h"
#include "ram_backing.h"
#include "t_suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { DISK = 8 << 20, PATIENCE_S = 30 };

static struct {
        struct loop *loop;
        struct nvm_subsystem *s;
        struct ram_backing ram;
        struct nvm_controller *c;
        struct fuse_front *front;
        struct fuse_file *file;
        struct fuse_front_options options;
        char dir[64], mnt[80], path[128]; /* of the file */
        bool may_read, open_gate; /* open_gate: the observer opens it, as an owner does */
        int on, off, unmounted, removed, closed;
        struct err trouble;
} t;

static void event(void *ctx, enum front_event e, pid_t pid)
{
        t.on += e == FRONT_RINGS_ON;
        t.off += e == FRONT_RINGS_OFF;
        if (e == FRONT_RINGS_ON && t.open_gate)
                nvc_gate_set(t.c, true);
        if (e == FRONT_RINGS_OFF) {
                CU_ASSERT_EQUAL(nvc_inflight(t.c), 0);
                nvc_gate_set(t.c, false);
        }
}

static void trouble(void *ctx, const struct err *err)
{
        t.trouble = *err;
}

static bool may_read(void *ctx)
{
        return t.may_read;
}

static uint64_t allocated(void *ctx)
{
        return t.ram.mapped.nset * 4096;
}

static void space(void *ctx, const char *pool, uint64_t *ret_total, uint64_t *ret_available)
{
        *ret_total = strcmp(pool, "tank") == 0 ? 1 << 30 : 0;
        *ret_available = 1 << 29;
}

static void count_unmounted(void *ctx)
{
        t.unmounted++;
}

static void count(void *ctx)
{
        ++*(int *)ctx;
}

static const struct fuse_file_ops file_ops = {
    .observer = {event, trouble, NULL}, .may_read = may_read, .allocated_bytes = allocated};

static void begin(void)
{
        struct uuid host = {{1}};
        struct nvm_namespace_spec spec = {&ram_backing_ops, &t.ram, {{0xf0}}};
        struct err err = ERR_INIT;

        memset(&t, 0, sizeof(t));
        t.may_read = t.open_gate = true;
        strcpy(t.dir, "/tmp/zonepool-fuse-XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(t.dir));
        snprintf(t.mnt, sizeof(t.mnt), "%s/m n", t.dir); /* a space: mountinfo escapes it */
        snprintf(t.path, sizeof(t.path), "%s/tank/vol", t.mnt);
        CU_ASSERT_EQUAL_FATAL(loop_new(&t.loop), 0);
        CU_ASSERT_EQUAL_FATAL(nvm_subsystem_new(t.loop, &host, &t.s), 0);
        ram_init(&t.ram, t.loop, DISK);
        CU_ASSERT_EQUAL_FATAL(nvm_controller_create(t.s, &spec, &t.c, NULL), 0);
        t.options = FUSE_FRONT_OPTIONS_DEFAULT;
        t.options.space = space;
        t.options.unmounted = count_unmounted;
        int rc = fuse_front_new(t.loop, t.mnt, &t.options, &t.front, &err);
        if (rc == -EPERM || rc == -ENOENT || rc == -EACCES) {
                rmdir(t.mnt);
                rmdir(t.dir);
                t_skip(err.msg);
        }
        CU_ASSERT_EQUAL_FATAL(rc, 0);
        CU_ASSERT_EQUAL(fuse_front_add_pool(t.front, "tank"), 0);
        CU_ASSERT_EQUAL(fuse_front_add_file(t.front, "tank", "vol", t.c, &file_ops, &t.file), 0);
}

/* Turns the loop until *flag, at most PATIENCE_S. */
static void serve_until(const int *flag, int value)
{
        uint64_t end = clock_now_ns() + PATIENCE_S * UINT64_C(1000000000);
        while (*flag < value && clock_now_ns() < end)
                loop_turn(t.loop, 100000000);
        CU_ASSERT_TRUE(*flag >= value);
}

static void finish(void)
{
        ram_release(&t.ram);
        fuse_front_close(t.front, &t.closed, count);
        CU_ASSERT_EQUAL(t.closed, 0);
        serve_until(&t.closed, 1);
        CU_ASSERT_EQUAL(t.on, t.off);
        fuse_front_free(t.front);
        CU_ASSERT_EQUAL(nvm_controller_destroy(t.c, NULL), 0);
        nvm_subsystem_free(t.s);
        ram_fini(&t.ram);
        loop_free(t.loop);
        CU_ASSERT_EQUAL(rmdir(t.mnt), 0); /* nothing is mounted there any more */
        CU_ASSERT_EQUAL(rmdir(t.dir), 0);
}

/* ---- clients ---- */

#define MUST(cond)                                                                                 \
        do {                                                                                       \
                if (!(cond)) {                                                                     \
                        fprintf(stderr, "\n    %s:%d: %s (errno %d)\n", __func__, __LINE__, #cond, \
                                errno);                                                            \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)
#define FAILS_WITH(call, code) MUST((errno = 0, (call) < 0 && errno == (code)))

struct child {
        struct loop_fd fd;
        pid_t pid;
        int gone;
};

static void child_ready(struct loop_fd *w, uint32_t events)
{
        struct child *c = container_of(w, struct child, fd);
        loop_fd_del(w);
        c->gone = 1;
}

/* A child that kept the server's descriptor would keep the connection alive, and wait for itself.
 */
static void forget_session(void)
{
        char path[32], name[32];
        for (int fd = 3; fd < 64; fd++) {
                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                ssize_t n = readlink(path, name, sizeof(name) - 1);
                if (n > 0 && strncmp(name, "/dev/fuse", (size_t)n) == 0)
                        close(fd);
        }
}

static void spawn(struct child *c, void (*run)(void))
{
        c->gone = 0;
        c->pid = fork();
        CU_ASSERT_TRUE_FATAL(c->pid >= 0);
        if (c->pid == 0) {
                forget_session();
                run();
                _exit(0);
        }
        c->fd.fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
        c->fd.ready = child_ready;
        CU_ASSERT_EQUAL_FATAL(loop_fd_add(t.loop, &c->fd, EPOLLIN), 0);
}

static void join(struct child *c)
{
        int status = -1;
        serve_until(&c->gone, 1);
        loop_fd_del(&c->fd);
        if (!c->gone)
                kill(c->pid, SIGKILL);
        waitpid(c->pid, &status, 0);
        close(c->fd.fd);
        CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void client(void (*run)(void))
{
        struct child c;
        spawn(&c, run);
        join(&c);
}

static int open_it(int flags)
{
        return open(t.path, flags | O_CLOEXEC);
}

static void shell(const char *command)
{
        setenv("F", t.path, 1);
        setenv("D", t.dir, 1);
        int rc = system(command);
        if (rc != 0)
                fprintf(stderr, "\n    failed: %s\n", command);
        MUST(rc == 0);
}

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

/* ---- who has it ---- */

static struct nvm_front other = {"vhost-user", NULL};

static void busy_for_writing(void)
{
        char b;
        FAILS_WITH(open_it(O_RDWR), EBUSY);
        FAILS_WITH(open_it(O_WRONLY), EBUSY);
        int fd = open_it(O_RDONLY);
        MUST(fd >= 0 && read(fd, &b, 1) == 1 && b == 0x42);
}

static void test_another_front_end_excludes_writing_not_reading(void)
{
        begin();
        t.ram.data[0] = 0x42;
        CU_ASSERT_EQUAL(nvc_attach_front(t.c, &other, NULL), 0);
        client(busy_for_writing);
        CU_ASSERT_EQUAL(t.on, 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(t.trouble.msg, "vhost-user"));
        nvc_detach_front(t.c, &other);
        finish();
}

static int go[2]; /* a pipe: the child waits for the parent, which serves meanwhile */

static void hold_open(void)
{
        char b;
        int fd = open_it(O_WRONLY), again = open_it(O_RDWR), ro = open_it(O_RDONLY);
        MUST(fd >= 0 && again >= 0 && ro >= 0);
        close(fd);
        MUST(write(go[1], "x", 1) == 1);
        usleep(200000);
        MUST(pwrite(again, "y", 1, 0) == 1);
        close(again);
        MUST(pread(ro, &b, 1, 0) == 1 && b == 'y');
}

struct pipe_watch {
        struct loop_fd fd;
        int seen;
};

static void pipe_ready(struct loop_fd *w, uint32_t events)
{
        container_of(w, struct pipe_watch, fd)->seen = 1;
        loop_fd_del(w);
}

static void wait_pipe(void)
{
        struct pipe_watch w = {.fd = {.fd = go[0], .ready = pipe_ready}};
        char b;
        loop_fd_add(t.loop, &w.fd, EPOLLIN);
        serve_until(&w.seen, 1);
        CU_ASSERT_EQUAL(read(go[0], &b, 1), 1);
}

static void test_a_file_open_for_writing_excludes_other_front_ends(void)
{
        struct child c;
        struct err err = ERR_INIT;
        begin();
        CU_ASSERT_EQUAL(pipe(go), 0);
        spawn(&c, hold_open);
        wait_pipe();
        CU_ASSERT_EQUAL(t.on, 1); /* once, however many descriptors */
        CU_ASSERT_EQUAL(t.off, 0);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c, &other, &err), -EBUSY);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "fuse"));
        join(&c);
        serve_until(&t.off, 1);
        CU_ASSERT_EQUAL(nvc_attach_front(t.c, &other, &err), 0);
        nvc_detach_front(t.c, &other);
        close(go[0]);
        close(go[1]);
        finish();
}

static void not_ours(void)
{
        FAILS_WITH(open_it(O_RDWR), EREMOTE);
        FAILS_WITH(open_it(O_RDONLY), EREMOTE);
}

static void test_a_volume_that_is_not_ours_is_refused_after_a_while(void)
{
        begin();
        t.open_gate = t.may_read = false;
        ((struct fuse_front_options *)&t.options)->gate_timeout_ms = 100;
        fuse_front_close(t.front, &t.closed, count);
        serve_until(&t.closed, 1);
        fuse_front_free(t.front);
        t.closed = 0;
        CU_ASSERT_EQUAL_FATAL(fuse_front_new(t.loop, t.mnt, &t.options, &t.front, NULL), 0);
        CU_ASSERT_EQUAL(fuse_front_add_pool(t.front, "tank"), 0);
        CU_ASSERT_EQUAL(fuse_front_add_file(t.front, "tank", "vol", t.c, &file_ops, &t.file), 0);
        client(not_ours);
        CU_ASSERT_EQUAL(t.trouble.code, EREMOTE);
        CU_ASSERT_EQUAL(t.on, 1);
        CU_ASSERT_EQUAL(t.off, 1);
        CU_ASSERT_PTR_NULL(nvc_front(t.c));
        finish();
}

static void read_what_is_given_away(void)
{
        char b;
        int fd = open_it(O_RDONLY);
        MUST(fd >= 0 && pread(fd, &b, 1, 0) == 1);
        MUST(write(go[1], "x", 1) == 1);
        usleep(200000);
        FAILS_WITH(pread(fd, &b, 1, 0), EREMOTE);
}

static void test_a_volume_given_away_is_no_longer_read(void)
{
        struct child c;
        begin();
        CU_ASSERT_EQUAL(pipe(go), 0);
        spawn(&c, read_what_is_given_away);
        wait_pipe();
        t.may_read = false;
        join(&c);
        close(go[0]);
        close(go[1]);
        finish();
}

static void open_gate_later(struct loop_timer *timer)
{
        nvc_gate_set(t.c, true);
}

static void write_one(void)
{
        int fd = open_it(O_WRONLY);
        MUST(fd >= 0 && write(fd, "z", 1) == 1);
        MUST(close(fd) == 0);
}

static void test_an_open_waits_until_the_gate_is_open(void)
{
        struct loop_timer later = {.fire = open_gate_later};
        begin();
        t.open_gate = false;
        loop_timer_arm(t.loop, &later, clock_now_ns() + 200000000);
        client(write_one);
        CU_ASSERT_EQUAL(t.ram.data[0], 'z');
        finish();
}

/* ---- errors, ends ---- */

static void no_space(void)
{
        int fd = open_it(O_WRONLY);
        MUST(fd >= 0);
        FAILS_WITH(pwrite(fd, "z", 1, 0), ENOSPC);
}

static void io_error(void)
{
        char b[10];
        int fd = open_it(O_RDONLY);
        MUST(fd >= 0);
        FAILS_WITH(pread(fd, b, 10, 0), EIO);
}

static void test_errors_of_the_pool_reach_the_caller(void)
{
        begin();
        t.ram.fail = -ENOSPC;
        client(no_space);
        t.ram.fail = -EILSEQ;
        client(io_error);
        t.ram.fail = 0;
        finish();
}

static void outlive_the_file(void)
{
        char b;
        int fd = open_it(O_RDWR), ro = open_it(O_RDONLY);
        MUST(fd >= 0 && ro >= 0);
        MUST(write(go[1], "x", 1) == 1); /* the disk holds what comes now */
        MUST(pwrite(fd, "y", 1, 0) == 1); /* in flight when the file is removed */
        usleep(300000);
        FAILS_WITH(pwrite(fd, "y", 1, 0), ESTALE);
        FAILS_WITH(pread(ro, &b, 1, 0), ESTALE);
        FAILS_WITH(open_it(O_RDONLY), ENOENT);
}

static void release_disk(struct loop_timer *timer)
{
        ram_release(&t.ram);
}

static void test_removing_a_file_ends_requests_and_makes_descriptors_stale(void)
{
        struct loop_timer later = {.fire = release_disk};
        struct child c;
        begin();
        CU_ASSERT_EQUAL(pipe(go), 0);
        t.ram.hold = true;
        spawn(&c, outlive_the_file);
        wait_pipe();
        uint64_t end = clock_now_ns() + 5000000000u;
        while (t.ram.nqueue == 0 && clock_now_ns() < end)
                loop_turn(t.loop, 1000000);
        CU_ASSERT_EQUAL(t.ram.nqueue, 1);
        fuse_file_remove(t.file, &t.removed, count);
        for (int i = 0; i < 5; i++)
                loop_turn(t.loop, 1000000);
        CU_ASSERT_EQUAL(t.removed, 0); /* waits for the write */
        loop_timer_arm(t.loop, &later, clock_now_ns() + 50000000);
        serve_until(&t.removed, 1);
        CU_ASSERT_EQUAL(t.off, 1);
        CU_ASSERT_PTR_NULL(nvc_front(t.c));
        join(&c);
        close(go[0]);
        close(go[1]);
        finish();
}

static void busy_at_the_end(void)
{
        int fd = open_it(O_RDWR);
        MUST(fd >= 0);
        MUST(write(go[1], "x", 1) == 1);
        MUST(pwrite(fd, "y", 1, 0) == 1); /* answered although the front closes */
        usleep(200000);
        FAILS_WITH(pwrite(fd, "y", 1, 0), ENOTCONN);
}

static void test_closing_answers_what_is_in_flight(void)
{
        struct loop_timer later = {.fire = release_disk};
        struct child c;
        begin();
        CU_ASSERT_EQUAL(pipe(go), 0);
        t.ram.hold = true;
        spawn(&c, busy_at_the_end);
        wait_pipe();
        uint64_t end = clock_now_ns() + 5000000000u;
        while (t.ram.nqueue == 0 && clock_now_ns() < end)
                loop_turn(t.loop, 1000000);
        fuse_front_close(t.front, &t.closed, count);
        loop_timer_arm(t.loop, &later, clock_now_ns() + 50000000);
        serve_until(&t.closed, 1);
        join(&c);
        t.closed = 0; /* finish closes again: harmless */
        close(go[0]);
        close(go[1]);
        finish();
}

static void umount_it(void)
{
        MUST(umount2(t.mnt, 0) == 0);
}

static void test_an_unmount_by_hand_is_told(void)
{
        begin();
        client(umount_it);
        serve_until(&t.unmounted, 1);
        finish();
}

/* A server that is killed, and then another: no path under the old mount is touched. */
static void serve_for_ever(void)
{
        struct fuse_front *front;
        struct loop *loop;
        MUST(loop_new(&loop) == 0);
        MUST(fuse_front_new(loop, t.mnt, &t.options, &front, NULL) == 0);
        MUST(write(go[1], "x", 1) == 1);
        loop_run(loop);
}

static void test_the_mount_of_a_killed_daemon_is_replaced(void)
{
        struct child c;
        int status;
        begin();
        fuse_front_close(t.front, &t.closed, count);
        serve_until(&t.closed, 1);
        fuse_front_free(t.front);
        t.closed = 0;
        CU_ASSERT_EQUAL(pipe(go), 0);
        spawn(&c, serve_for_ever);
        wait_pipe();
        kill(c.pid, SIGKILL);
        waitpid(c.pid, &status, 0);
        loop_fd_del(&c.fd);
        close(c.fd.fd);
        CU_ASSERT_EQUAL_FATAL(fuse_front_new(t.loop, t.mnt, &t.options, &t.front, NULL), 0);
        CU_ASSERT_EQUAL(fuse_front_add_pool(t.front, "tank"), 0);
        CU_ASSERT_EQUAL(fuse_front_add_file(t.front, "tank", "vol", t.c, &file_ops, &t.file), 0);
        client(write_one);
        close(go[0]);
        close(go[1]);
        finish();
}

static const struct t_case cases[] = {
    T_CASE(test_pools_are_directories_and_volumes_files),
    T_CASE(test_dd_cp_and_cmp_agree),
    T_CASE(test_qemu_img_works_on_a_file),
    T_CASE(test_unaligned_ranges_match_a_model),
    T_CASE(test_writers_that_share_sectors_lose_nothing),
    T_CASE(test_a_file_has_the_size_of_its_volume),
    T_CASE(test_holes_are_seen_and_made),
    T_CASE(test_another_front_end_excludes_writing_not_reading),
    T_CASE(test_a_file_open_for_writing_excludes_other_front_ends),
    T_CASE(test_a_volume_that_is_not_ours_is_refused_after_a_while),
    T_CASE(test_a_volume_given_away_is_no_longer_read),
    T_CASE(test_an_open_waits_until_the_gate_is_open),
    T_CASE(test_errors_of_the_pool_reach_the_caller),
    T_CASE(test_removing_a_file_ends_requests_and_makes_descriptors_stale),
    T_CASE(test_closing_answers_what_is_in_flight),
    T_CASE(test_an_unmount_by_hand_is_told),
    T_CASE(test_the_mount_of_a_killed_daemon_is_replaced),
};
T_MAIN("FUSE mount", cases)
