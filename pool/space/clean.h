/* Cleaning. */
#ifndef ZONEPOOL_POOL_SPACE_CLEAN_H
#define ZONEPOOL_POOL_SPACE_CLEAN_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct group;
struct cleaner;

int clean_init(struct pool *pool);
void clean_fini(struct pool *pool);
void clean_poll(struct pool *pool);
bool clean_wanted(const struct pool *pool);
/* Users have written so much more than cleaning has answered that they are to wait: something is
 * being moved, and they go on when it is. */
bool clean_behind(const struct pool *pool);
/* Gives up the group, if it is the victim and waits for users to write more. False: it is not, or
 * goes on by itself. */
bool clean_yield(struct pool *pool, const struct group *g);
/* Nothing is being moved, and nothing will be unless something changes. */
bool clean_idle(const struct pool *pool);
/* It is wanted at once, and there was nothing to gain when it looked. */
bool clean_in_vain(const struct pool *pool);
/* Time passes: rebuilding goes on. */
void clean_tick(struct pool *pool, uint64_t now);
uint64_t clean_next_tick_ns(const struct pool *pool);

#endif
