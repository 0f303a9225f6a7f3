/* Runs seeds, each in one of a few processes, and says which one failed and how to see it again.
 *
 *   sim [--seeds N] [--first S] [--jobs J] [-v]
 *   sim --exhaustive [--states N] [--first S] [--jobs J] [--case PATH]
 *
 * Last line: "sim: seeds=N states=N lost=0", or "sim: exhaustive states=N pruned=N lost=0"; a
 * failure ends the program with 1. */
#include "base/cleanup.h"
#include "tests/sim/exhaustive/exhaustive.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* A run that takes longer does not end; sanitizers make it several times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEED_CPU_S = 100 };
#else
enum { SEED_CPU_S = 20 };
#endif
enum { MAX_JOBS = 64 };

/* What a worker tells, in shared memory. */
struct progress {
        volatile uint64_t seed; /* running */
        volatile uint64_t done;
        volatile uint64_t states, user_ops, cleaned, evened, faulted, imports, failures;
};

struct arguments {
        uint64_t first, seeds;
        unsigned jobs;
        bool verbose, exhaustive;
        uint64_t states;
        const char *only; /* case */
};

static void run_seeds(const struct arguments *args, unsigned job, struct progress *p)
{
        for (uint64_t i = job; i < args->seeds; i += args->jobs) {
                struct sim sim = {.seed = args->first + i, .verbose = args->verbose};
                p->seed = sim.seed;
                struct itimerval limit = {.it_value.tv_sec = SEED_CPU_S};
                setitimer(ITIMER_VIRTUAL, &limit,
                          NULL); /* a run that does not end ends the worker */
                sim_run(&sim);
                p->states += sim.states;
                p->user_ops += sim.user_ops;
                p->cleaned += sim.cleaned;
                p->evened += sim.evened;
                p->faulted += sim.faulted;
                p->imports += sim.imports;
                p->failures += sim.failures;
                p->done++;
        }
}

static int usage(const char *name)
{
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--jobs J] [-v]\n"
                "       %s --exhaustive [--states N] [--first S] [--jobs J] [--case PATH]\n",
                name, name);
        return 2;
}

static int parse(int argc, char **argv, struct arguments *args)
{
        static const struct option options[] = {
            {"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 'f'},
            {"jobs", required_argument, NULL, 'j'},  {"verbose", no_argument, NULL, 'v'},
            {"exhaustive", no_argument, NULL, 'x'},  {"states", required_argument, NULL, 's'},
            {"case", required_argument, NULL, 'c'},  {0}};
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        *args = (struct arguments){.first = 1,
                                   .seeds = 200,
                                   .states = EXHAUSTIVE_STATES,
                                   .jobs = cpus > 0 ? MIN((unsigned)cpus, MAX_JOBS) : 1};
        int c;
        while ((c = getopt_long(argc, argv, "n:f:j:vxs:c:", options, NULL)) >= 0) {
                char *end = NULL;
                uint64_t n = optarg ? strtoull(optarg, &end, 0) : 0;
                if (c == '?' || (optarg && c != 'c' && (!*optarg || *end)))
                        return -EINVAL;
                if (c == 'n')
                        args->seeds = n;
                else if (c == 'f')
                        args->first = n;
                else if (c == 'j')
                        args->jobs = (unsigned)n;
                else if (c == 'x')
                        args->exhaustive = true;
                else if (c == 's')
                        args->states = n;
                else if (c == 'c')
                        args->only = optarg;
                else
                        args->verbose = true;
        }
        if (optind != argc || !args->jobs || args->jobs > MAX_JOBS || !args->seeds)
                return -EINVAL;
        return 0;
}

/* Waits for the workers; the first that fails ends the others. Returns the failed one's index, or
 * -1. */
static int wait_for_workers(const pid_t *pids, unsigned njobs, int *ret_status)
{
        int failed = -1;
        for (unsigned left = njobs; left; left--) {
                int status;
                pid_t pid = waitpid(-1, &status, 0);
                if (pid < 0)
                        break;
                if (status == 0 || failed >= 0)
                        continue;
                for (unsigned i = 0; i < njobs; i++) {
                        if (pids[i] == pid) {
                                failed = (int)i;
                                *ret_status = status;
                        } else {
                                kill(pids[i], SIGKILL);
                        }
                }
        }
        return failed;
}

int main(int argc, char **argv)
{
        struct arguments args;
        if (parse(argc, argv, &args) < 0)
                return usage(argv[0]);
        if (args.exhaustive)
                return exhaustive_run(&(struct exhaustive_arguments){.states = args.states,
                                                                     .seed = args.first,
                                                                     .jobs = args.jobs,
                                                                     .only = args.only});
        struct progress *p = mmap(NULL, sizeof(*p) * MAX_JOBS, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return 1;
        pid_t pids[MAX_JOBS];
        fflush(stdout);
        for (unsigned i = 0; i < args.jobs; i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        return 1;
                if (pids[i] == 0) {
                        run_seeds(&args, i, &p[i]);
                        exit(0);
                }
        }
        int status = 0;
        int failed = wait_for_workers(pids, args.jobs, &status);
        struct progress sum = {0};
        for (unsigned i = 0; i < args.jobs; i++) {
                sum.done += p[i].done;
                sum.states += p[i].states;
                sum.user_ops += p[i].user_ops;
                sum.cleaned += p[i].cleaned;
                sum.evened += p[i].evened;
                sum.faulted += p[i].faulted;
                sum.imports += p[i].imports;
                sum.failures += p[i].failures;
        }
        printf("%llu operations (%llu failed with a device), %llu imports, %llu MiB moved by "
               "cleaning, %llu for evenness, %llu table pages read again\n",
               (unsigned long long)sum.user_ops, (unsigned long long)sum.failures,
               (unsigned long long)sum.imports, (unsigned long long)(sum.cleaned >> 20),
               (unsigned long long)(sum.evened / 256), (unsigned long long)sum.faulted);
        if (failed >= 0) {
                const char *how = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed";
                printf("seed %llu: %s after %llu good seeds\nagain: ./scripts/sim --first %llu "
                       "--seeds 1 "
                       "-v\n",
                       (unsigned long long)p[failed].seed,
                       WIFSIGNALED(status) && WTERMSIG(status) == SIGVTALRM ? "does not end" : how,
                       (unsigned long long)sum.done, (unsigned long long)p[failed].seed);
                printf("sim: seeds=%llu states=%llu lost=1\n", (unsigned long long)sum.done,
                       (unsigned long long)sum.states);
                return 1;
        }
        printf("sim: seeds=%llu states=%llu lost=0\n", (unsigned long long)sum.done,
               (unsigned long long)sum.states);
        return 0;
}
