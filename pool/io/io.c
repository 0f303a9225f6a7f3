/* Requests on volumes. A write goes through: lock of its blocks -> their table pages into RAM ->
 * admission (admit.c; without room it waits in held.c) -> edges read that it covers only in part ->
 * one item a block in the user stream -> applied -> done, or a flush first (FUA). A write that
 * waits for its lock may be written by a later one of the same range. */
#include "pool/io/req.h"

#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

struct failure {
        struct deferred later;
        struct volume_io *io;
        int status;
};

static void fail_now(struct deferred *d)
{
        struct failure *f = container_of(d, struct failure, later);
        struct volume_io *io = f->io;
        int status = f->status;

        pool_release(f);
        io->done(io, status);
}

void io_fail_later(struct pool *pool, struct volume_io *io, int status)
{
        struct failure *f = pool_alloc(pool, sizeof(*f));

        if (!f) {
                io->done(io, status);
                return;
        }
        f->io = io;
        f->status = status;
        f->later.call = fail_now;
        pool_defer(pool, &f->later);
}

/* ---- the end of a request ---- */

void req_unpin(struct req *r)
{
        for (; r->npins; r->npins--)
                pin_drop(&r->pin[r->npins - 1]);
        r->loading = 0;
}

static void answer_older(struct pool *pool, struct list *older, uint64_t blocks, int status)
{
        while (!list_empty(older)) {
                struct req *r = list_first(older, struct req, instead);
                struct volume_io *io = r->io;

                list_del(&r->instead);
                pool_release(r);
                pool->absorbed_blocks += status < 0 ? 0 : blocks;
                io->done(io, status);
        }
}

static void finish(struct req *r)
{
        struct pool *pool = r->pool;
        struct volume_io *io = r->io;
        uint64_t blocks = r->end - r->first;
        int status = r->status;
        struct list older;

        list_init(&older);
        list_splice_tail(&older, &r->older);
        req_unpin(r);
        for (int i = 0; i < r->nedges; i++)
                pool_block_put(r->pool, r->edge_buf[i]);
        space_unclaim(r->pool, &r->claim);
        if (r->promised)
                promise_put(r->vol, r->promised);
        if (r->vol)
                lock_release(&r->vol->locks, &r->lock);
        pool_release(r);
        answer_older(pool, &older, blocks, status);
        io->done(io, status);
}

static void finish_later(struct deferred *d)
{
        finish(container_of(d, struct req, later));
}

static void flushed(struct flush_wait *w, int status)
{
        struct req *r = container_of(w, struct req, flush);

        if (r->status == 0)
                r->status = status;
        finish(r);
}

/* One piece is through; the last one ends the request. From a completion, never from submit. */
static void piece_done(struct req *r, int status)
{
        if (status < 0 && r->status == 0)
                r->status = status;
        if (--r->pending)
                return;
        req_unpin(r);
        if (r->status == 0 && r->io->fua) {
                r->flush.done = flushed;
                flush_add(r->pool, &r->flush);
                return;
        }
        finish(r);
}

void req_end_later(struct req *r, int status)
{
        r->status = status;
        r->later.call = finish_later;
        pool_defer(r->pool, &r->later);
}

/* ---- items ---- */

static void item_done(struct item *it, int status)
{
        piece_done(it->ctx, status);
}

static struct item *req_item(struct req *r, uint8_t type, uint64_t block)
{
        struct item *it = item_new(r->pool, type, r->vol->tree->id, block);

        if (it) {
                it->done = item_done;
                it->ctx = r;
        }
        return it;
}

static void from_caller(const struct volume_io *io, size_t at, uint8_t *dst, size_t len)
{
        for (int i = 0; i < io->niov && len; i++) {
                if (at >= io->iov[i].iov_len) {
                        at -= io->iov[i].iov_len;
                        continue;
                }
                size_t n = MIN(io->iov[i].iov_len - at, len);
                memcpy(dst, (uint8_t *)io->iov[i].iov_base + at, n);
                dst += n;
                len -= n;
                at = 0;
        }
}

