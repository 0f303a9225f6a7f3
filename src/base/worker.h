/* A thread beside a loop, for calls that block: device ioctls that take milliseconds to seconds.
 *
 * Jobs run one after the other, in the order of submission, on the worker's thread; each is then
 * handed back on the loop's. Everything here is called on the loop's thread. The thread blocks all
 * signals.
 */
#ifndef ZONEPOOL_BASE_WORKER_H
#define ZONEPOOL_BASE_WORKER_H

#include "base/list.h"
#include "base/loop.h"

struct worker;

/* Embedded in its owner, which keeps it from submit until done is called. */
struct worker_job {
        void (*run)(struct worker_job *job); /* on the worker's thread */
        void (*done)(
            struct worker_job *job); /* on the loop's, once; may submit, may free the worker */
        struct list node; /* private while submitted */
};

/* Starts the thread. Returns 0 or -errno. */
int worker_new(struct loop *loop, struct worker **ret_worker);
/* Waits for the job that is running, if one is; done is called for none any more. NULL is accepted.
 */
void worker_free(struct worker *w);

/* Never calls back from inside. */
void worker_submit(struct worker *w, struct worker_job *job);

#endif
