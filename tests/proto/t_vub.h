/* A vhost-user peer and guest in one, for tests of the server over a real socket.
 *
 * `struct t_rig` is the host side: loop, subsystem, controller over a RAM disk, server, a record of
 * events. `struct t_peer` plays QEMU (messages) and the guest (rings in shared memory). All of it
 * runs on the test's thread: whatever waits turns the loop, with a deadline.
 */
#ifndef ZONEPOOL_TESTS_T_VUB_H
#define ZONEPOOL_TESTS_T_VUB_H

#include "frontend/vhost_user/proto.h"
#include "frontend/vhost_user/server.h"
#include "nvme/subsystem.h"
#include "t_suite.h"

#include <stdatomic.h>

/* Says why, by errno, and ends the test. */
__attribute__((noreturn)) void t_die(const char *what);

/* ---- the disk ---- */

enum t_disk_mode {
        T_DISK_NORMAL, /* completes at the end of the turn */
        T_DISK_SLOW, /* keeps everything until t_disk_release */
        T_DISK_HELD, /* as if space were exhausted: keeps writes until t_disk_release or cancel_held
                      */
};

enum { T_DISK_LOG = 4096 };

struct t_disk {
        struct loop *loop;
        uint8_t *data;
        uint64_t size;
        enum t_disk_mode mode;
        int fail; /* status of every request, when not 0 */
        struct list queue;
        struct loop_defer defer;
        uint64_t delay_ns; /* T_DISK_NORMAL: age at which a request completes */
        struct loop_timer timer;
        unsigned pending;
        /* what was submitted, in order */
        struct {
                enum volume_op op;
                uint64_t offset, length;
                bool fua;
        } log[T_DISK_LOG];
        unsigned nlog;
};

/* Everything that is kept goes on, in the order given by `reverse`. */
void t_disk_release(struct t_disk *d, bool reverse);

/* ---- the host ---- */

enum { T_EVENTS = 64 };

struct t_rig {
        struct loop *loop;
        struct nvm_subsystem *subsystem;
        struct nvm_controller *controller;
        struct t_disk disk;
        struct vub_server *server;
        struct vub_options options;
        char dir[64], path[96];
        enum front_event events[T_EVENTS];
        unsigned nevents;
        void (*on_event)(struct t_rig *rig, enum front_event event); /* may be NULL */
        char trouble[512]; /* the last text */
        unsigned ntrouble;
};

enum { T_DISK_BYTES = 8 << 20 };

/* With the gate open and a server listening. Ends the test program when it cannot. */
void t_rig_up(struct t_rig *rig);
/* As t_rig_up, without a server. */
void t_rig_prepare(struct t_rig *rig, uint8_t *data);
void t_rig_listen(struct t_rig *rig);
void t_rig_down(struct t_rig *rig);
/* Turns the loop until it has nothing to do. */
void t_settle(struct t_rig *rig);
/* For helpers that also run outside of a test (fuzzer): there a failure aborts. */
#define T_CHECK(cond) t_check((cond), __LINE__, __FILE__, #cond)
static inline void t_check(bool good, unsigned line, const char *file, const char *what)
{
        if (CU_get_current_test())
                CU_assertImplementation(good, line, what, file, "", CU_FALSE);
        else if (!good)
                abort();
}
/* Turns until cond or 5 s. */
#define T_UNTIL(rig, cond)                                                                         \
        ({                                                                                         \
                uint64_t end_ = clock_now_ns() + UINT64_C(5000000000);                             \
                bool ok_;                                                                          \
                while (!(ok_ = (cond)) && clock_now_ns() < end_)                                   \
                        loop_turn((rig)->loop, 1000000);                                           \
                T_CHECK(ok_);                                                                      \
                ok_;                                                                               \
        })
bool t_saw(const struct t_rig *rig, enum front_event event);
unsigned t_count(const struct t_rig *rig, enum front_event event);

/* A server in a process of its own, over T_DISK_BYTES of shared memory; serves until killed. For a
 * rig without a loop. */
pid_t t_spawn_server(uint8_t *data, const char *path, uint64_t delay_ns);
/* Stops it under our eyes (skips the test where that is forbidden); one instruction each step. */
void t_trace(pid_t pid);
bool t_step(pid_t pid);

/* ---- the peer ---- */

enum {
        T_MEM_BYTES = 4 << 20,
        T_SEAM = 2 << 20, /* guest address where the second memory region begins */
        T_QUEUES = 64,
        T_DATA = 0x120000, /* free guest memory from here on */
};

#define T_USER_BASE UINT64_C(0x7e0000000000)

