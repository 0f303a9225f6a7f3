/* The lock driver as libvirt uses it: loaded, its table called, against daemons of every temper. */
#include "base/cleanup.h"
#include "fake_daemon.h"
#include "plugin/lock/lock_abi.h"
#include "t_rundir.h"
#include "t_suite.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static const struct lock_driver *driver;
static char reported[2048]; /* what libvirt would tell its user */

/* libvirt's own function, found by the driver through dlsym. */
__attribute__((visibility("default"))) void virReportErrorHelper(int domain, int code,
                                                                 const char *file, const char *func,
                                                                 size_t line, const char *fmt, ...);
void virReportErrorHelper(int domain, int code, const char *file, const char *func, size_t line,
                          const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(reported, sizeof(reported), fmt, ap);
        va_end(ap);
}

static void open_manager(struct lock_manager *man)
{
        struct lock_param params[] = {
            {.type = LOCK_PARAM_UUID,
             .key = "uuid",
             .value.uuid = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x43, 0x33, 0x84, 0x44, 0x55, 0x55,
                            0x55, 0x55, 0x55, 0x55}},
            {.type = LOCK_PARAM_STRING, .key = "name", .value.str = (char *)"guest"},
            {.type = LOCK_PARAM_UINT, .key = "id", .value.ui = 7},
            {.type = LOCK_PARAM_UINT, .key = "pid", .value.ui = 4711},
            {.type = LOCK_PARAM_CSTRING, .key = "uri", .value.cstr = NULL},
        };

        *reported = '\0';
        man->driver = driver;
        CU_ASSERT_EQUAL_FATAL(
            driver->new_manager(man, LOCK_OBJECT_DOMAIN, ARRAY_SIZE(params), params, 0), 0);
}

static int acquire(const char *state, unsigned flags)
{
        struct lock_manager man;
        int fd = 99;

        open_manager(&man);
        int rc = driver->acquire(&man, state, flags, 0, &fd);
        CU_ASSERT_EQUAL(fd, -1);
        driver->free_manager(&man);
        return rc;
}

static int release(char **ret_state)
{
        struct lock_manager man;

        open_manager(&man);
        int rc = driver->release(&man, ret_state, 0);
        driver->free_manager(&man);
        return rc;
}

static int inquire(const char *disk, char **ret_state)
{
        struct lock_manager man;

        open_manager(&man);
        if (disk)
                CU_ASSERT_EQUAL(driver->add_resource(&man, LOCK_RESOURCE_DISK, disk, 0, NULL, 0),
                                0);
        int rc = driver->inquire(&man, ret_state, 0);
        driver->free_manager(&man);
        return rc;
}

static void test_the_table_is_what_libvirt_expects(void)
{
        CU_ASSERT_EQUAL(driver->version, 1000000);
        CU_ASSERT_EQUAL(driver->flags, LOCK_DRIVER_USES_STATE);
        CU_ASSERT_EQUAL(driver->init(1000000, "/nowhere/qemu-zonepool.conf", 0), 0);
        CU_ASSERT_EQUAL(driver->init(2000000, "", 0), -1);
        CU_ASSERT_EQUAL(driver->deinit(), 0);
}

static void test_a_domain_without_a_file_never_reaches_the_daemon(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char *state = (char *)"untouched";

        unlink(t_domain_file());
        fake_daemon_answer(d, "\"error\":{\"code\":\"EBUSY\",\"message\":\"no\"}");
        CU_ASSERT_EQUAL(acquire(NULL, 0), 0);
        CU_ASSERT_EQUAL(acquire("not ours <&>", 0), 0);
        CU_ASSERT_EQUAL(acquire(NULL, LOCK_ACQUIRE_REGISTER_ONLY | LOCK_ACQUIRE_RESTRICT), 0);
        CU_ASSERT_EQUAL(release(&state), 0);
        CU_ASSERT_PTR_NULL(state);
        state = (char *)"untouched";
        CU_ASSERT_EQUAL(inquire("/srv/disk.img", &state), 0);
        CU_ASSERT_PTR_NULL(state);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 0);
        CU_ASSERT_STRING_EQUAL(reported, "");
        fake_daemon_stop(d);
        CU_ASSERT_EQUAL(acquire(NULL, 0), 0);
        CU_ASSERT_EQUAL(release(NULL), 0);
}

