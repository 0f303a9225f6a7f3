/* How much the pool can hold. The budget is what stays of all groups after those that writing
 * needs: three open ones, four kept free (group.c), and the reserve; less what headers and
 * summaries take of each. What is charged stays within it: then garbage is always somewhere, and
 * cleaning ends with more free groups than it began with.
 *
 * A table page, and an inode like it, is charged three times. Moving a block changes the page that
 * names it: where every block has a page of its own, each move writes a page too, and leaves a dead
 * one behind. Cleaning data takes no more than it gives back even so, since releases free its
 * groups before the pages are written (checkpoint.c). But the dead pages must be had back as well.
 * With room for all pages twice over, either all of them can be written anew at once, or there is
 * that much garbage among the pages themselves that the emptiest table group gives back more than
 * it takes. Where volumes are dense this is one percent; a block with a page of its own is charged
 * four.
 */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <string.h>

enum { GROUPS_KEPT = 7, GROUPS_FOR_TABLES = 4, RESERVE_PERMILLE = 70, PAGE_CHARGE = 3 };

struct space_sum {
        uint32_t n, min_cap, max_cap;
        uint64_t budget;
};

enum { NO_DEVICE = UINT16_MAX };

static uint64_t group_payload(const struct pool *pool, uint32_t cap)
{
        return cap - cap / 24 - 3;
}

static uint64_t reserve_permille(const struct pool *pool)
{
        uint64_t permille = pool->options.reserve_permille;

        return MIN(permille ? permille : RESERVE_PERMILLE, 900u);
}

/* Numbers of copies in use, and that one; each has streams, and so open groups, of its own. */
static unsigned kinds_with(const struct pool *pool, unsigned copies)
{
        unsigned n = 0;

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++)
                n += pool->volumes_of[c] || c == copies;
        return n;
}

static unsigned kinds(const struct pool *pool)
{
        return MAX(kinds_with(pool, 0), 1u);
}

/* With mirrors: a block of c copies takes c zones' worth, on different devices. Whatever set of
 * copies there is fits exactly when three sums do: all of it, what lies outside the largest device
 * (c - 1 of c copies must), and outside the two largest (c - 2). room[k] is what there is outside
 * the k largest, less what writing needs, volumes of that many copies among others. All zones count
 * as large as the smallest. */
static void mirrored_room(const struct pool *pool, unsigned copies, uint32_t leaving,
                          uint64_t *room)
{
        uint64_t permille = reserve_permille(pool), sum = 0, most[POOL_MAX_GROUP_WIDTH - 1] = {0};
        uint64_t zone = group_payload(pool, pool->min_cap);
        unsigned width = width_for(pool, MAX(copies, pool->copies));
        unsigned open = 2 * (kinds_with(pool, copies) - 1);

        for (uint32_t i = 0; i < pool->ndevs; i++) {
                bool stays = pdev_takes(&pool->devs[i]) && i != leaving;
                uint64_t zones = stays ? pool->devs[i].nzones : 0;
                sum += zones;
                if (zones > most[0]) {
                        most[1] = most[0];
                        most[0] = zones;
                } else if (zones > most[1]) {
                        most[1] = zones;
                }
        }
        for (unsigned k = 0; k < POOL_MAX_GROUP_WIDTH; k++) {
                uint64_t kept = (GROUPS_KEPT + open) * (uint64_t)(width > k ? width - k : 0);
                uint64_t total = sum * zone, less = kept * zone + total * permille / 1000;
                room[k] = total > less ? total - less : 0;
                sum -= k < POOL_MAX_GROUP_WIDTH - 1 ? most[k] : 0;
        }
}

/* Of the groups that stay when the device leaves; NO_DEVICE: of all. */
static struct space_sum sum_groups(const struct pool *pool, uint32_t leaving)
{
        struct space_sum s = {.min_cap = UINT32_MAX};
        uint64_t total = 0, permille = reserve_permille(pool);

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (!group_counts(pool, g) || g->member[0].dev == leaving)
                        continue;
                total += group_payload(pool, g->zone_cap);
                s.max_cap = MAX(s.max_cap, g->zone_cap);
                s.min_cap = MIN(s.min_cap, g->zone_cap);
                s.n++;
        }
        uint64_t kept =
            GROUPS_KEPT * group_payload(pool, s.max_cap ? s.max_cap : 32) + total * permille / 1000;
        s.budget = total > kept ? total - kept : 0;
        return s;
}