struct t_queue {
        uint16_t num, avail_idx, used_seen;
        uint16_t next_desc;
        uint64_t desc, avail, used; /* guest addresses */
        int kick, call, err;
};

struct t_peer {
        struct t_rig *rig;
        int sock;
        int mem_fd;
        uint8_t *mem;
        int log_fd;
        uint8_t *log;
        int inflight_fd;
        uint8_t *inflight;
        uint64_t inflight_bytes;
        struct t_queue q[T_QUEUES];
        uint64_t features, protocol;
};

/* Connects; memory and eventfds exist, nothing has been said. */
void t_peer_connect(struct t_peer *p, struct t_rig *rig);
/* Closes the socket, keeps memory and eventfds. */
void t_peer_hang_up(struct t_peer *p);
/* A new socket on the same memory: what QEMU does when its backend comes back. */
void t_peer_reconnect(struct t_peer *p);
void t_peer_free(struct t_peer *p);

void t_send(struct t_peer *p, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
            const int *fds, int nfds);
/* The next reply's payload; -1 when the connection was closed, -2 when none comes. */
int t_recv(struct t_peer *p, uint32_t request, void *payload, uint32_t max, int *ret_fd);
/* true: no reply is there after the loop has settled. */
bool t_silent(struct t_peer *p);
/* true: the server has closed the connection. */
bool t_closed(struct t_peer *p);

void t_send_u64(struct t_peer *p, uint32_t request, uint64_t v);
uint64_t t_ask_u64(struct t_peer *p, uint32_t request);
/* As t_send with need_reply; returns the acknowledgement, UINT64_MAX: closed. */
uint64_t t_ask_ack(struct t_peer *p, uint32_t request, const void *payload, uint32_t len,
                   const int *fds, int nfds);

#define T_FEATURES (VUB_FEATURES & ~VUB_F_LOG_ALL)
/* Features, owner, memory. */
void t_handshake(struct t_peer *p, uint64_t features);
void t_send_mem_table(struct t_peer *p);
void t_send_state(struct t_peer *p, uint32_t request, uint32_t ring, uint32_t num);
void t_send_addr(struct t_peer *p, unsigned ring, bool log);
void t_send_fd(struct t_peer *p, uint32_t request, unsigned ring, int fd);
/* NUM, BASE, ADDR, CALL, ERR, KICK, ENABLE 1. */
void t_start_queue(struct t_peer *p, unsigned ring, uint16_t num, uint16_t base);
/* Asks, does not wait. */
void t_ask_base(struct t_peer *p, unsigned ring);
/* The answer, -1 when none comes. */
int t_base_answer(struct t_peer *p, unsigned ring);
int t_stop_queue(struct t_peer *p, unsigned ring);
void t_log_on(struct t_peer *p);

/* ---- the guest ---- */

struct t_buf {
        uint64_t gpa;
        uint32_t len;
        bool write;
};

enum { T_NEXT = 1, T_WRITE = 2, T_INDIRECT = 4 };

void t_desc(struct t_peer *p, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len,
            uint16_t flags, uint16_t next);
/* Fills free descriptors; returns the head. */
uint16_t t_chain(struct t_peer *p, unsigned ring, const struct t_buf *bufs, int n);
/* The same by an indirect table at guest address table. */
uint16_t t_chain_indirect(struct t_peer *p, unsigned ring, uint64_t table, const struct t_buf *bufs,
                          int n);
/* Offers without a kick. */
void t_offer(struct t_peer *p, unsigned ring, uint16_t head);
void t_kick(struct t_peer *p, unsigned ring);
/* The next used element; false: none. */
bool t_used(struct t_peer *p, unsigned ring, uint32_t *ret_id, uint32_t *ret_len);
uint16_t t_used_idx(struct t_peer *p, unsigned ring);
/* Signals since the last call. */
uint64_t t_signals(int fd);
void t_header(struct t_peer *p, uint64_t gpa, uint32_t type, uint64_t sector);
/* One request by header and status of slot, with one data buffer (len 0: none). Returns its head.
 */
uint16_t t_request(struct t_peer *p, unsigned ring, unsigned slot, uint32_t type, uint64_t sector,
                   uint64_t data, uint32_t len);
/* The same, offered, kicked and waited for. Returns the status byte, -1: never used. */
int t_do(struct t_peer *p, unsigned ring, uint32_t type, uint64_t sector, uint64_t data,
         uint32_t len);
uint64_t t_header_gpa(unsigned slot);
uint64_t t_status_gpa(unsigned slot);

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { T_OK = 0, T_IOERR = 1, T_UNSUPP = 2 };

#endif
