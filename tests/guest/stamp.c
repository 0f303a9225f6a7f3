/*
 * The workload of the kernel guest: writes stamped with a sequence, and what must be read back.
 *
 *   stamp FILE TABLE create           the table of FILE, nothing written yet
 *   stamp FILE TABLE fill             every block once, in order
 *   stamp FILE TABLE overwrite        as many blocks again, at random
 *   stamp FILE TABLE storm            overwrites until killed
 *   stamp FILE TABLE verify           every block against the table
 *
 * FILE is a volume. TABLE is memory that outlives what is being tested: a file in RAM, or memory of
 * the emulator that a reset of this machine leaves alone. For each block it holds the stamp of the
 * last write that was begun (`issued`, stored before the write) and that of the last one a
 * completed fsync covers (`flushed`). A block must hold a stamp from flushed to issued, inclusive,
 * and every byte of it must be that stamp's. What verify has read becomes both: it must not change
 * any more.
 *
 * Threads share no block: thread t has the chunks c with c % THREADS == t. Each flushes for itself,
 * after FLUSH_EVERY writes, and then prints GT-FLUSHED with the number of writes it covers.
 *
 * Output, a line each: GT-FLUSHED n=N; and last
 *   GT-DONE what=W writes=N            fill, overwrite
 *   GT-VERIFIED blocks=N newer=N older=N err=N
 * newer: of unflushed writes, found; older: of writes begun, not found. GT-ERR tells of a block
 * that is wrong. Exit status 0: no error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u
#define CHUNK 64u /* blocks */
#define THREADS 8u
#define MAX_WRITE 16u /* blocks */
#define FLUSH_EVERY 8u /* writes */
#define MAGIC UINT64_C(0x314250415453505a)
#define MAX_ERROR_LINES 20

struct row {
        _Atomic uint64_t issued, flushed; /* 0: never written */
};

struct table {
        uint64_t magic, blocks;
        _Atomic uint64_t next; /* stamp */
        uint64_t unused[5];
        struct row rows[];
};

static const char *path;
static struct table *table;
static atomic_ulong errors, newer, older, writes;

