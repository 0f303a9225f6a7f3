/* The label ring: the first two zones of every device that are not conventional, roots appended one
 * behind the other.
 *
 * Reading: each zone's roots are walked from its start; the newest that verifies counts. Writing:
 * behind the newest; when the zone's share is used up (or its tail cannot be trusted) it is
 * finished, the OTHER zone is reset and written from its start. The other zone holds only older
 * roots, so that a crash anywhere leaves the newest one where it is.
 *
 * P3: a root counts once the flush that follows label_write has completed.
 *
 * A root that power tore may stand with its first blocks below the pointer and the rest above it,
 * where nothing is read. Finishing the zone would bring it to light, whole, although recovery has
 * gone another way from the root before it: so as many blocks as a root has are covered with
 * zeroes, durably, before the zone is finished.
 *
 * The ring takes one of the device's active zones, and no more: while the zone cannot be finished
 * the other one is not begun, and the root fails on this device, which then tries again or is put
 * out of use. Where nothing is limited the zone stays as it is until it is reset at its next turn.
 *
 * Only so much of a zone is used that a walk stays short.
 */
#include "pool/root/label.h"
#include "pool/internal.h"
#include "pool/log/walk.h"

#include <stdlib.h>
#include <string.h>

enum { RING_MIN_BLOCKS = 1024, RING_ROOTS = 8 };

/* ---- scan ---- */

static void read_at(struct label_scan *s);

void label_scans_forget(struct pool *pool)
{
        struct label_scan *s, *tmp;

        list_for_each_safe (s, tmp, &pool->scans, node) {
                list_del(&s->node);
                free(s->buf);
                root_fini(&s->best);
        }
}

static void scan_end(struct label_scan *s, int status)
{
        if (s->pool)
                list_del(&s->node);
        free(s->buf);
        s->buf = NULL;
        if (status == 0 && !s->best.groups)
                status = s->newer ? -EPROTONOSUPPORT : s->seen ? -EBADMSG : -ENOENT;
        if (status == 0 && s->newer && s->foreign.generation > s->best.generation)
                status = -EPROTONOSUPPORT;
        if (status < 0) {
                root_fini(&s->best);
                s->best = s->foreign;
        }
        s->status = status;
        s->done(s);
}

uint64_t zone_end(const struct zdev_zone *z)
{
        if (z->state == ZDEV_ZONE_OFFLINE || z->state == ZDEV_ZONE_EMPTY)
                return 0;
        return z->state == ZDEV_ZONE_FULL ? z->capacity_blocks : z->wp_block;
}

bool label_zones(const struct zdev_zone *zones, uint32_t nr_zones, uint32_t ret_zones[LABEL_ZONES])
{
        uint32_t n = 0;

        for (uint32_t z = 0; z < nr_zones && n < LABEL_ZONES; z++)
                if (zones[z].state != ZDEV_ZONE_CONVENTIONAL)
                        ret_zones[n++] = z;
        return n == LABEL_ZONES;
}

static uint32_t other_zone(const struct pdev *d)
{
        uint32_t ring[LABEL_ZONES];

        if (!label_zones(d->zones, d->dev->geo.nr_zones, ring))
                return d->ring_zone; /* there are: the ring is in use */
        return d->ring_zone == ring[0] ? ring[1] : ring[0];
}

static void next_zone(struct label_scan *s)
{
        if (s->best.groups && s->best_zone == s->ring[s->at])
                s->best_tail_clean = s->best_end == zone_end(&s->zones[s->best_zone]);
        if (s->at + 1 == LABEL_ZONES) {
                scan_end(s, 0);
                return;
        }
        s->at++;
        s->off = 0;
        s->need = 1;
        read_at(s);
}

