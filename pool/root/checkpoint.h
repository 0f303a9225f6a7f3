/* Checkpoints and releases (checkpoint.c), and the roots they end in (ckpt_root.c). */
#ifndef ZONEPOOL_POOL_ROOT_CHECKPOINT_H
#define ZONEPOOL_POOL_ROOT_CHECKPOINT_H

#include "base/list.h"
#include "pool/log/flush.h"
#include "pool/root/root.h"

struct pool;

enum ckpt_state {
        CKPT_IDLE,
        CKPT_SETTLING, /* pages take what replay found: batches go on */
        CKPT_FREEZING,
        CKPT_PAGES,
        CKPT_FLUSH,
        CKPT_RELEASE_FLUSH, /* in place of the three before it: a release */
        CKPT_ROOT,
        CKPT_FLUSH_ROOT,
};

struct ckpt_wait {
        struct list node;
        void (*done)(struct ckpt_wait *w, int status);
};

struct ckpt {
        enum ckpt_state state;
        struct list waits; /* served by the one under way */
        struct list next; /* come after its freeze: by the next */
        bool again;
        uint64_t seq; /* of the freeze; of the choice, when it is a release */
        bool releasing;
        bool resuming;
        bool root_stands; /* root is the last durable one and no other was tried since */
        uint32_t pending; /* pages, or roots, not yet written */
        int status;
        uint32_t failures; /* in a row */
        struct root root;
        uint8_t **bufs; /* one a device; NULL: not there */
        uint32_t nbufs;
        struct flush_wait flush;
};
/* Starts one, or sees to it that one follows. w may be NULL. */
void ckpt_start(struct pool *pool, struct ckpt_wait *w);
/* At the end of an import: a root that goes on with the log of `root`, which it went by, in place
 * of a checkpoint, which is to follow (root.h). */
void ckpt_resume(struct pool *pool, const struct root *root, struct ckpt_wait *w);
/* Called whenever something may have become possible. */
void ckpt_poll(struct pool *pool);
void ckpt_free(struct pool *pool);
/* ckpt_due.c: one is due; there are groups that a release would free, and it pays. */
bool ckpt_due(const struct pool *pool);
bool ckpt_worth_releasing(const struct pool *pool);
/* ckpt_pages.c: at the freeze, gives all that has changed its place. Negative: not all of it has
 * one. */
int ckpt_save_tables(struct pool *pool);
/* ckpt_root.c: at the freeze, notes the root and decides which groups it frees. -ENOMEM. */
int root_note(struct pool *pool);
/* The root an import went by, with what it has found of the log. -ENOMEM. */
int root_note_resumed(struct pool *pool, const struct root *from);
/* Table groups are noted again as they stand after the pages: nothing in them is ever replayed. */
void root_note_tables(struct pool *pool);
/* Marks the groups a release frees; how many. */
uint32_t root_choose_released(struct pool *pool);
/* Makes the last root one that frees them too; all records up to `durable` are. Whatever else
 * changed since the checkpoint (devices, groups, volumes) is not in it: it is either in the log or
 * waits for a checkpoint. */
void root_note_released(struct pool *pool, uint64_t durable);
/* Fills ckpt.bufs. -ENOMEM. */
int root_encode_all(struct pool *pool);

#endif
