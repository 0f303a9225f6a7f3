/* Control operations on volumes: each is one record in one batch of the user class, durable when it
 * is reported. What unmaps (clear, delete) locks the whole volume first, so that no write of it is
 * in flight; what changes ownership flushes first, so that the data before it is durable too.
 * Clearing is many records in place of one (unmap.c); a deletion is durable before its blocks go,
 * and reported when they are gone. */
#include "pool/table/catalog.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

struct control {
        struct list node; /* pool.creating */
        struct lock lock;
        struct deferred later;
        struct flush_wait flush;
        struct pool *pool;
        struct volume *vol; /* not of a create */
        struct item *item;
        struct volume *fresh; /* create, delete: name and uuid that are taken until it is durable */
        uint32_t slot;
        uint64_t reserved;
        bool flush_first, locked;
        bool clears;
        struct unmap unmap;
        uint64_t tree; /* delete: of the volume */
        bool dying; /* delete: it has blocks, which the reaper takes away */
        bool waits; /* delete: durable, for the reaper */
        bool reaped,
            slot_kept; /* delete: the reaper is through; the slot is no more this one's to free */
        int status;
        void *ctx;
        void (*done)(void *ctx, int status);
        void (*created)(void *ctx, int status, struct volume *vol);
};

static void finish(struct control *c)
{
        struct control old = *c;
        struct volume *vol = NULL;

        list_del(&c->node);
        if (!c->created && c->fresh && c->status == 0 && !c->slot_kept)
                bitmap_clear_range(&c->pool->slots, c->slot, 1);
        if (c->created) {
                vol = c->status == 0 ? volume_by_uuid(c->pool, &c->fresh->uuid) : NULL;
                if (c->status < 0 && !volume_by_uuid(c->pool, &c->fresh->uuid))
                        bitmap_clear_range(&c->pool->slots, c->slot, 1);
        }
        pool_release(c->fresh);
        c->pool->reserved -= c->reserved;
        if (c->locked)
                lock_release(c->vol, &c->lock);
        item_free(c->pool, c->item);
        pool_release(c);
        if (old.created)
                old.created(old.ctx, old.status, vol);
        else
                old.done(old.ctx, old.status);
}

static void finish_later(struct deferred *d)
{
        finish(container_of(d, struct control, later));
}

static void end_later(struct control *c, int status)
{
        c->status = status;
        c->later.call = finish_later;
        pool_defer(c->pool, &c->later);
}

static void flushed(struct flush_wait *w, int status)
{
        struct control *c = container_of(w, struct control, flush);

        if (status == 0 && c->dying && !c->reaped) {
                c->waits = true;
                return;
        }
        c->status = status;
        finish(c);
}

void volume_reaped(struct pool *pool, uint64_t tree)
{
        struct control *c;

        list_for_each (c, &pool->creating, node) {
                if (c->tree != tree)
                        continue;
                c->reaped = c->slot_kept = true;
                if (c->waits)
                        end_later(c, 0);
                return;
        }
}

static void applied(struct item *it, int status)
{
        struct control *c = it->ctx;

        if (status < 0) {
                c->status = status;
                finish(c);
                return;
        }
        if (it->type == RECORD_DELETE) {
                c->locked = false; /* the volume is gone, and its lock with it */
                c->dying = pool_tree(c->pool, c->tree) != NULL;
                list_add_tail(&c->pool->creating, &c->node);
        }
        c->flush.done = flushed;
        flush_add(c->pool, &c->flush);
}

static void cleared(struct unmap *u, int status)
{
        struct control *c = u->ctx;

        if (status < 0) {
                c->status = status;
                finish(c);
                return;
        }
        c->flush.done = flushed;
        flush_add(c->pool, &c->flush);
}

static void queue(struct control *c)
{
        if (c->clears) {
                c->unmap = (struct unmap){.pool = c->pool,
                                          .tree = &c->vol->tree,
                                          .end = VOLUME_MAX_BYTES / ZP_BLOCK,
                                          .done = cleared,
                                          .ctx = c};
                unmap_start(&c->unmap);
                return;
        }
        struct item *it = steal_ptr(&c->item);
        /* as redundant as anything, so that no volume's records are lost before its data are */
        struct stream *s = pool_stream(c->pool, CLASS_USER, c->pool->copies);

        it->done = applied;
        it->ctx = c;
        stream_add(s, it);
        stream_kick(c->pool, s);
}

