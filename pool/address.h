/* Where a block lies: what the entries of the tables hold. */
#ifndef ZONEPOOL_POOL_ADDRESS_H
#define ZONEPOOL_POOL_ADDRESS_H

#include <stdint.h>

#define ADDR_MAPPED (UINT64_C(1) << 63)
#define ADDR_HOLE                                                                                  \
        (UINT64_C(1) << 62) /* an entry of its own that reads as zeroes: hides the parent */

static inline uint64_t addr_make(uint32_t group, uint32_t offset)
{
        return ADDR_MAPPED | (uint64_t)group << 28 | offset;
}

static inline uint32_t addr_group(uint64_t addr)
{
        return (uint32_t)(addr >> 28);
}

static inline uint32_t addr_offset(uint64_t addr)
{
        return (uint32_t)(addr & ((UINT32_C(1) << 28) - 1));
}

struct entry {
        uint64_t addr; /* 0: absent */
        uint32_t crc;
};

#endif