static void take_root(struct label_scan *s)
{
        struct root r;
        int rc = root_decode(s->buf, s->need, &r);

        if (rc < 0) {
                next_zone(s);
                return;
        }
        s->off += s->need;
        if (!s->best.groups || r.generation > s->best.generation) {
                root_fini(&s->best);
                s->best = r;
                s->best_zone = s->ring[s->at];
                s->best_end = (uint32_t)s->off;
        } else {
                root_fini(&r);
        }
        s->need = 1;
        read_at(s);
}

static void root_read(struct pio *p, int status)
{
        struct label_scan *s = container_of(p, struct label_scan, pio);
        struct root fixed;

        if (status < 0) {
                scan_end(s, status);
                return;
        }
        s->got += p->io.nblocks;
        if (s->need == 1) {
                int rc = root_decode_fixed(s->buf, &fixed);
                if (rc == -EPROTONOSUPPORT) {
                        s->newer = true;
                        s->foreign = fixed;
                }
                if (rc < 0 || s->off + fixed.blocks > zone_end(&s->zones[s->ring[s->at]])) {
                        next_zone(s);
                        return;
                }
                s->need = fixed.blocks;
        }
        if (s->got < s->need)
                read_at(s);
        else
                take_root(s);
}

static void read_at(struct label_scan *s)
{
        if (s->need == 1)
                s->got = 0;
        if (s->off >= zone_end(&s->zones[s->ring[s->at]])) {
                next_zone(s);
                return;
        }
        s->seen = true;
        if (s->need > 1 || !s->buf) {
                void *buf = NULL;
                if (posix_memalign(&buf, ZP_BLOCK, (size_t)s->need * ZP_BLOCK)) {
                        scan_end(s, -ENOMEM);
                        return;
                }
                if (s->got)
                        memcpy(buf, s->buf, (size_t)s->got * ZP_BLOCK);
                free(s->buf);
                s->buf = buf;
        }
        uint32_t n = MIN(s->need - s->got, s->dev->geo.max_io_blocks);
        s->pio.iov = (struct iovec){s->buf + (size_t)s->got * ZP_BLOCK, (size_t)n * ZP_BLOCK};
        s->pio.cb = root_read;
        s->pio.io = (struct zdev_io){.op = ZDEV_READ,
                                     .zone = s->ring[s->at],
                                     .block = s->off + s->got,
                                     .nblocks = n,
                                     .iov = &s->pio.iov,
                                     .niov = 1};
        pio_submit(s->pool, s->dev, &s->pio);
}

static void reported(struct pio *p, int status)
{
        struct label_scan *s = container_of(p, struct label_scan, pio);

        if (status < 0) {
                scan_end(s, status);
                return;
        }
        if (!label_zones(s->zones, s->dev->geo.nr_zones, s->ring)) {
                scan_end(s, 0); /* no place for a label, so there is none */
                return;
        }
        s->need = 1;
        read_at(s);
}

static void flushed(struct pio *p, int status)
{
        struct label_scan *s = container_of(p, struct label_scan, pio);

        if (status < 0) {
                scan_end(s, status);
                return;
        }
        s->pio.cb = reported;
        s->pio.io = (struct zdev_io){
            .op = ZDEV_REPORT, .nblocks = s->dev->geo.nr_zones, .report = s->zones};
        pio_submit(s->pool, s->dev, &s->pio);
}

void label_scan_start(struct label_scan *s)
{
        if (s->pool)
                list_add_tail(&s->pool->scans, &s->node);
        /* what is read now must still be there after the next power cut */
        s->pio.cb = flushed;
        s->pio.io = (struct zdev_io){.op = ZDEV_FLUSH};
        pio_submit(s->pool, s->dev, &s->pio);
}

bool label_both_active(const struct zdev_zone *zones, uint32_t nr_zones)
{
        uint32_t ring[LABEL_ZONES];
        unsigned n = 0;

        if (!label_zones(zones, nr_zones, ring))
                return false;
        for (unsigned i = 0; i < LABEL_ZONES; i++)
                n += zones[ring[i]].state == ZDEV_ZONE_OPEN ||
                     zones[ring[i]].state == ZDEV_ZONE_CLOSED;
        return n == LABEL_ZONES;
}

