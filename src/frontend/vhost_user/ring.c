/* A split virtqueue from start to drained (virtio 1.2, section 2.7).
 *
 * Invariants: last_avail - used_idx counts the requests taken and not yet published, at most num; a
 * head is in flight once. What the guest wrote is read once. Completions gather during a turn of
 * the loop and are published together, with one signal to the guest.
 *
 * Order, with what it pairs with on the guest's vCPUs. All loads and stores of the rings' 16-bit
 * fields are sequentially consistent, which gives both halves: load of avail->idx (acquire)  the
 * driver's store-release: heads and descriptors below it are seen store of used->idx (release)  the
 * driver's load-acquire: data, status and elements are seen store of avail_event or flags, then
 * load of avail->idx: the driver's full fence between its store of avail->idx and its load of
 * avail_event; a kick is not missed store of used->idx, then load of used_event or flags: the
 * driver's full fence between its store of used_event and its load of used->idx; a signal is not
 * missed
 *
 * The dirty log: pages of data and status are marked before used->idx tells of them; those of the
 * used ring after they were written.
 *
 * Crash behaviour: inflight.h.
 */
#include "frontend/vhost_user/internal.h"

#include "base/le.h"
#include "frontend/vhost_user/guard.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
        AVAIL_FLAGS = 0,
        AVAIL_IDX = 2,
        AVAIL_RING = 4,
        AVAIL_F_NO_INTERRUPT = 1,
        USED_FLAGS = 0,
        USED_IDX = 2,
        USED_RING = 4,
        USED_ELEM = 8,
        USED_F_NO_NOTIFY = 1,
        DESC_BYTES = 16,
};

/* Fields of 16 bits shared with vCPUs; alignment is checked by vub_ring_resolve. */
static uint16_t load16(const uint8_t *p)
{
        return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_SEQ_CST));
}

static void store16(uint8_t *p, uint16_t v)
{
        __atomic_store_n((uint16_t *)(void *)p, htole16(v), __ATOMIC_SEQ_CST);
}

static bool event_idx(const struct vub_ring *r)
{
        return r->conn->features & VUB_F_EVENT_IDX;
}

/* ---- life ---- */

static void on_kick(struct loop_fd *w, uint32_t events)
{
        struct vub_ring *r = container_of(w, struct vub_ring, kick);
        uint64_t n;
        struct iovec iov = {&n, sizeof(n)};

        /* The peer shares the descriptor's flags, O_NONBLOCK among them: ask for it by call.
         * Kernels before 5.8 cannot. */
        ssize_t rc = preadv2(w->fd, &iov, 1, -1, RWF_NOWAIT);
        if (rc < 0 && errno == EOPNOTSUPP)
                rc = read(w->fd, &n, sizeof(n));
        if (rc < 0 && errno != EAGAIN) {
                vub_ring_set_kick(r, -1); /* never an eventfd's answer */
                return;
        }
        vub_ring_take(r);
        if (r->conn->guard_seen != vub_guard_hits())
                vub_conn_wake(r->conn);
}

void vub_ring_init(struct vub_ring *r, struct vub_conn *c, uint16_t index)
{
        r->conn = c;
        r->index = index;
        r->kick = (struct loop_fd){.fd = -1, .ready = on_kick};
        r->call_fd = r->err_fd = -1;
        list_init(&r->done);
        list_init(&r->free);
}

void vub_ring_fini(struct vub_ring *r)
{
        vub_ring_set_kick(r, -1);
        if (r->call_fd >= 0)
                close(r->call_fd);
        if (r->err_fd >= 0)
                close(r->err_fd);
        free(r->reqs);
        free(r->resubmit);
}

void vub_ring_set_kick(struct vub_ring *r, int fd)
{
        if (r->kick.fd >= 0) {
                loop_fd_del(&r->kick);
                close(r->kick.fd);
        }
        r->kick.fd = fd;
        if (fd >= 0 && r->active && loop_fd_add(r->conn->server->loop, &r->kick, EPOLLIN) < 0) {
                close(fd);
                r->kick.fd = -1;
        }
}

