/* A pool's volume as what stands behind a controller. */
#ifndef ZONEPOOL_NVME_NAMESPACE_H
#define ZONEPOOL_NVME_NAMESPACE_H

#include "nvme/controller.h"

/* backing is a struct volume. */
extern const struct nvm_backing_ops nvm_volume_backing;

#endif
