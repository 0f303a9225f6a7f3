/* The FUSE mount of all pools, see mount.h. Its files come and go with the volumes (dvol_attach.c).
 */
#include "daemon/mount.h"

#include "base/log.h"
#include "daemon/dpool.h"
#include "frontend/fuse/fuse_front.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

static void space(void *ctx, const char *pool, uint64_t *ret_total, uint64_t *ret_available)
{
        struct dpool *p = dpool_find(ctx, pool);
        struct pool_status st = {0};

        if (p && p->state == DPOOL_ACTIVE)
                pool_get_status(p->pool, &st);
        *ret_total = st.capacity_bytes;
        *ret_available = st.available_bytes;
}

static void unmounted(void *ctx)
{
        struct daemon *d = ctx;

        log_warn("mount", "%s/mnt was unmounted by somebody; a restart of zonepoold brings it back",
                 d->cfg.rundir);
}

int mount_start(struct daemon *d, struct err *err)
{
        struct fuse_front_options options = FUSE_FRONT_OPTIONS_DEFAULT;
        struct err why = ERR_INIT;
        char path[PATH_MAX];

        if (!d->cfg.fuse)
                return 0;
        options.mode = (mode_t)d->cfg.disk_mode;
        options.uid = d->disk_uid != (uid_t)-1 ? d->disk_uid : geteuid();
        options.gid = d->disk_gid != (gid_t)-1 ? d->disk_gid : getegid();
        options.space = space;
        options.unmounted = unmounted;
        options.ctx = d;
        if (snprintf(path, sizeof(path), "%s/mnt", d->cfg.rundir) >= (int)sizeof(path))
                return err_set(err, ENAMETOOLONG, "rundir is too long");
        if (fuse_front_new(d->loop, path, &options, &d->fuse, &why) < 0)
                log_warn("mount",
                         "volumes are not shown as files, upload and download do not work: %s "
                         "(fuse = 0 in the settings says that this is wanted)",
                         why.msg);
        return 0;
}

static void closed(void *ctx)
{
        struct daemon *d = ctx;

        fuse_front_free(d->fuse);
        d->fuse = NULL;
        d->mount_closed(d);
}

void mount_close(struct daemon *d, void (*done)(void *daemon))
{
        if (!d->fuse) {
                done(d);
                return;
        }
        d->mount_closed = done;
        fuse_front_close(d->fuse, d, closed);
}

void mount_drop(struct daemon *d)
{
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/mnt", d->cfg.rundir);
        if (d->fuse && umount2(path, MNT_DETACH) < 0)
                log_warn("mount", "cannot unmount %s", path);
}
