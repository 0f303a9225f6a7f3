/* Frames of a peer: whatever comes, decoding stays inside the bytes, and what it accepts is encoded
 * again as the same body. The input is type (2 bytes) and body; checksums are made to fit, so that
 * the parser behind them is reached. */
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/le.h"
#include "migrate/peer/proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct peer_frame f;
        uint8_t header[PEER_HEADER] = {'Z', 'P', 'm', 'p', PEER_VERSION};

        if (size < 2 || size - 2 > PEER_BODY_MAX)
                return 0;
        size_t len = size - 2, again = 0;
        uint8_t *body = malloc(MAX(len, (size_t)1)); /* exactly as long: overreads are seen */
        memcpy(body, data + 2, len);
        put_le16(header + 6, get_le16(data));
        put_le32(header + 8, (uint32_t)len);
        put_le32(header + 12, crc32c(0, body, len));
        put_le32(header + 16, crc32c(0, header, 16));
        if (peer_decode_body(header, body, &f) == 0) {
                uint8_t *bytes = peer_encode(&f, &again);
                if (again != PEER_HEADER + len)
                        abort();
                free(bytes);
        }
        free(body);
        return 0;
}
