/* Files and their descriptors: who holds the controller, and from when to when.
 *
 * The first open for writing attaches to the controller and reports FRONT_RINGS_ON; the answer
 * waits until the gate is open (the owner's tables may first have to make something durable), at
 * most gate_timeout_ms. When the last such descriptor is released and its requests have completed
 * the controller is given up, then FRONT_RINGS_OFF is reported. A descriptor for reading holds
 * nothing and reads past the gate.
 *
 * Life: a file that is removed leaves its directory at once and becomes quiet when nothing of it is
 * under way; its memory stays while a descriptor names it.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>

/* An open for writing that waits for the gate. */
struct fuse_opening {
        struct list node;
        fuse_req_t req;
        struct fuse_file_info fi;
};

/* ---- holding the controller ---- */

static void tell(struct fuse_file *file, enum front_event event, pid_t pid)
{
        const struct front_observer *o = &file->ops.observer;
        if (o->event)
                o->event(o->ctx, event, pid);
}

/* Why an open was refused; at most once a second a file, for anybody with the right may try. */
static void tell_trouble(struct fuse_file *file, const struct err *err)
{
        const struct front_observer *o = &file->ops.observer;
        uint64_t now = clock_now_ns();

        if (!o->trouble || (file->trouble_ns && now - file->trouble_ns < UINT64_C(1000000000)))
                return;
        file->trouble_ns = now;
        o->trouble(o->ctx, err);
}

static void drop_hold(struct fuse_file *file)
{
        nvc_detach_front(file->controller, &file->hold);
        file->held = false;
        loop_timer_disarm(&file->gate_timer);
        tell(file, FRONT_RINGS_OFF, 0);
}

void fuse_file_settle(struct fuse_file *file)
{
        if (file->held && (file->shut || !file->writers) && list_empty(&file->opening) &&
            !fuse_io_busy(file))
                drop_hold(file);
        if (file->shut && !file->told && !file->held && !file->seeks &&
            list_empty(&file->ops_list)) {
                file->told = true;
                loop_defer(file->front->loop, &file->quiet);
        }
}

/* ---- opening ---- */

static void finish_open(struct fuse_file *file, fuse_req_t req, struct fuse_file_info *fi,
                        bool write)
{
        struct fuse_handle *h = calloc(1, sizeof(*h));

        if (!h) {
                fuse_reply_err(req, ENOMEM);
                fuse_file_settle(file);
                return;
        }
        h->file = file;
        h->write = write;
        list_add_tail(&file->handles, &h->node);
        *(write ? &file->writers : &file->readers) += 1;
        fi->fh = (uintptr_t)h;
        fi->direct_io = 1;
        fi->keep_cache = 0;
        if (fuse_reply_open(req, fi) == -ENOENT) { /* interrupted: no release will come */
                list_del(&h->node);
                *(write ? &file->writers : &file->readers) -= 1;
                free(h);
                fuse_file_settle(file);
        }
}

static void end_openings(struct fuse_file *file, int error)
{
        struct fuse_opening *o;

        while ((o = list_first(&file->opening, struct fuse_opening, node))) {
                list_del(&o->node);
                if (error)
                        fuse_reply_err(o->req, error);
                else
                        finish_open(file, o->req, &o->fi, true);
                free(o);
        }
        fuse_file_settle(file);
}

static void gate_turned(struct nvm_front *front)
{
        struct fuse_file *file = container_of(front, struct fuse_file, hold);

        if (!nvc_may_submit(file->controller))
                return;
        loop_timer_disarm(&file->gate_timer);
        end_openings(file, 0);
        fuse_io_kick(file);
}

static void first_request(struct nvm_front *front)
{
        tell(container_of(front, struct fuse_file, hold), FRONT_FIRST_REQUEST, 0);
}

static void gate_timeout(struct loop_timer *t)
{
        struct fuse_file *file = container_of(t, struct fuse_file, gate_timer);
        struct err err = ERR_INIT;

        err_set(
            &err, EREMOTE,
            "the file is not served: the volume is another host's, or has been suspended for %u ms",
            file->front->options.gate_timeout_ms);
        tell_trouble(file, &err);
        fuse_io_fail_waiting(file, EIO);
        end_openings(file, EREMOTE);
}

void fuse_file_await_gate(struct fuse_file *file)
{
        struct loop *loop = file->front->loop;
        if (!loop_timer_armed(&file->gate_timer))
                loop_timer_arm(loop, &file->gate_timer,
                               clock_now_ns() +
                                   file->front->options.gate_timeout_ms * UINT64_C(1000000));
}