/* Logical blocks, all as redundant as the tables, that fit. */
static uint64_t mirrored_budget(const uint64_t *room, unsigned width)
{
        uint64_t budget = room[0] / width;

        for (unsigned k = 1; k < width; k++)
                budget = MIN(budget, room[k] / (width - k));
        return budget;
}

static void measure(struct pool *pool)
{
        struct space_sum s = sum_groups(pool, NO_DEVICE);
        unsigned was = pool->nusable, width;

        pool->max_cap = s.max_cap;
        pool->min_cap = s.min_cap;
        pool->count.usable = s.n;
        pool->budget = s.budget;
        pool->nusable = 0;
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                pool->devs[i].nzones = 0;
                pool->nusable += pdev_takes(&pool->devs[i]);
        }
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (group_counts(pool, pool->groups[i]))
                        group_dev(pool, pool->groups[i])->nzones++;
        pool->rebuild |= pool->nusable != was;
        width = width_for(pool, pool->copies);
        if (width > 1) {
                mirrored_room(pool, pool->copies, NO_DEVICE, pool->room);
                pool->budget = mirrored_budget(pool->room, width);
        }
}

/* What is let in while a device joins must fit when it has, and when the one that it replaces has
 * gone: it may be smaller, and with mirrors smaller zones make all others count for less. */
static void measure_joined(struct pool *pool, struct pdev *d)
{
        uint64_t budget = pool->budget, room[POOL_MAX_GROUP_WIDTH];
        struct pdev *old = d->replacing ? &pool->devs[d->replaces] : NULL;
        bool goes = old && old != d && old->state == POOL_DEVICE_MEMBER;

        memcpy(room, pool->room, sizeof(room));
        d->state = POOL_DEVICE_MEMBER;
        if (goes)
                old->state = POOL_DEVICE_LEAVING;
        measure(pool);
        budget = MIN(budget, pool->budget);
        for (unsigned k = 0; k < POOL_MAX_GROUP_WIDTH; k++)
                room[k] = MIN(room[k], pool->room[k]);
        d->state = POOL_DEVICE_JOINING;
        if (goes)
                old->state = POOL_DEVICE_MEMBER;
        measure(pool);
        pool->budget = budget;
        memcpy(pool->room, room, sizeof(room));
}

void space_init(struct pool *pool)
{
        measure(pool);
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].state == POOL_DEVICE_JOINING && pool->devs[i].dev)
                        measure_joined(pool, &pool->devs[i]);
        pool->budget_changed = true;
        balance_look_again(pool);
}

uint64_t space_without(const struct pool *pool, uint32_t leaving, uint32_t *ret_groups)
{
        struct space_sum s = sum_groups(pool, leaving);
        unsigned width = width_for(pool, pool->copies);
        uint64_t room[POOL_MAX_GROUP_WIDTH];

        *ret_groups = s.n;
        if (width == 1)
                return s.budget;
        mirrored_room(pool, pool->copies, leaving, room);
        return mirrored_budget(room, width);
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
        room += groups_free_room(pool) - 4 * (uint64_t)groups_free(pool);
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

/* Table pages of blocks that lie densely, at most. */
static uint64_t dense_pages(uint64_t blocks)
{
        return blocks / (ENTRIES - 1) + MAX_HEIGHT + 1;
}

uint64_t space_capacity(const struct pool *pool)
{
        uint64_t taken = space_charge(0, dense_pages(pool->budget));

        return pool->budget > taken ? pool->budget - taken : 0;
}

/* What is charged: what is there or under way, and what is promised beside it, or of that only
 * what writes under way have taken. */
enum promises { PROMISES_ALL, PROMISES_TAKEN };

static uint64_t promised_blocks(const struct pool *pool, unsigned copies, enum promises promises)
{
        return promises == PROMISES_ALL ? pool->promised_of[copies] : pool->taken_of[copies];
}

static uint64_t charged_pages(const struct pool *pool, enum promises promises)
{
        return pool->npages + catalog_blocks(pool) +
               (promises == PROMISES_ALL ? pool->promised.pages : 0);
}

static uint64_t charged(const struct pool *pool, enum promises promises)
{
        uint64_t blocks = pool->live + pool->reserved;

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++)
                blocks += promised_blocks(pool, c, promises);
        return space_charge(blocks, charged_pages(pool, promises));
}

