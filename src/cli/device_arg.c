/* Devices as people give them, and as they are shown; see cli.h. */
#include "base/cleanup.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

json_t *cli_absolute_path(const char *path)
{
        if (path[0] == '/')
                return json_string(path);
        CLEANUP(free_ptr) char *cwd = getcwd(NULL, 0);
        return cwd ? json_sprintf("%s/%s", cwd, path) : NULL;
}

static int device_member(json_t *device, char *item)
{
        static const struct {
                const char *key, *member;
                bool size;
        } keys[] = {
            {"size", "size_bytes", true},
            {"zone", "zone_bytes", true},
            {"capacity", "zone_capacity_bytes", true},
            {"max-open", "max_open", false},
            {"max-active", "max_active", false},
        };
        char *value = strchr(item, '=');
        uint64_t n;

        if (value)
                *value++ = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                if (strcmp(keys[i].key, item) != 0)
                        continue;
                if (!value)
                        return cli_misuse("--device: %s needs a value", item);
                int rc = cli_size(item, value, &n);
                if (rc == CLI_OK && !keys[i].size && n > INT32_MAX)
                        rc = cli_misuse("--device: %s is too large", item);
                if (rc == CLI_OK)
                        json_object_set_new(device, keys[i].member, json_integer((json_int_t)n));
                return rc;
        }
        return cli_misuse(
            "--device: unknown '%s'; known: size, zone, capacity, max-open, max-active", item);
}

int cli_device(const char *text, json_t *devices)
{
        CLEANUP(free_ptr) char *copy = strdup(text);
        char *save = NULL, *item = copy ? strtok_r(copy, ",", &save) : NULL;
        int rc = CLI_OK;

        if (!item)
                return cli_misuse("--device needs a path");
        json_t *device = json_pack("{s:o}", "path", cli_absolute_path(item));
        while (rc == CLI_OK && (item = strtok_r(NULL, ",", &save)))
                rc = device_member(device, item);
        json_array_append_new(devices, device);
        return rc;
}

/* What is to be said of it besides numbers. */
static const char *state_of(const json_t *dev)
{
        static char text[4][96];
        static unsigned next;
        char *out = text[next++ % 4];
        uint64_t total = cli_number_of(dev, "leaving_bytes"),
                 live = cli_number_of(dev, "live_bytes");
        const char *state = cli_text_of(dev, "state");

        if (json_is_true(json_object_get(dev, "missing"))) {
                snprintf(out, sizeof(text[0]), "missing%s%s", strcmp(state, "member") ? ", " : "",
                         strcmp(state, "member") ? state : "");
                return out;
        }
        if (json_is_string(json_object_get(dev, "error")))
                return cli_text_of(dev, "error");
        if (json_is_true(json_object_get(dev, "stalled"))) {
                snprintf(out, sizeof(text[0]), "%s, stalled", state);
                return out;
        }
        if (cli_number_of(dev, "stale_bytes") && !strcmp(state, "member")) {
                snprintf(out, sizeof(text[0]), "member, %s of it stale",
                         cli_size_of(dev, "stale_bytes"));
                return out;
        }
        if (strcmp(state, "removing") != 0 && strcmp(state, "evacuating") != 0)
                return state;
        if (cli_number_of(dev, "stuck_bytes"))
                snprintf(out, sizeof(text[0]), "%s, %s cannot be read", state,
                         cli_size_of(dev, "stuck_bytes"));
        else
                snprintf(out, sizeof(text[0]), "%s, %s of %s left%s", state, cli_size_text(live),
                         cli_size_text(total),
                         json_is_true(json_object_get(dev, "waiting")) ? ", waits for cleaning"
                                                                       : "");
        return out;
}

void cli_print_balance(const json_t *balance)
{
        static const struct {
                const char *state, *text;
        } texts[] = {
            {"paused", "nothing is moved for evenness"},
            {"running", "data are moved to the emptier ones"},
            {"waiting", "data are to be moved when there is room and all devices are in use"},
            {"resting", "no more is moved until much was written"},
        };
        const char *state = cli_text_of(balance, "state");

        printf("balance:    %s, devices are used %.1f to %.1f %%", state,
               (double)cli_number_of(balance, "least_used_permille") / 10,
               (double)cli_number_of(balance, "most_used_permille") / 10);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (!strcmp(state, texts[i].state))
                        printf("; %s", texts[i].text);
        printf("\n");
        if (cli_number_of(balance, "moved_bytes"))
                printf("            %s were moved\n", cli_size_of(balance, "moved_bytes"));
}

void cli_print_devices(const json_t *pool)
{
        static const char *const heads[] = {"device", ">capacity", ">written", ">zones", ">empty",
                                            ">open",  ">full",     ">bad",     "state",  NULL};
        struct cli_table *t = cli_table_new(heads);
        size_t i;
        json_t *dev;

        json_array_foreach(json_object_get(pool, "devices"), i, dev)
        {
                static const char *const counts[] = {"zones", "empty_zones", "open_zones",
                                                     "full_zones", "bad_zones"};
                char number[ARRAY_SIZE(counts)][24];
                for (size_t k = 0; k < ARRAY_SIZE(counts); k++)
                        snprintf(number[k], sizeof(number[k]), "%llu",
                                 (unsigned long long)cli_number_of(dev, counts[k]));
                const char *path = cli_text_of(dev, "path");
                const char *const cells[] = {*path ? path : cli_text_of(dev, "uuid"),
                                             cli_size_of(dev, "capacity_bytes"),
                                             cli_size_of(dev, "written_bytes"),
                                             number[0],
                                             number[1],
                                             number[2],
                                             number[3],
                                             number[4],
                                             state_of(dev)};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        if (json_array_size(json_object_get(pool, "devices")) > 1 &&
            !strcmp(cli_text_of(pool, "state"), "active"))
                cli_print_balance(json_object_get(pool, "balance"));
}
