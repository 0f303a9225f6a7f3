/* Live migration as the daemon sees it: one object for the whole daemon.
 *
 * It holds the ownership tables (owner/owner.h), the connections to peers (peer/peer.h) and the
 * engines that move data (source.h, target.h), and ties them to pools and controllers. The daemon
 * makes the volumes known, routes front end events (owner_volume_observer), the lock driver's and
 * the hook's calls (owner/owner.h) here, and gives it the few things only it can do (struct
 * migrate_host_ops).
 *
 * Threads: the loop's. Callbacks are never made from inside the call that asked.
 */
#ifndef ZONEPOOL_MIGRATE_MIGRATE_H
#define ZONEPOOL_MIGRATE_MIGRATE_H

#include "base/err.h"
#include "base/loop.h"
#include "migrate/nvme/target.h"
#include "migrate/owner/owner.h"
#include "nvme/controller.h"
#include "pool/pool.h"

struct migrate;
struct migrate_volume;

struct migrate_volume_spec {
        const char *pool_name;
        struct volume *vol;
        struct nvm_controller *controller;
        uint32_t nsid; /* nvc_nsid(controller) */
};

/* What only the daemon can do. */
struct migrate_host_ops {
        /* An imported pool, or NULL. */
        struct pool *(*pool_by_name)(void *ctx, const char *name);
        /* "host:port" of the hosts that share a pool's name; at most max. Returns how many. */
        uint32_t (*pool_peers)(void *ctx, const char *pool, const char **out, uint32_t max);
        /* volume_create, controller, sockets, migrate_volume_add: as for any new volume, with the
         * record of spec. */
        void (*volume_create)(void *ctx, struct pool *pool, const struct volume_spec *spec,
                              void *cb,
                              void (*done)(void *cb, int status, const struct err *err,
                                           struct migrate_volume *v));
        /* Takes the volume away: sockets, controller, migrate_volume_remove(force), volume_delete.
         */
        void (*volume_delete)(void *ctx, struct migrate_volume *v, void *cb,
                              void (*done)(void *cb, int status));
        /* Pools are still being imported: a token that nobody knows may be in one of them, and its
         * messages are left unanswered (their senders repeat them). May be NULL: never. */
        bool (*importing)(void *ctx);
        void *ctx;
};

struct migrate_settings {
        struct loop *loop;
        struct uuid host_uuid;
        uint64_t incarnation; /* of this start of the daemon: random */
        struct nvme_target *target; /* management controller of all volumes; not owned */
        const char *listen; /* "host:port" for peers; NULL or "": none */
        const char *advertise; /* address peers reach us at; NULL: by the connection */
        bool insecure_lab_transport; /* plain TCP; without it nothing listens or connects */
        uint64_t max_pause_ns; /* 0: 5 s */
        uint64_t pause_budget_ns; /* what the last delta may take; 0: 200 ms */
};

/* Returns 0, or -errno with text (address in use, ...). */
int migrate_new(const struct migrate_settings *settings, const struct migrate_host_ops *host,
                struct migrate **ret_migrate, struct err *err);
/* Before the pools are exported: stops pulling, takes down change logs; done (later) when nothing
 * of the engine is under way any more. Nothing durable changes: a restart refuses what was staged
 * and offers nothing. */
void migrate_stop(struct migrate *m, void *ctx, void (*done)(void *ctx));
/* After migrate_stop. NULL is accepted. Requests under way are answered with -ECANCELED. Volumes
 * that are left are removed. */
void migrate_free(struct migrate *m);

struct owner *migrate_owner(struct migrate *m);

/* At import and after creation. After a pool's last volume: owner_pool_ready(). The record is read
 * from the volume. */
int migrate_volume_add(struct migrate *m, const struct migrate_volume_spec *spec,
                       struct migrate_volume **ret_volume, struct err *err);
/* As owner_volume_remove. v is freed on 0. */
int migrate_volume_remove(struct migrate_volume *v, bool force, struct err *err);
struct owner_volume *migrate_volume_owner(struct migrate_volume *v);
struct volume *migrate_volume_volume(struct migrate_volume *v);

/* ---- control methods ---- */

struct migrate_disk {
        char pool[POOL_NAME_MAX + 1];
        char volume[VOLUME_NAME_MAX + 1];
};

struct migrate_progress {
        uint64_t moved_bytes; /* block data received or sent, payload only, repeats included */
        uint64_t total_bytes; /* allocated at the start of the present pass, plus what was moved */
        uint64_t remaining_bytes; /* known to differ */
        uint32_t passes;
        uint64_t pause_ns; /* suspension until hand-over; 0: not yet */
};

/* migrate.incoming: answered when what remains fits the pause budget. */
struct migrate_incoming {
        void (*done)(struct migrate_incoming *r, int status, const struct err *err);
        /* At least once a second while the work lasts. May be NULL. */
        void (*progress)(struct migrate_incoming *r, const struct migrate_progress *p);
        void *ctx;
        void *priv; /* the engine's while under way */
};
void migrate_incoming(struct migrate *m, const struct uuid *domain,
                      const struct migrate_disk *disks, uint32_t ndisks,
                      struct migrate_incoming *r);
/* The hook hung up: done comes with -ECANCELED. After done: nothing happens. */
void migrate_incoming_cancel(struct migrate_incoming *r);

/* migrate.cancel, from either side. -ENOENT: nothing under way for the domain. */
int migrate_cancel(struct migrate *m, const struct uuid *domain, struct err *err);

struct migrate_status {
        struct uuid domain;
        bool outgoing;
        enum owner_state state;
        char peer[OWNER_ADDRESS];
        char token[OWNER_TOKEN_TEXT];
        uint32_t nvolumes;
        const char *pools[OWNER_MAX_VOLUMES]; /* valid during the call */
        const char *volumes[OWNER_MAX_VOLUMES]; /* valid during the call */
        struct migrate_progress progress;
};
/* Calls fn for every migration that lives, and the last one that ended of each domain. */
void migrate_status(struct migrate *m, void *ctx,
                    void (*fn)(void *ctx, const struct migrate_status *s));

#endif
