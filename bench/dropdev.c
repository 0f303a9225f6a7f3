/* See dropdev.h. The kept blocks of a zone stand in an array in the order they were written, which
 * is that of their places: looked up by bisection. */
#include "dropdev.h"

#include "pool/device/zone_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kept {
        uint32_t block;
        uint8_t *data;
};

struct zone {
        struct kept *kept;
        uint32_t nkept, room;
};

struct drop_media {
        struct zone_model model;
        struct zone *zones;
        struct drop_counts counts;
        struct drop_device *dev; /* NULL: closed */
        uint32_t serial;
};

struct drop_device {
        struct zdev dev;
        struct drop_media *media;
        struct list queue;
        uint32_t queued;
};

/* Anything that no metadata begins with. */
static const uint64_t fill_word = UINT64_C(0x5a6f6e6544726f70);

void drop_fill(void *buf)
{
        for (size_t i = 0; i < ZP_BLOCK; i += sizeof(fill_word))
                memcpy((uint8_t *)buf + i, &fill_word, sizeof(fill_word));
}

static bool is_fill(const uint8_t *block)
{
        return !memcmp(block, &fill_word, sizeof(fill_word)) &&
               !memcmp(block, block + sizeof(fill_word), ZP_BLOCK - sizeof(fill_word));
}

/* ---- blocks ---- */

static int keep(struct drop_media *m, struct zone *z, uint32_t block, const uint8_t *data)
{
        if (z->nkept == z->room) {
                uint32_t room = z->room ? z->room * 2 : 16;
                struct kept *more = realloc(z->kept, room * sizeof(*more));
                if (!more)
                        return -EIO;
                z->kept = more;
                z->room = room;
        }
        uint8_t *copy = malloc(ZP_BLOCK);
        if (!copy)
                return -EIO;
        memcpy(copy, data, ZP_BLOCK);
        z->kept[z->nkept++] = (struct kept){block, copy};
        m->counts.kept_blocks++;
        return 0;
}

