/* Blocking client of the control protocol: for the command line tool, the storage backend, the
 * hook.
 *
 *   struct control_client *c;
 *   struct err err = ERR_INIT;
 *   if (control_client_open(NULL, 0, &c, &err) < 0) ... err.msg says why and what to do
 *   json_t *result, *params = json_pack("{s:s}", "pool", "tank");
 *   int rc = control_client_call(c, "pool.status", params, NULL, &result, &err);
 *   json_decref(params);
 *   control_client_close(c);
 *
 * Threads: none of its own; a client is used by one thread at a time. Never raises SIGPIPE. Every
 * wait has a deadline.
 */
#ifndef ZONEPOOL_CONTROL_CONTROL_CLIENT_H
#define ZONEPOOL_CONTROL_CONTROL_CLIENT_H

#include "base/err.h"
#include "control/control.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct control_client;

/* Connects. path NULL: CONTROL_SOCKET_PATH. timeout_ns 0: 5 s.
 * Errors: -ENOENT, -ECONNREFUSED the daemon does not run (text says so), -EACCES, -ETIMEDOUT. */
int control_client_open(const char *path, uint64_t timeout_ns, struct control_client **ret_client,
                        struct err *err);
/* NULL is accepted. A request that can be cancelled and is under way is cancelled by this. */
void control_client_close(struct control_client *c);

struct control_call_options {
        /* Longest silence: time without an object that belongs to the call (answer or progress).
         * 0: 60 s. With progress asked for the daemon sends one at least every second. */
        uint64_t silence_timeout_ns;
        /* Longest time for the whole call. 0: no limit beside the silence. */
        uint64_t total_timeout_ns;
        /* Not NULL: progress is asked for, and reported here. total 0: not known yet. Returning
         * false gives the call up: it fails with -ECANCELED, and the client can only be closed. */
        bool (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total);
        void *ctx;
};

/* Calls a method and waits. params: an object, borrowed, or NULL. opt NULL: all defaults.
 * On success *ret_result (may be NULL: dropped) is the caller's to json_decref.
 * A refusal by the daemon is its code as -errno and its text in err. Others: -ETIMEDOUT,
 * -ECONNRESET the daemon went away, -EBADMSG what it sent is not the protocol, -ECANCELED,
 * -EMSGSIZE params too large. After one of these the client is broken: further calls fail with
 * -ENOTCONN. */
int control_client_call(struct control_client *c, const char *method, json_t *params,
                        const struct control_call_options *opt, json_t **ret_result,
                        struct err *err);

/* Open, call, close. path as in control_client_open. */
int control_call_once(const char *path, const char *method, json_t *params,
                      const struct control_call_options *opt, json_t **ret_result, struct err *err);

#endif
