/* See patrol.h. Headers are found by chain and name the owner of each block; a block lives when the
 * owner's entry still is its address. The stretch of a batch that holds wanted blocks is read in
 * one go; a block whose checksum is not the entry's is read again by itself before anything is
 * blamed, and only if it still lives then. */
#include "pool/member/patrol.h"
#include "pool/space/mirror.h"

#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

static void batch_end(struct patrol *p);

void patrol_fini(struct patrol *p)
{
        walk_fini(&p->walk);
        free(p->sum.buf);
        free(p->blocks);
        free(p->buf);
        p->blocks = NULL;
        p->buf = NULL;
        p->blocks_cap = p->buf_cap = 0;
}

void patrol_finish(struct patrol *p, int status)
{
        struct group *g = p->group;

        walk_fini(&p->walk);
        seek_stop(&p->seek);
        free(p->sum.buf);
        p->sum.buf = NULL;
        p->sum_asked = p->seeking = false;
        if (p->again.buf)
                pool_block_put(p->pool, p->again.buf);
        p->again.buf = NULL;
        p->group = NULL;
        g->busy = false;
        group_unref(p->pool, g);
        p->done(p, status);
}

/* ---- who lives ---- */

static bool entry_of(struct pool *pool, struct patrol_block *b)
{
        struct tree *t = b->type == RECORD_PAGE
                             ? pool_tree(pool, b->tree_id)
                             : tree_of_block(pool, b->tree_id, b->index, b->entry.addr);
        struct entry e = {0};

        if (t && b->type == RECORD_PAGE) {
                const struct page *pg = tree_find_page(t, b->level, b->index);
                if (pg && pg->parent)
                        e = (struct entry){pg->parent->addr[pg->slot], pg->parent->crc[pg->slot]};
                else if (pg)
                        e = t->root_entry;
        } else if (t) {
                e = tree_get(t, b->index);
        }
        b->tree = t;
        bool same = e.addr == b->entry.addr;
        b->entry.crc = e.crc;
        return same;
}

static bool lives(struct patrol *p, struct patrol_block *b)
{
        struct patrol_block now = *b;

        if (!entry_of(p->pool, &now) || now.entry.crc != b->entry.crc)
                return false;
        b->tree = now.tree;
        return true;
}

static int add(struct patrol *p, const struct patrol_block *b)
{
        if (p->nblocks == p->blocks_cap) {
                uint32_t cap = p->blocks_cap ? p->blocks_cap * 2 : 64;
                struct patrol_block *more = realloc(p->blocks, cap * sizeof(*more));
                if (!more)
                        return -ENOMEM;
                p->blocks = more;
                p->blocks_cap = cap;
        }
        p->blocks[p->nblocks++] = *b;
        return 0;
}

int patrol_note(struct patrol *p, struct patrol_block *b)
{
        return entry_of(p->pool, b) && p->wanted(p, b) ? add(p, b) : 0;
}

