/* See t_host.h. */
#include "t_host.h"

#include "pool/device/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void t_until(struct loop *loop, const bool *flag, unsigned seconds)
{
        uint64_t end = clock_now_ns() + seconds * UINT64_C(1000000000);

        while (!*flag && clock_now_ns() < end)
                loop_turn(loop, 1000000);
        CU_ASSERT_TRUE_FATAL(*flag);
}

void t_turns(struct loop *loop, unsigned ms)
{
        uint64_t end = clock_now_ns() + ms * UINT64_C(1000000);

        while (clock_now_ns() < end)
                loop_turn(loop, 1000000);
}

static void request_done(struct owner_request *r, int status, const struct err *err)
{
        struct t_answer *a = r->ctx;

        a->done = true;
        a->status = status;
        a->err = *err;
}

static void incoming_done(struct migrate_incoming *in, int status, const struct err *err)
{
        struct t_answer *a = in->ctx;

        a->done = true;
        a->status = status;
        if (err && status)
                a->err = *err;
}

static void incoming_progress(struct migrate_incoming *in, const struct migrate_progress *p)
{
        struct t_answer *a = in->ctx;

        a->progress++;
}

struct t_answer *t_answer_init(struct t_answer *a)
{
        *a = (struct t_answer){
            .r = {.done = request_done, .ctx = a},
            .in = {.done = incoming_done, .progress = incoming_progress, .ctx = a},
        };
        return a;
}

/* ---- pools ---- */

static uint64_t pool_now(void *ctx)
{
        return clock_now_ns();
}

static void pool_random(void *ctx, void *buf, size_t len)
{
        static struct rng r = {4711};
        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)rng_next(&r);
}

static const struct pool_host pool_host = {.now_ns = pool_now, .random = pool_random};

struct pool_answer {
        bool done;
        int status;
        struct pool *pool;
        struct volume *vol;
};

static void formatted(void *ctx, int status, const struct err *err)
{
        struct pool_answer *a = ctx;
        a->done = true;
        a->status = status;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        struct pool_answer *a = ctx;
        a->done = true;
        a->status = status;
        a->pool = pool;
}

static struct pool *make_pool(struct t_host *h, const char *name, uint32_t nr_zones)
{
        struct mem_device_spec spec = {.nr_zones = nr_zones, .zone_blocks = 64};
        struct pool_options options = POOL_OPTIONS_DEFAULT;
        struct pool_answer a = {0}, b = {0};
        struct zdev *dev[T_DEVICES];
        uint32_t n = MAX(h->ndevices, 1u);
        struct uuid uuid;

        pool_random(NULL, &uuid, sizeof(uuid));
        for (uint32_t i = 0; i < n; i++)
                CU_ASSERT_EQUAL_FATAL(mem_device_new(&spec, h->loop, &dev[i]), 0);
        pool_format(dev, n, name, &uuid, &pool_host, &options, &a, formatted);
        t_until(h->loop, &a.done, 5);
        CU_ASSERT_EQUAL_FATAL(a.status, 0);
        pool_import(dev, n, &pool_host, &options, &b, imported);
        t_until(h->loop, &b.done, 5);
        CU_ASSERT_EQUAL_FATAL(b.status, 0);
        return b.pool;
}

/* ---- what the engine asks of a daemon ---- */

static struct pool *host_pool(void *ctx, const char *name)
{
        struct t_host *h = ctx;

        for (int i = 0; i < T_POOLS; i++)
                if (h->pools[i] && !strcmp(h->pool_names[i], name))
                        return h->pools[i];
        return NULL;
}

static uint32_t host_peers(void *ctx, const char *pool, const char **out, uint32_t max)
{
        struct t_host *h = ctx;

        for (uint32_t i = 0; i < h->npeers; i++)
                out[i] = h->peers[i];
        return h->npeers;
}

static void front_turned(struct nvm_front *front)
{
}

static struct t_vol *attach(struct t_host *h, const char *pool, struct volume *vol)
{
        struct t_vol *v = calloc(1, sizeof(*v));
        struct err err = ERR_INIT;
        const struct nvm_namespace_spec ns = {
            .ops = &nvm_volume_backing, .backing = vol, .uuid = *volume_uuid(vol)};

