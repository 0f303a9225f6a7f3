/* One peer's connection: messages in, replies out, the work at the end of a turn, see internal.h.
 *
 * Invariants: one message at a time. While a reply is not written in full, or GET_VRING_BASE waits
 * for its ring to drain, nothing more is read from the peer. Once the connection is dead nothing is
 * written to the peer's memory; it is freed at the end of a turn, when nothing is in flight any
 * more.
 *
 *   alive --peer gone, malformed message--> dead --drained--> freed
 *   alive --vub_conn_shutdown--> closing --drained, or 5 s--> dead
 *
 * Crash behaviour: inflight.h. A dead connection's completions are not told to the guest: a
 * reconnecting peer has its requests submitted again, in order, from the in-flight region.
 */
#include "frontend/vhost_user/internal.h"

#include "base/le.h"
#include "frontend/vhost_user/guard.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { MESSAGES_A_TURN = 32 };

#define NS_PER_MS UINT64_C(1000000)
#define ATTACH_RETRY_NS (200 * NS_PER_MS)
#define CANCEL_RETRY_NS (1000 * NS_PER_MS)
#define SHUTDOWN_NS (5000 * NS_PER_MS)

/* ---- opening the controller ---- */

/* What the saved state of a migration compares. Told again after each attach and detach, for the
 * controller forgets it at the latter, and the state is saved with the rings stopped. */
static void tell_facts(struct vub_conn *c)
{
        const uint64_t not_virtio = VUB_F_LOG_ALL | VUB_F_PROTOCOL_FEATURES;
        struct nvm_front_facts facts = {.offered_features = VUB_FEATURES & ~not_virtio,
                                        .negotiated_features = c->features & ~not_virtio,
                                        .max_queues = VUB_QUEUES,
                                        .queues = c->nqueues};
        nvc_set_front_facts(c->server->controller, &facts);
}

static void look_at_all(struct vub_conn *c)
{
        for (int i = 0; i < VUB_QUEUES; i++)
                c->rings[i].look |= c->rings[i].active;
        vub_conn_wake(c);
}

static void may_submit_changed(struct nvm_front *front)
{
        look_at_all(container_of(front, struct vub_conn, front));
}

static void first_request(struct nvm_front *front)
{
        struct vub_conn *c = container_of(front, struct vub_conn, front);

        vub_server_event(c->server, FRONT_FIRST_REQUEST, c->pid);
}

static void try_attach(struct vub_conn *c)
{
        struct vub_server *s = c->server;
        struct err err = ERR_INIT;

        int rc = nvc_attach_front(s->controller, &c->front, &err);
        if (rc == 0) {
                c->attached = true;
                c->busy_told = false;
                vub_server_event(s, FRONT_RINGS_ON, c->pid);
                look_at_all(c);
                return;
        }
        if (!c->busy_told) {
                c->busy_told = true;
                err_prefix(&err, "guest of process %d waits", (int)c->pid);
                vub_server_trouble(s, &err);
        }
        loop_timer_arm(s->loop, &c->attach_retry, loop_now_ns(s->loop) + ATTACH_RETRY_NS);
}

static void on_attach_retry(struct loop_timer *t)
{
        try_attach(container_of(t, struct vub_conn, attach_retry));
}

void vub_conn_ring_started(struct vub_conn *c, struct vub_ring *r)
{
        r->look = true;
        vub_conn_wake(c);
        c->nqueues = c->nactive == 0 ? 1 : (uint16_t)MAX(c->nactive + 1, c->nqueues);
        if (c->nactive++ == 0 && !c->closing)
                try_attach(c);
        tell_facts(c);
}

void vub_conn_ring_stopped(struct vub_conn *c)
{
        if (--c->nactive > 0)
                return;
        loop_timer_disarm(&c->attach_retry);
        c->busy_told = false;
        if (!c->attached)
                return;
        c->attached = false;
        nvc_detach_front(c->server->controller, &c->front);
        tell_facts(c);
        vub_server_event(c->server, FRONT_RINGS_OFF, c->pid);
}

bool vub_conn_may_take(const struct vub_conn *c)
{
        return c->attached && !c->dead && !c->closing && nvc_may_submit(c->server->controller);
}

/* ---- out ---- */

