/* See t_vub.h. */
#include "t_vub.h"

#include "base/le.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static void die(const char *what)
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
                die("iov does not add up");
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
                die("calloc");
        if (io->offset_bytes % 512 || io->length_bytes % 512 || io->offset_bytes > d->size ||
            io->length_bytes > d->size - io->offset_bytes)
                die("request outside the disk");
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
                die(rig->dir);
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
                die(err_text(&err, -ENOMEM));
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
                die("server");
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
                die("trace");
}

bool t_step(pid_t pid)
{
        int status;

        return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
               WIFSTOPPED(status);
}

/* ---- the peer ---- */

static uint8_t *shared(const char *name, size_t len, int *ret_fd)
{
        *ret_fd = memfd_create(name, MFD_CLOEXEC);
        if (*ret_fd < 0 || ftruncate(*ret_fd, (off_t)len) < 0)
                die(name);
        void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
        if (map == MAP_FAILED)
                die(name);
        return map;
}

void t_peer_reconnect(struct t_peer *p)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", p->rig->path);
        p->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (p->sock < 0 || connect(p->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                die("connect");
        if (p->rig->loop)
                t_settle(p->rig);
}

void t_peer_connect(struct t_peer *p, struct t_rig *rig)
{
        memset(p, 0, sizeof(*p));
        p->rig = rig;
        p->inflight_fd = -1;
        p->mem = shared("guest", T_MEM_BYTES, &p->mem_fd);
        p->log = shared("log", 4096, &p->log_fd);
        for (unsigned i = 0; i < T_QUEUES; i++) {
                struct t_queue *q = &p->q[i];
                q->desc = 0x10000 + i * 0x4000;
                q->avail = q->desc + 0x1000;
                q->used = q->desc + 0x2000;
                q->kick = q->call = q->err = -1;
        }
        t_peer_reconnect(p);
}

void t_peer_hang_up(struct t_peer *p)
{
        if (p->sock >= 0)
                close(p->sock);
        p->sock = -1;
}

static void close_queue(struct t_queue *q)
{
        int *fds[] = {&q->kick, &q->call, &q->err};
        for (int i = 0; i < 3; i++) {
                if (*fds[i] >= 0)
                        close(*fds[i]);
                *fds[i] = -1;
        }
}

void t_peer_free(struct t_peer *p)
{
        t_peer_hang_up(p);
        for (unsigned i = 0; i < T_QUEUES; i++)
                close_queue(&p->q[i]);
        munmap(p->mem, T_MEM_BYTES);
        munmap(p->log, 4096);
        close(p->mem_fd);
        close(p->log_fd);
        if (p->inflight_fd >= 0) {
                munmap(p->inflight, p->inflight_bytes);
                close(p->inflight_fd);
        }
}

void t_send(struct t_peer *p, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
            const int *fds, int nfds)
{
        uint8_t buf[4096];
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 16)];
        } control = {0};
        struct iovec iov = {buf, VUB_HEADER_BYTES + len};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

        put_le32(buf, request);
        put_le32(buf + 4, flags | VUB_FLAG_VERSION);
        put_le32(buf + 8, len);
        if (len > 0)
                memcpy(buf + VUB_HEADER_BYTES, payload, len);
        if (nfds > 0) {
                msg.msg_control = control.bytes;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
                struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
                cmsg->cmsg_level = SOL_SOCKET;
                cmsg->cmsg_type = SCM_RIGHTS;
                cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
                memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
        }
        for (;;) {
                ssize_t n = sendmsg(p->sock, &msg, MSG_NOSIGNAL);
                if (n == (ssize_t)iov.iov_len || (n < 0 && (errno == EPIPE || errno == ECONNRESET)))
                        return;
                if (n >= 0 || errno != EAGAIN || !p->rig->loop)
                        die("sendmsg");
                loop_turn(p->rig->loop, 1000000);
        }
}

