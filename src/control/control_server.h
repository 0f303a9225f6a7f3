/* Server of the control protocol on an event loop (docs/control.md).
 *
 * Methods are registered by name; a handler gets a request and answers it exactly once, at once or
 * any time later: with control_reply or control_refuse, which also free it. Until then the request
 * stays valid, whether its connection lives or not; an answer to a connection that is gone is
 * dropped.
 *
 * Threads: the loop's.
 */
#ifndef ZONEPOOL_CONTROL_CONTROL_SERVER_H
#define ZONEPOOL_CONTROL_CONTROL_SERVER_H

#include "base/err.h"
#include "base/loop.h"
#include "control/control.h"
#include "control/params.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct control_server;
struct control_request;

typedef void (*control_handler)(struct control_request *req, void *ctx);

/* Returns 0 or -ENOMEM. */
int control_server_new(struct loop *loop, struct control_server **ret_server);

/* Listens on path; a socket that nobody listens on any more is replaced, one with a listener
 * refused
 * (-EADDRINUSE). mode and gid are the socket's; gid (gid_t)-1: the process's. Errors by err. */
int control_server_listen(struct control_server *s, const char *path, mode_t mode, gid_t gid,
                          struct err *err);

/* method and ctx outlive the server; method must not be registered yet. Returns 0 or -ENOMEM. */
int control_register(struct control_server *s, const char *method, control_handler handler,
                     void *ctx);

/* Takes no connections and no requests any more, and removes the socket; what is under way may go
 * on and be answered. */
void control_server_stop(struct control_server *s);
/* Requests not answered yet, those of closed connections included. */
unsigned control_server_pending(const struct control_server *s);
/* Closes every connection. NULL is accepted. No request may be pending. Answers not yet read by a
 * client are given to the kernel as far as it takes them. */
void control_server_free(struct control_server *s);

/* ---- requests ---- */

/* Borrowed; always an object. */
json_t *control_params(const struct control_request *req);

/* Answers. result is consumed; NULL means out of memory and is answered so. */
void control_reply(struct control_request *req, json_t *result);
/* Refuses. rc: -errno. err gives the text; NULL or empty: strerror's. */
void control_refuse(struct control_request *req, int rc, const struct err *err);

/* Tells how far the work is, if the client asked. Cheap: call it as often as convenient. It goes
 * out from the loop at most five times a second, and the latest is repeated at least every second
 * as a sign of life. total 0: not known. what is copied. */
void control_progress(struct control_request *req, const char *what, uint64_t done, uint64_t total);
bool control_progress_wanted(const struct control_request *req);

/* cancelled is called once, from the loop, when the connection closes before the answer. The
 * request must still be answered. NULL: the work goes on whether somebody listens or not. */
void control_on_hangup(struct control_request *req, void *ctx, void (*cancelled)(void *ctx));

#endif