static void update_events(struct vub_conn *c)
{
        if (c->out_len > 0)
                loop_fd_mod(&c->sock, EPOLLOUT);
        else
                loop_fd_mod(&c->sock, c->draining ? 0 : EPOLLIN);
}

static void write_out(struct vub_conn *c)
{
        while (c->out_done < c->out_len) {
                struct iovec iov = {c->out + c->out_done, c->out_len - c->out_done};
                union {
                        struct cmsghdr align;
                        char bytes[CMSG_SPACE(sizeof(int))];
                } control = {0};
                struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

                if (c->out_fd >= 0) {
                        msg.msg_control = control.bytes;
                        msg.msg_controllen = sizeof(control.bytes);
                        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
                        cmsg->cmsg_level = SOL_SOCKET;
                        cmsg->cmsg_type = SCM_RIGHTS;
                        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
                        memcpy(CMSG_DATA(cmsg), &c->out_fd, sizeof(int));
                }
                ssize_t n = sendmsg(c->sock.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        update_events(c);
                        return;
                }
                if (n < 0) {
                        vub_conn_close(c, NULL);
                        return;
                }
                if (c->out_fd >= 0)
                        close(steal_fd(&c->out_fd));
                c->out_done += (uint32_t)n;
        }
        c->out_len = c->out_done = 0;
        update_events(c);
}

void vub_conn_reply(struct vub_conn *c, uint32_t request, const void *payload, uint32_t len, int fd)
{
        assert(c->out_len == 0 && len <= VUB_PAYLOAD_MAX);
        put_le32(c->out, request);
        put_le32(c->out + 4, VUB_FLAG_VERSION | VUB_FLAG_REPLY);
        put_le32(c->out + 8, len);
        memcpy(c->out + VUB_HEADER_BYTES, payload, len);
        c->out_len = VUB_HEADER_BYTES + len;
        c->out_done = 0;
        c->out_fd = fd;
        write_out(c);
}

void vub_conn_config_changed(struct vub_conn *c)
{
        uint8_t header[VUB_HEADER_BYTES];

        if (c->dead || c->backend_fd < 0)
                return;
        put_le32(header, VUB_BACKEND_CONFIG_CHANGE);
        put_le32(header + 4, VUB_FLAG_VERSION);
        put_le32(header + 8, 0);
        /* A peer that does not read its channel misses the news, nothing else. */
        (void)!send(c->backend_fd, header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- in ---- */

static void drop_fds(struct vub_conn *c)
{
        for (int i = 0; i < c->nfds; i++)
                if (c->fds[i] >= 0)
                        close(c->fds[i]);
        c->nfds = 0;
}

/* Keeps the descriptors of a message. false: there were more than any message has. */
static bool keep_fds(struct vub_conn *c, struct msghdr *msg)
{
        bool fits = !(msg->msg_flags & MSG_CTRUNC);

        for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
                if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
                        if (c->nfds < VUB_MAX_FDS) {
                                c->fds[c->nfds++] = fd;
                        } else {
                                close(fd);
                                fits = false;
                        }
                }
        }
        return fits;
}

/* Reads until want bytes of the message are there. 1: they are; 0: not yet; <0 with text. */
static int read_upto(struct vub_conn *c, uint32_t want, struct err *err)
{
        while (c->in_have < want) {
                union {
                        struct cmsghdr align;
                        char bytes[CMSG_SPACE(sizeof(int) * VUB_MAX_FDS)];
                } control;
                struct iovec iov = {c->in + c->in_have, want - c->in_have};
                struct msghdr msg = {.msg_iov = &iov,
                                     .msg_iovlen = 1,
                                     .msg_control = control.bytes,
                                     .msg_controllen = sizeof(control.bytes)};
                ssize_t n = recvmsg(c->sock.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n <= 0)
                        return -ECONNRESET; /* gone: nothing to tell */
                c->in_have += (uint32_t)n;
                if (!keep_fds(c, &msg))
                        return err_set(err, EPROTO, "message with more than %d descriptors",
                                       VUB_MAX_FDS);
        }
        return 1;
}

