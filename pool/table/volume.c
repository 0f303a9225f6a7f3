/* Control operations on volumes, see control.h. */
#include "pool/table/catalog.h"
#include "pool/table/vop.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

static int check_spec(struct pool *pool, const struct volume_spec *spec, unsigned copies)
{
        if (!spec->name || !volume_name_valid(spec->name) || uuid_is_nil(&spec->uuid) ||
            !spec->size_bytes || spec->size_bytes > VOLUME_MAX_BYTES ||
            spec->size_bytes % VOLUME_SECTOR || spec->owner_len > VOLUME_OWNER_MAX ||
            (spec->owner_len && !spec->owner) || spec->copies > POOL_MAX_GROUP_WIDTH)
                return -EINVAL;
        int rc = vop_check_name(pool, spec->name, &spec->uuid, NULL);
        if (rc < 0)
                return rc;
        return space_admits_volume(pool, copies);
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
        int rc = pool->readonly ? -EROFS : check_spec(pool, spec, copies);
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
        v->copies = copies;
        v->tree->limit = limit;
        v->owner_len = (uint16_t)spec->owner_len;
        if (spec->owner_len)
                memcpy(v->owner, spec->owner, spec->owner_len);
        c->comes = copies; /* counted from now on: its own record is as redundant */
        space_volume_comes(pool, copies);
        vop_reserve(c);
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

void volume_resize(struct volume *vol, uint64_t size_bytes, void *ctx,
                   void (*done)(void *ctx, int status))
{
        struct vop *c = NULL;

        if (size_bytes < vol->size_bytes || size_bytes % VOLUME_SECTOR ||
            size_bytes > VOLUME_MAX_BYTES) {
                vop_refuse(vol->pool, -EINVAL, ctx, done, NULL);
                return;
        }
        c = vop_new(vol->pool, vol, RECORD_RESIZE, 0);
        if (c) {
                c->item->index = size_bytes;
                /* where there is nothing yet: against others that change the size */
                vop_lock(c, DIV_ROUND_UP(vol->size_bytes, ZP_BLOCK), true);
        }
        vop_run(c, vol->pool, ctx, done);
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
