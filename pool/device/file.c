/* A zoned device made of a file: opening, the rules, and the I/O. See file.h.
 *
 * The zone states are stored in the page cache when an operation completes (file_states.h): that
 * outlives the process, so a killed daemon loses nothing that had completed. ZDEV_FLUSH is
 * fdatasync, which covers mapped pages and data alike.
 *
 * A file that was cut short, or has no place for a state any more, is out of order until it is
 * closed: what changes zones fails, what can be read is read. Whether it was cut short is looked at
 * before each write, which would make it long again, after a flush, and where a read finds its end.
 *
 * Invariants: the stored state of a zone is that of the model except while one of its writes is in
 * flight (then the file still has the old pointer). At most RING_ENTRIES requests are with the
 * kernel; the rest wait in `waiting`, in order. The lock is bound to the open file, which io_uring
 * holds until the last request of a killed process has ended: a successor never meets a write of
 * its predecessor. Closing gives it back.
 *
 * A zone that is reset becomes empty in the states first; then its blocks are given back to the
 * file system. Block devices keep the old bytes, which are above the write pointer and so
 * undefined.
 */
#include "pool/device/file.h"
#include "pool/device/file_format.h"
#include "pool/device/file_lock.h"
#include "pool/device/file_states.h"
#include "pool/device/zone_model.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum {
        RING_ENTRIES = 128,
        DIRECT_ALIGN = ZP_BLOCK,
};

/* A request that is with the kernel. */
struct file_req {
        struct zdev_io *io;
        struct iovec *rest; /* what is left of io->iov after a short transfer, or NULL */
        int nrest;
        uint64_t done_bytes;
        bool direct;
        struct list node; /* in file_device.idle while unused */
};

struct file_device {
        struct zdev dev;
        struct file_format fmt;
        struct zone_model model;
        struct loop *loop;
        struct io_uring ring;
        struct loop_fd watch; /* the ring's eventfd */
        struct loop_defer kick;
        struct file_req reqs[RING_ENTRIES];
        struct list idle; /* of reqs */
        struct list waiting; /* zdev_io that found no idle req */
        struct list finished; /* zdev_io that need no I/O; status in driver */
        bool delivering; /* completions are being called: close leaves the struct to that code */
        bool closed;
        int fd;
        int fd_direct; /* -1: not possible */
        bool punch;
        bool ring_ready;
        bool broken; /* what changes zones fails */
        struct file_states states;
};

static struct file_device *file_of(struct zdev *dev)
{
        return container_of(dev, struct file_device, dev);
}

int file_lock(int fd, const char *path, struct err *err)
{
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return err_set_sys(err, errno, "%s: cannot be locked", path);
        return err_set(err, EBUSY, "%s is in use by another zonepool daemon or pool", path);
}

/* io_uring lets go of the open file only some time after it was told to: with nothing in flight the
 * next opener need not wait for that. What is in flight all the same keeps the lock to its end. */
static void unlock_if_idle(const struct file_device *fd)
{
        for (size_t i = 0; i < RING_ENTRIES; i++)
                if (fd->reqs[i].io)
                        return;
        flock(fd->fd, LOCK_UN);
}

/* ---- zone states ---- */

static void out_of_order(struct file_device *fd, const char *why)
{
        fd->broken = true;
        fd->dev.trouble = why;
}

static int store_state(struct file_device *fd, uint32_t zone)
{
        const struct zone_model_zone *z = &fd->model.zones[zone];
        uint64_t word = file_format_encode_zone(zone, z->state, z->wp_block);
        int rc = file_states_store(&fd->states, zone, word);
        if (rc < 0)
                out_of_order(fd, "the state of a zone cannot be stored: the file was cut short, or "
                                 "its file system has failed");
        return rc;
}

