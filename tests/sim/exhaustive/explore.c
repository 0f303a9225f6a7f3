/* Tries every crash of one sequence of operations, see explore.h. */
#include "tests/sim/exhaustive/explore.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"
#include "tests/sim/exhaustive/cut.h"
#include "tests/sim/exhaustive/look.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *const order_names[NORDERS] = {"one", "all"};

enum {
        STATES_A_POINT = 96, /* where the product of all zones' outcomes is larger */
        STATES_A_POINT_IN_RECOVERY = 12,
        EXPLORE_1_OF = 4, /* recoveries in which power fails again */
        GO_ON_1_OF = 8, /* recoveries after which the pool is written to */
        MAX_IDLE_STEPS = 20000,
};

/* One run that may crash: the sequence (level 0), or a recovery (1). */
struct run {
        struct explorer *x;
        unsigned level;
        const struct demand *demand; /* level 1: of the crash the recovery is from */
        const struct history *history; /* level 0 */
        bool count; /* and recover nothing */
        uint64_t counted;
        uint64_t version, acks; /* of the last crash point */
        bool begun;
        uint32_t points;
};

void explorer_init(struct explorer *x)
{
        *x = (struct explorer){.hash_limit = UINT64_MAX};
        seen_init(&x->seen);
}

void explorer_fini(struct explorer *x)
{
        seen_fini(&x->seen);
}

/* Another number of a state, to choose by. */
static uint64_t lot(uint64_t hash, uint64_t of)
{
        struct rng rng = {.state = hash ^ of * UINT64_C(0xa0761d6478bd642f)};
        return rng_next(&rng);
}

static void crash_point(struct stage *s, void *ctx);

/* ---- one state ---- */

/* Without the lost device the import says what is missing; or the others know that it is out of
 * use, and what is read of them is right. */
static void import_without(const struct demand *demand, const struct cuts *cuts, uint32_t state)
{
        struct stage s;
        struct outcome o;
        struct err err;
        case_now.doing = "importing without the lost device";
        cuts_make(cuts, state, &s);
        int rc = stage_import(&s, s.ndisks - 1, &err);
        if (rc < 0 && (rc != -ENXIO || !strstr(err.msg, "missing")))
                case_fail("the import ended with %d: %s", rc, err.msg);
        if (rc == 0) {
                s.faults_fair = true;
                look_at(&s, true, &o);
                demand_check(demand, &o);
        }
        stage_fini(&s);
}

/* What was seen is there to stay, and the pool can be written to. */
static void go_on(struct stage *s, struct outcome *o)
{
        struct history h;
        struct script sc;
        struct base b = {0};
        struct outcome again;
        struct err err;
        if (!o->volumes[MAIN].there)
                return;
        case_now.doing = "writing after the recovery";
        s->at_rest = NULL;
        history_init(&h);
        h.next_tag = MAX_TAGS - 1;
        script_init(&sc, s, &h, &b);
        script_write(&sc, MAIN, 0, 1, true);
        script_wait(&sc);
        script_fini(&sc);
        struct cuts cuts;
        cuts_init(&cuts, s, 1);
        struct stage next;
        cuts_make(&cuts, cuts_all_lost(&cuts), &next);
        case_now.doing = "importing after writing";
        int rc = stage_import(&next, next.ndisks, &err);
        if (rc < 0)
                case_fail("the import ended with %d: %s", rc, err.msg);
        look_at(&next, false, &again);
        struct outcome want = *o;
        want.volumes[MAIN].tags[0] = MAX_TAGS - 1;
        for (unsigned i = 0; i < MAX_VOLUMES; i++)
                if (memcmp(&want.volumes[i], &again.volumes[i], sizeof(want.volumes[i])) != 0)
                        case_fail("volume %u is not what it was after the first recovery", i);
        stage_fini(&next);
        cuts_fini(&cuts);
}

static void recover(struct run *run, const struct cuts *cuts, uint32_t state, uint64_t hash,
                    bool explore_it)
{
        struct explorer *x = run->x;
        struct stage s;
        struct outcome o;
        struct err err;
        struct run inner = {.x = x, .level = 1, .demand = run->demand};
        const struct demand *demand = run->demand;
        if (case_now.verbose)
                cuts_describe(cuts, state);
        if (demand->lost)
                import_without(demand, cuts, state);
        cuts_make(cuts, state, &s);
        for (uint32_t i = 0; i < s.ndisks; i++)
                s.disks[i]->lost = false; /* it comes back */
        case_now.doing = "importing";
        if (explore_it) {
                s.at_rest = crash_point;
                s.ctx = &inner;
        }
        int rc = stage_import(&s, s.ndisks, &err);
        s.at_rest = NULL;
        x->recoveries++;
        case_now.ncrashes = run->level + 1;
        if (rc < 0)
                case_fail("the import ended with %d: %s", rc, err.msg);
        case_now.doing = "looking at what was recovered";
        look_at(&s, false, &o);
        demand_check(demand, &o);
        if (x->only || lot(hash, 2) % GO_ON_1_OF == 0)
                go_on(&s, &o);
        stage_fini(&s);
        seen_add(&x->seen, hash, &o)->explored |= explore_it;
}

