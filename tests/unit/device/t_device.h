/* What the tests of zoned devices share: a directory and a loop for the time of a run, and driving
 * a device to the end of one operation. */
#ifndef TESTS_UNIT_DEVICE_T_DEVICE_H
#define TESTS_UNIT_DEVICE_T_DEVICE_H

#include "base/loop.h"
#include "pool/device.h"
#include "tests/t_suite.h"

/* The geometry of small devices. */
enum { ZONES = 20, ZONE_BLOCKS = 32, CAPACITY = 24, MAX_OPEN = 3, MAX_ACTIVE = 5 };

extern struct loop *loop;
extern uint8_t buffer[64 * ZP_BLOCK]; /* aligned to a block */

struct t_op {
        struct zdev_io io;
        struct iovec iov;
        struct zdev *close; /* in done, if set */
        bool done;
        int status;
};

/* Starts op, which the caller keeps until it is done. buf: n blocks, or the zones of a report. */
void t_start(struct zdev *dev, struct t_op *op, enum zdev_op kind, uint32_t zone, uint64_t block,
             uint32_t n, void *buf);
/* As t_start, for memory in pieces. */
void t_start_iov(struct zdev *dev, struct t_op *op, enum zdev_op kind, uint32_t zone,
                 uint64_t block, uint32_t n, const struct iovec *iov, int niov);
int t_wait(struct t_op *op);
int t_do(struct zdev *dev, enum zdev_op kind, uint32_t zone, uint64_t block, uint32_t n, void *buf);

int t_write(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill);
/* Whether the n blocks hold nothing but fill. */
bool t_holds(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill);
struct zdev_zone t_zone(struct zdev *dev, uint32_t zone);
int t_manage(struct zdev *dev, enum zdev_op kind, uint32_t zone);

/* A path in the run's directory; good until the next call. */
char *t_path(const char *name);

/* Makes the directory and the loop, runs the cases, takes both away. For main. */
int t_device_run(const char *name, const struct t_case *cases, size_t n);

#endif
