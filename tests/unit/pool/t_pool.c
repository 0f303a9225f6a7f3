/* See t_pool.h. A crash and an export leave the devices: the pool is handed proxies whose close
 * does nothing, so that the same memory can be imported again. */
#include "t_pool.h"

#include "base/rng.h"
#include "pool/device/mem.h"
#include "pool/inspect.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <string.h>

enum { DRIVE_MAX = 5000000 }; /* completions */

enum { MAX_SPOTS = 1024 };

struct spot {
        uint32_t zone;
        uint64_t block;
};

struct proxy {
        struct zdev dev;
        struct zdev *mem;
        bool dropped; /* answers go nowhere */
        bool stalled; /* there are none for now */
        struct spot spots[MAX_SPOTS]; /* damaged places, until their zone is reset */
        unsigned nspots;
        uint8_t damaged[ZP_BLOCK]; /* reads that find this see another byte, */
        bool damage; /* when set */
};

struct proxy_io {
        struct zdev_io io; /* what the mem device sees */
        struct zdev_io *from;
        struct proxy *proxy;
};

/* The place in what was read. */
static uint8_t *read_at(const struct zdev_io *io, uint64_t block)
{
        uint64_t skip = block - io->block;

        for (int i = 0; i < io->niov; i++) {
                uint64_t n = io->iov[i].iov_len / ZP_BLOCK;
                if (skip < n)
                        return (uint8_t *)io->iov[i].iov_base + skip * ZP_BLOCK;
                skip -= n;
        }
        return NULL;
}

static void meet_spots(struct proxy *p, const struct zdev_io *io)
{
        for (unsigned i = 0; i < p->nspots; i++) {
                const struct spot *s = &p->spots[i];
                if (s->zone != io->zone)
                        continue;
                if (io->op == ZDEV_RESET)
                        p->spots[i--] = p->spots[--p->nspots];
                else if (io->op == ZDEV_READ && s->block >= io->block &&
                         s->block < io->block + io->nblocks)
                        read_at(io, s->block)[100] ^= 1;
        }
}

static void proxy_done(struct zdev_io *io, int status)
{
        struct proxy_io *p = container_of(io, struct proxy_io, io);
        struct zdev_io *from = p->from;
        bool dropped = p->proxy->dropped;

        if (status == 0)
                meet_spots(p->proxy, io);

        for (int i = 0; p->proxy->damage && io->op == ZDEV_READ && i < io->niov; i++) {
                uint8_t *at = io->iov[i].iov_base;
                for (size_t n = io->iov[i].iov_len / ZP_BLOCK; n; n--, at += ZP_BLOCK)
                        if (!memcmp(at, p->proxy->damaged, ZP_BLOCK))
                                at[100] ^= 1;
        }
        free(p);
        if (!dropped)
                from->done(from, status);
}

static void proxy_submit(struct zdev *dev, struct zdev_io *io)
{
        struct proxy *p = container_of(dev, struct proxy, dev);
        struct proxy_io *q = calloc(1, sizeof(*q));

        q->io = *io;
        q->io.done = proxy_done;
        q->from = io;
        q->proxy = p;
        zdev_submit(p->mem, &q->io);
}

static void proxy_close(struct zdev *dev)
{
}

static int proxy_peek(struct zdev *dev, uint32_t zone, uint64_t block, void *buf)
{
        struct proxy *p = container_of(dev, struct proxy, dev);

        return p->mem->ops->peek(p->mem, zone, block, buf);
}

static const struct zdev_ops proxy_ops = {"proxy", proxy_submit, proxy_close, proxy_peek};

static struct proxy *proxy_of(struct t_pool *t, uint32_t i)
{
        return container_of(t->devs[i], struct proxy, dev);
}

struct zdev *t_mem(struct t_pool *t, uint32_t i)
{
        return proxy_of(t, i)->mem;
}