static int load_states(struct file_device *fd)
{
        uint32_t n = fd->fmt.geo.nr_zones;
        CLEANUP(free_ptr) uint64_t *words = calloc(n, sizeof(*words));
        int rc = words ? file_states_read(fd->fd, &fd->fmt, words) : -ENOMEM;
        for (uint32_t i = 0; rc == 0 && i < n; i++) {
                enum zdev_zone_state state;
                uint64_t wp;
                if (file_format_decode_zone(i, words[i], &state, &wp) < 0 ||
                    wp > fd->model.zones[i].capacity_blocks)
                        zone_model_restore(&fd->model, i, ZDEV_ZONE_READONLY, UINT64_MAX);
                else
                        zone_model_restore(&fd->model, i, state, wp);
        }
        return rc;
}

/* ---- a file that was cut short ---- */

static int size_of(int fd, uint64_t *ret_size)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_size = (uint64_t)st.st_size;
        return S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret_size) < 0 ? -errno : 0;
}

static uint64_t size_needed(const struct file_format *fmt)
{
        return fmt->data_offset + fmt->geo.nr_zones * fmt->geo.zone_blocks * ZP_BLOCK;
}

static bool is_cut(struct file_device *fd)
{
        uint64_t size;
        if (size_of(fd->fd, &size) < 0 || size >= size_needed(&fd->fmt))
                return false;
        out_of_order(fd, "it is shorter than its zones need: it was cut short");
        return true;
}

/* What the pool is told of a failed request, and people besides. */
static int failure(struct file_device *fd, int res)
{
        if (res == -ENODEV || res == -ENXIO)
                return -ENODEV;
        if (fd->broken || is_cut(fd))
                return -EIO;
        if (res == -ENOSPC || res == -EDQUOT)
                fd->dev.trouble = "its file system is full";
        else if (res < 0)
                fd->dev.trouble = strerrordesc_np(-res);
        return -EIO;
}

/* ---- requests ---- */

static void finish_later(struct file_device *fd, struct zdev_io *io, int status)
{
        io->driver = (uint64_t)(int64_t)status;
        list_add_tail(&fd->finished, &io->node);
        loop_defer(fd->loop, &fd->kick);
}

static bool can_be_direct(const struct file_device *fd, const struct zdev_io *io)
{
        if (fd->fd_direct < 0)
                return false;
        for (int i = 0; i < io->niov; i++)
                if ((uintptr_t)io->iov[i].iov_base % DIRECT_ALIGN ||
                    io->iov[i].iov_len % DIRECT_ALIGN)
                        return false;
        return true;
}

static uint64_t zone_offset(const struct file_device *fd, const struct zdev_io *io)
{
        return fd->fmt.data_offset +
               ((uint64_t)io->zone * fd->dev.geo.zone_blocks + io->block) * ZP_BLOCK;
}

/* Hands a request, or what is left of it, to the ring. There is always room: RING_ENTRIES. */
static void prepare(struct file_device *fd, struct file_req *req)
{
        const struct zdev_io *io = req->io;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&fd->ring);
        const struct iovec *iov = req->rest ? req->rest : io->iov;
        unsigned niov = (unsigned)(req->rest ? req->nrest : io->niov);
        uint64_t at = zone_offset(fd, io) + req->done_bytes;
        int target = req->direct ? fd->fd_direct : fd->fd;

        switch (io->op) {
        case ZDEV_READ:
                io_uring_prep_readv(sqe, target, iov, niov, at);
                break;
        case ZDEV_WRITE:
                io_uring_prep_writev(sqe, target, iov, niov, at);
                break;
        case ZDEV_FLUSH:
                io_uring_prep_fsync(sqe, fd->fd, IORING_FSYNC_DATASYNC);
                break;
        case ZDEV_RESET:
                io_uring_prep_fallocate(sqe, fd->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        (off_t)at, (off_t)(fd->dev.geo.zone_blocks * ZP_BLOCK));
                break;
        case ZDEV_REPORT:
        case ZDEV_FINISH:
                io_uring_prep_nop(sqe);
                break;
        }
        io_uring_sqe_set_data(sqe, req);
        loop_defer(fd->loop, &fd->kick);
}

