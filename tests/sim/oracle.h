/* What a volume may read as: for each sector the values that are allowed.
 *
 * Every write, discard, write-zeroes and clear is an op with the interval from its start to its
 * end. A value is superseded once an op that started after the value's op ended has itself
 * completed. At run time a read may return any value that is not superseded when the read starts,
 * or that starts while it runs. After a power cut a sector may hold any value that is not
 * superseded by a durable one: durable is what completed before a flush began that completed, or
 * completed with FUA. Of one block all sectors must be of one moment: if one holds the result of an
 * op, no other may hold something older than what that op, or one before it, left there.
 *
 * Data name the volume, the sector and the op, so that a stray value says where it comes from.
 * Time: sim_time. */
#ifndef ZONEPOOL_TESTS_SIM_ORACLE_H
#define ZONEPOOL_TESTS_SIM_ORACLE_H

#include "tests/sim/sim.h"

enum { SECTORS_PER_BLOCK = ZP_BLOCK / VOLUME_SECTOR, MAX_OWNERS = 4, SPLIT_BLOCKS = 16 };

/* End of an op that has not ended. */
#define TIME_NEVER UINT32_MAX

struct op {
        uint32_t start, end; /* sim time */
        bool data; /* else zeroes */
        bool definite; /* ended with success */
        uint16_t volume;
};

/* Of a volume that may have gone back to a snapshot before a power cut: what a value is of. */
enum side { SIDE_BEFORE = 1, SIDE_BACK = 2, SIDE_BOTH = 3 };

struct value {
        uint32_t op; /* 0: the zeroes of the beginning */
        uint32_t start; /* of the op, or later: when it was seen to be the last one */
        uint8_t side; /* enum side; 0: both */
};

struct sector {
        uint32_t durable_start; /* values that ended before are superseded by a durable one */
        bool rotten; /* its block is not what was written: it may be unreadable */
        bool edge; /* the volume ended here once: what its block held behind that is cut off */
        uint16_t n, room;
        struct value *values; /* NULL: only op 0 */
};

/* What a read in flight has to remember of its beginning. */
struct oracle_view {
        uint32_t start;
        uint32_t nsectors;
        uint32_t *floor; /* per sector: values that ended before are superseded */
};

enum fate { FATE_ABSENT, FATE_CREATING, FATE_THERE, FATE_DELETING };

struct oracle_volume {
        uint16_t number;
        enum fate fate;
        struct uuid uuid;
        char name[32];
        uint8_t copies;
        uint64_t size_bytes; /* without the gap */
        uint64_t new_size_bytes; /* of one that grows in flight, else size_bytes */
        uint64_t shrunk_bytes; /* the size while it shrinks, else 0 */
        uint64_t reserved_bytes, new_reserved_bytes; /* likewise */
        /* Far-away blocks make tall trees: what lies at and above split_bytes here lies gap_bytes
         * further up in the pool's volume, and nobody writes to the gap. split_bytes is a multiple
         * of SPLIT_BLOCKS. */
        uint64_t split_bytes, gap_bytes;
        struct sector *sectors; /* of new_size_bytes */
        uint32_t reads; /* in flight */
        /* ownership: what stands, and what a call in flight may have made of it */
        uint8_t owner[64], next_owner[64];
        size_t owner_len, next_owner_len;
        uint32_t owner_call; /* number of the call in flight, 0: none */
        uint32_t owner_time; /* its start */
        struct volume *vol; /* the pool's handle; NULL while not imported */
        /* A snapshot: nobody writes to it. Taken beside writes it is loose: of each sector it has
         * one of the values noted, and which one the first read tells, for ever. */
        bool snapshot, loose;
        bool cloned; /* what it lacks may be had from elsewhere: discards may need room */
        uint16_t of; /* number of the snapshot's volume */
        struct oracle_volume *taking; /* a snapshot of it that is being taken beside writes */
        struct oracle_volume *going_back; /* to this snapshot */
        uint8_t sides; /* which of them it can be; SIDE_BOTH: unknown, or no question */
        uint32_t busy; /* I/O in flight */
        bool control; /* a control operation is in flight */
};

