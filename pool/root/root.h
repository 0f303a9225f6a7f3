/* Root records: what the label ring of every device holds, newest last. Pure: bytes and structs.
 *
 * A root is `blocks` blocks of 4096 bytes:
 *
 *   offset size  meaning
 *        0    4  magic "ZPRT"
 *        4    2  format version; a newer one keeps the fields up to `name` in their places
 *        6    2  claims: how often an import wrote a root once more (claim.c), modulo 65536
 *        8    8  generation of this root, raised by each
 *       16   16  pool uuid
 *       32   16  uuid of the device that holds this copy
 *       48    4  index of that device
 *       52    4  number of devices
 *       56    8  checkpoint sequence: the tables below hold every record up to it
 *       64    8  next tree id to hand out
 *       72    8  catalog's root entry: address
 *       80    4  catalog's root entry: crc32c
 *       84    1  catalog's height, levels
 *       85    3  zero
 *       88   16  secret of the keyed checksums
 *      104    4  number of groups
 *      108    4  blocks of this root
 *      112    4  options: bit 0 verify data checksums, bit 1 resumed (below)
 *      116    4  reserve, permille
 *      120    4  checkpoint share, permille
 *      124    4  crc32c of all blocks, this field taken as zero
 *      128   64  name, NUL-padded
 *      192   32  counters: user, device, cleaning, table blocks written (8 each)
 *     224    8  durable sequence: every record up to it was durable when this root was written
 *     232    1  scrub: 0 none, 1 running, 2 paused, 3 done
 *     233    1  balancing: 0 wanted, 1 not  234  2  zero
 *     236    4  group it goes on with
 *     240    8  blocks it has verified
 *     248    4  of data damaged  252  4  written anew
 *     256       devices, 48 bytes each:  0 uuid (16)  16 zones (4)  20 state (1)  21 slot (1)
 *                                        22 flags (1): bit 0 removed when it is empty,
 *                                           bit 1: the device of another slot is to be removed
 *                                        23 that slot (1)
 *                                        24 zone size in blocks (8)
 *                                        32 generation of the last root it was in use with (8)
 *                                        40 live blocks when it began to leave (8)
 *               groups, 96 bytes each:   0 state (1)  1 class (1)  2 width (1)
 *                                         3 flags (1), bit 0: released
 *                                         4 generation  8 live blocks  12 written blocks
 *                                        16 capacity  20 blocks of the summary at the end, 0: none
 *                                        24 last sequence (8)  32 its header's checksum (8)
 *                                        40 user blocks the pool had written when sealed (8)
 *                                        48 3 x { zone (4), device (2), zero (2), blocks of it
 *                                           that may be read (4), all ones: all }
 *                                        84 capacity of its own zone  88 copies (1)  89 zero (3)
 *                                        92 blocks replayed (4)
 *
 * Each group has a zone of its own, its first member; a wider one has borrowed those of others,
 * which are lent meanwhile. Copies is what was asked for when it was opened; the width is less
 * where devices were missing.
 *
 * A resumed root is written by an import that has found the log and not yet written the tables it
 * makes: those it names are as they were, and the log goes on. What a group holds below the blocks
 * replayed counts. Behind that only what is above the durable sequence does: the rest had been lost,
 * or never counted, when the import looked, and may come back.
 */
#ifndef ZONEPOOL_POOL_ROOT_H
#define ZONEPOOL_POOL_ROOT_H

#include "base/err.h"
#include "base/uuid.h"
#include "pool/log/keyed.h"
#include "pool/pool.h"

enum {
        ROOT_FIXED = 256,
        ROOT_DEVICE_BYTES = 48,
        ROOT_GROUP_BYTES = 96,
        ROOT_MAX_BLOCKS = 1 << 18,
        LABEL_ZONES = 2, /* of every device: label_zones() */
        /* What an import that goes on without devices raises the generation by: one that was used
         * apart meanwhile is told by that. */
        ROOT_GENERATION_GAP = 1 << 16,
        /* So many roots one device may have missed before it is known to have failed. */
        ROOTS_BEHIND = 16,
};