static void flushed_before(struct flush_wait *w, int status)
{
        struct control *c = container_of(w, struct control, flush);

        if (status < 0) {
                c->status = status;
                finish(c);
                return;
        }
        queue(c);
}

static void granted(struct lock *l)
{
        queue(container_of(l, struct control, lock));
}

static void start(struct control *c)
{
        struct pool *pool = c->pool;

        if (pool->readonly) {
                c->locked = false;
                end_later(c, -EROFS);
        } else if (c->flush_first) {
                c->flush.done = flushed_before;
                flush_add(pool, &c->flush);
        } else if (c->locked) {
                c->lock.first = 0;
                c->lock.end = UINT64_MAX;
                c->lock.grant = granted;
                if (lock_take(c->vol, &c->lock))
                        queue(c);
        } else {
                queue(c);
        }
        if (!pool->settling)
                pool_poll(pool);
}

static struct control *control_new(struct pool *pool, struct volume *vol, uint8_t type,
                                   uint64_t tree, uint64_t index, uint32_t payload)
{
        struct control *c = pool_alloc(pool, sizeof(*c));

        if (!c)
                return NULL;
        list_init(&c->node);
        c->pool = pool;
        c->vol = vol;
        c->item = item_new(pool, type, tree, index);
        if (c->item && payload) {
                c->item->payload = pool_alloc(pool, payload);
                c->item->count = payload;
        } else if (c->item) {
                c->item->count = 0;
        }
        if (!c->item || (payload && !c->item->payload)) {
                item_free(pool, c->item);
                pool_release(c);
                return NULL;
        }
        return c;
}

/* ---- create ---- */

static bool name_taken(struct pool *pool, const struct volume_spec *spec)
{
        struct control *c;

        if (volume_by_name(pool, spec->name) || volume_by_uuid(pool, &spec->uuid))
                return true;
        list_for_each (c, &pool->creating, node) {
                if (!strcmp(c->fresh->name, spec->name) || uuid_equal(&c->fresh->uuid, &spec->uuid))
                        return true;
        }
        return false;
}

static int check_spec(struct pool *pool, const struct volume_spec *spec)
{
        if (!spec->name || !volume_name_valid(spec->name) || uuid_is_nil(&spec->uuid) ||
            !spec->size_bytes || spec->size_bytes > VOLUME_MAX_BYTES ||
            spec->size_bytes % VOLUME_SECTOR || spec->owner_len > VOLUME_OWNER_MAX ||
            (spec->owner_len && !spec->owner) || spec->copies > 1)
                return -EINVAL;
        if (name_taken(pool, spec))
                return -EEXIST;
        if (space_left(pool) < space_charge(1, 2) ||
            bitmap_next_clear(&pool->slots, 0) == MAX_VOLUMES)
                return -ENOSPC;
        return 0;
}

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

static void refuse(struct pool *pool, int status, void *ctx, void (*done)(void *ctx, int status),
                   void (*created)(void *ctx, int status, struct volume *vol))
{
        struct refusal *r = pool_alloc(pool, sizeof(*r));

        if (!r) {
                struct refusal now = {.status = -ENOMEM};
                if (created)
                        created(ctx, now.status, NULL);
                else
                        done(ctx, now.status);
                return;
        }
        r->status = status;
        r->ctx = ctx;
        r->done = done;
        r->created = created;
        r->later.call = refuse_now;
        pool_defer(pool, &r->later);
}

