/* The control protocol as docs/control.md has it, spoken by hand to a server. */
#include "t_control.h"
#include "t_suite.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* One line in, one line out; want is compared as JSON, or as the start of the error's text. */
static void test_requests_and_their_answers(void)
{
        static const struct {
                const char *request;
                const char *answer; /* whole object, or NULL */
                const char *code; /* else: the error's code, */
                const char *says; /* and a part of its message */
                int id; /* -1: null */
        } rows[] = {
            {"{\"id\":1,\"method\":\"echo\",\"params\":{\"a\":[1,2]}}",
             "{\"id\":1,\"result\":{\"a\":[1,2]}}"},
            {"{\"id\":9007199254740992,\"method\":\"echo\"}",
             "{\"id\":9007199254740992,\"result\":{}}"},
            {"{\"id\":2,\"method\":\"fail\"}", NULL, "EBUSY", "tank/a is in use", 2},
            {"{\"id\":3,\"method\":\"nosuch\"}", NULL, "ENOSYS", "'nosuch'", 3},
            {"{\"id\":4}", NULL, "EINVAL", "'method'", 4},
            {"{\"id\":4,\"method\":7}", NULL, "EINVAL", "'method'", 4},
            {"{\"id\":5,\"method\":\"echo\",\"params\":[]}", NULL, "EINVAL", "'params'", 5},
            {"{\"id\":5,\"method\":\"echo\",\"progress\":1}", NULL, "EINVAL", "'progress'", 5},
            {"{\"id\":5,\"method\":\"echo\",\"extra\":1}", NULL, "EINVAL", "'extra'", 5},
            {"{\"id\":-1,\"method\":\"echo\"}", NULL, "EINVAL", "'id'", -1},
            {"{\"id\":9007199254740993,\"method\":\"echo\"}", NULL, "EINVAL", "'id'", -1},
            {"{\"id\":\"1\",\"method\":\"echo\"}", NULL, "EINVAL", "'id'", -1},
            {"{\"method\":\"echo\"}", NULL, "EINVAL", "'id'", -1},
            {"[1]", NULL, "EINVAL", "not a JSON object", -1},
            {"nonsense", NULL, "EINVAL", "not a JSON object", -1},
            {"{\"id\":1,\"id\":2,\"method\":\"echo\"}", NULL, "EINVAL", "duplicate", -1},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"x\",\"u\":7,\"b\":true,"
             "\"id\":\"11111111-2222-4333-8444-555555555555\",\"a\":[],\"o\":{}}}",
             "{\"id\":6,\"result\":{\"s\":\"x\",\"u\":7,\"b\":true}}"},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{}}", NULL, "EINVAL", "'s' is missing", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":1}}", NULL, "EINVAL", "'s'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"u\":-1}}", NULL, "EINVAL",
             "'u'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"u\":1.5}}", NULL, "EINVAL",
             "'u'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"b\":0}}", NULL, "EINVAL",
             "'b'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"id\":\"x\"}}", NULL,
             "EINVAL", "'id'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"a\":{}}}", NULL, "EINVAL",
             "'a'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"o\":[]}}", NULL, "EINVAL",
             "'o'", 6},
            {"{\"id\":6,\"method\":\"typed\",\"params\":{\"s\":\"a\",\"zz\":1}}", NULL, "EINVAL",
             "'zz'; known: s, u, b, id, a, o", 6},
        };
        struct t_control t;

        t_control_start(&t);
        int fd = t_connect(&t);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                t_send(&t, fd, rows[i].request, strlen(rows[i].request));
                t_send(&t, fd, "\n", 1);
                char *line = t_line(&t, fd);
                CU_ASSERT_PTR_NOT_NULL_FATAL(line);
                json_t *got = json_loads(line, 0, NULL);
                if (rows[i].answer) {
                        json_t *want = json_loads(rows[i].answer, 0, NULL);
                        if (!json_equal(got, want))
                                fprintf(stderr, "row %zu: %s\n", i, line);
                        CU_ASSERT(json_equal(got, want));
                        json_decref(want);
                } else {
                        json_t *id = json_object_get(got, "id"), *e = json_object_get(got, "error");
                        const char *message = json_string_value(json_object_get(e, "message"));
                        CU_ASSERT(rows[i].id < 0 ? json_is_null(id)
                                                 : json_integer_value(id) == rows[i].id);
                        CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(e, "code")),
                                               rows[i].code);
                        if (!message || !strstr(message, rows[i].says))
                                fprintf(stderr, "row %zu: %s\n", i, line);
                        CU_ASSERT(message && strstr(message, rows[i].says));
                }
                json_decref(got);
                free(line);
        }
        close(fd);
        t_control_stop(&t);
}

