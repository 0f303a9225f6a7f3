/* What both ends of the control protocol agree on (docs/control.md). */
#ifndef ZONEPOOL_CONTROL_CONTROL_H
#define ZONEPOOL_CONTROL_CONTROL_H

#include <stdint.h>

#define CONTROL_SOCKET_NAME "zonepoold.sock"
#define CONTROL_SOCKET_PATH ZONEPOOL_RUNDIR "/" CONTROL_SOCKET_NAME

enum {
        CONTROL_LINE_MAX = 1 << 20, /* bytes of a request, newline included */
        CONTROL_REQUESTS_MAX = 64, /* under way on one connection */
        CONTROL_CONNECTIONS_MAX = 256, /* of one server */
        CONTROL_OUTPUT_MAX = 32 << 20, /* bytes of an answer, and of all that a client leaves
                                          unread: above it is dropped */
};

#define CONTROL_ID_MAX (INT64_C(1) << 53)

#endif
