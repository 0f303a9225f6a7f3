/* Settings of zonepoold: /etc/zonepool/zonepoold.conf, "key = value" as libvirt's configuration
 * files.
 *
 * A value is a number, or text in double quotes (no escapes); '#' begins a comment. One table
 * (config.c) says what keys there are and makes the parser, `--help-config` and the check of the
 * man page. Read once at start; changes need a restart.
 */
#ifndef ZONEPOOL_DAEMON_CONFIG_H
#define ZONEPOOL_DAEMON_CONFIG_H

#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_PATH "/etc/zonepool/zonepoold.conf"

struct config {
        char *rundir, *statedir, *logdir;
        enum log_level log_level;
        char *control_group;
        uint64_t control_mode;
        char *disk_user, *disk_group;
        uint64_t disk_mode;
        bool fuse;
        char *peer_listen, *peer_address;
        bool insecure_lab_transport;
        uint64_t max_pause_ms, pause_budget_ms;
        uint64_t stop_timeout_ms;
        uint64_t table_cache_mib;
        uint64_t missing_device_wait_s;
        uint64_t device_stall_ms, device_give_up_ms;
};

/* All defaults. Returns 0 or -ENOMEM. */
int config_init(struct config *c);
void config_fini(struct config *c);

/* Reads a file over what c holds. A missing file is all defaults unless must_exist.
 * Errors: -EINVAL "file:line: what is wrong; what is allowed", and those of open and read. c may be
 * changed in part. */
int config_load(struct config *c, const char *path, bool must_exist, struct err *err);
/* One line, without newline; for config_load and tests. */
int config_line(struct config *c, const char *text, struct err *err);
/* Replaces a text setting (rundir, ...) from the command line. Returns 0 or -ENOMEM. */
int config_set_text(char **setting, const char *value);

/* Every key with its meaning, range and default, as a commented configuration file. */
void config_describe(FILE *out);

#endif
