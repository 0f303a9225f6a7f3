/* The disk, and the host: see t_vub.h. */
#include "t_vub.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

void t_die(const char *what)
{
        perror(what);
        exit(1);
}

/* ---- the disk ---- */

struct t_disk_io {
        struct list node;
        struct volume_io *io;
        uint64_t due_ns;
};

static void copy(struct t_disk *d, struct volume_io *io)
{
        uint64_t at = io->offset_bytes;
        for (int i = 0; i < io->niov; i++) {
                if (io->op == VOLUME_WRITE)
                        memcpy(d->data + at, io->iov[i].iov_base, io->iov[i].iov_len);
                else
                        memcpy(io->iov[i].iov_base, d->data + at, io->iov[i].iov_len);
                at += io->iov[i].iov_len;
        }
        if (at - io->offset_bytes != io->length_bytes)
                t_die("iov does not add up");
}

static void finish_io(struct t_disk *d, struct t_disk_io *t, int status)
{
        struct volume_io *io = t->io;

        list_del(&t->node);
        free(t);
        d->pending--;
        if (status == 0 && d->fail)
                status = d->fail;
        if (status == 0 && (io->op == VOLUME_READ || io->op == VOLUME_WRITE))
                copy(d, io);
        else if (status == 0 && io->op != VOLUME_FLUSH)
                memset(d->data + io->offset_bytes, 0, io->length_bytes);
        io->done(io, status);
}

static void disk_turn(struct loop_defer *defer)
{
        struct t_disk *d = container_of(defer, struct t_disk, defer);
        struct t_disk_io *t, *tmp;
        struct list now;

        list_init(&now);
        list_splice_tail(&now, &d->queue);
        list_for_each_safe (t, tmp, &now, node) {
                bool keep =
                    d->mode == T_DISK_SLOW || (d->mode == T_DISK_HELD && t->io->op == VOLUME_WRITE);
                if (!keep && d->delay_ns > 0 && t->due_ns > clock_now_ns()) {
                        if (!loop_timer_armed(&d->timer))
                                loop_timer_arm(d->loop, &d->timer, t->due_ns);
                        keep = true;
                }
                if (keep) {
                        list_del(&t->node);
                        list_add_tail(&d->queue, &t->node);
                } else {
                        finish_io(d, t, 0);
                }
        }
}

static void disk_due(struct loop_timer *timer)
{
        struct t_disk *d = container_of(timer, struct t_disk, timer);
        disk_turn(&d->defer);
}

void t_disk_release(struct t_disk *d, bool reverse)
{
        while (!list_empty(&d->queue)) {
                struct list *node = reverse ? d->queue.prev : d->queue.next;
                finish_io(d, list_entry(node, struct t_disk_io, node), 0);
        }
}

static void disk_submit(void *backing, struct volume_io *io)
{
        struct t_disk *d = backing;
        struct t_disk_io *t = calloc(1, sizeof(*t));

        if (!t)
                t_die("calloc");
        if (io->offset_bytes % 512 || io->length_bytes % 512 || io->offset_bytes > d->size ||
            io->length_bytes > d->size - io->offset_bytes)
                t_die("request outside the disk");
        if (d->nlog < T_DISK_LOG) {
                d->log[d->nlog].op = io->op;
                d->log[d->nlog].offset = io->offset_bytes;
                d->log[d->nlog].length = io->length_bytes;
                d->log[d->nlog++].fua = io->fua;
        }
        t->io = io;
        t->due_ns = clock_now_ns() + d->delay_ns;
        list_init(&t->node);
        list_add_tail(&d->queue, &t->node);
        d->pending++;
        loop_defer(d->loop, &d->defer);
}

static void disk_map(void *backing, uint64_t first_block, struct volume_extent *out, uint32_t max,
                     void *ctx,
                     void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        done(ctx, -ENOTSUP, 0, UINT64_MAX);
}

static void disk_cancel_held(void *backing)
{
        struct t_disk *d = backing;
        struct t_disk_io *t, *tmp;

        if (d->mode != T_DISK_HELD)
                return;
        list_for_each_safe (t, tmp, &d->queue, node) {
                if (t->io->op == VOLUME_WRITE)
                        finish_io(d, t, -ECANCELED);
        }
}

static uint64_t disk_size(void *backing)
{
        return ((struct t_disk *)backing)->size;
}

static const struct nvm_backing_ops disk_ops = {.submit = disk_submit,
                                                .map = disk_map,
                                                .cancel_held = disk_cancel_held,
                                                .size_bytes = disk_size};

/* ---- the host ---- */

static void on_event(void *ctx, enum front_event event, pid_t peer_pid)
{
        struct t_rig *rig = ctx;
        if (rig->nevents < T_EVENTS)
                rig->events[rig->nevents++] = event;
        if (rig->on_event)
                rig->on_event(rig, event);
}

