/* Settings: one row for each kind of value and each way to get it wrong. */
#include "daemon/config.h"

#include "base/cleanup.h"
#include "t_suite.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void test_defaults_are_those_of_the_help(void)
{
        struct config c;

        CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
        CU_ASSERT_STRING_EQUAL(c.rundir, ZONEPOOL_RUNDIR);
        CU_ASSERT_STRING_EQUAL(c.statedir, "/var/lib/zonepool");
        CU_ASSERT_EQUAL(c.control_mode, 0660);
        CU_ASSERT_EQUAL(c.log_level, LOG_LEVEL_INFO);
        CU_ASSERT_EQUAL(c.max_pause_ms, 5000);
        CU_ASSERT_TRUE(c.fuse);
        CU_ASSERT_FALSE(c.insecure_lab_transport);
        CU_ASSERT_STRING_EQUAL(c.peer_listen, "");
        config_fini(&c);
}

static void test_lines_that_are_taken(void)
{
        static const char *const lines[] = {
            "",
            "   ",
            "# a comment",
            "log_level = \"debug\"",
            "  log_level=\"debug\"  # why",
            "log_level = \"1\"",
            "max_pause_ms = 100",
            "max_pause_ms=40000#",
            "fuse = 0",
            "insecure_lab_transport = 1",
            "control_mode = \"0600\"",
            "disk_mode = \"666\"",
            "rundir = \"/run/other\"",
            "peer_listen = \"10.0.0.1:7950\"",
            "disk_user = \"\"",
            "disk_group = \"a # b\"",
        };
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                struct config c;
                struct err err = ERR_INIT;
                CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
                int rc = config_line(&c, lines[i], &err);
                if (rc)
                        fprintf(stderr, "%s: %s\n", lines[i], err.msg);
                CU_ASSERT_EQUAL(rc, 0);
                config_fini(&c);
        }
}

static void test_lines_that_are_refused_and_what_is_said(void)
{
        static const struct {
                const char *line, *says;
        } rows[] = {
            {"nonsense", "expected key = value"},
            {"= 1", "expected key = value"},
            {"fuse 1", "expected key = value"},
            {"colour = 1", "unknown setting 'colour'; known: log_level, rundir,"},
            {"fuse =", "fuse: the value must be"},
            {"fuse = 2", "fuse must be 0 or 1"},
            {"fuse = yes", "fuse must be 0 or 1"},
            {"fuse = \"1\"", "fuse must be 0 or 1"},
            {"max_pause_ms = 99", "max_pause_ms must be a number of milliseconds, 100 to 40000"},
            {"max_pause_ms = 40001", "100 to 40000"},
            {"max_pause_ms = -1", "100 to 40000"},
            {"max_pause_ms = 1e3", "100 to 40000"},
            {"max_pause_ms = 99999999999999999999999", "100 to 40000"},
            {"max_pause_ms = 100 200", "the value must be one number"},
            {"log_level = \"loud\"", "\"debug\", \"info\", \"warn\" or \"error\""},
            {"log_level = debug", "text in double quotes"},
            {"control_mode = \"0999\"", "octal"},
            {"control_mode = \"1777\"", "octal"},
            {"control_mode = \"\"", "octal"},
            {"control_mode = 0660", "octal access mode in quotes"},
            {"rundir = \"run\"", "absolute path"},
            {"rundir = \"/run", "text in double quotes"},
            {"rundir = \"/run\" x", "text in double quotes"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct config c;
                struct err err = ERR_INIT;
                CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
                CU_ASSERT_EQUAL(config_line(&c, rows[i].line, &err), -EINVAL);
                if (!strstr(err.msg, rows[i].says))
                        fprintf(stderr, "%s: %s\n", rows[i].line, err.msg);
                CU_ASSERT(strstr(err.msg, rows[i].says) != NULL);
                config_fini(&c);
        }
}

static void test_file_is_read_and_faults_are_named_by_file_and_line(void)
{
        char path[] = "/tmp/zp-conf-XXXXXX", where[64];
        struct config c;
        struct err err = ERR_INIT;
        int fd = mkstemp(path);

        CU_ASSERT_FATAL(fd >= 0);
        CU_ASSERT(dprintf(fd, "# ours\nfuse = 0\n\nmax_pause_ms = 700") > 0);
        CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
        CU_ASSERT_EQUAL(config_load(&c, path, true, &err), 0);
        CU_ASSERT_FALSE(c.fuse);
        CU_ASSERT_EQUAL(c.max_pause_ms, 700);
        CU_ASSERT(dprintf(fd, "\nfuse = 3\n") > 0);
        CU_ASSERT_EQUAL(config_load(&c, path, true, &err), -EINVAL);
        snprintf(where, sizeof(where), "%s:5: fuse must be 0 or 1", path);
        CU_ASSERT_STRING_EQUAL(err.msg, where);
        close(fd);
        unlink(path);
        CU_ASSERT_EQUAL(config_load(&c, path, false, &err), 0);
        CU_ASSERT_EQUAL(config_load(&c, path, true, &err), -ENOENT);
        config_fini(&c);
}

/* What --help-config prints, with its comment signs off, is a file of all defaults. */
static void test_description_is_itself_a_valid_file(void)
{
        char *text = NULL;
        size_t len = 0;
        unsigned settings = 0;
        struct config c;
        FILE *out = open_memstream(&text, &len);

        CU_ASSERT_PTR_NOT_NULL_FATAL(out);
        config_describe(out);
        fclose(out);
        CU_ASSERT_EQUAL_FATAL(config_init(&c), 0);
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save)) {
                CU_ASSERT(line[0] == '#' && strlen(line) <= 80);
                if (line[1] != ' ') {
                        CU_ASSERT_EQUAL(config_line(&c, line + 1, NULL), 0);
                        settings++;
                }
        }
        CU_ASSERT_EQUAL(settings, 20);
        config_fini(&c);
        free(text);
}

static const struct t_case cases[] = {
    T_CASE(test_defaults_are_those_of_the_help),
    T_CASE(test_lines_that_are_taken),
    T_CASE(test_lines_that_are_refused_and_what_is_said),
    T_CASE(test_file_is_read_and_faults_are_named_by_file_and_line),
    T_CASE(test_description_is_itself_a_valid_file),
};
T_MAIN("config", cases)
