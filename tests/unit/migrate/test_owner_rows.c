/* The tables of docs/ownership.md, row by row, and what must hold for every row there could be.
 *
 * A case names the row, gives the situation in full, and says what the table demands; anything that
 * is not demanded must not happen (other messages, records, answers).
 */
#include "base/cleanup.h"
#include "migrate/owner/table.h"
#include "t_suite.h"

#include <string.h>

#define RINGS OWNER_C_RINGS
#define TOKEN OWNER_C_TOKEN
#define SEQ OWNER_C_SEQ
#define DELTA_HERE OWNER_C_DELTA
#define WAITS OWNER_C_ACQUIRE
#define QEMU OWNER_C_QEMU
#define TAKING OWNER_C_TAKING

enum { NOT_DURABLE = -1, UNLISTED = -2 };

enum answer { SILENT, GRANTED, REFUSED, KEPT /* waiting */ };

static const struct {
        const char *row;
        enum owner_state state;
        enum owner_event event;
        unsigned conditions;
        enum owner_state to;
        int durable; /* epoch added, NOT_DURABLE, or UNLISTED */
        enum owner_msg_kind send;
        enum answer answer;
        unsigned actions; /* those that must be there beside the answer's */
        enum owner_gate gate;
} rows[] = {
    /* ---- source ---- */
    {"ACTIVE | Inquire", OWNER_ACTIVE, OWNER_EV_INQUIRE, RINGS | QEMU, OWNER_OFFERED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, OWNER_A_MINT, OWNER_GATE_RINGS},
    {"OFFERED | Inquire again replaces the token", OWNER_OFFERED, OWNER_EV_INQUIRE, RINGS,
     OWNER_OFFERED, NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_MINT, OWNER_GATE_RINGS},
    {"OFFERED | logging off", OWNER_OFFERED, OWNER_EV_LOG_OFF, RINGS, OWNER_ACTIVE, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, OWNER_A_TOKEN_DEAD, OWNER_GATE_RINGS},
    {"OFFERED | Acquire(own)", OWNER_OFFERED, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_ACTIVE,
     NOT_DURABLE, OWNER_MSG_NONE, GRANTED, OWNER_A_TOKEN_DEAD, OWNER_GATE_RINGS},
    {"OFFERED | rings off without Release", OWNER_OFFERED, OWNER_EV_RINGS_OFF, 0, OWNER_OFFERED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_RINGS},
    {"OFFERED | rings on", OWNER_OFFERED, OWNER_EV_RINGS_ON, RINGS, OWNER_OFFERED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_RINGS},
    {"OFFERED | Release, rings off", OWNER_OFFERED, OWNER_EV_RELEASE, 0, OWNER_SUSPENDED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_NEW_SEQ | OWNER_A_DELTA, OWNER_GATE_SHUT},
    {"SUSPENDED | a second Release changes nothing", OWNER_SUSPENDED, OWNER_EV_RELEASE, 0,
     OWNER_SUSPENDED, NOT_DURABLE, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"OFFERED | Release with rings on", OWNER_OFFERED, OWNER_EV_RELEASE, RINGS, OWNER_OFFERED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"ACTIVE | Release", OWNER_ACTIVE, OWNER_EV_RELEASE, 0, OWNER_ACTIVE, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"OFFERED | PULL(tok), rings off", OWNER_OFFERED, OWNER_EV_PULL, TOKEN, OWNER_SUSPENDED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_NEW_SEQ | OWNER_A_DELTA, OWNER_GATE_SHUT},
    {"OFFERED | PULL(tok) while it runs", OWNER_OFFERED, OWNER_EV_PULL, TOKEN | RINGS,
     OWNER_OFFERED, UNLISTED, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"SUSPENDED | PULL(tok): the same delta again", OWNER_SUSPENDED, OWNER_EV_PULL, TOKEN,
     OWNER_SUSPENDED, NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_DELTA, OWNER_GATE_SHUT},
    {"OFFERED | PULL, token dead", OWNER_OFFERED, OWNER_EV_PULL, 0, OWNER_OFFERED, NOT_DURABLE,
     OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"SUSPENDED | PULL, token dead", OWNER_SUSPENDED, OWNER_EV_PULL, 0, OWNER_SUSPENDED,
     NOT_DURABLE, OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"unknown token | PULL", OWNER_NONE, OWNER_EV_PULL, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NO,
     SILENT, 0, OWNER_GATE_SAME},
    {"SUSPENDED | rings on, no Acquire", OWNER_SUSPENDED, OWNER_EV_RINGS_ON, RINGS, OWNER_ACTIVE,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_TOKEN_DEAD, OWNER_GATE_RINGS},
    {"SUSPENDED | Acquire(own)", OWNER_SUSPENDED, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_ACTIVE,
     NOT_DURABLE, OWNER_MSG_NONE, GRANTED, OWNER_A_TOKEN_DEAD, OWNER_GATE_RINGS},
    {"SUSPENDED | QEMU gone", OWNER_SUSPENDED, OWNER_EV_QEMU_GONE, 0, OWNER_SUSPENDED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"OFFERED | QEMU gone", OWNER_OFFERED, OWNER_EV_QEMU_GONE, 0, OWNER_OFFERED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_RINGS},
    {"SUSPENDED(tok, seq) | TAKE(tok, e, seq)", OWNER_SUSPENDED, OWNER_EV_TAKE, TOKEN | SEQ,
     OWNER_GIVEN, 1, OWNER_MSG_OK, SILENT, OWNER_A_STOP_SOURCE, OWNER_GATE_SHUT},
    {"SUSPENDED | TAKE of another suspension", OWNER_SUSPENDED, OWNER_EV_TAKE, TOKEN,
     OWNER_SUSPENDED, NOT_DURABLE, OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"SUSPENDED | TAKE of another token", OWNER_SUSPENDED, OWNER_EV_TAKE, SEQ, OWNER_SUSPENDED,
     NOT_DURABLE, OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"OFFERED | TAKE", OWNER_OFFERED, OWNER_EV_TAKE, TOKEN | SEQ, OWNER_OFFERED, NOT_DURABLE,
     OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"ACTIVE | TAKE", OWNER_ACTIVE, OWNER_EV_TAKE, TOKEN | SEQ, OWNER_ACTIVE, NOT_DURABLE,
     OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SAME},
    {"unknown token | TAKE", OWNER_NONE, OWNER_EV_TAKE, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NO,
     SILENT, 0, OWNER_GATE_SAME},
    {"GIVEN(tok) | TAKE(tok), also after restart", OWNER_GIVEN, OWNER_EV_TAKE, TOKEN, OWNER_GIVEN,
     NOT_DURABLE, OWNER_MSG_OK, SILENT, 0, OWNER_GATE_SHUT},
    {"GIVEN | TAKE of another token, or by another host", OWNER_GIVEN, OWNER_EV_TAKE, SEQ,
     OWNER_GIVEN, NOT_DURABLE, OWNER_MSG_NO, SILENT, 0, OWNER_GATE_SHUT},
    {"GIVEN | Acquire(own)", OWNER_GIVEN, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_GIVEN, NOT_DURABLE,
     OWNER_MSG_ASK, KEPT, 0, OWNER_GATE_SHUT},
    {"GIVEN | NAK", OWNER_GIVEN, OWNER_EV_NAK, TOKEN | WAITS, OWNER_GIVEN, NOT_DURABLE,
     OWNER_MSG_NONE, REFUSED, 0, OWNER_GATE_SHUT},
    {"GIVEN | timeout", OWNER_GIVEN, OWNER_EV_TIMEUP, WAITS, OWNER_GIVEN, NOT_DURABLE,
     OWNER_MSG_NONE, REFUSED, 0, OWNER_GATE_SHUT},
    {"GIVEN | BACK(tok)", OWNER_GIVEN, OWNER_EV_BACK, TOKEN | WAITS, OWNER_ACTIVE, 2,
     OWNER_MSG_NONE, GRANTED, OWNER_A_RESUME, OWNER_GATE_RINGS},
    {"GIVEN | BACK of another token", OWNER_GIVEN, OWNER_EV_BACK, WAITS, OWNER_GIVEN, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"GIVEN | ACTIVE-report(tok)", OWNER_GIVEN, OWNER_EV_ACTIVE_REPORT, TOKEN, OWNER_GIVEN, 1,
     OWNER_MSG_ACTIVE_ACK, SILENT, OWNER_A_EVICTABLE, OWNER_GATE_SHUT},
    {"GIVEN | ACTIVE-report of another token", OWNER_GIVEN, OWNER_EV_ACTIVE_REPORT, 0, OWNER_GIVEN,
     UNLISTED, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"GIVEN | TOMB", OWNER_GIVEN, OWNER_EV_TOMB, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NONE, SILENT,
     OWNER_A_DELETE_COPY, OWNER_GATE_SHUT},
    {"STAGED | TOMB", OWNER_STAGED, OWNER_EV_TOMB, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NONE,
     SILENT, OWNER_A_DELETE_COPY | OWNER_A_STOP_PULL, OWNER_GATE_SHUT},
    {"REFUSED | TOMB", OWNER_REFUSED, OWNER_EV_TOMB, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NONE,
     SILENT, OWNER_A_DELETE_COPY, OWNER_GATE_SHUT},
    {"ACTIVE | TOMB is not for owners", OWNER_ACTIVE, OWNER_EV_TOMB, 0, OWNER_ACTIVE, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"OWNED | TOMB is not for owners", OWNER_OWNED, OWNER_EV_TOMB, 0, OWNER_OWNED, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"GIVEN | daemon start", OWNER_GIVEN, OWNER_EV_START, 0, OWNER_GIVEN, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"GIVEN | start, a sibling was never given", OWNER_GIVEN, OWNER_EV_START, OWNER_C_SIBLING_HERE,
     OWNER_ACTIVE, 2, OWNER_MSG_NONE, SILENT, OWNER_A_RESUME, OWNER_GATE_RINGS},
    {"GIVEN | rings on", OWNER_GIVEN, OWNER_EV_RINGS_ON, RINGS, OWNER_GIVEN, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},

    /* ---- target ---- */
    {"none | migrate begin", OWNER_NONE, OWNER_EV_STAGE, 0, OWNER_STAGED, 0, OWNER_MSG_NONE, SILENT,
     0, OWNER_GATE_SHUT},
    {"GIVEN | migrate begin", OWNER_GIVEN, OWNER_EV_STAGE, 0, OWNER_STAGED, 0, OWNER_MSG_NONE,
     SILENT, 0, OWNER_GATE_SHUT},
    {"REFUSED | migrate begin", OWNER_REFUSED, OWNER_EV_STAGE, 0, OWNER_STAGED, 0, OWNER_MSG_NONE,
     SILENT, 0, OWNER_GATE_SHUT},
    {"STAGED(old) | migrate begin", OWNER_STAGED, OWNER_EV_STAGE, 0, OWNER_STAGED, 0,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"ACTIVE | migrate begin is refused", OWNER_ACTIVE, OWNER_EV_STAGE, 0, OWNER_ACTIVE, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"OWNED | migrate begin is refused", OWNER_OWNED, OWNER_EV_STAGE, 0, OWNER_OWNED, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"STAGED | DELTA(tok, seq)", OWNER_STAGED, OWNER_EV_DELTA, TOKEN, OWNER_STAGED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, OWNER_A_SAVE_SEQ, OWNER_GATE_SHUT},
    {"STAGED, waiting | DELTA(tok, seq)", OWNER_STAGED, OWNER_EV_DELTA, TOKEN | WAITS, OWNER_STAGED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_SAVE_SEQ | OWNER_A_PREPARE, OWNER_GATE_SHUT},
    {"STAGED | Acquire(tok), no delta yet", OWNER_STAGED, OWNER_EV_ACQUIRE_TOKEN, WAITS,
     OWNER_STAGED, NOT_DURABLE, OWNER_MSG_PULL, KEPT, 0, OWNER_GATE_SHUT},
    {"STAGED | Acquire(tok), have seq: flush", OWNER_STAGED, OWNER_EV_ACQUIRE_TOKEN,
     WAITS | DELTA_HERE, OWNER_STAGED, NOT_DURABLE, OWNER_MSG_NONE, SILENT, OWNER_A_PREPARE,
     OWNER_GATE_SHUT},
    {"STAGED | flushed: TAKE", OWNER_STAGED, OWNER_EV_READY, WAITS | DELTA_HERE, OWNER_STAGED,
     NOT_DURABLE, OWNER_MSG_TAKE, KEPT, 0, OWNER_GATE_SHUT},
    {"STAGED | Acquire without the token", OWNER_STAGED, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_STAGED,
     UNLISTED, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"STAGED, taking | OK(tok)", OWNER_STAGED, OWNER_EV_OK, TOKEN | WAITS | TAKING | DELTA_HERE,
     OWNER_OWNED, 1, OWNER_MSG_NONE, GRANTED, OWNER_A_RESUME, OWNER_GATE_SHUT},
    {"STAGED, not taking | OK", OWNER_STAGED, OWNER_EV_OK, TOKEN | WAITS, OWNER_STAGED, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"STAGED, taking | OK of another token", OWNER_STAGED, OWNER_EV_OK, WAITS | TAKING,
     OWNER_STAGED, UNLISTED, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"STAGED, taking | NO", OWNER_STAGED, OWNER_EV_NO, TOKEN | WAITS | TAKING, OWNER_REFUSED, 0,
     OWNER_MSG_NONE, REFUSED, OWNER_A_STOP_PULL, OWNER_GATE_SHUT},
    {"STAGED, taking | time up", OWNER_STAGED, OWNER_EV_TIMEUP, WAITS | TAKING, OWNER_REFUSED, 0,
     OWNER_MSG_NONE, REFUSED, OWNER_A_STOP_PULL, OWNER_GATE_SHUT},
    {"STAGED | ASK(tok)", OWNER_STAGED, OWNER_EV_ASK, TOKEN | WAITS, OWNER_REFUSED, 0,
     OWNER_MSG_BACK, REFUSED, OWNER_A_STOP_PULL, OWNER_GATE_SHUT},
    {"STAGED | daemon start", OWNER_STAGED, OWNER_EV_START, 0, OWNER_REFUSED, 0, OWNER_MSG_NONE,
     SILENT, 0, OWNER_GATE_SHUT},
    {"STAGED | start, a sibling is OWNED", OWNER_STAGED, OWNER_EV_START, OWNER_C_SIBLING_OWNED,
     OWNER_OWNED, 1, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"STAGED | start, siblings OWNED and REFUSED", OWNER_STAGED, OWNER_EV_START,
     OWNER_C_SIBLING_OWNED | OWNER_C_SIBLING_REFUSED, OWNER_REFUSED, 0, OWNER_MSG_NONE, SILENT, 0,
     OWNER_GATE_SHUT},
    {"OWNED | start, a sibling is REFUSED", OWNER_OWNED, OWNER_EV_START,
     OWNER_C_SIBLING_REFUSED | OWNER_C_SIBLING_OWNED, OWNER_REFUSED, 0, OWNER_MSG_NONE, SILENT, 0,
     OWNER_GATE_SHUT},
    {"OWNED | start, a sibling is ACTIVE", OWNER_OWNED, OWNER_EV_START,
     OWNER_C_SIBLING_ACTIVE | OWNER_C_SIBLING_OWNED, OWNER_ACTIVE, 1, OWNER_MSG_ACTIVE_REPORT,
     SILENT, 0, OWNER_GATE_RINGS},
    {"OWNED | daemon start", OWNER_OWNED, OWNER_EV_START, OWNER_C_SIBLING_OWNED, OWNER_OWNED,
     NOT_DURABLE, OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"OWNED | first ring on of any volume", OWNER_OWNED, OWNER_EV_RINGS_ON, RINGS | QEMU,
     OWNER_ACTIVE, 1, OWNER_MSG_ACTIVE_REPORT, SILENT, 0, OWNER_GATE_RINGS},
    {"OWNED | ASK(tok), QEMU's pid gone", OWNER_OWNED, OWNER_EV_ASK, TOKEN, OWNER_REFUSED, 0,
     OWNER_MSG_BACK, SILENT, 0, OWNER_GATE_SHUT},
    {"OWNED | ASK(tok), QEMU alive", OWNER_OWNED, OWNER_EV_ASK, TOKEN | QEMU, OWNER_OWNED,
     NOT_DURABLE, OWNER_MSG_NAK, SILENT, 0, OWNER_GATE_SHUT},
    {"OWNED | ASK of another token", OWNER_OWNED, OWNER_EV_ASK, 0, OWNER_OWNED, NOT_DURABLE,
     OWNER_MSG_NAK, SILENT, 0, OWNER_GATE_SHUT},
    {"OWNED | Acquire(own)", OWNER_OWNED, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_OWNED, NOT_DURABLE,
     OWNER_MSG_NONE, GRANTED, OWNER_A_RESUME, OWNER_GATE_SHUT},
    {"REFUSED(tok) | ASK(tok), any number of times", OWNER_REFUSED, OWNER_EV_ASK, TOKEN,
     OWNER_REFUSED, NOT_DURABLE, OWNER_MSG_BACK, SILENT, 0, OWNER_GATE_SHUT},
    {"REFUSED(tok) | ASK of another token", OWNER_REFUSED, OWNER_EV_ASK, 0, OWNER_REFUSED, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"REFUSED(tok) | late OK", OWNER_REFUSED, OWNER_EV_OK, TOKEN, OWNER_REFUSED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"REFUSED(tok) | Acquire(tok)", OWNER_REFUSED, OWNER_EV_ACQUIRE_TOKEN, WAITS, OWNER_REFUSED,
     NOT_DURABLE, OWNER_MSG_NONE, REFUSED, 0, OWNER_GATE_SHUT},
    {"REFUSED(tok) | Acquire(own)", OWNER_REFUSED, OWNER_EV_ACQUIRE_OWN, WAITS, OWNER_REFUSED,
     NOT_DURABLE, OWNER_MSG_NONE, REFUSED, 0, OWNER_GATE_SHUT},
    {"REFUSED(tok) | rings on", OWNER_REFUSED, OWNER_EV_RINGS_ON, RINGS, OWNER_REFUSED, NOT_DURABLE,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SHUT},
    {"ACTIVE | ASK", OWNER_ACTIVE, OWNER_EV_ASK, TOKEN, OWNER_ACTIVE, NOT_DURABLE, OWNER_MSG_NAK,
     SILENT, 0, OWNER_GATE_SAME},
    {"OFFERED | ASK", OWNER_OFFERED, OWNER_EV_ASK, TOKEN, OWNER_OFFERED, NOT_DURABLE, OWNER_MSG_NAK,
     SILENT, 0, OWNER_GATE_SAME},
    {"GIVEN | ASK", OWNER_GIVEN, OWNER_EV_ASK, 0, OWNER_GIVEN, NOT_DURABLE, OWNER_MSG_NAK, SILENT,
     0, OWNER_GATE_SHUT},
    {"TOMB | ASK", OWNER_TOMB, OWNER_EV_ASK, 0, OWNER_TOMB, NOT_DURABLE, OWNER_MSG_NAK, SILENT, 0,
     OWNER_GATE_SHUT},
    {"unknown token | ASK", OWNER_NONE, OWNER_EV_ASK, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NAK,
     SILENT, 0, OWNER_GATE_SAME},
    {"ACTIVE, no QEMU | delete", OWNER_ACTIVE, OWNER_EV_DELETE, 0, OWNER_TOMB, 0, OWNER_MSG_TOMB,
     SILENT, 0, OWNER_GATE_SHUT},
    {"ACTIVE with a QEMU | delete", OWNER_ACTIVE, OWNER_EV_DELETE, QEMU, OWNER_ACTIVE, UNLISTED,
     OWNER_MSG_NONE, SILENT, 0, OWNER_GATE_SAME},
    {"OWNED, no QEMU | delete", OWNER_OWNED, OWNER_EV_DELETE, 0, OWNER_TOMB, 0, OWNER_MSG_TOMB,
     SILENT, 0, OWNER_GATE_SHUT},
    {"TOMB | ACK", OWNER_TOMB, OWNER_EV_ACK, 0, OWNER_NONE, NOT_DURABLE, OWNER_MSG_NONE, SILENT,
     OWNER_A_FORGET, OWNER_GATE_SHUT},
    {"TOMB | retried", OWNER_TOMB, OWNER_EV_TIMEUP, 0, OWNER_TOMB, NOT_DURABLE, OWNER_MSG_TOMB,
     SILENT, 0, OWNER_GATE_SHUT},
};

