/* pool.create: turns files and devices into a pool.
 *
 * Order: everything that can refuse is asked first, of every device; then each is made a device of
 * empty zones, then the pool is written, then it is imported. When something goes wrong after the
 * first change, what has been made is made plain again: files that were missing are removed.
 *
 * Asking, making and undoing block, for seconds on a large drive: the daemon's worker does them.
 */
#include "daemon/pool_create.h"

#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/devices.h"
#include "daemon/files.h"
#include "pool/device/file.h"
#include "pool/device/zbd.h"

#include <errno.h>
#include <string.h>

struct create {
        struct daemon *d;
        struct control_request *req;
        struct pool_spec spec;
        struct file_device_spec *geometry; /* of each device */
        bool *missing; /* each: the file was not there */
        uint32_t made;
        bool overwrite, import;
        bool formatting; /* the pool's zones are being, or were, reset */
        struct worker_job job;
        struct zdev **devs;
        struct pool_host host;
        int status;
        struct err err;
        struct loop_defer finish;
};

static void create_free(struct create *c)
{
        pool_spec_fini(&c->spec);
        free(c->geometry);
        free(c->missing);
        free(c);
}

/* ---- parameters ---- */

static int parse_limit(const char *path, const char *what, uint64_t n, int32_t *ret,
                       struct err *err)
{
        if (n > INT32_MAX)
                return err_set(err, EINVAL, "device %s: %s must be at most %d", path, what,
                               INT32_MAX);
        *ret = (int32_t)n;
        return 0;
}

int pool_parse_device(const json_t *object, const char **ret_path, struct file_device_spec *spec,
                      struct err *err)
{
        uint64_t max_open = 0, max_active = 0;
        const struct control_param table[] = {
            PARAM_STR("path", ret_path, PARAM_REQUIRED),
            PARAM_U64("size_bytes", &spec->size_bytes, PARAM_OPTIONAL),
            PARAM_U64("zone_bytes", &spec->zone_bytes, PARAM_OPTIONAL),
            PARAM_U64("zone_capacity_bytes", &spec->zone_capacity_bytes, PARAM_OPTIONAL),
            PARAM_U64("max_open", &max_open, PARAM_OPTIONAL),
            PARAM_U64("max_active", &max_active, PARAM_OPTIONAL),
        };
        int rc;

        if (!json_is_object(object))
                return err_set(err, EINVAL, "a device must be an object with a 'path'");
        rc = control_parse(object, table, ARRAY_SIZE(table), err);
        if (rc == 0)
                rc = parse_limit(*ret_path, "max_open", max_open, &spec->max_open, err);
        if (rc == 0)
                rc = parse_limit(*ret_path, "max_active", max_active, &spec->max_active, err);
        return rc;
}

/* Fills c->geometry and the array of paths. */
static int parse_devices(struct create *c, const json_t *devices, json_t *paths, struct err *err)
{
        size_t n = json_array_size(devices);

        if (n > POOL_MAX_DEVICES)
                return err_set(err, EINVAL, "a pool has at most %d devices", POOL_MAX_DEVICES);
        c->geometry = calloc(MAX(n, (size_t)1), sizeof(*c->geometry));
        c->missing = calloc(MAX(n, (size_t)1), sizeof(*c->missing));
        if (!c->geometry || !c->missing)
                return err_set(err, ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                const char *path = NULL;
                int rc = pool_parse_device(json_array_get(devices, i), &path, &c->geometry[i], err);
                if (rc < 0)
                        return rc;
                json_array_append_new(paths, json_string(path));
        }
        return 0;
}

