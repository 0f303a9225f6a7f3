/* Reading of descriptor chains, see chain.h (virtio 1.2, section 2.7.5).
 *
 * A chain ends because every step consumes one of at most `num` (in an indirect table: its length)
 * steps, whatever the guest writes into the table meanwhile.
 *
 * Left out on purpose: more than 128 descriptors in one request (the device announces 126 data
 * segments), indirect tables above 1024 entries.
 */
#include "frontend/vhost_user/chain.h"

#include "base/cleanup.h"
#include "base/le.h"

#include <errno.h>

enum {
        DESC_BYTES = 16,
        DESC_F_NEXT = 1,
        DESC_F_WRITE = 2,
        DESC_F_INDIRECT = 4,
        MAX_DESCS = 128,
        MAX_INDIRECT = 1024,
};

struct desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags;
        uint16_t next;
};

/* Where descriptors come from: the ring's table, or an indirect one in guest memory. */
struct source {
        const struct vub_mem *mem;
        const uint8_t *table; /* NULL: indirect */
        uint64_t gpa;
        uint32_t num;
};

static int fetch(const struct source *src, uint32_t i, struct desc *ret)
{
        uint8_t raw[DESC_BYTES];

        if (src->table) {
                memcpy(raw, src->table + (size_t)DESC_BYTES * i, sizeof(raw));
                /* The copy is what counts: no second look at the guest's memory. */
                __asm__ volatile("" ::: "memory");
        } else if (vub_mem_read(src->mem, src->gpa + (uint64_t)DESC_BYTES * i, raw, sizeof(raw)) <
                   0) {
                return -EFAULT;
        }
        *ret = (struct desc){.addr = get_le64(raw),
                             .len = get_le32(raw + 8),
                             .flags = get_le16(raw + 12),
                             .next = get_le16(raw + 14)};
        return 0;
}

/* Adds one buffer, split where regions end, merged where it continues the one before. */
static int add_buffer(const struct vub_mem *mem, struct vub_chain *c, const struct desc *d,
                      struct err *err)
{
        bool in = d->flags & DESC_F_WRITE;
        uint64_t gpa = d->addr, left = d->len, end;

        if (!in && c->nin > 0)
                return err_set(err, EBADMSG, "a readable buffer follows a writable one");
        if (__builtin_add_overflow(gpa, left, &end))
                return err_set(err, EBADMSG, "buffer at guest address %#lx wraps",
                               (unsigned long)gpa);
        while (left > 0) {
                uint64_t run;
                uint8_t *host = vub_mem_at(mem, gpa, &run);
                uint16_t n = (uint16_t)(c->nout + c->nin);
                if (!host)
                        return err_set(
                            err, EBADMSG,
                            "buffer of %u bytes at guest address %#lx is outside guest memory",
                            d->len, (unsigned long)d->addr);
                run = MIN(run, left);
                struct iovec *last = n > 0 ? &c->iov[n - 1] : NULL;
                bool same = last && (in ? c->nin > 0 : true) &&
                            (uint8_t *)last->iov_base + last->iov_len == host &&
                            c->gpa[n - 1] + last->iov_len == gpa;
                if (same) {
                        last->iov_len += run;
                } else {
                        if (n == VUB_MAX_IOV)
                                return err_set(err, EBADMSG, "request has too many segments");
                        c->iov[n] = (struct iovec){.iov_base = host, .iov_len = run};
                        c->gpa[n] = gpa;
                        if (in)
                                c->nin++;
                        else
                                c->nout++;
                }
                *(in ? &c->in_bytes : &c->out_bytes) += run;
                gpa += run;
                left -= run;
        }
        return 0;
}

static int enter_indirect(struct source *src, const struct desc *d, bool allowed, struct err *err)
{
        if (!allowed || !src->table)
                return err_set(err, EBADMSG, "indirect table where none is allowed");
        if (d->flags & DESC_F_NEXT)
                return err_set(err, EBADMSG, "indirect descriptor that claims a successor");
        if (d->len == 0 || d->len % DESC_BYTES != 0 || d->len / DESC_BYTES > MAX_INDIRECT)
                return err_set(err, EBADMSG, "indirect table of %u bytes", d->len);
        if (d->addr > UINT64_MAX - d->len)
                return err_set(err, EBADMSG, "indirect table wraps");
        src->table = NULL;
        src->gpa = d->addr;
        src->num = d->len / DESC_BYTES;
        return 0;
}

int vub_chain_read(const struct vub_mem *mem, const uint8_t *table, uint16_t num, uint16_t head,
                   bool indirect_allowed, struct vub_chain *chain, struct err *err)
{
        struct source src = {.mem = mem, .table = table, .num = num};
        uint32_t i = head, steps = 0, buffers = 0;

        chain->nout = chain->nin = 0;
        chain->out_bytes = chain->in_bytes = 0;
        for (;;) {
                struct desc d;
                if (i >= src.num)
                        return err_set(err, EBADMSG, "descriptor %u of a table of %u", i, src.num);
                if (++steps > src.num)
                        return err_set(err, EBADMSG, "descriptors form a loop");
                if (fetch(&src, i, &d) < 0)
                        return err_set(err, EBADMSG, "indirect table is outside guest memory");
                if (d.flags & DESC_F_INDIRECT) {
                        int rc = enter_indirect(&src, &d, indirect_allowed, err);
                        if (rc < 0)
                                return rc;
                        i = steps = 0;
                        continue;
                }
                if (++buffers > MAX_DESCS)
                        return err_set(err, EBADMSG, "request of more than %d descriptors",
                                       MAX_DESCS);
                int rc = add_buffer(mem, chain, &d, err);
                if (rc < 0)
                        return rc;
                if (!(d.flags & DESC_F_NEXT))
                        return 0;
                i = d.next;
        }
}

bool vub_chain_take_out(struct vub_chain *chain, void *buf, size_t n)
{
        uint8_t *to = buf;
        uint16_t gone = 0;

        if (chain->out_bytes < n)
                return false;
        chain->out_bytes -= n;
        while (n > 0) {
                struct iovec *v = &chain->iov[gone];
                size_t part = MIN(n, v->iov_len);
                memcpy(to, v->iov_base, part);
                to += part;
                n -= part;
                v->iov_base = (uint8_t *)v->iov_base + part;
                v->iov_len -= part;
                chain->gpa[gone] += part;
                if (v->iov_len == 0)
                        gone++;
        }
        __asm__ volatile("" ::: "memory");
        if (gone > 0) {
                uint16_t left = (uint16_t)(chain->nout + chain->nin - gone);
                memmove(chain->iov, chain->iov + gone, left * sizeof(chain->iov[0]));
                memmove(chain->gpa, chain->gpa + gone, left * sizeof(chain->gpa[0]));
                chain->nout = (uint16_t)(chain->nout - gone);
        }
        return true;
}

uint8_t *vub_chain_take_status(struct vub_chain *chain, uint64_t *ret_gpa)
{
        if (chain->nin == 0)
                return NULL;
        uint16_t last = (uint16_t)(chain->nout + chain->nin - 1);
        struct iovec *v = &chain->iov[last];
        v->iov_len--;
        chain->in_bytes--;
        *ret_gpa = chain->gpa[last] + v->iov_len;
        uint8_t *status = (uint8_t *)v->iov_base + v->iov_len;
        if (v->iov_len == 0)
                chain->nin--;
        return status;
}
