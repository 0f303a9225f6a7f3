/*
 * The workload that runs inside the guest of the end-to-end tests.
 *
 * It writes, discards, zeroes, flushes, reads back and verifies on every disk it is given, without
 * the page cache. What each block must hold is kept in guest RAM: live migration carries the RAM
 * through QEMU and the disk through zonepool, so after a hop the two are checked against each
 * other, and a lost, stale, torn or misdirected block shows as an error.
 *
 * Threads, each on its own blocks, so that no two ever race on one:
 *   worker    per disk and wl.threads: random writes (1 to 16 blocks), discards, zeroes, flushes,
 * reads cacher    reads blocks that never change into pages which no CPU then touches, waits, and
 *             compares: finds a back end that fails to log the pages it wrote by DMA
 *   dirtier   dirties wl.dirty_mib of RAM a second, so that the migration of RAM takes a while
 *   main      prints, and obeys the line "sweep" on stdin: every block of every disk is then
 * verified
 *
 * Output, a line each, made for machines (tests/e2e/lab/guest.py):
 *   WL-INIT                             (by init) the kernel is up
 *   WL-START disks=N blocks=N           the workload runs
 *   WL-FILLED bytes=N                   the first wl.fill_mib of every disk are written
 *   HB n=N seq=N bytes=N err=N          every 50 ms; the host stamps them: gaps are stalls
 *   WL-SWEEP n=N blocks=N err=N         a sweep is complete
 *   WL-ERR what=... disk=... block=... want=... got=...
 *   WL-FATAL text
 *
 * Settings come from the kernel's command line (table in `settings` below).
 *
 * Left out on purpose: crash checks (the simulator's business), file systems.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define CHUNK 16u /* blocks; a chunk belongs to one thread */
#define MAX_DISKS 8
#define MAX_THREADS 16 /* per disk */
#define STAMP_MAGIC 0x4b524f574e4f5a31ull
#define MAX_ERROR_LINES 40 /* a broken disk must not drown the serial line */
#define HEARTBEAT_MS 50
#define DIRTY_BYTES (64u << 20)

/* What every written block carries; the rest of it is a sequence derived from these. */
struct stamp {
        uint64_t magic, disk, block, seq;
};

static struct {
        const char *key;
        long value;
} settings[] = {
    {"wl.threads=", 2}, /* workers per disk */
    {"wl.area_mib=", 64}, /* tested part of every disk */
    {"wl.fill_mib=", 0}, /* of it, written once at the start */
    {"wl.pause_us=", 500}, /* between two operations of a worker */
    {"wl.flush=", 64}, /* a flush every so many operations, 0: never */
    {"wl.discard=", 16}, /* a discard or a zeroing every so many operations, 0: never */
    {"wl.dirty_mib=", 8}, /* RAM dirtied a second */
    {"wl.cache_mib=", 2}, /* per disk, behind the tested area; 0: no cacher */
    {"wl.hold_s=", 3}, /* how long the cacher leaves its pages alone */
};
enum { THREADS, AREA_MIB, FILL_MIB, PAUSE_US, FLUSH, DISCARD, DIRTY_MIB, CACHE_MIB, HOLD_S };

struct disk {
        int fd, index;
        char name[16];
        uint64_t nblocks; /* tested */
        uint64_t cache_first, cache_n;
        uint64_t *expect; /* per block: sequence number of its last write, 0: reads as zeroes */
};

struct worker {
        struct disk *disk;
        unsigned id, n; /* of n threads on this disk */
        uint64_t rng;
        uint8_t *data, *want; /* CHUNK blocks each */
        unsigned swept; /* sweeps done */
};

static struct disk disks[MAX_DISKS];
static int ndisks;
static atomic_ullong next_seq, bytes_written, errors, blocks_swept;
static atomic_uint fillers_done, sweep_asked, sweepers_done;
static unsigned nworkers;

static long setting(int i)
{
        return settings[i].value;
}

static void *must(void *p)
{
        if (!p) {
                printf("WL-FATAL out of memory\n");
                exit(1);
        }
        return p;
}

static void *buffer(size_t len)
{
        void *p = NULL;

        if (posix_memalign(&p, BLOCK, len))
                p = NULL;
        return memset(must(p), 0, len);
}

static uint64_t rnd(uint64_t *s)
{
        *s ^= *s << 13;
        *s ^= *s >> 7;
        *s ^= *s << 17;
        return *s;
}

