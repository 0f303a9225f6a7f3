/* TCP, see transport.h. A name is looked up first (lookup.h); its addresses are then tried in the
 * resolver's order, and what the last one ran into is told.
 *
 * Dead peers are found by keepalive (idle) and TCP_USER_TIMEOUT (unacknowledged data); connecting
 * has a deadline of its own.
 */
#include "base/cleanup.h"
#include "migrate/peer/lookup.h"
#include "migrate/peer/transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CONNECT_NS UINT64_C(3000000000)
#define LOOKUP_NS UINT64_C(5000000000)

enum { MAX_IOV = 16, READS_A_TURN = 16, MIN_READ = 1 };

struct out_buf {
        struct list node;
        uint8_t *bytes;
        size_t len, sent;
};

struct transport_conn {
        struct loop *loop;
        struct loop_fd watch;
        struct loop_timer deadline;
        struct loop_defer later; /* reports what a call of ours ran into */
        struct transport_reader reader;
        bool connecting, has_reader, dead;
        struct lookup *lookup; /* NULL: none is under way */
        struct addrinfo *addresses, *next; /* of a name; those that are left to try */
        bool *freed; /* set by close inside a callback */
        struct err why;
        struct list out;
        size_t queued;
};

struct transport_listener {
        struct loop *loop;
        struct loop_fd watch;
        void *ctx;
        void (*accepted)(void *ctx, struct transport_conn *conn, const char *peer_address);
};

static void conn_ready(struct loop_fd *w, uint32_t events);

static void hang_up(struct transport_conn *c)
{
        if (c->watch.fd < 0)
                return;
        loop_fd_del(&c->watch);
        close(c->watch.fd);
        c->watch.fd = -1;
}

static void conn_free(struct transport_conn *c)
{
        struct out_buf *b;

        if (c->freed)
                *c->freed = true;
        loop_timer_disarm(&c->deadline);
        loop_defer_cancel(&c->later);
        lookup_cancel(c->lookup);
        if (c->addresses)
                freeaddrinfo(c->addresses);
        hang_up(c);
        while ((b = list_first(&c->out, struct out_buf, node))) {
                list_del(&b->node);
                free(b->bytes);
                free(b);
        }
        free(c);
}

static void tell_closed(struct loop_defer *d)
{
        struct transport_conn *c = container_of(d, struct transport_conn, later);
        struct transport_reader reader = c->reader;
        struct err why = c->why;
        bool has_reader = c->has_reader;

        conn_free(c);
        if (has_reader)
                reader.closed(reader.ctx, &why);
}

/* Ends the connection at the end of this turn. */
static void end(struct transport_conn *c, const struct err *why)
{
        if (c->dead)
                return;
        c->dead = true;
        c->why = *why;
        lookup_cancel(steal_ptr(&c->lookup));
        if (c->watch.loop)
                loop_fd_mod(&c->watch, 0);
        loop_timer_disarm(&c->deadline);
        loop_defer(c->loop, &c->later);
}

static void give_up(struct transport_conn *c, int code, const char *what)
{
        struct err why = ERR_INIT;

        err_set_sys(&why, code, "%s", what);
        end(c, &why);
}

static void try_next(struct transport_conn *c, int code);

static void out_of_time(struct loop_timer *t)
{
        struct transport_conn *c = container_of(t, struct transport_conn, deadline);

        if (c->lookup)
                give_up(c, ETIMEDOUT, "looking up its name");
        else if (c->connecting)
                try_next(c, ETIMEDOUT);
        else
                give_up(c, ETIMEDOUT, "sending");
}

static struct transport_conn *conn_new(struct loop *loop)
{
        struct transport_conn *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->loop = loop;
        c->watch.fd = -1;
        c->watch.ready = conn_ready;
        c->deadline.fire = out_of_time;
        c->later.call = tell_closed;
        list_init(&c->out);
        return c;
}

static void set_options(int fd)
{
        int on = 1, idle = 5, interval = 3, count = 3;
        unsigned user_ms = (unsigned)(TRANSPORT_STALL_NS / 1000000);

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
}

/* ---- moving bytes ---- */

