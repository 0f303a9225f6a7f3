/* Life of a pool in RAM: device operations, deferred calls, the one place where "something may have
 * become possible" is acted on (pool_poll), status. See pool.h.
 *
 * Every completion (pio.c) runs its callback, then pool_settle makes the deferred calls and polls.
 * The pool is freed at the end of that, never below it.
 *
 * A call that must not come back from inside is deferred. To be woken for it the host's wake is
 * used; without one, a zone report stands in: an operation that completes soon and changes nothing.
 */
#include "pool/internal.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t checkpoint_after_ns = UINT64_C(30) * 1000 * 1000 * 1000;

static void kicked(struct pio *p, int status)
{
        p->pool->kicking = false;
}

static void wake(struct pool *pool)
{
        static struct zdev_zone scrap; /* the report's answer, which nobody reads */
        static struct keep for_ever = {.refs = 1};

        if (pool->settling || pool->dead)
                return;
        if (pool->host.wake) {
                pool->host.wake(pool->host.ctx, pool);
                return;
        }
        const struct pdev *d = NULL;
        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].dev && (!d || d->stalled))
                        d = &pool->devs[i];
        if (pool->kicking || !d)
                return;
        pool->kicking = true;
        pool->kick.cb = kicked;
        pool->kick.keep = &for_ever;
        pool->kick.io = (struct zdev_io){.op = ZDEV_REPORT, .nblocks = 1, .report = &scrap};
        pio_submit(pool, d->dev, &pool->kick);
}

void pool_defer(struct pool *pool, struct deferred *d)
{
        list_add_tail(&pool->deferred, &d->node);
        wake(pool);
}

static void run_deferred(struct pool *pool)
{
        struct list now;

        list_init(&now);
        list_splice_tail(&now, &pool->deferred);
        while (!list_empty(&now) && !pool->dead) {
                struct deferred *d = list_first(&now, struct deferred, node);
                list_del(&d->node);
                d->call(d);
        }
}

void pool_poll(struct pool *pool)
{
        if (pool->polling || pool->dead)
                return;
        pool->polling = true;
        pager_poll(pool);
        if (pool->unrecorded)
                streams_leave_failed(pool);
        flush_poll(pool);
        ckpt_poll(pool);
        if (pool->running) {
                member_poll(pool);
                group_start_resets(pool);
                mover_poll(pool);
                scrub_poll(pool);
                clean_poll(pool);
                if (pool->leave_waits && clean_in_vain(pool))
                        member_poll(pool); /* it need not wait for that */
                reap_poll(pool);
                promise_poll(pool);
                space_release(pool);
        }
        stream_kick_all(pool);
        uint32_t failures;
        do { /* without devices a flush fails at once, and what it was for may begin anew */
                failures = pool->ckpt.failures;
                ckpt_poll(pool);
                flush_poll(pool);
        } while (pool->ckpt.failures != failures);
        if (pool->running)
                held_tell(pool);
        pool->polling = false;
}

void pool_settle(struct pool *pool)
{
        if (pool->settling)
                return;
        pool->settling = true;
        run_deferred(pool);
        stream_fail_stuck(pool);
        pool_poll(pool);
        if (pool->when_idle && !pool->ops && !pool->dead) {
                struct deferred *d = steal_ptr(&pool->when_idle);
                d->call(d);
        }
        pool->settling = false;
        if (pool->dead) {
                if (pool->ops && !pool->closing)
                        return; /* the rest is still to come back */
                if (pool->gone)
                        pool->gone(pool->gone_ctx);
                pool_free(pool);
        } else if (!list_empty(&pool->deferred)) {
                wake(pool);
        }
}

/* Block buffers are cut from slabs that live as long as the pool: what an abandoned pool had in
 * flight goes with them. */
enum { SLAB_BLOCKS = 64 };

struct slab {
        struct list node;
        uint8_t *mem;
};

static int slab_add(struct pool *pool)
{
        void *mem = NULL;
        struct slab *s = malloc(sizeof(*s));

        if (!s || posix_memalign(&mem, ZP_BLOCK, (size_t)SLAB_BLOCKS * ZP_BLOCK)) {
                free(s);
                return -ENOMEM;
        }
        s->mem = mem;
        list_add_tail(&pool->slabs, &s->node);
        for (int i = 0; i < SLAB_BLOCKS; i++)
                list_add_tail(&pool->blocks,
                              (struct list *)(void *)(s->mem + (size_t)i * ZP_BLOCK));
        return 0;
}