void t_damage(struct t_pool *t, const void *block)
{
        for (uint32_t i = 0; i < t->ndevs; i++) {
                memcpy(proxy_of(t, i)->damaged, block, ZP_BLOCK);
                proxy_of(t, i)->damage = true;
        }
}

void t_damage_place(struct t_pool *t, uint32_t dev, uint32_t zone, uint64_t block)
{
        struct proxy *p = proxy_of(t, dev);

        CU_ASSERT_FATAL(p->nspots < MAX_SPOTS);
        p->spots[p->nspots++] = (struct spot){zone, block};
}

bool t_damage_copy(struct t_pool *t, uint32_t dev, const void *block)
{
        const struct zdev_geometry *geo = &t_mem(t, dev)->geo;
        uint8_t buf[ZP_BLOCK];
        bool found = false;

        for (uint32_t z = 0; z < geo->nr_zones; z++) {
                for (uint64_t b = 0; b < geo->zone_blocks; b++) {
                        proxy_peek(t->devs[dev], z, b, buf);
                        if (memcmp(buf, block, ZP_BLOCK) != 0)
                                continue;
                        t_damage_place(t, dev, z, b);
                        found = true;
                }
        }
        return found;
}

struct reported {
        struct zdev_io io;
        int status;
};

static void report_done(struct zdev_io *io, int status)
{
        container_of(io, struct reported, io)->status = status;
}

int t_report(struct t_pool *t, uint32_t dev, uint32_t zone, struct zdev_zone *ret_zone)
{
        struct reported r = {.io = {.op = ZDEV_REPORT,
                                    .zone = zone,
                                    .nblocks = 1,
                                    .report = ret_zone,
                                    .done = report_done},
                             .status = -EINPROGRESS};

        zdev_submit(t_mem(t, dev), &r.io);
        mem_device_run(t_mem(t, dev));
        return r.status;
}

static int gone(void *ctx, const struct zdev_io *io)
{
        return -ENODEV;
}

void t_lose(struct t_pool *t, uint32_t dev, bool lost)
{
        mem_device_set_fault(t_mem(t, dev), lost ? gone : NULL, NULL);
}

void t_stall(struct t_pool *t, uint32_t dev, bool stalled)
{
        proxy_of(t, dev)->stalled = stalled;
}

static uint64_t host_now(void *ctx)
{
        struct t_pool *t = ctx;
        return t->now_ns += 1000;
}

static void host_random(void *ctx, void *buf, size_t len)
{
        struct t_pool *t = ctx;
        struct rng r = {t->random++};
        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)rng_next(&r);
}

static void host_event(void *ctx, struct pool *pool, const struct pool_event *event)
{
        struct t_pool *t = ctx;
        t->events[event->kind]++;
}

const struct pool_host *t_host(struct t_pool *t)
{
        static struct pool_host host;
        host = (struct pool_host){host_now, host_random, host_event, NULL, t};
        return &host;
}

void t_drive(struct t_pool *t)
{
        uint64_t total = 0;
        unsigned n;
        do {
                n = 0;
                for (uint32_t i = 0; i < t->ndevs; i++)
                        n += !proxy_of(t, i)->stalled && mem_device_step(proxy_of(t, i)->mem);
                total += n;
                if (total > DRIVE_MAX)
                        CU_FAIL_FATAL("the pool works on and on and comes to no end");
        } while (n);
}

struct answer {
        bool done;
        int status;
        struct t_pool *t;
        struct pool *pool;
        struct volume *vol;
};

static void formatted(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        if (err)
                a->t->err = *err;
}

int t_format(struct t_pool *t, const char *name)
{
        struct answer a = {.t = t};
        struct uuid uuid = {{1, 2, 3, (uint8_t)(t->random / 1000)}};

        t->err = ERR_INIT;
        pool_format(t->devs, t->ndevs, name, &uuid, t_host(t), &t->options, &a, formatted);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        return a.status;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        a->pool = pool;
        if (err)
                a->t->err = *err;
}

