/* libnvme behind plain types: its header and command.h name the same things. Blocking calls,
 * from any thread. */
#ifndef ZONEPOOL_MIGRATE_NVME_PASSTHRU_H
#define ZONEPOOL_MIGRATE_NVME_PASSTHRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether fd is a controller with host-managed live migration: 1, 0, or -1 not an NVMe controller.
 */
int nvme_passthru_probe(int fd);
/* The namespace of a block device. Returns 0 or -1. */
int nvme_passthru_nsid(int fd, uint32_t *ret_nsid);
/* Sends CDW10 to CDW15 of a 64-byte command. Returns the NVMe status (0 success), or -1 with errno.
 */
int nvme_passthru(int fd, bool admin, const uint8_t *sqe, void *data, size_t len,
                  uint32_t *ret_dw0);

#endif
