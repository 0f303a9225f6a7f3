/* Volumes: the list of a pool, and making, growing and deleting one.
 *
 * A volume is known to libvirt by its name, its path on the pool's mount, and as key its UUID,
 * which is the same on every host. The UUID is chosen before the volume is made; a deletion is sent
 * only for the volume that has it, because libvirt also asks for one after a creation that failed:
 * a volume that had the name before, perhaps one that is not listed, must not be taken for it.
 *
 * A <backingStore> in a new volume's XML makes it a copy-on-write clone, as vol-clone does of the
 * volume it is given; in what libvirt shows it says what a volume was cloned from, while that is
 * there.
 *
 * Volumes are raw and thin, but for an <allocation> in the XML of a new one that is no clone: so
 * much is reserved for it. What a volume is shown to have allocated is what it has, or what is
 * reserved for it, whichever is more.
 */
#include "backend.h"
#include "base/cleanup.h"
#include "xml/volume_xml.h"

#include "viralloc.h"
#include "virlog.h"
#include "virstring.h"
#include "viruuid.h"

#include <errno.h>

VIR_LOG_INIT("storage.storage_backend_zonepool");

enum { SECTOR = 512 };

/* The members of a volobj that libvirt has a place for. */
struct volume_facts {
        const char *name, *uuid, *path; /* of the JSON object */
        const char *pool, *base, *base_snapshot; /* cloned from; NULL: nothing that is there */
        json_int_t size_bytes, allocated_bytes, reserved_bytes, copies;
        int hidden;
};

static int read_facts(json_t *o, struct volume_facts *ret, struct err *err)
{
        struct volume_facts f = {.copies = 1};
        const json_t *origin = json_object_get(o, "origin");

        if (json_unpack(o, "{s:s, s:s, s:s, s:s, s:I, s:I, s?I, s?I, s?b}", "pool", &f.pool, "name",
                        &f.name, "uuid", &f.uuid, "path", &f.path, "size_bytes", &f.size_bytes,
                        "allocated_bytes", &f.allocated_bytes, "reserved_bytes", &f.reserved_bytes,
                        "copies", &f.copies, "hidden", &f.hidden) < 0 ||
            f.size_bytes < 0 || f.allocated_bytes < 0 || f.reserved_bytes < 0 || f.copies < 1 ||
            f.copies > POOL_XML_MAX_COPIES)
                return err_set(err, EBADMSG,
                               "zonepoold's description of a volume cannot be understood");
        f.base = json_string_value(json_object_get(origin, "volume"));
        f.base_snapshot = json_string_value(json_object_get(origin, "snapshot"));
        *ret = f;
        return 0;
}

/* libvirt is not told when a volume moves: its list has it until the next refresh. */
int backend_check_here(json_t *volume, const char *name, struct err *err)
{
        json_t *owner = json_object_get(volume, "owner");
        const char *peer = json_string_value(json_object_get(owner, "peer"));

        if (!json_is_true(json_object_get(volume, "hidden")))
                return 0;
        return err_set(
            err, EREMOTE,
            "volume '%s' belongs to another host now (%s); pool-refresh takes it off the "
            "list",
            name, peer ? peer : "unknown");
}

static void put_base(virStorageSource *target, const struct volume_facts *f)
{
        CLEANUP(free_ptr)
        char *path =
            f->base ? volume_xml_base_format(backend_rundir(), f->pool, f->base, f->base_snapshot)
                    : NULL;
        virStorageSource *base = target->backingStore;

        if (base && path && STREQ_NULLABLE(base->path, path))
                return;
        virObjectUnref(base);
        target->backingStore = NULL;
        if (!path)
                return;
        base = target->backingStore = virStorageSourceNew();
        base->type = VIR_STORAGE_TYPE_FILE;
        base->format = VIR_STORAGE_FILE_RAW;
        base->path = g_strdup(path);
}

