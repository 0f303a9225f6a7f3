/* What a libvirt volume definition says to zonepool beyond name and size: what it is a clone of.
 *
 *   <backingStore><path>/run/zonepool/mnt/tank/base</path></backingStore>           a volume
 *   <backingStore><path>/run/zonepool/mnt/tank/base@monday</path></backingStore>    a snapshot of
 * it
 *
 * libvirt itself parses the document; a volume cannot carry elements of ours through that.
 */
#ifndef ZONEPOOL_XML_VOLUME_XML_H
#define ZONEPOOL_XML_VOLUME_XML_H

#include "base/err.h"

enum { VOLUME_XML_MAX_NAME = 127 };

struct volume_xml_base {
        char volume[VOLUME_XML_MAX_NAME + 1];
        char snapshot[VOLUME_XML_MAX_NAME + 1]; /* "": the volume as it is */
};

/* path: as above, or what stands behind its last slash alone. rundir: "/run/zonepool". -EINVAL with
 * text; ret is written on success only. Whether there is such a volume is zonepoold's to say. */
int volume_xml_base_parse(const char *path, const char *rundir, const char *pool,
                          struct volume_xml_base *ret_base, struct err *err);

/* The path; NULL: out of memory. snapshot may be NULL. To be freed by free(). */
char *volume_xml_base_format(const char *rundir, const char *pool, const char *volume,
                             const char *snapshot);

#endif
