/* Zone groups: which are free, who writes where, when one may be reset.
 *
 *   FREE --open--> OPEN --no room--> SEALING --summary written--> SEALED
 *     ^                                                              |
 *     +---- nothing live, a checkpoint covers it (generation + 1) ---+
 *
 * A group is FREE only when a durable root says so with its next generation: nothing that any later
 * recovery may use lies there, neither data nor records. The reset itself comes afterwards, when no
 * read is in flight any more.
 *
 * A group that is to be mirrored borrows the zones of free groups on other devices when it is
 * opened (mirror.c); they are LENT until it is freed.
 *
 * Room: users may open a group only while the capacity of more than four (of the largest) is free,
 * cleaning while that of more than two is, or while what is left holds the next checkpoint anyway:
 * a checkpoint always finds room, cleaning always goes on. More than one open group a kind is
 * never needed, and had only where free groups are plenty.
 */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t keep_free[] = {[CLASS_USER] = 4, [CLASS_CLEAN] = 2, [CLASS_TABLE] = 0};
enum { KEEP_FROM_RECORDS = 1, RESETS_AT_ONCE = 4 };

struct pdev *group_dev(struct pool *pool, const struct group *g)
{
        return &pool->devs[g->member[0].dev];
}

int groups_grow(struct pool *pool, uint32_t n)
{
        struct group **list = realloc(pool->groups, ((size_t)n + 1) * sizeof(*list));

        if (!list)
                return -ENOMEM;
        pool->groups = list;
        if (n <= pool->ngroups)
                return 0;
        struct group *more = pool_alloc(pool, (size_t)(n - pool->ngroups) * sizeof(*more));
        if (!more)
                return -ENOMEM;
        for (; pool->ngroups < n; pool->ngroups++, more++) {
                more->id = pool->ngroups;
                more->state = GROUP_BAD;
                list_init(&more->node);
                list[pool->ngroups] = more;
        }
        return 0;
}

void group_emptied(struct pool *pool, const struct group *g)
{
        pool->count.emptied++;
        pool->count.limbo += group_in_limbo(g);
}

void group_not_emptied(struct pool *pool, const struct group *g)
{
        pool->count.emptied--;
        pool->count.limbo -= group_in_limbo(g);
}

void group_live_inc(struct pool *pool, uint64_t addr)
{
        struct group *g = pool->groups[addr_group(addr)];

        if (g->cls != CLASS_TABLE)
                pool->live_of[g->copies]++;
        if (!g->live++ && g->state == GROUP_SEALED)
                group_not_emptied(pool, g);
}

void group_live_dec(struct pool *pool, uint64_t addr)
{
        struct group *g = pool->groups[addr_group(addr)];

        if (g->cls != CLASS_TABLE)
                pool->live_of[g->copies]--;
        if (--g->live || g->state != GROUP_SEALED)
                return;
        group_emptied(pool, g);
        if (pool->running)
                lifetime_ended(pool, g);
}

void group_ref(struct group *g)
{
        g->refs++;
}

void group_unref(struct pool *pool, struct group *g)
{
        g->refs--;
}

void group_sealed(struct pool *pool, struct group *g)
{
        g->state = GROUP_SEALED;
        g->sealed = pool->user_blocks;
        if (g->active && !g->finishing)
                group_inactive(pool, g);
        if (!g->live)
                group_emptied(pool, g);
        group_drop_summary(g);
}

static void ready(struct pool *pool, struct group *g)
{
        struct pdev *d = group_dev(pool, g);

        g->needs_reset = false;
        list_add_tail(&d->free, &g->node);
        d->nfree++;
        pool->count.ready++;
}

bool group_on(const struct group *g, uint32_t dev)
{
        for (int i = 0; g->state != GROUP_GONE && i < g->width; i++)
                if (g->member[i].dev == dev)
                        return true;
        return false;
}

bool group_away(const struct pool *pool, const struct group *g)
{
        for (int i = 0; i < g->width; i++)
                if (pool->devs[g->member[i].dev].state != POOL_DEVICE_MEMBER)
                        return true;
        return false;
}

bool group_counts(const struct pool *pool, const struct group *g)
{
        return g->state != GROUP_BAD && g->state != GROUP_GONE &&
               pdev_takes(&pool->devs[g->member[0].dev]);
}

void group_park(struct pool *pool, struct group *g)
{
        g->state = GROUP_PARKED;
        group_count(pool, g);
}

