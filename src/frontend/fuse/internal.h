/* Structures that the files of this folder share. Not for others. */
#ifndef ZONEPOOL_FUSE_INTERNAL_H
#define ZONEPOOL_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 35

#include "base/list.h"
#include "frontend/fuse/fuse_front.h"
#include "pool/pool.h"

#include <fuse_lowlevel.h>
#include <time.h>

enum { FUSE_SECTOR = VOLUME_SECTOR, FUSE_MAX_IO = 1 << 20 };

struct fuse_pool {
        struct list node; /* front->pools, ascending ino */
        fuse_ino_t ino;
        char name[POOL_NAME_MAX + 1];
        struct list files; /* ascending ino */
};

struct fuse_file {
        struct fuse_front *front;
        struct fuse_pool *pool; /* NULL: removed */
        struct list node; /* pool->files, or front->gone */
        fuse_ino_t ino;
        char name[VOLUME_NAME_MAX + 1];
        struct nvm_controller *controller;
        struct fuse_file_ops ops;
        mode_t mode;
        uid_t uid;
        gid_t gid;
        struct timespec mtime;

        struct nvm_front hold; /* the controller's while `held` */
        bool held;
        struct list handles; /* struct fuse_handle */
        uint32_t writers, readers;
        struct list opening; /* struct fuse_opening: opens for writing that wait for the gate */
        struct list ops_list; /* struct fuse_op in order of arrival */
        uint32_t seeks; /* under way */
        uint64_t trouble_ns; /* when the observer was last told of one */
        struct loop_timer gate_timer; /* ends the waiting for the gate */

        bool shut; /* nothing new is taken */
        struct loop_defer quiet; /* shut, and nothing is left: told once */
        bool told;
        void *removed_ctx;
        void (*removed)(void *ctx);
};

struct fuse_handle {
        struct fuse_file *file;
        struct list node;
        bool write;
};

struct fuse_front {
        struct loop *loop;
        struct fuse_front_options options;
        struct fuse_session *session;
        struct fuse_buf buf; /* of the request that is being received */
        struct loop_fd fd;
        bool mounted;
        struct timespec born;
        fuse_ino_t last_ino;
        struct list pools;
        struct list gone; /* removed files that descriptors still name */

        bool closing;
        struct loop_defer closed_defer;
        void *closed_ctx;
        void (*closed)(void *ctx);
};

/* ---- tree.c ---- */
extern const struct fuse_lowlevel_ops fuse_front_ops;
struct fuse_pool *fuse_pool_by_name(struct fuse_front *f, const char *name);

/* ---- file.c ---- */
void fuse_do_open(fuse_req_t req, struct fuse_file *file, struct fuse_file_info *fi);
void fuse_do_release(fuse_req_t req, struct fuse_file_info *fi);
/* Takes nothing new; ends what waits; when nothing is under way, gives the controller up and calls
 * fuse_file_quiet. */
void fuse_file_shut(struct fuse_file *file);
/* Something of the file has ended: looks whether the controller can be given up. */
void fuse_file_settle(struct fuse_file *file);
/* Something waits for the gate: it does so only for so long. */
void fuse_file_await_gate(struct fuse_file *file);
/* Frees a file that nothing names any more, whatever else it has. */
void fuse_file_free(struct fuse_file *file);

/* ---- io.c ---- */
void fuse_do_read(fuse_req_t req, struct fuse_handle *h, size_t size, uint64_t off);
void fuse_do_write(fuse_req_t req, struct fuse_handle *h, const char *data, size_t size,
                   uint64_t off);
void fuse_do_flush(fuse_req_t req, struct fuse_handle *h);
void fuse_do_fallocate(fuse_req_t req, struct fuse_handle *h, int mode, uint64_t off,
                       uint64_t length);
void fuse_do_lseek(fuse_req_t req, struct fuse_handle *h, uint64_t off, int whence);
/* Starts what can start. */
void fuse_io_kick(struct fuse_file *file);
/* Ends requests that wait for the gate with -error. */
void fuse_io_fail_waiting(struct fuse_file *file, int error);
/* Requests that hold the controller are under way. */
bool fuse_io_busy(const struct fuse_file *file);

/* ---- mount.c ---- */
/* A file is shut and quiet. */
void fuse_front_file_quiet(struct fuse_front *f);

#endif
