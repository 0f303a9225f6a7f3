/* A zonepoold that says what a test tells it to: one thread, any number of connections one after
 * the other, one line read and one answered on each. */
#ifndef ZONEPOOL_TESTS_UNIT_PLUGIN_FAKE_DAEMON_H
#define ZONEPOOL_TESTS_UNIT_PLUGIN_FAKE_DAEMON_H

#include <stddef.h>

struct fake_daemon;

/* Listens on DIR/zonepoold.sock. NULL: it cannot. */
struct fake_daemon *fake_daemon_start(const char *dir);
void fake_daemon_stop(struct fake_daemon *d);

/* The next answers: body goes between {"id":N, and }. */
void fake_daemon_answer(struct fake_daemon *d, const char *body);
/* The next answers: these bytes, as they are; the connection is closed behind them. "": only
 * closed. */
void fake_daemon_say(struct fake_daemon *d, const char *bytes, size_t len);
/* No answer, the connection stays open. */
void fake_daemon_be_silent(struct fake_daemon *d);

/* Requests read so far, and the last of them without newline (valid until the next call). */
unsigned fake_daemon_requests(struct fake_daemon *d);
const char *fake_daemon_last(struct fake_daemon *d);

#endif
