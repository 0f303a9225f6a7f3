/* Connections and requests of the control server, see control_server.h.
 *
 * Life: a connection is freed when its stream is closed and no request of its own is pending: a
 * request points to its connection, and an answer after the hang-up finds it closed and is dropped.
 * A connection whose client sent all it wants (half closed, as `echo | socat` does) lives until the
 * last answer has gone out.
 *
 * Bounds: one line CONTROL_LINE_MAX, CONTROL_REQUESTS_MAX requests under way, CONTROL_OUTPUT_MAX
 * bytes that the client does not read; progress is dropped long before that, answers never.
 */
#include "base/cleanup.h"
#include "control/errname.h"
#include "server_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PROGRESS_MIN_NS UINT64_C(200000000)
#define PULSE_NS UINT64_C(700000000) /* with PROGRESS_MIN_NS below the second that is promised */

enum { READ_CHUNK = 16384, PROGRESS_BACKLOG = 65536, WHAT_MAX = 128 };

struct buffer {
        char *data;
        size_t used, cap;
};

struct conn {
        struct control_server *server;
        struct list node;
        struct loop_fd w; /* fd -1: closed */
        bool no_more_input;
        unsigned holds; /* callers up the stack that still need this struct */
        struct buffer in, out;
        size_t out_sent;
        struct list requests;
        unsigned nrequests;
};

struct control_request {
        struct conn *conn;
        struct list node; /* conn->requests */
        struct list wanting; /* server->wanting, when progress is asked for */
        json_t *object; /* the request; owns id, method, params */
        json_t *params; /* owned reference */
        json_int_t id;
        void *hangup_ctx;
        void (*hangup)(void *ctx);
        bool progress;
        char what[WHAT_MAX];
        uint64_t done, total;
        uint64_t told_ns; /* when progress last went out; 0: never */
};

/* ---- streams ---- */

static int reserve(struct buffer *b, size_t len)
{
        if (b->cap - b->used >= len)
                return 0;
        size_t cap = MAX(b->cap * 2, b->used + len);
        char *data = realloc(b->data, cap);
        if (!data)
                return -ENOMEM;
        b->data = data;
        b->cap = cap;
        return 0;
}

static void conn_free_if_done(struct conn *c)
{
        if (c->w.fd >= 0 || c->nrequests > 0 || c->holds > 0)
                return;
        list_del(&c->node);
        free(c->in.data);
        free(c->out.data);
        free(c);
}

static struct control_request *first_with_hangup(struct conn *c)
{
        struct control_request *r;
        list_for_each (r, &c->requests, node) {
                if (r->hangup)
                        return r;
        }
        return NULL;
}

/* Closes the stream and tells pending requests, whose answers may come from inside that. May free
 * c. */
static void conn_close(struct conn *c)
{
        struct control_request *r;

        if (c->w.fd >= 0) {
                loop_fd_del(&c->w);
                close(c->w.fd);
                c->w.fd = -1;
                c->server->nconns--;
                c->holds++;
                while ((r = first_with_hangup(c))) {
                        void (*hangup)(void *) = r->hangup;
                        r->hangup = NULL;
                        hangup(r->hangup_ctx);
                }
                c->holds--;
        }
        conn_free_if_done(c);
}

/* Sends what the kernel takes. Returns false when the connection is closed (and perhaps freed). */
static bool conn_flush(struct conn *c)
{
        while (c->out_sent < c->out.used) {
                ssize_t n = send(c->w.fd, c->out.data + c->out_sent, c->out.used - c->out_sent,
                                 MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno != EAGAIN) {
                        conn_close(c);
                        return false;
                }
                if (n < 0)
                        break;
                c->out_sent += (size_t)n;
        }
        if (c->out_sent == c->out.used) {
                c->out.used = c->out_sent = 0;
                if (c->no_more_input && c->nrequests == 0) {
                        conn_close(c);
                        return false;
                }
        }
        loop_fd_mod(&c->w, (c->no_more_input ? 0u : (uint32_t)EPOLLIN) |
                               (c->out.used ? (uint32_t)EPOLLOUT : 0u));
        return true;
}

/* Queues an object and sends. May close and free c. object is consumed. */
static void conn_send(struct conn *c, json_t *object)
{
        size_t len = object ? json_dumpb(object, NULL, 0, JSON_COMPACT) : 0;
        bool ok = false;

        if (c->w.fd >= 0 && len > 0 && c->out.used - c->out_sent + len < CONTROL_OUTPUT_MAX &&
            reserve(&c->out, len + 1) == 0) {
                json_dumpb(object, c->out.data + c->out.used, len, JSON_COMPACT);
                c->out.data[c->out.used + len] = '\n';
                c->out.used += len + 1;
                ok = true;
        }
        json_decref(object);
        if (c->w.fd < 0)
                conn_free_if_done(c);
        else if (ok)
                conn_flush(c);
        else
                conn_close(
                    c); /* an answer cannot be delivered: never leave a client waiting for it */
}

/* Text from outside, or cut off in the middle of a character, may not be UTF-8, which JSON demands.
 */
