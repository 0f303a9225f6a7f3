/* Empties devices that are leaving, and where none does, groups that lie unevenly (balance.h), by
 * the primitive of cleaning: copy, compare-and-swap the owner's entry, and the group is empty; a
 * durable root frees it.
 *
 * What leaves goes in rounds over all groups that have a zone on such a device: data go as MOVE
 * records through the cleaning class, table pages and inodes are marked changed and go with the
 * checkpoint that ends the round. A round after which as much lives there as before it has met what
 * cannot be read: that is told, and tried again later.
 *
 * Nothing of it is remembered but what the roots say: which device leaves. A crash begins a new
 * round.
 *
 * Room: it starts moves only while users could open a group too, a few at a time, so that it never
 * stands in their way or in its own; where there is less, it asks for cleaning and waits.
 * Pace: all it can while users ask for nothing, else so many bytes a second. */
#include "pool/member/mover.h"
#include "pool/internal.h"
#include "pool/member/pace.h"
#include "pool/member/patrol.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64, KEEP_FREE = 4 };

static const uint64_t RETRY_NS = UINT64_C(60) * 1000 * 1000 * 1000;

struct mover {
        struct pool *pool;
        struct patrol patrol;
        struct list items; /* moves not queued yet */
        uint32_t nitems, writing;
        bool paused; /* the patrol waits for room or its turn */
        bool in_round;
        struct group
            *uneven; /* the patrol's, moved for evenness: no room is asked for, but waited for */
        bool skipped; /* something was left for the next round */
        uint32_t next; /* group to look at in this round */
        unsigned lost_walks; /* of this round: for blocks of so many copies, a bit each */
        uint64_t retry_ns; /* what cannot be read is tried again then; 0: nothing is */
        uint64_t before; /* blocks that lived there when the round began */
        struct ckpt_wait wait;
        bool waiting; /* for the checkpoint that ends the round */
        struct pace pace;
        bool wants_room;
        bool headless; /* groups are to be emptied whose device stays */
};

static void moved_from(struct patrol *p, int status);
static bool is_wanted(struct patrol *p, const struct patrol_block *b);
static void move_block(struct patrol *p, const struct patrol_block *b, const uint8_t *data,
                       int status);
static bool batch_shown(struct patrol *p);

int mover_init(struct pool *pool)
{
        struct mover *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        pool->mover = m;
        m->pool = pool;
        list_init(&m->items);
        m->patrol = (struct patrol){.pool = pool,
                                    .ctx = m,
                                    .wanted = is_wanted,
                                    .block = move_block,
                                    .batch = batch_shown,
                                    .done = moved_from};
        return 0;
}

void mover_fini(struct pool *pool)
{
        if (pool->mover)
                patrol_fini(&pool->mover->patrol);
        free(pool->mover);
        pool->mover = NULL;
}

void mover_begin(struct pool *pool)
{
        pool->mover->skipped = true; /* the round under way has not seen it */
        pool->mover->retry_ns = 0;
}

void mover_empty(struct pool *pool, struct group *g)
{
        if (g->state != GROUP_SEALED || g->headless)
                return;
        g->headless = pool->mover->headless = true;
        mover_begin(pool);
}

bool mover_wants_room(const struct pool *pool)
{
        return pool->mover->wants_room;
}

uint64_t mover_next_ns(const struct pool *pool)
{
        const struct mover *m = pool->mover;

        if (!pool->running || pool->readonly)
                return UINT64_MAX;
        if (m->paused && m->nitems && !m->wants_room && !m->writing)
                return m->pace.turn_ns;
        return MIN(m->retry_ns ? m->retry_ns : UINT64_MAX, balance_next_ns(pool));
}

/* ---- one group ---- */

static bool is_wanted(struct patrol *p, const struct patrol_block *b)
{
        struct pool *pool = p->pool;

        if (b->type == RECORD_PAGE) {
                if (pool->ndirty + pool->sending + 2 * MAX_HEIGHT > space_table_room(pool))
                        ((struct mover *)p->ctx)->skipped = true; /* the next round */
                else
                        tree_dirty_page_at(pool, b->tree, b->level, b->index, b->entry.addr);
                return false;
        }
        if (b->type != RECORD_INODE)
                return b->tree->vol != NULL;
        catalog_mark_dirty(pool, b->index);
        return false;
}

static void step(struct mover *m);

static void moved(struct item *it, int status)
{
        struct batch_pins *pins = it->ctx;
        struct mover *m = ((struct patrol *)pins->ctx)->ctx;

        patrol_unpin(pins);
        m->writing--;
        step(m);
}

bool mover_gives_up(const struct pool *pool, const struct group *g, uint32_t off)
{
        bool any = false;

        for (unsigned k = 0; k < g->width; k++) {
                if (!member_good(g, k, off + 1))
                        continue;
                if (!member_dev(pool, g, k)->giving_up)
                        return false;
                any = true;
        }
        return any;
}

