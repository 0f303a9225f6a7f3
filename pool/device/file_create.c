/* Making a file device, see file.h.
 *
 * Crash behaviour: the header is cleared and flushed first, written last and flushed again, so that
 * a device is either the old one, no device, or complete.
 */
#include "pool/device/file.h"
#include "pool/device/file_format.h"
#include "pool/device/file_lock.h"
#include "pool/device/probe.h"

#include "base/cleanup.h"
#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <uuid.h>

enum {
        MIB = 1 << 20,
        DEFAULT_LIMIT = 14,
        DEFAULT_IO_BLOCKS = 256, /* 1 MiB */
};

static int write_all(int fd, const void *buf, size_t len, uint64_t offset)
{
        for (size_t done = 0; done < len;) {
                ssize_t n =
                    pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (size_t)n;
        }
        return 0;
}

static int refuse_data(int fd, const char *path, uint64_t size, struct err *err)
{
        uint8_t block[ZP_BLOCK] = {0};
        char what[64];
        if (pread(fd, block, sizeof(block), 0) < 0)
                return err_set_sys(err, errno, "%s: cannot be read", path);
        if (file_format_has_magic(block))
                return err_set(err, EEXIST,
                               "%s holds a zonepool device already: ask for overwriting if what is "
                               "on it may be lost",
                               path);
        int rc = probe_signature(fd, what, sizeof(what));
        if (rc > 0)
                return err_set(err, EEXIST,
                               "%s holds data (%s): ask for overwriting if it may be lost", path,
                               what);
        if (rc == 0)
                rc = probe_data(fd, 0, MIN(size, MIB));
        if (rc == 0 && size > MIB)
                rc = probe_data(fd, size - MIB, MIB);
        if (rc > 0)
                return err_set(err, EEXIST,
                               "%s holds data of an unknown kind: ask for overwriting if it may be "
                               "lost",
                               path);
        return rc < 0 ? err_set_sys(err, -rc, "%s: cannot be read", path) : 0;
}

/* How many zones of that size fit behind their own header. */
static uint64_t zones_that_fit(uint64_t size, uint64_t zone_bytes)
{
        uint64_t n = MIN(size / zone_bytes, FILE_FORMAT_MAX_ZONES);
        while (n && file_format_data_offset((uint32_t)n) + n * zone_bytes > size)
                n--;
        return n;
}

static uint64_t default_zone_bytes(uint64_t size)
{
        uint64_t zone = 256 * (uint64_t)MIB;
        while (zone > MIB && size / zone < 128)
                zone /= 2;
        while (zone > 16 * ZP_BLOCK && zones_that_fit(size, zone) < FILE_FORMAT_MIN_ZONES)
                zone /= 2;
        return zone;
}

static int resolve_limit(int32_t given, uint32_t *ret_limit)
{
        if (given < FILE_DEVICE_NO_LIMIT)
                return -EINVAL;
        *ret_limit = given == 0 ? DEFAULT_LIMIT : given < 0 ? 0 : (uint32_t)given;
        return 0;
}

