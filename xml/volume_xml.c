/* What a volume is a clone of, see volume_xml.h. */
#include "xml/volume_xml.h"
#include "base/cleanup.h"
#include "xml/pool_xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands behind prefix in text, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
        size_t len = strlen(prefix);

        return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static int refuse(const char *path, const char *why, const char *rundir, const char *pool,
                  struct err *err)
{
        return err_set(err, EINVAL,
                       "<backingStore><path>: '%.160s' %s; allowed: a volume of pool '%s', "
                       "%s/mnt/%s/VOLUME, or VOLUME@SNAPSHOT there",
                       path, why, pool, rundir, pool);
}

/* Writes name and NUL if it is a possible one. */
static bool take_name(const char *text, size_t len, char *name)
{
        if (len > VOLUME_XML_MAX_NAME)
                return false;
        memcpy(name, text, len);
        name[len] = '\0';
        return volume_xml_name_ok(name);
}

int volume_xml_base_parse(const char *path, const char *rundir, const char *pool,
                          struct volume_xml_base *ret_base, struct err *err)
{
        struct volume_xml_base base = {0};
        const char *name = path, *at;

        if (strchr(path, '/')) {
                const char *p = behind(path, rundir);
                const char *of = p ? behind(p, "/mnt/") : NULL;

                name = of ? strchr(of, '/') : NULL;
                if (!name)
                        return refuse(path, "is no volume of zonepool", rundir, pool, err);
                if ((size_t)(name - of) != strlen(pool) || strncmp(of, pool, strlen(pool)) != 0)
                        return refuse(path, "is of another pool", rundir, pool, err);
                name++;
        }
        at = strchr(name, '@');
        if (!take_name(name, at ? (size_t)(at - name) : strlen(name), base.volume) ||
            (at && !take_name(at + 1, strlen(at + 1), base.snapshot)))
                return refuse(path, "is no name of a volume", rundir, pool, err);
        *ret_base = base;
        return 0;
}

char *volume_xml_base_format(const char *rundir, const char *pool, const char *volume,
                             const char *snapshot)
{
        char *path = NULL;

        return asprintf(&path, "%s/mnt/%s/%s%s%s", rundir, pool, volume, snapshot ? "@" : "",
                        snapshot ? snapshot : "") < 0
                   ? NULL
                   : path;
}
