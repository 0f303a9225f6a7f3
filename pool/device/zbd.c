/* A kernel zoned block device: the I/O. See zbd.h; opening and asking is in zbd_open.c.
 *
 * Invariants: every operation the kernel works on holds one of `reqs`, whether it is with the ring
 * or with the worker; the rest wait in `waiting`, in order. One write, reset or finish of a zone is
 * in flight at a time (`busy`), and a write is one command of the drive (zbd_limits.c): so no two
 * commands of a zone can overtake each other. The drive is the judge of write pointers: the driver
 * keeps no state of zones that could differ.
 *
 * A write that failed is followed by a report of its zone before the pool hears of it. The report
 * tells why (a zone gone read-only), and lets the kernel learn the true write pointer: Linux 6.10
 * and newer refuse every further write of the zone without it.
 *
 * Ragged pointers: on 512-byte logical blocks power can end a write inside a block. The pool counts
 * in whole blocks, so such a block is shown as written, and filled up with zeroes before the first
 * write that goes on behind it; nothing that counts stands there. Reports alone write nothing: a
 * device may be looked at that is somebody else's.
 */
#include "pool/device/zbd_device.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { READ_ALIGN = 512 }; /* of memory; the kernel says when that is not enough (-EINVAL) */

static struct zbd_device *zbd_of(struct zdev *dev)
{
        return container_of(dev, struct zbd_device, dev);
}

static void job_done(struct worker_job *job);

/* ---- on the worker's thread ---- */

static int report_chunk(struct zbd_device *zd, uint32_t first, uint32_t n,
                        struct zdev_zone *ret_zones)
{
        uint64_t zone_bytes = zd->dev.geo.zone_blocks * ZP_BLOCK;
        int rc =
            zd->kernel->report(zd->kernel->ctx, zd->fd, zone_bytes, first, n, zd->report_buffer);

        for (uint32_t i = 0; rc == 0 && i < n; i++)
                ret_zones[i] = zbd_zone_convert(&zd->report_buffer[i], first + i, zone_bytes);
        return rc;
}

/* The state of a zone that is to be written, or that a command failed on; EMPTY when not even that
 * can be had. A block that stands half there is filled up; where that fails, so will the write. */
static enum zdev_zone_state settle(struct zbd_device *zd, uint32_t zone)
{
        struct zdev_zone z;

        if (report_chunk(zd, zone, 1, &z) < 0)
                return ZDEV_ZONE_EMPTY;
        const struct zbd_zone *raw = &zd->report_buffer[0];
        uint32_t missing = zbd_zone_ragged(raw);
        if (missing)
                (void)zd->kernel->append(zd->kernel->ctx, zd->fd, zd->zeroes, missing, raw->wp);
        return z.state;
}

static int report_all(struct zbd_req *req)
{
        struct zdev_io *io = req->io;
        int rc = 0;

        for (uint32_t at = 0; rc == 0 && at < io->nblocks; at += ZBD_REPORT_CHUNK)
                rc = report_chunk(req->zd, io->zone + at, MIN(ZBD_REPORT_CHUNK, io->nblocks - at),
                                  io->report + at);
        return rc;
}

static void run_job(struct worker_job *job)
{
        struct zbd_req *req = list_entry(job, struct zbd_req, job);
        struct zbd_device *zd = req->zd;
        const struct zdev_io *io = req->io;
        uint64_t zone_bytes = zd->dev.geo.zone_blocks * ZP_BLOCK;
        int rc = req->error;

        if (io->op == ZDEV_REPORT)
                rc = report_all(req);
        else if (io->op != ZDEV_WRITE)
                rc = zd->kernel->manage(zd->kernel->ctx, zd->fd,
                                        io->op == ZDEV_RESET ? ZBD_OP_RESET : ZBD_OP_FINISH,
                                        io->zone * zone_bytes, zone_bytes);
        enum zdev_zone_state state = ZDEV_ZONE_EMPTY;
        if (req->settle || (rc < 0 && io->op != ZDEV_REPORT))
                state = settle(zd, io->zone);
        req->error = rc < 0 ? zbd_status(rc, state) : 0;
}

/* ---- requests ---- */

static void to_worker(struct zbd_req *req)
{
        req->job.run = run_job;
        req->job.done = job_done;
        worker_submit(req->zd->worker, &req->job);
}

static void finish_later(struct zbd_device *zd, struct zdev_io *io, int status)
{
        io->driver = (uint64_t)(int64_t)status;
        list_add_tail(&zd->finished, &io->node);
        loop_defer(zd->loop, &zd->kick);
}

