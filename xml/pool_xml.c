/* Pool definitions: <pool type='vstorage'> with <zonepool:options> (see pool_xml.h).
 *
 * What libvirt would read and then drop (devices in <source>, which its writer does not print for
 * this pool type) is refused with the place where it belongs: a definition that is accepted comes
 * back whole from `virsh pool-dumpxml`.
 *
 * Left out on purpose: whether devices exist and fit is asked of zonepoold, which has to open them.
 */
#include "xml/pool_xml.h"
#include "base/cleanup.h"
#include "xml/xml_doc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERR_MEM(err) err_set_sys(err, ENOMEM, "pool definition")

void pool_xml_fini(struct pool_xml *px)
{
        free(px->name);
        for (size_t i = 0; i < px->ndevices; i++)
                free(px->devices[i].path);
        free(px->devices);
        for (size_t i = 0; i < px->npeers; i++)
                free(px->peers[i].host);
        free(px->peers);
        *px = (struct pool_xml){0};
}

static bool name_ok(const char *name, size_t max)
{
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789._+-";
        size_t len = strlen(name);

        return len > 0 && len <= max && strspn(name, allowed) == len && name[0] != '.' &&
               name[0] != '-';
}

bool pool_xml_name_ok(const char *name)
{
        static const char *const taken[] = {"mnt", "domains", "zonepoold.sock", "zonepoold.lock"};

        for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
                if (strcmp(name, taken[i]) == 0)
                        return false;
        return name_ok(name, 63);
}

bool volume_xml_name_ok(const char *name)
{
        return name_ok(name, 127);
}

/* An array that grows by one zeroed element. */
static void *grow(void **array, size_t n, size_t size)
{
        char *grown = realloc(*array, (n + 1) * size);

        if (!grown)
                return NULL;
        *array = grown;
        return memset(grown + n * size, 0, size);
}

static int require_attr(const xmlNode *node, const char *attr, const char *allowed, char **ret,
                        struct err *err)
{
        char where[96];

        *ret = xml_attr(node, attr);
        if (*ret && **ret)
                return 0;
        xml_where(node, where);
        return err_set(err, EINVAL, "%s: attribute '%s' is missing; give %s", where, attr, allowed);
}

static int check_geometry(const xmlNode *node, const struct pool_xml_device *d, struct err *err)
{
        const struct {
                const char *attr;
                uint64_t bytes;
        } sizes[] = {
            {"size", d->size_bytes}, {"zone", d->zone_bytes}, {"capacity", d->zone_capacity_bytes}};
        char where[96];

        xml_where(node, where);
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
                if (sizes[i].bytes % POOL_XML_BLOCK)
                        return err_set(err, EINVAL, "%s: %s='%llu'; allowed: multiples of %d bytes",
                                       where, sizes[i].attr, (unsigned long long)sizes[i].bytes,
                                       POOL_XML_BLOCK);
        if (d->zone_capacity_bytes && !d->zone_bytes)
                return err_set(err, EINVAL, "%s: capacity is that of a zone: give zone too", where);
        if (d->zone_capacity_bytes > d->zone_bytes)
                return err_set(
                    err, EINVAL, "%s: capacity='%llu'; allowed: up to the zone's size, %llu", where,
                    (unsigned long long)d->zone_capacity_bytes, (unsigned long long)d->zone_bytes);
        if (d->size_bytes && d->zone_bytes > d->size_bytes)
                return err_set(err, EINVAL, "%s: zone='%llu'; allowed: up to the size, %llu", where,
                               (unsigned long long)d->zone_bytes,
                               (unsigned long long)d->size_bytes);
        if (d->max_open && d->max_active && d->max_open > d->max_active)
                return err_set(err, EINVAL, "%s: max-open='%u'; allowed: up to max-active, %u",
                               where, d->max_open, d->max_active);
        return 0;
}

