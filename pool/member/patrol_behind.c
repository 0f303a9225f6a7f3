/* A header that is right on no member: whose blocks stand behind it.
 *
 * A sealed group's summary has the records of all its batches: the batch is taken from there, and
 * the walk goes on behind it with the next header, whatever that names as the one before.
 *
 * A group without a summary (it was closed early, by an error or a crash), or whose summary does
 * not verify either: all tables are walked for what they have in the rest of the group. That finds
 * everything but what trees hand over meanwhile, and costs a walk over all tables. */
#include "pool/member/patrol.h"
#include "pool/space/mirror.h"

#include <stdlib.h>

/* ---- through the tables ---- */

enum { LOST_LEAVES = 2 }; /* a step: each block of them may become one to be written */

static bool is_sought(const struct patrol *p, uint64_t addr)
{
        const struct group *g = p->pool->groups[addr_group(addr)];

        if (!p->lost)
                return g == p->group && addr_offset(addr) >= p->walk.off;
        return g->state == GROUP_SEALED && g->copies == p->group->copies &&
               mover_gives_up(p->pool, g, addr_offset(addr)) &&
               member_pick(p->pool, g, addr_offset(addr) + 1, 0) < 0;
}

struct sought {
        struct patrol *p;
        int rc;
};

static void sought(void *ctx, struct tree *t, uint8_t type, uint8_t level, uint64_t index,
                   struct entry e)
{
        struct sought *so = ctx;
        struct patrol *p = so->p;
        struct patrol_block b = {
            .tree_id = t->id, .index = index, .type = type, .level = level, .entry = e};

        if (so->rc == 0 && (e.addr & ADDR_MAPPED) && is_sought(p, e.addr))
                so->rc = patrol_note(p, &b);
}

static void tell_lost(struct patrol *p)
{
        for (uint32_t i = 0; i < p->nblocks; i++)
                p->block(p, &p->blocks[i], NULL, -EIO);
        p->nblocks = 0;
}

static void step(struct seek *s, struct tree *t)
{
        struct patrol *p = s->ctx;
        struct sought so = {.p = p};

        p->nblocks = 0;
        if (p->group->live || p->lost)
                seek_each(s, t, &so, sought);
        p->pins = steal_ptr(&s->pins);
        p->pins->ctx = p; /* for who takes a block along */
        p->pins->users = 1;
        if (p->lost)
                tell_lost(p);
        int k = p->lost ? 0 : member_pick(p->pool, p->group, p->group->tail, 0);
        if (so.rc == 0 && k >= 0 && (p->group->live || p->lost)) {
                patrol_show(p, (unsigned)k);
                return;
        }
        patrol_unpin(steal_ptr(&p->pins));
        patrol_finish(p, p->group->live ? so.rc ? so.rc : -EIO : 0);
}

static void walked(struct seek *s)
{
        struct patrol *p = s->ctx;

        if (s->unread && p->unknown)
                p->unknown(p, -EIO);
        patrol_finish(p, 0);
}

void patrol_seek(struct patrol *p)
{
        p->seeking = p->headless = true;
        p->seek = (struct seek){.pool = p->pool, .ctx = p, .step = step, .done = walked};
        p->seek.leaves = p->lost ? LOST_LEAVES : 0;
        seek_start(&p->seek);
}

/* ---- through the summary ---- */

static bool find_batch(const struct patrol *p, struct summary_item *ret_it, const uint8_t **ret)
{
        const uint8_t *records = p->sum.buf + HEADER_FIXED;

        for (uint32_t pos = 0; pos < p->sum.h.record_bytes;) {
                summary_item_decode(records + pos, ret_it);
                *ret = records + pos + SUMMARY_ITEM;
                if (ret_it->offset == p->walk.off)
                        return true;
                pos += SUMMARY_ITEM + ret_it->record_bytes;
        }
        return false;
}

static void through_summary(struct patrol *p)
{
        struct walk *w = &p->walk;
        struct summary_item it;
        const uint8_t *records;

        if (!p->sum.buf || !find_batch(p, &it, &records)) {
                patrol_seek(p);
                return;
        }
        w->h = (struct header){.kind = HEADER_BATCH,
                               .group = p->group->id,
                               .generation = p->group->generation,
                               .seq = it.seq,
                               .mark = it.mark,
                               .offset = it.offset,
                               .header_blocks = it.header_blocks,
                               .data_blocks = it.data_blocks,
                               .record_bytes = it.record_bytes};
        w->any_prev = true; /* its checksum, which the next one names, is not known */
        p->records = records;
        p->record_bytes = it.record_bytes;
        p->failed = 0;
        p->again_there = false;
        p->headless = true;
        patrol_take_batch(p);
}

static void summary_there(struct summary_read *s, int status)
{
        if (status == -ENOMEM)
                patrol_finish(s->ctx, status);
        else
                through_summary(s->ctx);
}

void patrol_behind(struct patrol *p)
{
        struct pool *pool = p->pool;
        struct group *g = p->group;
        int k = member_pick(pool, g, g->cap, 0);

        if (!g->live || (g->summary && p->walk.off >= g->cap - g->summary)) {
                patrol_finish(p, 0); /* it is the summary that is damaged */
                return;
        }
        if (p->header)
                p->header(p, p->failed, true);
        if (p->sum_asked || !g->summary || k < 0) {
                through_summary(p);
                return;
        }
        p->sum_asked = true;
        p->sum = (struct summary_read){
            .pool = pool, .group = g, .member = (unsigned)k, .done = summary_there, .ctx = p};
        summary_read_start(&p->sum);
}
