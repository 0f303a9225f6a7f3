/* Recovery after a crash at the worst moment: a checkpoint is due and has written nothing yet, so
 * the log is as long as it gets.
 *
 * A volume is mapped at random, by the functions that apply records, without writing its data:
 * tables and counts are what a terabyte of random writes would have left, in seconds. A checkpoint
 * makes that durable. From there on everything is real: random writes of a block until the next
 * checkpoint begins, then the crash, then the import, which is timed.
 */
#include "recovery.h"

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "pool/internal.h"
#include "rig.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { DEPTH = 256, ZONE_BLOCKS = 65536, MAX_SIZES = 8 };

struct options {
        uint64_t gib[MAX_SIZES];
        unsigned n;
        bool json;
        uint32_t zone_blocks;
        uint32_t permille;
        uint64_t cache_mib;
};

struct row {
        uint64_t gib, log_blocks, user_blocks, pages;
        double share, table_share, seconds, cpu_seconds, settle_cpu_s, before_s;
        uint64_t read_blocks, written_blocks;
        uint64_t table_ram, rss_bytes; /* before the crash */
};

static double now_s(clockid_t clock)
{
        struct timespec ts;

        clock_gettime(clock, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t peak_rss(void)
{
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (uint64_t)u.ru_maxrss << 10;
}

/* ---- a volume mapped at random ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
        while (b) {
                uint64_t r = a % b;
                a = b;
                b = r;
        }
        return a;
}

/* Groups full of blocks that somebody once wrote. */
static int take_groups(struct pool *pool, struct group **groups, uint32_t n, struct err *err)
{
        for (uint32_t i = 0; i < n; i++) {
                struct group *g = group_open(pool, pool_stream(pool, CLASS_USER, 1), false);
                if (!g)
                        return err_set(err, ENOSPC, "no room for group %u of %u", i, n);
                g->wp = g->tail = g->cap;
                group_sealed(pool, g);
                groups[i] = g;
        }
        return 0;
}

/* Block i of the volume lies at place i * step + shift of all places: scattered, each taken once.
 */
static int map_at_random(struct rig *rig, struct volume *vol, uint64_t nblocks, struct err *err)
{
        struct pool *pool = rig->pool;
        uint32_t per = pool->min_cap - pool->min_cap / 64; /* the rest would be headers */
        uint32_t n = (uint32_t)DIV_ROUND_UP(nblocks, per);
        uint64_t places = (uint64_t)n * per, step = places / 2 | 1, at;
        CLEANUP(free_ptr) struct group **groups = calloc(n, sizeof(struct group *));
        uint8_t fill[ZP_BLOCK];

        if (!groups)
                return err_set(err, ENOMEM, "no memory");
        int rc = take_groups(pool, groups, n, err);
        step = (step / 1000003 | 1) * 618033 % places | 1;
        while (gcd(step, places) != 1)
                step += 2;
        drop_fill(fill);
        uint32_t crc = crc32c(0, fill, ZP_BLOCK);
        at = rng_below(&rig->rng, places);
        for (uint64_t i = 0; rc == 0 && i < nblocks; i++) {
                struct entry e = {addr_make(groups[at / per]->id, (uint32_t)(at % per)), crc};
                rc = tree_set(pool, vol->tree, i, e);
                at = (at + step) % places;
        }
        return rc < 0 && !err->code ? err_set(err, -rc, "no memory for the table") : rc;
}

static void done(void *ctx, int status)
{
        *(int *)ctx = status;
}

static int checkpoint(struct rig *rig, struct err *err)
{
        int status = 1;

        pool_checkpoint(rig->pool, &status, done);
        while (status == 1 && rig_step(rig))
                ;
        return status ? err_set(err, EIO, "the checkpoint ended with %d", status) : 0;
}

/* ---- until a checkpoint is due ---- */

struct writer {
        struct volume_io io;
        struct iovec iov;
        struct rig *rig;
        struct volume *vol;
        const bool *stop;
        int *status;
};

static void write_one(struct writer *w)
{
        uint64_t blocks = volume_size_bytes(w->vol) / ZP_BLOCK;

        w->io.offset_bytes = rng_below(&w->rig->rng, blocks) * ZP_BLOCK;
        volume_submit(w->vol, &w->io);
}

static void written(struct volume_io *io, int status)
{
        struct writer *w = container_of(io, struct writer, io);

        if (status < 0)
                *w->status = status;
        else if (!*w->stop)
                write_one(w);
}

static int write_until_due(struct rig *rig, struct volume *vol, struct err *err)
{
        static uint8_t fill[ZP_BLOCK];
        CLEANUP(free_ptr) struct writer *w = calloc(DEPTH, sizeof(*w));
        bool stop = false;
        int status = 0;

        if (!w)
                return err_set(err, ENOMEM, "no memory");
        drop_fill(fill);
        for (unsigned i = 0; i < DEPTH; i++) {
                w[i] = (struct writer){.rig = rig, .vol = vol, .stop = &stop, .status = &status};
                w[i].iov = (struct iovec){fill, ZP_BLOCK};
                w[i].io = (struct volume_io){.op = VOLUME_WRITE,
                                             .length_bytes = ZP_BLOCK,
                                             .iov = &w[i].iov,
                                             .niov = 1,
                                             .done = written};
                write_one(&w[i]);
        }
        /* It is due, and waits for the batches in flight before it writes anything. */
        while (!status && rig->pool->ckpt.state != CKPT_FREEZING && rig_step(rig))
                ;
        if (status || rig->pool->ckpt.state != CKPT_FREEZING)
                return err_set(err, EIO, "writing ended with %d before a checkpoint was due",
                               status);
        return 0;
}

/* ---- a row ---- */

static int run(const struct options *o, uint64_t gib, struct row *ret_row, struct err *err)
{
        struct rig rig = {.options = POOL_OPTIONS_DEFAULT, .rng = {gib}};
        uint64_t nblocks = (gib << 30) / ZP_BLOCK;
        struct drop_spec spec = {.zone_blocks = o->zone_blocks, .max_io_blocks = 256};
        struct volume *vol = NULL;

        spec.nr_zones = (uint32_t)(nblocks / o->zone_blocks * 27 / 20 + 40);
        rig.options.checkpoint_permille = o->permille;
        int rc = rig_format(&rig, &spec, 1, err);
        if (rc == 0)
                rc = rig_import(&rig, err);
        if (rc == 0)
                rc = rig_create(&rig, "disk", gib << 30, &vol, err);
        double start = now_s(CLOCK_MONOTONIC);
        if (rc == 0)
                rc = map_at_random(&rig, vol, nblocks, err);
        if (rc == 0)
                rc = checkpoint(&rig, err);
        rig.options.table_cache_bytes = o->cache_mib << 20; /* from here on */
        if (rc == 0)
                pool_set_table_cache(rig.pool, rig.options.table_cache_bytes);
        struct row row = {.gib = gib};
        uint64_t device0 = rc == 0 ? rig.pool->device_blocks : 0;
        uint64_t user0 = rc == 0 ? rig.pool->user_blocks : 0;
        if (rc == 0)
                rc = write_until_due(&rig, vol, err);
        if (rc == 0) {
                const struct pool *p = rig.pool;
                uint64_t device = p->device_blocks - device0, user = p->user_blocks - user0;
                row.user_blocks = user;
                row.log_blocks = device;
                row.pages = p->npages;
                /* what was written, the pages the checkpoint is about to write, and its root */
                row.share = (double)(device - user + p->ndirty + p->ndirty / 127 +
                                     root_blocks(p->ndevs, p->ngroups)) /
                            (double)user;
                row.table_share = (double)p->ndirty / (double)user;
                row.table_ram = p->pager.bytes;
                row.rss_bytes = peak_rss();
                row.before_s = now_s(CLOCK_MONOTONIC) - start;
                rig_crash(&rig);
                struct drop_counts before = rig_counts(&rig);
                double cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
                start = now_s(CLOCK_MONOTONIC);
                rc = rig_import(&rig, err);
                row.seconds = now_s(CLOCK_MONOTONIC) - start;
                row.cpu_seconds = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
                struct drop_counts after = rig_counts(&rig);
                row.read_blocks = after.read_blocks - before.read_blocks;
                row.written_blocks = after.written_blocks - before.written_blocks;
                cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
                if (rc == 0) /* what the import left to be done beside users */
                        rc = checkpoint(&rig, err);
                row.settle_cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        }
        if (rc == 0 && rig.pool->live != nblocks)
                rc =
                    err_set(err, EBADMSG, "%" PRIu64 " of %" PRIu64 " blocks are mapped afterwards",
                            rig.pool->live, nblocks);
        rig_fini(&rig);
        *ret_row = row;
        return rc;
}

static void print(const struct options *o, const struct row *r)
{
        double per_tib = r->seconds * 1024 / (double)r->gib;
        double ram = (double)r->table_ram / (double)r->gib / (1 << 20); /* GiB a TiB */

        if (o->json)
                printf("{\"bench\":\"recovery\",\"gib\":%" PRIu64
                       ",\"seconds\":%.2f,\"cpu_seconds\":%.2f,\"settle_cpu_seconds\":%.2f,"
                       "\"seconds_per_tib\":%.2f,\"share\":%.4f,\"table_share\":%.4f,\"user_"
                       "blocks\":%" PRIu64 ",\"log_blocks\":%" PRIu64 ",\"table_pages\":%" PRIu64
                       ",\"read_mib\":%" PRIu64 ",\"written_mib\":%" PRIu64
                       ",\"table_ram_gib_per_tib\":%.3f,\"fill_seconds\":%.0f}\n",
                       r->gib, r->seconds, r->cpu_seconds, r->settle_cpu_s, per_tib, r->share,
                       r->table_share, r->user_blocks, r->log_blocks, r->pages,
                       r->read_blocks / 256, r->written_blocks / 256, ram, r->before_s);
        else
                printf("%6" PRIu64 " GiB  %7.2f s (%.2f s a TiB)  metadata %5.2f %%  log %" PRIu64
                       " MiB  read %" PRIu64 " MiB  written %" PRIu64
                       " MiB  tables in RAM %.2f GiB a TiB\n",
                       r->gib, r->seconds, per_tib, 100 * r->share, r->log_blocks / 256,
                       r->read_blocks / 256, r->written_blocks / 256, ram);
        fflush(stdout);
}

static int parse(int argc, char **argv, struct options *o, struct err *err)
{
        static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                              {"gib", required_argument, NULL, 'g'},
                                              {"blocks", required_argument, NULL, 'b'},
                                              {"permille", required_argument, NULL, 'p'},
                                              {"cache-mib", required_argument, NULL, 'c'},
                                              {0}};
        int opt;

        while ((opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
                uint64_t v = optarg ? strtoull(optarg, NULL, 10) : 0;
                if (opt == 'j')
                        o->json = true;
                else if (opt == 'g' && v && v <= 4096 && o->n < MAX_SIZES)
                        o->gib[o->n++] = v;
                else if (opt == 'b' && v >= 256 && v <= 1 << 20)
                        o->zone_blocks = (uint32_t)v;
                else if (opt == 'p' && v && v <= 1000)
                        o->permille = (uint32_t)v;
                else if (opt == 'c' && v)
                        o->cache_mib = v;
                else
                        return err_set(err, EINVAL,
                                       "recovery [--json] [--gib N]... [--blocks N] [--permille N] "
                                       "[--cache-mib N]");
        }
        return optind == argc ? 0 : err_set(err, EINVAL, "'%s' means nothing here", argv[optind]);
}

int bench_recovery(int argc, char **argv, struct err *err)
{
        struct options o = {.zone_blocks = ZONE_BLOCKS};
        int rc = parse(argc, argv, &o, err);

        if (rc == 0 && !o.n) {
                o.gib[o.n++] = 64;
                o.gib[o.n++] = 1024;
        }
        for (unsigned i = 0; rc == 0 && i < o.n; i++) {
                struct row row;
                rc = run(&o, o.gib[i], &row, err);
                if (rc == 0)
                        print(&o, &row);
        }
        return rc;
}