static int check_path(const xmlNode *node, const struct pool_xml *px, const char *path,
                      struct err *err)
{
        char where[96];

        xml_where(node, where);
        if (path[0] != '/' || strlen(path) > POOL_XML_MAX_PATH || strchr(path, '\n'))
                return err_set(err, EINVAL,
                               "%s: path='%.80s'; allowed: an absolute path of up to %d bytes",
                               where, path, POOL_XML_MAX_PATH);
        for (size_t i = 0; i < px->ndevices; i++)
                if (px->devices[i].path && strcmp(px->devices[i].path, path) == 0)
                        return err_set(err, EINVAL, "%s: path='%.200s' is given twice", where,
                                       path);
        return 0;
}

static int parse_device(const xmlNode *node, struct pool_xml *px, struct err *err)
{
        static const char *const allowed[] = {"path",     "size",       "zone", "capacity",
                                              "max-open", "max-active", NULL};
        CLEANUP(free_ptr) char *path = NULL;

        if (px->ndevices == POOL_XML_MAX_DEVICES)
                return err_set(err, EINVAL, "<zonepool:options>: more than %d devices",
                               POOL_XML_MAX_DEVICES);
        if (xml_only_attrs(node, allowed, err) < 0 || xml_no_content(node, err) < 0 ||
            require_attr(node, "path", "the absolute path of a device or file", &path, err) < 0 ||
            check_path(node, px, path, err) < 0)
                return -EINVAL;

        struct pool_xml_device *d = grow((void **)&px->devices, px->ndevices, sizeof(*px->devices));
        if (!d)
                return ERR_MEM(err);
        px->ndevices++;
        d->path = steal_ptr(&path);
        if (xml_attr_size(node, "size", &d->size_bytes, err) < 0 ||
            xml_attr_size(node, "zone", &d->zone_bytes, err) < 0 ||
            xml_attr_size(node, "capacity", &d->zone_capacity_bytes, err) < 0 ||
            xml_attr_uint(node, "max-open", 1, 1 << 20, &d->max_open, err) < 0 ||
            xml_attr_uint(node, "max-active", 1, 1 << 20, &d->max_active, err) < 0)
                return -EINVAL;
        return check_geometry(node, d, err);
}

static bool host_ok(const char *host)
{
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789.-_:%";
        size_t len = strlen(host);

        return len > 0 && len <= POOL_XML_MAX_HOST && strspn(host, allowed) == len;
}

static int parse_peer(const xmlNode *node, struct pool_xml *px, struct err *err)
{
        static const char *const allowed[] = {"host", "port", NULL};
        CLEANUP(free_ptr) char *host = NULL, *port_text = NULL;
        uint32_t port = 0;
        char where[96];

        xml_where(node, where);
        if (px->npeers == POOL_XML_MAX_PEERS)
                return err_set(err, EINVAL, "<zonepool:options>: more than %d peers",
                               POOL_XML_MAX_PEERS);
        if (xml_only_attrs(node, allowed, err) < 0 || xml_no_content(node, err) < 0 ||
            require_attr(node, "host", "a host name or address", &host, err) < 0 ||
            require_attr(node, "port", "the port of the peer's zonepoold", &port_text, err) < 0 ||
            xml_attr_uint(node, "port", 1, 65535, &port, err) < 0)
                return -EINVAL;
        if (!host_ok(host))
                return err_set(err, EINVAL,
                               "%s: host='%.80s'; allowed: a host name, an IPv4 address, or an "
                               "IPv6 address without brackets",
                               where, host);
        for (size_t i = 0; i < px->npeers; i++)
                if (strcmp(px->peers[i].host, host) == 0 && px->peers[i].port == port)
                        return err_set(err, EINVAL, "%s: host='%s' port='%u' is given twice", where,
                                       host, port);

        struct pool_xml_peer *p = grow((void **)&px->peers, px->npeers, sizeof(*px->peers));
        if (!p)
                return ERR_MEM(err);
        px->npeers++;
        p->host = steal_ptr(&host);
        p->port = (uint16_t)port;
        return 0;
}

