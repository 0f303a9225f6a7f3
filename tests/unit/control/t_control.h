/* A control server with a few methods, and a raw client of it, on one thread.
 *
 * Methods: "echo" answers its params; "fail" refuses with EBUSY; "later" answers when t_answer_all
 * is called; "work" reports progress until then; "typed" takes one parameter of every type;
 * "large" answers with n bytes.
 */
#ifndef ZONEPOOL_TESTS_T_CONTROL_H
#define ZONEPOOL_TESTS_T_CONTROL_H

#include "control/control_server.h"

enum { T_PENDING_MAX = 512 };

struct t_control {
        char dir[64], path[96];
        struct loop *loop;
        struct control_server *server;
        struct control_request *pending[T_PENDING_MAX];
        unsigned npending;
        unsigned hangups;
};

void t_control_start(struct t_control *t);
/* The methods, at t->server. */
void t_control_register(struct t_control *t);
void t_control_stop(struct t_control *t);
void t_answer_all(struct t_control *t);

/* Raw client: a connected, non-blocking socket. */
int t_connect(const struct t_control *t);
void t_send(struct t_control *t, int fd, const char *text, size_t len);
/* Turns the loop until one line, or the end of the stream (""), has come; at most 2 s. Without
 * newline. The caller frees. NULL: nothing came. */
char *t_line(struct t_control *t, int fd);
void t_turns(struct t_control *t, int n);

#endif
