/* Member devices as the pool sees them: an array of zones and six asynchronous operations.
 *
 * A zone is written only at its write pointer and freed only by reset. The unit is the block of
 * 4096 bytes. Drivers (pool/device/: file, mem, zbd) and the simulator implement `struct zdev_ops`;
 * the pool is the only caller of zdev_submit.
 *
 * Threads: none of their own; submit and completions on the thread of the pool's loop.
 */
#ifndef ZONEPOOL_POOL_DEVICE_H
#define ZONEPOOL_POOL_DEVICE_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { ZP_BLOCK = 4096 };

struct zdev;

enum zdev_op {
        ZDEV_REPORT, /* fill report[0..nblocks) with the zones from `zone` on */
        ZDEV_READ, /* may cross into what was never written: those bytes are undefined */
        ZDEV_WRITE, /* block must be the zone's write pointer; fails with -EIO otherwise */
        ZDEV_RESET, /* zone becomes empty; durable only after a later ZDEV_FLUSH */
        ZDEV_FINISH, /* zone becomes full */
        ZDEV_FLUSH, /* all completed before its submission is durable when it completes */
};

enum zdev_zone_state {
        ZDEV_ZONE_CONVENTIONAL,
        ZDEV_ZONE_EMPTY,
        ZDEV_ZONE_OPEN, /* implicitly or explicitly */
        ZDEV_ZONE_CLOSED,
        ZDEV_ZONE_FULL,
        ZDEV_ZONE_READONLY,
        ZDEV_ZONE_OFFLINE,
};

struct zdev_zone {
        enum zdev_zone_state state;
        uint64_t capacity_blocks; /* writable blocks, <= zone_blocks */
        uint64_t wp_block; /* blocks written, 0..capacity_blocks; conventional: 0 */
};

struct zdev_geometry {
        uint32_t nr_zones;
        uint64_t zone_blocks; /* address distance of two zones */
        uint32_t max_open; /* 0: no limit */
        uint32_t max_active; /* 0: no limit */
        uint32_t max_io_blocks; /* largest read or write; > 0 */
        bool rotational; /* capacity tier */
};

/* Zones that may be open, and active, at once. */
static inline uint32_t zdev_most_open(const struct zdev_geometry *geo)
{
        uint32_t open = geo->max_open ? geo->max_open : UINT32_MAX;
        uint32_t active = geo->max_active ? geo->max_active : UINT32_MAX;

        return open < active ? open : active;
}

/* One operation. Owned by the caller from before submit until done is called, and by the caller
 * again from within done. The buffers stay untouched and valid for as long. */
struct zdev_io {
        enum zdev_op op;
        uint32_t zone;
        uint64_t block; /* offset in the zone */
        uint32_t nblocks; /* READ, WRITE: length, > 0; REPORT: number of zones */
        const struct iovec *iov; /* READ, WRITE: adds up to nblocks * ZP_BLOCK */
        int niov;
        struct zdev_zone *report;
        /* status: 0; -EIO; -ENODEV device gone; -EOVERFLOW active zone limit; -EROFS zone
         * read-only. Never called from inside submit. */
        void (*done)(struct zdev_io *io, int status);
        struct list node; /* the driver's while submitted */
        uint64_t driver; /* the driver's while submitted */
};

struct zdev_ops {
        const char *kind; /* "file", "mem", "zbd" */
        void (*submit)(struct zdev *dev, struct zdev_io *io);
        /* Nothing is in flight. Frees dev. Does not flush. */
        void (*close)(struct zdev *dev);
        /* For tests that look inside a pool (pool/inspect.h): the block as it stands, at once. 0 or
         * -EIO. NULL: the device cannot. */
        int (*peek)(struct zdev *dev, uint32_t zone, uint64_t block, void *buf);
};

struct zdev {
        const struct zdev_ops *ops;
        struct zdev_geometry geo;
        char path[256]; /* for people */
        uint32_t inflight; /* operations under way, counted by the pool */
        const char *trouble; /* for people: why an operation failed last, where the driver knows
                                more than the status says; NULL: nothing. Constant memory */
};

static inline void zdev_submit(struct zdev *dev, struct zdev_io *io)
{
        dev->ops->submit(dev, io);
}

static inline void zdev_close(struct zdev *dev)
{
        if (dev)
                dev->ops->close(dev);
}

#endif