static int parse_checksum(const xmlNode *node, bool *seen, struct pool_xml *px, struct err *err)
{
        static const char *const allowed[] = {"enabled", NULL};
        CLEANUP(free_ptr) char *text = NULL;

        if (*seen)
                return err_set(err, EINVAL, "<zonepool:checksum> is given twice");
        *seen = true;
        if (xml_only_attrs(node, allowed, err) < 0 || xml_no_content(node, err) < 0 ||
            require_attr(node, "enabled", "yes or no", &text, err) < 0)
                return -EINVAL;
        return xml_attr_yes_no(node, "enabled", &px->checksum, err);
}

static int parse_copies(const xmlNode *node, bool *seen, struct pool_xml *px, struct err *err)
{
        static const char *const allowed[] = {"default", NULL};
        CLEANUP(free_ptr) char *text = NULL;

        if (*seen)
                return err_set(err, EINVAL, "<zonepool:copies> is given twice");
        *seen = true;
        if (xml_only_attrs(node, allowed, err) < 0 || xml_no_content(node, err) < 0 ||
            require_attr(node, "default", "how many copies new volumes keep", &text, err) < 0)
                return -EINVAL;
        return xml_attr_uint(node, "default", 1, POOL_XML_MAX_COPIES, &px->copies, err);
}

static int parse_options(const xmlNode *options, struct pool_xml *px, struct err *err)
{
        static const char *const none[] = {NULL};
        bool seen_checksum = false, seen_copies = false;

        if (xml_only_attrs(options, none, err) < 0 || xml_no_text(options, err) < 0)
                return -EINVAL;
        for (xmlNode *c = xml_next_element(options->children); c; c = xml_next_element(c->next)) {
                char where[96];
                int rc;

                if (xml_is(c, "device", POOL_XML_NS_URI)) {
                        rc = parse_device(c, px, err);
                } else if (xml_is(c, "peer", POOL_XML_NS_URI)) {
                        rc = parse_peer(c, px, err);
                } else if (xml_is(c, "checksum", POOL_XML_NS_URI)) {
                        rc = parse_checksum(c, &seen_checksum, px, err);
                } else if (xml_is(c, "copies", POOL_XML_NS_URI)) {
                        rc = parse_copies(c, &seen_copies, px, err);
                } else {
                        xml_where(c, where);
                        rc = err_set(err, EINVAL,
                                     "%s: unknown element in <zonepool:options>; allowed: "
                                     "<zonepool:device>, <zonepool:checksum>, <zonepool:copies>, "
                                     "<zonepool:peer>",
                                     where);
                }
                if (rc < 0)
                        return rc;
        }
        if (px->ndevices == 0)
                return err_set(err, EINVAL,
                               "<zonepool:options>: no device; give at least one "
                               "<zonepool:device path='...'/>");
        return 0;
}

/* <source> may hold the name, which libvirt keeps, and nothing else: it would lose it. */
static int parse_source(const xmlNode *source, char **ret_name, struct err *err)
{
        char where[96];

        if (xml_no_text(source, err) < 0)
                return -EINVAL;
        for (xmlNode *c = xml_next_element(source->children); c; c = xml_next_element(c->next)) {
                if (xml_is(c, "name", NULL) && !*ret_name) {
                        *ret_name = xml_text(c);
                        continue;
                }
                xml_where(c, where);
                return err_set(err, EINVAL,
                               "%s: not allowed in <source> of a zonepool pool; allowed: one "
                               "<name>. Devices and peers go into <zonepool:options>",
                               where);
        }
        return 0;
}

static int check_name(const xmlNode *pool, const char *source_name, char **ret_name,
                      struct err *err)
{
        xmlNode *node = xml_child(pool, "name");
        CLEANUP(free_ptr) char *name = node ? xml_text(node) : NULL;