        v->host = h;
        v->vol = vol;
        strcpy(v->pool, pool);
        CU_ASSERT_EQUAL_FATAL(nvm_controller_create(h->nvm, &ns, &v->nvc, &err), 0);
        const struct migrate_volume_spec spec = {pool, vol, v->nvc, nvc_nsid(v->nvc)};
        CU_ASSERT_EQUAL_FATAL(migrate_volume_add(h->m, &spec, &v->mv, &err), 0);
        v->observer = owner_volume_observer(migrate_volume_owner(v->mv));
        v->front = (struct nvm_front){"test", front_turned};
        list_add_tail(&h->volumes, &v->node);
        volume_set_context(vol, v);
        return v;
}

struct create_op {
        struct t_host *h;
        char pool[POOL_NAME_MAX + 1];
        void *cb;
        void (*done)(void *cb, int status, const struct err *err, struct migrate_volume *v);
};

static void volume_made(void *ctx, int status, struct volume *vol)
{
        struct create_op *op = ctx;
        struct t_vol *v = status ? NULL : attach(op->h, op->pool, vol);

        op->done(op->cb, status, NULL, v ? v->mv : NULL);
        free(op);
}

static void host_create(void *ctx, struct pool *pool, const struct volume_spec *spec, void *cb,
                        void (*done)(void *, int, const struct err *, struct migrate_volume *))
{
        struct t_host *h = ctx;
        struct create_op *op = calloc(1, sizeof(*op));

        *op = (struct create_op){.h = h, .cb = cb, .done = done};
        for (int i = 0; i < T_POOLS; i++)
                if (h->pools[i] == pool)
                        strcpy(op->pool, h->pool_names[i]);
        volume_create(pool, spec, op, volume_made);
}

static void detach(struct t_vol *v)
{
        struct err err = ERR_INIT;
        uint64_t end = clock_now_ns() + UINT64_C(5000000000);

        t_disconnect(v);
        while (migrate_volume_remove(v->mv, true, &err) < 0 && clock_now_ns() < end)
                loop_turn(v->host->loop, 1000000);
        while (nvm_controller_destroy(v->nvc, &err) < 0 && clock_now_ns() < end)
                loop_turn(v->host->loop, 1000000);
        list_del(&v->node);
        free(v);
}

struct delete_op {
        void *cb;
        void (*done)(void *cb, int status);
};

static void volume_gone(void *ctx, int status)
{
        struct delete_op *op = ctx;

        op->done(op->cb, status);
        free(op);
}

static void host_delete(void *ctx, struct migrate_volume *mv, void *cb,
                        void (*done)(void *cb, int status))
{
        struct volume *vol = migrate_volume_volume(mv);
        struct delete_op *op = calloc(1, sizeof(*op));

        *op = (struct delete_op){cb, done};
        detach(volume_context(vol));
        volume_delete(vol, op, volume_gone);
}

/* ---- life ---- */

void t_host_start(struct t_host *h)
{
        struct err err = ERR_INIT;
        struct migrate_settings s = {
            .loop = h->loop,
            .host_uuid = h->uuid,
            .incarnation = ++h->incarnation,
            .listen = h->address,
            .insecure_lab_transport = true,
            .max_pause_ns = h->max_pause_ns,
        };
        const struct migrate_host_ops ops = {
            .pool_by_name = host_pool,
            .pool_peers = host_peers,
            .volume_create = host_create,
            .volume_delete = host_delete,
            .ctx = h,
        };

        CU_ASSERT_EQUAL_FATAL(nvm_subsystem_new(h->loop, &h->uuid, &h->nvm), 0);
        CU_ASSERT_EQUAL_FATAL(nvme_target_soft(h->nvm, &h->target), 0);
        s.target = h->target;
        if (migrate_new(&s, &ops, &h->m, &err) < 0) {
                printf("\n    %s\n", err.msg);
                CU_FAIL_FATAL("the host does not start");
        }
        for (int i = 0; i < T_POOLS; i++) {
                struct volume *vol = NULL;
                while (h->pools[i] && (vol = volume_next(h->pools[i], vol)))
                        attach(h, h->pool_names[i], vol);
                if (h->pools[i])
                        owner_pool_ready(migrate_owner(h->m), h->pool_names[i]);
        }
}

