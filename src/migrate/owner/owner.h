/* Who may serve a volume: the ownership tables of docs/ownership.md, and the domains they apply to.
 *
 * An `owner_volume` stands for every volume of every imported pool, with its durable record.
 * Volumes that change hands together (one token) form an `owner_group`, which has the state; a
 * volume outside any group is plainly ACTIVE. A domain is the set of volumes that its QEMU is
 * connected to, seeded by the hook's list.
 *
 * This part decides; what it decides on is done by `struct owner_ops`: writing records, sending
 * messages, turning gates, moving data. So all of it runs in tests without pools and sockets.
 *
 * Rules kept here: a record is durable before the message or the open gate that rests on it; the
 * gate is open only when the volume is ACTIVE, not suspended and its ring is on; a message with
 * another token changes nothing; whatever the table does not list is refused and reported.
 *
 * Threads: the loop's. Callbacks are never made from inside the call that asked, except the ops.
 */
#ifndef ZONEPOOL_MIGRATE_OWNER_OWNER_H
#define ZONEPOOL_MIGRATE_OWNER_OWNER_H

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/uuid.h"
#include "frontend/frontend.h"
#include "migrate/owner/record.h"
#include "migrate/owner/table.h"

struct owner;
struct owner_volume;
struct owner_group;

/* A message between the ownership parts of two hosts. volume epochs travel in TAKE only. */
struct owner_msg {
        enum owner_msg_kind kind;
        struct owner_token token;
        uint64_t seq;
        uint32_t nvolumes;
        struct owner_member volumes[OWNER_MAX_VOLUMES]; /* TAKE; TOMB, ACK: [0] */
        char pool[OWNER_POOL_NAME]; /* TOMB: where the copy lies */
};

/* Records to be made durable, of several volumes that may lie in several pools. Owned by the owner;
 * done is called when every one is durable, or with the first error. */
struct owner_write {
        uint32_t n;
        struct {
                void *volume; /* handle of owner_volume_add */
                struct owner_record *record;
        } item[OWNER_MAX_VOLUMES];
        void (*done)(struct owner_write *w, int status);
        void *priv; /* the ops' */
};

struct owner_ops {
        /* Makes the records durable, after all writes of the volumes that have completed. */
        void (*write)(void *ctx, struct owner_write *w);
        /* Sends, or drops: whatever matters is repeated. */
        void (*send)(void *ctx, const struct owner_host *to, const struct owner_msg *msg);
        void (*gate)(void *ctx, void *volume, bool open);
        /* The token lives: log changes and serve them to whoever pulls. Stopping forgets all of it;
         * starting again with another token stops the former. */
        void (*source_start)(void *ctx, struct owner_group *g);
        void (*source_stop)(void *ctx, struct owner_group *g);
        /* Suspend the controllers and send what remains; DELTA(seq) ends it. Asked again with the
         * same seq: send DELTA again once all is over there. */
        void (*source_delta)(void *ctx, struct owner_group *g, uint64_t seq);
        /* Flush the staged data and set the controllers' state; then owner_target_ready. */
        void (*target_prepare)(void *ctx, struct owner_group *g);
        /* The staged copy is given up: stop pulling. */
        void (*target_stop)(void *ctx, struct owner_group *g);
        /* Resume the controllers of the group's volumes (harmless when they run); then done. */
        void (*resume)(void *ctx, struct owner_group *g);
        /* A tombstone: delete the copy, then owner_copy_deleted. */
        void (*delete_copy)(void *ctx, void *volume);
        /* A row of the tables was taken, or (row NULL) an event was refused. For the event log. */
        void (*transition)(void *ctx, const struct owner_group *g, const struct owner_rule *row,
                           enum owner_event event);
        /* True while process pid may still run. ret_start: its start time. For tests to replace. */
        bool (*process_alive)(void *ctx, pid_t pid, uint64_t *ret_start);
        void (*random)(void *ctx, void *buf, size_t len);
        void *ctx;
};

struct owner_settings {
        struct loop *loop;
        struct uuid host_uuid;
        char address[OWNER_ADDRESS]; /* where this host listens for peers */
        struct uuid boot_id;
        uint64_t incarnation;
        uint64_t max_pause_ns; /* Acquire waits so long for the delta; 0: 5 s */
        uint64_t take_ns; /* TAKE is repeated so long; 0: 20 s */
        uint64_t ask_ns; /* ASK is repeated so long; 0: 20 s */
        uint64_t retry_ns; /* between two sends of the same message; 0: 500 ms */
        uint64_t offer_ns; /* an offer that no target begins to pull lives so long; 0: 30 s */
};