void group_count(struct pool *pool, struct group *g)
{
        struct pdev *d = group_dev(pool, g);
        bool counts = g->state == GROUP_FREE && pdev_takes(d);

        if (counts == g->counted)
                return;
        g->counted = counts;
        pool->count.free += counts ? 1 : -1;
        d->nzones_free += counts ? 1 : -1;
        if (counts)
                pool->count.free_blocks += g->cap;
        else
                pool->count.free_blocks -= g->cap;
        if (counts && !g->needs_reset)
                ready(pool, g);
        if (!counts && !g->needs_reset) {
                list_del(&g->node);
                d->nfree--;
                pool->count.ready--;
        }
}

static void make_free(struct pool *pool, struct group *g)
{
        g->state = group_dev(pool, g)->state == POOL_DEVICE_MEMBER ? GROUP_FREE : GROUP_PARKED;
        g->width = g->copies = 1;
        g->member[0].good = MEMBER_GOOD;
        g->cap = g->zone_cap;
        g->wp = g->tail = 0;
        g->last_seq = g->last_sum = 0;
        g->summary = 0;
        g->nosummary = g->unclean = g->unmoved = g->freeing = g->failing = g->headless = false;
        group_drop_summary(g);
        group_count(pool, g);
}

void group_make_free(struct pool *pool, struct group *g)
{
        unsigned width = g->width;

        for (unsigned k = 1; k < width; k++) { /* what it borrowed goes back */
                struct group *own = pool->groups[g->lent[k]];
                own->needs_reset = g->needs_reset;
                own->behind = g;
                make_free(pool, own);
        }
        make_free(pool, g);
}

static void bad(struct pool *pool, struct group *g)
{
        g->state = GROUP_BAD;
        group_count(pool, g);
        space_init(pool);
}

struct reset {
        struct pio pio;
        struct group *group;
};

static void reset_done(struct pio *p, int status)
{
        struct reset *r = container_of(p, struct reset, pio);
        struct pool *pool = p->pool;
        struct group *g = r->group;

        pool_release(r);
        g->resetting = false;
        group_dev(pool, g)->resets--;
        if (status < 0) {
                pool_device_error(pool, group_dev(pool, g), status);
                if (g->counted || g->state == GROUP_PARKED) /* else it waits for its device */
                        bad(pool, g);
                return;
        }
        group_dev(pool, g)->written++;
        if (g->counted)
                ready(pool, g);
        else
                g->needs_reset = false;
}

/* Under way, but for those of devices that answer nothing. */
static uint32_t resets(const struct pool *pool)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                n += device_silent(pool, &pool->devs[i]) ? 0 : pool->devs[i].resets;
        return n;
}

void group_start_resets(struct pool *pool)
{
        if (pool->count.free == pool->count.ready)
                return;
        for (uint32_t i = 0; i < pool->ngroups && resets(pool) < RESETS_AT_ONCE; i++) {
                struct group *g = pool->groups[i];
                if (g->state != GROUP_FREE || !g->needs_reset || g->resetting || g->refs)
                        continue;
                if (device_silent(pool, group_dev(pool, g)))
                        continue;
                if (!g->counted || (g->behind && g->behind->refs))
                        continue;
                g->behind = NULL;
                struct reset *r = pool_alloc(pool, sizeof(*r));
                if (!r)
                        return;
                r->group = g;
                r->pio.cb = reset_done;
                r->pio.io = (struct zdev_io){.op = ZDEV_RESET, .zone = g->member[0].zone};
                g->resetting = true;
                group_dev(pool, g)->resets++;
                pio_submit(pool, group_dev(pool, g)->dev, &r->pio);
        }
}

static uint32_t clean_queued(const struct pool *pool)
{
        const struct stream *q;
        uint32_t n = 0;

        for_each_queue (q, pool)
                if (class_kind(q->cls) == CLASS_CLEAN)
                        n += q->nitems;
        return n;
}

/* The pages of the next checkpoint, those of so many moves included, would fit without the largest
 * free group. */
static bool checkpoint_fits(const struct pool *pool, uint32_t moves)
{
        const struct group *t = pool->streams[CLASS_TABLE][0].open;
        uint64_t pages = pool->ndirty + catalog_blocks(pool) + 2u * moves + 8;
        uint64_t room = t ? t->cap - t->wp : 0;

        uint64_t freed = groups_free_room(pool);
        if (freed > groups_cap(pool))
                room += freed - groups_cap(pool);
        return room > pages + pages / 4 + 8;
}

