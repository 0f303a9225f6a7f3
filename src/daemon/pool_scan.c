/* pool.scan and pool.destroy: what lies on devices, and taking it off them.
 *
 * A scan opens what it can and is silent about the rest: a path that is no device of ours is no
 * error. A destroy refuses unless every device named carries a readable label of exactly that pool.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/devices.h"
#include "daemon/pool_create.h"

#include <errno.h>
#include <string.h>

struct look {
        struct daemon *d;
        struct control_request *req;
        struct zdev *devs[POOL_MAX_DEVICES];
        uint32_t ndevs;
        struct device_label *labels; /* copied from the probe */
        json_t *open; /* paths of devices that imported pools have */
        struct pool_spec spec; /* destroy, as the next three */
        struct worker_job erase;
        int status;
        struct err err;
        struct loop_defer finish;
};

static void look_free(struct look *l)
{
        for (uint32_t i = 0; i < l->ndevs; i++)
                zdev_close(l->devs[i]);
        json_decref(l->open);
        pool_spec_fini(&l->spec);
        free(l->labels);
        free(l);
}

static struct look *look_new(struct daemon *d, struct control_request *req,
                             void (*finish)(struct loop_defer *))
{
        struct look *l = calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        l->d = d;
        l->req = req;
        l->finish.call = finish;
        return l;
}

/* The devices are closed by finish: not from inside a completion of theirs. */
static void probed(void *ctx, const struct device_label *labels, uint32_t n)
{
        struct look *l = ctx;

        l->labels = malloc(n * sizeof(*labels));
        if (l->labels)
                memcpy(l->labels, labels, n * sizeof(*labels));
        loop_defer(l->d->loop, &l->finish);
}

static int probe(struct look *l)
{
        if (l->ndevs)
                return devices_probe(l->devs, l->ndevs, l, probed);
        loop_defer(l->d->loop, &l->finish);
        return 0;
}

/* ---- scan ---- */

static json_t *find_pool(json_t *pools, const char *uuid)
{
        size_t i;
        json_t *pool;

        json_array_foreach(pools, i, pool)
        {
                if (!strcmp(json_string_value(json_object_get(pool, "uuid")), uuid))
                        return pool;
        }
        return NULL;
}

static void add_device(json_t *pools, const struct pool_label *label, const char *path)
{
        char uuid[UUID_TEXT_LEN];

        uuid_format(&label->pool_uuid, uuid);
        json_t *pool = find_pool(pools, uuid);
        if (!pool) {
                pool = json_pack("{s:s, s:s, s:[], s:b, s:b, s:I}", "name", label->pool_name,
                                 "uuid", uuid, "devices", "complete", 0, "imported", 0, "ndevices",
                                 (json_int_t)label->ndevices);
                json_array_append_new(pools, pool);
        }
        json_t *devices = json_object_get(pool, "devices");
        json_array_append_new(devices, json_string(path));
        json_object_set_new(pool, "complete",
                            json_boolean(json_array_size(devices) == label->ndevices));
}

static void add_imported(json_t *pools, const struct dpool *p)
{
        char uuid[UUID_TEXT_LEN];
        json_t *devices = json_array();

        uuid_format(&p->spec.uuid, uuid);
        if (!find_pool(pools, uuid)) {
                for (uint32_t i = 0; i < p->spec.ndevices; i++)
                        json_array_append_new(devices, json_string(p->spec.devices[i]));
                json_array_append_new(pools, json_pack("{s:s, s:s, s:O, s:b, s:b, s:I}", "name",
                                                       p->spec.name, "uuid", uuid, "devices",
                                                       devices, "complete", 1, "imported", 1,
                                                       "ndevices", (json_int_t)p->spec.ndevices));
        }
        json_decref(devices);
}

