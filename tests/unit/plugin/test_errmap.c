/* Every row of the table of errors, and what is in no row. */
#include "base/cleanup.h"
#include "plugin/backend/errmap.h"
#include "t_suite.h"

#include <errno.h>
#include <libvirt/virterror.h>

static void test_errors_keep_their_meaning(void)
{
        static const struct {
                int code, vir;
        } rows[] = {
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
            {ENOENT, VIR_ERR_OPERATION_FAILED},
            {EEXIST, VIR_ERR_OPERATION_FAILED},
            {ENOSPC, VIR_ERR_OPERATION_FAILED},
            {ECONNREFUSED, VIR_ERR_OPERATION_FAILED},
            {9999, VIR_ERR_OPERATION_FAILED},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                CU_ASSERT_EQUAL(errmap_code(-rows[i].code), rows[i].vir);
}

static const struct t_case cases[] = {T_CASE(test_errors_keep_their_meaning)};
T_MAIN("libvirt errors", cases)
