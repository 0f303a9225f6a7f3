/* Making a pool: labels of earlier pools are looked for, every zone of every device is reset, then
 * the first root is written to the first label zone of each.
 *
 * The first root's generation is above that of any root the devices have held: roots of an earlier
 * pool can come to light again below the pointer, where a power cut took the blocks and not the
 * pointer, and the highest generation is what counts. So that this is not forgotten when making
 * the pool is cut off and begun anew, the label zone with an earlier pool's newest root is the last
 * to be reset, when the new root is durable in the other.
 *
 * A crash before the last flush leaves devices without a label, or some with one: import then
 * says that devices are missing and the pool is made anew. */
#include "pool/internal.h"
#include "pool/root/label.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_ZONES = 16, RESETS_AT_ONCE = 16, NGROUPS_MAX = 1 << 28 };
#define NO_ZONE UINT32_MAX

struct format {
        struct pdev *pdevs;
        uint32_t ndevs;
        struct root root;
        uint8_t *buf;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
        struct err err;
        int status;
        uint32_t pending;
        uint32_t dev, zone; /* next to reset */
        uint32_t *keep; /* by device: the label zone that is reset last, NO_ZONE: none */
        struct label_scan *scans;
        struct label_write *writes;
        struct pio *pios;
        void (*next)(struct format *f);
        struct pio refusal;
        struct zdev_zone scrap;
};

static void end(struct format *f)
{
        if (f->status < 0 && !f->err.code)
                err_set_sys(&f->err, -f->status, "formatting pool %s", f->root.name);
        f->done(f->ctx, f->status, f->status < 0 ? &f->err : NULL);
        for (uint32_t i = 0; f->pdevs && i < f->ndevs; i++)
                free(f->pdevs[i].zones);
        root_fini(&f->root);
        free(f->buf);
        free(f->pdevs);
        free(f->scans);
        free(f->writes);
        free(f->keep);
        free(f->pios);
        free(f);
}

static void step(struct format *f, int status)
{
        if (status < 0 && f->status == 0)
                f->status = status;
        if (--f->pending)
                return;
        if (f->status < 0)
                end(f);
        else
                f->next(f);
}

static void pio_step(struct pio *p, int status)
{
        step(p->ctx, status);
}

/* One operation on every device, then next. */
static void on_all(struct format *f, struct zdev_io io, void (*next)(struct format *f))
{
        f->next = next;
        f->pending = f->ndevs;
        for (uint32_t i = 0; i < f->ndevs; i++) {
                struct pio *p = &f->pios[i];
                p->io = io;
                p->cb = pio_step;
                p->ctx = f;
                pio_submit(NULL, f->pdevs[i].dev, p);
        }
}

static void label_done(struct label_write *w, int status)
{
        step(w->ctx, status);
}

static void kept_reset(struct format *f)
{
        on_all(f, (struct zdev_io){.op = ZDEV_FLUSH}, end);
}

static void labels_durable(struct format *f)
{
        f->next = kept_reset;
        f->pending = 1;
        for (uint32_t i = 0; i < f->ndevs; i++) {
                struct pio *p = &f->pios[i];
                if (f->keep[i] == NO_ZONE)
                        continue;
                p->io = (struct zdev_io){.op = ZDEV_RESET, .zone = f->keep[i]};
                p->cb = pio_step;
                p->ctx = f;
                f->pending++;
                pio_submit(NULL, f->pdevs[i].dev, p);
        }
        step(f, 0);
}

static void labels_written(struct format *f)
{
        on_all(f, (struct zdev_io){.op = ZDEV_FLUSH}, labels_durable);
}

static void zones_reset(struct format *f)
{
        void *buf = NULL;
        size_t bytes = (size_t)f->root.blocks * ZP_BLOCK;

        if (posix_memalign(&buf, ZP_BLOCK, bytes * f->ndevs)) {
                f->status = -ENOMEM;
                end(f);
                return;
        }
        f->buf = buf;
        f->next = labels_written;
        f->pending = f->ndevs;
        for (uint32_t i = 0; i < f->ndevs; i++) {
                struct label_write *w = &f->writes[i];
                f->root.device = f->pdevs[i].uuid;
                f->root.index = i;
                root_encode(&f->root, f->buf + bytes * i);
                w->pdev = &f->pdevs[i];
                w->buf = f->buf + bytes * i;
                w->blocks = f->root.blocks;
                w->done = label_done;
                w->ctx = f;
                label_write_start(w);
        }
}

static void flush_resets(struct format *f)
{
        on_all(f, (struct zdev_io){.op = ZDEV_FLUSH}, zones_reset);
}

