/* Reads: in runs of blocks that lie together, straight into the caller's memory, or, of mirrored
 * blocks, by way of the pool's (ask.h); holes are zero-filled. Every block's crc32c is compared with the entry found when the read began. On a
 * difference the block is read again, into memory nobody else can change, before anything is
 * blamed.
 *
 * A run holds a reference on its group until it is done, so that the group is not reset under it.
 */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include "base/crc32c.h"

#include <string.h>

int iov_slice(const struct iovec *iov, int niov, size_t skip, size_t len, struct iovec *out)
{
        int n = 0;

        for (int i = 0; i < niov && len; i++) {
                if (skip >= iov[i].iov_len) {
                        skip -= iov[i].iov_len;
                        continue;
                }
                size_t part = MIN(iov[i].iov_len - skip, len);
                out[n++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, part};
                len -= part;
                skip = 0;
        }
        return n;
}

/* ---- one block into private memory ---- */

static void block_send(struct block_read *r);

/* Nothing is blamed on one bad read: each member is asked twice. */
static bool ask_again(struct block_read *r)
{
        if (++r->tries < 2)
                return true;
        r->tries = 0;
        r->bad |= 1u << r->member;
        if (r->one_member)
                return false;
        int next = ask_pick(&r->ask, r->bad);
        r->member = next < 0 ? r->member : (unsigned)next;
        return next >= 0;
}

static void block_end(struct block_read *r, int status)
{
        struct pool *pool = r->pool;

        if (status == -EILSEQ && !r->quiet)
                pool_event_send(pool, POOL_EVENT_CORRUPTION, status,
                                r->group->member[r->member].dev, r->vol, r->block);
        if (status == 0 && r->bad && r->vol && !r->quiet)
                heal_block(pool, r->vol->tree, r->block, r->entry, r->buf, r->bad, NULL, NULL);
        group_unref(pool, r->group);
        r->done(r, status);
}

static void block_done(struct ask *a, unsigned member, int status)
{
        struct block_read *r = container_of(a, struct block_read, ask);

        if (r->member != member) { /* it stalled, and is not to blame */
                r->member = member;
                r->tries = 0;
        }
        if (status == 0 && (r->pool->options.checksums || r->verify) &&
            crc32c(0, r->buf, ZP_BLOCK) != r->entry.crc)
                status = -EILSEQ;
        if (status < 0 && ask_again(r))
                block_send(r);
        else
                block_end(r, status);
}

static void block_send(struct block_read *r)
{
        r->iov = (struct iovec){r->buf, ZP_BLOCK};
        r->ask.pool = r->pool;
        r->ask.group = r->group;
        r->ask.off = addr_offset(r->entry.addr);
        r->ask.n = 1;
        r->ask.iov = &r->iov;
        r->ask.niov = 1;
        r->ask.alone = r->one_member;
        r->ask.but = r->bad;
        r->ask.done = block_done;
        ask_member(&r->ask, r->member);
}

static void no_member(struct deferred *d)
{
        struct block_read *r = container_of(d, struct block_read, later);

        group_unref(r->pool, r->group);
        r->done(r, -EIO);
}

static void start(struct pool *pool, struct block_read *r, struct entry e, int member)
{
        r->pool = pool;
        r->entry = e;
        r->tries = 0;
        r->bad = 0;
        r->ask.width = 0;
        r->group = pool->groups[addr_group(e.addr)];
        group_ref(r->group);
        if (member >= 0 && !member_dev(pool, r->group, (unsigned)member)->dev) { /* let go of */
                r->bad = 1u << member;
                member = r->one_member
                             ? -1
                             : member_pick(pool, r->group, addr_offset(e.addr) + 1, r->bad);
        }
        if (member < 0) { /* its devices are missing */
                r->later.call = no_member;
                pool_defer(pool, &r->later);
                return;
        }
        r->member = (unsigned)member;
        block_send(r);
}

void block_read_start(struct pool *pool, struct block_read *r, struct entry e)
{
        r->one_member = false;
        start(pool, r, e,
              member_pick(pool, pool->groups[addr_group(e.addr)], addr_offset(e.addr) + 1, 0));
}

void block_read_from(struct pool *pool, struct block_read *r, struct entry e, unsigned member)
{
        r->one_member = false;
        start(pool, r, e, (int)member);
}

void block_read_member(struct pool *pool, struct block_read *r, struct entry e, unsigned member)
{
        r->one_member = true;
        start(pool, r, e, (int)member);
}

/* ---- requests ---- */

struct reader {
        struct deferred later;
        struct pin pin;
        struct volume *vol;
        struct volume_io *io;
        uint32_t pending;
        int status;
};

/* Whole blocks that lie together. */
struct run {
        struct ask ask;
        struct reader *rd;
        struct group *group;
        unsigned member;
        unsigned failed; /* members whose device did not answer, a bit each */
        uint64_t block; /* of the volume */
        uint32_t off, n;
        uint32_t checked;
        size_t at; /* in the caller's bytes */
        struct iovec *iov;
        struct block_read again;
        uint32_t *crc;
};

