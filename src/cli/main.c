/* zonepool: options, the table of commands, help; see cli.h.
 *
 * Global options may stand anywhere. A command's own are parsed by its table, so help and parser
 * cannot disagree.
 */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "control/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_command *all[64];
static int nall;

static void collect(const struct cli_command *commands, int n)
{
        for (int i = 0; i < n; i++)
                all[nall++] = &commands[i];
}

/* ---- help ---- */

static void print_command_line(const struct cli_command *c)
{
        printf("zonepool %s%s%s%s%s", c->group, c->verb ? " " : "", c->verb ? c->verb : "",
               c->synopsis[0] ? " " : "", c->synopsis);
}

static void help_top(void)
{
        printf("usage: zonepool COMMAND [ARGUMENTS] [OPTIONS]\n\n"
               "Manages the storage pools of zonepoold.\n\n");
        for (int i = 0; i < nall; i++) {
                char left[64];
                snprintf(left, sizeof(left), "%s%s%s %s", all[i]->group, all[i]->verb ? " " : "",
                         all[i]->verb ? all[i]->verb : "", all[i]->synopsis);
                printf("  %-34s %s\n", left, all[i]->help);
        }
        printf("\noptions of every command:\n"
               "      --json           print the daemon's answer as JSON\n"
               "      --socket PATH    of the daemon (" CONTROL_SOCKET_PATH ")\n"
               "  -V, --version        print the version and exit\n"
               "  -h, --help           print help on a command, a group or all, and exit\n\n"
               "Sizes are bytes, or numbers with K, M, G or T (powers of 1024).\n"
               "Exit codes: 0 done, 1 failed, 2 used wrongly. See zonepool(8).\n");
}

static void help_group(const char *group)
{
        printf("usage:\n");
        for (int i = 0; i < nall; i++) {
                if (strcmp(all[i]->group, group) != 0)
                        continue;
                printf("  ");
                print_command_line(all[i]);
                printf("\n      %s\n", all[i]->help);
        }
}

static void help_command(const struct cli_command *c)
{
        printf("usage: ");
        print_command_line(c);
        printf(" [OPTIONS]\n\n%s\n\noptions:\n", c->help);
        for (int i = 0; i < CLI_OPTIONS_MAX && c->options[i].name; i++) {
                const struct cli_option *o = &c->options[i];
                printf("  --%s%s%s\n        %s%s\n", o->name, o->value ? " " : "",
                       o->value ? o->value : "", o->help, o->many ? "; may be given again" : "");
        }
        printf("  --json\n        print the daemon's answer as JSON\n"
               "  --socket PATH\n        of the daemon (" CONTROL_SOCKET_PATH ")\n");
        if (c->more)
                printf("\n%s\n", c->more);
}

/* ---- parsing ---- */

static const struct cli_command *find(const char *group, const char *verb)
{
        for (int i = 0; i < nall; i++)
                if (!strcmp(all[i]->group, group) &&
                    (!all[i]->verb || (verb && !strcmp(all[i]->verb, verb))))
                        return all[i];
        return NULL;
}

static bool is_group(const char *name)
{
        for (int i = 0; i < nall; i++)
                if (!strcmp(all[i]->group, name))
                        return true;
        return false;
}

static int option_index(const struct cli_command *c, const char *name, size_t len)
{
        for (int i = 0; c && i < CLI_OPTIONS_MAX && c->options[i].name; i++)
                if (strlen(c->options[i].name) == len && !strncmp(c->options[i].name, name, len))
                        return i;
        return -1;
}

struct state {
        struct cli cli;
        struct cli_args args;
        const struct cli_command *command;
        const char *group; /* first word */
        bool help, version;
};

static int own_option(struct state *s, int index, const char *value)
{
        const struct cli_option *o = &s->command->options[index];
        int *n = &s->args.nvalues[index];

        if (*n && !o->many)
                return cli_misuse("--%s is given twice", o->name);
        if (*n == CLI_VALUES_MAX)
                return cli_misuse("--%s is given more than %d times", o->name, CLI_VALUES_MAX);
        s->args.values[index][(*n)++] = value;
        return CLI_OK;
}

