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

#include <sys/types.h>

enum front_event {
        FRONT_CONNECTED,    /* a peer process connected: pid is set. Not opening */
        FRONT_RINGS_ON,     /* the first ring was enabled: the guest may submit. Opening */
        FRONT_RINGS_OFF,    /* the last ring was stopped and drained: nothing is in flight.
                               Reported before GET_VRING_BASE of that ring is answered */
        FRONT_LOG_ON,       /* the peer asked for the log of dirtied guest memory */
        FRONT_LOG_OFF,
        FRONT_DISCONNECTED, /* rings are off, whatever was in flight has been drained */
};

struct front_observer {
        void (*event)(void *ctx, enum front_event event, pid_t peer_pid);
        void *ctx;
};

#endif