/* OFFERED and SUSPENDED are ACTIVE on disk. */
static enum owner_state on_disk(enum owner_state s)
{
        return s == OWNER_OFFERED || s == OWNER_SUSPENDED ? OWNER_ACTIVE : s;
}

static bool row_is_kept(size_t i)
{
        const struct owner_rule *r =
            owner_rule_find(rows[i].state, rows[i].event, rows[i].conditions);
        const unsigned answers = OWNER_A_ANSWER_OK | OWNER_A_REFUSE | OWNER_A_WAIT;

        if (rows[i].durable == UNLISTED)
                return !r;
        if (!r || r->to != rows[i].to || r->send != rows[i].send || r->gate != rows[i].gate)
                return false;
        if (r->durable != (rows[i].durable >= 0) ||
            (r->durable && r->epoch_add != (uint64_t)rows[i].durable))
                return false;
        if ((rows[i].answer == GRANTED) != !!(r->actions & OWNER_A_ANSWER_OK) ||
            (rows[i].answer == KEPT) != !!(r->actions & OWNER_A_WAIT))
                return false;
        if (rows[i].answer == REFUSED && !(r->actions & OWNER_A_REFUSE))
                return false;
        return (r->actions & ~answers) == rows[i].actions;
}

static void test_every_row_of_the_tables_is_kept(void)
{
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                if (!row_is_kept(i))
                        printf("\n    row: %s\n", rows[i].row);
                CU_ASSERT_TRUE(row_is_kept(i));
        }
}

