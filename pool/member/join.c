/* A device joins: its label is looked at, every zone reset, a block written to the ring and read
 * again, so that one that cannot be written is refused before any root has it; then the states
 * change (member.c).
 *
 * Roots that it held in an earlier life can come to light again below the pointer, where a power
 * cut took the blocks and not the pointer; the highest generation is what counts, so the pool's
 * next one is above them. */
#include "pool/internal.h"
#include "pool/member/member.h"
#include "pool/root/label.h"

#include <stdlib.h>
#include <string.h>

enum {
        MIN_ZONES = 16,
        MIN_ZONE_BLOCKS = 32,
        MIN_ACTIVE = 4,
        RESETS_AT_ONCE = 16,
        NGROUPS_MAX = 1 << 28,
};

/* ---- what a device must be ---- */

bool member_zone_dead(const struct zdev_zone *z)
{
        return z->state == ZDEV_ZONE_READONLY || z->state == ZDEV_ZONE_OFFLINE ||
               z->state == ZDEV_ZONE_CONVENTIONAL;
}

bool member_zone_fits(const struct zdev_zone *z)
{
        return !member_zone_dead(z) && z->capacity_blocks >= MIN_ZONE_BLOCKS &&
               z->capacity_blocks < UINT32_C(1) << 28;
}

int member_check_geometry(const struct zdev *dev, struct err *err)
{
        const struct zdev_geometry *geo = &dev->geo;

        if (geo->nr_zones < MIN_ZONES)
                return err_set(err, EINVAL, "device %s has %u zones; a pool needs %d of each",
                               dev->path, geo->nr_zones, MIN_ZONES);
        if (geo->zone_blocks < MIN_ZONE_BLOCKS)
                return err_set(err, EINVAL, "device %s has zones of %llu blocks; %d are needed",
                               dev->path, (unsigned long long)geo->zone_blocks, MIN_ZONE_BLOCKS);
        if (zdev_most_open(geo) < MIN_ACTIVE)
                return err_set(
                    err, EINVAL,
                    "device %s allows %u open and %u active zones; a pool needs %d of both",
                    dev->path, geo->max_open, geo->max_active, MIN_ACTIVE);
        return 0;
}

/* ---- looking at it, and making it empty ---- */

struct prepare {
        struct label_scan scan;
        struct pio pios[RESETS_AT_ONCE];
        struct pool *pool;
        struct member_op *op;
        uint32_t zone; /* next to reset */
        uint32_t pending;
        int status;
        uint32_t ring[LABEL_ZONES];
        int trial;
        uint8_t *block;
};

static void prepare_end(struct prepare *p, int status)
{
        struct member_op *op = p->op;

        pool_block_put(p->pool, p->block);
        pool_release(p);
        member_looked_at(op, status);
}

/* One block written, made durable, read again, reset. */
static void trial_next(struct pio *pio, int status)
{
        static const enum zdev_op steps[] = {ZDEV_FLUSH, ZDEV_WRITE, ZDEV_FLUSH,
                                             ZDEV_READ,  ZDEV_RESET, ZDEV_FLUSH};
        struct prepare *p = pio->ctx;

        if (status == 0 && p->trial && steps[p->trial - 1] == ZDEV_READ && p->block[0] != 'Z')
                status = -EIO;
        if (status < 0 || p->trial == (int)ARRAY_SIZE(steps)) {
                prepare_end(p, status);
                return;
        }
        memset(p->block, steps[p->trial] == ZDEV_WRITE ? 'Z' : 0, ZP_BLOCK);
        pio->iov = (struct iovec){p->block, ZP_BLOCK};
        pio->io = (struct zdev_io){
            .op = steps[p->trial], .zone = p->ring[1], .nblocks = 1, .iov = &pio->iov, .niov = 1};
        p->trial++;
        pio_submit(p->pool, p->op->dev, pio);
}

static void reset_some(struct prepare *p);

