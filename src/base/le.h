/* Little-endian fields of on-disk and wire formats, at any alignment. The only way such bytes are
 * read or written: no packed structs, no casts. */
#ifndef ZONEPOOL_BASE_LE_H
#define ZONEPOOL_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_DEFINE_(bits)                                                                           \
        static inline uint##bits##_t get_le##bits(const void *p)                                   \
        {                                                                                          \
                uint##bits##_t v;                                                                  \
                memcpy(&v, p, sizeof(v));                                                          \
                return le##bits##toh(v);                                                           \
        }                                                                                          \
        static inline void put_le##bits(void *p, uint##bits##_t v)                                 \
        {                                                                                          \
                v = htole##bits(v);                                                                \
                memcpy(p, &v, sizeof(v));                                                          \
        }

LE_DEFINE_(16)
LE_DEFINE_(32)
LE_DEFINE_(64)

static inline uint8_t get_u8(const void *p)
{
        return *(const uint8_t *)p;
}

static inline void put_u8(void *p, uint8_t v)
{
        *(uint8_t *)p = v;
}

#endif