/* Calls fn for every state, event and set of conditions that the machine could bring up. */
static void everywhere(void (*fn)(const struct owner_rule *r, enum owner_state s,
                                  enum owner_event e, unsigned c))
{
        for (int s = OWNER_NONE; s < OWNER_NSTATES; s++)
                for (int e = 0; e < OWNER_NEVENTS; e++)
                        for (unsigned c = 0; c < 1u << 12; c++)
                                fn(owner_rule_find((enum owner_state)s, (enum owner_event)e, c),
                                   (enum owner_state)s, (enum owner_event)e, c);
}

static unsigned broken;

static void durable_change(const struct owner_rule *r, enum owner_state s, enum owner_event e,
                           unsigned c)
{
        if (r && r->to != OWNER_NONE && on_disk(r->to) != on_disk(s))
                broken += !r->durable;
}

static void test_no_state_of_the_disk_changes_without_a_record(void)
{
        broken = 0;
        everywhere(durable_change);
        CU_ASSERT_EQUAL(broken, 0);
}

static void gate_rule(const struct owner_rule *r, enum owner_state s, enum owner_event e,
                      unsigned c)
{
        if (!r)
                return;
        broken += r->gate == OWNER_GATE_RINGS && r->to != OWNER_ACTIVE && r->to != OWNER_OFFERED;
        broken += r->gate == OWNER_GATE_SAME && r->to != s;
        if (r->to != OWNER_ACTIVE && r->to != OWNER_OFFERED && s != r->to)
                broken += r->gate != OWNER_GATE_SHUT;
}