static void zone_reset(struct pio *pio, int status)
{
        struct prepare *p = pio->ctx;

        if (status < 0 && p->status == 0)
                p->status = status;
        if (--p->pending == 0)
                reset_some(p);
}

static void reset_some(struct prepare *p)
{
        uint32_t nr = p->op->dev->geo.nr_zones;

        if (p->status < 0) {
                prepare_end(p, p->status);
                return;
        }
        p->pending = 1;
        for (int n = 0; p->zone < nr && n < RESETS_AT_ONCE; p->zone++) {
                struct zdev_zone *z = &p->op->zones[p->zone];
                if (member_zone_dead(z))
                        continue;
                struct pio *pio = &p->pios[n++];
                pio->io = (struct zdev_io){.op = ZDEV_RESET, .zone = p->zone};
                pio->cb = zone_reset;
                pio->ctx = p;
                z->state = ZDEV_ZONE_EMPTY;
                z->wp_block = 0;
                p->pending++;
                pio_submit(p->pool, p->op->dev, pio);
        }
        if (--p->pending)
                return;
        p->pios[0].cb = trial_next;
        p->pios[0].ctx = p;
        trial_next(&p->pios[0], 0);
}

static int check_label(struct prepare *p, struct err *err)
{
        const struct label_scan *s = &p->scan;
        struct pool *pool = p->pool;
        const char *path = p->op->dev->path;

        if (s->status < 0 && s->status != -ENOENT && s->status != -EBADMSG &&
            s->status != -EPROTONOSUPPORT)
                return err_set_sys(err, -s->status, "device %s", path);
        bool ours = s->status == 0 && uuid_equal(&s->best.pool, &pool->uuid);
        for (uint32_t i = 0; ours && i < pool->ndevs; i++)
                if (pool->devs[i].state != POOL_DEVICE_NONE &&
                    uuid_equal(&s->best.device, &pool->devs[i].uuid))
                        return err_set(err, EEXIST, "device %s is a member of pool %s already",
                                       path, pool->name);
        if (!label_zones(p->op->zones, p->op->dev->geo.nr_zones, p->ring))
                return err_set(
                    err, EINVAL,
                    "device %s: a pool needs zones that are written sequentially, and it "
                    "has not even %d",
                    path, LABEL_ZONES);
        for (int k = 0; k < LABEL_ZONES; k++)
                if (member_zone_dead(&p->op->zones[p->ring[k]]))
                        return err_set(
                            err, EINVAL,
                            "device %s: zone %u, which holds the label, cannot be written "
                            "sequentially",
                            path, p->ring[k]);
        return 0;
}

static void scanned(struct label_scan *s)
{
        struct prepare *p = s->ctx;
        int rc = check_label(p, &p->op->err);

        if (s->status == 0 || s->status == -EPROTONOSUPPORT)
                p->op->generation = s->best.generation;
        root_fini(&s->best);
        if (rc < 0)
                prepare_end(p, rc);
        else
                reset_some(p);
}

static int check_start(const struct pool *pool, const struct zdev *dev, struct err *err)
{
        if (pool->readonly)
                return err_set(err, EROFS, "pool %s is read-only", pool->name);
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].dev == dev)
                        return err_set(err, EEXIST, "device %s is a member of pool %s already",
                                       dev->path, pool->name);
        return member_check_geometry(dev, err);
}

static void join(struct pool *pool, uint32_t old, struct zdev *dev, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err, uint32_t index))
{
        struct member_op *op = member_op_new(pool, MEMBER_JOIN, dev, ctx, done);
        struct prepare *p = pool_alloc(pool, sizeof(*p));
        uint8_t *block = pool_block_get(pool);

        if (!op || !p || !block) {
                member_op_free(op);
                pool_release(p);
                pool_block_put(pool, block);
                done(ctx, -ENOMEM, NULL, 0);
                return;
        }
        op->index = old;
        p->pool = pool;
        p->op = op;
        p->block = block;
        int rc = check_start(pool, dev, &op->err);
        if (rc < 0) {
                prepare_end(p, rc);
                return;
        }
        p->scan.dev = dev;
        p->scan.pool = pool;
        p->scan.zones = op->zones;
        p->scan.done = scanned;
        p->scan.ctx = p;
        label_scan_start(&p->scan);
}