static void start(struct file_device *fd, struct zdev_io *io)
{
        struct file_req *req = list_first(&fd->idle, struct file_req, node);
        if (!req) {
                list_add_tail(&fd->waiting, &io->node);
                return;
        }
        list_del(&req->node);
        req->io = io;
        req->done_bytes = 0;
        req->direct = can_be_direct(fd, io);
        prepare(fd, req);
}

static void file_submit(struct zdev *dev, struct zdev_io *io)
{
        struct file_device *fd = file_of(dev);
        int rc = 0;
        bool needs_io = true;
        uint32_t closed_zone = UINT32_MAX;

        if (fd->broken && io->op != ZDEV_REPORT && io->op != ZDEV_READ) {
                finish_later(fd, io, -EIO);
                return;
        }
        switch (io->op) {
        case ZDEV_REPORT:
                rc = zone_model_report(&fd->model, io->zone, io->nblocks, io->report);
                needs_io = false;
                break;
        case ZDEV_READ:
                rc = zone_model_check_read(&fd->model, io->zone, io->block, io->nblocks);
                break;
        case ZDEV_WRITE:
                if (is_cut(fd)) { /* it would make the file long again, with holes for data */
                        rc = -EIO;
                        break;
                }
                closed_zone = zone_model_would_close(&fd->model, io->zone);
                rc = zone_model_begin_write(&fd->model, io->zone, io->block, io->nblocks);
                if (rc == 0 && closed_zone != UINT32_MAX)
                        store_state(fd, closed_zone); /* where that fails the write's end does */
                break;
        case ZDEV_RESET:
                rc = zone_model_reset(&fd->model, io->zone);
                if (rc == 0)
                        rc = store_state(fd, io->zone);
                needs_io = fd->punch;
                io->block = 0;
                if (rc == 0 && needs_io) /* no write may run into the hole that is being made */
                        fd->model.zones[io->zone].writing = 1;
                break;
        case ZDEV_FINISH:
                rc = zone_model_finish(&fd->model, io->zone);
                if (rc == 0)
                        rc = store_state(fd, io->zone);
                needs_io = false;
                break;
        case ZDEV_FLUSH:
                io->zone = 0;
                io->block = 0;
                break;
        }
        if (rc < 0 || !needs_io)
                finish_later(fd, io, rc);
        else
                start(fd, io);
}

/* Makes req->rest what is left of the transfer. Returns 0 or -ENOMEM. */
static int cut_iov(struct file_req *req)
{
        const struct zdev_io *io = req->io;
        uint64_t skip = req->done_bytes;
        if (!req->rest)
                req->rest = malloc((size_t)io->niov * sizeof(*req->rest));
        if (!req->rest)
                return -ENOMEM;
        req->nrest = 0;
        for (int i = 0; i < io->niov; i++) {
                if (skip >= io->iov[i].iov_len) {
                        skip -= io->iov[i].iov_len;
                        continue;
                }
                req->rest[req->nrest++] =
                    (struct iovec){.iov_base = (char *)io->iov[i].iov_base + skip,
                                   .iov_len = io->iov[i].iov_len - skip};
                skip = 0;
        }
        return 0;
}

/* A read or write came back. Returns false when it has to go on. */
static bool transfer_is_over(struct file_device *fd, struct file_req *req, int res, int *ret_status)
{
        uint64_t want = (uint64_t)req->io->nblocks * ZP_BLOCK;
        if (res == -EINTR || res == -EAGAIN) {
                prepare(fd, req);
                return false;
        }
        if (res == -EINVAL && req->direct) { /* the file system wants another alignment */
                req->direct = false;
                prepare(fd, req);
                return false;
        }
        if (res <= 0) {
                *ret_status = failure(fd, res);
                return true;
        }
        req->done_bytes += (uint64_t)res;
        *ret_status = 0;
        if (req->done_bytes >= want)
                return true;
        req->direct = false;
        *ret_status = cut_iov(req) < 0 ? -EIO : 0;
        if (*ret_status < 0)
                return true;
        prepare(fd, req);
        return false;
}

