/* How much the pool can hold. The budget is what stays of all groups after those that writing
 * needs: three open ones, four kept free (group.c), and the reserve; less what headers and
 * summaries take of each. What is charged stays within it: then garbage is always somewhere, and
 * cleaning ends with more free groups than it began with.
 *
 * A table page, and an inode like it, is charged three times. Moving a block changes the page that names it: where every
 * block has a page of its own, each move writes a page too, and leaves a dead one behind. Cleaning
 * data takes no more than it gives back even so, since releases free its groups before the pages
 * are written (checkpoint.c). But the dead pages must be had back as well. With room for all pages
 * twice over, either all of them can be written anew at once, or there is that much garbage among
 * the pages themselves that the emptiest table group gives back more than it takes. Where volumes
 * are dense this is one percent; a block with a page of its own is charged four.
 */
#include "pool/internal.h"

enum { GROUPS_KEPT = 7, RESERVE_PERMILLE = 70, PAGE_CHARGE = 3 };

struct space_sum {
        uint32_t n, min_cap, max_cap;
        uint64_t budget;
};

enum { NO_DEVICE = UINT16_MAX };

static uint64_t group_payload(const struct pool *pool, uint32_t cap)
{
        return cap - cap / 24 - 3;
}

/* Of the groups that stay when the device leaves; NO_DEVICE: of all. */
static struct space_sum sum_groups(const struct pool *pool, uint32_t leaving)
{
        struct space_sum s = {.min_cap = UINT32_MAX};
        uint64_t total = 0, permille = pool->options.reserve_permille;

        if (!permille)
                permille = RESERVE_PERMILLE;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_BAD || g->state == GROUP_GONE || group_away(pool, g) ||
                    group_on(g, leaving))
                        continue;
                total += group_payload(pool, g->cap);
                s.max_cap = MAX(s.max_cap, g->cap);
                s.min_cap = MIN(s.min_cap, g->cap);
                s.n++;
        }
        uint64_t kept = GROUPS_KEPT * group_payload(pool, s.max_cap ? s.max_cap : 32) +
                        total * MIN(permille, 900u) / 1000;
        s.budget = total > kept ? total - kept : 0;
        return s;
}

void space_init(struct pool *pool)
{
        struct space_sum s = sum_groups(pool, NO_DEVICE);

        pool->max_cap = s.max_cap;
        pool->min_cap = s.min_cap;
        pool->count.usable = s.n;
        pool->budget = s.budget;
}

uint64_t space_without(const struct pool *pool, uint32_t leaving, uint32_t *ret_groups)
{
        struct space_sum s = sum_groups(pool, leaving);

        *ret_groups = s.n;
        return s.budget;
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
        uint64_t fixed = catalog_blocks(pool) + 4u; /* inodes, the catalog */
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
        uint64_t charged =
            space_charge(pool->live, pool->npages + catalog_blocks(pool)) + pool->reserved;

        return charged < pool->budget ? pool->budget - charged : 0;
}

void space_release(struct pool *pool)
{
        if (!list_empty(&pool->held))
                held_resume(pool);
}
