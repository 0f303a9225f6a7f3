/* The event loop: file descriptors, timers and deferred calls of one thread.
 *
 * Everything here is called on the loop's own thread; nothing blocks but loop_run. Callbacks may
 * add and remove anything, themselves included, and may free the struct they were called for once
 * they have removed it.
 */
#ifndef ZONEPOOL_BASE_LOOP_H
#define ZONEPOOL_BASE_LOOP_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A watched descriptor, embedded in its owner. The loop never closes fd. */
struct loop_fd {
        int fd;
        void (*ready)(struct loop_fd *self, uint32_t events); /* EPOLLIN, EPOLLOUT, ... */
        uint32_t events; /* private */
        struct loop *loop; /* private; NULL when not watched */
};

/* A one-shot timer, embedded in its owner. */
struct loop_timer {
        void (*fire)(struct loop_timer *self);
        uint64_t due_ns; /* private; monotonic */
        struct loop *loop; /* private; NULL when not armed */
        struct list node; /* private */
};

/* A call to be made once, at the end of the present turn of the loop. */
struct loop_defer {
        void (*call)(struct loop_defer *self);
        struct loop *loop; /* private; NULL when not queued */
        struct list node; /* private */
};

/* Returns 0 or -errno. */
int loop_new(struct loop **ret_loop);
/* NULL is accepted. Everything must have been removed. */
void loop_free(struct loop *loop);

/* Runs until loop_stop. Returns 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One turn: waits at most timeout_ns (0: not at all, UINT64_MAX: until something happens), then
 * calls what is due. For tests. Returns 0 or -errno. */
int loop_turn(struct loop *loop, uint64_t timeout_ns);

/* Monotonic nanoseconds, read once a turn. */
uint64_t loop_now_ns(const struct loop *loop);
/* Monotonic nanoseconds, read now. */
uint64_t clock_now_ns(void);

/* w->fd and w->ready are set by the caller. events: EPOLLIN and/or EPOLLOUT, or 0 (only errors and
 * hang-ups). Returns 0 or -errno. */
int loop_fd_add(struct loop *loop, struct loop_fd *w, uint32_t events);
int loop_fd_mod(struct loop_fd *w, uint32_t events);
/* Harmless when not watched. Must come before the descriptor is closed. */
void loop_fd_del(struct loop_fd *w);

/* Arms, or moves, the timer. */
void loop_timer_arm(struct loop *loop, struct loop_timer *t, uint64_t due_ns);
void loop_timer_disarm(struct loop_timer *t);
static inline bool loop_timer_armed(const struct loop_timer *t)
{
        return t->loop != NULL;
}

/* Queues the call; once, however often it is asked for before it is made. */
void loop_defer(struct loop *loop, struct loop_defer *d);
void loop_defer_cancel(struct loop_defer *d);

#endif