/* Writes come from the pool's own pages; reads may go to any memory of a guest. */
static bool must_bounce(const struct zbd_device *zd, const struct zdev_io *io)
{
        size_t align = io->op == ZDEV_WRITE ? ZP_BLOCK : READ_ALIGN;
        size_t unit = io->op == ZDEV_WRITE ? ZP_BLOCK : zd->logical_block;

        for (int i = 0; i < io->niov; i++)
                if ((uintptr_t)io->iov[i].iov_base % align || io->iov[i].iov_len % unit)
                        return true;
        return io->niov > IOV_MAX;
}

static void copy_iov(const struct zdev_io *io, uint8_t *bounce, bool to_bounce)
{
        for (int i = 0; i < io->niov; i++) {
                if (to_bounce)
                        memcpy(bounce, io->iov[i].iov_base, io->iov[i].iov_len);
                else
                        memcpy(io->iov[i].iov_base, bounce, io->iov[i].iov_len);
                bounce += io->iov[i].iov_len;
        }
}

static int make_bounce(struct zbd_req *req)
{
        const struct zdev_io *io = req->io;
        size_t len = (size_t)io->nblocks * ZP_BLOCK;
        void *memory = NULL;

        if (posix_memalign(&memory, ZP_BLOCK, len))
                return -ENOMEM;
        req->bounce = (struct iovec){memory, len};
        if (io->op == ZDEV_WRITE)
                copy_iov(io, memory, true);
        return 0;
}

/* Hands the request to the ring. There is always room: ZBD_REQS. */
static void prepare(struct zbd_req *req)
{
        struct zbd_device *zd = req->zd;
        const struct zdev_io *io = req->io;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&zd->ring);
        const struct iovec *iov = req->bounce.iov_base ? &req->bounce : io->iov;
        unsigned niov = req->bounce.iov_base ? 1 : (unsigned)io->niov;
        uint64_t at = ((uint64_t)io->zone * zd->dev.geo.zone_blocks + io->block) * ZP_BLOCK;

        if (io->op == ZDEV_READ)
                io_uring_prep_readv(sqe, zd->fd, iov, niov, at);
        else if (io->op == ZDEV_WRITE)
                io_uring_prep_writev(sqe, zd->fd, iov, niov, at);
        else
                io_uring_prep_fsync(sqe, zd->fd, IORING_FSYNC_DATASYNC);
        if (req->again) /* no "try without waiting" first: that is what came back */
                sqe->flags |= IOSQE_ASYNC;
        io_uring_sqe_set_data(sqe, req);
        loop_defer(zd->loop, &zd->kick);
}

/* The first write of a zone since opening that does not begin it. */
static bool may_be_ragged(struct zbd_device *zd, const struct zdev_io *io)
{
        bool first = zd->logical_block < ZP_BLOCK && !bitmap_test(&zd->touched, io->zone);

        if (first)
                bitmap_set_range(&zd->touched, io->zone, 1);
        return first && io->block > 0;
}

static void start(struct zbd_device *zd, struct zdev_io *io)
{
        struct zbd_req *req = list_first(&zd->idle, struct zbd_req, node);

        if (!req) {
                list_add_tail(&zd->waiting, &io->node);
                return;
        }
        list_del(&req->node);
        req->io = io;
        req->error = 0;
        req->again = req->settle = false;
        switch (io->op) {
        case ZDEV_READ:
        case ZDEV_WRITE:
                if (must_bounce(zd, io) && make_bounce(req) < 0) {
                        finish_later(zd, io, -EIO);
                        list_add_tail(&zd->idle, &req->node);
                        if (io->op == ZDEV_WRITE)
                                bitmap_clear_range(&zd->busy, io->zone, 1);
                        return;
                }
                if (io->op == ZDEV_WRITE && may_be_ragged(zd, io)) {
                        req->settle = true;
                        to_worker(req);
                        break;
                }
                prepare(req);
                break;
        case ZDEV_FLUSH:
                prepare(req);
                break;
        case ZDEV_REPORT:
        case ZDEV_RESET:
        case ZDEV_FINISH:
                to_worker(req);
                break;
        }
}

static void submit_next(struct zbd_device *zd)
{
        while (!zd->closed && !list_empty(&zd->idle)) {
                struct zdev_io *io = list_first(&zd->waiting, struct zdev_io, node);
                if (!io)
                        return;
                list_del(&io->node);
                start(zd, io);
        }
}

