/* Batch headers: what stands in front of every write to a zone group, and names the owner of each
 * block behind it. Pure: bytes to structs and back.
 *
 * A header is header_blocks blocks of 4096 bytes; the batch's data_blocks follow.
 *
 *   offset size  meaning
 *        0    4  magic "ZPBH"
 *        4    2  version, 3
 *        6    1  kind: 1 batch, 2 summary of a sealed group
 *        7    1  lifetime class: 0, 3 user, 1, 4..6 cleaning, 2 table
 *        8    4  group
 *       12    4  generation of the group
 *       16    8  sequence
 *       24    8  sequence of the batch before it in the group, 0: the first
 *       32    8  checksum of that batch's header
 *       40    8  durable mark: all batches up to this sequence were durable when this one was
 *                issued
 *       48    4  offset of this header in the group, blocks
 *       52    4  header blocks
 *       56    4  data blocks
 *       60    4  bytes of records
 *       64    4  number of records
 *       68    1  width of the group, 1..3
 *       69    1  copies asked for, >= width
 *       70    2  zero
 *       72   16  pool uuid
 *       88    8  keyed checksum of all header blocks, this field taken as zero
 *       96   24  members of the group: 3 x { zone (4), device (2), zero (2) }
 *      120    8  zero
 *      128       records
 *
 * A record:
 *
 *        0    1  type
 *        1    1  level of the table page (PAGE), else 0
 *        2    1  w, 0..5: bytes of index that stand beside each block; 0: the blocks follow each
 *                other from index on, block i is index + i. Records without data have 0
 *        3    1  zero
 *        4    4  count: blocks, or bytes of payload (control records)
 *        8    8  tree
 *       16    8  index: first (w > 0: lowest) block, page or slot; size in bytes (by type)
 *       24       by type; where w > 0 a block's index is the record's + what its w bytes say:
 *
 *   type         data  behind the fixed part
 *    1 WRITE      yes  count x { index (w), crc32c (4) }
 *    2 DISCARD     no  -
 *    3 MOVE       yes  generation (4) and number (4) of the group the blocks were moved from, then
 *                      count x { index (w), crc32c (4), block in that group (4) }
 *    4 PAGE       yes  count x { index (w), crc32c (4) }    pages of the tree, of that level
 *    5 INODE      yes  count x { index (w), crc32c (4) }    tree is the catalog's, index the slot
 *   16 CREATE      no  count bytes: an inode (pool/table/catalog.h); index is the slot
 *   17 RESIZE      no  count (8) bytes: reserved bytes (8); index is the size in bytes
 *   18 DELETE      no  -                         the volume or snapshot is doomed
 *   20 OWNER       no  count bytes: n x { uuid of the volume (16), length (4), record }
 *   21 SNAPSHOT    no  count bytes: tree the volume goes on with (8), an inode; index is its slot
 *   22 REVERT      no  count bytes: tree the volume goes on with (8), the snapshot's (8), uuid for
 *                      what is left (16); index is the slot of what is left
 *   23 MERGE       no  -                         first block; count blocks go to the only child
 *   24 GONE        no  -                         the empty tree goes; index is its slot
 *   25 LIMIT       no  -                         from block index on nothing of the parent shows
 *
 * Data blocks stand behind the header in the order of the records.
 *
 * A summary's records are those of all batches of the group, each batch's led by
 *        0    8  sequence     8  8  durable mark     16  4  offset     20  4  header blocks
 *       24    4  data blocks 28  4  bytes of records
 * and its last block ends with a trailer of 32 bytes that lets it be found from the group's end:
 *        0    4  magic "ZPBS"  4  4  group   8  4  generation  12  4  header blocks
 *       16    8  zero         24  8  keyed checksum of the 24 bytes before
 */
#ifndef ZONEPOOL_POOL_HEADER_H
#define ZONEPOOL_POOL_HEADER_H

#include "base/le.h"
#include "base/uuid.h"
#include "pool/device.h"
#include "pool/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        HEADER_FIXED = 128,
        RECORD_FIXED = 24,
        SUMMARY_ITEM = 32,
        SUMMARY_TRAILER = 32,
        HEADER_MAX_BLOCKS = 65536,
        HEADER_CLASSES = 7, /* lifetime classes, space/group.h */
        RECORD_CRC_BYTES = 4,
        RECORD_MOVE_LEAD = 8, /* of a MOVE, before its blocks */
        RECORD_INDEX_MAX = 5, /* w */
};

