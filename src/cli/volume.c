/* zonepool volume ..., see cli.h. */
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the volume made the pool write, beyond itself. */
static void print_moved(const json_t *v)
{
        uint64_t user = cli_number_of(v, "user_write_bytes");
        uint64_t moved = cli_number_of(v, "moved_write_bytes");

        printf("moved:      %s", cli_size_of(v, "moved_write_bytes"));
        if (user)
                printf(", write amplification %.2f", (double)(user + moved) / (double)user);
        printf("\n");
}

static void print_origin(const json_t *v)
{
        const json_t *o = json_object_get(v, "origin");
        const char *snapshot = json_string_value(json_object_get(o, "snapshot"));

        if (json_is_object(o))
                printf("clone of:   %s/%s%s%s\n", cli_text_of(v, "pool"), cli_text_of(o, "volume"),
                       snapshot ? ", snapshot " : "", snapshot ? snapshot : "");
}

static void print_volume(const json_t *v)
{
        const json_t *owner = json_object_get(v, "owner");
        const char *peer = json_string_value(json_object_get(owner, "peer"));

        printf("name:       %s/%s\n", cli_text_of(v, "pool"), cli_text_of(v, "name"));
        printf("uuid:       %s\n", cli_text_of(v, "uuid"));
        printf("size:       %s (%llu bytes)\n", cli_size_of(v, "size_bytes"),
               (unsigned long long)cli_number_of(v, "size_bytes"));
        printf("allocated:  %s\n", cli_size_of(v, "allocated_bytes"));
        printf("reserved:   %s\n", cli_size_of(v, "reserved_bytes"));
        if (cli_number_of(v, "copies") > 1)
                printf("copies:     %llu\n", (unsigned long long)cli_number_of(v, "copies"));
        print_origin(v);
        printf("shared:     %s\n", cli_size_of(v, "shared_bytes"));
        printf("written:    %s\n", cli_size_of(v, "user_write_bytes"));
        print_moved(v);
        printf("socket:     %s\n", cli_text_of(v, "socket"));
        printf("file:       %s\n", cli_text_of(v, "path"));
        printf("owner:      %s, epoch %llu%s%s\n", cli_text_of(owner, "state"),
               (unsigned long long)cli_number_of(owner, "epoch"), peer ? ", peer " : "",
               peer ? peer : "");
        printf("in use by:  %s\n", cli_text_of(v, "in_use"));
        if (cli_number_of(v, "held_requests"))
                printf("held:       %llu writes wait for space\n",
                       (unsigned long long)cli_number_of(v, "held_requests"));
        if (json_is_string(json_object_get(v, "error")))
                printf("error:      %s\n", cli_text_of(v, "error"));
}

/* Shows the volume that a call answers with. */
static int show(const struct cli *cli, const char *method, json_t *params, bool progress)
{
        json_t *result = NULL;
        int rc = cli_ask(cli, method, params, progress, &result);

        if (!result)
                return rc;
        print_volume(result);
        json_decref(result);
        return CLI_OK;
}

static json_t *named(const char *pool, const char *volume)
{
        return json_pack("{s:s, s:s}", "pool", pool, "volume", volume);
}

/* POOL/VOLUME SIZE */
static int split_with_size(const struct cli_args *args, char pool[64], const char **ret_volume,
                           uint64_t *ret_size)
{
        int rc = cli_split(args->words[0], pool, ret_volume);

        return rc == CLI_OK ? cli_size("size", args->words[1], ret_size) : rc;
}

