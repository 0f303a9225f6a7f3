/* The state directory: which pools to import at start, see dpool.h.
 *
 *   STATEDIR/pools/NAME.json  {"version":1,"name","uuid","devices":[path],"device_uuids":[uuid],
 *                              "peers":["host:port"],
 *                              "options":{"checksums":bool,"reserve_permille":n,"checkpoint_permille":n,
 *                              "copies":n}}
 *
 * Crash behaviour: a file is replaced in one durable step, before the answer to import (create,
 * export) that it records. A crash between the import and the file leaves a pool that has to be
 * imported by hand; one between the file's removal and the end of the export leaves it exported for
 * the next start.
 */
#include "daemon/dpool.h"

#include "base/cleanup.h"
#include "control/params.h"
#include "daemon/files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

static int store_path(const struct daemon *d, const char *name, char path[PATH_MAX],
                      struct err *err)
{
        if (snprintf(path, PATH_MAX, "%s/pools/%s.json", d->cfg.statedir, name) >= PATH_MAX)
                return err_set(err, ENAMETOOLONG, "state directory name is too long");
        return 0;
}

static json_t *strings_json(char *const *items, uint32_t n)
{
        json_t *array = json_array();
        for (uint32_t i = 0; array && i < n; i++)
                json_array_append_new(array, json_string(items[i]));
        return array;
}

static json_t *uuids_json(const struct pool_spec *s)
{
        char text[UUID_TEXT_LEN];
        json_t *array = json_array();

        for (uint32_t i = 0; array && i < s->ndevices; i++) {
                uuid_format(&s->uuids[i], text);
                json_array_append_new(array, json_string(text));
        }
        return array;
}

int dpool_store_save(const struct daemon *d, const struct pool_spec *s, struct err *err)
{
        char path[PATH_MAX], uuid[UUID_TEXT_LEN];
        int rc = store_path(d, s->name, path, err);

        if (rc < 0)
                return rc;
        uuid_format(&s->uuid, uuid);
        json_t *object = json_pack(
            "{s:i, s:s, s:s, s:o, s:o, s:o, s:{s:b, s:i, s:i, s:i}}", "version", 1, "name", s->name,
            "uuid", uuid, "devices", strings_json(s->devices, s->ndevices), "device_uuids",
            uuids_json(s), "peers", strings_json(s->peers, s->npeers), "options", "checksums",
            s->options.checksums, "reserve_permille", (int)s->options.reserve_permille,
            "checkpoint_permille", (int)s->options.checkpoint_permille, "copies", (int)s->copies);
        if (!object)
                return err_set(err, ENOMEM, "pool %s: its settings cannot be stored", s->name);
        rc = file_replace_json(path, object, err);
        json_decref(object);
        return rc;
}

int dpool_store_remove(const struct daemon *d, const char *name, struct err *err)
{
        char path[PATH_MAX];
        int rc = store_path(d, name, path, err);
        return rc < 0 ? rc : file_remove(path, err);
}

/* Which device was at which path: in a list that somebody edited it may not be known. */
static int load_uuids(struct pool_spec *s, const json_t *array, struct err *err)
{
        const char *text[POOL_MAX_DEVICES];
        size_t n = 0;
        int rc = control_parse_strings(array, "device_uuids", text, POOL_MAX_DEVICES, &n, err);

        for (size_t i = 0; rc == 0 && n == s->ndevices && i < n; i++)
                if (uuid_parse_text(text[i], &s->uuids[i]) < 0)
                        rc = err_set(err, EBADMSG, "'%.64s' is no uuid", text[i]);
        return rc;
}

static int load_one(const struct daemon *d, const char *name, struct pool_spec *s, struct err *err)
{
        char path[PATH_MAX];
        json_t *object = NULL, *devices = NULL, *uuids = NULL, *peers = NULL, *options = NULL;
        const char *stored = NULL;
        uint64_t version = 0;
        struct uuid uuid;
        const struct control_param table[] = {
            PARAM_U64("version", &version, PARAM_REQUIRED),
            PARAM_STR("name", &stored, PARAM_REQUIRED),
            PARAM_UUID("uuid", &uuid, PARAM_REQUIRED),
            PARAM_ARRAY("devices", &devices, PARAM_REQUIRED),
            PARAM_ARRAY("device_uuids", &uuids, PARAM_OPTIONAL),
            PARAM_ARRAY("peers", &peers, PARAM_OPTIONAL),
            PARAM_OBJECT("options", &options, PARAM_OPTIONAL),
        };
        int rc = store_path(d, name, path, err);

        if (rc == 0)
                rc = file_load_json(path, &object, err);
        if (rc < 0)
                return rc;
        rc = control_parse(object, table, ARRAY_SIZE(table), err);
        if (rc == 0 && version != 1)
                rc = err_set(err, EPROTONOSUPPORT, "version %llu is not known",
                             (unsigned long long)version);
        if (rc == 0 && strcmp(stored, name) != 0)
                rc = err_set(err, EBADMSG, "it is of pool '%.64s'", stored);
        if (rc == 0)
                rc = pool_spec_init(s, stored, devices, peers, options, err);
        if (rc == 0)
                rc = load_uuids(s, uuids, err);
        if (rc == 0)
                s->uuid = uuid;
        else
                err_prefix(err, "%s", path);
        json_decref(object);
        return rc;
}

/* "NAME.json" to NAME, when it is one of ours. */
static bool name_of_file(const char *file, char name[POOL_NAME_MAX + 1])
{
        size_t len = strlen(file), tail = strlen(".json");
        if (len <= tail || len - tail > POOL_NAME_MAX || strcmp(file + len - tail, ".json") != 0)
                return false;
        memcpy(name, file, len - tail);
        name[len - tail] = '\0';
        return true;
}

void dpool_store_each(struct daemon *d,
                      void (*fn)(struct daemon *d, struct pool_spec *spec, const struct err *err))
{
        char path[PATH_MAX], name[POOL_NAME_MAX + 1];
        struct dirent **entries;

        snprintf(path, sizeof(path), "%s/pools", d->cfg.statedir);
        int n = scandir(path, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                struct err err = ERR_INIT;
                struct pool_spec spec = {0};
                if (name_of_file(entries[i]->d_name, name)) {
                        int rc = load_one(d, name, &spec, &err);
                        strcpy(spec.name, name);
                        fn(d, &spec, rc < 0 ? &err : NULL);
                        pool_spec_fini(&spec);
                }
                free(entries[i]);
        }
        if (n >= 0)
                free(entries);
}
