/* What a file device keeps in front of its zones: a header, then the zone states.
 *
 * Header, one block at offset 0, written once when the device is made:
 *
 *   offset size meaning
 *        0    8 magic "ZPFILDEV"
 *        8    4 format version (1)
 *       12    4 CRC32C of bytes 0..4095 with this field zero
 *       16   16 UUID of the device file, version 4
 *       32    4 number of zones, 16..
 *       36    4 flags: bit 0 rotational; others 0
 *       40    8 zone size, blocks
 *       48    8 zone capacity, blocks, 1..zone size
 *       56    4 most open zones, 0: no limit
 *       60    4 most active zones, 0: no limit
 *       64    4 largest read or write, blocks
 *       68    4 number of conventional zones, the first ones
 *       72    8 offset of the zone states, bytes (4096)
 *       80    8 offset of zone 0, bytes, multiple of 65536
 *       88 4008 zero
 *
 * Zone states, 8 bytes a zone, always stored as one aligned 64-bit word so that neither a killed
 * process nor a lost power supply leaves half of one:
 *
 *   bits   meaning
 *    0..39 write pointer, blocks
 *   40..47 state: 1 conventional, 2 empty, 3 open, 4 closed, 5 full, 6 read-only, 7 offline
 *   48..63 check: CRC32C of (zone number le32, bits 0..47 as le64), upper half xor lower half
 *
 * A state that does not verify makes its zone read-only with its whole capacity readable.
 *
 * All fields little-endian. Sizes are bounded by file_format_decode. */
#ifndef ZONEPOOL_POOL_DEVICE_FILE_FORMAT_H
#define ZONEPOOL_POOL_DEVICE_FILE_FORMAT_H

#include "base/err.h"
#include "base/uuid.h"
#include "pool/device.h"

#include <stdbool.h>
#include <stdint.h>

enum {
        FILE_FORMAT_VERSION = 1,
        FILE_FORMAT_MIN_ZONES = 16,
        FILE_FORMAT_MAX_ZONES = 1 << 24,
        FILE_FORMAT_ALIGN = 65536,
};

struct file_format {
        struct zdev_geometry geo;
        struct uuid uuid;
        uint64_t capacity_blocks;
        uint32_t nr_conventional;
        uint64_t states_offset; /* bytes */
        uint64_t data_offset; /* bytes */
};

/* Where zone 0 begins for that many zones, bytes. */
uint64_t file_format_data_offset(uint32_t nr_zones);

/* block: ZP_BLOCK bytes. */
void file_format_encode(const struct file_format *fmt, uint8_t *block);
bool file_format_has_magic(const uint8_t *block);
/* Returns 0; -ENOENT no header; -EPROTONOSUPPORT newer version; -EBADMSG does not verify. The text
 * of err has no name of the file in it. */
int file_format_decode(const uint8_t *block, struct file_format *ret_fmt, struct err *err);

/* One word of the zone states, in host order of a little-endian word (htole64 is applied). */
uint64_t file_format_encode_zone(uint32_t zone, enum zdev_zone_state state, uint64_t wp_block);
/* Returns 0 or -EBADMSG. wp_block is not bounded here. */
int file_format_decode_zone(uint32_t zone, uint64_t word, enum zdev_zone_state *ret_state,
                            uint64_t *ret_wp_block);

#endif
