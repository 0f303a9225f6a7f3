/* Connections to peers: dialling, HELLO, frames in and out.
 *
 * A `peer` is one connection; there may be two to one host at a time (each side dialled). Frames
 * may be given to a connection that is still being set up: they follow HELLO. Nothing is repeated
 * here: what was queued when a connection ends is lost, and whoever needs an answer asks again.
 *
 * Threads: the loop's; callbacks may send and close.
 */
#ifndef ZONEPOOL_MIGRATE_PEER_PEER_H
#define ZONEPOOL_MIGRATE_PEER_PEER_H

#include "migrate/peer/proto.h"
#include "migrate/peer/transport.h"

struct peers;
struct peer;

struct peer_handler {
        void (*frame)(void *ctx, struct peer *p, const struct peer_frame *f);
        void (*up)(void *ctx, struct peer *p);
        /* p is freed when this returns. err: why. */
        void (*down)(void *ctx, struct peer *p, const struct err *err);
        void *ctx;
};

struct peers_settings {
        struct loop *loop;
        const struct transport *transport;
        struct uuid host_uuid;
        uint64_t incarnation;
        char advertise[OWNER_ADDRESS]; /* told in HELLO; empty: not reachable */
        const char *listen; /* NULL: does not listen */
};

int peers_new(const struct peers_settings *s, const struct peer_handler *h,
              struct peers **ret_peers, struct err *err);
void peers_free(struct peers *ps);

/* The connection that was dialled to address, new when there is none. */
int peers_dial(struct peers *ps, const char *address, struct peer **ret_peer, struct err *err);
/* One that is up, or NULL. */
struct peer *peers_find(struct peers *ps, const struct uuid *host);
/* Sends to a host: over a connection that is up, else dials its address. Lossy. */
void peers_send_to(struct peers *ps, const struct owner_host *to, const struct peer_frame *f);

/* 0, or -errno: it is ending. */
int peer_send(struct peer *p, const struct peer_frame *f);
/* A frame made by peer_encode; taken over in every case. */
int peer_send_encoded(struct peer *p, uint8_t *buf, size_t len);
bool peer_is_up(const struct peer *p);
/* Valid once up: the address is what the other side told, else where it was dialled. */
const struct owner_host *peer_host(const struct peer *p);
uint64_t peer_incarnation(const struct peer *p);
const char *peer_address(const struct peer *p);
/* down is called, later. */
void peer_close(struct peer *p, const char *why);

#endif
