/* Reads of blocks that lie together in a group, from one of its members.
 *
 * Where the device that was asked stalls, another member is asked too, and the first that has an
 * answer is believed; what the others still say is dropped. Their answers go into memory of the
 * pool's then, and the group is not reset before the last one. */
#ifndef ZONEPOOL_POOL_IO_ASK_H
#define ZONEPOOL_POOL_IO_ASK_H

#include "pool/address.h"
#include "pool/pio.h"
#include "pool/pool.h"
#include "pool/root/root.h"

struct pool;
struct group;

/* Set by the caller, who may change it when done is called: pool, group, off, n, iov, niov, alone,
 * but, done. The rest is zero at first. */
struct ask {
        struct list node; /* pool.asks */
        struct pool *pool;
        struct group *group; /* which the caller holds until done */
        uint32_t off, n; /* blocks; n is not more than members_max_io */
        const struct iovec *iov; /* valid until done, not written behind it */
        int niov;
        unsigned width; /* of the group, 0: it is looked up; and its members: it may be freed, and so */
        struct root_member member[POOL_MAX_GROUP_WIDTH]; /* have none of them, meanwhile */
        bool alone; /* no other member is asked, */
        unsigned but; /* or none of these, a bit each: they have been */
        bool apart; /* what is under way can be left */
        unsigned asked; /* members under way, a bit each */
        unsigned failed; /* since asking began */
        struct pio pio[POOL_MAX_GROUP_WIDTH];
        /* The first right answer, or the last error. What the bytes are is the caller's to judge,
         * the device has been told of. */
        void (*done)(struct ask *a, unsigned member, int status);
};

void ask_member(struct ask *a, unsigned k);
/* As member_pick, of the members that the group had when it was asked first. */
int ask_pick(const struct ask *a, unsigned tried);
/* A read of that member of a group, and no other. */
void ask_alone(struct pool *pool, struct group *g, unsigned k, struct pio *p);
/* Those whose devices stall are asked of others too. */
void asks_hedge(struct pool *pool);

#endif
