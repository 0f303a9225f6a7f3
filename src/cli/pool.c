/* zonepool pool ..., see cli.h. */
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *paths_of(const char *const *paths, int n)
{
        json_t *array = json_array();
        for (int i = 0; i < n; i++)
                json_array_append_new(array, cli_absolute_path(paths[i]));
        return array;
}

static json_t *strings_of(const char *const *items, int n)
{
        json_t *array = json_array();
        for (int i = 0; i < n; i++)
                json_array_append_new(array, json_string(items[i]));
        return array;
}

/* ---- showing ---- */

static void print_table(const json_t *t)
{
        uint64_t hits = cli_number_of(t, "hits"), misses = cli_number_of(t, "misses");

        printf("tables:     %s, %s in RAM", cli_size_of(t, "bytes"), cli_size_of(t, "cache_bytes"));
        if (cli_number_of(t, "cache_cap_bytes"))
                printf(" of at most %s", cli_size_of(t, "cache_cap_bytes"));
        if (hits + misses)
                printf(", found there %.1f %%", 100 * (double)hits / (double)(hits + misses));
        printf("\n");
}

/* Under what volumes of one copy could still take. */
static void print_available(const json_t *r)
{
        const json_t *by = json_object_get(r, "available_by_copies");

        for (size_t i = 1; i < json_array_size(by); i++) {
                uint64_t n = (uint64_t)json_integer_value(json_array_get(by, i));
                if (n)
                        printf("            %s with %zu copies\n", cli_size_text(n), i + 1);
        }
}

static void print_redundancy(const json_t *r)
{
        if (cli_number_of(r, "rebuild_bytes"))
                printf("rebuilding: %s have fewer copies than they should\n",
                       cli_size_of(r, "rebuild_bytes"));
        if (cli_number_of(r, "lost_bytes"))
                printf("lost:       %s are on devices that are out of use alone\n",
                       cli_size_of(r, "lost_bytes"));
        if (cli_number_of(r, "healed_blocks"))
                printf("healed:     %llu blocks\n",
                       (unsigned long long)cli_number_of(r, "healed_blocks"));
}

static void print_pool(const json_t *pool)
{
        const json_t *c = json_object_get(pool, "counters");
        uint64_t user = cli_number_of(c, "user_write_bytes");
        uint64_t device = cli_number_of(c, "device_write_bytes");
        size_t i;
        json_t *peer;

        printf("name:       %s\n", cli_text_of(pool, "name"));
        printf("uuid:       %s\n", cli_text_of(pool, "uuid"));
        printf("state:      %s%s\n", cli_text_of(pool, "state"),
               json_is_true(json_object_get(pool, "readonly")) ? ", read-only" : "");
        if (json_is_string(json_object_get(pool, "error")))
                printf("error:      %s\n", cli_text_of(pool, "error"));
        printf("capacity:   %s\n", cli_size_of(pool, "capacity_bytes"));
        printf("allocated:  %s\n", cli_size_of(pool, "allocated_bytes"));
        printf("available:  %s\n", cli_size_of(pool, "available_bytes"));
        print_available(json_object_get(pool, "redundancy"));
        printf("reserved:   %s not written yet\n", cli_size_of(pool, "reserved_bytes"));
        if (cli_number_of(pool, "unbacked_bytes"))
                printf(
                    "unbacked:   %s that are reserved have no room; add a device or reserve less\n",
                    cli_size_of(pool, "unbacked_bytes"));
        print_redundancy(json_object_get(pool, "redundancy"));
        printf("volumes:    %llu\n", (unsigned long long)cli_number_of(pool, "nvolumes"));
        printf("written:    %s by guests, %s to devices", cli_size_text(user),
               cli_size_text(device));
        if (user)
                printf(" (x %.2f)", (double)device / (double)user);
        printf("\n            %s by cleaning, %s of tables\n", cli_size_of(c, "clean_write_bytes"),
               cli_size_of(c, "table_write_bytes"));
        print_table(json_object_get(pool, "table"));
        if (cli_number_of(pool, "held_requests"))
                printf("held:       %llu writes wait for space\n",
                       (unsigned long long)cli_number_of(pool, "held_requests"));
        if (cli_number_of(json_object_get(pool, "redundancy"), "lacking_bytes"))
                printf("lacking:    %s of devices, for all copies of what there is: add a device, "
                       "delete data, or keep fewer copies\n",
                       cli_size_of(json_object_get(pool, "redundancy"), "lacking_bytes"));
        json_array_foreach(json_object_get(pool, "peers"), i, peer)
            printf("peer:       %s\n", json_string_value(peer));
        printf("\n");
        cli_print_devices(pool);
}

