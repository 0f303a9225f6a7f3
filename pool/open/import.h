/* Opening a pool: import.c, load.c, recover.c, apply.c, catchup.c, settle.c, claim.c, retired.c,
 * resume.c in that order. */
#ifndef ZONEPOOL_POOL_OPEN_IMPORT_H
#define ZONEPOOL_POOL_OPEN_IMPORT_H

#include "base/err.h"
#include "pool/internal.h"
#include "pool/log/summary.h"
#include "pool/log/walk.h"
#include "pool/root/label.h"
#include "pool/table/batch_pins.h"

/* A batch that was found above the root. */
struct found {
        struct group *group;
        struct header h;
        uint8_t *buf; /* records at HEADER_FIXED */
        bool from_summary; /* its own header was not looked at */
        unsigned members; /* of the group that have it, a bit each */
        bool dropped;
        uint32_t next; /* of the group, by sequence; UINT32_MAX: none (catchup.c) */
};

/* What was found of one group, and counts. */
struct group_log {
        const struct found *last; /* NULL: nothing */
        uint32_t tail; /* where it ends, */
        uint32_t end[POOL_MAX_GROUP_WIDTH]; /* and where that ends which each member has */
        bool pages; /* nothing but table pages and inodes */
};

/* A member that ends before its group: what lacks there is copied from another one. */
struct catchup {
        struct pio pio;
        uint32_t group; /* the next one; */
        unsigned member, from; /* its members */
        uint32_t at, wp, tail, blocks; /* copied up to; what the zone has; to be; at once */
        uint8_t *theirs, *own;
};

enum {
        APPLY_AHEAD = 64, /* batches whose table pages are read ahead of replay */
        /* What a claim raises the generation by: more than the roots that can be written one after
         * the other without one that is durable, which is as often as a checkpoint may fail. */
        CLAIM_GENERATIONS = 16,
};

struct import {
        struct pool *pool;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err, struct pool *pool);
        struct err err;
        struct label_scan *scans;
        uint32_t nscans, pending;
        struct root root;
        struct ckpt_wait wait;
        uint32_t absent; /* devices that are missing and were in use at the root */
        /* identify.c: the group whose own zone it is, by device and zone */
        uint32_t *slots;
        uint64_t *slot_base;
        /* claim.c */
        struct flush_wait flush;
        uint8_t *claim; /* what is written; */
        uint32_t claim_blocks;
        bool claimant[POOL_MAX_DEVICES]; /* and to whom */
        /* load.c */
        struct list jobs;
        uint32_t reading;
        int status;
        /* recover.c */
        struct walk walk;
        struct summary_read summary;
        uint32_t next_group;
        unsigned next_member; /* of next_group, to be walked */
        unsigned tried, unreadable; /* members of it */
        uint32_t group_first, cursor; /* its first of found; where the member is by now */
        struct found *found;
        uint32_t nfound, found_cap;
        uint32_t *first; /* of found, by group (catchup.c) */
        struct catchup catchup;
        uint32_t verify; /* next of found to verify */
        unsigned check_member;
        bool check_headed; /* its header is right */
        struct block_read check;
        uint32_t check_block;
        struct record check_rec;
        uint32_t check_pos, check_data;
        struct batch_pins *ahead[APPLY_AHEAD]; /* of found[applied..pinned), by index modulo */
        uint32_t applied, pinned;
        uint32_t eager; /* of found: these are applied one by one, what follows by page */
        bool applying;
        struct pin *trees; /* of all volumes, whole; NULL: batch by batch */
        uint32_t ntrees;
        uint64_t seen; /* highest sequence */
        uint64_t mark; /* highest durable mark */
        bool retired_tables;
        uint32_t next_retired;
        struct batch_pins *retired;
        bool failed;
};
/* Ends the import: everything it had is freed after done was called. */
void import_fail(struct import *im, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Which zones belong together, as the root says. -EBADMSG, -ENOMEM. */
int identify_root(struct import *im, struct err *err);
/* And for groups opened since; calls recover_walk. */
void identify_start(struct import *im);
void recover_walk(struct import *im);
/* Whether all that lives can be read although devices are missing; else ends the import. */
int import_check_absent(struct import *im);
/* Brings catalog and tables of the root into RAM, then calls recover_start. */
void load_start(struct import *im);
/* Replays what the groups hold above the root, settles the groups, then calls import_replayed. */
void recover_start(struct import *im);
/* What stands at that place of a group counts, as far as the root says. A batch that an earlier
 * import found lost can be there again after another crash, in the place of one written since: it is
 * older than the root, or, where that one goes on with a log found (root.h), than what follows. */
bool import_current(const struct import *im, uint32_t group, uint32_t offset, uint64_t seq);
/* The pool may be in use before the tables are as the log makes them. */
bool import_may_resume(struct import *im);
/* Writes the root that says so; im->wait is told. The checkpoint comes when it is due. */
void import_resume(struct import *im);
/* The last but one step of recover_start. */
void apply_start(struct import *im);
/* The last step of that: members that a power cut left behind get what the others have. */
void catchup_start(struct import *im);
void catchup_fini(struct import *im);
/* The last step of catchup_start. */
void settle_start(struct import *im);
/* Of a group that was open or free at the root. */
void import_group_log(const struct import *im, const struct group *g, struct group_log *ret_log);
/* The label that was read of a device of the root; NULL: it is not there. */
struct label_scan *import_scan_of(struct import *im, uint32_t index);
/* Its root is so far behind that what it holds is of an earlier time. */
bool import_is_old(struct import *im, uint32_t index);
/* The bytes of the root to be claimed, as it was read. -ENOMEM. */
int claim_prepare(struct import *im);
/* The last step of settle_start: makes that root durable under a new generation. */
void claim_start(struct import *im);
/* The last step of that: resets what holds nothing that counts. */
void settle_resets(struct import *im);
/* The last step of settle_resets: marks the table pages in groups that were closed as changed. */
void retired_start(struct import *im);
void import_replayed(struct import *im);
void recover_fini(struct import *im);

/* The report of import on a member's zone, whose device is there; and the blocks of it that may
 * have been written. */
static inline const struct zdev_zone *member_zone(struct pool *pool, const struct group *g,
                                                  unsigned k)
{
        return &pool->devs[g->member[k].dev].zones[g->member[k].zone];
}

static inline uint64_t member_end(struct pool *pool, const struct group *g, unsigned k)
{
        return MIN((uint64_t)g->cap, zone_end(member_zone(pool, g, k)));
}

#endif
