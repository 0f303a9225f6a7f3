/* The blocking client against a server on another thread, and against peers that misbehave. */
#include "control/control_client.h"
#include "control/errname.h"
#include "t_control.h"
#include "t_suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static atomic_bool stop_server, answer_pending;

/* Only this thread touches t's loop until it has been joined. */
static void *serve(void *ctx)
{
        struct t_control *t = ctx;
        while (!atomic_load(&stop_server)) {
                loop_turn(t->loop, 5 * MS);
                if (atomic_load(&answer_pending))
                        t_answer_all(t);
        }
        return NULL;
}

static pthread_t start(struct t_control *t)
{
        pthread_t thread;
        t_control_start(t);
        atomic_store(&stop_server, false);
        atomic_store(&answer_pending, false);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, serve, t), 0);
        return thread;
}

static void stop(struct t_control *t, pthread_t thread)
{
        atomic_store(&stop_server, true);
        pthread_join(thread, NULL);
        t_turns(t, 3);
        t_control_stop(t);
}

static void test_answers_refusals_and_reuse_of_one_connection(void)
{
        struct t_control t;
        struct control_client *c = NULL;
        struct err err = ERR_INIT;
        json_t *result = NULL, *params = json_pack("{s:i}", "x", 7);
        pthread_t thread = start(&t);

        CU_ASSERT_EQUAL_FATAL(control_client_open(t.path, 0, &c, &err), 0);
        for (int i = 0; i < 3; i++) {
                CU_ASSERT_EQUAL(control_client_call(c, "echo", params, NULL, &result, &err), 0);
                CU_ASSERT(json_equal(result, params));
                json_decref(result);
                CU_ASSERT_EQUAL(control_client_call(c, "fail", NULL, NULL, NULL, &err), -EBUSY);
                CU_ASSERT_STRING_EQUAL(err.msg, "volume tank/a is in use by vhost-user");
                CU_ASSERT_EQUAL(err.code, EBUSY);
                CU_ASSERT_EQUAL(control_client_call(c, "nosuch", NULL, NULL, NULL, &err), -ENOSYS);
        }
        control_client_close(c);
        json_decref(params);
        stop(&t, thread);
}

static void test_parameters_as_large_as_a_line_pass_larger_are_refused_at_home(void)
{
        struct t_control t;
        struct err err = ERR_INIT;
        json_t *result = NULL;
        pthread_t thread = start(&t);
        char *big = malloc(CONTROL_LINE_MAX);

        memset(big, 'y', CONTROL_LINE_MAX);
        json_t *fits = json_pack("{s:s#}", "x", big, CONTROL_LINE_MAX - 100);
        json_t *not = json_pack("{s:s#}", "x", big, CONTROL_LINE_MAX);
        CU_ASSERT_EQUAL(control_call_once(t.path, "echo", fits, NULL, &result, &err), 0);
        CU_ASSERT(json_equal(result, fits));
        json_decref(result);
        CU_ASSERT_EQUAL(control_call_once(t.path, "echo", not, NULL, &result, &err), -EMSGSIZE);
        json_decref(fits);
        json_decref(not );
        free(big);
        stop(&t, thread);
}

/* A list of thousands of volumes. */
static void test_answers_may_be_much_larger_than_requests(void)
{
        struct t_control t;
        struct err err = ERR_INIT;
        json_t *result = NULL, *params = json_pack("{s:i}", "n", 20 << 20);
        pthread_t thread = start(&t);

        CU_ASSERT_EQUAL(control_call_once(t.path, "large", params, NULL, &result, &err), 0);
        CU_ASSERT_EQUAL(json_string_length(json_object_get(result, "a")), 20 << 20);
        json_decref(result);
        json_object_set_new(params, "n", json_integer(CONTROL_OUTPUT_MAX));
        CU_ASSERT_EQUAL(control_call_once(t.path, "large", params, NULL, &result, &err),
                        -ECONNRESET);
        json_decref(params);
        stop(&t, thread);
}

static void test_silence_ends_a_call_and_breaks_the_client(void)
{
        struct t_control t;
        struct control_client *c = NULL;
        struct err err = ERR_INIT;
        struct control_call_options opt = {.silence_timeout_ns = 50 * MS};
        pthread_t thread = start(&t);

        CU_ASSERT_EQUAL_FATAL(control_client_open(t.path, 0, &c, &err), 0);
        CU_ASSERT_EQUAL(control_client_call(c, "later", NULL, &opt, NULL, &err), -ETIMEDOUT);
        CU_ASSERT_STRING_EQUAL(err.msg, "zonepoold does not answer later");
        CU_ASSERT_EQUAL(control_client_call(c, "echo", NULL, NULL, NULL, &err), -ENOTCONN);
        control_client_close(c);
        stop(&t, thread);
        CU_ASSERT_EQUAL(t.hangups, 1);
}

struct watch {
        int calls;
        int give_up_after;
        char what[32];
        uint64_t done, total;
};

static bool progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
        struct watch *w = ctx;
        snprintf(w->what, sizeof(w->what), "%s", what);
        w->done = done;
        w->total = total;
        if (++w->calls == 2)
                atomic_store(&answer_pending, w->give_up_after == 0);
        return w->calls != w->give_up_after;
}

