/* How control operations run: space and lock, then one record in one batch of the user class, then
 * a flush, then the caller is told. What unmaps or freezes locks the volume's blocks first, so that
 * no write of it is in flight; what changes ownership flushes first, so that the data before it is
 * durable too. The lock goes when the record is applied: what comes behind it comes later in the
 * one order. */
#include "pool/table/vop.h"

#include <stdlib.h>
#include <string.h>

void node_pin(struct volume *node)
{
        node->pins++;
        list_del(&node->reap);
}

void node_unpin(struct volume *node)
{
        node->pins--;
        reap_check(node->pool, node);
}

static void unlock(struct vop *c)
{
        if (!c->locked)
                return;
        c->locked = false;
        lock_release(&c->vol->locks, &c->lock);
}

void vop_free(struct vop *c)
{
        if (!c)
                return;
        list_del(&c->node);
        if (c->has_slot && !c->applied)
                bitmap_clear_range(&c->pool->slots, c->slot, 1);
        if (c->parent)
                node_unpin(c->parent);
        pool_release(c->fresh);
        space_unclaim(c->pool, &c->claim);
        space_unclaim(c->pool, &c->promise);
        if (c->comes)
                space_volume_goes(c->pool, c->comes); /* counted by itself, if it came to be */
        unlock(c);
        item_free(c->pool, c->item);
        pool_release(c);
}

static void finish(struct vop *c)
{
        struct vop old = *c;
        struct volume *vol = NULL;

        if (c->created && c->status == 0)
                vol = node_by_uuid(c->pool, &c->fresh->uuid);
        vop_free(c);
        if (old.created)
                old.created(old.ctx, old.status, vol);
        else if (old.done) /* none of what another one follows: that one tells */
                old.done(old.ctx, old.status);
}

static void finish_later(struct deferred *d)
{
        finish(container_of(d, struct vop, later));
}

void vop_end_later(struct vop *c, int status)
{
        c->status = status;
        c->later.call = finish_later;
        pool_defer(c->pool, &c->later);
}

static void flushed(struct flush_wait *w, int status)
{
        struct vop *c = container_of(w, struct vop, flush);

        c->status = status;
        finish(c);
}

/* The one that follows makes a child of what c froze, and is durable no earlier. */
static void go_on(struct vop *c)
{
        struct vop *next = steal_ptr(&c->next);

        if (c->status == 0) {
                next->parent = steal_ptr(&c->parent);
                vop_start(next);
        } else {
                vop_end_later(next, c->status);
        }
        vop_free(c);
}

static void go_on_later(struct deferred *d)
{
        go_on(container_of(d, struct vop, later));
}

static void applied(struct item *it, int status)
{
        struct vop *c = it->ctx;

        c->status = status;
        c->applied = status == 0;
        space_unclaim(c->pool, &c->promise); /* promised by now, or not at all */
        if (c->next) {
                if (c->applied) {
                        c->parent = c->vol->tree->up->vol;
                        node_pin(c->parent);
                }
                go_on(c);
                return;
        }
        if (status < 0) {
                finish(c);
                return;
        }
        unlock(c);
        if (it->type == RECORD_DELETE)
                list_add_tail(&c->pool->creating, &c->node);
        c->flush.done = flushed;
        flush_add(c->pool, &c->flush);
}

static void flushed_before(struct flush_wait *w, int status);

static void unmapped(struct unmap *u, int status)
{
        struct vop *c = u->ctx;

        c->status = status;
        if (status < 0) {
                finish(c);
                return;
        }
        if (c->then_record) { /* the lock stays */
                c->unmaps = false;
                c->flush.done = flushed_before;
        } else {
                unlock(c);
                c->flush.done = flushed;
        }
        flush_add(c->pool, &c->flush);
}

static void queue(struct vop *c)
{
        int rc = c->prepare ? c->prepare(c) : 0;

        if (rc) {
                if (c->next && rc > 0) { /* what it was to freeze is frozen already */
                        c->later.call = go_on_later;
                        pool_defer(c->pool, &c->later);
                        return;
                }
                if (c->next)
                        vop_end_later(steal_ptr(&c->next), rc);
                vop_end_later(c, rc);
                return;
        }
        if (c->unmaps) {
                c->unmap = (struct unmap){.pool = c->pool,
                                          .tree = c->vol->tree,
                                          .at = c->lock.first,
                                          .own_only = c->then_record,
                                          .end = VOLUME_MAX_BYTES / ZP_BLOCK,
                                          .done = unmapped,
                                          .ctx = c};
                unmap_start(&c->unmap);
                return;
        }
        struct item *it = steal_ptr(&c->item);
        /* as redundant as anything, so that no volume's records are lost before its data are */
        struct stream *s = pool_stream(c->pool, CLASS_USER, c->pool->copies);
        if (c->vol)
                it->tree = c->vol->tree->id;
        it->done = applied;
        it->ctx = c;
        stream_add(s, it);
        stream_kick(c->pool, s);
}

