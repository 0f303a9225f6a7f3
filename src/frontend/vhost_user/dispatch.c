/* One function a message, see proto.h and internal.h.
 *
 * The table says how long a payload must be and how many descriptors come with it; a message that
 * differs closes the connection. A handler's refusal is told to a peer that asked for a reply, and
 * closes the connection of one that did not: it would go on as if it had been obeyed.
 *
 * Left out on purpose: postcopy, IOTLB, crypto sessions, in-band notifications, memory slots,
 * RESET_DEVICE: not offered.
 */
#include "frontend/vhost_user/internal.h"

#include "base/le.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

struct message {
        uint32_t request;
        uint32_t flags;
        const uint8_t *payload;
        uint32_t len;
};

/* The handler has replied, or will: no acknowledgement. */
enum { REPLIED = 1 };

static int take_fd(struct vub_conn *c)
{
        return c->nfds > 0 ? steal_fd(&c->fds[0]) : -1;
}

static void replace_fd(int *fd, int new)
{
        if (*fd >= 0)
                close(*fd);
        *fd = new;
}

static int reply_u64(struct vub_conn *c, uint32_t request, uint64_t value)
{
        uint8_t payload[8];
        put_le64(payload, value);
        vub_conn_reply(c, request, payload, sizeof(payload), -1);
        return REPLIED;
}

/* An eventfd that never blocks us: anything else a peer might pass could. */
static int check_eventfd(int fd, struct err *err)
{
        char link[64], target[64];
        int flags;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        if (n < 0)
                return err_set_sys(err, errno, "ring's descriptor");
        target[n] = '\0';
        if (strcmp(target, "anon_inode:[eventfd]") != 0)
                return err_set(err, EINVAL, "ring's descriptor is no eventfd");
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return err_set_sys(err, errno, "ring's descriptor");
        return 0;
}

/* NULL, with text: there is no such ring. */
static struct vub_ring *find_ring(struct vub_conn *c, uint32_t index, struct err *err)
{
        if (index < VUB_QUEUES)
                return &c->rings[index];
        err_set(err, EINVAL, "ring %u: there are %d", index, VUB_QUEUES);
        return NULL;
}

/* ---- features ---- */

static int get_features(struct vub_conn *c, const struct message *m, struct err *err)
{
        return reply_u64(c, m->request, VUB_FEATURES);
}

static int set_features(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint64_t features = get_le64(m->payload);
        bool was_on = c->log.on;

        if (features & ~VUB_FEATURES)
                return err_set(err, EINVAL, "features %#lx were not offered",
                               (unsigned long)(features & ~VUB_FEATURES));
        if (c->nactive > 0 && (features ^ c->features) & ~VUB_F_LOG_ALL)
                return err_set(err, EBUSY, "features change while rings run");
        c->features = features;
        c->log.on = features & VUB_F_LOG_ALL;
        if (!(features & VUB_F_PROTOCOL_FEATURES))
                for (int i = 0; i < VUB_QUEUES; i++)
                        c->rings[i].enabled = true;
        if (c->log.on != was_on)
                vub_server_event(c->server, c->log.on ? FRONT_LOG_ON : FRONT_LOG_OFF, c->pid);
        return 0;
}

static int get_protocol_features(struct vub_conn *c, const struct message *m, struct err *err)
{
        return reply_u64(c, m->request, VUB_PROTOCOL_FEATURES);
}

static int set_protocol_features(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint64_t features = get_le64(m->payload);
        if (features & ~VUB_PROTOCOL_FEATURES)
                return err_set(err, EINVAL, "protocol features %#lx were not offered",
                               (unsigned long)(features & ~VUB_PROTOCOL_FEATURES));
        c->protocol = features;
        return 0;
}

static int get_queue_num(struct vub_conn *c, const struct message *m, struct err *err)
{
        return reply_u64(c, m->request, VUB_QUEUES);
}

static int nothing(struct vub_conn *c, const struct message *m, struct err *err)
{
        return 0;
}

static int set_backend_req_fd(struct vub_conn *c, const struct message *m, struct err *err)
{
        replace_fd(&c->backend_fd, take_fd(c));
        return 0;
}

/* ---- memory ---- */

