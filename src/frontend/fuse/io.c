/* Reads, writes, holes and flushes of files, byte by byte where they ask for it.
 *
 * The pool takes 512-byte sectors. A read is widened; a write or a hole whose ends are not on
 * sector boundaries reads the sectors it shares, changes its bytes and writes them back. That is
 * safe because the file is the only writer of the volume (the controller is held) and because
 * requests that change overlapping sectors run one after another, in order of arrival.
 *
 * A request that changes data waits for the controller's gate, at most gate_timeout_ms. It never
 * waits for space: no_hold, ENOSPC. A write behind the end of the volume is ENOSPC, one across it
 * short, as on a block device.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

enum { BLOCK = 4096 }; /* of the map */

enum op_kind { OP_READ, OP_WRITE, OP_ZERO, OP_FLUSH };

/* A part of an operation: sectors that are written as they stand in the buffer, sectors that are
 * read and changed first, or sectors that are zeroed without a buffer. */
struct segment {
        enum { SEG_READ, SEG_WRITE, SEG_CHANGE, SEG_ZERO, SEG_FLUSH } kind;
        uint64_t offset, length; /* whole sectors */
};

struct fuse_op {
        struct list node;
        enum op_kind kind;
        bool peek; /* of a descriptor that holds nothing */
        bool started;
        struct fuse_file *file;
        fuse_req_t req;
        uint64_t off, size; /* bytes asked for, clipped to the volume */
        uint64_t start, end; /* sectors touched, in bytes */
        uint8_t *data; /* OP_WRITE: the bytes to write */
        uint8_t *buf; /* the sectors; OP_ZERO: the one sector of a segment that is changed */
        struct segment seg[3];
        unsigned nseg, at;
        bool was_read; /* SEG_CHANGE: the sectors are in buf */
        struct volume_io io;
        struct iovec iov;
};

static bool op_changes(const struct fuse_op *op)
{
        return op->kind == OP_WRITE || op->kind == OP_ZERO;
}

bool fuse_io_busy(const struct fuse_file *file)
{
        const struct fuse_op *op;
        list_for_each (op, &file->ops_list, node)
                if (!op->peek)
                        return true;
        return false;
}

/* ---- the end of an operation ---- */

/* The kernel and its callers know fewer errors than the pool. */
static int error_of(int status)
{
        switch (status) {
        case -ENOSPC:
        case -EROFS:
        case -ENOMEM:
        case -ESTALE:
                return -status;
        default:
                return EIO;
        }
}

static void reply(struct fuse_op *op, int status)
{
        if (status < 0)
                fuse_reply_err(op->req, error_of(status));
        else if (op->kind == OP_READ)
                fuse_reply_buf(op->req, (char *)op->buf + (op->off - op->start), op->size);
        else if (op->kind == OP_WRITE)
                fuse_reply_write(op->req, op->size);
        else
                fuse_reply_err(op->req, 0);
}

static void op_free(struct fuse_op *op)
{
        list_del(&op->node);
        free(op->data);
        free(op->buf);
        free(op);
}

static void op_end(struct fuse_op *op, int status)
{
        struct fuse_file *file = op->file;

        if (status == 0 && op_changes(op))
                clock_gettime(CLOCK_REALTIME_COARSE, &file->mtime);
        reply(op, status);
        op_free(op);
        fuse_io_kick(file);
        fuse_file_settle(file);
}

void fuse_io_fail_waiting(struct fuse_file *file, int error)
{
        struct fuse_op *op, *tmp;

        list_for_each_safe (op, tmp, &file->ops_list, node) {
                if (op->started)
                        continue;
                fuse_reply_err(op->req, error);
                op_free(op);
        }
}

/* ---- segments ---- */

static void seg_done(struct volume_io *io, int status);

static uint8_t *sectors(const struct fuse_op *op, const struct segment *s)
{
        return op->kind == OP_ZERO ? op->buf : op->buf + (s->offset - op->start);
}

static void submit(struct fuse_op *op, enum volume_op what, const struct segment *s)
{
        op->io = (struct volume_io){.op = what,
                                    .no_hold = true,
                                    .offset_bytes = s->offset,
                                    .length_bytes = s->length,
                                    .done = seg_done};
        if (what == VOLUME_READ || what == VOLUME_WRITE) {
                op->iov = (struct iovec){sectors(op, s), s->length};
                op->io.iov = &op->iov;
                op->io.niov = 1;
        }
        if (op->peek)
                nvc_peek(op->file->controller, &op->io);
        else
                nvc_submit(op->file->controller, &op->io);
}

static void seg_start(struct fuse_op *op)
{
        const struct segment *s = &op->seg[op->at];

        switch (s->kind) {
        case SEG_READ:
        case SEG_CHANGE:
                submit(op, VOLUME_READ, s);
                break;
        case SEG_WRITE:
                submit(op, VOLUME_WRITE, s);
                break;
        case SEG_ZERO:
                submit(op, VOLUME_WRITE_ZEROES, s);
                break;
        case SEG_FLUSH:
                submit(op, VOLUME_FLUSH, s);
                break;
        }
}

