/* See balance.h.
 *
 * What is full is moved to what is empty, a group at a time, the fullest device first, and of its
 * groups the one that has been left alone for longest and holds least. A move counts for what the
 * choice of devices for new groups (device_room) gains by it: room where its blocks would go, less
 * room where they are. Far apart is a gain of a tenth of a device, near a twentieth; between the
 * two nothing begins and nothing ends. Nor is anything moved that would gain less than the zones
 * it takes and gives: it could only go to and fro.
 *
 * Devices that come and go are a reason to begin at once. Else it has to last for a minute:
 * cleaning frees in bursts, and users' writes go where room is.
 *
 * Users come first: it leaves off while cleaning is wanted, devices come, go, are out or stall, or
 * groups are short of a member. A run that has moved all that could lie too high, and has found no
 * end, rests until users have written several times as much: however devices and groups are cut, it
 * never writes more than a part of what users do.
 *
 * Groups of tables are left alone: checkpoints write their pages anew, where there is room.
 *
 * Nothing is remembered but whether it is wanted at all: a crash begins with another look. */
#include "pool/member/balance.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"
#include "pool/space/victim.h"

enum { REST = 8 };

static const uint64_t far_apart = DEVICE_WHOLE / 10, near = DEVICE_WHOLE / 20;
static const uint64_t PATIENCE_NS = UINT64_C(60) * 1000 * 1000 * 1000;

struct view {
        struct {
                uint64_t room; /* what is about to be free included, */
                uint64_t ready; /* and what can be opened at once */
                uint64_t zone; /* one of its zones, as room */
                uint32_t zone_blocks;
        } dev[POOL_MAX_DEVICES];
        uint32_t best[POOL_MAX_GROUP_WIDTH]; /* devices a new group would go to */
        uint32_t nbest;
};

void balance_look_again(struct pool *pool)
{
        struct balance *b = &pool->balance;

        b->again = b->changed = true;
        b->rest = 0;
}

/* All are members in use, or hold nothing. */
static bool devices_settled(const struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                bool empty =
                    d->state == POOL_DEVICE_NONE || (d->state == POOL_DEVICE_LEAVING && d->drained);
                if (!empty && !pdev_takes(d))
                        return false;
        }
        return true;
}

bool balance_may(const struct pool *pool)
{
        return !pool->balance.off && pool->running && !pool->readonly && !pool->rebuild &&
               !pool->nstalled && !pool->nheld && !clean_wanted(pool) && !victim_urgent(pool) &&
               !space_lacking(pool) && devices_settled(pool);
}

/* ---- who is how full ---- */

/* Zones of each device that a root is about to free. */
static void count_emptied(const struct pool *pool, uint32_t *zones)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                for (unsigned k = 0; g->state == GROUP_SEALED && !g->live && k < g->width; k++)
                        zones[g->member[k].dev]++;
        }
}

/* Keeps v->best in order. */
static void place(struct view *v, uint32_t i)
{
        uint32_t at = v->nbest;

        while (at && v->dev[v->best[at - 1]].ready < v->dev[i].ready)
                at--;
        if (at == POOL_MAX_GROUP_WIDTH)
                return;
        v->nbest = MIN(v->nbest + 1, (uint32_t)POOL_MAX_GROUP_WIDTH);
        for (uint32_t n = v->nbest - 1; n > at; n--)
                v->best[n] = v->best[n - 1];
        v->best[at] = i;
}

static void look(const struct pool *pool, struct view *v)
{
        uint32_t emptied[POOL_MAX_DEVICES] = {0};

        *v = (struct view){0};
        count_emptied(pool, emptied);
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                uint32_t *blocks = &v->dev[g->member[0].dev].zone_blocks;
                if (group_counts(pool, g))
                        *blocks = MAX(*blocks, g->zone_cap);
        }
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                if (!pdev_takes(d) || !d->nzones)
                        continue;
                v->dev[i].room = device_room(pool, d, d->nzones_free + emptied[i]);
                v->dev[i].ready = device_room(pool, d, d->nfree);
                v->dev[i].zone = device_room(pool, d, 1);
                place(v, i);
        }
}

static bool goes_to(const struct view *v, const struct group *g, uint32_t dev)
{
        for (unsigned k = 0; k < g->width; k++)
                if (v->best[k] == dev)
                        return true;
        return false;
}

