/* Tracking of requests in flight across our restart, see inflight.h. */
#include "frontend/vhost_user/inflight.h"

#include "base/cleanup.h"
#include "base/le.h"
#include "frontend/vhost_user/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
        REGION_ALIGN = 64,
        REGION_HEADER = 16,
        REGION_VERSION = 1,
        DESC_BYTES = 16,
        MAP_MAX = 64 << 20, /* bytes of a peer's file, from its beginning */

        AT_FEATURES = 0,
        AT_VERSION = 8,
        AT_NUM = 10,
        AT_LAST_HEAD = 12,
        AT_USED_IDX = 14,

        DESC_INFLIGHT = 0,
        DESC_NEXT = 6,
        DESC_COUNTER = 8,
};

/* Keeps the stores before it before those after it, for whoever looks when this process is dead. */
static inline void order_stores(void)
{
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static uint64_t ring_bytes(uint16_t ring_size)
{
        return DIV_ROUND_UP(REGION_HEADER + (uint64_t)DESC_BYTES * ring_size, REGION_ALIGN) *
               REGION_ALIGN;
}

uint64_t vub_inflight_bytes(uint16_t nqueues, uint16_t ring_size)
{
        return nqueues * ring_bytes(ring_size);
}

int vub_inflight_create(uint64_t bytes, struct err *err)
{
        CLEANUP(close_fd)
        int fd = memfd_create("zonepool-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
                return err_set_sys(err, errno, "cannot make an in-flight region of %lu bytes",
                                   (unsigned long)bytes);
        return steal_fd(&fd);
}

int vub_inflight_set(struct vub_inflight *in, int fd, uint64_t size, uint64_t offset,
                     uint16_t nqueues, uint16_t ring_size, struct err *err)
{
        struct stat st;
        uint64_t end;

        if (nqueues == 0 || ring_size == 0 || size < vub_inflight_bytes(nqueues, ring_size) ||
            offset % 8 != 0 || __builtin_add_overflow(size, offset, &end) || end > MAP_MAX)
                return err_set(err, EINVAL,
                               "in-flight region of %lu bytes for %u rings of %u is malformed",
                               (unsigned long)size, nqueues, ring_size);
        if (fstat(fd, &st) < 0)
                return err_set_sys(err, errno, "in-flight region's descriptor");
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < end)
                return err_set(err, EINVAL, "in-flight region of %lu bytes is larger than its file",
                               (unsigned long)size);
        void *map = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return err_set_sys(err, errno, "cannot map the in-flight region");

        vub_inflight_fini(in);
        *in = (struct vub_inflight){.map = map,
                                    .map_len = end,
                                    .base = (uint8_t *)map + offset,
                                    .nqueues = nqueues,
                                    .ring_size = ring_size};
        vub_guard_add(map, end);
        return 0;
}

void vub_inflight_fini(struct vub_inflight *in)
{
        if (in->map) {
                vub_guard_del(in->map);
                munmap(in->map, in->map_len);
        }
        *in = (struct vub_inflight){0};
}

static uint8_t *desc_at(const struct vub_inflight_ring *ring, uint16_t head)
{
        return ring->base + REGION_HEADER + (size_t)DESC_BYTES * head;
}

/* The batch linked from the last head reached the guest, if the used indices say so. */
static void settle_last_batch(struct vub_inflight_ring *ring, uint16_t used_idx)
{
        uint16_t n = (uint16_t)(used_idx - get_le16(ring->base + AT_USED_IDX));
        uint16_t head = get_le16(ring->base + AT_LAST_HEAD);

        if (n > ring->num) { /* not of this ring's life: nothing it says is in flight */
                for (uint16_t i = 0; i < ring->num; i++)
                        put_u8(desc_at(ring, i) + DESC_INFLIGHT, 0);
                n = 0;
        }
        for (; n > 0 && head < ring->num; n--) {
                put_u8(desc_at(ring, head) + DESC_INFLIGHT, 0);
                head = get_le16(desc_at(ring, head) + DESC_NEXT);
        }
        order_stores();
        put_le16(ring->base + AT_USED_IDX, used_idx);
}

static void sort_by_counter(const struct vub_inflight_ring *ring, uint16_t *heads, int n)
{
        uint64_t keys[1024];

        for (int i = 0; i < n; i++)
                keys[i] = get_le64(desc_at(ring, heads[i]) + DESC_COUNTER);
        for (int i = 1; i < n; i++) {
                uint64_t key = keys[i];
                uint16_t head = heads[i];
                int j = i;
                for (; j > 0 && keys[j - 1] > key; j--) {
                        keys[j] = keys[j - 1];
                        heads[j] = heads[j - 1];
                }
                keys[j] = key;
                heads[j] = head;
        }
}

int vub_inflight_resume(const struct vub_inflight *in, uint16_t index, uint16_t num,
                        uint16_t used_idx, struct vub_inflight_ring *ret_ring, uint16_t *heads)
{
        struct vub_inflight_ring ring = {.num = num};
        int n = 0;

        if (!in->map) {
                *ret_ring = ring;
                return 0;
        }
        if (index >= in->nqueues || num > in->ring_size || num > 1024)
                return -EINVAL;
        ring.base = in->base + index * ring_bytes(in->ring_size);
        if (get_le16(ring.base + AT_VERSION) != REGION_VERSION ||
            get_le16(ring.base + AT_NUM) != num) {
                memset(ring.base, 0, REGION_HEADER + (size_t)DESC_BYTES * num);
                put_le16(ring.base + AT_NUM, num);
                put_le16(ring.base + AT_USED_IDX, used_idx);
                order_stores();
                put_le16(ring.base + AT_VERSION, REGION_VERSION);
        } else {
                settle_last_batch(&ring, used_idx);
        }
        for (uint16_t i = 0; i < num; i++) {
                uint64_t counter = get_le64(desc_at(&ring, i) + DESC_COUNTER);
                if (get_u8(desc_at(&ring, i) + DESC_INFLIGHT) != 1)
                        continue;
                heads[n++] = i;
                ring.counter = MAX(ring.counter, counter);
        }
        sort_by_counter(&ring, heads, n);
        *ret_ring = ring;
        return n;
}

void vub_inflight_mark(struct vub_inflight_ring *ring, uint16_t head)
{
        if (!ring->base)
                return;
        put_le64(desc_at(ring, head) + DESC_COUNTER, ++ring->counter);
        order_stores();
        put_u8(desc_at(ring, head) + DESC_INFLIGHT, 1);
        order_stores();
}

void vub_inflight_link(struct vub_inflight_ring *ring, uint16_t head)
{
        if (!ring->base)
                return;
        put_le16(desc_at(ring, head) + DESC_NEXT, get_le16(ring->base + AT_LAST_HEAD));
        order_stores();
        put_le16(ring->base + AT_LAST_HEAD, head);
}

void vub_inflight_clear(struct vub_inflight_ring *ring, uint16_t head)
{
        if (!ring->base)
                return;
        order_stores();
        put_u8(desc_at(ring, head) + DESC_INFLIGHT, 0);
}

void vub_inflight_published(struct vub_inflight_ring *ring, uint16_t used_idx)
{
        if (!ring->base)
                return;
        order_stores();
        put_le16(ring->base + AT_USED_IDX, used_idx);
}
