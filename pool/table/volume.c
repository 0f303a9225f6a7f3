/* Control operations on volumes, see control.h. */
#include "pool/table/catalog.h"
#include "pool/table/vop.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

static int check_spec(struct pool *pool, const struct volume_spec *spec, unsigned copies,
                      struct promise promise)
{
        if (!spec->name || !volume_name_valid(spec->name) || uuid_is_nil(&spec->uuid) ||
            !spec->size_bytes || spec->size_bytes > VOLUME_MAX_BYTES ||
            spec->size_bytes % VOLUME_SECTOR || spec->owner_len > VOLUME_OWNER_MAX ||
            (spec->owner_len && !spec->owner) || spec->copies > POOL_MAX_GROUP_WIDTH ||
            spec->reserved_bytes > spec->size_bytes || spec->reserved_bytes % VOLUME_SECTOR)
                return -EINVAL;
        int rc = vop_check_name(pool, spec->name, &spec->uuid, NULL);
        if (rc < 0)
                return rc;
        return space_admits_volume(pool, copies, promise.blocks, promise.pages);
}

int pool_admits_volumes(struct pool *pool, const struct volume_need need[POOL_MAX_GROUP_WIDTH],
                        unsigned *ret_copies)
{
        uint64_t blocks[POOL_MAX_GROUP_WIDTH];
        uint32_t volumes[POOL_MAX_GROUP_WIDTH];

        for (unsigned c = 0; c < POOL_MAX_GROUP_WIDTH; c++) {
                volumes[c] = need[c].volumes;
                blocks[c] = DIV_ROUND_UP(need[c].bytes, ZP_BLOCK);
        }
        return pool->readonly ? -EROFS : space_admits_volumes(pool, volumes, blocks, ret_copies);
}

/* Ids rise along a chain of parents, so they are given out only now. */
static int prepare_create(struct vop *c)
{
        struct tree *t = c->fresh->tree;

        t->id = c->pool->next_tree++;
        t->parent = c->parent ? c->parent->tree->id : 0;
        t->limit = c->parent ? t->limit : 0;
        c->item->tree = t->id;
        inode_encode(c->fresh, c->item->payload);
        return 0;
}

struct vop *create_new(struct pool *pool, const struct volume_spec *spec, struct volume *parent,
                       uint64_t limit, void *ctx,
                       void (*done)(void *ctx, int status, struct volume *vol), int *ret_status)
{
        uint8_t copies = spec->copies ? spec->copies : parent ? parent->copies : 1;
        struct promise promise =
            promise_whole(spec->size_bytes, spec->reserved_bytes, parent || limit);
        int rc = pool->readonly ? -EROFS : check_spec(pool, spec, copies, promise);
        struct vop *c = NULL;

        if (rc == 0) {
                c = vop_new(pool, NULL, RECORD_CREATE, INODE_FIXED + (uint32_t)spec->owner_len);
                rc = c ? vop_take_slot(c) : -ENOMEM;
        }
        if (rc == 0)
                rc = vop_make_fresh(c);
        if (rc < 0) {
                vop_free(c);
                *ret_status = rc;
                return NULL;
        }
        struct volume *v = c->fresh;
        memcpy(v->name, spec->name, strlen(spec->name));
        v->uuid = spec->uuid;
        v->size_bytes = spec->size_bytes;
        v->reserved_bytes = spec->reserved_bytes;
        v->copies = copies;
        v->tree->limit = limit;
        v->owner_len = (uint16_t)spec->owner_len;
        if (spec->owner_len)
                memcpy(v->owner, spec->owner, spec->owner_len);
        c->comes = copies; /* counted from now on: its own record is as redundant */
        space_volume_comes(pool, copies);
        vop_reserve(c);
        space_claim(pool, &c->promise, promise.blocks, promise.pages, copies);
        c->parent = parent;
        if (parent)
                node_pin(parent);
        c->prepare = prepare_create;
        c->ctx = ctx;
        c->created = done;
        list_add_tail(&pool->creating, &c->node);
        return c;
}

