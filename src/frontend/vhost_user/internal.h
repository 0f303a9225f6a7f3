/* What the files of this folder share: server, connection, ring and request. Not for others.
 *
 *   server.c    the socket, the one connection, life and status
 *   conn.c      bytes in and out, opening and closing, work at the end of a turn
 *   dispatch.c  one function a message
 *   ring.c      a ring from start to drained: taking requests, publishing completions
 *   blk.c       a chain as a virtio-blk request, and the configuration space
 */
#ifndef ZONEPOOL_VHOST_USER_INTERNAL_H
#define ZONEPOOL_VHOST_USER_INTERNAL_H

#include "frontend/vhost_user/chain.h"
#include "frontend/vhost_user/dirty.h"
#include "frontend/vhost_user/inflight.h"
#include "frontend/vhost_user/mem.h"
#include "frontend/vhost_user/proto.h"
#include "frontend/vhost_user/server.h"

enum {
        VUB_MAX_FDS = 8,
        VUB_MAX_INFLIGHT = 128, /* requests of one ring that are submitted at a time */
        VUB_MAX_SEGMENTS = 16, /* of a discard or write-zeroes request */
        VUB_SEG_MAX = 126,
        VUB_SIZE_MAX = 256 * 1024,
        VUB_MAX_DATA = 32 * 1024 * 1024, /* above VUB_SEG_MAX * VUB_SIZE_MAX */
        VUB_MAX_DISCARD_SECTORS = 1 << 18,
};

struct vub_conn;
struct vub_ring;

enum vub_req_state { VUB_REQ_FREE, VUB_REQ_SUBMITTED, VUB_REQ_DONE };

/* A range of a discard or write-zeroes request. */
struct vub_segment {
        struct volume_io io;
        struct vub_req *req;
};

/* A request from its taking off the ring to its publication. */
struct vub_req {
        struct list node; /* ring's free or done list */
        struct vub_ring *ring;
        struct vub_mem *mem; /* what iov, gpa and status point into; a reference */
        enum vub_req_state state;
        uint16_t head;
        uint8_t virtio_status;
        uint32_t pending; /* submissions not yet done */
        uint64_t in_bytes; /* room for data before the status byte */
        uint64_t data_in; /* of it, what the disk may have written from the front on */
        uint8_t *status;
        uint64_t status_gpa;
        struct volume_io io;
        bool ranges; /* a discard or write-zeroes request: the chain is spent, segments stand there
                      */
        union {
                struct vub_chain chain;
                struct vub_segment segments[VUB_MAX_SEGMENTS];
        };
};

/* As SET_VRING_ADDR gives it: the peer's addresses, and the used ring's guest address. */
struct vub_ring_addr {
        uint32_t flags;
        uint64_t desc_user, used_user, avail_user, log_gpa;
};

struct vub_ring {
        struct vub_conn *conn;
        uint16_t index;

        /* as the messages set it */
        uint16_t num, base;
        bool has_addr, enabled;
        struct vub_ring_addr addr;
        struct loop_fd kick; /* fd -1: none */
        int call_fd, err_fd;

        /* while active: from start until drained */
        bool active;
        bool stopping; /* GET_VRING_BASE or close: take nothing more, answer when drained */
        bool broken; /* a malformed chain: takes nothing until started anew */
        bool starved; /* requests ran out: look again when one is free */
        bool look; /* look at the ring at the end of the turn */
        const uint8_t *desc;
        uint8_t *avail, *used; /* in conn->mem */
        uint16_t last_avail, used_idx, signalled_used;
        bool signalled_valid;
        uint32_t inflight;
        struct list done; /* completed, not yet published */
        struct list free;
        struct vub_req *reqs; /* nreqs; those from fresh on were never used */
        uint32_t nreqs, fresh;
        uint64_t busy[VUB_MAX_RING / 64]; /* heads in flight */

        struct vub_inflight_ring track;
        uint16_t *resubmit; /* heads that an earlier life of ours had taken */
        uint32_t nresubmit, resubmitted;
};

struct vub_conn {
        struct vub_server *server;
        pid_t pid;
        struct loop_fd sock;
        bool dead; /* the peer is gone: nothing is written to its memory any more */
        bool closing; /* by vub_server_close: take nothing more */

        /* the message being read, with its descriptors */
        uint8_t in[VUB_HEADER_BYTES + VUB_PAYLOAD_MAX];
        uint32_t in_have;
        int fds[VUB_MAX_FDS];
        int nfds;
        /* the reply being written */
        uint8_t out[VUB_HEADER_BYTES + VUB_PAYLOAD_MAX];
        uint32_t out_len, out_done;
        int out_fd;