int vub_ring_resolve(struct vub_ring *r, struct err *err)
{
        struct vub_mem *mem = r->conn->mem;
        uint64_t n = r->num;

        if (!mem || !n)
                return err_set(err, EINVAL, "ring %u has no size or no memory", r->index);
        uint8_t *desc = vub_mem_user(mem, r->addr.desc_user, DESC_BYTES * n);
        uint8_t *avail = vub_mem_user(mem, r->addr.avail_user, AVAIL_RING + 2 * n + 2);
        uint8_t *used = vub_mem_user(mem, r->addr.used_user, USED_RING + USED_ELEM * n + 2);
        if (!desc || !avail || !used)
                return err_set(err, EINVAL, "ring %u lies outside guest memory", r->index);
        if ((uintptr_t)desc % 16 || (uintptr_t)avail % 2 || (uintptr_t)used % 4)
                return err_set(err, EINVAL, "ring %u is not aligned", r->index);
        r->desc = desc;
        r->avail = avail;
        r->used = used;
        return 0;
}

static int allocate(struct vub_ring *r)
{
        uint32_t n = MIN(r->num, VUB_MAX_INFLIGHT);

        if (r->nreqs != n) {
                free(r->reqs);
                r->nreqs = 0;
                r->reqs = calloc(n, sizeof(*r->reqs));
                if (!r->reqs)
                        return -ENOMEM;
                r->nreqs = n;
                r->fresh = 0;
                list_init(&r->free);
        }
        free(r->resubmit);
        r->resubmit = calloc(r->num, sizeof(*r->resubmit));
        return r->resubmit ? 0 : -ENOMEM;
}

int vub_ring_try_start(struct vub_ring *r, struct err *err)
{
        struct vub_conn *c = r->conn;

        if (r->active || !r->enabled || r->kick.fd < 0 || !r->has_addr || !r->num || !c->mem)
                return 0;
        int rc = vub_ring_resolve(r, err);
        if (rc < 0)
                return rc;
        if (allocate(r) < 0)
                return err_set(err, ENOMEM, "no memory for %u requests", r->num);

        r->used_idx = load16(r->used + USED_IDX);
        int n = vub_inflight_resume(&c->inflight, r->index, r->num, r->used_idx, &r->track,
                                    r->resubmit);
        if (n < 0)
                return err_set(err, EINVAL, "ring %u of %u does not fit the in-flight region",
                               r->index, r->num);
        rc = loop_fd_add(c->server->loop, &r->kick, EPOLLIN);
        if (rc < 0)
                return err_set(err, -rc, "cannot watch ring %u", r->index);
        /* The peer restores the base from the used index when we vanish: with requests in flight
         * only the region knows how many were taken. */
        r->last_avail = n > 0 ? (uint16_t)(r->used_idx + n) : r->base;
        r->nresubmit = (uint32_t)n;
        r->resubmitted = 0;
        memset(r->busy, 0, sizeof(r->busy));
        for (int i = 0; i < n; i++)
                r->busy[r->resubmit[i] / 64] |= UINT64_C(1) << (r->resubmit[i] % 64);
        r->signalled_valid = false;
        r->stopping = r->broken = r->starved = false;
        r->active = true;
        vub_conn_ring_started(c, r);
        return 0;
}

bool vub_ring_drained(const struct vub_ring *r)
{
        return r->inflight == 0 && list_empty(&r->done) &&
               (r->resubmitted == r->nresubmit || r->broken);
}

void vub_ring_stop(struct vub_ring *r)
{
        r->base = r->last_avail;
        r->active = r->stopping = r->look = false;
        vub_ring_set_kick(r, -1);
        r->track = (struct vub_inflight_ring){0};
        r->nresubmit = r->resubmitted = 0;
        vub_conn_ring_stopped(r->conn);
}

void vub_ring_break(struct vub_ring *r, const struct err *err)
{
        struct err text = *err;

        r->broken = true;
        r->conn->server->malformed++;
        if (r->err_fd >= 0) {
                uint64_t one = 1;
                (void)!write(r->err_fd, &one, sizeof(one));
        }
        err_prefix(&text, "ring %u is stopped until the guest resets the disk", r->index);
        vub_server_trouble(r->conn->server, &text);
}

/* ---- taking ---- */

