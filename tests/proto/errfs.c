/* A file system for tests whose files fail at will: a flat view of a directory, over FUSE.
 *
 *   errfs BACKING MOUNTPOINT        in the foreground, until it is unmounted
 *
 * Where BACKING holds a file NAME.fail, reads, writes and flushes of NAME give the errno that stands
 * there as a number; with a line "w" behind it only writes and flushes do. A read that the page
 * cache answers does not get here, so files are open without it. */
#define FUSE_USE_VERSION 34
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *backing;

static const char *real(const char *path, const char *more, char out[PATH_MAX])
{
        snprintf(out, PATH_MAX, "%s%s%s", backing, path, more);
        return out;
}

/* 0, or -errno that is asked for. */
static int trouble(const char *path, int writing)
{
        char name[PATH_MAX], only = 0;
        int no = 0;
        FILE *f = fopen(real(path, ".fail", name), "re");
        if (!f)
                return 0;
        int n = fscanf(f, "%d %c", &no, &only);
        fclose(f);
        return n >= 1 && (writing || only != 'w') ? -no : 0;
}

static int ef_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
        char name[PATH_MAX];
        return lstat(real(path, "", name), st) < 0 ? -errno : 0;
}

static int ef_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
        char name[PATH_MAX];
        DIR *d = opendir(real(path, "", name));
        if (!d)
                return -errno;
        for (struct dirent *e; (e = readdir(d));)
                fill(buf, e->d_name, NULL, 0, 0);
        closedir(d);
        return 0;
}

static int ef_open(const char *path, struct fuse_file_info *fi)
{
        char name[PATH_MAX];
        int fd = open(real(path, "", name), (fi->flags & O_ACCMODE) | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        fi->fh = (uint64_t)fd;
        return 0;
}

static int ef_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
        char name[PATH_MAX];
        int fd = open(real(path, "", name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        fi->fh = (uint64_t)fd;
        return 0;
}

static int ef_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
        int rc = trouble(path, 0);
        ssize_t n = rc < 0 ? 0 : pread((int)fi->fh, buf, len, off);
        return rc < 0 ? rc : n < 0 ? -errno : (int)n;
}

static int ef_write(const char *path, const char *buf, size_t len, off_t off,
                    struct fuse_file_info *fi)
{
        int rc = trouble(path, 1);
        ssize_t n = rc < 0 ? 0 : pwrite((int)fi->fh, buf, len, off);
        return rc < 0 ? rc : n < 0 ? -errno : (int)n;
}

static int ef_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
        int rc = trouble(path, 1);
        return rc < 0 ? rc : fdatasync((int)fi->fh) < 0 ? -errno : 0;
}

static int ef_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
        char name[PATH_MAX];
        return truncate(real(path, "", name), size) < 0 ? -errno : 0;
}

static int ef_unlink(const char *path)
{
        char name[PATH_MAX];
        return unlink(real(path, "", name)) < 0 ? -errno : 0;
}

static int ef_release(const char *path, struct fuse_file_info *fi)
{
        close((int)fi->fh);
        return 0;
}

int main(int argc, char **argv)
{
        static const struct fuse_operations ops = {.getattr = ef_getattr,
                                                   .readdir = ef_readdir,
                                                   .open = ef_open,
                                                   .create = ef_create,
                                                   .read = ef_read,
                                                   .write = ef_write,
                                                   .fsync = ef_fsync,
                                                   .truncate = ef_truncate,
                                                   .unlink = ef_unlink,
                                                   .release = ef_release};
        char *args[] = {argv[0], argc > 2 ? argv[2] : NULL, "-f", "-s", NULL};
        if (argc != 3) {
                fprintf(stderr, "usage: errfs BACKING MOUNTPOINT\n");
                return 2;
        }
        backing = argv[1];
        return fuse_main(4, args, &ops, NULL);
}
