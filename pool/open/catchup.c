/* Members that a power cut left behind catch up: of a batch that counts because one member has it,
 * and that another one lost, the bytes are written behind that one's end once more. They are those
 * that were lost, at their place, so it makes no difference how often power fails meanwhile; and
 * they are durable before any root calls the member whole (P4).
 *
 * So what is read after an import has its copies from the beginning, although nobody had been told
 * that it is durable: a device that is lost next takes nothing along that has been seen. And
 * the group can be written on.
 *
 * Left out: a member whose pointer survived and its bytes did not, or whose zone was finished
 * meanwhile, cannot be written there. It is called good as far as it is, and rebuilt. A batch that
 * it lacks cannot be left out either: perhaps it was durable, and has rotted. */
#include "pool/internal.h"
#include "pool/open/import.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64 }; /* blocks */

static void next_member(struct import *im);
static void go_on(struct import *im);

static struct zdev_zone *zone_of(struct import *im, unsigned member)
{
        const struct root_member *m = &im->pool->groups[im->catchup.group]->member[member];

        return &im->pool->devs[m->dev].zones[m->zone];
}

/* ---- copying ---- */

static void submit(struct import *im, unsigned member, enum zdev_op op, uint8_t *buf,
                   void (*cb)(struct pio *p, int status))
{
        struct catchup *c = &im->catchup;
        struct group *g = im->pool->groups[c->group];

        c->pio.iov = (struct iovec){buf, (size_t)c->blocks * ZP_BLOCK};
        c->pio.cb = cb;
        c->pio.ctx = im;
        c->pio.io = (struct zdev_io){.op = op,
                                     .zone = g->member[member].zone,
                                     .block = c->at,
                                     .nblocks = c->blocks,
                                     .iov = &c->pio.iov,
                                     .niov = 1};
        pio_submit(im->pool, member_dev(im->pool, g, member)->dev, &c->pio);
}

/* It stays behind. */
static void give_up(struct import *im)
{
        im->catchup.member++;
        next_member(im);
}

static void own_read(struct pio *p, int status)
{
        struct import *im = p->ctx;
        struct catchup *c = &im->catchup;

        if (status < 0 || memcmp(c->own, c->theirs, (size_t)c->blocks * ZP_BLOCK) != 0) {
                give_up(im);
                return;
        }
        c->at += c->blocks;
        go_on(im);
}

static void written(struct pio *p, int status)
{
        struct import *im = p->ctx;
        struct catchup *c = &im->catchup;
        struct pdev *d = member_dev(im->pool, im->pool->groups[c->group], c->member);
        struct zdev_zone *z = zone_of(im, c->member);

        d->written++;
        if (status < 0) {
                pool_device_error(im->pool, d, status);
                give_up(im);
                return;
        }
        c->at += c->blocks;
        z->wp_block = c->at;
        z->state = c->at == z->capacity_blocks ? ZDEV_ZONE_FULL : ZDEV_ZONE_OPEN;
        go_on(im);
}

static void theirs_read(struct pio *p, int status)
{
        struct import *im = p->ctx;
        struct catchup *c = &im->catchup;

        if (status < 0)
                give_up(im);
        else if (c->at < c->wp) /* of a batch that is torn there: is it right so far? */
                submit(im, c->member, ZDEV_READ, c->own, own_read);
        else
                submit(im, c->member, ZDEV_WRITE, c->theirs, written);
}

/* It has what the others have. */
static void caught_up(struct import *im)
{
        struct catchup *c = &im->catchup;
        const struct group *g = im->pool->groups[c->group];

        for (uint32_t i = im->first[g->id]; i != UINT32_MAX; i = im->found[i].next)
                im->found[i].members |= 1u << c->member;
        c->member++;
        next_member(im);
}

static void go_on(struct import *im)
{
        struct catchup *c = &im->catchup;
        const struct group *g = im->pool->groups[c->group];
        uint32_t end = c->at < c->wp ? c->wp : c->tail;

        if (c->at == c->tail) {
                caught_up(im);
                return;
        }
        c->blocks = MIN(MIN(end - c->at, (uint32_t)AT_ONCE), members_max_io(im->pool, g));
        submit(im, c->from, ZDEV_READ, c->theirs, theirs_read);
}