static uint64_t now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The content of a block that was written with sequence number seq; 0: zeroes. */
static void fill(void *out, const struct disk *d, uint64_t block, uint64_t seq)
{
        struct stamp s = {STAMP_MAGIC, (uint64_t)d->index, block, seq};
        uint64_t x = seq * 0x9e3779b97f4a7c15ull ^ block << 8 ^ (uint64_t)d->index, *w = out;

        if (seq == 0) {
                memset(out, 0, BLOCK);
                return;
        }
        memcpy(out, &s, sizeof s);
        for (size_t i = sizeof s / 8; i < BLOCK / 8; i++) {
                x = x * 6364136223846793005ull + 1442695040888963407ull;
                w[i] = x;
        }
}

static void fail(const struct disk *d, const char *what, uint64_t block, uint64_t want,
                 const void *got, int err)
{
        struct stamp s = {0};

        if (atomic_fetch_add(&errors, 1) >= MAX_ERROR_LINES)
                return;
        if (got)
                memcpy(&s, got, sizeof s);
        printf("WL-ERR what=%s disk=%s block=%llu want=%llu got=%s%llu:%llu:%llu errno=%d\n", what,
               d->name, (unsigned long long)block, (unsigned long long)want,
               !got                     ? "none:"
               : s.magic == STAMP_MAGIC ? "stamp:"
                                        : "other:",
               (unsigned long long)s.disk, (unsigned long long)s.block, (unsigned long long)s.seq,
               err);
}

/* Reads n blocks and compares each with what was last written there. */
static void verify(struct worker *w, uint64_t first, unsigned n)
{
        struct disk *d = w->disk;
        ssize_t r;

        memset(w->data, 0xa5, (size_t)n * BLOCK);
        r = pread(d->fd, w->data, (size_t)n * BLOCK, (off_t)(first * BLOCK));
        if (r != (ssize_t)((size_t)n * BLOCK)) {
                fail(d, "read", first, d->expect[first], NULL, r < 0 ? errno : 0);
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                fill(w->want, d, first + i, d->expect[first + i]);
                if (memcmp(w->want, w->data + (size_t)i * BLOCK, BLOCK))
                        fail(d, "verify", first + i, d->expect[first + i],
                             w->data + (size_t)i * BLOCK, 0);
        }
}

static void write_blocks(struct worker *w, uint64_t first, unsigned n)
{
        struct disk *d = w->disk;
        uint64_t seq = atomic_fetch_add(&next_seq, 1) + 1;
        size_t len = (size_t)n * BLOCK;
        ssize_t r;

        for (unsigned i = 0; i < n; i++)
                fill(w->data + (size_t)i * BLOCK, d, first + i, seq);
        /* Counted before, so that the count is never below what may have reached the disk. */
        atomic_fetch_add(&bytes_written, len);
        r = pwrite(d->fd, w->data, len, (off_t)(first * BLOCK));
        if (r != (ssize_t)len) {
                fail(d, "write", first, seq, NULL, r < 0 ? errno : 0);
                return;
        }
        for (unsigned i = 0; i < n; i++)
                d->expect[first + i] = seq;
}

static void clear_blocks(struct worker *w, uint64_t first, unsigned n, bool zero)
{
        struct disk *d = w->disk;
        uint64_t range[2] = {first * BLOCK, (uint64_t)n * BLOCK};

        if (ioctl(d->fd, zero ? BLKZEROOUT : BLKDISCARD, range)) {
                fail(d, zero ? "zero" : "discard", first, 0, NULL, errno);
                return;
        }
        for (unsigned i = 0; i < n; i++)
                d->expect[first + i] = 0;
}

/* A random run of blocks inside a random chunk of this worker. */
static uint64_t own_run(struct worker *w, unsigned *ret_n)
{
        uint64_t nchunks = w->disk->nblocks / CHUNK / w->n;
        uint64_t chunk = (rnd(&w->rng) % nchunks) * w->n + w->id;
        unsigned at = (unsigned)(rnd(&w->rng) % CHUNK), room = CHUNK - at;

        /* Mostly single blocks, as a database writes; now and then long ones. */
        *ret_n = rnd(&w->rng) % 4 ? 1 : 1 + (unsigned)(rnd(&w->rng) % room);
        return chunk * CHUNK + at;
}

static void sweep_own(struct worker *w)
{
        for (uint64_t c = w->id; c < w->disk->nblocks / CHUNK; c += w->n) {
                verify(w, c * CHUNK, CHUNK);
                atomic_fetch_add(&blocks_swept, CHUNK);
        }
}