uint8_t *pool_block_get(struct pool *pool)
{
        if (list_empty(&pool->blocks) && slab_add(pool) < 0)
                return NULL;
        struct list *node = pool->blocks.next;
        list_del(node);
        return (uint8_t *)node;
}

void pool_block_put(struct pool *pool, uint8_t *block)
{
        if (block)
                list_add_head(&pool->blocks, (struct list *)(void *)block);
}

struct alloc {
        struct list node;
        max_align_t mem[];
};

void *pool_alloc(struct pool *pool, size_t size)
{
        struct alloc *a = calloc(1, sizeof(*a) + size);

        if (!a)
                return NULL;
        list_add_tail(&pool->allocs, &a->node);
        return a->mem;
}

void pool_release(void *mem)
{
        if (!mem)
                return;
        struct alloc *a = container_of(mem, struct alloc, mem);
        list_del(&a->node);
        free(a);
}

void pool_event_send(struct pool *pool, enum pool_event_kind kind, int status, uint32_t device,
                     struct volume *vol, uint64_t block)
{
        struct pool_event ev = {kind, status, device, vol, block};

        if (pool->host.event)
                pool->host.event(pool->host.ctx, pool, &ev);
}

void pool_set_readonly(struct pool *pool, int status)
{
        if (pool->readonly)
                return;
        pool->readonly = true;
        pool_event_send(pool, POOL_EVENT_READONLY, status, 0, NULL, 0);
}

struct pool *pool_new(const struct pool_host *host, const struct pool_options *options)
{
        struct pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return NULL;
        pool->host = *host;
        pool->options = options ? *options : POOL_OPTIONS_DEFAULT;
        streams_init(pool);
        pool->copies = 1;
        for (int i = 0; i < TREE_BUCKETS; i++)
                list_init(&pool->trees[i]);
        list_init(&pool->inflight);
        list_init(&pool->flights);
        list_init(&pool->scans);
        list_init(&pool->asks);
        list_init(&pool->volumes);
        list_init(&pool->nodes);
        list_init(&pool->creating);
        list_init(&pool->held);
        list_init(&pool->held_over);
        list_init(&pool->flush_waits);
        list_init(&pool->flush_running);
        list_init(&pool->ckpt.waits);
        list_init(&pool->ckpt.next);
        list_init(&pool->deferred);
        list_init(&pool->member_ops);
        list_init(&pool->blocks);
        list_init(&pool->slabs);
        list_init(&pool->allocs);
        pool->mark_limit = UINT64_MAX;
        pool->catalog.id = CATALOG_TREE;
        pool->next_tree = CATALOG_TREE + 1;
        tree_init(&pool->catalog);
        pager_init(pool);
        list_add_tail(&pool->trees[CATALOG_TREE % TREE_BUCKETS], &pool->catalog.node);
        if (bitmap_init(&pool->slots, MAX_VOLUMES) < 0 || clean_init(pool) < 0 ||
            alias_init(&pool->aliases) < 0 || reap_init(pool) < 0 || mover_init(pool) < 0 ||
            scrub_init(pool) < 0) {
                pool_free(pool);
                return NULL;
        }
        return pool;
}

void pool_free(struct pool *pool)
{
        if (!pool)
                return;
        stream_free_all(pool);
        pio_forget_all(pool);
        label_scans_forget(pool);
        ckpt_free(pool);
        clean_fini(pool);
        struct volume *node;
        while ((node = list_first(&pool->nodes, struct volume, all)))
                catalog_forget(pool, node);
        pending_free(pool); /* no tree has its pins any more */
        reap_fini(pool);
        mover_fini(pool);
        scrub_fini(pool);
        alias_fini(&pool->aliases);
        tree_forget(pool, &pool->catalog);
        for (uint32_t i = 0; pool->groups && i < pool->ngroups; i++)
                free(pool->groups[i]->sum_buf);
        free(pool->groups);
        for (uint32_t i = 0; pool->devs && i < pool->ndevs; i++) {
                if (pool->closing)
                        zdev_close(pool->devs[i].dev);
                free(pool->devs[i].zones);
        }
        free(pool->devs);
        struct slab *slab, *next_slab;
        list_for_each_safe (slab, next_slab, &pool->slabs, node) {
                free(slab->mem);
                free(slab);
        }
        struct alloc *a;
        while ((a = list_first(&pool->allocs, struct alloc, node))) {
                list_del(&a->node);
                free(a);
        }
        bitmap_fini(&pool->slots);
        free(pool);
}

