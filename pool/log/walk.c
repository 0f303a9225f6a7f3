/* Walking the chain of a group's batches: each header stands right behind the batch before it and
 * names it. A header is only looked for there; where none verifies the chain ends. */
#include "pool/log/walk.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static void read_more(struct walk *w);

static void end(struct walk *w, int status)
{
        w->done(w, status);
}

static bool belongs(const struct pool *pool, const struct group *g, const struct header *h,
                    uint32_t off, uint32_t end_off)
{
        return h->group == g->id && h->generation == g->generation && h->offset == off &&
               uuid_equal(&h->pool, &pool->uuid) && h->seq > h->prev_seq && h->seq > h->mark &&
               (uint64_t)off + h->header_blocks + h->data_blocks <= end_off;
}

static bool expected(const struct walk *w)
{
        if (w->first)
                return w->h.header_blocks <= w->end - w->off;
        if (w->any_prev)
                return belongs(w->pool, w->group, &w->h, w->off, w->end);
        return walk_follows(w->pool, w->group, &w->h, w->off, w->end, w->prev_seq, w->prev_sum);
}

bool walk_follows(const struct pool *pool, const struct group *g, const struct header *h,
                  uint32_t off, uint32_t end_off, uint64_t prev_seq, uint64_t prev_sum)
{
        return belongs(pool, g, h, off, end_off) && h->prev_seq == prev_seq &&
               h->prev_sum == prev_sum;
}

static void block_read(struct pio *p, int status)
{
        struct walk *w = container_of(p, struct walk, pio);

        if (status < 0) {
                end(w, status);
                return;
        }
        w->got += p->io.nblocks;
        if (w->got == 1 && w->need == 1) {
                if (header_decode(w->buf, &w->h) < 0 || !expected(w)) {
                        end(w, 0);
                        return;
                }
                w->need = w->h.header_blocks;
        }
        if (w->got < w->need) {
                read_more(w);
                return;
        }
        if (header_verify(&w->h, w->buf, w->pool->secret) < 0) {
                end(w, 0);
                return;
        }
        w->found(w);
}

static void read_more(struct walk *w)
{
        struct pdev *d = member_dev(w->pool, w->group, w->member);
        uint32_t n = d->dev ? MIN(w->need - w->got, d->dev->geo.max_io_blocks) : 0;

        if (!n) { /* it was let go of meanwhile */
                end(w, -ENODEV);
                return;
        }
        if (w->cap < w->need) {
                void *buf = NULL;
                if (posix_memalign(&buf, ZP_BLOCK, (size_t)w->need * ZP_BLOCK)) {
                        end(w, -ENOMEM);
                        return;
                }
                if (w->buf)
                        memcpy(buf, w->buf, (size_t)w->got * ZP_BLOCK);
                free(w->buf);
                w->buf = buf;
                w->cap = w->need;
        }
        w->pio.iov = (struct iovec){w->buf + (size_t)w->got * ZP_BLOCK, (size_t)n * ZP_BLOCK};
        w->pio.cb = block_read;
        w->pio.io = (struct zdev_io){
            .op = ZDEV_READ,
            .zone = w->group->member[w->member].zone,
            .block = w->off + w->got,
            .nblocks = n,
            .iov = &w->pio.iov,
            .niov = 1,
        };
        ask_alone(w->pool, w->group, w->member, &w->pio);
}

static void look(struct walk *w)
{
        if (w->off >= w->end) {
                end(w, 0);
                return;
        }
        if (!w->buf)
                w->cap = 0;
        w->need = 1;
        w->got = 0;
        read_more(w);
}

void walk_start(struct walk *w)
{
        look(w);
}

void walk_next(struct walk *w)
{
        w->off += w->h.header_blocks + w->h.data_blocks;
        w->prev_seq = w->h.seq;
        w->prev_sum = w->h.sum;
        look(w);
}

void walk_fini(struct walk *w)
{
        free(w->buf);
        w->buf = NULL;
        w->cap = 0;
}
