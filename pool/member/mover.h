/* Moving data from one device to others: what leaves, and what is spread more evenly. */
#ifndef ZONEPOOL_POOL_MEMBER_MOVER_H
#define ZONEPOOL_POOL_MEMBER_MOVER_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct mover;
struct group;

int mover_init(struct pool *pool);
void mover_fini(struct pool *pool);
void mover_poll(struct pool *pool);
/* A device has begun to leave. */
void mover_begin(struct pool *pool);
/* Moves out what lives in a group that cleaning cannot walk: a header of it is right nowhere. */
void mover_empty(struct pool *pool, struct group *g);
/* All that have the group's block at that offset are on devices that are given up. */
bool mover_gives_up(const struct pool *pool, const struct group *g, uint32_t off);
/* It has something to move and waits for groups to be free: cleaning is wanted. */
bool mover_wants_room(const struct pool *pool);
/* When it wants a tick; UINT64_MAX: not for now. */
uint64_t mover_next_ns(const struct pool *pool);

#endif
