/* After replay: what becomes of each group. One that was being written goes on behind an intact
 * tail; behind a gap it is finished and sealed; what holds nothing that counts is reset. Table
 * pages in groups closed that way are written anew by the checkpoint that follows, so that crashes
 * in a row do not use groups up. Resets touch only groups without a record that counts, and come
 * only behind the claim: all of this can be repeated. */
#include "pool/internal.h"
#include "pool/log/walk.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

#include <string.h>

struct zone_op {
        struct pio pio;
        struct import *im;
        struct group *group;
        unsigned member, tries;
};

static void checkpoint_next(struct import *im);

static void zone_op_done(struct pio *p, int status)
{
        struct zone_op *z = container_of(p, struct zone_op, pio);
        struct import *im = z->im;
        struct group *g = z->group;
        struct pool *pool = p->pool;
        struct pdev *d = member_dev(pool, g, z->member);

        if (p->io.op == ZDEV_FINISH && status < 0 && status != -EROFS && pdev_usable(d) &&
            ++z->tries < FINISH_TRIES) {
                pio_submit(pool, d->dev, p);
                return;
        }
        d->written++;
        if (p->io.op == ZDEV_RESET) {
                if (status == 0) {
                        g->needs_reset = false;
                } else {
                        pool_device_error(pool, group_dev(pool, g), status);
                        g->state = GROUP_BAD;
                }
        }
        bool reset = p->io.op == ZDEV_RESET;
        pool_release(z);
        if (--im->pending)
                return;
        if (reset)
                checkpoint_next(im);
        else
                claim_start(im);
}

static void zone_op(struct import *im, struct group *g, unsigned k, enum zdev_op op)
{
        struct zone_op *z = pool_alloc(im->pool, sizeof(*z));

        if (!z)
                return; /* a reset is asked for again at run time, a finish is not needed */
        z->im = im;
        z->group = g;
        z->member = k;
        z->pio.cb = zone_op_done;
        z->pio.io = (struct zdev_io){.op = op, .zone = g->member[k].zone};
        im->pending++;
        pio_submit(im->pool, member_dev(im->pool, g, k)->dev, &z->pio);
}

static bool zone_partial(const struct zdev_zone *zone)
{
        return zone->state == ZDEV_ZONE_OPEN || zone->state == ZDEV_ZONE_CLOSED;
}

/* Nothing that counts: the zones are free, each by itself. What a recovery found of no worth has
 * the group's generation, so the next life gets another. */
static void set_free(struct import *im, struct group *g)
{
        struct pool *pool = im->pool;
        const struct pdev *d = group_dev(pool, g);
        bool empty = pdev_usable(d) && member_zone(pool, g, 0)->state == ZDEV_ZONE_EMPTY;

        for (unsigned k = 1; k < g->width; k++) {
                struct group *own = pool->groups[g->lent[k]];
                own->width = 1;
                set_free(im, own);
        }
        g->tail = g->wp = g->summary = 0;
        g->last_seq = g->last_sum = 0;
        g->state = GROUP_FREE;
        g->needs_reset = !empty;
        if (!empty || g->width > 1)
                g->generation++;
        g->width = g->copies = 1;
        g->cap = g->zone_cap;
}

/* All members end where the group does, and can be written on; and what was left open does not keep
 * others from opening what they need. */
static bool can_go_on(struct pool *pool, const struct stream *s, const struct group *g)
{
        if (group_away(pool, g) || !g->tail || g->tail >= g->cap ||
            g->width < width_for(pool, g->copies))
                return false;
        for (unsigned k = 0; k < g->width; k++)
                if (!pdev_usable(member_dev(pool, g, k)) || g->member[k].good != MEMBER_GOOD ||
                    !zone_partial(member_zone(pool, g, k)) || g->tail != member_end(pool, g, k) ||
                    !group_has_slot(pool, member_dev(pool, g, k), s))
                        return false;
        return true;
}

void import_group_log(const struct import *im, const struct group *g, struct group_log *ret_log)
{
        *ret_log = (struct group_log){.tail = g->tail, .pages = true};
        for (unsigned k = 0; k < g->width; k++)
                ret_log->end[k] = g->tail;
        for (uint32_t i = im->first[g->id]; i != UINT32_MAX; i = im->found[i].next) {
                const struct found *f = &im->found[i];
                if (f->dropped)
                        continue;
                ret_log->pages &= f->h.cls == CLASS_TABLE; /* which hold pages and inodes alone */
                ret_log->last = f;
                ret_log->tail = f->h.offset + f->h.header_blocks + f->h.data_blocks;
                for (unsigned k = 0; k < g->width; k++)
                        if (f->members >> k & 1)
                                ret_log->end[k] = ret_log->tail;
        }
}

