/* Every short sequence of operations, every crash, see exhaustive.h.
 *
 * Those of one base are a shard: one process, which forgets no state it has seen. Shards share
 * nothing, not even a state, so the result is the same however many run at once. */
#include "tests/sim/exhaustive/exhaustive.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"
#include "tests/sim/exhaustive/explore.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        MAX_SHARDS = 16,
        MAX_SEQUENCES = 16384, /* of a shard */
        LONG_SAMPLE = 480, /* sequences of MAX_OPS operations, over all shards */
        SEQUENCE_CPU_S = 120,
        FRESH_GUESS = 50, /* states of a sequence, before any was tried */
        INNER_1_OF = 16, /* states of crashes in a recovery, where there is a bound */
};

struct case_now case_now = {.doing = "starting"};

/* ---- faults ---- */

static void print_case(FILE *to)
{
        fprintf(to, "%s", case_now.sequence);
        for (unsigned i = 0; i < case_now.ncrashes; i++)
                fprintf(to, "@%u.%u", case_now.crashes[i].point, case_now.crashes[i].state);
}

static void print_fault(const char *text)
{
        fflush(stdout);
        fprintf(stderr, "case ");
        print_case(stderr);
        fprintf(stderr, ": while %s: %s\nagain: ./scripts/sim --exhaustive --case ", case_now.doing,
                text);
        print_case(stderr);
        fprintf(stderr, "\n");
}

void case_fail(const char *fmt, ...)
{
        char text[1024];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        print_fault(text);
        _exit(1);
}

void case_trace_(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        printf("[%s] ", case_now.doing);
        vprintf(fmt, ap);
        putchar('\n');
        va_end(ap);
}

/* The program itself came to grief: the case is what one wants to know. */
static void on_signal(int number)
{
        print_fault(number == SIGVTALRM ? "does not end" : strsignal(number));
        _exit(1);
}

static void limit_time(void)
{
        struct itimerval limit = {.it_value.tv_sec = SEQUENCE_CPU_S};
        setitimer(ITIMER_VIRTUAL, &limit, NULL);
}

/* ---- shards ---- */

struct shard {
        struct base *base;
        uint64_t sequences, points, recoveries, pruned, states; /* results */
};

/* All of up to three operations in one order, shorter ones first. */
static uint32_t every_sequence(struct base *base, enum order order, struct sequence *out)
{
        uint32_t nops = (uint32_t)strlen(base->ops), n = 0, combinations = nops;
        for (uint32_t len = 1; len <= 3; len++, combinations *= nops) {
                if (len == 1 && order != ORDER_ONE)
                        continue; /* one by itself comes in no order */
                for (uint32_t k = 0; k < combinations && n < MAX_SEQUENCES / 2; k++) {
                        struct sequence *seq = &out[n++];
                        *seq = (struct sequence){.base = base, .order = order, .n = len};
                        for (uint32_t i = len, left = k; i-- > 0; left /= nops)
                                seq->ops[i] = base->ops[left % nops];
                }
        }
        return n;
}

/* The import by itself, the short ones, and a sample of longer ones. */
static uint32_t make_sequences(struct base *base, uint64_t seed, struct sequence *out)
{
        uint32_t nops = (uint32_t)strlen(base->ops), n = 0;
        struct rng rng = {.state = seed ^ (uint64_t)(base - bases) << 32};
        out[n++] = (struct sequence){.base = base, .order = ORDER_ONE};
        for (enum order order = 0; order < NORDERS; order++)
                n += every_sequence(base, order, out + n);
        for (uint32_t i = 0; i < LONG_SAMPLE / nbases && n < MAX_SEQUENCES; i++) {
                struct sequence *seq = &out[n++];
                *seq = (struct sequence){.base = base, .order = i % NORDERS, .n = MAX_OPS};
                for (uint32_t k = 0; k < MAX_OPS; k++)
                        seq->ops[k] = base->ops[rng_below(&rng, nops)];
        }
        return n;
}

/* How many of the next sequence's states are taken so that the bound lasts for all that are left,
 * as far as those before tell: `done` sequences, the states they led to, and how many more crashes
 * in recoveries added to each. */
static uint64_t share(const struct explorer *x, uint32_t done, uint32_t left)
{
        double fresh = done ? (double)x->fresh / done : FRESH_GUESS;
        double each = x->picked ? (double)x->seen.n / (double)x->picked : 1.0;
        double rest = (double)(x->bound - MIN(x->seen.n, x->bound));
        double part = rest / left / MAX(each, 1.0) / MAX(fresh, 1.0);
        return part < 1.0 ? (uint64_t)(part * 0x1p64) : UINT64_MAX;
}

static void explore_all(struct explorer *x, const struct sequence *sequences, uint32_t n)
{
        bool bounded = x->bound != UINT64_MAX;
        if (bounded)
                x->inner_limit = UINT64_MAX / INNER_1_OF;
        for (uint32_t i = 0; i < n; i++) {
                limit_time();
                if (bounded)
                        x->hash_limit = share(x, i, n - i);
                explore(x, &sequences[i]);
        }
        /* what that left of the bound is taken where it is found */
        uint64_t told = x->sequences, points = x->points, pruned = x->pruned;
        x->hash_limit = x->inner_limit = UINT64_MAX;
        for (uint32_t i = 0; i < n && x->seen.n < x->bound && bounded; i++) {
                limit_time();
                explore(x, &sequences[i]);
        }
        x->sequences = told;
        x->points = points;
        x->pruned = pruned;
}