/* 1: a message was handled; 0: none is complete; <0: close. */
static int read_message(struct vub_conn *c, struct err *err)
{
        int rc = read_upto(c, VUB_HEADER_BYTES, err);
        if (rc <= 0)
                return rc;
        uint32_t request = get_le32(c->in), flags = get_le32(c->in + 4), len = get_le32(c->in + 8);
        if ((flags & VUB_FLAG_VERSION_MASK) != VUB_FLAG_VERSION || (flags & VUB_FLAG_REPLY))
                return err_set(err, EPROTO, "message %u with flags %#x", request, flags);
        if (len > VUB_PAYLOAD_MAX)
                return err_set(err, EPROTO, "message %u of %u bytes", request, len);
        rc = read_upto(c, VUB_HEADER_BYTES + len, err);
        if (rc <= 0)
                return rc;
        rc = vub_dispatch(c, request, flags, c->in + VUB_HEADER_BYTES, len, err);
        drop_fds(c);
        c->in_have = 0;
        return rc < 0 ? rc : 1;
}

static void on_sock(struct loop_fd *w, uint32_t events)
{
        struct vub_conn *c = container_of(w, struct vub_conn, sock);
        struct err err = ERR_INIT;

        if (c->out_len > 0) {
                if (events & (EPOLLHUP | EPOLLERR))
                        vub_conn_close(c, NULL);
                else
                        write_out(c);
                return;
        }
        if (c->draining) { /* the peer does not read our answer any more */
                if (events & (EPOLLHUP | EPOLLERR))
                        vub_conn_close(c, NULL);
                return;
        }
        for (int i = 0; i < MESSAGES_A_TURN && !c->dead && !c->draining && c->out_len == 0; i++) {
                int rc = read_message(c, &err);
                if (rc < 0)
                        vub_conn_close(c, err.code ? &err : NULL);
                if (rc <= 0)
                        return;
        }
        if (!c->dead)
                update_events(c);
}

/* ---- end of a turn ---- */

void vub_conn_wake(struct vub_conn *c)
{
        loop_defer(c->server->loop, &c->work);
}

static void check_guard(struct vub_conn *c)
{
        struct err err = ERR_INIT;
        bool hit;

        if (c->guard_seen == vub_guard_hits())
                return;
        c->guard_seen = vub_guard_hits();
        hit = (c->log.map && vub_guard_hit(c->log.map)) ||
              (c->inflight.map && vub_guard_hit(c->inflight.map));
        for (uint32_t i = 0; c->mem && i < c->mem->nregions; i++)
                hit |= vub_guard_hit(c->mem->regions[i].map);
        if (!hit || c->dead)
                return;
        err_set(&err, EFAULT, "shared memory was cut short by its owner");
        vub_conn_close(c, &err);
}

static void answer_if_drained(struct vub_conn *c)
{
        struct vub_ring *r = c->draining;
        uint8_t payload[8];

        if (!r || c->dead || !vub_ring_drained(r))
                return;
        loop_timer_disarm(&c->hold);
        c->fail_waiting = false;
        c->draining = NULL;
        vub_ring_stop(r); /* reports FRONT_RINGS_OFF */
        put_le32(payload, r->index);
        put_le32(payload + 4, r->base);
        vub_conn_reply(c, VUB_GET_VRING_BASE, payload, sizeof(payload), -1);
}

static void finish(struct vub_conn *c)
{
        struct vub_server *s = c->server;

        for (int i = 0; i < VUB_QUEUES; i++)
                if (c->rings[i].active)
                        vub_ring_stop(&c->rings[i]);
        for (int i = 0; i < VUB_QUEUES; i++)
                vub_ring_fini(&c->rings[i]);
        loop_timer_disarm(&c->hold);
        loop_timer_disarm(&c->attach_retry);
        loop_defer_cancel(&c->work);
        drop_fds(c);
        if (c->out_fd >= 0)
                close(c->out_fd);
        if (c->backend_fd >= 0)
                close(c->backend_fd);
        vub_log_fini(&c->log);
        vub_inflight_fini(&c->inflight);
        vub_mem_unref(c->mem);
        nvc_set_front_facts(s->controller, &(struct nvm_front_facts){0});
        pid_t pid = c->pid;
        free(c);
        s->conn = NULL;
        vub_server_event(s, FRONT_DISCONNECTED, pid);
        vub_server_conn_gone(s);
}

