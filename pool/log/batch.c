/* Batches: what streams gather (stream.c), as one sequential write into an open group of the class.
 *
 * The sequence is given out when a batch is issued; its records are applied when it has
 * completed, by the function replay uses, from the very header that was written.
 *
 * P1: a batch is on the device, header and data, when its write completed; durable after a flush.
 * A failed write retires its group: the batch's items go into another one under a new sequence; the
 * durable mark stays below the failed one until a checkpoint covers it, so that recovery never
 * trusts what it left behind without looking at the data.
 */
#include "pool/internal.h"
#include "pool/log/encode.h"
#include "pool/space/mirror.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

enum {
        MAX_RETRIES = 8,
        MAX_DEVICE_FAILURES = 4,
        SUMMARY_PAYLOAD_MAX = 512
};

struct item *item_new(struct pool *pool, uint8_t type, uint64_t tree, uint64_t index)
{
        struct item *it = pool_alloc(pool, sizeof(*it));

        if (!it)
                return NULL;
        list_init(&it->node);
        it->type = type;
        it->count = 1;
        it->tree = tree;
        it->index = index;
        return it;
}

struct item *item_move(struct pool *pool, uint64_t tree, uint64_t index, struct entry e,
                       const uint8_t *data)
{
        struct item *it = item_new(pool, RECORD_MOVE, tree, index);

        if (!it || !(it->data = pool_block_get(pool))) {
                item_free(pool, it);
                return NULL;
        }
        memcpy(it->data, data, ZP_BLOCK);
        it->crc = e.crc;
        it->from = e.addr;
        it->from_generation = pool->groups[addr_group(e.addr)]->generation;
        return it;
}

void item_free(struct pool *pool, struct item *it)
{
        if (!it)
                return;
        pool_block_put(pool, it->data);
        pool_release(it->payload);
        pool_release(it);
}

uint64_t pool_lowest_inflight(const struct pool *pool)
{
        if (list_empty(&pool->inflight))
                return UINT64_MAX;
        return list_entry(pool->inflight.next, struct batch, inflight)->seq;
}

/* No device uses it any more. */
static void batch_release(struct keep *keep)
{
        struct batch *b = container_of(keep, struct batch, keep);

        for (int i = 1; b->left && i < b->niov; i++)
                for (size_t at = 0; at < b->iov[i].iov_len; at += ZP_BLOCK)
                        pool_block_put(b->pool, (uint8_t *)b->iov[i].iov_base + at);
        free(b->hdr);
        free(b->iov);
        for (int k = 0; k < POOL_MAX_GROUP_WIDTH; k++)
                free(b->part[k].iov);
        free(b);
}

void batch_free(struct batch *b)
{
        keep_put(&b->keep);
}

struct batch *batch_new(struct pool *pool, struct stream *s, struct group *g, enum batch_kind kind)
{
        struct batch *b = calloc(1, sizeof(*b));

        if (!b)
                return NULL;
        b->keep = (struct keep){.refs = 1, .done = batch_release};
        b->pool = pool;
        b->stream = s;
        b->group = g;
        b->kind = kind;
        b->off = g->wp;
        list_init(&b->node);
        list_init(&b->inflight);
        list_init(&b->items);
        return b;
}

/* ---- the write ---- */

static void gather_iov(struct batch *b)
{
        struct item *it;

        b->iov[0] = (struct iovec){b->hdr, (size_t)b->nhdr * ZP_BLOCK};
        b->niov = 1;
        list_for_each (it, &b->items, node) {
                struct iovec *last = &b->iov[b->niov - 1];
                if (!it->data)
                        continue;
                if ((uint8_t *)last->iov_base + last->iov_len == it->data && b->niov > 1)
                        last->iov_len += ZP_BLOCK;
                else
                        b->iov[b->niov++] = (struct iovec){it->data, ZP_BLOCK};
        }
}

/* ---- completion ---- */

