/* The tree: names, attributes, directories, and what is refused.
 *
 * Inode numbers go up and are never used again, so a stale one meets nobody; the kernel's reference
 * counts are not needed. Names and attributes are not cached by the kernel (timeouts of 0): pools
 * and volumes come, go and grow without a notification, which could block on a lock that a request
 * of ours holds.
 *
 * Owner and mode of a file can be changed (libvirt gives disks to QEMU's user); they are kept in
 * memory and are the options' again after a restart.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
        BLOCK = 4096,
        IO_SIZE = 256 << 10, /* what tools should read and write at once: nothing is cached */
};

static struct fuse_front *front_of(fuse_req_t req)
{
        return fuse_req_userdata(req);
}

/* ---- finding ---- */

struct fuse_pool *fuse_pool_by_name(struct fuse_front *f, const char *name)
{
        struct fuse_pool *p;
        list_for_each (p, &f->pools, node)
                if (strcmp(p->name, name) == 0)
                        return p;
        return NULL;
}

static struct fuse_pool *pool_by_ino(struct fuse_front *f, fuse_ino_t ino)
{
        struct fuse_pool *p;
        list_for_each (p, &f->pools, node)
                if (p->ino == ino)
                        return p;
        return NULL;
}

static struct fuse_file *file_by_ino(struct fuse_front *f, fuse_ino_t ino)
{
        struct fuse_pool *p;
        struct fuse_file *file;
        list_for_each (p, &f->pools, node)
                list_for_each (file, &p->files, node)
                        if (file->ino == ino && !file->shut)
                                return file;
        return NULL;
}

int fuse_front_add_pool(struct fuse_front *front, const char *pool)
{
        struct fuse_pool *p;

        if (fuse_pool_by_name(front, pool))
                return -EEXIST;
        if (strlen(pool) > POOL_NAME_MAX)
                return -EINVAL;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->ino = ++front->last_ino;
        strcpy(p->name, pool);
        list_init(&p->files);
        list_add_tail(&front->pools, &p->node);
        return 0;
}

int fuse_front_remove_pool(struct fuse_front *front, const char *pool)
{
        struct fuse_pool *p = fuse_pool_by_name(front, pool);

        if (!p)
                return -ENOENT;
        if (!list_empty(&p->files))
                return -ENOTEMPTY;
        list_del(&p->node);
        free(p);
        return 0;
}

/* ---- attributes ---- */

static void dir_attr(const struct fuse_front *f, fuse_ino_t ino, struct stat *st)
{
        *st = (struct stat){
            .st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2, .st_blksize = BLOCK};
        st->st_mtim = st->st_ctim = st->st_atim = f->born;
}

static void file_attr(const struct fuse_file *file, struct stat *st)
{
        uint64_t size = nvc_size_bytes(file->controller);
        uint64_t held = file->ops.allocated_bytes ? file->ops.allocated_bytes(file->ops.ctx) : size;

        *st = (struct stat){.st_ino = file->ino,
                            .st_mode = S_IFREG | file->mode,
                            .st_nlink = 1,
                            .st_uid = file->uid,
                            .st_gid = file->gid,
                            .st_size = (off_t)size,
                            .st_blksize = IO_SIZE,
                            .st_blocks = (blkcnt_t)DIV_ROUND_UP(held, 512)};
        st->st_mtim = st->st_ctim = st->st_atim = file->mtime;
}

/* False: no such node. */
static bool attr_of(struct fuse_front *f, fuse_ino_t ino, struct stat *st)
{
        const struct fuse_file *file = file_by_ino(f, ino);

        if (file)
                file_attr(file, st);
        else if (ino == FUSE_ROOT_ID || pool_by_ino(f, ino))
                dir_attr(f, ino, st);
        else
                return false;
        return true;
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct stat st;

        if (attr_of(front_of(req), ino, &st))
                fuse_reply_attr(req, &st, 0);
        else
                fuse_reply_err(req, ESTALE);
}

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
        struct fuse_file *file = file_by_ino(front_of(req), ino);
        struct stat st;

        if (!file) {
                fuse_reply_err(req, EPERM);
                return;
        }
        if ((to_set & FUSE_SET_ATTR_SIZE) &&
            (uint64_t)attr->st_size != nvc_size_bytes(file->controller)) {
                fuse_reply_err(req, EPERM);
                return;
        }
        if (to_set & FUSE_SET_ATTR_MODE)
                file->mode = attr->st_mode & 0777;
        if (to_set & FUSE_SET_ATTR_UID)
                file->uid = attr->st_uid;
        if (to_set & FUSE_SET_ATTR_GID)
                file->gid = attr->st_gid;
        if (to_set & FUSE_SET_ATTR_MTIME_NOW)
                clock_gettime(CLOCK_REALTIME_COARSE, &file->mtime);
        else if (to_set & FUSE_SET_ATTR_MTIME)
                file->mtime = attr->st_mtim;
        file_attr(file, &st);
        fuse_reply_attr(req, &st, 0);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct fuse_front *f = front_of(req);
        struct fuse_entry_param e = {0};
        struct fuse_pool *p = parent == FUSE_ROOT_ID ? NULL : pool_by_ino(f, parent);
        struct fuse_file *file;

        if (parent == FUSE_ROOT_ID) {
                struct fuse_pool *child = fuse_pool_by_name(f, name);
                e.ino = child ? child->ino : 0;
        } else if (p) {
                list_for_each (file, &p->files, node)
                        if (!file->shut && strcmp(file->name, name) == 0)
                                e.ino = file->ino;
        }
        if (e.ino && attr_of(f, e.ino, &e.attr))
                fuse_reply_entry(req, &e);
        else
                fuse_reply_err(req, ENOENT);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
        fuse_reply_none(req);
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
        struct fuse_front *f = front_of(req);
        struct fuse_file *file = file_by_ino(f, ino);
        struct fuse_pool *p = file ? file->pool : pool_by_ino(f, ino);
        uint64_t total = 0, available = 0;

        if (p && f->options.space)
                f->options.space(f->options.ctx, p->name, &total, &available);
        struct statvfs st = {.f_bsize = BLOCK,
                             .f_frsize = BLOCK,
                             .f_blocks = total / BLOCK,
                             .f_bfree = available / BLOCK,
                             .f_bavail = available / BLOCK,
                             .f_namemax = VOLUME_NAME_MAX};
        fuse_reply_statfs(req, &st);
}

