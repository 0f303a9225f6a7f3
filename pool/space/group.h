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

/* Lifetime classes. What users write and what cleaning moves never share a group; each kind has a
 * first class, and further ones that are used only where there is room for more open groups
 * (lifetime.h says what goes where). Values are on disk. */
enum cls {
        CLASS_USER, /* soon overwritten, as far as known; and all records without data */
        CLASS_CLEAN, /* moved: written by users not long ago */
        CLASS_TABLE,
        CLASS_USER_COLD, /* overwrites what had lived long, or nothing */
        CLASS_CLEAN_HOT, /* moved out of a group of CLASS_USER */
        CLASS_CLEAN_OLD, /* moved: written long ago, */
        CLASS_CLEAN_OLDEST, /* longer */
        NCLASSES
};

_Static_assert(NCLASSES == (enum cls)HEADER_CLASSES, "classes are on disk");

static inline bool class_is_user(enum cls cls)
{
        return cls == CLASS_USER || cls == CLASS_USER_COLD;
}

/* The first class of the kind. */
static inline enum cls class_kind(enum cls cls)
{
        if (cls == CLASS_TABLE)
                return CLASS_TABLE;
        return class_is_user(cls) ? CLASS_USER : CLASS_CLEAN;
}

enum group_state {
        GROUP_FREE, /* holds nothing that counts */
        GROUP_OPEN, /* a stream writes to it */
        GROUP_SEALING, /* no more batches; the last ones or the summary are on their way */
        GROUP_SEALED,
        GROUP_BAD, /* never used again */
        GROUP_PARKED, /* as FREE, but its device is on its way in or out, or it was released and tables
                         on disk name it until they have taken what replay found */
        GROUP_GONE, /* no zone: its device has left */
        GROUP_LENT, /* its zone is a member of another group */
};

/* A zone that cannot be finished goes on counting as active on its device, whatever is asked. */
enum { FINISH_TRIES = 4 };

struct group {
        uint32_t id;
        enum group_state state;
        enum cls cls;
        uint8_t width;
        uint8_t copies; /* asked for; the width is less where devices were missing */
        struct root_member member[POOL_MAX_GROUP_WIDTH]; /* the first is its own zone */
        uint32_t lent[POOL_MAX_GROUP_WIDTH]; /* from member 1 on: the groups these zones are of */
        struct group *behind; /* FREE: its zone was lent to that one, which may be read yet */
        uint32_t generation;
        uint32_t cap; /* blocks; of the smallest member */
        uint32_t zone_cap; /* of its own zone */
        uint32_t wp; /* blocks given out */
        uint32_t tail; /* blocks issued: where the next header will stand */
        uint32_t live; /* table entries that point here */
        uint32_t headers; /* blocks of headers and summary written since the import */
        uint32_t departed; /* blocks that were moved out of it since the import, in any life of it
                              (borrow.h) */
        uint32_t refs; /* reads in flight, cleaner at work */
        uint32_t summary; /* blocks of the summary at its end, 0: none */
        uint64_t last_seq, last_sum;
        /* On the clock of user blocks written in the pool: */
        uint64_t opened, sealed; /* when it was; this one is kept by roots */
        uint64_t written; /* when users wrote its blocks, in the mean */
        uint32_t data; /* blocks that mean is of */
        uint8_t active; /* the first so many members are counted in their devices' active zones: until
                           they are finished, and that may be after the group was freed */
        bool needs_reset; /* FREE: what is written there is of an earlier life */
        bool resetting;
        bool freeing; /* the checkpoint, or release, under way frees it */
        bool covered; /* sealed at the last checkpoint: replay needs none of its records */
        bool released; /* freed since: the tables on disk name blocks of the generation before */
        bool nosummary;
        bool unclean; /* holds blocks that cannot be moved (unreadable) */
        bool unmoved; /* the same, as balancing has seen */
        bool records; /* opened for records without data, where there was no room for data */
        bool failing; /* a zone of it can only be read any more */
        bool headless; /* a header of it is right nowhere: the mover empties it */
        bool busy; /* victim of the cleaner */
        uint8_t finishing; /* zones of it that are */
        bool counted; /* FREE, on a device in use: among those the pool counts */
        struct list node; /* in pdev.free */
        uint8_t *sum_buf; /* summary gathered so far */
        uint32_t sum_bytes, sum_planned;
};

