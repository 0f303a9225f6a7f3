/* An entry of the queue of changed blocks (User Data Migration Queue, type 0; NVM Command Set 1.2,
 * "LBA Migration Queue"), for its writer and its reader.
 *
 *   offset  size  meaning
 *   0       4     NSID; 0 with UDMQ_NO_RANGE
 *   4       4     number of blocks less one; 0 with UDMQ_NO_RANGE
 *   8       8     first block; 0 unless UDMQ_RANGE
 *   16      15    0
 *   31      1     bit 0 phase, bits 3:1 what the entry marks (ESA), bit 5 deallocated, bits 7:6
 * what the range fields mean (LBACIR)
 *
 * The byte at 31 is written last, with release order; a reader loads it first, with acquire order,
 * and takes the entry as new when its phase is not that of the pass before. Passes begin with 1.
 */
#ifndef ZONEPOOL_NVME_UDMQ_H
#define ZONEPOOL_NVME_UDMQ_H

#include "base/le.h"

#include <errno.h>
#include <stdbool.h>

enum { UDMQ_ENTRY_SIZE = 32, UDMQ_ENTRY_DWORDS = 8, UDMQ_ATTR = 31 };

enum udmq_mark {
        UDMQ_ORDINARY = 0,
        UDMQ_FIRST = 1, /* first since logging began or the controller resumed */
        UDMQ_STOPPED = 2, /* last: logging was stopped */
        UDMQ_SUSPENDED = 3, /* last: the controller is suspended */
        UDMQ_FULL = 7, /* last: changes were lost from here on, logging has stopped */
};

enum udmq_range_kind { UDMQ_RANGE = 0, UDMQ_ALL_BLOCKS = 1, UDMQ_NO_RANGE = 2 };

struct udmq_entry {
        uint32_t nsid;
        uint64_t slba;
        uint64_t nblocks; /* 1..2^32; 0 unless kind is UDMQ_RANGE */
        enum udmq_mark mark;
        enum udmq_range_kind kind;
        bool deallocated;
};

/* Fills all 32 bytes with the phase bit clear. */
static inline void udmq_encode(uint8_t *p, const struct udmq_entry *e)
{
        memset(p, 0, UDMQ_ENTRY_SIZE);
        put_le32(p, e->kind == UDMQ_NO_RANGE ? 0 : e->nsid);
        if (e->kind == UDMQ_RANGE) {
                put_le32(p + 4, (uint32_t)(e->nblocks - 1));
                put_le64(p + 8, e->slba);
        }
        p[UDMQ_ATTR] = (uint8_t)(e->mark << 1 | (e->deallocated ? 1 << 5 : 0) | e->kind << 6);
}

/* Returns 0, or -EBADMSG when a field has a reserved value. */
static inline int udmq_decode(const uint8_t *p, struct udmq_entry *ret_entry)
{
        uint8_t attr = p[UDMQ_ATTR];
        uint8_t mark = attr >> 1 & 7, kind = attr >> 6;

        if ((mark > UDMQ_SUSPENDED && mark != UDMQ_FULL) || kind > UDMQ_NO_RANGE ||
            (mark == UDMQ_ORDINARY && kind != UDMQ_RANGE))
                return -EBADMSG;
        *ret_entry = (struct udmq_entry){
            .nsid = get_le32(p),
            .slba = kind == UDMQ_RANGE ? get_le64(p + 8) : 0,
            .nblocks = kind == UDMQ_RANGE ? (uint64_t)get_le32(p + 4) + 1 : 0,
            .mark = mark,
            .kind = kind,
            .deallocated = attr >> 5 & 1,
        };
        return 0;
}

#endif