static int apply_all(struct batch *b)
{
        struct record rec;
        uint32_t pos = 0, data = 0;

        if (b->kind != BATCH_RECORDS)
                return 0;
        while (record_next(b->hdr + HEADER_FIXED, b->record_bytes, &pos, &data, &rec) > 0) {
                int rc = record_apply(b->pool, &rec, b->seq, b->group->id, b->off + b->nhdr);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

/* What came out of reservations is there by now, or never will be. */
static void promises_kept(const struct list *items)
{
        struct item *it;

        list_for_each (it, items, node) {
                if (it->promised)
                        promise_put(steal_ptr(&it->promised), 1);
        }
}

void items_done(struct pool *pool, struct list *items, int status)
{
        promises_kept(items); /* before anybody is told, and writes what comes next */
        while (!list_empty(items)) {
                struct item *it = list_first(items, struct item, node);
                list_del(&it->node);
                if (it->done)
                        it->done(it, status);
                item_free(pool, it);
        }
}

/* The item goes on without its block, which a device has still: with a copy of it, or, where there is
 * no memory, not at all. */
static bool leave_block(struct pool *pool, struct item *it, bool again)
{
        uint8_t *copy = it->data && again ? pool_block_get(pool) : NULL;

        if (copy)
                memcpy(copy, it->data, ZP_BLOCK);
        again = again && (copy || !it->data);
        it->data = copy;
        return again;
}

static void batch_failed(struct batch *b, int status)
{
        struct pool *pool = b->pool;
        struct stream *s = b->stream, *q = s->queue;
        struct list again, lost;

        list_init(&again);
        list_init(&lost);
        pool->mark_limit = MIN(pool->mark_limit, b->seq - 1);
        pool->failed_seq = MAX(pool->failed_seq, b->seq);
        if (s->open == b->group)
                s->open = NULL;
        b->group->nosummary = true;
        group_retire(pool, b->group);
        b->left = b->keep.refs > 1;
        while (!list_empty(&b->items)) {
                struct item *it = list_first(&b->items, struct item, node);
                list_del(&it->node);
                bool retry = s->cls != CLASS_TABLE && ++it->retries < MAX_RETRIES;
                if (b->left)
                        retry = leave_block(pool, it, retry);
                list_add_tail(retry ? &again : &lost, &it->node);
                q->nitems += retry;
        }
        list_splice_tail(&again, &q->items);
        list_splice_tail(&q->items, &again);
        if (s->cls == CLASS_TABLE)
                pool->table_failed = true;
        batch_free(b);
        items_done(pool, &lost, status);
        ckpt_start(pool, NULL);
}

static void count_written(struct pool *pool, const struct batch *b)
{
        uint64_t blocks = b->nhdr + b->ndata;

        for (unsigned k = 0; k < b->group->width; k++)
                member_dev(pool, b->group, k)->written_blocks += blocks;
        pool->device_blocks += blocks * b->group->width;
        pool->log_since += blocks;
        if (b->stream->cls != CLASS_TABLE)
                pool->headers_since += b->nhdr;
        if (class_is_user(b->stream->cls)) {
                pool->user_blocks += b->ndata;
                pool->user_since += b->ndata;
        } else if (b->stream->cls != CLASS_TABLE) {
                pool->clean_blocks += b->ndata;
        } else {
                pool->table_blocks += b->ndata;
        }
}

static void batch_done(struct batch *b, int status)
{
        struct pool *pool = b->pool;
        struct list items;

        list_del(&b->inflight);
        b->stream->inflight = NULL;
        b->stream->queue->controls -= b->control;
        pool->sending -= b->pages;
        if (status < 0) {
                batch_failed(b, status);
                return;
        }
        /* P1: the batch is on every member; durable after a flush */
        count_written(pool, b);
        status = apply_all(b);
        if (status < 0) /* no memory: RAM no longer says what the disk says */
                pool_set_readonly(pool, status);
        if (b->kind == BATCH_SUMMARY) {
                b->group->summary = b->nhdr;
                group_filled(pool, b->group);
        }
        list_init(&items);
        list_splice_tail(&items, &b->items);
        batch_free(b);
        items_done(pool, &items, status);
}

static void submit_part(struct batch_part *p);

/* A member that failed has an earlier end than the others; the batch counts for nothing then. */
static void member_done(struct batch_part *p, int status)
{
        struct batch *b = p->b;
        struct pdev *d = member_dev(b->pool, b->group, p->k);

        d->written++;
        if (status == 0) {
                d->failures = 0;
        } else {
                b->failed |= 1u << p->k;
                b->status = b->status ? b->status : status;
                pool_device_error(b->pool, d, status);
                if (++d->failures >= MAX_DEVICE_FAILURES)
                        device_fail(b->pool, d, status);
        }
        if (!--b->pending)
                batch_done(b, b->status);
}

static void part_done(struct pio *pio, int status)
{
        struct batch_part *p = container_of(pio, struct batch_part, pio);
        struct batch *b = p->b;

        p->submitted += p->sending;
        if (status == 0 && p->submitted < b->nhdr + b->ndata)
                submit_part(p);
        else
                member_done(p, status);
}

static void submit_part(struct batch_part *p)
{
        struct batch *b = p->b;
        struct pdev *d = member_dev(b->pool, b->group, p->k);
        uint32_t left = b->nhdr + b->ndata - p->submitted;

        p->sending = MIN(left, d->dev->geo.max_io_blocks);
        int n = iov_slice(b->iov, b->niov, (size_t)p->submitted * ZP_BLOCK,
                          (size_t)p->sending * ZP_BLOCK, p->iov);
        p->pio.cb = part_done;
        p->pio.keep = &b->keep;
        p->pio.io = (struct zdev_io){
            .op = ZDEV_WRITE,
            .zone = b->group->member[p->k].zone,
            .block = b->off + p->submitted,
            .nblocks = p->sending,
            .iov = p->iov,
            .niov = n,
        };
        pio_submit(b->pool, d->dev, &p->pio);
}

/* All members at once. */
static void submit(struct batch *b)
{
        b->pending = b->group->width;
        for (unsigned k = 0; k < b->group->width; k++)
                submit_part(&b->part[k]);
}

/* ---- issue ---- */

void batch_issue(struct batch *b)
{
        struct pool *pool = b->pool;
        struct group *g = b->group;
        struct header h = {
            .kind = (uint8_t)b->kind,
            .cls = (uint8_t)b->stream->cls,
            .width = g->width,
            .copies = g->copies,
            .group = g->id,
            .generation = g->generation,
            .seq = ++pool->seq,
            .prev_seq = g->last_seq,
            .prev_sum = g->last_sum,
            .mark = pool->mark,
            .offset = b->off,
            .header_blocks = b->nhdr,
            .data_blocks = b->ndata,
            .pool = pool->uuid,
        };

        for (int i = 0; i < g->width; i++) {
                h.member[i].zone = g->member[i].zone;
                h.member[i].dev = g->member[i].dev;
        }
        b->seq = h.seq;
        if (b->kind == BATCH_RECORDS) {
                b->nrecords = records_encode(&b->items, b->hdr + HEADER_FIXED, &b->record_bytes);
        } else {
                memcpy(b->hdr + HEADER_FIXED, g->sum_buf, g->sum_bytes);
                b->record_bytes = g->sum_bytes;
                summary_trailer_encode(&h, b->hdr + (size_t)(b->nhdr - 1) * ZP_BLOCK, pool->secret);
        }
        h.record_bytes = b->record_bytes;
        h.nrecords = b->nrecords;
        header_seal(&h, b->hdr, pool->secret);
        if (group_append_summary(g, &h, b->hdr + HEADER_FIXED) < 0)
                g->nosummary = true;
        g->last_seq = h.seq;
        g->last_sum = h.sum;
        g->tail = b->off + b->nhdr + b->ndata;
        g->headers += b->nhdr;
        pool->sending += b->pages;
        gather_iov(b);
        b->stream->inflight = b;
        list_add_tail(&pool->inflight, &b->inflight);
        submit(b);
}

int batch_alloc(struct batch *b)
{
        void *hdr = NULL;

        if (posix_memalign(&hdr, ZP_BLOCK, (size_t)b->nhdr * ZP_BLOCK))
                return -ENOMEM;
        memset(hdr, 0, (size_t)b->nhdr * ZP_BLOCK);
        free(b->iov);
        b->iov = calloc(b->ndata + 1, sizeof(*b->iov));
        bool ok = b->iov != NULL;
        for (unsigned k = 0; k < b->group->width; k++) {
                struct batch_part *p = &b->part[k];
                p->b = b;
                p->k = k;
                free(p->iov);
                p->iov = calloc(b->ndata + 1, sizeof(*p->iov));
                ok = ok && p->iov;
        }
        if (!ok) { /* tried again, from the start */
                free(hdr);
                return -ENOMEM;
        }
        b->hdr = hdr;
        return 0;
}

void group_account(struct group *g, uint32_t record_bytes)
{
        g->sum_planned += SUMMARY_ITEM + record_bytes;
}

void stream_seal(struct pool *pool, struct stream *s)
{
        struct group *g = s->open;
        uint32_t room = g->cap - g->wp, need = group_summary_blocks(g, 0);
        bool fits = need && room >= need && room <= need + 64 && room < HEADER_MAX_BLOCKS;
        struct batch *b = batch_new(pool, s, g, fits ? BATCH_SUMMARY : BATCH_FINISH);

        s->open = NULL;
        g->state = GROUP_SEALING;
        if (!b) {
                group_retire(pool, g);
                return;
        }
        b->nhdr = fits ? room : 0;
        if (fits)
                g->wp = g->cap;
        list_add_tail(&s->ready, &b->node);
}

/* Table pages the item changes that prev did not, at most. */
static uint32_t pages_changed(const struct item *prev, const struct item *it)
{
        if (!it->data)
                return it->pages ? it->pages : 2 * MAX_HEIGHT;
        if (prev && prev->data && prev->tree == it->tree &&
            prev->index / ENTRIES == it->index / ENTRIES)
                return 0;
        return MAX_HEIGHT;
}

/* Table pages the class may change before the next checkpoint: they must find room there, and for
 * cleaning room is kept. */
static uint64_t pages_allowed(const struct pool *pool, enum cls cls)
{
        uint64_t room = space_table_room(pool), used = pool->ndirty + pending_pages(pool) + pool->sending;

        if (class_is_user(cls))
                room -= MIN(room, 2 * (uint64_t)groups_cap(pool));
        room = MIN(room, 2 * space_dirty_limit(pool));
        return room > used ? room - used : 0;
}

static bool is_control(const struct item *it)
{
        return it->type >= RECORD_CREATE;
}

/* How many items from the head fit into the group, and what they take. */
static uint32_t measure(struct pool *pool, struct stream *s, struct group *g, struct batch *b,
                        uint64_t may_change)
{
        uint32_t limit = MIN((uint32_t)BATCH_BLOCKS, members_max_io(pool, g));
        struct record_plan plan = {0};
        const struct item *prev = NULL;
        struct item *it;
        uint32_t n = 0;

        list_for_each (it, &s->items, node) {
                if (is_control(it) && n && s->controls)
                        break;
                if (it->data && n && g->records)
                        break;
                bool big = !it->data && it->count > SUMMARY_PAYLOAD_MAX && it->payload;
                struct record_plan with = plan;
                record_plan_add(&with, it);
                uint32_t more = record_plan_bytes(&with);
                uint32_t ndata = b->ndata + (it->data != NULL);
                uint32_t nhdr = (uint32_t)DIV_ROUND_UP(HEADER_FIXED + (uint64_t)more, ZP_BLOCK);
                uint32_t sum = big ? 0 : group_summary_blocks(g, SUMMARY_ITEM + more);
                if (n && nhdr + ndata > MAX(limit, 2u))
                        break;
                if (g->wp + nhdr + ndata + sum > g->cap)
                        break;
                uint32_t pages = b->pages + pages_changed(prev, it);
                if (n && pages > may_change)
                        break;
                b->pages = pages;
                if (big)
                        g->nosummary = true;
                plan = with;
                b->record_bytes = more;
                b->ndata = ndata;
                b->nhdr = nhdr;
                prev = it;
                n++;
        }
        return n;
}

/* When users wrote the block. */
static uint64_t written_at(const struct pool *pool, const struct item *it)
{
        if (it->type == RECORD_MOVE)
                return pool->groups[addr_group(it->from)]->written;
        return pool->user_blocks;
}

static void fill(struct batch *b, uint32_t n)
{
        struct pool *pool = b->pool;
        struct stream *q = b->stream->queue;

        for (; n; n--) {
                struct item *it = list_first(&q->items, struct item, node);
                list_del(&it->node);
                q->nitems--;
                b->control |= is_control(it);
                if (it->data)
                        group_add_data(b->group, 1, written_at(pool, it));
                list_add_tail(&b->items, &it->node);
        }
        q->controls += b->control;
        q->passed = 0;
        if (q->cls == CLASS_USER)
                pool_stream(pool, CLASS_USER_COLD, q->copies)->passed++;
        group_account(b->group, b->record_bytes);
        b->group->wp += b->nhdr + b->ndata;
        list_add_tail(&b->stream->ready, &b->node);
}

bool batch_make(struct pool *pool, struct stream *s)
{
        struct stream *q = s->queue;
        struct group *g = s->open;
        const struct item *first = list_first(&q->items, struct item, node);

        if (is_control(first) && q->controls)
                return false;
        if (group_away(pool, g)) {
                stream_seal(pool, s);
                return true;
        }
        bool records = g->records && !groups_for_users(pool);
        s->starved = records && !stream_records_first(pool, s) && space_lacking(pool);
        if (s->starved)
                return false;
        first = list_first(&q->items, struct item, node);
        uint64_t may_change = pages_allowed(pool, s->cls);
        s->starved = may_change < pages_changed(NULL, first);
        if (s->starved) {
                /* what batches in flight might change they mostly do not */
                if (pool->ndirty >= space_dirty_limit(pool) / 2 ||
                    (clean_idle(pool) && !pool->sending && (pool->ndirty || pool->count.emptied)))
                        ckpt_start(pool, NULL);
                return false;
        }
        struct batch *b = batch_new(pool, s, g, BATCH_RECORDS);
        if (!b)
                return false;
        uint32_t n = measure(pool, q, g, b, may_change);
        if (!n) {
                batch_free(b);
                if (g->wp) {
                        stream_seal(pool, s);
                        return true;
                }
                return false; /* larger than a group: control operations check that before */
        }
        if (batch_alloc(b) < 0) {
                batch_free(b);
                return false;
        }
        fill(b, n);
        return true;
}
