/* Whether the devices of a pool are unevenly full, and what is to be moved for that. Moving it is
 * mover.c's, which asks here for one group after the other.
 *
 * How full a device is goes by its zones that are not free, as for who opens groups: so what is
 * moved lands where it is to, and users' writes pull the same way. */
#ifndef ZONEPOOL_POOL_MEMBER_BALANCE_H
#define ZONEPOOL_POOL_MEMBER_BALANCE_H

#include "pool/pool.h"

#include <stdbool.h>
#include <stdint.h>

struct group;
struct pool;

struct balance {
        bool off; /* by the operator; in the root */
        bool running; /* devices were far apart, and are not near yet */
        bool again; /* look, whatever was seen */
        bool changed; /* devices have come or gone: what is allowed is to be worked out again */
        uint64_t looked; /* at the root of that generation nothing was to be moved, or could be */
        uint64_t far_ns; /* since when they have been far apart, and no run has begun; 0: are not */
        uint64_t moved; /* blocks, since the import */
        uint64_t allowed; /* blocks that the run may still move */
        uint64_t run; /* that it has moved, */
        uint64_t waited; /* when it last waited */
        uint64_t rest; /* no run before users have written so many blocks */
};

/* The next group whose blocks are to be moved; NULL: none, for now. */
struct group *balance_next(struct pool *pool);
/* What was begun may go on: neither devices nor users need the room. */
bool balance_may(const struct pool *pool);
/* So many blocks of such a group are queued. */
void balance_moved(struct pool *pool, uint32_t blocks);
/* All of the group was walked, and moved as far as it can be. */
void balance_walked(struct pool *pool, struct group *g);
/* The group at hand was given up: nothing for now. */
void balance_wait(struct pool *pool);
/* When it wants a tick; UINT64_MAX: not for now. */
uint64_t balance_next_ns(const struct pool *pool);
/* Devices have come or gone. */
void balance_look_again(struct pool *pool);

#endif
