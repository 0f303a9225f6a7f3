/* How much the pool can hold. The budget is what stays of all groups after those that writing
 * needs: three open ones, four kept free (group.c), and the reserve; less what headers and
 * summaries take of each. Live data and table pages together stay within it: then garbage is always
 * somewhere, and cleaning ends with more free groups than it began with.
 */
#include "pool/internal.h"

enum { GROUPS_KEPT = 7, RESERVE_PERMILLE = 70 };

static uint64_t group_payload(const struct pool *pool, uint32_t cap)
{
        return cap - cap / 24 - 3;
}

void space_init(struct pool *pool)
{
        uint64_t total = 0, n = 0, permille = pool->options.reserve_permille;

        if (!permille)
                permille = RESERVE_PERMILLE;
        pool->max_cap = 0;
        pool->min_cap = UINT32_MAX;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_BAD)
                        continue;
                total += group_payload(pool, g->cap);
                pool->max_cap = MAX(pool->max_cap, g->cap);
                pool->min_cap = MIN(pool->min_cap, g->cap);
                n++;
        }
        uint64_t kept = GROUPS_KEPT * group_payload(pool, pool->max_cap ? pool->max_cap : 32) +
                        total * MIN(permille, 900u) / 1000;
        pool->count.usable = (uint32_t)n;
        pool->budget = total > kept ? total - kept : 0;
}

/* Table pages that would find room now, in what is open and free; cautiously. */
uint64_t space_table_room(const struct pool *pool)
{
        const struct group *t = pool->streams[CLASS_TABLE][0].open;
        uint64_t room = t && t->cap - t->wp > 4 ? t->cap - t->wp - 4 : 0, per = 128;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].dev)
                        per = MIN(per, pool->devs[i].dev->geo.max_io_blocks);
        per = MAX(per, 2u);
        room += pool->count.free_blocks - 4 * (uint64_t)pool->count.free;
        room = room / per * (per - 1) + (room % per ? room % per - 1 : 0);
        uint64_t fixed = pool->nvolumes + 4u; /* inodes, the catalog */
        return room > fixed ? room - fixed : 0;
}

/* The pages of one checkpoint must fit into what is kept free for tables. */
uint64_t space_dirty_limit(const struct pool *pool)
{
        return MAX((uint64_t)pool->min_cap * 3 / 4, pool->budget / 64);
}

uint64_t space_budget(const struct pool *pool)
{
        return pool->budget;
}

bool space_admits(const struct pool *pool, uint64_t blocks)
{
        return pool->live + pool->npages + pool->nvolumes + pool->reserved + blocks <= pool->budget;
}

void space_release(struct pool *pool)
{
        if (!list_empty(&pool->held))
                held_resume(pool);
}
