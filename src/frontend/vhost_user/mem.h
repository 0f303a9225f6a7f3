/* The guest's memory as the peer shares it: SET_MEM_TABLE's regions, mapped.
 *
 * A table is immutable and counted: a request keeps the table it was read under until it completes,
 * so that a new table may come while requests run. Guest vCPUs and other processes write this
 * memory at any time: nothing read from it is read twice, and nothing in it is believed.
 *
 * Threads: the loop's.
 */
#ifndef ZONEPOOL_VHOST_USER_MEM_H
#define ZONEPOOL_VHOST_USER_MEM_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { VUB_MAX_REGIONS = 8 };

struct vub_region {
        uint64_t gpa; /* guest physical address */
        uint64_t user; /* the peer's virtual address */
        uint64_t size;
        uint8_t *host; /* where gpa is mapped here */
        void *map;
        size_t map_len;
};

struct vub_mem {
        unsigned refs;
        uint32_t nregions;
        struct vub_region regions[VUB_MAX_REGIONS];
};

/* payload: of SET_MEM_TABLE. The descriptors stay the caller's.
 * Errors, with text: -EINVAL malformed or overlapping; -ERANGE a file shorter than its region; what
 * mmap says. */
int vub_mem_new(const uint8_t *payload, uint32_t len, const int *fds, int nfds,
                struct vub_mem **ret_mem, struct err *err);
struct vub_mem *vub_mem_ref(struct vub_mem *mem);
/* NULL is accepted. The last one unmaps. */
void vub_mem_unref(struct vub_mem *mem);

/* Where gpa is mapped, NULL when it is not; *ret_run: bytes from there to the region's end. */
uint8_t *vub_mem_at(const struct vub_mem *mem, uint64_t gpa, uint64_t *ret_run);
/* Where [user, user + len) is mapped, NULL unless it lies in one region. */
uint8_t *vub_mem_user(const struct vub_mem *mem, uint64_t user, uint64_t len);
/* Copies out of guest memory, once. 0 or -EFAULT. */
int vub_mem_read(const struct vub_mem *mem, uint64_t gpa, void *buf, size_t len);

#endif
