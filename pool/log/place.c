/* Placing table pages. They need their addresses before anything is written (a parent names its
 * children), so a checkpoint puts them into batches of one header block first; the table stream
 * then writes these in order. */
#include "pool/internal.h"
#include "pool/log/encode.h"
#include "pool/space/mirror.h"

static struct batch *placing(struct stream *s)
{
        if (list_empty(&s->ready))
                return NULL;
        struct batch *b = list_entry(s->ready.prev, struct batch, node);
        return b->kind == BATCH_RECORDS && !b->hdr ? b : NULL;
}

void stream_place_end(struct pool *pool)
{
        struct batch *b = placing(pool_stream(pool, CLASS_TABLE, 1));

        if (!b || b->record_bytes)
                return;
        struct record_plan plan = {0};
        struct item *it;
        list_for_each (it, &b->items, node)
                record_plan_add(&plan, it);
        b->record_bytes = record_plan_bytes(&plan);
        group_account(b->group, b->record_bytes);
}

int stream_place(struct pool *pool, struct item *it)
{
        struct stream *s = pool_stream(pool, CLASS_TABLE, 1);
        const uint32_t each = RECORD_FIXED + RECORD_CRC_BYTES; /* at most */

        for (;;) {
                struct group *g = s->open;
                struct batch *b = placing(s);
                if (!g) {
                        s->open = group_open(pool, s, false);
                        if (!s->open)
                                s->open = group_open_short(pool, s);
                        if (!s->open)
                                return stream_hopeless(pool) ? -EIO : -ENOSPC;
                        continue;
                }
                if (group_away(pool, g)) {
                        stream_place_end(pool);
                        stream_seal(pool, s);
                        continue;
                }
                if (b && (b->group != g || b->record_bytes))
                        b = NULL;
                if (g->copies != pool->copies) { /* tables are as redundant as any volume */
                        stream_place_end(pool);
                        stream_seal(pool, s);
                        continue;
                }
                uint32_t limit = MIN((uint32_t)TABLE_BATCH_PAGES, members_max_io(pool, g) - 1);
                if (b && b->ndata >= MAX(limit, 1u)) {
                        stream_place_end(pool);
                        b = NULL;
                }
                uint32_t pages = b ? b->ndata + 1 : 1;
                uint32_t sum = group_summary_blocks(g, SUMMARY_ITEM + pages * each);
                if (g->wp + (b ? 1 : 2) + sum > g->cap) {
                        stream_place_end(pool);
                        stream_seal(pool, s);
                        continue;
                }
                if (!b) {
                        b = batch_new(pool, s, g, BATCH_RECORDS);
                        if (!b)
                                return -ENOMEM;
                        b->nhdr = 1;
                        g->wp++;
                        list_add_tail(&s->ready, &b->node);
                }
                it->addr = addr_make(g->id, g->wp++);
                b->ndata++;
                list_add_tail(&b->items, &it->node);
                return 0;
        }
}

void stream_drop_ready(struct pool *pool, int status)
{
        struct stream *s = pool_stream(pool, CLASS_TABLE, 1);
        struct list items;

        list_init(&items);
        while (!list_empty(&s->ready)) {
                struct batch *b = list_first(&s->ready, struct batch, node);
                struct group *g = b->group;
                list_del(&b->node);
                list_splice_tail(&items, &b->items);
                /* the group's tail is what was issued: nothing may be written behind a hole */
                if (g->state == GROUP_OPEN || g->state == GROUP_SEALING) {
                        g->nosummary = true;
                        group_retire(pool, g);
                }
                batch_free(b);
        }
        s->open = NULL;
        items_done(pool, &items, status);
}
