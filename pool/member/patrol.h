/* A walk over one sealed group: every block that lives there is read, checked and shown. What moves
 * data off a device, and what scrubs, are this with different ends.
 *
 * Headers say whose blocks they are. Where one is right on no member the group's summary says it of
 * that batch; without one all tables are walked for what they have in the rest of the group
 * (patrol_behind.c). */
#ifndef ZONEPOOL_POOL_MEMBER_PATROL_H
#define ZONEPOOL_POOL_MEMBER_PATROL_H

#include "pool/internal.h"
#include "pool/log/summary.h"
#include "pool/log/walk.h"
#include "pool/member/seek.h"
#include "pool/table/batch_pins.h"

struct patrol_block {
        struct tree *tree; /* valid until something completes */
        uint64_t tree_id, index;
        uint8_t type, level; /* enum record_type: data, PAGE or INODE */
        struct entry entry; /* as the owner has it */
        unsigned right, wrong; /* `every`: members that have it, and that do not; a bit each, */
        int status; /* and why the last of these does not */
};

struct patrol {
        struct pool *pool;
        struct group *group; /* NULL: none under way */
        void *ctx;
        bool lost; /* what no member can give is shown too, with -EIO, of all groups of devices that
                      are given up: by a walk over all tables */
        bool every; /* each member is read and not only one; headers too */
        /* It lives: is it to be read? Else it is passed over. */
        bool (*wanted)(struct patrol *p, const struct patrol_block *b);
        /* status: 0 with data, and it still lives; -EILSEQ or -EIO: twice not readable. With
         * `every` once all members were read, 0 if one has it, data only where some are wrong. */
        void (*block)(struct patrol *p, const struct patrol_block *b, const uint8_t *data,
                      int status);
        /* The header of the batch at hand is wrong on members of the group, a bit each, asked
         * twice; nowhere: it is right on none. May be NULL. */
        void (*header)(struct patrol *p, unsigned wrong, bool nowhere);
        /* A batch whose owners cannot be told, a table page being damaged. May be NULL. */
        void (*unknown)(struct patrol *p, int status);
        /* All blocks of a batch were shown. True: go on; false: patrol_next or patrol_stop is
         * called. */
        bool (*batch)(struct patrol *p);
        /* The group's end: status 0, or why the walk ended early. Its reference is given back. */
        void (*done)(struct patrol *p, int status);
        /* private */
        struct batch_pins *pins; /* of the batch at hand; who takes a block along counts in users */
        struct walk walk;
        const uint8_t *records; /* of the batch at hand, */
        uint32_t record_bytes;
        bool headless; /* whose header is damaged */
        struct summary_read sum; /* buf: read, and there is one */
        bool sum_asked;
        struct seek seek;
        bool seeking; /* all tables are walked for the rest of the group */
        unsigned failed; /* members whose header at the walk's place is wrong */
        bool again_there; /* it is asked for once more */
        unsigned member, seen; /* read now; `every`: those that were */
        unsigned wrong_header;
        struct pio pio;
        struct block_read again;
        struct patrol_block *blocks; /* of the batch, those wanted */
        uint32_t nblocks, at, blocks_cap;
        uint8_t *buf;
        uint32_t buf_cap, from, count, got; /* the stretch that was read, blocks */
        bool unread; /* the stretch could not be read: each block by itself */
};

void patrol_start(struct patrol *p, struct group *g);
void patrol_next(struct patrol *p);
void patrol_stop(struct patrol *p);
/* One of pins->users is through. */
void patrol_unpin(struct batch_pins *b);
void patrol_fini(struct patrol *p);

/* ---- between patrol.c and patrol_behind.c ---- */

/* The header at the walk's place is right nowhere. */
void patrol_behind(struct patrol *p);
void patrol_finish(struct patrol *p, int status);
/* All tables are walked for what the group has from the walk's place on. */
void patrol_seek(struct patrol *p);
/* records and walk.h are those of the batch at hand. */
void patrol_take_batch(struct patrol *p);
/* Notes a block that is in the group, if it lives and is wanted. 0 or -ENOMEM. */
int patrol_note(struct patrol *p, struct patrol_block *b);
/* Pins are there and blocks are noted: they are read and shown. */
void patrol_show(struct patrol *p, unsigned member);

#endif
