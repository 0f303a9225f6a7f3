/* libvirt_storage_backend_fs.so: the stock `fs` backends, then zonepool's.
 *
 * libvirtd loads one module per storage backend it was compiled for and refuses to start when one
 * of them does not load. zonepool's backend is bound to one version of libvirt, so it must not
 * stand in such a place. This module does, and depends on nothing but libc: it loads the stock
 * module of the slot, reports what that reports, and then tries ours; whatever is wrong with ours
 * is logged and costs the pool type only.
 *
 * Places: the stock module in STOCK_DIR; ours is zonepool-backend.so in the folder above this
 * file's, so that an installed tree works wherever it was put.
 *
 * Invariant: this function fails only if the stock module does.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY "virStorageBackendFsRegister"
#define STOCK_MODULE STOCK_DIR "/libvirt_storage_backend_fs.so"
#define OWN_ENTRY "zonepool_backend_register"

/* Public numbers of libvirt's error API (libvirt/virterror.h). */
enum { FROM_STORAGE = 18, ERR_INTERNAL_ERROR = 1 };

typedef int register_fn(void);

__attribute__((visibility("default"))) int virStorageBackendFsRegister(void);

/* Into libvirtd's log, or to stderr when libvirt is not there. why NULL: what dlerror says. */
static void log_failure(const char *what, const char *why)
{
        char text[512];

        /* a copy: the calls below end the life of dlerror's text */
        snprintf(text, sizeof(text), "%s", why ? why : dlerror());
        void (*report)(int, int, const char *, const char *, size_t, const char *, ...) =
            (__typeof__(report))dlsym(RTLD_DEFAULT, "virReportErrorHelper");
        void (*reset)(void) = (__typeof__(reset))dlsym(RTLD_DEFAULT, "virResetLastError");

        if (!report) {
                fprintf(stderr, "zonepool: %s: %s\n", what, text);
                return;
        }
        report(FROM_STORAGE, ERR_INTERNAL_ERROR, __FILE__, __func__, __LINE__,
               "zonepool pools are not available: %s: %s", what, text);
        if (reset)
                reset();
}

static int register_stock(void)
{
        if (access(STOCK_MODULE, R_OK) < 0)
                return 0; /* not installed: what libvirtd itself does then is to pass over it */

        void *module = dlopen(STOCK_MODULE, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
        register_fn *entry = module ? (register_fn *)dlsym(module, ENTRY) : NULL;
        if (!entry) {
                log_failure(STOCK_MODULE, NULL);
                return -1;
        }
        return entry();
}

/* Fills path with zonepool-backend.so's. Returns 0 or -errno. */
static int find_own(char path[static 4096])
{
        Dl_info self;
        char *real, *slash;
        int rc = 0;

        if (!dladdr((void *)virStorageBackendFsRegister, &self) || !self.dli_fname)
                return -ENOENT;
        real = realpath(self.dli_fname, NULL);
        if (!real)
                return -errno;
        for (int up = 0; up < 2 && rc == 0; up++) {
                slash = strrchr(real, '/');
                if (slash)
                        *slash = '\0';
                else
                        rc = -ENOENT;
        }
        if (rc == 0 && snprintf(path, 4096, "%s/zonepool-backend.so", real) >= 4096)
                rc = -ENAMETOOLONG;
        free(real);
        return rc;
}

/* A file that was cut short (a full disk during an upgrade) kills the process that maps it. True
 * when all that would be mapped is there; what else may be wrong, dlopen finds. */
static bool is_whole(const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        ElfW(Ehdr) head;
        bool whole =
            fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &head, sizeof(head), 0) == sizeof(head) &&
            memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_phentsize == sizeof(ElfW(Phdr));

        for (unsigned i = 0; whole && i < head.e_phnum; i++) {
                ElfW(Phdr) part;
                off_t at = (off_t)(head.e_phoff + i * sizeof(part));

                whole = at >= 0 && pread(fd, &part, sizeof(part), at) == sizeof(part) &&
                        (part.p_type != PT_LOAD ||
                         (part.p_offset <= (uint64_t)st.st_size &&
                          part.p_filesz <= (uint64_t)st.st_size - part.p_offset));
        }
        if (fd >= 0)
                close(fd);
        return whole;
}

static void register_own(void)
{
        char path[4096];
        int rc = find_own(path);

        if (rc < 0) {
                log_failure("zonepool-backend.so", strerror(-rc));
                return;
        }
        if (!is_whole(path)) {
                log_failure(path, "it is missing, cut short, or no module");
                return;
        }
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        register_fn *entry = module ? (register_fn *)dlsym(module, OWN_ENTRY) : NULL;
        if (!entry)
                log_failure(path, NULL);
        else if (entry() < 0)
                log_failure(path, "it refused to register");
}

int virStorageBackendFsRegister(void)
{
        int rc = register_stock();

        if (rc >= 0)
                register_own();
        return rc;
}