/* A port that nobody uses at this moment. */
static uint16_t free_port(void)
{
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CU_ASSERT_TRUE_FATAL(fd >= 0);
        CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&sa, len), 0);
        CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        close(fd);
        return ntohs(sa.sin_port);
}

void t_host_init(struct t_host *h, struct loop *loop, int number, uint32_t nr_zones)
{
        *h = (struct t_host){.loop = loop,
                             .number = number,
                             .incarnation = (uint64_t)number << 8,
                             .max_pause_ns = h->max_pause_ns,
                             .ndevices = h->ndevices};
        list_init(&h->volumes);
        memset(h->uuid.b, 0x10 * number, sizeof(h->uuid.b));
        snprintf(h->address, sizeof(h->address), "127.0.0.1:%u", free_port());
        strcpy(h->pool_names[0], "tank");
        strcpy(h->pool_names[1], "pond");
        for (int i = 0; i < T_POOLS; i++)
                h->pools[i] = make_pool(h, h->pool_names[i], nr_zones);
        t_host_start(h);
}

static void stopped(void *ctx)
{
        *(bool *)ctx = true;
}

void t_host_stop(struct t_host *h)
{
        struct t_vol *v;
        bool done = false;

        if (!h->m)
                return;
        migrate_stop(h->m, &done, stopped);
        t_until(h->loop, &done, 10);
        while ((v = list_first(&h->volumes, struct t_vol, node)))
                detach(v);
        migrate_free(h->m);
        nvme_target_close(h->target);
        nvm_subsystem_free(h->nvm);
        h->m = NULL;
}

static void exported(void *ctx, int status)
{
        *(bool *)ctx = true;
}

void t_host_fini(struct t_host *h)
{
        t_host_stop(h);
        for (int i = 0; i < T_POOLS; i++) {
                bool done = false;
                if (!h->pools[i])
                        continue;
                pool_export(h->pools[i], &done, exported);
                t_until(h->loop, &done, 5);
        }
}

/* ---- volumes and guests ---- */

static void first_made(void *ctx, int status, struct volume *vol)
{
        struct pool_answer *a = ctx;
        a->done = true;
        a->status = status;
        a->vol = vol;
}

struct t_vol *t_vol_create(struct t_host *h, const char *pool, const char *name, uint64_t blocks)
{
        return t_vol_make(h, pool, name, blocks, 1, 0);
}

struct t_vol *t_vol_make(struct t_host *h, const char *pool, const char *name, uint64_t blocks,
                         uint8_t copies, uint64_t reserved_blocks)
{
        uint8_t record[OWNER_RECORD_MAX];
        struct pool_answer a = {0};
        struct volume_spec spec = {
            .name = name,
            .size_bytes = blocks * T_BLOCK,
            .copies = copies,
            .reserved_bytes = reserved_blocks * T_BLOCK,
            .owner = record,
            .owner_len = owner_record_initial(record),
        };

        pool_random(NULL, &spec.uuid, sizeof(spec.uuid));
        volume_create(host_pool(h, pool), &spec, &a, first_made);
        t_until(h->loop, &a.done, 5);
        CU_ASSERT_EQUAL_FATAL(a.status, 0);
        return attach(h, pool, a.vol);
}

struct t_vol *t_vol_find(struct t_host *h, const char *pool, const char *name)
{
        struct t_vol *v;

        list_for_each (v, &h->volumes, node)
                if (!strcmp(v->pool, pool) && !strcmp(volume_name(v->vol), name))
                        return v;
        return NULL;
}

void t_rings(struct t_vol *v, bool on, pid_t pid)
{
        if (on == v->rings)
                return;
        v->rings = on;
        if (on) {
                CU_ASSERT_EQUAL(nvc_attach_front(v->nvc, &v->front, NULL), 0);
                v->observer.event(v->observer.ctx, FRONT_CONNECTED, pid);
                v->observer.event(v->observer.ctx, FRONT_RINGS_ON, pid);
                return;
        }
        while (nvc_inflight(v->nvc))
                loop_turn(v->host->loop, 1000000);
        nvc_detach_front(v->nvc, &v->front);
        v->observer.event(v->observer.ctx, FRONT_RINGS_OFF, pid);
}

