/* What QEMU says: see t_vub.h. */
#include "t_vub.h"

#include "base/le.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

static uint8_t *shared(const char *name, size_t len, int *ret_fd)
{
        *ret_fd = memfd_create(name, MFD_CLOEXEC);
        if (*ret_fd < 0 || ftruncate(*ret_fd, (off_t)len) < 0)
                t_die(name);
        void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
        if (map == MAP_FAILED)
                t_die(name);
        return map;
}

void t_peer_reconnect(struct t_peer *p)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", p->rig->path);
        p->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (p->sock < 0 || connect(p->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                t_die("connect");
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
                        t_die("sendmsg");
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
                t_die("reply too long");
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
                t_die("eventfd");
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