static void test_line_of_the_longest_length_passes_and_one_byte_more_does_not(void)
{
        const char *head = "{\"id\":1,\"method\":\"echo\",\"params\":{\"a\":\"", *tail = "\"}}\n";
        size_t total = CONTROL_LINE_MAX;
        char *text = malloc(total + 2);
        struct t_control t;

        t_control_start(&t);
        for (size_t extra = 0; extra < 2; extra++) {
                size_t len = total + extra, pad = len - strlen(head) - strlen(tail);
                memcpy(text, head, strlen(head));
                memset(text + strlen(head), 'x', pad);
                memcpy(text + strlen(head) + pad, tail, strlen(tail) + 1);
                int fd = t_connect(&t);
                t_send(&t, fd, text, len);
                char *line = t_line(&t, fd);
                CU_ASSERT_PTR_NOT_NULL_FATAL(line);
                CU_ASSERT(strstr(line, extra ? "EMSGSIZE" : "\"result\"") != NULL);
                free(line);
                if (extra) { /* and the connection is over */
                        line = t_line(&t, fd);
                        CU_ASSERT(line && !*line);
                        free(line);
                }
                close(fd);
        }
        free(text);
        t_control_stop(&t);
}

static void test_sixty_fifth_request_under_way_is_refused(void)
{
        struct t_control t;
        char text[128];

        t_control_start(&t);
        int fd = t_connect(&t);
        for (int i = 0; i <= CONTROL_REQUESTS_MAX; i++) {
                int n = snprintf(text, sizeof(text), "{\"id\":%d,\"method\":\"later\"}\n", i);
                t_send(&t, fd, text, (size_t)n);
        }
        char *line = t_line(&t, fd);
        CU_ASSERT(line && strstr(line, "\"id\":64") && strstr(line, "EAGAIN"));
        free(line);
        CU_ASSERT_EQUAL(t.npending, CONTROL_REQUESTS_MAX);
        t_answer_all(&t);
        for (int i = 0; i < CONTROL_REQUESTS_MAX; i++) {
                line = t_line(&t, fd);
                CU_ASSERT(line && strstr(line, "result"));
                free(line);
        }
        close(fd);
        t_control_stop(&t);
}

