/* Opening a pool: labels of all devices -> the newest root -> tables into RAM (load.c) -> replay
 * (recover.c) -> a root that goes on with the log (resume.c), or a fresh checkpoint -> in use.
 * Nothing is written before that but the same root once more (claim.c), resets of zones that hold
 * nothing which counts, and finishes; so a crash anywhere repeats the same. */
#include "pool/open/import.h"
#include "pool/internal.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCE_GAP = 1 << 20 };

static void import_free(struct import *im)
{
        for (uint32_t i = 0; im->scans && i < im->nscans; i++) {
                root_fini(&im->scans[i].best);
                free(im->scans[i].zones);
        }
        recover_fini(im);
        free(im->slots);
        free(im->slot_base);
        free(im->claim);
        free(im->scans);
        free(im);
}

static void import_over(void *ctx)
{
        struct import *im = ctx;

        im->done(im->ctx, -im->err.code, &im->err, NULL);
        import_free(im);
}

void import_fail(struct import *im, int code, const char *fmt, ...)
{
        va_list ap;

        if (im->failed)
                return;
        im->failed = true;
        im->err.code = code;
        va_start(ap, fmt);
        vsnprintf(im->err.msg, sizeof(im->err.msg), fmt, ap);
        va_end(ap);
        uint32_t gone = 0;
        for (uint32_t i = 0; i < im->pool->ndevs; i++)
                gone += im->pool->devs[i].error == -ENODEV && !im->pool->devs[i].dev;
        if (gone && code == EIO) { /* nothing was found wrong with those that are there */
                size_t at = strlen(im->err.msg);
                im->err.code = ENXIO;
                snprintf(im->err.msg + at, sizeof(im->err.msg) - at,
                         "; %u devices are missing: add them and import again", gone);
        }
        im->pool->gone = import_over;
        im->pool->gone_ctx = im;
        im->pool->dead = true; /* freed when what is in flight has come back; devices stay */
}

struct label_scan *import_scan_of(struct import *im, uint32_t index)
{
        for (uint32_t n = 0; n < im->nscans; n++)
                if (uuid_equal(&im->scans[n].best.device, &im->root.devices[index].uuid))
                        return &im->scans[n];
        return NULL;
}

/* A newer root than the newest of those present can stand on devices that are missing alone. It
 * cannot while more than half of the devices that the newest names as in use are here: the root
 * that follows one is written to at least half of them (fault.c). */
static int missing(struct import *im, struct err *err)
{
        char text[UUID_TEXT_LEN];
        uint32_t in_use = 0, first = 0;

        for (uint32_t i = 0; i < im->root.ndevices; i++) {
                const struct root_device *d = &im->root.devices[i];
                bool used = d->state == ROOT_DEVICE_IN_USE &&
                            (d->slot == POOL_DEVICE_MEMBER || d->slot == POOL_DEVICE_LEAVING);
                in_use += used;
                if (used && !import_scan_of(im, i) && !im->absent++)
                        first = i;
        }
        if (!im->absent)
                return 0;
        uuid_format(&im->root.devices[first].uuid, text);
        bool sure = 2 * (in_use - im->absent) > in_use;
        if (!im->pool->options.degraded && !(im->pool->options.degraded_if_sure && sure))
                return err_set(err, ENXIO,
                               "pool %s: device %u of %u (uuid %s) is missing; add it and import "
                               "again, or import degraded if it is lost",
                               im->root.name, first, im->root.ndevices, text);
        if (2 * (in_use - im->absent) < in_use)
                return err_set(err, ENXIO,
                               "pool %s: %u of %u devices are missing (first: uuid %s); those may "
                               "hold newer data: add at least half of the devices",
                               im->root.name, im->absent, in_use, text);
        return 0;
}

/* Every given device is one of the pool's, once; those it has left behind are as they were then. */
static int match(struct import *im, struct err *err)
{
        for (uint32_t n = 0; n < im->nscans; n++) {
                const struct label_scan *s = &im->scans[n];
                uint32_t i = 0;
                while (i < im->root.ndevices &&
                       (im->root.devices[i].slot == POOL_DEVICE_NONE ||
                        !uuid_equal(&im->root.devices[i].uuid, &s->best.device)))
                        i++;
                if (i == im->root.ndevices)
                        return err_set(err, EINVAL,
                                       "device %s has left pool %s; import the pool without it",
                                       s->dev->path, im->root.name);
                if (import_scan_of(im, i) != s)
                        return err_set(err, EINVAL, "devices %s and %s are the same one",
                                       import_scan_of(im, i)->dev->path, s->dev->path);
                if (im->root.devices[i].state == ROOT_DEVICE_OUT &&
                    s->best.generation >= im->root.devices[i].generation + ROOT_GENERATION_GAP / 2)
                        return err_set(err, EEXIST,
                                       "device %s was used apart from the rest of pool %s, which "
                                       "went on without it; import without the one or the other",
                                       s->dev->path, im->root.name);
        }
        return 0;
}