static int import(struct t_pool *t, struct zdev *const *devs, uint32_t ndevs)
{
        struct answer a = {.t = t};

        t->err = ERR_INIT;
        pool_import(devs, ndevs, t_host(t), &t->options, &a, imported);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        t->pool = a.pool;
        return a.status;
}

int t_import(struct t_pool *t)
{
        return import(t, t->devs, t->ndevs);
}

int t_import_degraded(struct t_pool *t, unsigned without, bool asked)
{
        struct zdev *devs[T_MAX_DEVS];
        uint32_t n = 0;

        for (uint32_t i = 0; i < t->ndevs; i++)
                if (!(without >> i & 1))
                        devs[n++] = t->devs[i];
        t->options.degraded = asked;
        int rc = import(t, devs, n);
        t->options.degraded = false;
        return rc;
}

void t_devices(struct t_pool *t, uint32_t ndevs, const struct mem_device_spec *spec)
{
        *t = (struct t_pool){.ndevs = ndevs, .options = POOL_OPTIONS_DEFAULT, .random = 1};
        for (uint32_t i = 0; i < ndevs; i++) {
                struct proxy *p = calloc(1, sizeof(*p));
                CU_ASSERT_EQUAL_FATAL(mem_device_new(spec, NULL, &p->mem), 0);
                p->dev = *p->mem;
                p->dev.ops = &proxy_ops;
                t->devs[i] = &p->dev;
        }
}

void t_pool_new(struct t_pool *t, uint32_t ndevs, uint32_t nr_zones, uint32_t zone_blocks)
{
        static uint64_t pools;
        struct mem_device_spec spec = {
            .nr_zones = nr_zones, .zone_blocks = zone_blocks, .max_open = 4, .max_active = 4};

        t_devices(t, ndevs, &spec);
        t->random = ++pools * 1000;
        CU_ASSERT_EQUAL_FATAL(t_format(t, "tank"), 0);
        CU_ASSERT_EQUAL_FATAL(t_import(t), 0);
}

void t_crash(struct t_pool *t)
{
        for (uint32_t i = 0; i < t->ndevs; i++) {
                proxy_of(t, i)->dropped = true;
                proxy_of(t, i)->stalled = false;
        }
        t_drive(t); /* what is in flight is carried out, and nobody hears of it */
        pool_abandon(t->pool);
        t->pool = NULL;
        for (uint32_t i = 0; i < t->ndevs; i++)
                proxy_of(t, i)->dropped = false;
}

static void finished(void *ctx, int status)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
}

void t_export(struct t_pool *t)
{
        struct answer a = {0};
        pool_export(t->pool, &a, finished);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        CU_ASSERT_EQUAL(a.status, 0);
        t->pool = NULL;
}

void t_fini(struct t_pool *t)
{
        if (t->pool)
                t_crash(t);
        while (t->ndevs)
                t_drop_device(t);
}

void t_drop_device(struct t_pool *t)
{
        struct proxy *p = proxy_of(t, --t->ndevs);

        zdev_close(p->mem);
        free(p);
}

static void created(void *ctx, int status, struct volume *vol)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        a->vol = vol;
}

int t_create_copies(struct t_pool *t, const char *name, uint64_t size, uint8_t copies,
                    struct volume **ret_vol)
{
        struct answer a = {0};
        struct volume_spec spec = {
            .name = name, .size_bytes = size, .owner = "first", .owner_len = 5, .copies = copies};

        memset(spec.uuid.b, 7, 16);
        memcpy(spec.uuid.b, name, strnlen(name, 15));
        volume_create(t->pool, &spec, &a, created);
        CU_ASSERT_FALSE(a.done);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        if (a.status == 0)
                *ret_vol = a.vol;
        return a.status;
}

int t_create(struct t_pool *t, const char *name, uint64_t size, struct volume **ret_vol)
{
        return t_create_copies(t, name, size, 1, ret_vol);
}

static void io_done(struct volume_io *io, int status)
{
        struct answer *a = io->priv;
        a->done = true;
        a->status = status;
}

