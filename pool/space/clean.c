/* Cleaning: copy what lives in a group elsewhere, compare-and-swap its entries, and the group is
 * empty; the next checkpoint or release frees it.
 *
 * One victim at a time, read from its start in large stretches. Its headers name an owner for each
 * block; a block lives when the owner's entry still is this address. Data is verified and queued as
 * MOVE records in the cleaning class, many at a time so that they share headers; table pages and
 * inodes are only marked changed: the next checkpoint writes them elsewhere.
 *
 * Rebuilding is the same: the victim is a group that has fewer whole members than it should, and
 * what lives there goes to one that has them all. It is paced by time and by what users write, and
 * leaves off while room is short.
 *
 * Pace: none while plenty of groups are free, or would be by a release; below that, so many blocks
 * for every block users write, more the fewer are free, and users wait for it when it falls behind;
 * all it can while users wait for a group.
 * Which group is next, and whether room is short, is victim.c's to say.
 */
#include "pool/internal.h"
#include "pool/log/walk.h"
#include "pool/space/mirror.h"
#include "pool/space/victim.h"
#include "pool/table/batch_pins.h"

#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

enum {
        REBUILD_PER_WRITE = 2, /* blocks moved for each that users write, */
        REBUILD_PER_TICK = 256, /* and for each tick: 100 MiB a second */
        REBUILD_TICK_NS = 10 * 1000 * 1000,
        REBUILD_BURST = 1024,
};
enum {
        CHUNK = 250,
        BEHIND = 2 * CHUNK,
        WINDOW = 256,
};

struct cleaner {
        struct pool *pool;
        struct group *victim;
        struct ask ask;
        struct iovec iov;
        uint8_t *win; /* a stretch of the victim, */
        uint32_t win_off, win_n; /* which, blocks; n 0: none */
        uint32_t win_cap;
        unsigned member; /* which is read, */
        unsigned tried; /* and those that gave nothing, a bit each */
        uint32_t off; /* where its next header stands */
        uint64_t prev_seq, prev_sum;
        struct list items; /* moves not queued yet */
        uint32_t nitems, writing;
        bool reading, ended;
        struct batch_pins *pins; /* of the batch at off */
        bool loading; /* they are not ready yet */
        uint64_t wait_root; /* not before the root of that generation, or its failure */
        bool marked; /* table pages of the victim: they go with the next checkpoint */
        uint64_t paid; /* user blocks already answered with cleaning */
        uint64_t credit; /* blocks that may be moved */
        bool rebuilding; /* the victim is short of a member, or on a failing zone */
        bool early; /* it is left before its end */
        uint64_t rebuild_credit; /* blocks that may be moved for that */
        uint64_t tick_ns;
        uint64_t stuck_seq, stuck_root; /* no victim was worth it: not before something changed */
        bool stuck;
        bool in_vain; /* stuck, or pointless */
        uint64_t lap_user, lap_live, lap_start; /* since when nothing was gained, see pointless() */
        uint32_t lap_free;
};

int clean_init(struct pool *pool)
{
        pool->cleaner = calloc(1, sizeof(*pool->cleaner));
        if (!pool->cleaner)
                return -ENOMEM;
        pool->cleaner->pool = pool;
        list_init(&pool->cleaner->items);
        return 0;
}

void clean_fini(struct pool *pool)
{
        if (pool->cleaner)
                free(pool->cleaner->win);
        free(pool->cleaner);
        pool->cleaner = NULL;
}

static uint64_t credit_limit(const struct pool *pool)
{
        return 2 * (uint64_t)pool->max_cap;
}

bool clean_wanted(const struct pool *pool)
{
        return victim_soon_free(pool) < victim_comfort(pool);
}

bool clean_behind(const struct pool *pool)
{
        const struct cleaner *c = pool->cleaner;

        return !c->rebuilding && (c->reading || c->writing) &&
               c->credit >= MIN(credit_limit(pool), (uint64_t)BEHIND);
}

/* As much was written as all groups hold, and no more is free than before: the pool is as full as
 * it looks. Not before users write or discard, or something else gives room, is there more to gain.
 */
