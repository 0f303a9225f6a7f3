/* What was asked of a pool, and what it may therefore hold after a crash at any moment.
 *
 * Each block that is written gets a tag, which its bytes name; 0 is zeroes. As in the random
 * simulator (tests/sim/oracle.h): a value is superseded once an operation that began after the
 * value's had ended is durable, and durable is what ended before a flush began that ended, or ended
 * with FUA. Here everything goes by whole blocks.
 *
 * A snapshot or clone begins with what its volume held at some moment between question and answer:
 * the tags which that may have been are worked out at each demand until it is answered, and stay
 * what they are from then on. Going back to a snapshot is a write of all blocks that happens as a
 * whole: until it is answered a volume may be found in either of two ways.
 *
 * The history is compiled into a demand once per crash point; what a recovery shows is an outcome.
 * Any number of outcomes are held against a demand. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_HISTORY_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_HISTORY_H

#include "base/uuid.h"
#include "pool/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        MAX_VOLUMES = 6, /* snapshots among them */
        MAX_BLOCKS = 160, /* of a volume */
        MAX_TAGS = 64,
        MAX_WRITES = 160,
        MAX_REVERTS = 4,
        TAG_UNREADABLE = 255, /* an error, where one is allowed */
};

/* Volume MAIN is written to, OTHER is a second one; a sequence makes the others. */
enum { MAIN, OTHER, MADE, CLONE, SNAPSHOT, SNAPSHOT_2 };

/* Times count what was asked and answered; 0 is before everything. */
#define TIME_NEVER UINT32_MAX

struct write {
        uint8_t volume;
        uint8_t tag; /* 0: zeroes */
        bool definite; /* ended with success */
        bool fua;
        uint16_t first, n; /* blocks */
        uint32_t start, end;
};

/* A value that one operation at a time replaces by another, durably. */
struct pending {
        uint32_t value, next;
        uint32_t start; /* of the operation that makes it next; TIME_NEVER: none */
};

/* Of a volume or a snapshot. */
struct volume_history {
        uint32_t created, exists; /* asked for, answered; TIME_NEVER: not */
        uint32_t deleting, gone;
        struct pending nblocks, owner, reserved; /* blocks */
        uint32_t flushed; /* what ended before is durable */
        uint8_t copies; /* on different devices */
        bool frozen; /* a snapshot: nobody writes to it */
        uint8_t from; /* the volume it began as, MAX_VOLUMES: none */
        uint64_t begins[MAX_BLOCKS]; /* tags it may have begun with, once it exists */
};

/* Volume MAIN became what a snapshot is. */
struct revert {
        uint32_t start, end; /* TIME_NEVER: not answered, or with an error: perhaps it has */
        struct pending nblocks;
        uint64_t tags[MAX_BLOCKS]; /* those the snapshot may have */
};

struct history {
        uint32_t now;
        uint32_t acks; /* answers so far */
        struct write writes[MAX_WRITES];
        uint32_t nwrites;
        uint8_t next_tag;
        struct volume_history volumes[MAX_VOLUMES];
        struct revert reverts[MAX_REVERTS];
        uint32_t nreverts;
        bool lost; /* a device is gone: what has one copy may be, operations may fail */
        bool faulty; /* an operation may have */
        uint32_t whole; /* blocks that volume MAIN had at first */
};

void history_init(struct history *h);
uint32_t history_write(struct history *h, unsigned volume, uint32_t first, uint32_t n, bool data,
                       bool fua);
void history_written(struct history *h, uint32_t write, bool definite);
/* A volume, or snapshot, was asked for that begins as `from` is then (MAX_VOLUMES: empty), and
 * there it is. */
void history_begin(struct history *h, unsigned volume, unsigned from, bool frozen);
void history_began(struct history *h, unsigned volume);
/* Volume MAIN is to become what the snapshot is, and has. Nothing is written to it meanwhile. */
void history_revert(struct history *h, unsigned snapshot);
void history_reverted(struct history *h, bool took_place);
/* All that ended before that time is durable: of one volume, or of all (MAX_VOLUMES). */
void history_flushed(struct history *h, unsigned volume, uint32_t start);

/* What one volume shows. */
struct volume_outcome {
        bool there;
        uint8_t owner;
        uint16_t nblocks, reserved;
        uint8_t tags[MAX_BLOCKS];
};

struct outcome {
        bool refused; /* a device is missing, and the import said so */
        struct volume_outcome volumes[MAX_VOLUMES];
};

/* One of the ways in which a volume may be found, all of it. */
struct alternative {
        bool owner_next; /* owner.next is its record */
        struct pending nblocks;
        uint64_t allowed[MAX_BLOCKS]; /* tags, a bit each */
};

struct demand {
        struct {
                bool may_be, must_be;
                bool errors_fair;
                struct pending owner, reserved;
                uint32_t nways;
                struct alternative ways[4];
        } volumes[MAX_VOLUMES];
        bool lost;
        bool mirrored; /* everything */
        uint32_t whole; /* blocks that volume MAIN had at first */
};

/* now: no crash; whatever has ended counts. */
void history_demand(const struct history *h, bool now, struct demand *ret_demand);
/* Fails the case unless the outcome is among what is demanded. */
void demand_check(const struct demand *d, const struct outcome *o);

/* ---- content ---- */

struct uuid volume_uuid_of(unsigned volume);
void content_fill(unsigned volume, uint32_t block, uint8_t tag, uint8_t *buf);
/* The tag of a block as read, which no two volumes' writes share; fails the case when the bytes are
 * none of that place. */
uint8_t content_tag(unsigned volume, uint32_t block, const uint8_t *buf);

#endif
