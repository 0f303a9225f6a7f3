/* What migrate.c, the source and the target share. */
#ifndef ZONEPOOL_MIGRATE_INTERNAL_H
#define ZONEPOOL_MIGRATE_INTERNAL_H

#include "migrate/migrate.h"
#include "migrate/peer/peer.h"

enum { MIGRATE_MAX_PEERS = 16 };

struct source;
struct pull;

/* Records on their way to the pools. */
struct store_write {
        struct list node;
        struct owner_write *w; /* NULL: nobody waits any more */
        uint32_t pending;
        int status;
};

struct migrate_volume {
        struct migrate *m;
        struct list node;
        struct migrate_volume_spec spec; /* pool_name points to pool */
        char pool[POOL_NAME_MAX + 1];
        struct owner_volume *owner;
        struct source *logged_by; /* whose change log the controller feeds: one at a time */
};

/* What is kept of a migration that has ended. */
struct migrate_past {
        struct list node;
        struct migrate_status status; /* its names point to the arrays below */
        char pools[OWNER_MAX_VOLUMES][POOL_NAME_MAX + 1];
        char volumes[OWNER_MAX_VOLUMES][VOLUME_NAME_MAX + 1];
};

struct migrate {
        struct migrate_settings s;
        struct migrate_host_ops host;
        struct owner *owner;
        struct peers *peers;
        struct list volumes;
        struct list sources; /* those that are being torn down, too */
        struct list pulls;
        struct list past;
        struct list writes; /* store_write: a record is being written */
        struct list resumes; /* controllers are being resumed */
        unsigned npast;
        uint64_t next_request;
        bool freeing;
};

/* A command of the engine with somewhere to come back to. */
struct engine_cmd {
        struct nvm_request req;
        void (*done)(struct engine_cmd *c);
        void *owner;
        uint32_t index;
};

struct owner_ops migrate_owner_ops(struct migrate *m);
/* The source that serves the group, or NULL. */
struct source *migrate_source_of(struct migrate *m, const struct owner_group *g);
/* Text of an NVMe status. */
const char *migrate_nvme_text(uint16_t status);
void migrate_send_frame(struct peer *p, const struct peer_frame *f);
/* Remembers for migrate.status. */
void migrate_remember(struct migrate *m, const struct owner_group *g, bool outgoing,
                      const struct migrate_progress *p);
void migrate_token_text(const struct owner_group *g, char text[OWNER_TOKEN_TEXT]);
struct migrate_volume *migrate_group_volume(const struct owner_group *g, uint32_t i);
/* Migration Send for one controller. */
void migrate_suspend_cmd(uint8_t *sqe, uint16_t cntlid);
void migrate_resume_cmd(uint8_t *sqe, uint16_t cntlid);

/* ---- source/source.c: serving a token's volumes ---- */

/* Starts logging. g's context becomes the source. On failure the token is given up, later. */
void source_start(struct migrate *m, struct owner_group *g);
/* Forgets g at once; the log is taken down behind the scenes. */
void source_stop(struct source *s);
void source_delta(struct source *s, uint64_t seq);
/* OPEN, ACK of the target. */
void source_frame(struct source *s, struct peer *p, const struct peer_frame *f);
void source_peer_down(struct source *s, struct peer *p);
void source_progress(const struct source *s, struct migrate_progress *ret);
struct owner_group *source_group(const struct source *s);
struct source *source_of(struct list *node);
/* At the daemon's end: without waiting for anything. */
void source_abandon(struct source *s);

/* ---- target/target.c: pulling ---- */

void pull_start(struct migrate *m, const struct uuid *domain, const struct migrate_disk *disks,
                uint32_t n, struct migrate_incoming *r);
/* Gives up; the request is answered with why. */
void pull_fail(struct pull *p, const struct err *why);
/* The group has given up the copy, or is done with it. */
void pull_stop(struct pull *p);
void pull_prepare(struct pull *p);
void pull_frame(struct pull *p, struct peer *peer, const struct peer_frame *f);
void pull_peer_up(struct pull *p, struct peer *peer);
void pull_peer_down(struct pull *p, struct peer *peer, const struct err *err);
void pull_progress(const struct pull *p, struct migrate_progress *ret);
const struct uuid *pull_domain(const struct pull *p);
/* NULL until the volumes are staged. */
struct owner_group *pull_group(const struct pull *p);
struct pull *pull_of(struct list *node);
void pull_abandon(struct pull *p);

#endif
