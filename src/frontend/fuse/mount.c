/* The session: mounting, requests through the event loop, unmounting.
 *
 * The session's descriptor is read without blocking, a bounded number of requests a turn. Replies
 * are writes to it that do not block.
 *
 * Crash behaviour: a killed daemon leaves a mount whose every use fails with ENOTCONN. The next
 * start finds it in /proc/self/mountinfo and detaches it, without touching the path itself: that
 * would fail, or wait for a daemon that hangs. Descriptors that were open on it are lost, and with
 * them the guests that used them.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define FSTYPE "fuse.zonepool"

enum { REQUESTS_A_TURN = 32, STALE_MAX = 16 };

/* ---- what an earlier daemon left ---- */

/* Undoes mountinfo's octal escapes in place. */
static void unescape(char *s)
{
        char *to = s;
        unsigned c;

        while (*s) {
                if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
                        *to++ = (char)c;
                        s += 4;
                } else {
                        *to++ = *s++;
                }
        }
        *to = '\0';
}

/* The number of our mounts on path. */
static unsigned count_mounts(const char *path)
{
        char *line = NULL;
        size_t cap = 0;
        unsigned n = 0;
        FILE *f = fopen("/proc/self/mountinfo", "re");

        while (f && getline(&line, &cap, f) > 0) {
                char *at = NULL, *type = strstr(line, " - ");
                if (!type || strncmp(type + 3, FSTYPE " ", strlen(FSTYPE) + 1) != 0 ||
                    sscanf(line, "%*s %*s %*s %*s %ms", &at) != 1)
                        continue;
                unescape(at);
                n += strcmp(at, path) == 0;
                free(at);
        }
        free(line);
        if (f)
                fclose(f);
        return n;
}

static int detach_stale(const char *mountpoint, struct err *err)
{
        for (unsigned i = 0; i < STALE_MAX && count_mounts(mountpoint); i++)
                if (umount2(mountpoint, MNT_DETACH) < 0)
                        return err_set_sys(err, errno, "cannot detach the old mount on %s",
                                           mountpoint);
        return 0;
}

/* The path as the kernel names it, without looking at its last component. */
static int canonical(const char *mountpoint, char path[PATH_MAX], struct err *err)
{
        char parent[PATH_MAX], real[PATH_MAX];
        const char *slash = strrchr(mountpoint, '/');

        if (!slash || slash[1] == '\0' || strlen(mountpoint) >= sizeof(parent))
                return err_set(err, EINVAL, "'%s' is not an absolute path to mount on", mountpoint);
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - mountpoint), mountpoint);
        if (!realpath(slash == mountpoint ? "/" : parent, real))
                return err_set_sys(err, errno, "cannot mount on %s", mountpoint);
        if (snprintf(path, PATH_MAX, "%s%s", strcmp(real, "/") ? real : "", slash) >= PATH_MAX)
                return err_set(err, ENAMETOOLONG, "the path of %s is too long", mountpoint);
        return 0;
}

/* ---- requests ---- */

static void gone(struct fuse_front *f)
{
        loop_fd_del(&f->fd);
        if (f->options.unmounted)
                f->options.unmounted(f->options.ctx);
}

static void ready(struct loop_fd *w, uint32_t events)
{
        struct fuse_front *f = container_of(w, struct fuse_front, fd);

        for (int i = 0; i < REQUESTS_A_TURN; i++) {
                int n = fuse_session_receive_buf(f->session, &f->buf);
                if (n == -EAGAIN || n == -EINTR)
                        return;
                if (n <= 0) { /* unmounted, or an error that will not go away */
                        gone(f);
                        return;
                }
                fuse_session_process_buf(f->session, &f->buf);
                if (!f->fd.loop) /* closed by what the request led to */
                        return;
        }
}

/* ---- life ---- */