static void test_progress_counts_as_a_sign_of_life_and_can_give_up(void)
{
        for (int give_up = 0; give_up < 2; give_up++) {
                struct t_control t;
                struct err err = ERR_INIT;
                struct watch w = {.give_up_after = give_up};
                struct control_call_options opt = {
                    .silence_timeout_ns = 1500 * MS, .progress = progress, .ctx = &w};
                pthread_t thread = start(&t);
                int rc = control_call_once(t.path, "later", NULL, &opt, NULL, &err);
                CU_ASSERT_EQUAL(rc, give_up ? -ECANCELED : 0);
                CU_ASSERT_EQUAL(w.calls >= (give_up ? 1 : 2), true);
                CU_ASSERT_STRING_EQUAL(w.what, "working");
                CU_ASSERT(w.done == 1 && w.total == 10);
                stop(&t, thread);
        }
}

static void test_total_time_is_bounded_however_lively_the_daemon_is(void)
{
        struct t_control t;
        struct err err = ERR_INIT;
        struct watch w = {.give_up_after = 1000};
        struct control_call_options opt = {
            .total_timeout_ns = 300 * MS, .progress = progress, .ctx = &w};
        pthread_t thread = start(&t);
        CU_ASSERT_EQUAL(control_call_once(t.path, "later", NULL, &opt, NULL, &err), -ETIMEDOUT);
        stop(&t, thread);
}

static void test_no_daemon_is_said_clearly(void)
{
        struct control_client *c = NULL;
        struct err err = ERR_INIT;
        char path[200];

        CU_ASSERT_EQUAL(control_client_open("/nonexistent/sock", 0, &c, &err), -ENOENT);
        CU_ASSERT(strstr(err.msg, "zonepoold does not run") != NULL);
        memset(path, 'p', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        CU_ASSERT_EQUAL(control_client_open(path, 0, &c, &err), -ENAMETOOLONG);
}

static int misbehaving_fd;

/* A server that sends what a row says and hangs up. */
static void *play(void *ctx)
{
        const char *answer = ctx;
        char buf[256];
        int fd = accept(misbehaving_fd, NULL, NULL);
        (void)!recv(fd, buf, sizeof(buf), 0);
        (void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
        close(fd);
        return NULL;
}

static void test_misbehaving_daemons_are_survived(void)
{
        static const struct {
                const char *answer;
                int rc;
        } rows[] = {
            {"", -ECONNRESET},
            {"{\"id\":1", -ECONNRESET},
            {"garbage\n", -EBADMSG},
            {"[]\n", -EBADMSG},
            {"{\"id\":\"1\",\"result\":{}}\n", -EBADMSG},
            {"{\"id\":1}\n", -EBADMSG},
            {"{\"id\":1,\"error\":{}}\n", -EIO},
            {"{\"id\":1,\"error\":{\"code\":\"EWEIRD\",\"message\":\"m\"}}\n", -EIO},
            {"{\"id\":1,\"error\":{\"code\":\"EBUSY\",\"message\":7}}\n", -EBUSY},
            {"{\"id\":null,\"error\":{\"code\":\"EACCES\",\"message\":\"no\"}}\n", -EACCES},
            {"{\"id\":99,\"result\":{}}\n{\"id\":1,\"progress\":{}}\n{\"id\":1,\"result\":{}}\n",
             0},
        };
        char dir[] = "/tmp/zp-control-XXXXXX";
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
        misbehaving_fd = socket(AF_UNIX, SOCK_STREAM, 0);
        CU_ASSERT_EQUAL(bind(misbehaving_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        CU_ASSERT_EQUAL(listen(misbehaving_fd, 5), 0);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                pthread_t thread;
                struct err err = ERR_INIT;
                pthread_create(&thread, NULL, play, (void *)rows[i].answer);
                int rc = control_call_once(addr.sun_path, "m", NULL, NULL, NULL, &err);
                if (rc != rows[i].rc)
                        fprintf(stderr, "row %zu: %d %s\n", i, rc, err.msg);
                CU_ASSERT_EQUAL(rc, rows[i].rc);
                CU_ASSERT(rc == 0 || err.msg[0]);
                pthread_join(thread, NULL);
        }
        close(misbehaving_fd);
        unlink(addr.sun_path);
        rmdir(dir);
}

static void test_error_names_go_both_ways(void)
{
        static const int codes[] = {EPERM,  ENOENT,          EIO,    EBUSY,  EEXIST, ENOSPC,
                                    EILSEQ, EPROTONOSUPPORT, EAGAIN, ENOSYS, EUSERS};
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
                CU_ASSERT_EQUAL(errname_parse(errname_of(codes[i])), codes[i]);
        CU_ASSERT_STRING_EQUAL(errname_of(EBUSY), "EBUSY");
        CU_ASSERT_STRING_EQUAL(errname_of(0), "EIO");
        CU_ASSERT_STRING_EQUAL(errname_of(-5), "EIO");
        CU_ASSERT_STRING_EQUAL(errname_of(100000), "EIO");
        CU_ASSERT_EQUAL(errname_parse("nonsense"), EIO);
}

static const struct t_case cases[] = {
    T_CASE(test_answers_refusals_and_reuse_of_one_connection),
    T_CASE(test_parameters_as_large_as_a_line_pass_larger_are_refused_at_home),
    T_CASE(test_answers_may_be_much_larger_than_requests),
    T_CASE(test_silence_ends_a_call_and_breaks_the_client),
    T_CASE(test_progress_counts_as_a_sign_of_life_and_can_give_up),
    T_CASE(test_total_time_is_bounded_however_lively_the_daemon_is),
    T_CASE(test_no_daemon_is_said_clearly),
    T_CASE(test_misbehaving_daemons_are_survived),
    T_CASE(test_error_names_go_both_ways),
};
T_MAIN("control client", cases)
