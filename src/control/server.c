/* The listening socket and the registry of methods, see control_server.h.
 *
 * Who may speak is checked twice: the kernel by the socket's mode, and here by SO_PEERCRED and
 * SO_PEERGROUPS (root, the daemon's own user, members of the socket's group), so that a socket made
 * accessible by mistake does not open the protocol.
 */
#include "base/cleanup.h"
#include "server_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 64, GROUPS_MAX = 1024 };

#define ACCEPT_RETRY_NS UINT64_C(100000000)

static void pulse_fire(struct loop_timer *t)
{
        conn_pulse(container_of(t, struct control_server, pulse));
}

static void retry_fire(struct loop_timer *t)
{
        struct control_server *s = container_of(t, struct control_server, retry);
        if (s->listener.fd >= 0)
                loop_fd_mod(&s->listener, EPOLLIN);
}

int control_server_new(struct loop *loop, struct control_server **ret_server)
{
        struct control_server *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->listener.fd = -1;
        s->pulse.fire = pulse_fire;
        s->retry.fire = retry_fire;
        list_init(&s->conns);
        list_init(&s->wanting);
        *ret_server = s;
        return 0;
}

int control_register(struct control_server *s, const char *method, control_handler handler,
                     void *ctx)
{
        struct method *methods = realloc(s->methods, (s->nmethods + 1) * sizeof(*methods));
        if (!methods)
                return -ENOMEM;
        s->methods = methods;
        s->methods[s->nmethods++] = (struct method){method, handler, ctx};
        return 0;
}

const struct method *server_find(const struct control_server *s, const char *name)
{
        for (size_t i = 0; i < s->nmethods; i++)
                if (!strcmp(s->methods[i].name, name))
                        return &s->methods[i];
        return NULL;
}

/* Returns 0 or -EACCES. */
static int check_peer(const struct control_server *s, int fd, const struct ucred *cred)
{
        gid_t groups[GROUPS_MAX];
        socklen_t len = sizeof(groups);

        if (cred->uid == 0 || cred->uid == geteuid() || cred->gid == s->gid)
                return 0;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
                return -EACCES;
        for (size_t i = 0; i < len / sizeof(groups[0]); i++)
                if (groups[i] == s->gid)
                        return 0;
        return -EACCES;
}

static void take_one(struct control_server *s, int fd)
{
        struct ucred cred;
        socklen_t len = sizeof(cred);
        struct err err = ERR_INIT;
        int rc = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
                close(fd);
                return;
        }
        if (check_peer(s, fd, &cred) < 0)
                rc = err_set(&err, EACCES,
                             "user %u may not control zonepoold; be root or a member of the "
                             "socket's group",
                             cred.uid);
        else if (s->nconns >= CONTROL_CONNECTIONS_MAX)
                rc = err_set(&err, EUSERS, "zonepoold has %u connections already; try again later",
                             CONTROL_CONNECTIONS_MAX);
        conn_accept(s, fd, rc, &err);
}

static void listener_ready(struct loop_fd *w, uint32_t events)
{
        struct control_server *s = container_of(w, struct control_server, listener);

        for (int i = 0; i < BACKLOG; i++) {
                int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        take_one(s, fd);
                        continue;
                }
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                        /* No descriptors or memory left: look again later instead of spinning. */
                        loop_fd_mod(w, 0);
                        loop_timer_arm(s->loop, &s->retry, loop_now_ns(s->loop) + ACCEPT_RETRY_NS);
                }
                return;
        }
}

/* A socket file without a listener is what a killed daemon leaves. */
static int remove_stale(const char *path, const struct sockaddr_un *addr, struct err *err)
{
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : err_set_sys(err, errno, "%s", path);
        if (!S_ISSOCK(st.st_mode))
                return err_set(err, EEXIST, "%s exists and is not a socket; remove it", path);
        CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_set_sys(err, errno, "cannot make a socket");
        if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
                return err_set(err, EADDRINUSE, "another process listens on %s", path);
        if (unlink(path) < 0 && errno != ENOENT)
                return err_set_sys(err, errno, "cannot remove the stale socket %s", path);
        return 0;
}

int control_server_listen(struct control_server *s, const char *path, mode_t mode, gid_t gid,
                          struct err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        CLEANUP(close_fd) int fd = -1;

        if (strlen(path) >= sizeof(addr.sun_path))
                return err_set(err, ENAMETOOLONG, "socket path %s is longer than %zu bytes", path,
                               sizeof(addr.sun_path) - 1);
        strcpy(addr.sun_path, path);
        int rc = remove_stale(path, &addr, err);
        if (rc < 0)
                return rc;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_set_sys(err, errno, "cannot make a socket");
        /* Nobody can connect before listen(), so mode and group are right for the first client. */
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return err_set_sys(err, errno, "cannot bind %s", path);
        if ((gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0 ||
            listen(fd, BACKLOG) < 0) {
                rc = err_set_sys(err, errno, "cannot listen on %s", path);
                unlink(path);
                return rc;
        }
        s->gid = gid != (gid_t)-1 ? gid : getegid();
        s->path = strdup(path);
        s->listener.fd = fd;
        s->listener.ready = listener_ready;
        rc = s->path ? loop_fd_add(s->loop, &s->listener, EPOLLIN) : -ENOMEM;
        if (rc < 0) {
                s->listener.fd = -1;
                unlink(path);
                return err_set_sys(err, -rc, "cannot watch %s", path);
        }
        steal_fd(&fd);
        return 0;
}

void control_server_stop(struct control_server *s)
{
        if (s->listener.fd >= 0) {
                loop_fd_del(&s->listener);
                close(s->listener.fd);
                s->listener.fd = -1;
                unlink(s->path);
        }
        conn_stop_reading(s);
}

unsigned control_server_pending(const struct control_server *s)
{
        return s->npending;
}

void control_server_free(struct control_server *s)
{
        if (!s)
                return;
        control_server_stop(s);
        conn_close_all(s);
        loop_timer_disarm(&s->pulse);
        loop_timer_disarm(&s->retry);
        free(s->path);
        free(s->methods);
        free(s);
}