/* Where the pool's volume has the byte at that offset. */
static inline uint64_t oracle_real(const struct oracle_volume *v, uint64_t offset_bytes)
{
        return offset_bytes < v->split_bytes ? offset_bytes : offset_bytes + v->gap_bytes;
}
static inline uint64_t oracle_real_size(const struct oracle_volume *v, uint64_t size_bytes)
{
        return size_bytes + v->gap_bytes;
}

struct oracle *oracle_new(struct sim *sim);
void oracle_free(struct oracle *o);

/* Volumes that exist or may. Numbers are never used again. */
struct oracle_volume *oracle_add(struct oracle *o, uint64_t size_bytes);
void oracle_remove(struct oracle *o, struct oracle_volume *v);
uint32_t oracle_count(const struct oracle *o);
struct oracle_volume *oracle_get(struct oracle *o, uint32_t i);
struct oracle_volume *oracle_find(struct oracle *o, const struct uuid *uuid);

/* Another volume or snapshot that begins as v is now; loose: as v is at any time until taken. */
struct oracle_volume *oracle_copy(struct oracle *o, struct oracle_volume *v, bool loose);
/* Snapshots of v that are there, may be, or were until just now. */
bool oracle_has_snapshots(const struct oracle *o, const struct oracle_volume *v);
/* v may also, or shall, be as s is. */
void oracle_add_values(struct oracle_volume *v, const struct oracle_volume *s);
/* The volume is as it was, or has become the snapshot, as a whole. */
void oracle_maybe_became(struct oracle_volume *v, const struct oracle_volume *s);
void oracle_become(struct oracle_volume *v, const struct oracle_volume *s);

/* An op begins, covers sectors (in as many calls as needed) and ends. */
uint32_t oracle_op_begin(struct oracle *o, struct oracle_volume *v, bool data);
void oracle_op_covers(struct oracle *o, struct oracle_volume *v, uint32_t op, uint64_t sector,
                      uint64_t n);
/* definite: it took effect; else it may have. durable: and lasts (the sectors it covered are given
 * again). */
void oracle_op_end(struct oracle *o, struct oracle_volume *v, uint32_t op, bool definite,
                   bool durable, uint64_t sector, uint64_t n);
/* Whatever has not ended ends now, with or without effect; reads are forgotten. */
void oracle_power_cut(struct oracle *o);
/* All that completed by then is durable. */
void oracle_flushed(struct oracle *o, struct oracle_volume *v, uint32_t start);
void oracle_resize(struct oracle *o, struct oracle_volume *v, uint64_t size_bytes);

/* Content of a sector. */
void oracle_fill(const struct oracle_volume *v, uint64_t sector, uint32_t op, uint8_t *buf);

/* A read begins; its answer is checked. Frees the view. */
struct oracle_view *oracle_read_begin(struct oracle *o, struct oracle_volume *v, uint64_t sector,
                                      uint32_t n);
void oracle_read_end(struct oracle *o, struct oracle_volume *v, struct oracle_view *view,
                     uint64_t sector, const uint8_t *buf);
void oracle_view_free(struct oracle_view *view);

/* After a power cut: checks a whole block and takes what it holds as the only value, durable. */
void oracle_recovered(struct oracle *o, struct oracle_volume *v, uint64_t block,
                      const uint8_t *buf);

/* The block may be unreadable from now on, though what it reads as, when it does, is right. */
void oracle_rot(struct oracle_volume *v, uint64_t block);
/* Whether blocks of these sectors may be. */
bool oracle_rotten(const struct oracle_volume *v, uint64_t sector, uint64_t n);

/* 1: certainly holds data that was written; -1: certainly a hole; 0: either. Nothing of the volume
 * may be in flight. */
int oracle_block_kind(struct oracle *o, const struct oracle_volume *v, uint64_t block);

#endif
