/* SIGBUS guard for shared mappings, see guard.h.
 *
 * The table is a fixed array of slots, written by one thread and read by the signal handler: a slot
 * is valid while len is not 0, and len is published last (release; the handler's acquire pairs with
 * it). mmap with MAP_FIXED is a plain system call and safe in a handler.
 *
 * Left out on purpose: unguarded use of more than GUARD_SLOTS mappings is possible and merely loses
 * the protection.
 */
#include "frontend/vhost_user/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

enum { GUARD_SLOTS = 4096 };

static struct guard_slot {
        _Atomic(uintptr_t) start;
        _Atomic(size_t) len; /* 0: free */
        atomic_bool hit;
} slots[GUARD_SLOTS];
static atomic_int used_slots; /* slots above were never used */
static atomic_uint hits;
static struct sigaction previous;

static struct guard_slot *find(uintptr_t addr)
{
        int n = atomic_load_explicit(&used_slots, memory_order_acquire);
        for (int i = 0; i < n; i++) {
                size_t len = atomic_load_explicit(&slots[i].len, memory_order_acquire);
                uintptr_t start = atomic_load_explicit(&slots[i].start, memory_order_relaxed);
                if (len > 0 && addr >= start && addr - start < len)
                        return &slots[i];
        }
        return NULL;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
        int saved = errno;
        struct guard_slot *slot = find((uintptr_t)info->si_addr);

        if (slot) {
                void *start = (void *)atomic_load(&slot->start);
                void *map = mmap(start, atomic_load(&slot->len), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
                if (map != MAP_FAILED) {
                        atomic_store(&slot->hit, true);
                        atomic_fetch_add(&hits, 1);
                        errno = saved;
                        return;
                }
        }
        /* Not ours: back to what it would have done; the faulting instruction runs again. */
        sigaction(SIGBUS, &previous, NULL);
        errno = saved;
}

static void install(void)
{
        static bool installed;
        struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

        if (installed)
                return;
        sigemptyset(&sa.sa_mask);
        installed = sigaction(SIGBUS, &sa, &previous) == 0;
}

void vub_guard_add(void *map, size_t len)
{
        install();
        for (int i = 0; i < GUARD_SLOTS; i++) {
                struct guard_slot *s = &slots[i];
                if (atomic_load_explicit(&s->len, memory_order_relaxed) > 0)
                        continue;
                atomic_store_explicit(&s->start, (uintptr_t)map, memory_order_relaxed);
                atomic_store_explicit(&s->hit, false, memory_order_relaxed);
                atomic_store_explicit(&s->len, len, memory_order_release);
                if (i >= atomic_load_explicit(&used_slots, memory_order_relaxed))
                        atomic_store_explicit(&used_slots, i + 1, memory_order_release);
                return;
        }
}

void vub_guard_del(void *map)
{
        int n = atomic_load_explicit(&used_slots, memory_order_relaxed);
        for (int i = 0; map && i < n; i++)
                if (atomic_load_explicit(&slots[i].len, memory_order_relaxed) > 0 &&
                    atomic_load_explicit(&slots[i].start, memory_order_relaxed) == (uintptr_t)map)
                        atomic_store_explicit(&slots[i].len, 0, memory_order_release);
}

unsigned vub_guard_hits(void)
{
        return atomic_load_explicit(&hits, memory_order_relaxed);
}

bool vub_guard_hit(const void *addr)
{
        const struct guard_slot *slot = find((uintptr_t)addr);
        return slot && atomic_load_explicit(&slot->hit, memory_order_relaxed);
}
