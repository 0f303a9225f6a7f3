/* The software subsystem as the engine's target: requests go over as they are. */
#include "base/cleanup.h"
#include "migrate/nvme/target.h"

#include <errno.h>

struct soft {
        struct nvme_target base;
        struct nvm_subsystem *subsystem;
};

static void soft_submit(struct nvme_target *t, bool admin, struct nvm_request *r)
{
        struct soft *s = container_of(t, struct soft, base);

        if (admin)
                nvm_admin_submit(s->subsystem, NVM_MMC_CNTLID, r);
        else
                nvm_io_submit(s->subsystem, r);
}

static void *soft_cdq_alloc(struct nvme_target *t, size_t len, uint64_t *ret_prp1, struct err *err)
{
        struct soft *s = container_of(t, struct soft, base);
        void *mem = aligned_alloc(NVME_PAGE_SIZE, len);

        if (!mem) {
                err_set(err, ENOMEM, "no memory for a change log");
                return NULL;
        }
        memset(mem, 0, len);
        int rc = nvm_dma_map(s->subsystem, mem, len);
        if (rc < 0) {
                err_set_sys(err, -rc, "the memory of a change log cannot be mapped");
                free(mem);
                return NULL;
        }
        *ret_prp1 = (uint64_t)(uintptr_t)mem;
        return mem;
}

static void soft_cdq_free(struct nvme_target *t, void *mem, size_t len)
{
        struct soft *s = container_of(t, struct soft, base);

        if (nvm_dma_unmap(s->subsystem, mem) == 0)
                free(mem); /* else a queue still lies in it: better lost than written over */
}

static void soft_close(struct nvme_target *t)
{
        free(container_of(t, struct soft, base));
}

static const struct nvme_target_ops soft_ops = {
    .kind = "software",
    .submit = soft_submit,
    .cdq_alloc = soft_cdq_alloc,
    .cdq_free = soft_cdq_free,
    .close = soft_close,
};

int nvme_target_soft(struct nvm_subsystem *subsystem, struct nvme_target **ret_target)
{
        struct soft *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->base.ops = &soft_ops;
        s->subsystem = subsystem;
        *ret_target = &s->base;
        return 0;
}
