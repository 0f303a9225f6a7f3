/* The methods device.*, see docs/control.md. */
#ifndef ZONEPOOL_DAEMON_DEVICE_METHODS_H
#define ZONEPOOL_DAEMON_DEVICE_METHODS_H

#include "control/control_server.h"

/* device_join.c */
void device_add(struct control_request *req, void *ctx);
void device_replace(struct control_request *req, void *ctx);
/* device_leave.c */
void device_remove(struct control_request *req, void *ctx);
void device_evacuate(struct control_request *req, void *ctx);
void device_keep(struct control_request *req, void *ctx);
void device_wait(struct control_request *req, void *ctx);

/* device_lost.c */
void device_lost(struct control_request *req, void *ctx);
void device_give_up(struct control_request *req, void *ctx);

/* device_return.c */
struct dpool;
void device_return(struct control_request *req, void *ctx);
/* Takes a device back that was missing and is there again, if one is. Cheap: for every tick. */
void device_return_look(struct dpool *p);

/* device_balance.c */
void device_balance(struct control_request *req, void *ctx);

/* device_scrub.c */
void device_scrub(struct control_request *req, void *ctx);

#endif
