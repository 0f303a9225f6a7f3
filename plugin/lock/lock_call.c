/* The lock driver's side of the control protocol (see lock_call.h, docs/control.md).
 *
 * One deadline covers connect, send and receive. Anything that is not one well-formed answer to our
 * request is a failure: a lock that is not understood is not held.
 */
#include "plugin/lock/lock_call.h"
#include "plugin/lock/json_scan.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int lock_state_check(const char *state)
{
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789:.-";
        size_t len = strnlen(state, LOCK_STATE_MAX + 1);

        return len <= LOCK_STATE_MAX && strspn(state, allowed) == len ? 0 : -EINVAL;
}

/* Waits for the events, or for the deadline. Returns 0 or -errno. */
static int await(int fd, short events, int64_t deadline)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = events};
                int64_t left = deadline - now_ms();
                int n = left <= 0 ? 0 : poll(&p, 1, (int)left);

                if (n > 0)
                        return 0;
                if (n == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* A full queue of connections on the daemon's side is waited for, in connect itself. */
static int open_socket(const char *path, int64_t deadline, int *ret_fd)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int64_t left = deadline - now_ms();
        struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 + 1};

        if (strlen(path) >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        strcpy(addr.sun_path, path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
            connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
                *ret_fd = fd;
                return 0;
        }
        int rc = errno == EAGAIN || errno == EINTR ? -ETIMEDOUT : -errno;
        close(fd);
        return rc;
}

static int send_all(int fd, const char *buf, size_t len, int64_t deadline)
{
        while (len > 0) {
                ssize_t n = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n > 0) {
                        buf += n;
                        len -= (size_t)n;
                        continue;
                }
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                int rc = await(fd, POLLOUT, deadline);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

/* Reads one line; the newline is not kept. */
static int receive_line(int fd, char *buf, size_t size, size_t *ret_len, int64_t deadline)
{
        size_t have = 0;

        for (;;) {
                ssize_t n = recv(fd, buf + have, size - have, MSG_DONTWAIT);

                if (n == 0)
                        return -ECONNRESET;
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        char *newline = memchr(buf + have, '\n', (size_t)n);

                        have += (size_t)n;
                        if (newline) {
                                *ret_len = (size_t)(newline - buf);
                                return 0;
                        }
                        if (have == size)
                                return -EBADMSG;
                        continue;
                }
                int rc = await(fd, POLLIN, deadline);
                if (rc < 0)
                        return rc;
        }
}

/* The answer to request 1: a result, perhaps with a state, or a refusal. */
static int judge(const char *line, size_t len, struct lock_answer *answer)
{
        struct json_span whole = {line, len};

        if (!json_scan_object(line, len))
                return -EBADMSG;
        struct json_span id = json_scan_member(whole, "id");
        struct json_span result = json_scan_member(whole, "result");
        struct json_span error = json_scan_member(whole, "error");
        if (!id.start || id.len != 1 || *id.start != '1' || !result.start == !error.start)
                return -EBADMSG;
        if (error.start) {
                if (!json_scan_string(json_scan_member(error, "message"), answer->text,
                                      sizeof(answer->text)))
                        return -EBADMSG;
                return -EACCES;
        }
        if (*result.start != '{')
                return -EBADMSG;

        struct json_span state = json_scan_member(result, "state");
        char copy[LOCK_STATE_MAX + 2];
        if (!state.start)
                return 0;
        if (!json_scan_string(state, copy, sizeof(copy)) || lock_state_check(copy) < 0)
                return -EBADMSG;
        memcpy(answer->state, copy, strlen(copy) + 1);
        return 0;
}

static int converse(const char *path, const char *request, size_t len, int timeout_ms,
                    struct lock_answer *answer)
{
        int64_t deadline = now_ms() + timeout_ms;
        char line[LOCK_ANSWER_MAX];
        size_t line_len = 0;
        int fd = -1;
        int rc = open_socket(path, deadline, &fd);

        if (rc == 0)
                rc = send_all(fd, request, len, deadline);
        if (rc == 0)
                rc = receive_line(fd, line, sizeof(line), &line_len, deadline);
        if (rc == 0)
                rc = judge(line, line_len, answer);
        if (fd >= 0)
                close(fd);
        return rc;
}

static void explain(int rc, const char *path, const char *method, int timeout_ms,
                    struct lock_answer *answer)
{
        char *text = answer->text;

        switch (rc) {
        case -EACCES: /* the daemon's own words, unless it was connect that was refused */
                if (*text)
                        return;
                break;
        case -ENOENT:
        case -ECONNREFUSED:
                snprintf(text, LOCK_TEXT_MAX,
                         "zonepoold does not run (no answer on %s); start it: "
                         "systemctl start zonepoold",
                         path);
                return;
        case -ETIMEDOUT:
                snprintf(text, LOCK_TEXT_MAX, "zonepoold did not answer %s within %d s", method,
                         timeout_ms / 1000);
                return;
        case -ECONNRESET:
                snprintf(text, LOCK_TEXT_MAX, "zonepoold went away during %s", method);
                return;
        case -EBADMSG:
                snprintf(text, LOCK_TEXT_MAX, "zonepoold's answer to %s cannot be understood",
                         method);
                return;
        default:
                break;
        }
        const char *why = strerrordesc_np(-rc);
        snprintf(text, LOCK_TEXT_MAX, "cannot ask zonepoold (%s) for %s: %s", path, method,
                 why ? why : "unknown error");
}

int lock_call(const char *socket_path, const char *method, const char *params, int timeout_ms,
              struct lock_answer *answer)
{
        char request[2048];
        int rc;

        *answer = (struct lock_answer){0};
        int len = snprintf(request, sizeof(request), "{\"id\":1,\"method\":\"%s\",\"params\":%s}\n",
                           method, params);
        if (len < 0 || (size_t)len >= sizeof(request))
                rc = -EMSGSIZE;
        else
                rc = converse(socket_path, request, (size_t)len, timeout_ms, answer);
        if (rc < 0)
                explain(rc, socket_path, method, timeout_ms, answer);
        return rc;
}
