/* Error text, see err.h. Truncates silently at the size of the buffer. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static void format(struct err *err, int code, const char *fmt, va_list ap)
{
        err->code = code;
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
        if (err) {
                va_list ap;
                va_start(ap, fmt);
                format(err, code, fmt, ap);
                va_end(ap);
        }
        return -code;
}

int err_set_sys(struct err *err, int code, const char *fmt, ...)
{
        if (err) {
                va_list ap;
                va_start(ap, fmt);
                format(err, code, fmt, ap);
                va_end(ap);
                size_t used = strlen(err->msg);
                snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(code));
        }
        return -code;
}

void err_prefix(struct err *err, const char *fmt, ...)
{
        if (!err)
                return;
        struct err old = *err;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        size_t used = strlen(err->msg);
        snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", old.msg);
}

const char *err_text(const struct err *err, int rc)
{
        if (err && err->msg[0])
                return err->msg;
        return strerror(rc < 0 ? -rc : rc);
}
