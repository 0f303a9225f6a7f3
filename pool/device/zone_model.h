/* The rules of a zoned device, once for every device that makes zones out of something else: mem,
 * file and the simulator's device.
 *
 * The model holds no data. A device asks it before it acts and tells it what came of it:
 *
 *   write   zone_model_begin_write -> move the data -> zone_model_end_write
 *   others  zone_model_check_read, zone_model_reset, zone_model_finish, zone_model_get
 *
 * Rules (ZNS command set, host-managed semantics):
 *   - a write begins at the write pointer and ends within the capacity; one write of a zone may be
 *     in flight at a time, because the pointer moves when it ends;
 *   - a write opens an empty or closed zone. With max_open zones open, the one not written for
 *     longest is closed; it stays active. With max_active zones open or closed, opening an empty
 *     zone fails with -EOVERFLOW;
 *   - a zone written to its capacity, or finished, is full and neither open nor active;
 *   - reset makes any zone but a read-only, offline or conventional one empty;
 *   - a read-only zone is read only; an offline zone is nothing;
 *   - a conventional zone is written anywhere and cannot be reset or finished.
 *
 * Units: blocks of ZP_BLOCK. Errors: -EIO rule broken, -EROFS, -EOVERFLOW. Not thread-safe. */
#ifndef ZONEPOOL_POOL_DEVICE_ZONE_MODEL_H
#define ZONEPOOL_POOL_DEVICE_ZONE_MODEL_H

#include "base/list.h"
#include "pool/device.h"

struct zone_model_zone {
        enum zdev_zone_state state;
        uint32_t writing; /* blocks of the write in flight; 0: none */
        uint64_t capacity_blocks;
        uint64_t wp_block;
        struct list node; /* in zone_model.open while state is OPEN */
};

struct zone_model {
        struct zdev_geometry geo;
        struct zone_model_zone *zones;
        struct list open; /* least recently written first */
        uint32_t nr_open;
        uint32_t nr_active; /* open and closed */
};

/* nr_conventional zones stand first and hold zone_blocks each, the others capacity_blocks.
 * Returns 0, -ENOMEM or -EINVAL (geometry that cannot be). */
int zone_model_init(struct zone_model *m, const struct zdev_geometry *geo, uint64_t capacity_blocks,
                    uint32_t nr_conventional);
/* Accepts a zeroed struct. */
void zone_model_fini(struct zone_model *m);

/* Puts a zone into a state, as found at power-on or for fault injection. Open becomes closed; a
 * closed zone without data empty, one with all its data full. No write of it may be in flight. */
void zone_model_restore(struct zone_model *m, uint32_t zone, enum zdev_zone_state state,
                        uint64_t wp_block);

int zone_model_begin_write(struct zone_model *m, uint32_t zone, uint64_t block, uint32_t nblocks);
/* written: blocks that reached the zone, 0..nblocks of the write that was begun. */
void zone_model_end_write(struct zone_model *m, uint32_t zone, uint32_t written);
/* Within the capacity, and not offline; above the pointer is allowed (undefined bytes). */
int zone_model_check_read(const struct zone_model *m, uint32_t zone, uint64_t block,
                          uint32_t nblocks);
/* Whether reset and finish keep the rules. */
int zone_model_check_manage(const struct zone_model *m, uint32_t zone);
int zone_model_reset(struct zone_model *m, uint32_t zone);
int zone_model_finish(struct zone_model *m, uint32_t zone);
/* ZDEV_REPORT. */
int zone_model_report(const struct zone_model *m, uint32_t zone, uint32_t nzones,
                      struct zdev_zone *report);

/* As an operation comes: what a read, reset or finish is checked for, and the beginning of a write.
 * 0 for the others. */
int zone_model_submit(struct zone_model *m, const struct zdev_io *io);

/* The zone a write to `zone` would close, or UINT32_MAX. For devices that store states. */
uint32_t zone_model_would_close(const struct zone_model *m, uint32_t zone);

#endif
