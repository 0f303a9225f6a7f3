/* zonepool's disks in a domain's XML (see domain_xml.h).
 *
 * Paths are compared after "//", "/./" and "/x/.." are resolved in the text and /var/run is read
 * as /run, the way they are commonly written. Symbolic links elsewhere are not followed: a disk
 * that comes in by one is not seen here, and is then held by zonepoold's own gate.
 */
#include "xml/domain_xml.h"
#include "base/cleanup.h"
#include "xml/pool_xml.h"
#include "xml/xml_doc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void domain_xml_fini(struct domain_xml *dx)
{
        free(dx->name);
        free(dx->disks);
        *dx = (struct domain_xml){0};
}

/* Resolves an absolute path in place, without looking at the file system. */
static void normalise(char *path)
{
        char *out = path;
        const char *in = path;

        while (*in) {
                size_t len;

                in += strspn(in, "/");
                len = strcspn(in, "/");
                if (len == 2 && in[0] == '.' && in[1] == '.') {
                        while (out > path && *--out != '/')
                                ;
                } else if (len > 0 && !(len == 1 && in[0] == '.')) {
                        *out++ = '/';
                        memmove(out, in, len);
                        out += len;
                }
                in += len;
        }
        *out = '\0';
        if (strncmp(path, "/var/run/", 9) == 0)
                memmove(path, path + 4, strlen(path + 4) + 1);
}

