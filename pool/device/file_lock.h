/* One opener of a file device at a time. */
#ifndef ZONEPOOL_POOL_DEVICE_FILE_LOCK_H
#define ZONEPOOL_POOL_DEVICE_FILE_LOCK_H

#include "base/err.h"

/* Takes the lock that lasts as long as the open file does, and never waits. The kernel keeps the
 * file of a killed process open, and so locked, until its I/O has ended: who wants to wait for that
 * tries again. Returns 0 or -EBUSY with text. */
int file_lock(int fd, const char *path, struct err *err);

#endif