static void on_work(struct loop_defer *d)
{
        struct vub_conn *c = container_of(d, struct vub_conn, work);
        struct err err = ERR_INIT;

        for (int i = 0; i < VUB_QUEUES; i++)
                vub_ring_publish(&c->rings[i]);
        check_guard(c);
        if (c->log.overrun && !c->log_overrun_told) {
                c->log_overrun_told = true;
                err_set(&err, ERANGE,
                        "the log of dirtied memory does not cover the guest's memory");
                vub_server_trouble(c->server, &err);
        }
        for (int i = 0; i < VUB_QUEUES; i++)
                if (c->rings[i].look)
                        vub_ring_take(&c->rings[i]);
        answer_if_drained(c);
        if (c->closing && !c->dead && c->ninflight == 0)
                vub_conn_close(c, NULL);
        if (c->dead && c->ninflight == 0)
                finish(c);
}

static void on_hold(struct loop_timer *t)
{
        struct vub_conn *c = container_of(t, struct vub_conn, hold);
        struct loop *loop = c->server->loop;

        if (c->closing && !c->dead) {
                vub_conn_close(c, NULL);
                return;
        }
        c->fail_waiting = true;
        if (c->attached)
                nvc_cancel_held(c->server->controller);
        look_at_all(c);
        /* A request in flight may come to wait after this call: until nothing is left. */
        loop_timer_arm(loop, t, loop_now_ns(loop) + CANCEL_RETRY_NS);
}

/* ---- life ---- */

int vub_conn_new(struct vub_server *s, int fd, pid_t pid)
{
        struct vub_conn *c = calloc(1, sizeof(*c));
        if (!c) {
                close(fd);
                return -ENOMEM;
        }
        c->server = s;
        c->pid = pid;
        c->sock = (struct loop_fd){.fd = fd, .ready = on_sock};
        c->out_fd = c->backend_fd = -1;
        c->guard_seen = vub_guard_hits();
        c->hold.fire = on_hold;
        c->attach_retry.fire = on_attach_retry;
        c->work.call = on_work;
        c->front = (struct nvm_front){.kind = "vhost-user",
                                      .may_submit_changed = may_submit_changed,
                                      .first_request = first_request};
        for (uint16_t i = 0; i < VUB_QUEUES; i++)
                vub_ring_init(&c->rings[i], c, i);
        int rc = loop_fd_add(s->loop, &c->sock, EPOLLIN);
        if (rc < 0) {
                close(fd);
                free(c);
                return rc;
        }
        s->conn = c;
        vub_server_event(s, FRONT_CONNECTED, pid);
        return 0;
}

bool vub_conn_check_gone(struct vub_conn *c)
{
        struct pollfd p = {.fd = c->sock.fd, .events = POLLRDHUP};

        if (c->dead)
                return true;
        if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
                return false;
        vub_conn_close(c, NULL);
        return true;
}

void vub_conn_close(struct vub_conn *c, const struct err *err)
{
        if (c->dead)
                return;
        c->dead = true;
        loop_timer_disarm(&c->attach_retry);
        loop_fd_del(&c->sock);
        close(c->sock.fd);
        c->sock.fd = -1;
        for (int i = 0; i < VUB_QUEUES; i++)
                vub_ring_set_kick(&c->rings[i], -1);
        if (err) {
                struct err text = *err;
                c->server->malformed++;
                err_prefix(&text, "connection of process %d closed", (int)c->pid);
                vub_server_trouble(c->server, &text);
        }
        /* Nobody waits for these any more. */
        if (c->attached)
                nvc_cancel_held(c->server->controller);
        loop_timer_arm(c->server->loop, &c->hold, loop_now_ns(c->server->loop) + CANCEL_RETRY_NS);
        vub_conn_wake(c);
}

void vub_conn_free_now(struct vub_conn *c)
{
        assert(c->ninflight == 0);
        vub_conn_close(c, NULL);
        finish(c);
}

void vub_conn_shutdown(struct vub_conn *c)
{
        struct loop *loop = c->server->loop;

        c->closing = true;
        loop_timer_disarm(&c->attach_retry);
        if (!c->dead)
                loop_timer_arm(loop, &c->hold, loop_now_ns(loop) + SHUTDOWN_NS);
        vub_conn_wake(c);
}
