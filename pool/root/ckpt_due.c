/* When a checkpoint or a release is due. */
#include "pool/internal.h"
#include "pool/space/mirror.h"

enum { DEFAULT_PERMILLE = 50, SOON_FREE = 6, ROOTS_WORTH = 128 };

/* What recovery may have to walk. */
static const uint64_t MIN_LOG_BLOCKS = 4096, MAX_LOG_BLOCKS = 524288;

static bool free_wanted(const struct pool *pool)
{
        return groups_free_blocks(pool) <= SOON_FREE * (uint64_t)pool->max_cap;
}

/* So many groups that the root is nothing beside them, or what there is. */
bool ckpt_worth_releasing(const struct pool *pool)
{
        uint64_t gain =
            (uint64_t)(pool->count.emptied - pool->count.limbo) * (uint64_t)pool->min_cap;
        uint64_t roots = (uint64_t)pool->ndevs * root_blocks(pool->ndevs, pool->ngroups);

        return gain && (gain >= ROOTS_WORTH * roots || free_wanted(pool));
}

/* A few groups at a time, where the pages to write for them are many. */
static bool worth_freeing(const struct pool *pool)
{
        uint32_t groups = pool->ckpt.root_stands ? pool->count.limbo : pool->count.emptied;

        if (!groups || !free_wanted(pool))
                return false;
        return (uint64_t)groups * pool->min_cap >= 8 * pool->ndirty || groups >= 3 ||
               groups_free_blocks(pool) <= 3 * (uint64_t)pool->max_cap || clean_idle(pool);
}

/* Blocks of log that recovery may have to walk. A large table is given the time that its share of
 * writes asks for: recovery then takes as long as reading that table does. */
static uint64_t log_limit(const struct pool *pool, uint64_t permille)
{
        uint64_t blocks = MAX(MAX_LOG_BLOCKS, 2 * pool->npages * 1000 / permille);

        return MAX(MIN(pool->budget / 3, blocks), MIN_LOG_BLOCKS);
}

/* All that is not users' data is down to its share of what they wrote since the last checkpoint.
 * Headers of small batches, which no interval makes fewer, count for a third of it at most. */
static bool share_reached(const struct pool *pool, uint64_t pages, uint64_t permille)
{
        uint64_t allowed = pool->user_since * permille / 1000;

        pages += pages / TABLE_BATCH_PAGES;
        return pages + MIN(pool->headers_since, allowed / 3) <= allowed;
}

bool ckpt_due(const struct pool *pool)
{
        uint64_t permille = pool->options.checkpoint_permille;
        uint64_t many = MAX(pool->min_cap / 4, 8u);
        uint64_t changed = pool->ndirty + pending_pages(pool);

        if (!permille)
                permille = DEFAULT_PERMILLE;
        if (!pool->ndirty && !pool->log_since && !pool->count.emptied)
                return false;
        if (pool->mark_limit != UINT64_MAX)
                return true;
        /* what waits for its page is charged as more than it is */
        if (pending_pages(pool) && !list_empty(&pool->held))
                return true;
        /* what is free only after a checkpoint is wanted soon */
        if (worth_freeing(pool))
                return true;
        if (changed >= many && share_reached(pool, changed, permille))
                return true;
        if (changed >= space_dirty_limit(pool))
                return true;
        return pool->log_since >= log_limit(pool, permille);
}