static bool pointless(struct cleaner *c)
{
        const struct pool *pool = c->pool;
        uint64_t wrote = pool->clean_blocks + pool->table_blocks;
        uint32_t have = groups_free(pool) + pool->count.emptied;

        if (pool->user_blocks != c->lap_user || pool->live != c->lap_live || have > c->lap_free) {
                c->lap_user = pool->user_blocks;
                c->lap_live = pool->live;
                c->lap_free = have;
                c->lap_start = wrote;
        }
        return wrote - c->lap_start > (uint64_t)pool->ngroups * pool->max_cap &&
               (!victim_users_wait(pool) || space_lacking(pool));
}

bool clean_idle(const struct pool *pool)
{
        return !pool->cleaner->victim;
}

bool clean_in_vain(const struct pool *pool)
{
        return clean_idle(pool) && pool->cleaner->in_vain;
}

static void step(struct cleaner *c);
static void rescue(struct cleaner *c, const struct tree *t, uint64_t index, struct entry e);

static void release(struct cleaner *c, bool walked)
{
        struct group *g = c->victim;

        batch_pins_free(steal_ptr(&c->pins)); /* taken, and then the rest was found to be dead */
        g->busy = false;
        if (g->live && walked && !c->early)
                g->unclean = true; /* cannot be read, or goes with the next checkpoint */
        if (c->marked && (c->rebuilding || victim_urgent(c->pool)))
                ckpt_start(c->pool, NULL);
        c->marked = false;
        group_unref(c->pool, g);
        c->victim = NULL;
}

static void moved_one(struct cleaner *c)
{
        c->writing--;
        step(c);
}

/* The pages that were held for it are not for its sake any more. */
static void pins_through(struct batch_pins *b)
{
        if (!--b->users)
                batch_pins_free(b);
}

static void item_through(struct item *it)
{
        pins_through(it->ctx);
}

static void moved(struct item *it, int status)
{
        struct batch_pins *b = it->ctx;
        struct cleaner *c = b->ctx;

        item_through(it);
        moved_one(c);
}

/* All at once, so that they share a header. */
static void queue_moves(struct cleaner *c)
{
        struct stream *s = pool_stream(c->pool, lifetime_of_moved(c->victim), c->victim->copies);

        while (!list_empty(&c->items)) {
                struct item *it = list_first(&c->items, struct item, node);
                list_del(&it->node);
                c->writing++;
                stream_add(s, it);
        }
        c->nitems = 0;
        stream_kick(c->pool, s);
}

/* A block that was wrong in the window: asked for by itself, of every member. */
struct rescue {
        struct block_read read;
        struct cleaner *c;
        struct batch_pins *pins;
        uint64_t tree, index;
};

static void rescued(struct block_read *read, int status)
{
        struct rescue *r = container_of(read, struct rescue, read);
        struct cleaner *c = r->c;
        struct tree *t = pool_tree(c->pool, r->tree);

        if (status == 0 && t && !read->bad) /* else it is healed already */
                heal_block(c->pool, t, r->index, read->entry, read->buf, 0, NULL, NULL);
        pool_block_put(c->pool, read->buf);
        pins_through(r->pins);
        pool_release(r);
        moved_one(c);
}

static void rescue(struct cleaner *c, const struct tree *t, uint64_t index, struct entry e)
{
        struct rescue *r = pool_alloc(c->pool, sizeof(*r));

        if (!r || !(r->read.buf = pool_block_get(c->pool))) {
                pool_release(r);
                return;
        }
        r->c = c;
        r->tree = t->id;
        r->index = index;
        r->pins = c->pins;
        r->pins->users++;
        r->read.vol = t->vol;
        r->read.block = index;
        r->read.verify = true;
        r->read.done = rescued;
        c->writing++;
        block_read_from(c->pool, &r->read, e, c->member);
}

static void move_block(struct cleaner *c, struct tree *t, uint64_t index, struct entry e,
                       const uint8_t *data)
{
        struct pool *pool = c->pool;
        struct item *it = NULL;

        if (crc32c(0, data, ZP_BLOCK) != e.crc) {
                rescue(c, t, index, e);
                return;
        }
        it = item_move(pool, t->id, index, e, data);
        if (!it)
                return;
        it->done = moved;
        it->ctx = c->pins;
        c->pins->users++;
        list_add_tail(&c->items, &it->node);
        c->nitems++;
        uint64_t *credit = c->rebuilding ? &c->rebuild_credit : &c->credit;
        *credit -= MIN(*credit, 1u);
}

