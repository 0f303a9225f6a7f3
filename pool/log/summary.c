/* Reading the summary a sealed group ends with: its last block says how long it is, its header is
 * checked like any other. */
#include "pool/log/summary.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static void read_part(struct summary_read *s);

static void end(struct summary_read *s, int status)
{
        if (status <= 0) {
                free(s->buf);
                s->buf = NULL;
        }
        s->done(s, status);
}

/* Batches stand one behind the other and end where the summary begins. */
static bool in_bounds(const struct header *h, const uint8_t *records)
{
        uint64_t off = 0;

        for (uint32_t pos = 0; pos < h->record_bytes;) {
                struct summary_item it;
                summary_item_decode(records + pos, &it);
                if (it.offset < off || !it.header_blocks || it.header_blocks > HEADER_MAX_BLOCKS)
                        return false;
                off = (uint64_t)it.offset + it.header_blocks + it.data_blocks;
                pos += SUMMARY_ITEM + it.record_bytes; /* header_verify has counted them */
        }
        return off <= h->offset;
}

static int check(struct summary_read *s)
{
        struct group *g = s->group;
        struct header h;

        if (header_decode(s->buf, &h) < 0 || h.kind != HEADER_SUMMARY || h.group != g->id ||
            h.generation != g->generation || h.offset != g->cap - s->blocks ||
            h.header_blocks != s->blocks || !uuid_equal(&h.pool, &s->pool->uuid) ||
            header_verify(&h, s->buf, s->pool->secret) < 0 || !in_bounds(&h, s->buf + HEADER_FIXED))
                return 0;
        s->h = h;
        return 1;
}

static void part_read(struct pio *p, int status)
{
        struct summary_read *s = container_of(p, struct summary_read, pio);

        if (status < 0) {
                end(s, status);
                return;
        }
        s->got += p->io.nblocks;
        if (!s->blocks) { /* that was the last block */
                s->blocks = summary_trailer_decode(s->buf, s->group->id, s->group->generation,
                                                   s->pool->secret);
                s->got = 0;
                if (!s->blocks || s->blocks >= s->group->cap) {
                        end(s, 0);
                        return;
                }
        }
        if (s->got < s->blocks)
                read_part(s);
        else
                end(s, check(s));
}

static void read_part(struct summary_read *s)
{
        struct pdev *d = member_dev(s->pool, s->group, s->member);
        uint32_t n = s->blocks ? s->blocks : 1;

        if (!s->got) {
                void *buf = NULL;
                free(s->buf);
                s->buf = NULL;
                if (posix_memalign(&buf, ZP_BLOCK, (size_t)n * ZP_BLOCK)) {
                        end(s, -ENOMEM);
                        return;
                }
                s->buf = buf;
        }
        uint32_t part = MIN(n - s->got, d->dev->geo.max_io_blocks);
        s->pio.iov = (struct iovec){s->buf + (size_t)s->got * ZP_BLOCK, (size_t)part * ZP_BLOCK};
        s->pio.cb = part_read;
        s->pio.io = (struct zdev_io){
            .op = ZDEV_READ,
            .zone = s->group->member[s->member].zone,
            .block = s->group->cap - n + s->got,
            .nblocks = part,
            .iov = &s->pio.iov,
            .niov = 1,
        };
        ask_alone(s->pool, s->group, s->member, &s->pio);
}

void summary_read_start(struct summary_read *s)
{
        s->blocks = s->got = 0;
        s->buf = NULL;
        read_part(s);
}
