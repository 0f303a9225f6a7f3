/* What the files of the target share: target.c (life, connections, time), find.c (who has
 * it, may it come here), make.c (creating, staging, emptying), data.c (writing,
 * flush, state). */
#ifndef ZONEPOOL_MIGRATE_TARGET_INTERNAL_H
#define ZONEPOOL_MIGRATE_TARGET_INTERNAL_H

#include "migrate/internal.h"

enum pull_phase { ASKING, CREATING, STAGING, CLEARING, PULLING, DONE, ENDED };

struct asked {
        char address[TRANSPORT_ADDRESS];
        struct peer *peer; /* NULL: not reachable, or gone */
        bool answered, found;
        struct err why;
        struct peer_offer *offer; /* found */
        struct owner_host host;
        uint64_t incarnation;
};

struct pull_volume {
        struct migrate_volume *mv;
        bool existed;
        uint8_t state[PEER_STATE_MAX];
        uint16_t state_len;
        struct engine_cmd cmd;
};

struct pull {
        struct migrate *m;
        struct list node;
        enum pull_phase phase;
        struct uuid domain;
        struct migrate_incoming *request; /* NULL: answered */
        uint32_t ndisks;
        struct migrate_disk disks[OWNER_MAX_VOLUMES];
        uint64_t request_id;
        uint32_t nasked;
        struct asked asked[MIGRATE_MAX_PEERS];
        struct peer_offer offer;
        struct owner_host source;
        uint64_t incarnation; /* of the source */
        uint64_t session; /* of this pull: an older one's progress is not ours */
        struct owner_stage stage;
        struct owner_request stage_request;
        bool staging; /* owner_stage is under way */
        bool abandoned;
        uint32_t nvolumes, next; /* volume in work */
        struct pull_volume v[OWNER_MAX_VOLUMES];
        struct peer *peer;
        bool want_open; /* once nothing of an older connection is being written any more */
        bool staged; /* the owner has the group */
        uint32_t busy; /* operations under way that come back here */
        uint32_t writes;
        uint32_t preparing; /* commands of pull_prepare */
        bool prepared_failed;
        uint64_t seq;
        bool has_delta;
        uint64_t lost_since_ns, heard_ns, up_ns, mapped_since_ns, progress_ns;
        uint64_t moved_bytes, remaining_bytes, total_bytes;
        uint64_t rate_bytes, rate_ns;
        uint32_t passes;
        bool mapped;
        struct loop_timer timer;
        struct loop_defer later;
        struct err why;
};

/* target.c */
/* Gives up with a text, the first of which is kept. */
void pull_refuse(struct pull *p, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Goes on with what the phase asks for. */
void pull_advance(struct pull *p);
/* Asks for the data, once nothing of an older connection is being written: what was not
 * acknowledged comes again, and must not be overtaken by its older self. */
void pull_open(struct pull *p);
/* It has ended: looks again whether something still comes back. */
void pull_look_again(struct pull *p);

/* find.c */
struct asked *pull_asked(struct pull *p, const struct peer *peer);
void pull_ask_peers(struct pull *p);
/* Every peer has answered or is not there. */
bool pull_all_answered(const struct pull *p);
void pull_decide(struct pull *p);
void pull_got_has(struct pull *p, struct peer *peer, const struct peer_frame *f);
/* The whole offer against what is here; makes the stage of it. False: refused. */
bool pull_check_offer(struct pull *p);

/* make.c: each works on one volume and comes back by pull_advance */
void pull_create_next(struct pull *p);
void pull_stage(struct pull *p);
void pull_clear_next(struct pull *p);

/* data.c */
void pull_got_data(struct pull *p, struct peer *peer, const struct peer_frame *f);

#endif
