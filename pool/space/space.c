/* How much the pool can hold. The budget is what stays of all groups after those that writing
 * needs: three open ones, four kept free (group.c), and the reserve; less what headers and
 * summaries take of each. What is charged stays within it: then garbage is always somewhere, and
 * cleaning ends with more free groups than it began with.
 *
 * A table page is charged three times. Moving a block changes the page that names it: where every
 * block has a page of its own, each move writes a page too, and leaves a dead one behind. Cleaning
 * data takes no more than it gives back even so, since releases free its groups before the pages
 * are written (checkpoint.c). But the dead pages must be had back as well. With room for all pages
 * twice over, either all of them can be written anew at once, or there is that much garbage among
 * the pages themselves that the emptiest table group gives back more than it takes. Where volumes
 * are dense this is one percent; a block with a page of its own is charged four.
 */
#include "pool/internal.h"

enum { GROUPS_KEPT = 7, RESERVE_PERMILLE = 70, PAGE_CHARGE = 3 };

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

/* The pages of one checkpoint must fit into what is kept free for tables, and changed pages into
 * what RAM tables may take. */
uint64_t space_dirty_limit(const struct pool *pool)
{
        return MIN(MAX((uint64_t)pool->min_cap * 3 / 4, pool->budget / 64),
                   pager_dirty_limit(pool));
}

uint32_t space_extra_groups(const struct pool *pool)
{
        uint32_t permille = pool->options.reserve_permille;

        return (
            uint32_t)((uint64_t)pool->count.usable *
                      (permille ? MIN(permille, (uint32_t)RESERVE_PERMILLE) : RESERVE_PERMILLE) /
                      2000);
}

uint64_t space_charge(uint64_t blocks, uint64_t pages)
{
        return blocks + PAGE_CHARGE * pages;
}

uint64_t space_capacity(const struct pool *pool)
{
        uint64_t pages = pool->budget / (ENTRIES - 1) + MAX_HEIGHT + 1;
        uint64_t taken = space_charge(0, pages);

        return pool->budget > taken ? pool->budget - taken : 0;
}

uint64_t space_left(const struct pool *pool)
{
        uint64_t charged = space_charge(pool->live + pool->nvolumes, pool->npages) + pool->reserved;

        return charged < pool->budget ? pool->budget - charged : 0;
}

void space_release(struct pool *pool)
{
        if (!list_empty(&pool->held))
                held_resume(pool);
}
