/* A volume of an imported pool, and all that makes it reachable: namespace and controller,
 * vhost-user socket, file under the mount, ownership.
 *
 * Who uses a volume: a QEMU that is connected, a front end that has it open for writing, a
 * migration, or work of the daemon itself, which takes the controller's one place for a front end
 * (dvol_hold), so that nobody else opens the volume meanwhile. Operations that need it idle ask
 * dvol_check_idle.
 */
#ifndef ZONEPOOL_DAEMON_DVOL_H
#define ZONEPOOL_DAEMON_DVOL_H

#include "base/err.h"
#include "control/params.h"
#include "daemon/dpool.h"
#include "frontend/frontend.h"
#include "nvme/controller.h"

struct fuse_file;
struct migrate_volume;
struct vub_server;

struct dvol {
        struct dpool *pool;
        struct list node; /* pool->volumes */
        struct volume *vol;
        struct nvm_controller *nvc; /* NULL: not attached; not NULL beside an error: not gone yet */
        struct vub_server *vub; /* NULL: not attached */
        struct fuse_file *file; /* NULL: no mount */
        struct migrate_volume *migrate; /* migration.c's */
        struct front_observer owner; /* where migration.c wants events */
        struct nvm_front hold; /* kind not NULL: the daemon's own work has it */
        bool going; /* deletion or detaching has begun */
        struct err error; /* why it could not be attached */
        /* detaching */
        unsigned closing; /* ways in that are still being closed */
        void *detach_ctx;
        void (*detached)(void *ctx); /* NULL: not detaching */
        struct loop_timer detach_step;
};

/* 1..VOLUME_NAME_MAX (POOL_NAME_MAX) bytes of [A-Za-z0-9._+-], not beginning with '.' or '-'; pools
 * must not have the name of what else lies in the run directory. -EINVAL with text. */
int volume_name_check(const char *name, struct err *err);
int pool_name_check(const char *name, struct err *err);

/* In the pool, whatever its ownership. NULL with err -ENOENT. */
struct dvol *dvol_find(struct dpool *p, const char *name, struct err *err);
struct dvol *dvol_of(const struct volume *vol);
/* Parses a request by a table that begins with POOL_AND_VOLUME, and finds the volume. */
int dvol_of_request(struct control_request *req, struct daemon *d,
                    const struct control_param *table, size_t n, struct dvol **ret_v,
                    struct err *err);
#define POOL_AND_VOLUME(pool, volume)                                                              \
        PARAM_STR("pool", &pool, PARAM_REQUIRED), PARAM_STR("volume", &volume, PARAM_REQUIRED)

/* "vhost-user", "fuse", "migration", "clone", ... or NULL. */
const char *dvol_in_use(const struct dvol *v);
/* -EBUSY with text also when somebody only reads it: before the volume goes away. */
int dvol_check_unread(const struct dvol *v, struct err *err);
/* -EBUSY, naming volume and user. */
int dvol_check_idle(const struct dvol *v, struct err *err);
/* Idle, and kept so until dvol_release: no front end can open it meanwhile. kind is for people and
 * outlives the hold. -EBUSY with text. Whose the volume is, is the caller's to ask
 * (migration_check). */
int dvol_hold(struct dvol *v, const char *kind, struct err *err);
void dvol_release(struct dvol *v);

/* Paths, whether anything is there or not. -ENAMETOOLONG with text. */
int dvol_socket_path(const struct daemon *d, const char *pool, const char *volume, char *buf,
                     size_t len, struct err *err);
int dvol_file_path(const struct daemon *d, const char *pool, const char *volume, char *buf,
                   size_t len, struct err *err);

/* Adds a volume that is in the pool already, and attaches it. A volume that cannot be attached is
 * added all the same, with `error` set: NULL only when out of memory. */
struct dvol *dvol_add(struct dpool *p, struct volume *vol);

/* Attaches a volume that is not. On failure no way in is left; what else there was may still have
 * to be waited for: dvol_detach before dvol_free, then too. */
int dvol_attach(struct dvol *v, struct err *err);

/* Makes a new volume and attaches it. spec->owner NULL: this host owns it. spec must stay valid
 * only during the call. done: later, once; v NULL on failure, and nothing is left. */
void dvol_create(struct dpool *p, const struct volume_spec *spec, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err, struct dvol *v));

/* Text of an -ENOSPC: what ("made") the volume of that name cannot be, and the remedy. */
void dvol_no_room(const struct dpool *p, const char *name, const char *what, struct err *err);

/* As dvol_create, beginning as `from` is: a volume of the pool, or a snapshot of one. */
void dvol_clone(struct dpool *p, struct volume *from, const struct volume_spec *spec, void *ctx,
                void (*done)(void *ctx, int status, const struct err *err, struct dvol *v));

/* Detaches (guests are drained) and deletes. Whether that is allowed is the caller's to ask. done:
 * later, once; on failure the volume is attached again. -EBUSY, from inside the call: it is being
 * detached or deleted already. */
void dvol_delete(struct dvol *v, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err));

/* Takes sockets, file, ownership and controller away; v stays. done: later, once. */
void dvol_detach(struct dvol *v, void *ctx, void (*done)(void *ctx));
/* v must be detached. */
void dvol_free(struct dvol *v);

#endif
