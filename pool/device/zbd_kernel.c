/* libzbd, and the meaning of what it says; see zbd_kernel.h. */
#include "pool/device/zbd_kernel.h"

#include "base/cleanup.h"

#include <errno.h>

/* libzbd returns -1 and leaves errno; older paths of it return -errno. */
static int error_of(int rc)
{
        return rc < -1 ? rc : errno ? -errno : -EIO;
}

static int linux_report(void *ctx, int fd, uint64_t zone_bytes, uint32_t first, uint32_t n,
                        struct zbd_zone *zones)
{
        unsigned int got = n;

        errno = 0;
        int rc = zbd_report_zones(fd, (off_t)(first * zone_bytes), (off_t)(n * zone_bytes),
                                  ZBD_RO_ALL, zones, &got);
        if (rc < 0)
                return error_of(rc);
        return got == n ? 0 : -EIO;
}

static int linux_manage(void *ctx, int fd, enum zbd_zone_op op, uint64_t offset, uint64_t len)
{
        errno = 0;
        int rc = zbd_zones_operation(fd, op, (off_t)offset, (off_t)len);
        return rc < 0 ? error_of(rc) : 0;
}

static int linux_append(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
        ssize_t n = pwrite(fd, buf, len, (off_t)offset);
        return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
}

const struct zbd_kernel zbd_kernel_linux = {
    .report = linux_report, .manage = linux_manage, .append = linux_append};

static bool writable(unsigned int cond)
{
        return cond == ZBD_ZONE_COND_EMPTY || cond == ZBD_ZONE_COND_IMP_OPEN ||
               cond == ZBD_ZONE_COND_EXP_OPEN || cond == ZBD_ZONE_COND_CLOSED;
}

struct zdev_zone zbd_zone_convert(const struct zbd_zone *z, uint32_t index, uint64_t zone_bytes)
{
        static const enum zdev_zone_state states[] = {
            [ZBD_ZONE_COND_NOT_WP] = ZDEV_ZONE_CONVENTIONAL,
            [ZBD_ZONE_COND_EMPTY] = ZDEV_ZONE_EMPTY,
            [ZBD_ZONE_COND_IMP_OPEN] = ZDEV_ZONE_OPEN,
            [ZBD_ZONE_COND_EXP_OPEN] = ZDEV_ZONE_OPEN,
            [ZBD_ZONE_COND_CLOSED] = ZDEV_ZONE_CLOSED,
            [ZBD_ZONE_COND_READONLY] = ZDEV_ZONE_READONLY,
            [ZBD_ZONE_COND_FULL] = ZDEV_ZONE_FULL,
            [ZBD_ZONE_COND_OFFLINE] = ZDEV_ZONE_OFFLINE,
        };
        uint64_t capacity = MIN(MIN((uint64_t)z->capacity, (uint64_t)z->len), zone_bytes);
        struct zdev_zone zone = {.capacity_blocks = capacity / ZP_BLOCK};

        if (z->type == ZBD_ZONE_TYPE_CNV) {
                zone.state = ZDEV_ZONE_CONVENTIONAL;
                zone.capacity_blocks = MIN((uint64_t)z->len, zone_bytes) / ZP_BLOCK;
                return zone;
        }
        /* What the table leaves out is no state of a zone that has a pointer. */
        zone.state = z->cond < ARRAY_SIZE(states) ? states[z->cond] : ZDEV_ZONE_CONVENTIONAL;
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
        if (z->type == ZBD_ZONE_TYPE_CNV || !writable(z->cond) || z->wp < z->start)
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
