/* See ram_backing.h. */
#include "ram_backing.h"

#include <assert.h>
#include <errno.h>

enum { BLOCK = 4096 };

static void copy(struct volume_io *io, uint8_t *disk)
{
        for (int i = 0; i < io->niov; i++) {
                if (io->op == VOLUME_READ)
                        memcpy(io->iov[i].iov_base, disk, io->iov[i].iov_len);
                else
                        memcpy(disk, io->iov[i].iov_base, io->iov[i].iov_len);
                disk += io->iov[i].iov_len;
        }
}

static void unmap_inside(struct ram_backing *r, uint64_t offset, uint64_t length, bool zero_edges)
{
        uint64_t first = DIV_ROUND_UP(offset, BLOCK), end = (offset + length) / BLOCK;
        if (offset + length == r->size_bytes)
                end = DIV_ROUND_UP(r->size_bytes, BLOCK);
        if (zero_edges)
                memset(r->data + offset, 0, length);
        if (first >= end)
                return;
        memset(r->data + first * BLOCK, 0, MIN(end * BLOCK, r->size_bytes) - first * BLOCK);
        bitmap_clear_range(&r->mapped, first, end - first);
}

static int execute(struct ram_backing *r, struct volume_io *io)
{
        uint64_t offset = io->offset_bytes, length = io->length_bytes, sum = 0;

        if (r->fail)
                return r->fail;
        if (io->op == VOLUME_FLUSH) {
                r->nflushes++;
                return 0;
        }
        if (offset % 512 || length % 512 || offset > r->size_bytes ||
            length > r->size_bytes - offset)
                return -EINVAL;
        switch (io->op) {
        case VOLUME_READ:
        case VOLUME_WRITE:
                for (int i = 0; i < io->niov; i++)
                        sum += io->iov[i].iov_len;
                assert(sum == length);
                if (io->op == VOLUME_WRITE && length)
                        bitmap_set_range(&r->mapped, offset / BLOCK,
                                         (offset + length - 1) / BLOCK - offset / BLOCK + 1);
                copy(io, r->data + offset);
                break;
        case VOLUME_DISCARD:
                unmap_inside(r, offset, length, false);
                break;
        case VOLUME_WRITE_ZEROES:
                unmap_inside(r, offset, length, true);
                break;
        case VOLUME_FLUSH:
                break;
        }
        return 0;
}

static void complete(struct loop_defer *d)
{
        struct ram_backing *r = container_of(d, struct ram_backing, complete);
        struct volume_io *batch[ARRAY_SIZE(r->queue)];
        uint32_t n = r->nqueue;

        memcpy(batch, r->queue, n * sizeof(batch[0]));
        r->nqueue = 0;
        for (uint32_t i = 0; i < n; i++)
                batch[i]->done(batch[i], execute(r, batch[i]));
}

static void submit(void *backing, struct volume_io *io)
{
        struct ram_backing *r = backing;
        assert(r->nqueue < ARRAY_SIZE(r->queue));
        r->queue[r->nqueue++] = io;
        r->nsubmitted++;
        if (io->op != VOLUME_READ && io->op != VOLUME_FLUSH && !io->no_hold)
                r->nohold_missing = true;
        if (!r->hold)
                loop_defer(r->loop, &r->complete);
}

void ram_release(struct ram_backing *r)
{
        r->hold = false;
        loop_defer(r->loop, &r->complete);
}

static void map_one(struct ram_backing *r, const struct ram_map *m)
{
        uint64_t at = m->first;
        uint32_t n = 0;

        /* An extent that intersects the range is listed from its own beginning. */
        while (!r->map_run && at > 0 && bitmap_test(&r->mapped, at) &&
               bitmap_test(&r->mapped, at - 1))
                at--;
        while (n < m->max && (at = bitmap_next_set(&r->mapped, at)) < r->mapped.nbits) {
                uint64_t end = bitmap_next_clear(&r->mapped, at);
                if (r->map_run)
                        end = MIN(end, at + r->map_run);
                m->out[n++] = (struct volume_extent){at, end - at};
                at = end;
        }
        if (bitmap_next_set(&r->mapped, at) >= r->mapped.nbits)
                at = UINT64_MAX;
        m->done(m->ctx, r->fail, n, at);
}

static void map_complete(struct loop_defer *d)
{
        struct ram_backing *r = container_of(d, struct ram_backing, map_complete);
        struct ram_map batch[ARRAY_SIZE(r->maps)];
        uint32_t n = r->nmaps;

        memcpy(batch, r->maps, n * sizeof(batch[0]));
        r->nmaps = 0;
        for (uint32_t i = 0; i < n; i++)
                map_one(r, &batch[i]);
}

static void map(void *backing, uint64_t first_block, struct volume_extent *out, uint32_t max,
                void *ctx, void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        struct ram_backing *r = backing;
        assert(r->nmaps < ARRAY_SIZE(r->maps));
        r->maps[r->nmaps++] =
            (struct ram_map){first_block, out, r->map_max ? MIN(max, r->map_max) : max, ctx, done};
        loop_defer(r->loop, &r->map_complete);
}

static void cancel_held(void *backing)
{
        struct ram_backing *r = backing;
        for (uint32_t i = 0; r->hold && i < r->nqueue; i++)
                r->queue[i]->done(r->queue[i], -ECANCELED);
        if (r->hold)
                r->nqueue = 0;
}

static uint64_t size_bytes(void *backing)
{
        return ((struct ram_backing *)backing)->size_bytes;
}

const struct nvm_backing_ops ram_backing_ops = {submit, map, cancel_held, size_bytes};

void ram_init(struct ram_backing *r, struct loop *loop, uint64_t size)
{
        *r = (struct ram_backing){.loop = loop, .size_bytes = size};
        r->data = calloc(1, (size_t)size + BLOCK);
        int rc = bitmap_init(&r->mapped, DIV_ROUND_UP(size, BLOCK));
        assert(r->data && rc == 0);
        (void)rc;
        r->complete.call = complete;
        r->map_complete.call = map_complete;
}

void ram_fini(struct ram_backing *r)
{
        loop_defer_cancel(&r->complete);
        loop_defer_cancel(&r->map_complete);
        free(r->data);
        bitmap_fini(&r->mapped);
}