uint64_t space_charged(const struct pool *pool)
{
        return charged(pool, PROMISES_ALL);
}

uint64_t space_left(const struct pool *pool)
{
        uint64_t used = charged(pool, PROMISES_ALL);

        return used < pool->budget ? pool->budget - used : 0;
}

/* What all of that takes outside the k largest devices, with tables that are kept so many times. */
static uint64_t taken(const struct pool *pool, unsigned k, unsigned copies, enum promises promises)
{
        uint64_t sum = 0, tables = space_charge(0, charged_pages(pool, promises));

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++) {
                unsigned width = width_for(pool, c);
                uint64_t n =
                    pool->live_of[c] + pool->reserved_of[c] + promised_blocks(pool, c, promises);
                if (c == copies)
                        n += tables;
                sum += n * (width > k ? width - k : 0);
        }
        return sum;
}

static bool admits(const struct pool *pool, uint64_t blocks, uint64_t pages, unsigned copies,
                   enum promises promises)
{
        unsigned width = width_for(pool, copies), tables = width_for(pool, pool->copies);

        if (tables == 1)
                return charged(pool, promises) + space_charge(blocks, pages) <= pool->budget;
        pages = space_charge(0, pages);
        for (unsigned k = 0; k < tables; k++)
                if (taken(pool, k, pool->copies, promises) + blocks * (width > k ? width - k : 0) +
                        pages * (tables - k) >
                    pool->room[k])
                        return false;
        return true;
}

bool space_admits(const struct pool *pool, uint64_t blocks, uint64_t pages, unsigned copies)
{
        return admits(pool, blocks, pages, copies, PROMISES_ALL);
}

bool space_admits_now(const struct pool *pool, uint64_t blocks, uint64_t pages, unsigned copies)
{
        return admits(pool, blocks, pages, copies, PROMISES_TAKEN);
}

/* What is charged beyond the room there is: as zones' worth, or as blocks that are as redundant as
 * the tables. */
enum beyond_in { BEYOND_ZONES, BEYOND_BLOCKS };

static uint64_t beyond(const struct pool *pool, enum promises promises, enum beyond_in in)
{
        unsigned tables = width_for(pool, pool->copies);
        uint64_t most = 0;

        for (unsigned k = 0; k < tables; k++) {
                uint64_t used =
                    tables == 1 ? charged(pool, promises) : taken(pool, k, pool->copies, promises);
                uint64_t room = tables == 1 ? pool->budget : pool->room[k];
                uint64_t over = used > room ? used - room : 0;
                most = MAX(most, in == BEYOND_BLOCKS ? DIV_ROUND_UP(over, tables - k) : over);
        }
        return most;
}

uint64_t space_lacking(const struct pool *pool)
{
        return beyond(pool, PROMISES_TAKEN, BEYOND_ZONES);
}

uint64_t space_excess(const struct pool *pool)
{
        return beyond(pool, PROMISES_ALL, BEYOND_BLOCKS);
}

/* With a header for each block, at worst. */
bool space_admits_overwrite(const struct pool *pool, uint64_t blocks, unsigned copies)
{
        uint64_t room = 0, wanted = 2 * blocks;
        const struct stream *q;

        if (!space_lacking(pool))
                return true;
        for_each_queue (q, pool) {
                if (!class_is_user(q->cls))
                        continue;
                wanted += 2 * (uint64_t)q->nitems;
                for (const struct stream *s = q; q->copies == copies && s; s = s->next)
                        room += s->open ? s->open->cap - s->open->wp : 0;
        }
        return room + groups_for_users(pool) >= wanted;
}

void space_claim(struct pool *pool, struct space_claim *claim, uint64_t blocks, uint64_t pages,
                 unsigned copies)
{
        pages = space_charge(0, pages);
        *claim = (struct space_claim){blocks, pages, (uint8_t)copies, pool->copies};
        pool->reserved += blocks + pages;
        pool->reserved_of[claim->copies] += blocks;
        pool->reserved_of[claim->page_copies] += pages;
}

void space_unclaim(struct pool *pool, struct space_claim *claim)
{
        pool->reserved -= claim->blocks + claim->pages;
        pool->reserved_of[claim->copies] -= claim->blocks;
        pool->reserved_of[claim->page_copies] -= claim->pages;
        *claim = (struct space_claim){0};
}