        uint64_t features, protocol;
        struct vub_mem *mem;
        struct vub_log log;
        bool log_overrun_told;
        struct vub_inflight inflight;
        unsigned guard_seen;
        int backend_fd;
        struct vub_ring rings[VUB_QUEUES];
        uint32_t nactive;
        uint16_t nqueues; /* active ones at the most, since the first of them started */
        uint32_t ninflight;

        struct vub_ring *draining; /* GET_VRING_BASE of it waits for its answer */
        bool fail_waiting; /* time is up: what cannot go on fails */
        struct loop_timer hold; /* draining for too long */
        struct loop_timer attach_retry;
        struct loop_defer work;

        struct nvm_front front;
        bool attached, busy_told;
};

struct vub_server {
        struct loop *loop;
        struct nvm_controller *controller;
        struct vub_options options;
        struct front_observer observer;
        char path[108];
        uint64_t path_dev, path_ino;
        struct loop_fd listener;
        struct vub_conn *conn;
        uint64_t requests, malformed;
        uint64_t trouble_since_ns; /* at most TROUBLES texts in a period from here on */
        uint32_t troubles, untold;
        struct loop_timer accept_retry;
        void (*close_done)(void *ctx);
        void *close_ctx;
        bool closing;
        struct loop_defer closed;
};

/* server.c */
void vub_server_event(struct vub_server *s, enum front_event event, pid_t pid);
void vub_server_trouble(struct vub_server *s, const struct err *err);
/* The connection is over and has been freed. */
void vub_server_conn_gone(struct vub_server *s);

/* conn.c */
/* Takes the descriptor. Returns 0 or -errno (fd closed). */
int vub_conn_new(struct vub_server *s, int fd, pid_t pid);
/* Peeks: has the peer hung up? Then the connection is closed. */
bool vub_conn_check_gone(struct vub_conn *c);
/* Ends the connection; freed at the end of a later turn, when drained. err NULL: nothing to tell.
 */
void vub_conn_close(struct vub_conn *c, const struct err *err);
/* Takes nothing more, drains, closes; dead after 5 s in any case. */
void vub_conn_shutdown(struct vub_conn *c);
/* At once; nothing is in flight. */
void vub_conn_free_now(struct vub_conn *c);
/* Queues one reply; fd (or -1) is taken. */
void vub_conn_reply(struct vub_conn *c, uint32_t request, const void *payload, uint32_t len,
                    int fd);
/* Work at the end of this turn: completions to publish, rings to look at. */
void vub_conn_wake(struct vub_conn *c);
/* Opens the controller when the first ring became active; looks at the ring. */
void vub_conn_ring_started(struct vub_conn *c, struct vub_ring *r);
/* A ring is drained and no longer active. */
void vub_conn_ring_stopped(struct vub_conn *c);
bool vub_conn_may_take(const struct vub_conn *c);
void vub_conn_config_changed(struct vub_conn *c);

/* dispatch.c: handles the whole message in c->in. Returns 0, or -errno with text: close. */
int vub_dispatch(struct vub_conn *c, uint32_t request, uint32_t flags, const uint8_t *payload,
                 uint32_t len, struct err *err);

/* ring.c */
void vub_ring_init(struct vub_ring *r, struct vub_conn *c, uint16_t index);
void vub_ring_fini(struct vub_ring *r);
/* Resolves the addresses in conn->mem. 0 or -EINVAL with text (ring unchanged). */
int vub_ring_resolve(struct vub_ring *r, struct err *err);
/* Starts if everything is there. 0 (started or not yet), or -errno with text. */
int vub_ring_try_start(struct vub_ring *r, struct err *err);
void vub_ring_set_kick(struct vub_ring *r, int fd);
/* Takes what may be taken. */
void vub_ring_take(struct vub_ring *r);
/* Publishes what is done. */
void vub_ring_publish(struct vub_ring *r);
bool vub_ring_drained(const struct vub_ring *r);
/* Drained, or its connection is dead and nothing of it is in flight. */
void vub_ring_stop(struct vub_ring *r);
void vub_ring_break(struct vub_ring *r, const struct err *err);
/* A request is done: to be published at the end of the turn. */
void vub_ring_complete(struct vub_req *req);

/* blk.c */
/* Reads the request in req->chain and judges it. 0, or -EBADMSG with text: it cannot even be
 * answered. */
int vub_blk_prepare(struct vub_req *req, struct err *err);
/* Submits it, or completes it at once when there is nothing to do. */
void vub_blk_submit(struct vub_req *req);
/* Completes it with an error in place of submitting it. */
void vub_blk_fail(struct vub_req *req);
void vub_blk_config(const struct vub_server *s, uint8_t config[VUB_CONFIG_MAX]);

#endif
