/* See peer.h. */
#include "migrate/peer/peer.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>

#define HELLO_NS UINT64_C(5000000000)

enum { MAX_PEERS = 64, MAX_WAITING = 32 };

struct waiting {
        struct list node;
        uint8_t *buf;
        size_t len;
};

struct peer {
        struct peers *ps;
        struct list node;
        struct transport_conn *conn;
        bool dialled, connected, up, closing;
        char address[TRANSPORT_ADDRESS];
        struct owner_host host;
        uint64_t incarnation;
        struct list waiting;
        unsigned nwaiting;
        struct loop_timer hello_deadline;
        struct loop_defer later;
        struct err why;
        /* the frame that is coming in */
        uint8_t header[PEER_HEADER];
        uint8_t *body;
        size_t got;
        uint32_t body_len;
        enum peer_type type;
};

struct peers {
        struct peers_settings s;
        struct peer_handler h;
        struct transport_listener *listener;
        struct list list;
        unsigned n;
        struct peer_frame frame; /* being decoded: too large for a stack */
};

static void peer_free(struct peer *p)
{
        struct waiting *w;

        while ((w = list_first(&p->waiting, struct waiting, node))) {
                list_del(&w->node);
                free(w->buf);
                free(w);
        }
        loop_timer_disarm(&p->hello_deadline);
        loop_defer_cancel(&p->later);
        list_del(&p->node);
        p->ps->n--;
        free(p->body);
        free(p);
}

static void end_now(struct loop_defer *d)
{
        struct peer *p = container_of(d, struct peer, later);
        struct peers *ps = p->ps;

        if (p->conn)
                ps->s.transport->close(p->conn);
        p->conn = NULL;
        p->up = false;
        ps->h.down(ps->h.ctx, p, &p->why);
        peer_free(p);
}

void peer_close(struct peer *p, const char *why)
{
        if (p->closing)
                return;
        p->closing = true;
        if (!p->why.code)
                err_set(&p->why, ECONNABORTED, "%s", why);
        loop_defer(p->ps->s.loop, &p->later);
}

static void conn_closed(void *ctx, const struct err *err)
{
        struct peer *p = ctx;

        p->conn = NULL;
        p->why = *err;
        err_prefix(&p->why, "peer %s", p->address);
        peer_close(p, "");
}

static void no_hello(struct loop_timer *t)
{
        struct peer *p = container_of(t, struct peer, hello_deadline);

        err_set(&p->why, ETIMEDOUT, "peer %s does not speak our protocol", p->address);
        peer_close(p, "");
}

static void conn_up(void *ctx)
{
        struct peer *p = ctx;
        struct peers *ps = p->ps;
        struct peer_frame hello = {.type = PEER_HELLO};
        size_t len;

        p->connected = true;
        hello.hello.host = ps->s.host_uuid;
        hello.hello.incarnation = ps->s.incarnation;
        memcpy(hello.hello.address, ps->s.advertise, OWNER_ADDRESS);
        uint8_t *buf = peer_encode(&hello, &len);
        if (!buf || ps->s.transport->send(p->conn, buf, len) < 0)
                peer_close(p, "out of memory");
        loop_timer_arm(ps->s.loop, &p->hello_deadline, loop_now_ns(ps->s.loop) + HELLO_NS);
}

/* ---- receiving ---- */

static void *space(void *ctx, size_t *ret_len)
{
        struct peer *p = ctx;

        if (p->got < PEER_HEADER) {
                *ret_len = PEER_HEADER - p->got;
                return p->header + p->got;
        }
        *ret_len = p->body_len - (p->got - PEER_HEADER);
        return p->body + (p->got - PEER_HEADER);
}

static void got_hello(struct peer *p, const struct peer_frame *f)
{
        struct peers *ps = p->ps;
        struct waiting *w;

        loop_timer_disarm(&p->hello_deadline);
        p->host.uuid = f->hello.host;
        p->incarnation = f->hello.incarnation;
        if (f->hello.address[0])
                memcpy(p->host.address, f->hello.address, OWNER_ADDRESS);
        else if (p->dialled)
                snprintf(p->host.address, OWNER_ADDRESS, "%.47s", p->address);
        if (uuid_equal(&p->host.uuid, &ps->s.host_uuid)) {
                err_set(&p->why, ELOOP, "peer %s is this host itself", p->address);
                peer_close(p, "");
                return;
        }
        p->up = true;
        ps->h.up(ps->h.ctx, p);
        while (!p->closing && (w = list_first(&p->waiting, struct waiting, node))) {
                list_del(&w->node);
                p->nwaiting--;
                if (ps->s.transport->send(p->conn, w->buf, w->len) < 0)
                        peer_close(p, "sending failed");
                free(w);
        }
}

static int take_frame(struct peer *p)
{
        struct peers *ps = p->ps;
        struct peer_frame *f = &ps->frame;
        int rc = peer_decode_body(p->header, p->body, f);

        p->got = 0;
        if (rc < 0)
                return rc;
        if (p->closing)
                return 0;
        if ((f->type == PEER_HELLO) == p->up)
                return -EPROTO; /* HELLO comes once, and first */
        if (f->type == PEER_HELLO)
                got_hello(p, f);
        else if (f->type == PEER_PING)
                peer_send(p, &(struct peer_frame){.type = PEER_PONG});
        else if (f->type != PEER_PONG)
                ps->h.frame(ps->h.ctx, p, f);
        return 0;
}