/* The request has ended: states first, then the caller, who may submit more or close. */
static void complete(struct file_device *fd, struct file_req *req, int res)
{
        struct zdev_io *io = req->io;
        int status = 0;
        if (io->op == ZDEV_READ || io->op == ZDEV_WRITE) {
                if (!transfer_is_over(fd, req, res, &status))
                        return;
        } else if (io->op == ZDEV_RESET) {
                fd->model.zones[io->zone].writing = 0;
                if (res < 0)
                        fd->punch =
                            false; /* the space stays taken; the zone is empty all the same */
        } else if (res < 0) {
                status = failure(fd, res);
        } else if (io->op == ZDEV_FLUSH && is_cut(fd)) {
                status = -EIO;
        }
        if (io->op == ZDEV_WRITE) {
                zone_model_end_write(&fd->model, io->zone, (uint32_t)(req->done_bytes / ZP_BLOCK));
                if (store_state(fd, io->zone) < 0 || fd->broken)
                        status = status < 0 ? status : -EIO;
        }
        free(req->rest);
        req->rest = NULL;
        req->io = NULL;
        list_add_tail(&fd->idle, &req->node);
        struct zdev_io *next = list_first(&fd->waiting, struct zdev_io, node);
        if (next) {
                list_del(&next->node);
                start(fd, next);
        }
        io->done(io, status);
}

static void end_delivery(struct file_device *fd)
{
        fd->delivering = false;
        if (fd->closed)
                free(fd);
}

