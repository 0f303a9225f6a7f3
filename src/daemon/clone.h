/* Methods of volumes that have a file of their own, and what they share.
 *
 * volume.clone: a copy-on-write clone of a volume or snapshot under another name, in the same pool.
 */
#ifndef ZONEPOOL_DAEMON_CLONE_H
#define ZONEPOOL_DAEMON_CLONE_H

#include "control/control_server.h"
#include "daemon/dpool.h"

struct dvol;

/* Handler; ctx is the daemon. */
void volume_clone_method(struct control_request *req, void *ctx);

/* volume_methods.c: what every new volume must fulfil. Refusals with text. */
int volume_create_check(struct daemon *d, const char *pool, const char *name, uint64_t size,
                        struct dpool **ret_pool, struct err *err);

/* volume_delete.c: volume.delete; ctx is the daemon. */
void volume_delete_method(struct control_request *req, void *ctx);

/* snapshot_methods.c. */
int snapshot_register_methods(struct daemon *d);
/* The volume's snapshot of that name. NULL with err -ENOENT. */
struct volume *snapshot_find(struct dvol *v, const char *name, struct err *err);

#endif
