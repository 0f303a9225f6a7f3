/* What front ends tell, and whom.
 *
 * A front end serves one controller and reports the life of its guest connection to one observer
 * (the ownership tables of src/migrate, put there by the daemon). The observer answers by the
 * controller's gate: requests stay in the ring until it is open.
 *
 * Threads: the loop's.
 */
#ifndef ZONEPOOL_FRONTEND_FRONTEND_H
#define ZONEPOOL_FRONTEND_FRONTEND_H

#include "base/err.h"

#include <sys/types.h>

enum front_event {
        FRONT_CONNECTED, /* a peer process connected: pid is set. Not opening */
        FRONT_RINGS_ON, /* the first ring was enabled: the guest may submit. Opening */
        FRONT_RINGS_OFF, /* the last ring was stopped and drained: nothing is in flight.
                            Reported before GET_VRING_BASE of that ring is answered */
        FRONT_FIRST_REQUEST, /* one has been let through to the volume, for the first time since
                                the rings came on or the gate opened */
        FRONT_LOG_ON, /* the peer asked for the log of dirtied guest memory */
        FRONT_LOG_OFF, /* the peer asked for no more of it; not reported on disconnection */
        FRONT_DISCONNECTED, /* rings are off, whatever was in flight has been drained */
};

struct front_observer {
        void (*event)(void *ctx, enum front_event event, pid_t peer_pid);
        /* Something an operator should read: why a peer was turned away or dropped, a guest's ring
         * was stopped, requests wait. err is valid during the call. May be NULL. */
        void (*trouble)(void *ctx, const struct err *err);
        void *ctx;
};

#endif