static void test_two_hundred_and_fifty_seventh_connection_is_told_why(void)
{
        struct t_control t;
        int fds[CONTROL_CONNECTIONS_MAX];

        t_control_start(&t);
        for (int i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
                fds[i] = t_connect(&t);
                t_turns(&t, 1);
        }
        int extra = t_connect(&t);
        char *line = t_line(&t, extra);
        CU_ASSERT(line && strstr(line, "\"id\":null") && strstr(line, "EUSERS"));
        free(line);
        close(extra);
        close(fds[0]);
        t_turns(&t, 3);
        fds[0] = t_connect(&t);
        t_send(&t, fds[0], "{\"id\":1,\"method\":\"echo\"}\n", 25);
        line = t_line(&t, fds[0]);
        CU_ASSERT(line && strstr(line, "result"));
        free(line);
        for (int i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
                close(fds[i]);
        t_control_stop(&t);
}

static void test_hang_up_is_told_once_and_the_late_answer_is_dropped(void)
{
        struct t_control t;

        t_control_start(&t);
        int fd = t_connect(&t);
        t_send(&t, fd, "{\"id\":1,\"method\":\"later\"}\n", 26);
        t_turns(&t, 3);
        CU_ASSERT_EQUAL(t.npending, 1);
        close(fd);
        t_turns(&t, 3);
        CU_ASSERT_EQUAL(t.hangups, 1);
        CU_ASSERT_EQUAL(control_server_pending(t.server), 1);
        t_answer_all(&t);
        CU_ASSERT_EQUAL(control_server_pending(t.server), 0);
        CU_ASSERT_EQUAL(t.hangups, 1);
        t_control_stop(&t);
}

/* As `echo ... | socat -` does. */
static void test_half_closed_client_gets_its_answer_and_then_the_end(void)
{
        struct t_control t;

        t_control_start(&t);
        int fd = t_connect(&t);
        t_send(&t, fd, "{\"id\":1,\"method\":\"later\"}\n", 26);
        shutdown(fd, SHUT_WR);
        t_turns(&t, 4);
        CU_ASSERT_EQUAL(t.hangups, 0);
        t_answer_all(&t);
        char *line = t_line(&t, fd);
        CU_ASSERT(line && strstr(line, "result"));
        free(line);
        line = t_line(&t, fd);
        CU_ASSERT(line && !*line);
        free(line);
        close(fd);
        t_control_stop(&t);
}

/* The server means 0.7 s; a loaded machine may take its time. */
enum { PROGRESS_AT_LATEST_S = 15 };

static void test_progress_comes_only_when_asked_for_and_by_itself(void)
{
        struct t_control t;

        t_control_start(&t);
        int fd = t_connect(&t);
        t_send(&t, fd, "{\"id\":1,\"method\":\"later\"}\n", 26);
        t_send(&t, fd, "{\"id\":2,\"method\":\"later\",\"progress\":true}\n", 42);
        for (int i = 0; i < 3; i++) {
                uint64_t start = clock_now_ns();
                char *line = t_line(&t, fd);
                CU_ASSERT(line && !strcmp(line, "{\"id\":2,\"progress\":{\"what\":\"working\","
                                                "\"done\":1,\"total\":10}}"));
                CU_ASSERT(clock_now_ns() - start < PROGRESS_AT_LATEST_S * UINT64_C(1000000000));
                free(line);
        }
        close(fd);
        t_control_stop(&t);
}

static void test_client_that_does_not_read_is_dropped_at_the_limit(void)
{
        struct t_control t;
        size_t len = 512 << 10;
        char *text = malloc(len);
        int sent = 0;

        t_control_start(&t);
        int n = snprintf(text, len, "{\"id\":1,\"method\":\"echo\",\"params\":{\"a\":\"");
        memset(text + n, 'x', len - (size_t)n);
        memcpy(text + len - 4, "\"}}\n", 4);
        int fd = t_connect(&t);
        while (sent < 200) {
                size_t off = 0;
                while (off < len) {
                        ssize_t m = send(fd, text + off, len - off, MSG_NOSIGNAL);
                        if (m < 0 && errno != EAGAIN)
                                goto out;
                        off += m > 0 ? (size_t)m : 0;
                        t_turns(&t, 1);
                }
                sent++;
        }
out:
        CU_ASSERT(sent >= 60 && sent <= 70); /* 32 MiB of answers */
        close(fd);
        free(text);
        t_control_stop(&t);
}

/* Connects as somebody else. Exit code 0: served, 1: refused with EACCES, 2: else. */
static int connect_as(const struct t_control *t, const gid_t *groups, size_t n)
{
        char answer[512];
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        strcpy(addr.sun_path, t->path);
        if (setgroups(n, groups) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
                return 2;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return 2;
        (void)!send(fd, "{\"id\":1,\"method\":\"echo\"}\n", 25, MSG_NOSIGNAL);
        ssize_t len = recv(fd, answer, sizeof(answer) - 1, 0);
        answer[len > 0 ? len : 0] = '\0';
        return strstr(answer, "\"result\"") ? 0 : strstr(answer, "EACCES") ? 1 : 2;
}

static void test_only_root_and_the_group_may_speak_whatever_the_socket_mode(void)
{
        static const struct {
                gid_t group;
                int code;
        } rows[] = {{4242, 0}, {4243, 1}};
        struct t_control t;
        struct control_server *other;
        struct err err = ERR_INIT;

        if (geteuid() != 0) {
                printf("not root: left out ");
                return;
        }
        t_control_start(&t);
        CU_ASSERT_EQUAL(chmod(t.dir, 0755), 0);
        control_server_free(t.server);
        CU_ASSERT_EQUAL_FATAL(control_server_new(t.loop, &other), 0);
        t.server = other;
        t_control_register(&t);
        CU_ASSERT_EQUAL_FATAL(control_server_listen(t.server, t.path, 0666, 4242, &err), 0);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                int status;
                pid_t pid = fork();
                if (pid == 0)
                        _exit(connect_as(&t, &rows[i].group, 1));
                while (waitpid(pid, &status, WNOHANG) == 0)
                        loop_turn(t.loop, 1000000);
                CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == rows[i].code);
        }
        t_turns(&t, 3);
        t_control_stop(&t);
}

