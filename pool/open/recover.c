/* Replay: what the groups hold above the root.
 *
 * 0. Find out which zones make up the groups opened since (identify.c).
 * 1. Of each member: read the summary of each group sealed since the root; walk the chains of the
 * others that were open at the root, from where they were, or free and have been written since
 * (their generation must be the one the root gave them).
 * 2. Above the highest durable mark of any header, a batch counts only if every data block's crc32c
 *    is right on some member (and its header, where a summary told of it). A member's chain ends
 *    before the first batch that is not right there, the group's with that of its last member.
 * 3. Apply in the order of sequences, by the run-time rule (apply.c).
 * 4. Members that a power cut left behind catch up (catchup.c); each group is settled (settle.c).
 *
 * What an import before found, and went on with, counts as it did then (resume.c).
 *
 * Everything before the root that ends the import can be repeated: resets touch only groups without
 * a record.
 */
#include "pool/internal.h"
#include "pool/log/summary.h"
#include "pool/log/walk.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

void recover_fini(struct import *im)
{
        for (uint32_t i = 0; i < im->nfound; i++)
                free(im->found[i].buf);
        free(im->found);
        im->found = NULL;
        im->nfound = 0;
        catchup_fini(im);
        walk_fini(&im->walk);
}

/* ---- 2: verify ---- */

static void verify_next(struct import *im);

static void drop_from(struct import *im, uint32_t first)
{
        for (uint32_t i = first; i < im->nfound; i++)
                if (im->found[i].group == im->found[first].group)
                        im->found[i].dropped = true;
}

static void next_member(struct import *im)
{
        im->check_member++;
        im->check_headed = false;
        im->check_pos = im->check_data = 0;
        im->check_block = UINT32_MAX;
}

/* The member's chain has ended before this batch. */
static void member_lacks(struct import *im)
{
        const struct group *g = im->found[im->verify].group;

        for (uint32_t i = im->verify; i < im->nfound; i++)
                if (im->found[i].group == g)
                        im->found[i].members &= ~(1u << im->check_member);
        next_member(im);
        verify_next(im);
}

/* An unreadable block ends the chain of a member while there are others. */
static void member_failed(struct import *im, int status)
{
        if (status != -EILSEQ && im->found[im->verify].group->width == 1)
                import_fail(im, -status, "pool %s: reading during recovery: %s", im->pool->name,
                            strerror(-status));
        else
                member_lacks(im);
}

static void block_checked(struct block_read *r, int status)
{
        struct import *im = r->ctx;

        if (status < 0) {
                member_failed(im, status);
                return;
        }
        im->check_block++;
        verify_next(im);
}

/* False: the batch is through. */
static bool next_check(struct import *im, const struct found *f)
{
        while (im->check_block == UINT32_MAX ||
               im->check_block >= record_data_blocks(im->check_rec.type, im->check_rec.count)) {
                if (record_next(f->buf + HEADER_FIXED, f->h.record_bytes, &im->check_pos,
                                &im->check_data, &im->check_rec) <= 0)
                        return false;
                im->check_block = 0;
        }
        return true;
}

static void header_there(struct walk *w)
{
        struct import *im = w->ctx;
        struct found *f = &im->found[im->verify];

        if (w->h.seq != f->h.seq || w->h.record_bytes != f->h.record_bytes ||
            w->h.header_blocks != f->h.header_blocks || w->h.data_blocks != f->h.data_blocks) {
                member_lacks(im);
                return;
        }
        im->check_headed = true;
        verify_next(im);
}

static void header_gone(struct walk *w, int status)
{
        struct import *im = w->ctx;

        member_failed(im, status < 0 ? status : -EILSEQ);
}

static void check_header(struct import *im, const struct found *f)
{
        walk_fini(&im->walk);
        im->walk = (struct walk){.pool = im->pool,
                                 .group = f->group,
                                 .member = im->check_member,
                                 .off = f->h.offset,
                                 .end = f->h.offset + f->h.header_blocks + f->h.data_blocks,
                                 .any_prev = true,
                                 .found = header_there,
                                 .done = header_gone,
                                 .ctx = im};
        walk_start(&im->walk);
}

/* True: the member has the whole batch. Else the next step is under way. */
static bool check_member(struct import *im, const struct found *f)
{
        if (f->from_summary && !im->check_headed) {
                check_header(im, f);
                return false;
        }
        if (!next_check(im, f))
                return true;
        uint32_t off = f->h.offset + f->h.header_blocks + im->check_rec.data + im->check_block;
        im->check.verify = true;
        im->check.quiet = true;
        im->check.done = block_checked;
        im->check.ctx = im;
        block_read_member(im->pool, &im->check,
                          (struct entry){addr_make(f->group->id, off),
                                         record_crc(&im->check_rec, im->check_block)},
                          im->check_member);
        return false;
}

