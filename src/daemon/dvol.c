/* Volumes: names, paths, use, see dvol.h. */
#include "daemon/dvol.h"

#include "base/cleanup.h"
#include "daemon/migration.h"
#include "frontend/fuse/fuse_front.h"
#include "frontend/vhost_user/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static int name_check(const char *what, const char *name, size_t max, struct err *err)
{
        size_t len = strlen(name);

        if (len < 1 || len > max || name[0] == '.' || name[0] == '-' ||
            strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-") !=
                len)
                return err_set(err, EINVAL,
                               "%s name '%.80s' must be 1 to %zu letters, digits or ._+- and begin "
                               "with none of .-",
                               what, name, max);
        return 0;
}

int volume_name_check(const char *name, struct err *err)
{
        return name_check("volume", name, VOLUME_NAME_MAX, err);
}

int pool_name_check(const char *name, struct err *err)
{
        static const char *const taken[] = {"mnt", "domains", CONTROL_SOCKET_NAME,
                                            "zonepoold.lock"};

        for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
                if (!strcmp(name, taken[i]))
                        return err_set(err, EINVAL, "pool name '%s' is reserved", name);
        return name_check("pool", name, POOL_NAME_MAX, err);
}

struct dvol *dvol_of(const struct volume *vol)
{
        return volume_context(vol);
}

struct dvol *dvol_find(struct dpool *p, const char *name, struct err *err)
{
        struct volume *vol = volume_by_name(p->pool, name);
        struct dvol *v = vol ? dvol_of(vol) : NULL;

        if (!v || v->going)
                err_set(err, ENOENT, "pool %s has no volume '%.128s'", p->spec.name, name);
        return v && !v->going ? v : NULL;
}

int dvol_of_request(struct control_request *req, struct daemon *d,
                    const struct control_param *table, size_t n, struct dvol **ret_v,
                    struct err *err)
{
        int rc = control_parse(control_params(req), table, n, err);
        struct dpool *p = rc == 0 ? dpool_active(d, *(const char **)table[0].out, err) : NULL;
        struct dvol *v = p ? dvol_find(p, *(const char **)table[1].out, err) : NULL;

        if (!v)
                return err->code ? -err->code : -EIO;
        *ret_v = v;
        return 0;
}

const char *dvol_in_use(const struct dvol *v)
{
        struct migration_info info;
        struct vub_status vub = {0};
        const struct nvm_front *front = v->nvc ? nvc_front(v->nvc) : NULL;

        if (v->hold.kind)
                return v->hold.kind;
        migration_volume_info(v, &info);
        if (info.migrating)
                return "migration";
        if (v->vub)
                vub_server_status(v->vub, &vub);
        if (vub.peer_pid)
                return "vhost-user";
        return front ? front->kind : NULL;
}

int dvol_check_idle(const struct dvol *v, struct err *err)
{
        const char *user = dvol_in_use(v);
        struct vub_status vub = {0};

        if (!user)
                return 0;
        if (v->vub)
                vub_server_status(v->vub, &vub);
        if (vub.peer_pid && !strcmp(user, "vhost-user"))
                return err_set(
                    err, EBUSY,
                    "volume %s/%s is in use by vhost-user (process %d); stop the virtual "
                    "machine first",
                    v->pool->spec.name, volume_name(v->vol), (int)vub.peer_pid);
        return err_set(err, EBUSY, "volume %s/%s is in use by %s", v->pool->spec.name,
                       volume_name(v->vol), user);
}

int dvol_check_unread(const struct dvol *v, struct err *err)
{
        int rc = dvol_check_idle(v, err);

        if (rc == 0 && v->file && fuse_file_readers(v->file))
                rc = err_set(err, EBUSY, "volume %s/%s is open for reading as a file",
                             v->pool->spec.name, volume_name(v->vol));
        return rc;
}

static void hold_may_submit_changed(struct nvm_front *front)
{
}

int dvol_hold(struct dvol *v, const char *kind, struct err *err)
{
        int rc = dvol_check_idle(v, err);

        if (rc < 0)
                return rc;
        v->hold = (struct nvm_front){.kind = kind, .may_submit_changed = hold_may_submit_changed};
        rc = v->nvc ? nvc_attach_front(v->nvc, &v->hold, err) : 0;
        if (rc < 0)
                v->hold.kind = NULL;
        return rc;
}

void dvol_release(struct dvol *v)
{
        if (v->hold.kind && v->nvc)
                nvc_detach_front(v->nvc, &v->hold);
        v->hold.kind = NULL;
}

int dvol_socket_path(const struct daemon *d, const char *pool, const char *volume, char *buf,
                     size_t len, struct err *err)
{
        int n = snprintf(buf, len, "%s/%s/%s.sock", d->cfg.rundir, pool, volume);
        int max = (int)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

        if (n >= (int)len || n > max)
                return err_set(
                    err, ENAMETOOLONG,
                    "the socket of volume %s/%s would have a path of %d bytes, and %d are "
                    "possible; choose a shorter name",
                    pool, volume, n, max);
        return 0;
}

int dvol_file_path(const struct daemon *d, const char *pool, const char *volume, char *buf,
                   size_t len, struct err *err)
{
        if (snprintf(buf, len, "%s/mnt/%s/%s", d->cfg.rundir, pool, volume) >= (int)len)
                return err_set(err, ENAMETOOLONG, "the path of volume %s/%s is too long", pool,
                               volume);
        return 0;
}

void dvol_free(struct dvol *v)
{
        volume_set_context(v->vol, NULL);
        list_del(&v->node);
        free(v);
}