/* Device by device, so that the limits on what is in flight stay the driver's affair. */
static void reset_some(struct format *f)
{
        uint32_t n = 0;

        f->next = reset_some;
        f->pending = 1;
        while (f->dev < f->ndevs && n < RESETS_AT_ONCE) {
                struct pdev *d = &f->pdevs[f->dev];
                if (f->zone == d->dev->geo.nr_zones) {
                        f->dev++;
                        f->zone = 0;
                        continue;
                }
                if (!member_zone_dead(&d->zones[f->zone]) && f->zone != f->keep[f->dev]) {
                        struct pio *p = &f->pios[f->ndevs + n++];
                        p->io = (struct zdev_io){.op = ZDEV_RESET, .zone = f->zone};
                        p->cb = pio_step;
                        p->ctx = f;
                        f->pending++;
                        pio_submit(NULL, d->dev, p);
                }
                f->zone++;
        }
        f->pending--;
        if (!n)
                flush_resets(f);
}

static int make_groups(struct format *f)
{
        struct root *r = &f->root;
        uint64_t n = 0, good = 0;

        for (uint32_t i = 0; i < f->ndevs; i++)
                n += f->pdevs[i].dev->geo.nr_zones - LABEL_ZONES;
        if (n > NGROUPS_MAX)
                return err_set(&f->err, EINVAL, "%llu zones are more than a pool can have",
                               (unsigned long long)n);
        r->groups = calloc(n, sizeof(*r->groups));
        if (!r->groups)
                return -ENOMEM;
        r->ngroups = 0;
        for (uint32_t i = 0; i < f->ndevs; i++) {
                const struct pdev *d = &f->pdevs[i];
                uint32_t ring[LABEL_ZONES] = {0};
                label_zones(d->zones, d->dev->geo.nr_zones, ring);
                for (uint32_t z = 0; z < d->dev->geo.nr_zones; z++) {
                        if (z == ring[0] || z == ring[1] ||
                            d->zones[z].state == ZDEV_ZONE_CONVENTIONAL)
                                continue;
                        struct root_group *g = &r->groups[r->ngroups++];
                        bool ok = member_zone_fits(&d->zones[z]);
                        g->state = ok ? ROOT_GROUP_FREE : ROOT_GROUP_BAD;
                        g->width = g->copies = 1;
                        g->generation = 1;
                        g->cap = ok ? (uint32_t)d->zones[z].capacity_blocks : 0;
                        g->zone_cap = g->cap;
                        g->member[0] = (struct root_member){z, (uint16_t)i, MEMBER_GOOD};
                        good += ok;
                }
        }
        if (good < MIN_ZONES - LABEL_ZONES)
                return err_set(&f->err, EINVAL,
                               "pool %s would have only %llu zones for data that work; it needs %u",
                               r->name, (unsigned long long)good, MIN_ZONES - LABEL_ZONES);
        r->blocks = root_blocks(f->ndevs, r->ngroups);
        return 0;
}

static void reported(struct format *f)
{
        f->status = make_groups(f);
        for (uint32_t i = 0; i < f->ndevs && f->status == 0; i++) {
                struct pdev *d = &f->pdevs[i];
                uint32_t ring[LABEL_ZONES];
                if (!label_zones(d->zones, d->dev->geo.nr_zones, ring)) {
                        f->status = err_set(&f->err, EINVAL,
                                            "device %s: a pool needs zones that are written "
                                            "sequentially, and it has not even %d",
                                            d->dev->path, LABEL_ZONES);
                        break;
                }
                const struct label_scan *scan = &f->scans[i];
                f->keep[i] = scan->status == 0 ? scan->best_zone : NO_ZONE;
                d->ring_zone = ring[f->keep[i] == ring[0]];
                for (int k = 0; k < LABEL_ZONES && f->status == 0; k++) {
                        uint32_t z = ring[k];
                        if (member_zone_dead(&d->zones[z]))
                                f->status =
                                    err_set(&f->err, EINVAL,
                                            "device %s: zone %u, which holds the label, cannot "
                                            "be written sequentially",
                                            d->dev->path, z);
                        else if (d->zones[z].capacity_blocks < f->root.blocks)
                                f->status = err_set(
                                    &f->err, EINVAL,
                                    "device %s: zones of %llu blocks are too small for "
                                    "a label of %u",
                                    d->dev->path, (unsigned long long)d->zones[z].capacity_blocks,
                                    f->root.blocks);
                }
        }
        if (f->status < 0)
                end(f);
        else
                reset_some(f);
}