/* Each member by itself, so that what it lacks is known. */
static void verify_next(struct import *im)
{
        for (; im->verify < im->nfound; im->verify++, im->check_member = 0) {
                struct found *f = &im->found[im->verify];
                if (f->dropped || f->h.seq <= im->mark)
                        continue;
                if (f->h.kind != HEADER_BATCH) { /* stands on members whose chain ended before */
                        f->dropped = !f->members;
                        continue;
                }
                while (im->check_member < f->group->width) {
                        if ((f->members >> im->check_member & 1) && !check_member(im, f))
                                return;
                        next_member(im);
                }
                if (!f->members)
                        drop_from(im, im->verify);
        }
        pool_block_put(im->pool, im->check.buf);
        im->check.buf = NULL;
        apply_start(im);
}

static void verify(struct import *im)
{
        im->check.buf = pool_block_get(im->pool);
        if (!im->check.buf) {
                import_fail(im, ENOMEM, "pool %s: no memory", im->pool->name);
                return;
        }
        im->verify = 0;
        next_member(im);
        im->check_member = 0;
        verify_next(im);
}

/* ---- 1: walk ---- */

static void walk_groups(struct import *im);
static void walked(struct walk *w, int status);

/* Members hold the same chain, as far as it goes: what another one had already is noted as on this
 * one too. Takes buf then. False: not seen so far. */
static bool seen_already(struct import *im, const struct header *h, uint8_t *buf, bool from_summary)
{
        while (im->cursor < im->nfound && im->found[im->cursor].h.offset < h->offset)
                im->cursor++;
        if (im->cursor == im->nfound)
                return false;
        struct found *f = &im->found[im->cursor];
        if (f->h.offset == h->offset && f->h.seq == h->seq && f->h.kind == h->kind) {
                f->members |= 1u << im->next_member;
                f->from_summary |= from_summary;
        }
        free(buf);
        return true;
}

/* Takes buf. */
static int add_found(struct import *im, struct group *g, const struct header *h, uint8_t *buf,
                     bool from_summary)
{
        if (seen_already(im, h, buf, from_summary))
                return 0;
        if (im->nfound == im->found_cap) {
                uint32_t cap = im->found_cap ? im->found_cap * 2 : 256;
                struct found *more = realloc(im->found, cap * sizeof(*more));
                if (!more) {
                        free(buf);
                        import_fail(im, ENOMEM, "pool %s: no memory", im->pool->name);
                        return -ENOMEM;
                }
                im->found = more;
                im->found_cap = cap;
        }
        im->found[im->nfound++] = (struct found){
            .group = g,
            .h = *h,
            .buf = buf,
            .from_summary = from_summary,
            .members = 1u << im->next_member,
        };
        im->seen = MAX(im->seen, h->seq);
        im->mark = MAX(im->mark, h->mark);
        return 0;
}

static void header_found(struct walk *w)
{
        struct import *im = w->ctx;

        if (!import_current(im, w->group->id, w->h.offset, w->h.seq)) {
                walked(w, 0);
                return;
        }
        uint8_t *buf = steal_ptr(&w->buf);
        w->cap = 0;
        if (add_found(im, w->group, &w->h, buf, false) == 0)
                walk_next(w);
}

static void walk_group(struct import *im);

/* Batches from where the group stood at the root, as the summary tells them. */
static int take_summary(struct import *im, const struct summary_read *s)
{
        const uint8_t *records = s->buf + HEADER_FIXED;
        uint32_t from = im->root.groups[s->group->id].wp;

        for (uint32_t pos = 0; pos < s->h.record_bytes;) {
                struct summary_item it;
                summary_item_decode(records + pos, &it);
                pos += SUMMARY_ITEM;
                struct header h = s->h;
                h.kind = HEADER_BATCH;
                h.seq = it.seq;
                h.mark = it.mark;
                h.offset = it.offset;
                h.header_blocks = it.header_blocks;
                h.data_blocks = it.data_blocks;
                h.record_bytes = it.record_bytes;
                if (it.offset >= from) {
                        uint8_t *buf = malloc(HEADER_FIXED + (size_t)it.record_bytes);
                        if (buf)
                                memcpy(buf + HEADER_FIXED, records + pos, it.record_bytes);
                        if (!buf) {
                                import_fail(im, ENOMEM, "pool %s: no memory", im->pool->name);
                                return -ENOMEM;
                        }
                        if (add_found(im, s->group, &h, buf, true) < 0)
                                return -ENOMEM;
                }
                pos += it.record_bytes;
        }
        return 0;
}

