#include "t_control.h"

#include "t_suite.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void echo(struct control_request *req, void *ctx)
{
        control_reply(req, json_incref(control_params(req)));
}

static void fail(struct control_request *req, void *ctx)
{
        struct err err;
        err_set(&err, EBUSY, "volume tank/a is in use by vhost-user");
        control_refuse(req, -EBUSY, &err);
}

static void large(struct control_request *req, void *ctx)
{
        uint64_t n = 0;
        const struct control_param table[] = {PARAM_U64("n", &n, PARAM_REQUIRED)};

        if (control_parse(control_params(req), table, 1, NULL) < 0) {
                control_refuse(req, -EINVAL, NULL);
                return;
        }
        char *text = malloc(n);
        memset(text, 'x', n);
        control_reply(req, json_pack("{s:s#}", "a", text, (int)n));
        free(text);
}

static void hung_up(void *ctx)
{
        struct t_control *t = ctx;
        t->hangups++;
}

static void later(struct control_request *req, void *ctx)
{
        struct t_control *t = ctx;
        t->pending[t->npending++] = req;
        control_on_hangup(req, t, hung_up);
        if (control_progress_wanted(req))
                control_progress(req, "working", 1, 10);
}

static void typed(struct control_request *req, void *ctx)
{
        const char *s = "";
        uint64_t u = 0;
        bool b = false;
        struct uuid id;
        json_t *a = NULL, *o = NULL;
        struct err err;
        const struct control_param table[] = {
            PARAM_STR("s", &s, PARAM_REQUIRED),   PARAM_U64("u", &u, PARAM_OPTIONAL),
            PARAM_BOOL("b", &b, PARAM_OPTIONAL),  PARAM_UUID("id", &id, PARAM_OPTIONAL),
            PARAM_ARRAY("a", &a, PARAM_OPTIONAL), PARAM_OBJECT("o", &o, PARAM_OPTIONAL),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                control_reply(req,
                              json_pack("{s:s, s:I, s:b}", "s", s, "u", (json_int_t)u, "b", b));
}

void t_control_register(struct t_control *t)
{
        CU_ASSERT_EQUAL(control_register(t->server, "echo", echo, t), 0);
        CU_ASSERT_EQUAL(control_register(t->server, "fail", fail, t), 0);
        CU_ASSERT_EQUAL(control_register(t->server, "later", later, t), 0);
        CU_ASSERT_EQUAL(control_register(t->server, "typed", typed, t), 0);
        CU_ASSERT_EQUAL(control_register(t->server, "large", large, t), 0);
}

void t_control_start(struct t_control *t)
{
        struct err err = ERR_INIT;

        memset(t, 0, sizeof(*t));
        strcpy(t->dir, "/tmp/zp-control-XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(t->dir));
        snprintf(t->path, sizeof(t->path), "%s/sock", t->dir);
        CU_ASSERT_EQUAL_FATAL(loop_new(&t->loop), 0);
        CU_ASSERT_EQUAL_FATAL(control_server_new(t->loop, &t->server), 0);
        t_control_register(t);
        CU_ASSERT_EQUAL_FATAL(control_server_listen(t->server, t->path, 0600, (gid_t)-1, &err), 0);
}

void t_answer_all(struct t_control *t)
{
        for (unsigned i = 0; i < t->npending; i++)
                control_reply(t->pending[i], json_pack("{s:i}", "n", (int)i));
        t->npending = 0;
}

void t_control_stop(struct t_control *t)
{
        t_answer_all(t);
        CU_ASSERT_EQUAL(control_server_pending(t->server), 0);
        control_server_free(t->server);
        loop_free(t->loop);
        CU_ASSERT_EQUAL(access(t->path, F_OK), -1);
        CU_ASSERT_EQUAL(rmdir(t->dir), 0);
}

int t_connect(const struct t_control *t)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        strcpy(addr.sun_path, t->path);
        CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        return fd;
}

void t_turns(struct t_control *t, int n)
{
        while (n-- > 0)
                loop_turn(t->loop, 0);
}

void t_send(struct t_control *t, int fd, const char *text, size_t len)
{
        while (len > 0) {
                ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
                if (n > 0) {
                        text += n;
                        len -= (size_t)n;
                } else if (errno != EAGAIN) {
                        return; /* the server hung up: what the test reads shows it */
                }
                t_turns(t, 1);
        }
}

char *t_line(struct t_control *t, int fd)
{
        size_t used = 0, cap = 4096;
        char *line = malloc(cap);
        uint64_t deadline = clock_now_ns() + UINT64_C(2000000000);

        while (clock_now_ns() < deadline) {
                char ch;
                ssize_t n = recv(fd, &ch, 1, 0);
                if (n == 1 && ch != '\n') {
                        if (used + 2 > cap)
                                line = realloc(line, cap *= 2);
                        line[used++] = ch;
                        continue;
                }
                if (n >= 0 || errno == ECONNRESET) {
                        line[used] = '\0';
                        return line;
                }
                loop_turn(t->loop, 10000000);
        }
        free(line);
        return NULL;
}
