/* find-storage-pool-sources: which devices of this host hold zonepool pools.
 *
 *   virsh find-storage-pool-sources vstorage
 *   virsh find-storage-pool-sources vstorage SPEC.xml
 *
 * Without a specification the host's block devices are looked at, but for those that cannot be
 * members (loop, RAM and optical drives). With one, only what it names: <device path=''/> any
 * number of times, and <dir path=''/> for the files of a directory. zonepoold reads the labels.
 *
 * The result is libvirt's <sources>, written here because its own writer leaves out the devices of
 * this pool type.
 */
#include "backend.h"
#include "base/cleanup.h"
#include "xml/xml_doc.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CANDIDATES = 1024 };

static bool is_candidate_disk(const char *name)
{
        static const char *const never[] = {"loop", "ram", "zram", "sr", "fd", "nbd"};

        for (size_t i = 0; i < ARRAY_SIZE(never); i++)
                if (strncmp(name, never[i], strlen(never[i])) == 0)
                        return false;
        return name[0] != '.';
}

/* Adds DIR/name of every entry that fits. block: names are of /sys/block, devices in /dev. */
static int add_entries(json_t *list, const char *dir, bool block)
{
        DIR *d = opendir(dir);
        struct dirent *e;

        if (!d) {
                virReportSystemError(errno, "cannot read '%s'", dir);
                return -1;
        }
        while (json_array_size(list) < MAX_CANDIDATES && (e = readdir(d))) {
                CLEANUP(free_ptr) char *path = NULL;
                struct stat st;

                if (block && !is_candidate_disk(e->d_name))
                        continue;
                if (asprintf(&path, "%s/%s", block ? "/dev" : dir, e->d_name) < 0)
                        break;
                if (stat(path, &st) == 0 && (block ? S_ISBLK(st.st_mode) : S_ISREG(st.st_mode)))
                        json_array_append_new(list, json_string(path));
        }
        closedir(d);
        return 0;
}

static json_t *named_candidates(const char *spec)
{
        virStoragePoolSource *source =
            virStoragePoolDefParseSourceString(spec, VIR_STORAGE_POOL_VSTORAGE);
        json_t *list;

        if (!source)
                return NULL;
        list = json_array();
        for (size_t i = 0; i < source->ndevice && i < MAX_CANDIDATES; i++)
                json_array_append_new(list, json_string(source->devices[i].path));
        if (source->dir && add_entries(list, source->dir, false) < 0) {
                json_decref(list);
                list = NULL;
        } else if (!source->dir && json_array_size(list) == 0) {
                virReportError(VIR_ERR_XML_ERROR, "%s",
                               "<source>: names nothing to look at; give <device path='...'/> or "
                               "<dir path='...'/>, or no specification at all");
                json_decref(list);
                list = NULL;
        }
        virStoragePoolSourceFree(source);
        return list;
}

static json_t *all_candidates(void)
{
        json_t *list = json_array();

        if (add_entries(list, "/sys/block", true) == 0)
                return list;
        json_decref(list);
        return NULL;
}

static void format_source(struct xml_buf *buf, json_t *pool)
{
        const char *name = json_string_value(json_object_get(pool, "name"));
        json_t *device;
        size_t i;

        if (!name)
                return;
        xml_buf_add(buf, "  <source>\n");
        json_array_foreach(json_object_get(pool, "devices"), i, device)
        {
                xml_buf_add(buf, "    <device path='");
                xml_buf_escape(buf, json_string_value(device) ? json_string_value(device) : "");
                xml_buf_add(buf, "'/>\n");
        }
        xml_buf_add(buf, "    <name>");
        xml_buf_escape(buf, name);
        xml_buf_add(buf, "</name>\n  </source>\n");
}

char *backend_find_sources(const char *spec, unsigned int flags)
{
        struct xml_buf buf = {0};
        json_t *candidates, *result = NULL, *pool;
        size_t i;

        virCheckFlags(0, NULL);
        candidates = spec ? named_candidates(spec) : all_candidates();
        if (!candidates || backend_call("pool.scan", json_pack("{s:o}", "devices", candidates),
                                        BACKEND_LONG_S, &result) < 0)
                return NULL;
        xml_buf_add(&buf, "<sources>\n");
        json_array_foreach(json_object_get(result, "pools"), i, pool) format_source(&buf, pool);
        xml_buf_add(&buf, "</sources>\n");
        json_decref(result);
        if (buf.failed) {
                free(buf.text);
                backend_report(-ENOMEM, NULL);
                return NULL;
        }
        return buf.text;
}