static int submit(struct volume *vol, struct t_pool *t, struct volume_io *io)
{
        struct answer *a = calloc(1, sizeof(*a));
        struct volume_io *own = malloc(sizeof(*own));

        *own = *io;
        own->priv = a;
        own->done = io_done;
        volume_submit(vol, own);
        CU_ASSERT_FALSE(a->done);
        t_drive(t);
        int status = a->done ? a->status : -EINPROGRESS;
        if (a->done) { /* else: held, for as long as the test goes on */
                free(a);
                free(own);
        }
        return status;
}

int t_io(struct volume *vol, struct t_pool *t, enum volume_op op, uint64_t offset, void *buf,
         uint64_t len, bool fua)
{
        struct iovec iov = {buf, len};
        struct volume_io io = {.op = op,
                               .fua = fua,
                               .offset_bytes = offset,
                               .length_bytes = len,
                               .iov = buf ? &iov : NULL,
                               .niov = buf ? 1 : 0};
        return submit(vol, t, &io);
}

int t_io_nohold(struct volume *vol, struct t_pool *t, uint64_t offset, void *buf, uint64_t len)
{
        struct iovec iov = {buf, len};
        struct volume_io io = {.op = VOLUME_WRITE,
                               .no_hold = true,
                               .offset_bytes = offset,
                               .length_bytes = len,
                               .iov = &iov,
                               .niov = 1};
        return submit(vol, t, &io);
}

int t_flush(struct volume *vol, struct t_pool *t)
{
        return t_io(vol, t, VOLUME_FLUSH, 0, NULL, 0, false);
}

void t_pass(struct t_pool *t, unsigned seconds)
{
        for (uint64_t end = t->now_ns + seconds * UINT64_C(1000000000); t->now_ns < end;) {
                t->now_ns += 20 * 1000 * 1000;
                pool_tick(t->pool);
                t_drive(t);
        }
}

int t_checkpoint(struct t_pool *t)
{
        struct answer a = {0};
        pool_checkpoint(t->pool, &a, finished);
        t_drive(t);
        CU_ASSERT_TRUE_FATAL(a.done);
        return a.status;
}

void t_check(struct t_pool *t)
{
        struct err err = ERR_INIT;
        if (pool_inspect_check(t->pool, &err) < 0) {
                printf("\n    %s\n", err.msg);
                CU_FAIL("the pool's books do not balance");
        }
}

void t_fill(void *buf, uint64_t key, uint64_t block, uint64_t version)
{
        uint64_t *w = buf;
        struct rng r = {key * 31 + block * 1000003 + version};
        for (size_t i = 0; i < ZP_BLOCK / 8; i++)
                w[i] = rng_next(&r);
}

uint64_t t_wrong(struct t_pool *t, struct volume *vol, uint64_t blocks, uint64_t version)
{
        uint8_t want[ZP_BLOCK], buf[ZP_BLOCK];
        uint64_t bad = 0;

        for (uint64_t b = 0; b < blocks; b++) {
                t_fill(want, 1, b, version);
                int rc = t_io(vol, t, VOLUME_READ, b * ZP_BLOCK, buf, ZP_BLOCK, false);
                bad += rc < 0 || memcmp(buf, want, ZP_BLOCK) != 0;
        }
        return bad;
}

void t_write_all(struct t_pool *t, uint64_t blocks, uint64_t version)
{
        uint8_t buf[ZP_BLOCK];

        for (uint64_t b = 0; b < blocks; b++) {
                t_fill(buf, 1, b, version);
                CU_ASSERT_EQUAL(t_io(volume_by_name(t->pool, "disk"), t, VOLUME_WRITE, b * ZP_BLOCK,
                                     buf, ZP_BLOCK, b % 16 == 0),
                                0);
        }
}

void t_check_all(struct t_pool *t, uint64_t blocks, uint64_t version)
{
        CU_ASSERT_EQUAL(t_wrong(t, volume_by_name(t->pool, "disk"), blocks, version), 0);
}
