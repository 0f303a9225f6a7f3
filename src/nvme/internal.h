/* Structures that the files of this folder share. Not for others. */
#ifndef ZONEPOOL_NVME_INTERNAL_H
#define ZONEPOOL_NVME_INTERNAL_H

#include "base/bitmap.h"
#include "nvme/subsystem.h"
#include "nvme/udmq.h"

/* The largest NSID; CNTLIDs are NSIDs shifted by the MMC's. FFF0h and above are reserved as CNTLID.
 */
enum { NVM_LAST_NSID = 0xffef - NVM_MMC_CNTLID };

/* controller.c: a request of a front end on its way through. */
struct nvc_io {
        struct volume_io inner; /* what the backing sees */
        struct volume_io *outer;
        struct nvm_controller *c;
        int status; /* of a refused one, until it is told */
        struct list node;
};

/* log.c: what changed since logging began and is not in the queue yet. */
struct nvm_log {
        bool on;
        bool lost; /* the bitmap could not grow: everything counts as changed */
        bool first_due; /* an entry "first since start or resume" (ESA 001b) is owed */
        bool stop_due; /* ... "logging stopped" (010b) */
        bool suspended_due; /* ... "controller suspended" (011b) */
        struct bitmap changed; /* by block */
        struct bitmap chunks; /* which stretches of `changed` may have a bit set */
        uint64_t cursor; /* chunk where the search for the next range goes on */
        struct loop_defer pump;
};

/* migration.c: a Controller State on its way in. */
struct nvm_stage {
        bool open;
        uint8_t *buf;
        struct bitmap present; /* by dword */
};

/* cdq.c: a Controller Data Queue of changed blocks (UDMQ). */
struct nvm_cdq {
        struct nvm_subsystem *s;
        struct list node;
        uint16_t id;
        struct nvm_controller *mc;
        uint8_t *base;
        uint32_t nslots, head, tail; /* slots */
        uint8_t phase; /* of the pass that is being written */
        bool etpt; /* an event is due when slot tpt is posted */
        uint32_t tpt;
        bool tail_event, full_event; /* due, not reported */
};

struct nvm_controller {
        struct nvm_subsystem *s;
        struct list node;
        uint16_t cntlid;
        uint32_t nsid;
        struct uuid uuid;
        const struct nvm_backing_ops *ops;
        void *backing;

        enum nvm_controller_state state;
        bool gate;
        struct nvm_front *front;
        bool served; /* a request of front's has passed since it attached or the gate opened */
        struct nvm_front_facts facts;
        uint32_t inflight; /* of front ends */
        uint32_t mmc_inflight; /* commands of the management controller on the namespace */
        struct loop_defer notify;

        struct list suspends; /* Migration Send Suspend requests that wait for the drain */
        bool suspend_deletes_cdq;
        struct nvm_cdq *cdq; /* NULL: no data queue logs this controller */
        struct nvm_log log;
        struct nvm_stage stage;
};

struct nvm_dma_range {
        uintptr_t base;
        size_t len;
        struct list node;
};

struct nvm_subsystem {
        struct loop *loop;
        struct uuid host_uuid;
        struct list controllers;
        uint32_t ncontrollers;
        uint16_t last_cntlid;

        struct list free_ios; /* struct nvc_io */
        struct list refused; /* struct nvc_io to be told at the end of the turn */
        struct loop_defer tell_refused;

        struct list finished; /* requests to be told at the end of the turn */
        struct loop_defer tell_finished;

        struct list cdqs;
        uint16_t last_cdqid;
        struct list aers; /* waiting Asynchronous Event Requests */
        uint32_t naers;
        struct list dma;
};

/* ---- subsystem.c ---- */
/* Ends a request: its done is called at the end of the turn. dw0 and dw1 are the caller's. */
void nvm_finish(struct nvm_subsystem *s, struct nvm_request *req, uint16_t status);
struct nvm_controller *nvm_controller_by_nsid(struct nvm_subsystem *s, uint32_t nsid);
/* LBAs of the namespace. */
uint64_t nvm_nsze(const struct nvm_controller *c);
/* [addr, addr + len) lies inside one mapped range. */
bool nvm_dma_covers(const struct nvm_subsystem *s, uint64_t addr, uint64_t len);

