/* Work in the background yields to users: all it can while they ask for nothing, else so many bytes
 * a second. */
#ifndef ZONEPOOL_POOL_MEMBER_PACE_H
#define ZONEPOOL_POOL_MEMBER_PACE_H

#include "pool/internal.h"

#define PACE_RATE (UINT64_C(32) << 20) /* bytes a second, beside users */

struct pace {
        uint64_t requests; /* of users, when last paid */
        uint64_t turn_ns; /* not before */
};

static inline bool pace_turn(const struct pool *pool, const struct pace *p)
{
        return pool->host.now_ns(pool->host.ctx) >= p->turn_ns;
}

/* So many blocks are about to be moved or read. */
static inline void pace_pay(struct pool *pool, struct pace *p, uint64_t blocks)
{
        bool alone = pool->requests == p->requests && !pool->nheld;

        p->requests = pool->requests;
        if (!alone)
                p->turn_ns = pool->host.now_ns(pool->host.ctx) +
                             blocks * ZP_BLOCK * UINT64_C(1000000000) / PACE_RATE;
}

#endif