static void test_stale_socket_is_replaced_a_live_one_and_a_file_are_not(void)
{
        struct t_control t;
        struct control_server *other;
        struct err err = ERR_INIT;
        char path[128];

        t_control_start(&t);
        CU_ASSERT_EQUAL_FATAL(control_server_new(t.loop, &other), 0);
        CU_ASSERT_EQUAL(control_server_listen(other, t.path, 0600, (gid_t)-1, &err), -EADDRINUSE);
        CU_ASSERT(strstr(err.msg, t.path) != NULL);
        t_turns(&t, 2);

        snprintf(path, sizeof(path), "%s/other", t.dir);
        FILE *f = fopen(path, "w");
        fclose(f);
        CU_ASSERT_EQUAL(control_server_listen(other, path, 0600, (gid_t)-1, &err), -EEXIST);
        unlink(path);

        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", path);
        CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        close(fd); /* what a killed daemon leaves */
        CU_ASSERT_EQUAL(control_server_listen(other, path, 0640, (gid_t)-1, &err), 0);
        struct stat st;
        CU_ASSERT_EQUAL(stat(path, &st), 0);
        CU_ASSERT_EQUAL(st.st_mode & 0777, 0640);
        control_server_free(other);
        t_control_stop(&t);
}

static void test_stopped_server_takes_nothing_new_but_answers_what_is_under_way(void)
{
        struct t_control t;

        t_control_start(&t);
        int fd = t_connect(&t), idle = t_connect(&t);
        t_send(&t, fd, "{\"id\":1,\"method\":\"later\"}\n", 26);
        t_turns(&t, 3);
        control_server_stop(t.server);
        char *line = t_line(&t, idle);
        CU_ASSERT(line && !*line);
        free(line);
        t_send(&t, fd, "{\"id\":2,\"method\":\"echo\"}\n", 25);
        t_answer_all(&t);
        line = t_line(&t, fd);
        CU_ASSERT(line && strstr(line, "\"id\":1,\"result\""));
        free(line);
        line = t_line(&t, fd);
        CU_ASSERT(line && !*line);
        free(line);
        close(fd);
        close(idle);
        t_control_stop(&t);
}

static const struct t_case cases[] = {
    T_CASE(test_requests_and_their_answers),
    T_CASE(test_line_of_the_longest_length_passes_and_one_byte_more_does_not),
    T_CASE(test_sixty_fifth_request_under_way_is_refused),
    T_CASE(test_two_hundred_and_fifty_seventh_connection_is_told_why),
    T_CASE(test_hang_up_is_told_once_and_the_late_answer_is_dropped),
    T_CASE(test_half_closed_client_gets_its_answer_and_then_the_end),
    T_CASE(test_progress_comes_only_when_asked_for_and_by_itself),
    T_CASE(test_client_that_does_not_read_is_dropped_at_the_limit),
    T_CASE(test_only_root_and_the_group_may_speak_whatever_the_socket_mode),
    T_CASE(test_stale_socket_is_replaced_a_live_one_and_a_file_are_not),
    T_CASE(test_stopped_server_takes_nothing_new_but_answers_what_is_under_way),
};
T_MAIN("control server", cases)