static int create(const struct cli *cli, const struct cli_args *args)
{
        enum { UUID, COPIES, RESERVE };
        char pool[64];
        const char *name;
        uint64_t size = 0, reserve = 0;
        int rc = split_with_size(args, pool, &name, &size);

        if (rc == CLI_OK && args->nvalues[RESERVE])
                rc = cli_size("reserve", args->values[RESERVE][0], &reserve);

        if (rc != CLI_OK)
                return rc;
        json_t *params = json_pack("{s:s, s:s, s:I}", "pool", pool, "name", name, "size_bytes",
                                   (json_int_t)size);
        if (args->nvalues[UUID])
                json_object_set_new(params, "uuid", json_string(args->values[UUID][0]));
        if (args->nvalues[COPIES])
                json_object_set_new(params, "copies", json_integer(atoi(args->values[COPIES][0])));
        if (reserve)
                json_object_set_new(params, "reserved_bytes", json_integer((json_int_t)reserve));
        return show(cli, "volume.create", params, false);
}

/* Of one pool; rows are added to the table and objects to the array, if there is one. */
static int list_pool(const struct cli *cli, const char *pool, bool all, struct cli_table *t,
                     json_t *array)
{
        json_t *result = NULL, *v;
        size_t i;
        int rc = cli_call(cli, "volume.list", json_pack("{s:s}", "pool", pool), false, &result);

        if (rc != CLI_OK)
                return rc;
        json_array_foreach(json_object_get(result, "volumes"), i, v)
        {
                char name[256];
                snprintf(name, sizeof(name), "%s/%s", pool, cli_text_of(v, "name"));
                const char *const cells[] = {
                    name,
                    cli_size_of(v, "size_bytes"),
                    cli_size_of(v, "allocated_bytes"),
                    cli_size_of(v, "reserved_bytes"),
                    cli_text_of(json_object_get(v, "owner"), "state"),
                    cli_text_of(v, "in_use"),
                };
                if (!all && json_is_true(json_object_get(v, "hidden")))
                        continue;
                if (array)
                        json_array_append(array, v);
                else
                        cli_table_row(t, cells);
        }
        json_decref(result);
        return CLI_OK;
}

static int list(const struct cli *cli, const struct cli_args *args)
{
        enum { ALL };
        static const char *const heads[] = {"volume", ">size",  ">allocated", ">reserved",
                                            "owner",  "in use", NULL};
        json_t *pools = NULL, *pool, *array = cli->json ? json_array() : NULL;
        bool all = args->nvalues[ALL] > 0;
        size_t i;
        int rc = CLI_OK;
        struct cli_table *t = cli->json ? NULL : cli_table_new(heads);

        if (args->nwords)
                rc = list_pool(cli, args->words[0], all, t, array);
        else
                rc = cli_call(cli, "pool.list", NULL, false, &pools);
        json_array_foreach(json_object_get(pools, "pools"), i, pool)
        {
                if (rc == CLI_OK && !strcmp(cli_text_of(pool, "state"), "active"))
                        rc = list_pool(cli, cli_text_of(pool, "name"), all, t, array);
        }
        json_decref(pools);
        if (rc == CLI_OK && array)
                return cli_print_json(json_pack("{s:o}", "volumes", array));
        json_decref(array);
        if (rc == CLI_OK)
                cli_table_print(t);
        return rc;
}

static int info(const struct cli *cli, const struct cli_args *args)
{
        char pool[64];
        const char *name;
        int rc = cli_split(args->words[0], pool, &name);

        return rc == CLI_OK ? show(cli, "volume.info", named(pool, name), false) : rc;
}

static int resize(const struct cli *cli, const struct cli_args *args)
{
        enum { SHRINK, RESERVE };
        char pool[64];
        const char *name;
        uint64_t size = 0, reserve = 0;
        int rc = split_with_size(args, pool, &name, &size);

        if (rc == CLI_OK && args->nvalues[RESERVE])
                rc = cli_size("reserve", args->values[RESERVE][0], &reserve);

        if (rc != CLI_OK)
                return rc;
        json_t *params = named(pool, name);
        json_object_set_new(params, "size_bytes", json_integer((json_int_t)size));
        if (args->nvalues[SHRINK])
                json_object_set_new(params, "shrink", json_true());
        if (args->nvalues[RESERVE])
                json_object_set_new(params, "reserved_bytes", json_integer((json_int_t)reserve));
        return show(cli, "volume.resize", params, false);
}