/* One label must be there, of one pool, of each device of it; *im->root becomes the newest. */
static int choose(struct import *im, struct err *err)
{
        struct label_scan *best = NULL;

        for (uint32_t i = 0; i < im->nscans; i++) {
                struct label_scan *s = &im->scans[i];
                const char *path = s->dev->path;
                if (s->status == -EPROTONOSUPPORT)
                        return err_set(err, EPROTONOSUPPORT,
                                       "device %s: format version %u of pool %s is not this "
                                       "program's %d; use %s zonepool",
                                       path, s->best.version, s->best.name, POOL_FORMAT_VERSION,
                                       s->best.version > POOL_FORMAT_VERSION ? "a newer"
                                                                             : "the older");
                if (s->status == -ENOENT)
                        return err_set(err, ENOENT, "device %s has no pool label", path);
                if (s->status == -EBADMSG)
                        return err_set(err, EBADMSG, "device %s: no label verifies", path);
                if (s->status < 0)
                        return err_set_sys(err, -s->status, "device %s: reading the label", path);
                if (!best || s->best.generation > best->best.generation)
                        best = s;
        }
        for (uint32_t i = 0; i < im->nscans; i++)
                if (!uuid_equal(&im->scans[i].best.pool, &best->best.pool))
                        return err_set(err, EEXIST, "device %s is of pool %s, device %s of pool %s",
                                       best->dev->path, best->best.name, im->scans[i].dev->path,
                                       im->scans[i].best.name);
        im->root = best->best;
        int rc = match(im, err);
        return rc < 0 ? rc : missing(im, err);
}

static int set_device(struct import *im, uint32_t index, struct err *err)
{
        const struct root_device *rd = &im->root.devices[index];
        struct pdev *d = &im->pool->devs[index];
        bool joining = rd->slot == POOL_DEVICE_JOINING;

        struct label_scan *s = import_scan_of(im, index);

        *d = (struct pdev){.uuid = rd->uuid,
                           .index = index,
                           .nr_zones = rd->nr_zones,
                           .zone_blocks = rd->zone_blocks,
                           .last_root = rd->generation,
                           .state = joining ? POOL_DEVICE_NONE : (enum pool_device_state)rd->slot,
                           .removing = rd->removing,
                           .replacing = rd->replacing && rd->slot <= POOL_DEVICE_LEAVING,
                           .replaces = rd->replaces,
                           .leaving_blocks = rd->leaving_blocks};
        list_init(&d->free);
        if (rd->slot == POOL_DEVICE_NONE || (!s && (joining || rd->slot == POOL_DEVICE_LEFT)))
                return 0;
        if (!s) {
                d->error = -ENODEV;
                d->recorded = rd->state == ROOT_DEVICE_OUT;
                im->pool->unrecorded += !d->recorded;
                return 0;
        }
        if (s->dev->geo.nr_zones != rd->nr_zones || s->dev->geo.zone_blocks != rd->zone_blocks)
                return err_set(err, EINVAL,
                               "device %s: %u zones of %llu blocks, but the pool was made with "
                               "%u of %llu",
                               s->dev->path, s->dev->geo.nr_zones,
                               (unsigned long long)s->dev->geo.zone_blocks, rd->nr_zones,
                               (unsigned long long)rd->zone_blocks);
        d->dev = s->dev;
        d->zones = steal_ptr(&s->zones);
        label_ring_set(d, s->best_zone, s->best_end, s->best_tail_clean);
        if (joining) /* its label is there: the root that ends this import says so */
                d->state = POOL_DEVICE_MEMBER;
        return 0;
}

/* One that the root counts as in use has a root that is about as new: only so many can fail in a
 * row. If not, its content is of an earlier time (an old image was put back): as if it had been
 * out. Claims do not count: they repeat what is there, and one device may miss any number of them
 * while power fails again and again during imports. */