void pool_abandon(struct pool *pool)
{
        pool->closing = true;
        pool->dead = true;
        if (!pool->settling)
                pool_free(pool);
}

/* ---- export ---- */

struct export
{
        struct ckpt_wait wait;
        struct deferred again;
        struct pool *pool;
        int status;
        void *ctx;
        void (*done)(void *ctx, int status);
};

static void export_finish(struct deferred *d)
{
        struct export *ex = container_of(d, struct export, again);
        struct pool *pool = ex->pool;

        pool->closing = true;
        pool->dead = true;
        ex->done(ex->ctx, ex->status);
}

static void export_saved(struct ckpt_wait *w, int status)
{
        struct export *ex = container_of(w, struct export, wait);

        ex->status = status;
        ex->again.call = export_finish;
        ex->pool->running = false;
        members_cancel(ex->pool);
        /* the cleaner, resets and a wake-up may still be in flight */
        ex->pool->when_idle = &ex->again;
        wake(ex->pool); /* or nothing is, and nothing else would tell */
}

void pool_export(struct pool *pool, void *ctx, void (*done)(void *ctx, int status))
{
        struct export *ex = pool_alloc(pool, sizeof(*ex));

        if (!ex) { /* the next import recovers */
                done(ctx, -ENOMEM);
                pool_abandon(pool);
                return;
        }
        ex->pool = pool;
        ex->ctx = ctx;
        ex->done = done;
        ex->wait.done = export_saved;
        ckpt_start(pool, &ex->wait);
        pool_poll(pool);
}

/* ---- ticks ---- */

void pool_tick(struct pool *pool)
{
        uint64_t now = pool->host.now_ns(pool->host.ctx);

        if (pool->running && (pool->ndirty || pool->log_since) &&
            now - pool->last_ckpt_ns >= checkpoint_after_ns)
                ckpt_start(pool, NULL);
        clean_tick(pool, now);
        stall_tick(pool, now);
        pool_settle(pool);
}

uint64_t pool_next_tick_ns(const struct pool *pool)
{
        uint64_t next = MIN(mover_next_ns(pool), scrub_next_ns(pool));

        next = MIN(next, stall_next_ns(pool));
        if (!list_empty(&pool->deferred))
                return 0;
        if (pool->running && (pool->ndirty || pool->log_since))
                next = MIN(next, pool->last_ckpt_ns + checkpoint_after_ns);
        return MIN(next, clean_next_tick_ns(pool));
}

struct ckpt_call {
        struct ckpt_wait wait;
        void *ctx;
        void (*done)(void *ctx, int status);
};

static void ckpt_called(struct ckpt_wait *w, int status)
{
        struct ckpt_call *c = container_of(w, struct ckpt_call, wait);

        c->done(c->ctx, status);
        pool_release(c);
}

void pool_checkpoint(struct pool *pool, void *ctx, void (*done)(void *ctx, int status))
{
        struct ckpt_call *c = pool_alloc(pool, sizeof(*c));

        if (!c) {
                done(ctx, -ENOMEM);
                return;
        }
        c->ctx = ctx;
        c->done = done;
        c->wait.done = ckpt_called;
        ckpt_start(pool, &c->wait);
        pool_poll(pool);
}

/* ---- status ---- */

