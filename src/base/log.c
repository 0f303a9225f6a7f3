/* Logging to stderr, see log.h. A line is one write(2), so lines of threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Relaxed: a reader may see the change late, nothing else depends on it. */
static atomic_int current_level = LOG_LEVEL_INFO;
static atomic_bool with_stamps;

static const char *const names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};
/* Syslog priorities that systemd strips from the start of a line. */
static const int priorities[] = {
    [LOG_LEVEL_DEBUG] = 7,
    [LOG_LEVEL_INFO] = 6,
    [LOG_LEVEL_WARN] = 4,
    [LOG_LEVEL_ERROR] = 3,
};

void log_set_level(enum log_level level)
{
        atomic_store_explicit(&current_level, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
        return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
        for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++) {
                if (!strcmp(text, names[i]) || (text[0] == '0' + i && !text[1])) {
                        *ret_level = (enum log_level)i;
                        return 0;
                }
        }
        return -EINVAL;
}

void log_set_stamps(bool on)
{
        atomic_store_explicit(&with_stamps, on, memory_order_relaxed);
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
        char line[1024];
        size_t cap = sizeof(line) - 1;
        size_t used;
        va_list ap;

        if (level < log_get_level())
                return;
        if (atomic_load_explicit(&with_stamps, memory_order_relaxed)) {
                struct timespec ts;
                clock_gettime(CLOCK_REALTIME, &ts);
                used = (size_t)snprintf(line, cap, "%lld.%06ld %s %s: ", (long long)ts.tv_sec,
                                        ts.tv_nsec / 1000, names[level], area);
        } else {
                used = (size_t)snprintf(line, cap, "<%d>%s: ", priorities[level], area);
        }
        va_start(ap, fmt);
        int n = vsnprintf(line + used, cap - used, fmt, ap);
        va_end(ap);
        if (n > 0)
                used += (size_t)n;
        if (used > cap)
                used = cap;
        line[used++] = '\n';
        if (write(STDERR_FILENO, line, used) < 0)
                return; /* nowhere left to report it */
}