static void run_shard(struct shard *sh, uint64_t bound, uint64_t seed)
{
        static struct sequence sequences[MAX_SEQUENCES];
        struct explorer x;
        explorer_init(&x);
        x.bound = bound;
        base_make(sh->base);
        explore_all(&x, sequences, make_sequences(sh->base, seed, sequences));
        sh->sequences = x.sequences;
        sh->points = x.points;
        sh->recoveries = x.recoveries;
        sh->pruned = x.pruned;
        sh->states = x.seen.n;
        explorer_fini(&x);
        base_free(sh->base);
}

/* An equal part for each shard; 0: none. */
static uint64_t part_of(uint64_t bound, uint32_t shard, uint32_t n)
{
        return bound ? bound / n + (shard < bound % n) : UINT64_MAX;
}

static void catch_signals(void)
{
        static const int numbers[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGVTALRM};
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                signal(numbers[i], on_signal);
}

/* Runs all shards, `jobs` at a time. False: one has failed; the others are ended. */
static bool run_shards(const struct exhaustive_arguments *args, struct shard *shards, uint32_t n)
{
        pid_t pids[MAX_SHARDS] = {0};
        uint32_t next = 0, running = 0;
        bool good = true;
        while ((next < n && good) || running) {
                while (good && next < n && running < args->jobs) {
                        fflush(stdout);
                        pid_t pid = fork();
                        if (pid < 0)
                                return false;
                        if (pid == 0) {
                                catch_signals();
                                run_shard(&shards[next], part_of(args->states, next, n),
                                          args->seed);
                                _exit(0);
                        }
                        pids[next++] = pid;
                        running++;
                }
                int status;
                pid_t pid = waitpid(-1, &status, 0);
                if (pid < 0)
                        return false;
                running--;
                for (uint32_t i = 0; i < next; i++)
                        if (pids[i] == pid)
                                pids[i] = 0;
                if (status == 0 || !good)
                        continue;
                good = false;
                for (uint32_t i = 0; i < next; i++)
                        if (pids[i])
                                kill(pids[i], SIGKILL);
        }
        return good;
}

/* ---- one case ---- */

static int parse_case(const char *text, struct sequence *seq, struct case_pick *picks)
{
        char name[32], order[8], ops[MAX_OPS + 2] = "";
        int used = 0, npicks = 0;
        if (sscanf(text, "%31[^/]/%7[^/]/%5[A-Z]%n", name, order, ops, &used) < 3 &&
            sscanf(text, "%31[^/]/%7[^/]/%n", name, order, &used) < 2)
                return -1;
        if (!used || strlen(ops) > MAX_OPS)
                return -1;
        *seq = (struct sequence){.order = NORDERS, .n = (uint32_t)strlen(ops)};
        memcpy(seq->ops, ops, seq->n);
        for (unsigned i = 0; i < nbases; i++)
                if (strcmp(bases[i].name, name) == 0)
                        seq->base = &bases[i];
        for (enum order i = 0; i < NORDERS; i++)
                if (strcmp(order_names[i], order) == 0)
                        seq->order = i;
        text += used;
        while (*text && npicks < CASE_MAX_CRASHES &&
               sscanf(text, "@%u.%u%n", &picks[npicks].point, &picks[npicks].state, &used) == 2) {
                npicks++;
                text += used;
        }
        return !seq->base || seq->order == NORDERS || *text ? -1 : npicks;
}

static int run_case(const char *text)
{
        struct sequence seq;
        struct case_pick picks[CASE_MAX_CRASHES];
        int npicks = parse_case(text, &seq, picks);
        if (npicks < 0) {
                fprintf(stderr, "no case: %s\n", text);
                return 2;
        }
        struct explorer x;
        explorer_init(&x);
        x.only = picks;
        x.nonly = (unsigned)npicks;
        base_make(seq.base);
        case_now.verbose = npicks > 0;
        catch_signals();
        explore(&x, &seq);
        printf("sim: case %s: recoveries=%llu lost=0\n", text, (unsigned long long)x.recoveries);
        explorer_fini(&x);
        base_free(seq.base);
        return 0;
}

int exhaustive_run(const struct exhaustive_arguments *args)
{
        if (args->only)
                return run_case(args->only);
        struct shard *shards = mmap(NULL, sizeof(*shards) * MAX_SHARDS, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shards == MAP_FAILED)
                return 1;
        uint32_t n = MIN(nbases, (uint32_t)MAX_SHARDS);
        for (uint32_t i = 0; i < n; i++)
                shards[i].base = &bases[i];
        bool good = run_shards(args, shards, n);
        struct shard sum = {0};
        for (uint32_t i = 0; i < n; i++) {
                printf("%s: %llu sequences, %llu crash points, %llu states\n", shards[i].base->name,
                       (unsigned long long)shards[i].sequences,
                       (unsigned long long)shards[i].points, (unsigned long long)shards[i].states);
                sum.sequences += shards[i].sequences;
                sum.points += shards[i].points;
                sum.recoveries += shards[i].recoveries;
                sum.pruned += shards[i].pruned;
                sum.states += shards[i].states;
        }
        printf("%llu sequences, %llu crash points, %llu recoveries\n",
               (unsigned long long)sum.sequences, (unsigned long long)sum.points,
               (unsigned long long)sum.recoveries);
        printf("sim: exhaustive states=%llu pruned=%llu lost=%d\n", (unsigned long long)sum.states,
               (unsigned long long)sum.pruned, !good);
        return good ? 0 : 1;
}