void pool_get_status(const struct pool *pool, struct pool_status *ret_status)
{
        uint64_t cap = space_capacity(pool),
                 used = pool->live + pool->reserved + pool->promised.blocks;
        uint64_t room = used < cap ? cap - used : 0;
        uint64_t edge = space_charge(0, MAX_HEIGHT); /* the next block may bring its pages */
        uint64_t left = space_left(pool) > edge ? space_left(pool) - edge : 0;
        struct pool_status st = {
            .uuid = pool->uuid,
            .generation = pool->generation,
            .sequence = pool->seq,
            .capacity_bytes = cap * ZP_BLOCK,
            .allocated_bytes = pool->live * ZP_BLOCK,
            .available_bytes = MIN(room, left) * ZP_BLOCK,
            .reserved_bytes = pool->promised.blocks * ZP_BLOCK,
            .unbacked_bytes = promise_unbacked(pool) * ZP_BLOCK,
            .copies = pool->copies,
            .healed_blocks = pool->healed,
            .user_write_bytes = pool->user_blocks * ZP_BLOCK,
            .absorbed_write_bytes = pool->absorbed_blocks * ZP_BLOCK,
            .device_write_bytes = pool->device_blocks * ZP_BLOCK,
            .clean_write_bytes = pool->clean_blocks * ZP_BLOCK,
            .table_write_bytes = pool->table_blocks * ZP_BLOCK,
            .held_requests = held_requests(pool),
            .lacking_bytes = space_lacking(pool) * ZP_BLOCK,
            .table_bytes = pool->npages * ZP_BLOCK,
            .table_cache_bytes = pager_bytes(pool),
            .table_cache_cap_bytes = pool->pager.cap,
            .table_hits = pool->pager.hits,
            .table_misses = pool->pager.misses,
            .nvolumes = pool->nvolumes,
            .ndevices = pool->ndevs,
            .readonly = pool->readonly,
        };
        for (unsigned c = 1; c <= POOL_MAX_GROUP_WIDTH; c++) {
                uint64_t most = space_available(pool, c);
                st.available_by_copies[c - 1] = (most > edge ? most - edge : 0) * ZP_BLOCK;
        }
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->live && group_short(pool, g))
                        st.rebuild_bytes += (uint64_t)g->live * ZP_BLOCK;
                else if (g->live && !members_whole(pool, g))
                        st.lost_bytes += (uint64_t)g->live * ZP_BLOCK;
        }
        memcpy(st.name, pool->name, sizeof(st.name));
        *ret_status = st;
}

void pool_set_table_cache(struct pool *pool, uint64_t bytes)
{
        pager_set_cap(pool, bytes);
        if (!pool->settling)
                pool_poll(pool);
}

void pool_get_device_status(const struct pool *pool, uint32_t index,
                            struct pool_device_status *ret_status)
{
        const struct pdev *d = &pool->devs[index];
        struct pool_device_status st = {
            .uuid = d->uuid,
            .written_bytes = d->written_blocks * ZP_BLOCK,
            .nr_zones = d->nr_zones,
            .error = d->error,
            .state = d->state,
            .removing = d->removing,
            .drained = d->drained,
            .stalled = d->stalled,
            .leaving_bytes = d->leaving_blocks * ZP_BLOCK,
            .stuck_bytes = d->stuck_blocks * ZP_BLOCK,
        };

        st.missing = !d->dev && pdev_holds(d);
        if (d->dev)
                memcpy(st.path, d->dev->path, sizeof(st.path));
        st.trouble = d->dev ? d->dev->trouble : NULL;
        st.waiting = d->state == POOL_DEVICE_LEAVING && mover_wants_room(pool);
        if (d->state <= POOL_DEVICE_LEAVING)
                st.open_zones = st.empty_zones = 1; /* the label ring's */
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (g->state == GROUP_GONE)
                        continue;
                for (unsigned k = 0; k < g->width; k++)
                        if (g->live && g->member[k].dev == index && !member_good(g, k, g->tail))
                                st.stale_bytes += (uint64_t)g->live * ZP_BLOCK;
                if (g->member[0].dev != index)
                        continue;
                st.live_bytes += (uint64_t)g->live * ZP_BLOCK;
                st.capacity_bytes += (uint64_t)g->zone_cap * ZP_BLOCK;
                st.bad_zones += g->state == GROUP_BAD;
                st.empty_zones += g->state == GROUP_FREE || g->state == GROUP_PARKED;
                st.open_zones += g->state == GROUP_OPEN;
                st.full_zones +=
                    g->state == GROUP_SEALED || g->state == GROUP_SEALING || g->state == GROUP_LENT;
        }
        *ret_status = st;
}