static void put_facts(virStorageVolDef *vol, const struct volume_facts *f)
{
        if (!vol->key || STRNEQ(vol->key, f->uuid)) {
                g_free(vol->key);
                vol->key = g_strdup(f->uuid);
        }
        if (!vol->target.path || STRNEQ(vol->target.path, f->path)) {
                g_free(vol->target.path);
                vol->target.path = g_strdup(f->path);
        }
        vol->type = VIR_STORAGE_VOL_FILE;
        vol->target.type = VIR_STORAGE_TYPE_FILE;
        vol->target.format = VIR_STORAGE_FILE_RAW;
        vol->target.capacity = (unsigned long long)f->size_bytes;
        vol->target.allocation = (unsigned long long)MAX(f->allocated_bytes, f->reserved_bytes);
        vol->target.physical = vol->target.allocation * (unsigned long long)f->copies;
        put_base(&vol->target, f);
}

/* ---- the list ---- */

static int add_volume(virStoragePoolObj *pool, json_t *o, struct err *err)
{
        struct volume_facts f;
        virStorageVolDef *vol;
        int rc = read_facts(o, &f, err);

        if (rc < 0 || f.hidden)
                return rc;
        vol = g_new0(virStorageVolDef, 1);
        vol->name = g_strdup(f.name);
        put_facts(vol, &f);
        if (virStoragePoolObjAddVol(pool, vol) < 0) {
                virStorageVolDefFree(vol);
                return err_set(err, EEXIST, "volume '%s' is listed twice by zonepoold", f.name);
        }
        return 0;
}

/* Devices join and leave while the pool is in use: the definition follows. */
static void follow_devices(virStoragePoolDef *def, const json_t *devices)
{
        const char *paths[POOL_XML_MAX_DEVICES];
        size_t i, n = 0;
        json_t *o;

        json_array_foreach(devices, i, o)
        {
                const char *path = json_string_value(json_object_get(o, "path"));
                if (path && path[0] && n < POOL_XML_MAX_DEVICES)
                        paths[n++] = path;
        }
        if (n && def->namespaceData)
                ignore_value(pool_xml_set_devices(def->namespaceData, paths, n));
}

/* What volumes of the pool's default copies, which the definition follows, could still take; what
 * is reported for the pool as a whole is for its most redundant volume. */
static int read_room(json_t *pool, virStoragePoolDef *def, struct err *err)
{
        json_int_t capacity, allocated, reserved, by[POOL_XML_MAX_COPIES], copies, most;

        if (json_unpack(pool, "{s:I, s:I, s:I, s:{s:I}, s:{s:I, s:[I, I, I]}}", "capacity_bytes",
                        &capacity, "allocated_bytes", &allocated, "reserved_bytes", &reserved,
                        "options", "copies", &copies, "redundancy", "copies", &most,
                        "available_by_copies", &by[0], &by[1], &by[2]) < 0 ||
            copies < 1 || copies > POOL_XML_MAX_COPIES || capacity < 0 || allocated < 0 ||
            reserved < 0 || by[copies - 1] < 0)
                return err_set(err, EBADMSG, "zonepoold's account of a pool cannot be understood");
        if (def->namespaceData)
                ((struct pool_xml *)def->namespaceData)->copies = (uint32_t)copies;
        def->allocation = (unsigned long long)allocated + (unsigned long long)reserved;
        def->available = (unsigned long long)by[copies - 1];
        def->capacity =
            copies == most ? (unsigned long long)capacity : def->allocation + def->available;
        return 0;
}

static int put_list(virStoragePoolObj *pool, json_t *result, struct err *err)
{
        virStoragePoolDef *def = virStoragePoolObjGetDef(pool);
        json_t *volumes, *pool_facts, *o;
        size_t i;
        int rc = 0;

        if (json_unpack(result, "{s:o, s:o}", "volumes", &volumes, "pool", &pool_facts) < 0 ||
            !json_is_array(volumes))
                return err_set(err, EBADMSG, "zonepoold's list of volumes cannot be understood");
        rc = read_room(pool_facts, def, err);
        if (rc < 0)
                return rc;
        json_array_foreach(volumes, i, o)
        {
                rc = add_volume(pool, o, err);
                if (rc < 0)
                        return rc;
        }
        follow_devices(def, json_object_get(pool_facts, "devices"));
        return 0;
}