        if (!name && source_name)
                name = strdup(source_name);
        if (!name)
                return err_set(err, EINVAL, "<pool>: <name> is missing");
        if (!pool_xml_name_ok(name))
                return err_set(err, EINVAL,
                               "<name>: '%.80s'; allowed: 1 to 63 of A-Z a-z 0-9 . _ + -, not "
                               "beginning with . or -, and not mnt, domains, zonepoold.sock or "
                               "zonepoold.lock",
                               name);
        if (source_name && strcmp(source_name, name) != 0)
                return err_set(err, EINVAL,
                               "<source><name>: '%.80s'; allowed: the pool's own name, '%s': "
                               "volumes have the same path on every host",
                               source_name, name);
        *ret_name = steal_ptr(&name);
        return 0;
}

static int check_target(const xmlNode *pool, const char *rundir, const char *name, struct err *err)
{
        xmlNode *target = xml_child(pool, "target");
        xmlNode *path = target ? xml_child(target, "path") : NULL;
        CLEANUP(free_ptr) char *text = path ? xml_text(path) : NULL;
        char want[512];
        size_t len = text ? strlen(text) : 0;

        snprintf(want, sizeof(want), "%s/mnt/%s", rundir, name);
        while (len > 1 && text[len - 1] == '/')
                text[--len] = '\0';
        if (!text)
                return err_set(err, EINVAL, "<target><path> is missing; give '%s'", want);
        if (strcmp(text, want) != 0)
                return err_set(err, EINVAL, "<target><path>: '%.120s'; allowed: '%s'", text, want);
        for (xmlNode *c = xml_next_element(target->children); c; c = xml_next_element(c->next)) {
                char where[96];

                if (c == path)
                        continue;
                xml_where(c, where);
                return err_set(err, EINVAL, "%s: not allowed in <target>; allowed: one <path>",
                               where);
        }
        return 0;
}

static int check_children(const xmlNode *pool, xmlNode **ret_options, struct err *err)
{
        static const char *const known[] = {"name",       "uuid",      "capacity",
                                            "allocation", "available", "source",
                                            "target",     "features",  "refresh"};
        char where[96];

        for (xmlNode *c = xml_next_element(pool->children); c; c = xml_next_element(c->next)) {
                bool ok = false;

                for (size_t i = 0; i < ARRAY_SIZE(known) && !ok; i++)
                        ok = xml_is(c, known[i], NULL);
                if (xml_is(c, "options", POOL_XML_NS_URI) && !*ret_options) {
                        *ret_options = c;
                        ok = true;
                }
                if (ok)
                        continue;
                xml_where(c, where);
                return err_set(err, EINVAL,
                               "%s: unknown element in <pool>; allowed: libvirt's own, and one "
                               "<zonepool:options> with xmlns:zonepool='" POOL_XML_NS_URI "'",
                               where);
        }
        if (!*ret_options)
                return err_set(err, EINVAL,
                               "<pool>: <zonepool:options> is missing; it names the devices and "
                               "needs xmlns:zonepool='" POOL_XML_NS_URI "'");
        return 0;
}

static int parse_pool(const xmlNode *pool, const char *rundir, struct pool_xml *px, struct err *err)
{
        CLEANUP(free_ptr) char *type = xml_attr(pool, "type");
        CLEANUP(free_ptr) char *source_name = NULL;
        xmlNode *source = xml_child(pool, "source"), *options = NULL;
        int rc;

        if (!xml_is(pool, "pool", NULL))
                return err_set(err, EINVAL, "<%.40s>: not a pool; the root must be <pool>",
                               (const char *)pool->name);
        if (!type || strcmp(type, POOL_XML_TYPE) != 0)
                return err_set(err, EINVAL, "<pool>: type='%.40s'; allowed: " POOL_XML_TYPE,
                               type ? type : "");
        rc = check_children(pool, &options, err);
        if (rc == 0 && source)
                rc = parse_source(source, &source_name, err);
        if (rc == 0)
                rc = check_name(pool, source_name, &px->name, err);
        if (rc == 0)
                rc = check_target(pool, rundir, px->name, err);
        return rc < 0 ? rc : parse_options(options, px, err);
}