/* What moving the group gains; 0: nothing, or no more than `least` or the zones are that it takes
 * and gives. Devices that it is on before and after do not count. */
static uint64_t gain(const struct view *v, const struct group *g, uint64_t least)
{
        uint32_t low = g->member[0].dev, cap = UINT32_MAX;
        uint64_t here = 0, there = 0, step = 0;

        if (g->width > v->nbest)
                return 0;
        for (unsigned k = 0; k < g->width; k++) {
                uint32_t d = g->member[k].dev;
                low = v->dev[d].room < v->dev[low].room ? d : low;
                here += goes_to(v, g, d) ? 0 : v->dev[d].room;
                step += v->dev[d].zone;
                cap = MIN(cap, v->dev[v->best[k]].zone_blocks);
        }
        if (goes_to(v, g, low))
                return 0;
        for (unsigned k = 0; k < g->width; k++) {
                uint32_t d = v->best[k];
                there += group_on(g, d) ? 0 : v->dev[d].ready;
                step += v->dev[d].zone * DIV_ROUND_UP(g->live, MAX(cap, 1u));
        }
        return there > here + MAX(least, step) ? there - here : 0;
}

/* ---- what is next ---- */

static bool can_move(const struct pool *pool, const struct group *g)
{
        return g->state == GROUP_SEALED && g->live && g->cls != CLASS_TABLE && !g->busy &&
               !g->freeing && !g->unclean && !g->unmoved && !group_away(pool, g) &&
               g->width == members_wanted(pool, g);
}

static struct group *choose(const struct pool *pool, const struct view *v, uint64_t least)
{
        struct group *best = NULL;
        uint64_t best_gain = 0;
        double best_score = 0;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (!can_move(pool, g))
                        continue;
                uint64_t gains = gain(v, g, least);
                double age = (double)(pool->user_blocks - MIN(g->sealed, pool->user_blocks) + 1);
                double score = age / g->live;
                if (!gains || gains < best_gain || (gains == best_gain && score <= best_score))
                        continue;
                best = g;
                best_gain = gains;
                best_score = score;
        }
        return best;
}

/* ---- runs ---- */

/* Blocks that lie higher than they would if all devices had as much room as the emptiest. */
static uint64_t too_high(const struct pool *pool, const struct view *v)
{
        uint64_t top = v->dev[v->best[0]].ready, zones = 2;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (v->dev[i].zone)
                        zones += (top - MIN(v->dev[i].room, top)) / v->dev[i].zone;
        return zones * pool->max_cap;
}

static void begin(struct pool *pool)
{
        struct balance *b = &pool->balance;

        b->running = b->changed = true;
        b->run = b->waited = 0;
        pool_event_send(pool, POOL_EVENT_BALANCING, 0, 0, NULL, 0);
}

static void end(struct pool *pool)
{
        struct balance *b = &pool->balance;

        b->running = false;
        pool_event_send(pool, POOL_EVENT_BALANCED, 0, 0, NULL, b->run);
        ckpt_start(pool, NULL); /* what was emptied is free, and nothing of it is moved again */
}

/* Something stands in the way: not before the next root. What was emptied may be all that lacks. */
void balance_wait(struct pool *pool)
{
        struct balance *b = &pool->balance;

        b->again = false;
        b->looked = pool->generation;
        b->far_ns = 0;
        if (b->running && b->run != b->waited)
                ckpt_start(pool, NULL);
        b->waited = b->run;
}

static uint64_t now_ns(const struct pool *pool)
{
        return pool->host.now_ns(pool->host.ctx);
}

/* Time to look once more whether it is as it was. */
static bool is_due(const struct pool *pool)
{
        const struct balance *b = &pool->balance;

        return b->far_ns && now_ns(pool) >= b->far_ns + PATIENCE_NS;
}

uint64_t balance_next_ns(const struct pool *pool)
{
        const struct balance *b = &pool->balance;

        return b->off || !b->far_ns || pool->rebuild ? UINT64_MAX : b->far_ns + PATIENCE_NS;
}

/* Devices are far apart: whether a run begins. */
static bool lasts(struct pool *pool)
{
        struct balance *b = &pool->balance;

        if (b->changed || is_due(pool))
                return true;
        if (!b->far_ns)
                b->far_ns = MAX(now_ns(pool), UINT64_C(1));
        return false;
}