__attribute__((noreturn)) static void fatal(const char *what)
{
        printf("GT-FATAL stamp: %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t mix(uint64_t x)
{
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

/* A block never written is zeroes; any other names itself and its stamp, and is theirs to the last
 * byte. */
static void make_block(uint64_t *words, uint64_t block, uint64_t stamp)
{
        if (!stamp) {
                memset(words, 0, BLOCK);
                return;
        }
        words[0] = MAGIC;
        words[1] = block;
        words[2] = stamp;
        uint64_t x = mix(block ^ mix(stamp));
        for (unsigned i = 3; i < BLOCK / 8; i++)
                words[i] = x += UINT64_C(0x9e3779b97f4a7c15);
}

static int open_file(int flags)
{
        int fd = open(path, flags | O_CLOEXEC);
        if (fd < 0)
                fatal(path);
        return fd;
}

static void *buffer_new(void)
{
        void *buf = NULL;
        if (posix_memalign(&buf, BLOCK, CHUNK * BLOCK))
                fatal("memory");
        return buf;
}

/* ---- writing ---- */

struct writer {
        pthread_t thread;
        unsigned index;
        uint64_t todo; /* blocks; UINT64_MAX: for ever */
        bool in_order;
        uint64_t random;
        int fd;
        uint64_t *buf;
        struct {
                uint64_t block, stamp;
                unsigned n;
        } pending[FLUSH_EVERY]; /* written, not flushed */
        unsigned npending;
};

static uint64_t next_random(struct writer *w)
{
        return mix(w->random += UINT64_C(0x9e3779b97f4a7c15));
}

static void flush(struct writer *w)
{
        if (fsync(w->fd) < 0)
                fatal("fsync");
        for (unsigned i = 0; i < w->npending; i++)
                for (unsigned k = 0; k < w->pending[i].n; k++)
                        atomic_store(&table->rows[w->pending[i].block + k].flushed,
                                     w->pending[i].stamp);
        unsigned long n = atomic_fetch_add(&writes, w->npending) + w->npending;
        w->npending = 0;
        printf("GT-FLUSHED n=%lu\n", n);
}

static void write_blocks(struct writer *w, uint64_t block, unsigned n)
{
        uint64_t stamp = atomic_fetch_add(&table->next, 1);

        for (unsigned k = 0; k < n; k++) {
                make_block(w->buf + (size_t)k * (BLOCK / 8), block + k, stamp);
                atomic_store(&table->rows[block + k].issued, stamp);
        }
        ssize_t len = (ssize_t)n * BLOCK;
        if (pwrite(w->fd, w->buf, (size_t)len, (off_t)(block * BLOCK)) != len)
                fatal("write");
        w->pending[w->npending].block = block;
        w->pending[w->npending].stamp = stamp;
        w->pending[w->npending++].n = n;
        if (w->npending == FLUSH_EVERY)
                flush(w);
}

static void *write_some(void *ctx)
{
        struct writer *w = ctx;
        uint64_t chunks = table->blocks / CHUNK, at = w->index;

        w->fd = open_file(O_RDWR);
        w->buf = buffer_new();
        for (uint64_t done = 0; done < w->todo;) {
                unsigned first = 0, n = CHUNK;
                if (!w->in_order) {
                        at = next_random(w) % (chunks / THREADS) * THREADS + w->index;
                        n = 1 + (unsigned)(next_random(w) % MAX_WRITE);
                        first = (unsigned)(next_random(w) % (CHUNK - n + 1));
                } else if (at >= chunks) {
                        break;
                }
                write_blocks(w, at * CHUNK + first, n);
                at += w->in_order ? THREADS : 0;
                done += n;
        }
        flush(w);
        close(w->fd);
        free(w->buf);
        return NULL;
}

static void write_all(bool in_order, uint64_t todo)
{
        static struct writer w[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
                w[i] = (struct writer){.index = i,
                                       .todo = todo == UINT64_MAX ? todo : todo / THREADS,
                                       .in_order = in_order,
                                       .random = mix(atomic_load(&table->next)) + i};
                if (pthread_create(&w[i].thread, NULL, write_some, &w[i]))
                        fatal("thread");
        }
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(w[i].thread, NULL);
}

/* ---- verifying ---- */

static void check_block(uint64_t block, const uint64_t *got)
{
        struct row *row = &table->rows[block];
        uint64_t issued = atomic_load(&row->issued), flushed = atomic_load(&row->flushed);
        uint64_t want[BLOCK / 8], stamp = got[0] == MAGIC ? got[2] : 0;

        make_block(want, block, stamp);
        bool torn = memcmp(got, want, BLOCK) != 0;
        if (torn || stamp < flushed || stamp > issued) {
                if (atomic_fetch_add(&errors, 1) < MAX_ERROR_LINES)
                        printf("GT-ERR block=%llu stamp=%llu flushed=%llu issued=%llu torn=%d "
                               "of=%llu\n",
                               (unsigned long long)block, (unsigned long long)stamp,
                               (unsigned long long)flushed, (unsigned long long)issued, torn,
                               (unsigned long long)(got[0] == MAGIC ? got[1] : UINT64_MAX));
                return;
        }
        newer += stamp > flushed;
        older += stamp < issued;
        atomic_store(&row->issued, stamp);
        atomic_store(&row->flushed, stamp);
}

static void *verify_some(void *ctx)
{
        uint64_t chunks = table->blocks / CHUNK, *buf = buffer_new();
        int fd = open_file(O_RDONLY);

        for (uint64_t c = (uintptr_t)ctx; c < chunks; c += THREADS) {
                if (pread(fd, buf, CHUNK * BLOCK, (off_t)(c * CHUNK * BLOCK)) !=
                    (ssize_t)(CHUNK * BLOCK)) {
                        printf("GT-ERR read block=%llu: %s\n", (unsigned long long)(c * CHUNK),
                               strerror(errno));
                        errors += CHUNK;
                        continue;
                }
                for (unsigned k = 0; k < CHUNK; k++)
                        check_block(c * CHUNK + k, buf + (size_t)k * (BLOCK / 8));
        }
        close(fd);
        free(buf);
        return NULL;
}

static void verify(void)
{
        pthread_t threads[THREADS];

        for (uintptr_t i = 0; i < THREADS; i++)
                if (pthread_create(&threads[i], NULL, verify_some, (void *)i))
                        fatal("thread");
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        printf("GT-VERIFIED blocks=%llu newer=%lu older=%lu err=%lu\n",
               (unsigned long long)table->blocks, newer, older, errors);
}

/* ---- the table ---- */

static void map_table(const char *name, bool create)
{
        int fd = open(name, O_RDWR | O_CLOEXEC);
        struct stat st, volume;

        if (fd < 0 || fstat(fd, &st) < 0)
                fatal(name);
        table = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (table == MAP_FAILED)
                fatal(name);
        close(fd);
        if (create) {
                if (stat(path, &volume) < 0)
                        fatal(path);
                memset(table, 0, (size_t)st.st_size);
                table->blocks = (uint64_t)volume.st_size / BLOCK / CHUNK * CHUNK;
                table->next = 1;
                table->magic = MAGIC;
        }
        if (table->magic != MAGIC ||
            table->blocks > ((uint64_t)st.st_size - sizeof(*table)) / sizeof(struct row)) {
                errno = EINVAL;
                fatal("the table is none, or too small");
        }
}

int main(int argc, char **argv)
{
        const char *what = argc == 4 ? argv[3] : "";

        setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc != 4) {
                fprintf(stderr, "usage: stamp FILE TABLE create|fill|overwrite|storm|verify\n");
                return 2;
        }
        path = argv[1];
        map_table(argv[2], !strcmp(what, "create"));
        if (!strcmp(what, "fill"))
                write_all(true, table->blocks);
        else if (!strcmp(what, "overwrite"))
                write_all(false, table->blocks);
        else if (!strcmp(what, "storm"))
                write_all(false, UINT64_MAX);
        else if (!strcmp(what, "verify"))
                verify();
        if (strcmp(what, "verify") != 0)
                printf("GT-DONE what=%s writes=%lu\n", what, writes);
        return errors ? 1 : 0;
}