/* ---- which ---- */

static bool is_active(const struct zdev_zone *z)
{
        return z->state == ZDEV_ZONE_OPEN || z->state == ZDEV_ZONE_CLOSED;
}

/* The device allows one more active zone, beside that of its label ring. */
static bool may_begin(const struct pdev *d)
{
        uint32_t ring[LABEL_ZONES], active = 0;

        if (!d->dev->geo.max_active)
                return true;
        if (!label_zones(d->zones, d->nr_zones, ring))
                return false;
        for (uint32_t z = 0; z < d->nr_zones; z++)
                active += is_active(&d->zones[z]);
        bool labels = is_active(&d->zones[ring[0]]) || is_active(&d->zones[ring[1]]);
        return active + !labels < d->dev->geo.max_active;
}

static bool can_be_written(struct import *im, const struct group *g, unsigned k)
{
        const struct pdev *d = member_dev(im->pool, g, k);

        if (!pdev_usable(d) || g->member[k].good != MEMBER_GOOD)
                return false;
        const struct zdev_zone *z = member_zone(im->pool, g, k);
        return is_active(z) || (z->state == ZDEV_ZONE_EMPTY && may_begin(d));
}

static bool begin(struct import *im, const struct group *g, const struct group_log *log)
{
        struct catchup *c = &im->catchup;
        unsigned k = c->member;

        if (log->end[k] >= log->tail || !can_be_written(im, g, k))
                return false;
        c->at = log->end[k];
        c->wp = (uint32_t)member_end(im->pool, g, k);
        c->tail = log->tail;
        if (c->wp < c->at || c->wp > c->tail)
                return false;
        for (c->from = 0; c->from < g->width; c->from++)
                if (log->end[c->from] == log->tail && pdev_usable(member_dev(im->pool, g, c->from)))
                        return true;
        return false;
}

/* The import has looked at what it holds behind the root. */
static bool was_walked(const struct import *im, const struct group *g)
{
        uint8_t was = im->root.groups[g->id].state;

        return (was == ROOT_GROUP_OPEN || was == ROOT_GROUP_FREE) && g->state != GROUP_LENT;
}

static void next_member(struct import *im)
{
        struct catchup *c = &im->catchup;
        struct pool *pool = im->pool;

        for (; c->group < pool->ngroups; c->group++, c->member = 0) {
                const struct group *g = pool->groups[c->group];
                struct group_log log;
                if (g->width < 2 || !was_walked(im, g))
                        continue;
                import_group_log(im, g, &log);
                if (log.pages && im->root.groups[g->id].state == ROOT_GROUP_FREE)
                        continue; /* nothing that counts */
                for (; c->member < g->width; c->member++) {
                        if (begin(im, g, &log)) {
                                go_on(im);
                                return;
                        }
                }
        }
        catchup_fini(im);
        settle_start(im);
}

/* Each group's batches, so that nobody looks through those of all. */
static int sort_by_group(struct import *im)
{
        im->first = pool_alloc(im->pool, (im->pool->ngroups + 1) * sizeof(*im->first));
        if (!im->first)
                return -ENOMEM;
        for (uint32_t i = 0; i < im->pool->ngroups; i++)
                im->first[i] = UINT32_MAX;
        for (uint32_t i = im->nfound; i--;) {
                struct found *f = &im->found[i];
                f->next = im->first[f->group->id];
                im->first[f->group->id] = i;
        }
        return 0;
}

void catchup_fini(struct import *im)
{
        free(im->catchup.theirs);
        free(im->catchup.own);
        im->catchup.theirs = im->catchup.own = NULL;
}

void catchup_start(struct import *im)
{
        struct catchup *c = &im->catchup;
        void *theirs = NULL, *own = NULL;
        bool ok = posix_memalign(&theirs, ZP_BLOCK, (size_t)AT_ONCE * ZP_BLOCK) == 0 &&
                  posix_memalign(&own, ZP_BLOCK, (size_t)AT_ONCE * ZP_BLOCK) == 0;

        c->theirs = theirs;
        c->own = own;
        if (!ok || sort_by_group(im) < 0) {
                import_fail(im, ENOMEM, "pool %s: no memory", im->pool->name);
                return;
        }
        next_member(im);
}
