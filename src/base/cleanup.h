/* Scope-bound release of resources.
 *
 *   CLEANUP(free_ptr) char *name = strdup("x");
 *   CLEANUP(close_fd) int fd = open(...);
 *   return steal_ptr(&name);           hand over, the scope releases nothing
 */
#ifndef ZONEPOOL_BASE_CLEANUP_H
#define ZONEPOOL_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void free_ptr(void *p)
{
        free(*(void **)p);
}

static inline void close_fd(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}

static inline int steal_fd(int *fd)
{
        int taken = *fd;
        *fd = -1;
        return taken;
}

#define steal_ptr(pp)                                                                              \
        ({                                                                                         \
                typeof(*(pp)) taken_ = *(pp);                                                      \
                *(pp) = NULL;                                                                      \
                taken_;                                                                            \
        })

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#ifndef MIN /* GLib's headers have them too */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))

#endif
