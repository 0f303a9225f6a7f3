/* Volumes in RAM and their inodes, see catalog.h. A volume exists from the moment its CREATE record
 * is applied until its DELETE record is. */
#include "pool/table/catalog.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t magic_inode[4] = {'Z', 'P', 'I', 'N'};
enum { INODE_VERSION = 5, INODE_FROZEN = 1, INODE_DOOMED = 2, INODE_HOLES = 4 };

bool volume_name_valid(const char *name)
{
        size_t len = strnlen(name, VOLUME_NAME_MAX + 1);

        if (!len || len > VOLUME_NAME_MAX || !strcmp(name, ".") || !strcmp(name, ".."))
                return false;
        for (size_t i = 0; i < len; i++) {
                char c = name[i];
                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '+' || c == '-'))
                        return false;
        }
        return true;
}

uint32_t inode_encode(const struct volume *vol, uint8_t *buf)
{
        memset(buf, 0, INODE_FIXED);
        memcpy(buf, magic_inode, 4);
        put_le16(buf + 4, INODE_VERSION);
        put_le16(buf + 6, vol->owner_len);
        put_le64(buf + 8, vol->tree->id);
        put_le64(buf + 16, vol->tree->parent);
        memcpy(buf + 24, vol->uuid.b, 16);
        put_le64(buf + 40, vol->size_bytes);
        put_le64(buf + 48, vol->tree->root_entry.addr);
        put_le32(buf + 56, vol->tree->root_entry.crc);
        put_u8(buf + 60, vol->tree->height);
        put_u8(buf + 61, vol->copies);
        put_u8(buf + 62, (uint8_t)(vol->frozen * INODE_FROZEN + vol->doomed * INODE_DOOMED +
                                   vol->tree->holes * INODE_HOLES));
        put_le64(buf + 64, vol->created_seq);
        put_le64(buf + 72, vol->user_blocks);
        put_le64(buf + 80, vol->tree->live);
        put_le64(buf + 88, vol->tree->npages);
        put_le64(buf + 96, vol->tree->limit);
        memcpy(buf + 104, vol->of.b, 16);
        put_le64(buf + 120, vol->time);
        memcpy(buf + 128, vol->name, strlen(vol->name));
        put_le64(buf + 256, vol->moved_blocks);
        put_le64(buf + 264, vol->reserved_bytes);
        memcpy(buf + INODE_FIXED, vol->owner, vol->owner_len);
        return INODE_FIXED + vol->owner_len;
}

