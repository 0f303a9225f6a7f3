/* Volumes and their inodes (catalog.c, volume.c). */
#ifndef ZONEPOOL_POOL_TABLE_VOLUME_H
#define ZONEPOOL_POOL_TABLE_VOLUME_H

#include "base/list.h"
#include "base/uuid.h"
#include "pool/pool.h"
#include "pool/space/promise.h"
#include "pool/table/lock.h"
#include "pool/table/table.h"

/* What has an inode: a volume; one of its snapshots; or what is left of one of these that was
 * deleted, until nobody needs it any more. */
struct volume {
        struct list node; /* pool.volumes, of one that is not frozen */
        struct list all; /* pool.nodes */
        struct list reap; /* of one that can go, reap.h */
        struct pool *pool;
        bool frozen; /* nothing is written to it: a snapshot, or doomed */
        bool doomed; /* deleted: nobody finds it by name or uuid */
        bool going; /* a snapshot whose deletion was asked for */
        bool unreapable; /* doomed, and a page of it cannot be read */
        uint32_t pins; /* operations under way that need it as it is */
        struct uuid of; /* of a snapshot: the volume it belongs to; of a clone: what it was cloned
                           from, a volume or snapshot that need not be there any more */
        uint64_t time; /* of a snapshot, as its creator gave it */
        char name[VOLUME_NAME_MAX + 1];
        struct uuid uuid;
        uint64_t size_bytes;
        uint64_t reserved_bytes; /* for blocks of its own; 0..size_bytes */
        uint64_t taken; /* blocks of that for writes under way */
        struct promise promise; /* what the pool counts as promised to it */
        uint32_t slot;
        uint8_t copies; /* 1..3: width of the groups its blocks go to */
        struct tree *tree;
        uint64_t created_seq, user_blocks;
        uint64_t moved_blocks; /* written again for it by cleaning and other moves */
        bool dirty; /* its inode */
        uint8_t owner[VOLUME_OWNER_MAX];
        uint16_t owner_len;
        void *context;
        struct lock_set locks;
};

enum { INODE_FIXED = 272, OWNER_FIXED = 20 }; /* bytes in front of what is variable */
/* buf: INODE_FIXED + owner_len bytes. Returns that length. */
uint32_t inode_encode(const struct volume *vol, uint8_t *buf);
/* Fills vol and vol->tree (zeroed) but for lists. -EBADMSG. */
int inode_decode(const uint8_t *buf, uint32_t len, struct volume *vol);
struct tree *pool_tree(struct pool *pool, uint64_t id);
struct volume *catalog_add(struct pool *pool, const struct volume *from, uint32_t slot);
/* The node goes; its tree is empty, and nobody's parent. */
void catalog_remove(struct pool *pool, struct volume *vol);
/* Only its memory: the pool is freed. */
void catalog_forget(struct pool *pool, struct volume *vol);
/* After all inodes were read: every tree finds its parent. -EBADMSG. */
int catalog_link(struct pool *pool);
/* Inodes and what else takes a block of the catalog. */
uint64_t catalog_blocks(const struct pool *pool);
/* The block of the catalog must be written anew. */
void catalog_mark_dirty(struct pool *pool, uint64_t index);
struct volume *node_by_uuid(struct pool *pool, const struct uuid *uuid); /* also snapshots */
bool volume_name_valid(const char *name);
/* v has that name among the snapshots of a volume; of NULL: among the volumes. */
bool node_has_name(const struct volume *v, const char *name, const struct uuid *of);

#endif
