/* The vendor part of a saved controller: what our virtio disks have that NVMe has no field for.
 *
 * It is compared by the target and never applied: QEMU migrates the virtio device itself.
 *
 *   offset  size  meaning
 *   0       2     version, 1
 *   2       2     length in bytes, 56
 *   4       4     CRC32C of the whole with this field 0
 *   8       16    UUID of the volume
 *   24      8     size of the volume in bytes
 *   32      8     virtio features the guest acknowledged; 0: not known
 *   40      2     queues in use; 0: not known
 *   42      2     logical sector in bytes
 *   44      4     tracking block in bytes
 *   48      8     0
 *
 * A later version may be longer; this code refuses what it does not know.
 */
#ifndef ZONEPOOL_NVME_VENDOR_STATE_H
#define ZONEPOOL_NVME_VENDOR_STATE_H

#include "base/err.h"
#include "base/uuid.h"

#include <stddef.h>

enum { VENDOR_STATE_VERSION = 1, VENDOR_STATE_SIZE = 56, VENDOR_STATE_SECTOR = 512 };

struct vendor_state {
        struct uuid volume;
        uint64_t size_bytes;
        uint64_t features;
        uint16_t queues;
        uint16_t sector_bytes;
        uint32_t block_bytes;
};

void vendor_state_encode(const struct vendor_state *v, uint8_t buf[VENDOR_STATE_SIZE]);
/* Returns 0, -EPROTONOSUPPORT another version, -EBADMSG. */
int vendor_state_decode(const uint8_t *buf, size_t len, struct vendor_state *ret_state,
                        struct err *err);

#endif
