/* The log of changed blocks of one volume, read from a Controller Data Queue.
 *
 *   change_log_start -> Create CDQ, Track Send, marker 001b   -> CHANGE_LOG_STARTED
 *   every entry                                               -> range()
 *   the controller is suspended (by someone else), marker 011b -> CHANGE_LOG_SUSPENDED
 *   the queue ran full, marker 111b                           -> CHANGE_LOG_LOST: changes are
 * unknown; logging is started again by itself change_log_stop -> Track Send stop, Delete CDQ ->
 * CHANGE_LOG_STOPPED
 *
 * The queue is polled: one-shot events do not reach user space through stock kernels, and an idle
 * poll is one load. Threads: the loop's; callbacks never from inside start and stop.
 */
#ifndef ZONEPOOL_MIGRATE_SOURCE_CHANGE_LOG_H
#define ZONEPOOL_MIGRATE_SOURCE_CHANGE_LOG_H

#include "base/loop.h"
#include "migrate/nvme/target.h"

enum change_log_event {
        CHANGE_LOG_STARTED,
        CHANGE_LOG_SUSPENDED,
        CHANGE_LOG_LOST,
        CHANGE_LOG_STOPPED, /* the struct may be freed */
        CHANGE_LOG_FAILED, /* a command failed: why; stop it */
};

struct change_log {
        /* set by the caller */
        struct loop *loop;
        struct nvme_target *target;
        uint16_t cntlid;
        uint32_t nsid;
        uint32_t slots; /* of the queue; 0: 4096 */
        /* Blocks changed; nblocks UINT64_MAX: all of them. */
        void (*range)(struct change_log *log, uint64_t first, uint64_t nblocks);
        void (*event)(struct change_log *log, enum change_log_event event, const char *why);
        void *ctx;

        /* private */
        uint8_t *ring;
        size_t ring_len;
        uint64_t prp1;
        uint32_t head, unreported;
        uint8_t phase;
        uint16_t cdqid;
        bool created, logging, stopping, failed, commanding, updating;
        struct loop_timer poll;
        struct loop_defer later;
        struct nvm_request cmd, update;
};

/* Returns 0, or -errno with text when no queue can be had. */
int change_log_start(struct change_log *log, struct err *err);
/* Ends with CHANGE_LOG_STOPPED, always. */
void change_log_stop(struct change_log *log);
/* Reads what is there now. */
void change_log_drain(struct change_log *log);

#endif
