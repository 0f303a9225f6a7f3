/* See rig.h. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct answer {
        struct rig *rig;
        bool done;
        int status;
        struct err *err;
        struct volume *vol;
};

static uint64_t now_ns(void *ctx)
{
        return 0;
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
        struct rig *rig = ctx;

        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)rng_next(&rig->rng);
}

static void wake(void *ctx, struct pool *pool)
{
        struct rig *rig = ctx;

        rig->woken = pool; /* during an import the rig has no other name of it */
}

static struct pool_host host_of(struct rig *rig)
{
        return (struct pool_host){
            .now_ns = now_ns, .random = random_bytes, .wake = wake, .ctx = rig};
}

bool rig_step(struct rig *rig)
{
        if (rig->woken) {
                struct pool *pool = rig->woken;
                rig->woken = NULL;
                pool_tick(pool);
                return true;
        }
        for (uint32_t n = 0; n < rig->ndevs; n++) {
                uint32_t i = rig->turn++ % rig->ndevs;
                if (drop_media_step(rig->media[i]))
                        return true;
        }
        return false;
}

int rig_wait(struct rig *rig, const bool *flag)
{
        while (!*flag)
                if (!rig_step(rig))
                        return -EDEADLK;
        return 0;
}

static int finish(struct rig *rig, struct answer *a, const char *what)
{
        int rc = rig_wait(rig, &a->done);

        if (rc < 0)
                return err_set_sys(a->err, -rc, "%s", what);
        if (a->status < 0 && !a->err->code)
                return err_set_sys(a->err, -a->status, "%s", what);
        return a->status;
}

static void formatted(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;

        if (err)
                *a->err = *err;
        a->status = status;
        a->done = true;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        struct answer *a = ctx;

        a->rig->pool = pool;
        formatted(ctx, status, err);
}

static int open_devices(struct rig *rig, struct zdev **devs, struct err *err)
{
        for (uint32_t i = 0; i < rig->ndevs; i++) {
                devs[i] = drop_device_open(rig->media[i]);
                if (devs[i])
                        continue;
                while (i)
                        zdev_close(devs[--i]);
                return err_set(err, ENOMEM, "no memory for a device");
        }
        return 0;
}

int rig_format(struct rig *rig, const struct drop_spec *specs, uint32_t ndevs, struct err *err)
{
        struct zdev *devs[RIG_MAX_DEVICES];
        struct pool_host host = host_of(rig);
        struct answer a = {.rig = rig, .err = err};
        struct uuid uuid;

        if (!ndevs || ndevs > RIG_MAX_DEVICES)
                return err_set(err, EINVAL, "1 to %d devices", RIG_MAX_DEVICES);
        for (; rig->ndevs < ndevs; rig->ndevs++) {
                int rc = drop_media_new(&specs[rig->ndevs], &rig->media[rig->ndevs]);
                if (rc < 0)
                        return err_set_sys(err, -rc, "making device %u", rig->ndevs);
        }
        random_bytes(rig, uuid.b, sizeof(uuid.b));
        uuid_from_random(&uuid);
        int rc = open_devices(rig, devs, err);
        if (rc < 0)
                return rc;
        pool_format(devs, ndevs, "bench", &uuid, &host, &rig->options, &a, formatted);
        rc = finish(rig, &a, "formatting");
        for (uint32_t i = 0; i < ndevs; i++)
                zdev_close(devs[i]);
        return rc;
}

int rig_import(struct rig *rig, struct err *err)
{
        struct zdev *devs[RIG_MAX_DEVICES];
        struct pool_host host = host_of(rig);
        struct answer a = {.rig = rig, .err = err};
        int rc = open_devices(rig, devs, err);

        if (rc < 0)
                return rc;
        pool_import(devs, rig->ndevs, &host, &rig->options, &a, imported);
        rc = finish(rig, &a, "importing");
        for (uint32_t i = 0; rc < 0 && i < rig->ndevs; i++)
                zdev_close(devs[i]);
        return rc;
}

void rig_crash(struct rig *rig)
{
        if (rig->pool)
                pool_abandon(rig->pool);
        rig->pool = NULL;
        rig->woken = NULL;
}

static void created(void *ctx, int status, struct volume *vol)
{
        struct answer *a = ctx;

        a->vol = vol;
        a->status = status;
        a->done = true;
}

int rig_create(struct rig *rig, const char *name, uint64_t size_bytes, struct volume **ret_vol,
               struct err *err)
{
        struct answer a = {.rig = rig, .err = err};
        struct volume_spec spec = {.name = name, .size_bytes = size_bytes};

        random_bytes(rig, spec.uuid.b, sizeof(spec.uuid.b));
        uuid_from_random(&spec.uuid);
        volume_create(rig->pool, &spec, &a, created);
        int rc = finish(rig, &a, "creating a volume");
        if (rc == 0)
                *ret_vol = a.vol;
        return rc;
}

struct drop_counts rig_counts(const struct rig *rig)
{
        struct drop_counts sum = {0};

        for (uint32_t i = 0; i < rig->ndevs; i++) {
                const struct drop_counts *c = drop_media_counts(rig->media[i]);
                sum.written_blocks += c->written_blocks;
                sum.read_blocks += c->read_blocks;
                sum.writes += c->writes;
                sum.reads += c->reads;
                sum.resets += c->resets;
                sum.finishes += c->finishes;
                sum.flushes += c->flushes;
                sum.finished_blocks += c->finished_blocks;
                sum.kept_blocks += c->kept_blocks;
        }
        return sum;
}

void rig_fini(struct rig *rig)
{
        rig_crash(rig);
        for (uint32_t i = 0; i < rig->ndevs; i++)
                drop_media_free(rig->media[i]);
        rig->ndevs = 0;
}