void volume_create(struct pool *pool, const struct volume_spec *spec, void *ctx,
                   void (*done)(void *ctx, int status, struct volume *vol))
{
        int rc;
        struct vop *c = create_new(pool, spec, NULL, 0, ctx, done, &rc);

        if (c)
                vop_start(c);
        else
                vop_refuse(pool, rc, ctx, NULL, done);
}

/* ---- the others ---- */

/* Under the lock; where something is cut off twice, before and after that. */
static int prepare_resize(struct vop *c)
{
        struct volume *vol = c->vol;
        uint64_t size = c->to.size_bytes ? c->to.size_bytes : vol->size_bytes;
        uint64_t reserved = c->to.reserved_bytes;
        int rc = 0;

        if (vol->frozen)
                return -ENOENT; /* deleted meanwhile */
        if (reserved == VOLUME_KEEP)
                reserved = MIN(vol->reserved_bytes, size);
        if (reserved > size || (size < vol->size_bytes && !c->to.shrink))
                return -EINVAL; /* resized meanwhile */
        if (reserved > vol->reserved_bytes && c->lock.first)
                return -EBUSY; /* less was reserved meanwhile: its blocks do not stand still */
        if (!c->promise.copies)
                rc = promise_claim(vol, size, reserved,
                                   c->lock.first ? PROMISE_MOVING : PROMISE_STILL, &c->promise);
        c->item->index = size;
        put_le64(c->item->payload, reserved);
        return rc;
}

static void resize(struct volume *vol, const struct volume_size *to, void *ctx,
                   void (*done)(void *ctx, int status))
{
        struct vop *c = vop_new(vol->pool, vol, RECORD_RESIZE, 8);
        bool shrinks = to->size_bytes && to->size_bytes < vol->size_bytes;
        bool more = !shrinks && to->reserved_bytes != VOLUME_KEEP &&
                    to->reserved_bytes > vol->reserved_bytes;
        uint64_t end = DIV_ROUND_UP(shrinks ? to->size_bytes : vol->size_bytes, ZP_BLOCK);

        if (c) {
                c->to = *to;
                c->prepare = prepare_resize;
                c->unmaps = c->then_record = shrinks;
                /* What it is promised goes by what it has: that stands still meanwhile. Else where
                 * there is, or will be, nothing: against others that change the size. */
                vop_lock(c, more ? 0 : end, !shrinks);
        }
        vop_run(c, vol->pool, ctx, done);
}

/* Of the block that becomes the last one, what lies behind the end must read as zeroes. */
struct edge {
        struct volume_io io;
        struct volume *vol;
        struct volume_size to;
        void *ctx;
        void (*done)(void *ctx, int status);
};

static void edge_cleared(struct volume_io *io, int status)
{
        struct edge *e = container_of(io, struct edge, io);
        struct edge own = *e;

        pool_release(e);
        if (status < 0)
                own.done(own.ctx, status);
        else
                resize(own.vol, &own.to, own.ctx, own.done);
}

static void clear_edge(struct volume *vol, const struct volume_size *to, void *ctx,
                       void (*done)(void *ctx, int status))
{
        struct edge *e = pool_alloc(vol->pool, sizeof(*e));
        uint64_t end = MIN(DIV_ROUND_UP(to->size_bytes, ZP_BLOCK) * ZP_BLOCK, vol->size_bytes);

        if (!e) {
                vop_refuse(vol->pool, -ENOMEM, ctx, done, NULL);
                return;
        }
        *e = (struct edge){.vol = vol, .to = *to, .ctx = ctx, .done = done};
        e->io = (struct volume_io){.op = VOLUME_WRITE_ZEROES,
                                   .no_hold = true,
                                   .offset_bytes = to->size_bytes,
                                   .length_bytes = end - to->size_bytes,
                                   .done = edge_cleared};
        volume_submit(vol, &e->io);
}

