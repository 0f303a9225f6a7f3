/* Errors of a backing as NVMe statuses, in one table. */
#ifndef ZONEPOOL_NVME_STATUS_H
#define ZONEPOOL_NVME_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* status: 0 or -errno of a volume_io (pool/pool.h); write: of a request that changes data. */
uint16_t nvm_status_of(int status, bool write);

#endif
