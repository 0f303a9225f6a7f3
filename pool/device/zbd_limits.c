/* Queue limits of a zoned block device, see zbd_limits.h.
 *
 * max_io_blocks is what one request of the device holds whatever the memory looks like: each page
 * may be a segment of its own. So a write is one command; a larger one would be split, and kernels
 * before 6.10 may reorder the parts of a split write.
 */
#include "pool/device/zbd_limits.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
        MIN_ZONES = 16,
        MAX_IO_BLOCKS = 256, /* 1 MiB: larger writes bring nothing, and hold up what waits */
        SECTOR = 512,
};

static bool read_text(const char *dir, const char *name, char *text, size_t len)
{
        char path[256];

        text[0] = '\0';
        if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
                return false;
        FILE *f = fopen(path, "re");
        if (!f)
                return false;
        if (!fgets(text, (int)len, f))
                text[0] = '\0';
        fclose(f);
        text[strcspn(text, "\n")] = '\0';
        return text[0] != '\0';
}

static uint64_t read_number(const char *dir, const char *name)
{
        char text[32], *end;

        if (!read_text(dir, name, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
                return 0;
        errno = 0;
        unsigned long long n = strtoull(text, &end, 10);
        return errno || *end ? 0 : n;
}

void zbd_limits_read(const char *queue_dir, struct zbd_limits *ret_limits)
{
        struct zbd_limits l = {0};

        if (!read_text(queue_dir, "zoned", l.model_text, sizeof(l.model_text)) ||
            !strcmp(l.model_text, "none"))
                l.model = ZBD_NONE;
        else if (!strcmp(l.model_text, "host-managed"))
                l.model = ZBD_HOST_MANAGED;
        else if (!strcmp(l.model_text, "host-aware"))
                l.model = ZBD_HOST_AWARE;
        else
                l.model = ZBD_UNKNOWN;
        uint64_t sectors = read_number(queue_dir, "chunk_sectors");
        l.zone_bytes = sectors > UINT64_MAX / SECTOR ? 0 : sectors * SECTOR;
        l.nr_zones = read_number(queue_dir, "nr_zones");
        l.logical_block = read_number(queue_dir, "logical_block_size");
        l.max_open = read_number(queue_dir, "max_open_zones");
        l.max_active = read_number(queue_dir, "max_active_zones");
        l.max_sectors_kb = read_number(queue_dir, "max_sectors_kb");
        l.max_segments = read_number(queue_dir, "max_segments");
        l.rotational = read_number(queue_dir, "rotational") != 0;
        *ret_limits = l;
}

static int check(const struct zbd_limits *l, const char *path, struct err *err)
{
        if (l->model == ZBD_NONE)
                return err_set(err, EINVAL, "%s is not a zoned block device", path);
        if (l->model != ZBD_HOST_MANAGED)
                return err_set(
                    err, ENOTSUP,
                    "%s is a zoned block device of the kind '%s'; only host-managed ones "
                    "are used",
                    path, l->model_text);
        if (!l->zone_bytes || l->zone_bytes % ZP_BLOCK)
                return err_set(err, EINVAL,
                               "%s has zones of %llu bytes; they must be multiples of %d: format "
                               "the drive with other zones",
                               path, (unsigned long long)l->zone_bytes, ZP_BLOCK);
        if (!l->logical_block || l->logical_block % SECTOR || ZP_BLOCK % l->logical_block)
                return err_set(
                    err, EINVAL,
                    "%s has logical blocks of %llu bytes; 512 to %d are used: format the "
                    "drive with another block size",
                    path, (unsigned long long)l->logical_block, ZP_BLOCK);
        if (l->nr_zones < MIN_ZONES)
                return err_set(err, EINVAL,
                               "%s has only %llu zones, and at least %d are needed: use a larger "
                               "device or one with smaller zones",
                               path, (unsigned long long)l->nr_zones, MIN_ZONES);
        if (l->nr_zones > UINT32_MAX || l->max_open > UINT32_MAX || l->max_active > UINT32_MAX)
                return err_set(err, EINVAL, "%s has more zones than a pool can use", path);
        return 0;
}

int zbd_limits_geometry(const struct zbd_limits *l, const char *path, struct zdev_geometry *ret_geo,
                        struct err *err)
{
        int rc = check(l, path, err);

        if (rc < 0)
                return rc;
        uint64_t io_blocks = MAX_IO_BLOCKS;
        if (l->max_sectors_kb)
                io_blocks = MIN(io_blocks, l->max_sectors_kb * 1024 / ZP_BLOCK);
        if (l->max_segments)
                io_blocks = MIN(io_blocks, l->max_segments);
        *ret_geo = (struct zdev_geometry){
            .nr_zones = (uint32_t)l->nr_zones,
            .zone_blocks = l->zone_bytes / ZP_BLOCK,
            /* Active zones include the open ones: drives exist that state only the one limit. */
            .max_open = (uint32_t)(l->max_open ? l->max_open : l->max_active),
            .max_active = (uint32_t)l->max_active,
            .max_io_blocks = (uint32_t)MAX(io_blocks, (uint64_t)1),
            .rotational = l->rotational,
        };
        return 0;
}
