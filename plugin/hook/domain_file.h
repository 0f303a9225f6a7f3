/* RUNDIR/domains/UUID: which volumes a domain attaches by vhost-user, one "pool/volume" a line.
 *
 * Its existence is what makes the lock driver ask zonepoold about the domain. It outlives the
 * daemon. Threads: any; replaced atomically.
 */
#ifndef ZONEPOOL_PLUGIN_HOOK_DOMAIN_FILE_H
#define ZONEPOOL_PLUGIN_HOOK_DOMAIN_FILE_H

#include "base/err.h"
#include "xml/domain_xml.h"

#include <stdbool.h>

/* Writes the file, making RUNDIR/domains when needed. Returns 0, or -errno with text. */
int domain_file_write(const char *rundir, const struct domain_xml *dx, struct err *err);

/* Harmless when there is none. */
void domain_file_remove(const char *rundir, const struct uuid *uuid);

bool domain_file_exists(const char *rundir, const struct uuid *uuid);

#endif
