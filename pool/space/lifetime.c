/* See lifetime.h. The classes are those of J. Zhang et al., "Separating Data via Block Invalidation
 * Time Inference for Write Amplification Reduction in Log-Structured Storage", FAST 2022: 1 and 2
 * are CLASS_USER and CLASS_USER_COLD, 3 to 6 CLASS_CLEAN_HOT, CLASS_CLEAN, CLASS_CLEAN_OLD and
 * CLASS_CLEAN_OLDEST. Two things differ, which together save an eighth of the moved blocks where
 * 80 % of the writes go to 20 % of the blocks, and cost a zipf distribution a hundredth: "soon" is
 * four lives here, one there, and what is moved goes by how often it was, there by its age. */
#include "pool/internal.h"

/* A group of CLASS_USER ends long before the last block that was worth its place there would be
 * overwritten: the lives of such blocks reach this many times as far. */
enum { SOON = 4 };

static uint64_t age(const struct pool *pool, const struct group *g)
{
        return pool->user_blocks - MIN(g->written, pool->user_blocks);
}

enum cls lifetime_of_write(const struct pool *pool, struct entry old)
{
        if (!(old.addr & ADDR_MAPPED))
                return CLASS_USER_COLD;
        if (!pool->lifetime.life ||
            age(pool, pool->groups[addr_group(old.addr)]) < SOON * pool->lifetime.life)
                return CLASS_USER;
        return CLASS_USER_COLD;
}

enum cls lifetime_of_moved(const struct group *victim)
{
        switch (victim->cls) {
        case CLASS_USER:
                return CLASS_CLEAN_HOT;
        case CLASS_CLEAN_HOT:
                return CLASS_CLEAN;
        case CLASS_USER_COLD:
        case CLASS_CLEAN:
                return CLASS_CLEAN_OLD;
        default:
                return CLASS_CLEAN_OLDEST;
        }
}

void lifetime_ended(struct pool *pool, const struct group *g)
{
        struct lifetime *l = &pool->lifetime;

        if (g->cls != CLASS_USER)
                return;
        l->sum += pool->user_blocks - MIN(g->opened, pool->user_blocks);
        if (++l->n < LIFETIME_GROUPS)
                return;
        l->life = MAX(l->sum / l->n, 1u);
        l->sum = 0;
        l->n = 0;
}