enum root_group_state {
        ROOT_GROUP_FREE = 0,
        ROOT_GROUP_OPEN = 1,
        ROOT_GROUP_SEALED = 2,
        ROOT_GROUP_BAD = 3,
        ROOT_GROUP_LENT = 4, /* its zone is a member of another group */
        ROOT_GROUP_GONE = 5, /* no zone: its device has left. The generation stays */
};

/* The group was freed after the checkpoint: what the tables of this root name in it is of the
 * generation before, and the records above the checkpoint have moved all of it. Live blocks are
 * those of the checkpoint. */
enum { ROOT_GROUP_RELEASED = 1 };

enum root_device_state {
        ROOT_DEVICE_IN_USE = 0,
        ROOT_DEVICE_OUT = 1, /* failed or missing: what is mirrored on it is stale */
};

#define MEMBER_GOOD UINT32_MAX

struct root_member {
        uint32_t zone;
        uint16_t dev;
        uint32_t good; /* only blocks below may be read; MEMBER_GOOD: all */
};

struct root_group {
        uint8_t state, cls, width, flags, copies;
        uint32_t generation, live, wp, cap, zone_cap, summary;
        uint32_t replayed; /* of a resumed root */
        uint64_t last_seq, last_sum;
        uint64_t sealed; /* on the clock of user blocks */
        struct root_member member[POOL_MAX_GROUP_WIDTH];
};

struct root_device {
        struct uuid uuid;
        uint32_t nr_zones;
        uint64_t zone_blocks;
        uint8_t state; /* enum root_device_state */
        uint64_t generation;
        uint8_t slot; /* enum pool_device_state */
        bool removing, replacing;
        uint8_t replaces; /* slot that is to be removed when this one has joined */
        uint64_t leaving_blocks;
};

struct root_scrub {
        uint8_t state; /* enum pool_scrub_state */
        uint32_t next, damaged, repaired;
        uint64_t verified;
};

struct root {
        uint16_t version, claims;
        uint64_t generation;
        struct uuid pool, device;
        uint32_t index, ndevices;
        uint64_t seq, next_tree;
        struct root_scrub scrub;
        uint8_t unbalanced; /* 1: data are not moved for evenness */
        uint64_t durable; /* >= seq */
        uint64_t catalog_addr;
        uint32_t catalog_crc;
        uint8_t catalog_height;
        bool resumed;
        uint8_t secret[KEYED_SECRET_BYTES];
        uint32_t ngroups, blocks;
        bool checksums;
        uint32_t reserve_permille, checkpoint_permille;
        char name[POOL_NAME_MAX + 1];
        uint64_t user_blocks, device_blocks, clean_blocks, table_blocks;
        struct root_device *devices; /* ndevices; owned */
        struct root_group *groups; /* ngroups; owned */
};

/* Blocks a root of that many devices and groups takes. */
uint32_t root_blocks(uint32_t ndevices, uint32_t ngroups);
/* buf holds root->blocks blocks. */
void root_encode(const struct root *root, uint8_t *buf);
/* For another device's copy: uuid and index are changed in place. */
void root_set_device(uint8_t *buf, uint32_t blocks, const struct uuid *device, uint32_t index);
/* The fixed part of the first block: magic and bounds only. Returns 0, -EBADMSG, or
 * -EPROTONOSUPPORT with everything up to name valid. devices and groups are NULL. */
int root_decode_fixed(const uint8_t *block, struct root *ret_root);
/* All of it. Returns 0 (free with root_fini), -EBADMSG, -EPROTONOSUPPORT, -ENOMEM. */
int root_decode(const uint8_t *buf, uint32_t blocks, struct root *ret_root);
/* Accepts a zeroed struct. */
void root_fini(struct root *root);

#endif
