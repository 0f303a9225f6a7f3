/* Inside the storage backend: what its files share.
 *
 * Callbacks return 0, or -1 after a libvirt error was reported. Which of them run with the pool
 * object locked is in docs/libvirt.md; a locked one makes at most one short call.
 */
#ifndef ZONEPOOL_PLUGIN_BACKEND_BACKEND_H
#define ZONEPOOL_PLUGIN_BACKEND_BACKEND_H

#include <config.h>

#include "storage_backend.h"
#include "virerror.h"
#include "virstorageobj.h"

#include "base/err.h"
#include "xml/pool_xml.h"

#include <jansson.h>

#define VIR_FROM_THIS VIR_FROM_STORAGE

/* Seconds that a call may take in all. SHORT is for callbacks that hold a pool's lock. */
enum {
        BACKEND_SHORT_S = 20,
        BACKEND_STOP_S = 60, /* export: drains and writes a checkpoint */
        BACKEND_LONG_S = 600, /* create, import */
        BACKEND_SILENCE_S = 60,
};

/* "/run/zonepool", or $ZONEPOOL_RUNDIR. */
const char *backend_rundir(void);

/* Calls zonepoold; params are consumed (NULL: out of memory). ret_result as in
 * control_client_call. Returns 0, or -errno with text; *ret_refused (NULL allowed): true when the
 * daemon itself said no, false when it could not be asked. */
int backend_ask(const char *method, json_t *params, unsigned limit_s, json_t **ret_result,
                bool *ret_refused, struct err *err);

/* The same, failures reported to libvirt. Returns 0 or -1. */
int backend_call(const char *method, json_t *params, unsigned limit_s, json_t **ret_result);

/* Reports rc (negative errno) with the text of err. Returns -1. */
int backend_report(int rc, const struct err *err);

/* The parsed options of a pool; NULL, reported, when it has none. */
const struct pool_xml *backend_options(virStoragePoolObj *pool);

/* backend_lists.c: the last good volume.list of every pool, for refreshes while zonepoold is away.
 * Threads: any. */
void backend_list_keep(const char *pool, const json_t *result);
json_t *backend_list_recall(const char *pool); /* a copy, or NULL */
/* One volume of a kept list as the daemon has just described it, or gone. */
void backend_list_put(const char *pool, const char *name, json_t *volume);
void backend_list_drop(const char *pool, const char *name);
void backend_list_forget(const char *pool);

/* backend_volumes.c */

/* volume: as the daemon describes it. 0, or -EREMOTE with text when another host has it. */
int backend_check_here(json_t *volume, const char *name, struct err *err);
int backend_refresh_pool(virStoragePoolObj *pool);
int backend_create_volume(virStoragePoolObj *pool, virStorageVolDef *vol);
int backend_build_volume(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int flags);
int backend_build_volume_from(virStoragePoolObj *pool, virStorageVolDef *vol,
                              virStorageVolDef *source, unsigned int flags);
int backend_refresh_volume(virStoragePoolObj *pool, virStorageVolDef *vol);
int backend_delete_volume(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int flags);
int backend_resize_volume(virStoragePoolObj *pool, virStorageVolDef *vol,
                          unsigned long long capacity, unsigned int flags);

/* backend_transfer.c */
int backend_upload(virStoragePoolObj *pool, virStorageVolDef *vol, virStreamPtr stream,
                   unsigned long long offset, unsigned long long length, unsigned int flags);
int backend_download(virStoragePoolObj *pool, virStorageVolDef *vol, virStreamPtr stream,
                     unsigned long long offset, unsigned long long length, unsigned int flags);
int backend_wipe(virStoragePoolObj *pool, virStorageVolDef *vol, unsigned int algorithm,
                 unsigned int flags);

/* backend_scan.c */
char *backend_find_sources(const char *spec, unsigned int flags);

#endif
