/* Reservations: what is promised to a volume beyond what it has. promise.c has the argument. */
#ifndef ZONEPOOL_POOL_SPACE_PROMISE_H
#define ZONEPOOL_POOL_SPACE_PROMISE_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct space_claim;
struct volume;

/* What of a volume's reservation is not taken up yet, as it is charged. */
struct promise {
        uint64_t blocks, pages;
};

/* After the volume's reservation, size, blocks or table pages have changed. */
void promise_update(struct volume *vol);
/* New blocks that the volume may map now out of its reservation. */
uint64_t promise_room(const struct volume *vol);
/* So many of them, no more than that, go to writes under way; until they are applied, or never
 * will be. */
void promise_take(struct volume *vol, uint64_t blocks);
void promise_put(struct volume *vol, uint64_t blocks);
/* What a volume of that size and reservation is promised in all. holes: its table may have entries
 * that map nothing. */
struct promise promise_whole(uint64_t size_bytes, uint64_t reserved_bytes, bool holes);
/* What happens to a volume's blocks until it has what was claimed for it. */
enum promise_blocks {
        PROMISE_MOVING, /* they come and go: no more is reserved than before */
        PROMISE_STILL, /* nothing */
        PROMISE_FROZEN, /* they stay behind, and it goes on with an empty table above them */
};
/* Claims what the volume is charged more once its size and reservation are these, until
 * space_unclaim. -ENOSPC. */
int promise_claim(const struct volume *vol, uint64_t size_bytes, uint64_t reserved_bytes,
                  enum promise_blocks blocks, struct space_claim *claim);
/* Whether all that is promised is there, after the budget has changed; tells when that changes. */
void promise_poll(struct pool *pool);
/* Of what is promised and not taken up, what the pool could not give now. */
uint64_t promise_unbacked(const struct pool *pool);

#endif
