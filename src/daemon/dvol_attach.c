/* Making a volume reachable and unreachable, see dvol.h.
 *
 * Attaching: controller (its gate shut), ownership (which opens the gate when its rules say so),
 * then the ways in. Detaching is the reverse, and waits for what is in flight: first the ways in
 * are closed, then ownership and controller go. A volume whose ownership record cannot be read has
 * no way in at all.
 *
 * Events of the front ends go to the ownership tables and, for people, to the event log.
 */
#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/dvol.h"
#include "daemon/migration.h"
#include "frontend/fuse/fuse_front.h"
#include "frontend/vhost_user/server.h"
#include "nvme/namespace.h"
#include "nvme/subsystem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DETACH_RETRY_NS UINT64_C(20000000)

static const char *const event_names[] = {
    [FRONT_CONNECTED] = "connected",         [FRONT_RINGS_ON] = "rings-on",
    [FRONT_RINGS_OFF] = "rings-off",         [FRONT_LOG_ON] = "log-on",
    [FRONT_FIRST_REQUEST] = "first-request", [FRONT_LOG_OFF] = "log-off",
    [FRONT_DISCONNECTED] = "disconnected",
};

static void front_event(struct dvol *v, const char *front, enum front_event event, pid_t pid)
{
        eventlog_emit(event_names[event],
                      "\"pool\":\"%s\",\"volume\":\"%s\",\"front\":\"%s\",\"pid\":%d",
                      v->pool->spec.name, volume_name(v->vol), front, (int)pid);
        if (v->owner.event)
                v->owner.event(v->owner.ctx, event, pid);
}

static void vub_event(void *ctx, enum front_event event, pid_t pid)
{
        front_event(ctx, "vhost-user", event, pid);
}

static void fuse_event(void *ctx, enum front_event event, pid_t pid)
{
        front_event(ctx, "fuse", event, pid);
}

static void front_trouble(void *ctx, const struct err *err)
{
        struct dvol *v = ctx;

        log_warn("volume", "%s/%s: %s", v->pool->spec.name, volume_name(v->vol), err->msg);
}

/* A guest reads at most 20 bytes as its disk's serial: the head of the UUID, without dashes. */
static void serial_of(const struct volume *vol, char id[VUB_ID_MAX + 1])
{
        char text[UUID_TEXT_LEN];
        size_t n = 0;

        uuid_format(volume_uuid(vol), text);
        for (const char *p = text; *p && n < VUB_ID_MAX; p++)
                if (*p != '-')
                        id[n++] = *p;
        id[n] = '\0';
}

static int open_socket(struct dvol *v, struct err *err)
{
        struct daemon *d = v->pool->daemon;
        const struct front_observer observer = {vub_event, front_trouble, v};
        struct vub_options options = VUB_OPTIONS_DEFAULT;
        char path[PATH_MAX];
        int rc =
            dvol_socket_path(d, v->pool->spec.name, volume_name(v->vol), path, sizeof(path), err);

        if (rc < 0)
                return rc;
        options.mode = (mode_t)d->cfg.disk_mode;
        options.uid = d->disk_uid;
        options.gid = d->disk_gid;
        serial_of(v->vol, options.id);
        return vub_server_new(d->loop, path, v->nvc, &options, &observer, &v->vub, err);
}

static bool file_may_read(void *ctx)
{
        struct migration_info info;

        migration_volume_info(ctx, &info);
        return !info.hidden;
}

static uint64_t file_allocated(void *ctx)
{
        const struct dvol *v = ctx;
        struct volume_info info;

        volume_get_info(v->vol, &info);
        return info.allocated_bytes;
}

static int open_file(struct dvol *v, struct err *err)
{
        const struct fuse_file_ops ops = {.observer = {fuse_event, front_trouble, v},
                                          .may_read = file_may_read,
                                          .allocated_bytes = file_allocated,
                                          .ctx = v};
        struct fuse_front *fuse = v->pool->daemon->fuse;
        int rc = fuse ? fuse_front_add_file(fuse, v->pool->spec.name, volume_name(v->vol), v->nvc,
                                            &ops, &v->file)
                      : 0;

        return rc < 0 ? err_set_sys(err, -rc, "%s/%s cannot be shown as a file", v->pool->spec.name,
                                    volume_name(v->vol))
                      : 0;
}

/* Leaves v->nvc as it is while something still needs the controller: a detach tries again. */
static void drop_controller(struct dvol *v)
{
        if (migration_detach(v) && nvm_controller_destroy(v->nvc, NULL) == 0)
                v->nvc = NULL;
}

int dvol_attach(struct dvol *v, struct err *err)
{
        const struct nvm_namespace_spec ns = {
            .ops = &nvm_volume_backing, .backing = v->vol, .uuid = *volume_uuid(v->vol)};
        int rc = nvm_controller_create(v->pool->daemon->nvm, &ns, &v->nvc, err);

        if (rc < 0)
                return rc;
        rc = migration_attach(v, err);
        if (rc == 0)
                rc = open_socket(v, err);
        if (rc == 0)
                rc = open_file(v, err);
        if (rc < 0) {
                vub_server_free(v->vub); /* nobody can have connected yet */
                v->vub = NULL;
                drop_controller(v);
        }
        return rc;
}

struct dvol *dvol_add(struct dpool *p, struct volume *vol)
{
        struct dvol *v = calloc(1, sizeof(*v));
        struct err err = ERR_INIT;

        if (!v)
                return NULL;
        v->pool = p;
        v->vol = vol;
        list_add_tail(&p->volumes, &v->node);
        volume_set_context(vol, v);
        int rc = dvol_attach(v, &err);
        if (rc < 0) {
                v->error = err;
                v->error.code = -rc;
        }
        return v;
}

/* ---- detaching ---- */

static void detach_step(struct loop_timer *t);

/* The controller may still be busy with what a migration had under way: looked at again until it is
 * not. A stop's deadline bounds that. */
static void take_controller(struct dvol *v)
{
        if (v->nvc)
                drop_controller(v);
        if (v->nvc) {
                struct loop *loop = v->pool->daemon->loop;
                loop_timer_arm(loop, &v->detach_step, loop_now_ns(loop) + DETACH_RETRY_NS);
                return;
        }
        void (*done)(void *) = v->detached;
        v->detached = NULL;
        done(v->detach_ctx);
}

static void detach_step(struct loop_timer *t)
{
        take_controller(container_of(t, struct dvol, detach_step));
}

static void one_closed(struct dvol *v)
{
        struct loop *loop = v->pool->daemon->loop;

        if (--v->closing == 0)
                loop_timer_arm(loop, &v->detach_step, loop_now_ns(loop));
}

static void socket_closed(void *ctx)
{
        struct dvol *v = ctx;

        vub_server_free(v->vub);
        v->vub = NULL;
        one_closed(v);
}

static void file_removed(void *ctx)
{
        struct dvol *v = ctx;

        v->file = NULL;
        one_closed(v);
}

void dvol_detach(struct dvol *v, void *ctx, void (*done)(void *ctx))
{
        v->going = true;
        v->detach_ctx = ctx;
        v->detached = done;
        v->detach_step.fire = detach_step;
        v->closing = 1;
        dvol_release(v);
        if (v->vub) {
                v->closing++;
                vub_server_close(v->vub, v, socket_closed);
        }
        if (v->file) {
                v->closing++;
                fuse_file_remove(v->file, v, file_removed);
        }
        one_closed(v);
}
