/* zonepool device ..., see cli.h. What takes long goes on in the daemon by itself; here it is
 * waited for, with a bar, unless --no-wait is given. */
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int show(const struct cli *cli, const char *method, json_t *params, bool progress)
{
        json_t *result = NULL;
        int rc = cli_ask(cli, method, params, progress, &result);

        if (result)
                cli_print_devices(result);
        json_decref(result);
        return rc;
}

/* A member is named by its path or its uuid. */
static json_t *member_name(const char *text)
{
        return strchr(text, '/') || strlen(text) != 36 ? cli_absolute_path(text)
                                                       : json_string(text);
}

/* The member's uuid: its path may be another one's by and by. The name, if it is none. */
static json_t *member_uuid(const struct cli *cli, const char *pool, const char *text)
{
        struct cli quiet = {.socket = cli->socket};
        json_t *result = NULL, *dev, *name = member_name(text);
        size_t i;

        if (cli_call(&quiet, "pool.status", json_pack("{s:s}", "pool", pool), false, &result) !=
            CLI_OK)
                return name;
        json_array_foreach(json_object_get(result, "devices"), i, dev)
        {
                if (!json_equal(json_object_get(dev, "path"), name))
                        continue;
                json_decref(name);
                name = json_incref(json_object_get(dev, "uuid"));
                break;
        }
        json_decref(result);
        return name;
}

/* ---- joining ---- */

static json_t *join_params(const struct cli_args *args, const char *device, bool overwrite)
{
        json_t *devices = json_array(), *params = NULL;

        if (cli_device(device, devices) == CLI_OK)
                params = json_pack("{s:s, s:O, s:b}", "pool", args->words[0], "device",
                                   json_array_get(devices, 0), "overwrite", overwrite);
        json_decref(devices);
        return params;
}

enum { ADD_OVERWRITE };

static int add(const struct cli *cli, const struct cli_args *args)
{
        json_t *params = join_params(args, args->words[1], args->nvalues[ADD_OVERWRITE]);

        return params ? show(cli, "device.add", params, false) : CLI_USAGE;
}

/* ---- leaving ---- */

static int begin(const struct cli *cli, const char *method, json_t *params)
{
        struct cli quiet = {.socket = cli->socket};
        json_t *result = NULL;
        int rc = cli_call(&quiet, method, params, false, &result);

        if (rc == CLI_OK)
                json_decref(result);
        return rc;
}

static int follow(const struct cli *cli, const char *pool, json_t *device)
{
        return show(cli, "device.wait",
                    json_pack("{s:s, s:o, s:b}", "pool", pool, "device", device, "begun", 1), true);
}

/* Asks for it, then waits: what goes wrong while waiting does not undo it. */
static int begin_and_follow(const struct cli *cli, const struct cli_args *args, const char *method,
                            json_t *params)
{
        json_t *device = member_uuid(cli, args->words[0], args->words[1]);
        int rc = begin(cli, method, params);

        if (rc == CLI_OK)
                return follow(cli, args->words[0], device);
        json_decref(device);
        return rc;
}

static int leave(const struct cli *cli, const struct cli_args *args, const char *method, bool wait)
{
        json_t *params =
            json_pack("{s:s, s:o}", "pool", args->words[0], "device", member_name(args->words[1]));

        if (!wait)
                return show(cli, method, params, false);
        return begin_and_follow(cli, args, method, params);
}

static int remove_device(const struct cli *cli, const struct cli_args *args)
{
        return leave(cli, args, "device.remove", !args->nvalues[0]);
}

static int evacuate(const struct cli *cli, const struct cli_args *args)
{
        return leave(cli, args, "device.evacuate", !args->nvalues[0]);
}

static int keep(const struct cli *cli, const struct cli_args *args)
{
        return leave(cli, args, "device.keep", false);
}

static int return_device(const struct cli *cli, const struct cli_args *args)
{
        return leave(cli, args, "device.return", false);
}

enum { REPLACE_OVERWRITE, REPLACE_NO_WAIT };

static int replace(const struct cli *cli, const struct cli_args *args)
{
        json_t *params = join_params(args, args->words[2], args->nvalues[REPLACE_OVERWRITE]);

        if (!params)
                return CLI_USAGE;
        json_object_set_new(params, "old", member_name(args->words[1]));
        if (args->nvalues[REPLACE_NO_WAIT])
                return show(cli, "device.replace", params, false);
        return begin_and_follow(cli, args, "device.replace", params);
}

/* ---- giving up ---- */

