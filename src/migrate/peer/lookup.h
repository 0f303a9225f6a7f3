/* Host names into addresses. getaddrinfo blocks, for as long as a name server pleases: each lookup
 * has a thread of its own, and nobody ever waits for that thread.
 *
 * Threads: the loop's.
 */
#ifndef ZONEPOOL_MIGRATE_PEER_LOOKUP_H
#define ZONEPOOL_MIGRATE_PEER_LOOKUP_H

#include "base/err.h"
#include "base/loop.h"

struct addrinfo;
struct lookup;

/* At a time, those that were cancelled and still run included. */
enum { LOOKUP_MAX = 32 };

/* Looks for the stream addresses of host:port. done comes once, later: list is the callee's, to
 * freeaddrinfo; or it is NULL and err says that the name cannot be resolved, and why. Returns 0,
 * -EAGAIN (LOOKUP_MAX) or another -errno, with text. */
int lookup_start(struct loop *loop, const char *host, const char *port, void *ctx,
                 void (*done)(void *ctx, struct addrinfo *list, const struct err *err),
                 struct lookup **ret_lookup, struct err *err);
/* done will not come. NULL is accepted. */
void lookup_cancel(struct lookup *l);

#endif
