/* The lock driver's reading of zonepoold's answers, which may be anything. */
#include "plugin/lock/json_scan.h"
#include "plugin/lock/lock_call.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void look(struct json_span object, int depth)
{
        static const char *const keys[] = {"id", "result", "error", "state", "message"};

        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                struct json_span value = json_scan_member(object, keys[i]);
                char buf[LOCK_STATE_MAX + 2];

                if (!value.start)
                        continue;
                if (value.start < object.start ||
                    value.start + value.len > object.start + object.len)
                        abort();
                if (json_scan_string(value, buf, sizeof(buf))) {
                        if (strlen(buf) >= sizeof(buf))
                                abort();
                        lock_state_check(buf);
                }
                if (*value.start == '{' && depth < 3)
                        look(value, depth + 1);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        if (json_scan_object((const char *)data, len))
                look((struct json_span){(const char *)data, len}, 0);
        return 0;
}
