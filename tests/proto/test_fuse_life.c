/* The mount and whoever else has its volumes: exclusion, errors, ends. */
#include "t_fuse.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

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
T_MAIN("FUSE life", cases)
