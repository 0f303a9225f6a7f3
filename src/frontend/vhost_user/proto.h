/* The vhost-user wire format, as far as a block device needs it ("Vhost-user Protocol" of the QEMU
 * documentation; virtio 1.2 for bits below 24 and from 28 on).
 *
 * Integers are in the byte order of the machine; zonepool runs on little-endian machines only, so
 * base/le.h reads them. A message is a header and a payload:
 *
 *   offset size meaning
 *   0      4    request (enum vub_request)
 *   4      4    flags: bits 0-1 version (1), bit 2 reply, bit 3 the sender wants a reply
 *   8      4    payload bytes
 *
 * Payloads (offset size meaning):
 *   u64           0 8 value
 *   vring state   0 4 ring; 4 4 number
 *   vring fd      0 8 bits 0-7 ring, bit 8: no descriptor attached
 *   vring addr    0 4 ring; 4 4 flags (bit 0: log the used ring); 8 8 descriptor table, 16 8 used
 *                 ring, 24 8 available ring (addresses of the peer's process); 32 8 guest physical
 *                 address of the used ring, for the log
 *   memory table  0 4 regions; 4 4 zero; then 32 a region: 0 8 guest address; 8 8 size; 16 8
 * address in the peer's process; 24 8 offset in the descriptor. One descriptor a region log 0 8
 * bytes; 8 8 offset in the descriptor config        0 4 offset; 4 4 size; 8 4 flags; 12 size bytes
 *   inflight      0 8 bytes; 8 8 offset; 16 2 queues; 18 2 ring size; 20 4 padding (sent by QEMU,
 *                 because its struct is not packed; both lengths are taken)
 */
#ifndef ZONEPOOL_VHOST_USER_PROTO_H
#define ZONEPOOL_VHOST_USER_PROTO_H

#include <stdint.h>

enum vub_request {
        VUB_GET_FEATURES = 1,
        VUB_SET_FEATURES = 2,
        VUB_SET_OWNER = 3,
        VUB_RESET_OWNER = 4,
        VUB_SET_MEM_TABLE = 5,
        VUB_SET_LOG_BASE = 6,
        VUB_SET_LOG_FD = 7,
        VUB_SET_VRING_NUM = 8,
        VUB_SET_VRING_ADDR = 9,
        VUB_SET_VRING_BASE = 10,
        VUB_GET_VRING_BASE = 11,
        VUB_SET_VRING_KICK = 12,
        VUB_SET_VRING_CALL = 13,
        VUB_SET_VRING_ERR = 14,
        VUB_GET_PROTOCOL_FEATURES = 15,
        VUB_SET_PROTOCOL_FEATURES = 16,
        VUB_GET_QUEUE_NUM = 17,
        VUB_SET_VRING_ENABLE = 18,
        VUB_SET_BACKEND_REQ_FD = 21,
        VUB_GET_CONFIG = 24,
        VUB_SET_CONFIG = 25,
        VUB_GET_INFLIGHT_FD = 31,
        VUB_SET_INFLIGHT_FD = 32,
};

/* What we send over the backend channel. */
enum { VUB_BACKEND_CONFIG_CHANGE = 2 };

enum {
        VUB_HEADER_BYTES = 12,
        VUB_PAYLOAD_MAX = 512, /* longer ones are not ours: the connection is closed */
        VUB_CONFIG_MAX = 256,
        VUB_CONFIG_HEADER = 12,
        VUB_REGION_BYTES = 32,
        VUB_INFLIGHT_BYTES = 24,
        VUB_INFLIGHT_BYTES_PACKED = 20,

        VUB_FLAG_VERSION = 1,
        VUB_FLAG_VERSION_MASK = 3,
        VUB_FLAG_REPLY = 1 << 2,
        VUB_FLAG_NEED_REPLY = 1 << 3,

        VUB_VRING_INDEX_MASK = 0xff,
        VUB_VRING_NOFD = 1 << 8,
        VUB_VRING_LOG = 1 << 0,
};

/* Device features. */
#define VUB_F_BLK_SIZE_MAX (UINT64_C(1) << 1)
#define VUB_F_BLK_SEG_MAX (UINT64_C(1) << 2)
#define VUB_F_BLK_BLK_SIZE (UINT64_C(1) << 6)
#define VUB_F_BLK_FLUSH (UINT64_C(1) << 9)
#define VUB_F_BLK_TOPOLOGY (UINT64_C(1) << 10)
#define VUB_F_BLK_MQ (UINT64_C(1) << 12)
#define VUB_F_BLK_DISCARD (UINT64_C(1) << 13)
#define VUB_F_BLK_WRITE_ZEROES (UINT64_C(1) << 14)
#define VUB_F_LOG_ALL (UINT64_C(1) << 26)
#define VUB_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VUB_F_EVENT_IDX (UINT64_C(1) << 29)
#define VUB_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define VUB_F_VERSION_1 (UINT64_C(1) << 32)

#define VUB_FEATURES                                                                               \
        (VUB_F_BLK_SIZE_MAX | VUB_F_BLK_SEG_MAX | VUB_F_BLK_BLK_SIZE | VUB_F_BLK_FLUSH |           \
         VUB_F_BLK_TOPOLOGY | VUB_F_BLK_MQ | VUB_F_BLK_DISCARD | VUB_F_BLK_WRITE_ZEROES |          \
         VUB_F_LOG_ALL | VUB_F_INDIRECT_DESC | VUB_F_EVENT_IDX | VUB_F_PROTOCOL_FEATURES |         \
         VUB_F_VERSION_1)

/* Protocol features. */
#define VUB_P_MQ (UINT64_C(1) << 0)
#define VUB_P_LOG_SHMFD (UINT64_C(1) << 1)
#define VUB_P_REPLY_ACK (UINT64_C(1) << 3)
#define VUB_P_BACKEND_REQ (UINT64_C(1) << 5)
#define VUB_P_CONFIG (UINT64_C(1) << 9)
#define VUB_P_INFLIGHT_SHMFD (UINT64_C(1) << 12)

#define VUB_PROTOCOL_FEATURES                                                                      \
        (VUB_P_MQ | VUB_P_LOG_SHMFD | VUB_P_REPLY_ACK | VUB_P_BACKEND_REQ | VUB_P_CONFIG |         \
         VUB_P_INFLIGHT_SHMFD)

#endif
