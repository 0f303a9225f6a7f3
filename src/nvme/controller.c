/* The migratable controller: counts what is in flight, logs what changed, has states and a gate.
 *
 * A front end's request is sent on as a copy whose completion comes here. The change is logged when
 * it has taken effect, before the front end is told: whoever drains the log after the drain of the
 * controller has seen every change. A failed write is logged too, for part of its range may have
 * been written.
 *
 * Invariants: inflight counts front-end requests whose done has not been called, refused ones
 * included. SUSPENDED means inflight is 0 and stays so. Every turn of "gate open and RUNNING" is
 * told to the attached front end at the end of the loop's turn; one that turned twice is told once.
 *
 * Requests that wait for space keep a suspension pending: nvc_cancel_held or new space ends that.
 * Memory: the copies come from a free list of the subsystem that grows to the deepest queue seen.
 */
#include "internal.h"

#include <assert.h>
#include <errno.h>

static void notify_front(struct loop_defer *d)
{
        struct nvm_controller *c = container_of(d, struct nvm_controller, notify);
        if (c->front)
                c->front->may_submit_changed(c->front);
}

void nvc_init(struct nvm_controller *c)
{
        c->state = NVC_RUNNING;
        c->notify.call = notify_front;
        list_init(&c->suspends);
        nvm_log_init(c);
}

void nvc_fini(struct nvm_controller *c)
{
        assert(c->inflight == 0 && c->mmc_inflight == 0 && !c->front);
        loop_defer_cancel(&c->notify);
        nvm_log_fini(c);
}

bool nvc_may_submit(const struct nvm_controller *c)
{
        return c->gate && c->state == NVC_RUNNING;
}

/* `before` is what nvc_may_submit said before the caller's change. */
static void tell_turn(struct nvm_controller *c, bool before)
{
        if (nvc_may_submit(c) != before)
                loop_defer(c->s->loop, &c->notify);
}

/* ---- front ends ---- */

int nvc_attach_front(struct nvm_controller *c, struct nvm_front *front, struct err *err)
{
        if (c->front == front)
                return 0;
        if (c->front)
                return err_set(err, EBUSY, "the volume is open for writing through %s",
                               c->front->kind);
        c->front = front;
        c->served = false;
        return 0;
}

void nvc_detach_front(struct nvm_controller *c, struct nvm_front *front)
{
        if (c->front != front)
                return;
        c->front = NULL;
        c->facts = (struct nvm_front_facts){0};
        loop_defer_cancel(&c->notify);
}

const struct nvm_front *nvc_front(const struct nvm_controller *c)
{
        return c->front;
}

void nvc_set_front_facts(struct nvm_controller *c, const struct nvm_front_facts *facts)
{
        c->facts = *facts;
}

/* ---- I/O ---- */

static struct nvc_io *io_get(struct nvm_controller *c, struct volume_io *outer)
{
        struct nvc_io *io = list_first(&c->s->free_ios, struct nvc_io, node);
        if (io)
                list_del(&io->node);
        else
                io = malloc(sizeof(*io));
        if (!io)
                return NULL;
        io->inner = *outer;
        io->outer = outer;
        io->c = c;
        list_init(&io->node);
        return io;
}

void nvc_free_ios(struct nvm_subsystem *s)
{
        struct nvc_io *io;
        while ((io = list_first(&s->free_ios, struct nvc_io, node))) {
                list_del(&io->node);
                free(io);
        }
}

static bool op_changes(enum volume_op op)
{
        return op == VOLUME_WRITE || op == VOLUME_DISCARD || op == VOLUME_WRITE_ZEROES;
}

static void drained(struct nvm_controller *c);

/* Tells the front end and lets go of the copy. */
static void io_end(struct nvc_io *io, int status)
{
        struct nvm_controller *c = io->c;
        struct volume_io *outer = io->outer;

        c->inflight--;
        list_add_head(&c->s->free_ios, &io->node);
        outer->done(outer, status);
        if (c->state == NVC_SUSPENDING && c->inflight == 0)
                drained(c);
}

static void io_done(struct volume_io *inner, int status)
{
        struct nvc_io *io = container_of(inner, struct nvc_io, inner);
        if (op_changes(io->inner.op))
                nvm_log_change(io->c, io->inner.offset_bytes, io->inner.length_bytes);
        io_end(io, status);
}

static void tell_refused(struct loop_defer *d)
{
        struct nvm_subsystem *s = container_of(d, struct nvm_subsystem, tell_refused);
        struct list batch;
        struct nvc_io *io;

        list_init(&batch);
        list_splice_tail(&batch, &s->refused);
        while ((io = list_first(&batch, struct nvc_io, node))) {
                list_del(&io->node);
                io_end(io, io->status);
        }
}

