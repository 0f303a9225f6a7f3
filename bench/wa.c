/* Write amplification: how many blocks devices write for each block users write. See docs/bench.md.
 *
 * A row is a pool of its own on data-dropping devices: fill, overwrite once at a time and set the
 * number of live blocks so that their share comes out as asked, settle, measure. What is reported
 * is counted by the devices, so that headers, summaries, table pages and roots are all in it.
 */
#include "wa.h"

#include "limit.h"
#include "pool/inspect.h"
#include "rig.h"
#include "workload.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setup {
        uint32_t zones, zone_blocks; /* of all devices together */
        uint32_t depth;
        unsigned settle, measure; /* overwrites of all live blocks */
        const char *only; /* part of a row's name, or NULL */
        bool json, limits;
        uint64_t seed;
};

struct row {
        enum workload_kind kind;
        double u; /* wanted; 0: what comes out */
        uint32_t devices;
        uint32_t depth; /* 0: the setup's */
};

static const struct row rows[] = {
    {WORKLOAD_UNIFORM, .70, 1, 0}, {WORKLOAD_UNIFORM, .80, 1, 0}, {WORKLOAD_UNIFORM, .90, 1, 0},
    {WORKLOAD_ZIPF, .80, 1, 0},    {WORKLOAD_HOTCOLD, .80, 1, 0}, {WORKLOAD_SEQ, .80, 1, 0},
    {WORKLOAD_UNIFORM, .70, 3, 0}, {WORKLOAD_UNIFORM, .80, 3, 0}, {WORKLOAD_UNIFORM, .90, 3, 0},
    {WORKLOAD_ZIPF, .80, 3, 0},    {WORKLOAD_HOTCOLD, .80, 3, 0}, {WORKLOAD_SEQ, .80, 3, 0},
    {WORKLOAD_UNIFORM, .80, 1, 1}, {WORKLOAD_ZIPF, .80, 1, 1},    {WORKLOAD_SEQ, .80, 1, 1},
};

struct run {
        struct rig rig;
        struct volume *vol;
        const struct setup *setup;
        uint32_t depth;
        uint64_t live; /* blocks */
        uint64_t left; /* requests not submitted yet */
        uint32_t busy; /* submitted */
        uint64_t fill; /* next block to be filled; live: none */
        struct workload work;
        bool idle;
        int status;
        struct slot *slots;
        uint8_t block[ZP_BLOCK];
        /* samples of the phase */
        uint64_t every, until_sample;
        double u_sum, tails_sum, free_sum;
        unsigned nsamples;
};

struct slot {
        struct volume_io io;
        struct iovec iov;
        struct run *run;
};

/* ---- requests ---- */

static void done(struct volume_io *io, int status);

static void next(struct slot *s)
{
        struct run *r = s->run;
        uint64_t block = r->fill < r->live ? r->fill++ : workload_next(&r->work);

        r->left--;
        s->iov = (struct iovec){r->block, ZP_BLOCK};
        s->io = (struct volume_io){.op = VOLUME_WRITE,
                                   .offset_bytes = block * ZP_BLOCK,
                                   .length_bytes = ZP_BLOCK,
                                   .iov = &s->iov,
                                   .niov = 1,
                                   .done = done};
        volume_submit(r->vol, &s->io);
}

/* The share of the space for data that live blocks take, as it stands. */
static void sample(struct run *r)
{
        struct pool_inspect_space sp;

        pool_inspect_space(r->rig.pool, &sp);
        r->u_sum += (double)sp.live / (double)sp.data;
        r->tails_sum += (double)sp.tails / (double)sp.groups;
        r->free_sum += (double)sp.free / (double)sp.groups;
        r->nsamples++;
}

static void done(struct volume_io *io, int status)
{
        struct slot *s = (struct slot *)io;
        struct run *r = s->run;

        if (status < 0 && r->status == 0)
                r->status = status;
        if (r->every && !--r->until_sample) {
                sample(r);
                r->until_sample = r->every;
        }
        if (r->left && r->status == 0)
                next(s);
        else
                r->idle = !--r->busy;
}