static void drop_copies(struct cleaner *c)
{
        while (!list_empty(&c->items)) {
                struct item *it = list_first(&c->items, struct item, node);
                list_del(&it->node);
                item_through(it);
                item_free(c->pool, it);
        }
        c->nitems = 0;
}

/* The moves that wait find no group, and nothing is under way that would give one: they are only
 * copies. Without them the cleaner can turn to table groups, which need no group of its own class.
 */
static bool give_up(struct cleaner *c)
{
        struct pool *pool = c->pool;
        struct stream *s = pool_stream(pool, CLASS_CLEAN, c->victim->copies);

        if (c->reading || c->loading || list_empty(&s->items) || !stream_kind_idle(pool, s) ||
            pool->frozen || pool->ckpt.state != CKPT_IDLE ||
            pool->count.free != pool->count.ready || pool->count.emptied ||
            group_moves_fit(pool, s->copies, s->nitems))
                return false;
        uint32_t n = stream_take_back(s, moved, &c->items);
        c->nitems += n;
        c->writing -= n;
        if (c->writing)
                return false; /* they wait in a queue of another class, and go on */
        drop_copies(c);
        release(c, false);
        return true;
}

bool clean_yield(struct pool *pool, const struct group *g)
{
        struct cleaner *c = pool->cleaner;

        if (c->victim != g || c->reading || c->loading || c->writing || c->credit ||
            victim_urgent(pool))
                return false;
        drop_copies(c);
        release(c, false);
        return true;
}

/* What of the record's blocks lives is moved, or marked. */
static void clean_record(struct cleaner *c, const struct header *h, const struct record *rec)
{
        struct pool *pool = c->pool;
        uint32_t n = record_data_blocks(rec->type, rec->count);

        for (uint32_t i = 0; i < n; i++) {
                uint32_t off = h->offset + h->header_blocks + rec->data + i;
                uint64_t addr = addr_make(c->victim->id, off), index = record_index(rec, i);
                if (rec->type == RECORD_PAGE) {
                        struct tree *t = pool_tree(pool, rec->tree);
                        c->marked |= t && tree_dirty_page_at(pool, t, rec->level, index, addr);
                        continue;
                }
                struct tree *t = tree_of_block(pool, rec->tree, index, addr);
                if (!t)
                        continue;
                if (rec->type == RECORD_INODE) {
                        catalog_mark_dirty(pool, index);
                        c->marked = true;
                } else if (t->vol) {
                        move_block(c, t, index, tree_get(t, index),
                                   c->win + (size_t)(off - c->win_off) * ZP_BLOCK);
                }
        }
}

static void pages_there(struct batch_pins *b)
{
        struct cleaner *c = b->ctx;

        c->loading = false;
        step(c);
}

/* The table pages of the batch's owners are in RAM. They stay until what is moved of it was. */
static bool have_pages(struct cleaner *c, const struct header *h, const uint8_t *buf)
{
        if (c->pins)
                return true;
        c->loading = !batch_pins_take(c->pool, buf + HEADER_FIXED, h->record_bytes, pages_there, c,
                                      &c->pins);
        if (!c->pins) {
                c->loading = false;
                c->ended = true;
                return false;
        }
        return !c->loading;
}

/* The member read so far is of no use at this place. */
static void other_member(struct cleaner *c)
{
        c->win_n = 0;
        c->tried |= 1u << c->member;
        c->ended = member_pick(c->pool, c->victim, c->off + 1, c->tried) < 0;
}

static void window_read(struct ask *a, unsigned member, int status)
{
        struct cleaner *c = container_of(a, struct cleaner, ask);

        c->reading = false;
        c->member = member; /* what is there already may be another one's: both follow the chain */
        c->tried |= a->failed;
        if (status < 0)
                other_member(c);
        step(c);
}