static void initial_fill(struct worker *w)
{
        uint64_t n = ((uint64_t)setting(FILL_MIB) << 20) / BLOCK / CHUNK;

        for (uint64_t c = w->id; c < n && c < w->disk->nblocks / CHUNK; c += w->n)
                write_blocks(w, c * CHUNK, CHUNK);
}

static void *run_worker(void *arg)
{
        struct worker *w = arg;
        long flush_every = setting(FLUSH), discard_every = setting(DISCARD);

        initial_fill(w);
        atomic_fetch_add(&fillers_done, 1);
        for (long op = 1;; op++) {
                unsigned n;
                uint64_t first = own_run(w, &n);

                if (discard_every && op % discard_every == 0)
                        clear_blocks(w, first, n, op / discard_every % 2);
                else
                        write_blocks(w, first, n);
                if (flush_every && op % flush_every == 0 && fdatasync(w->disk->fd))
                        fail(w->disk, "flush", 0, 0, NULL, errno);
                if (op % 2)
                        first = own_run(w, &n);
                verify(w, first, n);
                if (atomic_load(&sweep_asked) != w->swept) {
                        sweep_own(w);
                        w->swept++;
                        atomic_fetch_add(&sweepers_done, 1);
                }
                if (setting(PAUSE_US))
                        usleep((useconds_t)setting(PAUSE_US));
        }
        return NULL;
}

static void *run_cacher(void *arg)
{
        struct disk *d = arg;
        uint64_t n = d->cache_n, rng = 777 + (uint64_t)d->index,
                 *which = must(calloc(n, sizeof *which));
        uint8_t *pages = buffer(n * BLOCK), *want = buffer(BLOCK);

        for (uint64_t i = 0; i < n; i++) {
                fill(want, d, d->cache_first + i, 1);
                atomic_fetch_add(&bytes_written, BLOCK);
                if (pwrite(d->fd, want, BLOCK, (off_t)((d->cache_first + i) * BLOCK)) != BLOCK)
                        fail(d, "write", d->cache_first + i, 1, NULL, errno);
        }
        for (;;) {
                for (uint64_t i = 0; i < n; i++) {
                        which[i] = d->cache_first + rnd(&rng) % n;
                        if (pread(d->fd, pages + i * BLOCK, BLOCK, (off_t)(which[i] * BLOCK)) !=
                            BLOCK)
                                fail(d, "read", which[i], 1, NULL, errno);
                }
                sleep((unsigned)setting(HOLD_S));
                for (uint64_t i = 0; i < n; i++) {
                        fill(want, d, which[i], 1);
                        if (memcmp(want, pages + i * BLOCK, BLOCK))
                                fail(d, "stale-page", which[i], 1, pages + i * BLOCK, 0);
                }
        }
        return NULL;
}

static void *run_dirtier(void *arg)
{
        uint8_t *m = buffer(DIRTY_BYTES);
        uint64_t count = 1;
        size_t at = 0;

        for (;;) {
                for (size_t left = (size_t)setting(DIRTY_MIB) << 20; left >= 20 * BLOCK;
                     left -= 20 * BLOCK) {
                        uint64_t v = count++ * 0x9e3779b97f4a7c15ull;

                        memcpy(m + at, &v, sizeof v);
                        at = (at + BLOCK) % DIRTY_BYTES;
                }
                usleep(50000);
        }
        return arg;
}

static void read_settings(void)
{
        char line[4096] = "";
        int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

        if (fd >= 0) {
                ssize_t n = read(fd, line, sizeof line - 1);

                if (n > 0)
                        line[n] = 0;
                close(fd);
        }
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
                const char *p = strstr(line, settings[i].key);

                if (p)
                        settings[i].value = strtol(p + strlen(settings[i].key), NULL, 10);
        }
        if (settings[THREADS].value < 1 || settings[THREADS].value > MAX_THREADS)
                settings[THREADS].value = 1;
}

