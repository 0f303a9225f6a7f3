/* The table of status.h. What it does not name is an internal error. */
#include "nvme/status.h"

#include "nvme/command.h"

#include <errno.h>
#include <stddef.h>

static const struct {
        int status;
        uint16_t on_read, on_write;
} table[] = {
    {0, NVME_SC_SUCCESS, NVME_SC_SUCCESS},
    {-EINVAL, NVME_SC_LBA_RANGE | NVME_SC_DNR, NVME_SC_LBA_RANGE | NVME_SC_DNR},
    {-EIO, NVME_SC_READ_ERROR, NVME_SC_WRITE_FAULT},
    {-EILSEQ, NVME_SC_READ_ERROR | NVME_SC_DNR, NVME_SC_READ_ERROR | NVME_SC_DNR},
    {-ENOSPC, NVME_SC_INTERNAL, NVME_SC_CAPACITY},
    {-EROFS, NVME_SC_INTERNAL, NVME_SC_WRITE_PROTECTED | NVME_SC_DNR},
    {-ECANCELED, NVME_SC_ABORT_REQUESTED, NVME_SC_ABORT_REQUESTED},
};

uint16_t nvm_status_of(int status, bool write)
{
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (table[i].status == status)
                        return write ? table[i].on_write : table[i].on_read;
        return NVME_SC_INTERNAL;
}