static int check(struct zbd_device *zd, const struct zdev_io *io)
{
        const struct zdev_geometry *geo = &zd->dev.geo;

        if (io->op == ZDEV_FLUSH)
                return 0;
        if (io->op == ZDEV_REPORT)
                return io->zone <= geo->nr_zones && io->nblocks <= geo->nr_zones - io->zone ? 0
                                                                                            : -EIO;
        if (io->zone >= geo->nr_zones)
                return -EIO;
        if (io->op == ZDEV_READ || io->op == ZDEV_WRITE) {
                if (!io->nblocks || io->nblocks > geo->max_io_blocks ||
                    io->block > geo->zone_blocks || io->nblocks > geo->zone_blocks - io->block)
                        return -EIO;
        }
        return io->op != ZDEV_READ && bitmap_test(&zd->busy, io->zone) ? -EIO : 0;
}

void zbd_submit(struct zdev *dev, struct zdev_io *io)
{
        struct zbd_device *zd = zbd_of(dev);
        int rc = check(zd, io);

        if (rc < 0) {
                finish_later(zd, io, rc);
                return;
        }
        if (io->op == ZDEV_WRITE || io->op == ZDEV_RESET || io->op == ZDEV_FINISH)
                bitmap_set_range(&zd->busy, io->zone, 1);
        start(zd, io);
}

/* The request has ended: its zone is free for the next, then the caller, who may submit or close.
 */
static void complete(struct zbd_req *req, int status)
{
        struct zbd_device *zd = req->zd;
        struct zdev_io *io = req->io;

        if (req->bounce.iov_base) {
                if (status == 0 && io->op == ZDEV_READ)
                        copy_iov(io, req->bounce.iov_base, false);
                free(req->bounce.iov_base);
                req->bounce = (struct iovec){0};
        }
        if (io->op == ZDEV_WRITE || io->op == ZDEV_RESET || io->op == ZDEV_FINISH)
                bitmap_clear_range(&zd->busy, io->zone, 1);
        req->io = NULL;
        list_add_tail(&zd->idle, &req->node);
        submit_next(zd);
        io->done(io, status);
}

static void job_done(struct worker_job *job)
{
        struct zbd_req *req = list_entry(job, struct zbd_req, job);

        if (!req->settle) {
                complete(req, req->error);
                return;
        }
        req->settle = false;
        prepare(req);
}

/* What the ring brought back: over, or once more. */
static void transferred(struct zbd_req *req, int res)
{
        const struct zdev_io *io = req->io;
        bool data = io->op == ZDEV_READ || io->op == ZDEV_WRITE;

        if ((res == -EAGAIN || res == -EINTR) && !req->again) { /* nothing was done */
                req->again = true;
                prepare(req);
                return;
        }
        if (res == -EINVAL && data && !req->bounce.iov_base && make_bounce(req) == 0) {
                prepare(req); /* memory that this drive cannot reach */
                return;
        }
        if (res >= 0 && data && (uint64_t)res != (uint64_t)io->nblocks * ZP_BLOCK)
                res = -EIO;
        if (res < 0 && io->op == ZDEV_WRITE) {
                req->error = res;
                to_worker(req);
                return;
        }
        complete(req, res < 0 ? zbd_status(res, ZDEV_ZONE_EMPTY) : 0);
}

static void end_delivery(struct zbd_device *zd)
{
        zd->delivering = false;
        if (zd->closed)
                free(zd);
}

void zbd_ring_ready(struct loop_fd *watch, uint32_t events)
{
        struct zbd_device *zd = container_of(watch, struct zbd_device, watch);
        struct io_uring_cqe *cqe;
        uint64_t count;

        if (read(watch->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                return;
        zd->delivering = true;
        while (!zd->closed && io_uring_peek_cqe(&zd->ring, &cqe) == 0) {
                struct zbd_req *req = io_uring_cqe_get_data(cqe);
                int res = cqe->res;
                io_uring_cqe_seen(&zd->ring, cqe);
                transferred(req, res);
        }
        end_delivery(zd);
}

/* End of a turn: what was prepared goes to the kernel in one call, what was refused completes. */
void zbd_kick(struct loop_defer *defer)
{
        struct zbd_device *zd = container_of(defer, struct zbd_device, kick);
        int rc = io_uring_submit(&zd->ring);

        if (rc < 0 || io_uring_sq_ready(&zd->ring)) /* no memory just now: the next turn */
                loop_defer(zd->loop, &zd->kick);
        struct list finished;
        list_init(&finished);
        list_splice_tail(&finished, &zd->finished);
        zd->delivering = true;
        struct zdev_io *io;
        while (!zd->closed && (io = list_first(&finished, struct zdev_io, node))) {
                list_del(&io->node);
                io->done(io, (int)(int64_t)io->driver);
        }
        end_delivery(zd);
}
