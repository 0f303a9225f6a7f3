/* Inodes: what the pool keeps of a volume besides its blocks.
 *
 *   offset size  meaning
 *        0    4  magic "ZPIN"
 *        4    2  version, 5
 *        6    2  length of the ownership record
 *        8    8  tree
 *       16    8  parent tree, 0: none
 *       24   16  uuid
 *       40    8  size, bytes
 *       48    8  table root entry: address, 0: empty
 *       56    4  table root entry: crc32c
 *       60    1  table height, levels
 *       61    1  copies, 1..3
 *       62    1  flags: bit 0 frozen, bit 1 doomed (deleted, kept for others), bit 2 holes
 *                 (its table may have entries that are holes)
 *       63    1  zero
 *       64    8  sequence of its creation
 *       72    8  blocks written by users
 *       80    8  mapped blocks of the table
 *       88    8  pages of the table
 *       96    8  blocks of the parent that show through
 *      104   16  of a snapshot: uuid of its volume
 *      120    8  of a snapshot: time of its creation, as its creator gave it
 *      128  128  name, NUL-padded
 *      256    8  blocks moved
 *      264    8  reserved, bytes; of what is frozen 0
 *      272       ownership record
 *
 * A snapshot's name is its own; where it is frozen and doomed there may be none. A parent is older
 * than its children: its tree's id is lower.
 *
 * In the catalog's tree an inode is one data block (zero behind the record) whose crc32c is in the
 * entry; in a CREATE record it is as long as it needs to be and its table is empty.
 */
#ifndef ZONEPOOL_POOL_CATALOG_H
#define ZONEPOOL_POOL_CATALOG_H

#include "pool/internal.h"

#endif
