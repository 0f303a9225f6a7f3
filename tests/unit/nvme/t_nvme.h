/* A subsystem with RAM disks, and commands sent and waited for in one call. */
#ifndef ZONEPOOL_TESTS_T_NVME_H
#define ZONEPOOL_TESTS_T_NVME_H

#include "nvme/state.h"
#include "nvme/subsystem.h"
#include "nvme/udmq.h"
#include "ram_backing.h"
#include "t_suite.h"

enum { T_RING_MEMORY = 65536 };

struct t_nvme {
        struct loop *loop;
        struct nvm_subsystem *s;
        struct ram_backing ram[2];
        struct nvm_controller *c[2]; /* gates open */
        uint8_t *ring; /* T_RING_MEMORY bytes, mapped */
        uint16_t cdqid;
        uint32_t nslots, head, phase; /* the reader's view of the ring */
        struct nvm_front front;
        int turns; /* may_submit_changed calls */
};

/* A request that knows whether it has been told. */
struct t_req {
        struct nvm_request r;
        int done;
};

void t_nvme_init(struct t_nvme *t, uint64_t size_bytes);
/* Releases and drains everything that is held; deletes the queue and detaches. */
void t_nvme_fini(struct t_nvme *t);
/* Turns the loop until nothing is due. */
void t_turn(struct t_nvme *t);

/* Sets opcode, NSID and CDW10.. (10, 11, 12, ...). */
void t_sqe(struct t_req *q, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6]);
void t_start(struct t_nvme *t, uint16_t cntlid, struct t_req *q);
/* One admin command of the MMC; returns its status without Do Not Retry. */
uint16_t t_admin(struct t_nvme *t, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6], void *data,
                 size_t len, uint32_t *ret_dw0);
uint16_t t_io(struct t_nvme *t, uint8_t opcode, uint32_t nsid, const uint32_t cdw[6], void *data,
              size_t len);

/* A queue of nslots for controller i. Returns the status. */
uint16_t t_cdq_create(struct t_nvme *t, int i, uint32_t nslots);
uint16_t t_cdq_delete(struct t_nvme *t);
uint16_t t_track(struct t_nvme *t, uint16_t cdqid, int action);
/* Takes the next entry. False: none is new. */
bool t_cdq_take(struct t_nvme *t, struct udmq_entry *ret_entry);
/* Tells the head that t_cdq_take has reached. */
uint16_t t_cdq_head(struct t_nvme *t);
uint16_t t_suspend(struct t_nvme *t, int i, bool delete_cdq);
uint16_t t_resume(struct t_nvme *t, int i);

/* A front end's request through controller i, waited for unless the disk holds. Returns its status,
 * or 1 when it is still under way. */
int t_front_io(struct t_nvme *t, int i, enum volume_op op, uint64_t block, uint64_t nblocks);

#endif