/* A block of which only a part is wanted. */
struct edge {
        struct block_read read;
        struct reader *rd;
        size_t at, skip, len;
};

static void finish(struct reader *rd)
{
        struct volume_io *io = rd->io;
        int status = rd->status;

        pool_release(rd);
        io->done(io, status);
}

static void finish_later(struct deferred *d)
{
        finish(container_of(d, struct reader, later));
}

static void part_done(struct reader *rd, int status)
{
        if (status < 0 && rd->status == 0)
                rd->status = status;
        if (!--rd->pending)
                finish(rd);
}

static void to_caller(const struct volume_io *io, size_t at, const uint8_t *src, size_t len)
{
        for (int i = 0; i < io->niov && len; i++) {
                if (at >= io->iov[i].iov_len) {
                        at -= io->iov[i].iov_len;
                        continue;
                }
                size_t n = MIN(io->iov[i].iov_len - at, len);
                if (src) {
                        memcpy((uint8_t *)io->iov[i].iov_base + at, src, n);
                        src += n;
                } else {
                        memset((uint8_t *)io->iov[i].iov_base + at, 0, n);
                }
                len -= n;
                at = 0;
        }
}

static uint32_t caller_crc(const struct volume_io *io, size_t at, size_t len)
{
        uint32_t crc = 0;

        for (int i = 0; i < io->niov && len; i++) {
                if (at >= io->iov[i].iov_len) {
                        at -= io->iov[i].iov_len;
                        continue;
                }
                size_t n = MIN(io->iov[i].iov_len - at, len);
                crc = crc32c(crc, (uint8_t *)io->iov[i].iov_base + at, n);
                len -= n;
                at = 0;
        }
        return crc;
}

static void run_end(struct run *r, int status)
{
        struct reader *rd = r->rd;
        struct pool *pool = rd->vol->pool;

        group_unref(pool, r->group);
        pool_block_put(pool, r->again.buf);
        pool_release(r->iov);
        pool_release(r->crc);
        pool_release(r);
        part_done(rd, status);
}

static void run_check(struct run *r);

static void run_reread(struct block_read *again, int status)
{
        struct run *r = container_of(again, struct run, again);

        if (status == 0 && tomb_is(r->rd->vol->pool, r->crc[r->checked], again->buf))
                status = -EIO;
        if (status < 0) {
                run_end(r, status);
                return;
        }
        to_caller(r->rd->io, r->at + (size_t)r->checked * ZP_BLOCK, again->buf, ZP_BLOCK);
        r->checked++;
        run_check(r);
}

static void run_check(struct run *r)
{
        struct pool *pool = r->rd->vol->pool;

        for (; r->checked < r->n; r->checked++) {
                size_t at = r->at + (size_t)r->checked * ZP_BLOCK;
                if (!tomb_may_be(pool, r->crc[r->checked]) &&
                    (!pool->options.checksums ||
                     caller_crc(r->rd->io, at, ZP_BLOCK) == r->crc[r->checked]))
                        continue;
                if (!r->again.buf)
                        r->again.buf = pool_block_get(pool);
                if (!r->again.buf) {
                        run_end(r, -ENOMEM);
                        return;
                }
                r->again.vol = r->rd->vol;
                r->again.block = r->block + r->checked;
                r->again.done = run_reread;
                block_read_from(pool, &r->again,
                                (struct entry){addr_make(r->group->id, r->off + r->checked),
                                               r->crc[r->checked]},
                                r->member);
                return;
        }
        run_end(r, 0);
}

static void run_send(struct run *r);

static void run_done(struct ask *a, unsigned member, int status)
{
        struct run *r = container_of(a, struct run, ask);

        r->member = member;
        if (status == 0) {
                run_check(r);
                return;
        }
        r->failed |= a->failed;
        int next = ask_pick(&r->ask, r->failed);
        if (next < 0) {
                run_end(r, status);
                return;
        }
        r->member = (unsigned)next;
        run_send(r);
}

static void run_send(struct run *r)
{
        const struct volume_io *io = r->rd->io;

        r->ask.pool = r->rd->vol->pool;
        r->ask.group = r->group;
        r->ask.off = r->off;
        r->ask.n = r->n;
        r->ask.iov = r->iov;
        r->ask.niov = iov_slice(io->iov, io->niov, r->at, (size_t)r->n * ZP_BLOCK, r->iov);
        r->ask.but = r->failed;
        r->ask.done = run_done;
        ask_member(&r->ask, r->member);
}

