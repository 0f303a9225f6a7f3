/* After replay: what becomes of each group. One that was being written goes on behind an intact
 * tail; behind a gap it is finished and sealed; what holds nothing that counts is reset. Table
 * pages in groups closed that way are written anew by the checkpoint that follows, so that crashes
 * in a row do not use groups up. Resets touch only groups without a record that counts: all of this
 * can be repeated. */
#include "pool/internal.h"
#include "pool/log/walk.h"
#include "pool/open/import.h"

struct zone_op {
        struct pio pio;
        struct import *im;
        struct group *group;
};

static void checkpoint_next(struct import *im);

static void zone_op_done(struct pio *p, int status)
{
        struct zone_op *z = container_of(p, struct zone_op, pio);
        struct import *im = z->im;
        struct group *g = z->group;
        struct pool *pool = p->pool;

        group_dev(pool, g)->written++;
        if (p->io.op == ZDEV_RESET) {
                if (status == 0) {
                        g->needs_reset = false;
                } else {
                        pool_device_error(pool, group_dev(pool, g), status);
                        g->state = GROUP_BAD;
                }
        }
        pool_release(z);
        if (!--im->pending)
                checkpoint_next(im);
}

static void zone_op(struct import *im, struct group *g, enum zdev_op op)
{
        struct zone_op *z = pool_alloc(im->pool, sizeof(*z));

        if (!z)
                return; /* a reset is asked for again at run time, a finish is not needed */
        z->im = im;
        z->group = g;
        z->pio.cb = zone_op_done;
        z->pio.io = (struct zdev_io){.op = op, .zone = g->member[0].zone};
        im->pending++;
        pio_submit(im->pool, group_dev(im->pool, g)->dev, &z->pio);
}

static void settle_walked(struct import *im, struct group *g, bool was_free)
{
        struct pool *pool = im->pool;
        const struct zdev_zone *zone = zone_of(pool, g);
        bool pages = true, summary = false;
        uint32_t n = 0;

        for (uint32_t i = im->first[g->id]; i != UINT32_MAX; i = im->found[i].next) {
                const struct found *f = &im->found[i];
                if (f->dropped)
                        continue;
                n++;
                pages &= f->h.cls == CLASS_TABLE; /* which hold nothing but pages and inodes */
                summary = f->h.kind == HEADER_SUMMARY;
                g->cls = (enum cls)f->h.cls;
                g->tail = f->h.offset + f->h.header_blocks + f->h.data_blocks;
                g->last_seq = f->h.seq;
                g->last_sum = f->h.sum;
                g->summary = summary ? f->h.header_blocks : 0;
        }
        g->wp = g->tail;
        if (was_free && pages) {
                g->tail = g->wp = g->summary = 0;
                g->last_seq = g->last_sum = 0;
                g->state = GROUP_FREE;
                g->needs_reset = zone->state != ZDEV_ZONE_EMPTY;
                return;
        }
        struct stream *s = pool_stream(pool, g->cls, g->copies);
        while (s->open && s->next && g->cls != CLASS_TABLE)
                s = s->next;
        if (summary) {
                g->state = GROUP_SEALED;
        } else if (g->tail == zone_end_of(pool, g) && g->tail < g->cap && !s->open && g->tail &&
                   !group_away(pool, g) &&
                   (zone->state == ZDEV_ZONE_OPEN || zone->state == ZDEV_ZONE_CLOSED)) {
                g->state = GROUP_OPEN;
                g->nosummary = true;
                s->open = g;
                group_active(pool, g);
        } else {
                g->state = GROUP_SEALED;
                im->retired_tables |= g->cls == CLASS_TABLE;
        }
        g->sealed = g->written = im->root.user_blocks;
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

void settle_start(struct import *im)
{
        struct pool *pool = im->pool;

        if (sort_by_group(im) < 0) {
                import_fail(im, ENOMEM, "pool %s: no memory", pool->name);
                return;
        }

        im->pending = 1;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                uint8_t was = im->root.groups[i].state;
                if (was == ROOT_GROUP_BAD || was == ROOT_GROUP_GONE)
                        continue;
                const struct zdev_zone *zone = zone_of(pool, g);
                bool gone = zone->state == ZDEV_ZONE_OFFLINE || zone->state == ZDEV_ZONE_READONLY;
                if (was == ROOT_GROUP_SEALED)
                        g->state = GROUP_SEALED;
                else
                        settle_walked(im, g, was == ROOT_GROUP_FREE);
                if (gone && g->state == GROUP_FREE)
                        g->state = GROUP_BAD;
                if (g->state == GROUP_FREE && g->needs_reset)
                        zone_op(im, g, ZDEV_RESET);
                else if (g->state == GROUP_SEALED && !gone &&
                         (zone->state == ZDEV_ZONE_OPEN || zone->state == ZDEV_ZONE_CLOSED))
                        zone_op(im, g, ZDEV_FINISH);
        }
        if (!--im->pending)
                checkpoint_next(im);
}

/* Counters and lists from the states, which are final now. */
static void checkpoint_next(struct import *im)
{
        struct pool *pool = im->pool;
        struct volume *vol;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->state == GROUP_FREE && g->live) {
                        import_fail(im, EBADMSG,
                                    "pool %s: the log of moved blocks is damaged: %u blocks are "
                                    "named in group %u, which is free",
                                    pool->name, g->live, i);
                        return;
                }
                if (g->state == GROUP_FREE)
                        group_make_free(pool, g);
                if (g->state == GROUP_SEALED && !g->live)
                        group_emptied(pool, g);
        }
        space_init(pool);
        bitmap_clear_range(&pool->slots, 0, MAX_VOLUMES);
        list_for_each (vol, &pool->nodes, all) {
                bitmap_set_range(&pool->slots, vol->slot, 1);
        }
        if (im->retired_tables)
                retired_start(im);
        else
                import_replayed(im);
}
