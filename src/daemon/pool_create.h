/* Handlers that work on devices of pools that are not imported; for pool_methods.c. */
#ifndef ZONEPOOL_DAEMON_POOL_CREATE_H
#define ZONEPOOL_DAEMON_POOL_CREATE_H

#include "control/control_server.h"
#include "daemon/dpool.h"

/* pool_create.c */
void pool_create(struct control_request *req, void *ctx);
/* One of `devices`: path (borrowed) and geometry. -EINVAL with text. */
struct file_device_spec;
int pool_parse_device(const json_t *object, const char **ret_path, struct file_device_spec *spec,
                      struct err *err);
/* pool_scan.c */
void pool_destroy(struct control_request *req, void *ctx);
void pool_scan(struct control_request *req, void *ctx);

/* pool_methods.c: answers a request whose pool has been imported, or not. */
void pool_answer_imported(void *req, int rc, const struct err *err, struct dpool *p);

#endif
