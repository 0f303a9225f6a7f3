/* zonepool as a storage backend of libvirt: registration, and what concerns a pool as a whole.
 *
 * libvirt's pool types are a closed list; "vstorage" is one whose own backend the distributions do
 * not build, and its generic code treats such volumes as local files, which is what ours are on the
 * pool's mount. Our settings are an XML namespace (xml/pool_xml.h).
 *
 * zonepoold owns all data and state. This module translates: no callback touches the mount but the
 * transfer of a volume's bytes, and nothing here outlives a call but the last known volume lists.
 *
 * It is compiled against private headers of one version of libvirt and linked to that version's
 * private symbols, so that another version refuses to load it; the loader in the `fs` slot makes
 * that harmless.
 */
#include "backend.h"
#include "base/cleanup.h"

#include "storage_util.h"
#include "virbuffer.h"

#include <errno.h>
#include <stdio.h>

__attribute__((visibility("default"))) int zonepool_backend_register(void);

/* ---- the namespace ---- */

static void options_free(void *data)
{
        if (data)
                pool_xml_fini(data);
        free(data);
}

/* ctxt->node is the <pool> element. */
static int options_parse(xmlXPathContextPtr ctxt, void **ret_data)
{
        struct pool_xml *px = calloc(1, sizeof(*px));
        struct err err = ERR_INIT;
        int rc = px ? pool_xml_from_node(ctxt->node, backend_rundir(), px, &err) : -ENOMEM;

        if (rc < 0) {
                virReportError(VIR_ERR_XML_ERROR, "%s", err_text(&err, rc));
                free(px);
                return -1;
        }
        *ret_data = px;
        return 0;
}

static int options_format(virBuffer *buf, void *data)
{
        CLEANUP(free_ptr) char *text = pool_xml_format_options(data);

        if (!text)
                return backend_report(-ENOMEM, NULL);
        virBufferAddStr(buf, text);
        return 0;
}

static virXMLNamespace options_namespace = {
    .parse = options_parse,
    .free = options_free,
    .format = options_format,
    .prefix = POOL_XML_NS_PREFIX,
    .uri = POOL_XML_NS_URI,
};

const struct pool_xml *backend_options(virStoragePoolObj *pool)
{
        virStoragePoolDef *def = virStoragePoolObjGetDef(pool);

        if (!def->namespaceData)
                virReportError(VIR_ERR_INTERNAL_ERROR,
                               "pool '%s' has no <zonepool:options>; define it again", def->name);
        return def->namespaceData;
}

/* ---- what is sent ---- */

static json_t *device_json(const struct pool_xml_device *d)
{
        const struct {
                const char *key;
                uint64_t value;
        } optional[] = {{"size_bytes", d->size_bytes},
                        {"zone_bytes", d->zone_bytes},
                        {"zone_capacity_bytes", d->zone_capacity_bytes},
                        {"max_open", d->max_open},
                        {"max_active", d->max_active}};
        json_t *o = json_pack("{s:s}", "path", d->path);

        for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
                if (optional[i].value)
                        json_object_set_new(o, optional[i].key,
                                            json_integer((json_int_t)optional[i].value));
        return o;
}

/* whole: with geometry, as pool.create takes them; else paths only. */
static json_t *devices_json(const struct pool_xml *px, bool whole)
{
        json_t *list = json_array();

        for (size_t i = 0; i < px->ndevices; i++)
                json_array_append_new(list, whole ? device_json(&px->devices[i])
                                                  : json_string(px->devices[i].path));
        return list;
}

static json_t *peers_json(const struct pool_xml *px)
{
        json_t *list = json_array();
        char text[POOL_XML_MAX_HOST + 16];

        for (size_t i = 0; i < px->npeers; i++) {
                const struct pool_xml_peer *p = &px->peers[i];

                snprintf(text, sizeof(text), strchr(p->host, ':') ? "[%s]:%u" : "%s:%u", p->host,
                         p->port);
                json_array_append_new(list, json_string(text));
        }
        return list;
}

static json_t *import_params(const struct pool_xml *px)
{
        return json_pack("{s:s, s:o, s:o, s:{s:b, s:I}}", "name", px->name, "devices",
                         devices_json(px, false), "peers", peers_json(px), "options", "checksums",
                         (int)px->checksum, "copies", (json_int_t)px->copies);
}

