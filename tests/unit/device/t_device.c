#include "tests/unit/device/t_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char tmp_dir[] = "/tmp/zonepool-device-XXXXXX";

struct loop *loop;
uint8_t buffer[64 * ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));

static void t_done(struct zdev_io *io, int status)
{
        struct t_op *op = container_of(io, struct t_op, io);
        CU_ASSERT_FALSE(op->done);
        op->done = true;
        op->status = status;
        zdev_close(op->close);
}

void t_start_iov(struct zdev *dev, struct t_op *op, enum zdev_op kind, uint32_t zone,
                 uint64_t block, uint32_t n, const struct iovec *iov, int niov)
{
        op->done = false;
        op->io = (struct zdev_io){.op = kind,
                                  .zone = zone,
                                  .block = block,
                                  .nblocks = n,
                                  .iov = iov,
                                  .niov = niov,
                                  .report = niov ? iov->iov_base : NULL,
                                  .done = t_done};
        zdev_submit(dev, &op->io);
        CU_ASSERT_FALSE(op->done); /* never from inside submit */
}

void t_start(struct zdev *dev, struct t_op *op, enum zdev_op kind, uint32_t zone, uint64_t block,
             uint32_t n, void *buf)
{
        op->iov = (struct iovec){buf, (size_t)n * ZP_BLOCK};
        t_start_iov(dev, op, kind, zone, block, n, &op->iov, 1);
}

int t_wait(struct t_op *op)
{
        uint64_t deadline = clock_now_ns() + UINT64_C(10000000000);
        while (!op->done && clock_now_ns() < deadline)
                loop_turn(loop, 100 * 1000 * 1000);
        CU_ASSERT_TRUE_FATAL(op->done);
        return op->status;
}

int t_do(struct zdev *dev, enum zdev_op kind, uint32_t zone, uint64_t block, uint32_t n, void *buf)
{
        struct t_op op = {0};
        t_start(dev, &op, kind, zone, block, n, buf);
        return t_wait(&op);
}

int t_write(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill)
{
        memset(buffer, fill, (size_t)n * ZP_BLOCK);
        return t_do(dev, ZDEV_WRITE, zone, block, n, buffer);
}

bool t_holds(struct zdev *dev, uint32_t zone, uint64_t block, uint32_t n, uint8_t fill)
{
        memset(buffer, ~fill, (size_t)n * ZP_BLOCK);
        if (t_do(dev, ZDEV_READ, zone, block, n, buffer) != 0)
                return false;
        for (size_t i = 0; i < (size_t)n * ZP_BLOCK; i++)
                if (buffer[i] != fill)
                        return false;
        return true;
}

struct zdev_zone t_zone(struct zdev *dev, uint32_t zone)
{
        struct zdev_zone z = {0};
        CU_ASSERT_EQUAL(t_do(dev, ZDEV_REPORT, zone, 0, 1, &z), 0);
        return z;
}

int t_manage(struct zdev *dev, enum zdev_op kind, uint32_t zone)
{
        return t_do(dev, kind, zone, 0, 0, NULL);
}

char *t_path(const char *name)
{
        static char path[128];
        snprintf(path, sizeof(path), "%s/%s", tmp_dir, name);
        return path;
}

int t_device_run(const char *name, const struct t_case *cases, size_t n)
{
        if (!mkdtemp(tmp_dir) || loop_new(&loop) < 0)
                return 1;
        int rc = t_run(name, cases, n);
        loop_free(loop);
        char command[64];
        snprintf(command, sizeof(command), "rm -rf %s", tmp_dir);
        return system(command) == 0 ? rc : 1;
}