/* ---- probe ---- */

struct probe {
        struct label_scan scan;
        void *ctx;
        void (*done)(void *ctx, int status, const struct pool_label *label);
};

static void probed(struct label_scan *s)
{
        struct probe *p = container_of(s, struct probe, scan);
        struct pool_label label = {
            .pool_uuid = s->best.pool,
            .device_uuid = s->best.device,
            .format_version = s->best.version,
            .ndevices = s->best.ndevices,
            .index = s->best.index,
            .generation = s->best.generation,
        };
        bool valid = s->status == 0 || s->status == -EPROTONOSUPPORT;

        memcpy(label.pool_name, s->best.name, sizeof(label.pool_name));
        p->done(p->ctx, s->status, valid ? &label : NULL);
        root_fini(&s->best);
        free(s->zones);
        free(p);
}

void pool_probe(struct zdev *dev, void *ctx,
                void (*done)(void *ctx, int status, const struct pool_label *label))
{
        struct probe *p = calloc(1, sizeof(*p));

        if (p)
                p->scan.zones = calloc(dev->geo.nr_zones + LABEL_ZONES, sizeof(*p->scan.zones));
        if (!p || !p->scan.zones) {
                free(p);
                done(ctx, -ENOMEM, NULL);
                return;
        }
        p->scan.dev = dev;
        p->scan.done = probed;
        p->ctx = ctx;
        p->done = done;
        label_scan_start(&p->scan);
}

/* ---- write ---- */

enum { STEP_COVER, STEP_COVER_FLUSH, STEP_FINISH, STEP_LOOK, STEP_RESET, STEP_WRITE };

static uint8_t zeroes[ZP_BLOCK] __attribute__((aligned(ZP_BLOCK)));

uint32_t label_torn_at(const struct zdev_zone *z)
{
        bool partial = z->state == ZDEV_ZONE_OPEN || z->state == ZDEV_ZONE_CLOSED;

        return partial ? (uint32_t)z->wp_block : 0;
}

void label_ring_set(struct pdev *d, uint32_t zone, uint32_t end, bool tail_clean)
{
        d->ring_zone = zone;
        d->ring_wp = end;
        d->ring_durable = true; /* the scan has flushed */
        d->ring_switch = !tail_clean || label_both_active(d->zones, d->dev->geo.nr_zones);
        d->ring_torn = d->ring_switch ? label_torn_at(&d->zones[zone]) : 0;
}

static void write_step(struct label_write *w);

static void write_over(struct label_write *w, int status)
{
        w->pdev->ring_switch |= status < 0;
        w->done(w, status);
}

/* The zone could not be covered or finished. */
static void not_finished(struct label_write *w, int status)
{
        struct pdev *d = w->pdev;

        if (d->dev->geo.max_open || d->dev->geo.max_active) {
                w->failure = status;
                w->step = STEP_LOOK;
        } else {
                d->ring_torn = 0;
                w->step = STEP_RESET;
        }
        write_step(w);
}

static void looked(struct label_write *w, int status)
{
        struct pdev *d = w->pdev;
        uint32_t end = label_torn_at(&w->zone);

        if (status < 0 || end) {
                if (status == 0 && d->ring_torn) /* some of the cover may stand, volatile */
                        d->ring_torn = end;
                write_over(w, status < 0 ? status : w->failure);
                return;
        }
        d->ring_torn = 0; /* it is full, or lost: not active */
        w->step = STEP_RESET;
        write_step(w);
}

