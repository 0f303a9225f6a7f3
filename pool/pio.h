/* Device operations of the pool's own.
 *
 * What the driver is given is a flight: it has a struct and a list of buffers of its own, so that
 * who asked can be told that it failed, or that nobody cares any more, while the device may still
 * carry it out. What the buffers are in stays for as long: a read is apart, into memory of the
 * pool's that is copied when it comes in time; what a write is made from is kept (struct keep).
 * Other operations, of a device that goes on being waited for, are never left. */
#ifndef ZONEPOOL_POOL_PIO_H
#define ZONEPOOL_POOL_PIO_H

#include "base/list.h"
#include "pool/device.h"

struct pool;
struct pdev;
struct group;
struct flight;

/* A call to be made from the next turn: callbacks are never made from inside the call that started
 * the operation. */
struct deferred {
        struct list node;
        void (*call)(struct deferred *d);
};

/* Memory that operations in flight use besides its owner; done when nobody does any more. */
struct keep {
        uint32_t refs;
        void (*done)(struct keep *k);
};

/* One operation. cb may free what contains it. */
struct pio {
        struct zdev_io io; /* what is asked */
        struct iovec iov;
        struct pool *pool; /* NULL while there is none */
        struct zdev *dev;
        struct group *group; /* READ: whose zone it is, held until the device is through; or NULL */
        struct keep *keep; /* WRITE, REPORT: what it uses; NULL: it cannot be left */
        bool apart; /* READ: not into iov, which has the bytes when cb is called; it can be left */
        struct flight *flight; /* NULL: not under way */
        struct deferred later; /* it is refused */
        int refused;
        void (*cb)(struct pio *p, int status);
        void *ctx;
};

struct flight {
        struct zdev_io io; /* what the driver sees */
        struct list node; /* pool.flights, the oldest first */
        struct pool *pool;
        struct zdev *dev;
        struct pdev *pdev; /* NULL: no member, or not yet */
        struct pio *pio; /* NULL: left */
        struct group *group; /* left: it is held until now */
        struct keep *keep;
        uint64_t since; /* pool.stall_ns */
        bool apart;
        struct iovec iov[];
};

/* pool NULL: there is none yet. A device that was given up is asked nothing more, but reads of what
 * lies there alone: cb is told -ENODEV then, from the next turn. */
void pio_submit(struct pool *pool, struct zdev *dev, struct pio *p);
/* It can be left: whoever asked may be told that it failed. */
bool pio_leavable(const struct pio *p);
/* Its cb is not called any more, whatever comes. */
void pio_leave(struct pio *p);
/* Forgets all that is in flight, whose completions do not come any more. */
void pio_forget_all(struct pool *pool);
void keep_put(struct keep *k);

#endif
