/* Every short sequence of operations, every crash, see exhaustive.h.
 *
 * Sequences that begin with the same operation on the same base in the same order are a shard: one
 * process, which forgets no state it has seen. Shards share nothing, so the result is the same
 * however many run at once. */
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
        MAX_SHARDS = 256,
        MAX_SEQUENCES = 8192, /* of a shard */
        LONG_SAMPLE = 480, /* sequences of MAX_OPS operations, over all shards */
        SEQUENCE_CPU_S = 120,
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
        enum order order;
        char first;
        uint64_t sequences, points, recoveries, pruned, states; /* results */
        bool good;
        FILE *hashes; /* of its states */
};

static uint32_t make_shards(struct shard *shards)
{
        uint32_t n = 0;
        for (unsigned b = 0; b < nbases; b++)
                for (enum order order = 0; order < NORDERS; order++)
                        for (const char *op = bases[b].ops; *op; op++)
                                if (n < MAX_SHARDS)
                                        shards[n++] = (struct shard){
                                            .base = &bases[b], .order = order, .first = *op};
        return n;
}

/* All sequences of up to three operations that begin with the shard's, shorter ones first, and some
 * longer ones. */
static uint32_t make_sequences(const struct shard *sh, bool first_of_base, uint32_t nlong,
                               uint64_t seed, struct sequence *out)
{
        const char *ops = sh->base->ops;
        uint32_t nops = (uint32_t)strlen(ops), n = 0;
        struct rng rng = {.state = seed ^ (uint64_t)sh->first << 32 ^ sh->order << 8 ^
                                   (uint64_t)(sh->base - bases)};
        struct sequence plain = {.base = sh->base, .order = sh->order};
        if (first_of_base && sh->order == ORDER_ONE) /* the import by itself */
                out[n++] = plain;
        plain.ops[0] = sh->first;
        for (uint32_t len = 1; len <= 3; len++) {
                uint32_t rest = 1;
                for (uint32_t i = 1; i < len; i++)
                        rest *= nops;
                if (len == 1 && sh->order != ORDER_ONE)
                        continue; /* one by itself comes in no order */
                for (uint32_t k = 0; k < rest && n < MAX_SEQUENCES; k++) {
                        plain.n = len;
                        for (uint32_t i = 1, left = k; i < len; i++, left /= nops)
                                plain.ops[len - i] = ops[left % nops];
                        out[n++] = plain;
                }
        }
        for (uint32_t i = 0; i < nlong && n < MAX_SEQUENCES; i++) {
                plain.n = MAX_OPS;
                for (uint32_t k = 1; k < MAX_OPS; k++)
                        plain.ops[k] = ops[rng_below(&rng, nops)];
                out[n++] = plain;
        }
        return n;
}

/* Each sequence gets an equal part of what is left of the bound, chosen among its states. */
static uint64_t share(struct explorer *x, const struct sequence *seq, uint64_t bound, uint32_t left)
{
        if (!bound)
                return UINT64_MAX;
        uint64_t found = explore_count(x, seq);
        uint64_t part = (bound - MIN(bound, x->seen.n)) / left;
        if (found == UINT64_MAX || found == 0)
                return 0;
        return part >= found ? UINT64_MAX : UINT64_MAX / found * part;
}

static void run_shard(struct shard *sh, bool first_of_base, uint32_t nlong, uint64_t bound,
                      uint64_t seed)
{
        static struct sequence sequences[MAX_SEQUENCES];
        struct explorer x;
        explorer_init(&x);
        base_make(sh->base);
        uint32_t n = make_sequences(sh, first_of_base, nlong, seed, sequences);
        for (uint32_t i = 0; i < n; i++) {
                limit_time();
                x.hash_limit = share(&x, &sequences[i], bound, n - i);
                explore(&x, &sequences[i]);
        }
        for (uint64_t i = 0; i < x.seen.room; i++)
                if (x.seen.states[i].hash)
                        fwrite(&x.seen.states[i].hash, sizeof(uint64_t), 1, sh->hashes);
        fflush(sh->hashes);
        sh->sequences = x.sequences;
        sh->points = x.points;
        sh->recoveries = x.recoveries;
        sh->pruned = x.pruned;
        sh->states = x.seen.n;
        sh->good = true;
        explorer_fini(&x);
        base_free(sh->base);
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
                        shards[next].hashes = tmpfile();
                        fflush(stdout);
                        pid_t pid = shards[next].hashes ? fork() : -1;
                        if (pid < 0)
                                return false;
                        if (pid == 0) {
                                bool first =
                                    next == 0 || shards[next - 1].base != shards[next].base;
                                catch_signals();
                                run_shard(&shards[next], first, LONG_SAMPLE / n,
                                          args->states ? MAX(args->states / n, UINT64_C(1)) : 0,
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

/* ---- the sum ---- */

static int by_number(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return x < y ? -1 : x > y;
}

/* Different states over all shards. */
static uint64_t count_states(const struct shard *shards, uint32_t n)
{
        uint64_t total = 0, at = 0, different = 0;
        for (uint32_t i = 0; i < n; i++)
                total += shards[i].states;
        uint64_t *all = malloc(total * sizeof(*all) + 1);
        if (!all)
                return 0;
        for (uint32_t i = 0; i < n; i++) {
                if (!shards[i].hashes)
                        continue;
                rewind(shards[i].hashes);
                at += fread(all + at, sizeof(*all), shards[i].states, shards[i].hashes);
                fclose(shards[i].hashes);
        }
        qsort(all, at, sizeof(*all), by_number);
        for (uint64_t i = 0; i < at; i++)
                different += i == 0 || all[i] != all[i - 1];
        free(all);
        return different;
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
        uint32_t n = make_shards(shards);
        bool good = run_shards(args, shards, n);
        struct shard sum = {0};
        for (uint32_t i = 0; i < n; i++) {
                sum.sequences += shards[i].sequences;
                sum.points += shards[i].points;
                sum.recoveries += shards[i].recoveries;
                sum.pruned += shards[i].pruned;
        }
        printf("%llu sequences, %llu crash points, %llu recoveries\n",
               (unsigned long long)sum.sequences, (unsigned long long)sum.points,
               (unsigned long long)sum.recoveries);
        printf("sim: exhaustive states=%llu pruned=%llu lost=%d\n",
               (unsigned long long)count_states(shards, n), (unsigned long long)sum.pruned, !good);
        return good ? 0 : 1;
}