/* ---- pool callbacks ---- */

/* Tells whether the pool is imported. A daemon that is busy importing it counts as yes. */
static int check_pool(virStoragePoolObj *pool, bool *ret_active)
{
        const struct pool_xml *px = backend_options(pool);
        struct err err = ERR_INIT;
        bool refused;

        *ret_active = false;
        if (!px)
                return -1;
        int rc = backend_ask("pool.status", json_pack("{s:s}", "pool", px->name), BACKEND_SHORT_S,
                             NULL, &refused, &err);
        if (refused && rc == -ENOENT)
                return 0;
        if (rc < 0 && !(refused && rc == -EAGAIN))
                return backend_report(rc, &err);
        *ret_active = true;
        return 0;
}

static int start_pool(virStoragePoolObj *pool)
{
        const struct pool_xml *px = backend_options(pool);
        json_t *params = px ? import_params(px) : NULL;
        int rc;

        if (!px)
                return -1;
        /* Recovery may take long; libvirt has marked the pool as starting, which keeps others off.
         */
        virObjectUnlock(pool);
        rc = backend_call("pool.import", params, BACKEND_LONG_S, NULL);
        virObjectLock(pool);
        return rc;
}

static int build_pool(virStoragePoolObj *pool, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);
        int rc;

        virCheckFlags(VIR_STORAGE_POOL_BUILD_OVERWRITE | VIR_STORAGE_POOL_BUILD_NO_OVERWRITE, -1);
        if (!px)
                return -1;
        if ((flags & VIR_STORAGE_POOL_BUILD_OVERWRITE) &&
            (flags & VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)) {
                virReportError(VIR_ERR_INVALID_ARG, "%s",
                               "overwrite and no-overwrite exclude each other");
                return -1;
        }
        json_t *params = json_pack("{s:s, s:o, s:b, s:b, s:{s:b}}", "name", px->name, "devices",
                                   devices_json(px, true), "overwrite",
                                   (flags & VIR_STORAGE_POOL_BUILD_OVERWRITE) != 0, "import", 0,
                                   "options", "checksums", (int)px->checksum);
        virObjectUnlock(pool);
        rc = backend_call("pool.create", params, BACKEND_LONG_S, NULL);
        virObjectLock(pool);
        return rc;
}

/* Also called by libvirt after a failed refresh, and for pools that are stopped already. */
static int stop_pool(virStoragePoolObj *pool)
{
        const struct pool_xml *px = backend_options(pool);
        struct err err = ERR_INIT;
        bool refused;

        if (!px)
                return -1;
        int rc = backend_ask("pool.export", json_pack("{s:s}", "pool", px->name), BACKEND_STOP_S,
                             NULL, &refused, &err);
        if (rc < 0 && !(refused && rc == -ENOENT))
                return backend_report(rc, &err);
        backend_list_forget(px->name);
        return 0;
}

static int delete_pool(virStoragePoolObj *pool, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);

        virCheckFlags(0, -1);
        if (!px)
                return -1;
        return backend_call(
            "pool.destroy",
            json_pack("{s:s, s:o}", "name", px->name, "devices", devices_json(px, false)),
            BACKEND_STOP_S, NULL);
}

static virStorageBackend backend = {
    .type = VIR_STORAGE_POOL_VSTORAGE,
    .findPoolSources = backend_find_sources,
    .checkPool = check_pool,
    .startPool = start_pool,
    .buildPool = build_pool,
    .refreshPool = backend_refresh_pool,
    .stopPool = stop_pool,
    .deletePool = delete_pool,
    .buildVol = backend_build_volume,
    .buildVolFrom = backend_build_volume_from,
    .createVol = backend_create_volume,
    .refreshVol = backend_refresh_volume,
    .deleteVol = backend_delete_volume,
    .resizeVol = backend_resize_volume,
    .uploadVol = backend_upload,
    .downloadVol = backend_download,
    .wipeVol = backend_wipe,
};

/* libvirt takes the first backend of a type, and asks the `fs` slot first of all: where it was
 * built with its own vstorage, ours stands before that. */
int zonepool_backend_register(void)
{
        if (virStorageBackendNamespaceInit(VIR_STORAGE_POOL_VSTORAGE, &options_namespace) < 0)
                return -1;
        return virStorageBackendRegister(&backend);
}