static int parse(struct create *c, struct err *err)
{
        const char *name = NULL;
        json_t *devices = NULL, *peers = NULL, *options = NULL;
        struct uuid uuid = {0};
        const struct control_param table[] = {
            PARAM_STR("name", &name, PARAM_REQUIRED),
            PARAM_UUID("uuid", &uuid, PARAM_OPTIONAL),
            PARAM_ARRAY("devices", &devices, PARAM_REQUIRED),
            PARAM_BOOL("overwrite", &c->overwrite, PARAM_OPTIONAL),
            PARAM_BOOL("import", &c->import, PARAM_OPTIONAL),
            PARAM_ARRAY("peers", &peers, PARAM_OPTIONAL),
            PARAM_OBJECT("options", &options, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(c->req), table, ARRAY_SIZE(table), err);

        if (rc < 0)
                return rc;
        json_t *paths = json_array();
        rc = parse_devices(c, devices, paths, err);
        if (rc == 0)
                rc = pool_spec_init(&c->spec, name, paths, peers, options, err);
        json_decref(paths);
        c->spec.uuid = uuid;
        if (rc == 0 && uuid_is_nil(&uuid)) {
                random_bytes(NULL, &c->spec.uuid, sizeof(c->spec.uuid));
                uuid_from_random(&c->spec.uuid);
        }
        return rc;
}

/* ---- devices ---- */

static int check_free(const struct create *c, struct err *err)
{
        const struct dpool *p = dpool_find(c->d, c->spec.name);

        if (p)
                return err_set(err, EEXIST, "a pool '%s' is imported already", c->spec.name);
        for (uint32_t i = 0; i < c->spec.ndevices; i++) {
                p = dpool_of_device(c->d, c->spec.devices[i]);
                if (p)
                        return err_set(err, EBUSY, "device %s is in use by pool %s",
                                       c->spec.devices[i], p->spec.name);
        }
        return 0;
}

/* On the worker's thread: everything that can refuse, before anything changes; then the changes. */
static void make(struct worker_job *job)
{
        struct create *c = container_of(job, struct create, job);
        int rc = 0;

        for (uint32_t i = 0; rc == 0 && i < c->spec.ndevices; i++)
                rc = device_check(c->spec.devices[i], &c->geometry[i], c->overwrite, &c->err);
        for (uint32_t i = 0; rc == 0 && i < c->spec.ndevices; i++) {
                const char *path = c->spec.devices[i];
                c->missing[i] = access(path, F_OK) < 0;
                rc = device_create(path, &c->geometry[i], c->overwrite, &c->err);
                if (rc == 0)
                        c->made = i + 1;
        }
        c->status = rc;
}

/* On the worker's thread. A zoned device that nothing was written to is left as it was found. */
static void unmake(struct worker_job *job)
{
        struct create *c = container_of(job, struct create, job);

        for (uint32_t i = 0; i < c->made; i++) {
                struct err err = ERR_INIT;
                const char *path = c->spec.devices[i];
                if (!c->formatting && zbd_device_detect(path))
                        continue;
                if (c->missing[i] ? unlink(path) < 0 : device_erase(path, &err) < 0)
                        log_warn("pool", "%s: %s could not be undone: %s", c->spec.name, path,
                                 err.msg[0] ? err.msg : strerror(errno));
        }
}

static void refuse(struct worker_job *job)
{
        struct create *c = container_of(job, struct create, job);

        control_refuse(c->req, c->status, &c->err);
        create_free(c);
}

static void undo(struct create *c)
{
        c->job.run = unmake;
        c->job.done = refuse;
        worker_submit(c->d->worker, &c->job);
}

/* ---- the pool ---- */

static json_t *created_only(const struct create *c)
{
        char uuid[UUID_TEXT_LEN];

        uuid_format(&c->spec.uuid, uuid);
        return json_pack("{s:s, s:s}", "name", c->spec.name, "uuid", uuid);
}

static void finish(struct loop_defer *defer)
{
        struct create *c = container_of(defer, struct create, finish);
        struct zdev **devs = steal_ptr(&c->devs);

        if (c->status < 0) {
                devices_close(devs, c->spec.ndevices);
                undo(c);
                return;
        }
        log_info("pool", "%s created", c->spec.name);
        eventlog_emit("pool-created", "\"pool\":\"%s\"", c->spec.name);
        if (c->import) {
                dpool_import(c->d, &c->spec, devs, false, c->req, pool_answer_imported);
        } else {
                devices_close(devs, c->spec.ndevices);
                control_reply(c->req, created_only(c));
        }
        create_free(c);
}

static void formatted(void *ctx, int status, const struct err *err)
{
        struct create *c = ctx;

        c->status = status;
        if (err)
                c->err = *err;
        loop_defer(c->d->loop, &c->finish);
}

static void made(struct worker_job *job)
{
        struct create *c = container_of(job, struct create, job);

        if (c->status == 0)
                c->status = check_free(c, &c->err); /* the loop went on meanwhile */
        if (c->status == 0)
                c->status =
                    devices_open(c->d->loop, c->spec.devices, c->spec.ndevices, &c->devs, &c->err);
        if (c->status < 0) {
                undo(c);
                return;
        }
        c->formatting = true;
        pool_format(c->devs, c->spec.ndevices, c->spec.name, &c->spec.uuid, &c->host,
                    &c->spec.options, c, formatted);
}

static uint64_t host_now(void *ctx)
{
        return clock_now_ns();
}

void pool_create(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct create *c = calloc(1, sizeof(*c));

        if (!c) {
                control_refuse(req, -ENOMEM, NULL);
                return;
        }
        *c = (struct create){.d = d,
                             .req = req,
                             .import = true,
                             .finish = {.call = finish},
                             .host = {.now_ns = host_now, .random = random_bytes}};
        int rc = parse(c, &c->err);
        if (rc == 0)
                rc = check_free(c, &c->err);
        if (rc < 0) {
                control_refuse(req, rc, &c->err);
                create_free(c);
                return;
        }
        c->job = (struct worker_job){.run = make, .done = made};
        worker_submit(d->worker, &c->job);
}