static int reserve(const struct cli *cli, const struct cli_args *args)
{
        char pool[64];
        const char *name;
        uint64_t size = 0;
        int rc = split_with_size(args, pool, &name, &size);

        if (rc != CLI_OK)
                return rc;
        json_t *params = named(pool, name);
        json_object_set_new(params, "reserved_bytes", json_integer((json_int_t)size));
        return show(cli, "volume.reserve", params, false);
}

static int delete (const struct cli *cli, const struct cli_args *args)
{
        enum { SNAPSHOTS };
        char pool[64];
        const char *name;
        json_t *result = NULL;
        int rc = cli_split(args->words[0], pool, &name);

        if (rc == CLI_OK) {
                json_t *params = named(pool, name);
                if (args->nvalues[SNAPSHOTS])
                        json_object_set_new(params, "snapshots", json_true());
                rc = cli_ask(cli, "volume.delete", params, false, &result);
        }
        if (!result)
                return rc;
        if (json_is_true(json_object_get(result, "pending")))
                printf("%s goes when the hosts that hold a copy of it have been told\n",
                       args->words[0]);
        json_decref(result);
        return CLI_OK;
}

static int clone(const struct cli *cli, const struct cli_args *args)
{
        enum { SIZE, SNAPSHOT };
        char pool[64], to_pool[64];
        const char *name, *to;
        uint64_t size = 0;
        int rc = cli_split(args->words[0], pool, &name);

        if (rc == CLI_OK && strchr(args->words[1], '/')) {
                rc = cli_split(args->words[1], to_pool, &to);
                if (rc == CLI_OK && strcmp(pool, to_pool) != 0)
                        rc = cli_misuse("a copy is made in the same pool (%s)", pool);
        } else {
                to = args->words[1];
        }
        if (rc == CLI_OK && args->nvalues[SIZE])
                rc = cli_size("size", args->values[SIZE][0], &size);
        if (rc != CLI_OK)
                return rc;
        json_t *params = json_pack("{s:s, s:s, s:s}", "pool", pool, "name", to, "source", name);
        if (size)
                json_object_set_new(params, "size_bytes", json_integer((json_int_t)size));
        if (args->nvalues[SNAPSHOT])
                json_object_set_new(params, "snapshot", json_string(args->values[SNAPSHOT][0]));
        return show(cli, "volume.clone", params, false);
}

static int wipe(const struct cli *cli, const struct cli_args *args)
{
        char pool[64];
        const char *name;
        int rc = cli_split(args->words[0], pool, &name);

        return rc == CLI_OK ? show(cli, "volume.wipe", named(pool, name), false) : rc;
}

/* The whole map, answer by answer. */
static int collect_map(const struct cli *cli, const char *pool, const char *name, json_t *extents)
{
        json_t *offset = json_integer(0);
        int rc = CLI_OK;

        while (rc == CLI_OK && json_is_integer(offset)) {
                json_t *params = named(pool, name), *result = NULL;
                json_object_set_new(params, "offset_bytes", offset);
                offset = NULL;
                rc = cli_call(cli, "volume.map", params, false, &result);
                if (rc != CLI_OK)
                        break;
                json_array_extend(extents, json_object_get(result, "extents"));
                offset = json_incref(json_object_get(result, "next_offset_bytes"));
                json_decref(result);
        }
        json_decref(offset);
        return rc;
}