static struct vub_req *get_request(struct vub_ring *r)
{
        struct vub_req *req = list_first(&r->free, struct vub_req, node);

        if (req)
                list_del(&req->node);
        else if (r->fresh < r->nreqs)
                req = &r->reqs[r->fresh++];
        return req;
}

static bool is_busy(const struct vub_ring *r, uint16_t head)
{
        return r->busy[head / 64] >> (head % 64) & 1;
}

/* Reads the chain and submits it. false: the ring is broken or out of requests. */
static bool take_one(struct vub_ring *r, uint16_t head, bool resubmit)
{
        struct vub_conn *c = r->conn;
        struct err err = ERR_INIT;
        int rc;
        struct vub_req *req = get_request(r);

        if (!req) {
                r->starved = true;
                return false;
        }
        req->ring = r;
        req->head = head;
        list_init(&req->node);
        if (head >= r->num)
                rc = err_set(&err, EBADMSG, "request %u in a ring of %u", head, r->num);
        else if (!resubmit && is_busy(r, head))
                rc = err_set(&err, EBADMSG, "request %u is offered twice", head);
        else
                rc = vub_chain_read(c->mem, r->desc, r->num, head,
                                    c->features & VUB_F_INDIRECT_DESC, &req->chain, &err);
        if (rc == 0)
                rc = vub_blk_prepare(req, &err);
        if (rc < 0) {
                list_add_head(&r->free, &req->node);
                vub_ring_break(r, &err);
                return false;
        }

        req->mem = vub_mem_ref(c->mem);
        req->state = VUB_REQ_SUBMITTED;
        if (!resubmit) {
                r->busy[head / 64] |= UINT64_C(1) << (head % 64);
                vub_inflight_mark(&r->track, head); /* before it is submitted */
                r->last_avail++;
        }
        r->inflight++;
        c->ninflight++;
        if (resubmit && c->fail_waiting && !vub_conn_may_take(c))
                vub_blk_fail(req);
        else
                vub_blk_submit(req);
        return true;
}

/* Asks the guest (not) to kick. Returns whether the ring must be looked at once more. */
static bool want_kicks(struct vub_ring *r, bool want)
{
        uint64_t at;

        if (event_idx(r)) {
                if (!want)
                        return false; /* an avail_event that lies behind is never met */
                at = USED_RING + USED_ELEM * (uint64_t)r->num;
                store16(r->used + at, r->last_avail);
        } else {
                at = USED_FLAGS;
                store16(r->used + at, want ? 0 : USED_F_NO_NOTIFY);
        }
        if (r->addr.flags & VUB_VRING_LOG)
                vub_log_mark(&r->conn->log, r->addr.log_gpa + at, 2);
        if (!want)
                return false;
        return load16(r->avail + AVAIL_IDX) != r->last_avail;
}

static void take_new(struct vub_ring *r)
{
        uint32_t budget = r->num;

        want_kicks(r, false);
        for (;;) {
                uint16_t avail = load16(r->avail + AVAIL_IDX);
                uint16_t n = (uint16_t)(avail - r->last_avail);
                if (n > r->num) {
                        struct err err = ERR_INIT;
                        err_set(&err, EBADMSG, "available index %u is %u ahead in a ring of %u",
                                avail, n, r->num);
                        vub_ring_break(r, &err);
                        return;
                }
                if (n == 0 && !want_kicks(r, true))
                        return;
                if (budget-- == 0) { /* others first */
                        r->look = true;
                        vub_conn_wake(r->conn);
                        return;
                }
                if (n == 0)
                        continue;
                size_t slot = AVAIL_RING + 2 * (size_t)(r->last_avail & (r->num - 1));
                if (!take_one(r, load16(r->avail + slot), false))
                        return;
        }
}

void vub_ring_take(struct vub_ring *r)
{
        struct vub_conn *c = r->conn;

        r->look = false;
        if (!r->active || r->broken || c->dead || c->closing || (!r->enabled && !r->stopping))
                return;
        if (!vub_conn_may_take(c) && !(r->stopping && c->fail_waiting))
                return;
        while (r->resubmitted < r->nresubmit) {
                if (!take_one(r, r->resubmit[r->resubmitted], true))
                        return;
                r->resubmitted++;
        }
        if (!r->stopping)
                take_new(r);
}