static json_t *text_json(const char *text)
{
        json_t *json = json_string(text);
        if (json)
                return json;
        CLEANUP(free_ptr) char *ascii = strdup(text);
        for (char *p = ascii; p && *p; p++)
                if (*p & 0x80)
                        *p = '?';
        return ascii ? json_string(ascii) : NULL;
}

/* id is consumed. */
static void conn_send_error(struct conn *c, json_t *id, int rc, const struct err *err)
{
        conn_send(c, json_pack("{s:o, s:{s:s, s:o}}", "id", id, "error", "code", errname_of(-rc),
                               "message", text_json(err_text(err, rc))));
}

/* ---- requests ---- */

static void begin(struct conn *c, json_t *object, json_int_t id, const struct method *m,
                  json_t *params)
{
        struct control_request *r = calloc(1, sizeof(*r));
        json_t *empty = params ? json_incref(params) : json_object();

        if (!r || !empty) {
                free(r);
                json_decref(empty);
                conn_send_error(c, json_integer(id), -ENOMEM, NULL);
                return;
        }
        r->conn = c;
        r->object = json_incref(object);
        r->params = empty;
        r->id = id;
        r->progress = json_is_true(json_object_get(object, "progress"));
        list_init(&r->wanting);
        list_add_tail(&c->requests, &r->node);
        c->nrequests++;
        c->server->npending++;
        m->handler(r, m->ctx);
}

/* Checks one object and starts its request. Returns 0, or -errno with text: the caller answers,
 * with the id that was found. */
static int dispatch(struct conn *c, json_t *object, json_t **ret_id, struct err *err)
{
        json_t *id = json_object_get(object, "id");
        const char *name = json_string_value(json_object_get(object, "method"));
        json_t *params = json_object_get(object, "params");
        json_t *progress = json_object_get(object, "progress");
        const char *key;
        json_t *value;

        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > CONTROL_ID_MAX)
                return err_set(err, EINVAL, "'id' must be an integer of 0..2^53");
        *ret_id = id;
        json_object_foreach(object, key, value)
        {
                if (strcmp(key, "id") && strcmp(key, "method") && strcmp(key, "params") &&
                    strcmp(key, "progress"))
                        return err_set(err, EINVAL, "unknown member '%.64s' in the request", key);
        }
        if (!name)
                return err_set(err, EINVAL, "'method' must be a string");
        if (params && !json_is_object(params))
                return err_set(err, EINVAL, "'params' must be an object");
        if (progress && !json_is_boolean(progress))
                return err_set(err, EINVAL, "'progress' must be true or false");
        const struct method *m = server_find(c->server, name);
        if (!m)
                return err_set(err, ENOSYS, "unknown method '%.64s'", name);
        if (c->nrequests >= CONTROL_REQUESTS_MAX)
                return err_set(err, EAGAIN, "%u requests are under way on this connection already",
                               CONTROL_REQUESTS_MAX);
        begin(c, object, json_integer_value(id), m, params);
        return 0;
}

static void handle_line(struct conn *c, const char *line, size_t len)
{
        json_error_t je;
        struct err err = ERR_INIT;
        json_t *id = NULL;
        json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
        int rc;

        if (!object)
                rc = err_set(&err, EINVAL, "not a JSON object on one line: %s", je.text);
        else if (!json_is_object(object))
                rc = err_set(&err, EINVAL, "not a JSON object");
        else
                rc = dispatch(c, object, &id, &err);
        if (rc < 0)
                conn_send_error(c, id ? json_incref(id) : json_null(), rc, &err);
        json_decref(object);
}

static bool blank(const char *line, size_t len)
{
        for (size_t i = 0; i < len; i++)
                if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
                        return false;
        return true;
}

/* Handles every whole line. c is kept alive by the caller. */
static void handle_input(struct conn *c)
{
        size_t start = 0;

        while (c->w.fd >= 0 && !c->no_more_input) {
                char *line = c->in.data + start;
                char *end = memchr(line, '\n', c->in.used - start);
                if (!end)
                        break;
                size_t len = (size_t)(end - line);
                start += len + 1;
                if (len + 1 <= CONTROL_LINE_MAX && !blank(line, len))
                        handle_line(c, line, len);
        }
        c->in.used -= start;
        if (start && c->in.used)
                memmove(c->in.data, c->in.data + start, c->in.used);
        if (c->in.used >= CONTROL_LINE_MAX && c->w.fd >= 0) {
                struct err err;
                c->no_more_input = true;
                err_set(&err, EMSGSIZE, "a request is longer than %u bytes", CONTROL_LINE_MAX);
                conn_send_error(c, json_null(), -EMSGSIZE, &err);
        }
}

static void conn_read(struct conn *c)
{
        /* One chunk a turn, so that no client keeps the others waiting. */
        if (reserve(&c->in, READ_CHUNK) < 0) {
                conn_close(c);
                return;
        }
        size_t room = MIN(c->in.cap - c->in.used, (size_t)CONTROL_LINE_MAX - c->in.used);
        ssize_t n = recv(c->w.fd, c->in.data + c->in.used, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n < 0) {
                conn_close(c);
                return;
        }
        c->holds++;
        c->in.used += (size_t)n;
        if (n > 0)
                handle_input(c);
        else
                c->no_more_input = true;
        c->holds--;
        if (c->w.fd >= 0)
                conn_flush(c);
        else
                conn_free_if_done(c);
}