static void test_the_gate_is_open_only_for_an_owner(void)
{
        broken = 0;
        everywhere(gate_rule);
        CU_ASSERT_EQUAL(broken, 0);
}

static void message_rule(const struct owner_rule *r, enum owner_state s, enum owner_event e,
                         unsigned c)
{
        static const enum owner_event of_peers[] = {
            OWNER_EV_TAKE, OWNER_EV_BACK, OWNER_EV_OK,  OWNER_EV_NO,
            OWNER_EV_ASK,  OWNER_EV_PULL, OWNER_EV_NAK, OWNER_EV_ACTIVE_REPORT};

        for (size_t i = 0; i < ARRAY_SIZE(of_peers); i++)
                if (e == of_peers[i] && !(c & TOKEN) && r)
                        broken += r->to != s || r->durable;
}

static void test_a_message_of_another_token_changes_nothing(void)
{
        broken = 0;
        everywhere(message_rule);
        CU_ASSERT_EQUAL(broken, 0);
}

static void send_rule(const struct owner_rule *r, enum owner_state s, enum owner_event e,
                      unsigned c)
{
        if (!r)
                return;
        broken += r->send == OWNER_MSG_OK && r->to != OWNER_GIVEN;
        broken += r->send == OWNER_MSG_BACK &&
                  (r->to != OWNER_REFUSED || (s != OWNER_REFUSED && !r->durable));
        broken += r->send == OWNER_MSG_NAK && (s == OWNER_REFUSED || s == OWNER_STAGED);
        broken += r->send == OWNER_MSG_ACTIVE_REPORT && (r->to != OWNER_ACTIVE || !r->durable);
        broken += (r->actions & OWNER_A_ANSWER_OK) && r->to != OWNER_ACTIVE && r->to != OWNER_OWNED;
        /* nothing is ever taken from an ACTIVE target, and REFUSED serves never again */
        broken += s == OWNER_REFUSED && r->to == OWNER_ACTIVE && !(c & OWNER_C_SIBLING_ACTIVE);
        broken += s == OWNER_ACTIVE && r->to != OWNER_ACTIVE && r->to != OWNER_OFFERED &&
                  r->to != OWNER_TOMB;
}