bool import_is_old(struct import *im, uint32_t index)
{
        const struct label_scan *s = import_scan_of(im, index);

        if (!s || im->root.devices[index].state != ROOT_DEVICE_IN_USE)
                return false;
        int64_t behind = (int64_t)(im->root.generation - s->best.generation);
        int64_t claims = (int16_t)(im->root.claims - s->best.claims);
        return behind - claims * CLAIM_GENERATIONS > ROOTS_BEHIND;
}

static void mark_old(struct import *im)
{
        struct pool *pool = im->pool;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (import_is_old(im, i))
                        pool->devs[i].error = -ESTALE; /* for the moment */
        members_mark_stale(pool);
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].error == -ESTALE)
                        pool->devs[i].error = 0;
}

/* All that have it are on record as out, and somebody has asked for them to leave: what they hold
 * alone cannot be read, and that keeps nothing else from going on. */
static bool is_abandoned(const struct import *im, const struct group *g)
{
        bool any = false;

        for (unsigned k = 0; k < g->width; k++) {
                const struct root_device *d = &im->root.devices[g->member[k].dev];
                if (!member_good(g, k, MIN(g->tail, g->cap)))
                        continue;
                if (d->state == ROOT_DEVICE_IN_USE || d->slot != POOL_DEVICE_LEAVING)
                        return false;
                any = true;
        }
        return any;
}

int import_check_absent(struct import *im)
{
        struct pool *pool = im->pool;
        struct volume *vol;
        bool any = false;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                any |= pool->devs[i].error != 0;
        if (!any)
                return 0;
        /* what was written to fewer places than devices are missing might be on these alone */
        list_for_each (vol, &pool->volumes, node) {
                if (vol->copies > im->absent)
                        continue;
                import_fail(im, ENXIO,
                            "pool %s: %u devices are missing, and volume %s has %u copies only",
                            pool->name, im->absent, vol->name, vol->copies);
                return -ENXIO;
        }
        if (im->absent && !pool->nvolumes) {
                import_fail(im, ENXIO, "pool %s: %u devices are missing, and it has no mirrors",
                            pool->name, im->absent);
                return -ENXIO;
        }
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                char text[UUID_TEXT_LEN];
                if (!g->live || member_pick(pool, g, MIN(g->tail, g->cap), 0) >= 0 ||
                    is_abandoned(im, g))
                        continue;
                uuid_format(&group_dev(pool, g)->uuid, text);
                import_fail(im, ENXIO,
                            "pool %s: %u blocks are on devices that are missing alone (uuid %s)",
                            pool->name, g->live, text);
                return -ENXIO;
        }
        return 0;
}

static int build(struct import *im, struct err *err)
{
        struct pool *pool = im->pool;
        const struct root *r = &im->root;

        memcpy(pool->name, r->name, sizeof(pool->name));
        memcpy(pool->secret, r->secret, sizeof(pool->secret));
        tomb_init(pool);
        pool->uuid = r->pool;
        pool->generation = r->generation;
        pool->claims = r->claims;
        pool->next_tree = r->next_tree;
        scrub_restore(pool, &r->scrub);
        pool->balance.off = r->unbalanced;
        pool->user_blocks = r->user_blocks;
        pool->device_blocks = r->device_blocks;
        pool->clean_blocks = r->clean_blocks;
        pool->table_blocks = r->table_blocks;
        if (!pool->options.reserve_permille)
                pool->options.reserve_permille = r->reserve_permille;
        if (!pool->options.checkpoint_permille)
                pool->options.checkpoint_permille = r->checkpoint_permille;
        pool->devs = calloc(POOL_MAX_DEVICES, sizeof(*pool->devs));
        if (!pool->devs || groups_grow(pool, r->ngroups) < 0)
                return -ENOMEM;
        pool->ndevs = r->ndevices;
        for (uint32_t i = 0; i < r->ndevices; i++) {
                int rc = set_device(im, i, err);
                if (rc < 0)
                        return rc;
        }
        if (claim_prepare(im) < 0)
                return -ENOMEM;
        for (uint32_t i = 0; i < r->ngroups; i++) {
                struct root_group *rg = &im->root.groups[i];
                struct group *g = pool->groups[i];
                if (rg->state != ROOT_GROUP_GONE &&
                    pool->devs[rg->member[0].dev].state == POOL_DEVICE_NONE) {
                        *rg = (struct root_group){.state = ROOT_GROUP_GONE, /* it never joined */
                                                  .width = 1,
                                                  .copies = 1,
                                                  .generation = rg->generation};
                }
                if (rg->live > rg->cap)
                        return err_set(err, EBADMSG,
                                       "pool %s: the root counts %u live blocks in "
                                       "group %u of %u",
                                       r->name, rg->live, i, rg->cap);
                *g = (struct group){.id = i,
                                    .cls = (enum cls)rg->cls,
                                    .width = rg->width,
                                    .copies = rg->copies,
                                    .generation = rg->generation,
                                    .cap = rg->cap,
                                    .zone_cap = rg->zone_cap,
                                    .live = rg->live,
                                    .wp = rg->wp,
                                    .tail = rg->wp,
                                    .summary = rg->summary,
                                    .last_seq = rg->last_seq,
                                    .last_sum = rg->last_sum,
                                    .sealed = rg->sealed,
                                    .written = rg->sealed,
                                    .released = rg->flags & ROOT_GROUP_RELEASED};
                g->state = rg->state == ROOT_GROUP_GONE   ? GROUP_GONE
                           : rg->state == ROOT_GROUP_BAD  ? GROUP_BAD
                           : rg->state == ROOT_GROUP_LENT ? GROUP_LENT
                                                          : GROUP_SEALING;
                memcpy(g->member, rg->member, sizeof(g->member));
                list_init(&g->node);
        }
        pool->catalog.height = r->catalog_height;
        pool->catalog.root_entry = (struct entry){r->catalog_addr, r->catalog_crc};
        for (uint32_t i = 0; i < pool->ndevs; i++)
                pool->nusable += pdev_takes(&pool->devs[i]);
        if (im->absent) /* what the others did meanwhile, if anything, is told apart by that */
                pool->generation += ROOT_GENERATION_GAP;
        mark_old(im);
        return identify_root(im, err);
}

