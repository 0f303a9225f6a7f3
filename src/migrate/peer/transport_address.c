/* Addresses of peers, see transport.h. getaddrinfo takes ports above 65535 modulo 65536, and no
 * host as loopback: both are refused here. */
#include "migrate/peer/transport.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool port_ok(const char *text)
{
        size_t len = strspn(text, "0123456789");

        return len > 0 && len <= 5 && !text[len] && atoi(text) >= 1 && atoi(text) <= 65535;
}

/* host gets what stands before the port, without brackets. */
static bool split(const char *address, char host[TRANSPORT_ADDRESS], const char **ret_port)
{
        const char *colon = strrchr(address, ':');

        if (!colon || strlen(address) >= TRANSPORT_ADDRESS || !port_ok(colon + 1))
                return false;
        size_t len = (size_t)(colon - address);
        if (len >= 2 && address[0] == '[' && colon[-1] == ']') {
                address++;
                len -= 2;
        }
        memcpy(host, address, len);
        host[len] = '\0';
        *ret_port = colon + 1;
        return true;
}

int transport_resolve(const char *address, bool passive, struct addrinfo **ret, struct err *err)
{
        struct addrinfo hints = {
            .ai_socktype = SOCK_STREAM,
            .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
        };
        char host[TRANSPORT_ADDRESS];
        const char *port;

        if (split(address, host, &port)) {
                bool any = passive && (!host[0] || !strcmp(host, "*"));
                if ((any || host[0]) && getaddrinfo(any ? NULL : host, port, &hints, ret) == 0)
                        return 0;
        }
        return err_set(err, EINVAL,
                       "peer address '%.80s' is not a numeric HOST:PORT, as in 192.0.2.1:7480 or "
                       "[2001:db8::1]:7480",
                       address);
}

int transport_address_check(const char *address, struct err *err)
{
        struct addrinfo *ai;
        int rc = transport_resolve(address, false, &ai, err);

        if (rc == 0)
                freeaddrinfo(ai);
        return rc;
}