/* The part of path below dir, or NULL. */
static const char *below(const char *path, const char *dir)
{
        size_t len = strlen(dir);

        return strncmp(path, dir, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

/* "POOL/VOLUME" with the suffix behind it. */
static bool split(const char *rest, const char *suffix, struct domain_xml_disk *disk)
{
        const char *slash = strchr(rest, '/');
        size_t len = strlen(rest), suffix_len = strlen(suffix);

        if (!slash || len < suffix_len || strcmp(rest + len - suffix_len, suffix) != 0)
                return false;
        size_t pool_len = (size_t)(slash - rest);
        if (len < pool_len + 1 + suffix_len)
                return false;
        size_t volume_len = len - pool_len - 1 - suffix_len;
        if (pool_len >= sizeof(disk->pool) || volume_len >= sizeof(disk->volume))
                return false;
        memcpy(disk->pool, rest, pool_len);
        memcpy(disk->volume, slash + 1, volume_len);
        return pool_xml_name_ok(disk->pool) && volume_xml_name_ok(disk->volume);
}

/* 1: ours, *disk filled; 0: not ours; -EINVAL. */
static int judge_path(const xmlNode *source, const char *attr, const char *dir, const char *suffix,
                      struct domain_xml_disk *disk, struct err *err)
{
        CLEANUP(free_ptr) char *given = xml_attr(source, attr);
        CLEANUP(free_ptr) char *path = given ? strdup(given) : NULL;
        char where[96];

        if (!path || path[0] != '/')
                return 0;
        normalise(path);
        const char *rest = below(path, dir);
        if (!rest)
                return 0;
        if (split(rest, suffix, disk))
                return 1;
        xml_where(source, where);
        return err_set(err, EINVAL,
                       "%s: %s='%.160s' is no volume's path; allowed: %.80s/POOL/VOLUME%s", where,
                       attr, given, dir, suffix);
}

static int judge_volume(const xmlNode *source, struct domain_xml_disk *disk)
{
        CLEANUP(free_ptr) char *pool = xml_attr(source, "pool");
        CLEANUP(free_ptr) char *volume = xml_attr(source, "volume");

        if (!pool || !volume || !pool_xml_name_ok(pool) || !volume_xml_name_ok(volume))
                return 0;
        disk->kind = DOMAIN_XML_VOLUME;
        snprintf(disk->pool, sizeof(disk->pool), "%s", pool);
        snprintf(disk->volume, sizeof(disk->volume), "%s", volume);
        return 1;
}

static int judge_disk(const xmlNode *node, const char *rundir, struct domain_xml_disk *disk,
                      struct err *err)
{
        CLEANUP(free_ptr) char *type = xml_attr(node, "type");
        const xmlNode *source = xml_child(node, "source");
        char mnt[256];

        if (!type || !source)
                return 0;
        snprintf(mnt, sizeof(mnt), "%s/mnt", rundir);
        if (strcmp(type, "vhostuser") == 0) {
                disk->kind = DOMAIN_XML_VHOST_USER;
                return judge_path(source, "path", rundir, ".sock", disk, err);
        }
        disk->kind = DOMAIN_XML_FILE;
        if (strcmp(type, "file") == 0)
                return judge_path(source, "file", mnt, "", disk, err);
        if (strcmp(type, "block") == 0)
                return judge_path(source, "dev", mnt, "", disk, err);
        return strcmp(type, "volume") == 0 ? judge_volume(source, disk) : 0;
}

static int add_disk(const xmlNode *node, const char *rundir, struct domain_xml *dx, struct err *err)
{
        struct domain_xml_disk disk = {0};
        const xmlNode *target = xml_child(node, "target");
        CLEANUP(free_ptr) char *dev = target ? xml_attr(target, "dev") : NULL;
        int rc = judge_disk(node, rundir, &disk, err);

        if (rc <= 0)
                return rc;
        if (dx->ndisks == DOMAIN_XML_MAX_DISKS)
                return err_set(err, EINVAL, "domain XML: more than %d zonepool disks",
                               DOMAIN_XML_MAX_DISKS);
        snprintf(disk.target, sizeof(disk.target), "%s", dev ? dev : "");

        void *grown = realloc(dx->disks, (dx->ndisks + 1) * sizeof(*dx->disks));
        if (!grown)
                return err_set_sys(err, ENOMEM, "domain XML");
        dx->disks = grown;
        dx->disks[dx->ndisks++] = disk;
        return 0;
}

/* The root itself, or a child of the root. */
static const xmlNode *find_domain(const xmlNode *root)
{
        return xml_is(root, "domain", NULL) ? root : xml_child(root, "domain");
}

static int parse_domain(const xmlNode *root, const char *rundir, struct domain_xml *dx,
                        struct err *err)
{
        const xmlNode *domain = find_domain(root);
        const xmlNode *uuid_node = domain ? xml_child(domain, "uuid") : NULL;
        const xmlNode *name_node = domain ? xml_child(domain, "name") : NULL;
        const xmlNode *devices = domain ? xml_child(domain, "devices") : NULL;
        CLEANUP(free_ptr) char *uuid = uuid_node ? xml_text(uuid_node) : NULL;
        int rc = 0;

        if (!domain)
                return err_set(err, EINVAL, "domain XML: no <domain>");
        if (!uuid || uuid_parse_text(uuid, &dx->uuid) < 0)
                return err_set(err, EINVAL, "<domain>: <uuid> is missing or is not a UUID");
        dx->name = name_node ? xml_text(name_node) : NULL;
        if (!dx->name)
                return err_set(err, EINVAL, "<domain>: <name> is missing");
        for (const xmlNode *c = devices ? xml_next_element(devices->children) : NULL; c && rc == 0;
             c = xml_next_element(c->next))
                if (xml_is(c, "disk", NULL))
                        rc = add_disk(c, rundir, dx, err);
        return rc;
}

int domain_xml_parse(const char *text, size_t len, const char *rundir, struct domain_xml *ret_dx,
                     struct err *err)
{
        CLEANUP(xml_doc_freep) xmlDoc *doc = NULL;
        struct domain_xml dx = {0};
        int rc = xml_doc_parse(text, len, "domain XML", &doc, err);

        if (rc == 0)
                rc = parse_domain(xmlDocGetRootElement(doc), rundir, &dx, err);
        if (rc < 0)
                domain_xml_fini(&dx);
        else
                *ret_dx = dx;
        return rc;
}

char *domain_xml_format_disk(const char *socket, const char *dev)
{
        struct xml_buf buf = {0};

        xml_buf_add(&buf, "<disk type='vhostuser' device='disk'>\n"
                          "  <driver name='qemu' type='raw'/>\n"
                          "  <source type='unix' path='");
        xml_buf_escape(&buf, socket);
        xml_buf_add(&buf, "'>\n"
                          "    <reconnect enabled='yes' timeout='1'/>\n"
                          "  </source>\n"
                          "  <target dev='");
        xml_buf_escape(&buf, dev);
        xml_buf_add(&buf, "' bus='virtio'/>\n</disk>\n");
        if (buf.failed) {
                free(buf.text);
                return NULL;
        }
        return buf.text;
}

char *domain_xml_format_memory(void)
{
        return strdup("<memoryBacking>\n  <source type='memfd'/>\n  <access mode='shared'/>\n"
                      "</memoryBacking>\n");
}