static int start_session(struct fuse_front *f, const char *path, struct err *err)
{
        char max_read[32];
        char *argv[] = {"zonepool", "-o",
                        "allow_other,default_permissions,fsname=zonepool,subtype=zonepool", "-o",
                        max_read};
        struct fuse_args args = FUSE_ARGS_INIT(ARRAY_SIZE(argv), argv);

        snprintf(max_read, sizeof(max_read), "max_read=%d", FUSE_MAX_IO);
        f->session = fuse_session_new(&args, &fuse_front_ops, sizeof(fuse_front_ops), f);
        fuse_opt_free_args(&args);
        if (!f->session)
                return err_set(err, EINVAL, "cannot make a FUSE session for %s", path);
        errno = 0;
        if (fuse_session_mount(f->session, path) != 0)
                return err_set_sys(err, errno ? errno : EIO, "cannot mount on %s", path);
        f->mounted = true;
        f->fd.fd = fuse_session_fd(f->session);
        f->fd.ready = ready;
        int flags = fcntl(f->fd.fd, F_GETFL);
        if (flags < 0 || fcntl(f->fd.fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return err_set_sys(err, errno, "cannot serve %s", path);
        int rc = loop_fd_add(f->loop, &f->fd, EPOLLIN);
        return rc < 0 ? err_set_sys(err, -rc, "cannot serve %s", path) : 0;
}

static void end_session(struct fuse_front *f)
{
        loop_fd_del(&f->fd);
        if (f->mounted)
                fuse_session_unmount(f->session);
        if (f->session)
                fuse_session_destroy(f->session);
        f->mounted = false;
        f->session = NULL;
        free(f->buf.mem);
        f->buf = (struct fuse_buf){0};
}

static void call_closed(struct loop_defer *d)
{
        struct fuse_front *f = container_of(d, struct fuse_front, closed_defer);
        end_session(f);
        f->closed(f->closed_ctx);
}

int fuse_front_new(struct loop *loop, const char *mountpoint,
                   const struct fuse_front_options *options, struct fuse_front **ret_front,
                   struct err *err)
{
        char path[PATH_MAX];
        struct fuse_front *f;
        int rc = canonical(mountpoint, path, err);

        if (rc == 0)
                rc = detach_stale(path, err);
        if (rc < 0)
                return rc;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return err_set_sys(err, errno, "cannot make %s", path);
        if (access("/dev/fuse", F_OK) < 0)
                return err_set(err, ENOENT, "there is no /dev/fuse: load the kernel module 'fuse'");
        f = calloc(1, sizeof(*f));
        if (!f)
                return err_set(err, ENOMEM, "out of memory");
        f->loop = loop;
        f->options = *options;
        f->last_ino = 2; /* above "." and ".." of listings */
        f->closed_defer.call = call_closed;
        list_init(&f->pools);
        list_init(&f->gone);
        clock_gettime(CLOCK_REALTIME_COARSE, &f->born);
        rc = start_session(f, path, err);
        if (rc < 0) {
                end_session(f);
                free(f);
                return rc;
        }
        *ret_front = f;
        return 0;
}

static bool all_quiet(const struct fuse_front *f)
{
        const struct fuse_pool *p;
        const struct fuse_file *file;

        list_for_each (p, &f->pools, node)
                list_for_each (file, &p->files, node)
                        if (!file->told || file->quiet.loop)
                                return false;
        list_for_each (file, &f->gone, node)
                if (!file->told || file->quiet.loop)
                        return false;
        return true;
}

void fuse_front_file_quiet(struct fuse_front *f)
{
        if (f->closing && all_quiet(f))
                loop_defer(f->loop, &f->closed_defer);
}

void fuse_front_close(struct fuse_front *f, void *ctx, void (*done)(void *ctx))
{
        struct fuse_pool *p;
        struct fuse_file *file;

        f->closing = true;
        f->closed = done;
        f->closed_ctx = ctx;
        loop_fd_del(&f->fd);
        list_for_each (p, &f->pools, node)
                list_for_each (file, &p->files, node)
                        if (!file->shut)
                                fuse_file_shut(file);
        fuse_front_file_quiet(f);
}

void fuse_front_free(struct fuse_front *f)
{
        struct fuse_pool *p;
        struct fuse_file *file;

        if (!f)
                return;
        end_session(f);
        loop_defer_cancel(&f->closed_defer);
        while ((p = list_first(&f->pools, struct fuse_pool, node))) {
                while ((file = list_first(&p->files, struct fuse_file, node)))
                        fuse_file_free(file);
                list_del(&p->node);
                free(p);
        }
        while ((file = list_first(&f->gone, struct fuse_file, node)))
                fuse_file_free(file);
        free(f);
}
