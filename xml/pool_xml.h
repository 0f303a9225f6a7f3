/* What a libvirt storage pool definition says to zonepool.
 *
 *   <pool type='vstorage' xmlns:zonepool='https://zonepool.org/schemas/pool/1'>
 *     <name>tank</name>
 *     <target><path>/run/zonepool/mnt/tank</path></target>
 *     <zonepool:options>
 *       <zonepool:device path='/dev/nvme0n2'/>
 *       <zonepool:device path='/srv/z.img' size='4G' zone='16M' capacity='12M'
 *                        max-open='8' max-active='12'/>
 *       <zonepool:checksum enabled='yes'/>
 *       <zonepool:copies default='2'/>
 *       <zonepool:peer host='192.0.2.2' port='7480'/>
 *     </zonepool:options>
 *   </pool>
 *
 * Every element and attribute that is not listed in docs/xml.md is refused by name. Sizes are
 * bytes.
 */
#ifndef ZONEPOOL_XML_POOL_XML_H
#define ZONEPOOL_XML_POOL_XML_H

#include "base/err.h"

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_XML_NS_URI "https://zonepool.org/schemas/pool/1"
#define POOL_XML_NS_PREFIX "zonepool"
#define POOL_XML_TYPE "vstorage" /* the pool type that libvirt is told */

enum {
        POOL_XML_MAX_DEVICES = 256,
        POOL_XML_MAX_PEERS = 16,
        POOL_XML_MAX_COPIES = 3,
        POOL_XML_MAX_PATH = 255, /* bytes of a device's path */
        POOL_XML_MAX_HOST = 253,
        POOL_XML_BLOCK = 4096, /* sizes are multiples of this */
};

/* Members that were not given are 0. */
struct pool_xml_device {
        char *path; /* absolute */
        uint64_t size_bytes;
        uint64_t zone_bytes;
        uint64_t zone_capacity_bytes; /* <= zone_bytes, only with it */
        uint32_t max_open;
        uint32_t max_active; /* >= max_open when both are given */
};

struct pool_xml_peer {
        char *host; /* name or address, without brackets */
        uint16_t port;
};

struct pool_xml {
        char *name; /* of the zonepool pool: <source><name>, else <name>; both must agree */
        struct pool_xml_device *devices; /* at least 1, paths distinct */
        size_t ndevices;
        struct pool_xml_peer *peers; /* distinct */
        size_t npeers;
        bool checksum; /* default true */
        uint32_t copies; /* of new volumes, 1 to POOL_XML_MAX_COPIES; default 1 */
};

/* Accepts a zeroed or half-built struct. */
void pool_xml_fini(struct pool_xml *px);

/* pool: the <pool> element. rundir: "/run/zonepool"; the target path must be rundir/mnt/NAME.
 * Returns 0; -EINVAL with text; -ENOMEM. ret is written on success only. */
int pool_xml_from_node(const xmlNode *pool, const char *rundir, struct pool_xml *ret_px,
                       struct err *err);

/* The same from the text of a document whose root is <pool>. */
int pool_xml_parse(const char *text, size_t len, const char *rundir, struct pool_xml *ret_px,
                   struct err *err);

/* The <zonepool:options> element, for a document that declares the prefix. Lines end in newline.
 * NULL: out of memory. To be freed by free(). */
char *pool_xml_format_options(const struct pool_xml *px);

/* The devices are these now, n > 0 distinct absolute paths: what was said of those that stay is
 * kept. -ENOMEM, -EINVAL: nothing has changed. */
int pool_xml_set_devices(struct pool_xml *px, const char *const *paths, size_t n);

/* True for 1 to 63 of [A-Za-z0-9._+-], not beginning with '.' or '-', and none of the names that
 * something else in the run directory has. */
bool pool_xml_name_ok(const char *name);
/* True for 1 to 127 of [A-Za-z0-9._+-], not beginning with '.' or '-'. */
bool volume_xml_name_ok(const char *name);

#endif
