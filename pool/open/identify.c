/* Which zones make up which group. The root says so for groups that were in use then. Of those that
 * were free and have been written since, the first header of any member does: it names group,
 * generation and all members, so that a group is found while one of its zones can be read.
 *
 * Nothing is believed that does not verify, names another generation than the root gave the group,
 * or takes a zone that is not free. */
#include "pool/internal.h"
#include "pool/open/import.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static uint32_t *slot_at(struct import *im, uint32_t dev, uint32_t zone)
{
        if (dev >= im->pool->ndevs || zone >= im->pool->devs[dev].nr_zones)
                return NULL;
        return &im->slots[im->slot_base[dev] + zone];
}

static int damaged(struct import *im, struct err *err, uint32_t group)
{
        return err_set(err, EBADMSG, "pool %s: the zones of group %u are also those of another one",
                       im->root.name, group);
}

int identify_root(struct import *im, struct err *err)
{
        struct pool *pool = im->pool;
        uint64_t n = 0;

        im->slot_base = calloc(pool->ndevs + 1, sizeof(*im->slot_base));
        for (uint32_t i = 0; im->slot_base && i < pool->ndevs; i++) {
                im->slot_base[i] = n;
                n += pool->devs[i].nr_zones;
        }
        if (im->slot_base)
                im->slots = malloc((n + 1) * sizeof(*im->slots));
        if (!im->slots)
                return -ENOMEM;
        memset(im->slots, 0xff, (n + 1) * sizeof(*im->slots));
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct root_member *own = &pool->groups[i]->member[0];
                if (pool->groups[i]->state == GROUP_GONE)
                        continue;
                uint32_t *slot = slot_at(im, own->dev, own->zone);
                if (!slot || *slot != UINT32_MAX)
                        return damaged(im, err, i);
                *slot = i;
        }
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                for (unsigned k = 1; k < g->width; k++) {
                        uint32_t *slot = slot_at(im, g->member[k].dev, g->member[k].zone);
                        if (!slot || *slot == UINT32_MAX)
                                return damaged(im, err, i);
                        struct group *other = pool->groups[*slot];
                        if (other->state != GROUP_LENT || other->behind)
                                return damaged(im, err, i);
                        other->behind = g;
                        g->lent[k] = other->id;
                }
        }
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                if (pool->groups[i]->state == GROUP_LENT && !pool->groups[i]->behind)
                        return damaged(im, err, i);
                pool->groups[i]->behind = NULL;
        }
        return 0;
}

/* ---- groups opened since the root ---- */

static bool was_free(const struct import *im, uint32_t group)
{
        return im->root.groups[group].state == ROOT_GROUP_FREE;
}

/* The header was read from the slot's own zone. */
static void take_members(struct import *im, const struct group *slot, const struct header *h)
{
        struct pool *pool = im->pool;
        struct group *g = h->group < pool->ngroups ? pool->groups[h->group] : NULL;
        uint32_t lent[POOL_MAX_GROUP_WIDTH];
        bool names_slot = false;

        if (!g || !was_free(im, g->id) || g->generation != h->generation || h->offset ||
            h->prev_seq || h->seq <= h->mark || h->seq <= im->root.seq ||
            !import_current(im, g->id, 0, h->seq) || !uuid_equal(&h->pool, &pool->uuid) ||
            g->member[0].dev != h->member[0].dev || g->member[0].zone != h->member[0].zone ||
            g->state == GROUP_LENT || g->width > 1)
                return;
        for (unsigned k = 0; k < h->width; k++) {
                uint32_t *at = slot_at(im, h->member[k].dev, h->member[k].zone);
                if (!at || *at == UINT32_MAX || !was_free(im, *at) ||
                    pool->groups[*at]->state == GROUP_LENT || (k && pool->groups[*at]->width > 1))
                        return;
                for (unsigned n = 0; n < k; n++)
                        if (h->member[n].dev == h->member[k].dev)
                                return;
                lent[k] = *at;
                names_slot |= *at == slot->id;
        }
        if (!names_slot)
                return;
        g->width = h->width;
        g->copies = h->copies;
        g->cls = (enum cls)h->cls;
        for (unsigned k = 1; k < h->width; k++) {
                struct group *other = pool->groups[lent[k]];
                other->state = GROUP_LENT;
                g->lent[k] = other->id;
                g->member[k] = other->member[0];
                g->cap = MIN(g->cap, other->zone_cap);
        }
}

static void next_slot(struct import *im);

static void header_there(struct walk *w)
{
        struct import *im = w->ctx;

        take_members(im, w->group, &w->h);
        next_slot(im);
}

/* A zone whose beginning cannot be read, or is nobody's, is found by another member or not. */
static void header_gone(struct walk *w, int status)
{
        next_slot(w->ctx);
}

static void next_slot(struct import *im)
{
        struct pool *pool = im->pool;

        while (im->next_group < pool->ngroups) {
                struct group *g = pool->groups[im->next_group++];
                if (!was_free(im, g->id) || !pdev_usable(group_dev(pool, g)))
                        continue;
                uint64_t end = MIN((uint64_t)g->zone_cap, zone_end(member_zone(pool, g, 0)));
                if (!end)
                        continue;
                walk_fini(&im->walk);
                im->walk = (struct walk){.pool = pool,
                                         .group = g,
                                         .end = (uint32_t)end,
                                         .first = true,
                                         .found = header_there,
                                         .done = header_gone,
                                         .ctx = im};
                walk_start(&im->walk);
                return;
        }
        recover_walk(im);
}

void identify_start(struct import *im)
{
        im->next_group = 0;
        next_slot(im);
}