/* Reads the victim from off on, at least so many blocks. */
static void read_window(struct cleaner *c, uint32_t least)
{
        bool stay = !(c->tried >> c->member & 1) &&
                    member_dev(c->pool, c->victim, c->member)->dev &&
                    member_good(c->victim, c->member, c->off + least);
        int k = stay ? (int)c->member : member_pick(c->pool, c->victim, c->off + least, c->tried);
        if (k < 0) {
                c->ended = true;
                return;
        }
        if (c->member != (unsigned)k)
                c->win_n = 0;
        c->member = (unsigned)k;
        uint32_t most = members_max_io(c->pool, c->victim);
        uint32_t n = MAX(least, MIN((uint32_t)WINDOW, most));

        if (c->win_cap < n) {
                void *win = NULL;
                if (posix_memalign(&win, ZP_BLOCK, (size_t)n * ZP_BLOCK)) {
                        c->ended = true;
                        return;
                }
                free(c->win);
                c->win = win;
                c->win_cap = n;
                c->win_n = 0;
        }
        /* what is there already stays; the rest in one go, or what one read takes */
        uint32_t have = c->win_n && c->win_off == c->off ? c->win_n : 0;
        uint32_t want =
            MIN(MIN(n - have, MIN(c->victim->tail, c->victim->member[k].good) - c->off - have),
                most);
        c->win_off = c->off;
        c->win_n = have + want;
        c->reading = true;
        c->iov = (struct iovec){c->win + (size_t)have * ZP_BLOCK, (size_t)want * ZP_BLOCK};
        c->ask.pool = c->pool;
        c->ask.group = c->victim;
        c->ask.off = c->off + have;
        c->ask.n = want;
        c->ask.iov = &c->iov;
        c->ask.niov = 1;
        c->ask.but = c->tried;
        c->ask.width = 0;
        c->ask.done = window_read;
        ask_member(&c->ask, c->member);
}

/* The batch at off, once all of it is in the window. */
static void clean_batch(struct cleaner *c)
{
        struct header h;
        struct record rec;
        uint32_t have = c->win_off <= c->off ? c->win_off + c->win_n : 0, pos = 0, data = 0;

        if (c->off >= c->victim->tail) {
                c->ended = true;
                return;
        }
        if (!c->win_n || have <= c->off) {
                c->win_n = 0;
                read_window(c, 1);
                return;
        }
        const uint8_t *buf = c->win + (size_t)(c->off - c->win_off) * ZP_BLOCK;
        if (header_decode(buf, &h) < 0 ||
            !walk_follows(c->pool, c->victim, &h, c->off, c->victim->tail, c->prev_seq,
                          c->prev_sum) ||
            h.kind != HEADER_BATCH) {
                other_member(c);
                return;
        }
        if (c->off + h.header_blocks + h.data_blocks > have) {
                read_window(c, h.header_blocks + h.data_blocks);
                return;
        }
        if (header_verify(&h, buf, c->pool->secret) < 0) {
                other_member(c);
                return;
        }
        if (h.cls == CLASS_TABLE && c->pool->ndirty &&
            c->pool->ndirty + c->pool->sending + 2 * h.data_blocks > space_table_room(c->pool)) {
                c->wait_root = c->pool->generation + 1; /* what is changed already goes first */
                ckpt_start(c->pool, NULL);
                return;
        }
        if (!have_pages(c, &h, buf))
                return;
        c->pins->users++;
        /* where a page cannot be read nobody knows what lives: it stays */
        while (c->pins->status == 0 &&
               record_next(buf + HEADER_FIXED, h.record_bytes, &pos, &data, &rec) > 0)
                clean_record(c, &h, &rec);
        pins_through(steal_ptr(&c->pins));
        c->off += h.header_blocks + h.data_blocks;
        c->prev_seq = h.seq;
        c->prev_sum = h.sum;
}

static void begin(struct cleaner *c, struct group *g, bool rebuild)
{
        g->busy = true;
        c->rebuilding = rebuild;
        c->early = false;
        int k = member_pick(c->pool, g, g->tail, 0);
        c->tried = 0;
        c->member = k < 0 ? 0 : (unsigned)k;
        group_ref(g);
        c->victim = g;
        c->ended = false;
        c->off = c->win_n = 0;
        c->prev_seq = c->prev_sum = 0;
        step(c);
}

