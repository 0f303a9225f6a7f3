/* Opening, asking and wiping kernel zoned block devices, see zbd.h. */
#include "pool/device/zbd.h"

#include "base/cleanup.h"
#include "pool/device/probe.h"
#include "pool/device/zbd_device.h"
#include "pool/device/zbd_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MIN_SEQUENTIAL = 16, MIB = 1 << 20 };

/* ---- what it is ---- */

static void read_limits(const struct stat *st, struct zbd_limits *ret_limits)
{
        char dir[96];

        *ret_limits = (struct zbd_limits){0};
        if (!S_ISBLK(st->st_mode))
                return;
        snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u/queue", major(st->st_rdev),
                 minor(st->st_rdev));
        zbd_limits_read(dir, ret_limits);
}

bool zbd_device_detect(const char *path)
{
        struct zbd_limits limits;
        struct stat st;

        if (stat(path, &st) < 0)
                return false;
        read_limits(&st, &limits);
        return limits.model != ZBD_NONE;
}

/* Opens for this process alone. Returns the descriptor or -errno. */
static int open_alone(const char *path, int flags, struct zbd_limits *ret_limits,
                      struct zdev_geometry *ret_geo, struct err *err)
{
        struct stat st;
        CLEANUP(close_fd) int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | flags);

        if (fd < 0 && errno == EBUSY)
                return err_set(err, EBUSY,
                               "%s is in use: mounted, mapped, or a device of another process; "
                               "release it there first",
                               path);
        if (fd < 0 && (errno == EROFS || errno == EACCES))
                return err_set(err, errno,
                               "%s cannot be opened for writing: it is read-only, or permission is "
                               "missing",
                               path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "%s: cannot be opened", path);
        read_limits(&st, ret_limits);
        int rc = zbd_limits_geometry(ret_limits, path, ret_geo, err);
        return rc < 0 ? rc : steal_fd(&fd);
}

/* ---- asking and wiping ---- */

struct survey {
        uint32_t sequential; /* that can be written */
        uint32_t used; /* sequential, with data */
        uint32_t conventional; /* at the beginning of the device */
};

static int survey(int fd, const struct zdev_geometry *geo, const char *path,
                  struct survey *ret_survey, struct err *err)
{
        uint64_t zone_bytes = geo->zone_blocks * ZP_BLOCK;
        CLEANUP(free_ptr)
        struct zbd_zone *zones = calloc(ZBD_REPORT_CHUNK, sizeof(*zones));
        struct survey s = {0};

        if (!zones)
                return err_set(err, ENOMEM, "%s: no memory", path);
        for (uint32_t at = 0; at < geo->nr_zones; at += ZBD_REPORT_CHUNK) {
                uint32_t n = MIN((uint32_t)ZBD_REPORT_CHUNK, geo->nr_zones - at);
                int rc = zbd_kernel_linux.report(NULL, fd, zone_bytes, at, n, zones);
                if (rc < 0)
                        return err_set_sys(err, -rc, "%s: its zones cannot be reported", path);
                for (uint32_t i = 0; i < n; i++) {
                        struct zdev_zone z = zbd_zone_convert(&zones[i], at + i, zone_bytes);
                        bool usable = z.state != ZDEV_ZONE_CONVENTIONAL &&
                                      z.state != ZDEV_ZONE_READONLY && z.state != ZDEV_ZONE_OFFLINE;
                        s.sequential += usable;
                        s.used += z.state == ZDEV_ZONE_READONLY || (usable && z.wp_block > 0);
                        s.conventional +=
                            z.state == ZDEV_ZONE_CONVENTIONAL && s.conventional == at + i;
                }
        }
        *ret_survey = s;
        return 0;
}

/* A file system of a zoned device has its first block in a conventional zone, if there is one. */
static int refuse_data(int fd, const char *path, const struct zdev_geometry *geo,
                       const struct survey *s, struct err *err)
{
        char what[64] = "";

        if (s->used)
                return err_set(err, EEXIST,
                               "%s holds data (%u of its zones are written): ask for overwriting "
                               "if it may be lost",
                               path, s->used);
        if (!s->conventional)
                return 0;
        int rc = probe_signature(fd, what, sizeof(what));
        if (rc > 0)
                return err_set(err, EEXIST,
                               "%s holds data (%s): ask for overwriting if it may be lost", path,
                               what);
        if (rc == 0)
                rc = probe_data(fd, 0, MIN(geo->zone_blocks * ZP_BLOCK, (uint64_t)MIB));
        if (rc > 0)
                return err_set(err, EEXIST,
                               "%s holds data of an unknown kind in its conventional zones: ask "
                               "for overwriting if it may be lost",
                               path);
        return rc < 0 ? err_set_sys(err, -rc, "%s: cannot be read", path) : 0;
}