/* Returns 0 or -ENOMEM. ops is copied. */
int owner_new(const struct owner_settings *settings, const struct owner_ops *ops,
              struct owner **ret_owner);
/* NULL is accepted. Requests under way are answered with -ECANCELED. Gates are not touched. */
void owner_free(struct owner *o);

/* Answers what waits with -ECANCELED: before the daemon's end. Durable steps under way go on. */
void owner_cancel_requests(struct owner *o);

/* ---- volumes ---- */

/* A volume that has appeared: at import, or just created. record: as the pool keeps it; an
 * undecodable one is refused (-EBADMSG): such a volume must not be served. handle goes back in the
 * ops. The gate is shut until the front end's events open it. */
int owner_volume_add(struct owner *o, const char *pool, const char *name, const struct uuid *uuid,
                     const void *record, size_t len, void *handle, struct owner_volume **ret_volume,
                     struct err *err);
/* The volume goes away (deleted, pool exported). NULL is accepted. Returns -EBUSY with text while
 * a hand-over is under way; force: goes all the same (daemon's end). */
int owner_volume_remove(struct owner_volume *v, bool force, struct err *err);
/* All volumes of the pool have been added: groups that waited for it are resolved. */
void owner_pool_ready(struct owner *o, const char *pool);
void owner_pool_gone(struct owner *o, const char *pool);

/* Front ends report here; a FUSE open for writing counts as a ring. Use as front_observer. */
struct front_observer owner_volume_observer(struct owner_volume *v);

struct owner_info {
        enum owner_state state;
        uint64_t epoch;
        char peer[OWNER_ADDRESS]; /* empty: none */
        bool hidden; /* another host owns it, or it is dead */
        bool evictable;
        bool migrating; /* offered, suspended for a target, or staged */
        bool rings_on;
};
void owner_volume_info(const struct owner_volume *v, struct owner_info *ret_info);
/* May a person (CLI, virsh) read, write, resize, wipe it now? 0, or -EBUSY, -EREMOTE with text. */
int owner_volume_check(const struct owner_volume *v, const char *what, struct err *err);
struct owner_volume *owner_volume_in_pool(struct owner *o, const char *pool,
                                          const struct uuid *uuid);
void *owner_volume_handle(const struct owner_volume *v);
const char *owner_volume_pool(const struct owner_volume *v);
const char *owner_volume_name(const struct owner_volume *v);
const struct uuid *owner_volume_uuid(const struct owner_volume *v);

/* ---- requests: answered once, later ---- */

struct owner_request {
        /* err has text when status is not 0. The request is the caller's again. */
        void (*done)(struct owner_request *r, int status, const struct err *err);
        void *ctx;
        struct list node; /* the owner's while under way */
        uint32_t waiting; /* the owner's */
        int status; /* the owner's */
        struct err err; /* the owner's */
};

/* Before a deletion. done with 0: delete the volume now. -EINPROGRESS: hosts that hold a copy have
 * to acknowledge first; the record is a tombstone, the copy is deleted by ops.delete_copy then. */
void owner_delete(struct owner_volume *v, struct owner_request *r);
/* ops.delete_copy has finished (the volume was removed on the way, by force): acknowledges. */
void owner_copy_deleted(struct owner *o, const struct uuid *volume, int status);

/* volume.reclaim: asks the peer that a GIVEN volume went to. force: becomes the owner whatever it
 * says (data that the peer wrote is lost, and safe only when the peer never serves again). */
void owner_reclaim(struct owner_volume *v, bool force, struct owner_request *r);

/* ---- domains: the hook and the lock driver ---- */

/* domain.seed; replaces what was there. n <= OWNER_MAX_VOLUMES. missing: "pool/volume" of the
 * domain that is not here (yet), or NULL; while one is, Acquire and Inquire are refused. */
int owner_domain_seed(struct owner *o, const struct uuid *domain, struct owner_volume *const *vols,
                      uint32_t n, const char *missing, struct err *err);
