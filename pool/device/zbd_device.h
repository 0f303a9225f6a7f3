/* The zbd driver's own: what zbd_open.c sets up and zbd.c works with. */
#ifndef ZONEPOOL_POOL_DEVICE_ZBD_DEVICE_H
#define ZONEPOOL_POOL_DEVICE_ZBD_DEVICE_H

#include "base/bitmap.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/worker.h"
#include "pool/device.h"
#include "pool/device/zbd_kernel.h"

#include <liburing.h>

enum {
        ZBD_REQS = 128, /* with the kernel at a time */
        ZBD_REPORT_CHUNK = 512, /* zones of one report command */
};

struct zbd_device;

/* An operation that is with the kernel. */
struct zbd_req {
        struct zbd_device *zd;
        struct zdev_io *io;
        struct iovec bounce; /* base NULL: the caller's memory is used */
        bool again; /* second try */
        bool settle; /* WRITE: its zone's last block may be half there */
        int error; /* to the worker: why a write failed; from it: the status */
        struct worker_job job;
        struct list node; /* in zbd_device.idle while unused */
};

struct zbd_device {
        struct zdev dev;
        int fd;
        uint32_t logical_block;
        const struct zbd_kernel *kernel;
        struct loop *loop;
        struct worker *worker;
        struct io_uring ring;
        bool ring_ready;
        struct loop_fd watch; /* the ring's eventfd */
        struct loop_defer kick;
        struct zbd_req reqs[ZBD_REQS];
        struct list idle; /* of reqs */
        struct list waiting; /* zdev_io that found no idle req */
        struct list finished; /* zdev_io that were refused; status in driver */
        struct bitmap busy; /* zones with a write, reset or finish in flight */
        struct bitmap touched; /* zones that were written since opening */
        bool delivering; /* completions are being called: close leaves the struct to that code */
        bool closed;
        struct zbd_zone *report_buffer; /* the worker's */
        uint8_t *zeroes; /* a block */
};

void zbd_submit(struct zdev *dev, struct zdev_io *io);
void zbd_ring_ready(struct loop_fd *watch, uint32_t events);
void zbd_kick(struct loop_defer *defer);

/* Makes the device of an open descriptor, which becomes its own even on failure. kernel outlives
 * the device. For zbd_device_open, and for tests that stand in for the kernel. */
int zbd_device_make(struct loop *loop, int fd, const struct zdev_geometry *geo,
                    uint32_t logical_block, const struct zbd_kernel *kernel, const char *path,
                    struct zdev **ret_dev, struct err *err);

#endif
