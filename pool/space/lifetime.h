/* Which lifetime class a block goes to: SepBIT's rule, by when it was written before.
 *
 * What is overwritten soon after it was written is taken to be overwritten soon again; what
 * cleaning has moved is taken to live on, the longer the more often it was. "Soon" is a multiple of
 * the mean life of the last groups of CLASS_USER, from opening to emptiness, on the clock of user
 * blocks written in the pool. When a block was written is known by group: the mean of what is in
 * it. */
#ifndef ZONEPOOL_POOL_SPACE_LIFETIME_H
#define ZONEPOOL_POOL_SPACE_LIFETIME_H

#include "pool/address.h"
#include "pool/space/group.h"

struct pool;

enum { LIFETIME_GROUPS = 16 }; /* that the mean is of */

struct lifetime {
        uint64_t life; /* of such a group; 0: not known yet */
        uint64_t sum; /* of the lives since */
        uint32_t n;
};

/* For a user's write of what the entry says. */
enum cls lifetime_of_write(const struct pool *pool, struct entry old);
/* For what lives in a victim of cleaning. */
enum cls lifetime_of_moved(const struct group *victim);
/* Nothing lives in the group any more. */
void lifetime_ended(struct pool *pool, const struct group *g);

#endif
