/* A zoned device in RAM, see mem.h.
 *
 * What was judged wrong at submission waits in the same queue as the rest, its status in
 * zdev_io.driver, so that the order of completions is the order of submission.
 */
#include "pool/device/mem.h"

#include "pool/device/zone_model.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct mem_device {
        struct zdev dev;
        struct zone_model model;
        uint8_t **data; /* per zone; NULL: never written */
        struct list queue;
        unsigned queued; /* its length */
        struct loop *loop;
        struct loop_defer defer;
        int (*fault)(void *ctx, const struct zdev_io *io);
        void *fault_ctx;
        bool delivering; /* completions are being called: close leaves the struct to it */
        bool closed;
};

static struct mem_device *mem_of(struct zdev *dev)
{
        return container_of(dev, struct mem_device, dev);
}

static void mem_submit(struct zdev *dev, struct zdev_io *io)
{
        struct mem_device *md = mem_of(dev);
        io->driver = (uint64_t)(int64_t)zone_model_submit(&md->model, io);
        list_add_tail(&md->queue, &io->node);
        md->queued++;
        if (md->loop)
                loop_defer(md->loop, &md->defer);
}

static int mem_write(struct mem_device *md, const struct zdev_io *io)
{
        if (!md->data[io->zone])
                md->data[io->zone] = calloc(md->dev.geo.zone_blocks, ZP_BLOCK);
        if (!md->data[io->zone])
                return -EIO;
        uint8_t *to = md->data[io->zone] + io->block * ZP_BLOCK;
        for (int i = 0; i < io->niov; i++) {
                memcpy(to, io->iov[i].iov_base, io->iov[i].iov_len);
                to += io->iov[i].iov_len;
        }
        return 0;
}

static void mem_read(struct mem_device *md, const struct zdev_io *io)
{
        const uint8_t *from = md->data[io->zone];
        from = from ? from + io->block * ZP_BLOCK : NULL;
        for (int i = 0; i < io->niov; i++) {
                if (from) {
                        memcpy(io->iov[i].iov_base, from, io->iov[i].iov_len);
                        from += io->iov[i].iov_len;
                } else {
                        memset(io->iov[i].iov_base, 0, io->iov[i].iov_len);
                }
        }
}

static int mem_carry_out(struct mem_device *md, struct zdev_io *io)
{
        int rc = (int)(int64_t)io->driver;
        if (rc == 0 && md->fault)
                rc = md->fault(md->fault_ctx, io);
        switch (io->op) {
        case ZDEV_REPORT:
                return rc ? rc : zone_model_report(&md->model, io->zone, io->nblocks, io->report);
        case ZDEV_READ:
                if (rc == 0)
                        mem_read(md, io);
                return rc;
        case ZDEV_WRITE:
                if ((int64_t)io->driver < 0)
                        return rc;
                rc = rc ? rc : mem_write(md, io);
                zone_model_end_write(&md->model, io->zone, rc ? 0 : io->nblocks);
                return rc;
        case ZDEV_RESET:
                rc = rc ? rc : zone_model_reset(&md->model, io->zone);
                if (rc == 0) {
                        free(md->data[io->zone]);
                        md->data[io->zone] = NULL;
                }
                return rc;
        case ZDEV_FINISH:
                return rc ? rc : zone_model_finish(&md->model, io->zone);
        case ZDEV_FLUSH:
                return rc;
        }
        return -EIO;
}

static int mem_peek(struct zdev *dev, uint32_t zone, uint64_t block, void *buf)
{
        const uint8_t *from = mem_of(dev)->data[zone];

        if (from)
                memcpy(buf, from + block * ZP_BLOCK, ZP_BLOCK);
        else
                memset(buf, 0, ZP_BLOCK);
        return 0;
}

static void end_delivery(struct mem_device *md)
{
        md->delivering = false;
        if (md->closed)
                free(md);
}

/* Completes at most max operations. */
static unsigned deliver(struct mem_device *md, unsigned max)
{
        unsigned n = 0;
        struct zdev_io *io;
        md->delivering = true;
        while (n < max && !md->closed && (io = list_first(&md->queue, struct zdev_io, node))) {
                list_del(&io->node);
                md->queued--;
                n++;
                io->done(io, mem_carry_out(md, io));
        }
        end_delivery(md);
        return n;
}

bool mem_device_step(struct zdev *dev)
{
        return deliver(mem_of(dev), 1) != 0;
}

unsigned mem_device_run(struct zdev *dev)
{
        return deliver(mem_of(dev), UINT_MAX);
}

/* Completes what was queued when the turn ended: what that queues comes in the next one. */
static void mem_deferred(struct loop_defer *defer)
{
        struct mem_device *md = container_of(defer, struct mem_device, defer);
        deliver(md, md->queued);
}

static void mem_close(struct zdev *dev)
{
        struct mem_device *md = mem_of(dev);
        loop_defer_cancel(&md->defer);
        for (uint32_t i = 0; md->data && i < dev->geo.nr_zones; i++)
                free(md->data[i]);
        free(md->data);
        zone_model_fini(&md->model);
        md->closed = true;
        if (!md->delivering)
                free(md);
}

void mem_device_set_zone(struct zdev *dev, uint32_t zone, enum zdev_zone_state state,
                         uint64_t wp_block)
{
        zone_model_restore(&mem_of(dev)->model, zone, state, wp_block);
}

void mem_device_set_fault(struct zdev *dev, int (*fault)(void *ctx, const struct zdev_io *io),
                          void *ctx)
{
        mem_of(dev)->fault = fault;
        mem_of(dev)->fault_ctx = ctx;
}

int mem_device_new(const struct mem_device_spec *spec, struct loop *loop, struct zdev **ret_dev)
{
        static const struct zdev_ops ops = {
            .kind = "mem", .submit = mem_submit, .close = mem_close, .peek = mem_peek};
        static unsigned serial;
        struct mem_device *md = calloc(1, sizeof(*md));
        if (!md)
                return -ENOMEM;
        md->dev.ops = &ops;
        md->dev.geo = (struct zdev_geometry){
            .nr_zones = spec->nr_zones,
            .zone_blocks = spec->zone_blocks,
            .max_open = spec->max_open,
            .max_active = spec->max_active,
            .max_io_blocks = spec->max_io_blocks ? spec->max_io_blocks : 256,
            .rotational = spec->rotational,
        };
        snprintf(md->dev.path, sizeof(md->dev.path), "mem%u", serial++);
        list_init(&md->queue);
        list_init(&md->defer.node);
        md->defer.call = mem_deferred;
        md->loop = loop;
        uint64_t capacity =
            spec->zone_capacity_blocks ? spec->zone_capacity_blocks : spec->zone_blocks;
        int rc = zone_model_init(&md->model, &md->dev.geo, capacity, spec->nr_conventional);
        if (rc == 0) {
                md->data = calloc(spec->nr_zones, sizeof(*md->data));
                rc = md->data ? 0 : -ENOMEM;
        }
        if (rc < 0) {
                mem_close(&md->dev);
                return rc;
        }
        *ret_dev = &md->dev;
        return 0;
}
