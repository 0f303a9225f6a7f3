/* See change_log.h. One command is under way at a time; the head's update has a request of its own.
 *
 * Order that correctness rests on: an entry is read only after its phase byte (acquire), and the
 * head is told to the controller only after the entries before it were read.
 */
#include "migrate/source/change_log.h"

#include "nvme/udmq.h"

#include <errno.h>
#include <stdio.h>

#define POLL_NS UINT64_C(5000000)

enum { CDQ_CREATE = 0, CDQ_DELETE = 1, DEFAULT_SLOTS = 4096 };

static void submit_track(struct change_log *log, bool start);

static void tell(struct change_log *log, enum change_log_event event, const char *why)
{
        log->event(log, event, why);
}

static void fail(struct change_log *log, const char *what, unsigned status)
{
        char why[96];

        if (log->failed)
                return;
        log->failed = true;
        snprintf(why, sizeof(why), "%s failed with NVMe status %#x", what, status & NVME_SC_MASK);
        tell(log, CHANGE_LOG_FAILED, why);
}

static void submit(struct change_log *log, void (*done)(struct nvm_request *))
{
        log->commanding = true;
        log->cmd.done = done;
        log->cmd.ctx = log;
        log->target->ops->submit(log->target, true, &log->cmd);
}

/* ---- stopping ---- */

static void stopped(struct change_log *log)
{
        loop_timer_disarm(&log->poll);
        loop_defer_cancel(&log->later);
        if (log->ring)
                log->target->ops->cdq_free(log->target, log->ring, log->ring_len);
        log->ring = NULL;
        tell(log, CHANGE_LOG_STOPPED, NULL);
}

static void deleted(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        log->commanding = log->created = false;
        stopped(log);
}

static void track_stopped(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        /* A suspended controller refuses this (39h); deleting the queue ends the log all the same.
         */
        nvme_sqe_init(log->cmd.sqe, NVME_ADMIN_DATA_QUEUE, 0);
        nvme_sqe_set_cdw(log->cmd.sqe, 10, CDQ_DELETE);
        nvme_sqe_set_cdw(log->cmd.sqe, 11, log->cdqid);
        submit(log, deleted);
}

static void stop_now(struct loop_defer *d)
{
        struct change_log *log = container_of(d, struct change_log, later);

        if (log->commanding || log->updating)
                return; /* their ends come back here */
        if (!log->created) {
                stopped(log);
                return;
        }
        submit_track(log, false);
}

void change_log_stop(struct change_log *log)
{
        if (log->stopping)
                return;
        log->stopping = true;
        loop_timer_disarm(&log->poll);
        log->later.call = stop_now;
        loop_defer(log->loop, &log->later);
}

/* A command has ended while somebody wants to stop: go on with that. */
static bool leave(struct change_log *log)
{
        log->commanding = false;
        if (log->stopping)
                loop_defer(log->loop, &log->later);
        return log->stopping;
}

/* ---- the ring ---- */

static void head_updated(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        log->updating = false;
        if (log->stopping)
                loop_defer(log->loop, &log->later);
        else if (r->status)
                fail(log, "telling the controller the head of the change log", r->status);
}

static void report_head(struct change_log *log)
{
        if (log->updating || !log->unreported)
                return;
        log->unreported = 0;
        log->updating = true;
        nvme_sqe_init(log->update.sqe, NVME_ADMIN_SET_FEATURES, 0);
        nvme_sqe_set_cdw(log->update.sqe, 10, NVME_FID_DATA_QUEUE);
        nvme_sqe_set_cdw(log->update.sqe, 11, log->cdqid);
        nvme_sqe_set_cdw(log->update.sqe, 12, log->head);
        log->update.done = head_updated;
        log->update.ctx = log;
        log->target->ops->submit(log->target, true, &log->update);
}

static void track_restarted(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        if (leave(log))
                return;
        if (r->status && (r->status & NVME_SC_MASK) != NVME_SC_SUSPENDED)
                fail(log, "starting the change log again", r->status);
}

