/* The FUSE mount RUNDIR/mnt, if settings want it and the host can. Without one d->fuse is NULL, and
 * volumes are reachable by their sockets only. */
#ifndef ZONEPOOL_DAEMON_MOUNT_H
#define ZONEPOOL_DAEMON_MOUNT_H

#include "daemon/daemon.h"

/* Mounts. A host that cannot (no /dev/fuse) is warned about. -ENOMEM and the like with text. */
int mount_start(struct daemon *d, struct err *err);
/* Ends it in order: done comes later, once; from inside the call without a mount. */
void mount_close(struct daemon *d, void (*done)(void *daemon));
/* Takes it away at once, for an end without order: nobody must be left with a dead mount. */
void mount_drop(struct daemon *d);

#endif