static int set_mem_table(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_mem *old = c->mem, *new;
        int rc = vub_mem_new(m->payload, m->len, c->fds, c->nfds, &new, err);
        if (rc < 0)
                return rc;

        c->mem = new;
        for (int i = 0; i < VUB_QUEUES && rc == 0; i++)
                if (c->rings[i].active)
                        rc = vub_ring_resolve(&c->rings[i], err);
        if (rc < 0) { /* back to what was; those rings resolved before */
                struct err ignored;
                c->mem = old;
                for (int i = 0; i < VUB_QUEUES; i++)
                        if (c->rings[i].active)
                                (void)vub_ring_resolve(&c->rings[i], &ignored);
                vub_mem_unref(new);
                return rc;
        }
        vub_mem_unref(old); /* requests in flight hold it as long as they need it */
        return 0;
}

static int set_log_base(struct vub_conn *c, const struct message *m, struct err *err)
{
        if (c->nfds != 1)
                return err_set(err, EINVAL, "the dirty log comes without its memory");
        int rc =
            vub_log_set(&c->log, c->fds[0], get_le64(m->payload), get_le64(m->payload + 8), err);
        if (rc < 0)
                return rc;
        c->log_overrun_told = false;
        if (c->protocol & VUB_P_LOG_SHMFD)
                return reply_u64(c, m->request, 0);
        return 0;
}

static int get_inflight_fd(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint16_t nqueues = get_le16(m->payload + 16), ring_size = get_le16(m->payload + 18);
        uint8_t payload[VUB_INFLIGHT_BYTES] = {0};

        if (nqueues == 0 || nqueues > VUB_QUEUES || ring_size == 0 || ring_size > VUB_MAX_RING)
                return err_set(err, EINVAL, "in-flight region for %u rings of %u", nqueues,
                               ring_size);
        uint64_t bytes = vub_inflight_bytes(nqueues, ring_size);
        int fd = vub_inflight_create(bytes, err);
        if (fd < 0)
                return fd;
        put_le64(payload, bytes);
        put_le64(payload + 8, 0);
        put_le16(payload + 16, nqueues);
        put_le16(payload + 18, ring_size);
        vub_conn_reply(c, m->request, payload, m->len, fd);
        return REPLIED;
}

static int set_inflight_fd(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint16_t nqueues = get_le16(m->payload + 16), ring_size = get_le16(m->payload + 18);

        if (c->nactive > 0)
                return err_set(err, EBUSY, "in-flight region changes while rings run");
        if (nqueues > VUB_QUEUES || ring_size > VUB_MAX_RING)
                return err_set(err, EINVAL, "in-flight region for %u rings of %u", nqueues,
                               ring_size);
        return vub_inflight_set(&c->inflight, c->fds[0], get_le64(m->payload),
                                get_le64(m->payload + 8), nqueues, ring_size, err);
}

/* ---- rings ---- */

static int set_vring_num(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint32_t num = get_le32(m->payload + 4);
        struct vub_ring *r = find_ring(c, get_le32(m->payload), err);

        if (!r)
                return -EINVAL;
        if (r->active)
                return err_set(err, EBUSY, "ring %u changes its size while it runs", r->index);
        if (num == 0 || num > VUB_MAX_RING || num & (num - 1))
                return err_set(err, EINVAL,
                               "ring %u of %u entries: a power of two up to %d is meant", r->index,
                               num, VUB_MAX_RING);
        r->num = (uint16_t)num;
        return 0;
}

static int set_vring_addr(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_ring_addr before;
        struct vub_ring *r = find_ring(c, get_le32(m->payload), err);

        if (!r)
                return -EINVAL;
        before = r->addr;
        r->addr = (struct vub_ring_addr){.flags = get_le32(m->payload + 4),
                                         .desc_user = get_le64(m->payload + 8),
                                         .used_user = get_le64(m->payload + 16),
                                         .avail_user = get_le64(m->payload + 24),
                                         .log_gpa = get_le64(m->payload + 32)};
        r->has_addr = true;
        if (!r->active)
                return vub_ring_try_start(r, err);
        int rc = vub_ring_resolve(r, err);
        if (rc < 0)
                r->addr = before; /* it goes on as it was */
        return rc;
}