/* ---- publishing ---- */

void vub_ring_complete(struct vub_req *req)
{
        struct vub_ring *r = req->ring;

        req->state = VUB_REQ_DONE;
        list_add_tail(&r->done, &req->node);
        vub_conn_wake(r->conn);
}

/* Marks what the disk may have written, and no more: a request that was refused may name all of
 * memory many times over. */
static void log_data(struct vub_log *log, const struct vub_req *req)
{
        uint64_t left = req->data_in;

        if (!log->on || req->ranges)
                return;
        for (uint16_t i = req->chain.nout; left > 0 && i < req->chain.nout + req->chain.nin; i++) {
                uint64_t n = MIN(left, req->chain.iov[i].iov_len);
                vub_log_mark(log, req->chain.gpa[i], n);
                left -= n;
        }
}

/* Writes the status, marks what the request wrote, fills the used element. */
static void fill_used(struct vub_ring *r, struct vub_req *req)
{
        struct vub_log *log = &r->conn->log;
        bool tell_data = req->virtio_status == 0 && req->data_in > 0;

        log_data(log, req);
        *req->status = req->virtio_status;
        vub_log_mark(log, req->status_gpa, 1);

        uint8_t *elem = r->used + USED_RING + USED_ELEM * (size_t)(r->used_idx & (r->num - 1));
        put_le32(elem, req->head);
        put_le32(elem + 4, tell_data ? (uint32_t)req->in_bytes + 1 : 1);
        vub_inflight_link(&r->track, req->head);
        r->used_idx++;
}

static void log_used(struct vub_ring *r, uint16_t from)
{
        if (!r->conn->log.on || !(r->addr.flags & VUB_VRING_LOG))
                return;
        for (; from != r->used_idx; from++)
                vub_log_mark(&r->conn->log,
                             r->addr.log_gpa + USED_RING +
                                 USED_ELEM * (uint64_t)(from & (r->num - 1)),
                             USED_ELEM);
        vub_log_mark(&r->conn->log, r->addr.log_gpa + USED_IDX, 2);
}

static void signal_guest(struct vub_ring *r, uint16_t old)
{
        uint64_t one = 1;
        bool wanted;

        if (event_idx(r)) {
                uint16_t event = load16(r->avail + AVAIL_RING + 2 * (size_t)r->num);
                uint16_t since = r->signalled_valid ? r->signalled_used : old;
                wanted = !r->signalled_valid ||
                         (uint16_t)(r->used_idx - event - 1) < (uint16_t)(r->used_idx - since);
                r->signalled_used = r->used_idx;
                r->signalled_valid = true;
        } else {
                wanted = !(load16(r->avail + AVAIL_FLAGS) & AVAIL_F_NO_INTERRUPT);
        }
        if (wanted && r->call_fd >= 0)
                (void)!write(r->call_fd, &one,
                             sizeof(one)); /* full: the guest has not looked yet */
}

static void put_request(struct vub_ring *r, struct vub_req *req)
{
        list_del(&req->node);
        list_add_head(&r->free, &req->node);
        req->state = VUB_REQ_FREE;
        vub_mem_unref(req->mem);
        req->mem = NULL;
        r->busy[req->head / 64] &= ~(UINT64_C(1) << (req->head % 64));
        r->inflight--;
        r->conn->ninflight--;
}

void vub_ring_publish(struct vub_ring *r)
{
        struct vub_conn *c = r->conn;
        struct vub_req *req, *tmp;
        uint16_t old = r->used_idx;

        if (list_empty(&r->done))
                return;
        if (!c->dead) {
                list_for_each (req, &r->done, node)
                        fill_used(r, req);
                store16(r->used + USED_IDX, r->used_idx);
                log_used(r, old);
        }
        list_for_each_safe (req, tmp, &r->done, node) {
                if (!c->dead) {
                        vub_inflight_clear(&r->track, req->head);
                        c->server->requests++;
                }
                put_request(r, req);
        }
        if (!c->dead) {
                vub_inflight_published(&r->track, r->used_idx);
                signal_guest(r, old);
        }
        if (r->starved) {
                r->starved = false;
                r->look = true;
        }
}