int pool_xml_from_node(const xmlNode *pool, const char *rundir, struct pool_xml *ret_px,
                       struct err *err)
{
        struct pool_xml px = {.checksum = true, .copies = 1};
        int rc = parse_pool(pool, rundir, &px, err);

        if (rc < 0)
                pool_xml_fini(&px);
        else
                *ret_px = px;
        return rc;
}

int pool_xml_set_devices(struct pool_xml *px, const char *const *paths, size_t n)
{
        struct pool_xml_device *devices;
        size_t made = 0;

        if (!n || n > POOL_XML_MAX_DEVICES)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (paths[i][0] != '/' || strlen(paths[i]) > POOL_XML_MAX_PATH)
                        return -EINVAL;
        devices = calloc(n, sizeof(*devices));
        for (; devices && made < n; made++) {
                for (size_t k = 0; k < px->ndevices; k++)
                        if (!strcmp(px->devices[k].path, paths[made]))
                                devices[made] = px->devices[k];
                devices[made].path = strdup(paths[made]);
                if (!devices[made].path)
                        break;
        }
        struct pool_xml_device *gone = made == n ? px->devices : devices;
        size_t ngone = made == n ? px->ndevices : made;
        for (size_t i = 0; gone && i < ngone; i++)
                free(gone[i].path);
        free(gone);
        if (made < n)
                return -ENOMEM;
        px->devices = devices;
        px->ndevices = n;
        return 0;
}

int pool_xml_parse(const char *text, size_t len, const char *rundir, struct pool_xml *ret_px,
                   struct err *err)
{
        CLEANUP(xml_doc_freep) xmlDoc *doc = NULL;
        int rc = xml_doc_parse(text, len, "pool XML", &doc, err);

        return rc < 0 ? rc : pool_xml_from_node(xmlDocGetRootElement(doc), rundir, ret_px, err);
}

static void add_size(struct xml_buf *buf, const char *attr, uint64_t value)
{
        if (value)
                xml_buf_add(buf, " %s='%llu'", attr, (unsigned long long)value);
}

char *pool_xml_format_options(const struct pool_xml *px)
{
        struct xml_buf buf = {0};

        xml_buf_add(&buf, "<zonepool:options>\n");
        for (size_t i = 0; i < px->ndevices; i++) {
                const struct pool_xml_device *d = &px->devices[i];

                xml_buf_add(&buf, "  <zonepool:device path='");
                xml_buf_escape(&buf, d->path);
                xml_buf_add(&buf, "'");
                add_size(&buf, "size", d->size_bytes);
                add_size(&buf, "zone", d->zone_bytes);
                add_size(&buf, "capacity", d->zone_capacity_bytes);
                add_size(&buf, "max-open", d->max_open);
                add_size(&buf, "max-active", d->max_active);
                xml_buf_add(&buf, "/>\n");
        }
        xml_buf_add(&buf, "  <zonepool:checksum enabled='%s'/>\n", px->checksum ? "yes" : "no");
        xml_buf_add(&buf, "  <zonepool:copies default='%u'/>\n", px->copies);
        for (size_t i = 0; i < px->npeers; i++) {
                xml_buf_add(&buf, "  <zonepool:peer host='");
                xml_buf_escape(&buf, px->peers[i].host);
                xml_buf_add(&buf, "' port='%u'/>\n", px->peers[i].port);
        }
        xml_buf_add(&buf, "</zonepool:options>\n");
        if (buf.failed) {
                free(buf.text);
                return NULL;
        }
        return buf.text;
}