/* Exactly len bytes. 1, 0 when closed, -1 when none come. */
static int recv_all(struct t_peer *p, uint8_t *buf, size_t len, int *ret_fd)
{
        uint64_t end = clock_now_ns() + UINT64_C(5000000000);
        size_t have = 0;

        while (have < len) {
                union {
                        struct cmsghdr align;
                        char bytes[CMSG_SPACE(sizeof(int))];
                } control = {0};
                struct iovec iov = {buf + have, len - have};
                struct msghdr msg = {.msg_iov = &iov,
                                     .msg_iovlen = 1,
                                     .msg_control = control.bytes,
                                     .msg_controllen = sizeof(control.bytes)};
                ssize_t n = recvmsg(p->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
                if (cmsg && ret_fd)
                        memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(int));
                if (n > 0) {
                        have += (size_t)n;
                } else if (n == 0 || errno == ECONNRESET) {
                        return 0;
                } else if (clock_now_ns() > end) {
                        return -1;
                } else if (p->rig->loop) {
                        loop_turn(p->rig->loop, 1000000);
                } else {
                        poll(&(struct pollfd){.fd = p->sock, .events = POLLIN}, 1, 100);
                }
        }
        return 1;
}

int t_recv(struct t_peer *p, uint32_t request, void *payload, uint32_t max, int *ret_fd)
{
        uint8_t header[VUB_HEADER_BYTES];
        int rc = recv_all(p, header, sizeof(header), ret_fd);
        if (rc <= 0)
                return rc - 1;
        uint32_t len = get_le32(header + 8);
        T_CHECK(get_le32(header) == request);
        T_CHECK(get_le32(header + 4) == (VUB_FLAG_VERSION | VUB_FLAG_REPLY));
        if (len > max)
                die("reply too long");
        rc = len > 0 ? recv_all(p, payload, len, NULL) : 1;
        return rc <= 0 ? rc - 1 : (int)len;
}

