/* Where the migration engine sends its NVMe commands: the software subsystem, or hardware.
 *
 * The engine speaks 64-byte commands of NVMe Base 2.3 and NVM 1.2 to one management controller
 * (MMC) and does not know what stands behind. Admin and NVM I/O commands go the same way.
 *
 * A Controller Data Queue needs memory that the controller keeps writing to: `cdq_alloc` gives it.
 *
 * Threads: the loop's; done is never called from inside submit.
 */
#ifndef ZONEPOOL_MIGRATE_NVME_TARGET_H
#define ZONEPOOL_MIGRATE_NVME_TARGET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nvme_target;
struct loop;
struct nvm_subsystem;

struct nvme_request {
        uint8_t sqe[64]; /* little-endian as the specification has it; data pointer ignored */
        bool admin;
        void *data; /* in or out by the opcode; valid until done */
        size_t len;
        /* status: the completion's status field without phase (SCT << 8 | SC, DNR as 0x4000); 0
         * success. Negative: -errno of the way to the controller. */
        void (*done)(struct nvme_request *r, int status, uint32_t dw0);
        void *ctx;
        uint64_t priv[4]; /* the target's while submitted */
};

struct nvme_target_ops {
        const char *kind; /* "software", "libnvme" */
        void (*submit)(struct nvme_target *t, struct nvme_request *r);
        /* Zeroed, page-aligned memory that Create CDQ may name in PRP1 (ret_prp1). NULL: this
         * target cannot have one; err says why. */
        void *(*cdq_alloc)(struct nvme_target *t, size_t len, uint64_t *ret_prp1, struct err *err);
        void (*cdq_free)(struct nvme_target *t, void *mem, size_t len);
        void (*close)(struct nvme_target *t); /* nothing is in flight */
};

struct nvme_target {
        const struct nvme_target_ops *ops;
};

/* The subsystem's management controller. */
int nvme_target_soft(struct nvm_subsystem *subsystem, struct nvme_target **ret_target);
/* /dev/nvmeN through the kernel's passthrough, on a helper thread. Has no Controller Data Queue: a
 * stock kernel unmaps the queue's memory when the command ends, so creating one would let the
 * device write into memory that is no longer ours. */
int nvme_target_hardware(struct loop *loop, const char *path, struct nvme_target **ret_target,
                         struct err *err);

static inline void nvme_target_close(struct nvme_target *t)
{
        if (t)
                t->ops->close(t);
}

#endif