static void ring_ready(struct loop_fd *watch, uint32_t events)
{
        struct file_device *fd = container_of(watch, struct file_device, watch);
        uint64_t count;
        if (read(watch->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                return;
        fd->delivering = true;
        struct io_uring_cqe *cqe;
        while (!fd->closed && io_uring_peek_cqe(&fd->ring, &cqe) == 0) {
                struct file_req *req = io_uring_cqe_get_data(cqe);
                int res = cqe->res;
                io_uring_cqe_seen(&fd->ring, cqe);
                complete(fd, req, res);
        }
        end_delivery(fd);
}

/* End of a turn: what was prepared goes to the kernel in one call, what needed no I/O completes. */
static void kick(struct loop_defer *defer)
{
        struct file_device *fd = container_of(defer, struct file_device, kick);
        int rc = io_uring_submit(&fd->ring);
        if (rc < 0 || io_uring_sq_ready(&fd->ring)) /* no memory just now: the next turn */
                loop_defer(fd->loop, &fd->kick);
        struct list finished;
        list_init(&finished);
        list_splice_tail(&finished, &fd->finished);
        fd->delivering = true;
        struct zdev_io *io;
        while (!fd->closed && (io = list_first(&finished, struct zdev_io, node))) {
                list_del(&io->node);
                io->done(io, (int)(int64_t)io->driver);
        }
        end_delivery(fd);
}

/* ---- open and close ---- */

static void file_close(struct zdev *dev)
{
        struct file_device *fd = file_of(dev);
        if (fd->loop) {
                loop_defer_cancel(&fd->kick);
                loop_fd_del(&fd->watch);
        }
        if (fd->ring_ready)
                io_uring_queue_exit(&fd->ring);
        if (fd->watch.fd >= 0)
                close(fd->watch.fd);
        file_states_close(&fd->states);
        if (fd->fd_direct >= 0)
                close(fd->fd_direct);
        if (fd->fd >= 0) {
                unlock_if_idle(fd);
                close(fd->fd);
        }
        zone_model_fini(&fd->model);
        fd->closed = true;
        if (!fd->delivering)
                free(fd);
}

static int open_locked(struct file_device *fd, const char *path, struct err *err)
{
        struct stat st;
        int flags = O_RDWR | O_CLOEXEC;
        if (stat(path, &st) == 0 && S_ISBLK(st.st_mode))
                flags |= O_EXCL;
        fd->fd = open(path, flags);
        if (fd->fd < 0 && errno == EBUSY)
                return err_set(err, EBUSY, "%s is in use by the kernel or another daemon", path);
        if (fd->fd < 0)
                return err_set_sys(err, errno, "%s: cannot be opened", path);
        return file_lock(fd->fd, path, err);
}

/* Reads the header and checks that all zones are there. */
static int read_format(struct file_device *fd, const char *path, struct err *err)
{
        uint8_t block[ZP_BLOCK];
        struct stat st;
        uint64_t size;
        ssize_t n = pread(fd->fd, block, sizeof(block), 0);
        if (n < 0 || fstat(fd->fd, &st) < 0)
                return err_set_sys(err, errno, "%s: cannot be read", path);
        if (n != (ssize_t)sizeof(block))
                return err_set(err, ENOENT, "%s: it is not a zonepool file device", path);
        int rc = file_format_decode(block, &fd->fmt, err);
        if (rc < 0) {
                err_prefix(err, "%s", path);
                return rc;
        }
        rc = size_of(fd->fd, &size);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: its size cannot be read", path);
        if (size < size_needed(&fd->fmt))
                return err_set(
                    err, EBADMSG,
                    "%s: it is %llu bytes long and its zones need %llu: it was cut short", path,
                    (unsigned long long)size, (unsigned long long)size_needed(&fd->fmt));
        fd->punch = S_ISREG(st.st_mode);
        return 0;
}

static int open_states(struct file_device *fd, const char *path, struct err *err)
{
        int rc = zone_model_init(&fd->model, &fd->fmt.geo, fd->fmt.capacity_blocks,
                                 fd->fmt.nr_conventional);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: its zones cannot be set up", path);
        rc = file_states_open(&fd->states, fd->fd, &fd->fmt);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: cannot be mapped", path);
        rc = load_states(fd);
        return rc < 0 ? err_set_sys(err, -rc, "%s: the states of its zones", path) : 0;
}

static int start_ring(struct file_device *fd, const char *path, struct err *err)
{
        int rc = io_uring_queue_init(RING_ENTRIES, &fd->ring, 0);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: no io_uring", path);
        fd->ring_ready = true;
        fd->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd->watch.fd < 0)
                return err_set_sys(err, errno, "%s: no eventfd", path);
        rc = io_uring_register_eventfd(&fd->ring, fd->watch.fd);
        if (rc == 0)
                rc = loop_fd_add(fd->loop, &fd->watch, EPOLLIN);
        if (rc < 0)
                return err_set_sys(err, -rc, "%s: its completions cannot be watched", path);
        /* The same file once more without the page cache, where that is possible. */
        char self[32];
        snprintf(self, sizeof(self), "/proc/self/fd/%d", fd->fd);
        fd->fd_direct = open(self, O_RDWR | O_CLOEXEC | O_DIRECT);
        return 0;
}

int file_device_open(struct loop *loop, const char *path, struct zdev **ret_dev, struct err *err)
{
        static const struct zdev_ops ops = {
            .kind = "file", .submit = file_submit, .close = file_close};
        struct file_device *fd = calloc(1, sizeof(*fd));
        if (!fd)
                return err_set(err, ENOMEM, "%s: no memory", path);
        fd->fd = fd->fd_direct = fd->watch.fd = -1;
        fd->loop = loop;
        fd->watch.ready = ring_ready;
        fd->kick.call = kick;
        list_init(&fd->kick.node);
        list_init(&fd->idle);
        list_init(&fd->waiting);
        list_init(&fd->finished);
        for (size_t i = 0; i < RING_ENTRIES; i++)
                list_add_tail(&fd->idle, &fd->reqs[i].node);
        int rc = open_locked(fd, path, err);
        if (rc == 0)
                rc = read_format(fd, path, err);
        if (rc == 0)
                rc = open_states(fd, path, err);
        if (rc == 0)
                rc = start_ring(fd, path, err);
        if (rc < 0) {
                file_close(&fd->dev);
                return rc;
        }
        fd->dev.ops = &ops;
        fd->dev.geo = fd->fmt.geo;
        snprintf(fd->dev.path, sizeof(fd->dev.path), "%s", path);
        *ret_dev = &fd->dev;
        return 0;
}