static int take_hold(struct fuse_file *file, pid_t pid)
{
        struct err err = ERR_INIT;

        if (file->held)
                return 0;
        int rc = nvc_attach_front(file->controller, &file->hold, &err);
        if (rc < 0) {
                err_prefix(&err, "process %d cannot open the file for writing", (int)pid);
                tell_trouble(file, &err);
                return rc;
        }
        file->held = true;
        tell(file, FRONT_RINGS_ON, pid);
        return 0;
}

static void open_for_writing(fuse_req_t req, struct fuse_file *file, struct fuse_file_info *fi)
{
        struct fuse_opening *o;
        int rc = take_hold(file, fuse_req_ctx(req)->pid);

        if (rc < 0) {
                fuse_reply_err(req, -rc);
                return;
        }
        if (nvc_may_submit(file->controller)) {
                finish_open(file, req, fi, true);
                return;
        }
        o = calloc(1, sizeof(*o));
        if (!o) {
                fuse_reply_err(req, ENOMEM);
                fuse_file_settle(file);
                return;
        }
        o->req = req;
        o->fi = *fi;
        list_add_tail(&file->opening, &o->node);
        fuse_file_await_gate(file);
}

void fuse_do_open(fuse_req_t req, struct fuse_file *file, struct fuse_file_info *fi)
{
        if (file->shut)
                fuse_reply_err(req, ESTALE);
        else if ((fi->flags & O_ACCMODE) != O_RDONLY)
                open_for_writing(req, file, fi);
        else if (file->ops.may_read && !file->ops.may_read(file->ops.ctx))
                fuse_reply_err(req, EREMOTE);
        else
                finish_open(file, req, fi, false);
}

void fuse_do_release(fuse_req_t req, struct fuse_file_info *fi)
{
        struct fuse_handle *h = (struct fuse_handle *)(uintptr_t)fi->fh;
        struct fuse_file *file = h->file;

        list_del(&h->node);
        *(h->write ? &file->writers : &file->readers) -= 1;
        free(h);
        fuse_reply_err(req, 0);
        if (!file->pool && file->told && !file->quiet.loop && list_empty(&file->handles))
                fuse_file_free(file);
        else
                fuse_file_settle(file);
}

/* ---- coming and going ---- */

static void file_quiet(struct loop_defer *d)
{
        struct fuse_file *file = container_of(d, struct fuse_file, quiet);
        struct fuse_front *front = file->front;
        void (*removed)(void *) = file->removed;
        void *ctx = file->removed_ctx;

        file->controller = NULL;
        file->removed = NULL;
        if (!file->pool && list_empty(&file->handles))
                fuse_file_free(file);
        if (removed)
                removed(ctx);
        fuse_front_file_quiet(front);
}

int fuse_front_add_file(struct fuse_front *front, const char *pool, const char *volume,
                        struct nvm_controller *controller, const struct fuse_file_ops *ops,
                        struct fuse_file **ret_file)
{
        struct fuse_pool *p = fuse_pool_by_name(front, pool);
        struct fuse_file *file;

        if (!p || strlen(volume) > VOLUME_NAME_MAX)
                return -ENOENT;
        list_for_each (file, &p->files, node)
                if (strcmp(file->name, volume) == 0)
                        return -EEXIST;
        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;
        file->front = front;
        file->pool = p;
        file->ino = ++front->last_ino;
        strcpy(file->name, volume);
        file->controller = controller;
        file->ops = *ops;
        file->mode = front->options.mode;
        file->uid = front->options.uid;
        file->gid = front->options.gid;
        file->mtime = front->born;
        file->hold = (struct nvm_front){"fuse", gate_turned, first_request};
        file->gate_timer.fire = gate_timeout;
        file->quiet.call = file_quiet;
        list_init(&file->handles);
        list_init(&file->opening);
        list_init(&file->ops_list);
        list_add_tail(&p->files, &file->node);
        *ret_file = file;
        return 0;
}

void fuse_file_shut(struct fuse_file *file)
{
        file->shut = true;
        fuse_io_fail_waiting(file, ESTALE);
        end_openings(file, ESTALE);
}

void fuse_file_remove(struct fuse_file *file, void *ctx, void (*done)(void *ctx))
{
        file->removed = done;
        file->removed_ctx = ctx;
        list_del(&file->node);
        list_add_tail(&file->front->gone, &file->node);
        file->pool = NULL;
        if (file->told) /* the front was closed before */
                loop_defer(file->front->loop, &file->quiet);
        else
                fuse_file_shut(file);
}

void fuse_file_free(struct fuse_file *file)
{
        struct fuse_handle *h;

        while ((h = list_first(&file->handles, struct fuse_handle, node))) {
                list_del(&h->node);
                free(h);
        }
        loop_timer_disarm(&file->gate_timer);
        loop_defer_cancel(&file->quiet);
        list_del(&file->node);
        free(file);
}

uint32_t fuse_file_readers(const struct fuse_file *file)
{
        return file->readers;
}
