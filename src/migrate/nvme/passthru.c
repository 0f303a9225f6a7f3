/* See passthru.h. */
#include "migrate/nvme/passthru.h"

#include "base/le.h"

#include <libnvme.h>

enum { TIMEOUT_MS = 60000 /* Suspend has no bound of its own */, OACS_HMLMS = 1 << 11 };

int nvme_passthru_probe(int fd)
{
        struct nvme_id_ctrl id;

        if (nvme_identify_ctrl(fd, &id) != 0)
                return -1;
        return le16toh(id.oacs) & OACS_HMLMS ? 1 : 0;
}

int nvme_passthru_nsid(int fd, uint32_t *ret_nsid)
{
        return nvme_get_nsid(fd, ret_nsid) == 0 ? 0 : -1;
}

int nvme_passthru(int fd, bool admin, const uint8_t *sqe, void *data, size_t len, uint32_t *ret_dw0)
{
        uint32_t nsid = get_le32(sqe + 4), cdw[6];

        for (int i = 0; i < 6; i++)
                cdw[i] = get_le32(sqe + 40 + 4 * i);
        return (admin ? nvme_admin_passthru : nvme_io_passthru)(
            fd, sqe[0], 0, 0, nsid, 0, 0, cdw[0], cdw[1], cdw[2], cdw[3], cdw[4], cdw[5],
            (uint32_t)len, data, 0, NULL, TIMEOUT_MS, ret_dw0);
}