void pool_device_add(struct pool *pool, struct zdev *dev, void *ctx,
                     void (*done)(void *ctx, int status, const struct err *err, uint32_t index))
{
        join(pool, NO_SLOT, dev, ctx, done);
}

void pool_device_replace(struct pool *pool, uint32_t old, struct zdev *dev, void *ctx,
                         void (*done)(void *ctx, int status, const struct err *err, uint32_t index))
{
        join(pool, old, dev, ctx, done);
}

/* ---- the slot ---- */

static uint32_t free_slot(const struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].state == POOL_DEVICE_NONE && !pool->devs[i].busy)
                        return i;
        return pool->ndevs;
}

static uint32_t gone_groups(const struct pool *pool)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < pool->ngroups; i++)
                n += pool->groups[i]->state == GROUP_GONE;
        return n;
}

/* The root grows: it must fit everywhere. */
static int check_roots(const struct member_op *op, uint32_t ndevs, uint32_t ngroups,
                       struct err *err)
{
        const struct pool *pool = op->pool;
        uint32_t blocks = ngroups > NGROUPS_MAX ? UINT32_MAX : root_blocks(ndevs, ngroups);

        for (uint32_t i = 0; i <= pool->ndevs; i++) {
                const struct pdev *d = i < pool->ndevs ? &pool->devs[i] : NULL;
                const struct zdev_zone *zones = d ? d->zones : op->zones;
                if (d && !pdev_labelled(d))
                        continue;
                uint32_t ring[LABEL_ZONES] = {0};
                label_zones(zones, d ? d->nr_zones : op->dev->geo.nr_zones, ring);
                for (int k = 0; k < LABEL_ZONES; k++)
                        if (zones[ring[k]].capacity_blocks < blocks)
                                return err_set(err, EINVAL,
                                               "device %s: zones of %llu blocks are too small for "
                                               "a label of %u, which pool %s would have then",
                                               d ? d->dev->path : op->dev->path,
                                               (unsigned long long)zones[ring[k]].capacity_blocks,
                                               blocks, pool->name);
        }
        return 0;
}

/* Zones for data, those that do not work included. */
static bool data_zone(const struct member_op *op, uint32_t z)
{
        uint32_t ring[LABEL_ZONES];

        return label_zones(op->zones, op->dev->geo.nr_zones, ring) && z != ring[0] &&
               z != ring[1] && op->zones[z].state != ZDEV_ZONE_CONVENTIONAL;
}

static uint32_t data_zones(const struct member_op *op)
{
        uint32_t n = 0;

        for (uint32_t z = 0; z < op->dev->geo.nr_zones; z++)
                n += data_zone(op, z);
        return n;
}

static int check_join(struct member_op *op, uint32_t slot, uint32_t ngroups)
{
        struct pool *pool = op->pool;
        uint32_t good = 0;

        for (uint32_t z = 0; z < op->dev->geo.nr_zones; z++)
                good += data_zone(op, z) && member_zone_fits(&op->zones[z]);
        if (pool->readonly)
                return err_set(&op->err, EROFS, "pool %s is read-only", pool->name);
        if (zdev_most_open(&op->dev->geo) < space_open_zones(pool))
                return err_set(&op->err, EINVAL,
                               "device %s allows %u zones to be open; with the numbers of copies "
                               "that volumes of pool %s have, %u are needed",
                               op->dev->path, zdev_most_open(&op->dev->geo), pool->name,
                               space_open_zones(pool));
        if (!good)
                return err_set(&op->err, EINVAL, "device %s has no zone for data that works",
                               op->dev->path);
        if (slot == POOL_MAX_DEVICES)
                return err_set(&op->err, ENOSPC, "pool %s has %d devices; remove one first",
                               pool->name, POOL_MAX_DEVICES);
        if (op->index != NO_SLOT &&
            (op->index >= pool->ndevs || pool->devs[op->index].state != POOL_DEVICE_MEMBER))
                return err_set(&op->err, EINVAL, "pool %s has no device %u that could be replaced",
                               pool->name, op->index);
        return check_roots(op, MAX(slot + 1, pool->ndevs), ngroups, &op->err);
}

