/* A pool on its disks, see stage.h. */
#include "tests/sim/exhaustive/stage.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <string.h>

enum { MAX_STEPS = 100000, COMMAND_NS = 10000, MAX_PASSED = 12 };

/* ---- what the pool is given ---- */

static uint64_t host_now(void *ctx)
{
        return ((struct stage *)ctx)->now_ns;
}

static void host_random(void *ctx, void *buf, size_t len)
{
        struct stage *s = ctx;
        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)(rng_next(&s->rng) >> 24);
}

static void host_wake(void *ctx, struct pool *pool)
{
        ((struct stage *)ctx)->woken = pool;
}

static void host_event(void *ctx, struct pool *pool, const struct pool_event *e)
{
        struct stage *s = ctx;
        (void)pool;
        switch (e->kind) {
        case POOL_EVENT_HELD:
                s->holds = true;
                break;
        case POOL_EVENT_RELEASED:
                s->holds = false;
                break;
        case POOL_EVENT_BALANCING:
        case POOL_EVENT_BALANCED:
                break;
        case POOL_EVENT_CORRUPTION:
                case_fail("the pool reports corruption: block %llu of %s",
                          (unsigned long long)e->block,
                          e->volume ? volume_name(e->volume) : "none");
        case POOL_EVENT_READONLY:
                s->readonly = true;
                /* fall through */
        default:
                if (!s->faults_fair)
                        case_fail("event %d, device %u, status %d, and no device has failed",
                                  e->kind, e->device, e->status);
        }
}

void stage_init(struct stage *s)
{
        *s = (struct stage){
            .now_ns = 1000000000, .rng = {.state = 1}, .options = POOL_OPTIONS_DEFAULT};
        s->host = (struct pool_host){.now_ns = host_now,
                                     .random = host_random,
                                     .event = host_event,
                                     .wake = host_wake,
                                     .ctx = s};
}

void stage_copy(struct stage *s, const struct stage *from, bool carried_out)
{
        stage_init(s);
        s->ndisks = from->ndisks;
        s->newest_first = from->newest_first;
        s->options = from->options;
        for (uint32_t i = 0; i < from->ndisks; i++) {
                s->disks[i] = disk_clone(from->disks[i], &s->numbers, carried_out);
                s->faults_fair |= from->disks[i]->worn;
        }
}

void stage_fini(struct stage *s)
{
        if (s->pool)
                pool_abandon(s->pool);
        s->pool = s->woken = NULL;
        for (uint32_t i = 0; i < s->ndisks; i++)
                disk_free(s->disks[i]);
        s->ndisks = 0;
}

/* ---- driving ---- */

static struct disk *disk_with(const struct stage *s, bool newest)
{
        struct disk *best = NULL;
        for (uint32_t i = 0; i < s->ndisks; i++) {
                struct disk *d = s->disks[i];
                if (!d->ncommands)
                        continue;
                if (!best ||
                    (disk_next_number(best, newest) > disk_next_number(d, newest)) != newest)
                        best = d;
        }
        return best;
}

/* Completes the command whose turn it is: newest first, the oldest waits for some others but not
 * for ever. False: there is none. */
static bool complete(struct stage *s)
{
        struct disk *d = disk_with(s, false);
        if (!d)
                return false;
        bool newest = s->newest_first && s->numbers - disk_next_number(d, false) < MAX_PASSED;
        s->now_ns += COMMAND_NS;
        disk_complete(disk_with(s, newest), newest);
        return true;
}

/* What the pool does by itself, but for waiting. */
static bool tick(struct stage *s)
{
        struct pool *pool = s->woken;
        s->woken = NULL;
        if (!pool && s->pool && pool_next_tick_ns(s->pool) <= s->now_ns)
                pool = s->pool;
        if (pool)
                pool_tick(pool);
        return pool != NULL;
}

bool stage_step(struct stage *s)
{
        for (uint32_t i = 0; tick(s); i++)
                if (i > MAX_STEPS)
                        case_fail("the pool asks for one tick after the other");
        if (s->at_rest)
                s->at_rest(s, s->ctx);
        return complete(s);
}

void stage_run(struct stage *s, const bool *flag, const char *what)
{
        for (uint32_t steps = 0; !*flag; steps++)
                if ((!stage_step(s) && !*flag) || steps > MAX_STEPS)
                        case_fail("%s never ends", what);
}

uint64_t stage_version(const struct stage *s)
{
        uint64_t sum = 0;
        for (uint32_t i = 0; i < s->ndisks; i++)
                sum += s->disks[i]->version;
        return sum;
}

/* ---- operations on the pool ---- */

struct answer {
        bool done;
        int status;
        struct err err;
        struct pool *pool;
};

static void answered(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

static void formatted(void *ctx, int status, const struct err *err)
{
        answered(ctx, status);
        if (err)
                ((struct answer *)ctx)->err = *err;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        formatted(ctx, status, err);
        ((struct answer *)ctx)->pool = pool;
}

static uint32_t devices(const struct stage *s, struct zdev **devs)
{
        for (uint32_t i = 0; i < s->ndisks; i++)
                devs[i] = &s->disks[i]->dev;
        return s->ndisks;
}

void stage_format(struct stage *s)
{
        struct zdev *devs[MAX_DISKS];
        struct answer a = {0};
        uint32_t n = devices(s, devs);
        struct uuid uuid = {.b = {0x5a, 1, 2, 3, 4, 5, 0x40, 7, 0x80}};
        pool_format(devs, n, "pool", &uuid, &s->host, &s->options, &a, formatted);
        stage_run(s, &a.done, "format");
        if (a.status < 0)
                case_fail("format: %d %s", a.status, a.err.msg);
}

int stage_import(struct stage *s, uint32_t ndisks, struct err *err)
{
        struct zdev *devs[MAX_DISKS];
        struct answer a = {0};
        devices(s, devs);
        pool_import(devs, ndisks, &s->host, &s->options, &a, imported);
        stage_run(s, &a.done, "import");
        s->pool = a.status < 0 ? NULL : a.pool;
        if (!s->pool)
                s->woken = NULL;
        *err = a.err;
        return a.status;
}

void stage_checkpoint(struct stage *s)
{
        struct answer a = {0};
        pool_checkpoint(s->pool, &a, answered);
        stage_run(s, &a.done, "checkpoint");
        if (a.status < 0)
                case_fail("checkpoint: %d", a.status);
}

void stage_export(struct stage *s)
{
        struct answer a = {0};
        pool_export(s->pool, &a, answered);
        stage_run(s, &a.done, "export");
        s->pool = s->woken = NULL;
        if (a.status < 0)
                case_fail("export: %d", a.status);
}
