/* Looking for data before a device is taken, see probe.h. */
#include "pool/device/probe.h"

#include "base/cleanup.h"
#include "pool/device.h"

#include <blkid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int probe_data(int fd, uint64_t offset, uint64_t len)
{
        static const uint8_t zeroes[ZP_BLOCK];
        uint8_t buf[ZP_BLOCK];
        for (uint64_t done = 0; done < len;) {
                ssize_t n = pread(fd, buf, MIN(sizeof(buf), len - done), (off_t)(offset + done));
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                if (memcmp(buf, zeroes, (size_t)n) != 0)
                        return 1;
                done += (uint64_t)n;
        }
        return 0;
}

int probe_signature(int fd, char *what, size_t len)
{
        blkid_probe pr = blkid_new_probe();
        if (!pr)
                return -ENOMEM;
        int rc = -EIO;
        if (blkid_probe_set_device(pr, fd, 0, 0) < 0)
                goto out;
        blkid_probe_enable_superblocks(pr, 1);
        blkid_probe_enable_partitions(pr, 1);
        int found = blkid_do_safeprobe(pr);
        const char *type = NULL;
        if (found == 0 && (blkid_probe_lookup_value(pr, "TYPE", &type, NULL) == 0 ||
                           blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL) == 0)) {
                snprintf(what, len, "%s", type);
                rc = 1;
        } else if (found == -2) {
                snprintf(what, len, "several signatures");
                rc = 1;
        } else {
                rc = 0;
        }
out:
        blkid_free_probe(pr);
        return rc;
}
