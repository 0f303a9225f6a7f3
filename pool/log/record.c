/* The one rule by which records change the tables: at run time when a batch has completed, in
 * replay in the order of sequences. Batches in flight together never touch the same block (locks),
 * but for moves; a move applies only where the entry still is what was moved. So both orders end
 * alike. */
#include "pool/internal.h"

#include "base/le.h"

#include <string.h>

/* That generation of the group is what entries may name now. A group that was freed since the
 * checkpoint is named in two: in the older one by tables replay began with. */
static bool generation_fits(const struct group *g, uint32_t generation)
{
        return g->generation == generation || (g->released && g->generation - 1 == generation);
}

bool record_moved(const struct pool *pool, const struct record *rec, uint32_t i, uint64_t *ret_from)
{
        uint32_t generation;

        record_from(rec, i, ret_from, &generation);
        return addr_group(*ret_from) < pool->ngroups &&
               generation_fits(pool->groups[addr_group(*ret_from)], generation);
}

static int apply_writes(struct pool *pool, struct tree *t, const struct record *rec, uint32_t group,
                        uint32_t data_off)
{
        for (uint32_t i = 0; i < rec->count; i++) {
                struct entry e = {addr_make(group, data_off + rec->data + i), record_crc(rec, i)};
                uint64_t index = record_index(rec, i);
                int rc = index < VOLUME_MAX_BYTES / ZP_BLOCK ? tree_set(pool, t, index, e) : 0;
                if (rc < 0)
                        return rc;
        }
        t->vol->user_blocks += rec->count;
        return 0;
}

/* The tree named may be on its way to its heir, or there: the entry is looked for where it can be.
 */
static int apply_moves(struct pool *pool, const struct record *rec, uint32_t group,
                       uint32_t data_off)
{
        for (uint32_t i = 0; i < rec->count; i++) {
                struct entry e = {addr_make(group, data_off + rec->data + i), record_crc(rec, i)};
                uint64_t from, index = record_index(rec, i);
                if (!record_moved(pool, rec, i, &from))
                        continue;
                struct tree *t = tree_of_block(pool, rec->tree, index, from);
                if (!t || !t->vol)
                        continue;
                int rc = tree_set(pool, t, index, e);
                if (rc < 0)
                        return rc;
                pool->groups[addr_group(from)]->departed++;
                t->vol->moved_blocks++;
        }
        return 0;
}

/* Whether a new inode's place, name and uuid are free. They are given out again only when durably
 * free, so nothing else can be. */
static bool taken(struct pool *pool, const struct volume *vol, uint64_t slot)
{
        struct volume *other;

        if (slot >= MAX_VOLUMES || vol->tree->height)
                return true;
        list_for_each (other, &pool->nodes, all) {
                if (other->slot == slot)
                        return true;
                if (other->doomed || vol->doomed)
                        continue;
                if (uuid_equal(&other->uuid, &vol->uuid) ||
                    node_has_name(other, vol->name, vol->frozen ? &vol->of : NULL))
                        return true;
        }
        return false;
}

static int apply_create(struct pool *pool, const struct record *rec, uint64_t seq)
{
        struct tree tree = {0};
        struct volume vol = {.tree = &tree};

        if (inode_decode(rec->payload, rec->payload_bytes, &vol) < 0 || vol.frozen ||
            tree.id != rec->tree || taken(pool, &vol, rec->index) || pool_tree(pool, rec->tree))
                return 0;
        struct tree *up = tree.parent ? pool_tree(pool, tree.parent) : NULL;
        if (tree.parent && (!up || !up->vol || !up->vol->frozen))
                return 0;
        vol.created_seq = seq;
        vol.dirty = true;
        struct volume *made = catalog_add(pool, &vol, (uint32_t)rec->index);
        if (made && up)
                tree_link(made->tree, up);
        return made ? 0 : -ENOMEM;
}

/* What the volume has becomes that of a new, frozen node, and the volume goes on with a new tree
 * above up, or above what it had: of that shows so much as the volume has. */
static struct volume *freeze_head(struct pool *pool, struct volume *vol, struct volume *as,
                                  uint32_t slot, uint64_t id, struct tree *up)
{
        struct tree tree = {.id = id};

        as->frozen = true;
        as->dirty = true;
        as->tree = &tree;
        struct volume *node = catalog_add(pool, as, slot);
        if (!node)
                return NULL;
        struct tree *fresh = node->tree;
        node->tree = vol->tree;
        node->tree->vol = node;
        vol->tree = fresh;
        fresh->vol = vol;
        if (up)
                vol->size_bytes = up->vol->size_bytes;
        vol->reserved_bytes = MIN(vol->reserved_bytes, vol->size_bytes);
        fresh->limit = DIV_ROUND_UP(vol->size_bytes, ZP_BLOCK);
        fresh->root_changed = true;
        tree_link(fresh, up ? up : node->tree);
        vol->dirty = true;
        reap_check(pool, node);
        return node;
}

static int apply_snapshot(struct pool *pool, struct tree *t, const struct record *rec, uint64_t seq)
{
        struct tree tree = {0};
        struct volume as = {.tree = &tree};

        if (rec->payload_bytes < 8 || t->vol->frozen ||
            inode_decode(rec->payload + 8, rec->payload_bytes - 8, &as) < 0 || !as.frozen ||
            tree.id != t->id || taken(pool, &as, rec->index))
                return 0;
        uint64_t id = get_le64(rec->payload);
        if (id <= t->id || pool_tree(pool, id))
                return 0;
        as.created_seq = seq;
        return freeze_head(pool, t->vol, &as, (uint32_t)rec->index, id, NULL) ? 0 : -ENOMEM;
}

