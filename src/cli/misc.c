/* zonepool migrate ..., daemon ..., disk-xml, see cli.h. */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "xml/domain_xml.h"

#include <stdio.h>
#include <string.h>

/* ---- migrate ---- */

static int migrate_status(const struct cli *cli, const struct cli_args *args)
{
        static const char *const heads[] = {"domain",     "direction", "state",  "peer", ">moved",
                                            ">remaining", ">passes",   ">pause", NULL};
        json_t *result = NULL, *m;
        size_t i;
        json_t *params = args->nwords ? json_pack("{s:s}", "domain", args->words[0]) : NULL;
        int rc = cli_ask(cli, "migrate.status", params, false, &result);

        if (!result)
                return rc;
        struct cli_table *t = cli_table_new(heads);
        json_array_foreach(json_object_get(result, "migrations"), i, m)
        {
                char passes[24], pause[24];
                snprintf(passes, sizeof(passes), "%llu",
                         (unsigned long long)cli_number_of(m, "passes"));
                snprintf(pause, sizeof(pause), "%.1f ms",
                         (double)cli_number_of(m, "pause_ns") / 1e6);
                const char *const cells[] = {cli_text_of(m, "domain"),
                                             cli_text_of(m, "direction"),
                                             cli_text_of(m, "state"),
                                             cli_text_of(m, "peer"),
                                             cli_size_of(m, "moved_bytes"),
                                             cli_size_of(m, "remaining_bytes"),
                                             passes,
                                             pause};
                cli_table_row(t, cells);
        }
        cli_table_print(t);
        json_decref(result);
        return CLI_OK;
}

static int migrate_cancel(const struct cli *cli, const struct cli_args *args)
{
        json_t *result = NULL;
        int rc = cli_call(cli, "migrate.cancel", json_pack("{s:s}", "domain", args->words[0]),
                          false, &result);

        if (rc == CLI_OK && cli->json)
                return cli_print_json(result);
        json_decref(result);
        return rc;
}

/* ---- daemon ---- */

static int daemon_status(const struct cli *cli, const struct cli_args *args)
{
        json_t *result = NULL;
        int rc = cli_ask(cli, "daemon.status", NULL, false, &result);

        if (!result)
                return rc;
        uint64_t up = cli_number_of(result, "uptime_ns") / UINT64_C(1000000000);
        printf("version:    %s\n", cli_text_of(result, "version"));
        printf("pid:        %llu\n", (unsigned long long)cli_number_of(result, "pid"));
        printf("up:         %llud %02llu:%02llu:%02llu\n", (unsigned long long)(up / 86400),
               (unsigned long long)(up / 3600 % 24), (unsigned long long)(up / 60 % 60),
               (unsigned long long)(up % 60));
        printf("host uuid:  %s\n", cli_text_of(result, "host_uuid"));
        printf("run dir:    %s\n", cli_text_of(result, "rundir"));
        printf("pools:      %llu, %llu failed\n",
               (unsigned long long)cli_number_of(result, "pools"),
               (unsigned long long)cli_number_of(result, "failed_pools"));
        json_decref(result);
        return CLI_OK;
}

static int daemon_stop_command(const struct cli *cli, const struct cli_args *args)
{
        json_t *result = NULL;
        int rc = cli_call(cli, "daemon.stop", NULL, false, &result);

        if (rc == CLI_OK && cli->json)
                return cli_print_json(result);
        json_decref(result);
        return rc;
}

/* ---- disk-xml ---- */

enum { XML_DEV };

/* The pool of a volume given without one: the only pool that has it. */
static int find_volume(const struct cli *cli, const char *name, char pool[64])
{
        json_t *result = NULL, *p, *v;
        size_t i, k;
        int found = 0;
        int rc = cli_call(cli, "pool.list", NULL, false, &result);

        json_array_foreach(json_object_get(result, "pools"), i, p)
        {
                json_t *volumes = NULL;
                const char *pool_name = cli_text_of(p, "name");
                if (rc != CLI_OK || strcmp(cli_text_of(p, "state"), "active") != 0)
                        continue;
                rc = cli_call(cli, "volume.list", json_pack("{s:s}", "pool", pool_name), false,
                              &volumes);
                json_array_foreach(json_object_get(volumes, "volumes"), k, v)
                {
                        if (!strcmp(cli_text_of(v, "name"), name)) {
                                found++;
                                snprintf(pool, 64, "%s", pool_name);
                        }
                }
                json_decref(volumes);
        }
        json_decref(result);
        if (rc == CLI_OK && found != 1)
                rc = found ? cli_fail("%d pools have a volume '%s'; give POOL/VOLUME", found, name)
                           : cli_fail("no pool has a volume '%s'", name);
        return rc;
}

static int disk_xml(const struct cli *cli, const struct cli_args *args)
{
        const char *name = args->words[0];
        const char *dev = args->nvalues[XML_DEV] ? args->values[XML_DEV][0] : "vda";
        char pool[64];
        json_t *result = NULL;
        int rc = strchr(name, '/') ? cli_split(name, pool, &name) : find_volume(cli, name, pool);

        if (rc == CLI_OK)
                rc =
                    cli_call(cli, "volume.info",
                             json_pack("{s:s, s:s}", "pool", pool, "volume", name), false, &result);
        if (rc != CLI_OK)
                return rc;
        const char *socket = cli_text_of(result, "socket");
        if (cli->json) {
                json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "pool", pool, "volume", name,
                                           "socket", socket, "target", dev);
                json_decref(result);
                return cli_print_json(object);
        }
        CLEANUP(free_ptr) char *disk = domain_xml_format_disk(socket, dev);
        CLEANUP(free_ptr) char *memory = domain_xml_format_memory();
        json_decref(result);
        if (!disk || !memory)
                return cli_fail("out of memory");
        printf("<!-- The guest's memory must be shared with zonepoold. Beside <devices>, once a "
               "domain:\n"
               "%s-->\n%s",
               memory, disk);
        return CLI_OK;
}

const struct cli_command misc_commands[] = {
    {"migrate",
     "status",
     "[DOMAIN]",
     0,
     1,
     "Show migrations under way, and the last one of each domain.",
     {{0}},
     migrate_status,
     NULL},
    {"migrate",
     "cancel",
     "DOMAIN",
     1,
     1,
     "Give up a domain's migration; the guest goes on where it is.",
     {{0}},
     migrate_cancel,
     NULL},
    {"daemon", "status", "", 0, 0, "Show the daemon.", {{0}}, daemon_status, NULL},
    {"daemon",
     "stop",
     "",
     0,
     0,
     "Stop the daemon in order; guests wait until it is back.",
     {{0}},
     daemon_stop_command,
     NULL},
    {"disk-xml",
     NULL,
     "[POOL/]VOLUME",
     1,
     1,
     "Print the element that gives a volume to a libvirt domain.",
     {{"target", "NAME", "of the disk in the guest; default: vda", false}},
     disk_xml,
     "The disk is served over vhost-user and can be migrated live. serial, cache, discard, io,\n"
     "error_policy and iotune do not go with it: libvirt refuses them on vhostuser disks."},
};
const int nmisc_commands = ARRAY_SIZE(misc_commands);
