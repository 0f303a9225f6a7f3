/* What control operations on volumes share (volume.c, snapshot.c): one record in one batch of the
 * user class, durable when it is reported. */
#ifndef ZONEPOOL_POOL_TABLE_VOP_H
#define ZONEPOOL_POOL_TABLE_VOP_H

#include "pool/internal.h"

struct vop {
        struct list node; /* pool.creating */
        struct lock lock;
        struct deferred later;
        struct flush_wait flush;
        struct pool *pool;
        struct volume *vol; /* not of a create */
        struct item *item;
        struct volume *fresh; /* name and uuid that are taken until it is durable */
        struct volume *parent; /* pinned */
        uint32_t slot;
        bool has_slot; /* given back unless the record was applied */
        struct space_claim claim;
        struct space_claim promise; /* what is to be promised, until it is */
        struct volume_size to; /* of a RESIZE */
        uint8_t comes; /* copies of a volume that counts already */
        bool flush_first, locked, applied;
        bool unmaps; /* all that is locked, step by step, */
        bool then_record; /* and when that is durable the record; else in place of it */
        struct unmap unmap;
        int status;
        /* The last thing before the record is queued: what it says of the volume as it stands. */
        int (*prepare)(struct vop *c);
        struct vop *next; /* begins when the record was applied, its parent what this one froze */
        void *ctx;
        void (*done)(void *ctx, int status);
        void (*created)(void *ctx, int status, struct volume *vol);
};

/* NULL: no memory. payload: bytes of it. */
struct vop *vop_new(struct pool *pool, struct volume *vol, uint8_t type, uint32_t payload);
/* Of one that was not started. */
void vop_free(struct vop *c);
/* c may be NULL: no memory. Locks blocks from first on when locked. */
void vop_run(struct vop *c, struct pool *pool, void *ctx, void (*done)(void *ctx, int status));
void vop_lock(struct vop *c, uint64_t first_block, bool over_idle);
void vop_start(struct vop *c);
/* Ends it from the next turn. */
void vop_end_later(struct vop *c, int status);
/* Room for its inode and the catalog's pages. */
void vop_reserve(struct vop *c);
/* -ENOSPC: they do not fit. */
int vop_try_reserve(struct vop *c);
/* Answers from the next turn, without anything done. One of the two is called. */
void vop_refuse(struct pool *pool, int status, void *ctx, void (*done)(void *ctx, int status),
                void (*created)(void *ctx, int status, struct volume *vol));
/* c->fresh, and a tree for it. -ENOMEM. */
int vop_make_fresh(struct vop *c);
/* A slot for the node c will make. -ENOSPC. */
int vop_take_slot(struct vop *c);
/* -EEXIST: taken by what is there, or is being made or deleted. of: as for node_has_name. */
int vop_check_name(struct pool *pool, const char *name, const struct uuid *uuid,
                   const struct uuid *of);
/* A creation that is ready to be started; NULL with *ret_status. parent may be NULL. */
struct vop *create_new(struct pool *pool, const struct volume_spec *spec, struct volume *parent,
                       uint64_t limit, void *ctx,
                       void (*done)(void *ctx, int status, struct volume *vol), int *ret_status);
void node_pin(struct volume *node);
void node_unpin(struct volume *node);

#endif
