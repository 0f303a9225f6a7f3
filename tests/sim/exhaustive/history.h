/* What was asked of a pool, and what it may therefore hold after a crash at any moment.
 *
 * Each block that is written gets a tag, which its bytes name; 0 is zeroes. As in the random
 * simulator (tests/sim/oracle.h): a value is superseded once an operation that began after the
 * value's had ended is durable, and durable is what ended before a flush began that ended, or ended
 * with FUA. Here everything goes by whole blocks.
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
        MAX_VOLUMES = 4,
        MAX_BLOCKS = 160, /* of a volume */
        MAX_TAGS = 64,
        MAX_WRITES = 160,
        TAG_UNREADABLE = 255, /* an error, where one is allowed */
};

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

struct volume_history {
        uint32_t created, exists; /* asked for, answered; TIME_NEVER: not */
        uint32_t deleting, gone;
        struct pending nblocks, owner;
        uint32_t flushed; /* what ended before is durable */
};

struct history {
        uint32_t now;
        uint32_t acks; /* answers so far */
        struct write writes[MAX_WRITES];
        uint32_t nwrites;
        uint8_t next_tag;
        struct volume_history volumes[MAX_VOLUMES];
        bool lost; /* a device is gone: operations may fail */
        bool faulty; /* an operation may have */
};

void history_init(struct history *h);
uint32_t history_write(struct history *h, unsigned volume, uint32_t first, uint32_t n, bool data,
                       bool fua);
void history_written(struct history *h, uint32_t write, bool definite);
/* All that ended before that time is durable: of one volume, or of all (MAX_VOLUMES). */
void history_flushed(struct history *h, unsigned volume, uint32_t start);

/* What one volume shows. */
struct volume_outcome {
        bool there;
        uint8_t owner;
        uint16_t nblocks;
        uint8_t tags[MAX_BLOCKS];
};

struct outcome {
        bool refused; /* a device is missing, and the import said so */
        struct volume_outcome volumes[MAX_VOLUMES];
};

struct demand {
        struct {
                bool may_be, must_be;
                struct pending nblocks, owner;
                uint64_t allowed[MAX_BLOCKS]; /* tags, a bit each */
                uint64_t with_next_owner[MAX_BLOCKS]; /* when owner.next is found */
        } volumes[MAX_VOLUMES];
        bool lost;
};

/* now: no crash; whatever has ended counts. */
void history_demand(const struct history *h, bool now, struct demand *ret_demand);
/* Fails the case unless the outcome is among what is demanded. */
void demand_check(const struct demand *d, const struct outcome *o);

/* ---- content ---- */

struct uuid volume_uuid_of(unsigned volume);
void content_fill(unsigned volume, uint32_t block, uint8_t tag, uint8_t *buf);
/* The tag of a block as read; fails the case when it is not one of that place. */
uint8_t content_tag(unsigned volume, uint32_t block, const uint8_t *buf);

#endif