/* Turns the request into a layout for `size` bytes, or says what does not fit. */
static int resolve_spec(const struct file_device_spec *spec, const char *path, uint64_t size,
                        struct file_format *ret_fmt, struct err *err)
{
        uint64_t zone = spec->zone_bytes ? spec->zone_bytes : default_zone_bytes(size);
        uint64_t capacity = spec->zone_capacity_bytes ? spec->zone_capacity_bytes : zone;
        if (zone % ZP_BLOCK || capacity % ZP_BLOCK)
                return err_set(err, EINVAL,
                               "%s: zone size and zone capacity must be multiples of %d bytes",
                               path, ZP_BLOCK);
        if (capacity > zone)
                return err_set(err, EINVAL,
                               "%s: the zone capacity (%llu bytes) must not exceed the zone size "
                               "(%llu bytes)",
                               path, (unsigned long long)capacity, (unsigned long long)zone);
        uint64_t n = zones_that_fit(size, zone);
        char size_text[16], zone_text[16];
        size_format(size, size_text);
        size_format(zone, zone_text);
        if (n < FILE_FORMAT_MIN_ZONES)
                return err_set(err, EINVAL,
                               "%s: %s hold only %llu zones of %s, and at least %d are needed: "
                               "choose smaller zones or a larger device",
                               path, size_text, (unsigned long long)n, zone_text,
                               FILE_FORMAT_MIN_ZONES);
        struct file_format f = {
            .geo = {.nr_zones = (uint32_t)n,
                    .zone_blocks = zone / ZP_BLOCK,
                    .max_io_blocks = DEFAULT_IO_BLOCKS,
                    .rotational = spec->rotational},
            .capacity_blocks = capacity / ZP_BLOCK,
            .states_offset = ZP_BLOCK,
            .data_offset = file_format_data_offset((uint32_t)n),
        };
        if (resolve_limit(spec->max_open, &f.geo.max_open) < 0 ||
            resolve_limit(spec->max_active, &f.geo.max_active) < 0)
                return err_set(err, EINVAL, "%s: a limit of open or active zones is negative",
                               path);
        if (spec->max_active == 0 && f.geo.max_open > f.geo.max_active)
                f.geo.max_active = f.geo.max_open;
        if (spec->max_open == 0 && f.geo.max_active && f.geo.max_active < f.geo.max_open)
                f.geo.max_open = f.geo.max_active;
        if (f.geo.max_active && (!f.geo.max_open || f.geo.max_open > f.geo.max_active))
                return err_set(err, EINVAL,
                               "%s: the limit of active zones (%u) must not be below that of open "
                               "zones",
                               path, f.geo.max_active);
        uuid_generate_random(f.uuid.b);
        *ret_fmt = f;
        return 0;
}

static int clear_range(int fd, uint64_t offset, uint64_t len)
{
        static const uint8_t zeroes[64 * 1024];
        for (uint64_t done = 0; done < len;) {
                size_t n = MIN(sizeof(zeroes), len - done);
                int rc = write_all(fd, zeroes, n, offset + done);
                if (rc < 0)
                        return rc;
                done += n;
        }
        return 0;
}

/* Removes what was there: both ends, and for a file the whole content. */
static int clear_old(int fd, bool regular, uint64_t size)
{
        int rc = clear_range(fd, 0, MIN(size, MIB));
        if (rc == 0 && size > MIB)
                rc = clear_range(fd, MAX(size - MIB, (uint64_t)MIB), MIN(size - MIB, MIB));
        if (rc == 0 && fsync(fd) < 0)
                rc = -errno;
        if (rc == 0 && regular && (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size) < 0))
                rc = -errno;
        return rc;
}

static int write_layout(int fd, const struct file_format *fmt)
{
        size_t len = fmt->data_offset - fmt->states_offset;
        CLEANUP(free_ptr) uint64_t *states = calloc(1, len);
        if (!states)
                return -ENOMEM;
        for (uint32_t i = 0; i < fmt->geo.nr_zones; i++)
                states[i] = file_format_encode_zone(i, ZDEV_ZONE_EMPTY, 0);
        int rc = write_all(fd, states, len, fmt->states_offset);
        if (rc == 0 && fsync(fd) < 0)
                rc = -errno;
        if (rc < 0)
                return rc;
        uint8_t header[ZP_BLOCK];
        file_format_encode(fmt, header);
        rc = write_all(fd, header, sizeof(header), 0);
        if (rc == 0 && fsync(fd) < 0)
                rc = -errno;
        return rc;
}

/* The size the device will have, given what is there. */
static int find_size(int fd, const struct stat *st, const char *path, uint64_t wanted,
                     uint64_t *ret_size, struct err *err)
{
        uint64_t have = (uint64_t)st->st_size;
        if (S_ISBLK(st->st_mode)) {
                if (ioctl(fd, BLKGETSIZE64, &have) < 0)
                        return err_set_sys(err, errno, "%s: its size cannot be read", path);
                if (wanted > have)
                        return err_set(err, EINVAL,
                                       "%s has %llu bytes, which is less than the %llu asked for",
                                       path, (unsigned long long)have, (unsigned long long)wanted);
        } else if (!S_ISREG(st->st_mode)) {
                return err_set(err, EINVAL, "%s is neither a file nor a block device", path);
        }
        *ret_size = wanted ? wanted : have;
        if (!*ret_size)
                return err_set(err, EINVAL, "%s is empty: give the size it is to have", path);
        return 0;
}

