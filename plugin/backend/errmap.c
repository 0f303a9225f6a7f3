/* The table of errmap.h. libvirt prints "operation failed: " and the like in front of our text. */
#include "plugin/backend/errmap.h"
#include "base/cleanup.h"

#include <errno.h>
#include <libvirt/virterror.h>

static const struct {
        int code; /* positive errno */
        int vir;
} table[] = {
    {EBUSY, VIR_ERR_RESOURCE_BUSY},
    {EINVAL, VIR_ERR_INVALID_ARG},
    {ERANGE, VIR_ERR_INVALID_ARG},
    {ENOSYS, VIR_ERR_OPERATION_UNSUPPORTED},
    {EOPNOTSUPP, VIR_ERR_OPERATION_UNSUPPORTED},
    {EPROTONOSUPPORT, VIR_ERR_OPERATION_UNSUPPORTED},
    {ETIMEDOUT, VIR_ERR_OPERATION_TIMEOUT},
    {ECANCELED, VIR_ERR_OPERATION_ABORTED},
    {EACCES, VIR_ERR_OPERATION_DENIED},
    {EPERM, VIR_ERR_OPERATION_DENIED},
    {ENOMEM, VIR_ERR_NO_MEMORY},
};

int errmap_code(int rc)
{
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                if (table[i].code == -rc)
                        return table[i].vir;
        return VIR_ERR_OPERATION_FAILED;
}