/* Its other members may be readable. */
static void member_unreadable(struct import *im, int status)
{
        im->unreadable |= 1u << im->next_member;
        im->status = status;
        im->next_member++;
        walk_groups(im);
}

static void summary_there(struct summary_read *s, int status)
{
        struct import *im = s->ctx;

        if (status < 0) {
                member_unreadable(im, status);
                return;
        }
        /* A zone that was finished early shows at its end what a life before its last reset left
         * there. That life may have had the same generation, when recovery found nothing in it that
         * counts; but the root is younger. */
        if (status == 0 || s->h.seq <= im->root.seq ||
            !import_current(im, s->group->id, s->h.offset, s->h.seq)) {
                free(s->buf);
                walk_group(im);
                return;
        }
        uint8_t *buf = steal_ptr(&s->buf);
        struct summary_read own = *s;
        own.buf = buf;
        if (take_summary(im, &own) < 0) {
                free(buf);
                return;
        }
        if (add_found(im, own.group, &own.h, buf, false) < 0)
                return;
        im->next_member++;
        walk_groups(im);
}

static void walked(struct walk *w, int status)
{
        struct import *im = w->ctx;

        if (status < 0) {
                member_unreadable(im, status);
                return;
        }
        im->next_member++;
        walk_groups(im);
}

static void walk_group(struct import *im)
{
        struct group *g = im->pool->groups[im->next_group];
        const struct root_group *rg = &im->root.groups[im->next_group];

        walk_fini(&im->walk);
        im->walk = (struct walk){.pool = im->pool,
                                 .group = g,
                                 .member = im->next_member,
                                 .off = rg->state == ROOT_GROUP_OPEN ? rg->wp : 0,
                                 .end = (uint32_t)member_end(im->pool, g, im->next_member),
                                 .prev_seq = rg->last_seq,
                                 .prev_sum = rg->last_sum,
                                 .found = header_found,
                                 .done = walked,
                                 .ctx = im};
        walk_start(&im->walk);
}

/* The member holds something behind what the root knows of. True: it is being read. */
static bool walk_member(struct import *im, struct group *g, const struct root_group *rg)
{
        struct pool *pool = im->pool;
        unsigned k = im->next_member;

        if (!pdev_usable(member_dev(pool, g, k)) || g->member[k].good != MEMBER_GOOD ||
            member_zone(pool, g, k)->state == ZDEV_ZONE_OFFLINE)
                return false;
        uint64_t stop = member_end(pool, g, k);
        if (stop <= (rg->state == ROOT_GROUP_OPEN ? rg->wp : 0))
                return false;
        im->tried |= 1u << k;
        im->cursor = im->group_first;
        if (stop == g->cap) {
                im->summary = (struct summary_read){
                    .pool = pool, .group = g, .member = k, .done = summary_there, .ctx = im};
                summary_read_start(&im->summary);
        } else {
                walk_group(im);
        }
        return true;
}

static void walk_groups(struct import *im)
{
        struct pool *pool = im->pool;

        while (im->next_group < pool->ngroups) {
                struct group *g = pool->groups[im->next_group];
                const struct root_group *rg = &im->root.groups[im->next_group];
                bool walk = (rg->state == ROOT_GROUP_OPEN || rg->state == ROOT_GROUP_FREE) &&
                            g->state != GROUP_LENT;
                for (; walk && im->next_member < g->width; im->next_member++)
                        if (walk_member(im, g, rg))
                                return;
                if (im->unreadable && im->unreadable == im->tried) {
                        unsigned k = (unsigned)__builtin_ctz(im->tried);
                        import_fail(im, -im->status,
                                    "pool %s: device %s: what was written to zone %u cannot be "
                                    "read: %s",
                                    pool->name, member_dev(pool, g, k)->dev->path,
                                    g->member[k].zone, strerror(-im->status));
                        return;
                }
                im->next_group++;
                im->next_member = im->tried = im->unreadable = 0;
                im->group_first = im->nfound;
        }
        verify(im);
}

void recover_walk(struct import *im)
{
        im->next_group = im->next_member = im->tried = im->unreadable = 0;
        im->group_first = im->nfound;
        walk_groups(im);
}

void recover_start(struct import *im)
{
        im->seen = im->mark = im->root.durable;
        identify_start(im);
}
