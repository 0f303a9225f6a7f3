/* A member that was lost and is there again, while the pool is in use. What an import does with
 * one, for one device: its label tells which it is and that it is of this pool's past; zones left
 * open are finished; its mirrored blocks have been stale since a root said that it is out.
 *
 * P9: nothing is placed on it, and no flush relies on it, before a durable root calls it in use.
 * Else a later import, to which it would be missing, would not ask for it.
 *
 * Left out: a device whose loss is not on record, or that has something in flight through the zdev
 * it was lost with, is refused for now. */
#include "pool/internal.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

/* ---- letting go ---- */

static bool is_written(const struct pool *pool, uint32_t index)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if ((g->state == GROUP_OPEN || g->state == GROUP_SEALING) && group_on(g, index))
                        return true;
        }
        return false;
}

int pool_device_detach(struct pool *pool, uint32_t index, struct err *err)
{
        struct pdev *d = index < pool->ndevs ? &pool->devs[index] : NULL;

        if (!d || !pdev_holds(d))
                return err_set(err, EINVAL, "pool %s has no device %u", pool->name, index);
        if (!d->dev)
                return 0;
        if (!d->error)
                return err_set(err, EINVAL, "device %s is in use", d->dev->path);
        if (!d->recorded || d->dev->inflight || d->busy || is_written(pool, index))
                return err_set(err, EAGAIN, "device %s has only just failed; try again",
                               d->dev->path);
        zdev_close(d->dev);
        d->dev = NULL;
        return 0;
}

/* ---- looking at it ---- */

struct comeback {
        struct label_scan scan;
        struct pio pio;
        struct pool *pool;
        struct member_op *op;
        uint32_t zone; /* next to look at */
};

static void over(struct comeback *c, int status)
{
        struct member_op *op = c->op;

        pool_release(c);
        member_looked_at(op, status);
}

static struct pdev *slot_of(const struct member_op *op)
{
        struct pool *pool = op->pool;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pdev_holds(&pool->devs[i]) && uuid_equal(&pool->devs[i].uuid, &op->uuid))
                        return &pool->devs[i];
        return NULL;
}

static int check(const struct member_op *op, struct err *err)
{
        const struct pool *pool = op->pool;
        const struct pdev *d = slot_of(op);
        const char *path = op->dev->path;

        if (pool->readonly)
                return err_set(err, EROFS, "pool %s is read-only; export and import it",
                               pool->name);
        if (!d)
                return err_set(err, EINVAL, "device %s has left pool %s; add it as a new one", path,
                               pool->name);
        if (d->dev)
                return err_set(err, EEXIST, "device %s is in use by pool %s already", path,
                               pool->name);
        if (!d->recorded)
                return err_set(err, EAGAIN, "device %s was lost only just now; try again", path);
        if (op->dev->geo.nr_zones != d->nr_zones || op->dev->geo.zone_blocks != d->zone_blocks)
                return err_set(err, EINVAL,
                               "device %s: %u zones of %llu blocks, but it had %u of %llu", path,
                               op->dev->geo.nr_zones, (unsigned long long)op->dev->geo.zone_blocks,
                               d->nr_zones, (unsigned long long)d->zone_blocks);
        if (op->generation >= d->last_root + ROOT_GENERATION_GAP / 2)
                return err_set(err, EEXIST,
                               "device %s was used apart from the rest of pool %s, which went on "
                               "without it; remove it from the pool, or add it as a new one",
                               path, pool->name);
        if (op->generation + ROOTS_BEHIND < d->last_root)
                return err_set(err, ESTALE,
                               "device %s holds what it held long before pool %s lost it; remove "
                               "it from the pool, or add it as a new one",
                               path, pool->name);
        return 0;
}

static int check_label(const struct comeback *c, struct err *err)
{
        const struct label_scan *s = &c->scan;
        const char *path = c->op->dev->path;

        if (s->status == -ENOENT)
                return err_set(err, ENOENT, "device %s has no pool label; add it as a new one",
                               path);
        if (s->status < 0)
                return err_set_sys(err, -s->status, "device %s: its label cannot be read", path);
        if (!uuid_equal(&s->best.pool, &c->pool->uuid))
                return err_set(err, EINVAL, "device %s belongs to pool '%s', not to pool %s", path,
                               s->best.name, c->pool->name);
        return 0;
}

static bool is_ring(const struct comeback *c, uint32_t zone)
{
        uint32_t ring[LABEL_ZONES];

        label_zones(c->op->zones, c->op->dev->geo.nr_zones, ring);
        return zone == ring[0] || zone == ring[1];
}

static void finish_next(struct comeback *c);

