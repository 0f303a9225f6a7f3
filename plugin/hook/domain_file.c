/* The list of a domain's volumes that the hook leaves for the lock driver (see domain_file.h).
 *
 * Crash behaviour: the file is whole or not there; a temporary left behind has a name that no
 * domain has and is overwritten by the next writer of the same domain.
 */
#include "plugin/hook/domain_file.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 512 };

static void file_path(const char *rundir, const struct uuid *uuid, const char *suffix,
                      char path[PATH_SIZE])
{
        char text[UUID_TEXT_LEN];

        uuid_format(uuid, text);
        snprintf(path, PATH_SIZE, "%s/domains/%s%s", rundir, text, suffix);
}

static int write_lines(FILE *file, const struct domain_xml *dx)
{
        for (size_t i = 0; i < dx->ndisks; i++)
                if (dx->disks[i].kind == DOMAIN_XML_VHOST_USER)
                        fprintf(file, "%s/%s\n", dx->disks[i].pool, dx->disks[i].volume);
        /* both, so that a failed flush is seen and the file is closed all the same */
        int failed = ferror(file), closed = fclose(file);
        return failed || closed ? -EIO : 0;
}

int domain_file_write(const char *rundir, const struct domain_xml *dx, struct err *err)
{
        char path[PATH_SIZE], temporary[PATH_SIZE], dir[PATH_SIZE];
        FILE *file;
        int rc;

        snprintf(dir, sizeof(dir), "%s/domains", rundir);
        if ((mkdir(rundir, 0755) < 0 && errno != EEXIST) ||
            (mkdir(dir, 0755) < 0 && errno != EEXIST))
                return err_set_sys(err, errno, "cannot make %s", dir);
        file_path(rundir, &dx->uuid, "", path);
        file_path(rundir, &dx->uuid, ".new", temporary);
        file = fopen(temporary, "we");
        if (!file)
                return err_set_sys(err, errno, "cannot write %s", temporary);
        rc = write_lines(file, dx);
        if (rc == 0 && rename(temporary, path) < 0)
                rc = -errno;
        if (rc < 0) {
                unlink(temporary);
                return err_set_sys(err, -rc, "cannot write %s", path);
        }
        return 0;
}

void domain_file_remove(const char *rundir, const struct uuid *uuid)
{
        char path[PATH_SIZE];

        file_path(rundir, uuid, "", path);
        unlink(path);
}

bool domain_file_exists(const char *rundir, const struct uuid *uuid)
{
        char path[PATH_SIZE];

        file_path(rundir, uuid, "", path);
        return access(path, F_OK) == 0;
}
