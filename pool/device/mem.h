/* A zoned device in RAM, for tests: the rules of zone_model.h over plain memory.
 *
 * An operation is judged when it is submitted and carried out when it completes. Completions come
 * in the order of submission, and only
 *   - from mem_device_run, when the device was made without a loop; or
 *   - at the end of the present turn of the loop it was made with.
 * Memory of a zone is taken at its first write. Reads of what was never written give zeroes.
 *
 * Threads: one. */
#ifndef ZONEPOOL_POOL_DEVICE_MEM_H
#define ZONEPOOL_POOL_DEVICE_MEM_H

#include "base/loop.h"
#include "pool/device.h"

struct mem_device_spec {
        uint32_t nr_zones;
        uint64_t zone_blocks;
        uint64_t zone_capacity_blocks; /* 0: zone_blocks */
        uint32_t max_open; /* 0: no limit */
        uint32_t max_active; /* 0: no limit */
        uint32_t max_io_blocks; /* 0: 256 */
        uint32_t nr_conventional; /* the first zones */
        bool rotational;
};

/* loop: NULL, or what delivers the completions. Returns 0, -EINVAL or -ENOMEM. Freed by
 * zdev_close. */
int mem_device_new(const struct mem_device_spec *spec, struct loop *loop, struct zdev **ret_dev);

/* Completes what is queued, and what is queued by that, until nothing is. Returns how many. */
unsigned mem_device_run(struct zdev *dev);
/* Completes the oldest operation only. False: none is queued. */
bool mem_device_step(struct zdev *dev);

/* Puts a zone into a state (read-only, offline, ...). No write of it may be in flight. */
void mem_device_set_zone(struct zdev *dev, uint32_t zone, enum zdev_zone_state state,
                         uint64_t wp_block);

/* Asked for each operation that keeps the rules, before it is carried out: a negative answer is its
 * status and nothing happens. NULL: none. */
void mem_device_set_fault(struct zdev *dev, int (*fault)(void *ctx, const struct zdev_io *io),
                          void *ctx);

#endif