int zbd_device_check(const char *path, bool overwrite, struct err *err)
{
        struct zbd_limits limits;
        struct zdev_geometry geo;
        struct survey s = {0};
        CLEANUP(close_fd) int fd = open_alone(path, 0, &limits, &geo, err);

        if (fd < 0)
                return fd;
        int rc = survey(fd, &geo, path, &s, err);
        if (rc < 0)
                return rc;
        if (s.sequential < MIN_SEQUENTIAL)
                return err_set(err, EINVAL,
                               "%s has only %u zones that can be written sequentially, and at "
                               "least %d are needed: use another device",
                               path, s.sequential, MIN_SEQUENTIAL);
        return overwrite ? 0 : refuse_data(fd, path, &geo, &s, err);
}

int zbd_device_erase(const char *path, struct err *err)
{
        struct zbd_limits limits;
        struct zdev_geometry geo;
        CLEANUP(close_fd) int fd = open_alone(path, 0, &limits, &geo, err);

        if (fd < 0)
                return fd;
        int rc = zbd_kernel_linux.manage(NULL, fd, ZBD_OP_RESET, 0,
                                         geo.nr_zones * geo.zone_blocks * ZP_BLOCK);
        return rc < 0 ? err_set_sys(err, -rc, "%s: its zones cannot be reset", path) : 0;
}

/* ---- the device ---- */

static void close_device(struct zdev *dev)
{
        struct zbd_device *zd = container_of(dev, struct zbd_device, dev);

        worker_free(zd->worker);
        loop_defer_cancel(&zd->kick);
        loop_fd_del(&zd->watch);
        if (zd->ring_ready)
                io_uring_queue_exit(&zd->ring);
        if (zd->watch.fd >= 0)
                close(zd->watch.fd);
        if (zd->fd >= 0)
                close(zd->fd);
        bitmap_fini(&zd->busy);
        bitmap_fini(&zd->touched);
        free(zd->report_buffer);
        free(zd->zeroes);
        zd->closed = true;
        if (!zd->delivering)
                free(zd);
}

static int start(struct zbd_device *zd, const char *path, struct err *err)
{
        void *zeroes = NULL;

        zd->report_buffer = calloc(ZBD_REPORT_CHUNK, sizeof(*zd->report_buffer));
        if (!zd->report_buffer || posix_memalign(&zeroes, ZP_BLOCK, ZP_BLOCK) ||
            bitmap_init(&zd->busy, zd->dev.geo.nr_zones) < 0 ||
            bitmap_init(&zd->touched, zd->dev.geo.nr_zones) < 0)
                return err_set(err, ENOMEM, "%s: no memory", path);
        zd->zeroes = memset(zeroes, 0, ZP_BLOCK);
        int rc = io_uring_queue_init(ZBD_REQS, &zd->ring, 0);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: no io_uring", path);
        zd->ring_ready = true;
        zd->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (zd->watch.fd < 0)
                return err_set_sys(err, errno, "%s: no eventfd", path);
        rc = io_uring_register_eventfd(&zd->ring, zd->watch.fd);
        if (rc == 0)
                rc = loop_fd_add(zd->loop, &zd->watch, EPOLLIN);
        if (rc == 0)
                rc = worker_new(zd->loop, &zd->worker);
        return rc < 0 ? err_set_sys(err, -rc, "%s: its completions cannot be watched", path) : 0;
}

int zbd_device_make(struct loop *loop, int fd, const struct zdev_geometry *geo,
                    uint32_t logical_block, const struct zbd_kernel *kernel, const char *path,
                    struct zdev **ret_dev, struct err *err)
{
        static const struct zdev_ops ops = {
            .kind = "zbd", .submit = zbd_submit, .close = close_device};
        struct zbd_device *zd = calloc(1, sizeof(*zd));

        if (!zd) {
                close(fd);
                return err_set(err, ENOMEM, "%s: no memory", path);
        }
        zd->dev.ops = &ops;
        zd->dev.geo = *geo;
        snprintf(zd->dev.path, sizeof(zd->dev.path), "%s", path);
        zd->fd = fd;
        zd->logical_block = logical_block;
        zd->kernel = kernel;
        zd->loop = loop;
        zd->watch.fd = -1;
        zd->watch.ready = zbd_ring_ready;
        zd->kick.call = zbd_kick;
        list_init(&zd->kick.node);
        list_init(&zd->idle);
        list_init(&zd->waiting);
        list_init(&zd->finished);
        for (size_t i = 0; i < ZBD_REQS; i++) {
                zd->reqs[i].zd = zd;
                list_add_tail(&zd->idle, &zd->reqs[i].node);
        }
        int rc = start(zd, path, err);
        if (rc < 0) {
                close_device(&zd->dev);
                return rc;
        }
        *ret_dev = &zd->dev;
        return 0;
}

int zbd_device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err)
{
        struct zbd_limits limits;
        struct zdev_geometry geo;
        int fd = open_alone(path, O_DIRECT, &limits, &geo, err);

        return fd < 0 ? fd
                      : zbd_device_make(loop, fd, &geo, (uint32_t)limits.logical_block,
                                        &zbd_kernel_linux, path, ret_dev, err);
}
