/* Which group is cleaned next, and how short of room the pool is. */
#ifndef ZONEPOOL_POOL_SPACE_VICTIM_H
#define ZONEPOOL_POOL_SPACE_VICTIM_H

#include <stdbool.h>
#include <stdint.h>

struct group;
struct pool;

/* Groups that should be free: with as many cleaning rests. */
uint32_t victim_comfort(const struct pool *pool);
/* Groups that are free, or as soon as a release says so. */
uint32_t victim_soon_free(const struct pool *pool);
/* Users have asked for a group and can have none. */
bool victim_users_wait(const struct pool *pool);
/* They do, or nobody can have one soon. */
bool victim_urgent(const struct pool *pool);
/* NULL: none gives back more than it takes. */
struct group *victim_choose(struct pool *pool);
/* Where what there is does not fit the devices any more, rebuilding leaves some room to users. */
bool victim_may_rebuild(const struct pool *pool);
/* A group that is short of a member and can be copied to one that is not; NULL: none, and
 * pool->rebuild is over. */
struct group *victim_choose_short(struct pool *pool);

#endif