enum { GIVE_UP_BYTES, GIVE_UP_NO_WAIT };

static int show_lost(const struct cli *cli, const struct cli_args *args, json_t *params)
{
        static const char *const heads[] = {"volume", "snapshot", ">lost", NULL};
        json_t *result = NULL, *l;
        size_t i;
        int rc = cli_ask(cli, "device.lost", params, false, &result);

        if (!result)
                return rc;
        unsigned long long bytes = (unsigned long long)cli_number_of(result, "stuck_bytes");
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(json_object_get(result, "lost"), i, l)
        {
                bool known = json_is_string(json_object_get(l, "volume"));
                const char *const cells[] = {
                    known ? cli_text_of(l, "volume") : cli_text_of(l, "uuid"),
                    json_is_string(json_object_get(l, "snapshot")) ? cli_text_of(l, "snapshot")
                                                                   : "",
                    cli_size_of(l, "bytes")};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(result);
        if (!bytes)
                return cli_fail("what can be read of the device is still being moved; nothing is "
                                "given up");
        return cli_fail("nothing is given up yet. If it is lost for good: 'zonepool device give-up "
                        "%s %s --bytes %llu'",
                        args->words[0], args->words[1], bytes);
}

static int give_up(const struct cli *cli, const struct cli_args *args)
{
        json_t *params =
            json_pack("{s:s, s:o}", "pool", args->words[0], "device", member_name(args->words[1]));
        uint64_t bytes = 0;

        if (!args->nvalues[GIVE_UP_BYTES])
                return show_lost(cli, args, params);
        if (cli_size("--bytes", args->values[GIVE_UP_BYTES][0], &bytes) != CLI_OK) {
                json_decref(params);
                return CLI_USAGE;
        }
        json_object_set_new(params, "bytes", json_integer((json_int_t)bytes));
        if (args->nvalues[GIVE_UP_NO_WAIT])
                return show(cli, "device.give_up", params, false);
        return begin_and_follow(cli, args, "device.give_up", params);
}

/* ---- scrubbing ---- */

static void print_scrub(const json_t *scrub)
{
        uint64_t unknown = cli_number_of(scrub, "unknown_batches");
        size_t i;
        json_t *f;

        printf("scrub:      %s\n", cli_text_of(scrub, "state"));
        printf("verified:   %s, %s left\n", cli_size_of(scrub, "verified_bytes"),
               cli_size_of(scrub, "left_bytes"));
        printf("wrong:      %llu copies\n",
               (unsigned long long)cli_number_of(scrub, "wrong_copies"));
        printf("damaged:    %llu blocks for good; %llu written anew\n",
               (unsigned long long)cli_number_of(scrub, "damaged_blocks"),
               (unsigned long long)cli_number_of(scrub, "repaired_blocks"));
        if (unknown)
                printf("unknown:    %llu batches: what they hold cannot be told\n",
                       (unsigned long long)unknown);
        json_array_foreach(json_object_get(scrub, "findings"), i, f)
            printf("            volume %s, 4096 bytes from %llu\n",
                   json_is_string(json_object_get(f, "volume")) ? cli_text_of(f, "volume")
                                                                : cli_text_of(f, "uuid"),
                   (unsigned long long)cli_number_of(f, "offset_bytes"));
}

static int ask_scrub(const struct cli *cli, const char *pool, const char *action)
{
        json_t *result = NULL;
        int rc =
            cli_ask(cli, "device.scrub", json_pack("{s:s, s:s}", "pool", pool, "action", action),
                    !strcmp(action, "wait"), &result);

        if (result)
                print_scrub(result);
        json_decref(result);
        return rc;
}

enum { SCRUB_NO_WAIT, SCRUB_PAUSE, SCRUB_CANCEL, SCRUB_STATUS };

static int scrub(const struct cli *cli, const struct cli_args *args)
{
        const char *pool = args->words[0];
        const int *given = args->nvalues;

        if (given[SCRUB_NO_WAIT] + given[SCRUB_PAUSE] + given[SCRUB_CANCEL] + given[SCRUB_STATUS] >
            1)
                return cli_misuse("device scrub: only one option at a time");
        if (given[SCRUB_PAUSE] || given[SCRUB_CANCEL] || given[SCRUB_STATUS])
                return ask_scrub(cli, pool,
                                 given[SCRUB_PAUSE]    ? "pause"
                                 : given[SCRUB_CANCEL] ? "cancel"
                                                       : "status");
        if (given[SCRUB_NO_WAIT])
                return ask_scrub(cli, pool, "start");
        int rc =
            begin(cli, "device.scrub", json_pack("{s:s, s:s}", "pool", pool, "action", "start"));
        return rc == CLI_OK ? ask_scrub(cli, pool, "wait") : rc;
}

/* ---- balancing ---- */

enum { BALANCE_PAUSE, BALANCE_RESUME, BALANCE_STATUS };

static int balance(const struct cli *cli, const struct cli_args *args)
{
        const int *given = args->nvalues;
        const char *action = given[BALANCE_PAUSE]    ? "pause"
                             : given[BALANCE_RESUME] ? "resume"
                                                     : "status";
        json_t *result = NULL;

        if (given[BALANCE_PAUSE] + given[BALANCE_RESUME] + given[BALANCE_STATUS] > 1)
                return cli_misuse("device balance: only one option at a time");
        int rc = cli_ask(cli, "device.balance",
                         json_pack("{s:s, s:s}", "pool", args->words[0], "action", action), false,
                         &result);
        if (result)
                cli_print_balance(result);
        json_decref(result);
        return rc;
}

static int status(const struct cli *cli, const struct cli_args *args)
{
        return show(cli, "pool.status", json_pack("{s:s}", "pool", args->words[0]), false);
}

#define NO_WAIT                                                                                    \
        {                                                                                          \
                "no-wait", NULL, "return when it has begun; it goes on by itself", false           \
        }
#define MADE "A file that is missing is made with size=SIZE behind the path, as by 'pool create'."

const struct cli_command device_commands[] = {
    {"device",
     "add",
     "POOL DEVICE",
     2,
     2,
     "Take a device into a pool, while it is in use.",
     {{"overwrite", NULL, "a device that holds data loses it", false}},
     add,
     MADE},
    {"device",
     "remove",
     "POOL DEVICE",
     2,
     2,
     "Move all data off a device and take it out of the pool.",
     {NO_WAIT},
     remove_device,
     "It becomes a plain file or device again. Goes on after a restart; 'device keep' ends it."},
    {"device",
     "replace",
     "POOL OLD NEW",
     3,
     3,
     "Take a new device into a pool and remove an old one.",
     {{"overwrite", NULL, "a new device that holds data loses it", false}, NO_WAIT},
     replace,
     MADE},
    {"device",
     "evacuate",
     "POOL DEVICE",
     2,
     2,
     "Move all data off a device, and put none on it.",
     {NO_WAIT},
     evacuate,
     "Goes on after a restart; 'device keep' ends it."},
    {"device",
     "keep",
     "POOL DEVICE",
     2,
     2,
     "Use a device that is being evacuated or removed as before.",
     {{0}},
     keep,
     NULL},
    {"device",
     "return",
     "POOL DEVICE",
     2,
     2,
     "Take a member back that was lost or failed, and is there again.",
     {{0}},
     return_device,
     "What changed meanwhile is made anew there. A device that is missing is taken back by itself\n"
     "when it is at its path again."},
    {"device",
     "give-up",
     "POOL DEVICE",
     2,
     2,
     "Give up what cannot be read of a device that is being removed.",
     {{"bytes", "N", "so much is confirmed; without it volumes and bytes are shown", false},
      NO_WAIT},
     give_up,
     "Reading what was given up fails for ever, until it is overwritten or discarded. So a device\n"
     "that is lost, and held some blocks alone, can leave. After a restart on the way, ask again."},
    {"device",
     "scrub",
     "POOL",
     1,
     1,
     "Read and verify all that lives in a pool.",
     {NO_WAIT,
      {"pause", NULL, "stop for now; the next scrub goes on there", false},
      {"cancel", NULL, "give it up", false},
      {"status", NULL, "say how far it is and what it found", false}},
     scrub,
     "Goes on after a restart. Tables that are damaged are written anew; of data the volume and "
     "the\n"
     "place are told."},
    {"device",
     "balance",
     "POOL",
     1,
     1,
     "Say how evenly a pool's devices are used, and whether data are moved for that.",
     {{"pause", NULL, "move nothing for evenness", false},
      {"resume", NULL, "move data when devices are far apart, as in a new pool", false},
      {"status", NULL, "change nothing (the default)", false}},
     balance,
     "It begins by itself after a device was added, and when devices stay far apart. A pause "
     "lasts,\n"
     "after a restart too, until it is resumed."},
    {"device",
     "status",
     "POOL",
     1,
     1,
     "Show a pool's devices, and how far those are that leave.",
     {{0}},
     status,
     NULL},
};
const int ndevice_commands = ARRAY_SIZE(device_commands);
