/* The two tables of docs/ownership.md as data. One rule is one row (or a row's part for one state).
 *
 * Matching: the first rule whose state, event and conditions fit. Conditions that a rule neither
 * needs nor forbids do not matter. No rule: the event is refused and reported, nothing changes.
 */
#ifndef ZONEPOOL_MIGRATE_OWNER_TABLE_H
#define ZONEPOOL_MIGRATE_OWNER_TABLE_H

#include "migrate/owner/record.h"

enum owner_event {
        /* local */
        OWNER_EV_INQUIRE,
        OWNER_EV_LOG_OFF,
        OWNER_EV_RINGS_ON,
        OWNER_EV_RINGS_OFF,
        OWNER_EV_RELEASE,
        OWNER_EV_ACQUIRE_OWN,
        OWNER_EV_ACQUIRE_TOKEN,
        OWNER_EV_QEMU_GONE,
        OWNER_EV_START, /* daemon start */
        OWNER_EV_STAGE, /* hook `migrate begin` */
        OWNER_EV_READY, /* staged data flushed, controllers' state set */
        OWNER_EV_TIMEUP, /* no answer to TAKE, no delta */
        OWNER_EV_FAILED, /* the bulk or the log is lost, or a person cancelled */
        OWNER_EV_DELETE,
        OWNER_EV_FORCE, /* a person takes a given volume by force */
        /* of the peer */
        OWNER_EV_PULL,
        OWNER_EV_TAKE,
        OWNER_EV_BACK,
        OWNER_EV_NAK,
        OWNER_EV_ACTIVE_REPORT,
        OWNER_EV_TOMB,
        OWNER_EV_DELTA,
        OWNER_EV_OK,
        OWNER_EV_NO,
        OWNER_EV_ASK,
        OWNER_EV_ACK,
        OWNER_NEVENTS,
};

enum owner_condition {
        OWNER_C_RINGS = 1 << 0, /* a ring of a volume of the group is on */
        OWNER_C_TOKEN = 1 << 1, /* the message's token is the group's, and so is its sender */
        OWNER_C_SEQ = 1 << 2, /* TAKE: sequence number and every epoch are the group's */
        OWNER_C_DELTA = 1 << 3, /* target: have a delta */
        OWNER_C_ACQUIRE = 1 << 4, /* an Acquire waits for an answer */
        OWNER_C_QEMU = 1 << 5, /* a QEMU of the group lives, or may */
        OWNER_C_TAKING = 1 << 6, /* TAKE has been sent */
        OWNER_C_PREPARING = 1 << 7, /* flush and Set Controller State are under way */
        /* at start, about the other volumes of the token (resolve.c): */
        OWNER_C_SIBLING_ACTIVE = 1 << 8, /* one was made ACTIVE from this token */
        OWNER_C_SIBLING_REFUSED = 1 << 9, /* one is REFUSED for this token */
        OWNER_C_SIBLING_OWNED = 1 << 10, /* one is OWNED for this token */
        OWNER_C_SIBLING_HERE = 1 << 11, /* one is still ACTIVE at the epoch before the hand-over,
                                           or ACTIVE because this token was given back */
};

enum owner_msg_kind {
        OWNER_MSG_NONE,
        OWNER_MSG_PULL,
        OWNER_MSG_TAKE,
        OWNER_MSG_OK,
        OWNER_MSG_NO,
        OWNER_MSG_ASK,
        OWNER_MSG_BACK,
        OWNER_MSG_NAK,
        OWNER_MSG_ACTIVE_REPORT,
        OWNER_MSG_ACTIVE_ACK,
        OWNER_MSG_TOMB,
        OWNER_MSG_ACK,
        OWNER_MSG_DELTA, /* sent by the engine, behind the data */
        OWNER_NMSGS,
};

enum owner_action {
        OWNER_A_NONE = 0,
        OWNER_A_MINT = 1 << 0, /* new token, start logging */
        OWNER_A_TOKEN_DEAD = 1 << 1, /* stop logging, resume the controllers */
        OWNER_A_DELTA = 1 << 2, /* suspend, send what remains and DELTA(tok, seq) */
        OWNER_A_ANSWER_OK = 1 << 3, /* Acquire answers OK */
        OWNER_A_REFUSE = 1 << 4, /* Acquire refuses, if one waits */
        OWNER_A_WAIT = 1 << 5, /* keep the Acquire, repeat the message until time is up */
        OWNER_A_PREPARE = 1 << 6, /* flush data, set controllers' state */
        OWNER_A_STOP_PULL = 1 << 7, /* the staged copy is given up */
        OWNER_A_RESUME = 1 << 8, /* resume the controllers, then answer */
        OWNER_A_EVICTABLE = 1 << 9,
        OWNER_A_DELETE_COPY = 1 << 10, /* then acknowledge */
        OWNER_A_NEW_SEQ = 1 << 11, /* suspension number + 1 */
        OWNER_A_SAVE_SEQ = 1 << 12, /* remember the delta's */
        OWNER_A_FORGET = 1 << 13, /* delete the volume now */
        OWNER_A_STOP_SOURCE = 1 << 14, /* stop logging, leave the controllers suspended */
};

enum owner_gate {
        OWNER_GATE_SAME,
        OWNER_GATE_SHUT,
        OWNER_GATE_RINGS /* open while rings are on */
};

struct owner_rule {
        const char *row; /* of docs/ownership.md: unique */
        enum owner_state state;
        enum owner_event event;
        unsigned need, forbid; /* of owner_condition */
        enum owner_state to;
        bool durable; /* records of the whole group are written before anything else */
        uint64_t epoch_add; /* to epoch_before of each volume, when durable */
        enum owner_msg_kind send; /* after the write */
        unsigned actions; /* of owner_action, after the write */
        enum owner_gate gate; /* shutting comes before the write, opening after it */
};

extern const struct owner_rule owner_rules[];
extern const size_t owner_nrules;

/* NULL: not listed. */
const struct owner_rule *owner_rule_find(enum owner_state state, enum owner_event event,
                                         unsigned conditions);

const char *owner_event_name(enum owner_event event);
const char *owner_msg_name(enum owner_msg_kind kind);

#endif
