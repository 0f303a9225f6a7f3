/* A descriptor chain, copied out of the guest and checked in full.
 *
 * Everything the guest wrote is read once, into `struct vub_chain`; addresses are translated and
 * bounded by the memory table. Only the data buffers stay in guest memory.
 */
#ifndef ZONEPOOL_VHOST_USER_CHAIN_H
#define ZONEPOOL_VHOST_USER_CHAIN_H

#include "frontend/vhost_user/mem.h"

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
        VUB_MAX_RING = 1024,
        VUB_MAX_IOV = 160, /* 128 descriptors, and what is split at the seams of regions */
};

struct vub_chain {
        uint16_t nout, nin; /* iov: first those the device reads, then those it writes */
        uint64_t out_bytes, in_bytes;
        struct iovec iov[VUB_MAX_IOV];
        uint64_t gpa[VUB_MAX_IOV]; /* of each iov's first byte */
};

/* table: the ring's descriptor table of num entries, mapped. 0, or -EBADMSG with text when the
 * chain breaks the rules of virtio or points outside guest memory. */
int vub_chain_read(const struct vub_mem *mem, const uint8_t *table, uint16_t num, uint16_t head,
                   bool indirect_allowed, struct vub_chain *chain, struct err *err);

/* Takes n bytes off the front of what the device reads. false: fewer are there. */
bool vub_chain_take_out(struct vub_chain *chain, void *buf, size_t n);
/* Takes the last byte of what the device writes. NULL: there is none. */
uint8_t *vub_chain_take_status(struct vub_chain *chain, uint64_t *ret_gpa);
static inline struct iovec *vub_chain_in(struct vub_chain *chain)
{
        return chain->iov + chain->nout;
}

#endif
