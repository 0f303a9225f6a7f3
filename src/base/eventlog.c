/* Event log, see eventlog.h. */
#include "base/eventlog.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static int log_fd = -1;
static uint64_t lines;

int eventlog_open(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0)
                return -errno;
        eventlog_close();
        log_fd = fd;
        return 0;
}

void eventlog_close(void)
{
        if (log_fd >= 0)
                close(log_fd);
        log_fd = -1;
}

void eventlog_emit(const char *event, const char *fmt, ...)
{
        char line[4096];
        struct timespec ts;

        if (log_fd < 0)
                return;
        clock_gettime(CLOCK_REALTIME, &ts);
        int head = snprintf(line, sizeof(line), "{\"t_ns\":%lld%09ld,\"n\":%llu,\"event\":\"%s\"",
                            (long long)ts.tv_sec, ts.tv_nsec, (unsigned long long)++lines, event);
        if (head < 0 || (size_t)head >= sizeof(line) - 32)
                return;
        size_t used = (size_t)head;
        size_t cap = sizeof(line) - 3; /* room for "}\n" */
        if (fmt) {
                va_list ap;
                va_start(ap, fmt);
                line[used++] = ',';
                int n = vsnprintf(line + used, cap - used, fmt, ap);
                va_end(ap);
                if (n < 0 || (size_t)n >= cap - used)
                        used = (size_t)head + (size_t)snprintf(line + head, cap - (size_t)head,
                                                               ",\"truncated\":true");
                else
                        used += (size_t)n;
        }
        line[used++] = '}';
        line[used++] = '\n';
        if (write(log_fd, line, used) < 0)
                return; /* a full log must not stop the pool */
}
