/* A thread beside a loop, see worker.h.
 *
 * The lock covers todo, ended and stop, and is held for a few pointer moves only. The worker writes
 * the eventfd after it has put a job into `ended`; the loop empties the list after it has read the
 * eventfd: no job stays unseen. run's effects are visible to done through the lock.
 */
#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct worker {
        struct loop_fd watch; /* the eventfd */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t more; /* todo or stop changed */
        struct list todo; /* under lock, as the next two */
        struct list ended;
        bool stop;
        bool delivering; /* the loop's: done is being called, worker_free leaves the struct to it */
        bool closed; /* the loop's */
};

static void *work(void *ctx)
{
        struct worker *w = ctx;
        const uint64_t one = 1;

        pthread_mutex_lock(&w->lock);
        for (;;) {
                struct worker_job *job = list_first(&w->todo, struct worker_job, node);
                if (w->stop)
                        break;
                if (!job) {
                        pthread_cond_wait(&w->more, &w->lock);
                        continue;
                }
                list_del(&job->node);
                pthread_mutex_unlock(&w->lock);
                job->run(job);
                pthread_mutex_lock(&w->lock);
                list_add_tail(&w->ended, &job->node);
                /* Fails only when 2^64 - 2 wake-ups are waiting: then the loop is awake anyway. */
                (void)!write(w->watch.fd, &one, sizeof(one));
        }
        pthread_mutex_unlock(&w->lock);
        return NULL;
}

static struct worker_job *take_ended(struct worker *w)
{
        pthread_mutex_lock(&w->lock);
        struct worker_job *job = list_first(&w->ended, struct worker_job, node);
        if (job)
                list_del(&job->node);
        pthread_mutex_unlock(&w->lock);
        return job;
}

static void ready(struct loop_fd *watch, uint32_t events)
{
        struct worker *w = container_of(watch, struct worker, watch);
        struct worker_job *job;
        uint64_t count;

        if (read(watch->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                return;
        w->delivering = true;
        while (!w->closed && (job = take_ended(w)))
                job->done(job);
        w->delivering = false;
        if (w->closed)
                free(w);
}

static int start_thread(struct worker *w)
{
        sigset_t all, before;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int rc = pthread_create(&w->thread, NULL, work, w);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -rc;
}

int worker_new(struct loop *loop, struct worker **ret_worker)
{
        struct worker *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        list_init(&w->todo);
        list_init(&w->ended);
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->more, NULL);
        w->watch.ready = ready;
        w->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int rc = w->watch.fd < 0 ? -errno : loop_fd_add(loop, &w->watch, EPOLLIN);
        if (rc == 0)
                rc = start_thread(w);
        if (rc < 0) {
                if (w->watch.fd >= 0) {
                        loop_fd_del(&w->watch);
                        close(w->watch.fd);
                }
                free(w);
                return rc;
        }
        *ret_worker = w;
        return 0;
}

void worker_free(struct worker *w)
{
        if (!w)
                return;
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->more);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        loop_fd_del(&w->watch);
        close(w->watch.fd);
        pthread_cond_destroy(&w->more);
        pthread_mutex_destroy(&w->lock);
        w->closed = true;
        if (!w->delivering)
                free(w);
}

void worker_submit(struct worker *w, struct worker_job *job)
{
        pthread_mutex_lock(&w->lock);
        list_add_tail(&w->todo, &job->node);
        pthread_cond_signal(&w->more);
        pthread_mutex_unlock(&w->lock);
}
