/* The tables of docs/ownership.md. Source first, then target, then what stands on both sides.
 *
 * Reading aid: `need`/`forbid` are conditions, `durable` + `epoch_add` the record written before
 * anything else of the row happens, `send` and `actions` what happens after it. OFFERED and
 * SUSPENDED are ACTIVE on disk. A message whose token is nobody's meets the rows of state NONE.
 */
#include "migrate/owner/table.h"

#include "base/cleanup.h"

#define RULE(name, st, ev, ...)                                                                    \
        {                                                                                          \
                .row = (name), .state = OWNER_##st, .event = OWNER_EV_##ev, __VA_ARGS__            \
        }
#define TO(st) .to = OWNER_##st
#define NEED(bits) .need = (bits)
#define NOT(bits) .forbid = (bits)
#define DURABLE(add) .durable = true, .epoch_add = (add)
#define SEND(kind) .send = OWNER_MSG_##kind
#define DO(bits) .actions = (bits)
#define SHUT .gate = OWNER_GATE_SHUT
#define BY_RINGS .gate = OWNER_GATE_RINGS

#define RINGS OWNER_C_RINGS
#define TOKEN OWNER_C_TOKEN
#define SEQ OWNER_C_SEQ
#define HAVE_DELTA OWNER_C_DELTA
#define ACQUIRE OWNER_C_ACQUIRE
#define QEMU OWNER_C_QEMU
#define TAKING OWNER_C_TAKING
#define PREPARING OWNER_C_PREPARING