/* Puts the operation's bytes over the sectors of s that have been read. */
static void change(struct fuse_op *op, const struct segment *s)
{
        uint64_t from = MAX(op->off, s->offset);
        uint64_t to = MIN(op->off + op->size, s->offset + s->length);
        uint8_t *at = sectors(op, s) + (from - s->offset);

        if (op->kind == OP_WRITE)
                memcpy(at, op->data + (from - op->off), to - from);
        else
                memset(at, 0, to - from);
}

static void seg_done(struct volume_io *io, int status)
{
        struct fuse_op *op = container_of(io, struct fuse_op, io);
        const struct segment *s = &op->seg[op->at];

        if (status < 0) {
                op_end(op, status);
        } else if (s->kind == SEG_CHANGE && !op->was_read) {
                op->was_read = true;
                change(op, s);
                submit(op, VOLUME_WRITE, s);
        } else if (++op->at < op->nseg) {
                op->was_read = false;
                seg_start(op);
        } else {
                op_end(op, 0);
        }
}

/* ---- order ---- */

/* An earlier operation changes sectors that this one changes. */
static bool must_wait(const struct fuse_op *op)
{
        const struct fuse_op *earlier;

        if (!op_changes(op))
                return false;
        list_for_each (earlier, &op->file->ops_list, node) {
                if (earlier == op)
                        return false;
                if (op_changes(earlier) && earlier->start < op->end && op->start < earlier->end)
                        return true;
        }
        return false;
}

static struct fuse_op *next_runnable(struct fuse_file *file)
{
        struct fuse_op *op;
        bool gate = nvc_may_submit(file->controller);

        list_for_each (op, &file->ops_list, node) {
                if (op->started || must_wait(op))
                        continue;
                if (op->peek || gate)
                        return op;
                fuse_file_await_gate(file);
        }
        return NULL;
}

void fuse_io_kick(struct fuse_file *file)
{
        struct fuse_op *op;

        while (file->controller && (op = next_runnable(file))) {
                op->started = true;
                seg_start(op);
        }
}

static struct fuse_op *op_new(fuse_req_t req, struct fuse_handle *h, enum op_kind kind,
                              uint64_t off, uint64_t size)
{
        struct fuse_op *op = calloc(1, sizeof(*op));

        if (!op) {
                fuse_reply_err(req, ENOMEM);
                return NULL;
        }
        list_init(&op->node);
        op->kind = kind;
        op->peek = !h->write;
        op->file = h->file;
        op->req = req;
        op->off = off;
        op->size = size;
        op->start = off / FUSE_SECTOR * FUSE_SECTOR;
        op->end = DIV_ROUND_UP(off + size, FUSE_SECTOR) * FUSE_SECTOR;
        return op;
}

static void op_add(struct fuse_op *op)
{
        struct fuse_file *file = op->file;
        list_add_tail(&file->ops_list, &op->node);
        fuse_io_kick(file);
}

static void add_segment(struct fuse_op *op, int kind, uint64_t offset, uint64_t end)
{
        if (offset < end)
                op->seg[op->nseg++] = (struct segment){kind, offset, end - offset};
}

/* A page-aligned buffer for the sectors of the operation. False: the request has been answered. */
static bool op_buffer(struct fuse_op *op, uint64_t len)
{
        op->buf = aligned_alloc(4096, DIV_ROUND_UP(len, 4096) * 4096);
        if (op->buf)
                return true;
        fuse_reply_err(op->req, ENOMEM);
        op_free(op);
        return false;
}

/* ---- requests ---- */

/* False: answered, for the file has gone. */
static bool usable(fuse_req_t req, const struct fuse_handle *h)
{
        if (!h->file->shut)
                return true;
        fuse_reply_err(req, ESTALE);
        return false;
}

void fuse_do_read(fuse_req_t req, struct fuse_handle *h, size_t size, uint64_t off)
{
        if (!usable(req, h))
                return;
        const struct fuse_file_ops *ops = &h->file->ops;
        if (!h->write && ops->may_read && !ops->may_read(ops->ctx)) {
                fuse_reply_err(req, EREMOTE); /* given away since it was opened */
                return;
        }
        uint64_t end = nvc_size_bytes(h->file->controller);
        uint64_t n = off < end ? MIN(MIN(size, end - off), FUSE_MAX_IO) : 0;
        if (n == 0) {
                fuse_reply_buf(req, NULL, 0);
                return;
        }
        struct fuse_op *op = op_new(req, h, OP_READ, off, n);
        if (!op || !op_buffer(op, op->end - op->start))
                return;
        add_segment(op, SEG_READ, op->start, op->end);
        op_add(op);
}

