/* The listening socket and its one connection, see server.h.
 *
 * The socket is bound under a temporary name and renamed over its path: a client finds the old,
 * dead one or the new, listening one, never none.
 *
 * Invariants: while a dead connection drains, the listener is not watched: the next peer waits in
 * the queue and is served when the requests of the last one can no longer be reordered with its
 * own.
 *
 * Crash behaviour: a socket file left behind is found dead and replaced.
 */
#include "frontend/vhost_user/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { TROUBLES = 16 };

#define TROUBLE_PERIOD_NS UINT64_C(10000000000)
#define ACCEPT_RETRY_NS UINT64_C(200000000)

void vub_server_event(struct vub_server *s, enum front_event event, pid_t pid)
{
        if (s->observer.event)
                s->observer.event(s->observer.ctx, event, pid);
}

/* A guest or peer decides how often: the text is for a log that others need too. */
void vub_server_trouble(struct vub_server *s, const struct err *err)
{
        uint64_t now = loop_now_ns(s->loop);
        struct err text = *err;

        if (!s->observer.trouble)
                return;
        if (now - s->trouble_since_ns > TROUBLE_PERIOD_NS) {
                s->trouble_since_ns = now;
                s->troubles = 0;
        }
        if (s->troubles++ >= TROUBLES) {
                s->untold++;
                return;
        }
        if (s->untold > 0)
                err_prefix(&text, "%u texts were left out", s->untold);
        s->untold = 0;
        s->observer.trouble(s->observer.ctx, &text);
}

/* ---- connections ---- */

static void turn_away(struct vub_server *s, int fd, pid_t pid)
{
        struct err err = ERR_INIT;

        close(fd);
        err_set(&err, EBUSY, "process %d turned away: process %d is connected", (int)pid,
                (int)s->conn->pid);
        vub_server_trouble(s, &err);
}

static void watch(struct vub_server *s)
{
        if (s->listener.fd >= 0 && !s->listener.loop)
                loop_fd_add(s->loop, &s->listener, EPOLLIN);
}

static void on_listener(struct loop_fd *w, uint32_t events)
{
        struct vub_server *s = container_of(w, struct vub_server, listener);
        struct ucred cred = {0};
        socklen_t len = sizeof(cred);
        struct err err = ERR_INIT;

        /* One that has gone may still have its hang-up behind this event. */
        if (s->conn && vub_conn_check_gone(s->conn)) {
                loop_fd_del(&s->listener);
                return;
        }
        int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                /* Out of descriptors: the peer stays in the queue, and we do not spin. */
                loop_fd_del(&s->listener);
                loop_timer_arm(s->loop, &s->accept_retry, loop_now_ns(s->loop) + ACCEPT_RETRY_NS);
                err_set_sys(&err, errno, "cannot accept a peer");
                vub_server_trouble(s, &err);
        }
        if (fd < 0)
                return;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
                close(fd);
                return;
        }
        if (s->conn) {
                turn_away(s, fd, cred.pid);
                return;
        }
        int rc = vub_conn_new(s, fd, cred.pid);
        if (rc < 0) {
                err_set_sys(&err, -rc, "process %d turned away", (int)cred.pid);
                vub_server_trouble(s, &err);
        }
}

static void on_accept_retry(struct loop_timer *t)
{
        struct vub_server *s = container_of(t, struct vub_server, accept_retry);
        if (!s->conn || !s->conn->dead)
                watch(s);
}

static void on_closed(struct loop_defer *d)
{
        struct vub_server *s = container_of(d, struct vub_server, closed);
        s->close_done(s->close_ctx);
}

void vub_server_conn_gone(struct vub_server *s)
{
        if (s->closing)
                loop_defer(s->loop, &s->closed);
        else
                watch(s);
}

/* ---- the socket ---- */

