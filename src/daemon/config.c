/* Settings by table, see config.h. */
#include "daemon/config.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum type { TEXT, PATH, NUMBER, BOOLEAN, MODE, LEVEL };

struct setting {
        const char *name;
        enum type type;
        size_t offset;
        const char *initial; /* as it would stand in the file */
        uint64_t min, max; /* NUMBER */
        const char *unit; /* NUMBER */
        const char *help;
};

#define AT(member) offsetof(struct config, member)

static const struct setting settings[] = {
    {"log_level", LEVEL, AT(log_level), "\"info\"", 0, 0, NULL,
     "Least weight of what is logged: \"debug\", \"info\", \"warn\" or \"error\"."},
    {"rundir", PATH, AT(rundir), "\"" ZONEPOOL_RUNDIR "\"", 0, 0, NULL,
     "Sockets, lock file and the FUSE mount. Tools look for the control socket here."},
    {"statedir", PATH, AT(statedir), "\"/var/lib/zonepool\"", 0, 0, NULL,
     "Which pools are imported at start, and this host's identity."},
    {"logdir", PATH, AT(logdir), "\"/var/log/zonepool\"", 0, 0, NULL,
     "Directory of the event log, events.jsonl."},
    {"control_group", TEXT, AT(control_group), "\"zonepool\"", 0, 0, NULL,
     "Members of this group may control the daemon, beside root. A group that does not exist: "
     "root only."},
    {"control_mode", MODE, AT(control_mode), "\"0660\"", 0, 0, NULL,
     "Access mode of the control socket, octal."},
    {"disk_user", TEXT, AT(disk_user), "\"\"", 0, 0, NULL,
     "Owner of the vhost-user sockets and of the files under the FUSE mount; empty: the "
     "daemon's user."},
    {"disk_group", TEXT, AT(disk_group), "\"kvm\"", 0, 0, NULL,
     "Group of the same: QEMU must be a member. A group that does not exist: the daemon's."},
    {"disk_mode", MODE, AT(disk_mode), "\"0660\"", 0, 0, NULL, "Access mode of the same, octal."},
    {"fuse", BOOLEAN, AT(fuse), "1", 0, 1, NULL,
     "1: show every volume as a file under RUNDIR/mnt. Upload and download need it."},
    {"peer_listen", TEXT, AT(peer_listen), "\"\"", 0, 0, NULL,
     "Address and port for the daemons of other hosts, as \"10.0.0.1:7950\"; empty: none, this "
     "host cannot be migrated from."},
    {"peer_address", TEXT, AT(peer_address), "\"\"", 0, 0, NULL,
     "Address and port at which other hosts reach this one; empty: as in peer_listen."},
    {"insecure_lab_transport", BOOLEAN, AT(insecure_lab_transport), "0", 0, 1, NULL,
     "1: talk to peers in the clear and without authentication. For laboratories: whoever reaches "
     "the port can read and overwrite volumes. 0: no peers, until TLS is there."},
    {"max_pause_ms", NUMBER, AT(max_pause_ms), "5000", 100, 40000, "milliseconds",
     "Longest that a migration may keep a guest waiting for the last changes before it is "
     "refused and the guest goes on where it was."},
    {"pause_budget_ms", NUMBER, AT(pause_budget_ms), "200", 1, 10000, "milliseconds",
     "What the last changes may take to copy for a migration to be let through."},
    {"stop_timeout_ms", NUMBER, AT(stop_timeout_ms), "30000", 1000, 600000, "milliseconds",
     "Longest that a stop waits for requests under way before it gives them up. Data that was "
     "acknowledged is safe either way."},
    {"table_cache_mib", NUMBER, AT(table_cache_mib), "0", 0, 1 << 24, "mebibytes",
     "RAM that the block tables of all pools may take together: where volumes' blocks lie. Each "
     "pool gets an equal share, at least 16. What does not fit is read from the devices when it "
     "is wanted. All of it in RAM is 3.1 GiB for each TiB written at random. 0: a quarter of the "
     "host's RAM."},
    {"missing_device_wait_s", NUMBER, AT(missing_device_wait_s), "10", 0, 3600, "seconds",
     "How long a start waits for devices of a pool that are not there yet. Then the pool is "
     "imported without them if that cannot be wrong: more than half of its devices are there, and "
     "every volume keeps more copies than devices are missing. Else it stays down, and its status "
     "says what to do."},
    {"device_stall_ms", NUMBER, AT(device_stall_ms), "5000", 100, 3600000, "milliseconds",
     "A device with an operation under way for longer than that stalls: what can goes elsewhere "
     "until it answers."},
    {"device_give_up_ms", NUMBER, AT(device_give_up_ms), "30000", 0, 3600000, "milliseconds",
     "A device with an operation under way for longer than that has failed, if others have copies "
     "of all that would be lost; else it is waited for. 0: it is always waited for."},
};

static void *field(struct config *c, const struct setting *s)
{
        return (char *)c + s->offset;
}

int config_set_text(char **setting, const char *value)
{
        char *copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*setting);
        *setting = copy;
        return 0;
}

static int bad(const struct setting *s, struct err *err, const char *allowed)
{
        return err_set(err, EINVAL, "%s must be %s", s->name, allowed);
}

static int bad_number(const struct setting *s, struct err *err)
{
        if (s->type == BOOLEAN)
                return bad(s, err, "0 or 1");
        return err_set(err, EINVAL, "%s must be a number of %s, %llu to %llu", s->name, s->unit,
                       (unsigned long long)s->min, (unsigned long long)s->max);
}

static int set_number(struct config *c, const struct setting *s, const char *value, bool quoted,
                      struct err *err)
{
        char *end = NULL;