/* argv[*at] begins with "--". *at moves on over a value that stands apart. */
static int take_option(struct state *s, char **argv, int argc, int *at)
{
        const char *name = argv[*at] + 2, *value = strchr(name, '=');
        size_t len = value ? (size_t)(value - name) : strlen(name);
        bool is_socket = len == 6 && !strncmp(name, "socket", 6);
        bool is_json = !strcmp(name, "json");
        int index = option_index(s->command, name, len);
        bool wants = is_socket || (index >= 0 && s->command->options[index].value);

        if (!strcmp(name, "help") || !strcmp(name, "version") || is_json) {
                s->help |= name[0] == 'h';
                s->version |= name[0] == 'v';
                s->cli.json |= is_json;
                return CLI_OK;
        }
        if (index < 0 && !is_socket) {
                if (s->command)
                        return cli_misuse("%s%s%s has no option --%.*s", s->command->group,
                                          s->command->verb ? " " : "",
                                          s->command->verb ? s->command->verb : "", (int)len, name);
                return cli_misuse("unknown option --%.*s; a command's options stand behind it",
                                  (int)len, name);
        }
        if (value)
                value++;
        if (value && !wants)
                return cli_misuse("--%.*s takes no value", (int)len, name);
        if (wants && !value) {
                if (*at + 1 >= argc)
                        return cli_misuse("--%.*s needs a value", (int)len, name);
                value = argv[++*at];
        }
        if (is_socket) {
                s->cli.socket = value;
                return CLI_OK;
        }
        return own_option(s, index, value);
}

static int take_word(struct state *s, const char *word)
{
        if (!s->group) {
                if (!is_group(word))
                        return cli_misuse("unknown command '%s'; see 'zonepool --help'", word);
                s->group = word;
                s->command = find(word, NULL);
                return CLI_OK;
        }
        if (!s->command) {
                s->command = find(s->group, word);
                return s->command ? CLI_OK
                                  : cli_misuse("unknown command '%s %s'; see 'zonepool %s --help'",
                                               s->group, word, s->group);
        }
        if (s->args.nwords == CLI_ARGS_MAX)
                return cli_misuse("more than %d arguments", CLI_ARGS_MAX);
        s->args.words[s->args.nwords++] = word;
        return CLI_OK;
}

static int parse(struct state *s, int argc, char **argv)
{
        bool only_words = false;
        int rc = CLI_OK;

        for (int i = 1; rc == CLI_OK && i < argc; i++) {
                const char *word = argv[i];
                if (only_words || word[0] != '-' || !word[1])
                        rc = take_word(s, word);
                else if (!strcmp(word, "--"))
                        only_words = true;
                else if (!strcmp(word, "-h"))
                        s->help = true;
                else if (!strcmp(word, "-V"))
                        s->version = true;
                else if (word[1] == '-')
                        rc = take_option(s, argv, argc, &i);
                else
                        rc = cli_misuse("unknown option %s", word);
        }
        return rc;
}

static int check_words(const struct state *s)
{
        const struct cli_command *c = s->command;

        if (s->args.nwords >= c->min_words && s->args.nwords <= c->max_words)
                return CLI_OK;
        fprintf(stderr, "usage: zonepool %s%s%s %s\n", c->group, c->verb ? " " : "",
                c->verb ? c->verb : "", c->synopsis);
        return CLI_USAGE;
}

int main(int argc, char **argv)
{
        static struct state s;

        collect(pool_commands, npool_commands);
        collect(volume_commands, nvolume_commands);
        collect(snapshot_commands, nsnapshot_commands);
        collect(device_commands, ndevice_commands);
        collect(misc_commands, nmisc_commands);

        int rc = parse(&s, argc, argv);
        if (rc != CLI_OK)
                return rc;
        if (s.version) {
                printf("zonepool %s\n", ZONEPOOL_VERSION);
        } else if (s.help) {
                if (s.command)
                        help_command(s.command);
                else if (s.group)
                        help_group(s.group);
                else
                        help_top();
        } else if (!s.group) {
                help_top();
                return CLI_USAGE;
        } else if (!s.command) {
                return cli_misuse("%s what? See 'zonepool %s --help'", s.group, s.group);
        } else {
                rc = check_words(&s);
                return rc == CLI_OK ? s.command->run(&s.cli, &s.args) : rc;
        }
        return CLI_OK;
}