/* Puts the request's bytes of that block into buf, which holds what stays of it. */
static void merge(const struct req *r, uint64_t block, uint8_t *buf)
{
        const struct volume_io *io = r->io;
        uint64_t start = MAX(block * ZP_BLOCK, io->offset_bytes);
        uint64_t stop = MIN((block + 1) * ZP_BLOCK, io->offset_bytes + io->length_bytes);

        if (io->op == VOLUME_WRITE)
                from_caller(io, start - io->offset_bytes, buf + start % ZP_BLOCK, stop - start);
        else
                memset(buf + start % ZP_BLOCK, 0, stop - start);
}

static int edge_of(const struct req *r, uint64_t block)
{
        for (int i = 0; i < r->nedges; i++)
                if (r->edge_block[i] == block)
                        return i;
        return -1;
}

static int write_block(struct req *r, uint64_t block)
{
        int edge = edge_of(r, block);
        struct item *it = req_item(r, RECORD_WRITE, block);

        if (!it)
                return -ENOMEM;
        if (edge >= 0) {
                it->data = r->edge_buf[edge];
                r->edge_buf[edge] = NULL;
        } else {
                it->data = pool_block_get(r->pool);
        }
        if (!it->data) {
                item_free(r->pool, it);
                return -ENOMEM;
        }
        merge(r, block, it->data);
        it->crc = crc32c(0, it->data, ZP_BLOCK);
        if (r->promised && !(tree_get(r->vol->tree, block).addr & ADDR_MAPPED)) {
                r->promised--;
                it->promised = r->vol;
        }
        r->pending++;
        stream_add(pool_stream(r->pool, r->cls, r->vol->copies), it);
        return 0;
}

static void discarded(struct unmap *u, int status)
{
        piece_done(u->ctx, status);
}

static void discard_run(struct req *r, uint64_t first, uint64_t end)
{
        r->unmap = (struct unmap){.pool = r->pool,
                                  .tree = r->vol->tree,
                                  .at = first,
                                  .end = end,
                                  .pin.now = r->npins > 0,
                                  .done = discarded,
                                  .ctx = r};
        r->pending++;
        unmap_start(&r->unmap);
}

/* What most of its blocks ask for. */
static enum cls class_of(const struct req *r)
{
        uint64_t hot = 0;

        if (r->io->op != VOLUME_WRITE)
                return CLASS_USER;
        for (uint64_t b = r->first; b < r->end; b++)
                hot += lifetime_of_write(r->pool, tree_get(r->vol->tree, b)) == CLASS_USER;
        return 2 * hot >= r->end - r->first ? CLASS_USER : CLASS_USER_COLD;
}

/* Edges are in memory: everything goes to the stream. */
static void send(struct req *r)
{
        int rc = 0;

        r->pending++; /* held until all is queued */
        r->cls = class_of(r);
        if (r->io->op == VOLUME_WRITE) {
                for (uint64_t b = r->first; b < r->end && rc == 0; b++)
                        rc = write_block(r, b);
        } else {
                uint64_t from = r->first, to = r->end;
                for (int i = 0; i < r->nedges && rc == 0; i++) {
                        if (r->edge_block[i] == from)
                                from++;
                        else
                                to--;
                        if (r->edge_buf[i])
                                rc = write_block(r, r->edge_block[i]);
                }
                if (rc == 0 && from < to)
                        discard_run(r, from, to);
        }
        if (rc < 0)
                r->status = rc;
        if (!--r->pending) {
                if (r->status == 0 && r->io->fua) {
                        r->flush.done = flushed;
                        flush_add(r->pool, &r->flush);
                } else {
                        req_end_later(r, r->status);
                }
        }
        stream_kick(r->pool, pool_stream(r->pool, r->cls, r->vol->copies));
        stream_kick(r->pool, pool_stream(r->pool, CLASS_USER, r->vol->copies));
}

