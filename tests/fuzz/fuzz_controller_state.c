/* A saved controller as a peer may send it: what decodes, encodes to the same bytes. */
#include "nvme/state.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t *exact = malloc(size ? size : 1), again[NVM_STATE_MAX];
        struct nvm_state state;
        struct err err = ERR_INIT;

        memcpy(exact, data, size);
        if (nvm_state_decode(exact, size, &state, &err) == 0) {
                size_t n = nvm_state_encode(&state, again);
                /* Reserved bytes of the header and of the vendor part are not kept. */
                if (n != size || memcmp(again + 16, exact + 16, 32) != 0 ||
                    (state.has_vendor && memcmp(again + n - VENDOR_STATE_SIZE + 8,
                                                exact + n - VENDOR_STATE_SIZE + 8, 40) != 0))
                        abort();
        } else if (!err.code || !err.msg[0]) {
                abort();
        }
        free(exact);
        return 0;
}
