/* Devices that come and go. The states of a slot, and what each root says of it:
 *
 *   NONE -> JOINING -> MEMBER -> LEAVING -> LEFT -> NONE
 *                        ^----------'
 *
 * Two roots take a device in. The first calls it JOINING: when power fails meanwhile, its label is
 * there and it is a member, or it is not and the slot is dropped; nothing has been placed on it.
 * The second calls it a MEMBER, and its groups may be opened once that one is durable: whatever
 * names a block there is younger than a root that demands the device.
 *
 * A device that is LEAVING keeps its data, and its label, until nothing of it counts in a durable
 * root. The root that calls it LEFT has no groups of it any more; only then is its label wiped.
 *
 * A device that replaces another says so from its first root on: whoever finds it a member and the
 * other one not leaving yet goes on with that.
 *
 * A member that was out of use and is there again keeps its state; nothing is placed on it before a
 * durable root calls it in use.
 *
 * Slots and the ids of groups are used again. A group's generation goes on through that: what named
 * a block of an earlier life is known by it.
 *
 * States change only between checkpoints, or before their freeze.
 */
#ifndef ZONEPOOL_POOL_MEMBER_MEMBER_H
#define ZONEPOOL_POOL_MEMBER_MEMBER_H

#include "base/err.h"
#include "base/list.h"
#include "pool/pdev.h"
#include "pool/root/checkpoint.h"

enum member_kind { MEMBER_JOIN, MEMBER_LEAVE, MEMBER_KEEP, MEMBER_RETURN, MEMBER_GIVE_UP };

/* Something asked for, until it is durable. */
struct member_op {
        struct list node; /* pool.member_ops, until it is carried out */
        struct ckpt_wait wait;
        struct deferred later;
        struct pool *pool;
        enum member_kind kind;
        uint64_t bytes; /* GIVE_UP: at most */
        uint32_t index; /* LEAVE, KEEP, GIVE_UP: slot; JOIN: the slot that is replaced, or NO_SLOT */
        bool remove; /* LEAVE */
        int status;
        struct err err;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
        /* JOIN (join.c), RETURN (comeback.c): the device, which becomes the pool's when the state
         * changes */
        struct zdev *dev;
        struct zdev_zone *zones; /* owned; as reported. JOIN: all empty, or dead */
        uint32_t slot;
        uint64_t generation; /* roots of its earlier lives had at most that */
        struct uuid uuid; /* RETURN: which it is, */
        uint32_t ring_zone, ring_end; /* and where its label ring stands */
        bool ring_clean;
        void (*joined)(void *ctx, int status, const struct err *err, uint32_t index);
};

enum { NO_SLOT = UINT32_MAX };

/* Goes on with what has become possible. */
void member_poll(struct pool *pool);
/* The pool is being exported: what has not begun is answered so. */
void members_cancel(struct pool *pool);
/* Queues an operation. */
void member_ask(struct member_op *op);
/* JOIN, RETURN: an operation for the device, with room for its zones; NULL: no memory. It is freed
 * by its answer. */
struct member_op *member_op_new(struct pool *pool, enum member_kind kind, struct zdev *dev,
                                void *ctx,
                                void (*done)(void *ctx, int status, const struct err *err,
                                             uint32_t index));
/* One that was not asked for; op may be NULL. */
void member_op_free(struct member_op *op);
/* JOIN, RETURN: the device was looked at and prepared; asks, or answers why not. */
void member_looked_at(struct member_op *op, int status);
/* Answers and frees it, from the next turn. */
void member_answer(struct member_op *op, int status);
/* Whether the device may leave: its data have room elsewhere. */
int member_check_leave(const struct pool *pool, uint32_t index, struct err *err);
void member_leave(struct pool *pool, struct pdev *d, bool remove);
/* The same when d, which is joining, is a member. */
int member_check_replace(struct pool *pool, struct pdev *d, uint32_t old, struct err *err);
/* Its slot is empty again: it was JOINING. */
void member_forget(struct pool *pool, struct pdev *d);
/* An import is through: replacements that were under way go on. */
void members_go_on(struct pool *pool);
/* join.c: gives the device its slot and groups. On failure nothing has changed. */
int member_join(struct member_op *op);

/* comeback.c: gives the device its slot again. On failure nothing has changed. */
int member_return(struct member_op *op);
/* A root that says so is durable: it is used like any other. */
void member_returned(struct member_op *op);
/* Free zones of the device may be used. */
void member_unpark(struct pool *pool, struct pdev *d);

/* What a device and a zone must be to hold a pool's data. -EINVAL with text. */
int member_check_geometry(const struct zdev *dev, struct err *err);
bool member_zone_dead(const struct zdev_zone *z);
bool member_zone_fits(const struct zdev_zone *z);

#endif
