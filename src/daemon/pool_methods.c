/* The methods pool.*, see docs/control.md. Making and wiping pools: pool_create.c. */
#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/device_methods.h"
#include "daemon/devices.h"
#include "daemon/dpool.h"
#include "daemon/files.h"
#include "daemon/pool_create.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>

static void list(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct dpool *p;
        struct err err = ERR_INIT;
        json_t *array = json_array();
        int rc = control_parse(control_params(req), NULL, 0, &err);

        if (rc < 0) {
                json_decref(array);
                control_refuse(req, rc, &err);
                return;
        }
        list_for_each (p, &d->pools, node) {
                json_array_append_new(array, report_pool(p));
        }
        control_reply(req, json_pack("{s:o}", "pools", array));
}

static const char *pool_param(struct control_request *req, struct err *err)
{
        const char *name = NULL;
        const struct control_param table[] = {PARAM_STR("pool", &name, PARAM_REQUIRED)};
        return control_parse(control_params(req), table, 1, err) < 0 ? NULL : name;
}

/* Of a pool in any state: that is how one learns why it failed. */
static void status(struct control_request *req, void *ctx)
{
        struct err err = ERR_INIT;
        const char *name = pool_param(req, &err);
        struct dpool *p = name ? dpool_find(ctx, name) : NULL;

        if (name && !p)
                err_set(&err, ENOENT, "no pool '%.64s' is imported", name);
        if (p)
                control_reply(req, report_pool(p));
        else
                control_refuse(req, -err.code, &err);
}

/* ---- import ---- */

/* The pool is imported: stored, so that it is again at the next start. When that fails the pool
 * stays, and the answer says what is missing. */
void pool_answer_imported(void *ctx, int rc, const struct err *err, struct dpool *p)
{
        struct control_request *req = ctx;
        struct err store_err = ERR_INIT;

        if (rc == 0) {
                err = &store_err;
                rc = dpool_store_save(p->daemon, &p->spec, &store_err);
                if (rc < 0)
                        err_prefix(&store_err,
                                   "pool %s is imported but will not be at the next start",
                                   p->spec.name);
        }
        if (rc < 0)
                control_refuse(req, rc, err);
        else
                control_reply(req, report_pool(p));
}

static void swap_peers(struct pool_spec *a, struct pool_spec *b)
{
        struct pool_spec old = *a;

        a->peers = b->peers;
        a->npeers = b->npeers;
        b->peers = old.peers;
        b->npeers = old.npeers;
}

static json_t *strings_json(char *const *items, uint32_t n)
{
        json_t *array = json_array();

        for (uint32_t i = 0; array && i < n; i++)
                json_array_append_new(array, json_string(items[i]));
        return array;
}

/* The devices are not named: those of the pool that is known under the name. What else is not said
 * is as it was, too. */
static int spec_again(struct pool_spec *spec, const struct dpool *p, const char *name,
                      const json_t *peers, const json_t *options, struct err *err)
{
        if (!p || !p->spec.ndevices)
                return err_set(err, ENOENT, "no pool '%.64s' is known: name its devices", name);
        const struct pool_spec *was = &p->spec;
        json_t *devices = strings_json(was->devices, was->ndevices);
        json_t *others = strings_json(was->peers, was->npeers);
        int rc = pool_spec_init(spec, name, devices, peers ? peers : others, options, err);

        json_decref(devices);
        json_decref(others);
        if (rc < 0)
                return rc;
        spec->uuid = was->uuid;
        memcpy(spec->uuids, was->uuids, sizeof(spec->uuids));
        if (!json_object_get(options, "checksums"))
                spec->options.checksums = was->options.checksums;
        if (!json_object_get(options, "reserve_permille"))
                spec->options.reserve_permille = was->options.reserve_permille;
        if (!json_object_get(options, "checkpoint_permille"))
                spec->options.checkpoint_permille = was->options.checkpoint_permille;
        if (!json_object_get(options, "copies"))
                spec->copies = was->copies;
        return 0;
}

static void import(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct pool_spec spec = {0};
        struct err err = ERR_INIT;
        const char *name = NULL;
        json_t *devices = NULL, *peers = NULL, *options = NULL;
        const struct control_param table[] = {
            PARAM_STR("name", &name, PARAM_REQUIRED),
            PARAM_ARRAY("devices", &devices, PARAM_OPTIONAL),
            PARAM_ARRAY("peers", &peers, PARAM_OPTIONAL),
            PARAM_OBJECT("options", &options, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct dpool *p = rc == 0 ? dpool_find(d, name) : NULL;

        if (rc == 0 && !devices)
                rc = spec_again(&spec, p, name, peers, options, &err);
        else if (rc == 0)
                rc = pool_spec_init(&spec, name, devices, peers, options, &err);
        if (rc < 0) {
                pool_spec_fini(&spec);
                control_refuse(req, rc, &err);
        } else if (p && p->state == DPOOL_ACTIVE && pool_spec_share_device(&p->spec, &spec)) {
                if (peers)
                        swap_peers(&p->spec, &spec);
                if (json_object_get(options, "copies"))
                        p->spec.copies = spec.copies;
                pool_spec_fini(&spec);
                pool_answer_imported(req, 0, NULL, p);
        } else {
                dpool_import(d, &spec, NULL, false, req, pool_answer_imported);
        }
}

/* ---- export ---- */

static void exported(void *ctx, int rc, const struct err *err)
{
        struct control_request *req = ctx;

        if (rc < 0)
                control_refuse(req, rc, err);
        else
                control_reply(req, json_object());
}

/* The stored file goes first: a daemon that dies in between does not import a pool that was given
 * away. */
static void export(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct err err = ERR_INIT;
        const char *name = pool_param(req, &err);
        struct dpool *p = name ? dpool_find(d, name) : NULL;
        int rc = name ? 0 : -err.code;

        if (rc == 0 && !p)
                rc = err_set(&err, ENOENT, "no pool '%.64s' is imported", name);
        if (rc == 0)
                rc = dpool_check_idle(p, &err);
        if (rc == 0)
                rc = dpool_store_remove(d, name, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                dpool_export(p, req, exported);
}

int pool_register_methods(struct daemon *d)
{
        static const struct {
                const char *name;
                control_handler handler;
        } methods[] = {
            {"pool.list", list},
            {"pool.status", status},
            {"pool.import", import},
            {"pool.export", export},
            {"pool.create", pool_create},
            {"pool.destroy", pool_destroy},
            {"pool.scan", pool_scan},
            {"device.add", device_add},
            {"device.replace", device_replace},
            {"device.remove", device_remove},
            {"device.return", device_return},
            {"device.evacuate", device_evacuate},
            {"device.keep", device_keep},
            {"device.wait", device_wait},
            {"device.balance", device_balance},
            {"device.lost", device_lost},
            {"device.give_up", device_give_up},
            {"device.scrub", device_scrub},
        };
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(methods); i++)
                rc = control_register(d->control, methods[i].name, methods[i].handler, d);
        return rc;
}