/* n requests, depth of them at a time. */
static int submit(struct run *r, uint64_t n, struct err *err)
{
        r->left = n;
        r->idle = false;
        r->every = r->until_sample = MAX(r->live / 64, 1u);
        r->u_sum = r->tails_sum = r->free_sum = 0;
        r->nsamples = 0;
        r->busy = (uint32_t)MIN(n, r->depth);
        for (uint32_t i = 0, k = r->busy; i < k; i++) {
                r->slots[i].run = r;
                next(&r->slots[i]);
        }
        int rc = rig_wait(&r->rig, &r->idle);
        if (rc == -EDEADLK)
                return err_set(err, EDEADLK, "the pool stands still with %u writes waiting",
                               r->busy);
        return r->status < 0 ? err_set_sys(err, -r->status, "writing") : 0;
}

static void trimmed(struct volume_io *io, int status)
{
        struct run *r = ((struct slot *)io)->run;

        r->status = status;
        r->idle = true;
}

/* Changes the number of live blocks. */
static int set_live(struct run *r, enum workload_kind kind, uint64_t live, struct err *err)
{
        uint64_t old = r->live;
        int rc = 0;

        workload_fini(&r->work);
        if (workload_init(&r->work, kind, live, r->setup->seed + 1) < 0)
                return err_set(err, ENOMEM, "no memory");
        r->live = live;
        r->fill = MIN(old, live);
        if (live > old)
                return submit(r, live - old, err);
        if (live < old) {
                struct slot *s = &r->slots[0];
                s->run = r;
                s->io = (struct volume_io){.op = VOLUME_DISCARD,
                                           .offset_bytes = live * ZP_BLOCK,
                                           .length_bytes = (old - live) * ZP_BLOCK,
                                           .done = trimmed};
                r->idle = false;
                volume_submit(r->vol, &s->io);
                rc = rig_wait(&r->rig, &r->idle);
                if (rc == 0)
                        rc = r->status;
                if (rc < 0)
                        return err_set_sys(err, -rc, "discarding");
        }
        return 0;
}

/* ---- a row ---- */

static int make_pool(struct run *r, const struct row *row, struct err *err)
{
        static const uint32_t parts[RIG_MAX_DEVICES] = {1, 2, 3};
        const struct setup *s = r->setup;
        struct drop_spec specs[RIG_MAX_DEVICES] = {{0}};
        uint32_t sum = 0, left = s->zones;

        for (uint32_t i = 0; i < row->devices; i++)
                sum += parts[i];
        for (uint32_t i = 0; i < row->devices; i++) {
                bool last = i + 1 == row->devices;
                specs[i].nr_zones = last ? left : s->zones * parts[i] / sum;
                specs[i].zone_blocks = s->zone_blocks;
                specs[i].max_active = specs[i].max_open = 14;
                left -= specs[i].nr_zones;
        }
        r->rig.options = POOL_OPTIONS_DEFAULT;
        r->rig.rng.state = s->seed;
        int rc = rig_format(&r->rig, specs, row->devices, err);
        if (rc == 0)
                rc = rig_import(&r->rig, err);
        if (rc == 0)
                rc = rig_create(&r->rig, "v", (uint64_t)s->zones * s->zone_blocks * ZP_BLOCK,
                                &r->vol, err);
        return rc;
}

static uint64_t most_live(const struct run *r)
{
        struct pool_status st;

        pool_get_status(r->rig.pool, &st);
        return st.capacity_bytes / ZP_BLOCK - 4;
}

static bool near(const struct run *r, const struct row *row)
{
        double u = r->u_sum / r->nsamples;

        return u > row->u - .001 && u < row->u + .001;
}

/* Brings the share of live blocks nearer to the wanted one, by that of the last phase. */
static int correct(struct run *r, const struct row *row, struct err *err)
{
        double u = r->u_sum / r->nsamples;
        uint64_t live = MIN((uint64_t)((double)r->live * row->u / u), most_live(r));

        return set_live(r, row->kind, live, err);
}