static int set_vring_base(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_ring *r = find_ring(c, get_le32(m->payload), err);

        if (!r)
                return -EINVAL;
        if (r->active)
                return err_set(err, EBUSY, "ring %u changes its base while it runs", r->index);
        r->base = (uint16_t)get_le32(m->payload + 4);
        return 0;
}

static int get_vring_base(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct loop *loop = c->server->loop;
        struct vub_ring *r = find_ring(c, get_le32(m->payload), err);
        uint8_t payload[8];

        if (!r)
                return -EINVAL;
        if (!r->active) {
                vub_ring_set_kick(r, -1);
                put_le32(payload, r->index);
                put_le32(payload + 4, r->base);
                vub_conn_reply(c, m->request, payload, sizeof(payload), -1);
                return REPLIED;
        }
        r->stopping = true;
        r->look = true;
        c->draining = r;
        loop_timer_arm(loop, &c->hold,
                       loop_now_ns(loop) + c->server->options.hold_timeout_ms * UINT64_C(1000000));
        vub_conn_wake(c);
        return REPLIED;
}

/* KICK, CALL and ERR: which ring; its eventfd, if any, is sound. NULL with text. */
static struct vub_ring *vring_fd(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint64_t v = get_le64(m->payload);
        struct vub_ring *r = find_ring(c, (uint32_t)(v & VUB_VRING_INDEX_MASK), err);

        if (!r)
                return NULL;
        if (c->nfds != (v & VUB_VRING_NOFD ? 0 : 1)) {
                err_set(err, EINVAL, "ring %u: %d descriptors", r->index, c->nfds);
                return NULL;
        }
        return c->nfds == 0 || check_eventfd(c->fds[0], err) == 0 ? r : NULL;
}

static int set_vring_kick(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_ring *r = vring_fd(c, m, err);

        if (!r)
                return -EINVAL;
        if (c->nfds == 0)
                return err_set(err, ENOTSUP, "ring %u without a kick: polling is not offered",
                               r->index);
        vub_ring_set_kick(r, take_fd(c));
        return vub_ring_try_start(r, err);
}

static int set_vring_call(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_ring *r = vring_fd(c, m, err);
        uint64_t one = 1;

        if (!r)
                return -EINVAL;
        replace_fd(&r->call_fd, take_fd(c));
        /* An earlier life of ours may have published without coming to signal. */
        if (r->call_fd >= 0)
                (void)!write(r->call_fd, &one, sizeof(one));
        return 0;
}

static int set_vring_err(struct vub_conn *c, const struct message *m, struct err *err)
{
        struct vub_ring *r = vring_fd(c, m, err);

        if (!r)
                return -EINVAL;
        replace_fd(&r->err_fd, take_fd(c));
        return 0;
}

static int set_vring_enable(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint32_t enable = get_le32(m->payload + 4);
        struct vub_ring *r = find_ring(c, get_le32(m->payload), err);

        if (!r)
                return -EINVAL;
        if (enable > 1)
                return err_set(err, EINVAL, "ring %u: enable %u", r->index, enable);
        r->enabled = enable;
        if (enable && r->active) { /* what came meanwhile was kicked in vain */
                r->look = true;
                vub_conn_wake(c);
        }
        return vub_ring_try_start(r, err);
}

/* ---- configuration space ---- */

static int get_config(struct vub_conn *c, const struct message *m, struct err *err)
{
        uint8_t config[VUB_CONFIG_MAX], payload[VUB_CONFIG_HEADER + VUB_CONFIG_MAX];
        uint32_t offset = get_le32(m->payload), size = get_le32(m->payload + 4);

        memcpy(payload, m->payload, VUB_CONFIG_HEADER);
        if (offset > VUB_CONFIG_MAX || size > VUB_CONFIG_MAX - offset ||
            m->len != VUB_CONFIG_HEADER + size) {
                vub_conn_reply(c, m->request, payload, 0, -1); /* empty: refused */
                return REPLIED;
        }
        vub_blk_config(c->server, config);
        memcpy(payload + VUB_CONFIG_HEADER, config + offset, size);
        vub_conn_reply(c, m->request, payload, VUB_CONFIG_HEADER + size, -1);
        return REPLIED;
}

static int set_config(struct vub_conn *c, const struct message *m, struct err *err)
{
        return err_set(err, ENOTSUP, "the configuration is read-only");
}

