/* A migratable controller: the gate between a front end and a volume's namespace.
 *
 * Every front end submits through one. It counts what is in flight, reports every change to the
 * change log when asked to (log.h), and has the states of NVMe host-managed live migration
 * (NVMe Base 2.3, Migration Send; docs/nvme.md).
 *
 *   RUNNING --nvc_suspend--> SUSPENDING --drained--> SUSPENDED --nvc_resume--> RUNNING
 *
 * Beside the state stands the ownership gate: I/O passes only while the gate is open *and* the
 * state is RUNNING. A front end asks nvc_may_submit before it takes a request off its ring and
 * leaves it there when the answer is no; nvc_attach_front's `may_submit_changed` tells when to look
 * again.
 *
 * Threads: the loop's. Callbacks never come from inside the call that asked.
 */
#ifndef ZONEPOOL_NVME_CONTROLLER_H
#define ZONEPOOL_NVME_CONTROLLER_H

#include "base/err.h"
#include "base/uuid.h"
#include "pool/pool.h"

#include <stdbool.h>
#include <stdint.h>

struct nvm_subsystem;
struct nvm_controller;

/* What stands behind a controller's one namespace. The pool's volumes are the real one
 * (namespace.h); tests bring a RAM disk. Requests are the pool's `struct volume_io`. */
struct nvm_backing_ops {
        void (*submit)(void *backing, struct volume_io *io);
        void (*map)(void *backing, uint64_t first_block, struct volume_extent *out, uint32_t max,
                    void *ctx,
                    void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block));
        void (*cancel_held)(void *backing);
        uint64_t (*size_bytes)(void *backing);
};

enum nvm_controller_state { NVC_RUNNING, NVC_SUSPENDING, NVC_SUSPENDED };

/* A front end that holds a controller open for writing. One at a time. */
struct nvm_front {
        const char *kind; /* "vhost-user", "fuse" */
        void (*may_submit_changed)(
            struct nvm_front *front); /* the answer of nvc_may_submit turned */
        /* A request passed gate and state, the first since the front end attached or the gate
         * opened. From inside nvc_submit, before the request goes on: to make a note. May be NULL.
         */
        void (*first_request)(struct nvm_front *front);
};

/* -EBUSY when another front end holds it: err names which. */
int nvc_attach_front(struct nvm_controller *c, struct nvm_front *front, struct err *err);
/* Nothing of the front's may be in flight. */
void nvc_detach_front(struct nvm_controller *c, struct nvm_front *front);
/* NULL when none is attached. */
const struct nvm_front *nvc_front(const struct nvm_controller *c);

/* What a virtio front end knows of its device. It travels in the saved state and is compared with
 * the target's, never applied: QEMU migrates these itself. A field of 0: not known, not compared.
 */
struct nvm_front_facts {
        uint64_t offered_features; /* virtio feature bits */
        uint64_t negotiated_features; /* as the guest acknowledged them */
        uint16_t max_queues;
        uint16_t queues; /* in use */
};

/* Kept until replaced or the front end detaches. May be called before attaching. */
void nvc_set_front_facts(struct nvm_controller *c, const struct nvm_front_facts *facts);

bool nvc_may_submit(const struct nvm_controller *c);
enum nvm_controller_state nvc_state(const struct nvm_controller *c);

/* As volume_submit; offset and length in bytes, multiples of 512. Reads are allowed whenever writes
 * are. Submitting while nvc_may_submit is false completes with -ESHUTDOWN: a front end's bug, or a
 * front end without a ring (FUSE), which reports it as EIO. */
void nvc_submit(struct nvm_controller *c, struct volume_io *io);

/* A read past gate and state, for who only looks: a file opened for reading. Not a command of this
 * controller: a suspension does not wait for it. Whether the volume is this host's to show is the
 * caller's to know. */
void nvc_peek(struct nvm_controller *c, struct volume_io *io);

/* As volume_map, past gate and state. out stays valid until done. */
void nvc_map(struct nvm_controller *c, uint64_t first_block, struct volume_extent *out,
             uint32_t max, void *ctx,
             void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block));

/* Requests that wait for space complete with -ECANCELED: for draining a ring that must stop. */
void nvc_cancel_held(struct nvm_controller *c);

uint32_t nvc_inflight(const struct nvm_controller *c);
uint64_t nvc_size_bytes(const struct nvm_controller *c);
uint16_t nvc_cntlid(const struct nvm_controller *c);

/* The ownership gate, shut when the controller is made. Shutting it does not wait for what is in
 * flight (nvc_inflight). */
void nvc_gate_set(struct nvm_controller *c, bool open);
bool nvc_gate_is_open(const struct nvm_controller *c);

#endif