void fuse_do_write(fuse_req_t req, struct fuse_handle *h, const char *data, size_t size,
                   uint64_t off)
{
        if (!usable(req, h))
                return;
        uint64_t end = nvc_size_bytes(h->file->controller);
        if (!h->write || (size && off >= end)) {
                fuse_reply_err(req, h->write ? ENOSPC : EBADF);
                return;
        }
        uint64_t n = size ? MIN(size, end - off) : 0;
        if (n == 0) {
                fuse_reply_write(req, 0);
                return;
        }
        struct fuse_op *op = op_new(req, h, OP_WRITE, off, n);
        if (!op || !op_buffer(op, op->end - op->start))
                return;
        if (op->start == off && op->end == off + n) {
                memcpy(op->buf, data, n);
                add_segment(op, SEG_WRITE, op->start, op->end);
        } else {
                op->data = malloc(n);
                if (!op->data) {
                        fuse_reply_err(req, ENOMEM);
                        op_free(op);
                        return;
                }
                memcpy(op->data, data, n);
                add_segment(op, SEG_CHANGE, op->start, op->end);
        }
        op_add(op);
}

void fuse_do_flush(fuse_req_t req, struct fuse_handle *h)
{
        if (!usable(req, h))
                return;
        if (!h->write) {
                fuse_reply_err(req, 0);
                return;
        }
        struct fuse_op *op = op_new(req, h, OP_FLUSH, 0, 0);
        if (!op)
                return;
        op->seg[op->nseg++] = (struct segment){.kind = SEG_FLUSH};
        op_add(op);
}

/* The shared sector in front, the whole sectors, the shared sector behind. */
static void zero_segments(struct fuse_op *op)
{
        uint64_t end = op->off + op->size;
        uint64_t first = DIV_ROUND_UP(op->off, FUSE_SECTOR) * FUSE_SECTOR;
        uint64_t last = end / FUSE_SECTOR * FUSE_SECTOR;

        if (first > last) { /* inside one sector */
                add_segment(op, SEG_CHANGE, op->start, op->end);
                return;
        }
        add_segment(op, SEG_CHANGE, op->start, first);
        add_segment(op, SEG_ZERO, first, last);
        add_segment(op, SEG_CHANGE, last, op->end);
}

void fuse_do_fallocate(fuse_req_t req, struct fuse_handle *h, int mode, uint64_t off,
                       uint64_t length)
{
        if (!usable(req, h))
                return;
        uint64_t size = nvc_size_bytes(h->file->controller);
        bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
        uint64_t end;

        if (!h->write || (!punch && !zero)) {
                fuse_reply_err(req, h->write ? EOPNOTSUPP : EBADF);
                return;
        }
        if (__builtin_add_overflow(off, length, &end) ||
            (end > size && !(mode & FALLOC_FL_KEEP_SIZE))) {
                fuse_reply_err(req, ENOSPC); /* the file cannot grow */
                return;
        }
        end = MIN(end, size);
        if (off >= end) {
                fuse_reply_err(req, 0);
                return;
        }
        struct fuse_op *op = op_new(req, h, OP_ZERO, off, end - off);
        if (!op || !op_buffer(op, FUSE_SECTOR))
                return;
        zero_segments(op);
        op_add(op);
}

/* ---- holes ---- */

struct seek {
        struct fuse_file *file;
        fuse_req_t req;
        uint64_t off;
        int whence;
        struct volume_extent extent;
};

static void seek_end(struct seek *s, int error, uint64_t at)
{
        struct fuse_file *file = s->file;

        if (error)
                fuse_reply_err(s->req, error);
        else
                fuse_reply_lseek(s->req, (off_t)at);
        free(s);
        file->seeks--;
        fuse_file_settle(file);
}

static void seek_mapped(void *ctx, int status, uint32_t n, uint64_t next)
{
        struct seek *s = ctx;
        uint64_t size = nvc_size_bytes(s->file->controller);
        uint64_t first = s->extent.block * BLOCK, end = first + s->extent.nblocks * BLOCK;

        if (status < 0)
                seek_end(s, EIO, 0);
        else if (n == 0 && next != UINT64_MAX)
                nvc_map(s->file->controller, next, &s->extent, 1, s, seek_mapped);
        else if (s->whence == SEEK_DATA)
                seek_end(s, n && first < size ? 0 : ENXIO, MAX(s->off, first));
        else if (n == 0 || first > s->off)
                seek_end(s, 0, s->off);
        else if (next == end / BLOCK) { /* data goes on where this answer ended */
                s->off = end;
                nvc_map(s->file->controller, next, &s->extent, 1, s, seek_mapped);
        } else
                seek_end(s, 0, MIN(end, size));
}

void fuse_do_lseek(fuse_req_t req, struct fuse_handle *h, uint64_t off, int whence)
{
        if (!usable(req, h))
                return;
        if ((whence != SEEK_DATA && whence != SEEK_HOLE) ||
            off >= nvc_size_bytes(h->file->controller)) {
                fuse_reply_err(req, whence == SEEK_DATA || whence == SEEK_HOLE ? ENXIO : EINVAL);
                return;
        }
        struct seek *s = calloc(1, sizeof(*s));
        if (!s) {
                fuse_reply_err(req, ENOMEM);
                return;
        }
        s->file = h->file;
        s->req = req;
        s->off = off;
        s->whence = whence;
        h->file->seeks++;
        nvc_map(h->file->controller, off / BLOCK, &s->extent, 1, s, seek_mapped);
}