static void flush_out(struct transport_conn *c)
{
        while (!list_empty(&c->out) && !c->dead) {
                struct iovec iov[MAX_IOV];
                struct out_buf *b;
                int n = 0;

                list_for_each (b, &c->out, node) {
                        if (n == MAX_IOV)
                                break;
                        iov[n++] = (struct iovec){b->bytes + b->sent, b->len - b->sent};
                }
                struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
                ssize_t sent = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent < 0) {
                        if (errno != EAGAIN && errno != EINTR)
                                give_up(c, errno, "sending");
                        break;
                }
                c->queued -= (size_t)sent;
                loop_timer_arm(c->loop, &c->deadline, loop_now_ns(c->loop) + TRANSPORT_STALL_NS);
                while (sent > 0 && (b = list_first(&c->out, struct out_buf, node))) {
                        size_t part = MIN((size_t)sent, b->len - b->sent);
                        b->sent += part;
                        sent -= (ssize_t)part;
                        if (b->sent < b->len)
                                break;
                        list_del(&b->node);
                        free(b->bytes);
                        free(b);
                }
        }
        if (c->dead)
                return;
        if (list_empty(&c->out))
                loop_timer_disarm(&c->deadline);
        loop_fd_mod(&c->watch, EPOLLIN | (list_empty(&c->out) ? 0 : EPOLLOUT));
}

/* False: the connection was closed by its reader. */
static bool read_in(struct transport_conn *c)
{
        bool freed = false;

        c->freed = &freed;
        for (int i = 0; i < READS_A_TURN && !c->dead; i++) {
                size_t len = 0;
                void *p = c->reader.space(c->reader.ctx, &len);
                if (freed)
                        return false;
                ssize_t n = recv(c->watch.fd, p, len, MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        break;
                if (n <= 0) {
                        give_up(c, n < 0 ? errno : ECONNRESET, "receiving");
                        break;
                }
                int rc = c->reader.filled(c->reader.ctx, (size_t)n);
                if (freed)
                        return false;
                if (rc < 0)
                        give_up(c, -rc, "understanding the peer");
        }
        c->freed = NULL;
        return true;
}

static void connected(struct transport_conn *c)
{
        int code = 0;
        socklen_t len = sizeof(code);
        bool freed = false;

        if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
                code = errno;
        if (code) {
                try_next(c, code);
                return;
        }
        c->connecting = false;
        loop_timer_disarm(&c->deadline);
        c->freed = &freed;
        c->reader.up(c->reader.ctx);
        if (freed)
                return;
        c->freed = NULL;
        flush_out(c);
}

static void conn_ready(struct loop_fd *w, uint32_t events)
{
        struct transport_conn *c = container_of(w, struct transport_conn, watch);

        if (c->dead || !c->has_reader)
                return;
        if (c->connecting) {
                connected(c);
                return;
        }
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !read_in(c))
                return;
        if ((events & EPOLLOUT) && !c->dead)
                flush_out(c);
}

static int tcp_send(struct transport_conn *c, void *buf, size_t len)
{
        struct out_buf *b = c->dead ? NULL : calloc(1, sizeof(*b));

        if (!b || c->queued + len > TRANSPORT_MAX_QUEUE) {
                bool dead = c->dead;
                free(b);
                free(buf);
                give_up(c, ENOBUFS, "sending");
                return dead ? -ENOTCONN : -ENOBUFS;
        }
        b->bytes = buf;
        b->len = len;
        list_add_tail(&c->out, &b->node);
        c->queued += len;
        if (!c->connecting) {
                if (!loop_timer_armed(&c->deadline))
                        loop_timer_arm(c->loop, &c->deadline,
                                       loop_now_ns(c->loop) + TRANSPORT_STALL_NS);
                flush_out(c);
        }
        return 0;
}

static void tcp_close(struct transport_conn *c)
{
        if (c)
                conn_free(c);
}

static void tcp_set_reader(struct transport_conn *c, const struct transport_reader *reader)
{
        c->reader = *reader;
        c->has_reader = true;
}

/* ---- addresses ---- */

static void format_peer(const struct sockaddr *sa, socklen_t len, char out[TRANSPORT_ADDRESS])
{
        char host[48], port[8];

        if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                snprintf(out, TRANSPORT_ADDRESS, "?");
        else
                snprintf(out, TRANSPORT_ADDRESS, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                         port);
}

