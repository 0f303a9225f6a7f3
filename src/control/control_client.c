/* Blocking client, see control_client.h.
 *
 * The socket is non-blocking after connect; every wait is a poll with what is left of the deadline.
 * Objects are cut out of one growing buffer that never exceeds an answer's maximum. An object whose
 * id is not the call's own is an answer to nobody (there is one call at a time) and is skipped,
 * except id null: the daemon's refusal of the connection itself.
 */
#include "control/control_client.h"

#include "base/cleanup.h"
#include "base/loop.h"
#include "control/errname.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NS_PER_S UINT64_C(1000000000)
#define CONNECT_TIMEOUT_NS (5 * NS_PER_S)
#define SILENCE_TIMEOUT_NS (60 * NS_PER_S)

struct control_client {
        int fd; /* -1: broken */
        int64_t next_id;
        char *buf; /* received, not yet consumed */
        size_t used, cap;
        size_t seen; /* of used: known to hold no newline */
};

static int connect_error(struct err *err, int code, const char *path)
{
        switch (code) {
        case ENOENT:
        case ECONNREFUSED:
                return err_set(err, code, "zonepoold does not run (nobody listens on %s); start it",
                               path);
        case EACCES:
                return err_set(err, code,
                               "no permission to talk to zonepoold on %s; be root or a member of "
                               "the socket's group",
                               path);
        case EAGAIN:
                return err_set(err, ETIMEDOUT, "zonepoold on %s does not answer", path);
        default:
                return err_set_sys(err, code, "cannot connect to zonepoold on %s", path);
        }
}

int control_client_open(const char *path, uint64_t timeout_ns, struct control_client **ret_client,
                        struct err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        CLEANUP(close_fd) int fd = -1;

        if (!path)
                path = CONTROL_SOCKET_PATH;
        if (strlen(path) >= sizeof(addr.sun_path))
                return err_set(err, ENAMETOOLONG, "socket path %s is longer than %zu bytes", path,
                               sizeof(addr.sun_path) - 1);
        strcpy(addr.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return err_set_sys(err, errno, "cannot make a socket");
        if (!timeout_ns)
                timeout_ns = CONNECT_TIMEOUT_NS;
        /* A unix connect that finds the backlog full waits as long as a send would. */
        struct timeval tv = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                             .tv_usec = (suseconds_t)(timeout_ns % NS_PER_S / 1000)};
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
                return err_set_sys(err, errno, "cannot set a timeout");
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return connect_error(err, errno, path);
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return err_set_sys(err, errno, "cannot make the socket non-blocking");

        struct control_client *c = calloc(1, sizeof(*c));
        if (!c)
                return err_set(err, ENOMEM, "out of memory");
        c->fd = steal_fd(&fd);
        *ret_client = c;
        return 0;
}

void control_client_close(struct control_client *c)
{
        if (!c)
                return;
        close_fd(&c->fd);
        free(c->buf);
        free(c);
}

/* Makes every later call fail: the stream can no longer be trusted. */
static int broken(struct control_client *c, int rc)
{
        close_fd(&c->fd);
        c->fd = -1;
        return rc;
}

/* Waits for events until the deadline. Returns 0, -ETIMEDOUT or -errno. */
static int wait_fd(int fd, short events, uint64_t deadline_ns)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = events};
                uint64_t now = clock_now_ns();
                if (now >= deadline_ns)
                        return -ETIMEDOUT;
                uint64_t ms = MIN(DIV_ROUND_UP(deadline_ns - now, 1000000), UINT64_C(3600000));
                int n = poll(&p, 1, (int)ms);
                if (n > 0)
                        return 0;
                if (n < 0 && errno != EINTR)
                        return -errno;
        }
}

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns)
{
        while (len > 0) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
                if (n >= 0) {
                        data += n;
                        len -= (size_t)n;
                } else if (errno == EAGAIN) {
                        int rc = wait_fd(fd, POLLOUT, deadline_ns);
                        if (rc < 0)
                                return rc;
                } else if (errno != EINTR) {
                        return errno == EPIPE ? -ECONNRESET : -errno;
                }
        }
        return 0;
}

static int grow(struct control_client *c)
{
        if (c->used < c->cap)
                return 0;
        if (c->cap >= CONTROL_OUTPUT_MAX)
                return -EBADMSG;
        size_t cap = c->cap ? MIN(c->cap * 2, (size_t)CONTROL_OUTPUT_MAX) : 4096;
        char *buf = realloc(c->buf, cap);
        if (!buf)
                return -ENOMEM;
        c->buf = buf;
        c->cap = cap;
        return 0;
}

/* One object off the stream. Returns 0, -ETIMEDOUT, -ECONNRESET, -EBADMSG, -ENOMEM. */
static int receive(struct control_client *c, uint64_t deadline_ns, json_t **ret_object)
{
        for (;;) {
                size_t fresh = c->used - c->seen;
                char *end = fresh ? memchr(c->buf + c->seen, '\n', fresh) : NULL;
                if (end) {
                        size_t len = (size_t)(end - c->buf);
                        json_t *object = json_loadb(c->buf, len, JSON_REJECT_DUPLICATES, NULL);
                        c->seen = 0;
                        c->used -= len + 1;
                        memmove(c->buf, end + 1, c->used);
                        if (!json_is_object(object)) {
                                json_decref(object);
                                return -EBADMSG;
                        }
                        *ret_object = object;
                        return 0;
                }
                c->seen = c->used;
                int rc = grow(c);
                if (rc < 0)
                        return rc;
                ssize_t n = recv(c->fd, c->buf + c->used, c->cap - c->used, 0);
                if (n > 0)
                        c->used += (size_t)n;
                else if (n == 0 || errno == ECONNRESET)
                        return -ECONNRESET;
                else if (errno == EAGAIN && (rc = wait_fd(c->fd, POLLIN, deadline_ns)) < 0)
                        return rc;
                else if (errno != EAGAIN && errno != EINTR)
                        return -errno;
        }
}

