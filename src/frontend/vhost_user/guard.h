/* Shared memory that its owner may shorten under us.
 *
 * Touching a page beyond the end of a mapped file raises SIGBUS, which would end the daemon and
 * with it every other guest's disk. The guard's handler puts zero pages under a registered mapping
 * that faults and remembers it; a SIGBUS elsewhere keeps its meaning.
 *
 * Threads: add, del and hit on the loop's; the handler runs on whichever thread faults.
 */
#ifndef ZONEPOOL_VHOST_USER_GUARD_H
#define ZONEPOOL_VHOST_USER_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Registers a mapping made by mmap, whole. When the table is full the mapping stays unguarded. The
 * first call installs the handler. */
void vub_guard_add(void *map, size_t len);
/* Before munmap. Harmless when not registered. */
void vub_guard_del(void *map);
/* Faults caught since the start: a cheap sign that vub_guard_hit may have turned. */
unsigned vub_guard_hits(void);
/* Has the guarded mapping that contains addr faulted? */
bool vub_guard_hit(const void *addr);

#endif
