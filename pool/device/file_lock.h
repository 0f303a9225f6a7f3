/* One opener of a file device at a time. */
#ifndef ZONEPOOL_POOL_DEVICE_FILE_LOCK_H
#define ZONEPOOL_POOL_DEVICE_FILE_LOCK_H

#include "base/err.h"

/* Takes the lock that lasts as long as the open file does, waiting up to half a second: the kernel
 * keeps the file of a killed process open until its I/O has ended, and only then may another begin.
 * Returns 0 or -EBUSY with text. */
int file_lock(int fd, const char *path, struct err *err);

#endif
