/* The qemu hook as libvirt runs it: arguments, XML on stdin, exit status and stderr; the daemon is
 * a fake. */
#include "base/cleanup.h"
#include "fake_daemon.h"
#include "t_rundir.h"
#include "t_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

static const char *hook;
static char said[4096]; /* stderr of the last run */

/* %s is the run directory, whatever it is called. */
#define VHOST                                                                                      \
        "<disk type='vhostuser'><source type='unix' path='%1$s/tank/v1.sock'/>"                    \
        "<target dev='vda'/></disk>"
#define VHOST2                                                                                     \
        "<disk type='vhostuser'><source type='unix' path='%1$s/store/v2.sock'/>"                   \
        "<target dev='vdb'/></disk>"
#define MOUNTED "<disk type='file'><source file='%1$s/mnt/tank/v3'/><target dev='vdc'/></disk>"
#define BAD "<disk type='vhostuser'><source type='unix' path='%1$s/tank'/></disk>"
#define FOREIGN "<disk type='file'><source file='/srv/a.img'/></disk>"

/* A hook that is done before it read everything is as welcome to libvirt as here: EPIPE. */
static void write_xml(int fd, const char *disks)
{
        char inner[4096], text[8192];

        snprintf(inner, sizeof(inner), disks, t_rundir);
        int n = snprintf(text, sizeof(text),
                         "<domain type='kvm'><name>guest</name><uuid>" T_UUID "</uuid>"
                         "<devices>%s</devices></domain>",
                         inner);
        if (write(fd, text, (size_t)n) != n && errno != EPIPE)
                abort();
}

/* The exit status. */
static int run(const char *operation, const char *sub, const char *disks)
{
        int in[2], err[2], status = -1;
        size_t len = 0;
        ssize_t n;

        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
                abort();
        pid_t child = fork();
        if (child == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(err[1], STDERR_FILENO);
                execl(hook, hook, "guest", operation, sub, "-", NULL);
                _exit(127);
        }
        close(in[0]);
        close(err[1]);
        write_xml(in[1], disks);
        close(in[1]);
        while ((n = read(err[0], said + len, sizeof(said) - 1 - len)) > 0)
                len += (size_t)n;
        said[len] = '\0';
        close(err[0]);
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool file_says(const char *expected)
{
        char text[512] = "";
        FILE *f = fopen(t_domain_file(), "r");

        if (!f)
                return false;
        size_t n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = '\0';
        fclose(f);
        return strcmp(text, expected) == 0;
}

static bool no_file(void)
{
        return access(t_domain_file(), F_OK) < 0;
}

static void test_domains_without_our_disks_pass_with_the_daemon_dead(void)
{
        static const char *const calls[][2] = {
            {"prepare", "begin"}, {"start", "begin"},     {"started", "begin"},
            {"stopped", "end"},   {"release", "end"},     {"migrate", "begin"},
            {"restore", "begin"}, {"reconnect", "begin"}, {"attach", "begin"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                CU_ASSERT_EQUAL(run(calls[i][0], calls[i][1], FOREIGN), 0);
                CU_ASSERT_STRING_EQUAL(said, "");
                CU_ASSERT_TRUE(no_file());
        }
}

static void test_prepare_writes_the_file_and_seeds(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        CU_ASSERT_EQUAL(run("prepare", "begin", VHOST FOREIGN VHOST2 MOUNTED), 0);
        CU_ASSERT_STRING_EQUAL(said, "");
        CU_ASSERT_TRUE(file_says("tank/v1\nstore/v2\n"));
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 1);
        const char *last = fake_daemon_last(d);
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"domain.seed\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(last, T_UUID));
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"v1\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"store\""));
        CU_ASSERT_PTR_NULL(strstr(last, "\"v3\""));
        CU_ASSERT_EQUAL(run("start", "begin", VHOST), 0);
        CU_ASSERT_EQUAL(run("started", "begin", VHOST), 0);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 1);
        fake_daemon_stop(d);
        unlink(t_domain_file());
}

static void test_a_refused_start_says_why_and_leaves_no_file(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        fake_daemon_answer(d, "\"error\":{\"code\":\"EREMOTE\",\"message\":\"v1 is on hostb\"}");
        CU_ASSERT_EQUAL(run("prepare", "begin", VHOST), 1);
        CU_ASSERT_STRING_EQUAL(said, "zonepool: domain 'guest': v1 is on hostb\n");
        CU_ASSERT_TRUE(no_file());
        fake_daemon_stop(d);
        CU_ASSERT_EQUAL(run("prepare", "begin", VHOST), 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, "zonepoold"));
        CU_ASSERT_TRUE(no_file());
}