static void entry(struct change_log *log, const struct udmq_entry *e)
{
        if (e->kind == UDMQ_RANGE && e->nsid == log->nsid)
                log->range(log, e->slba, e->nblocks);
        else if (e->kind == UDMQ_ALL_BLOCKS && e->nsid == log->nsid)
                log->range(log, 0, UINT64_MAX);
        switch (e->mark) {
        case UDMQ_FIRST:
                if (!log->logging) {
                        log->logging = true;
                        tell(log, CHANGE_LOG_STARTED, NULL);
                }
                break;
        case UDMQ_SUSPENDED:
                tell(log, CHANGE_LOG_SUSPENDED, NULL);
                break;
        case UDMQ_FULL:
                tell(log, CHANGE_LOG_LOST, NULL);
                if (!log->commanding && !log->stopping) {
                        report_head(log);
                        nvme_sqe_init(log->cmd.sqe, NVME_ADMIN_TRACK_SEND, 0);
                        nvme_sqe_set_cdw(log->cmd.sqe, 10, 1u << 16);
                        nvme_sqe_set_cdw(log->cmd.sqe, 11, log->cdqid);
                        submit(log, track_restarted);
                }
                break;
        case UDMQ_ORDINARY:
        case UDMQ_STOPPED:
                break;
        }
}

void change_log_drain(struct change_log *log)
{
        struct udmq_entry e;
        uint8_t bytes[UDMQ_ENTRY_SIZE];

        while (log->created && !log->stopping && !log->failed) {
                const uint8_t *slot = log->ring + (size_t)log->head * UDMQ_ENTRY_SIZE;
                uint8_t attr = __atomic_load_n(slot + UDMQ_ATTR, __ATOMIC_ACQUIRE);
                if ((attr & 1) != log->phase)
                        break;
                memcpy(bytes, slot, UDMQ_ATTR);
                bytes[UDMQ_ATTR] = attr;
                if (++log->head == log->slots) {
                        log->head = 0;
                        log->phase ^= 1;
                }
                log->unreported++;
                if (udmq_decode(bytes, &e) < 0) {
                        fail(log, "reading the change log", NVME_SC_INTERNAL);
                        return;
                }
                entry(log, &e);
                if (log->unreported >= log->slots / 4)
                        report_head(log);
        }
        report_head(log);
}

static void poll_ring(struct loop_timer *t)
{
        struct change_log *log = container_of(t, struct change_log, poll);

        loop_timer_arm(log->loop, t, loop_now_ns(log->loop) + POLL_NS);
        change_log_drain(log);
}

/* ---- starting ---- */

static void track_started(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        if (leave(log))
                return;
        if (r->status) {
                fail(log, "starting the change log", r->status);
                return;
        }
        loop_timer_arm(log->loop, &log->poll, 0); /* the marker comes through the queue */
}

static void submit_track(struct change_log *log, bool start)
{
        nvme_sqe_init(log->cmd.sqe, NVME_ADMIN_TRACK_SEND, 0);
        nvme_sqe_set_cdw(log->cmd.sqe, 10, start ? 1u << 16 : 0);
        nvme_sqe_set_cdw(log->cmd.sqe, 11, log->cdqid);
        submit(log, start ? track_started : track_stopped);
}

static void cdq_created(struct nvm_request *r)
{
        struct change_log *log = r->ctx;

        if (r->status == 0) {
                log->created = true;
                log->cdqid = (uint16_t)r->dw0;
        }
        if (leave(log))
                return;
        if (r->status)
                fail(log, "creating the change log's queue", r->status);
        else
                submit_track(log, true);
}

int change_log_start(struct change_log *log, struct err *err)
{
        if (!log->slots)
                log->slots = DEFAULT_SLOTS;
        log->ring_len = (size_t)log->slots * UDMQ_ENTRY_SIZE;
        log->ring = log->target->ops->cdq_alloc(log->target, log->ring_len, &log->prp1, err);
        if (!log->ring)
                return err ? -err->code : -ENOTSUP;
        log->phase = 1;
        log->poll.fire = poll_ring;
        nvme_sqe_init(log->cmd.sqe, NVME_ADMIN_DATA_QUEUE, 0);
        put_le64(log->cmd.sqe + NVME_SQE_PRP1, log->prp1);
        nvme_sqe_set_cdw(log->cmd.sqe, 10, CDQ_CREATE);
        nvme_sqe_set_cdw(log->cmd.sqe, 11, 1u | (uint32_t)log->cntlid << 16);
        nvme_sqe_set_cdw(log->cmd.sqe, 12, log->slots * UDMQ_ENTRY_DWORDS);
        submit(log, cdq_created);
        return 0;
}