static void visit(struct run *run, const struct cuts *cuts, uint32_t state)
{
        struct explorer *x = run->x;
        uint64_t hash = cuts_hash(cuts, state);
        struct seen_state *st = seen_find(&x->seen, hash);
        bool explore_it = run->level == 0 && lot(hash, 1) % EXPLORE_1_OF == 0;
        case_now.ncrashes = run->level + 1;
        case_now.crashes[run->level] = (struct case_pick){run->points, state};
        if (x->only) {
                const struct case_pick *want = &x->only[run->level];
                if (x->nonly > run->level && (want->point != run->points || want->state != state))
                        return;
                explore_it = run->level == 0 && x->nonly != 1;
                st = NULL;
        }
        if (st) {
                x->pruned += !run->count;
                case_now.doing = "recovering a state that came up before";
                demand_check(run->demand, seen_outcome(&x->seen, st));
                if (st->explored || !explore_it)
                        return;
        }
        if (run->count) {
                run->counted++;
                return;
        }
        if (lot(hash, 3) > x->hash_limit)
                return;
        recover(run, cuts, state, hash, explore_it);
}

/* ---- crash points ---- */

static void crash_point(struct stage *s, void *ctx)
{
        struct run *run = ctx;
        struct cuts cuts;
        struct demand demand;
        uint64_t version = stage_version(s), acks = run->history ? run->history->acks : 0;
        if (run->begun && version == run->version && acks == run->acks)
                return; /* only reads went on */
        const char *doing = case_now.doing;
        unsigned ncrashes = case_now.ncrashes;
        run->begun = true;
        run->version = version;
        run->acks = acks;
        if (run->history) {
                history_demand(run->history, false, &demand);
                run->demand = &demand;
        }
        case_trace("crash point %u", run->points);
        bool verbose = case_now.verbose;
        cuts_init(&cuts, s, run->level ? STATES_A_POINT_IN_RECOVERY : STATES_A_POINT);
        for (uint32_t i = 0; i < cuts.nstates; i++) {
                visit(run, &cuts, i);
                case_now.verbose = verbose;
        }
        cuts_fini(&cuts);
        run->points++;
        run->x->points += !run->count;
        if (run->history)
                run->demand = NULL;
        case_now.doing = doing;
        case_now.ncrashes = ncrashes;
}

/* ---- a sequence ---- */

/* False: it makes no sense. */
static bool play(struct run *run, const struct sequence *seq, struct stage *s, struct script *sc)
{
        s->newest_first = seq->order == ORDER_ALL;
        for (uint32_t i = 0; i < seq->n; i++) {
                case_now.doing = script_op_name(seq->ops[i]);
                /* what crashes before the last operation lead to is found by a shorter sequence */
                bool watch = seq->order == ORDER_ALL || i + 1 == seq->n;
                if (!script_start(sc, seq->ops[i]))
                        return false;
                s->at_rest = watch ? crash_point : NULL;
                s->ctx = run;
                if (seq->order == ORDER_ONE)
                        script_wait(sc);
        }
        script_wait(sc);
        for (uint32_t i = 0; stage_step(s); i++)
                if (i > MAX_IDLE_STEPS)
                        case_fail("the pool does not come to rest");
        s->at_rest = NULL;
        return true;
}

static uint64_t run_sequence(struct explorer *x, const struct sequence *seq, bool count)
{
        struct stage s;
        struct script sc;
        struct history h = seq->base->history;
        struct run run = {.x = x, .history = &h, .count = count};
        struct outcome o;
        struct demand demand;
        struct err err;
        snprintf(case_now.sequence, sizeof(case_now.sequence), "%s/%s/%s", seq->base->name,
                 order_names[seq->order], seq->ops);
        case_now.ncrashes = 0;
        case_now.doing = "importing at the beginning";
        stage_copy(&s, &seq->base->stage, false);
        if (seq->n == 0) {
                s.at_rest = crash_point;
                s.ctx = &run;
        }
        int rc = stage_import(&s, s.ndisks, &err);
        if (rc < 0)
                case_fail("the import ended with %d: %s", rc, err.msg);
        s.at_rest = NULL;
        script_init(&sc, &s, &h, seq->base);
        bool makes_sense = play(&run, seq, &s, &sc);
        if (makes_sense && !count) {
                x->sequences++;
                case_now.doing = "reading at the end";
                case_now.ncrashes = 0;
                look_at(&s, h.lost, &o);
                history_demand(&h, true, &demand);
                demand_check(&demand, &o);
        }
        script_fini(&sc);
        stage_fini(&s);
        return makes_sense ? run.counted : UINT64_MAX;
}

uint64_t explore_count(struct explorer *x, const struct sequence *seq)
{
        return run_sequence(x, seq, true);
}

void explore(struct explorer *x, const struct sequence *seq)
{
        run_sequence(x, seq, false);
}