static int show_pool(const struct cli *cli, const char *method, json_t *params)
{
        json_t *result = NULL;
        int rc = cli_ask(cli, method, params, false, &result);

        if (!result)
                return rc;
        if (json_object_get(result, "state"))
                print_pool(result);
        else
                printf("pool %s (%s) made, not imported\n", cli_text_of(result, "name"),
                       cli_text_of(result, "uuid"));
        json_decref(result);
        return CLI_OK;
}

static int nothing_or_json(const struct cli *cli, const char *method, json_t *params)
{
        json_t *result = NULL;
        int rc = cli_ask(cli, method, params, false, &result);

        json_decref(result);
        return rc;
}

/* ---- create ---- */

enum {
        CREATE_DEVICE,
        CREATE_OVERWRITE,
        CREATE_PEER,
        CREATE_NO_CHECKSUMS,
        CREATE_UUID,
        CREATE_NO_IMPORT,
        CREATE_COPIES
};

/* Of new volumes, into the options of params. */
static void add_copies(json_t *params, const char *const *values, int n)
{
        if (n)
                json_object_set_new(json_object_get(params, "options"), "copies",
                                    json_integer(atoi(values[0])));
}

static int create(const struct cli *cli, const struct cli_args *args)
{
        json_t *devices = json_array();

        if (!args->nvalues[CREATE_DEVICE]) {
                json_decref(devices);
                return cli_misuse("pool create: at least one --device is needed");
        }
        for (int i = 0; i < args->nvalues[CREATE_DEVICE]; i++) {
                int rc = cli_device(args->values[CREATE_DEVICE][i], devices);
                if (rc != CLI_OK) {
                        json_decref(devices);
                        return rc;
                }
        }
        json_t *params =
            json_pack("{s:s, s:o, s:b, s:b, s:o, s:{s:b}}", "name", args->words[0], "devices",
                      devices, "overwrite", args->nvalues[CREATE_OVERWRITE], "import",
                      !args->nvalues[CREATE_NO_IMPORT], "peers",
                      strings_of(args->values[CREATE_PEER], args->nvalues[CREATE_PEER]), "options",
                      "checksums", !args->nvalues[CREATE_NO_CHECKSUMS]);
        if (args->nvalues[CREATE_UUID])
                json_object_set_new(params, "uuid", json_string(args->values[CREATE_UUID][0]));
        add_copies(params, args->values[CREATE_COPIES], args->nvalues[CREATE_COPIES]);
        return show_pool(cli, "pool.create", params);
}

/* ---- the others ---- */

enum { IMPORT_PEER, IMPORT_NO_CHECKSUMS, IMPORT_DEGRADED, IMPORT_COPIES };

static int import(const struct cli *cli, const struct cli_args *args)
{
        bool known = args->nwords == 1; /* with the devices and settings it had */
        json_t *params = json_pack("{s:s, s:{s:b}}", "name", args->words[0], "options", "degraded",
                                   args->nvalues[IMPORT_DEGRADED] != 0);

        if (!known)
                json_object_set_new(params, "devices",
                                    paths_of(args->words + 1, args->nwords - 1));
        if (!known || args->nvalues[IMPORT_NO_CHECKSUMS])
                json_object_set_new(json_object_get(params, "options"), "checksums",
                                    json_boolean(!args->nvalues[IMPORT_NO_CHECKSUMS]));
        add_copies(params, args->values[IMPORT_COPIES], args->nvalues[IMPORT_COPIES]);
        if (args->nvalues[IMPORT_PEER])
                json_object_set_new(
                    params, "peers",
                    strings_of(args->values[IMPORT_PEER], args->nvalues[IMPORT_PEER]));
        return show_pool(cli, "pool.import", params);
}

static int export(const struct cli *cli, const struct cli_args *args)
{
        return nothing_or_json(cli, "pool.export", json_pack("{s:s}", "pool", args->words[0]));
}

static int destroy(const struct cli *cli, const struct cli_args *args)
{
        return nothing_or_json(cli, "pool.destroy",
                               json_pack("{s:s, s:o}", "name", args->words[0], "devices",
                                         paths_of(args->words + 1, args->nwords - 1)));
}

