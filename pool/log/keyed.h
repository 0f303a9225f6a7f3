/* Keyed checksum (SipHash-2-4): what nobody can forge who does not know the pool's secret. */
#ifndef ZONEPOOL_POOL_KEYED_H
#define ZONEPOOL_POOL_KEYED_H

#include <stddef.h>
#include <stdint.h>

enum { KEYED_SECRET_BYTES = 16 };

uint64_t keyed_sum(const uint8_t secret[KEYED_SECRET_BYTES], const void *buf, size_t len);

#endif
