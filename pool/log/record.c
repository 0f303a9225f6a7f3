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

static int apply_blocks(struct pool *pool, struct tree *t, const struct record *rec, uint32_t group,
                        uint32_t data_off)
{
        for (uint32_t i = 0; i < rec->count; i++) {
                struct entry e = {addr_make(group, data_off + rec->data + i), record_crc(rec, i)};
                if (rec->type == RECORD_MOVE) {
                        uint64_t from;
                        uint32_t generation;
                        record_from(rec, i, &from, &generation);
                        if (!(from & ADDR_MAPPED) || addr_group(from) >= pool->ngroups ||
                            tree_get(t, rec->index + i).addr != from ||
                            !generation_fits(pool->groups[addr_group(from)], generation))
                                continue;
                }
                int rc = tree_set(pool, t, rec->index + i, e);
                if (rc < 0)
                        return rc;
        }
        if (rec->type == RECORD_WRITE)
                t->vol->user_blocks += rec->count;
        return 0;
}

static int apply_create(struct pool *pool, const struct record *rec, uint64_t seq)
{
        struct volume vol = {0};

        if (inode_decode(rec->payload, rec->payload_bytes, &vol) < 0 || vol.tree.height ||
            vol.dying || vol.tree.id != rec->tree || rec->index >= MAX_VOLUMES ||
            pool_tree(pool, rec->tree))
                return 0;
        uint32_t slot = (uint32_t)rec->index;
        struct volume *other;
        list_for_each (other, &pool->volumes, node) {
                if (other->slot == slot || (!other->dying && (!strcmp(other->name, vol.name) ||
                                                              uuid_equal(&other->uuid, &vol.uuid))))
                        return 0; /* cannot be: they are given out again only when durably free */
        }
        vol.created_seq = seq;
        vol.dirty = true;
        return catalog_add(pool, &vol, slot) ? 0 : -ENOMEM;
}

static void apply_owner(struct pool *pool, const struct record *rec)
{
        const uint8_t *p = rec->payload;
        uint32_t left = rec->payload_bytes;

        while (left >= 12) {
                struct tree *t = pool_tree(pool, get_le64(p));
                uint32_t len = get_le32(p + 8);
                p += 12;
                left -= 12;
                if (len > left || len > VOLUME_OWNER_MAX)
                        return;
                if (t && t->vol) {
                        memcpy(t->vol->owner, p, len);
                        t->vol->owner_len = (uint16_t)len;
                        t->vol->dirty = true;
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
        struct tree *t = pool_tree(pool, rec->tree);
        if (!t || !t->vol)
                return 0;
        switch (rec->type) {
        case RECORD_WRITE:
        case RECORD_MOVE:
                if (rec->index >= VOLUME_MAX_BYTES / ZP_BLOCK)
                        return 0;
                return apply_blocks(pool, t, rec, group, data_off);
        case RECORD_DISCARD:
                tree_clear_range(pool, t, rec->index, rec->count);
                return 0;
        case RECORD_RESIZE:
                if (rec->index > t->vol->size_bytes && rec->index <= VOLUME_MAX_BYTES) {
                        t->vol->size_bytes = rec->index;
                        t->vol->dirty = true;
                }
                return 0;
        case RECORD_DELETE:
                catalog_delete(pool, t->vol);
                return 0;
        default:
                return 0;
        }
}
