/* Which disks of a domain are zonepool's.
 *
 *   <disk type='vhostuser'><source type='unix' path='/run/zonepool/POOL/VOLUME.sock'/>...
 *   <disk type='file'><source file='/run/zonepool/mnt/POOL/VOLUME'/>...
 *   <disk type='block'><source dev='/run/zonepool/mnt/POOL/VOLUME'/>...
 *   <disk type='volume'><source pool='POOL' volume='VOLUME'/>...
 *
 * A disk of type volume names a libvirt pool; whether that pool is zonepool's the XML does not say.
 * Everything else of the domain is libvirt's and is not judged here.
 */
#ifndef ZONEPOOL_XML_DOMAIN_XML_H
#define ZONEPOOL_XML_DOMAIN_XML_H

#include "base/err.h"
#include "base/uuid.h"

#include <stddef.h>

enum {
        DOMAIN_XML_MAX_DISKS = 1024,
};

enum domain_xml_kind {
        DOMAIN_XML_VHOST_USER, /* through the volume's socket */
        DOMAIN_XML_FILE, /* through the FUSE mount */
        DOMAIN_XML_VOLUME, /* type='volume': of a pool that may or may not be zonepool's */
};

struct domain_xml_disk {
        enum domain_xml_kind kind;
        char pool[64];
        char volume[128];
        char target[32]; /* "vda"; empty when the XML names none */
};

struct domain_xml {
        struct uuid uuid;
        char *name;
        struct domain_xml_disk *disks;
        size_t ndisks;
};

/* Accepts a zeroed struct. */
void domain_xml_fini(struct domain_xml *dx);

/* The first <domain> of the document, which may be wrapped as libvirt's status files are.
 * rundir: "/run/zonepool". A path below it that is no volume's is an error: nothing else there can
 * be a disk. Disks of other kinds are passed over.
 * Returns 0; -EINVAL with text; -ENOMEM. */
int domain_xml_parse(const char *text, size_t len, const char *rundir, struct domain_xml *ret_dx,
                     struct err *err);

/* The element that attaches what listens on socket by vhost-user, as dev ("vda"), and the
 * <memoryBacking> that the domain needs beside it, ready for `virsh edit`. None of the attributes
 * that libvirt refuses on such disks. To be freed by free(); NULL: out of memory. */
char *domain_xml_format_disk(const char *socket, const char *dev);
char *domain_xml_format_memory(void);

#endif
