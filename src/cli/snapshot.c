/* zonepool snapshot ..., see cli.h. */
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* POOL/VOLUME, and a name where there is one. */
static int params_of(const struct cli_args *args, json_t **ret_params)
{
        char pool[64];
        const char *volume;
        int rc = cli_split(args->words[0], pool, &volume);

        if (rc != CLI_OK)
                return rc;
        *ret_params = json_pack("{s:s, s:s}", "pool", pool, "volume", volume);
        if (args->nwords > 1)
                json_object_set_new(*ret_params, "name", json_string(args->words[1]));
        return CLI_OK;
}

/* Asks, and says nothing but what --json prints. */
static int just(const struct cli *cli, const struct cli_args *args, const char *method)
{
        json_t *params = NULL, *result = NULL;
        int rc = params_of(args, &params);

        if (rc == CLI_OK)
                rc = cli_ask(cli, method, params, false, &result);
        json_decref(result);
        return rc;
}

static int create(const struct cli *cli, const struct cli_args *args)
{
        return just(cli, args, "snapshot.create");
}

static int delete (const struct cli *cli, const struct cli_args *args)
{
        return just(cli, args, "snapshot.delete");
}

static int revert(const struct cli *cli, const struct cli_args *args)
{
        return just(cli, args, "snapshot.revert");
}

static int list(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {"snapshot", "taken",     ">size",
                                            ">own",     ">children", NULL};
        json_t *params = NULL, *result = NULL, *s;
        size_t i;
        int rc = params_of(args, &params);

        if (rc == CLI_OK)
                rc = cli_ask(cli, "snapshot.list", params, false, &result);
        if (!result)
                return rc;
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(json_object_get(result, "snapshots"), i, s)
        {
                char when[32] = "", children[24];
                time_t at = (time_t)cli_number_of(s, "time");
                struct tm tm;
                if (localtime_r(&at, &tm))
                        strftime(when, sizeof(when), "%F %T", &tm);
                snprintf(children, sizeof(children), "%llu",
                         (unsigned long long)cli_number_of(s, "children"));
                const char *const cells[] = {cli_text_of(s, "name"), when,
                                             cli_size_of(s, "size_bytes"),
                                             cli_size_of(s, "allocated_bytes"), children};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(result);
        return CLI_OK;
}

/* All changes, answer by answer. */
static int collect(const struct cli *cli, const json_t *params, json_t *changes)
{
        json_t *offset = json_integer(0);
        int rc = CLI_OK;

        while (rc == CLI_OK && json_is_integer(offset)) {
                json_t *ask = json_copy((json_t *)params), *result = NULL;
                json_object_set_new(ask, "offset_bytes", offset);
                offset = NULL;
                rc = cli_call(cli, "snapshot.diff", ask, false, &result);
                if (rc != CLI_OK)
                        break;
                json_array_extend(changes, json_object_get(result, "changes"));
                offset = json_incref(json_object_get(result, "next_offset_bytes"));
                json_decref(result);
        }
        json_decref(offset);
        return rc;
}

static int diff(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {">offset", ">length", "now", NULL};
        char pool[64];
        const char *volume;
        json_t *changes = json_array(), *e;
        size_t i;
        int rc = cli_split(args->words[0], pool, &volume);

        if (rc == CLI_OK) {
                json_t *params = json_pack("{s:s, s:s, s:s}", "pool", pool, "volume", volume,
                                           "from", args->words[1]);
                if (args->nwords > 2)
                        json_object_set_new(params, "to", json_string(args->words[2]));
                rc = collect(cli, params, changes);
                json_decref(params);
        }
        if (rc != CLI_OK) {
                json_decref(changes);
                return rc;
        }
        if (cli->json)
                return cli_print_json(json_pack("{s:o}", "changes", changes));
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(changes, i, e)
        {
                char offset[24], length[24];
                snprintf(offset, sizeof(offset), "%llu",
                         (unsigned long long)cli_number_of(e, "offset_bytes"));
                snprintf(length, sizeof(length), "%llu",
                         (unsigned long long)cli_number_of(e, "length_bytes"));
                const char *const cells[] = {
                    offset, length, json_is_true(json_object_get(e, "zeroes")) ? "zeroes" : "data"};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(changes);
        return CLI_OK;
}

const struct cli_command snapshot_commands[] = {
    {"snapshot",
     "create",
     "POOL/VOLUME NAME",
     2,
     2,
     "Keep what a volume holds now, under a name. It may be in use.",
     {{0}},
     create,
     NULL},
    {"snapshot", "list", "POOL/VOLUME", 1, 1, "List the snapshots of a volume.", {{0}}, list, NULL},
    {"snapshot",
     "delete",
     "POOL/VOLUME NAME",
     2,
     2,
     "Delete a snapshot. The volume, its clones and other snapshots stay what they are.",
     {{0}},
     delete,
     NULL},
    {"snapshot",
     "revert",
     "POOL/VOLUME NAME",
     2,
     2,
     "Make a volume that is not in use what it was. What it holds now is lost.",
     {{0}},
     revert,
     NULL},
    {"snapshot",
     "diff",
     "POOL/VOLUME FROM [TO]",
     2,
     3,
     "List what differs between two snapshots, or a snapshot and the volume, in bytes.",
     {{0}},
     diff,
     NULL},
};
const int nsnapshot_commands = ARRAY_SIZE(snapshot_commands);
