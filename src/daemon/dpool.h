/* The pools of the daemon: what it should have imported, what it has, and how both change.
 *
 * A pool is known under its name from the moment its import begins until it is exported. One that
 * could not be imported at start stays as FAILED, with the reason, so that people see it, and is
 * tried again when its devices have changed. A person's try that fails leaves it so.
 *
 * Files: dpool.c (registry, tick, events), dpool_devices.c, dpool_import.c, dpool_failed.c,
 * dpool_export.c, dpool_store.c.
 */
#ifndef ZONEPOOL_DAEMON_DPOOL_H
#define ZONEPOOL_DAEMON_DPOOL_H

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "daemon/daemon.h"
#include "pool/pool.h"

#include <jansson.h>

enum { POOL_MAX_PEERS = 16, PEER_MAX = 255 };

/* What is needed to import a pool, and is kept in STATEDIR/pools/NAME.json. */
struct pool_spec {
        char name[POOL_NAME_MAX + 1];
        struct uuid uuid; /* nil: not known yet */
        char **devices;
        struct uuid uuids[POOL_MAX_DEVICES]; /* of the devices; nil: not known yet */
        uint32_t ndevices;
        char **peers; /* "host:port" */
        uint32_t npeers;
        struct pool_options options;
        uint8_t copies; /* of new volumes where nothing else is said: 1..3 */
};

/* Accepts a zeroed struct, and leaves one. */
void pool_spec_fini(struct pool_spec *s);
/* Members of a JSON object (params of pool.import, or a stored file): devices, peers, options. name
 * is checked. s is zeroed by the caller; pool_spec_fini also after a failure. -EINVAL, -ENOMEM with
 * text. */
int pool_spec_init(struct pool_spec *s, const char *name, const json_t *devices,
                   const json_t *peers, const json_t *options, struct err *err);
/* 1 to 3, else -EINVAL with text. */
int copies_check(uint64_t copies, struct err *err);
/* Takes one device off the list. */
void pool_spec_drop(struct pool_spec *s, uint32_t i);
/* They name the same pool, if they bear the same name: devices come and go. */
bool pool_spec_share_device(const struct pool_spec *a, const struct pool_spec *b);

enum dpool_state { DPOOL_IMPORTING, DPOOL_ACTIVE, DPOOL_EXPORTING, DPOOL_FAILED };

struct dpool {
        struct daemon *daemon;
        struct list node; /* daemon->pools */
        struct pool_spec spec;
        enum dpool_state state;
        struct err error; /* FAILED: why, */
        uint64_t was_there; /* and what was found at the paths of its devices then */
        struct pool *pool; /* ACTIVE, EXPORTING; NULL otherwise */
        struct list volumes; /* struct dvol */
        unsigned changing; /* changes of volumes and devices under way */
        const char *joining; /* path of the device that is being added; NULL: none */
        uint64_t look_ns; /* when devices that are missing are looked for next */
        char not_back[504]; /* why one that was found was refused last, "": none was */
        bool held; /* writes wait for space */
        struct loop_timer tick; /* FAILED: looks whether its devices have changed */
        struct loop_defer wake; /* the pool asked for a tick at once */
        struct pool *woken; /* by whom: not `pool` yet while it is imported */
        struct pool_host host;
};

const char *dpool_state_name(enum dpool_state state);

/* In any state; NULL: none. */
struct dpool *dpool_find(struct daemon *d, const char *name);
/* Only ACTIVE. NULL with err: -ENOENT no such pool, -EAGAIN not ready, or why it failed. */
struct dpool *dpool_active(struct daemon *d, const char *name, struct err *err);
/* The pool that has a device open under this path; NULL: none. */
struct dpool *dpool_of_device(struct daemon *d, const char *path);

struct dpool *dpool_new(struct daemon *d, struct pool_spec *spec /* consumed */);
/* Takes it out of the registry. Its pool must be gone. NULL is accepted. */
void dpool_free(struct dpool *p);
void dpool_start_ticking(struct dpool *p);
/* The pool is gone, or its import failed: it must not be called any more. */
void dpool_stop_ticking(struct dpool *p);

/* Divides the RAM for block tables (table_cache_mib) among the pools. For when one comes or goes.
 */
void dpool_share_table_cache(struct daemon *d);

/* dpool_import.c */

/* Opens the devices, checks that they are this pool's, imports, attaches every volume. spec is
 * consumed. devs: already open devices of the spec (consumed), or NULL. done comes once, and from
 * inside the call if it fails at once; on failure p is NULL, or (keep_failed) the FAILED pool. A pool
 * that was FAILED under that name before is that again after a failure, with the new reason. */
void dpool_import(struct daemon *d, struct pool_spec *spec, struct zdev **devs, bool keep_failed,
                  void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err, struct dpool *p));

/* dpool_failed.c */

/* The pool is FAILED from now on, and tried again when its devices have changed. */
void dpool_failed(struct dpool *p, const struct err *err);

/* dpool_devices.c */

/* Adds a path to the list, durably; takes one off. */
int dpool_device_listed(struct dpool *p, const char *path, struct err *err);
void dpool_device_unlisted(struct dpool *p, const char *path);
/* As pool_get_device_status; one that is missing has the path at which it was last. pool: p's,
 * which may still be being imported. */
void dpool_device_status(const struct dpool *p, const struct pool *pool, uint32_t slot,
                         struct pool_device_status *ret_status);
/* A member by its path or uuid. -ENOENT. */
int dpool_slot_of(const struct dpool *p, const char *text, uint32_t *ret_slot,
                  struct pool_device_status *ret_status);
/* The same, or one that has left and is not let go of yet: its label is being wiped. */
int dpool_slot_until_gone(const struct dpool *p, const char *text, uint32_t *ret_slot,
                          struct pool_device_status *ret_status);
/* Notes which device is at which path, and takes those off the list that are not the pool's: they
 * have left, or never joined. True: the list has changed. */
bool dpool_devices_known(struct dpool *p);
/* Stores the list after that; what goes wrong is logged. */
void dpool_devices_save(struct dpool *p);
/* pool: p's, which may still be being imported. */
void dpool_device_event(struct dpool *p, struct pool *pool, const struct pool_event *e);

/* dpool_export.c */

/* -EBUSY naming a volume that is in use, a change under way. FAILED pools are never busy. */
int dpool_check_idle(const struct dpool *p, struct err *err);
/* Detaches every volume (guests are drained), exports, frees p. done comes later, once. */
void dpool_export(struct dpool *p, void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err));

/* dpool_store.c */

/* STATEDIR/pools/NAME.json, durable on return. */
int dpool_store_save(const struct daemon *d, const struct pool_spec *s, struct err *err);
int dpool_store_remove(const struct daemon *d, const char *name, struct err *err);
/* Calls fn for every stored pool; one that cannot be read: err says why and spec has only the name.
 * spec may be consumed by fn. */
void dpool_store_each(struct daemon *d,
                      void (*fn)(struct daemon *d, struct pool_spec *spec, const struct err *err));

#endif