/* libvirt has emptied the list; a failure would stop the pool. So the only failures are that the
 * pool is not there any more, and an answer that makes no sense. A daemon that cannot be asked, or
 * is not ready, leaves what was known last. */
int backend_refresh_pool(virStoragePoolObj *pool)
{
        const struct pool_xml *px = backend_options(pool);
        json_t *result = NULL;
        struct err err = ERR_INIT;
        bool refused;

        if (!px)
                return -1;
        int rc = backend_ask("volume.list", json_pack("{s:s}", "pool", px->name), BACKEND_SHORT_S,
                             &result, &refused, &err);
        if (rc < 0 && refused && rc == -ENOENT) {
                backend_list_forget(px->name);
                return backend_report(rc, &err);
        }
        if (rc < 0) {
                VIR_WARN("zonepool: pool '%s' shows what was known last: %s", px->name,
                         err_text(&err, rc));
                result = backend_list_recall(px->name);
                if (!result)
                        return 0;
        }
        bool fresh = rc == 0;
        rc = put_list(pool, result, &err);
        if (rc == 0 && fresh)
                backend_list_keep(px->name, result);
        json_decref(result);
        return rc < 0 ? backend_report(rc, &err) : 0;
}

/* ---- one volume ---- */

static json_t *volume_params(const char *pool, const char *volume)
{
        return json_pack("{s:s, s:s}", "pool", pool, "volume", volume);
}

/* True when vol is of this pool: libvirt hands in the source of a clone whatever pool it is in. */
static bool is_of_pool(virStoragePoolObj *pool, const virStorageVolDef *vol)
{
        const char *dir = virStoragePoolObjGetDef(pool)->target.path;

        return vol->target.path && STRPREFIX(vol->target.path, dir) &&
               vol->target.path[strlen(dir)] == '/';
}

int backend_refresh_volume(virStoragePoolObj *pool, virStorageVolDef *vol)
{
        const struct pool_xml *px = backend_options(pool);
        struct err err = ERR_INIT;
        struct volume_facts f;
        json_t *result = NULL;

        if (!px)
                return -1;
        if (!is_of_pool(pool, vol))
                return 0;
        int rc = backend_ask("volume.info", volume_params(px->name, vol->name), BACKEND_SHORT_S,
                             &result, NULL, &err);
        if (rc == 0)
                rc = read_facts(result, &f, &err);
        if (rc == 0)
                rc = backend_check_here(result, vol->name, &err);
        if (rc == 0) {
                put_facts(vol, &f);
                backend_list_put(px->name, vol->name, result);
        }
        json_decref(result);
        return rc < 0 ? backend_report(rc, &err) : 0;
}

/* Of a volume that is cloned from another one by vol-create-from this may be the <backingStore> of
 * that one: libvirt does not say which it is. */
static int read_base(const struct pool_xml *px, const virStorageVolDef *vol,
                     struct volume_xml_base *ret_base)
{
        const virStorageSource *base = vol->target.backingStore;
        struct err err = ERR_INIT;

        if (base->format != VIR_STORAGE_FILE_RAW) {
                virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                               "volume '%s': <backingStore><format>: '%s'; allowed: raw", vol->name,
                               virStorageFileFormatTypeToString(base->format));
                return -1;
        }
        if (volume_xml_base_parse(base->path, backend_rundir(), px->name, ret_base, &err) < 0) {
                virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "volume '%s': %s", vol->name, err.msg);
                return -1;
        }
        return 0;
}