/* One that cannot be finished goes on counting as open: better than not to have the device. */
static void zone_finished(struct pio *pio, int status)
{
        struct comeback *c = container_of(pio, struct comeback, pio);
        struct zdev_zone *z = &c->op->zones[c->zone++];

        if (status == -ENODEV) {
                over(c, status);
                return;
        }
        if (status == 0) {
                z->state = ZDEV_ZONE_FULL;
                z->wp_block = z->capacity_blocks;
        }
        finish_next(c);
}

/* What it was being written to when it went is not written any more. */
static void finish_next(struct comeback *c)
{
        const struct zdev_zone *zones = c->op->zones;

        for (; c->zone < c->op->dev->geo.nr_zones; c->zone++) {
                enum zdev_zone_state state = zones[c->zone].state;
                if ((state != ZDEV_ZONE_OPEN && state != ZDEV_ZONE_CLOSED) || is_ring(c, c->zone))
                        continue;
                c->pio.cb = zone_finished;
                c->pio.io = (struct zdev_io){.op = ZDEV_FINISH, .zone = c->zone};
                pio_submit(c->pool, c->op->dev, &c->pio);
                return;
        }
        over(c, 0);
}

static void scanned(struct label_scan *s)
{
        struct comeback *c = s->ctx;
        struct member_op *op = c->op;
        int rc = check_label(c, &op->err);

        op->generation = s->best.generation;
        op->uuid = s->best.device;
        op->ring_zone = s->best_zone;
        op->ring_end = s->best_end;
        op->ring_clean = s->best_tail_clean;
        if (rc == 0) /* before anything of it is changed */
                rc = check(op, &op->err);
        root_fini(&s->best);
        if (rc < 0)
                over(c, rc);
        else
                finish_next(c);
}

void pool_device_return(struct pool *pool, struct zdev *dev, void *ctx,
                        void (*done)(void *ctx, int status, const struct err *err, uint32_t index))
{
        struct member_op *op = member_op_new(pool, MEMBER_RETURN, dev, ctx, done);
        struct comeback *c = pool_alloc(pool, sizeof(*c));

        if (!op || !c) {
                member_op_free(op);
                pool_release(c);
                done(ctx, -ENOMEM, NULL, 0);
                return;
        }
        c->pool = pool;
        c->op = op;
        c->scan = (struct label_scan){
            .dev = dev, .pool = pool, .zones = op->zones, .done = scanned, .ctx = c};
        label_scan_start(&c->scan);
}

/* ---- the slot ---- */

static const struct zdev_zone *zone_of(const struct pdev *d, const struct group *g, unsigned k)
{
        return &d->zones[g->member[k].zone];
}

/* Its groups, by the zones as they are now. */
static void look_at_groups(struct pool *pool, const struct pdev *d)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (!group_on(g, d->index))
                        continue;
                for (unsigned k = 0; k < g->width && g->state == GROUP_SEALED; k++)
                        if (g->member[k].dev == d->index)
                                member_zone_seen(g, k, zone_of(d, g, k)->state);
                if (g->state != GROUP_FREE && g->state != GROUP_PARKED)
                        continue;
                g->needs_reset = zone_of(d, g, 0)->state != ZDEV_ZONE_EMPTY;
                if (member_zone_dead(zone_of(d, g, 0)))
                        g->state = GROUP_BAD;
        }
}

int member_return(struct member_op *op)
{
        struct pool *pool = op->pool;
        struct pdev *d = slot_of(op);
        int rc = check(op, &op->err);
        struct zdev_zone *zones = rc < 0 ? NULL : calloc(d->nr_zones, sizeof(*zones));
        if (rc == 0 && !zones)
                rc = -ENOMEM;
        if (rc < 0)
                return rc;
        memcpy(zones, op->zones, d->nr_zones * sizeof(*zones));
        free(d->zones);
        d->zones = zones;
        d->dev = op->dev;
        d->error = 0;
        d->recorded = d->failed_event = d->given_up = false;
        d->returning = true;
        d->failures = d->label_failures = d->flush_failures = 0;
        d->flushed = d->written++; /* the finishes */
        label_ring_set(d, op->ring_zone, op->ring_end, op->ring_clean);
        op->slot = d->index;
        look_at_groups(pool, d);
        return 0;
}

void member_returned(struct member_op *op)
{
        struct pool *pool = op->pool;
        struct pdev *d = &pool->devs[op->slot];

        if (!d->returning) /* it was lost again */
                return;
        d->returning = false;
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (pool->groups[i]->state == GROUP_FREE && group_on(pool->groups[i], d->index))
                        group_count(pool, pool->groups[i]);
        space_init(pool);
        pool->rebuild = true;
}