/* A client that sent its requests and closed at once is still heard: input comes before hang-up. */
static void conn_ready(struct loop_fd *w, uint32_t events)
{
        struct conn *c = container_of(w, struct conn, w);

        if ((events & EPOLLIN) && !c->no_more_input)
                conn_read(c);
        else if (events & (EPOLLHUP | EPOLLERR))
                conn_close(c);
        else if (events & EPOLLOUT)
                conn_flush(c);
}

void conn_accept(struct control_server *s, int fd, int allowed, const struct err *err)
{
        struct conn *c = calloc(1, sizeof(*c));
        if (!c) {
                close(fd);
                return;
        }
        c->server = s;
        c->w = (struct loop_fd){.fd = fd, .ready = conn_ready};
        list_init(&c->requests);
        list_add_tail(&s->conns, &c->node);
        s->nconns++;
        if (loop_fd_add(s->loop, &c->w, EPOLLIN) < 0) {
                conn_close(c);
        } else if (allowed < 0) {
                c->no_more_input = true;
                conn_send_error(c, json_null(), allowed, err);
        }
}

void conn_stop_reading(struct control_server *s)
{
        struct conn *c, *next;
        list_for_each_safe (c, next, &s->conns, node) {
                c->no_more_input = true;
                if (c->w.fd >= 0)
                        conn_flush(c);
        }
}

void conn_close_all(struct control_server *s)
{
        struct conn *c, *next;
        list_for_each_safe (c, next, &s->conns, node) {
                assert(c->nrequests == 0);
                conn_close(c);
        }
}

/* ---- what handlers use ---- */

json_t *control_params(const struct control_request *req)
{
        return req->params;
}

/* Frees the request; the connection stays for the caller to send on. */
static struct conn *finish(struct control_request *r)
{
        struct conn *c = r->conn;

        list_del(&r->node);
        list_del(&r->wanting);
        c->nrequests--;
        c->server->npending--;
        json_decref(r->params);
        json_decref(r->object);
        free(r);
        return c;
}

void control_reply(struct control_request *req, json_t *result)
{
        if (!result) {
                control_refuse(req, -ENOMEM, NULL);
                return;
        }
        json_int_t id = req->id;
        conn_send(finish(req), json_pack("{s:I, s:o}", "id", id, "result", result));
}

void control_refuse(struct control_request *req, int rc, const struct err *err)
{
        json_int_t id = req->id;
        conn_send_error(finish(req), json_integer(id), rc < 0 ? rc : -EIO, err);
}

bool control_progress_wanted(const struct control_request *req)
{
        return req->progress;
}

void control_on_hangup(struct control_request *req, void *ctx, void (*cancelled)(void *ctx))
{
        req->hangup_ctx = ctx;
        req->hangup = cancelled;
}

/* Progress goes out only from the loop's timer: sending may find the client gone, whose hang-up
 * callback must not come from inside control_progress. */
static void tell(struct control_request *r, uint64_t now)
{
        struct conn *c = r->conn;

        r->told_ns = now;
        if (c->w.fd < 0 || c->out.used - c->out_sent > PROGRESS_BACKLOG)
                return;
        json_t *object = json_pack("{s:I, s:{s:o, s:I, s:I}}", "id", r->id, "progress", "what",
                                   text_json(r->what), "done", (json_int_t)r->done, "total",
                                   (json_int_t)r->total);
        if (object)
                conn_send(c, object);
}

void control_progress(struct control_request *req, const char *what, uint64_t done, uint64_t total)
{
        struct control_server *s = req->conn->server;
        uint64_t now = loop_now_ns(s->loop);
        bool first = list_empty(&req->wanting);

        if (!req->progress)
                return;
        size_t len = strnlen(what, sizeof(req->what) - 1);
        memcpy(req->what, what, len);
        req->what[len] = '\0';
        req->done = done;
        req->total = total;
        if (first)
                list_add_tail(&s->wanting, &req->wanting);
        uint64_t due = first ? now : req->told_ns + PROGRESS_MIN_NS;
        if (!loop_timer_armed(&s->pulse) || s->pulse.due_ns > due)
                loop_timer_arm(s->loop, &s->pulse, due);
}

/* Tells every request whose progress has changed, or that was silent for long. */
void conn_pulse(struct control_server *s)
{
        struct control_request *r;
        struct list todo;
        uint64_t now = loop_now_ns(s->loop);

        /* Telling may close a connection, whose hang-up may answer any request: take them one by
         * one. */
        list_init(&todo);
        list_splice_tail(&todo, &s->wanting);
        while ((r = list_first(&todo, struct control_request, wanting))) {
                list_del(&r->wanting);
                list_add_tail(&s->wanting, &r->wanting);
                if (now - r->told_ns >= PROGRESS_MIN_NS)
                        tell(r, now);
        }
        if (!list_empty(&s->wanting))
                loop_timer_arm(s->loop, &s->pulse, now + PULSE_NS);
}