static void describe(struct group *g, const struct zdev_zone *zone, uint32_t z, uint32_t slot)
{
        bool fits = member_zone_fits(zone);

        *g = (struct group){.id = g->id,
                            .state = fits ? GROUP_PARKED : GROUP_BAD,
                            .width = 1,
                            .copies = 1,
                            .generation = g->generation + 1,
                            .departed = g->departed, /* what was borrowed there stays stale */
                            .cap = fits ? (uint32_t)zone->capacity_blocks : 0};
        g->zone_cap = g->cap;
        g->member[0] = (struct root_member){z, (uint16_t)slot, MEMBER_GOOD};
        list_init(&g->node);
}

/* From here on the budget is that of after. */
static int check_room(struct pool *pool, struct member_op *op, uint64_t lacked)
{
        space_init(pool);
        if (space_excess(pool) <= lacked)
                return 0;
        return err_set(&op->err, ENOSPC,
                       "device %s cannot join pool %s: mirrors count all zones as large as the "
                       "smallest, and with zones as small as this device's, what is in use or "
                       "reserved would not fit; add one with larger zones, or delete data first",
                       op->dev->path, pool->name);
}

int member_join(struct member_op *op)
{
        struct pool *pool = op->pool;
        uint32_t slot = free_slot(pool), zones = data_zones(op);
        uint32_t gone = MIN(gone_groups(pool), zones);
        uint32_t first = pool->ngroups, n = pool->ngroups + zones - gone;
        uint64_t lacked = space_excess(pool);
        int rc = check_join(op, slot, n);
        struct zdev_zone *copy = rc < 0 ? NULL : calloc(op->dev->geo.nr_zones, sizeof(*copy));

        if (rc == 0 && (!copy || groups_grow(pool, n) < 0))
                rc = -ENOMEM;
        if (rc < 0) {
                free(copy);
                return rc;
        }
        struct pdev *d = &pool->devs[slot];
        memcpy(copy, op->zones, op->dev->geo.nr_zones * sizeof(*copy));
        *d = (struct pdev){.dev = op->dev,
                           .index = slot,
                           .nr_zones = op->dev->geo.nr_zones,
                           .zone_blocks = op->dev->geo.zone_blocks,
                           .state = POOL_DEVICE_JOINING,
                           .zones = copy};
        list_init(&d->free);
        pool->host.random(pool->host.ctx, d->uuid.b, sizeof(d->uuid.b));
        uuid_from_random(&d->uuid);
        pool->ndevs = MAX(pool->ndevs, slot + 1);
        op->slot = slot;
        uint32_t ring[LABEL_ZONES] = {0}, at = 0;
        label_zones(copy, d->nr_zones, ring);
        d->ring_zone = ring[0];
        for (uint32_t z = 0; z < d->nr_zones; z++) {
                if (!data_zone(op, z))
                        continue;
                while (at < first && pool->groups[at]->state != GROUP_GONE)
                        at++;
                describe(pool->groups[at++], &copy[z], z, slot);
        }
        if (op->index != NO_SLOT) {
                d->replacing = true;
                d->replaces = (uint8_t)op->index;
                rc = member_check_replace(pool, d, op->index, &op->err);
        }
        if (rc == 0)
                rc = check_room(pool, op, lacked);
        if (rc < 0) {
                member_forget(pool, d);
                space_init(pool);
                return rc;
        }
        pool->generation = MAX(pool->generation, op->generation);
        return 0;
}
