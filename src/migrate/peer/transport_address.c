/* Addresses of peers, see transport.h. getaddrinfo takes ports above 65535 modulo 65536, and no
 * host, or "*", as loopback: these are refused here. */
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

static int numeric(const char *address, bool passive, struct addrinfo **ret)
{
        struct addrinfo hints = {
            .ai_socktype = SOCK_STREAM,
            .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
        };
        char host[TRANSPORT_ADDRESS];
        const char *port;

        if (!split(address, host, &port))
                return -EINVAL;
        bool any = !host[0] || !strcmp(host, "*");
        if (any && !passive)
                return -EINVAL;
        return getaddrinfo(any ? NULL : host, port, &hints, ret) == 0 ? 0 : -EINVAL;
}

int transport_resolve(const char *address, bool passive, struct addrinfo **ret, struct err *err)
{
        if (numeric(address, passive, ret) == 0)
                return 0;
        return err_set(err, EINVAL,
                       "address '%.80s' is not a numeric HOST:PORT, as in 192.0.2.1:7480 or "
                       "[2001:db8::1]:7480",
                       address);
}

/* Labels of letters, digits and inner dashes. The last one has a letter: 10.0.0.300 is no name. */
static bool may_be_name(const char *host)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        static const char label_chars[] =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
        bool letter = false;

        for (const char *p = host;;) {
                size_t len = strspn(p, label_chars);
                if (len < 1 || len > 63 || p[0] == '-' || p[len - 1] == '-')
                        return false;
                letter = strcspn(p, letters) < len;
                p += len;
                if (*p == '.' && p[1])
                        p++;
                else
                        return letter && (!*p || *p == '.');
        }
}

int transport_address_check(const char *address, char name[TRANSPORT_ADDRESS], struct err *err)
{
        char host[TRANSPORT_ADDRESS];
        struct addrinfo *ai;
        const char *port;

        if (name)
                name[0] = '\0';
        if (numeric(address, false, &ai) == 0) {
                freeaddrinfo(ai);
                return 0;
        }
        if (address[0] != '[' && split(address, host, &port) && may_be_name(host)) {
                if (name)
                        memcpy(name, host, sizeof(host));
                return 0;
        }
        return err_set(err, EINVAL,
                       "peer address '%.80s' is not HOST:PORT, as in hostb.example.org:7480, "
                       "192.0.2.1:7480 or [2001:db8::1]:7480",
                       address);
}

const char *transport_port(const char *address)
{
        return strrchr(address, ':') + 1;
}
