/* Pools and volumes as JSON: poolobj and volobj of docs/control.md. NULL: out of memory. */
#ifndef ZONEPOOL_DAEMON_REPORT_H
#define ZONEPOOL_DAEMON_REPORT_H

#include "daemon/dpool.h"
#include "daemon/dvol.h"

#include <jansson.h>

json_t *report_pool(const struct dpool *p);
/* How evenly its devices are used; NULL: it is not active. */
json_t *report_balance(const struct pool *pool);
json_t *report_volume(const struct dvol *v);

#endif