static void written(struct pio *p, int status)
{
        struct label_write *w = container_of(p, struct label_write, pio);
        struct pdev *d = w->pdev;

        if (w->step == STEP_LOOK) {
                looked(w, status);
                return;
        }
        if (status < 0 && w->step <= STEP_FINISH) {
                not_finished(w, status);
                return;
        }
        if (status < 0) {
                d->written++;
                write_over(w, status);
                return;
        }
        if (w->step == STEP_COVER) {
                d->written++;
                d->ring_torn++;
                if (!--w->cover)
                        w->step = STEP_COVER_FLUSH;
        } else if (w->step == STEP_COVER_FLUSH) {
                d->ring_torn = 0;
                w->step = STEP_FINISH;
        } else if (w->step == STEP_FINISH) {
                w->step = STEP_RESET;
        } else if (w->step == STEP_RESET) {
                d->ring_zone = w->reset;
                d->ring_wp = d->ring_torn = 0;
                d->ring_switch = d->ring_durable = false;
                w->step = STEP_WRITE;
        } else {
                d->written++;
                d->written_blocks += p->io.nblocks;
                d->ring_wp += p->io.nblocks;
                w->sent += p->io.nblocks;
                if (w->sent == w->blocks) { /* P3, once flushed */
                        write_over(w, 0);
                        return;
                }
        }
        write_step(w);
}

static void write_step(struct label_write *w)
{
        struct pdev *d = w->pdev;

        w->pio.cb = written;
        if (w->step == STEP_COVER) {
                w->pio.iov = (struct iovec){zeroes, ZP_BLOCK};
                w->pio.io = (struct zdev_io){.op = ZDEV_WRITE,
                                             .zone = d->ring_zone,
                                             .block = d->ring_torn,
                                             .nblocks = 1,
                                             .iov = &w->pio.iov,
                                             .niov = 1};
        } else if (w->step == STEP_COVER_FLUSH) {
                w->pio.io = (struct zdev_io){.op = ZDEV_FLUSH};
        } else if (w->step == STEP_FINISH) {
                w->pio.io = (struct zdev_io){.op = ZDEV_FINISH, .zone = d->ring_zone};
        } else if (w->step == STEP_LOOK) {
                w->pio.io = (struct zdev_io){
                    .op = ZDEV_REPORT, .zone = d->ring_zone, .nblocks = 1, .report = &w->zone};
        } else if (w->step == STEP_RESET) {
                w->pio.io = (struct zdev_io){.op = ZDEV_RESET, .zone = w->reset};
        } else {
                uint32_t n = MIN(w->blocks - w->sent, d->dev->geo.max_io_blocks);
                w->pio.iov =
                    (struct iovec){w->buf + (size_t)w->sent * ZP_BLOCK, (size_t)n * ZP_BLOCK};
                w->pio.io = (struct zdev_io){.op = ZDEV_WRITE,
                                             .zone = d->ring_zone,
                                             .block = d->ring_wp,
                                             .nblocks = n,
                                             .iov = &w->pio.iov,
                                             .niov = 1};
        }
        pio_submit(w->pool, d->dev, &w->pio);
}

void label_write_start(struct label_write *w)
{
        struct pdev *d = w->pdev;
        uint64_t cap = d->zones[d->ring_zone].capacity_blocks;
        uint64_t share = MIN(cap, (uint64_t)MAX((uint32_t)RING_MIN_BLOCKS, RING_ROOTS * w->blocks));

        w->sent = 0;
        w->reset = other_zone(d);
        w->step = d->ring_switch || d->ring_wp + w->blocks > share ? STEP_FINISH : STEP_WRITE;
        if (w->step == STEP_FINISH && d->ring_wp == cap && !d->ring_switch)
                w->step = STEP_RESET;
        if (w->step != STEP_WRITE && !d->ring_durable) { /* the other zone has all that counts */
                w->reset = d->ring_zone;
                w->step = STEP_RESET;
        }
        if (w->step == STEP_FINISH && d->ring_torn && d->ring_torn < cap) {
                w->step = STEP_COVER;
                w->cover = (uint32_t)MIN(w->blocks, cap - d->ring_torn);
        }
        write_step(w);
}
