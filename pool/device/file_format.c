/* Encoding of what a file device keeps in front of its zones, see file_format.h. */
#include "pool/device/file_format.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"

#include <errno.h>

/* Offsets in bytes stay below 2^63. */
#define MAX_DEVICE_BLOCKS (UINT64_C(1) << 50)

static const char magic[8] = {'Z', 'P', 'F', 'I', 'L', 'D', 'E', 'V'};

enum {
        OFF_VERSION = 8,
        OFF_CRC = 12,
        OFF_UUID = 16,
        OFF_NR_ZONES = 32,
        OFF_FLAGS = 36,
        OFF_ZONE_BLOCKS = 40,
        OFF_CAPACITY = 48,
        OFF_MAX_OPEN = 56,
        OFF_MAX_ACTIVE = 60,
        OFF_MAX_IO = 64,
        OFF_CONVENTIONAL = 68,
        OFF_STATES = 72,
        OFF_DATA = 80,
        FLAG_ROTATIONAL = 1,
        WP_BITS = 40,
        MAX_IO_BLOCKS = 65536,
};

uint64_t file_format_data_offset(uint32_t nr_zones)
{
        uint64_t end = ZP_BLOCK + (uint64_t)nr_zones * sizeof(uint64_t);
        return DIV_ROUND_UP(end, FILE_FORMAT_ALIGN) * FILE_FORMAT_ALIGN;
}

void file_format_encode(const struct file_format *fmt, uint8_t *block)
{
        memset(block, 0, ZP_BLOCK);
        memcpy(block, magic, sizeof(magic));
        put_le32(block + OFF_VERSION, FILE_FORMAT_VERSION);
        memcpy(block + OFF_UUID, fmt->uuid.b, sizeof(fmt->uuid.b));
        put_le32(block + OFF_NR_ZONES, fmt->geo.nr_zones);
        put_le32(block + OFF_FLAGS, fmt->geo.rotational ? FLAG_ROTATIONAL : 0);
        put_le64(block + OFF_ZONE_BLOCKS, fmt->geo.zone_blocks);
        put_le64(block + OFF_CAPACITY, fmt->capacity_blocks);
        put_le32(block + OFF_MAX_OPEN, fmt->geo.max_open);
        put_le32(block + OFF_MAX_ACTIVE, fmt->geo.max_active);
        put_le32(block + OFF_MAX_IO, fmt->geo.max_io_blocks);
        put_le32(block + OFF_CONVENTIONAL, fmt->nr_conventional);
        put_le64(block + OFF_STATES, fmt->states_offset);
        put_le64(block + OFF_DATA, fmt->data_offset);
        put_le32(block + OFF_CRC, crc32c(0, block, ZP_BLOCK));
}

bool file_format_has_magic(const uint8_t *block)
{
        return memcmp(block, magic, sizeof(magic)) == 0;
}

static bool header_is_sane(const struct file_format *f)
{
        return f->geo.nr_zones >= FILE_FORMAT_MIN_ZONES &&
               f->geo.nr_zones <= FILE_FORMAT_MAX_ZONES && f->geo.zone_blocks > 0 &&
               f->geo.zone_blocks <= MAX_DEVICE_BLOCKS / f->geo.nr_zones &&
               f->capacity_blocks > 0 && f->capacity_blocks <= f->geo.zone_blocks &&
               f->geo.max_io_blocks > 0 && f->geo.max_io_blocks <= MAX_IO_BLOCKS &&
               f->nr_conventional <= f->geo.nr_zones && f->states_offset == ZP_BLOCK &&
               f->data_offset == file_format_data_offset(f->geo.nr_zones);
}

int file_format_decode(const uint8_t *block, struct file_format *ret_fmt, struct err *err)
{
        if (!file_format_has_magic(block))
                return err_set(err, ENOENT, "it is not a zonepool file device");
        uint32_t version = get_le32(block + OFF_VERSION);
        uint8_t copy[ZP_BLOCK];
        memcpy(copy, block, sizeof(copy));
        put_le32(copy + OFF_CRC, 0);
        bool intact = crc32c(0, copy, sizeof(copy)) == get_le32(block + OFF_CRC);
        if (intact && version > FILE_FORMAT_VERSION)
                return err_set(err, EPROTONOSUPPORT,
                               "its format version %u is newer than this program knows (%d): "
                               "update zonepool",
                               version, FILE_FORMAT_VERSION);
        struct file_format f = {
            .geo = {.nr_zones = get_le32(block + OFF_NR_ZONES),
                    .zone_blocks = get_le64(block + OFF_ZONE_BLOCKS),
                    .max_open = get_le32(block + OFF_MAX_OPEN),
                    .max_active = get_le32(block + OFF_MAX_ACTIVE),
                    .max_io_blocks = get_le32(block + OFF_MAX_IO),
                    .rotational = get_le32(block + OFF_FLAGS) & FLAG_ROTATIONAL},
            .capacity_blocks = get_le64(block + OFF_CAPACITY),
            .nr_conventional = get_le32(block + OFF_CONVENTIONAL),
            .states_offset = get_le64(block + OFF_STATES),
            .data_offset = get_le64(block + OFF_DATA),
        };
        memcpy(f.uuid.b, block + OFF_UUID, sizeof(f.uuid.b));
        if (!intact || version != FILE_FORMAT_VERSION || !header_is_sane(&f))
                return err_set(err, EBADMSG, "its header is damaged");
        *ret_fmt = f;
        return 0;
}

/* The numbers on disk, by zdev_zone_state. */
static const uint8_t state_codes[] = {
    [ZDEV_ZONE_CONVENTIONAL] = 1, [ZDEV_ZONE_EMPTY] = 2, [ZDEV_ZONE_OPEN] = 3,
    [ZDEV_ZONE_CLOSED] = 4,       [ZDEV_ZONE_FULL] = 5,  [ZDEV_ZONE_READONLY] = 6,
    [ZDEV_ZONE_OFFLINE] = 7,
};

static uint16_t zone_check(uint32_t zone, uint64_t low48)
{
        uint8_t buf[12];
        put_le32(buf, zone);
        put_le64(buf + 4, low48);
        uint32_t crc = crc32c(0, buf, sizeof(buf));
        return (uint16_t)(crc ^ (crc >> 16));
}

uint64_t file_format_encode_zone(uint32_t zone, enum zdev_zone_state state, uint64_t wp_block)
{
        uint64_t low48 = wp_block | (uint64_t)state_codes[state] << WP_BITS;
        return htole64(low48 | (uint64_t)zone_check(zone, low48) << 48);
}

int file_format_decode_zone(uint32_t zone, uint64_t word, enum zdev_zone_state *ret_state,
                            uint64_t *ret_wp_block)
{
        word = le64toh(word);
        uint64_t low48 = word & ((UINT64_C(1) << 48) - 1);
        if (zone_check(zone, low48) != word >> 48)
                return -EBADMSG;
        for (size_t i = 0; i < ARRAY_SIZE(state_codes); i++) {
                if (state_codes[i] != low48 >> WP_BITS)
                        continue;
                *ret_state = (enum zdev_zone_state)i;
                *ret_wp_block = low48 & ((UINT64_C(1) << WP_BITS) - 1);
                return 0;
        }
        return -EBADMSG;
}
