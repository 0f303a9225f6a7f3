/* States seen, by hash, and what the recovery of each showed. A recovery depends on nothing but the
 * state, so that one that comes up again, perhaps with other demands, need not be run again. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SEEN_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SEEN_H

#include "tests/sim/exhaustive/history.h"

enum { SEEN_NONE = UINT32_MAX };

struct seen_state {
        uint64_t hash; /* 0: free */
        uint32_t outcome, without; /* without the lost device; SEEN_NONE: that was not tried */
        bool explored; /* crashes in its recovery were tried */
};

struct seen {
        struct seen_state *states; /* open addressing; room is a power of two */
        uint64_t room, n;
        struct outcome *outcomes; /* different ones */
        uint32_t noutcomes, outcomes_room;
        uint32_t *index; /* of them, by hash */
        uint32_t index_room;
};

void seen_init(struct seen *s);
void seen_fini(struct seen *s);
/* NULL: not seen. Valid until the next seen_add. */
struct seen_state *seen_find(const struct seen *s, uint64_t hash);
/* without: NULL where no device is lost. */
struct seen_state *seen_add(struct seen *s, uint64_t hash, const struct outcome *o,
                            const struct outcome *without);
const struct outcome *seen_outcome(const struct seen *s, uint32_t number);

#endif