const struct owner_rule owner_rules[] = {
    /* ---- source ---- */
    RULE("active: inquire", ACTIVE, INQUIRE, TO(OFFERED), DO(OWNER_A_MINT), BY_RINGS),
    RULE("offered: inquire again", OFFERED, INQUIRE, TO(OFFERED), DO(OWNER_A_MINT), BY_RINGS),
    RULE("active: rings on", ACTIVE, RINGS_ON, TO(ACTIVE), BY_RINGS),
    RULE("active: rings off", ACTIVE, RINGS_OFF, TO(ACTIVE), BY_RINGS),
    RULE("active: acquire", ACTIVE, ACQUIRE_OWN, TO(ACTIVE), DO(OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("active: acquire of a finished hand-over", ACTIVE, ACQUIRE_TOKEN, TO(ACTIVE),
         DO(OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("offered: logging off", OFFERED, LOG_OFF, TO(ACTIVE), DO(OWNER_A_TOKEN_DEAD), BY_RINGS),
    RULE("offered: acquire", OFFERED, ACQUIRE_OWN, TO(ACTIVE),
         DO(OWNER_A_TOKEN_DEAD | OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("offered: given up", OFFERED, FAILED, TO(ACTIVE), DO(OWNER_A_TOKEN_DEAD), BY_RINGS),
    RULE("offered: rings on", OFFERED, RINGS_ON, TO(OFFERED), BY_RINGS),
    RULE("offered: rings off", OFFERED, RINGS_OFF, TO(OFFERED), BY_RINGS),
    RULE("offered: release", OFFERED, RELEASE, NOT(RINGS), TO(SUSPENDED),
         DO(OWNER_A_NEW_SEQ | OWNER_A_DELTA), SHUT),
    RULE("suspended: second release", SUSPENDED, RELEASE, TO(SUSPENDED), SHUT),
    RULE("offered: release with rings on", OFFERED, RELEASE, NEED(RINGS), TO(OFFERED)),
    RULE("active: release", ACTIVE, RELEASE, TO(ACTIVE)),
    RULE("offered: pull", OFFERED, PULL, NEED(TOKEN), NOT(RINGS), TO(SUSPENDED),
         DO(OWNER_A_NEW_SEQ | OWNER_A_DELTA), SHUT),
    RULE("suspended: pull", SUSPENDED, PULL, NEED(TOKEN), TO(SUSPENDED), DO(OWNER_A_DELTA), SHUT),
    RULE("offered: pull, token dead", OFFERED, PULL, NOT(TOKEN), TO(OFFERED), SEND(NO)),
    RULE("suspended: pull, token dead", SUSPENDED, PULL, NOT(TOKEN), TO(SUSPENDED), SEND(NO)),
    RULE("active: pull, token dead", ACTIVE, PULL, TO(ACTIVE), SEND(NO)),
    RULE("suspended: rings on", SUSPENDED, RINGS_ON, NOT(ACQUIRE), TO(ACTIVE),
         DO(OWNER_A_TOKEN_DEAD), BY_RINGS),
    RULE("suspended: rings off", SUSPENDED, RINGS_OFF, TO(SUSPENDED), SHUT),
    RULE("suspended: logging off", SUSPENDED, LOG_OFF, TO(SUSPENDED), SHUT),
    RULE("suspended: acquire", SUSPENDED, ACQUIRE_OWN, TO(ACTIVE),
         DO(OWNER_A_TOKEN_DEAD | OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("suspended: given up", SUSPENDED, FAILED, TO(ACTIVE), DO(OWNER_A_TOKEN_DEAD), BY_RINGS),
    RULE("suspended: qemu gone", SUSPENDED, QEMU_GONE, TO(SUSPENDED), SHUT),
    RULE("offered: qemu gone", OFFERED, QEMU_GONE, TO(OFFERED), BY_RINGS),
    RULE("suspended: take", SUSPENDED, TAKE, NEED(TOKEN | SEQ), TO(GIVEN), DURABLE(1), SEND(OK),
         DO(OWNER_A_STOP_SOURCE), SHUT),
    RULE("suspended: take of another token or suspension", SUSPENDED, TAKE, TO(SUSPENDED),
         SEND(NO)),
    RULE("offered: take", OFFERED, TAKE, TO(OFFERED), SEND(NO)),
    RULE("active: take", ACTIVE, TAKE, TO(ACTIVE), SEND(NO)),
    RULE("given: take again", GIVEN, TAKE, NEED(TOKEN), TO(GIVEN), SEND(OK), SHUT),
    RULE("given: take of another token", GIVEN, TAKE, NOT(TOKEN), TO(GIVEN), SEND(NO), SHUT),
    RULE("given: pull of another token", GIVEN, PULL, NOT(TOKEN), TO(GIVEN), SEND(NO), SHUT),
    RULE("given: acquire", GIVEN, ACQUIRE_OWN, TO(GIVEN), SEND(ASK), DO(OWNER_A_WAIT), SHUT),
    RULE("given: nak", GIVEN, NAK, NEED(TOKEN), TO(GIVEN), DO(OWNER_A_REFUSE), SHUT),
    RULE("given: ask timed out", GIVEN, TIMEUP, TO(GIVEN), DO(OWNER_A_REFUSE), SHUT),
    RULE("given: back", GIVEN, BACK, NEED(TOKEN), TO(ACTIVE), DURABLE(2),
         DO(OWNER_A_RESUME | OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("given: active report", GIVEN, ACTIVE_REPORT, NEED(TOKEN), TO(GIVEN), DURABLE(1),
         SEND(ACTIVE_ACK), DO(OWNER_A_EVICTABLE | OWNER_A_REFUSE), SHUT),
    RULE("given: rings on", GIVEN, RINGS_ON, TO(GIVEN), SHUT),
    RULE("given: rings off", GIVEN, RINGS_OFF, TO(GIVEN), SHUT),
    RULE("given: release", GIVEN, RELEASE, TO(GIVEN), SHUT),
    RULE("given: taken by force", GIVEN, FORCE, NOT(RINGS), TO(ACTIVE), DURABLE(2),
         DO(OWNER_A_RESUME | OWNER_A_ANSWER_OK), BY_RINGS),
    RULE("given: tomb", GIVEN, TOMB, TO(NONE), DO(OWNER_A_DELETE_COPY), SHUT),
    RULE("staged: tomb", STAGED, TOMB, NOT(ACQUIRE), TO(NONE),
         DO(OWNER_A_STOP_PULL | OWNER_A_DELETE_COPY), SHUT),
    RULE("refused: tomb", REFUSED, TOMB, TO(NONE), DO(OWNER_A_DELETE_COPY), SHUT),
    RULE("given: start, answer was never sent", GIVEN, START, NEED(OWNER_C_SIBLING_HERE),
         TO(ACTIVE), DURABLE(2), DO(OWNER_A_RESUME), BY_RINGS),
    RULE("given: start", GIVEN, START, TO(GIVEN), SHUT),
    RULE("active: start", ACTIVE, START, TO(ACTIVE), BY_RINGS),
    RULE("refused: start, sibling active", REFUSED, START, NEED(OWNER_C_SIBLING_ACTIVE), TO(ACTIVE),
         DURABLE(1), SEND(ACTIVE_REPORT), BY_RINGS),
    RULE("refused: start", REFUSED, START, TO(REFUSED), SHUT),
    RULE("tomb: start", TOMB, START, TO(TOMB), SEND(TOMB), SHUT),

    /* ---- target ---- */
    RULE("none: migrate begin", NONE, STAGE, TO(STAGED), DURABLE(0), SHUT),
    RULE("given: migrate begin", GIVEN, STAGE, NOT(RINGS), TO(STAGED), DURABLE(0), SHUT),
    RULE("refused: migrate begin", REFUSED, STAGE, NOT(RINGS), TO(STAGED), DURABLE(0), SHUT),
    RULE("staged: migrate begin, other token", STAGED, STAGE, NOT(RINGS | ACQUIRE), TO(STAGED),
         DURABLE(0), SHUT),
    RULE("staged: delta while taking", STAGED, DELTA, NEED(TAKING), TO(STAGED), SHUT),
    RULE("staged: delta while preparing", STAGED, DELTA, NEED(PREPARING), TO(STAGED), SHUT),
    RULE("staged: delta", STAGED, DELTA, NEED(TOKEN), NOT(ACQUIRE), TO(STAGED),
         DO(OWNER_A_SAVE_SEQ), SHUT),
    RULE("staged: delta, acquire waits", STAGED, DELTA, NEED(TOKEN | ACQUIRE), TO(STAGED),
         DO(OWNER_A_SAVE_SEQ | OWNER_A_PREPARE), SHUT),
    RULE("staged: acquire, no delta yet", STAGED, ACQUIRE_TOKEN, NOT(HAVE_DELTA), TO(STAGED),
         SEND(PULL), DO(OWNER_A_WAIT), SHUT),
    RULE("staged: acquire", STAGED, ACQUIRE_TOKEN, NEED(HAVE_DELTA), TO(STAGED),
         DO(OWNER_A_PREPARE), SHUT),
    RULE("staged: data flushed", STAGED, READY, NEED(HAVE_DELTA | ACQUIRE), TO(STAGED), SEND(TAKE),
         DO(OWNER_A_WAIT), SHUT),
    RULE("taking: ok", STAGED, OK, NEED(TAKING | TOKEN), TO(OWNED), DURABLE(1),
         DO(OWNER_A_RESUME | OWNER_A_ANSWER_OK), SHUT),
    RULE("taking: no", STAGED, NO, NEED(ACQUIRE | TOKEN), TO(REFUSED), DURABLE(0),
         DO(OWNER_A_STOP_PULL | OWNER_A_REFUSE), SHUT),
    RULE("taking: time up", STAGED, TIMEUP, TO(REFUSED), DURABLE(0),
         DO(OWNER_A_STOP_PULL | OWNER_A_REFUSE), SHUT),
    RULE("staged: given up", STAGED, FAILED, TO(REFUSED), DURABLE(0),
         DO(OWNER_A_STOP_PULL | OWNER_A_REFUSE), SHUT),
    RULE("staged: ask", STAGED, ASK, NEED(TOKEN), TO(REFUSED), DURABLE(0), SEND(BACK),
         DO(OWNER_A_STOP_PULL | OWNER_A_REFUSE), SHUT),
    RULE("staged: start, sibling active", STAGED, START, NEED(OWNER_C_SIBLING_ACTIVE), TO(ACTIVE),
         DURABLE(1), SEND(ACTIVE_REPORT), BY_RINGS),
    RULE("staged: start, sibling refused", STAGED, START, NEED(OWNER_C_SIBLING_REFUSED),
         TO(REFUSED), DURABLE(0), SHUT),
    RULE("staged: start, sibling owned", STAGED, START, NEED(OWNER_C_SIBLING_OWNED), TO(OWNED),
         DURABLE(1), SHUT),
    RULE("staged: start", STAGED, START, TO(REFUSED), DURABLE(0), SHUT),
    RULE("staged: rings on", STAGED, RINGS_ON, TO(STAGED), SHUT),
    RULE("staged: rings off", STAGED, RINGS_OFF, TO(STAGED), SHUT),
    RULE("staged: release", STAGED, RELEASE, TO(STAGED), SHUT),
    RULE("owned: first ring on", OWNED, RINGS_ON, TO(ACTIVE), DURABLE(1), SEND(ACTIVE_REPORT),
         BY_RINGS),
    RULE("owned: rings off", OWNED, RINGS_OFF, TO(OWNED), SHUT),
    RULE("owned: release", OWNED, RELEASE, TO(OWNED), SHUT),
    RULE("owned: qemu gone", OWNED, QEMU_GONE, TO(OWNED), SHUT),
    RULE("owned: ask, qemu gone", OWNED, ASK, NEED(TOKEN), NOT(QEMU | RINGS), TO(REFUSED),
         DURABLE(0), SEND(BACK), SHUT),
    RULE("owned: ask, qemu alive", OWNED, ASK, TO(OWNED), SEND(NAK), SHUT),
    RULE("owned: acquire", OWNED, ACQUIRE_OWN, TO(OWNED), DO(OWNER_A_RESUME | OWNER_A_ANSWER_OK),
         SHUT),
    RULE("owned: acquire again", OWNED, ACQUIRE_TOKEN, TO(OWNED),
         DO(OWNER_A_RESUME | OWNER_A_ANSWER_OK), SHUT),
    RULE("owned: start, sibling active", OWNED, START, NEED(OWNER_C_SIBLING_ACTIVE), TO(ACTIVE),
         DURABLE(1), SEND(ACTIVE_REPORT), BY_RINGS),
    RULE("owned: start, sibling refused", OWNED, START, NEED(OWNER_C_SIBLING_REFUSED), TO(REFUSED),
         DURABLE(0), SHUT),
    RULE("owned: start", OWNED, START, TO(OWNED), SHUT),
    RULE("refused: ask", REFUSED, ASK, NEED(TOKEN), TO(REFUSED), SEND(BACK), SHUT),
    RULE("refused: late ok", REFUSED, OK, TO(REFUSED), SHUT),
    RULE("refused: acquire", REFUSED, ACQUIRE_TOKEN, TO(REFUSED), DO(OWNER_A_REFUSE), SHUT),
    RULE("refused: acquire own", REFUSED, ACQUIRE_OWN, TO(REFUSED), DO(OWNER_A_REFUSE), SHUT),
    RULE("refused: rings on", REFUSED, RINGS_ON, TO(REFUSED), SHUT),
    RULE("refused: rings off", REFUSED, RINGS_OFF, TO(REFUSED), SHUT),
    RULE("refused: release", REFUSED, RELEASE, TO(REFUSED), SHUT),
    RULE("active: ask", ACTIVE, ASK, TO(ACTIVE), SEND(NAK)),
    RULE("offered: ask", OFFERED, ASK, TO(OFFERED), SEND(NAK)),
    RULE("suspended: ask", SUSPENDED, ASK, TO(SUSPENDED), SEND(NAK)),
    RULE("given: ask", GIVEN, ASK, TO(GIVEN), SEND(NAK), SHUT),
    RULE("tomb: ask", TOMB, ASK, TO(TOMB), SEND(NAK), SHUT),
    RULE("active: delete", ACTIVE, DELETE, NOT(RINGS | QEMU), TO(TOMB), DURABLE(0), SEND(TOMB),
         SHUT),
    RULE("owned: delete", OWNED, DELETE, NOT(RINGS | QEMU), TO(TOMB), DURABLE(0), SEND(TOMB), SHUT),
    RULE("tomb: acknowledged", TOMB, ACK, TO(NONE), DO(OWNER_A_FORGET), SHUT),
    RULE("tomb: not acknowledged yet", TOMB, TIMEUP, TO(TOMB), SEND(TOMB), SHUT),

    /* ---- a token that is nobody's ---- */
    RULE("unknown: take", NONE, TAKE, TO(NONE), SEND(NO)),
    RULE("unknown: pull", NONE, PULL, TO(NONE), SEND(NO)),
    RULE("unknown: ask", NONE, ASK, TO(NONE), SEND(NAK)),
    RULE("unknown: tomb", NONE, TOMB, TO(NONE), SEND(ACK)),
};
const size_t owner_nrules = ARRAY_SIZE(owner_rules);

const struct owner_rule *owner_rule_find(enum owner_state state, enum owner_event event,
                                         unsigned conditions)
{
        for (size_t i = 0; i < ARRAY_SIZE(owner_rules); i++) {
                const struct owner_rule *r = &owner_rules[i];
                if (r->state == state && r->event == event && (conditions & r->need) == r->need &&
                    !(conditions & r->forbid))
                        return r;
        }
        return NULL;
}

static const char *const event_names[] = {
    [OWNER_EV_INQUIRE] = "inquire",
    [OWNER_EV_LOG_OFF] = "log-off",
    [OWNER_EV_RINGS_ON] = "rings-on",
    [OWNER_EV_RINGS_OFF] = "rings-off",
    [OWNER_EV_RELEASE] = "release",
    [OWNER_EV_ACQUIRE_OWN] = "acquire-own",
    [OWNER_EV_ACQUIRE_TOKEN] = "acquire-token",
    [OWNER_EV_QEMU_GONE] = "qemu-gone",
    [OWNER_EV_START] = "start",
    [OWNER_EV_STAGE] = "stage",
    [OWNER_EV_READY] = "ready",
    [OWNER_EV_TIMEUP] = "time-up",
    [OWNER_EV_FAILED] = "failed",
    [OWNER_EV_DELETE] = "delete",
    [OWNER_EV_FORCE] = "force",
    [OWNER_EV_PULL] = "pull",
    [OWNER_EV_TAKE] = "take",
    [OWNER_EV_BACK] = "back",
    [OWNER_EV_NAK] = "nak",
    [OWNER_EV_ACTIVE_REPORT] = "active-report",
    [OWNER_EV_TOMB] = "tomb",
    [OWNER_EV_DELTA] = "delta",
    [OWNER_EV_OK] = "ok",
    [OWNER_EV_NO] = "no",
    [OWNER_EV_ASK] = "ask",
    [OWNER_EV_ACK] = "ack",
};
_Static_assert(ARRAY_SIZE(event_names) == OWNER_NEVENTS, "a name for every event");

const char *owner_event_name(enum owner_event event)
{
        return (unsigned)event < OWNER_NEVENTS ? event_names[event] : "?";
}

static const char *const msg_names[] = {
    [OWNER_MSG_NONE] = "none",
    [OWNER_MSG_PULL] = "PULL",
    [OWNER_MSG_TAKE] = "TAKE",
    [OWNER_MSG_OK] = "OK",
    [OWNER_MSG_NO] = "NO",
    [OWNER_MSG_ASK] = "ASK",
    [OWNER_MSG_BACK] = "BACK",
    [OWNER_MSG_NAK] = "NAK",
    [OWNER_MSG_ACTIVE_REPORT] = "ACTIVE",
    [OWNER_MSG_ACTIVE_ACK] = "ACTIVE-ACK",
    [OWNER_MSG_TOMB] = "TOMB",
    [OWNER_MSG_ACK] = "ACK",
    [OWNER_MSG_DELTA] = "DELTA",
};
_Static_assert(ARRAY_SIZE(msg_names) == OWNER_NMSGS, "a name for every message");

const char *owner_msg_name(enum owner_msg_kind kind)
{
        return (unsigned)kind < OWNER_NMSGS ? msg_names[kind] : "?";
}
