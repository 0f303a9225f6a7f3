/* A zoned device whose image costs nearly nothing to copy, for trying every crash state of it.
 *
 * The image is an array of cells, one a block: where the bytes are, and their hash. Bytes never
 * change once written, and a copy shares those of its original, so a copy is the array. What was
 * written by a disk is freed with it: a copy is freed before its original.
 *
 * As in the random simulator (tests/sim/media.h) a command takes effect when it completes, and is
 * durable when a flush submitted later has completed; until then it is kept as a change with what
 * it takes to undo it. A reset erases no bytes. The rules are zone_model.h's; whoever breaks one
 * fails the case.
 *
 * Threads: one. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_DISK_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_DISK_H

#include "pool/device/zone_model.h"

#include <stdbool.h>
#include <stdint.h>

struct cell {
        const uint8_t *data; /* ZP_BLOCK bytes; NULL: zeroes, never written */
        uint64_t hash;
};

struct disk_spec {
        uint32_t nr_zones;
        uint32_t zone_blocks, capacity_blocks;
        uint32_t nr_conventional; /* at the beginning; the pool leaves them alone */
        uint32_t max_open, max_active, max_io_blocks;
};

/* A completed command that is not durable. */
struct change {
        uint64_t number; /* of the disk's changes */
        enum zdev_op op; /* WRITE, RESET, FINISH */
        uint32_t zone, block, nblocks;
        enum zdev_zone_state state; /* of the zone before, */
        uint32_t wp; /* and its pointer */
        struct cell *undo; /* WRITE: the cells that were there */
};

struct disk_zone {
        uint64_t sum; /* of its cells: part of the disk's hash */
        uint32_t reading, managing, resetting; /* in flight */
};

struct disk {
        struct zdev dev;
        struct disk_spec spec;
        uint32_t index;
        struct zone_model model;
        struct disk_zone *zones;
        struct cell *cells;
        struct change *changes; /* by completion */
        uint32_t nchanges, changes_room;
        uint64_t next_change;
        struct list commands; /* in flight, by submission */
        uint32_t ncommands;
        uint64_t *numbers; /* of the stage's commands, see disk_new */
        uint64_t version; /* raised whenever another set of crash states may be possible */
        bool fail_flush, fail_write; /* the next one fails; of a write half arrives */
        bool fail_root; /* the flush that follows the next root fails */
        bool lost; /* the device is gone for good: whatever it is asked ends with -ENODEV */
        uint32_t last_zone; /* the one written last; 0: none, or label zones alone */
        bool worn; /* disk_wear */
        struct chunk *arena;
};

/* numbers: counts the commands of all disks that are driven together. It and the returned disk are
 * the caller's; memory that runs out ends the program. */
struct disk *disk_new(const struct disk_spec *spec, uint32_t index, uint64_t *numbers);
/* Content, pointers and changes that are not durable; nothing in flight. As after a power-on: no
 * zone is open. carried_out: commands in flight that would change the medium have been. */
struct disk *disk_clone(const struct disk *from, uint64_t *numbers, bool carried_out);
void disk_free(struct disk *d);

/* Makes all changes durable. */
void disk_settle(struct disk *d);

/* The zone written last, or else the first one that holds data, can only be read from now on, or is
 * gone (READONLY, OFFLINE). What it holds by then is durable. False: there is none. */
bool disk_wear(struct disk *d, enum zdev_zone_state state);

/* Completes the oldest command, or the newest. */
void disk_complete(struct disk *d, bool newest);
/* Number of the oldest or newest command in flight; there is one. */
uint64_t disk_next_number(const struct disk *d, bool newest);
/* Cells of a zone, zone_blocks of them. */
struct cell *disk_cells(const struct disk *d, uint32_t zone);
/* What a zone with these cells, state and pointer adds to the hash of a disk. */
uint64_t disk_zone_hash(const struct disk *d, uint32_t zone, uint64_t cell_sum,
                        enum zdev_zone_state state, uint64_t wp_block);
uint64_t disk_cell_sum(const struct cell *cells, uint32_t n);
/* Of one zone as it stands; whether the device is lost; that, and all changes that are not durable.
 * States of a disk are told apart by the sum of the first over all zones and the second (nothing is
 * volatile) or the third. */
uint64_t disk_zone_hash_now(const struct disk *d, uint32_t zone);
uint64_t disk_lost_hash(const struct disk *d);
uint64_t disk_changes_hash(const struct disk *d);

/* Puts other content into a zone; the caller has it covered that no change names the zone. */
void disk_put_zone(struct disk *d, uint32_t zone, const struct cell *cells, uint64_t cell_sum,
                   enum zdev_zone_state state, uint64_t wp_block);

/* Bytes that no one wrote, for blocks that were lost. */
struct cell disk_garbage(void);

#endif
