/* The saved state of a controller: the Controller State structure of Migration Send and Receive.
 *
 *   offset  size  meaning
 *   0       2     version, 0
 *   2       1     bit 0: suspended while it was read
 *   3       13    0
 *   16      16    dwords of the NVMe part (128 bits)
 *   32      16    dwords of the vendor part (128 bits)
 *   48            NVMe part, version 0: 2 version, 2 I/O submission queues, 2 I/O completion
 * queues, 2 zero, then 24 bytes a queue then          vendor part (vendor_state.h)
 *
 * A controller behind a virtio front end has no NVMe queues: both counts are 0, and a state that
 * brings queues is refused.
 */
#ifndef ZONEPOOL_NVME_STATE_H
#define ZONEPOOL_NVME_STATE_H

#include "nvme/vendor_state.h"

#include <stdbool.h>

enum {
        NVM_STATE_VERSION = 0,
        NVM_STATE_HEADER = 48,
        NVM_STATE_NVME_SIZE = 8, /* of the NVMe part without queues */
        NVM_STATE_MAX = NVM_STATE_HEADER + NVM_STATE_NVME_SIZE + VENDOR_STATE_SIZE,
        NVM_STATE_CAP = 65536, /* the largest that is taken in */
};

/* Names the vendor part: the one entry of Identify CNS 20h. */
extern const struct uuid nvm_vendor_state_uuid;

struct nvm_state {
        bool suspended;
        bool has_nvme, has_vendor;
        struct vendor_state vendor;
};

/* Returns the bytes written. */
size_t nvm_state_encode(const struct nvm_state *state, uint8_t buf[NVM_STATE_MAX]);

/* Bytes of the whole structure by its header of NVM_STATE_HEADER bytes; -EBADMSG, -EFBIG. */
int nvm_state_size(const uint8_t *header, size_t *ret_size, struct err *err);

/* buf is the whole structure. Returns 0, -EBADMSG, -EFBIG, -EPROTONOSUPPORT (a version that is not
 * known), -ENOTSUP (it has queues). */
int nvm_state_decode(const uint8_t *buf, size_t len, struct nvm_state *ret_state, struct err *err);

#endif