/* ---- table ---- */

static const struct handler {
        uint32_t request;
        uint32_t min_len, max_len;
        int min_fds, max_fds;
        int (*handle)(struct vub_conn *c, const struct message *m, struct err *err);
} handlers[] = {
    {VUB_GET_FEATURES, 0, 0, 0, 0, get_features},
    {VUB_SET_FEATURES, 8, 8, 0, 0, set_features},
    {VUB_SET_OWNER, 0, 0, 0, 0, nothing},
    {VUB_RESET_OWNER, 0, 0, 0, 0, nothing},
    {VUB_SET_MEM_TABLE, 8, 8 + VUB_MAX_REGIONS *VUB_REGION_BYTES, 0, VUB_MAX_REGIONS,
     set_mem_table},
    {VUB_SET_LOG_BASE, 16, 16, 0, 1, set_log_base},
    {VUB_SET_LOG_FD, 0, 8, 0, 1, nothing},
    {VUB_SET_VRING_NUM, 8, 8, 0, 0, set_vring_num},
    {VUB_SET_VRING_ADDR, 40, 40, 0, 0, set_vring_addr},
    {VUB_SET_VRING_BASE, 8, 8, 0, 0, set_vring_base},
    {VUB_GET_VRING_BASE, 8, 8, 0, 0, get_vring_base},
    {VUB_SET_VRING_KICK, 8, 8, 0, 1, set_vring_kick},
    {VUB_SET_VRING_CALL, 8, 8, 0, 1, set_vring_call},
    {VUB_SET_VRING_ERR, 8, 8, 0, 1, set_vring_err},
    {VUB_GET_PROTOCOL_FEATURES, 0, 0, 0, 0, get_protocol_features},
    {VUB_SET_PROTOCOL_FEATURES, 8, 8, 0, 0, set_protocol_features},
    {VUB_GET_QUEUE_NUM, 0, 0, 0, 0, get_queue_num},
    {VUB_SET_VRING_ENABLE, 8, 8, 0, 0, set_vring_enable},
    {VUB_SET_BACKEND_REQ_FD, 0, 8, 1, 1, set_backend_req_fd},
    {VUB_GET_CONFIG, VUB_CONFIG_HEADER, VUB_CONFIG_HEADER + VUB_CONFIG_MAX, 0, 0, get_config},
    {VUB_SET_CONFIG, VUB_CONFIG_HEADER, VUB_CONFIG_HEADER + VUB_CONFIG_MAX, 0, 0, set_config},
    {VUB_GET_INFLIGHT_FD, VUB_INFLIGHT_BYTES_PACKED, VUB_INFLIGHT_BYTES, 0, 0, get_inflight_fd},
    {VUB_SET_INFLIGHT_FD, VUB_INFLIGHT_BYTES_PACKED, VUB_INFLIGHT_BYTES, 1, 1, set_inflight_fd},
};

int vub_dispatch(struct vub_conn *c, uint32_t request, uint32_t flags, const uint8_t *payload,
                 uint32_t len, struct err *err)
{
        const struct message m = {
            .request = request, .flags = flags, .payload = payload, .len = len};
        const struct handler *h = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
                if (handlers[i].request == request)
                        h = &handlers[i];
        if (!h)
                return err_set(err, EPROTO, "message %u is not known", request);
        if (len < h->min_len || len > h->max_len || c->nfds < h->min_fds || c->nfds > h->max_fds)
                return err_set(err, EPROTO, "message %u of %u bytes with %d descriptors", request,
                               len, c->nfds);

        int rc = h->handle(c, &m, err);
        bool ack = flags & VUB_FLAG_NEED_REPLY && c->protocol & VUB_P_REPLY_ACK;
        if (rc == REPLIED)
                return 0;
        if (rc == 0) {
                if (ack)
                        reply_u64(c, request, 0);
                return 0;
        }
        err_prefix(err, "message %u", request);
        /* These have replies of their own: an acknowledgement would be taken for one. */
        if (!ack || request == VUB_SET_LOG_BASE || request == VUB_GET_INFLIGHT_FD ||
            request == VUB_GET_VRING_BASE)
                return rc;
        vub_server_trouble(c->server, err);
        reply_u64(c, request, 1);
        return 0;
}