static void flushed_before(struct flush_wait *w, int status)
{
        struct vop *c = container_of(w, struct vop, flush);

        if (status < 0) {
                c->status = status;
                finish(c);
                return;
        }
        queue(c);
}

static void granted(struct lock *l)
{
        queue(container_of(l, struct vop, lock));
}

void vop_lock(struct vop *c, uint64_t first_block, bool over_idle)
{
        c->locked = true;
        c->lock.first = first_block;
        c->lock.end = UINT64_MAX;
        c->lock.over_idle = over_idle;
        c->lock.grant = granted;
}

void vop_start(struct vop *c)
{
        struct pool *pool = c->pool;

        if (pool->readonly) {
                c->locked = false;
                if (c->next)
                        vop_end_later(steal_ptr(&c->next), -EROFS);
                vop_end_later(c, -EROFS);
        } else if (c->flush_first) {
                c->flush.done = flushed_before;
                flush_add(pool, &c->flush);
        } else if (!c->locked || lock_take(&c->vol->locks, &c->lock)) {
                queue(c);
        }
        if (!pool->settling)
                pool_poll(pool);
}

struct vop *vop_new(struct pool *pool, struct volume *vol, uint8_t type, uint32_t payload)
{
        struct vop *c = pool_alloc(pool, sizeof(*c));

        if (!c)
                return NULL;
        list_init(&c->node);
        c->pool = pool;
        c->vol = vol;
        c->item = item_new(pool, type, vol ? vol->tree->id : 0, 0);
        if (c->item && payload)
                c->item->payload = pool_alloc(pool, payload);
        if (!c->item || (payload && !c->item->payload)) {
                item_free(pool, c->item);
                pool_release(c);
                return NULL;
        }
        c->item->count = payload;
        return c;
}

void vop_run(struct vop *c, struct pool *pool, void *ctx, void (*done)(void *ctx, int status))
{
        if (!c) {
                vop_refuse(pool, -ENOMEM, ctx, done, NULL);
                return;
        }
        c->ctx = ctx;
        c->done = done;
        vop_start(c);
}

void vop_reserve(struct vop *c)
{
        space_claim(c->pool, &c->claim, 0, 3, c->pool->copies);
}

int vop_try_reserve(struct vop *c)
{
        if (!space_admits(c->pool, 0, 3, c->pool->copies))
                return -ENOSPC;
        vop_reserve(c);
        return 0;
}

int vop_make_fresh(struct vop *c)
{
        struct {
                struct volume vol;
                struct tree tree;
        } *both = pool_alloc(c->pool, sizeof(*both));

        if (!both)
                return -ENOMEM;
        c->fresh = &both->vol; /* its first: freed as the whole */
        both->vol.tree = &both->tree;
        return 0;
}

int vop_take_slot(struct vop *c)
{
        uint64_t slot = bitmap_next_clear(&c->pool->slots, 0);

        if (slot >= MAX_VOLUMES)
                return -ENOSPC;
        bitmap_set_range(&c->pool->slots, slot, 1);
        c->slot = (uint32_t)slot;
        c->has_slot = true;
        c->item->index = slot;
        return 0;
}

int vop_check_name(struct pool *pool, const char *name, const struct uuid *uuid,
                   const struct uuid *of)
{
        const struct volume *v;
        const struct vop *c;

        if (node_by_uuid(pool, uuid))
                return -EEXIST;
        list_for_each (v, &pool->nodes, all) {
                if (!v->doomed && node_has_name(v, name, of))
                        return -EEXIST;
        }
        list_for_each (c, &pool->creating, node) {
                v = c->fresh;
                if (uuid_equal(&v->uuid, uuid) || node_has_name(v, name, of))
                        return -EEXIST;
        }
        return 0;
}

/* ---- refusals ---- */

struct refusal {
        struct deferred later;
        int status;
        void *ctx;
        void (*done)(void *ctx, int status);
        void (*created)(void *ctx, int status, struct volume *vol);
};

static void refuse_now(struct deferred *d)
{
        struct refusal r = *container_of(d, struct refusal, later);

        pool_release(container_of(d, struct refusal, later));
        if (r.created)
                r.created(r.ctx, r.status, NULL);
        else
                r.done(r.ctx, r.status);
}

void vop_refuse(struct pool *pool, int status, void *ctx, void (*done)(void *ctx, int status),
                void (*created)(void *ctx, int status, struct volume *vol))
{
        struct refusal *r = pool_alloc(pool, sizeof(*r));

        if (!r) {
                if (created)
                        created(ctx, -ENOMEM, NULL);
                else
                        done(ctx, -ENOMEM);
                return;
        }
        r->status = status;
        r->ctx = ctx;
        r->done = done;
        r->created = created;
        r->later.call = refuse_now;
        pool_defer(pool, &r->later);
}
