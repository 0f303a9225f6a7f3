/* Zone groups: free, open, sealed, and what is live in them. */
#ifndef ZONEPOOL_POOL_SPACE_GROUP_H
#define ZONEPOOL_POOL_SPACE_GROUP_H

#include "base/cleanup.h"
#include "base/list.h"
#include "pool/log/header.h"
#include "pool/root/root.h"

struct pool;
struct pdev;
struct stream;

enum cls { CLASS_USER, CLASS_CLEAN, CLASS_TABLE, NCLASSES };

enum group_state {
        GROUP_FREE, /* holds nothing that counts */
        GROUP_OPEN, /* a stream writes to it */
        GROUP_SEALING, /* no more batches; the last ones or the summary are on their way */
        GROUP_SEALED,
        GROUP_BAD, /* never used again */
};

struct group {
        uint32_t id;
        enum group_state state;
        enum cls cls;
        uint8_t width;
        uint8_t copies; /* asked for; the width is less where devices were missing */
        struct root_member member[POOL_MAX_GROUP_WIDTH]; /* the first is its own zone */
        uint32_t generation;
        uint32_t cap; /* blocks; of the smallest member */
        uint32_t zone_cap; /* of its own zone */
        uint32_t wp; /* blocks given out */
        uint32_t tail; /* blocks issued: where the next header will stand */
        uint32_t live; /* table entries that point here */
        uint32_t headers; /* blocks of headers and summary written since the import */
        uint32_t refs; /* reads in flight, cleaner at work */
        uint32_t summary; /* blocks of the summary at its end, 0: none */
        uint64_t last_seq, last_sum;
        uint64_t seal_seq;
        bool needs_reset; /* FREE: what is written there is of an earlier life */
        bool resetting;
        bool freeing; /* the checkpoint, or release, under way frees it */
        bool covered; /* sealed at the last checkpoint: replay needs none of its records */
        bool released; /* freed since: the tables on disk name blocks of the generation before */
        bool nosummary;
        bool unclean; /* holds blocks that cannot be moved (unreadable) */
        bool busy; /* victim of the cleaner */
        bool finishing; /* its zone is */
        struct list node; /* in pdev.free */
        uint8_t *sum_buf; /* summary gathered so far */
        uint32_t sum_bytes, sum_planned;
};

/* Makes the array of groups n long; new ones are GROUP_BAD until they are described. Pointers to
 * groups stay valid, pool->groups does not. -ENOMEM. */
int groups_grow(struct pool *pool, uint32_t n);

/* It can be freed without a checkpoint: the records that emptied it need only be durable. Table
 * groups cannot, the tables of the last root may lie there. */
static inline bool group_releasable(const struct group *g)
{
        return g->state == GROUP_SEALED && !g->live && g->covered && !g->busy &&
               g->cls != CLASS_TABLE;
}

void group_live_inc(struct pool *pool, uint64_t addr);
void group_live_dec(struct pool *pool, uint64_t addr);
void group_ref(struct group *g);
void group_unref(struct pool *pool, struct group *g);
/* A group for the stream, or NULL: none to be had now. */
struct group *group_open(struct pool *pool, const struct stream *s);
/* Cleaning could write so many blocks to the stream now. */
bool group_moves_fit(const struct pool *pool, const struct stream *s, uint32_t blocks);
/* Takes the group out of use after an error or a gap: what it holds stays readable. */
void group_retire(struct pool *pool, struct group *g);
void group_sealed(struct pool *pool, struct group *g);
/* FREE, with a reset to come when needs_reset is set. */
void group_make_free(struct pool *pool, struct group *g);
/* Starts resets that may be done. */
void group_start_resets(struct pool *pool);
/* Blocks of [off, off+n) on the group's first member. */
struct pdev *group_dev(struct pool *pool, const struct group *g);
int group_append_summary(struct group *g, const struct header *h, const uint8_t *records);
void group_drop_summary(struct group *g);
static inline uint32_t group_summary_blocks(const struct group *g, uint32_t more)
{
        if (g->nosummary)
                return 0;
        return (uint32_t)DIV_ROUND_UP(
            (uint64_t)HEADER_FIXED + SUMMARY_TRAILER + g->sum_planned + more, ZP_BLOCK);
}

#endif
