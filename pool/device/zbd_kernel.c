/* The ioctls of linux/blkzoned.h, and the meaning of what they say; see zbd_kernel.h. */
#include "pool/device/zbd_kernel.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sys/ioctl.h>

enum { SECTOR = 512 }; /* the unit of blkzoned.h */

static struct zbd_zone zone_of(const struct blk_zone *z, bool has_capacity)
{
        return (struct zbd_zone){.start = z->start * SECTOR,
                                 .len = z->len * SECTOR,
                                 .capacity = (has_capacity ? z->capacity : z->len) * SECTOR,
                                 .wp = z->wp * SECTOR,
                                 .type = z->type,
                                 .cond = z->cond};
}

static int linux_report(void *ctx, int fd, uint64_t zone_bytes, uint32_t first, uint32_t n,
                        struct zbd_zone *zones)
{
        CLEANUP(free_ptr)
        struct blk_zone_report *report = malloc(sizeof(*report) + n * sizeof(report->zones[0]));

        if (!report)
                return -ENOMEM;
        for (uint32_t got = 0; got < n;) { /* the kernel may tell of less than was asked for */
                *report = (struct blk_zone_report){.sector = (first + got) * (zone_bytes / SECTOR),
                                                   .nr_zones = n - got};
                if (ioctl(fd, BLKREPORTZONE, report) < 0)
                        return -errno;
                if (!report->nr_zones || report->nr_zones > n - got)
                        return -EIO;
                for (uint32_t i = 0; i < report->nr_zones; i++)
                        zones[got++] =
                            zone_of(&report->zones[i], report->flags & BLK_ZONE_REP_CAPACITY);
        }
        return 0;
}

static int linux_manage(void *ctx, int fd, enum zbd_zone_op op, uint64_t offset, uint64_t len)
{
        struct blk_zone_range range = {.sector = offset / SECTOR, .nr_sectors = len / SECTOR};

        return ioctl(fd, op == ZBD_OP_RESET ? BLKRESETZONE : BLKFINISHZONE, &range) < 0 ? -errno
                                                                                        : 0;
}

static int linux_append(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
        ssize_t n = pwrite(fd, buf, len, (off_t)offset);
        return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
}

const struct zbd_kernel zbd_kernel_linux = {
    .report = linux_report, .manage = linux_manage, .append = linux_append};

static bool writable(enum blk_zone_cond cond)
{
        return cond == BLK_ZONE_COND_EMPTY || cond == BLK_ZONE_COND_IMP_OPEN ||
               cond == BLK_ZONE_COND_EXP_OPEN || cond == BLK_ZONE_COND_CLOSED;
}

struct zdev_zone zbd_zone_convert(const struct zbd_zone *z, uint32_t index, uint64_t zone_bytes)
{
        static const enum zdev_zone_state states[] = {
            [BLK_ZONE_COND_NOT_WP] = ZDEV_ZONE_CONVENTIONAL,
            [BLK_ZONE_COND_EMPTY] = ZDEV_ZONE_EMPTY,
            [BLK_ZONE_COND_IMP_OPEN] = ZDEV_ZONE_OPEN,
            [BLK_ZONE_COND_EXP_OPEN] = ZDEV_ZONE_OPEN,
            [BLK_ZONE_COND_CLOSED] = ZDEV_ZONE_CLOSED,
            [BLK_ZONE_COND_READONLY] = ZDEV_ZONE_READONLY,
            [BLK_ZONE_COND_FULL] = ZDEV_ZONE_FULL,
            [BLK_ZONE_COND_OFFLINE] = ZDEV_ZONE_OFFLINE,
        };
        uint64_t capacity = MIN(MIN(z->capacity, z->len), zone_bytes);
        struct zdev_zone zone = {.capacity_blocks = capacity / ZP_BLOCK};

        if (z->type == BLK_ZONE_TYPE_CONVENTIONAL) {
                zone.state = ZDEV_ZONE_CONVENTIONAL;
                zone.capacity_blocks = MIN(z->len, zone_bytes) / ZP_BLOCK;
                return zone;
        }
        /* What the table leaves out is no state of a zone that has a pointer. */
        zone.state =
            (size_t)z->cond < ARRAY_SIZE(states) ? states[z->cond] : ZDEV_ZONE_CONVENTIONAL;
        if (zone.state == ZDEV_ZONE_CONVENTIONAL)
                zone.state = ZDEV_ZONE_READONLY;
        if (z->start != index * zone_bytes || z->capacity > z->len || z->len > zone_bytes)
                zone.state = ZDEV_ZONE_READONLY;
        if (writable(z->cond) && (z->wp < z->start || z->wp > z->start + z->capacity))
                zone.state = ZDEV_ZONE_READONLY;
        switch (zone.state) {
        case ZDEV_ZONE_OPEN:
        case ZDEV_ZONE_CLOSED:
                zone.wp_block = DIV_ROUND_UP(z->wp - z->start, (uint64_t)ZP_BLOCK);
                if (zone.wp_block >= zone.capacity_blocks) { /* no whole block fits any more */
                        zone.wp_block = zone.capacity_blocks;
                        zone.state = ZDEV_ZONE_FULL;
                }
                break;
        case ZDEV_ZONE_FULL:
        case ZDEV_ZONE_READONLY: /* the drive has forgotten the pointer */
                zone.wp_block = zone.capacity_blocks;
                break;
        case ZDEV_ZONE_EMPTY:
        case ZDEV_ZONE_OFFLINE:
        case ZDEV_ZONE_CONVENTIONAL:
                break;
        }
        return zone;
}

uint32_t zbd_zone_ragged(const struct zbd_zone *z)
{
        if (z->type == BLK_ZONE_TYPE_CONVENTIONAL || !writable(z->cond) || z->wp < z->start)
                return 0;
        uint32_t over = (uint32_t)((z->wp - z->start) % ZP_BLOCK);
        uint32_t missing = over ? ZP_BLOCK - over : 0;
        return missing && z->wp + missing <= z->start + z->capacity ? missing : 0;
}

int zbd_status(int error, enum zdev_zone_state state)
{
        switch (-error) {
        case EOVERFLOW: /* active zones */
        case ETOOMANYREFS: /* open zones */
                return -EOVERFLOW;
        case ENODEV:
        case ENXIO:
                return -ENODEV;
        case EROFS:
        case EPERM: /* the whole device was made read-only */
                return -EROFS;
        default:
                return state == ZDEV_ZONE_READONLY ? -EROFS : -EIO;
        }
}