/* The first kept block at or behind that place. */
static uint32_t lower(const struct zone *z, uint32_t block)
{
        uint32_t low = 0, high = z->nkept;

        while (low < high) {
                uint32_t mid = low + (high - low) / 2;
                if (z->kept[mid].block < block)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static void forget_from(struct drop_media *m, struct zone *z, uint32_t block)
{
        uint32_t n = lower(z, block);

        m->counts.kept_blocks -= z->nkept - n;
        while (z->nkept > n)
                free(z->kept[--z->nkept].data);
}

/* A block of an iovec that need not be cut at blocks. */
static const uint8_t *block_of(const struct zdev_io *io, uint64_t at, uint8_t *scratch)
{
        size_t done = 0;

        for (int i = 0; i < io->niov; i++) {
                const struct iovec *v = &io->iov[i];
                if (at >= v->iov_len) {
                        at -= v->iov_len;
                        continue;
                }
                size_t n = MIN(v->iov_len - at, (size_t)ZP_BLOCK - done);
                if (n == ZP_BLOCK)
                        return (const uint8_t *)v->iov_base + at;
                memcpy(scratch + done, (const uint8_t *)v->iov_base + at, n);
                done += n;
                at = 0;
                if (done == ZP_BLOCK)
                        break;
        }
        return scratch;
}

static int write_blocks(struct drop_media *m, const struct zdev_io *io)
{
        struct zone *z = &m->zones[io->zone];
        uint8_t scratch[ZP_BLOCK];
        uint64_t at = 0;
        int rc = 0;
        int v = 0;

        /* zones are written in order: the iovec is walked, not searched, for each block */
        for (uint32_t i = 0; i < io->nblocks && rc == 0; i++) {
                while (v < io->niov && at >= io->iov[v].iov_len) {
                        at -= io->iov[v].iov_len;
                        v++;
                }
                struct zdev_io rest = {.iov = io->iov + v, .niov = io->niov - v};
                const uint8_t *block = block_of(&rest, at, scratch);
                if (!is_fill(block))
                        rc = keep(m, z, (uint32_t)io->block + i, block);
                at += ZP_BLOCK;
        }
        if (rc < 0)
                forget_from(m, z, (uint32_t)io->block);
        return rc;
}

static void put_bytes(const struct zdev_io *io, uint64_t at, const uint8_t *from, size_t len)
{
        for (int i = 0; i < io->niov && len; i++) {
                const struct iovec *v = &io->iov[i];
                if (at >= v->iov_len) {
                        at -= v->iov_len;
                        continue;
                }
                size_t n = MIN(v->iov_len - at, len);
                memcpy((uint8_t *)v->iov_base + at, from, n);
                from += n;
                len -= n;
                at = 0;
        }
}

static void read_blocks(const struct drop_media *m, const struct zdev_io *io)
{
        const struct zone *z = &m->zones[io->zone];
        uint8_t fill[ZP_BLOCK];
        uint32_t first = (uint32_t)io->block, k = lower(z, first);

        drop_fill(fill);
        if (io->niov == 1) { /* the usual case, without a search for each block */
                uint8_t *to = io->iov[0].iov_base;
                for (uint32_t i = 0; i < io->nblocks; i++, to += ZP_BLOCK) {
                        bool is_kept = k < z->nkept && z->kept[k].block == first + i;
                        memcpy(to, is_kept ? z->kept[k].data : fill, ZP_BLOCK);
                        k += is_kept;
                }
                return;
        }
        for (uint32_t i = 0; i < io->nblocks; i++) {
                bool is_kept = k < z->nkept && z->kept[k].block == first + i;
                put_bytes(io, (uint64_t)i * ZP_BLOCK, is_kept ? z->kept[k].data : fill, ZP_BLOCK);
                k += is_kept;
        }
}

/* ---- operations ---- */

static int do_write(struct drop_media *m, const struct zdev_io *io)
{
        int rc = write_blocks(m, io);

        zone_model_end_write(&m->model, io->zone, rc < 0 ? 0 : io->nblocks);
        m->counts.writes++;
        m->counts.written_blocks += rc < 0 ? 0 : io->nblocks;
        return rc;
}

static int do_finish(struct drop_media *m, uint32_t zone)
{
        uint64_t left = m->model.zones[zone].capacity_blocks - m->model.zones[zone].wp_block;
        int rc = zone_model_finish(&m->model, zone);

        m->counts.finishes++;
        m->counts.finished_blocks += rc < 0 ? 0 : left;
        return rc;
}

static int carry_out(struct drop_media *m, struct zdev_io *io)
{
        int rc = (int)(int64_t)io->driver;

        if (rc < 0)
                return rc;
        switch (io->op) {
        case ZDEV_REPORT:
                return zone_model_report(&m->model, io->zone, io->nblocks, io->report);
        case ZDEV_READ:
                read_blocks(m, io);
                m->counts.reads++;
                m->counts.read_blocks += io->nblocks;
                return 0;
        case ZDEV_WRITE:
                return do_write(m, io);
        case ZDEV_RESET:
                rc = zone_model_reset(&m->model, io->zone);
                if (rc == 0)
                        forget_from(m, &m->zones[io->zone], 0);
                m->counts.resets++;
                return rc;
        case ZDEV_FINISH:
                return do_finish(m, io->zone);
        case ZDEV_FLUSH:
                m->counts.flushes++;
                return 0;
        }
        return -EIO;
}

static void submit(struct zdev *dev, struct zdev_io *io)
{
        struct drop_device *d = container_of(dev, struct drop_device, dev);

        io->driver = (uint64_t)(int64_t)zone_model_submit(&d->media->model, io);
        list_add_tail(&d->queue, &io->node);
        d->queued++;
}

bool drop_media_step(struct drop_media *m)
{
        struct drop_device *d = m->dev;

        if (!d || list_empty(&d->queue))
                return false;
        struct zdev_io *io = list_first(&d->queue, struct zdev_io, node);
        list_del(&io->node);
        d->queued--;
        io->done(io, carry_out(m, io)); /* may close the device */
        return true;
}

uint32_t drop_media_queued(const struct drop_media *m)
{
        return m->dev ? m->dev->queued : 0;
}

static void close_device(struct zdev *dev)
{
        struct drop_device *d = container_of(dev, struct drop_device, dev);

        /* what was queued is its owner's, and may be gone already */
        for (uint32_t i = 0; i < dev->geo.nr_zones; i++)
                if (d->media->model.zones[i].writing)
                        zone_model_end_write(&d->media->model, i, 0);
        d->media->dev = NULL;
        free(d);
}

/* ---- life ---- */

struct zdev *drop_device_open(struct drop_media *m)
{
        static const struct zdev_ops ops = {"drop", submit, close_device};
        struct drop_device *d = m->dev ? NULL : calloc(1, sizeof(*d));

        if (!d)
                return NULL;
        d->dev.ops = &ops;
        d->dev.geo = m->model.geo;
        snprintf(d->dev.path, sizeof(d->dev.path), "drop%u", m->serial);
        d->media = m;
        list_init(&d->queue);
        m->dev = d;
        return &d->dev;
}

int drop_media_new(const struct drop_spec *spec, struct drop_media **ret_media)
{
        static uint32_t serial;
        struct drop_media *m = calloc(1, sizeof(*m));
        struct zdev_geometry geo = {
            .nr_zones = spec->nr_zones,
            .zone_blocks = spec->zone_blocks,
            .max_open = spec->max_open,
            .max_active = spec->max_active,
            .max_io_blocks = spec->max_io_blocks ? spec->max_io_blocks : 256,
            .rotational = spec->rotational,
        };

        if (!m)
                return -ENOMEM;
        uint32_t cap = spec->zone_capacity_blocks ? spec->zone_capacity_blocks : spec->zone_blocks;
        int rc = zone_model_init(&m->model, &geo, cap, 0);
        if (rc == 0) {
                m->zones = calloc(spec->nr_zones, sizeof(*m->zones));
                rc = m->zones ? 0 : -ENOMEM;
        }
        if (rc < 0) {
                drop_media_free(m);
                return rc;
        }
        m->serial = serial++;
        *ret_media = m;
        return 0;
}

void drop_media_free(struct drop_media *m)
{
        if (!m)
                return;
        for (uint32_t i = 0; m->zones && i < m->model.geo.nr_zones; i++) {
                forget_from(m, &m->zones[i], 0);
                free(m->zones[i].kept);
        }
        free(m->zones);
        zone_model_fini(&m->model);
        free(m);
}

const struct drop_counts *drop_media_counts(const struct drop_media *m)
{
        return &m->counts;
}
