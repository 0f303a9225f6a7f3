/* The software NVM subsystem: one management controller (MMC), a migratable controller (MC) with
 * one namespace for each attached volume, and the commands that the migration engine drives.
 *
 * Every namespace is attached to its MC and to the MMC (shared). Commands are the 64-byte entries
 * of command.h; data is host memory in place of PRP lists. The MMC has an admin and an I/O side; an
 * MC is fed by a front end (controller.h) and answers only Identify here.
 *
 * Blocks: a namespace's LBA is 4096 bytes, the pool's block, so that one LBA is one unit of
 * tracking. A volume whose size is no multiple of that ends in a partial LBA: its missing bytes
 * read as zeroes and what is written to them is dropped.
 *
 * Threads: the loop's. `done` never comes from inside the call that asked.
 */
#ifndef ZONEPOOL_NVME_SUBSYSTEM_H
#define ZONEPOOL_NVME_SUBSYSTEM_H

#include "base/list.h"
#include "base/loop.h"
#include "nvme/command.h"
#include "nvme/controller.h"

enum {
        NVM_MMC_CNTLID = 1,
        NVM_BLOCK = 4096, /* bytes of an LBA of a namespace */
        NVM_MAX_CONTROLLERS = 1024, /* migratable ones */
        NVM_MDTS = 8, /* largest transfer of a command: 2^8 pages */
        NVM_MAX_TRANSFER = 4096 << NVM_MDTS,
        NVM_MAX_AER = 16,
};

/* One command under way. The caller owns it and what data points to until done. */
struct nvm_request {
        uint8_t sqe[NVME_SQE_SIZE];
        void *data; /* host memory; direction by the opcode */
        size_t data_len;
        void (*done)(struct nvm_request *req);
        void *ctx;

        /* the completion */
        uint16_t status; /* NVME_SC_..., with NVME_SC_DNR where a retry is pointless */
        uint32_t dw0, dw1;

        /* the subsystem's while under way */
        struct list node;
        void *priv;
};

/* What becomes a namespace. */
struct nvm_namespace_spec {
        const struct nvm_backing_ops *ops; /* outlives the controller */
        void *backing;
        struct uuid uuid; /* the volume's: Namespace UUID */
};

/* host_uuid makes the subsystem's NQN and serial number. Returns 0 or -errno. */
int nvm_subsystem_new(struct loop *loop, const struct uuid *host_uuid,
                      struct nvm_subsystem **ret_subsystem);
/* NULL is accepted. Every controller must have been destroyed. Waiting Asynchronous Event Requests
 * are dropped without a call. */
void nvm_subsystem_free(struct nvm_subsystem *s);

/* Makes an MC and its namespace; the gate is shut. CNTLIDs and NSIDs are unique in the subsystem
 * and not reused while others are left. Returns 0, -ENOMEM, -ENOSPC (NVM_MAX_CONTROLLERS), -EEXIST
 * (the UUID is attached already). */
int nvm_controller_create(struct nvm_subsystem *s, const struct nvm_namespace_spec *spec,
                          struct nvm_controller **ret_controller, struct err *err);
/* Destroys both, its change log and data queue. -EBUSY with text, and nothing changed, while a
 * front end is attached or a request of any controller to the namespace is under way. Not from
 * within the completion of such a request. */
int nvm_controller_destroy(struct nvm_controller *c, struct err *err);

uint32_t nvc_nsid(const struct nvm_controller *c);
const struct uuid *nvc_uuid(const struct nvm_controller *c);
/* NULL: none */
struct nvm_controller *nvm_controller_by_cntlid(struct nvm_subsystem *s, uint16_t cntlid);
struct nvm_controller *nvm_controller_by_uuid(struct nvm_subsystem *s, const struct uuid *uuid);

/* Admin command of controller cntlid. What each does and refuses: docs/nvme.md. A Suspend stays
 * under way until everything in flight is done, an Asynchronous Event Request until an event. */
void nvm_admin_submit(struct nvm_subsystem *s, uint16_t cntlid, struct nvm_request *req);

/* I/O command of the MMC: Flush, Write, Read, Write Zeroes, Dataset Management. Not held up by the
 * gate or a suspended MC and not logged: only what an MC processes is. */
void nvm_io_submit(struct nvm_subsystem *s, struct nvm_request *req);

/* Controller Level Reset. Of an MC: it is no longer suspended, staged state is dropped. Of the MMC:
 * its data queues are deleted, waiting Asynchronous Event Requests aborted, MCs no longer
 * suspended. */
void nvm_controller_reset(struct nvm_subsystem *s, uint16_t cntlid);

/* The memory that the MMC may write unasked, as an IOMMU would hold it: a data queue must lie
 * inside one such range, and its PRP1 is its address in this process. base and len are multiples of
 * 4096. Returns 0, -EINVAL, -ENOMEM. */
int nvm_dma_map(struct nvm_subsystem *s, void *base, size_t len);
/* -EBUSY while a data queue lies inside; -ENOENT. */
int nvm_dma_unmap(struct nvm_subsystem *s, void *base);

#endif
