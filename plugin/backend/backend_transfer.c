/* The bytes of a volume: upload, download, wipe.
 *
 * Streams run over the volume's file on the pool's mount, by libvirt's own helpers, so sparse
 * streams and errors work as for any file. zonepoold is asked first: it says in words what a failed
 * open could not, and a mount whose daemon is gone is not opened at all. While the stream is open
 * the daemon counts the volume as in use, which is what keeps it from being deleted under it.
 *
 * These callbacks run without the pool's lock.
 */
#include "backend.h"

#include "storage_util.h"
#include "virfdstream.h"

#include <errno.h>

/* The volume's size now; -1 reported. writing: nobody else may use it. */
static int ask_size(virStoragePoolObj *pool, const virStorageVolDef *vol, bool writing,
                    unsigned long long *ret_bytes)
{
        const struct pool_xml *px = backend_options(pool);
        json_t *result = NULL;
        json_int_t size = 0;

        if (!px || backend_call("volume.info",
                                json_pack("{s:s, s:s}", "pool", px->name, "volume", vol->name),
                                BACKEND_SHORT_S, &result) < 0)
                return -1;
        const char *user = json_string_value(json_object_get(result, "in_use"));
        struct err err = ERR_INIT;
        int rc = backend_check_here(result, vol->name, &err);
        if (rc < 0) {
                rc = backend_report(rc, &err);
        } else if (writing && user) {
                virReportError(VIR_ERR_RESOURCE_BUSY,
                               "volume '%s' is in use (%s); stop what uses it", vol->name, user);
                rc = -1;
        } else if (json_unpack(result, "{s:I}", "size_bytes", &size) < 0 || size < 0) {
                virReportError(VIR_ERR_INTERNAL_ERROR,
                               "zonepoold's description of volume '%s' cannot be understood",
                               vol->name);
                rc = -1;
        }
        *ret_bytes = (unsigned long long)size;
        json_decref(result);
        return rc;
}

/* length 0 is "to the end"; what would go beyond the volume's end is refused before it begins. */
static int fit_range(const virStorageVolDef *vol, unsigned long long size,
                     unsigned long long offset, unsigned long long *length)
{
        if (offset > size || *length > size - offset) {
                virReportError(VIR_ERR_INVALID_ARG,
                               "volume '%s' has %llu bytes; offset %llu and length %llu reach "
                               "beyond its end",
                               vol->name, size, offset, *length);
                return -1;
        }
        if (*length == 0)
                *length = size - offset;
        return 0;
}

int backend_upload(virStoragePoolObj *pool, virStorageVolDef *vol, virStreamPtr stream,
                   unsigned long long offset, unsigned long long length, unsigned int flags)
{
        unsigned long long size;

        virCheckFlags(VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM, -1);
        /* libvirt's helper makes a hole in a file by cutting the file off and writing on behind it:
         * a volume is not cut off, and what lay there would stay. */
        if (flags & VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM) {
                virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                               "sparse upload is not available in zonepool pools; upload without "
                               "--sparse");
                return -1;
        }
        if (ask_size(pool, vol, true, &size) < 0 || fit_range(vol, size, offset, &length) < 0)
                return -1;
        return virStorageBackendVolUploadLocal(pool, vol, stream, offset, length, flags);
}

int backend_download(virStoragePoolObj *pool, virStorageVolDef *vol, virStreamPtr stream,
                     unsigned long long offset, unsigned long long length, unsigned int flags)
{
        unsigned long long size;

        if (ask_size(pool, vol, false, &size) < 0 || fit_range(vol, size, offset, &length) < 0)
                return -1;
        return virStorageBackendVolDownloadLocal(pool, vol, stream, offset, length, flags);
}

/* Blocks are freed and read as zeroes from then on. Patterns written over and over say nothing on
 * zoned devices, where every write goes to a new place. */
int backend_wipe(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int algorithm,
                 unsigned int flags)
{
        const struct pool_xml *px = backend_options(pool);

        virCheckFlags(0, -1);
        if (algorithm != VIR_STORAGE_VOL_WIPE_ALG_ZERO &&
            algorithm != VIR_STORAGE_VOL_WIPE_ALG_TRIM) {
                virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                               "zonepool pools wipe by freeing every block; allowed algorithms: "
                               "zero, trim");
                return -1;
        }
        if (!px)
                return -1;
        return backend_call("volume.wipe",
                            json_pack("{s:s, s:s}", "pool", px->name, "volume", vol->name),
                            BACKEND_LONG_S, NULL);
}
