/* Members of zone groups, see mirror.h.
 *
 * Each group owns one zone. One that is to be wider borrows the zones of free groups on other
 * devices; those are LENT until the group is freed. What can be formed depends on how free zones
 * are spread: of zones f(d) on each device at most the largest n groups of width w with
 * sum(min(f(d), n)) >= w * n. */
#include "pool/space/mirror.h"
#include "pool/internal.h"

struct pdev *member_dev(const struct pool *pool, const struct group *g, unsigned k)
{
        return &pool->devs[g->member[k].dev];
}

int member_pick(const struct pool *pool, const struct group *g, uint32_t end, unsigned tried)
{
        int best = -1;

        for (unsigned k = 0; k < g->width; k++) {
                const struct pdev *d = member_dev(pool, g, k);
                if ((tried >> k & 1) || !d->dev || !member_good(g, k, end))
                        continue;
                if (best < 0) {
                        best = (int)k;
                        continue;
                }
                if (pdev_nearer(d, member_dev(pool, g, (unsigned)best)))
                        best = (int)k;
        }
        return best;
}

unsigned members_whole(const struct pool *pool, const struct group *g)
{
        unsigned n = 0;

        for (unsigned k = 0; k < g->width; k++)
                n += pdev_usable(member_dev(pool, g, k)) && member_good(g, k, g->tail);
        return n;
}

unsigned members_wanted(const struct pool *pool, const struct group *g)
{
        return width_for(pool, g->cls == CLASS_TABLE ? pool->copies : g->copies);
}

bool group_short(const struct pool *pool, const struct group *g)
{
        unsigned whole = members_whole(pool, g);

        return whole && (g->failing || whole < members_wanted(pool, g));
}

void member_zone_seen(struct group *g, unsigned k, enum zdev_zone_state state)
{
        if (state == ZDEV_ZONE_OFFLINE && g->width > 1)
                g->member[k].good = 0;
        if (state == ZDEV_ZONE_READONLY)
                g->failing = true;
}

uint32_t members_max_io(const struct pool *pool, const struct group *g)
{
        uint32_t max = UINT32_MAX;

        for (unsigned k = 0; k < g->width; k++) {
                const struct pdev *d = member_dev(pool, g, k);
                if (d->dev)
                        max = MIN(max, d->dev->geo.max_io_blocks);
        }
        return max;
}

struct group *member_slot(const struct pool *pool, const struct group *g, unsigned k)
{
        return pool->groups[k ? g->lent[k] : g->id];
}

uint64_t device_room(const struct pool *pool, const struct pdev *d, uint32_t zones)
{
        uint64_t of = d->nzones;

        for (uint32_t i = 0; pool->copies > 1 && i < pool->ndevs; i++)
                of = MAX(of, pool->devs[i].nzones);
        return zones * DEVICE_WHOLE / MAX(of, UINT64_C(1));
}

unsigned width_for(const struct pool *pool, unsigned copies)
{
        return MAX(1u, MIN(copies, pool->nusable));
}

/* Mirrored ones, of zones that are not on device `but`. */
static uint32_t formable(const struct pool *pool, unsigned width, bool ready, uint32_t but)
{
        uint64_t sum = 0, first = 0, second = 0;

        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                uint64_t n = ready ? d->nfree : d->nzones_free;
                if (!pdev_usable(d) || i == but)
                        continue;
                sum += n;
                if (n > first) {
                        second = first;
                        first = n;
                } else if (n > second) {
                        second = n;
                }
        }
        uint64_t most = MIN(sum / width, (sum - first) / (width - 1));
        if (width == 3)
                most = MIN(most, sum - first - second);
        return (uint32_t)most;
}

uint32_t groups_formable(const struct pool *pool, unsigned width, bool ready)
{
        if (width <= 1)
                return ready ? pool->count.ready : pool->count.free;
        return formable(pool, width, ready, UINT32_MAX);
}

uint32_t groups_free(const struct pool *pool)
{
        return groups_formable(pool, width_for(pool, pool->copies), false);
}

uint64_t groups_free_blocks(const struct pool *pool)
{
        if (width_for(pool, pool->copies) == 1)
                return pool->count.free_blocks;
        return (uint64_t)groups_free(pool) * pool->max_cap;
}

uint64_t groups_free_without(const struct pool *pool, uint32_t leaving)
{
        unsigned width = width_for(pool, pool->copies);
        uint64_t blocks = 0;

        if (width > 1)
                return (uint64_t)formable(pool, width, false, leaving) * pool->max_cap;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_FREE && g->counted && g->member[0].dev != leaving)
                        blocks += g->cap;
        }
        return blocks;
}

uint64_t groups_free_room(const struct pool *pool)
{
        if (width_for(pool, pool->copies) == 1)
                return pool->count.free_blocks;
        return (uint64_t)groups_free(pool) * pool->min_cap;
}

uint32_t groups_cap(const struct pool *pool)
{
        return width_for(pool, pool->copies) == 1 ? pool->max_cap : pool->min_cap;
}