static int check_wishes(const struct pool_xml *px, const virStorageVolDef *vol)
{
        struct volume_xml_base base;

        if (!volume_xml_name_ok(vol->name)) {
                virReportError(VIR_ERR_INVALID_ARG,
                               "volume name '%s'; allowed: 1 to 127 of A-Z a-z 0-9 . _ + -, not "
                               "beginning with . or -",
                               vol->name);
                return -1;
        }
        if (vol->target.format != VIR_STORAGE_FILE_RAW) {
                virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "volume '%s': format '%s'; allowed: raw",
                               vol->name, virStorageFileFormatTypeToString(vol->target.format));
                return -1;
        }
        if (vol->target.encryption) {
                virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                               "volume '%s': <encryption> is not available in zonepool pools",
                               vol->name);
                return -1;
        }
        if (vol->target.backingStore)
                return read_base(px, vol, &base);
        if (vol->target.capacity == 0) {
                virReportError(VIR_ERR_INVALID_ARG, "volume '%s': <capacity> is 0; give at least 1",
                               vol->name);
                return -1;
        }
        return 0;
}

/* Chooses what libvirt must know before the volume is made; libvirt then makes it without the
 * pool's lock. */
int backend_create_volume(virStoragePoolObj *pool, virStorageVolDef *vol)
{
        virStoragePoolDef *def = virStoragePoolObjGetDef(pool);
        const struct pool_xml *px = backend_options(pool);
        unsigned char uuid[VIR_UUID_BUFLEN];
        char text[VIR_UUID_STRING_BUFLEN];

        if (!px || check_wishes(px, vol) < 0)
                return -1;
        if (virUUIDGenerate(uuid) < 0) {
                virReportError(VIR_ERR_INTERNAL_ERROR, "%s", "cannot make a UUID");
                return -1;
        }
        virUUIDFormat(uuid, text);
        g_free(vol->key);
        vol->key = g_strdup(text);
        g_free(vol->target.path);
        vol->target.path = g_strdup_printf("%s/%s", def->target.path, vol->name);
        vol->type = VIR_STORAGE_VOL_FILE;
        vol->target.type = VIR_STORAGE_TYPE_FILE;
        return 0;
}

static int refuse_flags(const char *what)
{
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s is not available in zonepool pools",
                       what);
        return -1;
}

