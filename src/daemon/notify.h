/* Telling the service manager how the daemon is (sd_notify's protocol over $NOTIFY_SOCKET). */
#ifndef ZONEPOOL_DAEMON_NOTIFY_H
#define ZONEPOOL_DAEMON_NOTIFY_H

/* state: "READY=1", "STOPPING=1", "STATUS=...". Harmless, and silent, without a service manager. */
void notify(const char *state);

#endif
