/* Where the migration engine sends its NVMe commands: the software subsystem, or hardware.
 *
 * The engine speaks 64-byte commands of NVMe Base 2.3 and NVM 1.2 (nvme/command.h) to one
 * management controller (MMC) and does not know what stands behind. Requests are those of
 * nvme/subsystem.h: the caller owns one until done, which is never called from inside submit.
 *
 * A Controller Data Queue needs memory that the controller keeps writing to: cdq_alloc gives it.
 *
 * Threads: the loop's.
 */
#ifndef ZONEPOOL_MIGRATE_NVME_TARGET_H
#define ZONEPOOL_MIGRATE_NVME_TARGET_H

#include "base/err.h"
#include "nvme/subsystem.h"

struct nvme_target;

struct nvme_target_ops {
        const char *kind; /* "software", "libnvme" */
        /* admin: of the MMC; otherwise its I/O queue. The way to the controller failing is
         * NVME_SC_INTERNAL. */
        void (*submit)(struct nvme_target *t, bool admin, struct nvm_request *r);
        /* Zeroed, page-aligned memory that Create CDQ may name in PRP1 (ret_prp1). NULL: this
         * target cannot have one; err says why. */
        void *(*cdq_alloc)(struct nvme_target *t, size_t len, uint64_t *ret_prp1, struct err *err);
        void (*cdq_free)(struct nvme_target *t, void *mem, size_t len);
        void (*close)(struct nvme_target *t); /* nothing is in flight */
};

struct nvme_target {
        const struct nvme_target_ops *ops;
};

/* The subsystem's management controller. Returns 0 or -ENOMEM. */
int nvme_target_soft(struct nvm_subsystem *subsystem, struct nvme_target **ret_target);
/* /dev/nvmeN through the kernel's passthrough, on a helper thread. Has no Controller Data Queue: a
 * stock kernel unmaps the queue's memory when the command ends, so creating one would let the
 * device write into memory that is no longer ours. Returns 0 or -errno with text. */
int nvme_target_hardware(struct loop *loop, const char *path, struct nvme_target **ret_target,
                         struct err *err);

static inline void nvme_target_close(struct nvme_target *t)
{
        if (t)
                t->ops->close(t);
}

#endif