static int filled(void *ctx, size_t len)
{
        struct peer *p = ctx;
        bool header = p->got < PEER_HEADER;

        p->got += len;
        if (header && p->got == PEER_HEADER) {
                int rc = peer_decode_header(p->header, &p->type, &p->body_len);
                if (rc < 0)
                        return rc;
                /* A stranger gets no large buffers. */
                if (!p->up && p->type != PEER_HELLO)
                        return -EPROTO;
                free(p->body);
                p->body = malloc(MAX(p->body_len, 1u));
                if (!p->body)
                        return -ENOMEM;
        }
        if (p->got >= PEER_HEADER && p->got == PEER_HEADER + (size_t)p->body_len)
                return take_frame(p);
        return 0;
}

/* ---- making connections ---- */

static struct peer *peer_new(struct peers *ps, struct transport_conn *conn, const char *address)
{
        struct peer *p = ps->n < MAX_PEERS ? calloc(1, sizeof(*p)) : NULL;

        if (!p)
                return NULL;
        p->ps = ps;
        p->conn = conn;
        snprintf(p->address, sizeof(p->address), "%s", address);
        p->hello_deadline.fire = no_hello;
        p->later.call = end_now;
        list_init(&p->waiting);
        list_add_tail(&ps->list, &p->node);
        ps->n++;
        ps->s.transport->set_reader(
            conn,
            &(struct transport_reader){
                .up = conn_up, .space = space, .filled = filled, .closed = conn_closed, .ctx = p});
        return p;
}

static void accepted(void *ctx, struct transport_conn *conn, const char *address)
{
        struct peers *ps = ctx;
        struct peer *p = peer_new(ps, conn, address);

        if (!p) {
                ps->s.transport->close(conn);
                return;
        }
        conn_up(p);
}

int peers_dial(struct peers *ps, const char *address, struct peer **ret_peer, struct err *err)
{
        struct transport_conn *conn;
        struct peer *p;

        if (!ps->s.transport)
                return err_set(err, EPERM,
                               "no connection to peers: TLS is not built yet, and "
                               "insecure_lab_transport is not set");
        list_for_each (p, &ps->list, node) {
                if (p->dialled && !p->closing && !strcmp(p->address, address)) {
                        *ret_peer = p;
                        return 0;
                }
        }
        int rc = ps->s.transport->connect(ps->s.loop, address, &conn, err);
        if (rc < 0)
                return rc;
        p = peer_new(ps, conn, address);
        if (!p) {
                ps->s.transport->close(conn);
                return err_set(err, EMFILE, "too many peer connections");
        }
        p->dialled = true;
        *ret_peer = p;
        return 0;
}

struct peer *peers_find(struct peers *ps, const struct uuid *host)
{
        struct peer *p;

        list_for_each (p, &ps->list, node)
                if (p->up && !p->closing && uuid_equal(&p->host.uuid, host))
                        return p;
        return NULL;
}

void peers_send_to(struct peers *ps, const struct owner_host *to, const struct peer_frame *f)
{
        struct peer *p = peers_find(ps, &to->uuid);
        struct err err = ERR_INIT;

        if (!p && to->address[0] && peers_dial(ps, to->address, &p, &err) < 0)
                log_debug("migrate", "%s", err.msg);
        if (p)
                peer_send(p, f);
}

int peer_send_encoded(struct peer *p, uint8_t *buf, size_t len)
{
        struct peers *ps = p->ps;

        if (p->closing || !p->conn) {
                free(buf);
                return -ENOTCONN;
        }
        if (p->up) {
                int rc = ps->s.transport->send(p->conn, buf, len);
                return rc;
        }
        struct waiting *w = p->nwaiting < MAX_WAITING ? malloc(sizeof(*w)) : NULL;
        if (!w) {
                free(buf);
                return -ENOBUFS;
        }
        *w = (struct waiting){.buf = buf, .len = len};
        list_add_tail(&p->waiting, &w->node);
        p->nwaiting++;
        return 0;
}

int peer_send(struct peer *p, const struct peer_frame *f)
{
        size_t len;
        uint8_t *buf = peer_encode(f, &len);

        return buf ? peer_send_encoded(p, buf, len) : -ENOMEM;
}

bool peer_is_up(const struct peer *p)
{
        return p->up && !p->closing;
}

const struct owner_host *peer_host(const struct peer *p)
{
        return &p->host;
}

uint64_t peer_incarnation(const struct peer *p)
{
        return p->incarnation;
}

const char *peer_address(const struct peer *p)
{
        return p->address;
}

int peers_new(const struct peers_settings *s, const struct peer_handler *h,
              struct peers **ret_peers, struct err *err)
{
        struct peers *ps = calloc(1, sizeof(*ps));

        if (!ps)
                return err_set(err, ENOMEM, "out of memory");
        ps->s = *s;
        ps->h = *h;
        list_init(&ps->list);
        if (s->transport && s->listen && *s->listen) {
                int rc = s->transport->listen(s->loop, s->listen, ps, accepted, &ps->listener, err);
                if (rc < 0) {
                        free(ps);
                        return rc;
                }
        }
        *ret_peers = ps;
        return 0;
}

void peers_free(struct peers *ps)
{
        struct peer *p;

        if (!ps)
                return;
        while ((p = list_first(&ps->list, struct peer, node))) {
                if (p->conn)
                        ps->s.transport->close(p->conn);
                peer_free(p);
        }
        if (ps->listener)
                ps->s.transport->unlisten(ps->listener);
        free(ps);
}