/* Overwrites until the share of live blocks is the wanted one. */
static int calibrate(struct run *r, const struct row *row, struct err *err)
{
        enum { ROUNDS = 4 };

        uint64_t most = most_live(r);
        uint64_t live =
            MIN((uint64_t)(row->u * .95 * (double)r->setup->zones * (double)r->setup->zone_blocks),
                most);
        int rc = set_live(r, row->kind, live, err);
        for (int i = 0; i < ROUNDS && rc == 0 && row->kind != WORKLOAD_SEQ; i++) {
                rc = submit(r, r->live, err);
                if (rc < 0 || !r->nsamples)
                        break;
                if (near(r, row))
                        break;
                rc = correct(r, row, err);
        }
        return rc;
}

/* Overwrites all, setting the number of live blocks right once more half-way: limbo has grown. */
static int settle(struct run *r, const struct row *row, struct err *err)
{
        int rc = 0;

        for (unsigned i = 0; i < r->setup->settle && rc == 0; i++) {
                rc = submit(r, r->live, err);
                if (rc == 0 && i + 1 == r->setup->settle / 2 && row->kind != WORKLOAD_SEQ)
                        rc = correct(r, row, err);
        }
        return rc;
}

static double limit_of(const struct run *r, const struct row *row, double u)
{
        const struct setup *s = r->setup;

        if (row->kind == WORKLOAD_UNIFORM)
                return limit_uniform(u);
        if (row->kind == WORKLOAD_SEQ)
                return 1;
        if (!s->limits)
                return 0;
        return limit_simulated(row->kind, r->live, u, s->zone_blocks, s->settle, s->measure,
                               s->seed);
}

static void print_row(const struct run *r, const struct row *row, const struct drop_counts *before,
                      const struct pool_status *st0)
{
        struct drop_counts after = rig_counts(&r->rig);
        struct pool_status st;

        pool_get_status(r->rig.pool, &st);
        double absorbed = (double)(st.absorbed_write_bytes - st0->absorbed_write_bytes) / ZP_BLOCK;
        double user = (double)(st.user_write_bytes - st0->user_write_bytes) / ZP_BLOCK + absorbed;
        double all = (double)(after.written_blocks - before->written_blocks);
        double moved = (double)(st.clean_write_bytes - st0->clean_write_bytes) / ZP_BLOCK;
        double tables = (double)(st.table_write_bytes - st0->table_write_bytes) / ZP_BLOCK;
        double u = r->u_sum / r->nsamples, wa = all / user, limit = limit_of(r, row, u);
        double free = r->free_sum / r->nsamples, tails = r->tails_sum / r->nsamples;
        double finished = (double)(after.finished_blocks - before->finished_blocks) / user;
        double once = all / (user - absorbed);
        double batch = all / (double)(after.writes - before->writes);

        if (r->setup->json)
                printf("{\"bench\":\"wa\",\"workload\":\"%s\",\"devices\":%u,\"u_eff\":%.4f,"
                       "\"wa\":%.4f,\"limit\":%.4f,\"ratio\":%.4f,\"depth\":%u,\"u\":%.2f,"
                       "\"moved\":%.4f,\"tables\":%.4f,\"overhead\":%.4f,\"free\":%.4f,"
                       "\"absorbed\":%.4f,\"wa_written\":%.4f,"
                       "\"tails\":%.4f,\"finished\":%.4f,\"write_blocks\":%.1f,"
                       "\"live_blocks\":%llu,\"user_blocks\":%.0f}\n",
                       workload_name[row->kind], row->devices, u, wa, limit,
                       limit > 0 ? wa / limit : 0, r->depth, row->u, moved / user, tables / user,
                       (all - moved - tables) / user - (1 - absorbed / user), free, absorbed / user,
                       once, tails, finished, batch, (unsigned long long)r->live, user);
        else
                printf("%-9s %u dev  depth %-4u u_eff %.4f  wa %.4f  limit %.4f  ratio %.4f"
                       "  absorbed %.3f written %.4f moved %.3f tables %.3f overhead %.3f free %.3f"
                       " tails %.4f finished %.4f write %.0f\n",
                       workload_name[row->kind], row->devices, r->depth, u, wa, limit,
                       limit > 0 ? wa / limit : 0, absorbed / user, once, moved / user,
                       tables / user, (all - moved - tables) / user - (1 - absorbed / user), free,
                       tails, finished, batch);
        fflush(stdout);
}