/* Makes the array of groups n long; new ones are GROUP_BAD until they are described. Pointers to
 * groups stay valid, pool->groups does not. -ENOMEM. */
int groups_grow(struct pool *pool, uint32_t n);

/* Empty, it is freed by a checkpoint only: replay would need its records, or, of a table group, the
 * tables of the last root may lie there. Of others the records that emptied it need only be
 * durable. */
static inline bool group_in_limbo(const struct group *g)
{
        return !g->covered || g->cls == CLASS_TABLE;
}

/* It can be freed without a checkpoint. */
static inline bool group_releasable(const struct group *g)
{
        return g->state == GROUP_SEALED && !g->live && !g->busy && !group_in_limbo(g);
}

void group_live_inc(struct pool *pool, uint64_t addr);
void group_live_dec(struct pool *pool, uint64_t addr);
/* Counts a sealed group that nothing lives in; before anything else of it changes. */
void group_emptied(struct pool *pool, const struct group *g);
void group_not_emptied(struct pool *pool, const struct group *g);
void group_ref(struct group *g);
void group_unref(struct pool *pool, struct group *g);
/* A group for the stream, or NULL: none to be had now. Kept are
 *   - free groups, for those who come behind: users, cleaning, tables, in that order;
 *   - the devices' limits of open and active zones, with one of them for cleaning and one for
 *     tables on each device;
 *   - room: more than one group a kind and number of copies may be open only as far as
 *     space_extra_groups goes, and only while free groups are not short.
 * The device is the one with most room free (device_room), a third of it counting where the stream
 * has a group open already: lanes spread over the devices, and these fill alike. One that stalls is
 * taken only where no other can be, and nothing of the kind is open. A group of
 * `copies` members has them on as many devices. records: for records without data, which may give
 * room: of what is kept they are given more. */
struct group *group_open(struct pool *pool, const struct stream *s, bool records);
/* For table pages that find no group: one of fewer copies than they should have, where devices that
 * are out of use took the room along; as many fewer as these are, at most. NULL: none. */
struct group *group_open_short(struct pool *pool, const struct stream *s);
/* Blocks of free groups that users may open before what is kept for others. */
uint64_t groups_for_users(const struct pool *pool);
/* Cleaning could write so many blocks of that number of copies now. */
bool group_moves_fit(const struct pool *pool, uint32_t copies, uint32_t blocks);
/* The group is one that its devices count as active, until group_inactive. For recovery: group_open
 * and the group's end do it themselves. */
void group_active(struct pool *pool, struct group *g);
void group_inactive(struct pool *pool, struct group *g);
/* Data blocks were added whose users' writes were at that time, in the mean. */
void group_add_data(struct group *g, uint32_t blocks, uint64_t written);
/* The device allows the stream one more open group there, and those that others need besides. */
bool group_has_slot(const struct pool *pool, const struct pdev *d, const struct stream *s);
/* Takes the group out of use after an error or a gap: what it holds stays readable. */
void group_retire(struct pool *pool, struct group *g);
void group_sealed(struct pool *pool, struct group *g);
/* Sealed, written to its end: what is left of larger members is finished. */
void group_filled(struct pool *pool, struct group *g);
/* FREE (or PARKED), with a reset to come when needs_reset is set. */
void group_make_free(struct pool *pool, struct group *g);
/* FREE to PARKED: its device is leaving. */
void group_park(struct pool *pool, struct group *g);
/* One of its members is on that device. */
bool group_on(const struct group *g, uint32_t dev);
/* One of its members is on a device that is not, or will not stay, a member. */
bool group_away(const struct pool *pool, const struct group *g);
/* Its own zone is one of those the pool can count on. */
bool group_counts(const struct pool *pool, const struct group *g);
/* Starts resets that may be done. */
void group_start_resets(struct pool *pool);
/* The device of its own zone. */
struct pdev *group_dev(struct pool *pool, const struct group *g);
/* Of a FREE group whose device is, or is not, in use any more: counts it, or not. */
void group_count(struct pool *pool, struct group *g);
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