        errno = 0;
        unsigned long long n = strtoull(value, &end, 10);
        if (quoted || !isdigit((unsigned char)value[0]) || *end || errno || n < s->min ||
            n > s->max)
                return bad_number(s, err);
        if (s->type == BOOLEAN)
                *(bool *)field(c, s) = n != 0;
        else
                *(uint64_t *)field(c, s) = n;
        return 0;
}

static int set_quoted(struct config *c, const struct setting *s, const char *value, struct err *err)
{
        char *end = NULL;

        switch (s->type) {
        case LEVEL:
                if (log_level_parse(value, field(c, s)) < 0)
                        return bad(s, err, "\"debug\", \"info\", \"warn\" or \"error\"");
                return 0;
        case MODE: {
                unsigned long mode = strtoul(value, &end, 8);
                if (!*value || *end || mode > 0777)
                        return bad(s, err, "an octal access mode in quotes, as \"0660\"");
                *(uint64_t *)field(c, s) = mode;
                return 0;
        }
        case PATH:
                if (value[0] != '/')
                        return bad(s, err, "an absolute path in quotes");
                break;
        default:
                break;
        }
        return config_set_text(field(c, s), value) < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

static int set(struct config *c, const struct setting *s, const char *value, bool quoted,
               struct err *err)
{
        if (s->type == NUMBER || s->type == BOOLEAN)
                return set_number(c, s, value, quoted, err);
        if (!quoted)
                return bad(s, err,
                           s->type == MODE ? "an octal access mode in quotes, as \"0660\""
                                           : "text in double quotes");
        return set_quoted(c, s, value, err);
}

static const struct setting *find(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
                if (!strcmp(settings[i].name, name))
                        return &settings[i];
        return NULL;
}

static int unknown(const char *name, struct err *err)
{
        char known[400] = "";
        size_t used = 0;
        for (size_t i = 0; i < ARRAY_SIZE(settings) && used < sizeof(known); i++)
                used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
                                         settings[i].name);
        return err_set(err, EINVAL, "unknown setting '%.40s'; known: %s", name, known);
}

static char *skip_space(char *p)
{
        while (isspace((unsigned char)*p))
                p++;
        return p;
}

/* Cuts the value that starts at p out of its line. NULL: not a value, or something stands behind.
 */
static char *cut_value(char *p, bool *ret_quoted)
{
        char *end;

        *ret_quoted = *p == '"';
        if (*ret_quoted) {
                p++;
                end = strchr(p, '"');
                if (!end)
                        return NULL;
                *end++ = '\0';
        } else {
                end = p + strcspn(p, " \t\r#");
                if (end == p)
                        return NULL;
        }
        char *rest = skip_space(end);
        if (*rest && *rest != '#')
                return NULL;
        if (!*ret_quoted)
                *end = '\0';
        return p;
}

int config_line(struct config *c, const char *text, struct err *err)
{
        CLEANUP(free_ptr) char *line = strdup(text);
        bool quoted;

        if (!line)
                return err_set(err, ENOMEM, "out of memory");
        char *name = skip_space(line);
        if (!*name || *name == '#')
                return 0;
        char *p = name + strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
        char *name_end = p;
        p = skip_space(p);
        if (p == name || *p != '=')
                return err_set(err, EINVAL, "expected key = value");
        char *value = cut_value(skip_space(p + 1), &quoted);
        *name_end = '\0';
        if (!value)
                return err_set(err, EINVAL,
                               "%.40s: the value must be one number, or text in double quotes",
                               name);
        const struct setting *s = find(name);
        return s ? set(c, s, value, quoted, err) : unknown(name, err);
}

int config_init(struct config *c)
{
        memset(c, 0, sizeof(*c));
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
                char line[256];
                snprintf(line, sizeof(line), "%s = %s", settings[i].name, settings[i].initial);
                int rc = config_line(c, line, NULL);
                if (rc < 0) {
                        config_fini(c);
                        return rc;
                }
        }
        return 0;
}

void config_fini(struct config *c)
{
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
                if (settings[i].type == TEXT || settings[i].type == PATH)
                        free(*(char **)field(c, &settings[i]));
        memset(c, 0, sizeof(*c));
}

int config_load(struct config *c, const char *path, bool must_exist, struct err *err)
{
        FILE *f = fopen(path, "re");
        CLEANUP(free_ptr) char *line = NULL;
        size_t cap = 0;
        unsigned number = 0;
        int rc = 0;

        if (!f)
                return errno == ENOENT && !must_exist ? 0 : err_set_sys(err, errno, "%s", path);
        ssize_t n;
        while (rc == 0 && (n = getline(&line, &cap, f)) >= 0) {
                number++;
                if (n > 0 && line[n - 1] == '\n')
                        line[n - 1] = '\0';
                rc = config_line(c, line, err);
        }
        if (rc < 0)
                err_prefix(err, "%s:%u", path, number);
        else if (ferror(f))
                rc = err_set(err, EIO, "%s: cannot be read", path);
        fclose(f);
        return rc;
}

/* Text in lines of at most 78 characters behind "# ". */
static void print_wrapped(FILE *out, const char *text)
{
        while (*text) {
                size_t len = strlen(text);
                if (len > 76) {
                        len = 76;
                        while (len > 0 && text[len] != ' ')
                                len--;
                }
                fprintf(out, "# %.*s\n", (int)len, text);
                text += len + strspn(text + len, " ");
        }
}

void config_describe(FILE *out)
{
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
                const struct setting *s = &settings[i];
                print_wrapped(out, s->help);
                if (s->type == NUMBER)
                        fprintf(out, "# In %s, %llu to %llu.\n", s->unit,
                                (unsigned long long)s->min, (unsigned long long)s->max);
                fprintf(out, "#%s = %s\n\n", s->name, s->initial);
        }
}
