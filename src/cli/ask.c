/* Asking the daemon, see cli.h.
 *
 * Progress goes to stderr: a bar that is redrawn on a terminal, else one plain line for every
 * tenth.
 */
#include "base/cleanup.h"
#include "base/loop.h"
#include "base/size.h"
#include "cli/cli.h"
#include "control/control_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_MAX = 40 };

static void complain(const char *fmt, va_list ap)
{
        fflush(stdout);
        fputs("zonepool: ", stderr);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
}

int cli_fail(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        complain(fmt, ap);
        va_end(ap);
        return CLI_FAILED;
}

int cli_misuse(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        complain(fmt, ap);
        va_end(ap);
        return CLI_USAGE;
}

struct bar {
        bool tty;
        bool drawn;
        int last_tenth;
        uint64_t start_ns;
};

static int terminal_width(void)
{
        struct winsize size;
        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void draw(struct bar *b, const char *what, uint64_t done, uint64_t total)
{
        char bar[BAR_MAX + 1], rate[16], have[16];
        int percent = total ? (int)(done * 100 / total) : 0;
        int width = MIN(MAX(terminal_width() - 45 - (int)strlen(what), 5), BAR_MAX);
        int filled = percent * width / 100;
        uint64_t ms = (clock_now_ns() - b->start_ns) / 1000000;

        size_format(ms ? done * 1000 / ms : 0, rate);
        size_format(done, have);
        memset(bar, ' ', sizeof(bar));
        memset(bar, '=', (size_t)filled);
        bar[width] = '\0';
        fprintf(stderr, "\r%s [%s] %3d%%  %s  %s/s\033[K", what, bar, percent, have, rate);
        fflush(stderr);
        b->drawn = true;
}

static bool show_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
        struct bar *b = ctx;
        char have[16], all[16];
        int tenth = total ? (int)(done * 10 / total) : 0;

        if (b->tty) {
                draw(b, what, done, total);
        } else if (tenth > b->last_tenth) {
                size_format(done, have);
                size_format(total, all);
                fprintf(stderr, "%s: %d0%% (%s of %s)\n", what, tenth, have, all);
                b->last_tenth = tenth;
        }
        return true;
}

int cli_call(const struct cli *cli, const char *method, json_t *params, bool progress,
             json_t **ret_result)
{
        struct bar bar = {.tty = isatty(STDERR_FILENO), .start_ns = clock_now_ns()};
        struct control_call_options options = {
            .progress = progress ? show_progress : NULL,
            .ctx = &bar,
            /* Without progress there is no sign of life; making or importing a pool may take long.
             */
            .silence_timeout_ns = progress ? UINT64_C(60000000000) : UINT64_C(600000000000),
        };
        struct err err = ERR_INIT;
        int rc = control_call_once(cli->socket, method, params, &options, ret_result, &err);

        json_decref(params);
        if (bar.drawn)
                fputs("\r\033[K", stderr);
        return rc < 0 ? cli_fail("%s", err_text(&err, rc)) : CLI_OK;
}

int cli_ask(const struct cli *cli, const char *method, json_t *params, bool progress,
            json_t **ret_result)
{
        int rc = cli_call(cli, method, params, progress, ret_result);

        if (rc != CLI_OK)
                *ret_result = NULL;
        return rc == CLI_OK && cli->json ? cli_print_json(steal_ptr(ret_result)) : rc;
}

int cli_print_json(json_t *object)
{
        int rc = json_dumpf(object, stdout, JSON_INDENT(2));

        json_decref(object);
        putchar('\n');
        return rc < 0 || fflush(stdout) != 0 ? cli_fail("cannot write the answer") : CLI_OK;
}