struct group *balance_next(struct pool *pool)
{
        struct balance *b = &pool->balance;
        struct group *g;
        struct view v;

        if (b->off || pool->rebuild || pool->nusable < 2 ||
            (!b->again && b->looked == pool->generation && !is_due(pool)))
                return NULL;
        if (b->running && pool->count.free != pool->count.ready)
                return NULL; /* resets are under way */
        b->again = pool->nstalled; /* no root tells when that is over */
        if (b->again)
                return NULL;
        b->looked = pool->generation;
        if (pool->user_blocks < b->rest || !balance_may(pool)) {
                balance_wait(pool);
                return NULL;
        }
        look(pool, &v);
        g = choose(pool, &v, b->running ? near : far_apart);
        if (g && !b->running) {
                if (!lasts(pool))
                        return NULL;
                begin(pool);
        }
        b->far_ns = 0;
        if (b->changed)
                b->allowed = b->run + too_high(pool, &v);
        b->changed = false;
        if (g && b->run > b->allowed) {
                b->rest = pool->user_blocks + REST * b->run;
                g = NULL;
        }
        if (!g && b->running && pool->count.emptied && b->run != b->waited)
                balance_wait(pool); /* for the root that frees them */
        else if (!g && b->running)
                end(pool);
        b->again = g;
        return g;
}

void balance_moved(struct pool *pool, uint32_t blocks)
{
        pool->balance.moved += blocks;
        pool->balance.run += blocks;
}

void balance_walked(struct pool *pool, struct group *g)
{
        g->unmoved = g->live;
}

/* ---- asking ---- */

struct asked {
        struct ckpt_wait wait;
        struct deferred later;
        struct pool *pool;
        struct err err;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
};

static void refused(struct deferred *d)
{
        struct asked *a = container_of(d, struct asked, later);

        a->done(a->ctx, -EROFS, &a->err);
        pool_release(a);
}

static void durable(struct ckpt_wait *w, int status)
{
        struct asked *a = container_of(w, struct asked, wait);

        if (status < 0)
                err_set_sys(&a->err, -status, "pool %s: whether it is balanced", a->pool->name);
        a->done(a->ctx, status, status < 0 ? &a->err : NULL);
        pool_release(a);
}

void pool_balance(struct pool *pool, bool on, void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err))
{
        struct asked *a = pool_alloc(pool, sizeof(*a));

        if (!a) {
                done(ctx, -ENOMEM, NULL);
                return;
        }
        a->pool = pool;
        a->ctx = ctx;
        a->done = done;
        if (pool->readonly) {
                err_set(&a->err, EROFS, "pool %s is read-only", pool->name);
                a->later.call = refused;
                pool_defer(pool, &a->later);
                return;
        }
        if (pool->balance.off == on)
                balance_look_again(pool);
        pool->balance.off = !on;
        a->wait.done = durable;
        ckpt_start(pool, &a->wait);
        pool_poll(pool);
}

static enum pool_balance_state state(const struct pool *pool)
{
        const struct balance *b = &pool->balance;
        struct view v;

        if (b->off)
                return POOL_BALANCE_OFF;
        if (b->running)
                return balance_may(pool) ? POOL_BALANCE_RUNNING : POOL_BALANCE_WAITING;
        if (pool->user_blocks < b->rest)
                return POOL_BALANCE_RESTING;
        look(pool, &v);
        return choose(pool, &v, far_apart) ? POOL_BALANCE_WAITING : POOL_BALANCE_IDLE;
}

void pool_get_balance_status(const struct pool *pool, struct pool_balance_status *ret_status)
{
        const struct balance *b = &pool->balance;
        struct pool_balance_status st = {.moved_bytes = b->moved * ZP_BLOCK,
                                         .least_used_permille = 1000};
        uint32_t emptied[POOL_MAX_DEVICES] = {0};

        count_emptied(pool, emptied);
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                if (!pdev_takes(d) || !d->nzones)
                        continue;
                uint64_t free = d->nzones_free + emptied[i];
                uint32_t used = (uint32_t)(1000 - free * 1000 / d->nzones);
                st.least_used_permille = MIN(st.least_used_permille, used);
                st.most_used_permille = MAX(st.most_used_permille, used);
        }
        st.least_used_permille = MIN(st.least_used_permille, st.most_used_permille);
        st.state = state(pool);
        *ret_status = st;
}
