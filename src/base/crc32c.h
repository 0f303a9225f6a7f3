/* CRC32C (Castagnoli), the checksum of every format here, by ISA-L.
 * crc32c(0, buf, len) is the standard value: crc32c of "123456789" is 0xe3069283. It chains:
 * crc32c(crc32c(0, a, n), b, m) is the checksum of a followed by b. Threads: any. */
#ifndef ZONEPOOL_BASE_CRC32C_H
#define ZONEPOOL_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