static int gather(struct patrol *p, const struct header *h, const struct record *rec)
{
        uint32_t n = record_data_blocks(rec->type, rec->count);

        for (uint32_t i = 0; i < n; i++) {
                uint32_t off = h->offset + h->header_blocks + rec->data + i;
                struct patrol_block b = {.tree_id = rec->tree,
                                         .index = record_index(rec, i),
                                         .type = rec->type,
                                         .level = rec->level,
                                         .entry.addr = addr_make(p->group->id, off)};
                int rc = patrol_note(p, &b);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

/* ---- showing ---- */

static void show(struct patrol *p);
static void next_member(struct patrol *p);
static void tell(struct patrol *p);

/* Memory for reading one block by itself. */
static bool can_ask(struct patrol *p, void (*done)(struct block_read *r, int status))
{
        if (!p->again.buf)
                p->again.buf = pool_block_get(p->pool);
        p->again.verify = p->again.quiet = true;
        p->again.done = done;
        p->again.ctx = p;
        return p->again.buf != NULL;
}

static void seen(struct patrol *p, struct patrol_block *b, const uint8_t *data, int status)
{
        unsigned bit = 1u << p->member;

        if (!p->every)
                p->block(p, b, data, status);
        else if (status == 0)
                b->right |= bit;
        else if (status == -EILSEQ || status == -EIO) { /* else nothing is known of it */
                b->wrong |= bit;
                b->status = status;
        }
}

static void read_again(struct block_read *r, int status)
{
        struct patrol *p = r->ctx;
        struct patrol_block *b = &p->blocks[p->at++];

        if (lives(p, b))
                seen(p, b, r->buf, status);
        show(p);
}

static void show(struct patrol *p)
{
        for (; p->at < p->nblocks; p->at++) {
                struct patrol_block *b = &p->blocks[p->at];
                uint32_t off = addr_offset(b->entry.addr);
                if (!lives(p, b) || (p->every && !member_good(p->group, p->member, off + 1)))
                        continue;
                const uint8_t *data =
                    p->unread ? NULL : p->buf + (size_t)(off - p->from) * ZP_BLOCK;
                if (data && crc32c(0, data, ZP_BLOCK) == b->entry.crc) {
                        seen(p, b, data, 0);
                        continue;
                }
                if (!can_ask(p, read_again)) {
                        seen(p, b, NULL, -ENOMEM);
                        continue;
                }
                if (p->every)
                        block_read_member(p->pool, &p->again, b->entry, p->member);
                else
                        block_read_from(p->pool, &p->again, b->entry, p->member);
                return;
        }
        if (p->every)
                next_member(p);
        else
                batch_end(p);
}

static void told(struct block_read *r, int status)
{
        struct patrol *p = r->ctx;
        struct patrol_block *b = &p->blocks[p->at++];

        if (lives(p, b))
                p->block(p, b, r->buf, status);
        tell(p);
}

/* All members were read. */
static void tell(struct patrol *p)
{
        for (; p->at < p->nblocks; p->at++) {
                struct patrol_block *b = &p->blocks[p->at];
                if (!(b->right | b->wrong) || !lives(p, b))
                        continue;
                if (!b->wrong || !b->right || !can_ask(p, told)) {
                        p->block(p, b, NULL, b->right ? 0 : b->status);
                        continue;
                }
                block_read_from(p->pool, &p->again, b->entry, (unsigned)__builtin_ctz(b->right));
                return;
        }
        batch_end(p);
}

/* ---- reading ---- */

static void read_more(struct patrol *p);
static void send(struct patrol *p, uint32_t most, void (*done)(struct pio *pio, int status));

static bool header_differs(const struct patrol *p)
{
        size_t len = (size_t)p->walk.h.header_blocks * ZP_BLOCK;

        return p->every && !p->headless &&
               (p->unread || memcmp(p->buf, p->walk.buf, len) != 0);
}

static void header_again(struct pio *pio, int status)
{
        struct patrol *p = container_of(pio, struct patrol, pio);

        if (status < 0 ? status == -EIO : memcmp(p->buf, p->walk.buf, pio->iov.iov_len) != 0)
                p->wrong_header |= 1u << p->member;
        show(p);
}

static void stretch_read(struct pio *pio, int status)
{
        struct patrol *p = container_of(pio, struct patrol, pio);

        p->got += pio->io.nblocks;
        p->unread |= status < 0;
        if (p->got < p->count && !p->unread) {
                read_more(p);
        } else if (header_differs(p)) {
                p->got = 0;
                send(p, p->walk.h.header_blocks, header_again);
        } else {
                show(p);
        }
}

static void send(struct patrol *p, uint32_t most, void (*done)(struct pio *pio, int status))
{
        struct pdev *d = member_dev(p->pool, p->group, p->member);
        uint32_t n = MIN(most, d->dev->geo.max_io_blocks);

        p->pio.cb = done;
        p->pio.iov = (struct iovec){p->buf + (size_t)p->got * ZP_BLOCK, (size_t)n * ZP_BLOCK};
        p->pio.io = (struct zdev_io){.op = ZDEV_READ,
                                     .zone = p->group->member[p->member].zone,
                                     .block = p->from + p->got,
                                     .nblocks = n,
                                     .iov = &p->pio.iov,
                                     .niov = 1};
        ask_alone(p->pool, p->group, p->member, &p->pio);
}

static void read_more(struct patrol *p)
{
        send(p, p->count - p->got, stretch_read);
}

static void read_stretch(struct patrol *p)
{
        const struct header *h = &p->walk.h;
        uint32_t to = h->offset + h->header_blocks;

        if (p->seeking) { /* they lie anywhere: each by itself */
                p->at = p->got = 0;
                p->from = p->walk.off;
                p->unread = true;
                show(p);
                return;
        }
        if (p->nblocks) /* in the order of the batch */
                to = addr_offset(p->blocks[p->nblocks - 1].entry.addr) + 1;
        p->from = p->every ? h->offset : addr_offset(p->blocks[0].entry.addr);
        p->count = to - p->from;
        p->at = p->got = 0;
        p->unread = false;
        if (p->buf_cap < p->count) {
                void *buf = NULL;
                free(p->buf);
                p->buf = NULL;
                p->buf_cap = 0;
                if (!posix_memalign(&buf, ZP_BLOCK, (size_t)p->count * ZP_BLOCK)) {
                        p->buf = buf;
                        p->buf_cap = p->count;
                }
        }
        p->unread = !p->buf || !member_dev(p->pool, p->group, p->member)->dev;
        if (p->unread)
                show(p);
        else
                read_more(p);
}

static void next_member(struct patrol *p)
{
        const struct group *g = p->group;

        p->seen |= 1u << p->member;
        for (unsigned k = 0; k < g->width; k++) {
                if ((p->seen >> k & 1) || !pdev_usable(member_dev(p->pool, g, k)) ||
                    !member_good(g, k, p->from + 1))
                        continue;
                p->member = k;
                read_stretch(p);
                return;
        }
        if (p->wrong_header && p->header)
                p->header(p, p->wrong_header, false);
        p->at = 0;
        tell(p);
}

/* ---- the walk ---- */

void patrol_unpin(struct batch_pins *b)
{
        if (b && !--b->users)
                batch_pins_free(b);
}

static void batch_end(struct patrol *p)
{
        patrol_unpin(steal_ptr(&p->pins));
        if (p->batch(p))
                patrol_next(p);
}

void patrol_stop(struct patrol *p)
{
        patrol_finish(p, 0);
}

void patrol_next(struct patrol *p)
{
        if (p->seeking)
                seek_next(&p->seek);
        else
                walk_next(&p->walk);
}

void patrol_show(struct patrol *p, unsigned member)
{
        if (p->nblocks || (p->every && !p->seeking && p->group->width > 1)) {
                p->member = member;
                p->seen = p->wrong_header = 0;
                read_stretch(p);
        } else {
                batch_end(p);
        }
}

static void look(struct patrol *p)
{
        const struct walk *w = &p->walk;
        struct record rec;
        uint32_t pos = 0, data = 0;
        int rc = p->pins->status; /* where a page cannot be read nobody knows what lives */

        p->pins->users = 1;
        while (rc == 0 &&
               record_next(p->records, p->record_bytes, &pos, &data, &rec) > 0)
                rc = gather(p, &w->h, &rec);
        if (p->pins->status < 0) {
                if (p->unknown)
                        p->unknown(p, rc);
                batch_end(p); /* those behind it may be told */
        } else if (rc < 0) {
                patrol_unpin(steal_ptr(&p->pins));
                patrol_finish(p, rc);
        } else {
                patrol_show(p, p->walk.member);
        }
}

static void pages_there(struct batch_pins *b)
{
        look(b->ctx);
}

/* Some members may not have it yet. */
static bool in_flight(const struct pool *pool, const struct group *g, uint64_t seq)
{
        const struct batch *b;

        list_for_each (b, &pool->inflight, inflight)
                if (b->group == g && b->seq == seq)
                        return true;
        return false;
}

void patrol_take_batch(struct patrol *p)
{
        p->nblocks = 0;
        if (batch_pins_take(p->pool, p->records, p->record_bytes, pages_there, p, &p->pins))
                look(p);
        else if (!p->pins)
                patrol_finish(p, -ENOMEM);
}

static void header_found(struct walk *w)
{
        struct patrol *p = w->ctx;

        if (p->failed && p->header)
                p->header(p, p->failed, false);
        p->failed = 0;
        p->again_there = p->headless = false;
        p->records = w->buf + HEADER_FIXED;
        p->record_bytes = w->h.record_bytes;
        if (w->h.kind != HEADER_BATCH || !p->group->live || in_flight(p->pool, p->group, w->h.seq))
                patrol_finish(p, 0);
        else
                patrol_take_batch(p);
}

/* The header at the walk's place is asked for twice of each member. */
static bool ask_for_header(struct patrol *p)
{
        struct walk *w = &p->walk;

        if (!p->again_there) {
                p->again_there = true;
        } else {
                p->failed |= 1u << w->member;
                int k = member_pick(p->pool, p->group, w->end, p->failed);
                if (k < 0)
                        return false;
                w->member = (unsigned)k;
                p->again_there = false;
        }
        walk_start(w);
        return true;
}

static void walked(struct walk *w, int status)
{
        struct patrol *p = w->ctx;

        if (w->off < w->end && status != -ENOMEM && p->group->state == GROUP_SEALED &&
            ask_for_header(p))
                return;

        if (w->off < w->end && status != -ENOMEM && p->group->state == GROUP_SEALED &&
                 (status == 0 || !member_dev(p->pool, p->group, w->member)->error))
                patrol_behind(p); /* not of a device that answers nothing */
        else
                patrol_finish(p, status);
}

void patrol_start(struct patrol *p, struct group *g)
{
        p->group = g;
        p->failed = 0;
        p->again_there = false;
        g->busy = true;
        group_ref(g);
        int k = member_pick(p->pool, g, g->tail, 0); /* one that has all of it */
        if (k < 0 && p->lost) {
                p->walk = (struct walk){.pool = p->pool, .group = g, .end = g->tail};
                patrol_seek(p);
                return;
        }
        p->lost = false;
        if (k < 0) { /* its devices are missing */
                patrol_finish(p, -EIO);
                return;
        }
        p->walk = (struct walk){.pool = p->pool,
                                .group = g,
                                .member = (unsigned)k,
                                .end = g->tail,
                                .found = header_found,
                                .done = walked,
                                .ctx = p};
        walk_start(&p->walk);
}
