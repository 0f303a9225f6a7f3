/* Cleaning: copy what lives in a group elsewhere, compare-and-swap its entries, and the group is
 * empty; the next checkpoint frees it.
 *
 * One victim at a time. Its chain of headers names an owner for each block; a block lives when the
 * owner's entry still is this address. Data is read, verified and queued as MOVE records in the
 * cleaning class, many at a time so that they share headers; table pages and inodes are only marked
 * changed: the next checkpoint writes them elsewhere.
 *
 * Pace: none while plenty of groups are free; below that, so many blocks for every block users
 * write, more the fewer are free; all it can while users wait for a group.
 * Victim: the best of benefit over cost, (1 - u) * age / (1 + u); where space is short the
 * emptiest.
 */
#include "pool/internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 128, LOW_FREE = 3, COMFORT_FREE = 8, COMFORT_SHARE = 16 };

struct move {
        struct block_read read;
        struct cleaner *cleaner;
        uint64_t tree, index;
        int status;
};

struct cleaner {
        struct pool *pool;
        struct walk walk;
        struct group *victim;
        struct move moves[CHUNK];
        uint32_t nmoves, reading, writing;
        struct record rec;
        uint32_t pos, data, at; /* position in the header's records */
        bool walking; /* the walk is reading */
        bool have_header;
        bool marked; /* table pages of the victim: they go with the next checkpoint */
        bool ended;
        uint64_t paid; /* user blocks already answered with cleaning */
        uint64_t credit; /* blocks that may be moved */
        uint64_t stuck_seq; /* no victim was worth it: not before something changed */
        bool stuck;
};

int clean_init(struct pool *pool)
{
        pool->cleaner = calloc(1, sizeof(*pool->cleaner));
        if (!pool->cleaner)
                return -ENOMEM;
        pool->cleaner->pool = pool;
        return 0;
}

void clean_fini(struct pool *pool)
{
        if (pool->cleaner)
                walk_fini(&pool->cleaner->walk);
        free(pool->cleaner);
        pool->cleaner = NULL;
}

static uint32_t comfortable(const struct pool *pool)
{
        return COMFORT_FREE + pool->ngroups / COMFORT_SHARE;
}

bool clean_wanted(const struct pool *pool)
{
        return pool->count.free + pool->count.emptied < comfortable(pool);
}

/* Users wait for a group, or nobody can have one soon. */
static bool urgent(const struct pool *pool)
{
        const struct stream *s = &pool->streams[CLASS_USER];
        bool blocked = !list_empty(&s->items) && !s->inflight && list_empty(&s->ready) && !s->open;

        return blocked || pool->count.free + pool->count.emptied <= LOW_FREE;
}

bool clean_idle(const struct pool *pool)
{
        return !pool->cleaner->victim;
}

/* Moving what lives there takes less than the group gives back. */
static bool worth_it(const struct group *g, bool hurry)
{
        uint64_t takes = g->live + g->live / 64 + 2;

        return hurry ? takes < g->cap : takes < g->cap - g->cap / 8;
}

static struct group *choose(struct pool *pool)
{
        struct group *best = NULL;
        double best_score = 0;
        bool hurry = urgent(pool);

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = &pool->groups[i];
                if (g->state != GROUP_SEALED || !g->live || g->unclean || g->freeing ||
                    !worth_it(g, hurry))
                        continue;
                double u = (double)g->live / g->cap;
                double age = (double)(pool->seq - MIN(g->seal_seq, pool->seq) + 1);
                double score = hurry ? 1 - u : (1 - u) * age / (1 + u);
                if (score > best_score) {
                        best = g;
                        best_score = score;
                }
        }
        return best;
}

static void step(struct cleaner *c);

static void release(struct cleaner *c)
{
        struct group *g = c->victim;

        g->busy = false;
        if (g->live)
                g->unclean = true; /* cannot be read, or goes with the next checkpoint */
        if (c->marked)
                ckpt_start(c->pool, NULL);
        c->marked = false;
        group_unref(c->pool, g);
        c->victim = NULL;
        walk_fini(&c->walk);
}

static void header_found(struct walk *w)
{
        struct cleaner *c = w->ctx;

        c->walking = false;
        c->have_header = true;
        c->pos = c->data = 0;
        c->at = UINT32_MAX;
        step(c);
}

static void walk_ended(struct walk *w, int status)
{
        struct cleaner *c = w->ctx;

        c->walking = false;
        c->ended = true;
        step(c);
}

static void moved(struct item *it, int status)
{
        struct cleaner *c = it->ctx;

        c->writing--;
        step(c);
}

static void queue_moves(struct cleaner *c)
{
        struct pool *pool = c->pool;

        for (uint32_t i = 0; i < c->nmoves; i++) {
                struct move *m = &c->moves[i];
                struct item *it =
                    m->status == 0 ? item_new(pool, RECORD_MOVE, m->tree, m->index) : NULL;
                if (!it) {
                        pool_block_put(pool, m->read.buf);
                        continue;
                }
                it->data = m->read.buf;
                it->crc = m->read.entry.crc;
                it->from = m->read.entry.addr;
                it->from_generation = c->victim->generation;
                it->done = moved;
                it->ctx = c;
                c->writing++;
                stream_add(pool, CLASS_CLEAN, it);
        }
        c->nmoves = 0;
        stream_kick(pool, CLASS_CLEAN);
}

