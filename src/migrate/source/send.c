/* Chunks: runs of dirty blocks, read and sent, in flight until the target has acknowledged them.
 *
 * A block's bit is cleared before the block is read, so that a change that the read misses sets it
 * again; a block in flight is left alone until it is acknowledged, so that it is never overtaken.
 * Zero blocks that this copy never got are not sent; others are a segment without data.
 */
#include "migrate/source/internal.h"

#include <stdlib.h>

void source_chunk_free(struct chunk *c)
{
        struct source *s = c->s;

        list_del(&c->node);
        s->nchunks--;
        s->inflight_blocks -= c->nblocks;
        free(c->buf);
        free(c);
}

void source_chunk_again(struct chunk *c)
{
        bitmap_set_range(&c->v->dirty, c->block, c->nblocks);
        source_chunk_free(c);
}

static bool block_is_zero(const uint8_t *p)
{
        const uint64_t *w = (const uint64_t *)p;

        for (unsigned i = 0; i < PEER_BLOCK / 8; i++)
                if (w[i])
                        return false;
        return true;
}

/* Segments of what was read; returns blocks with data. Zero blocks that were never sent are left
 * out. */
static uint32_t make_segments(struct chunk *c, struct peer_frame *f)
{
        uint32_t data = 0, n = 0;

        for (uint32_t i = 0; i < c->nblocks; i++) {
                const uint8_t *p = c->buf + (size_t)i * PEER_BLOCK;
                bool zero = block_is_zero(p);
                struct peer_segment *last = n ? &f->data.segments[n - 1] : NULL;

                if (zero && !bitmap_test(&c->v->sent, c->block + i))
                        continue;
                if (!zero && data != i)
                        memmove(c->buf + (size_t)data * PEER_BLOCK, p, PEER_BLOCK);
                data += !zero;
                if (last && last->zero == zero && last->block + last->nblocks == c->block + i)
                        last->nblocks++;
                else
                        f->data.segments[n++] = (struct peer_segment){c->block + i, 1, zero};
                bitmap_set_range(&c->v->sent, c->block + i, 1);
        }
        f->data.nsegments = (uint16_t)n;
        return data;
}

static void chunk_read(struct nvm_request *r)
{
        struct chunk *c = container_of(r, struct chunk, req);
        struct source *s = c->s;
        struct peer_frame f = {.type = PEER_DATA, .token = s->token};
        size_t len;

        s->commands--;
        if (!s->g || !s->peer || c->peer != s->peer) {
                source_chunk_again(c);
                loop_defer(s->m->s.loop, &s->kick);
                source_maybe_free(s);
                return;
        }
        if (r->status) {
                source_chunk_again(c);
                source_fail(s, "volume %s cannot be read: %s", owner_volume_name(c->v->mv->owner),
                            migrate_nvme_text(r->status));
                return;
        }
        uint32_t data = make_segments(c, &f);
        s->pass_left -= MIN(s->pass_left, c->nblocks);
        if (!s->pass_left && source_all_mapped(s)) {
                s->passes++;
                s->pass_left = source_remaining(s);
        }
        if (!f.data.nsegments) {
                source_chunk_free(c);
                loop_defer(s->m->s.loop, &s->kick);
                return;
        }
        c->seq = ++s->next_chunk;
        f.data.chunk = c->seq;
        f.data.volume = (uint8_t)c->v->index;
        f.data.payload = c->buf;
        f.data.payload_len = (size_t)data * PEER_BLOCK;
        uint8_t *bytes = peer_encode(&f, &len);
        free(steal_ptr(&c->buf));
        if (!bytes || peer_send_encoded(s->peer, bytes, len) < 0) {
                source_chunk_again(c); /* the connection's end follows */
                return;
        }
        s->moved_bytes += f.data.payload_len;
        if (s->suspend_ns)
                s->delta_bytes += f.data.payload_len;
        loop_defer(s->m->s.loop, &s->kick);
}

/* How many blocks from first on are in no chunk; 0: first is. */
static uint64_t free_of_chunks(const struct source *s, const struct source_volume *v,
                               uint64_t first, uint64_t n)
{
        struct chunk *c;

        list_for_each (c, &s->chunks, node) {
                if (c->v != v || c->block >= first + n || c->block + c->nblocks <= first)
                        continue;
                if (c->block <= first)
                        return 0;
                n = c->block - first;
        }
        return n;
}

/* The next run of dirty blocks that may be sent. */
static bool next_run(struct source *s, struct source_volume *v, uint64_t *ret_first,
                     uint32_t *ret_n)
{
        uint64_t at = v->cursor;
        bool wrapped = false;

        if (!v->dirty.nset)
                return false;
        for (;;) {
                at = bitmap_next_set(&v->dirty, at);
                if (at >= v->dirty.nbits) {
                        if (wrapped)
                                return false;
                        wrapped = true;
                        at = 0;
                        continue;
                }
                uint64_t n = bitmap_next_clear(&v->dirty, at) - at;
                uint64_t can = free_of_chunks(s, v, at, MIN(n, (uint64_t)PEER_CHUNK_BLOCKS));
                if (can) {
                        *ret_first = at;
                        *ret_n = (uint32_t)can;
                        v->cursor = at + can;
                        return true;
                }
                at++;
        }
}

bool source_send_chunk(struct source *s, struct source_volume *v)
{
        uint64_t first;
        uint32_t n;

        if (!v->mapped && !s->want_seq && !v->dirty.nset)
                return false;
        if (!next_run(s, v, &first, &n))
                return false;
        struct chunk *c = calloc(1, sizeof(*c));
        if (c)
                c->buf = aligned_alloc(PEER_BLOCK, (size_t)n * PEER_BLOCK);
        if (!c || !c->buf) {
                free(c);
                return false; /* the tick tries again */
        }
        c->s = s;
        c->v = v;
        c->block = first;
        c->nblocks = n;
        c->peer = s->peer;
        bitmap_clear_range(&v->dirty, first, n); /* before the read: a later change sets it again */
        s->inflight_blocks += n;
        s->nchunks++;
        list_add_tail(&s->chunks, &c->node);
        nvme_sqe_init(c->req.sqe, NVME_IO_READ, v->mv->spec.nsid);
        nvme_sqe_set_cdw64(c->req.sqe, 10, first);
        nvme_sqe_set_cdw(c->req.sqe, 12, n - 1);
        c->req.data = c->buf;
        c->req.data_len = (size_t)n * PEER_BLOCK;
        c->req.done = chunk_read;
        s->commands++;
        s->m->s.target->ops->submit(s->m->s.target, false, &c->req);
        return true;
}
