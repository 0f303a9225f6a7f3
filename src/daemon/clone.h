/* volume.clone: a full copy of a volume under another name, in the same pool. */
#ifndef ZONEPOOL_DAEMON_CLONE_H
#define ZONEPOOL_DAEMON_CLONE_H

#include "control/control_server.h"
#include "daemon/dpool.h"

/* Handler; ctx is the daemon. */
void volume_clone_method(struct control_request *req, void *ctx);

/* volume_methods.c: what every new volume must fulfil. Refusals with text. */
int volume_create_check(struct daemon *d, const char *pool, const char *name, uint64_t size,
                        struct dpool **ret_pool, struct err *err);

#endif