void volume_set_size(struct volume *vol, const struct volume_size *to, void *ctx,
                     void (*done)(void *ctx, int status))
{
        uint64_t size = to->size_bytes ? to->size_bytes : vol->size_bytes;
        bool keeps = to->reserved_bytes == VOLUME_KEEP;

        if ((size < vol->size_bytes && !to->shrink) || size % VOLUME_SECTOR ||
            size > VOLUME_MAX_BYTES || vol->frozen ||
            (!keeps && (to->reserved_bytes > size || to->reserved_bytes % VOLUME_SECTOR)) ||
            (size < vol->size_bytes && !keeps && to->reserved_bytes > vol->reserved_bytes))
                vop_refuse(vol->pool, -EINVAL, ctx, done, NULL);
        else if (size < vol->size_bytes && size % ZP_BLOCK)
                clear_edge(vol, to, ctx, done);
        else
                resize(vol, to, ctx, done);
}

void volume_resize(struct volume *vol, uint64_t size_bytes, void *ctx,
                   void (*done)(void *ctx, int status))
{
        struct volume_size to = {.size_bytes = size_bytes, .reserved_bytes = VOLUME_KEEP};

        if (size_bytes)
                volume_set_size(vol, &to, ctx, done);
        else
                vop_refuse(vol->pool, -EINVAL, ctx, done, NULL);
}

/* A snapshot may have been taken since the call. */
static int prepare_delete(struct vop *c)
{
        struct volume *v;

        if (c->vol->doomed)
                return -ENOENT;
        list_for_each (v, &c->pool->nodes, all) {
                if (v->frozen && !v->doomed && uuid_equal(&v->of, &c->vol->uuid))
                        return -EBUSY;
        }
        return 0;
}

void volume_delete(struct volume *vol, void *ctx, void (*done)(void *ctx, int status))
{
        struct pool *pool = vol->pool;
        struct vop *c = vop_new(pool, vol, RECORD_DELETE, 0);

        /* Name and uuid may not be used again before the deletion is durable: a power cut could
         * lose it and keep the creation. */
        if (c && vop_make_fresh(c) < 0) {
                vop_free(c);
                c = NULL;
        }
        if (c) {
                memcpy(c->fresh->name, vol->name, sizeof(vol->name));
                c->fresh->uuid = vol->uuid;
                c->fresh->of = vol->of;
                c->fresh->frozen = vol->frozen;
                c->prepare = prepare_delete;
                if (!vol->frozen)
                        vop_lock(c, 0, false);
        }
        vop_run(c, pool, ctx, done);
}

void volume_clear(struct volume *vol, void *ctx, void (*done)(void *ctx, int status))
{
        struct vop *c = vop_new(vol->pool, vol, RECORD_DISCARD, 0);

        if (c) {
                c->unmaps = true;
                vop_lock(c, 0, false);
        }
        vop_run(c, vol->pool, ctx, done);
}

void volume_set_owner(struct pool *pool, const struct volume_owner_update *updates, uint32_t n,
                      void *ctx, void (*done)(void *ctx, int status))
{
        uint32_t bytes = 0;
        bool valid = n >= 1 && n <= 64;

        for (uint32_t i = 0; valid && i < n; i++) {
                valid = updates[i].len <= VOLUME_OWNER_MAX && updates[i].vol->pool == pool &&
                        !updates[i].vol->frozen;
                bytes += OWNER_FIXED + (uint32_t)updates[i].len;
        }
        if (!valid || (bytes + HEADER_FIXED + RECORD_FIXED) / ZP_BLOCK + 2 > pool->min_cap) {
                vop_refuse(pool, -EINVAL, ctx, done, NULL);
                return;
        }
        struct vop *c = vop_new(pool, NULL, RECORD_OWNER, bytes);
        if (c) {
                uint8_t *p = c->item->payload;
                for (uint32_t i = 0; i < n; i++) {
                        memcpy(p, updates[i].vol->uuid.b, 16);
                        put_le32(p + 16, (uint32_t)updates[i].len);
                        memcpy(p + OWNER_FIXED, updates[i].record, updates[i].len);
                        p += OWNER_FIXED + updates[i].len;
                }
                c->flush_first = true;
        }
        vop_run(c, pool, ctx, done);
}