static void scan_finish(struct loop_defer *defer)
{
        struct look *l = container_of(defer, struct look, finish);
        json_t *pools = json_array(), *path;
        size_t k;

        for (uint32_t i = 0; l->labels && i < l->ndevs; i++)
                if (l->labels[i].status == 0)
                        add_device(pools, &l->labels[i].label, l->devs[i]->path);
        json_array_foreach(l->open, k, path)
        {
                struct dpool *p = dpool_of_device(l->d, json_string_value(path));
                if (p)
                        add_imported(pools, p);
        }
        control_reply(l->req, json_pack("{s:o}", "pools", pools));
        look_free(l);
}

void pool_scan(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct look *l = look_new(d, req, scan_finish);
        const char *paths[POOL_MAX_DEVICES];
        size_t n = 0;
        json_t *devices = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_ARRAY("devices", &devices, PARAM_REQUIRED)};
        int rc = l ? control_parse(control_params(req), table, 1, &err) : -ENOMEM;

        if (rc == 0)
                rc = control_parse_strings(devices, "devices", paths, POOL_MAX_DEVICES, &n, &err);
        if (rc == 0)
                l->open = json_array();
        for (size_t i = 0; rc == 0 && i < n; i++) {
                if (dpool_of_device(d, paths[i]))
                        json_array_append_new(l->open, json_string(paths[i]));
                else if (device_may_be_member(paths[i]) &&
                         device_open(d->loop, paths[i], &l->devs[l->ndevs], NULL) == 0)
                        l->ndevs++;
        }
        if (rc == 0)
                rc = probe(l);
        if (rc < 0) {
                control_refuse(req, rc, &err);
                if (l)
                        look_free(l);
        }
}

/* ---- destroy ---- */

/* On the worker's thread: it blocks, for seconds on a large drive. */
static void erase(struct worker_job *job)
{
        struct look *l = container_of(job, struct look, erase);

        for (uint32_t i = 0; l->status == 0 && i < l->spec.ndevices; i++)
                l->status = device_erase(l->spec.devices[i], &l->err);
}

static void erased(struct worker_job *job)
{
        struct look *l = container_of(job, struct look, erase);

        if (l->status < 0) {
                control_refuse(l->req, l->status, &l->err);
        } else {
                log_info("pool", "%s destroyed", l->spec.name);
                eventlog_emit("pool-destroyed", "\"pool\":\"%s\"", l->spec.name);
                control_reply(l->req, json_object());
        }
        look_free(l);
}

static void destroy_finish(struct loop_defer *defer)
{
        struct look *l = container_of(defer, struct look, finish);

        l->status = l->labels ? devices_check_labels(l->devs, l->labels, l->ndevs, l->spec.name,
                                                     &l->spec.uuid, &l->err)
                              : -ENOMEM;
        while (l->ndevs)
                zdev_close(l->devs[--l->ndevs]);
        if (l->status < 0) {
                erased(&l->erase);
                return;
        }
        l->erase = (struct worker_job){.run = erase, .done = erased};
        worker_submit(l->d->worker, &l->erase);
}

static int destroy_begin(struct look *l, struct err *err)
{
        const char *name = NULL;
        json_t *devices = NULL;
        const struct control_param table[] = {
            PARAM_STR("name", &name, PARAM_REQUIRED),
            PARAM_ARRAY("devices", &devices, PARAM_REQUIRED),
        };
        int rc = control_parse(control_params(l->req), table, ARRAY_SIZE(table), err);

        if (rc == 0)
                rc = pool_spec_init(&l->spec, name, devices, NULL, NULL, err);
        if (rc == 0 && dpool_find(l->d, name))
                rc = err_set(err, EBUSY, "pool %s is imported; export it first", name);
        for (uint32_t i = 0; rc == 0 && i < l->spec.ndevices; i++) {
                rc = device_open(l->d->loop, l->spec.devices[i], &l->devs[i], err);
                if (rc == 0)
                        l->ndevs = i + 1;
        }
        return rc < 0 ? rc : probe(l);
}

void pool_destroy(struct control_request *req, void *ctx)
{
        struct look *l = look_new(ctx, req, destroy_finish);
        struct err err = ERR_INIT;
        int rc = l ? destroy_begin(l, &err) : -ENOMEM;

        if (rc < 0) {
                control_refuse(req, rc, &err);
                if (l)
                        look_free(l);
        }
}
