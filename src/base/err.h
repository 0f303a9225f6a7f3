/* Text for people that travels with an error code.
 *
 * Functions return 0 or -errno. Those whose failure a person will read take a `struct err *` (NULL
 * allowed) and fill it on failure only. The text names the thing, what is wrong and the remedy; it
 * has no newline and no "error:" prefix. Only the daemon, the tools and the plugin print it, once.
 */
#ifndef ZONEPOOL_BASE_ERR_H
#define ZONEPOOL_BASE_ERR_H

#include <stdarg.h>

struct err {
        int code; /* positive errno; 0 = empty */
        char msg[504];
};

#define ERR_INIT ((struct err){0})

/* Fills err (NULL: no text kept) and returns -code. code is a positive errno. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and strerror(code) appended. */
int err_set_sys(struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the text that err holds. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The text of err, or strerror of -rc when err is NULL or empty. Never NULL. */
const char *err_text(const struct err *err, int rc);

#endif
