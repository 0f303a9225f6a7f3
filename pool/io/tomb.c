/* See tomb.h. The bytes stand in docs/formats.md. */
#include "pool/io/tomb.h"
#include "pool/internal.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "pool/log/keyed.h"

#include <string.h>

enum { TEXT_BYTES = 64 };

void tomb_init(struct pool *pool)
{
        static const char text[TEXT_BYTES] = "zonepool: what was here is lost with its device";

        memset(pool->tomb, 0, sizeof(pool->tomb));
        memcpy(pool->tomb, text, sizeof(text));
        put_le64(pool->tomb + TEXT_BYTES, keyed_sum(pool->secret, text, sizeof(text)));
        pool->tomb_crc = crc32c(0, pool->tomb, sizeof(pool->tomb));
}

bool tomb_may_be(const struct pool *pool, uint32_t crc)
{
        return crc == pool->tomb_crc;
}

bool tomb_is(const struct pool *pool, uint32_t crc, const uint8_t *block)
{
        return tomb_may_be(pool, crc) && memcmp(block, pool->tomb, sizeof(pool->tomb)) == 0;
}