bool t_silent(struct t_peer *p)
{
        uint8_t b;
        t_settle(p->rig);
        return recv(p->sock, &b, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool t_closed(struct t_peer *p)
{
        uint8_t b;
        t_settle(p->rig);
        ssize_t n = recv(p->sock, &b, 1, MSG_PEEK | MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno == ECONNRESET);
}

void t_send_u64(struct t_peer *p, uint32_t request, uint64_t v)
{
        uint8_t payload[8];
        put_le64(payload, v);
        t_send(p, request, 0, payload, sizeof(payload), NULL, 0);
}

uint64_t t_ask_u64(struct t_peer *p, uint32_t request)
{
        uint8_t payload[8] = {0};
        t_send(p, request, 0, NULL, 0, NULL, 0);
        T_CHECK(t_recv(p, request, payload, sizeof(payload), NULL) == 8);
        return get_le64(payload);
}

uint64_t t_ask_ack(struct t_peer *p, uint32_t request, const void *payload, uint32_t len,
                   const int *fds, int nfds)
{
        uint8_t reply[8] = {0};
        t_send(p, request, VUB_FLAG_NEED_REPLY, payload, len, fds, nfds);
        if (t_recv(p, request, reply, sizeof(reply), NULL) != 8)
                return UINT64_MAX;
        return get_le64(reply);
}

void t_send_mem_table(struct t_peer *p)
{
        uint8_t payload[8 + 2 * VUB_REGION_BYTES] = {0};
        int fds[] = {p->mem_fd, p->mem_fd};

        put_le32(payload, 2);
        for (unsigned i = 0; i < 2; i++) {
                uint8_t *r = payload + 8 + i * VUB_REGION_BYTES;
                put_le64(r, i * (uint64_t)T_SEAM);
                put_le64(r + 8, i == 0 ? T_SEAM : T_MEM_BYTES - T_SEAM);
                put_le64(r + 16, T_USER_BASE + i * (uint64_t)T_SEAM);
                put_le64(r + 24, i * (uint64_t)T_SEAM);
        }
        t_send(p, VUB_SET_MEM_TABLE, 0, payload, sizeof(payload), fds, 2);
}

void t_handshake(struct t_peer *p, uint64_t features)
{
        p->features = features;
        p->protocol = VUB_PROTOCOL_FEATURES;
        T_CHECK(t_ask_u64(p, VUB_GET_FEATURES) == VUB_FEATURES);
        T_CHECK(t_ask_u64(p, VUB_GET_PROTOCOL_FEATURES) == VUB_PROTOCOL_FEATURES);
        t_send_u64(p, VUB_SET_PROTOCOL_FEATURES, p->protocol);
        t_send(p, VUB_SET_OWNER, 0, NULL, 0, NULL, 0);
        t_send_u64(p, VUB_SET_FEATURES, features);
        t_send_mem_table(p);
}

void t_send_state(struct t_peer *p, uint32_t request, uint32_t ring, uint32_t num)
{
        uint8_t payload[8];
        put_le32(payload, ring);
        put_le32(payload + 4, num);
        t_send(p, request, 0, payload, sizeof(payload), NULL, 0);
}

void t_send_addr(struct t_peer *p, unsigned ring, bool log)
{
        const struct t_queue *q = &p->q[ring];
        uint8_t payload[40];

        put_le32(payload, ring);
        put_le32(payload + 4, log ? VUB_VRING_LOG : 0);
        put_le64(payload + 8, T_USER_BASE + q->desc);
        put_le64(payload + 16, T_USER_BASE + q->used);
        put_le64(payload + 24, T_USER_BASE + q->avail);
        put_le64(payload + 32, q->used);
        t_send(p, VUB_SET_VRING_ADDR, 0, payload, sizeof(payload), NULL, 0);
}

void t_send_fd(struct t_peer *p, uint32_t request, unsigned ring, int fd)
{
        uint8_t payload[8];
        put_le64(payload, ring | (fd < 0 ? VUB_VRING_NOFD : 0));
        t_send(p, request, 0, payload, sizeof(payload), &fd, fd < 0 ? 0 : 1);
}

void t_start_queue(struct t_peer *p, unsigned ring, uint16_t num, uint16_t base)
{
        struct t_queue *q = &p->q[ring];

        q->num = num;
        close_queue(q);
        q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        q->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (q->kick < 0 || q->call < 0 || q->err < 0)
                die("eventfd");
        t_send_state(p, VUB_SET_VRING_NUM, ring, num);
        t_send_state(p, VUB_SET_VRING_BASE, ring, base);
        t_send_addr(p, ring, p->features & VUB_F_LOG_ALL);
        t_send_fd(p, VUB_SET_VRING_CALL, ring, q->call);
        t_send_fd(p, VUB_SET_VRING_ERR, ring, q->err);
        t_send_fd(p, VUB_SET_VRING_KICK, ring, q->kick);
        t_send_state(p, VUB_SET_VRING_ENABLE, ring, 1);
        if (p->rig->loop) {
                t_settle(p->rig);
                t_signals(q->call);
        }
}

void t_ask_base(struct t_peer *p, unsigned ring)
{
        t_send_state(p, VUB_SET_VRING_ENABLE, ring, 0);
        t_send_state(p, VUB_GET_VRING_BASE, ring, 0);
}

int t_base_answer(struct t_peer *p, unsigned ring)
{
        uint8_t payload[8] = {0};
        if (t_recv(p, VUB_GET_VRING_BASE, payload, sizeof(payload), NULL) != 8)
                return -1;
        T_CHECK(get_le32(payload) == ring);
        return (int)get_le32(payload + 4);
}

int t_stop_queue(struct t_peer *p, unsigned ring)
{
        t_ask_base(p, ring);
        return t_base_answer(p, ring);
}

void t_log_on(struct t_peer *p)
{
        uint8_t payload[16], reply[8];
        put_le64(payload, 4096);
        put_le64(payload + 8, 0);
        t_send(p, VUB_SET_LOG_BASE, 0, payload, sizeof(payload), &p->log_fd, 1);
        T_CHECK(t_recv(p, VUB_SET_LOG_BASE, reply, sizeof(reply), NULL) == 8);
        p->features |= VUB_F_LOG_ALL;
        put_le64(payload, p->features);
        T_CHECK(t_ask_ack(p, VUB_SET_FEATURES, payload, 8, NULL, 0) == 0);
}

/* ---- the guest ---- */

void t_desc(struct t_peer *p, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len,
            uint16_t flags, uint16_t next)
{
        uint8_t *d = p->mem + table + 16 * i;
        put_le64(d, gpa);
        put_le32(d + 8, len);
        put_le16(d + 12, flags);
        put_le16(d + 14, next);
}

uint16_t t_chain(struct t_peer *p, unsigned ring, const struct t_buf *bufs, int n)
{
        struct t_queue *q = &p->q[ring];
        uint16_t head = q->next_desc;

        for (int i = 0; i < n; i++) {
                uint16_t next = (uint16_t)((q->next_desc + 1) % q->num);
                t_desc(p, q->desc, q->next_desc, bufs[i].gpa, bufs[i].len,
                       (uint16_t)((bufs[i].write ? T_WRITE : 0) | (i + 1 < n ? T_NEXT : 0)), next);
                q->next_desc = next;
        }
        return head;
}

uint16_t t_chain_indirect(struct t_peer *p, unsigned ring, uint64_t table, const struct t_buf *bufs,
                          int n)
{
        struct t_queue *q = &p->q[ring];
        uint16_t head = q->next_desc;

        for (int i = 0; i < n; i++)
                t_desc(p, table, (uint16_t)i, bufs[i].gpa, bufs[i].len,
                       (uint16_t)((bufs[i].write ? T_WRITE : 0) | (i + 1 < n ? T_NEXT : 0)),
                       (uint16_t)(i + 1));
        t_desc(p, q->desc, head, table, (uint32_t)n * 16, T_INDIRECT, 0);
        q->next_desc = (uint16_t)((head + 1) % q->num);
        return head;
}

void t_offer(struct t_peer *p, unsigned ring, uint16_t head)
{
        struct t_queue *q = &p->q[ring];
        put_le16(p->mem + q->avail + 4 + 2 * (q->avail_idx % q->num), head);
        q->avail_idx++;
        __atomic_store_n((uint16_t *)(void *)(p->mem + q->avail + 2), htole16(q->avail_idx),
                         __ATOMIC_SEQ_CST);
}

void t_kick(struct t_peer *p, unsigned ring)
{
        uint64_t one = 1;
        if (write(p->q[ring].kick, &one, sizeof(one)) != sizeof(one))
                die("kick");
}

uint16_t t_used_idx(struct t_peer *p, unsigned ring)
{
        return le16toh(
            __atomic_load_n((uint16_t *)(void *)(p->mem + p->q[ring].used + 2), __ATOMIC_SEQ_CST));
}

bool t_used(struct t_peer *p, unsigned ring, uint32_t *ret_id, uint32_t *ret_len)
{
        struct t_queue *q = &p->q[ring];
        if (t_used_idx(p, ring) == q->used_seen)
                return false;
        const uint8_t *elem = p->mem + q->used + 4 + 8 * (q->used_seen++ % q->num);
        *ret_id = get_le32(elem);
        *ret_len = get_le32(elem + 4);
        return true;
}

uint64_t t_signals(int fd)
{
        uint64_t n = 0;
        return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

uint64_t t_header_gpa(unsigned slot)
{
        return 0x110000 + 16 * (uint64_t)slot;
}

uint64_t t_status_gpa(unsigned slot)
{
        return 0x118000 + (uint64_t)slot;
}

void t_header(struct t_peer *p, uint64_t gpa, uint32_t type, uint64_t sector)
{
        put_le32(p->mem + gpa, type);
        put_le32(p->mem + gpa + 4, 0);
        put_le64(p->mem + gpa + 8, sector);
}

uint16_t t_request(struct t_peer *p, unsigned ring, unsigned slot, uint32_t type, uint64_t sector,
                   uint64_t data, uint32_t len)
{
        bool in = type == T_IN || type == T_GET_ID;
        struct t_buf bufs[3] = {{t_header_gpa(slot), 16, false}, {data, len, in}};
        int n = len > 0 ? 2 : 1;

        bufs[n++] = (struct t_buf){t_status_gpa(slot), 1, true};
        t_header(p, t_header_gpa(slot), type, sector);
        p->mem[t_status_gpa(slot)] = 0xff;
        return t_chain(p, ring, bufs, n);
}

int t_do(struct t_peer *p, unsigned ring, uint32_t type, uint64_t sector, uint64_t data,
         uint32_t len)
{
        uint32_t id, used_len;
        uint16_t head = t_request(p, ring, 0, type, sector, data, len);

        t_offer(p, ring, head);
        t_kick(p, ring);
        if (!T_UNTIL(p->rig, t_used_idx(p, ring) != p->q[ring].used_seen))
                return -1;
        t_used(p, ring, &id, &used_len);
        T_CHECK(id == head);
        return p->mem[t_status_gpa(0)];
}
