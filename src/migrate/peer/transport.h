/* A byte stream to a peer: what TCP implements now and TLS will.
 *
 * Received bytes go straight into memory of the reader's choice (struct transport_reader), sent
 * buffers change hands. Nothing blocks; a connection whose peer does not take bytes for
 * TRANSPORT_STALL_NS, or that queues more than TRANSPORT_MAX_QUEUE, ends.
 *
 * Threads: the loop's. Callbacks never come from inside a call of this header; a callback may close
 * its connection.
 */
#ifndef ZONEPOOL_MIGRATE_PEER_TRANSPORT_H
#define ZONEPOOL_MIGRATE_PEER_TRANSPORT_H

#include "base/err.h"
#include "base/loop.h"

#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_STALL_NS UINT64_C(15000000000)

enum { TRANSPORT_MAX_QUEUE = 64 << 20, TRANSPORT_ADDRESS = 64 };

struct transport_conn;

struct transport_reader {
        /* The connection is up (once). */
        void (*up)(void *ctx);
        /* Where the next bytes shall go: at least one byte. */
        void *(*space)(void *ctx, size_t *ret_len);
        /* len bytes were put there. Returns 0, or -errno: the connection ends. */
        int (*filled)(void *ctx, size_t len);
        /* The connection has ended (err says why); conn is freed when this returns. Not called
         * after close(). */
        void (*closed)(void *ctx, const struct err *err);
        void *ctx;
};

struct transport_listener;

struct transport {
        const char *name; /* "tcp" */
        /* address: "host:port", IPv6 in brackets; here numeric. Returns 0 or -errno with text. */
        int (*listen)(struct loop *loop, const char *address, void *ctx,
                      void (*accepted)(void *ctx, struct transport_conn *conn,
                                       const char *peer_address),
                      struct transport_listener **ret_listener, struct err *err);
        void (*unlisten)(struct transport_listener *l);
        /* Starts connecting: up or closed follows. The host may be a name; its addresses are tried
         * one after the other. */
        int (*connect)(struct loop *loop, const char *address, struct transport_conn **ret_conn,
                       struct err *err);
        /* Must be called once, right after accepted or connect. */
        void (*set_reader)(struct transport_conn *conn, const struct transport_reader *reader);
        /* Takes over buf (malloc'ed), in every case. Returns 0 or -errno: the connection will end.
         */
        int (*send)(struct transport_conn *conn, void *buf, size_t len);
        /* At once; what is queued is dropped. */
        void (*close)(struct transport_conn *conn);
};

struct addrinfo;

/* A numeric "host:port" into what the socket calls take; to be freed with freeaddrinfo. passive:
 * "*" or nothing as the host means every address. -EINVAL with text. */
int transport_resolve(const char *address, bool passive, struct addrinfo **ret, struct err *err);

/* Whether connect would take the address: numeric, or a host name that may exist (it is not asked
 * for). name, if not NULL, gets the host when it is a name, else "". Returns 0 or -EINVAL with
 * text.
 */
int transport_address_check(const char *address, char name[TRANSPORT_ADDRESS], struct err *err);
/* The port of an address that was checked. */
const char *transport_port(const char *address);

/* Plain TCP: for laboratories only. */
extern const struct transport transport_tcp;

#endif