static int status(const struct cli *cli, const struct cli_args *args)
{
        return show_pool(cli, "pool.status", json_pack("{s:s}", "pool", args->words[0]));
}

static int list(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {"name",       "state",      ">volumes", ">capacity",
                                            ">allocated", ">available", NULL};
        json_t *result = NULL, *pool;
        size_t i;
        int rc = cli_ask(cli, "pool.list", NULL, false, &result);

        if (!result)
                return rc;
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(json_object_get(result, "pools"), i, pool)
        {
                char volumes[24];
                snprintf(volumes, sizeof(volumes), "%llu",
                         (unsigned long long)cli_number_of(pool, "nvolumes"));
                const char *const cells[] = {cli_text_of(pool, "name"),
                                             cli_text_of(pool, "state"),
                                             volumes,
                                             cli_size_of(pool, "capacity_bytes"),
                                             cli_size_of(pool, "allocated_bytes"),
                                             cli_size_of(pool, "available_bytes")};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(result);
        return CLI_OK;
}

static int scan(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {"name", "uuid", "devices", "state", NULL};
        json_t *result = NULL, *pool;
        size_t i;
        int rc = cli_ask(cli, "pool.scan",
                         json_pack("{s:o}", "devices", paths_of(args->words, args->nwords)), false,
                         &result);

        if (!result)
                return rc;
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(json_object_get(result, "pools"), i, pool)
        {
                char devices[64];
                snprintf(devices, sizeof(devices), "%zu of %llu",
                         json_array_size(json_object_get(pool, "devices")),
                         (unsigned long long)cli_number_of(pool, "ndevices"));
                bool complete = json_is_true(json_object_get(pool, "complete"));
                bool imported = json_is_true(json_object_get(pool, "imported"));
                const char *const cells[] = {cli_text_of(pool, "name"), cli_text_of(pool, "uuid"),
                                             devices,
                                             imported   ? "imported"
                                             : complete ? "complete"
                                                        : "devices missing"};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(result);
        return CLI_OK;
}

const struct cli_command pool_commands[] = {
    {"pool",
     "create",
     "NAME",
     1,
     1,
     "Make a pool of devices and import it.",
     {{"device", "PATH[,size=SIZE,zone=SIZE,capacity=SIZE,max-open=N,max-active=N]",
       "a member; a file that is missing is made with size", true},
      {"overwrite", NULL, "devices that hold data lose it", false},
      {"peer", "HOST:PORT", "zonepoold of a host with a pool of the same name", true},
      {"no-checksums", NULL, "do not verify data when it is read", false},
      {"uuid", "UUID", "of the pool; default: random", false},
      {"no-import", NULL, "only make it", false},
      {"copies", "N", "of new volumes, where nothing else is said: 1 to 3; default: 1", false}},
     create,
     "zone, capacity, max-open and max-active shape the zones that a file or conventional device\n"
     "is treated as having; by default they fit its size."},
    {"pool",
     "import",
     "NAME [DEVICE...]",
     1,
     CLI_ARGS_MAX,
     "Open a pool from its devices, now and at every start of the daemon.",
     {{"peer", "HOST:PORT", "zonepoold of a host with a pool of the same name", true},
      {"no-checksums", NULL, "do not verify data when it is read", false},
      {"degraded", NULL, "although devices are missing: they are lost, or were not used since",
       false},
      {"copies", "N", "as for create", false}},
     import,
     "Without DEVICE: a pool that could not be opened at start, once more, from those it had."},
    {"pool",
     "export",
     "NAME",
     1,
     1,
     "Close a pool; it is not opened at the next start. Refused while a volume is in use.",
     {{0}},
     export,
     NULL},
    {"pool",
     "destroy",
     "NAME DEVICE...",
     2,
     CLI_ARGS_MAX,
     "Wipe a pool that is not imported off its devices. All its data is lost.",
     {{0}},
     destroy,
     NULL},
    {"pool", "list", "", 0, 0, "List the pools.", {{0}}, list, NULL},
    {"pool",
     "status",
     "NAME",
     1,
     1,
     "Show a pool, its devices and what was written.",
     {{0}},
     status,
     NULL},
    {"pool",
     "scan",
     "DEVICE...",
     1,
     CLI_ARGS_MAX,
     "Say which pools devices belong to.",
     {{0}},
     scan,
     NULL},
};
const int npool_commands = ARRAY_SIZE(pool_commands);