/* domain.released: its QEMU has gone for good. A live token stays alive. */
void owner_domain_released(struct owner *o, const struct uuid *domain);

/* lock.inquire. -ENOENT: no volume of this host belongs to it (ret_state is empty then, rc 0 is not
 * given); -EBUSY, -EREMOTE with text. */
int owner_inquire(struct owner *o, const struct uuid *domain, pid_t pid,
                  char ret_state[OWNER_TOKEN_TEXT], struct err *err);
/* lock.acquire. state NULL or "": none. reg: the call of the forked child before exec. */
void owner_acquire(struct owner *o, const struct uuid *domain, pid_t pid, const char *state,
                   bool reg, struct owner_request *r);
/* lock.release: idempotent, never refuses. ret_state may come back empty. Without a live token it
 * is the one that a migration of the paused guest would have (libvirt asks no Inquire then). */
void owner_release(struct owner *o, const struct uuid *domain, pid_t pid,
                   char ret_state[OWNER_TOKEN_TEXT]);

/* ---- groups, for the engine ---- */

enum owner_state owner_group_state(const struct owner_group *g);
const struct owner_token *owner_group_token(const struct owner_group *g);
const struct uuid *owner_group_domain(const struct owner_group *g);
uint64_t owner_group_seq(const struct owner_group *g);
/* Other side of the token; uuid nil when not known yet. */
const struct owner_host *owner_group_peer(const struct owner_group *g);
uint32_t owner_group_nvolumes(const struct owner_group *g);
struct owner_volume *owner_group_volume(const struct owner_group *g, uint32_t i);
uint64_t owner_volume_epoch(const struct owner_volume *v);
/* Hosts that hold or held a copy of any volume of the group, without this one. */
uint32_t owner_group_holders(const struct owner_group *g, struct owner_host out[OWNER_MAX_HOSTS]);
/* A target has begun to copy: the offer no longer ends by its age, or with its guest. */
void owner_group_set_pulled(struct owner_group *g);
void *owner_group_context(const struct owner_group *g);
void owner_group_set_context(struct owner_group *g, void *context);
/* The live outgoing token of a domain: NULL none. The token that Release announced for a paused
 * guest becomes live here. */
struct owner_group *owner_group_offered(struct owner *o, const struct uuid *domain);
struct owner_group *owner_group_by_token(struct owner *o, const struct owner_token *token);

/* Target: checks that the volumes may be staged for this token (before anything is created).
 * v NULL: it is not here yet. 0, or -EBUSY, -EEXIST, -ESTALE with text. */
int owner_stage_check(struct owner *o, const struct owner_volume *v, uint64_t epoch_before,
                      const struct owner_host *source, struct err *err);
/* Target: builds the STAGED record of one volume, for creating it or for owner_stage. */
struct owner_stage {
        struct owner_token token;
        struct uuid domain;
        struct owner_host source;
        uint32_t nvolumes;
        struct owner_member volumes[OWNER_MAX_VOLUMES]; /* .pool: index into pools */
        uint32_t npools;
        char pools[OWNER_MAX_POOLS][OWNER_POOL_NAME];
        uint32_t nholders; /* without source and this host */
        struct owner_host holders[OWNER_MAX_HOSTS];
};
int owner_stage_record(struct owner *o, const struct owner_stage *s, const struct uuid *volume,
                       struct owner_record *ret_rec, struct err *err);
/* Target: row `migrate begin`: STAGED(tok) durable for all the volumes of s, which must all be
 * here. done with 0: pull the bulk. */
void owner_stage(struct owner *o, const struct owner_stage *s, struct owner_request *r);
/* Target: everything up to suspension seq is here. */
void owner_delta(struct owner_group *g, uint64_t seq);
/* Target: the staged data is durable and the controllers' state set (or status, err). */
void owner_target_ready(struct owner_group *g, int status, const struct err *err);
/* Target: the bulk is lost (source restarted, error, cancelled): refuses durably. */
void owner_target_failed(struct owner_group *g, const struct err *err);
/* Source: the token is given up (error, cancelled by a person). Harmless when none lives. */
void owner_source_failed(struct owner_group *g, const struct err *err);
/* ops.resume has finished. */
void owner_resumed(struct owner_group *g, int status);

/* A message of a peer came in. */
void owner_message(struct owner *o, const struct owner_host *from, const struct owner_msg *msg);

#endif
