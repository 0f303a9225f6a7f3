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
 * Room: users may open a group only while the capacity of more than four (of the largest) is free,
 * cleaning while that of more than two is, or while what is left holds the next checkpoint anyway:
 * a checkpoint always finds room, cleaning always goes on.
 */
#include "pool/internal.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t keep_free[NCLASSES] = {
    [CLASS_USER] = 4, [CLASS_CLEAN] = 2, [CLASS_TABLE] = 0};
enum { RESETS_AT_ONCE = 4 };

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

void group_live_inc(struct pool *pool, uint64_t addr)
{
        struct group *g = pool->groups[addr_group(addr)];

        if (!g->live++ && g->state == GROUP_SEALED)
                pool->count.emptied--;
}

void group_live_dec(struct pool *pool, uint64_t addr)
{
        struct group *g = pool->groups[addr_group(addr)];

        if (!--g->live && g->state == GROUP_SEALED)
                pool->count.emptied++;
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
        g->seal_seq = pool->seq;
        if (!g->live)
                pool->count.emptied++;
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

void group_make_free(struct pool *pool, struct group *g)
{
        g->state = GROUP_FREE;
        g->wp = g->tail = 0;
        g->last_seq = g->last_sum = 0;
        g->summary = 0;
        g->nosummary = g->unclean = g->freeing = false;
        group_drop_summary(g);
        pool->count.free++;
        pool->count.free_blocks += g->cap;
        if (!g->needs_reset)
                ready(pool, g);
}

static void bad(struct pool *pool, struct group *g)
{
        g->state = GROUP_BAD;
        pool->count.usable--;
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
        pool->resets--;
        if (status < 0) {
                pool_device_error(pool, group_dev(pool, g), status);
                pool->count.free--;
                pool->count.free_blocks -= g->cap;
                bad(pool, g);
                return;
        }
        group_dev(pool, g)->written++;
        ready(pool, g);
}

void group_start_resets(struct pool *pool)
{
        if (pool->count.free == pool->count.ready)
                return;
        for (uint32_t i = 0; i < pool->ngroups && pool->resets < RESETS_AT_ONCE; i++) {
                struct group *g = pool->groups[i];
                if (g->state != GROUP_FREE || !g->needs_reset || g->resetting || g->refs)
                        continue;
                struct reset *r = pool_alloc(pool, sizeof(*r));
                if (!r)
                        return;
                r->group = g;
                r->pio.cb = reset_done;
                r->pio.io = (struct zdev_io){.op = ZDEV_RESET, .zone = g->member[0].zone};
                g->resetting = true;
                pool->resets++;
                pio_submit(pool, group_dev(pool, g)->dev, &r->pio);
        }
}

static uint32_t clean_queued(const struct pool *pool)
{
        uint32_t n = 0;

        for (int i = 0; i < POOL_MAX_GROUP_WIDTH; i++)
                n += pool->streams[CLASS_CLEAN][i].nitems;
        return n;
}

/* The pages of the next checkpoint, those of so many moves included, would fit without the largest
 * free group. */
static bool checkpoint_fits(const struct pool *pool, uint32_t moves)
{
        const struct group *t = pool->streams[CLASS_TABLE][0].open;
        uint64_t pages = pool->ndirty + pool->nvolumes + 2u * moves + 8;
        uint64_t room = t ? t->cap - t->wp : 0;

        if (pool->count.free_blocks > pool->max_cap)
                room += pool->count.free_blocks - pool->max_cap;
        return room > pages + pages / 4 + 8;
}

static bool may_open(const struct pool *pool, enum cls cls)
{
        if (pool->count.free_blocks > (uint64_t)keep_free[cls] * pool->max_cap)
                return true;
        return cls == CLASS_CLEAN && checkpoint_fits(pool, clean_queued(pool));
}

bool group_moves_fit(const struct pool *pool, const struct stream *s, uint32_t blocks)
{
        const struct group *g = s->open;

        if (g && g->cap - g->wp > blocks + blocks / 64 + 4)
                return true;
        return pool->count.free_blocks > (uint64_t)keep_free[CLASS_CLEAN] * pool->max_cap ||
               checkpoint_fits(pool, blocks);
}

struct group *group_open(struct pool *pool, const struct stream *s)
{
        struct pdev *best = NULL;

        if (!pool->count.ready || !may_open(pool, s->cls))
                return NULL;
        /* the emptiest device, in turn among equals: streams spread over the devices */
        for (uint32_t n = 0; n < pool->ndevs; n++) {
                struct pdev *d = &pool->devs[(pool->next_dev + n) % pool->ndevs];
                if (d->dev && !d->error && d->nfree && (!best || d->nfree > best->nfree))
                        best = d;
        }
        if (!best)
                return NULL;
        pool->next_dev = (best->index + 1) % pool->ndevs;
        struct group *g = list_first(&best->free, struct group, node);
        list_del(&g->node);
        best->nfree--;
        pool->count.ready--;
        pool->count.free--;
        pool->count.free_blocks -= g->cap;
        g->state = GROUP_OPEN;
        g->cls = s->cls;
        g->copies = s->copies;
        g->wp = g->headers = 0;
        g->sum_planned = g->sum_bytes = 0;
        return g;
}

static void finish_done(struct pio *p, int status)
{
        struct reset *r = container_of(p, struct reset, pio);
        r->group->finishing = false;
        group_unref(p->pool, r->group);
        pool_release(
            r); /* a zone that cannot be finished stays as it is: it is not written again */
}

void group_retire(struct pool *pool, struct group *g)
{
        struct reset *r = pool_alloc(pool, sizeof(*r));

        group_sealed(pool, g);
        if (!r)
                return;
        r->group = g;
        g->finishing = true;
        pool_stream(pool, g->cls, g->copies)->closing = g;
        group_ref(g);
        r->pio.cb = finish_done;
        r->pio.io = (struct zdev_io){.op = ZDEV_FINISH, .zone = g->member[0].zone};
        pio_submit(pool, group_dev(pool, g)->dev, &r->pio);
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