static bool must_wait(struct cleaner *c)
{
        if (c->wait_root > c->pool->generation && c->pool->ckpt.state != CKPT_IDLE)
                return true;
        if (c->rebuilding ? !c->rebuild_credit : !victim_urgent(c->pool) && !c->credit)
                return true;
        if (!c->marked || c->pool->ndirty < space_dirty_limit(c->pool))
                return false;
        ckpt_start(c->pool, NULL);
        c->marked = false;
        return true;
}

/* Goes on until something is in flight, or the pace says wait. The next stretch is read while the
 * moves of the last one are written. */
static void step(struct cleaner *c)
{
        while (!c->pool->dead && c->victim && !c->reading && !c->loading) {
                if (!c->victim->live)
                        c->ended = true; /* the rest of the walk would find nothing */
                if (c->rebuilding && !c->ended &&
                    (victim_urgent(c->pool) || !victim_may_rebuild(c->pool) ||
                     (!c->stuck && c->credit >= credit_limit(c->pool))))
                        c->early = c->ended = true; /* room first */
                if (c->nitems >= CHUNK || c->ended) {
                        if (c->writing >= CHUNK || (c->ended && c->writing && !c->nitems))
                                return;
                        if (c->nitems)
                                queue_moves(c);
                        if (c->ended && !c->writing)
                                release(c, true);
                        if (c->ended)
                                continue;
                }
                if (must_wait(c))
                        return;
                clean_batch(c);
        }
}

/* Blocks to move for each block users write. */
static void pace(struct cleaner *c)
{
        struct pool *pool = c->pool;
        uint64_t wrote = pool->user_blocks - MIN(c->paid, pool->user_blocks);
        uint32_t have = victim_soon_free(pool), want = victim_comfort(pool);

        c->paid = pool->user_blocks;
        if (have < want)
                c->credit += wrote * (want + 8 * (want - have)) / want;
        c->credit = MIN(c->credit, credit_limit(pool));
        c->rebuild_credit = MIN(c->rebuild_credit + REBUILD_PER_WRITE * wrote, REBUILD_BURST);
}

void clean_tick(struct pool *pool, uint64_t now)
{
        struct cleaner *c = pool->cleaner;

        if (now - c->tick_ns < REBUILD_TICK_NS)
                return;
        c->tick_ns = now;
        c->rebuild_credit = MIN(c->rebuild_credit + REBUILD_PER_TICK, REBUILD_BURST);
}

uint64_t clean_next_tick_ns(const struct pool *pool)
{
        const struct cleaner *c = pool->cleaner;
        bool waits = pool->running && !pool->readonly && !c->rebuild_credit &&
                     (pool->rebuild || (c->victim && c->rebuilding));

        return waits ? c->tick_ns + REBUILD_TICK_NS : UINT64_MAX;
}

void clean_poll(struct pool *pool)
{
        struct cleaner *c = pool->cleaner;

        pace(c);
        c->in_vain = false;
        if (!pool->running || pool->readonly)
                return;
        if (c->victim && !c->rebuilding && pool->rebuild && c->rebuild_credit)
                clean_yield(pool, c->victim); /* it waits for users to write, others need not */
        if (c->victim && !give_up(c)) {
                step(c);
                return;
        }
        if (!victim_urgent(pool) && (!c->credit || !clean_wanted(pool))) {
                bool may = c->rebuild_credit && victim_may_rebuild(pool);
                struct group *shy = may ? victim_choose_short(pool) : NULL;
                if (shy)
                        begin(c, shy, true);
                return;
        }
        c->in_vain = true;
        if (c->stuck && c->stuck_seq == pool->seq && c->stuck_root == pool->generation)
                return;
        if (pointless(c))
                return;
        struct group *g = victim_choose(pool);
        c->stuck = c->in_vain = !g;
        c->stuck_seq = pool->seq;
        c->stuck_root = pool->generation;
        if (g)
                begin(c, g, false);
        else if (!victim_urgent(pool) && c->rebuild_credit && victim_may_rebuild(pool) &&
                 (g = victim_choose_short(pool)))
                begin(c, g, true);
}