uint64_t space_available(const struct pool *pool, unsigned copies)
{
        unsigned width = width_for(pool, copies), tables = width_for(pool, pool->copies);
        uint64_t left = UINT64_MAX;

        if (copies > pool->nusable)
                return 0;
        if (tables == 1 && width == 1)
                return space_left(pool);
        uint64_t room[POOL_MAX_GROUP_WIDTH];
        mirrored_room(pool, copies, NO_DEVICE, room);
        for (unsigned k = 0; k < width; k++) {
                uint64_t used = taken(pool, k, MAX(copies, pool->copies), PROMISES_ALL);
                left = MIN(left, (room[k] > used ? room[k] - used : 0) / (width - k));
        }
        return left;
}

/* Each number of copies in use has open groups of its own, which room is kept for. */
static void count_volume(struct pool *pool, unsigned of, int n)
{
        unsigned copies = POOL_MAX_GROUP_WIDTH, was = kinds(pool);

        pool->volumes_of[of] += (uint32_t)n;
        while (copies > 1 && !pool->volumes_of[copies])
                copies--;
        if (copies > pool->copies)
                pool->rebuild = true; /* tables are to become as redundant */
        if (copies == pool->copies && kinds(pool) == was)
                return;
        pool->copies = (uint8_t)copies;
        if (pool->running)
                space_init(pool);
}

void space_volume_comes(struct pool *pool, unsigned copies)
{
        count_volume(pool, copies, 1);
}

void space_volume_goes(struct pool *pool, unsigned copies)
{
        count_volume(pool, copies, -1);
}

static uint32_t zones_for(unsigned kinds_of_copies)
{
        return 2 + 2 * kinds_of_copies;
}

uint32_t space_open_zones(const struct pool *pool)
{
        return zones_for(kinds(pool));
}

static bool zones_allow(const struct pool *pool, unsigned copies)
{
        unsigned others = 0;

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++)
                others += c != copies && pool->volumes_of[c];
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                const struct pdev *d = &pool->devs[i];
                if (pdev_usable(d) && zdev_most_open(&d->dev->geo) < zones_for(others + 1))
                        return false;
        }
        return true;
}

/* They are there for as long as it takes to look whether all of it fits. */
int space_admits_volumes(struct pool *pool, const uint32_t *volumes, const uint64_t *blocks,
                         unsigned *ret_copies)
{
        struct space_claim claim[POOL_MAX_GROUP_WIDTH + 1];
        unsigned was = pool->copies, n = 0;
        int rc = 0;

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH && rc == 0; c++) {
                if (!volumes[c - 1])
                        continue;
                *ret_copies = c;
                rc = c > pool->nusable ? -ENODEV : !zones_allow(pool, c) ? -EMFILE : 0;
                if (rc == 0)
                        space_volume_comes(pool, c);
                n = rc == 0 ? c : n;
        }
        for (unsigned c = 1; c <= n; c++)
                space_claim(pool, &claim[c], blocks[c - 1],
                            volumes[c - 1] ? dense_pages(blocks[c - 1]) : 0, c);
        if (rc == 0 && (!space_admits(pool, 0, 3, pool->copies) ||
                        (pool->copies > was && groups_free(pool) <= GROUPS_FOR_TABLES)))
                rc = -ENOSPC;
        for (unsigned c = 1; c <= n; c++) {
                space_unclaim(pool, &claim[c]);
                if (volumes[c - 1])
                        space_volume_goes(pool, c);
        }
        return rc;
}

int space_admits_volume(struct pool *pool, unsigned copies, uint64_t blocks, uint64_t pages)
{
        if (copies > pool->nusable)
                return -ENODEV;
        if (!zones_allow(pool, copies))
                return -EMFILE;
        bool more = copies > pool->copies;
        /* its open groups take room; and if the tables become as redundant, checkpoints must find
         * groups for them at once */
        space_volume_comes(pool, copies);
        bool fits = space_admits(pool, blocks, pages + 3, copies) &&
                    (!more || groups_free(pool) > GROUPS_FOR_TABLES);
        space_volume_goes(pool, copies);
        return fits ? 0 : -ENOSPC;
}

void space_release(struct pool *pool)
{
        if (pool->nheld)
                held_resume(pool);
}
