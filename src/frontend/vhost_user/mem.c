/* Mapping of the guest's memory, see mem.h.
 *
 * A descriptor is mapped from its beginning, not from the region's offset: the offset need not be a
 * multiple of a huge page. Each mapping is registered with guard.h, so that a file which its owner
 * shortens later costs that owner the connection and nobody else anything.
 */
#include "frontend/vhost_user/mem.h"

#include "base/cleanup.h"
#include "base/le.h"
#include "frontend/vhost_user/guard.h"
#include "frontend/vhost_user/proto.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Of one mapping: what keeps a peer from taking all of our address space. */
#define MAP_MAX (UINT64_C(4) << 40)

static int map_region(struct vub_region *r, int fd, uint64_t offset, struct err *err)
{
        struct stat st;
        uint64_t end, guest_end, user_end;

        if (r->size == 0 || __builtin_add_overflow(offset, r->size, &end) || end > MAP_MAX ||
            __builtin_add_overflow(r->gpa, r->size, &guest_end) ||
            __builtin_add_overflow(r->user, r->size, &user_end))
                return err_set(err, EINVAL,
                               "memory region of %#lx bytes at guest address %#lx is "
                               "malformed",
                               (unsigned long)r->size, (unsigned long)r->gpa);
        if (fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "memory region's descriptor");
        if (!S_ISREG(st.st_mode))
                return err_set(err, EINVAL,
                               "memory region is not backed by shared memory or a file; "
                               "the domain needs <memoryBacking> with shared access");
        if ((uint64_t)st.st_size < end)
                return err_set(err, ERANGE, "memory region of %#lx bytes is larger than its file",
                               (unsigned long)r->size);

        size_t unit = st.st_blksize > 4096 ? (size_t)st.st_blksize : 4096;
        size_t len = DIV_ROUND_UP((size_t)end, unit) * unit;
        void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (map == MAP_FAILED)
                return err_set_sys(err, errno, "cannot map %zu bytes of guest memory", len);
        madvise(map, len, MADV_DONTDUMP);
        r->map = map;
        r->map_len = len;
        r->host = (uint8_t *)map + offset;
        vub_guard_add(map, len);
        return 0;
}

static bool overlaps(const struct vub_mem *mem, const struct vub_region *r)
{
        for (uint32_t i = 0; i < mem->nregions; i++) {
                const struct vub_region *o = &mem->regions[i];
                if (r->gpa < o->gpa + o->size && o->gpa < r->gpa + r->size)
                        return true;
        }
        return false;
}

int vub_mem_new(const uint8_t *payload, uint32_t len, const int *fds, int nfds,
                struct vub_mem **ret_mem, struct err *err)
{
        uint32_t n = len >= 8 ? get_le32(payload) : UINT32_MAX;
        if (n > VUB_MAX_REGIONS || len < 8 + n * VUB_REGION_BYTES || (int)n != nfds)
                return err_set(err, EINVAL, "memory table of %u bytes, %d descriptors is malformed",
                               len, nfds);

        struct vub_mem *mem = calloc(1, sizeof(*mem));
        if (!mem)
                return err_set(err, ENOMEM, "no memory for a memory table");
        mem->refs = 1;
        for (uint32_t i = 0; i < n; i++) {
                const uint8_t *p = payload + 8 + i * VUB_REGION_BYTES;
                struct vub_region r = {
                    .gpa = get_le64(p), .size = get_le64(p + 8), .user = get_le64(p + 16)};
                int rc = map_region(&r, fds[i], get_le64(p + 24), err);
                if (rc == 0 && overlaps(mem, &r)) {
                        vub_guard_del(r.map);
                        munmap(r.map, r.map_len);
                        rc = err_set(err, EINVAL, "memory regions overlap at guest address %#lx",
                                     (unsigned long)r.gpa);
                }
                if (rc < 0) {
                        vub_mem_unref(mem);
                        return rc;
                }
                mem->regions[mem->nregions++] = r;
        }
        *ret_mem = mem;
        return 0;
}

struct vub_mem *vub_mem_ref(struct vub_mem *mem)
{
        mem->refs++;
        return mem;
}

void vub_mem_unref(struct vub_mem *mem)
{
        if (!mem || --mem->refs > 0)
                return;
        for (uint32_t i = 0; i < mem->nregions; i++) {
                vub_guard_del(mem->regions[i].map);
                munmap(mem->regions[i].map, mem->regions[i].map_len);
        }
        free(mem);
}

uint8_t *vub_mem_at(const struct vub_mem *mem, uint64_t gpa, uint64_t *ret_run)
{
        for (uint32_t i = 0; i < mem->nregions; i++) {
                const struct vub_region *r = &mem->regions[i];
                if (gpa >= r->gpa && gpa - r->gpa < r->size) {
                        *ret_run = r->size - (gpa - r->gpa);
                        return r->host + (gpa - r->gpa);
                }
        }
        return NULL;
}

uint8_t *vub_mem_user(const struct vub_mem *mem, uint64_t user, uint64_t len)
{
        for (uint32_t i = 0; i < mem->nregions; i++) {
                const struct vub_region *r = &mem->regions[i];
                if (user >= r->user && user - r->user < r->size &&
                    len <= r->size - (user - r->user))
                        return r->host + (user - r->user);
        }
        return NULL;
}

int vub_mem_read(const struct vub_mem *mem, uint64_t gpa, void *buf, size_t len)
{
        uint8_t *to = buf;
        while (len > 0) {
                uint64_t run;
                const uint8_t *from = vub_mem_at(mem, gpa, &run);
                if (!from)
                        return -EFAULT;
                size_t n = run < len ? (size_t)run : len;
                memcpy(to, from, n);
                to += n;
                gpa += n;
                len -= n;
        }
        /* What was copied is now ours: the compiler may not fetch it from the guest again. */
        __asm__ volatile("" ::: "memory");
        return 0;
}
