/* Logging for the daemon: one line an event, to stderr (systemd adds time and priority).
 *
 * Library code (pool/, nvme/, frontend/, migrate/) returns errors and logs at DEBUG only; the one
 * place that decides what a failure means logs it. Lines name the pool and volume they speak of.
 * Threads: any. Does not allocate.
 */
#ifndef ZONEPOOL_BASE_LOG_H
#define ZONEPOOL_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG = 1, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Lines below level are dropped. Default INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "debug", "info", "warn", "error" or "1".."4". Returns 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret_level);

/* With stamps on, a line begins with seconds.microseconds of the real-time clock. */
void log_set_stamps(bool on);

void log_write(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(area, ...)                                                                       \
        do {                                                                                       \
                if (log_get_level() <= LOG_LEVEL_DEBUG)                                            \
                        log_write(LOG_LEVEL_DEBUG, area, __VA_ARGS__);                             \
        } while (0)
#define log_info(area, ...) log_write(LOG_LEVEL_INFO, area, __VA_ARGS__)
#define log_warn(area, ...) log_write(LOG_LEVEL_WARN, area, __VA_ARGS__)
#define log_error(area, ...) log_write(LOG_LEVEL_ERROR, area, __VA_ARGS__)

#endif