int inode_decode(const uint8_t *buf, uint32_t len, struct volume *vol)
{
        if (len < INODE_FIXED || memcmp(buf, magic_inode, 4) || get_le16(buf + 4) != INODE_VERSION)
                return -EBADMSG;
        uint32_t owner_len = get_le16(buf + 6);
        if (owner_len > VOLUME_OWNER_MAX || owner_len > len - INODE_FIXED)
                return -EBADMSG;
        vol->owner_len = (uint16_t)owner_len;
        memcpy(vol->owner, buf + INODE_FIXED, owner_len);
        vol->tree->id = get_le64(buf + 8);
        vol->tree->parent = get_le64(buf + 16);
        memcpy(vol->uuid.b, buf + 24, 16);
        vol->size_bytes = get_le64(buf + 40);
        vol->tree->root_entry.addr = get_le64(buf + 48);
        vol->tree->root_entry.crc = get_le32(buf + 56);
        vol->tree->height = get_u8(buf + 60);
        vol->copies = get_u8(buf + 61);
        uint8_t flags = get_u8(buf + 62);
        vol->frozen = flags & INODE_FROZEN;
        vol->doomed = flags & INODE_DOOMED;
        vol->tree->holes = flags & INODE_HOLES;
        vol->created_seq = get_le64(buf + 64);
        vol->user_blocks = get_le64(buf + 72);
        vol->tree->live = get_le64(buf + 80);
        vol->tree->npages = get_le64(buf + 88);
        vol->tree->limit = get_le64(buf + 96);
        memcpy(vol->of.b, buf + 104, 16);
        vol->time = get_le64(buf + 120);
        memcpy(vol->name, buf + 128, VOLUME_NAME_MAX);
        vol->moved_blocks = get_le64(buf + 256);
        vol->reserved_bytes = get_le64(buf + 264);
        bool nameless = vol->doomed && !vol->name[0];
        if (flags & ~(INODE_FROZEN | INODE_DOOMED | INODE_HOLES) || (vol->doomed && !vol->frozen) ||
            vol->tree->parent >= vol->tree->id || vol->tree->limit > VOLUME_MAX_BYTES / ZP_BLOCK ||
            !vol->tree->limit != !vol->tree->parent)
                return -EBADMSG;
        if ((!nameless && !volume_name_valid(vol->name)) || uuid_is_nil(&vol->uuid) ||
            !vol->size_bytes || vol->size_bytes > VOLUME_MAX_BYTES ||
            vol->size_bytes % VOLUME_SECTOR || vol->reserved_bytes > vol->size_bytes ||
            vol->reserved_bytes % VOLUME_SECTOR || (vol->reserved_bytes && vol->frozen) ||
            !vol->copies || vol->copies > POOL_MAX_GROUP_WIDTH || vol->tree->id <= CATALOG_TREE ||
            vol->tree->height > MAX_HEIGHT || !vol->tree->height != !vol->tree->root_entry.addr ||
            !vol->tree->height != !vol->tree->npages ||
            vol->tree->live > VOLUME_MAX_BYTES / ZP_BLOCK ||
            vol->tree->npages > VOLUME_MAX_BYTES / ZP_BLOCK ||
            (!vol->tree->npages && vol->tree->live))
                return -EBADMSG;
        return 0;
}

struct tree *pool_tree(struct pool *pool, uint64_t id)
{
        struct tree *t;

        list_for_each (t, &pool->trees[id % TREE_BUCKETS], node) {
                if (t->id == id)
                        return t;
        }
        return NULL;
}

struct volume *catalog_add(struct pool *pool, const struct volume *from, uint32_t slot)
{
        struct volume *vol = malloc(sizeof(*vol));
        struct tree *tree = malloc(sizeof(*tree));

        if (!vol || !tree) {
                free(vol);
                free(tree);
                return NULL;
        }
        *vol = *from;
        *tree = *from->tree;
        tree_init(tree);
        tree->vol = vol;
        vol->tree = tree;
        vol->pool = pool;
        vol->slot = slot;
        vol->context = NULL;
        vol->pins = 0;
        vol->taken = 0;
        vol->promise = (struct promise){0};
        vol->going = vol->unreapable = false;
        vol->locks = (struct lock_set){0};
        list_init(&vol->node);
        list_init(&vol->reap);
        list_add_tail(&pool->nodes, &vol->all);
        pool->nnodes++;
        if (!vol->frozen) {
                list_add_tail(&pool->volumes, &vol->node);
                pool->nvolumes++;
        }
        list_add_tail(&pool->trees[tree->id % TREE_BUCKETS], &tree->node);
        pool->live += tree->live;
        pool->npages += tree->npages;
        space_volume_comes(pool, vol->copies);
        promise_update(vol);
        if (!bitmap_test(&pool->slots, slot))
                bitmap_set_range(&pool->slots, slot, 1);
        if (pool->next_tree <= tree->id)
                pool->next_tree = tree->id + 1;
        return vol;
}

void catalog_forget(struct pool *pool, struct volume *vol)
{
        tree_forget(pool, vol->tree);
        list_del(&vol->tree->node);
        list_del(&vol->reap);
        list_del(&vol->all);
        list_del(&vol->node);
        free(vol->tree);
        free(vol);
}

void catalog_remove(struct pool *pool, struct volume *vol)
{
        pager_forget_tree(pool, vol->tree);
        tree_unlink(vol->tree);
        tree_set(pool, &pool->catalog, vol->slot, (struct entry){0});
        space_volume_goes(pool, vol->copies);
        pool->nnodes--;
        catalog_forget(pool, vol); /* the slot stays taken until that is durable */
}