static void test_calls_carry_domain_pid_and_state(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char *state = NULL;

        t_domain_file_write();
        fake_daemon_answer(d,
                           "\"result\":{\"state\":\"zp1:abc.DEF-09\",\"later\":[1,{\"state\":2}]}");
        CU_ASSERT_EQUAL(inquire("/srv/disk.img", &state), 0);
        CU_ASSERT_STRING_EQUAL(state, "zp1:abc.DEF-09");
        free(state);
        CU_ASSERT_STRING_EQUAL(
            fake_daemon_last(d),
            "{\"id\":1,\"method\":\"lock.inquire\",\"params\":{\"domain\":\"" T_UUID
            "\",\"pid\":4711}}");
        CU_ASSERT_EQUAL(release(&state), 0);
        CU_ASSERT_STRING_EQUAL(state, "zp1:abc.DEF-09");
        free(state);
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_daemon_last(d), "\"lock.release\""));
        CU_ASSERT_EQUAL(release(NULL), 0);
        CU_ASSERT_EQUAL(acquire("zp1:abc", 0), 0);
        CU_ASSERT_STRING_EQUAL(
            fake_daemon_last(d),
            "{\"id\":1,\"method\":\"lock.acquire\",\"params\":{\"domain\":\"" T_UUID
            "\",\"pid\":4711,\"state\":\"zp1:abc\",\"register\":false}}");
        CU_ASSERT_EQUAL(acquire(NULL, LOCK_ACQUIRE_REGISTER_ONLY | LOCK_ACQUIRE_RESTRICT), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_daemon_last(d), "\"state\":\"\",\"register\":true}"));
        fake_daemon_answer(d, "\"result\":{\"state\":\"\"}");
        CU_ASSERT_EQUAL(release(&state), 0);
        CU_ASSERT_PTR_NULL(state);
        fake_daemon_stop(d);
}

static void test_a_refusal_reaches_the_user_in_the_daemons_words(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char *state = NULL;

        t_domain_file_write();
        fake_daemon_answer(d, "\"error\":{\"code\":\"EREMOTE\",\"message\":\"volume \\\"v1\\\" is "
                              "B's \\u00e9\\n; start it there\"}");
        CU_ASSERT_EQUAL(acquire("x", 0), -1);
        CU_ASSERT_STRING_EQUAL(reported,
                               "zonepool: domain 'guest': volume \"v1\" is B's ? ; start it there");
        CU_ASSERT_EQUAL(inquire(NULL, &state), -1);
        CU_ASSERT_PTR_NULL(state);
        CU_ASSERT_EQUAL(release(&state), -1);
        /* the child that becomes QEMU has nobody to tell */
        CU_ASSERT_EQUAL(acquire(NULL, LOCK_ACQUIRE_REGISTER_ONLY | LOCK_ACQUIRE_RESTRICT), 0);
        fake_daemon_stop(d);
}

static void test_a_dead_daemon_refuses_with_the_remedy(void)
{
        char *state = NULL;

        t_domain_file_write();
        CU_ASSERT_EQUAL(acquire(NULL, 0), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(reported, "zonepoold does not run"));
        CU_ASSERT_PTR_NOT_NULL(strstr(reported, "systemctl start zonepoold"));
        CU_ASSERT_EQUAL(inquire(NULL, &state), -1);
        CU_ASSERT_EQUAL(release(&state), -1);
        CU_ASSERT_EQUAL(acquire(NULL, LOCK_ACQUIRE_REGISTER_ONLY | LOCK_ACQUIRE_RESTRICT), 0);
}

static void test_answers_that_make_no_sense_refuse(void)
{
        static const char *const answers[] = {
            "\n",
            "garbage\n",
            "{}\n",
            "{\"id\":1}\n",
            "{\"id\":1,\"result\":{}\n",
            "{\"id\":2,\"result\":{}}\n",
            "{\"id\":\"1\",\"result\":{}}\n",
            "{\"id\":1,\"result\":[]}\n",
            "{\"id\":1,\"result\":{},\"error\":{\"message\":\"m\"}}\n",
            "{\"id\":1,\"error\":{\"code\":\"EBUSY\"}}\n",
            "{\"id\":1,\"error\":{\"message\":7}}\n",
            "{\"id\":1,\"result\":{\"state\":7}}\n",
            "{\"id\":1,\"result\":{\"state\":\"<&>\"}}\n",
            "{\"id\":1,\"result\":{\"state\":\"a\\u0000b\"}}\n",
            "{\"id\":1,\"result\":{}} {}\n",
            "{\"id\":1,\"result\":{\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}}\n",
            "{\"id\":1,\"result\":{\"a\":01}}\n",
            "{\"id\":1,\"result\":{\"a\":\"\t\"}}\n",
            "{\"id\":1,\"result\":{\"a\":\"\\x\"}}\n",
            "{\"id\":1,\"result\":{,}}\n",
            "{\"id\":1,\"result\":{}}", /* hung up before the end of the line */
            "",
        };
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char *state;

        t_domain_file_write();
        for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
                state = NULL;
                fake_daemon_say(d, answers[i], strlen(answers[i]));
                int rc = inquire(NULL, &state);
                CU_ASSERT_EQUAL(rc, -1);
                CU_ASSERT_PTR_NULL(state);
                CU_ASSERT_TRUE(strlen(reported) > 30);
                if (rc != -1)
                        printf("\n  accepted: %s\n", answers[i]);
        }
        fake_daemon_stop(d);
}