static int do_row(const struct setup *s, const struct row *row, struct err *err)
{
        struct run *r = calloc(1, sizeof(*r));
        int rc = r ? 0 : err_set(err, ENOMEM, "no memory");

        if (rc < 0)
                return rc;
        r->setup = s;
        r->depth = row->depth ? row->depth : s->depth;
        drop_fill(r->block);
        r->slots = calloc(r->depth, sizeof(*r->slots));
        rc = r->slots ? make_pool(r, row, err) : err_set(err, ENOMEM, "no memory");
        if (rc == 0)
                rc = calibrate(r, row, err);
        if (rc == 0)
                rc = settle(r, row, err);
        if (rc == 0) {
                struct drop_counts before = rig_counts(&r->rig);
                struct pool_status st;
                pool_get_status(r->rig.pool, &st);
                rc = submit(r, r->live * s->measure, err);
                if (rc == 0)
                        rc = pool_inspect_check(r->rig.pool, err);
                if (rc == 0)
                        print_row(r, row, &before, &st);
        }
        workload_fini(&r->work);
        rig_fini(&r->rig);
        free(r->slots);
        free(r);
        return rc;
}

static const char usage[] =
    "usage: bench wa [--json] [--zones N] [--blocks N] [--depth N] [--settle N] [--measure N]\n"
    "                [--only PART] [--no-limits] [--seed S]\n";

int bench_wa(int argc, char **argv, struct err *err)
{
        struct setup s = {.zones = 1024,
                          .zone_blocks = 1024,
                          .depth = 256,
                          .settle = 4,
                          .measure = 2,
                          .limits = true,
                          .seed = 1};
        enum { JSON, ZONES, BLOCKS, DEPTH, SETTLE, MEASURE, ONLY, NO_LIMITS, SEED };
        static const struct option options[] = {
            {"json", no_argument, NULL, JSON},
            {"zones", required_argument, NULL, ZONES},
            {"blocks", required_argument, NULL, BLOCKS},
            {"depth", required_argument, NULL, DEPTH},
            {"settle", required_argument, NULL, SETTLE},
            {"measure", required_argument, NULL, MEASURE},
            {"only", required_argument, NULL, ONLY},
            {"no-limits", no_argument, NULL, NO_LIMITS},
            {"seed", required_argument, NULL, SEED},
            {0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                uint32_t n = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
                switch (c) {
                case JSON:
                        s.json = true;
                        break;
                case ZONES:
                        s.zones = n;
                        break;
                case BLOCKS:
                        s.zone_blocks = n;
                        break;
                case DEPTH:
                        s.depth = n;
                        break;
                case SETTLE:
                        s.settle = n;
                        break;
                case MEASURE:
                        s.measure = n;
                        break;
                case ONLY:
                        s.only = optarg;
                        break;
                case NO_LIMITS:
                        s.limits = false;
                        break;
                case SEED:
                        s.seed = n;
                        break;
                default:
                        return err_set(err, EINVAL, "%s", usage);
                }
        }
        if (optind < argc || !s.zones || !s.zone_blocks || !s.depth || !s.measure)
                return err_set(err, EINVAL, "%s", usage);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct row *row = &rows[i];
                char name[64];
                snprintf(name, sizeof(name), "%s@%.2f/%u/%u", workload_name[row->kind], row->u,
                         row->devices, row->depth ? row->depth : s.depth);
                if (s.only && !strstr(name, s.only))
                        continue;
                int rc = do_row(&s, row, err);
                if (rc < 0)
                        return rc;
        }
        return 0;
}
