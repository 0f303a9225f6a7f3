/* Snapshots, clones, going back to a snapshot: records that change which tree stands above which,
 * see chain.c. None of them looks at a block, whatever the volume's size. */
#include "pool/table/catalog.h"
#include "pool/table/vop.h"

#include "base/le.h"

#include <string.h>

static bool may_be_used(const struct volume *snap)
{
        return snap->frozen && !snap->doomed && !snap->going;
}

static void random_uuid(struct pool *pool, struct uuid *uuid)
{
        pool->host.random(pool->host.ctx, uuid->b, sizeof(uuid->b));
        uuid_from_random(uuid);
}

/* What the volume has stays with what it is above from now on, and what is reserved for it is
 * promised anew. */
static int promise_anew(struct vop *c, uint64_t size_bytes)
{
        struct volume *v = c->vol;

        if (!v->reserved_bytes)
                return 0;
        return promise_claim(v, size_bytes, MIN(v->reserved_bytes, size_bytes), PROMISE_FROZEN,
                             &c->promise);
}

/* ---- snapshots ---- */

/* The volume stands still: what it has is frozen as fresh, and it goes on with a new tree. */
static int prepare_snapshot(struct vop *c)
{
        struct volume *as = c->fresh;

        if (c->vol->frozen)
                return -ENOENT; /* deleted meanwhile */
        if (promise_anew(c, c->vol->size_bytes) < 0)
                return -ENOSPC;
        as->tree->id = c->vol->tree->id;
        as->size_bytes = c->vol->size_bytes;
        as->copies = c->vol->copies;
        put_le64(c->item->payload, c->pool->next_tree++);
        inode_encode(as, c->item->payload + 8);
        return 0;
}

static struct vop *freeze_new(struct volume *vol, int *ret_status)
{
        struct vop *c = vop_new(vol->pool, vol, RECORD_SNAPSHOT, 8 + INODE_FIXED);
        int rc = c ? vop_take_slot(c) : -ENOMEM;

        if (rc == 0)
                rc = vop_make_fresh(c);
        if (rc == 0)
                rc = vop_try_reserve(c);
        if (rc < 0) {
                vop_free(c);
                *ret_status = rc;
                return NULL;
        }
        c->fresh->frozen = true;
        vop_lock(c, 0, true);
        return c;
}

void snapshot_create(struct volume *vol, const struct snapshot_spec *spec, void *ctx,
                     void (*done)(void *ctx, int status, struct volume *snap))
{
        struct pool *pool = vol->pool;
        struct vop *c = NULL;
        int rc = 0;

        if (pool->readonly)
                rc = -EROFS;
        else if (vol->frozen || !spec->name || !volume_name_valid(spec->name) ||
                 uuid_is_nil(&spec->uuid))
                rc = -EINVAL;
        else
                rc = vop_check_name(pool, spec->name, &spec->uuid, &vol->uuid);
        if (rc == 0)
                c = freeze_new(vol, &rc);
        if (!c) {
                vop_refuse(pool, rc, ctx, NULL, done);
                return;
        }
        memcpy(c->fresh->name, spec->name, strlen(spec->name));
        c->fresh->uuid = spec->uuid;
        c->fresh->of = vol->uuid;
        c->fresh->time = spec->time;
        c->prepare = prepare_snapshot;
        c->ctx = ctx;
        c->created = done;
        list_add_tail(&pool->creating, &c->node);
        vop_start(c);
}

struct removal {
        struct volume *snap;
        void *ctx;
        void (*done)(void *ctx, int status);
};

static void removed(void *ctx, int status)
{
        struct removal r = *(struct removal *)ctx;

        if (status < 0)
                r.snap->going = false;
        pool_release(ctx);
        r.done(r.ctx, status);
}

void snapshot_delete(struct volume *snap, void *ctx, void (*done)(void *ctx, int status))
{
        struct pool *pool = snap->pool;
        struct removal *r = NULL;

        if (!may_be_used(snap)) {
                vop_refuse(pool, snap->frozen ? -EBUSY : -EINVAL, ctx, done, NULL);
                return;
        }
        r = pool_alloc(pool, sizeof(*r));
        if (!r) {
                vop_refuse(pool, -ENOMEM, ctx, done, NULL);
                return;
        }
        *r = (struct removal){snap, ctx, done};
        snap->going = true;
        volume_delete(snap, r, removed);
}

/* ---- going back ---- */

static int prepare_revert(struct vop *c)
{
        struct uuid uuid;

        if (c->vol->frozen || !may_be_used(c->parent))
                return -ENOENT; /* deleted meanwhile */
        if (promise_anew(c, c->parent->size_bytes) < 0)
                return -ENOSPC;
        random_uuid(c->pool, &uuid);
        put_le64(c->item->payload, c->pool->next_tree++);
        put_le64(c->item->payload + 8, c->parent->tree->id);
        memcpy(c->item->payload + 16, uuid.b, 16);
        return 0;
}

