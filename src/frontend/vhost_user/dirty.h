/* The log of guest memory that the server writes, for the peer's live migration of RAM.
 *
 * A bitmap in memory shared with the peer: bit n of byte m stands for the 4 KiB page at guest
 * address (m * 8 + n) << 12. We only set bits, the peer only fetches and clears them. A page is
 * marked after it was written: the peer clears first and copies the page then.
 *
 * Threads: the loop's on our side.
 */
#ifndef ZONEPOOL_VHOST_USER_DIRTY_H
#define ZONEPOOL_VHOST_USER_DIRTY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vub_log {
        void *map; /* NULL: no log given */
        size_t map_len;
        uint8_t *bits;
        uint64_t nbytes;
        bool on; /* VHOST_F_LOG_ALL */
        bool overrun; /* something lay beyond the log: guest memory would be lost */
};

/* Replaces the bitmap; fd stays the caller's. Returns 0 or -errno with text (log unchanged). */
int vub_log_set(struct vub_log *log, int fd, uint64_t size, uint64_t offset, struct err *err);
/* Accepts a zeroed struct. */
void vub_log_fini(struct vub_log *log);

/* Marks the pages of [gpa, gpa + len), if logging is on. */
void vub_log_mark(struct vub_log *log, uint64_t gpa, uint64_t len);

#endif