/* Open groups of the kind on the device, or on any when it is NULL; of so many copies, 0: any. */
static uint32_t count_open(const struct pool *pool, enum cls kind, uint32_t copies,
                           const struct pdev *d)
{
        const struct stream *q;
        uint32_t n = 0;

        for_each_queue (q, pool) {
                if (class_kind(q->cls) != kind || (copies && copies != q->copies))
                        continue;
                for (const struct stream *s = q; s; s = s->next)
                        n += s->open && (!d || group_on(s->open, d->index));
        }
        return n;
}

/* Those that do not wait for a device that stalls. */
static uint32_t count_going(const struct pool *pool, enum cls kind, uint32_t copies)
{
        uint32_t n = count_open(pool, kind, copies, NULL);
        const struct stream *q;

        for_each_queue (q, pool) {
                if (!pool->nstalled || class_kind(q->cls) != kind || copies != q->copies)
                        continue;
                for (const struct stream *s = q; s; s = s->next)
                        n -= s->open && group_stalled(pool, s->open);
        }
        return n;
}

/* Open groups that are more than one of each kind and number of copies. */
static uint32_t extra_open(const struct pool *pool)
{
        static const enum cls kinds[] = {CLASS_USER, CLASS_CLEAN};
        uint32_t extra = 0;

        for (int k = 0; k < 2; k++) {
                for (uint32_t copies = 1; copies <= POOL_MAX_GROUP_WIDTH; copies++) {
                        uint32_t n = count_open(pool, kinds[k], copies, NULL);
                        extra += n ? n - 1 : 0;
                }
        }
        return extra;
}

static bool may_open(const struct pool *pool, const struct stream *s, bool records)
{
        enum cls kind = class_kind(s->cls);
        const uint64_t cap = pool->max_cap;

        if (kind != CLASS_TABLE && count_going(pool, kind, s->copies))
                return groups_free_blocks(pool) > (keep_free[CLASS_USER] + 2u) * cap &&
                       extra_open(pool) < space_extra_groups(pool);
        if (groups_free_blocks(pool) > (records ? KEEP_FROM_RECORDS : keep_free[kind]) * cap)
                return true;
        return kind == CLASS_CLEAN && checkpoint_fits(pool, clean_queued(pool));
}

uint64_t groups_for_users(const struct pool *pool)
{
        uint64_t room = groups_free_blocks(pool),
                 kept = keep_free[CLASS_USER] * (uint64_t)pool->max_cap;

        return room > kept ? room - kept : 0;
}

bool group_moves_fit(const struct pool *pool, uint32_t copies, uint32_t blocks)
{
        for (int c = 0; c < NCLASSES; c++) {
                const struct stream *s = &pool->streams[c][copies - 1];
                for (; class_kind((enum cls)c) == CLASS_CLEAN && s; s = s->next)
                        if (s->open && s->open->cap - s->open->wp > blocks + blocks / 64 + 4)
                                return true;
        }
        return groups_free_blocks(pool) > (uint64_t)keep_free[CLASS_CLEAN] * pool->max_cap ||
               checkpoint_fits(pool, blocks);
}

/* Kinds, by numbers of copies, that have no open group yet and may need one. */
static uint32_t none_open(const struct pool *pool)
{
        uint32_t n = 0;

        for (uint32_t copies = 1; copies <= POOL_MAX_GROUP_WIDTH; copies++)
                if (pool->volumes_of[copies])
                        n += !count_open(pool, CLASS_USER, copies, NULL) +
                             !count_open(pool, CLASS_CLEAN, copies, NULL);
        return n;
}

/* One open zone of each device is the label ring's and one the tables', who write to one group at a
 * time whatever they have placed; one is left to cleaning. A second group of a kind leaves one to
 * each that has none. */
bool group_has_slot(const struct pool *pool, const struct pdev *d, const struct stream *s)
{
        enum cls kind = class_kind(s->cls);
        uint32_t limit = zdev_most_open(&d->dev->geo), need = 1;

        if (limit == UINT32_MAX || kind == CLASS_TABLE)
                return true;
        if (kind == CLASS_USER && !count_open(pool, CLASS_CLEAN, 0, d))
                need++;
        if (count_going(pool, kind, s->copies))
                need = MAX(need, 1 + none_open(pool));
        return d->active + need + 2 <= limit;
}

