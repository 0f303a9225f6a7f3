/* See t_fuse.h. */
#include "t_fuse.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct t_mount t;

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

void count(void *ctx)
{
        ++*(int *)ctx;
}

const struct fuse_file_ops file_ops = {
    .observer = {event, trouble, NULL}, .may_read = may_read, .allocated_bytes = allocated};

void begin(void)
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

void serve_until(const int *flag, int value)
{
        uint64_t end = clock_now_ns() + PATIENCE_S * UINT64_C(1000000000);
        while (*flag < value && clock_now_ns() < end)
                loop_turn(t.loop, 100000000);
        CU_ASSERT_TRUE(*flag >= value);
}

void finish(void)
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

void spawn(struct child *c, void (*run)(void))
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

void join(struct child *c)
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

void client(void (*run)(void))
{
        struct child c;
        spawn(&c, run);
        join(&c);
}

int open_it(int flags)
{
        return open(t.path, flags | O_CLOEXEC);
}

void shell(const char *command)
{
        setenv("F", t.path, 1);
        setenv("D", t.dir, 1);
        int rc = system(command);
        if (rc != 0)
                fprintf(stderr, "\n    failed: %s\n", command);
        MUST(rc == 0);
}