void volume_create(struct pool *pool, const struct volume_spec *spec, void *ctx,
                   void (*done)(void *ctx, int status, struct volume *vol))
{
        int rc = pool->readonly ? -EROFS : check_spec(pool, spec);
        struct volume *v = rc == 0 ? pool_alloc(pool, sizeof(*v)) : NULL;
        struct control *c = NULL;

        if (v) {
                memcpy(v->name, spec->name, strlen(spec->name));
                v->uuid = spec->uuid;
                v->size_bytes = spec->size_bytes;
                v->tree.id = pool->next_tree;
                v->copies = spec->copies ? spec->copies : 1;
                v->owner_len = (uint16_t)spec->owner_len;
                if (spec->owner_len)
                        memcpy(v->owner, spec->owner, spec->owner_len);
                c = control_new(pool, NULL, RECORD_CREATE, v->tree.id, 0,
                                INODE_FIXED + v->owner_len);
        }
        if (!c) {
                pool_release(v);
                refuse(pool, rc < 0 ? rc : -ENOMEM, ctx, NULL, done);
                return;
        }
        pool->next_tree++;
        c->slot = (uint32_t)bitmap_next_clear(&pool->slots, 0);
        bitmap_set_range(&pool->slots, c->slot, 1);
        c->item->index = c->slot;
        inode_encode(v, c->item->payload);
        c->fresh = v;
        c->reserved = 3;
        pool->reserved += 3;
        c->ctx = ctx;
        c->created = done;
        list_add_tail(&pool->creating, &c->node);
        start(c);
}

/* ---- the others ---- */

static void run(struct control *c, struct pool *pool, bool locked, void *ctx,
                void (*done)(void *ctx, int status))
{
        if (!c) {
                refuse(pool, -ENOMEM, ctx, done, NULL);
                return;
        }
        c->locked = locked;
        c->ctx = ctx;
        c->done = done;
        start(c);
}

void volume_resize(struct volume *vol, uint64_t size_bytes, void *ctx,
                   void (*done)(void *ctx, int status))
{
        if (size_bytes < vol->size_bytes || size_bytes % VOLUME_SECTOR ||
            size_bytes > VOLUME_MAX_BYTES) {
                refuse(vol->pool, -EINVAL, ctx, done, NULL);
                return;
        }
        run(control_new(vol->pool, vol, RECORD_RESIZE, vol->tree.id, size_bytes, 0), vol->pool,
            false, ctx, done);
}

void volume_delete(struct volume *vol, void *ctx, void (*done)(void *ctx, int status))
{
        struct pool *pool = vol->pool;
        struct control *c = control_new(pool, vol, RECORD_DELETE, vol->tree.id, 0, 0);

        /* Name, uuid and slot may not be used again before the deletion is durable: a power cut
         * could lose it and keep the creation. */
        if (c)
                c->fresh = pool_alloc(pool, sizeof(*c->fresh));
        if (c && !c->fresh) {
                item_free(pool, c->item);
                pool_release(c);
                c = NULL;
        }
        if (c) {
                memcpy(c->fresh->name, vol->name, sizeof(vol->name));
                c->fresh->uuid = vol->uuid;
                c->slot = vol->slot;
                c->tree = vol->tree.id;
        }
        run(c, pool, true, ctx, done);
}

void volume_clear(struct volume *vol, void *ctx, void (*done)(void *ctx, int status))
{
        struct control *c = control_new(vol->pool, vol, RECORD_DISCARD, vol->tree.id, 0, 0);

        if (c)
                c->clears = true;
        run(c, vol->pool, true, ctx, done);
}

void volume_set_owner(struct pool *pool, const struct volume_owner_update *updates, uint32_t n,
                      void *ctx, void (*done)(void *ctx, int status))
{
        uint32_t bytes = 0;
        bool valid = n >= 1 && n <= 64;

        for (uint32_t i = 0; valid && i < n; i++) {
                valid = updates[i].len <= VOLUME_OWNER_MAX && updates[i].vol->pool == pool;
                bytes += 12 + (uint32_t)updates[i].len;
        }
        if (!valid || (bytes + HEADER_FIXED + RECORD_FIXED) / ZP_BLOCK + 2 > pool->min_cap) {
                refuse(pool, -EINVAL, ctx, done, NULL);
                return;
        }
        struct control *c = control_new(pool, NULL, RECORD_OWNER, 0, 0, bytes);
        if (c) {
                uint8_t *p = c->item->payload;
                for (uint32_t i = 0; i < n; i++) {
                        put_le64(p, updates[i].vol->tree.id);
                        put_le32(p + 8, (uint32_t)updates[i].len);
                        memcpy(p + 12, updates[i].record, updates[i].len);
                        p += 12 + updates[i].len;
                }
                c->flush_first = true;
        }
        run(c, pool, false, ctx, done);
}