static void settle_walked(struct import *im, struct group *g, bool was_free)
{
        struct pool *pool = im->pool;
        struct group_log log;

        import_group_log(im, g, &log);
        bool summary = log.last && log.last->h.kind == HEADER_SUMMARY;
        if (log.last) {
                g->cls = (enum cls)log.last->h.cls;
                g->tail = log.tail;
                g->last_seq = log.last->h.seq;
                g->last_sum = log.last->h.sum;
                g->summary = summary ? log.last->h.header_blocks : 0;
        }
        g->wp = g->tail;
        if (was_free && log.pages) {
                set_free(im, g);
                return;
        }
        for (unsigned k = 0; k < g->width; k++)
                if (pdev_usable(member_dev(pool, g, k)) && log.end[k] < g->tail)
                        g->member[k].good = MIN(g->member[k].good, log.end[k]);
        struct stream *s = pool_stream(pool, g->cls, g->copies);
        while (s->open && s->next && g->cls != CLASS_TABLE)
                s = s->next;
        if (summary) {
                g->state = GROUP_SEALED;
        } else if (!s->open && can_go_on(pool, s, g)) {
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

/* Zones that went bad one by one. */
static void look_at_zones(struct pool *pool, struct group *g)
{
        for (unsigned k = 0; k < g->width; k++) {
                if (pdev_usable(member_dev(pool, g, k)))
                        member_zone_seen(g, k, member_zone(pool, g, k)->state);
        }
}

/* What is sealed; and what is to be reset where open zones are few, as the claim may need one. */
static void close_zones(struct import *im, struct group *g)
{
        struct pool *pool = im->pool;

        for (unsigned k = 0; k < g->width; k++) {
                const struct pdev *d = member_dev(pool, g, k);
                if (!pdev_usable(d))
                        continue;
                const struct zdev_zone *zone = member_zone(pool, g, k);
                bool gone = zone->state == ZDEV_ZONE_OFFLINE || zone->state == ZDEV_ZONE_READONLY;
                if (gone && g->state == GROUP_FREE)
                        g->state = GROUP_BAD;
                bool closes = g->state == GROUP_SEALED ||
                              (g->state == GROUP_FREE && g->needs_reset && d->dev->geo.max_active);
                if (closes && zone_partial(zone))
                        zone_op(im, g, k, ZDEV_FINISH);
        }
}

void settle_start(struct import *im)
{
        struct pool *pool = im->pool;

        im->pending = 1;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                uint8_t was = im->root.groups[i].state;
                if (was == ROOT_GROUP_BAD || was == ROOT_GROUP_LENT || was == ROOT_GROUP_GONE ||
                    g->state == GROUP_LENT || g->state == GROUP_FREE)
                        continue;
                if (was == ROOT_GROUP_SEALED)
                        g->state = GROUP_SEALED;
                else
                        settle_walked(im, g, was == ROOT_GROUP_FREE);
                if (g->state == GROUP_SEALED)
                        look_at_zones(pool, g);
        }
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (pool->groups[i]->state == GROUP_FREE || pool->groups[i]->state == GROUP_SEALED)
                        close_zones(im, pool->groups[i]);
        if (!--im->pending)
                claim_start(im);
}

void settle_resets(struct import *im)
{
        struct pool *pool = im->pool;

        im->pending = 1;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->state == GROUP_FREE && g->needs_reset && pdev_usable(group_dev(pool, g)))
                        zone_op(im, g, 0, ZDEV_RESET);
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
                if (g->state == GROUP_FREE && g->live && pending_pages(pool)) {
                        g->state = GROUP_PARKED; /* until the tables do not name it any more */
                        continue;
                }
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
        memset(pool->live_of, 0, sizeof(pool->live_of));
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (pool->groups[i]->cls != CLASS_TABLE)
                        pool->live_of[pool->groups[i]->copies] += pool->groups[i]->live;
        pool->rebuild = true;
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