int catalog_link(struct pool *pool)
{
        struct volume *vol;

        list_for_each (vol, &pool->nodes, all) {
                struct tree *up = vol->tree->parent ? pool_tree(pool, vol->tree->parent) : NULL;
                if (!vol->tree->parent)
                        continue;
                if (!up || !up->vol || !up->vol->frozen)
                        return -EBADMSG;
                tree_link(vol->tree, up);
        }
        list_for_each (vol, &pool->nodes, all)
                reap_check(pool, vol);
        alias_loaded(pool);
        return 0;
}

uint64_t catalog_blocks(const struct pool *pool)
{
        return pool->nnodes + alias_blocks(pool);
}

void catalog_mark_dirty(struct pool *pool, uint64_t index)
{
        struct volume *vol;

        if (index >= MAX_VOLUMES) {
                alias_mark_dirty(pool, index - MAX_VOLUMES);
                return;
        }
        list_for_each (vol, &pool->nodes, all) {
                if (vol->slot == index)
                        vol->dirty = true;
        }
}

bool node_has_name(const struct volume *v, const char *name, const struct uuid *of)
{
        if (v->frozen != (of != NULL) || (of && !uuid_equal(&v->of, of)))
                return false;
        return !strcmp(v->name, name);
}

struct volume *node_by_uuid(struct pool *pool, const struct uuid *uuid)
{
        struct volume *vol;

        list_for_each (vol, &pool->nodes, all) {
                if (!vol->doomed && uuid_equal(&vol->uuid, uuid))
                        return vol;
        }
        return NULL;
}

struct volume *volume_by_name(struct pool *pool, const char *name)
{
        struct volume *vol;

        list_for_each (vol, &pool->volumes, node) {
                if (!strcmp(vol->name, name))
                        return vol;
        }
        return NULL;
}

struct volume *volume_by_uuid(struct pool *pool, const struct uuid *uuid)
{
        struct volume *vol;

        list_for_each (vol, &pool->volumes, node) {
                if (uuid_equal(&vol->uuid, uuid))
                        return vol;
        }
        return NULL;
}

struct volume *volume_next(struct pool *pool, struct volume *prev)
{
        struct list *next = prev ? prev->node.next : pool->volumes.next;

        return next == &pool->volumes ? NULL : list_entry(next, struct volume, node);
}

struct pool *volume_pool(const struct volume *vol)
{
        return vol->pool;
}

const char *volume_name(const struct volume *vol)
{
        return vol->name;
}

const struct uuid *volume_uuid(const struct volume *vol)
{
        return &vol->uuid;
}

uint64_t volume_size_bytes(const struct volume *vol)
{
        return vol->size_bytes;
}

const void *volume_owner(const struct volume *vol, size_t *ret_len)
{
        *ret_len = vol->owner_len;
        return vol->owner;
}

void volume_get_info(const struct volume *vol, struct volume_info *ret_info)
{
        struct volume_info info = {
            .uuid = vol->uuid,
            .size_bytes = vol->size_bytes,
            .allocated_bytes = vol->tree->live * ZP_BLOCK,
            .user_write_bytes = vol->user_blocks * ZP_BLOCK,
            .moved_write_bytes = vol->moved_blocks * ZP_BLOCK,
            .created_sequence = vol->created_seq,
            .copies = vol->copies,
            .reserved_bytes = vol->reserved_bytes,
            .held_requests = held_of(vol),
        };

        for (const struct tree *t = vol->tree->up; t; t = t->up)
                info.shared_bytes += t->live * ZP_BLOCK;
        memcpy(info.name, vol->name, sizeof(info.name));
        *ret_info = info;
}

void volume_set_context(struct volume *vol, void *context)
{
        vol->context = context;
}

void *volume_context(const struct volume *vol)
{
        return vol->context;
}