static void test_a_path_that_is_no_volume_stops_the_start(void)
{
        CU_ASSERT_EQUAL(run("prepare", "begin", BAD), 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, "is no volume's path"));
        CU_ASSERT_EQUAL(run("release", "end", BAD), 0);
}

static void test_migrate_brings_the_volumes(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        fake_daemon_answer(d, "\"result\":{\"volumes\":[]}");
        CU_ASSERT_EQUAL(run("migrate", "begin", VHOST VHOST2), 0);
        CU_ASSERT_STRING_EQUAL(said, "");
        CU_ASSERT_TRUE(file_says("tank/v1\nstore/v2\n"));
        const char *last = fake_daemon_last(d);
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"migrate.incoming\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"guest\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(last, "\"progress\":"));
        fake_daemon_stop(d);
        unlink(t_domain_file());
}

static void test_a_refused_migration_leaves_nothing(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        fake_daemon_answer(d, "\"error\":{\"code\":\"ENOSPC\",\"message\":\"no room\"}");
        CU_ASSERT_EQUAL(run("migrate", "begin", VHOST), 1);
        CU_ASSERT_STRING_EQUAL(said, "zonepool: domain 'guest': no room\n");
        CU_ASSERT_TRUE(no_file());
        fake_daemon_say(d, "nonsense\n", 9);
        CU_ASSERT_EQUAL(run("migrate", "begin", VHOST), 1);
        CU_ASSERT_TRUE(no_file());
        fake_daemon_say(d, "", 0);
        CU_ASSERT_EQUAL(run("migrate", "begin", VHOST), 1);
        CU_ASSERT_TRUE(no_file());
        fake_daemon_stop(d);
}

static void test_a_disk_on_the_mount_starts_and_does_not_migrate(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        CU_ASSERT_EQUAL(run("prepare", "begin", MOUNTED), 0);
        CU_ASSERT_TRUE(no_file());
        CU_ASSERT_EQUAL(run("migrate", "begin", VHOST MOUNTED), 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, "disk 'vdc' (tank/v3) is a file on the pool's mount"));
        CU_ASSERT_EQUAL(run("migrate", "begin", MOUNTED), 1);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 0);
        CU_ASSERT_TRUE(no_file());
        fake_daemon_stop(d);
}

static void test_release_removes_the_file_with_the_daemon_dead_too(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        t_domain_file_write();
        CU_ASSERT_EQUAL(run("stopped", "end", VHOST), 0);
        CU_ASSERT_FALSE(no_file());
        CU_ASSERT_EQUAL(run("release", "end", FOREIGN), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_daemon_last(d), "\"domain.released\""));
        CU_ASSERT_TRUE(no_file());
        CU_ASSERT_EQUAL(run("release", "end", VHOST), 0);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 1);
        fake_daemon_stop(d);
        t_domain_file_write();
        CU_ASSERT_EQUAL(run("release", "end", VHOST), 0);
        CU_ASSERT_TRUE(no_file());
}

static void test_reconnect_never_fails(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);

        CU_ASSERT_EQUAL(run("reconnect", "begin", VHOST), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_daemon_last(d), "\"domain.seed\""));
        CU_ASSERT_TRUE(file_says("tank/v1\n"));
        fake_daemon_answer(d, "\"error\":{\"code\":\"EIO\",\"message\":\"no\"}");
        CU_ASSERT_EQUAL(run("reconnect", "begin", VHOST), 0);
        CU_ASSERT_FALSE(no_file());
        fake_daemon_stop(d);
        unlink(t_domain_file());
        CU_ASSERT_EQUAL(run("reconnect", "begin", VHOST), 0);
        CU_ASSERT_TRUE(file_says("tank/v1\n"));
        CU_ASSERT_EQUAL(run("reconnect", "begin", BAD), 0);
        unlink(t_domain_file());
}

static const struct t_case cases[] = {
    T_CASE(test_domains_without_our_disks_pass_with_the_daemon_dead),
    T_CASE(test_prepare_writes_the_file_and_seeds),
    T_CASE(test_a_refused_start_says_why_and_leaves_no_file),
    T_CASE(test_a_path_that_is_no_volume_stops_the_start),
    T_CASE(test_migrate_brings_the_volumes),
    T_CASE(test_a_refused_migration_leaves_nothing),
    T_CASE(test_a_disk_on_the_mount_starts_and_does_not_migrate),
    T_CASE(test_release_removes_the_file_with_the_daemon_dead_too),
    T_CASE(test_reconnect_never_fails),
};

int main(int argc, char **argv)
{
        if (argc < 2) {
                fprintf(stderr, "usage: %s HOOK\n", argv[0]);
                return 1;
        }
        hook = argv[1];
        signal(SIGPIPE, SIG_IGN);
        t_rundir_make();
        int rc = t_run("qemu hook", cases, ARRAY_SIZE(cases));
        t_rundir_remove();
        return rc;
}