static void test_what_is_said_follows_from_what_is_recorded(void)
{
        broken = 0;
        everywhere(send_rule);
        CU_ASSERT_EQUAL(broken, 0);
}

static void test_rows_have_names_of_their_own_and_none_is_hidden_by_another(void)
{
        for (size_t i = 0; i < owner_nrules; i++) {
                bool reached = false;
                for (size_t k = 0; k < i; k++)
                        CU_ASSERT_NOT_EQUAL(strcmp(owner_rules[i].row, owner_rules[k].row), 0);
                for (unsigned c = 0; c < 1u << 12 && !reached; c++)
                        reached = owner_rule_find(owner_rules[i].state, owner_rules[i].event, c) ==
                                  &owner_rules[i];
                if (!reached)
                        printf("\n    never reached: %s\n", owner_rules[i].row);
                CU_ASSERT_TRUE(reached);
        }
}

static void test_states_events_and_messages_have_names(void)
{
        for (int i = 0; i < OWNER_NSTATES; i++)
                CU_ASSERT_PTR_NOT_NULL(owner_state_name((enum owner_state)i));
        for (int i = 0; i < OWNER_NEVENTS; i++)
                CU_ASSERT_PTR_NOT_NULL(owner_event_name((enum owner_event)i));
        for (int i = 0; i < OWNER_NMSGS; i++)
                CU_ASSERT_PTR_NOT_NULL(owner_msg_name((enum owner_msg_kind)i));
        CU_ASSERT_STRING_EQUAL(owner_state_name(OWNER_NSTATES), "?");
}

static const struct t_case cases[] = {
    T_CASE(test_every_row_of_the_tables_is_kept),
    T_CASE(test_no_state_of_the_disk_changes_without_a_record),
    T_CASE(test_the_gate_is_open_only_for_an_owner),
    T_CASE(test_a_message_of_another_token_changes_nothing),
    T_CASE(test_what_is_said_follows_from_what_is_recorded),
    T_CASE(test_rows_have_names_of_their_own_and_none_is_hidden_by_another),
    T_CASE(test_states_events_and_messages_have_names),
};
T_MAIN("ownership tables", cases)
