/* See lookup.h. A lookup belongs to its thread and to who asked: whoever lets go last frees it. The
 * thread's results are written before it writes the eventfd, and read behind a read of that.
 *
 * Left out on purpose: a cache. The system's resolver has one, and a peer is dialled rarely.
 */
#include "migrate/peer/lookup.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct lookup {
        struct loop_fd watch; /* an eventfd */
        void *ctx;
        void (*done)(void *ctx, struct addrinfo *list, const struct err *err);
        char *host, *port;
        int code, sys; /* of getaddrinfo; errno of EAI_SYSTEM */
        struct addrinfo *list;
        atomic_int holders;
};

static atomic_int running; /* threads */

static void let_go(struct lookup *l)
{
        if (atomic_fetch_sub_explicit(&l->holders, 1, memory_order_acq_rel) > 1)
                return;
        if (l->list)
                freeaddrinfo(l->list);
        if (l->watch.fd >= 0)
                close(l->watch.fd);
        free(l->host);
        free(l->port);
        free(l);
}

static void *look_up(void *arg)
{
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
        const uint64_t one = 1;
        struct lookup *l = arg;

        l->code = getaddrinfo(l->host, l->port, &hints, &l->list);
        l->sys = errno;
        if (l->code)
                l->list = NULL;
        ssize_t told = write(l->watch.fd, &one, sizeof(one));
        assert(told == sizeof(one)); /* the counter was at 0 */
        atomic_fetch_sub(&running, 1);
        let_go(l);
        return NULL;
}

static void looked_up(struct loop_fd *w, uint32_t events)
{
        struct lookup *l = container_of(w, struct lookup, watch);
        struct err err = ERR_INIT;
        uint64_t n;

        if (read(w->fd, &n, sizeof(n)) < 0)
                return;
        if (l->code)
                err_set(&err, EHOSTUNREACH, "the name '%s' cannot be resolved: %s", l->host,
                        l->code == EAI_SYSTEM ? strerror(l->sys) : gai_strerror(l->code));
        loop_fd_del(&l->watch);
        struct addrinfo *list = steal_ptr(&l->list);
        void (*done)(void *, struct addrinfo *, const struct err *) = l->done;
        void *ctx = l->ctx;
        let_go(l);
        done(ctx, list, &err);
}

/* The thread takes no signals: those are the loop's. */
static int start_thread(struct lookup *l)
{
        pthread_attr_t attr;
        pthread_t thread;
        sigset_t all, before;
        int rc = pthread_attr_init(&attr);

        if (rc)
                return -rc;
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&thread, &attr, look_up, l);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
        return -rc;
}

int lookup_start(struct loop *loop, const char *host, const char *port, void *ctx,
                 void (*done)(void *ctx, struct addrinfo *list, const struct err *err),
                 struct lookup **ret_lookup, struct err *err)
{
        struct lookup *l = calloc(1, sizeof(*l));
        int rc = 0;

        if (!l)
                return err_set(err, ENOMEM, "out of memory");
        atomic_init(&l->holders, 2);
        l->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        l->watch.ready = looked_up;
        l->ctx = ctx;
        l->done = done;
        l->host = strdup(host);
        l->port = strdup(port);
        if (l->watch.fd < 0)
                rc = -errno;
        else if (!l->host || !l->port)
                rc = -ENOMEM;
        else
                rc = loop_fd_add(loop, &l->watch, EPOLLIN);
        if (atomic_fetch_add(&running, 1) >= LOOKUP_MAX && rc == 0)
                rc = -EAGAIN;
        if (rc == 0)
                rc = start_thread(l);
        if (rc < 0) {
                atomic_fetch_sub(&running, 1);
                loop_fd_del(&l->watch);
                atomic_store(&l->holders, 1);
                let_go(l);
                return err_set_sys(err, -rc, "the name '%s' cannot be looked up", host);
        }
        *ret_lookup = l;
        return 0;
}

void lookup_cancel(struct lookup *l)
{
        if (!l)
                return;
        loop_fd_del(&l->watch);
        let_go(l);
}
