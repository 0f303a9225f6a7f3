/* Small files of the daemon: directories, atomic replacement, the lock of the run directory, this
 * host's identity. They block for as long as the file system takes, and are used at start and by
 * pool operations only. Errors: -errno with text.
 */
#ifndef ZONEPOOL_DAEMON_FILES_H
#define ZONEPOOL_DAEMON_FILES_H

#include "base/err.h"
#include "base/uuid.h"

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

enum { FILE_SMALL_MAX = 1 << 20 };

/* Makes path and its parents; the last with mode. An existing directory is left as it is. */
int dir_make(const char *path, mode_t mode, struct err *err);

/* Replaces path in one step that is durable on return: a crash leaves the old file or the new one.
 */
int file_replace(const char *path, const char *data, size_t len, struct err *err);
/* The same for an object as JSON. */
int file_replace_json(const char *path, const json_t *object, struct err *err);
/* At most FILE_SMALL_MAX bytes of JSON. Errors: -ENOENT, -EBADMSG not JSON, ... */
int file_load_json(const char *path, json_t **ret_object, struct err *err);
/* Removes path durably. A missing file is success. */
int file_remove(const char *path, struct err *err);

/* One daemon a run directory: locks DIR/zonepoold.lock until *ret_fd is closed, and writes the pid
 * into it. -EBUSY: another daemon has it (named by its pid). */
int rundir_lock(const char *dir, int *ret_fd, struct err *err);

/* DIR/host-uuid, made at random the first time. */
int host_uuid_load(const char *dir, struct uuid *ret_uuid, struct err *err);

/* Random bytes of the kernel; never fails. */
void random_bytes(void *ctx, void *buf, size_t len);

#endif