static uint32_t own_open(const struct stream *s, const struct pdev *d)
{
        uint32_t n = 0;

        for (s = s->queue; s; s = s->next)
                n += s->open && group_on(s->open, d->index);
        return n;
}

/* Most room, less where the stream has open groups already; in turn among equals. NULL too
 * where far more is free on a device whose open zones are all taken: what is open there already is
 * to be used. Mirrored groups go strictly where most is free, or what is left of the largest device
 * finds no partner in the end (space.c counts with that). None of `but`, none that stalls but where
 * `waits`. */
static struct pdev *choose_device(struct pool *pool, const struct stream *s, bool waits,
                                  struct pdev *const *but, unsigned nbut)
{
        struct pdev *best = NULL;
        uint64_t best_share = 0, blocked = 0;
        bool mirrored = (s->cls == CLASS_TABLE ? pool->copies : s->copies) > 1;

        pool->no_slot = false;
        for (uint32_t n = 0; n < pool->ndevs; n++) {
                struct pdev *d = &pool->devs[(pool->next_dev + n) % pool->ndevs];
                bool taken = false;
                for (unsigned k = 0; k < nbut; k++)
                        taken |= but[k] == d;
                if (taken || !pdev_takes(d) || !d->nfree || (d->stalled && !waits))
                        continue;
                uint64_t share =
                    device_room(pool, d, d->nfree) / (mirrored ? 1 : 1 + 2 * own_open(s, d));
                if (!group_has_slot(pool, d, s)) {
                        pool->no_slot = true;
                        blocked = MAX(blocked, share);
                } else if (!best || share > best_share) {
                        best = d;
                        best_share = share;
                }
        }
        bool other = count_going(pool, class_kind(s->cls), s->copies);
        return other && blocked > (mirrored ? 1 : 2) * best_share ? NULL : best;
}

void group_active(struct pool *pool, struct group *g)
{
        if (g->cls == CLASS_TABLE || g->active)
                return;
        g->active = g->width;
        for (int i = 0; i < g->active; i++)
                pool->devs[g->member[i].dev].active++;
}

void group_inactive(struct pool *pool, struct group *g)
{
        for (int i = 0; i < g->active; i++)
                pool->devs[g->member[i].dev].active--;
        g->active = 0;
}

void group_add_data(struct group *g, uint32_t blocks, uint64_t written)
{
        int64_t off = (int64_t)(written - g->written);

        if (!blocks)
                return;
        g->data += blocks;
        g->written += (uint64_t)(off * (int64_t)blocks / (int64_t)g->data);
}

static struct group *take_zone(struct pool *pool, struct pdev *d, enum group_state state)
{
        struct group *g = list_first(&d->free, struct group, node);

        g->state = state;
        group_count(pool, g);
        return g;
}

/* So many devices for the stream's next group. */
static bool choose_devices(struct pool *pool, const struct stream *s, bool waits,
                           struct pdev **ret_on, unsigned width)
{
        for (unsigned k = 0; k < width; k++) {
                ret_on[k] = choose_device(pool, s, waits, ret_on, k);
                if (!ret_on[k])
                        return false;
        }
        return true;
}

static struct group *open_on(struct pool *pool, const struct stream *s, struct pdev *const *on,
                             unsigned width, unsigned copies)
{
        pool->next_dev = (on[0]->index + 1) % pool->ndevs;
        struct group *g = take_zone(pool, on[0], GROUP_OPEN);
        for (unsigned k = 1; k < width; k++) {
                struct group *other = take_zone(pool, on[k], GROUP_LENT);
                g->lent[k] = other->id;
                g->member[k] = other->member[0];
                g->cap = MIN(g->cap, other->cap);
        }
        g->width = (uint8_t)width;
        g->copies = (uint8_t)copies;
        g->cls = s->cls;
        g->records = false;
        g->wp = g->headers = g->data = 0;
        g->opened = g->written = pool->user_blocks;
        group_active(pool, g);
        g->sum_planned = g->sum_bytes = 0;
        return g;
}

struct group *group_open(struct pool *pool, const struct stream *s, bool records)
{
        struct pdev *on[POOL_MAX_GROUP_WIDTH] = {NULL};
        unsigned copies = s->cls == CLASS_TABLE ? pool->copies : s->copies;
        unsigned width = width_for(pool, copies);