/* 0: the path is free or holds a dead socket. */
static int check_path(const struct sockaddr_un *addr, struct err *err)
{
        struct stat st;

        if (lstat(addr->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : err_set_sys(err, errno, "%s", addr->sun_path);
        if (!S_ISSOCK(st.st_mode))
                return err_set(err, EEXIST, "%s is there and no socket; remove it", addr->sun_path);
        CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_set_sys(err, errno, "socket");
        if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
                return err_set(err, EADDRINUSE, "another process serves %s", addr->sun_path);
        return 0;
}

/* Binds beside the path, through the open folder: the temporary name may not fit sun_path. */
static int bind_and_rename(struct vub_server *s, struct err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        char dir[sizeof(s->path)], temp[32];
        struct stat st;
        const char *slash = strrchr(s->path, '/');

        snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - s->path) + 1 : 1,
                 slash ? s->path : ".");
        snprintf(temp, sizeof(temp), ".vub-%d.%d", (int)getpid(), s->listener.fd);
        CLEANUP(close_fd) int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dirfd < 0)
                return err_set_sys(err, errno, "%s", dir);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dirfd, temp);
        unlinkat(dirfd, temp, 0);
        if (bind(s->listener.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return err_set_sys(err, errno, "cannot make a socket beside %s", s->path);
        if (fchmodat(dirfd, temp, s->options.mode, 0) < 0 ||
            fchownat(dirfd, temp, s->options.uid, s->options.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            listen(s->listener.fd, 16) < 0 || fstatat(dirfd, temp, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            renameat(dirfd, temp, AT_FDCWD, s->path) < 0) {
                int rc = err_set_sys(err, errno, "cannot set up %s", s->path);
                unlinkat(dirfd, temp, 0);
                return rc;
        }
        s->path_dev = st.st_dev;
        s->path_ino = st.st_ino;
        return 0;
}

static int set_up(struct vub_server *s, const char *path, struct err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        if (strlen(path) >= sizeof(addr.sun_path))
                return err_set(err, ENAMETOOLONG, "socket path %s is longer than %zu bytes", path,
                               sizeof(addr.sun_path) - 1);
        memcpy(addr.sun_path, path, strlen(path));
        memcpy(s->path, path, strlen(path) + 1);
        int rc = check_path(&addr, err);
        if (rc < 0)
                return rc;
        s->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (s->listener.fd < 0)
                return err_set_sys(err, errno, "socket");
        rc = bind_and_rename(s, err);
        if (rc < 0)
                return rc;
        rc = loop_fd_add(s->loop, &s->listener, EPOLLIN);
        return rc < 0 ? err_set(err, -rc, "cannot watch %s", path) : 0;
}

int vub_server_new(struct loop *loop, const char *socket_path, struct nvm_controller *controller,
                   const struct vub_options *options, const struct front_observer *observer,
                   struct vub_server **ret_server, struct err *err)
{
        struct vub_server *s = calloc(1, sizeof(*s));
        if (!s)
                return err_set(err, ENOMEM, "no memory for %s", socket_path);
        s->loop = loop;
        s->controller = controller;
        s->options = *options;
        s->observer = *observer;
        s->listener = (struct loop_fd){.fd = -1, .ready = on_listener};
        s->closed.call = on_closed;
        s->accept_retry.fire = on_accept_retry;
        int rc = set_up(s, socket_path, err);
        if (rc < 0) {
                vub_server_free(s);
                return rc;
        }
        *ret_server = s;
        return 0;
}

static void stop_listening(struct vub_server *s)
{
        struct stat st;

        loop_timer_disarm(&s->accept_retry);
        loop_fd_del(&s->listener);
        if (s->listener.fd < 0)
                return;
        close(s->listener.fd);
        s->listener.fd = -1;
        if (s->path_ino && lstat(s->path, &st) == 0 && st.st_ino == s->path_ino &&
            st.st_dev == s->path_dev)
                unlink(s->path);
}

void vub_server_close(struct vub_server *s, void *ctx, void (*done)(void *ctx))
{
        assert(!s->closing);
        s->closing = true;
        s->close_ctx = ctx;
        s->close_done = done;
        stop_listening(s);
        if (s->conn)
                vub_conn_shutdown(s->conn);
        else
                loop_defer(s->loop, &s->closed);
}

/* ---- the rest ---- */

void vub_server_free(struct vub_server *s)
{
        if (!s)
                return;
        stop_listening(s);
        if (s->conn)
                vub_conn_free_now(s->conn);
        loop_defer_cancel(&s->closed);
        free(s);
}

void vub_server_size_changed(struct vub_server *s)
{
        if (s->conn)
                vub_conn_config_changed(s->conn);
}

void vub_server_status(const struct vub_server *s, struct vub_status *ret_status)
{
        const struct vub_conn *c = s->conn;

        *ret_status = (struct vub_status){.requests = s->requests, .malformed = s->malformed};
        if (!c)
                return;
        ret_status->peer_pid = c->pid;
        ret_status->rings_on = c->attached;
        ret_status->logging = c->log.on;
        ret_status->busy = c->busy_told;
        ret_status->rings = c->nactive;
        ret_status->inflight = c->ninflight;
        for (int i = 0; i < VUB_QUEUES; i++)
                ret_status->broken += c->rings[i].active && c->rings[i].broken;
}
