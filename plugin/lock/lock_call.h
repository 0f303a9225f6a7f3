/* One question of the lock driver to zonepoold, and its answer.
 *
 * A connection per call, one line each way, in fixed buffers: no allocation, threads or locks, so
 * that it works between fork and exec too. Threads: any.
 */
#ifndef ZONEPOOL_PLUGIN_LOCK_LOCK_CALL_H
#define ZONEPOOL_PLUGIN_LOCK_LOCK_CALL_H

#include <stddef.h>
#include <stdint.h>

enum {
        LOCK_STATE_MAX = 512, /* bytes of a state without NUL */
        LOCK_TEXT_MAX = 768, /* bytes of an error text with NUL */
        LOCK_ANSWER_MAX = 8192, /* bytes of an answer, newline included */
};

struct lock_answer {
        char state[LOCK_STATE_MAX + 1]; /* empty: none */
        char text[LOCK_TEXT_MAX]; /* on failure, for people */
};

/* 0 unless every byte of state is one of [A-Za-z0-9:.-] and it is not too long: then -EINVAL. */
int lock_state_check(const char *state);

/* Calls method with params (a JSON object, in text) and waits at most timeout_ms for all of it.
 * Returns 0, or with answer->text filled: -EACCES the daemon refused; -ENOENT, -ECONNREFUSED it
 * does not run; -ETIMEDOUT it is silent; -EBADMSG it said what is not the protocol; -errno. */
int lock_call(const char *socket_path, const char *method, const char *params, int timeout_ms,
              struct lock_answer *answer);

#endif
