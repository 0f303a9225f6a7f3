/* Range locks of a volume's blocks. Granted in order of arrival; two that overlap are never granted
 * together. A lock costs as much as the locks that overlap it, and the logarithm of all. */
#ifndef ZONEPOOL_POOL_TABLE_LOCK_H
#define ZONEPOOL_POOL_TABLE_LOCK_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

/* A range that one operation works on. The caller sets first, end, over_idle and grant. */
struct lock {
        uint64_t first, end;
        bool over_idle; /* does not wait for idle ones */
        void (*grant)(struct lock *l); /* not from inside lock_take; may queue, releases none */
        /* lock.c's: */
        bool taken; /* in the set */
        bool granted;
        bool idle; /* granted, and has nothing in flight: waits for space */
        uint64_t arrival, last; /* the highest end of those below and its own */
        uint64_t waits_for; /* not granted: earlier ones that overlap it */
        struct lock *left, *right;
        struct list ready; /* granted in this call */
};

/* All locks of a volume, granted and waiting. Zeroed: none. */
struct lock_set {
        struct lock *root;
        uint64_t arrivals;
};

/* True: granted at once. */
bool lock_take(struct lock_set *set, struct lock *l);
/* Of one that waits, too; one that was not taken stays so. Grants what waited for it alone. */
void lock_release(struct lock_set *set, struct lock *l);
/* It is granted and waits for space: those that need not wait for it are granted. */
void lock_set_idle(struct lock_set *set, struct lock *l);
/* It goes on. */
void lock_clear_idle(struct lock_set *set, struct lock *l);
/* An idle one may go on: nobody works on its range. */
bool lock_may_resume(const struct lock_set *set, const struct lock *l);
/* The one that came last of those that overlap the range, or NULL. */
struct lock *lock_last(const struct lock_set *set, uint64_t first, uint64_t end);

#endif