enum header_kind { HEADER_BATCH = 1, HEADER_SUMMARY = 2 };

enum record_type {
        RECORD_WRITE = 1,
        RECORD_DISCARD = 2,
        RECORD_MOVE = 3,
        RECORD_PAGE = 4,
        RECORD_INODE = 5,
        RECORD_CREATE = 16,
        RECORD_RESIZE = 17,
        RECORD_DELETE = 18,
        RECORD_OWNER = 20,
        RECORD_SNAPSHOT = 21,
        RECORD_REVERT = 22,
        RECORD_MERGE = 23,
        RECORD_GONE = 24,
        RECORD_LIMIT = 25,
};

/* The fixed part. */
struct header {
        uint8_t kind, cls, width, copies;
        struct {
                uint32_t zone;
                uint16_t dev;
        } member[POOL_MAX_GROUP_WIDTH];
        uint32_t group, generation;
        uint64_t seq, prev_seq, prev_sum, mark;
        uint32_t offset, header_blocks, data_blocks, record_bytes, nrecords;
        struct uuid pool;
        uint64_t sum;
};

/* One record; payload points into the header's bytes. */
struct record {
        uint8_t type, level;
        uint8_t index_bytes; /* beside each block; 0: they follow each other */
        uint8_t each; /* bytes of payload a block has */
        uint32_t count;
        uint64_t tree, index;
        const uint8_t *payload, *blocks; /* blocks: where those of the first block are */
        uint32_t payload_bytes;
        uint32_t data; /* number of its first data block in the batch */
};

/* Data blocks a record of this type and count has. */
uint32_t record_data_blocks(uint8_t type, uint32_t count);
/* Bytes behind the fixed part; UINT32_MAX: unknown type, index bytes it cannot have, or too many.
 */
uint32_t record_payload_bytes(uint8_t type, uint8_t index_bytes, uint32_t count);
/* Index of data block i of the record; may be any number. */
static inline uint64_t record_index(const struct record *rec, uint32_t i)
{
        const uint8_t *p = rec->blocks + (size_t)i * rec->each;
        uint64_t beyond = 0;

        if (!rec->index_bytes)
                return rec->index + i;
        if (rec->index_bytes == 4)
                return rec->index + get_le32(p);
        for (unsigned k = 0; k < rec->index_bytes; k++)
                beyond |= (uint64_t)p[k] << (8 * k);
        return rec->index + beyond;
}
/* crc32c of data block i of the record. */
static inline uint32_t record_crc(const struct record *rec, uint32_t i)
{
        return get_le32(rec->blocks + (size_t)i * rec->each + rec->index_bytes);
}
/* Of a MOVE: where block i came from. */
void record_from(const struct record *rec, uint32_t i, uint64_t *ret_addr,
                 uint32_t *ret_generation);

/* Writes the fixed part to buf and the checksum over all header blocks. Sets h->sum. */
void header_seal(struct header *h, uint8_t *buf, const uint8_t *secret);

/* Reads the fixed part from the first block; checks magic, version, bounds, not the checksum.
 * Returns 0, -EBADMSG or -EPROTONOSUPPORT. */
int header_decode(const uint8_t *block, struct header *ret_header);
/* buf holds all header blocks. Checks the checksum and that every record is well-formed and the
 * data blocks add up. Returns 0 or -EBADMSG. */
int header_verify(const struct header *h, const uint8_t *buf, const uint8_t *secret);

/* Steps through records: *pos and *data start at 0. Returns 1 and a record, 0 at the end, -EBADMSG.
 */
int record_next(const uint8_t *records, uint32_t bytes, uint32_t *pos, uint32_t *data,
                struct record *ret_rec);

/* One batch of a summary. */
struct summary_item {
        uint64_t seq, mark;
        uint32_t offset, header_blocks, data_blocks, record_bytes;
};
void summary_item_encode(const struct summary_item *it, uint8_t *buf);
void summary_item_decode(const uint8_t *buf, struct summary_item *ret_it);
void summary_trailer_encode(const struct header *h, uint8_t *last_block, const uint8_t *secret);
/* Returns the header blocks of the summary that ends with this block, 0: none of that generation.
 */
uint32_t summary_trailer_decode(const uint8_t *last_block, uint32_t group, uint32_t generation,
                                const uint8_t *secret);

#endif