/* Returns 0 or -errno; c->watch is the socket's then, or nobody's. */
static int begin_connecting(struct transport_conn *c, const struct addrinfo *ai)
{
        int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        set_options(fd);
        c->watch.fd = fd;
        int rc = connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS ? -errno : 0;
        if (rc == 0)
                rc = loop_fd_add(c->loop, &c->watch, EPOLLOUT);
        if (rc == 0)
                loop_timer_arm(c->loop, &c->deadline, loop_now_ns(c->loop) + CONNECT_NS);
        else
                hang_up(c);
        return rc;
}

/* code: what the last address ran into. */
static void try_next(struct transport_conn *c, int code)
{
        hang_up(c);
        while (c->next && !c->dead) {
                const struct addrinfo *ai = c->next;
                c->next = ai->ai_next;
                int rc = begin_connecting(c, ai);
                if (rc == 0)
                        return;
                code = -rc;
        }
        give_up(c, code, "connecting");
}

static void name_found(void *ctx, struct addrinfo *list, const struct err *err)
{
        struct transport_conn *c = ctx;

        c->lookup = NULL;
        c->addresses = c->next = list;
        if (list)
                try_next(c, EHOSTUNREACH);
        else
                end(c, err);
}

static int tcp_connect(struct loop *loop, const char *address, struct transport_conn **ret_conn,
                       struct err *err)
{
        char name[TRANSPORT_ADDRESS];
        struct addrinfo *ai;
        int rc = transport_address_check(address, name, err);

        if (rc < 0)
                return rc;
        struct transport_conn *c = conn_new(loop);
        if (!c)
                return err_set(err, ENOMEM, "peer %s: out of memory", address);
        c->connecting = true;
        if (name[0]) {
                rc = lookup_start(loop, name, transport_port(address), c, name_found, &c->lookup,
                                  err);
                if (rc == 0)
                        loop_timer_arm(loop, &c->deadline, loop_now_ns(loop) + LOOKUP_NS);
        } else if ((rc = transport_resolve(address, false, &ai, err)) == 0) {
                rc = begin_connecting(c, ai);
                freeaddrinfo(ai);
                if (rc < 0)
                        err_set_sys(err, -rc, "peer %s", address);
        }
        if (rc < 0) {
                conn_free(c);
                return rc;
        }
        *ret_conn = c;
        return 0;
}

static void accept_ready(struct loop_fd *w, uint32_t events)
{
        struct transport_listener *l = container_of(w, struct transport_listener, watch);
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        char text[TRANSPORT_ADDRESS];
        int fd = accept4(w->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
                return;
        struct transport_conn *c = conn_new(l->loop);
        if (!c) {
                close(fd);
                return;
        }
        set_options(fd);
        c->watch.fd = fd;
        if (loop_fd_add(l->loop, &c->watch, EPOLLIN) < 0) {
                conn_free(c);
                return;
        }
        format_peer((struct sockaddr *)&sa, len, text);
        l->accepted(l->ctx, c, text);
}

static int tcp_listen(struct loop *loop, const char *address, void *ctx,
                      void (*accepted)(void *, struct transport_conn *, const char *),
                      struct transport_listener **ret_listener, struct err *err)
{
        struct addrinfo *ai;
        int on = 1, rc = transport_resolve(address, true, &ai, err);

        if (rc < 0)
                return rc;
        struct transport_listener *l = calloc(1, sizeof(*l));
        int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (!l || fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 16) < 0)
                rc = err_set_sys(err, l ? errno : ENOMEM, "listening for peers on %s", address);
        freeaddrinfo(ai);
        if (rc == 0) {
                l->loop = loop;
                l->ctx = ctx;
                l->accepted = accepted;
                l->watch.fd = fd;
                l->watch.ready = accept_ready;
                rc = loop_fd_add(loop, &l->watch, EPOLLIN);
        }
        if (rc < 0) {
                if (fd >= 0)
                        close(fd);
                free(l);
                return rc;
        }
        *ret_listener = l;
        return 0;
}

static void tcp_unlisten(struct transport_listener *l)
{
        if (!l)
                return;
        loop_fd_del(&l->watch);
        close(l->watch.fd);
        free(l);
}

const struct transport transport_tcp = {
    .name = "tcp",
    .listen = tcp_listen,
    .unlisten = tcp_unlisten,
    .connect = tcp_connect,
    .set_reader = tcp_set_reader,
    .send = tcp_send,
    .close = tcp_close,
};
