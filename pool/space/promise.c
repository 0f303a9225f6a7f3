/* Reservations of volumes.
 *
 * A volume of R reserved blocks may have R blocks of its own, wherever in it they lie, and is never
 * held for space up to there. Its table then has at most P pages: at each level no more than there
 * are blocks, nor than the volume's size has. Where the table may have holes (it stood above
 * another once), pages come with these too, and P is all the pages of the size.
 *
 * So it is charged max(R, blocks it has) + 3 * max(P, pages it has), whatever is written: mapping a
 * block within the reservation changes nothing, and is admitted without a look at the budget;
 * neither does discarding one. What is left of both sums is what others may have. The blocks of
 * snapshots are not its own: after a snapshot all of R is promised anew, above what the snapshot
 * keeps, and a snapshot (clone, return to one) is refused where that does not fit.
 *
 * Blocks that writes under way take out of the reservation stay promised until they are applied. A
 * write that goes beyond the reservation meanwhile is admitted by the budget, and may be applied
 * first: then the volume has more than R minus what they take, and as much as they take is charged
 * on top of it.
 *
 * The sum may come to be more than the budget: a device or zones are lost, or a crash takes a
 * discard and leaves what was written in the room it gave. Nothing is guessed then: the pool says
 * so (event, status), and as long as it lasts a write within a reservation goes on while there is
 * room for what is really there, and waits otherwise.
 */
#include "pool/space/promise.h"
#include "pool/internal.h"

struct promise promise_whole(uint64_t size_bytes, uint64_t reserved_bytes, bool holes)
{
        uint64_t nblocks = DIV_ROUND_UP(size_bytes, (uint64_t)ZP_BLOCK);
        struct promise p = {.blocks = DIV_ROUND_UP(reserved_bytes, (uint64_t)ZP_BLOCK)};

        for (unsigned level = 0; level < MAX_HEIGHT && p.blocks; level++) {
                uint64_t most = DIV_ROUND_UP(nblocks, table_reach(level + 1));
                p.pages += holes ? most : MIN(most, p.blocks);
        }
        return p;
}

static uint64_t above(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

void promise_update(struct volume *vol)
{
        struct pool *pool = vol->pool;
        struct promise p = {0}, old = vol->promise;

        if (vol->reserved_bytes && !vol->frozen) {
                const struct tree *t = vol->tree;
                pool->reserves = true;
                p = promise_whole(vol->size_bytes, vol->reserved_bytes, t->holes);
                uint64_t most = p.blocks;
                p.blocks = MAX(above(most, t->live), vol->taken);
                p.pages = above(p.pages, t->npages);
                if (t->live + vol->taken > most)
                        p.pages = MAX(p.pages, vol->taken * MAX_HEIGHT);
        }
        pool->promised.blocks += p.blocks - old.blocks;
        pool->promised_of[vol->copies] += p.blocks - old.blocks;
        pool->promised.pages += p.pages - old.pages;
        vol->promise = p;
}

uint64_t promise_room(const struct volume *vol)
{
        if (!vol->reserved_bytes || vol->frozen)
                return 0;
        return above(DIV_ROUND_UP(vol->reserved_bytes, (uint64_t)ZP_BLOCK),
                     vol->tree->live + vol->taken);
}

void promise_take(struct volume *vol, uint64_t blocks)
{
        vol->taken += blocks;
        vol->pool->taken_of[vol->copies] += blocks;
        promise_update(vol);
}

void promise_put(struct volume *vol, uint64_t blocks)
{
        vol->taken -= blocks;
        vol->pool->taken_of[vol->copies] -= blocks;
        promise_update(vol);
}

int promise_claim(const struct volume *vol, uint64_t size_bytes, uint64_t reserved_bytes,
                  enum promise_blocks blocks, struct space_claim *claim)
{
        const struct tree *t = vol->tree;
        struct pool *pool = vol->pool;
        struct promise was = promise_whole(vol->size_bytes, vol->reserved_bytes, t->holes);
        struct promise will =
            promise_whole(size_bytes, reserved_bytes, t->holes || blocks == PROMISE_FROZEN);

        if (blocks == PROMISE_FROZEN) {
                will.blocks = above(will.blocks + t->live, MAX(was.blocks, t->live));
                will.pages = above(will.pages + t->npages, MAX(was.pages, t->npages));
        } else {
                bool still = blocks == PROMISE_STILL;
                will.blocks = above(will.blocks, MAX(was.blocks, still ? t->live : 0));
                will.pages = above(will.pages, MAX(was.pages, still ? t->npages : 0));
        }
        if (!will.blocks && !will.pages)
                return 0;
        if (!space_admits(pool, will.blocks, will.pages, vol->copies))
                return -ENOSPC;
        space_claim(pool, claim, will.blocks, will.pages, vol->copies);
        return 0;
}

static bool fits(const struct pool *pool)
{
        return space_admits(pool, 0, 0, pool->copies);
}

/* What may be charged beyond the budget although all that is reserved is there. Blocks of a write
 * that is applied in parts count twice until it has ended. Deletion and going back are let in
 * without a look at the budget: what is left of them has pages of the catalog, out of the reserve,
 * until all of it is gone. */
static uint64_t passing(const struct pool *pool)
{
        const struct volume *vol;
        uint64_t taken = 0, going = alias_blocks(pool);

        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++)
                taken += pool->taken_of[c];
        list_for_each (vol, &pool->nodes, all)
                going += vol->doomed;
        return pool->reserved + space_charge(taken, taken * MAX_HEIGHT + going);
}

void promise_poll(struct pool *pool)
{
        if (pending_pages(pool)) /* blocks that tables have not taken yet count twice */
                return;
        if (pool->budget_changed)
                pool->overcommitted = true;
        pool->budget_changed = false;
        if (!pool->promised.blocks || fits(pool))
                pool->overcommitted = false;
        if (pool->overcommitted == pool->overcommitted_told ||
            (pool->overcommitted && space_excess(pool) <= passing(pool)))
                return;
        pool->overcommitted_told = pool->overcommitted;
        pool_event_send(pool, pool->overcommitted ? POOL_EVENT_UNBACKED : POOL_EVENT_BACKED, 0, 0,
                        NULL, promise_unbacked(pool));
}

uint64_t promise_unbacked(const struct pool *pool)
{
        if (!pool->overcommitted_told)
                return 0;
        return MIN(pool->promised.blocks, MAX(space_excess(pool), 1u));
}