void nvc_submit(struct nvm_controller *c, struct volume_io *outer)
{
        struct nvc_io *io = io_get(c, outer);

        /* Out of memory for a few hundred bytes: the one completion that is told at once. */
        if (!io) {
                outer->done(outer, -ENOMEM);
                return;
        }
        c->inflight++;
        if (!nvc_may_submit(c)) {
                io->status = -ESHUTDOWN;
                list_add_tail(&c->s->refused, &io->node);
                c->s->tell_refused.call = tell_refused;
                loop_defer(c->s->loop, &c->s->tell_refused);
                return;
        }
        if (!c->served) {
                c->served = true;
                if (c->front && c->front->first_request)
                        c->front->first_request(c->front);
        }
        io->inner.done = io_done;
        io->inner.priv = NULL;
        c->ops->submit(c->backing, &io->inner);
}

static void peek_done(struct volume_io *inner, int status)
{
        struct nvc_io *io = container_of(inner, struct nvc_io, inner);
        struct volume_io *outer = io->outer;

        io->c->mmc_inflight--;
        list_add_head(&io->c->s->free_ios, &io->node);
        outer->done(outer, status);
}

void nvc_peek(struct nvm_controller *c, struct volume_io *outer)
{
        struct nvc_io *io = io_get(c, outer);

        assert(outer->op == VOLUME_READ);
        if (!io) {
                outer->done(outer, -ENOMEM);
                return;
        }
        c->mmc_inflight++;
        io->inner.done = peek_done;
        io->inner.priv = NULL;
        c->ops->submit(c->backing, &io->inner);
}

void nvc_map(struct nvm_controller *c, uint64_t first_block, struct volume_extent *out,
             uint32_t max, void *ctx,
             void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        c->ops->map(c->backing, first_block, out, max, ctx, done);
}

void nvc_cancel_held(struct nvm_controller *c)
{
        c->ops->cancel_held(c->backing);
}

uint32_t nvc_inflight(const struct nvm_controller *c)
{
        return c->inflight;
}

uint64_t nvc_size_bytes(const struct nvm_controller *c)
{
        return c->ops->size_bytes(c->backing);
}

uint16_t nvc_cntlid(const struct nvm_controller *c)
{
        return c->cntlid;
}

uint32_t nvc_nsid(const struct nvm_controller *c)
{
        return c->nsid;
}

const struct uuid *nvc_uuid(const struct nvm_controller *c)
{
        return &c->uuid;
}

/* ---- states and gate ---- */

enum nvm_controller_state nvc_state(const struct nvm_controller *c)
{
        return c->state;
}

void nvc_gate_set(struct nvm_controller *c, bool open)
{
        bool before = nvc_may_submit(c);
        if (open && !c->gate)
                c->served = false;
        c->gate = open;
        tell_turn(c, before);
}

bool nvc_gate_is_open(const struct nvm_controller *c)
{
        return c->gate;
}

static void end_suspends(struct nvm_controller *c, uint16_t status)
{
        struct nvm_request *req;
        while ((req = list_first(&c->suspends, struct nvm_request, node))) {
                list_del(&req->node);
                nvm_finish(c->s, req, status);
        }
}

/* SUSPENDING -> SUSPENDED: the queue gets the rest and the marker, then the Suspends end. */
static void drained(struct nvm_controller *c)
{
        c->state = NVC_SUSPENDED;
        nvm_log_suspended(c);
        if (c->suspend_deletes_cdq && c->cdq) {
                nvm_log_finish(c);
                nvm_cdq_delete(c->cdq);
        }
        c->suspend_deletes_cdq = false;
        end_suspends(c, NVME_SC_SUCCESS);
}

void nvc_suspend(struct nvm_controller *c, struct nvm_request *req, bool delete_cdq)
{
        bool before = nvc_may_submit(c);

        if (c->state == NVC_SUSPENDED) { /* again: no second marker */
                if (delete_cdq && c->cdq)
                        nvm_cdq_delete(c->cdq);
                nvm_finish(c->s, req, NVME_SC_SUCCESS);
                return;
        }
        list_add_tail(&c->suspends, &req->node);
        c->suspend_deletes_cdq |= delete_cdq;
        c->state = NVC_SUSPENDING;
        tell_turn(c, before);
        if (c->inflight == 0)
                drained(c);
}

void nvc_resume(struct nvm_controller *c)
{
        bool before = nvc_may_submit(c);

        if (c->state == NVC_SUSPENDED)
                nvm_log_resumed(c);
        c->state = NVC_RUNNING;
        c->suspend_deletes_cdq = false;
        end_suspends(c, NVME_SC_ABORT_REQUESTED | NVME_SC_DNR);
        tell_turn(c, before);
}
