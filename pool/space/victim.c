/* Which group is cleaned next, and how short of room the pool is: the best of benefit over cost,
 * (1 - u) * age / u; where space is short the emptiest, of those whose moves find room. */
#include "pool/space/victim.h"
#include "pool/internal.h"
#include "pool/space/mirror.h"

enum { LOW_FREE = 3, COMFORT_FREE = 8, COMFORT_SHARE = 48, LEFT_TO_USERS = 2 };

uint32_t victim_comfort(const struct pool *pool)
{
        return COMFORT_FREE + pool->ngroups / width_for(pool, pool->copies) / COMFORT_SHARE;
}

uint32_t victim_soon_free(const struct pool *pool)
{
        return groups_free(pool) + pool->count.emptied - pool->count.limbo;
}

bool victim_users_wait(const struct pool *pool)
{
        const struct stream *q;

        if (!list_empty(&pool->held_over))
                return true;
        for_each_queue (q, pool) {
                if (class_is_user(q->cls) && !list_empty(&q->items) && !stream_busy(q) &&
                    (!stream_has_group(q) || q->starved))
                        return true;
        }
        return false;
}

bool victim_urgent(const struct pool *pool)
{
        return victim_users_wait(pool) || groups_free(pool) + pool->count.emptied <= LOW_FREE ||
               mover_wants_room(pool) || pool->leave_waits;
}

/* What lives there can be read, and nobody is at work on it. */
static bool can_be(const struct pool *pool, const struct group *g)
{
        return g->state == GROUP_SEALED && g->live && !g->unclean && !g->freeing && !g->busy;
}

/* Zones that it gives back: none on devices that are lost, leave, or are to leave as soon as others
 * have room. */
static unsigned zones_of(const struct pool *pool, const struct group *g)
{
        unsigned zones = 0;

        for (unsigned k = 0; k < g->width; k++) {
                const struct pdev *d = member_dev(pool, g, k);
                zones += pdev_takes(d) && !(pool->leave_waits && d->index == pool->leave_slot);
        }
        return zones;
}

/* Moving what lives there takes less than the group gives back. One that has lost members, or has
 * some on devices that leave, gives less than copies of the same blocks elsewhere take. */
static bool worth_it(const struct pool *pool, const struct group *g, bool hurry)
{
        uint64_t takes = g->live + g->live / 64 + 2, gives = hurry ? g->cap : g->cap - g->cap / 8;

        return takes * members_wanted(pool, g) < gives * zones_of(pool, g);
}

/* What must be written before the group is free, by what that gives: of a table group that is
 * wanted at once, a checkpoint with all pages that have changed. It is the last choice where that
 * is all it gives. */
static double share_moved(const struct pool *pool, const struct group *g, bool hurry)
{
        uint64_t takes = g->live, gives = (uint64_t)g->cap * zones_of(pool, g);

        takes *= members_wanted(pool, g);
        if (hurry && g->cls == CLASS_TABLE)
                takes = MIN(takes + pool->ndirty * members_wanted(pool, g), gives - 1);
        return (double)takes / (double)gives;
}

struct group *victim_choose(struct pool *pool)
{
        struct group *best = NULL;
        double best_score = 0;
        bool hurry = victim_urgent(pool);

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (!can_be(pool, g) || !worth_it(pool, g, hurry))
                        continue;
                if (hurry && g->cls != CLASS_TABLE && !group_moves_fit(pool, g->copies, g->live))
                        continue;
                double u = share_moved(pool, g, hurry);
                double age = (double)(pool->user_blocks - MIN(g->sealed, pool->user_blocks) + 1);
                double score = hurry ? 1 - u : (1 - u) * age / u;
                if (score > best_score) {
                        best = g;
                        best_score = score;
                }
        }
        return best;
}

bool victim_may_rebuild(const struct pool *pool)
{
        return !space_lacking(pool) ||
               groups_for_users(pool) > LEFT_TO_USERS * (uint64_t)pool->max_cap;
}

struct group *victim_choose_short(struct pool *pool)
{
        for (uint32_t i = 0; pool->rebuild && i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (can_be(pool, g) && group_short(pool, g) && !group_away(pool, g))
                        return g;
        }
        pool->rebuild = false;
        return NULL;
}