/* ---- controller.c ---- */
void nvc_init(struct nvm_controller *c);
/* Everything of c has ended. */
void nvc_fini(struct nvm_controller *c);
void nvc_free_ios(struct nvm_subsystem *s);
/* Begins the drain; req (a Suspend) ends with it. delete_cdq: the data queue goes before that. */
void nvc_suspend(struct nvm_controller *c, struct nvm_request *req, bool delete_cdq);
/* To RUNNING from any state. Suspends that wait end with NVME_SC_ABORT_REQUESTED. */
void nvc_resume(struct nvm_controller *c);

/* ---- log.c ---- */
void nvm_log_init(struct nvm_controller *c);
void nvm_log_fini(struct nvm_controller *c);
/* A change of the bytes has taken effect, or may have in part. */
void nvm_log_change(struct nvm_controller *c, uint64_t offset_bytes, uint64_t length_bytes);
/* The following need c->cdq. Returns an NVMe status. */
uint16_t nvm_log_start(struct nvm_controller *c);
void nvm_log_stop(struct nvm_controller *c);
/* c has drained. Harmless without a queue, as is the next. */
void nvm_log_suspended(struct nvm_controller *c);
/* c is about to run again. */
void nvm_log_resumed(struct nvm_controller *c);
/* Posts what fits. */
void nvm_log_pump(struct nvm_controller *c);
/* Whether an entry waits for room. */
bool nvm_log_owes(const struct nvm_controller *c);
/* The queue is about to go: posts all that is owed or, when it does not fit, that all has changed.
 */
void nvm_log_finish(struct nvm_controller *c);
/* The queue has gone. */
void nvm_log_drop(struct nvm_controller *c);

/* ---- cdq.c ---- */
/* Entries that fit. */
uint32_t nvm_cdq_room(const struct nvm_cdq *q);
/* Needs room. */
void nvm_cdq_post(struct nvm_cdq *q, const struct udmq_entry *entry);
void nvm_cdq_raise_full(struct nvm_cdq *q);
void nvm_cdq_drop_full(struct nvm_cdq *q);
struct nvm_cdq *nvm_cdq_by_id(struct nvm_subsystem *s, uint16_t id); /* NULL: none */
/* Frees it; nothing more is posted. */
void nvm_cdq_delete(struct nvm_cdq *q);

/* ---- commands: an NVMe status that ends the request, or NVM_PENDING ---- */
enum { NVM_PENDING = 0xffff };
uint16_t nvm_cmd_data_queue(struct nvm_subsystem *s, struct nvm_request *req); /* cdq.c */
uint16_t nvm_feature_cdq_set(struct nvm_subsystem *s, struct nvm_request *req);
uint16_t nvm_feature_cdq_get(struct nvm_subsystem *s, struct nvm_request *req);
uint16_t nvm_cmd_identify(struct nvm_subsystem *s, uint16_t cntlid,
                          struct nvm_request *req); /* identify.c */
uint16_t nvm_cmd_log_page(struct nvm_subsystem *s, struct nvm_request *req);
uint16_t nvm_cmd_lba_status(struct nvm_subsystem *s, struct nvm_request *req); /* lba_status.c */
uint16_t nvm_cmd_track_send(struct nvm_subsystem *s, struct nvm_request *req); /* migration.c */
uint16_t nvm_cmd_migration_send(struct nvm_subsystem *s, struct nvm_request *req);
uint16_t nvm_cmd_migration_receive(struct nvm_subsystem *s, struct nvm_request *req);

/* ---- admin.c ---- */
/* Reports due events to waiting requests. */
void nvm_aer_kick(struct nvm_subsystem *s);
void nvm_aer_abort(struct nvm_subsystem *s);

/* ---- migration.c ---- */
void nvm_stage_drop(struct nvm_stage *stage);

#endif
