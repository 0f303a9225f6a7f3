/* What the files of the ownership part share. */
#ifndef ZONEPOOL_MIGRATE_OWNER_INTERNAL_H
#define ZONEPOOL_MIGRATE_OWNER_INTERNAL_H

#include "migrate/owner/owner.h"

#include <sys/types.h>

enum {
        OWNER_MAX_REPORTS = 64,
        OWNER_REPORT_TRIES = 120,
        OWNER_VOLUME_NAME = 128, /* with NUL */
};

#define SECOND_NS UINT64_C(1000000000)

struct owner_pool {
        struct list node;
        char name[OWNER_POOL_NAME];
};

/* ACTIVE-report(tok), repeated until the former owner has acknowledged it. */
struct owner_report {
        struct list node;
        struct owner_host to;
        struct owner_token token;
        unsigned tries;
};

struct owner_domain {
        struct list node;
        struct uuid uuid;
        pid_t pid; /* 0: none known */
        char missing[256]; /* of its list, not here; empty: nothing */
        /* What Release told libvirt of a domain that just stopped. A paused guest's migration has
         * no Inquire: this goes into the cookie, and lives from the first WHO_HAS on. */
        bool announced;
        struct owner_token announcement;
        uint32_t nseeds;
        struct owner_volume *seeds[OWNER_MAX_VOLUMES];
};

/* A copy that is being deleted for a tombstone: whom to tell. */
struct owner_deletion {
        struct list node;
        struct uuid volume;
        struct owner_host to;
};

struct owner {
        struct owner_settings s;
        struct owner_ops ops;
        struct list volumes, groups, domains, pools, reports, deletions;
        uint32_t nreports;
        struct list done; /* requests to be answered at the end of the turn */
        struct loop_defer done_defer;
        struct loop_timer report_timer;
};

struct owner_volume {
        struct owner *owner;
        struct list node;
        char pool[OWNER_POOL_NAME];
        char name[OWNER_VOLUME_NAME];
        struct uuid uuid;
        void *handle;
        struct owner_record rec; /* as it is on disk */
        struct owner_group *group; /* NULL: plainly ACTIVE */
        bool rings, connected, gate;
        pid_t peer_pid;
};

struct owner_group {
        struct owner *owner;
        struct list node;
        enum owner_state state;
        /* token, domain, lists: what every record of the group has in common. hosts[0] is the peer.
         */
        struct owner_record base;
        struct owner_volume *member[OWNER_MAX_VOLUMES]; /* by base.volumes; NULL: not here */
        uint64_t seq;
        bool unresolved; /* waits for the pool of a sibling (resolve.c) */
        bool have_delta, taking, preparing, resuming;
        bool pulled; /* a target has begun to copy */
        bool failed_later; /* FAILED came while a write was under way */
        bool broken; /* a record could not be written: nothing is served any more */
        pid_t qemu_pid;
        uint64_t qemu_start;
        void *context; /* the engine's */
        struct err why; /* why the copy was given up */

        struct owner_request *acquire; /* waits for an answer */
        enum owner_event pending_event;
        struct owner_request *pending; /* came while a write was under way */
        struct owner_request *special; /* STAGE, DELETE: answered when the row is done */

        enum owner_msg_kind repeat;
        uint64_t deadline_ns, interval_ns;
        struct loop_timer timer;

        /* the row being applied; NULL: none */
        const struct owner_rule *row;
        enum owner_event event;
        struct owner_host from;
        struct owner_write write;
        struct owner_record *recs; /* OWNER_MAX_VOLUMES, while a write is under way */
};

/* owner.c */
void owner_answer(struct owner *o, struct owner_request *r, int status, const struct err *err);
void owner_answer_text(struct owner *o, struct owner_request *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void owner_update_gate(struct owner_volume *v);
bool owner_pool_is_ready(const struct owner *o, const char *pool);
/* The group's part of an Acquire has been answered. */
void owner_acquire_done(struct owner *o, struct owner_request *r, int status,
                        const struct err *err);

/* group.c */
struct owner_group *owner_group_new(struct owner *o);
/* Volumes become plain, the engine is told, g is freed. Requests must be answered. */
void owner_group_dissolve(struct owner_group *g);
void owner_group_adopt(struct owner_group *g, uint32_t index, struct owner_volume *v);
void owner_volume_leave(struct owner_volume *v);
bool owner_group_rings(const struct owner_group *g);
void owner_group_acquire(struct owner_group *g, enum owner_event event, struct owner_request *r);
void owner_group_send(struct owner_group *g, enum owner_msg_kind kind, const struct owner_host *to);
bool owner_group_qemu(const struct owner_group *g);
/* "pool/volume", or "pool/volume and N more". */
const char *owner_group_text(const struct owner_group *g, char buf[256]);
const char *owner_peer_text(const struct owner_group *g);

/* row.c */
/* Dispatches an event. False: the table does not list it. from, msg: of a message, else NULL. g may
 * be gone afterwards. */
bool owner_dispatch(struct owner_group *g, enum owner_event event, unsigned extra,
                    const struct owner_host *from, const struct owner_msg *msg);
/* The records of the row being applied are durable, or status says why not. */
void owner_group_written(struct owner_write *w, int status);
/* Looks at what came while the row was being applied. g may be gone afterwards. */
void owner_group_after_row(struct owner_group *g);

/* wait.c */
/* Sends `repeat` (or nothing) every retry_ns; after total_ns the event is TIMEUP. */
void owner_group_wait(struct owner_group *g, enum owner_msg_kind repeat, uint64_t total_ns);
void owner_group_wait_over(struct owner_group *g);
/* After every row: does nothing unless the group is OFFERED and no target has come. */
void owner_group_wait_for_puller(struct owner_group *g);
void owner_group_timer(struct loop_timer *t);

/* refuse.c */
/* Answers the Acquire that waits, if one does; status not 0: with the text for event. */
void owner_group_answer(struct owner_group *g, int status, enum owner_event event);
/* Keeps why a target refuses, for texts to come. */
void owner_group_remember_why(struct owner_group *g, enum owner_event event);

/* report.c */
void owner_report_add(struct owner *o, const struct owner_host *to,
                      const struct owner_token *token);
void owner_report_acked(struct owner *o, const struct owner_token *token);
void owner_report_timer(struct loop_timer *t);

/* resolve.c */
void owner_resolve_volume(struct owner_volume *v);
void owner_resolve_all(struct owner *o);

#endif
