/* Ownership records from a disk: whatever the bytes, decoding stays inside them, and what it
 * accepts is encoded again byte for byte. The checksum and the length are made to fit. */
#include "base/crc32c.h"
#include "base/le.h"
#include "migrate/owner/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct owner_record rec;
        uint8_t again[OWNER_RECORD_MAX];

        if (size < 12 || size > OWNER_RECORD_MAX)
                return 0;
        uint8_t *buf = malloc(size);
        memcpy(buf, data, size);
        put_le16(buf + 6, (uint16_t)size);
        put_le32(buf + 8, 0);
        put_le32(buf + 8, crc32c(0, buf, size));
        if (owner_record_decode(buf, size, &rec, NULL) == 0) {
                size_t len = owner_record_encode(&rec, again);
                if (len != size || memcmp(again, buf, len) != 0)
                        abort();
        }
        struct owner_token t;
        char text[OWNER_TOKEN_TEXT + 1] = "";
        memcpy(text, data, size < OWNER_TOKEN_TEXT ? size : OWNER_TOKEN_TEXT);
        owner_token_parse(text, &t, NULL);
        free(buf);
        return 0;
}