/* Everything that can refuse; the lock stays with fd. */
static int check_on(int fd, const char *path, const struct file_device_spec *spec, bool overwrite,
                    struct file_format *ret_fmt, bool *ret_regular, uint64_t *ret_size,
                    struct err *err)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "%s", path);
        int rc = find_size(fd, &st, path, spec->size_bytes, ret_size, err);
        if (rc == 0)
                rc = file_lock(fd, path, err);
        if (rc == 0)
                rc = resolve_spec(spec, path, *ret_size, ret_fmt, err);
        *ret_regular = S_ISREG(st.st_mode);
        uint64_t present = *ret_regular ? (uint64_t)st.st_size : *ret_size;
        if (rc == 0 && !overwrite && present)
                rc = refuse_data(fd, path, present, err);
        return rc;
}

static int create_on(int fd, const char *path, const struct file_device_spec *spec, bool overwrite,
                     struct err *err)
{
        struct file_format fmt;
        bool regular;
        uint64_t size;
        int rc = check_on(fd, path, spec, overwrite, &fmt, &regular, &size, err);
        if (rc < 0)
                return rc;
        rc = clear_old(fd, regular, size);
        if (rc == 0)
                rc = write_layout(fd, &fmt);
        return rc < 0 ? err_set_sys(err, -rc, "%s: cannot be written", path) : 0;
}

/* Opens for making: ret_missing says that it was, or (make false) would have to be, made. */
static int open_for(const char *path, const struct file_device_spec *spec, bool make,
                    bool *ret_missing, struct err *err)
{
        struct stat st;
        *ret_missing = stat(path, &st) < 0 && errno == ENOENT;
        if (*ret_missing && !spec->size_bytes)
                return err_set(err, EINVAL, "%s does not exist: give the size it is to have", path);
        if (*ret_missing && !make)
                return -ENOENT;
        int flags = O_RDWR | O_CLOEXEC;
        if (*ret_missing)
                flags |= O_CREAT | O_EXCL;
        else if (S_ISBLK(st.st_mode))
                flags |= O_EXCL; /* not while the kernel has it mounted or in a mapping */
        int fd = open(path, flags, 0600);
        if (fd < 0 && errno == EBUSY)
                return err_set(err, EBUSY, "%s is in use by the kernel (mounted or mapped)", path);
        return fd < 0 ? err_set_sys(err, errno, "%s: cannot be opened", path) : fd;
}

int file_device_create(const char *path, const struct file_device_spec *spec, bool overwrite,
                       struct err *err)
{
        bool missing;
        CLEANUP(close_fd) int fd = open_for(path, spec, true, &missing, err);
        if (fd < 0)
                return fd;
        int rc = create_on(fd, path, spec, overwrite, err);
        if (rc < 0 && missing)
                unlink(path);
        return rc;
}

int file_device_check(const char *path, const struct file_device_spec *spec, bool overwrite,
                      struct err *err)
{
        struct file_format fmt;
        bool missing, regular;
        uint64_t size;
        CLEANUP(close_fd) int fd = open_for(path, spec, false, &missing, err);
        if (fd < 0 && missing && spec->size_bytes)
                return resolve_spec(spec, path, spec->size_bytes, &fmt, err);
        return fd < 0 ? fd : check_on(fd, path, spec, overwrite, &fmt, &regular, &size, err);
}

int file_device_erase(const char *path, struct err *err)
{
        const struct file_device_spec as_it_is = {0};
        struct stat st;
        bool missing;
        uint64_t size;
        if (!file_device_is_formatted(path))
                return err_set(err, ENOENT, "%s is not a zonepool device", path);
        CLEANUP(close_fd) int fd = open_for(path, &as_it_is, false, &missing, err);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "%s", path);
        int rc = find_size(fd, &st, path, 0, &size, err);
        if (rc == 0)
                rc = file_lock(fd, path, err);
        if (rc < 0)
                return rc;
        rc = clear_old(fd, S_ISREG(st.st_mode), size);
        return rc < 0 ? err_set_sys(err, -rc, "%s: cannot be written", path) : 0;
}

bool file_device_is_formatted(const char *path)
{
        uint8_t block[ZP_BLOCK];
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        return fd >= 0 && pread(fd, block, sizeof(block), 0) == (ssize_t)sizeof(block) &&
               file_format_has_magic(block);
}
