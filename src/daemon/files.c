/* Small files of the daemon, see files.h. */
#include "daemon/files.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

int dir_make(const char *path, mode_t mode, struct err *err)
{
        char part[PATH_MAX];
        struct stat st;

        if (strlen(path) >= sizeof(part))
                return err_set(err, ENAMETOOLONG, "directory name %.60s... is too long", path);
        strcpy(part, path);
        for (char *p = part + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(part, 0755) < 0 && errno != EEXIST)
                        return err_set_sys(err, errno, "cannot make directory %s", part);
                *p = '/';
        }
        if (mkdir(part, mode) < 0 && errno != EEXIST)
                return err_set_sys(err, errno, "cannot make directory %s", part);
        if (stat(part, &st) < 0)
                return err_set_sys(err, errno, "%s", part);
        return S_ISDIR(st.st_mode) ? 0 : err_set(err, ENOTDIR, "%s is not a directory", part);
}

static int sync_parent(const char *path, struct err *err)
{
        char dir[PATH_MAX];
        const char *slash = strrchr(path, '/');
        size_t len = slash ? (size_t)(slash - path) : 0;

        snprintf(dir, sizeof(dir), "%.*s", slash ? (int)MAX(len, 1u) : 1, slash ? path : ".");
        CLEANUP(close_fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return err_set_sys(err, errno, "cannot make changes in %s durable", dir);
        return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
        while (len > 0) {
                ssize_t n = write(fd, data, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                len -= (size_t)n;
        }
        return 0;
}

int file_replace(const char *path, const char *data, size_t len, struct err *err)
{
        char tmp[PATH_MAX];
        int rc;

        if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
                return err_set(err, ENAMETOOLONG, "file name %.60s... is too long", path);
        CLEANUP(close_fd) int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        if (fd < 0)
                return err_set_sys(err, errno, "cannot make %s", tmp);
        rc = write_all(fd, data, len);
        if (rc == 0 && fsync(fd) < 0)
                rc = -errno;
        if (rc == 0 && rename(tmp, path) < 0)
                rc = -errno;
        if (rc < 0) {
                unlink(tmp);
                return err_set_sys(err, -rc, "cannot write %s", path);
        }
        return sync_parent(path, err);
}

int file_replace_json(const char *path, const json_t *object, struct err *err)
{
        CLEANUP(free_ptr) char *text = json_dumps(object, JSON_INDENT(2));
        if (!text)
                return err_set(err, ENOMEM, "%s: out of memory", path);
        return file_replace(path, text, strlen(text), err);
}

int file_load_json(const char *path, json_t **ret_object, struct err *err)
{
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
        json_error_t je;
        struct stat st;

        if (fd < 0)
                return err_set_sys(err, errno, "%s", path);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_SMALL_MAX)
                return err_set(err, EBADMSG, "%s is not a small regular file", path);
        CLEANUP(free_ptr) char *text = malloc((size_t)st.st_size + 1);
        if (!text)
                return err_set(err, ENOMEM, "%s: out of memory", path);
        ssize_t n = read(fd, text, (size_t)st.st_size);
        if (n < 0)
                return err_set_sys(err, errno, "cannot read %s", path);
        json_t *object = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &je);
        if (!json_is_object(object)) {
                json_decref(object);
                return err_set(err, EBADMSG, "%s:%d: not a JSON object: %s", path, je.line,
                               je.text);
        }
        *ret_object = object;
        return 0;
}

int file_remove(const char *path, struct err *err)
{
        if (unlink(path) < 0)
                return errno == ENOENT ? 0 : err_set_sys(err, errno, "cannot remove %s", path);
        return sync_parent(path, err);
}

int rundir_lock(const char *dir, int *ret_fd, struct err *err)
{
        char path[PATH_MAX], text[32] = "";

        snprintf(path, sizeof(path), "%s/zonepoold.lock", dir);
        CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
                return err_set_sys(err, errno, "cannot open %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return err_set_sys(err, errno, "cannot lock %s", path);
                ssize_t n = read(fd, text, sizeof(text) - 1);
                text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
                return err_set(
                    err, EBUSY,
                    "another zonepoold (pid %s) uses %s; stop it or use another --rundir", text,
                    dir);
        }
        int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
                return err_set_sys(err, errno, "cannot write %s", path);
        *ret_fd = steal_fd(&fd);
        return 0;
}

int host_uuid_load(const char *dir, struct uuid *ret_uuid, struct err *err)
{
        char path[PATH_MAX], text[UUID_TEXT_LEN + 1];

        snprintf(path, sizeof(path), "%s/host-uuid", dir);
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return err_set_sys(err, errno, "%s", path);
        if (fd >= 0) {
                ssize_t n = read(fd, text, sizeof(text) - 1);
                text[MAX(n, 0)] = '\0';
                text[strcspn(text, "\n")] = '\0';
                if (uuid_parse_text(text, ret_uuid) < 0 || uuid_is_nil(ret_uuid))
                        return err_set(
                            err, EBADMSG,
                            "%s does not hold a UUID; restore it (peers know this host by "
                            "it) or remove it",
                            path);
                return 0;
        }
        random_bytes(NULL, ret_uuid, sizeof(*ret_uuid));
        uuid_from_random(ret_uuid);
        uuid_format(ret_uuid, text);
        text[UUID_TEXT_LEN - 1] = '\n';
        return file_replace(path, text, UUID_TEXT_LEN, err);
}

void random_bytes(void *ctx, void *buf, size_t len)
{
        char *p = buf;
        while (len > 0) {
                ssize_t n = getrandom(p, len, 0);
                if (n > 0) {
                        p += n;
                        len -= (size_t)n;
                }
        }
}
