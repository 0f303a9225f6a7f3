/* A vhost-user-blk server: one listening socket for one volume (docs/vhost-user.md).
 *
 * A peer (QEMU) connects; the guest's rings are served from its shared memory. One peer at a time:
 * a second one is turned away while the first is alive, and waits in the listen queue while the
 * requests of a vanished one drain.
 *
 * Opening: the server attaches to the controller at the first ring that is started and enabled, and
 * detaches when the last one has been stopped and drained. If another front end holds the
 * controller then, the requests stay in the rings, the observer's `trouble` says so once, and
 * the attachment is tried again five times a second.
 *
 * A malformed request breaks its ring until the guest resets the device; a malformed message closes
 * the connection. Neither touches anything else.
 *
 * Threads: the loop's. Nothing here blocks. The observer may open and shut the controller's gate
 * from within an event, but must not free or close the server there.
 */
#ifndef ZONEPOOL_VHOST_USER_SERVER_H
#define ZONEPOOL_VHOST_USER_SERVER_H

#include "base/err.h"
#include "base/loop.h"
#include "frontend/frontend.h"
#include "nvme/controller.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vub_server;

enum { VUB_ID_MAX = 20, VUB_QUEUES = 64 };

struct vub_options {
        mode_t mode; /* of the socket file */
        uid_t uid; /* (uid_t)-1: as it is made */
        gid_t gid; /* (gid_t)-1: as it is made */
        char id[VUB_ID_MAX + 1]; /* what the guest reads as the disk's serial */
        uint32_t hold_timeout_ms; /* how long a ring that must stop waits for requests that wait
                                     for space, before they fail */
};

#define VUB_OPTIONS_DEFAULT                                                                        \
        ((struct vub_options){                                                                     \
            .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1, .hold_timeout_ms = 30000})

/* Listens on socket_path. A socket that nobody serves any more is replaced in one step. Options are
 * copied; loop, controller and what the observer points to must outlive the server.
 * Errors, with text: -EADDRINUSE a live process serves the path; -EEXIST something else is there;
 * -ENAMETOOLONG; what bind, chown or rename say. */
int vub_server_new(struct loop *loop, const char *socket_path, struct nvm_controller *controller,
                   const struct vub_options *options, const struct front_observer *observer,
                   struct vub_server **ret_server, struct err *err);

/* Stops listening and takes nothing off the rings any more; what is in flight completes to the
 * guest (requests that wait for space after the deadline of 5 s do not: a reconnecting peer submits
 * them again), then the connection is closed and done is called, never from inside. Once. */
void vub_server_close(struct vub_server *server, void *ctx, void (*done)(void *ctx));

/* Nothing may be in flight: after vub_server_close is done, or with no peer connected. Removes the
 * socket file if it is still this server's. NULL is accepted. */
void vub_server_free(struct vub_server *server);

/* The volume's size changed: tells the guest if its peer can pass it on. */
void vub_server_size_changed(struct vub_server *server);

struct vub_status {
        pid_t peer_pid; /* 0: none connected */
        bool rings_on; /* open: between FRONT_RINGS_ON and FRONT_RINGS_OFF */
        bool logging; /* the peer asked for the log of dirtied guest memory */
        bool busy; /* rings wait because another front end holds the controller */
        uint32_t rings; /* started */
        uint32_t broken; /* of them, stopped by a malformed request */
        uint32_t inflight;
        uint64_t requests; /* completed to guests since the server was made */
        uint64_t malformed; /* rings broken and connections closed for what they sent */
};

void vub_server_status(const struct vub_server *server, struct vub_status *ret_status);

#endif