/* ---- directories ---- */

struct listing {
        fuse_req_t req;
        char *buf;
        size_t size, used;
        bool full;
};

/* The offset of an entry is its inode number: entries are listed in that order, so a listing that
 * goes on finds its place whatever has come or gone. "." is 1, ".." 2, below every other number. */
static void list_entry_add(struct listing *l, const char *name, fuse_ino_t ino, mode_t type,
                           off_t off)
{
        struct stat st = {.st_ino = ino, .st_mode = type};

        if (l->full)
                return;
        size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, name, &st, off);
        if (n > l->size - l->used)
                l->full = true;
        else
                l->used += n;
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
        struct fuse_front *f = front_of(req);
        struct fuse_pool *p = pool_by_ino(f, ino), *child;
        struct listing l = {.req = req, .buf = malloc(size), .size = size};
        struct fuse_file *file;

        if (!l.buf || (ino != FUSE_ROOT_ID && !p)) {
                fuse_reply_err(req, l.buf ? ESTALE : ENOMEM);
                free(l.buf);
                return;
        }
        if (off < 1)
                list_entry_add(&l, ".", ino, S_IFDIR, 1);
        if (off < 2)
                list_entry_add(&l, "..", FUSE_ROOT_ID, S_IFDIR, 2);
        if (p) {
                list_for_each (file, &p->files, node)
                        if (file->ino > (fuse_ino_t)off && !file->shut)
                                list_entry_add(&l, file->name, file->ino, S_IFREG,
                                               (off_t)file->ino);
        } else {
                list_for_each (child, &f->pools, node)
                        if (child->ino > (fuse_ino_t)off)
                                list_entry_add(&l, child->name, child->ino, S_IFDIR,
                                               (off_t)child->ino);
        }
        fuse_reply_buf(req, l.buf, l.used);
        free(l.buf);
}

/* ---- files ---- */

static struct fuse_handle *handle_of(const struct fuse_file_info *fi)
{
        return (struct fuse_handle *)(uintptr_t)fi->fh;
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fuse_file *file = file_by_ino(front_of(req), ino);

        if (file)
                fuse_do_open(req, file, fi);
        else
                fuse_reply_err(req, ESTALE);
}

static void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        fuse_do_release(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
        fuse_do_read(req, handle_of(fi), size, (uint64_t)off);
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
        fuse_do_write(req, handle_of(fi), buf, size, (uint64_t)off);
}

static void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        fuse_do_flush(req, handle_of(fi));
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
        fuse_do_flush(req, handle_of(fi));
}

static void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
                         struct fuse_file_info *fi)
{
        fuse_do_fallocate(req, handle_of(fi), mode, (uint64_t)off, (uint64_t)length);
}

static void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
        fuse_do_lseek(req, handle_of(fi), (uint64_t)off, whence);
}

/* ---- refused: volumes are made and removed through zonepoold ---- */

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
        fuse_reply_err(req, EPERM);
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
        fuse_reply_err(req, EPERM);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
        fuse_reply_err(req, EPERM);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        fuse_reply_err(req, EPERM);
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                      const char *newname, unsigned int flags)
{
        fuse_reply_err(req, EPERM);
}

/* Requests are read into memory of ours, never through pipes, and O_TRUNC comes with the open,
 * where it is ignored, as by a block device. */
static void do_init(void *userdata, struct fuse_conn_info *conn)
{
        conn->want &=
            ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
        conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO);
        conn->max_write = FUSE_MAX_IO;
        conn->max_read = FUSE_MAX_IO;
        conn->max_background = 64;
}

const struct fuse_lowlevel_ops fuse_front_ops = {
    .init = do_init,
    .lookup = do_lookup,
    .forget = do_forget,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .statfs = do_statfs,
    .readdir = do_readdir,
    .open = do_open,
    .release = do_release,
    .read = do_read,
    .write = do_write,
    .flush = do_flush,
    .fsync = do_fsync,
    .fallocate = do_fallocate,
    .lseek = do_lseek,
    .create = do_create,
    .mknod = do_mknod,
    .mkdir = do_mkdir,
    .unlink = do_unlink,
    .rmdir = do_unlink,
    .rename = do_rename,
};
