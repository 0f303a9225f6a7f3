/* The pools as a directory tree: MOUNTPOINT/POOL/VOLUME, a regular file for each volume
 * (docs/fuse.md).
 *
 * For whatever only knows paths: qemu-img, dd, virsh vol-upload, <disk type='volume'>. Size and
 * place of a file are the volume's: it can be read, written, punched, not resized, renamed,
 * removed.
 *
 * Opening a file for writing holds the volume's controller, as an enabled vhost-user ring does:
 * another front end gets EBUSY, and so does the open while another has it. Several opens share it.
 * The observer hears FRONT_RINGS_ON and FRONT_RINGS_OFF of the first and behind the last; the open
 * returns when the gate is open, or fails with EREMOTE. Opening for reading holds nothing.
 *
 * One session for all pools, in the event loop: nothing blocks, replies come as requests complete.
 * THE PROCESS MUST NEVER TOUCH A PATH UNDER ITS OWN MOUNT: it would wait for itself.
 *
 * Threads: the loop's. `done` never comes from inside the call that asked.
 */
#ifndef ZONEPOOL_FUSE_FRONT_H
#define ZONEPOOL_FUSE_FRONT_H

#include "base/err.h"
#include "base/loop.h"
#include "frontend/frontend.h"
#include "nvme/controller.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fuse_front;
struct fuse_file;

struct fuse_front_options {
        mode_t mode; /* of files */
        uid_t uid;
        gid_t gid;
        uint32_t gate_timeout_ms; /* how long an open, or a request, waits for the gate */
        /* Bytes of a pool, for statfs. May be NULL. */
        void (*space)(void *ctx, const char *pool, uint64_t *ret_total, uint64_t *ret_available);
        /* The mount has gone without being asked to (umount by hand). May be NULL. */
        void (*unmounted)(void *ctx);
        void *ctx;
};

#define FUSE_FRONT_OPTIONS_DEFAULT                                                                 \
        ((struct fuse_front_options){.mode = 0660, .gate_timeout_ms = 5000})

/* Detaches what an earlier daemon left mounted there, makes the directory if there is none and
 * mounts. Options are copied. Returns 0 or -errno with text; -ENOENT also when there is no
 * /dev/fuse. */
int fuse_front_new(struct loop *loop, const char *mountpoint,
                   const struct fuse_front_options *options, struct fuse_front **ret_front,
                   struct err *err);

/* Takes no new request, waits for what is in flight, gives up every controller, unmounts. Files
 * need not have been removed. done: later, once; then fuse_front_free. */
void fuse_front_close(struct fuse_front *front, void *ctx, void (*done)(void *ctx));

/* After fuse_front_close is done. NULL is accepted. */
void fuse_front_free(struct fuse_front *front);

/* A directory, empty. -EEXIST, -ENOMEM. */
int fuse_front_add_pool(struct fuse_front *front, const char *pool);
/* -ENOTEMPTY while it has files; -ENOENT. */
int fuse_front_remove_pool(struct fuse_front *front, const char *pool);

struct fuse_file_ops {
        struct front_observer observer; /* event may be NULL */
        /* Whether what the volume holds is this host's to show: asked at open for reading
         * and at every read of such a descriptor. NULL:
         * yes. */
        bool (*may_read)(void *ctx);
        /* For st_blocks. NULL: as if fully allocated. */
        uint64_t (*allocated_bytes)(void *ctx);
        void *ctx;
};

/* A file. Controller and contexts outlive it until fuse_file_remove is done. -ENOENT no such pool,
 * -EEXIST, -ENOMEM. */
int fuse_front_add_file(struct fuse_front *front, const char *pool, const char *volume,
                        struct nvm_controller *controller, const struct fuse_file_ops *ops,
                        struct fuse_file **ret_file);

/* The name goes at once; what is in flight completes, the controller is given up, open descriptors
 * fail with ESTALE from then on. done: later, once; file is gone then. */
void fuse_file_remove(struct fuse_file *file, void *ctx, void (*done)(void *ctx));

/* Descriptors open for reading only. */
uint32_t fuse_file_readers(const struct fuse_file *file);

#endif