/* ---- edges ---- */

static void edge_read_done(struct block_read *read, int status)
{
        struct req *r = read->ctx;

        if (status == 0 && tomb_is(r->pool, read->entry.crc, read->buf))
                status = -EIO;
        if (status < 0 && r->status == 0)
                r->status = status;
        if (--r->pending)
                return;
        if (r->status < 0)
                finish(r);
        else
                send(r);
}

static int edge_prepare(struct req *r, uint64_t block)
{
        int i = r->nedges;
        struct entry e = tree_lookup(r->vol->tree, block);

        r->edge_block[i] = block;
        r->nedges++;
        if (!(e.addr & ADDR_MAPPED)) {
                if (r->io->op == VOLUME_WRITE_ZEROES)
                        return 0; /* zeroes stay zeroes */
                r->edge_buf[i] = pool_block_get(r->pool);
                if (!r->edge_buf[i])
                        return -ENOMEM;
                memset(r->edge_buf[i], 0, ZP_BLOCK);
                return 0;
        }
        r->edge_buf[i] = pool_block_get(r->pool);
        if (!r->edge_buf[i])
                return -ENOMEM;
        struct block_read *read = &r->edge_read[i];
        read->vol = r->vol;
        read->block = block;
        read->buf = r->edge_buf[i];
        read->done = edge_read_done;
        read->ctx = r;
        r->pending++;
        block_read_start(r->pool, read, e);
        return 0;
}

void req_admitted(struct req *r)
{
        uint64_t start = r->io->offset_bytes, stop = start + r->io->length_bytes;
        int rc = 0;

        if (r->io->op == VOLUME_DISCARD) { /* edges stay as they are */
                r->first = DIV_ROUND_UP(start, ZP_BLOCK);
                r->end = MAX(stop / ZP_BLOCK, r->first);
                send(r);
                return;
        }
        r->pending++;
        if (start % ZP_BLOCK || stop < (r->first + 1) * ZP_BLOCK)
                rc = edge_prepare(r, r->first);
        if (rc == 0 && stop % ZP_BLOCK && edge_of(r, r->end - 1) < 0)
                rc = edge_prepare(r, r->end - 1);
        if (rc < 0 && r->status == 0)
                r->status = rc;
        if (--r->pending)
                return;
        if (r->status < 0)
                req_end_later(r, r->status);
        else
                send(r);
}

/* ---- pages, and admission ---- */

static void pages_there(struct pin *pin, int status);

static void pin_block(struct req *r, uint64_t first, uint64_t end)
{
        struct pin *pin = &r->pin[r->npins++];
        bool edges = (r->io->offset_bytes | r->io->length_bytes) % ZP_BLOCK;

        *pin = (struct pin){.first = first,
                            .end = end,
                            .now = r->npins > 1,
                            .chain = edges,
                            .ready = pages_there,
                            .ctx = r};
        if (!pin_take(r->pool, r->vol->tree, pin))
                r->loading++;
}

bool req_pin_pages(struct req *r)
{
        if (r->io->op == VOLUME_WRITE) {
                pin_block(r, r->first, r->end);
        } else if (r->io->op == VOLUME_WRITE_ZEROES) {
                pin_block(r, r->first, r->first + 1);
                pin_block(r, r->end - 1, r->end);
        }
        return !r->loading;
}

static void try_start(struct req *r)
{
        if (req_admit(r)) {
                req_admitted(r);
                return;
        }
        if (r->io->no_hold) {
                req_end_later(r, -ENOSPC);
                return;
        }
        req_hold(r);
}

static void pages_there(struct pin *pin, int status)
{
        struct req *r = pin->ctx;

        if (status < 0 && r->status == 0)
                r->status = status;
        if (--r->loading)
                return;
        if (r->status < 0) {
                if (r->is_held)
                        req_unhold(r);
                req_end_later(r, r->status);
        } else if (!r->is_held) { /* else held_resume goes on */
                try_start(r);
        }
}

