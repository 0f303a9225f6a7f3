/* A world of three hosts for the ownership part alone: records on two "disks" a host that are
 * written one after the other, a network that loses, repeats and delays, QEMUs that come and go,
 * daemons that are killed. Nothing here takes time: timers are fired by hand.
 *
 * Data is one version number a volume and host. Who serves must have the newest.
 */
#ifndef ZONEPOOL_TESTS_OWNER_WORLD_H
#define ZONEPOOL_TESTS_OWNER_WORLD_H

#include "base/rng.h"
#include "migrate/owner/internal.h"

enum { W_HOSTS = 3, W_VOLUMES = 2, W_MAX_NET = 256, W_MAX_JOBS = 64 };

struct w_volume {
        struct world *w;
        int host, index;
        bool exists;
        uint8_t record[OWNER_RECORD_MAX]; /* on disk */
        size_t record_len;
        uint64_t data;
        struct owner_volume *ov; /* NULL: daemon dead, or its pool not imported yet */
        bool gate, rings, connected;
};

enum w_job_kind { W_WRITE, W_PREPARED, W_RESUMED, W_DELETE };

/* Something that completes later: until then a crash undoes it. */
struct w_job {
        enum w_job_kind kind;
        struct owner_write *write;
        bool applied[W_VOLUMES];
        struct owner_token token;
        struct w_volume *volume;
};

struct w_host {
        struct world *w;
        int number;
        struct owner *o; /* NULL: daemon dead */
        uint64_t incarnation;
        struct w_volume v[W_VOLUMES];
        bool pool_ready[W_VOLUMES]; /* volume i lies in pool i */
        struct w_job jobs[W_MAX_JOBS];
        unsigned njobs;
        int qemu; /* pid of the QEMU there; 0: none */
        int asking; /* pid whose Acquire is under way */
        int granted; /* pid whose last Acquire was answered OK; 0: none */
        struct owner_token bulk; /* which token's bulk this daemon pulled */
        struct owner_request acquire;
        bool acquiring;
        int acquire_status; /* of the last that was answered */
        char release_state[OWNER_TOKEN_TEXT];
        struct owner_request stage;
        bool staging;
};

struct w_packet {
        int from, to;
        struct owner_msg msg;
        uint64_t data[W_VOLUMES]; /* DELTA */
};

struct world {
        struct loop *loop;
        struct rng rng;
        struct w_host h[W_HOSTS];
        struct w_packet net[W_MAX_NET];
        unsigned nnet;
        uint64_t newest[W_VOLUMES];
        char token[OWNER_TOKEN_TEXT]; /* of the last Inquire */
        bool pid_alive[4096];
        int next_pid;
        unsigned hops, backs, crashes, refusals;
        bool row_seen[256];
        char fault[256]; /* empty: none */
        bool trace;
};

void w_init(struct world *w, uint64_t seed);
void w_fini(struct world *w);
void w_start_daemon(struct world *w, int host);
void w_kill_daemon(struct world *w, int host);
void w_ready_pool(struct world *w, int host, int pool);
void w_start_qemu(struct world *w, int host);
void w_kill_qemu(struct world *w, int host);
/* state NULL: own. */
void w_acquire(struct world *w, int host, const char *state);
void w_release(struct world *w, int host);
void w_rings(struct world *w, int host, bool on);
void w_inquire(struct world *w, int host);
void w_stage(struct world *w, int from, int to);
/* A QEMU asks for no more dirty logging; the source's log or the target's bulk is lost; the hook
 * says that the domain is gone. */
void w_log_off(struct world *w, int host);
void w_fail(struct world *w, int host);
void w_released(struct world *w, int host);
/* One packet: delivered, lost or repeated. */
void w_net(struct world *w, bool lossy);
void w_job(struct world *w, int host);
/* A timer of the host fires; timeup: its deadline has passed. */
void w_timer(struct world *w, int host, bool timeup);
/* Guests that can, write. Sets fault when two can, or one has old data. */
void w_check(struct world *w);

#endif