static int run_start(struct reader *rd, uint64_t block, struct entry first, uint32_t n, size_t at)
{
        struct pool *pool = rd->vol->pool;
        int member =
            member_pick(pool, pool->groups[addr_group(first.addr)], addr_offset(first.addr) + n, 0);
        struct run *r = member < 0 ? NULL : pool_alloc(pool, sizeof(*r));

        if (member < 0)
                return -EIO; /* its devices are missing */

        if (r) {
                r->iov = pool_alloc(pool, (size_t)rd->io->niov * sizeof(*r->iov));
                r->crc = pool_alloc(pool, n * sizeof(*r->crc));
        }
        if (!r || !r->iov || !r->crc) {
                if (r) {
                        pool_release(r->iov);
                        pool_release(r->crc);
                }
                pool_release(r);
                return -ENOMEM;
        }
        r->rd = rd;
        r->group = pool->groups[addr_group(first.addr)];
        r->block = block;
        r->off = addr_offset(first.addr);
        r->n = n;
        r->at = at;
        r->crc[0] = first.crc;
        for (uint32_t i = 1; i < n; i++)
                r->crc[i] = borrow_lookup(pool, rd->pin.tree, block + i).crc;
        r->member = (unsigned)member;
        group_ref(r->group);
        rd->pending++;
        run_send(r);
        return 0;
}

static void edge_done(struct block_read *read, int status)
{
        struct edge *e = container_of(read, struct edge, read);
        struct reader *rd = e->rd;

        if (status == 0 && tomb_is(read->pool, read->entry.crc, read->buf))
                status = -EIO;
        if (status == 0)
                to_caller(rd->io, e->at, read->buf + e->skip, e->len);
        pool_block_put(read->pool, read->buf);
        pool_release(e);
        part_done(rd, status);
}

static int edge_start(struct reader *rd, uint64_t block, struct entry entry, size_t at, size_t skip,
                      size_t len)
{
        struct pool *pool = rd->vol->pool;
        struct edge *e = pool_alloc(pool, sizeof(*e));

        if (!e || !(e->read.buf = pool_block_get(pool))) {
                pool_release(e);
                return -ENOMEM;
        }
        e->rd = rd;
        e->at = at;
        e->skip = skip;
        e->len = len;
        e->read.vol = rd->vol;
        e->read.block = block;
        e->read.done = edge_done;
        rd->pending++;
        block_read_start(pool, &e->read, entry);
        return 0;
}

/* Starts what lies at the position; returns the bytes it covers. */
static size_t part_start(struct reader *rd, uint64_t pos, size_t at, size_t left)
{
        const struct tree *t = rd->pin.tree; /* the volume may have another by now */
        uint64_t block = pos / ZP_BLOCK;
        size_t skip = pos % ZP_BLOCK, len = MIN(left, ZP_BLOCK - skip);
        struct pool *pool = rd->vol->pool;
        struct entry e = borrow_lookup(pool, t, block);
        int rc = 0;

        if (!(e.addr & ADDR_MAPPED)) {
                to_caller(rd->io, at, NULL, len);
                return len;
        }
        if (len < ZP_BLOCK) {
                rc = edge_start(rd, block, e, at, skip, len);
        } else {
                struct group *g = pool->groups[addr_group(e.addr)];
                uint32_t max = members_max_io(pool, g), n = 1;
                while (n < max && left - len >= ZP_BLOCK &&
                       borrow_lookup(pool, t, block + n).addr == e.addr + n) {
                        len += ZP_BLOCK;
                        n++;
                }
                rc = run_start(rd, block, e, n, at);
        }
        if (rc < 0)
                rd->status = rc;
        return len;
}

/* Entries are taken as they stand now: from here on the table may change. */
static void start_parts(struct reader *rd)
{
        struct volume_io *io = rd->io;
        size_t at = 0;

        while (at < io->length_bytes)
                at += part_start(rd, io->offset_bytes + at, at, io->length_bytes - at);
        pin_drop(&rd->pin);
}

static void pages_there(struct pin *pin, int status)
{
        struct reader *rd = pin->ctx;

        if (status == 0 && !pin->tree)
                status = -ENOENT; /* the volume was deleted meanwhile */
        if (status == 0)
                start_parts(rd);
        part_done(rd, status);
}

void read_start(struct volume *vol, struct volume_io *io)
{
        struct reader *rd = pool_alloc(vol->pool, sizeof(*rd));

        if (!rd) {
                io_fail_later(vol->pool, io, -ENOMEM);
                return;
        }
        rd->vol = vol;
        rd->io = io;
        rd->pending = 1;
        rd->pin = (struct pin){.first = io->offset_bytes / ZP_BLOCK,
                               .end = DIV_ROUND_UP(io->offset_bytes + io->length_bytes, ZP_BLOCK),
                               .now = true,
                               .chain = true,
                               .ready = pages_there,
                               .ctx = rd};
        if (borrow_has(vol->pool, vol->tree, rd->pin.first, rd->pin.end)) {
                rd->pin.tree = vol->tree; /* and no page is needed: there is no pin to drop */
                vol->pool->pager.hits++;
        } else if (!pin_take(vol->pool, vol->tree, &rd->pin)) {
                return;
        }
        start_parts(rd);
        if (!--rd->pending) {
                rd->later.call = finish_later;
                pool_defer(vol->pool, &rd->later);
        }
}
