/* Checkpoints (checkpoint.c) and the root they end in (ckpt_root.c). */
#ifndef ZONEPOOL_POOL_ROOT_CHECKPOINT_H
#define ZONEPOOL_POOL_ROOT_CHECKPOINT_H

#include "base/list.h"
#include "pool/log/flush.h"
#include "pool/root/root.h"

struct pool;

enum ckpt_state { CKPT_IDLE, CKPT_FREEZING, CKPT_PAGES, CKPT_FLUSH, CKPT_ROOT, CKPT_FLUSH_ROOT };

struct ckpt_wait {
        struct list node;
        void (*done)(struct ckpt_wait *w, int status);
};

struct ckpt {
        enum ckpt_state state;
        struct list waits; /* served by the one under way */
        struct list next; /* come after its freeze: by the next */
        bool again;
        uint64_t seq; /* of the freeze */
        uint32_t pending; /* pages, or roots, not yet written */
        int status;
        uint32_t failures; /* in a row */
        struct root root;
        uint8_t **bufs; /* one a device; NULL: not there */
        uint32_t nbufs;
        struct flush_wait flush;
        uint32_t roots_ok;
};
/* Starts one, or sees to it that one follows. w may be NULL. */
void ckpt_start(struct pool *pool, struct ckpt_wait *w);
/* Called whenever something may have become possible. */
void ckpt_poll(struct pool *pool);
void ckpt_free(struct pool *pool);
/* ckpt_root.c: at the freeze, notes the root and decides which groups it frees. -ENOMEM. */
int root_note(struct pool *pool);
/* Table groups are noted again as they stand after the pages: nothing in them is ever replayed. */
void root_note_tables(struct pool *pool);
/* Fills ckpt.bufs. -ENOMEM. */
int root_encode_all(struct pool *pool);

#endif
