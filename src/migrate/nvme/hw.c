/* A hardware management controller as the engine's target: libnvme's passthrough on /dev/nvmeN.
 *
 * The ioctl blocks, so one helper thread takes the requests in order and hands them back through an
 * eventfd; everything else is the loop's. The namespace's block device (/dev/nvmeNnM) takes I/O, it
 * has to have 4096-byte blocks (the engine's unit).
 *
 * Left out on purpose: Controller Data Queues (target.h says why), so that live logging
 * through this target ends with that reason.
 */
#include "base/cleanup.h"
#include "base/list.h"
#include "base/loop.h"
#include "migrate/nvme/passthru.h"
#include "migrate/nvme/target.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct hardware {
        struct nvme_target base;
        struct loop *loop;
        struct loop_fd done_fd;
        char path[64];
        int fd;
        pthread_t thread;
        pthread_mutex_t lock; /* guards todo, done, stop */
        pthread_cond_t more;
        struct list todo, done; /* of nvm_request.node; priv: NULL I/O, else admin */
        bool stop;
};

static int run(struct hardware *h, struct nvm_request *r)
{
        char path[96];
        uint32_t nsid = nvme_sqe_nsid(r->sqe), got = 0;

        if (r->priv)
                return nvme_passthru(h->fd, true, r->sqe, r->data, r->data_len, &r->dw0);
        snprintf(path, sizeof(path), "%sn%u", h->path, nsid);
        CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || nvme_passthru_nsid(fd, &got) != 0 || got != nsid)
                return -1;
        return nvme_passthru(fd, false, r->sqe, r->data, r->data_len, &r->dw0);
}

static void *worker(void *arg)
{
        struct hardware *h = arg;
        const uint64_t one = 1;

        pthread_mutex_lock(&h->lock);
        for (;;) {
                struct nvm_request *r = list_first(&h->todo, struct nvm_request, node);
                if (!r && h->stop)
                        break;
                if (!r) {
                        pthread_cond_wait(&h->more, &h->lock);
                        continue;
                }
                list_del(&r->node);
                pthread_mutex_unlock(&h->lock);
                r->dw0 = 0;
                int rc = run(h, r);
                r->status = rc < 0 ? NVME_SC_INTERNAL : (uint16_t)(rc & 0x7fff);
                pthread_mutex_lock(&h->lock);
                list_add_tail(&h->done, &r->node);
                if (write(h->done_fd.fd, &one, sizeof(one)) < 0)
                        break; /* cannot be: the counter is far from full */
        }
        pthread_mutex_unlock(&h->lock);
        return NULL;
}

static void on_done(struct loop_fd *w, uint32_t events)
{
        struct hardware *h = container_of(w, struct hardware, done_fd);
        struct nvm_request *r;
        struct list batch;
        uint64_t n;

        if (read(w->fd, &n, sizeof(n)) < 0)
                return;
        list_init(&batch);
        pthread_mutex_lock(&h->lock);
        list_splice_tail(&batch, &h->done);
        pthread_mutex_unlock(&h->lock);
        while ((r = list_first(&batch, struct nvm_request, node))) {
                list_del(&r->node);
                r->done(r);
        }
}

static void hw_submit(struct nvme_target *t, bool admin, struct nvm_request *r)
{
        struct hardware *h = container_of(t, struct hardware, base);

        r->priv = admin ? h : NULL;
        list_init(&r->node);
        pthread_mutex_lock(&h->lock);
        list_add_tail(&h->todo, &r->node);
        pthread_cond_signal(&h->more);
        pthread_mutex_unlock(&h->lock);
}

static void *hw_cdq_alloc(struct nvme_target *t, size_t len, uint64_t *ret_prp1, struct err *err)
{
        struct hardware *h = container_of(t, struct hardware, base);

        err_set(err, ENOTSUP,
                "%s: a Controller Data Queue cannot be made through this kernel's passthrough (its "
                "memory would be unmapped under the device): migrate with the guest shut off",
                h->path);
        return NULL;
}

static void hw_cdq_free(struct nvme_target *t, void *mem, size_t len)
{
}

static void hw_close(struct nvme_target *t)
{
        struct hardware *h = container_of(t, struct hardware, base);

        pthread_mutex_lock(&h->lock);
        h->stop = true;
        pthread_cond_signal(&h->more);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
        loop_fd_del(&h->done_fd);
        close(h->done_fd.fd);
        close(h->fd);
        pthread_mutex_destroy(&h->lock);
        pthread_cond_destroy(&h->more);
        free(h);
}

static const struct nvme_target_ops hw_ops = {
    .kind = "libnvme",
    .submit = hw_submit,
    .cdq_alloc = hw_cdq_alloc,
    .cdq_free = hw_cdq_free,
    .close = hw_close,
};

int nvme_target_hardware(struct loop *loop, const char *path, struct nvme_target **ret_target,
                         struct err *err)
{
        CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
        CLEANUP(close_fd) int efd = -1;
        struct hardware *h;

        if (fd < 0)
                return err_set_sys(err, errno, "%s", path);
        int probe = nvme_passthru_probe(fd);
        if (probe < 0)
                return err_set(err, ENOTTY, "%s is not an NVMe controller", path);
        if (!probe)
                return err_set(err, ENOTSUP,
                               "%s has no host-managed live migration (OACS bit 11 is clear)",
                               path);
        efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (efd < 0 || !(h = calloc(1, sizeof(*h))))
                return err_set_sys(err, efd < 0 ? errno : ENOMEM, "%s", path);
        h->base.ops = &hw_ops;
        h->loop = loop;
        snprintf(h->path, sizeof(h->path), "%s", path);
        list_init(&h->todo);
        list_init(&h->done);
        pthread_mutex_init(&h->lock, NULL);
        pthread_cond_init(&h->more, NULL);
        h->fd = fd;
        h->done_fd.fd = efd;
        h->done_fd.ready = on_done;
        int rc = loop_fd_add(loop, &h->done_fd, EPOLLIN);
        if (rc == 0 && (rc = -pthread_create(&h->thread, NULL, worker, h)) < 0)
                loop_fd_del(&h->done_fd);
        if (rc < 0) {
                free(h);
                return err_set_sys(err, -rc, "%s", path);
        }
        steal_fd(&fd);
        steal_fd(&efd);
        *ret_target = &h->base;
        return 0;
}