/* 9.0 lets its VALIDATE flag through to here. */
static int check_build_flags(unsigned int flags)
{
        flags &= ~(unsigned)VIR_STORAGE_VOL_CREATE_VALIDATE;
        /* Clones share blocks, asked for or not. */
        flags &= ~(unsigned)VIR_STORAGE_VOL_CREATE_REFLINK;
        if (flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
                return refuse_flags("preallocation of metadata");
        virCheckFlags(0, -1);
        return 0;
}

/* Deletes the volume of that name if it is the one with our UUID, its snapshots too where params
 * say so (those of volume.delete, consumed). Returns 0 also when there is none such, or -errno with
 * text. */
static int delete_exactly(const char *pool, const virStorageVolDef *vol, json_t *params,
                          struct err *err)
{
        struct volume_facts f;
        json_t *result = NULL;
        bool refused;
        int rc = backend_ask("volume.info", volume_params(pool, vol->name), BACKEND_SHORT_S,
                             &result, &refused, err);
        bool none = refused && rc == -ENOENT;

        if (rc == 0)
                rc = read_facts(result, &f, err);
        bool same = rc == 0 && vol->key && STREQ(f.uuid, vol->key);
        json_decref(result);
        if (!same) {
                json_decref(params);
                return none ? 0 : rc;
        }
        rc = backend_ask("volume.delete", params, BACKEND_SHORT_S, NULL, &refused, err);
        return refused && rc == -ENOENT ? 0 : rc;
}

/* Reports rc, after what a call that broke off may have made is taken away. */
static int fail_build(const char *pool, const virStorageVolDef *vol, int rc, bool refused,
                      const struct err *err)
{
        struct err ignored = ERR_INIT;

        if (!refused)
                delete_exactly(pool, vol, volume_params(pool, vol->name), &ignored);
        return backend_report(rc, err);
}

static json_int_t round_up(unsigned long long bytes)
{
        return (json_int_t)(DIV_ROUND_UP(bytes, SECTOR) * SECTOR);
}

static json_t *new_volume(const char *pool, const virStorageVolDef *vol)
{
        json_t *params =
            json_pack("{s:s, s:s, s:s}", "pool", pool, "name", vol->name, "uuid", vol->key);

        /* A clone without a size of its own has that of what it is a clone of. */
        if (vol->target.capacity)
                json_object_set_new(params, "size_bytes",
                                    json_integer(round_up(vol->target.capacity)));
        return params;
}

static int build(const char *method, const char *pool, const virStorageVolDef *vol, json_t *params)
{
        struct err err = ERR_INIT;
        bool refused;
        int rc = backend_ask(method, params, BACKEND_LONG_S, NULL, &refused, &err);

        return rc < 0 ? fail_build(pool, vol, rc, refused, &err) : 0;
}

int backend_build_volume(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);
        struct volume_xml_base base = {0};

        if (!px || check_build_flags(flags) < 0)
                return -1;
        if (vol->target.backingStore && read_base(px, vol, &base) < 0)
                return -1;
        json_t *params = new_volume(px->name, vol);
        if (base.volume[0])
                json_object_set_new(params, "source", json_string(base.volume));
        if (base.snapshot[0])
                json_object_set_new(params, "snapshot", json_string(base.snapshot));
        if (!base.volume[0] && vol->target.has_allocation)
                json_object_set_new(
                    params, "reserved_bytes",
                    json_integer(round_up(MIN(vol->target.allocation, vol->target.capacity))));
        return build(base.volume[0] ? "volume.clone" : "volume.create", px->name, vol, params);
}

int backend_build_volume_from(virStoragePoolObj *pool, virStorageVolDef *vol,
                              virStorageVolDef *source, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);

        if (!px || check_build_flags(flags) < 0)
                return -1;
        if (!is_of_pool(pool, source)) {
                virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                               "volume '%s' is of another pool: make '%s' with vol-create-as, then "
                               "copy with vol-download and vol-upload",
                               source->name, vol->name);
                return -1;
        }
        json_t *params = new_volume(px->name, vol);
        json_object_set_new(params, "source", json_string(source->name));
        return build("volume.clone", px->name, vol, params);
}

int backend_delete_volume(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);
        struct err err = ERR_INIT;

        /* What is deleted is not readable again; zeroing first would wear the devices for nothing.
         */
        virCheckFlags(VIR_STORAGE_VOL_DELETE_ZEROED | VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS, -1);
        if (!px)
                return -1;
        json_t *params = volume_params(px->name, vol->name);
        if (flags & VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS)
                json_object_set_new(params, "snapshots", json_true());
        int rc = delete_exactly(px->name, vol, params, &err);
        if (rc < 0)
                return backend_report(rc, &err);
        backend_list_drop(px->name, vol->name);
        return 0;
}

int backend_resize_volume(virStoragePoolObj *pool, virStorageVolDef *vol,
                          unsigned long long capacity, unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);

        virCheckFlags(VIR_STORAGE_VOL_RESIZE_SHRINK | VIR_STORAGE_VOL_RESIZE_ALLOCATE, -1);
        if (!px)
                return -1;
        json_t *params = volume_params(px->name, vol->name);
        json_object_set_new(params, "size_bytes", json_integer(round_up(capacity)));
        if (flags & VIR_STORAGE_VOL_RESIZE_SHRINK)
                json_object_set_new(params, "shrink", json_true());
        if (flags & VIR_STORAGE_VOL_RESIZE_ALLOCATE)
                json_object_set_new(params, "reserved_bytes", json_integer(round_up(capacity)));
        return backend_call("volume.resize", params, BACKEND_SHORT_S, NULL);
}