static void open_disk(const char *path)
{
        struct disk *d = &disks[ndisks];
        uint64_t size = 0, area = (uint64_t)setting(AREA_MIB) << 20,
                 cache = (uint64_t)setting(CACHE_MIB) << 20;
        uint64_t whole = (uint64_t)CHUNK * BLOCK * (uint64_t)setting(THREADS);

        d->index = ndisks++;
        snprintf(d->name, sizeof d->name, "%s", strrchr(path, '/') + 1);
        d->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        if (d->fd < 0 || ioctl(d->fd, BLKGETSIZE64, &size)) {
                printf("WL-FATAL %s: %s\n", path, strerror(errno));
                exit(1);
        }
        if (area + cache > size)
                area = size > cache ? size - cache : 0;
        d->nblocks = area / whole * whole / BLOCK;
        if (!d->nblocks) {
                printf("WL-FATAL %s: too small, %llu bytes\n", path, (unsigned long long)size);
                exit(1);
        }
        d->cache_first = d->nblocks;
        d->cache_n = cache / BLOCK;
        d->expect = must(calloc(d->nblocks, sizeof *d->expect));
}

static void start(void *(*fn)(void *), void *arg)
{
        pthread_t t;
        int rc = pthread_create(&t, NULL, fn, arg);

        if (rc) {
                printf("WL-FATAL thread: %s\n", strerror(rc));
                exit(1);
        }
}

static void start_threads(void)
{
        unsigned n = (unsigned)setting(THREADS);

        for (int i = 0; i < ndisks; i++) {
                for (unsigned id = 0; id < n; id++) {
                        struct worker *w = must(calloc(1, sizeof *w));

                        *w = (struct worker){.disk = &disks[i], .id = id, .n = n};
                        w->rng = 88172645463325252ull + (uint64_t)i * 1000003 + id * 7919;
                        w->data = buffer(CHUNK * BLOCK);
                        w->want = buffer(BLOCK);
                        nworkers++;
                        start(run_worker, w);
                }
                if (disks[i].cache_n)
                        start(run_cacher, &disks[i]);
        }
        if (setting(DIRTY_MIB))
                start(run_dirtier, NULL);
}

/* Reads what the host typed; one sweep at a time. */
static void obey(void)
{
        static char line[64];
        static size_t len;
        char c;

        while (read(STDIN_FILENO, &c, 1) == 1) {
                if (c != '\n' && c != '\r') {
                        if (len < sizeof line - 1)
                                line[len++] = c;
                        continue;
                }
                line[len] = 0;
                len = 0;
                if (!strcmp(line, "sweep")) {
                        atomic_store(&blocks_swept, 0);
                        atomic_store(&sweepers_done, 0);
                        atomic_fetch_add(&sweep_asked, 1);
                }
        }
}

static void heartbeats(void)
{
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        unsigned reported = 0;
        bool filled = false;
        uint64_t due = now_ms();

        for (unsigned n = 0;; n++) {
                uint64_t t;

                due += HEARTBEAT_MS;
                while ((t = now_ms()) < due)
                        if (poll(&in, 1, (int)(due - t)) > 0)
                                obey();
                if (t > due + HEARTBEAT_MS)
                        due = t; /* do not print a burst after a pause */
                printf("HB n=%u seq=%llu bytes=%llu err=%llu\n", n,
                       (unsigned long long)atomic_load(&next_seq),
                       (unsigned long long)atomic_load(&bytes_written),
                       (unsigned long long)atomic_load(&errors));
                if (!filled && atomic_load(&fillers_done) == nworkers) {
                        filled = true;
                        printf("WL-FILLED bytes=%llu\n",
                               (unsigned long long)atomic_load(&bytes_written));
                }
                if (atomic_load(&sweep_asked) != reported &&
                    atomic_load(&sweepers_done) == nworkers) {
                        reported = atomic_load(&sweep_asked);
                        printf("WL-SWEEP n=%u blocks=%llu err=%llu\n", reported,
                               (unsigned long long)atomic_load(&blocks_swept),
                               (unsigned long long)atomic_load(&errors));
                }
        }
}

static void raw_terminal(void)
{
        struct termios t;

        if (tcgetattr(STDIN_FILENO, &t) == 0) {
                t.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
                t.c_cc[VMIN] = 0;
                t.c_cc[VTIME] = 0;
                tcsetattr(STDIN_FILENO, TCSANOW, &t);
        }
}

int main(int argc, char **argv)
{
        uint64_t blocks = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        read_settings();
        raw_terminal();
        for (int i = 1; i < argc && ndisks < MAX_DISKS; i++)
                open_disk(argv[i]);
        if (!ndisks) {
                printf("WL-FATAL no disk\n");
                return 1;
        }
        for (int i = 0; i < ndisks; i++)
                blocks += disks[i].nblocks;
        printf("WL-START disks=%d blocks=%llu\n", ndisks, (unsigned long long)blocks);
        start_threads();
        heartbeats();
}
