/* Walking the chain of headers of a group. */
#ifndef ZONEPOOL_POOL_LOG_WALK_H
#define ZONEPOOL_POOL_LOG_WALK_H

#include "pool/log/header.h"
#include "pool/pdev.h"

struct pool;
struct group;

struct walk {
        struct pool *pool;
        struct group *group;
        unsigned member; /* of the group, to be read */
        uint32_t off, end; /* where the next header is looked for, and where to stop */
        uint64_t prev_seq, prev_sum;
        bool any_prev; /* whatever it names as the batch before it */
        bool first; /* whatever verifies: whose header it is the caller finds out */
        struct header h;
        uint8_t *buf; /* header blocks of h */
        uint32_t cap, need, got;
        bool stop;
        struct pio pio;
        /* Each verified header; the walk goes on when walk_next is called. buf may be taken (set to
         * NULL). */
        void (*found)(struct walk *w);
        /* status: 0 end or gap at off; -EIO unreadable; -ENOMEM. */
        void (*done)(struct walk *w, int status);
        void *ctx;
};
/* The header is the one of that group and life that belongs at off, behind the one named by prev.
 */
bool walk_follows(const struct pool *pool, const struct group *g, const struct header *h,
                  uint32_t off, uint32_t end_off, uint64_t prev_seq, uint64_t prev_sum);
void walk_start(struct walk *w);
void walk_next(struct walk *w);
void walk_fini(struct walk *w);

#endif
