/* The zonepool command: what its parts share.
 *
 *   main.c      options, the table of commands, help
 *   pool.c volume.c device.c misc.c   the commands
 *   device_arg.c   devices as they are given and shown
 *   ask.c       calls to the daemon, progress, printing of JSON
 *   table.c     tables and sizes for people
 *
 * Every command returns an exit code: 0 done, 1 failed, 2 used wrongly. Errors are printed once, as
 * "zonepool: text", where they are found.
 */
#ifndef ZONEPOOL_CLI_CLI_H
#define ZONEPOOL_CLI_CLI_H

#include "base/err.h"

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { CLI_OK, CLI_FAILED, CLI_USAGE };

struct cli {
        const char *socket;
        bool json;
};

/* An option of a command beside --help, --json, --socket. */
struct cli_option {
        const char *name;
        const char *value; /* NULL: a switch; else what help calls its value */
        const char *help;
        bool many; /* may be given again */
};

enum { CLI_OPTIONS_MAX = 8, CLI_VALUES_MAX = 256, CLI_ARGS_MAX = 512 };

/* A command line, parsed by the command's tables. */
struct cli_args {
        const char *words[CLI_ARGS_MAX]; /* positional */
        int nwords;
        const char *values[CLI_OPTIONS_MAX][CLI_VALUES_MAX]; /* by index in options */
        int nvalues[CLI_OPTIONS_MAX]; /* how often given */
};

struct cli_command {
        const char *group, *verb; /* "pool", "create"; verb NULL: the group is the command */
        const char *synopsis; /* positional arguments */
        int min_words, max_words;
        const char *help; /* one sentence */
        struct cli_option options[CLI_OPTIONS_MAX];
        int (*run)(const struct cli *cli, const struct cli_args *args);
        const char *more; /* further paragraphs of help, or NULL */
};

extern const struct cli_command snapshot_commands[];
extern const int nsnapshot_commands;
extern const struct cli_command pool_commands[], volume_commands[], device_commands[],
    misc_commands[];
extern const int npool_commands, nvolume_commands, ndevice_commands, nmisc_commands;

/* ---- ask.c ---- */

/* Prints "zonepool: text" and returns CLI_FAILED; cli_misuse: CLI_USAGE. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Calls the daemon; params is consumed. Prints errors. CLI_OK with *ret_result to json_decref, or
 * an exit code. progress: shows how far it is. */
int cli_call(const struct cli *cli, const char *method, json_t *params, bool progress,
             json_t **ret_result);

/* As cli_call, for an answer that --json prints as it is: *ret_result is NULL when there is nothing
 * left to show, and the exit code is final. */
int cli_ask(const struct cli *cli, const char *method, json_t *params, bool progress,
            json_t **ret_result);

/* Prints JSON, for --json. object is consumed. */
int cli_print_json(json_t *object);

/* ---- device_arg.c ---- */

/* Devices are given as a person's shell has them; the daemon has another working directory. */
json_t *cli_absolute_path(const char *path);
/* "PATH[,size=..,zone=..,capacity=..,max-open=..,max-active=..]", added to the array. CLI_OK or
 * CLI_USAGE, printed. */
int cli_device(const char *text, json_t *devices);
/* The table of a poolobj's devices, and how evenly they are used. */
void cli_print_devices(const json_t *pool);
/* What device.balance answers. */
void cli_print_balance(const json_t *balance);

/* ---- table.c ---- */

/* A size as given by a person. CLI_OK or CLI_USAGE, printed. */
int cli_size(const char *what, const char *text, uint64_t *ret_bytes);
/* Into a ring of 8 static buffers, for one printf. */
const char *cli_size_text(uint64_t bytes);
const char *cli_size_of(const json_t *object, const char *member);
/* Never NULL: "" or "-" when it is not there. */
const char *cli_text_of(const json_t *object, const char *member);
uint64_t cli_number_of(const json_t *object, const char *member);

/* "POOL/VOLUME" in two. pool is a buffer of 64 bytes. CLI_OK or CLI_USAGE, printed. */
int cli_split(const char *path, char pool[64], const char **ret_volume);

enum { CLI_COLUMNS_MAX = 10 };
struct cli_table; /* rows of text, printed with columns wide enough; numbers stand to the right */
/* heads: NULL-terminated; one beginning with '>' is a column that stands to the right. */
struct cli_table *cli_table_new(const char *const *heads);
void cli_table_row(struct cli_table *t, const char *const *cells);
/* Prints and frees. */
void cli_table_print(struct cli_table *t);

#endif