static void scanned(struct label_scan *s)
{
        struct import *im = s->ctx;
        struct err err = ERR_INIT;

        if (--im->pending)
                return;
        int rc = choose(im, &err);
        if (rc == 0)
                rc = build(im, &err);
        if (rc < 0)
                import_fail(im, -rc, "%s", err_text(&err, rc));
        else
                load_start(im);
}

static void saved(struct ckpt_wait *w, int status)
{
        struct import *im = container_of(w, struct import, wait);
        struct pool *pool = im->pool;

        if (status < 0) {
                import_fail(im, -status, "pool %s: the root after recovery failed: %s", pool->name,
                            strerror(-status));
                return;
        }
        pool->running = true;
        members_go_on(pool);
        im->done(im->ctx, 0, NULL, pool);
        import_free(im);
}

void import_replayed(struct import *im)
{
        struct pool *pool = im->pool;

        pool->seq = MAX(im->seen, im->root.seq) + SEQUENCE_GAP;
        pool->mark = im->mark;
        pool->marks_held = true;
        im->wait.done = saved;
        if (import_may_resume(im)) /* the checkpoint comes when it is due */
                import_resume(im);
        else
                ckpt_start(pool, &im->wait);
}

void pool_import(struct zdev *const *devs, uint32_t ndevs, const struct pool_host *host,
                 const struct pool_options *options, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err, struct pool *pool))
{
        struct import *im = calloc(1, sizeof(*im));
        struct err err = ERR_INIT;
        int rc = -ENOMEM;

        if (!ndevs || ndevs > POOL_MAX_DEVICES)
                rc = err_set(&err, EINVAL, "a pool has 1 to %d devices", POOL_MAX_DEVICES);
        else if (im)
                im->pool = pool_new(host, options);
        if (im && im->pool)
                im->scans = calloc(ndevs, sizeof(*im->scans));
        bool ok = im && im->scans;
        for (uint32_t i = 0; ok && i < ndevs; i++) {
                struct label_scan *s = &im->scans[i];
                s->zones = calloc(devs[i]->geo.nr_zones + LABEL_ZONES, sizeof(*s->zones));
                ok = s->zones != NULL;
                im->nscans = i + 1;
        }
        if (!ok) { /* nothing was started: the one case of a call from inside */
                done(ctx, rc, err.code ? &err : NULL, NULL);
                if (im) {
                        pool_free(im->pool);
                        import_free(im);
                }
                return;
        }
        im->ctx = ctx;
        im->done = done;
        list_init(&im->jobs);
        im->pending = ndevs;
        for (uint32_t i = 0; i < ndevs; i++) {
                struct label_scan *s = &im->scans[i];
                s->dev = devs[i];
                s->pool = im->pool;
                s->done = scanned;
                s->ctx = im;
                label_scan_start(s);
        }
}