static void test_a_line_without_end_is_cut_off(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char big[9000];

        t_domain_file_write();
        memset(big, ' ', sizeof(big));
        fake_daemon_say(d, big, sizeof(big));
        CU_ASSERT_EQUAL(acquire(NULL, 0), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(reported, "cannot be understood"));
        fake_daemon_stop(d);
}

static void test_a_state_of_somebody_else_is_refused(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char state[514];

        t_domain_file_write();
        CU_ASSERT_EQUAL(acquire("lockd\",\"register\":true", 0), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(reported, "lock_manager = \"zonepool\""));
        memset(state, 'a', 513);
        state[513] = '\0';
        CU_ASSERT_EQUAL(acquire(state, 0), -1);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 0);
        state[512] = '\0';
        CU_ASSERT_EQUAL(acquire(state, 0), 0);
        fake_daemon_stop(d);
}

static void test_a_disk_on_the_mount_does_not_migrate(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        char *state = NULL, path[256];

        t_domain_file_write();
        fake_daemon_answer(d, "\"result\":{\"state\":\"x\"}");
        snprintf(path, sizeof(path), "%s/mnt/tank/v2", t_rundir);
        CU_ASSERT_EQUAL(inquire(path, &state), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(reported, "tank/v2' is a file on the pool's mount"));
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 0);
        fake_daemon_stop(d);
}

static void test_the_child_gives_up_on_a_silent_daemon_and_goes_on(void)
{
        struct fake_daemon *d = fake_daemon_start(t_rundir);
        struct timespec a, b;

        t_domain_file_write();
        fake_daemon_be_silent(d);
        clock_gettime(CLOCK_MONOTONIC, &a);
        pid_t child = fork();
        if (child == 0)
                _exit(acquire(NULL, LOCK_ACQUIRE_REGISTER_ONLY | LOCK_ACQUIRE_RESTRICT) == 0 ? 0
                                                                                             : 1);
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        clock_gettime(CLOCK_MONOTONIC, &b);
        CU_ASSERT_EQUAL(status, 0);
        CU_ASSERT_TRUE(b.tv_sec - a.tv_sec <= 5);
        CU_ASSERT_EQUAL(fake_daemon_requests(d), 1);
        fake_daemon_stop(d);
}

static const struct t_case cases[] = {
    T_CASE(test_the_table_is_what_libvirt_expects),
    T_CASE(test_a_domain_without_a_file_never_reaches_the_daemon),
    T_CASE(test_calls_carry_domain_pid_and_state),
    T_CASE(test_a_refusal_reaches_the_user_in_the_daemons_words),
    T_CASE(test_a_dead_daemon_refuses_with_the_remedy),
    T_CASE(test_answers_that_make_no_sense_refuse),
    T_CASE(test_a_line_without_end_is_cut_off),
    T_CASE(test_a_state_of_somebody_else_is_refused),
    T_CASE(test_a_disk_on_the_mount_does_not_migrate),
    T_CASE(test_the_child_gives_up_on_a_silent_daemon_and_goes_on),
};

int main(int argc, char **argv)
{
        void *module = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

        driver = module ? dlsym(module, "virLockDriverImpl") : NULL;
        if (!driver) {
                fprintf(stderr, "usage: %s zonepool.so: %s\n", argv[0], dlerror());
                return 1;
        }
        t_rundir_make();
        int rc = t_run("lock driver", cases, ARRAY_SIZE(cases));
        t_rundir_remove();
        return rc;
}