static void scanned(struct label_scan *s)
{
        struct format *f = s->ctx;
        bool none = s->status == -ENOENT || s->status == -EBADMSG;
        bool found = s->status == 0 || s->status == -EPROTONOSUPPORT;

        if (found)
                f->root.generation = MAX(f->root.generation, s->best.generation + 1);
        root_fini(&s->best);
        step(f, none || found ? 0 : s->status);
}

/* Reports the zones on the way. */
static void scan(struct format *f)
{
        f->next = reported;
        f->pending = f->ndevs;
        for (uint32_t i = 0; i < f->ndevs; i++) {
                struct label_scan *s = &f->scans[i];
                s->dev = f->pdevs[i].dev;
                s->zones = f->pdevs[i].zones;
                s->done = scanned;
                s->ctx = f;
                label_scan_start(s);
        }
}

static bool pool_name_valid(const char *name)
{
        size_t len = strnlen(name, POOL_NAME_MAX + 1);

        return len && len <= POOL_NAME_MAX && !strchr(name, '/') && strcmp(name, ".") &&
               strcmp(name, "..");
}

static int prepare(struct format *f, struct zdev *const *devs, const char *name,
                   const struct uuid *uuid, const struct pool_host *host,
                   const struct pool_options *options)
{
        struct root *r = &f->root;

        if (!pool_name_valid(name))
                return err_set(&f->err, EINVAL,
                               "\"%.80s\" is not a pool name: 1 to %d bytes without /", name,
                               POOL_NAME_MAX);
        if (!f->ndevs || f->ndevs > POOL_MAX_DEVICES || uuid_is_nil(uuid))
                return err_set(&f->err, EINVAL, "pool %s needs a uuid and 1 to %d devices", name,
                               POOL_MAX_DEVICES);
        f->pdevs = calloc(f->ndevs, sizeof(*f->pdevs));
        f->scans = calloc(f->ndevs, sizeof(*f->scans));
        f->writes = calloc(f->ndevs, sizeof(*f->writes));
        f->keep = calloc(f->ndevs, sizeof(*f->keep));
        f->pios = calloc(f->ndevs + RESETS_AT_ONCE, sizeof(*f->pios));
        r->devices = calloc(f->ndevs, sizeof(*r->devices));
        if (!f->pdevs || !f->scans || !f->writes || !f->keep || !f->pios || !r->devices)
                return -ENOMEM;
        *r = (struct root){.version = POOL_FORMAT_VERSION,
                           .generation = 1,
                           .pool = *uuid,
                           .ndevices = f->ndevs,
                           .next_tree = CATALOG_TREE + 1,
                           .checksums = options->checksums,
                           .reserve_permille = options->reserve_permille,
                           .checkpoint_permille = options->checkpoint_permille,
                           .devices = r->devices};
        memcpy(r->name, name, strlen(name));
        host->random(host->ctx, r->secret, sizeof(r->secret));
        for (uint32_t i = 0; i < f->ndevs; i++) {
                struct pdev *d = &f->pdevs[i];
                int rc = member_check_geometry(devs[i], &f->err);
                if (rc < 0)
                        return rc;
                d->dev = devs[i];
                d->index = i;
                d->zones = calloc(devs[i]->geo.nr_zones, sizeof(*d->zones));
                if (!d->zones)
                        return -ENOMEM;
                host->random(host->ctx, d->uuid.b, sizeof(d->uuid.b));
                uuid_from_random(&d->uuid);
                r->devices[i] = (struct root_device){.uuid = d->uuid,
                                                     .nr_zones = devs[i]->geo.nr_zones,
                                                     .zone_blocks = devs[i]->geo.zone_blocks};
        }
        return 0;
}

static void refused(struct pio *p, int status)
{
        end(p->ctx);
}

void pool_format(struct zdev *const *devs, uint32_t ndevs, const char *name,
                 const struct uuid *uuid, const struct pool_host *host,
                 const struct pool_options *options, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err))
{
        struct format *f = calloc(1, sizeof(*f));

        if (!f) {
                done(ctx, -ENOMEM, NULL);
                return;
        }
        f->ndevs = ndevs;
        f->ctx = ctx;
        f->done = done;
        struct pool_options defaults = POOL_OPTIONS_DEFAULT;
        f->status = prepare(f, devs, name, uuid, host, options ? options : &defaults);
        if (f->status == 0) {
                scan(f);
        } else if (!ndevs) {
                end(f); /* nobody there to answer later: the one case of a call from inside */
        } else {
                f->refusal.cb = refused;
                f->refusal.ctx = f;
                f->refusal.io =
                    (struct zdev_io){.op = ZDEV_REPORT, .nblocks = 1, .report = &f->scrap};
                pio_submit(NULL, devs[0], &f->refusal);
        }
}
