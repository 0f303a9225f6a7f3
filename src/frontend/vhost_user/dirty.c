/* The dirty log, see dirty.h. */
#include "frontend/vhost_user/dirty.h"

#include "frontend/vhost_user/guard.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
        LOG_PAGE_SHIFT = 12,
        LOG_MAX = 1 << 30, /* bytes: guest addresses up to 2^45 */
};

int vub_log_set(struct vub_log *log, int fd, uint64_t size, uint64_t offset, struct err *err)
{
        struct stat st;
        uint64_t end;

        if (size == 0 || __builtin_add_overflow(size, offset, &end) || end > LOG_MAX)
                return err_set(err, EINVAL, "dirty log of %#lx bytes at %#lx is malformed",
                               (unsigned long)size, (unsigned long)offset);
        if (fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "dirty log's descriptor");
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < end)
                return err_set(err, EINVAL, "dirty log of %#lx bytes is larger than its file",
                               (unsigned long)size);
        void *map = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return err_set_sys(err, errno, "cannot map the dirty log");

        bool on = log->on;
        vub_log_fini(log);
        *log = (struct vub_log){
            .map = map, .map_len = end, .bits = (uint8_t *)map + offset, .nbytes = size, .on = on};
        vub_guard_add(map, end);
        return 0;
}

void vub_log_fini(struct vub_log *log)
{
        if (log->map) {
                vub_guard_del(log->map);
                munmap(log->map, log->map_len);
        }
        *log = (struct vub_log){0};
}

void vub_log_mark(struct vub_log *log, uint64_t gpa, uint64_t len)
{
        if (!log->on || len == 0)
                return;
        uint64_t last = (gpa + len - 1) >> LOG_PAGE_SHIFT;
        for (uint64_t page = gpa >> LOG_PAGE_SHIFT; page <= last; page++) {
                if (page / 8 >= log->nbytes) {
                        log->overrun = true;
                        return;
                }
                /* Pairs with the peer's atomic exchange: what was written to the page before is
                 * visible to whoever finds the bit. */
                __atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << (page % 8)),
                                  __ATOMIC_SEQ_CST);
        }
}