        if (!pool->count.ready || !may_open(pool, s, records))
                return NULL;
        /* short of a copy only when that is on record; tables are what puts it there */
        if (width < copies && pool->unrecorded && s->cls != CLASS_TABLE)
                return NULL;
        /* one that waits is better than none, and no better than another one */
        if (!choose_devices(pool, s, false, on, width) &&
            (!pool->nstalled || count_open(pool, class_kind(s->cls), s->copies, NULL) ||
             !choose_devices(pool, s, true, on, width)))
                return NULL;
        struct group *g = open_on(pool, s, on, width, copies);
        g->records = records;
        return g;
}

/* Devices that should be in use and are not. */
static unsigned devices_out(const struct pool *pool)
{
        unsigned n = 0;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                n += pdev_holds(&pool->devs[i]) && !pdev_usable(&pool->devs[i]);
        return n;
}

struct group *group_open_short(struct pool *pool, const struct stream *s)
{
        struct pdev *on[POOL_MAX_GROUP_WIDTH] = {NULL};
        unsigned width = width_for(pool, pool->copies), out = devices_out(pool);
        unsigned least = pool->copies > out ? pool->copies - out : 1;

        while (--width >= least && width) {
                if (!choose_devices(pool, s, true, on, width))
                        continue;
                pool->rebuild = true;
                return open_on(pool, s, on, width, pool->copies);
        }
        return NULL;
}

struct finish {
        struct pio pio;
        struct group *group;
        unsigned member, tries;
        bool table;
};

/* A zone that cannot be finished stays as it is: it is not written again. But it goes on counting
 * as open on its device, so it is asked for more than once. */
static void finish_done(struct pio *p, int status)
{
        struct finish *f = container_of(p, struct finish, pio);
        struct pool *pool = p->pool;
        struct group *g = f->group;
        struct pdev *d = member_dev(pool, g, f->member);

        if (status < 0 && status != -EROFS && pdev_usable(d) && ++f->tries < FINISH_TRIES) {
                pio_submit(pool, d->dev, p);
                return;
        }
        pool->table_finishing -= f->table;
        if (!--g->finishing)
                group_inactive(pool, g);
        group_unref(pool, g);
        pool_release(f);
}

static void finish_zone(struct pool *pool, struct group *g, unsigned k)
{
        struct pdev *d = member_dev(pool, g, k);
        struct finish *f = d->dev ? pool_alloc(pool, sizeof(*f)) : NULL;

        if (!f)
                return;
        f->group = g;
        f->member = k;
        f->table = g->cls == CLASS_TABLE;
        g->finishing++;
        pool->table_finishing += f->table;
        group_ref(g);
        f->pio.cb = finish_done;
        f->pio.io = (struct zdev_io){.op = ZDEV_FINISH, .zone = g->member[k].zone};
        pio_submit(pool, d->dev, &f->pio);
}

void group_retire(struct pool *pool, struct group *g)
{
        pool->rebuild = true; /* it may be short of a member */
        for (unsigned k = 0; k < g->width; k++)
                finish_zone(pool, g, k);
        group_sealed(pool, g);
}

void group_filled(struct pool *pool, struct group *g)
{
        for (unsigned k = 0; k < g->width; k++)
                if (member_slot(pool, g, k)->zone_cap > g->cap)
                        finish_zone(pool, g, k);
        group_sealed(pool, g);
}

int group_append_summary(struct group *g, const struct header *h, const uint8_t *records)
{
        if (g->nosummary || h->kind != HEADER_BATCH)
                return 0;
        struct summary_item it = {h->seq,           h->mark,        h->offset,
                                  h->header_blocks, h->data_blocks, h->record_bytes};
        uint32_t need = g->sum_bytes + SUMMARY_ITEM + h->record_bytes;
        uint8_t *buf = realloc(g->sum_buf, (need + 4095) / 4096 * 4096);
        if (!buf)
                return -ENOMEM;
        g->sum_buf = buf;
        summary_item_encode(&it, buf + g->sum_bytes);
        memcpy(buf + g->sum_bytes + SUMMARY_ITEM, records, h->record_bytes);
        g->sum_bytes = need;
        return 0;
}

void group_drop_summary(struct group *g)
{
        free(g->sum_buf);
        g->sum_buf = NULL;
        g->sum_bytes = 0;
}