static int map(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {">offset", ">length", NULL};
        char pool[64];
        const char *name;
        json_t *extents = json_array(), *e;
        size_t i;
        int rc = cli_split(args->words[0], pool, &name);

        if (rc == CLI_OK)
                rc = collect_map(cli, pool, name, extents);
        if (rc != CLI_OK) {
                json_decref(extents);
                return rc;
        }
        if (cli->json)
                return cli_print_json(json_pack("{s:o}", "extents", extents));
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(extents, i, e)
        {
                char offset[24], length[24];
                snprintf(offset, sizeof(offset), "%llu",
                         (unsigned long long)cli_number_of(e, "offset_bytes"));
                snprintf(length, sizeof(length), "%llu",
                         (unsigned long long)cli_number_of(e, "length_bytes"));
                const char *const cells[] = {offset, length};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(extents);
        return CLI_OK;
}

static int reclaim(const struct cli *cli, const struct cli_args *args)
{
        enum { FORCE };
        char pool[64];
        const char *name;
        int rc = cli_split(args->words[0], pool, &name);

        if (rc != CLI_OK)
                return rc;
        json_t *params = named(pool, name);
        json_object_set_new(params, "force", json_boolean(args->nvalues[FORCE] > 0));
        return show(cli, "volume.reclaim", params, false);
}

const struct cli_command volume_commands[] = {
    {"volume",
     "create",
     "POOL/VOLUME SIZE",
     2,
     2,
     "Make an empty volume. It takes space only as it is written.",
     {{"uuid", "UUID", "of the volume; default: random", false},
      {"copies", "N", "of each block, on different devices: 1 to 3; default: the pool's", false},
      {"reserve", "SIZE", "of it kept free for this volume alone; default: 0", false}},
     create,
     NULL},
    {"volume",
     "list",
     "[POOL]",
     0,
     1,
     "List the volumes of a pool, or of all.",
     {{"all", NULL, "copies that belong to other hosts too", false}},
     list,
     NULL},
    {"volume", "info", "POOL/VOLUME", 1, 1, "Show a volume.", {{0}}, info, NULL},
    {"volume",
     "resize",
     "POOL/VOLUME SIZE",
     2,
     2,
     "Change the size of a volume that is not in use.",
     {{"shrink", NULL, "it may become smaller: what lies behind its new end is lost", false},
      {"reserve", "SIZE", "of it kept free for this volume alone; default: as it is", false}},
     resize,
     NULL},
    {"volume",
     "reserve",
     "POOL/VOLUME SIZE",
     2,
     2,
     "Keep so much of the pool free for a volume, in use or not. 0: nothing.",
     {{0}},
     reserve,
     "As long as the volume holds less than that of its own, its writes never wait for space that\n"
     "others took. What snapshots hold is not its own: taking one needs as much room once more."},
    {"volume",
     "delete",
     "POOL/VOLUME",
     1,
     1,
     "Delete a volume that is not in use. Its data is lost; its clones keep what they are.",
     {{"delete-snapshots", NULL, "its snapshots too", false}},
     delete,
     NULL},
    {"volume",
     "clone",
     "POOL/VOLUME NEW",
     2,
     2,
     "Clone a volume in its pool. Blocks are shared until one of the two is written.",
     {{"size", "SIZE", "of the clone; default: the original's", false},
      {"snapshot", "NAME", "of which to clone; default: the volume as it is", false}},
     clone,
     NULL},
    {"volume",
     "wipe",
     "POOL/VOLUME",
     1,
     1,
     "Empty a volume that is not in use: it reads as zeroes and takes no space.",
     {{0}},
     wipe,
     NULL},
    {"volume",
     "map",
     "POOL/VOLUME",
     1,
     1,
     "List where a volume holds data, in bytes.",
     {{0}},
     map,
     NULL},
    {"volume",
     "reclaim",
     "POOL/VOLUME",
     1,
     1,
     "Take back a volume that was given to another host.",
     {{"force", NULL, "even if that host does not answer", false}},
     reclaim,
     "Without --force the other host is asked, and agrees only if it has not used the volume.\n"
     "With --force what it has written is lost, and it must never serve the volume again: use it\n"
     "only when that host is gone for good."},
};
const int nvolume_commands = ARRAY_SIZE(volume_commands);
