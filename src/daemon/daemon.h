/* The daemon's one object, and the order in which it starts and stops.
 *
 *   main.c       options, signals                 daemon.c    start, orderly stop
 *   config.c     settings                         files.c     lock, identity, small files
 *   dpool*.c     pools: registry, life, store     pool_methods.c    pool.*
 *   dvol.c       volumes: attach, create, delete  volume_methods.c  volume.*
 *   devices.c    member devices                   clone.c     copying a volume
 *   migration.c  ownership and migration          report.c    JSON of pools and volumes
 *
 * Threads: the loop's. Nothing blocks it but small files at start and in pool operations; what asks,
 * makes or wipes devices runs on `worker`.
 */
#ifndef ZONEPOOL_DAEMON_DAEMON_H
#define ZONEPOOL_DAEMON_DAEMON_H

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/uuid.h"
#include "base/worker.h"
#include "control/control_server.h"
#include "daemon/config.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct migration;
struct nvm_subsystem;
struct fuse_front;

struct daemon {
        struct loop *loop;
        struct config cfg;
        struct uuid host_uuid;
        uint64_t incarnation; /* of this start: random, not 0 */
        uint64_t start_ns; /* monotonic */
        int lock_fd; /* -1: none */
        uid_t disk_uid; /* (uid_t)-1: the daemon's */
        gid_t disk_gid; /* (gid_t)-1: the daemon's */

        struct worker *worker;
        struct control_server *control;
        struct nvm_subsystem *nvm;
        struct migration *migration;
        struct fuse_front *fuse; /* NULL: no mount */
        void (*mount_closed)(void *daemon);
        struct list pools; /* struct dpool */
        struct list jobs; /* struct job: long work that a stop cancels */

        unsigned starting; /* imports that READY waits for */
        bool stopping;
        bool clean; /* the stop went all the way */
        struct loop_timer stop_deadline;
        struct loop_timer stop_poll;
        unsigned exporting; /* pools that the stop waits for */
        int exit_code;
};

/* Long work under way. */
struct job {
        struct list node;
        void (*cancel)(struct job *job); /* ends soon, with -ECANCELED */
};

/* Directories, lock, identity, subsystem, mount, control socket; then begins to import the pools of
 * the state directory. cfg is consumed, also on failure. d is zeroed by the caller. */
int daemon_start(struct daemon *d, struct config *cfg, struct err *err);

/* Orderly end: no new requests, long work cancelled, what is under way drained, pools exported, and
 * the loop stopped. Called again, or after stop_timeout_ms: the loop is stopped at once; what was
 * acknowledged as durable is, the next start recovers. */
void daemon_stop(struct daemon *d);

/* After loop_run. Accepts a daemon that daemon_start left half made. */
void daemon_fini(struct daemon *d);

/* daemon_methods.c: registers daemon.* */
int daemon_register_methods(struct daemon *d);
/* pool_methods.c: registers pool.* */
int pool_register_methods(struct daemon *d);
/* volume_methods.c: registers volume.* */
int volume_register_methods(struct daemon *d);

#endif