static int transport_error(struct control_client *c, int rc, const char *method, struct err *err)
{
        broken(c, rc);
        switch (-rc) {
        case ETIMEDOUT:
                return err_set(err, ETIMEDOUT, "zonepoold does not answer %s", method);
        case ECONNRESET:
                return err_set(err, ECONNRESET, "zonepoold went away during %s", method);
        case EBADMSG:
                return err_set(err, EBADMSG, "zonepoold's answer to %s is not understood", method);
        default:
                return err_set_sys(err, -rc, "talking to zonepoold (%s) failed", method);
        }
}

static int send_request(struct control_client *c, int64_t id, const char *method, json_t *params,
                        bool progress, uint64_t deadline_ns, struct err *err)
{
        json_t *object = json_pack("{s:I, s:s}", "id", (json_int_t)id, "method", method);
        int rc = object ? 0 : -ENOMEM;

        if (!rc && params)
                rc = json_object_set(object, "params", params) ? -ENOMEM : 0;
        if (!rc && progress)
                rc = json_object_set_new(object, "progress", json_true()) ? -ENOMEM : 0;
        CLEANUP(free_ptr) char *text = rc ? NULL : json_dumps(object, JSON_COMPACT);
        json_decref(object);
        if (!text)
                return err_set(err, ENOMEM, "%s: the parameters cannot be encoded", method);
        size_t len = strlen(text);
        if (len + 1 > CONTROL_LINE_MAX)
                return err_set(err, EMSGSIZE, "%s: the parameters are larger than a request may be",
                               method);
        text[len] = '\n'; /* in place of the NUL: one send, no copy */
        rc = send_all(c->fd, text, len + 1, deadline_ns);
        /* A daemon that refuses the connection says why before it hangs up: read that first. */
        return rc == -ECONNRESET ? 0 : rc < 0 ? transport_error(c, rc, method, err) : 0;
}

static int refusal(const json_t *error, const char *method, struct err *err)
{
        const char *code = json_string_value(json_object_get(error, "code"));
        const char *message = json_string_value(json_object_get(error, "message"));
        return err_set(err, errname_parse(code ? code : "EIO"), "%s", message ? message : method);
}

static bool report(const struct control_call_options *opt, const json_t *progress)
{
        const char *what = json_string_value(json_object_get(progress, "what"));
        json_int_t done = json_integer_value(json_object_get(progress, "done"));
        json_int_t total = json_integer_value(json_object_get(progress, "total"));
        return opt->progress(opt->ctx, what ? what : "", (uint64_t)MAX(done, 0),
                             (uint64_t)MAX(total, 0));
}

/* One object of the call. Returns 1 to go on, 0 answered, -errno. */
static int handle(struct control_client *c, int64_t id, const char *method,
                  const struct control_call_options *opt, const json_t *object, json_t **ret_result,
                  struct err *err)
{
        const json_t *their_id = json_object_get(object, "id");
        json_t *result = json_object_get(object, "result");
        const json_t *error = json_object_get(object, "error");
        const json_t *progress = json_object_get(object, "progress");

        if (json_is_null(their_id) && error) {
                broken(c, 0);
                return refusal(error, method, err);
        }
        if (!json_is_integer(their_id))
                return transport_error(c, -EBADMSG, method, err);
        if (json_integer_value(their_id) != id)
                return 1;
        if (error)
                return refusal(error, method, err);
        if (result) {
                if (ret_result)
                        *ret_result = json_incref(result);
                return 0;
        }
        if (progress && opt->progress && !report(opt, progress)) {
                broken(c, 0);
                return err_set(err, ECANCELED, "%s was given up", method);
        }
        return progress ? 1 : transport_error(c, -EBADMSG, method, err);
}

int control_client_call(struct control_client *c, const char *method, json_t *params,
                        const struct control_call_options *opt, json_t **ret_result,
                        struct err *err)
{
        static const struct control_call_options defaults;

        if (!opt)
                opt = &defaults;
        if (c->fd < 0)
                return err_set(err, ENOTCONN, "the connection to zonepoold is broken");
        uint64_t silence = opt->silence_timeout_ns ? opt->silence_timeout_ns : SILENCE_TIMEOUT_NS;
        uint64_t start = clock_now_ns();
        uint64_t end = opt->total_timeout_ns ? start + opt->total_timeout_ns : UINT64_MAX;
        int64_t id = ++c->next_id;

        int rc = send_request(c, id, method, params, opt->progress != NULL,
                              MIN(start + silence, end), err);
        if (rc < 0)
                return rc;
        do {
                json_t *object = NULL;
                rc = receive(c, MIN(clock_now_ns() + silence, end), &object);
                if (rc < 0)
                        return transport_error(c, rc, method, err);
                rc = handle(c, id, method, opt, object, ret_result, err);
                json_decref(object);
        } while (rc > 0);
        return rc;
}

int control_call_once(const char *path, const char *method, json_t *params,
                      const struct control_call_options *opt, json_t **ret_result, struct err *err)
{
        struct control_client *c = NULL;
        int rc = control_client_open(path, 0, &c, err);
        if (rc < 0)
                return rc;
        rc = control_client_call(c, method, params, opt, ret_result, err);
        control_client_close(c);
        return rc;
}