/* The volume goes on above the snapshot; what it had is left without anybody who sees it. */
static int apply_revert(struct pool *pool, struct tree *t, const struct record *rec)
{
        struct tree tree = {0};
        struct volume as = {.tree = &tree, .doomed = true};

        if (rec->payload_bytes != 32 || t->vol->frozen)
                return 0;
        uint64_t id = get_le64(rec->payload);
        struct tree *up = pool_tree(pool, get_le64(rec->payload + 8));
        memcpy(as.uuid.b, rec->payload + 16, 16);
        as.size_bytes = t->vol->size_bytes;
        as.copies = t->vol->copies;
        if (!up || !up->vol || !up->vol->frozen || up->vol->doomed || id <= t->id || id <= up->id ||
            uuid_is_nil(&as.uuid) || pool_tree(pool, id) || taken(pool, &as, rec->index))
                return 0;
        return freeze_head(pool, t->vol, &as, (uint32_t)rec->index, id, up) ? 0 : -ENOMEM;
}

static void apply_delete(struct pool *pool, struct volume *vol)
{
        if (!vol->frozen) {
                list_del(&vol->node);
                pool->nvolumes--;
        }
        vol->frozen = vol->doomed = true;
        vol->reserved_bytes = 0;
        promise_update(vol);
        vol->dirty = true;
        reap_check(pool, vol);
}

/* A step of what reap.c does, for a tree of which that is true also here. The last one is lost on a
 * tree that has something left: in replay, where a step before it was lost. */
static int apply_reap(struct pool *pool, struct tree *t, const struct record *rec)
{
        if (!t->vol->doomed || t->nkids > 1)
                return 0;
        if (rec->type == RECORD_MERGE)
                return tree_merge(pool, t, rec->index, rec->count);
        if (t->height)
                return 0;
        struct tree *heir = tree_heir(t), *up = t->up;
        int rc = heir ? alias_add(pool, t->id, heir->id) : 0;
        if (rc < 0)
                return rc;
        if (heir) {
                heir->limit = up ? MIN(heir->limit, t->limit) : 0;
                heir->aliased = true;
                heir->vol->dirty = true;
                tree_unlink(heir);
                if (up && heir->limit)
                        tree_link(heir, up);
        } else if (t->aliased) {
                alias_drop(pool, t->id);
        }
        catalog_remove(pool, t->vol);
        if (up && up->vol)
                reap_check(pool, up->vol);
        return 0;
}

/* What a smaller size cuts off was discarded, durably, before. */
static void apply_resize(struct volume *vol, const struct record *rec)
{
        if (vol->frozen || rec->payload_bytes != 8 || !rec->index ||
            rec->index > VOLUME_MAX_BYTES || rec->index % VOLUME_SECTOR)
                return;
        uint64_t reserved = get_le64(rec->payload);
        if (reserved > rec->index || reserved % VOLUME_SECTOR)
                return;
        vol->size_bytes = rec->index;
        vol->reserved_bytes = reserved;
        vol->dirty = true;
        promise_update(vol);
}

static void apply_owner(struct pool *pool, const struct record *rec)
{
        const uint8_t *p = rec->payload;
        uint32_t left = rec->payload_bytes;

        while (left >= OWNER_FIXED) {
                struct uuid uuid;
                memcpy(uuid.b, p, 16);
                struct volume *vol = volume_by_uuid(pool, &uuid);
                uint32_t len = get_le32(p + 16);
                p += OWNER_FIXED;
                left -= OWNER_FIXED;
                if (len > left || len > VOLUME_OWNER_MAX)
                        return;
                if (vol) {
                        memcpy(vol->owner, p, len);
                        vol->owner_len = (uint16_t)len;
                        vol->dirty = true;
                }
                p += len;
                left -= len;
        }
}

int record_apply(struct pool *pool, const struct record *rec, uint64_t seq, uint32_t group,
                 uint32_t data_off)
{
        if (rec->type == RECORD_PAGE || rec->type == RECORD_INODE)
                return 0; /* the checkpoint's root speaks for them */
        if (rec->type == RECORD_CREATE)
                return apply_create(pool, rec, seq);
        if (rec->type == RECORD_OWNER) {
                apply_owner(pool, rec);
                return 0;
        }
        if (rec->type == RECORD_MOVE)
                return apply_moves(pool, rec, group, data_off);
        struct tree *t = pool_tree(pool, rec->tree);
        if (!t || !t->vol)
                return 0;
        switch (rec->type) {
        case RECORD_WRITE:
                return t->vol->frozen ? 0 : apply_writes(pool, t, rec, group, data_off);
        case RECORD_DISCARD:
                return t->vol->frozen ? 0 : tree_discard(pool, t, rec->index, rec->count);
        case RECORD_RESIZE:
                apply_resize(t->vol, rec);
                return 0;
        case RECORD_LIMIT:
                if (!t->vol->frozen)
                        tree_lower_limit(pool, t, rec->index);
                return 0;
        case RECORD_DELETE:
                apply_delete(pool, t->vol);
                return 0;
        case RECORD_SNAPSHOT:
                return apply_snapshot(pool, t, rec, seq);
        case RECORD_REVERT:
                return apply_revert(pool, t, rec);
        case RECORD_MERGE:
        case RECORD_GONE:
                return apply_reap(pool, t, rec);
        default:
                return 0;
        }
}
