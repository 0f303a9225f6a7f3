/* The event log: what happened to pools, volumes and migrations, one JSON object a line, for people
 * and for tests that must prove an order.
 *
 *   eventlog_emit("suspended", "\"volume\":\"%s\",\"seq\":%u", name, seq);
 *   -> {"t_ns":1795162405402000000,"n":17,"event":"suspended","volume":"v1","seq":3}
 *
 * t_ns is the real-time clock, n counts the lines of this process from 1. A line is one write(2)
 * and at most 4096 bytes; a longer one keeps only "event" and "truncated":true. Closed (or never
 * opened): every call is a no-op. Events are rare (no I/O path calls this). Threads: the daemon's
 * one.
 */
#ifndef ZONEPOOL_BASE_EVENTLOG_H
#define ZONEPOOL_BASE_EVENTLOG_H

/* Appends to the file at path, made with mode 0640. Returns 0 or -errno. */
int eventlog_open(const char *path);
void eventlog_close(void);

/* event and the members are JSON text: a string put in by the caller must need no escaping (the
 * names of pools and volumes, UUIDs, tokens and state names never do). fmt NULL: no further member.
 */
void eventlog_emit(const char *event, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