static void granted(struct lock *l)
{
        struct req *r = container_of(l, struct req, lock);

        if (r->pool->readonly)
                req_end_later(r, -EROFS);
        else if (r->io->offset_bytes + r->io->length_bytes > r->vol->size_bytes)
                req_end_later(r, -EINVAL); /* it has shrunk meanwhile */
        else if (req_pin_pages(r))
                try_start(r);
}

/* ---- entry ---- */

static int check(const struct volume *vol, const struct volume_io *io)
{
        uint64_t end;

        if (io->op == VOLUME_FLUSH)
                return 0;
        if (vol->frozen && io->op != VOLUME_READ)
                return -EROFS;
        if (io->op > VOLUME_FLUSH || io->offset_bytes % VOLUME_SECTOR ||
            io->length_bytes % VOLUME_SECTOR ||
            __builtin_add_overflow(io->offset_bytes, io->length_bytes, &end) ||
            end > vol->size_bytes)
                return -EINVAL;
        if (io->op != VOLUME_READ && io->op != VOLUME_WRITE)
                return 0;
        size_t sum = 0;
        for (int i = 0; i < io->niov; i++)
                if (__builtin_add_overflow(sum, io->iov[i].iov_len, &sum))
                        return -EINVAL;
        return sum == io->length_bytes ? 0 : -EINVAL;
}

/* A write that waits for its lock when another of exactly its range comes is never written: both
 * are under way, so that it may have been overwritten before anybody could see it. The later one
 * takes its place, and both are answered when that is through. Between the two nothing has come
 * that would tell them apart, a snapshot or a discard for instance: that would be the last to
 * overlap. */
static bool takes_place(struct volume *vol, struct req *r)
{
        struct lock *last = lock_last(&vol->locks, r->first, r->end);

        if (!last || last->granted || last->grant != granted)
                return false;
        struct req *w = container_of(last, struct req, lock);
        struct volume_io *old = w->io, *io = r->io;
        if (old->op != VOLUME_WRITE || io->op != VOLUME_WRITE ||
            old->offset_bytes != io->offset_bytes || old->length_bytes != io->length_bytes ||
            old->fua != io->fua || old->no_hold != io->no_hold)
                return false;
        w->io = io;
        r->io = old;
        list_add_tail(&w->older, &r->instead);
        return true;
}

static void start(struct volume *vol, struct volume_io *io)
{
        struct pool *pool = vol->pool;
        struct req *r = pool_alloc(pool, sizeof(*r));

        if (!r) {
                io_fail_later(pool, io, -ENOMEM);
                return;
        }
        r->pool = pool;
        r->io = io;
        list_init(&r->held);
        list_init(&r->older);
        list_init(&r->instead);
        if (io->op == VOLUME_FLUSH) {
                r->flush.done = flushed;
                flush_add(pool, &r->flush);
                return;
        }
        r->vol = vol;
        r->first = io->offset_bytes / ZP_BLOCK;
        r->end = DIV_ROUND_UP(io->offset_bytes + io->length_bytes, ZP_BLOCK);
        r->lock.first = r->first;
        r->lock.end = r->end;
        r->lock.grant = granted;
        if (!takes_place(vol, r) && lock_take(&vol->locks, &r->lock))
                granted(&r->lock);
}

void volume_submit(struct volume *vol, struct volume_io *io)
{
        struct pool *pool = vol->pool;
        int rc = check(vol, io);

        pool->requests++;
        if (rc == 0 && pool->readonly && io->op != VOLUME_READ && io->op != VOLUME_FLUSH)
                rc = -EROFS;
        if (rc < 0 || (!io->length_bytes && io->op != VOLUME_FLUSH))
                io_fail_later(pool, io, rc);
        else if (io->op == VOLUME_READ)
                read_start(vol, io);
        else
                start(vol, io);
        if (!pool->settling)
                pool_poll(pool);
}
