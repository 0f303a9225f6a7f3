/* CRC32C over ISA-L, whose length is an int and whose value is not inverted. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdlib.h>

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
        const unsigned char *p = buf;

        crc = ~crc;
        while (len) {
                int n = len > (1 << 30) ? 1 << 30 : (int)len;
                crc = crc32_iscsi((unsigned char *)p, n, crc);
                p += n;
                len -= (size_t)n;
        }
        return ~crc;
}
