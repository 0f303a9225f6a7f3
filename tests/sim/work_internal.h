/* Shared by work.c (I/O) and work_control.c. */
#ifndef ZONEPOOL_TESTS_SIM_WORK_INTERNAL_H
#define ZONEPOOL_TESTS_SIM_WORK_INTERNAL_H

#include "base/list.h"
#include "tests/sim/work.h"

enum ask {
        ASK_WRITE,
        ASK_READ,
        ASK_FLUSH,
        ASK_DISCARD,
        ASK_ZEROES,
        ASK_RESIZE,
        ASK_CREATE,
        ASK_DELETE,
        ASK_CLEAR,
        ASK_OWNER,
        ASK_CHECKPOINT,
        ASK_MAP,
        ASK_SNAPSHOT,
        ASK_SNAPSHOT_DELETE,
        ASK_CLONE,
        ASK_REVERT,
        ASK_RESERVE,
        ASK_SHRINK,
        NASKS,
};

/* Weights and ranges that hold for a while. */
struct mix {
        unsigned weight[NASKS];
        unsigned depth; /* operations at once */
        unsigned fua_permille;
        unsigned no_hold_permille;
        unsigned small_permille; /* of writes: not whole blocks */
        unsigned hot_permille; /* of writes: to the hot tenth */
        unsigned again_permille; /* of writes: where one is under way, of just its range */
        unsigned max_sectors;
        bool sequential;
};

struct work {
        struct sim *sim;
        struct mix mix;
        uint32_t asked;
        uint32_t outstanding;
        struct list requests; /* of I/O */
        struct list controls;
        uint32_t next_owner_call;
        uint32_t next_name;
        uint64_t cursor; /* of sequential writes */
        unsigned relieved;
        unsigned in_vain; /* and nothing has ended since */
};

struct control {
        struct list node;
        struct work *w;
        enum ask kind;
        struct oracle_volume *v;
        uint32_t op; /* CLEAR */
        uint32_t start; /* OWNER, MAP */
        uint64_t size_bytes;
        struct oracle_volume *others[MAX_OWNERS]; /* OWNER: all of them; CLONE, REVERT: of what */
        uint32_t nothers;
        struct volume_extent extents[8]; /* MAP */
        uint64_t next_block;
        int8_t *kinds; /* MAP: per block what it must be, oracle_block_kind */
        uint64_t nblocks;
};

/* A control operation begins, ends well, or not: then power is lost. */
struct control *work_control_new(struct work *w, enum ask kind, struct oracle_volume *v);
void work_control_end(struct control *c);
void work_control_failed(struct control *c, const char *what, int status);
/* A name nobody has. */
void work_name(struct work *w, struct oracle_volume *v);
void work_make_owner(struct sim *sim, uint8_t *owner, size_t *ret_len);
/* work_reserve.c */
void work_reserve(struct work *w, enum ask kind);
/* How much a new volume of that size is to have. */
uint64_t work_choose_reservation(struct sim *sim, uint64_t size_bytes);
/* Blocks of writes of the volume that are under way, at most. */
uint64_t work_blocks_under_way(const struct work *w, const struct oracle_volume *v);
/* None of its writes is known to be covered any more. */
void work_uncover(struct work *w, const struct oracle_volume *v);
/* work_snapshot.c */
void work_snapshot(struct work *w, enum ask kind);
/* Picks a volume, no snapshot, that I/O or the control operation may go to now; NULL: none. */
struct oracle_volume *work_pick(struct work *w, bool idle);
struct oracle_volume *work_pick_snapshot(struct work *w);
void work_control(struct work *w, enum ask kind);
void work_control_free(struct control *c);

#endif
