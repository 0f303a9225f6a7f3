/* Whether a file or block device holds somebody's data. Both calls block for a few reads. */
#ifndef ZONEPOOL_POOL_DEVICE_PROBE_H
#define ZONEPOOL_POOL_DEVICE_PROBE_H

#include <stddef.h>
#include <stdint.h>

/* 1: something but zeroes in [offset, offset + len), as far as it exists; 0: zeroes; -errno. */
int probe_data(int fd, uint64_t offset, uint64_t len);

/* 1: libblkid knows what is on it, and its name is in what; 0: nothing known; -errno. */
int probe_signature(int fd, char *what, size_t len);

#endif
