/* src/base/worker: order, hand-over to the loop, and being freed at every awkward moment. */
#include "base/worker.h"
#include "t_suite.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static struct loop *loop;
static pthread_t loop_thread;
static int order[16], norder;

struct job {
        struct worker_job job;
        struct worker *worker;
        sem_t *gate; /* run waits for it */
        int tag;
        int nth; /* of all runs */
        bool elsewhere; /* ran on another thread than the loop's */
        bool free_worker; /* in done */
        struct job *next; /* submitted in done */
};

static atomic_int runs;

static void run(struct worker_job *wj)
{
        struct job *j = list_entry(wj, struct job, job);

        if (j->gate)
                while (sem_wait(j->gate) < 0)
                        continue;
        j->elsewhere = !pthread_equal(pthread_self(), loop_thread);
        j->nth = atomic_fetch_add(&runs, 1);
}

static void done(struct worker_job *wj)
{
        struct job *j = list_entry(wj, struct job, job);

        CU_ASSERT_TRUE(pthread_equal(pthread_self(), loop_thread));
        CU_ASSERT_TRUE(j->elsewhere);
        order[norder++] = j->tag;
        if (j->next)
                worker_submit(j->worker, &j->next->job);
        if (j->free_worker)
                worker_free(j->worker);
}

static struct worker *t_begin(struct job *jobs, int n)
{
        struct worker *w;

        loop_thread = pthread_self();
        norder = 0;
        atomic_store(&runs, 0);
        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        CU_ASSERT_EQUAL_FATAL(worker_new(loop, &w), 0);
        for (int i = 0; i < n; i++)
                jobs[i] = (struct job){.job = {.run = run, .done = done}, .worker = w, .tag = i};
        return w;
}

static void t_until(int n)
{
        uint64_t deadline = clock_now_ns() + UINT64_C(10000000000);

        while (norder < n && clock_now_ns() < deadline)
                loop_turn(loop, 100 * 1000 * 1000);
        CU_ASSERT_EQUAL_FATAL(norder, n);
}

static void test_jobs_run_in_order_on_another_thread_and_end_on_the_loops(void)
{
        struct job jobs[8];
        struct worker *w = t_begin(jobs, 8);

        for (int i = 0; i < 7; i++)
                worker_submit(w, &jobs[i].job);
        jobs[6].next = &jobs[7];
        t_until(8);
        for (int i = 0; i < 8; i++) {
                CU_ASSERT_EQUAL(order[i], i);
                CU_ASSERT_EQUAL(jobs[i].nth, i);
        }
        worker_free(w);
        loop_free(loop);
}

static void tick(struct loop_timer *t)
{
        order[norder++] = 100;
}

/* What it is for: the loop goes on while a job blocks. */
static void test_the_loop_goes_on_while_a_job_blocks(void)
{
        struct job jobs[1];
        struct worker *w = t_begin(jobs, 1);
        struct loop_timer timer = {.fire = tick};
        sem_t gate;

        sem_init(&gate, 0, 0);
        jobs[0].gate = &gate;
        worker_submit(w, &jobs[0].job);
        loop_timer_arm(loop, &timer, clock_now_ns() + 1000000);
        t_until(1);
        CU_ASSERT_EQUAL(order[0], 100);
        sem_post(&gate);
        t_until(2);
        CU_ASSERT_EQUAL(order[1], 0);
        worker_free(w);
        sem_destroy(&gate);
        loop_free(loop);
}

static void test_a_worker_may_be_freed_from_inside_done(void)
{
        struct job jobs[3];
        struct worker *w = t_begin(jobs, 3);

        jobs[1].free_worker = true;
        for (int i = 0; i < 3; i++)
                worker_submit(w, &jobs[i].job);
        t_until(2);
        loop_turn(loop, 0);
        CU_ASSERT_EQUAL(norder, 2); /* the third is not handed back by a worker that is gone */
        loop_free(loop);
}

static void test_freeing_waits_for_the_job_that_runs(void)
{
        struct job jobs[2];
        struct worker *w = t_begin(jobs, 2);

        worker_submit(w, &jobs[0].job);
        worker_free(w); /* under ASan: the thread touches nothing of it any more */
        loop_free(loop);
        w = t_begin(jobs, 0);
        worker_free(w);
        worker_free(NULL);
        CU_ASSERT_EQUAL(norder, 0);
        loop_free(loop);
}

static const struct t_case cases[] = {
    T_CASE(test_jobs_run_in_order_on_another_thread_and_end_on_the_loops),
    T_CASE(test_the_loop_goes_on_while_a_job_blocks),
    T_CASE(test_a_worker_may_be_freed_from_inside_done),
    T_CASE(test_freeing_waits_for_the_job_that_runs),
};
T_MAIN("worker", cases)