void volume_revert(struct volume *vol, struct volume *snap, void *ctx,
                   void (*done)(void *ctx, int status))
{
        struct pool *pool = vol->pool;
        struct vop *c = NULL;
        int rc = 0;

        if (snap->pool != pool || vol->frozen || !snap->frozen ||
            !uuid_equal(&snap->of, &vol->uuid))
                rc = -EINVAL;
        else if (!may_be_used(snap))
                rc = -EBUSY;
        else if (!(c = vop_new(pool, vol, RECORD_REVERT, 32)))
                rc = -ENOMEM;
        else
                rc = vop_take_slot(c);
        if (rc < 0) {
                vop_free(c);
                vop_refuse(pool, rc, ctx, done, NULL);
                return;
        }
        c->parent = snap;
        node_pin(snap);
        c->prepare = prepare_revert;
        vop_lock(c, 0, false);
        vop_run(c, pool, ctx, done);
}

/* ---- clones ---- */

/* A volume without anything of its own since it was frozen is what was frozen: another child of
 * that needs nothing new to be frozen. */
static int prepare_clone(struct vop *c)
{
        struct volume *from = c->vol;
        struct tree *t = from->tree;

        if (from->frozen)
                return -ENOENT;
        if (c->next->fresh->size_bytes < from->size_bytes)
                return -EINVAL; /* grown meanwhile */
        c->next->fresh->tree->limit = DIV_ROUND_UP(from->size_bytes, ZP_BLOCK);
        if (!t->height && t->up) {
                c->next->fresh->tree->limit = t->limit;
                c->parent = t->up->vol;
                node_pin(c->parent);
                return 1;
        }
        return prepare_snapshot(c);
}

void volume_clone(struct volume *from, const struct volume_spec *spec, void *ctx,
                  void (*done)(void *ctx, int status, struct volume *vol))
{
        struct pool *pool = from->pool;
        struct volume_spec own = *spec;
        struct vop *create = NULL, *c = NULL;
        bool frozen = from->frozen;
        int rc = 0;

        if (!own.size_bytes)
                own.size_bytes = from->size_bytes;
        if (!own.copies)
                own.copies = from->copies;
        if (own.size_bytes < from->size_bytes)
                rc = -EINVAL;
        else if (frozen && !may_be_used(from))
                rc = -EBUSY;
        else
                create = create_new(pool, &own, frozen ? from : NULL,
                                    DIV_ROUND_UP(from->size_bytes, ZP_BLOCK), ctx, done, &rc);
        if (create && !frozen && !(c = freeze_new(from, &rc))) {
                vop_free(create);
                create = NULL;
        }
        if (!create) {
                vop_refuse(pool, rc, ctx, NULL, done);
                return;
        }
        create->fresh->of = from->uuid;
        if (frozen) {
                vop_start(create);
                return;
        }
        c->fresh->doomed = true; /* it lasts as long as it has two children */
        random_uuid(pool, &c->fresh->uuid);
        c->prepare = prepare_clone;
        c->next = create;
        vop_start(c);
}

/* ---- looking ---- */

struct volume *snapshot_next(struct volume *vol, struct volume *prev)
{
        struct pool *pool = vol->pool;
        struct list *node = prev ? prev->all.next : pool->nodes.next;

        for (; node != &pool->nodes; node = node->next) {
                struct volume *v = list_entry(node, struct volume, all);
                if (v->frozen && !v->doomed && uuid_equal(&v->of, &vol->uuid))
                        return v;
        }
        return NULL;
}

struct volume *snapshot_by_name(struct volume *vol, const char *name)
{
        struct volume *s = NULL;

        while ((s = snapshot_next(vol, s)))
                if (!strcmp(s->name, name))
                        return s;
        return NULL;
}

struct volume *volume_origin(const struct volume *vol)
{
        bool stands_alone = vol->frozen || !vol->tree->up || uuid_is_nil(&vol->of);

        return stands_alone ? NULL : node_by_uuid(vol->pool, &vol->of);
}

void snapshot_get_info(const struct volume *snap, struct snapshot_info *ret_info)
{
        const struct tree *up = snap->tree->up;
        struct snapshot_info info = {
            .uuid = snap->uuid,
            .of = snap->of,
            .size_bytes = snap->size_bytes,
            .own_bytes = snap->tree->live * ZP_BLOCK,
            .time = snap->time,
            .created_sequence = snap->created_seq,
            .children = snap->tree->nkids,
        };

        memcpy(info.name, snap->name, sizeof(info.name));
        if (up && up->vol && !up->vol->doomed)
                info.parent = up->vol->uuid;
        *ret_info = info;
}