static void move_read(struct block_read *r, int status)
{
        struct move *m = container_of(r, struct move, read);
        struct tree *t = pool_tree(r->pool, m->tree);

        if (status == -EILSEQ)
                pool_event_send(r->pool, POOL_EVENT_CORRUPTION, status,
                                m->cleaner->victim->member[0].dev, t ? t->vol : NULL, m->index);
        m->status = status;
        m->cleaner->reading--;
        step(m->cleaner);
}

static void start_move(struct cleaner *c, struct volume *vol, uint64_t index, struct entry e)
{
        struct move *m = &c->moves[c->nmoves];
        uint8_t *buf = pool_block_get(c->pool);

        if (!buf)
                return;
        c->nmoves++;
        *m = (struct move){.cleaner = c, .tree = vol->tree.id, .index = index};
        m->read.buf = buf;
        m->read.verify = m->read.quiet = true;
        m->read.done = move_read;
        c->reading++;
        c->credit -= MIN(c->credit, 1u);
        block_read_start(c->pool, &m->read, e);
}

/* One block of the record at hand: moved, or marked, when it lives. */
static void look_at(struct cleaner *c)
{
        struct pool *pool = c->pool;
        const struct record *rec = &c->rec;
        uint64_t index = rec->index + c->at;
        uint32_t off = c->walk.h.offset + c->walk.h.header_blocks + rec->data + c->at;
        uint64_t addr = addr_make(c->victim->id, off);
        struct tree *t = pool_tree(pool, rec->tree);

        if (!t)
                return;
        if (rec->type == RECORD_PAGE) {
                c->marked |= tree_dirty_page_at(pool, t, rec->level, index, addr);
                return;
        }
        struct entry e = tree_get(t, index);
        if (e.addr != addr)
                return;
        if (rec->type == RECORD_INODE) {
                struct volume *vol;
                list_for_each (vol, &pool->volumes, node) {
                        if (vol->slot == index)
                                vol->dirty = true;
                }
                c->marked = true;
        } else if (t->vol) {
                start_move(c, t->vol, index, e);
        }
}

/* Goes through the header's blocks until the chunk is full. False: the header is through. */
static bool look_on(struct cleaner *c)
{
        const uint8_t *records = c->walk.buf + HEADER_FIXED;

        if (c->walk.h.kind == HEADER_SUMMARY)
                return false;
        while (c->nmoves < CHUNK) {
                if (c->at == UINT32_MAX || c->at >= record_data_blocks(c->rec.type, c->rec.count)) {
                        if (record_next(records, c->walk.h.record_bytes, &c->pos, &c->data,
                                        &c->rec) <= 0)
                                return false;
                        c->at = 0;
                        continue;
                }
                look_at(c);
                c->at++;
        }
        return true;
}

static void begin(struct cleaner *c, struct group *g)
{
        g->busy = true;
        group_ref(g);
        c->victim = g;
        c->ended = c->have_header = false;
        c->walk = (struct walk){.pool = c->pool,
                                .group = g,
                                .end = g->tail,
                                .found = header_found,
                                .done = walk_ended,
                                .ctx = c};
        c->walking = true;
        walk_start(&c->walk);
}

/* Goes on until something is in flight, or the pace says wait. */
static void step(struct cleaner *c)
{
        while (!c->pool->dead && c->victim && !c->walking && !c->writing) {
                if (c->nmoves == CHUNK || c->ended) {
                        if (c->reading)
                                return;
                        if (c->nmoves)
                                queue_moves(c);
                        else
                                release(c);
                        continue;
                }
                if (!c->victim->live && !c->reading && !c->nmoves) {
                        release(c); /* the rest of the walk would find nothing */
                        continue;
                }
                if (!urgent(c->pool) && !c->credit)
                        return;
                if (c->marked && c->pool->ndirty >= space_dirty_limit(c->pool)) {
                        ckpt_start(c->pool, NULL);
                        c->marked = false;
                        return;
                }
                if (c->have_header) {
                        c->have_header = look_on(c);
                        continue;
                }
                c->walking = true;
                walk_next(&c->walk);
        }
}

/* Blocks to move for each block users write. */
static void pace(struct cleaner *c)
{
        struct pool *pool = c->pool;
        uint64_t wrote = pool->user_blocks - MIN(c->paid, pool->user_blocks);
        uint32_t have = pool->count.free + pool->count.emptied, want = comfortable(pool);

        c->paid = pool->user_blocks;
        if (have < want)
                c->credit += wrote * (1 + 4 * (want - have) / want);
        c->credit = MIN(c->credit, (uint64_t)pool->max_cap * 2);
}

void clean_poll(struct pool *pool)
{
        struct cleaner *c = pool->cleaner;

        pace(c);
        if (!pool->running || pool->readonly)
                return;
        if (c->victim) {
                step(c);
                return;
        }
        if (!urgent(pool) && (!c->credit || !clean_wanted(pool)))
                return;
        if (c->stuck && c->stuck_seq == pool->seq)
                return;
        struct group *g = choose(pool);
        c->stuck = !g;
        c->stuck_seq = pool->seq;
        if (g)
                begin(c, g);
}