static void on_trouble(void *ctx, const struct err *err)
{
        struct t_rig *rig = ctx;
        snprintf(rig->trouble, sizeof(rig->trouble), "%s", err_text(err, 0));
        rig->ntrouble++;
}

void t_rig_prepare(struct t_rig *rig, uint8_t *data)
{
        static const struct uuid host = {{1}}, volume = {{2}};
        struct err err = ERR_INIT;

        memset(rig, 0, sizeof(*rig));
        snprintf(rig->dir, sizeof(rig->dir), "/tmp/t_vub.XXXXXX");
        if (!mkdtemp(rig->dir) || loop_new(&rig->loop) < 0)
                t_die(rig->dir);
        snprintf(rig->path, sizeof(rig->path), "%s/disk.sock", rig->dir);
        rig->disk.loop = rig->loop;
        rig->disk.defer.call = disk_turn;
        rig->disk.timer.fire = disk_due;
        rig->disk.size = T_DISK_BYTES;
        rig->disk.data = data ? data : calloc(1, T_DISK_BYTES);
        list_init(&rig->disk.queue);
        struct nvm_namespace_spec spec = {.ops = &disk_ops, .backing = &rig->disk, .uuid = volume};
        if (!rig->disk.data || nvm_subsystem_new(rig->loop, &host, &rig->subsystem) < 0 ||
            nvm_controller_create(rig->subsystem, &spec, &rig->controller, &err) < 0)
                t_die(err_text(&err, -ENOMEM));
        nvc_gate_set(rig->controller, true);
        rig->options = VUB_OPTIONS_DEFAULT;
        rig->options.hold_timeout_ms = 100;
        snprintf(rig->options.id, sizeof(rig->options.id), "%s", "0123456789abcdefghij");
}

void t_rig_listen(struct t_rig *rig)
{
        struct front_observer observer = {.event = on_event, .trouble = on_trouble, .ctx = rig};
        struct err err = ERR_INIT;
        if (vub_server_new(rig->loop, rig->path, rig->controller, &rig->options, &observer,
                           &rig->server, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                exit(1);
        }
}

void t_rig_up(struct t_rig *rig)
{
        t_rig_prepare(rig, NULL);
        t_rig_listen(rig);
}

static void set_true(void *ctx)
{
        *(bool *)ctx = true;
}

void t_rig_down(struct t_rig *rig)
{
        struct err err = ERR_INIT;
        bool closed = false;

        rig->disk.mode = T_DISK_NORMAL;
        rig->disk.delay_ns = 0;
        loop_defer(rig->loop, &rig->disk.defer);
        if (rig->server) {
                vub_server_close(rig->server, &closed, set_true);
                T_UNTIL(rig, closed);
                vub_server_free(rig->server);
        }
        t_settle(rig);
        T_CHECK(nvm_controller_destroy(rig->controller, &err) == 0);
        nvm_subsystem_free(rig->subsystem);
        loop_defer_cancel(&rig->disk.defer);
        loop_timer_disarm(&rig->disk.timer);
        loop_free(rig->loop);
        free(rig->disk.data);
        unlink(rig->path);
        T_CHECK(rmdir(rig->dir) == 0);
}

void t_settle(struct t_rig *rig)
{
        for (int i = 0; i < 20; i++)
                loop_turn(rig->loop, 0);
}

unsigned t_count(const struct t_rig *rig, enum front_event event)
{
        unsigned n = 0;
        for (unsigned i = 0; i < rig->nevents; i++)
                n += rig->events[i] == event;
        return n;
}

bool t_saw(const struct t_rig *rig, enum front_event event)
{
        return t_count(rig, event) > 0;
}

/* ---- a host in a process of its own ---- */

pid_t t_spawn_server(uint8_t *data, const char *path, uint64_t delay_ns)
{
        int ready[2];
        if (pipe(ready) < 0)
                exit(1);
        pid_t pid = fork();
        if (pid == 0) {
                struct t_rig child;
                t_rig_prepare(&child, data);
                rmdir(child.dir);
                child.disk.delay_ns = delay_ns;
                snprintf(child.path, sizeof(child.path), "%s", path);
                t_rig_listen(&child);
                (void)!write(ready[1], "", 1);
                loop_run(child.loop);
                _exit(1);
        }
        char b;
        close(ready[1]);
        if (read(ready[0], &b, 1) != 1)
                t_die("server");
        close(ready[0]);
        return pid;
}

void t_trace(pid_t pid)
{
        int status;

        if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 ||
            ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
                t_skip("cannot trace a process of our own");
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
                t_die("trace");
}

bool t_step(pid_t pid)
{
        int status;

        return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
               WIFSTOPPED(status);
}
