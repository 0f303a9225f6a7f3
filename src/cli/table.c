/* Tables and sizes for people, see cli.h. */
#include "base/cleanup.h"
#include "base/size.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int cli_size(const char *what, const char *text, uint64_t *ret_bytes)
{
        int rc = size_parse(text, ret_bytes);

        if (rc == -ERANGE)
                return cli_misuse("%s '%s' is too large", what, text);
        return rc < 0
                   ? cli_misuse("%s '%s' is not a size; give bytes, or a number with K, M, G or T",
                                what, text)
                   : CLI_OK;
}

const char *cli_size_text(uint64_t bytes)
{
        static char ring[8][16];
        static unsigned next;
        char *text = ring[next++ % 8];

        size_format(bytes, text);
        return text;
}

uint64_t cli_number_of(const json_t *object, const char *member)
{
        json_int_t n = json_integer_value(json_object_get(object, member));
        return n > 0 ? (uint64_t)n : 0;
}

const char *cli_size_of(const json_t *object, const char *member)
{
        return cli_size_text(cli_number_of(object, member));
}

const char *cli_text_of(const json_t *object, const char *member)
{
        const json_t *v = json_object_get(object, member);
        const char *text = json_string_value(v);

        return text ? text : "-";
}

int cli_split(const char *path, char pool[64], const char **ret_volume)
{
        const char *slash = strchr(path, '/');
        size_t len = slash ? (size_t)(slash - path) : 0;

        if (!len || len > 63 || !slash[1] || strchr(slash + 1, '/'))
                return cli_misuse("'%s' is not a volume; give POOL/VOLUME", path);
        memcpy(pool, path, len);
        pool[len] = '\0';
        *ret_volume = slash + 1;
        return CLI_OK;
}

struct cli_table {
        int ncolumns, nrows;
        bool right[CLI_COLUMNS_MAX];
        size_t width[CLI_COLUMNS_MAX];
        char **cells;
};

struct cli_table *cli_table_new(const char *const *heads)
{
        struct cli_table *t = calloc(1, sizeof(*t));
        const char *cells[CLI_COLUMNS_MAX];

        if (!t)
                abort();
        for (; heads[t->ncolumns]; t->ncolumns++) {
                const char *head = heads[t->ncolumns];
                t->right[t->ncolumns] = head[0] == '>';
                cells[t->ncolumns] = head + (head[0] == '>');
        }
        cli_table_row(t, cells);
        return t;
}

void cli_table_row(struct cli_table *t, const char *const *cells)
{
        size_t first = (size_t)t->nrows * (size_t)t->ncolumns;
        char **grown = realloc(t->cells, (first + (size_t)t->ncolumns) * sizeof(*grown));

        if (!grown)
                abort();
        t->cells = grown;
        for (int i = 0; i < t->ncolumns; i++) {
                char *copy = strdup(cells[i]);
                if (!copy)
                        abort();
                t->cells[first + (size_t)i] = copy;
                t->width[i] = MAX(t->width[i], strlen(copy));
        }
        t->nrows++;
}

void cli_table_print(struct cli_table *t)
{
        char **cell = t->cells;

        for (int row = 0; row < t->nrows; row++) {
                for (int i = 0; i < t->ncolumns; i++, cell++) {
                        bool last = i + 1 == t->ncolumns;
                        int width = (int)t->width[i];
                        if (t->right[i])
                                printf("%*s", width, *cell);
                        else
                                printf("%-*s", last ? 0 : width, *cell);
                        fputs(last ? "\n" : "  ", stdout);
                        free(*cell);
                }
        }
        free(t->cells);
        free(t);
}