/* It was read in vain, and an operator said that it is lost. */
static bool given_up(const struct pool *pool, const struct patrol_block *b, int status)
{
        uint64_t addr = b->entry.addr;

        return (status == -EIO || status == -EILSEQ || status == -ENODEV) &&
               mover_gives_up(pool, pool->groups[addr_group(addr)], addr_offset(addr));
}

static void move_block(struct patrol *p, const struct patrol_block *b, const uint8_t *data,
                       int status)
{
        struct mover *m = p->ctx;
        struct pool *pool = p->pool;
        struct item *it = NULL;

        if (given_up(pool, b, status)) {
                data = pool->tomb;
                status = 0;
        }
        if (status < 0 && status != -EILSEQ)
                return; /* the device, which is told of already */
        if (status < 0) {
                pool_event_send(pool, POOL_EVENT_CORRUPTION, status, p->group->member[0].dev,
                                b->tree->vol, b->index);
                return;
        }
        it = item_move(pool, b->tree->id, b->index, b->entry, data);
        if (!it)
                return; /* the next round */
        if (data == pool->tomb)
                it->crc = pool->tomb_crc;
        it->done = moved;
        it->ctx = p->pins;
        p->pins->users++;
        list_add_tail(&m->items, &it->node);
        m->nitems++;
}

static bool batch_shown(struct patrol *p)
{
        struct mover *m = p->ctx;
        struct pool *pool = p->pool;

        if (pool->running && !m->nitems && pool->ndirty < space_dirty_limit(pool))
                return true;
        m->paused = true;
        step(m);
        return false;
}

static void moved_from(struct patrol *p, int status)
{
        struct mover *m = p->ctx;

        m->paused = false;
        m->next += m->in_round;
        if (m->uneven)
                balance_walked(m->pool, steal_ptr(&m->uneven));
        pool_poll(m->pool);
}

/* ---- room and pace ---- */

static bool has_room(const struct pool *pool)
{
        return groups_free_blocks(pool) > (uint64_t)KEEP_FREE * pool->max_cap;
}

/* So many at a time as a group or two hold: what is queued finds room for sure. */
static void queue_some(struct mover *m)
{
        struct pool *pool = m->pool;
        struct stream *s =
            pool_stream(pool, lifetime_of_moved(m->patrol.group), m->patrol.group->copies);
        uint32_t most = MIN((uint32_t)AT_ONCE, MAX(pool->min_cap / 2, 1u)), n = 0;

        for (; n < most && m->nitems; n++) {
                struct item *it = list_first(&m->items, struct item, node);
                list_del(&it->node);
                m->nitems--;
                m->writing++;
                stream_add(s, it);
        }
        pace_pay(pool, &m->pace, n);
        if (m->uneven)
                balance_moved(pool, n);
        stream_kick(pool, s);
}

/* What is only moved for evenness stays where it is. */
static void give_up(struct mover *m)
{
        while (!list_empty(&m->items)) {
                struct item *it = list_first(&m->items, struct item, node);
                list_del(&it->node);
                patrol_unpin(it->ctx);
                item_free(m->pool, it);
        }
        m->nitems = 0;
        m->uneven = NULL;
        balance_wait(m->pool);
        patrol_stop(&m->patrol);
}

/* What is queued finds no group after all, and nothing is under way that would give one: it waits
 * here, where it is not in the way of cleaning. */
static void take_back(struct mover *m)
{
        struct pool *pool = m->pool;
        uint32_t copies = m->patrol.group->copies, n = 0;

        if (!stream_kind_idle(pool, pool_stream(pool, CLASS_CLEAN, copies)) || pool->frozen ||
            pool->ckpt.state != CKPT_IDLE || pool->count.free != pool->count.ready ||
            pool->count.emptied || group_moves_fit(pool, (uint8_t)copies, m->writing))
                return;
        for (int c = 0; c < NCLASSES; c++)
                if (class_kind((enum cls)c) == CLASS_CLEAN)
                        n += stream_take_back(pool_stream(pool, (enum cls)c, copies), moved,
                                              &m->items);
        m->nitems += n;
        m->writing -= n;
        m->wants_room = !m->uneven;
        if (m->uneven && !m->writing)
                give_up(m);
}

/* Goes on with the batch at hand, as far as it can. */
static void step(struct mover *m)
{
        struct pool *pool = m->pool;

        if (!m->paused || m->writing || pool->dead || !pool->running)
                return;
        m->wants_room = false;
        if (m->uneven && !(balance_may(pool) && has_room(pool))) {
                give_up(m);
                return;
        }
        if (!m->nitems) {
                if (pool->ndirty >= space_dirty_limit(pool)) {
                        ckpt_start(pool, NULL);
                        return;
                }
                m->paused = false;
                patrol_next(&m->patrol);
                return;
        }
        m->wants_room = !has_room(pool);
        if (!m->wants_room && pace_turn(pool, &m->pace))
                queue_some(m);
}

