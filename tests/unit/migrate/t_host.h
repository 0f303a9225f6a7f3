/* Two hosts in one process: pools over RAM devices, subsystem, ownership, engine, TCP on loopback,
 * and a guest that writes through the controllers and remembers what it wrote. One loop runs it
 * all.
 */
#ifndef ZONEPOOL_TESTS_T_HOST_H
#define ZONEPOOL_TESTS_T_HOST_H

#include "base/rng.h"
#include "migrate/internal.h"
#include "migrate/migrate.h"
#include "nvme/namespace.h"
#include "t_suite.h"

enum { T_POOLS = 2, T_VOLUMES = 4, T_BLOCK = 4096, T_DEVICES = 3 };

struct t_host;

struct t_vol {
        struct t_host *host;
        struct list node;
        char pool[POOL_NAME_MAX + 1];
        struct volume *vol;
        struct nvm_controller *nvc;
        struct migrate_volume *mv;
        struct front_observer observer;
        struct nvm_front front;
        bool rings;
};

struct t_host {
        struct loop *loop;
        int number;
        char address[32];
        struct uuid uuid;
        uint64_t incarnation;
        char pool_names[T_POOLS][POOL_NAME_MAX + 1];
        struct pool *pools[T_POOLS];
        const char *peers[4];
        uint32_t npeers;
        struct nvm_subsystem *nvm;
        struct nvme_target *target;
        struct migrate *m;
        struct list volumes; /* t_vol */
        uint64_t max_pause_ns;
        unsigned ndevices; /* of each pool, at most T_DEVICES; 0: 1 */
};

/* Makes the host's pools ("tank", "pond") and starts it. nr_zones of 64 blocks a
 * device; max_pause_ns and ndevices stay what they are. */
void t_host_init(struct t_host *h, struct loop *loop, int number, uint32_t nr_zones);
void t_host_start(struct t_host *h);
/* Ends ownership, engine and controllers; the pools keep what is durable. */
void t_host_stop(struct t_host *h);
void t_host_fini(struct t_host *h);

struct t_vol *t_vol_create(struct t_host *h, const char *pool, const char *name, uint64_t blocks);
/* The same with copies and a reservation. */
struct t_vol *t_vol_make(struct t_host *h, const char *pool, const char *name, uint64_t blocks,
                         uint8_t copies, uint64_t reserved_blocks);
struct t_vol *t_vol_find(struct t_host *h, const char *pool, const char *name);
void t_rings(struct t_vol *v, bool on, pid_t pid);
/* Its QEMU has ended: rings off, connection closed. */
void t_disconnect(struct t_vol *v);
bool t_gate(const struct t_vol *v);
enum owner_state t_state(const struct t_vol *v);

/* What a guest wrote to one volume: version of each block, 0 never. */
struct t_disk {
        uint64_t blocks;
        uint32_t *version;
        uint32_t next;
        uint64_t written_bytes;
};
void t_disk_init(struct t_disk *d, uint64_t blocks);
void t_disk_fini(struct t_disk *d);
/* Writes n blocks with new versions through the controller; false when the gate is shut. */
bool t_disk_write(struct t_disk *d, struct t_vol *v, uint64_t first, uint64_t n);
/* Discards: reads as zeroes from then on. */
void t_disk_discard(struct t_disk *d, struct t_vol *v, uint64_t first, uint64_t n);
/* Blocks of the volume that are not what the guest wrote last. Reads past the gate. */
uint64_t t_disk_wrong(const struct t_disk *d, struct t_vol *v);
uint64_t t_disk_nonzero(const struct t_disk *d);

/* Turns the loop until *flag, at most seconds: else the test fails. */
void t_until(struct loop *loop, const bool *flag, unsigned seconds);
void t_turns(struct loop *loop, unsigned ms);

/* An answer to a request of owner/owner.h or migrate_incoming. */
struct t_answer {
        struct owner_request r;
        struct migrate_incoming in;
        bool done;
        int status;
        unsigned progress;
        struct err err;
};
struct t_answer *t_answer_init(struct t_answer *a);

#endif
