/* NVMe commands as bytes: the 64-byte submission entry, its fields, opcodes and status codes.
 *
 * Everything is little-endian and goes through base/le.h. References: NVM Express Base 2.3 and NVM
 * Command Set 1.2, by section or figure subject; names are ours where the specification's are long.
 *
 * Submission entry (Base, "Common Command Format"):
 *
 *   offset  size  meaning
 *   0       1     opcode; its two low bits code the direction of the data
 *   1       1     fused, PRP or SGL
 *   2       2     command identifier (not used: a request is its own identity)
 *   4       4     NSID
 *   8       16    CDW2, CDW3, metadata pointer (not used)
 *   24      16    data pointer; only Controller Data Queue create reads it (PRP1)
 *   40      24    CDW10 .. CDW15
 */
#ifndef ZONEPOOL_NVME_COMMAND_H
#define ZONEPOOL_NVME_COMMAND_H

#include "base/le.h"

#include <stdbool.h>

enum {
        NVME_SQE_SIZE = 64,
        NVME_SQE_NSID = 4,
        NVME_SQE_PRP1 = 24,
        NVME_IDENTIFY_SIZE = 4096,
        NVME_PAGE_SIZE = 4096, /* of the management controller (CC.MPS = 0) */
        NVME_NSID_ALL = -1, /* FFFFFFFFh, as the signed value of the field */
};

enum nvme_admin_opcode {
        NVME_ADMIN_GET_LOG_PAGE = 0x02,
        NVME_ADMIN_IDENTIFY = 0x06,
        NVME_ADMIN_SET_FEATURES = 0x09,
        NVME_ADMIN_GET_FEATURES = 0x0a,
        NVME_ADMIN_ASYNC_EVENT = 0x0c,
        NVME_ADMIN_TRACK_SEND = 0x3d,
        NVME_ADMIN_TRACK_RECEIVE = 0x3e,
        NVME_ADMIN_MIGRATION_SEND = 0x41,
        NVME_ADMIN_MIGRATION_RECEIVE = 0x42,
        NVME_ADMIN_DATA_QUEUE = 0x45,
        NVME_ADMIN_SANITIZE = 0x84,
        NVME_ADMIN_GET_LBA_STATUS = 0x86,
};

enum nvme_io_opcode {
        NVME_IO_FLUSH = 0x00,
        NVME_IO_WRITE = 0x01,
        NVME_IO_READ = 0x02,
        NVME_IO_WRITE_ZEROES = 0x08,
        NVME_IO_DSM = 0x09,
};

enum {
        NVME_FID_DATA_QUEUE = 0x21, /* head pointer and tail trigger */
        NVME_AET_ONE_SHOT = 4,
        NVME_AEI_CDQ_TAIL = 0,
        NVME_AEI_CDQ_FULL = 1,
        NVME_ATYPE_ALLOCATED = 2,
        NVME_LBARS_ALLOCATED = 2,
};

/* Status: SCT in bits 10:8, SC in bits 7:0, Do Not Retry in bit 14: the layout of the completion's
 * status field without its phase bit, and what libnvme returns. */
enum nvme_status {
        NVME_SC_SUCCESS = 0x000,
        NVME_SC_INVALID_OPCODE = 0x001,
        NVME_SC_INVALID_FIELD = 0x002,
        NVME_SC_INTERNAL = 0x006,
        NVME_SC_ABORT_REQUESTED = 0x007,
        NVME_SC_ABORT_QUEUE_DELETED = 0x008,
        NVME_SC_INVALID_NAMESPACE = 0x00b,
        NVME_SC_SEQUENCE = 0x00c,
        NVME_SC_PRP_OFFSET = 0x013,
        NVME_SC_WRITE_PROTECTED = 0x020,
        NVME_SC_LBA_RANGE = 0x080,
        NVME_SC_CAPACITY = 0x081,
        NVME_SC_AER_LIMIT = 0x105,
        NVME_SC_INVALID_LOG_PAGE = 0x109,
        NVME_SC_INVALID_CONTROLLER = 0x11f,
        NVME_SC_INVALID_CDQ = 0x137,
        NVME_SC_NO_RESOURCES = 0x138,
        NVME_SC_SUSPENDED = 0x139,
        NVME_SC_NOT_SUSPENDED = 0x13a,
        NVME_SC_CDQ_FULL = 0x13b,
        NVME_SC_WRITE_FAULT = 0x280,
        NVME_SC_READ_ERROR = 0x281,
        NVME_SC_MASK = 0x7ff, /* SCT and SC */
        NVME_SC_DNR = 0x4000,
};

static inline uint8_t nvme_sqe_opcode(const uint8_t *sqe)
{
        return sqe[0];
}

static inline uint32_t nvme_sqe_nsid(const uint8_t *sqe)
{
        return get_le32(sqe + NVME_SQE_NSID);
}

/* n: 10..15 */
static inline uint32_t nvme_sqe_cdw(const uint8_t *sqe, unsigned n)
{
        return get_le32(sqe + 4 * n);
}

/* CDWn and CDWn+1 as one number */
static inline uint64_t nvme_sqe_cdw64(const uint8_t *sqe, unsigned n)
{
        return get_le64(sqe + 4 * n);
}

static inline void nvme_sqe_set_cdw(uint8_t *sqe, unsigned n, uint32_t v)
{
        put_le32(sqe + 4 * n, v);
}

static inline void nvme_sqe_set_cdw64(uint8_t *sqe, unsigned n, uint64_t v)
{
        put_le64(sqe + 4 * n, v);
}

/* Clears the entry and sets what every command has. */
static inline void nvme_sqe_init(uint8_t *sqe, uint8_t opcode, uint32_t nsid)
{
        memset(sqe, 0, NVME_SQE_SIZE);
        sqe[0] = opcode;
        put_le32(sqe + NVME_SQE_NSID, nsid);
}

/* Bits hi..lo of v. */
static inline uint32_t nvme_bits(uint32_t v, unsigned hi, unsigned lo)
{
        return (uint32_t)(((uint64_t)v >> lo) & ((UINT64_C(1) << (hi - lo + 1)) - 1));
}

#endif