/* ---- rounds ---- */

static bool is_to_go(const struct pool *pool, const struct group *g)
{
        if (g->headless)
                return true;
        for (int i = 0; i < g->width; i++)
                if (pool->devs[g->member[i].dev].state == POOL_DEVICE_LEAVING)
                        return true;
        return false;
}

/* What lives in sealed groups of devices that are leaving; how many of their groups a root has
 * still to free, and whether some are not sealed yet. */
static uint64_t left_over(const struct pool *pool, uint32_t *ret_groups, bool *ret_open)
{
        uint64_t live = 0;

        *ret_groups = 0;
        *ret_open = false;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                bool open = g->state == GROUP_OPEN || g->state == GROUP_SEALING;
                if ((!open && g->state != GROUP_SEALED) || !is_to_go(pool, g))
                        continue;
                if (!open)
                        live += g->live;
                *ret_open |= open;
                ++*ret_groups;
        }
        return live;
}

/* Nothing could be moved: what is left on each device cannot be read. */
static void stuck(struct mover *m)
{
        struct pool *pool = m->pool;

        m->retry_ns = pool->host.now_ns(pool->host.ctx) + RETRY_NS;
        for (uint32_t n = 0; n < pool->ndevs; n++) {
                struct pdev *d = &pool->devs[n];
                uint64_t live = 0;
                for (uint32_t i = 0; i < pool->ngroups; i++)
                        if (group_on(pool->groups[i], n))
                                live += pool->groups[i]->live;
                if (d->state != POOL_DEVICE_LEAVING || !live)
                        continue;
                if (!d->stuck_blocks)
                        pool_event_send(pool, POOL_EVENT_DEVICE_STUCK, 0, n, NULL, 0);
                d->stuck_blocks = live;
        }
}

static void round_over(struct ckpt_wait *w, int status)
{
        struct mover *m = container_of(w, struct mover, wait);
        uint32_t groups;
        bool open;
        uint64_t live = left_over(m->pool, &groups, &open);

        m->waiting = m->in_round = false;
        if (status == 0 && live && live >= m->before && !open && !m->skipped)
                stuck(m);
}

static bool round_begins(struct mover *m)
{
        struct pool *pool = m->pool;
        uint32_t groups;
        bool open, any = m->headless;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                any |= pool->devs[i].state == POOL_DEVICE_LEAVING && !pool->devs[i].drained;
        if (!any) {
                m->retry_ns = 0;
                return false;
        }
        if (m->retry_ns && pool->host.now_ns(pool->host.ctx) < m->retry_ns)
                return false;
        m->retry_ns = 0;
        m->before = left_over(pool, &groups, &open);
        m->headless &= groups > 0;
        if (!groups)
                return false;
        m->in_round = true;
        m->skipped = open;
        m->next = m->lost_walks = 0;
        return true;
}

/* Nobody can read the group: one walk finds what all such groups have. */
static bool walk_lost(struct mover *m, const struct group *g)
{
        unsigned bit = 1u << g->copies;

        if ((m->lost_walks & bit) || member_pick(m->pool, g, g->tail, 0) >= 0 ||
            !mover_gives_up(m->pool, g, 0))
                return false;
        m->lost_walks |= bit;
        return true;
}

static void even_out(struct mover *m)
{
        m->uneven = balance_next(m->pool);
        m->patrol.lost = false;
        if (m->uneven)
                patrol_start(&m->patrol, m->uneven);
}

void mover_poll(struct pool *pool)
{
        struct mover *m = pool->mover;

        if (pool->readonly)
                return;
        if (m->patrol.group) {
                if (m->writing)
                        take_back(m);
                step(m);
                return;
        }
        if (m->waiting)
                return;
        if (!m->in_round && !round_begins(m)) {
                even_out(m);
                return;
        }
        while (m->next < pool->ngroups) {
                struct group *g = pool->groups[m->next];
                if (g->busy && is_to_go(pool, g))
                        clean_yield(pool, g);
                if (g->state != GROUP_SEALED || !g->live || g->busy || g->freeing ||
                    !is_to_go(pool, g)) {
                        m->skipped |= g->busy && is_to_go(pool, g);
                        m->next++;
                        continue;
                }
                m->patrol.lost = walk_lost(m, g);
                patrol_start(&m->patrol, g);
                if (m->patrol.group)
                        return;
        }
        m->waiting = true;
        m->wait.done = round_over;
        ckpt_start(pool, &m->wait);
}
