/* See lifetime.h. J. Zhang et al., "Separating Data via Block Invalidation Time Inference for Write
 * Amplification Reduction in Log-Structured Storage", FAST 2022: classes 1 and 2 are CLASS_USER and
 * CLASS_USER_COLD, 3 to 6 CLASS_CLEAN_HOT, CLASS_CLEAN, CLASS_CLEAN_OLD and CLASS_CLEAN_OLDEST. */
#include "pool/internal.h"

enum { OLD = 4, OLDEST = 16 }; /* in lives of CLASS_USER */

static uint64_t age(const struct pool *pool, const struct group *g)
{
        return pool->user_blocks - MIN(g->written, pool->user_blocks);
}

enum cls lifetime_of_write(const struct pool *pool, struct entry old)
{
        if (!(old.addr & ADDR_MAPPED))
                return CLASS_USER_COLD;
        if (!pool->lifetime.soon ||
            age(pool, pool->groups[addr_group(old.addr)]) < pool->lifetime.soon)
                return CLASS_USER;
        return CLASS_USER_COLD;
}

enum cls lifetime_of_moved(const struct pool *pool, const struct group *victim)
{
        uint64_t soon = pool->lifetime.soon, a = age(pool, victim);

        if (victim->cls == CLASS_USER)
                return CLASS_CLEAN_HOT;
        if (!soon || a < OLD * soon)
                return CLASS_CLEAN;
        return a < OLDEST * soon ? CLASS_CLEAN_OLD : CLASS_CLEAN_OLDEST;
}

void lifetime_ended(struct pool *pool, const struct group *g)
{
        struct lifetime *l = &pool->lifetime;

        if (g->cls != CLASS_USER)
                return;
        l->sum += pool->user_blocks - MIN(g->opened, pool->user_blocks);
        if (++l->n < LIFETIME_GROUPS)
                return;
        l->soon = MAX(l->sum / l->n, 1u);
        l->sum = 0;
        l->n = 0;
}