void t_disconnect(struct t_vol *v)
{
        t_rings(v, false, 0);
        v->observer.event(v->observer.ctx, FRONT_DISCONNECTED, 0);
}

bool t_gate(const struct t_vol *v)
{
        return nvc_may_submit(v->nvc);
}

enum owner_state t_state(const struct t_vol *v)
{
        struct owner_info info;

        owner_volume_info(migrate_volume_owner(v->mv), &info);
        return info.state;
}

void t_disk_init(struct t_disk *d, uint64_t blocks)
{
        *d = (struct t_disk){.blocks = blocks, .version = calloc(blocks, sizeof(uint32_t))};
}

void t_disk_fini(struct t_disk *d)
{
        free(d->version);
}

static void fill(uint8_t *buf, uint64_t block, uint32_t version)
{
        struct rng r = {block * 1000003 + version};

        for (size_t i = 0; i < T_BLOCK; i += 8) {
                uint64_t w = version ? rng_next(&r) : 0;
                memcpy(buf + i, &w, 8);
        }
}

struct io_wait {
        struct volume_io io;
        bool done;
        int status;
};

static void io_done(struct volume_io *io, int status)
{
        struct io_wait *w = container_of(io, struct io_wait, io);
        w->done = true;
        w->status = status;
}

bool t_disk_write(struct t_disk *d, struct t_vol *v, uint64_t first, uint64_t n)
{
        struct io_wait w = {.io = {.op = VOLUME_WRITE, .done = io_done}};

        if (!t_gate(v))
                return false;
        uint8_t *buf = aligned_alloc(T_BLOCK, n * T_BLOCK);
        struct iovec iov = {buf, n * T_BLOCK};
        d->next++;
        for (uint64_t i = 0; i < n; i++) {
                d->version[first + i] = d->next;
                fill(buf + i * T_BLOCK, first + i, d->next);
        }
        w.io.offset_bytes = first * T_BLOCK;
        w.io.length_bytes = n * T_BLOCK;
        w.io.iov = &iov;
        w.io.niov = 1;
        nvc_submit(v->nvc, &w.io);
        t_until(v->host->loop, &w.done, 10);
        CU_ASSERT_EQUAL(w.status, 0);
        d->written_bytes += n * T_BLOCK;
        free(buf);
        return true;
}

void t_disk_discard(struct t_disk *d, struct t_vol *v, uint64_t first, uint64_t n)
{
        struct io_wait w = {.io = {.op = VOLUME_DISCARD, .done = io_done}};

        w.io.offset_bytes = first * T_BLOCK;
        w.io.length_bytes = n * T_BLOCK;
        memset(d->version + first, 0, n * sizeof(uint32_t));
        nvc_submit(v->nvc, &w.io);
        t_until(v->host->loop, &w.done, 10);
        CU_ASSERT_EQUAL(w.status, 0);
}

uint64_t t_disk_wrong(const struct t_disk *d, struct t_vol *v)
{
        uint8_t *have = aligned_alloc(T_BLOCK, T_BLOCK), *want = aligned_alloc(T_BLOCK, T_BLOCK);
        uint64_t wrong = 0;

        for (uint64_t b = 0; b < d->blocks; b++) {
                struct iovec iov = {have, T_BLOCK};
                struct io_wait w = {.io = {.op = VOLUME_READ,
                                           .done = io_done,
                                           .offset_bytes = b * T_BLOCK,
                                           .length_bytes = T_BLOCK,
                                           .iov = &iov,
                                           .niov = 1}};
                volume_submit(v->vol, &w.io);
                t_until(v->host->loop, &w.done, 10);
                fill(want, b, d->version[b]);
                wrong += w.status != 0 || memcmp(have, want, T_BLOCK) != 0;
        }
        free(have);
        free(want);
        return wrong;
}

uint64_t t_disk_nonzero(const struct t_disk *d)
{
        uint64_t n = 0;

        for (uint64_t b = 0; b < d->blocks; b++)
                n += d->version[b] != 0;
        return n * T_BLOCK;
}
