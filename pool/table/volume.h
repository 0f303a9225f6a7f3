/* Volumes, their inodes and range locks (catalog.c, volume.c). */
#ifndef ZONEPOOL_POOL_TABLE_VOLUME_H
#define ZONEPOOL_POOL_TABLE_VOLUME_H

#include "base/list.h"
#include "base/uuid.h"
#include "pool/pool.h"
#include "pool/table/table.h"

struct volume {
        struct list node; /* pool.volumes */
        struct pool *pool;
        char name[VOLUME_NAME_MAX + 1];
        struct uuid uuid;
        uint64_t size_bytes;
        uint32_t slot;
        uint8_t copies; /* 1..3: width of the groups its blocks go to */
        struct tree tree;
        uint64_t created_seq, user_blocks;
        bool dirty; /* its inode */
        bool dying; /* deleted; there only for what is left of its tree (unmap.c) */
        bool unreapable; /* which cannot be taken away */
        uint8_t owner[VOLUME_OWNER_MAX];
        uint16_t owner_len;
        void *context;
        struct list locks; /* struct lock, in order of arrival */
};

enum { INODE_FIXED = 256 };
/* buf: INODE_FIXED + owner_len bytes. Returns that length. */
uint32_t inode_encode(const struct volume *vol, uint8_t *buf);
/* Fills vol (zeroed) but for lists. -EBADMSG. */
int inode_decode(const uint8_t *buf, uint32_t len, struct volume *vol);
struct tree *pool_tree(struct pool *pool, uint64_t id);
struct volume *catalog_add(struct pool *pool, const struct volume *from, uint32_t slot);
/* The volume is deleted: gone at once when it is empty, else without name until the reaper is done.
 */
void catalog_delete(struct pool *pool, struct volume *vol);
/* Only its memory: the pool is freed. */
void catalog_forget(struct pool *pool, struct volume *vol);
/* The reaper is through with a deleted volume, or gave it up. */
void volume_reaped(struct pool *pool, uint64_t tree);
bool volume_name_valid(const char *name);

/* A range of a volume's blocks that one operation works on. Granted in order of arrival; two that
 * overlap are never granted together. */
struct lock {
        struct list node;
        uint64_t first, end;
        bool granted;
        void (*grant)(struct lock *l); /* not from inside lock_take */
};
/* True: granted at once. */
bool lock_take(struct volume *vol, struct lock *l);
void lock_release(struct volume *vol, struct lock *l);

#endif
