/* The in-flight region: what lets a guest go on when this process dies and comes back.
 *
 * Shared memory that the peer keeps across our restarts ("Inflight I/O tracking", split ring, of
 * the vhost-user specification). Each ring has its own part, each rounded up to 64 bytes:
 *
 *   offset size meaning
 *   0      8    features: 0
 *   8      2    version: 1; 0: never used
 *   10     2    ring size
 *   12     2    head of the batch completed last
 *   14     2    used index after the batch completed last
 *   16     16*n a descriptor: 0 1 in flight; 1 5 padding; 6 2 next head of its batch; 8 8 counter
 *
 * Crash behaviour, by order of stores: a request is marked before it is submitted. A batch is
 * linked from its last head, then the used index is published to the guest, then the marks are
 * cleared, then the used index is stored here. On restart, if the two used indices differ, the
 * linked batch reached the guest and its marks are cleared; what is marked then is submitted again
 * in the order of counters. A killed process loses no store it made, so the compiler's order is all
 * that must be held.
 *
 * Threads: the loop's. The peer could write the region: every field read is bounded.
 */
#ifndef ZONEPOOL_VHOST_USER_INFLIGHT_H
#define ZONEPOOL_VHOST_USER_INFLIGHT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All rings' parts. */
struct vub_inflight {
        void *map; /* NULL: the peer keeps none */
        size_t map_len;
        uint8_t *base;
        uint16_t nqueues;
        uint16_t ring_size;
};

/* One ring's part. base is NULL when the ring is not tracked. */
struct vub_inflight_ring {
        uint8_t *base;
        uint16_t num;
        uint64_t counter; /* of the request marked last */
};

uint64_t vub_inflight_bytes(uint16_t nqueues, uint16_t ring_size);
/* A new, sealed, zeroed region to give to the peer. Returns its descriptor or -errno with text. */
int vub_inflight_create(uint64_t bytes, struct err *err);
/* Maps what the peer kept; fd stays the caller's. Returns 0 or -errno with text (in unchanged). */
int vub_inflight_set(struct vub_inflight *in, int fd, uint64_t size, uint64_t offset,
                     uint16_t nqueues, uint16_t ring_size, struct err *err);
/* Accepts a zeroed struct. */
void vub_inflight_fini(struct vub_inflight *in);

/* Takes up ring `index` whose used index in guest memory is used_idx: settles the batch that was on
 * its way and lists the heads to submit again, oldest first. heads has room for num.
 * Returns their number, or -EINVAL when the region cannot hold this ring. */
int vub_inflight_resume(const struct vub_inflight *in, uint16_t index, uint16_t num,
                        uint16_t used_idx, struct vub_inflight_ring *ret_ring, uint16_t *heads);

/* A request was taken off the ring. Before it is submitted. */
void vub_inflight_mark(struct vub_inflight_ring *ring, uint16_t head);
/* A request of the batch that is about to be published. */
void vub_inflight_link(struct vub_inflight_ring *ring, uint16_t head);
/* It was published. For each, then vub_inflight_published. */
void vub_inflight_clear(struct vub_inflight_ring *ring, uint16_t head);
void vub_inflight_published(struct vub_inflight_ring *ring, uint16_t used_idx);

#endif
