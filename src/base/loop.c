/* Event loop over epoll, see loop.h.
 *
 * Invariants: timers stand in one list sorted by due time (there are few: one or two a connection).
 * A descriptor removed in the middle of a turn is cut out of the events still to be delivered, so
 * that its owner can be freed at once.
 */
#include "base/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

enum { MAX_EVENTS = 64 };

struct loop {
        int epfd;
        bool stop;
        uint64_t now_ns;
        struct list timers;
        struct list defers;
        struct epoll_event events[MAX_EVENTS];
        int nevents; /* delivered by the turn that is running */
};

uint64_t clock_now_ns(void)
{
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

int loop_new(struct loop **ret_loop)
{
        struct loop *loop = calloc(1, sizeof(*loop));
        if (!loop)
                return -ENOMEM;
        loop->epfd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epfd < 0) {
                int rc = -errno;
                free(loop);
                return rc;
        }
        list_init(&loop->timers);
        list_init(&loop->defers);
        loop->now_ns = clock_now_ns();
        *ret_loop = loop;
        return 0;
}

void loop_free(struct loop *loop)
{
        if (!loop)
                return;
        close(loop->epfd);
        free(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
        return loop->now_ns;
}

void loop_stop(struct loop *loop)
{
        loop->stop = true;
}

int loop_fd_add(struct loop *loop, struct loop_fd *w, uint32_t events)
{
        struct epoll_event ev = {.events = events, .data.ptr = w};
        if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
                return -errno;
        w->loop = loop;
        w->events = events;
        return 0;
}

int loop_fd_mod(struct loop_fd *w, uint32_t events)
{
        struct epoll_event ev = {.events = events, .data.ptr = w};
        if (w->events == events)
                return 0;
        if (epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
                return -errno;
        w->events = events;
        return 0;
}

void loop_fd_del(struct loop_fd *w)
{
        struct loop *loop = w->loop;
        if (!loop)
                return;
        epoll_ctl(loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
        for (int i = 0; i < loop->nevents; i++)
                if (loop->events[i].data.ptr == w)
                        loop->events[i].data.ptr = NULL;
        w->loop = NULL;
}

void loop_timer_arm(struct loop *loop, struct loop_timer *t, uint64_t due_ns)
{
        struct loop_timer *other;

        loop_timer_disarm(t);
        t->loop = loop;
        t->due_ns = due_ns;
        list_init(&t->node);
        list_for_each (other, &loop->timers, node) {
                if (other->due_ns > due_ns)
                        break;
        }
        list_add_tail(&other->node, &t->node); /* before other, or at the end */
}

void loop_timer_disarm(struct loop_timer *t)
{
        if (!t->loop)
                return;
        list_del(&t->node);
        t->loop = NULL;
}

void loop_defer(struct loop *loop, struct loop_defer *d)
{
        if (d->loop)
                return;
        d->loop = loop;
        list_init(&d->node);
        list_add_tail(&loop->defers, &d->node);
}

void loop_defer_cancel(struct loop_defer *d)
{
        if (!d->loop)
                return;
        list_del(&d->node);
        d->loop = NULL;
}

static void fire_timers(struct loop *loop)
{
        struct loop_timer *t;
        while ((t = list_first(&loop->timers, struct loop_timer, node)) &&
               t->due_ns <= loop->now_ns) {
                loop_timer_disarm(t);
                t->fire(t);
        }
}

/* Only what was queued before this call: a deferred call that defers itself waits for a turn. */
static void run_defers(struct loop *loop)
{
        struct list batch;
        struct loop_defer *d;

        list_init(&batch);
        list_splice_tail(&batch, &loop->defers);
        while ((d = list_first(&batch, struct loop_defer, node))) {
                loop_defer_cancel(d);
                d->call(d);
        }
}

static int wait_ms(struct loop *loop, uint64_t timeout_ns)
{
        struct loop_timer *t = list_first(&loop->timers, struct loop_timer, node);

        if (!list_empty(&loop->defers))
                return 0;
        if (t) {
                uint64_t now = clock_now_ns();
                timeout_ns = MIN(timeout_ns, t->due_ns > now ? t->due_ns - now : 0);
        }
        if (timeout_ns == UINT64_MAX)
                return -1;
        return (int)MIN(DIV_ROUND_UP(timeout_ns, 1000000), 3600000);
}

int loop_turn(struct loop *loop, uint64_t timeout_ns)
{
        int n = epoll_wait(loop->epfd, loop->events, MAX_EVENTS, wait_ms(loop, timeout_ns));
        if (n < 0 && errno != EINTR)
                return -errno;
        loop->now_ns = clock_now_ns();
        loop->nevents = MAX(n, 0);
        for (int i = 0; i < loop->nevents; i++) {
                struct loop_fd *w = loop->events[i].data.ptr;
                if (w)
                        w->ready(w, loop->events[i].events);
        }
        loop->nevents = 0;
        fire_timers(loop);
        run_defers(loop);
        return 0;
}

int loop_run(struct loop *loop)
{
        int rc = 0;
        loop->stop = false;
        while (!loop->stop && rc == 0)
                rc = loop_turn(loop, UINT64_MAX);
        return rc;
}
