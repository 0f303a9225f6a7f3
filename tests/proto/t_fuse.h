/* A mount in a directory of its own, with a RAM disk behind, for tests of the FUSE front end.
 *
 * It is used through real system calls by child processes: the server must never touch it itself.
 * `client` runs a function in a child while the parent serves; the line that failed is on stderr.
 */
#ifndef ZONEPOOL_TESTS_T_FUSE_H
#define ZONEPOOL_TESTS_T_FUSE_H

#include "frontend/fuse/fuse_front.h"
#include "nvme/subsystem.h"
#include "ram_backing.h"
#include "t_suite.h"

#include <errno.h>
#include <unistd.h>

enum { DISK = 8 << 20, PATIENCE_S = 30 };

extern struct t_mount {
        struct loop *loop;
        struct nvm_subsystem *s;
        struct ram_backing ram;
        struct nvm_controller *c;
        struct fuse_front *front;
        struct fuse_file *file;
        struct fuse_front_options options;
        char dir[64], mnt[80], path[128]; /* of the file */
        bool may_read, open_gate; /* open_gate: the observer opens it, as an owner does */
        int on, off, unmounted, removed, closed;
        struct err trouble;
} t;

extern const struct fuse_file_ops file_ops;

/* A pool "tank" with a volume "vol"; finish ends it, and fails where something is left. */
void begin(void);
void finish(void);

/* Turns the loop until *flag is value or more, at most PATIENCE_S. */
void serve_until(const int *flag, int value);

/* For callbacks: one more in the int at ctx. */
void count(void *ctx);

/* ---- clients ---- */

/* For children. */
#define MUST(cond)                                                                                 \
        do {                                                                                       \
                if (!(cond)) {                                                                     \
                        fprintf(stderr, "\n    %s:%d: %s (errno %d)\n", __func__, __LINE__, #cond, \
                                errno);                                                            \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)
#define FAILS_WITH(call, code) MUST((errno = 0, (call) < 0 && errno == (code)))

struct child {
        struct loop_fd fd;
        pid_t pid;
        int gone;
};

/* Starts run in a child; serves until it has ended, which it must do well. */
void spawn(struct child *c, void (*run)(void));
void join(struct child *c);
/* spawn, then join */
void client(void (*run)(void));

/* In a child: opens the volume's file. */
int open_it(int flags);
/* In a child: runs a command, which has the file in $F and a directory in $D. */
void shell(const char *command);

#endif
