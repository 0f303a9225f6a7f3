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
        LOSE_1_OF = 4, /* recoveries of mirrored pools behind which a device is lost */
        RING_TIMES = 16, /* as many states in which a label ring changes zones: they are few */
        MAX_IDLE_STEPS = 20000,
};

/* One run that may crash: the sequence (level 0), or a recovery (1). */
struct run {
        struct explorer *x;
        unsigned level;
        const struct demand *demand; /* level 1: of the crash the recovery is from */
        const struct history *history; /* level 0 */
        bool odd; /* level 1: in the crash it is from bytes and pointers do not go together */
        uint64_t version, acks; /* of the last crash point */
        bool begun;
        uint32_t points;
};

void explorer_init(struct explorer *x)
{
        *x = (struct explorer){
            .bound = UINT64_MAX, .hash_limit = UINT64_MAX, .inner_limit = UINT64_MAX};
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

static void look_without(struct stage *s, const struct demand *demand, struct outcome *ret)
{
        s->faults_fair = true;
        case_now.doing = "looking at what is there without the lost device";
        look_at(s, true, ret);
        demand_check(demand, ret);
}

/* A block is written, power fails, and all that was not flushed is lost. */
static void write_and_crash(struct stage *s, struct outcome *o, struct cuts *ret_cuts,
                            struct stage *ret_next)
{
        struct history h;
        struct script sc;
        struct base b = {.copies = 1};
        case_now.doing = "writing after the recovery";
        s->at_rest = NULL;
        history_init(&h);
        h.next_tag = MAX_TAGS - 1;
        script_init(&sc, s, &h, &b);
        script_write(&sc, MAIN, 0, 1, true);
        script_wait(&sc);
        if (sc.idle) /* else it waits for space */
                o->volumes[MAIN].tags[0] = MAX_TAGS - 1;
        script_fini(&sc);
        cuts_init(ret_cuts, s, 1);
        cuts_make(ret_cuts, cuts_all_lost(ret_cuts), ret_next);
        for (uint32_t i = 0; i < ret_next->ndisks; i++)
                ret_next->disks[i]->lost = false; /* it comes back, if it was */
}

static void grown(void *ctx, int status)
{
        if (status < 0)
                case_fail("growing ended with %d (%s)", status, strerror(-status));
        *(bool *)ctx = true;
}

/* What MAIN was cut off by does not come back when it grows again. */
static void grow_back(struct stage *s, const struct demand *demand, const struct outcome *o)
{
        struct uuid uuid = volume_uuid_of(MAIN);
        uint32_t from = o->volumes[MAIN].nblocks;
        struct outcome again;
        bool done = false;
        if (from >= demand->whole)
                return;
        case_now.doing = "growing what had been made smaller";
        volume_resize(volume_by_uuid(s->pool, &uuid), (uint64_t)demand->whole * ZP_BLOCK, &done,
                      grown);
        stage_run(s, &done, "growing");
        look_at(s, false, &again);
        for (uint32_t b = from; b < demand->whole; b++)
                if (again.volumes[MAIN].tags[b])
                        case_fail("block %u was cut off and reads as write %u", b,
                                  again.volumes[MAIN].tags[b]);
}

/* What was seen is there to stay, and the pool can be written to. */
static void go_on(struct stage *s, const struct demand *demand, const struct outcome *o)
{
        struct cuts cuts;
        struct stage next;
        struct outcome again, want = *o;
        struct err err;
        if (!o->volumes[MAIN].there)
                return;
        write_and_crash(s, &want, &cuts, &next);
        case_now.doing = "importing after writing";
        next.faults_fair = s->faults_fair;
        next.options.degraded = false;
        int rc = stage_import(&next, next.ndisks, &err);
        if (rc < 0)
                case_fail("the import ended with %d: %s", rc, err.msg);
        look_at(&next, false, &again);
        for (unsigned i = 0; i < MAX_VOLUMES; i++)
                if (memcmp(&want.volumes[i], &again.volumes[i], sizeof(want.volumes[i])) != 0)
                        case_fail("volume %u is not what it was after the first recovery", i);
        grow_back(&next, demand, &again);
        stage_fini(&next);
        cuts_fini(&cuts);
}

/* What was seen is there without the last device as well; but it may be alone with what the others
 * lost below a pointer, or with what a recovery that crashed brought to light when it finished a
 * zone: neither can be written to theirs again. */
static void lose_behind(struct stage *s, const struct outcome *o, bool odd)
{
        struct cuts cuts;
        struct stage next;
        struct outcome again;
        struct err err;
        case_now.doing = "importing degraded, behind the recovery";
        cuts_init(&cuts, s, 1);
        cuts_make(&cuts, cuts_all_lost(&cuts), &next);
        next.faults_fair = next.options.degraded = true;
        int rc = stage_import(&next, next.ndisks - 1, &err);
        bool fair = odd && rc == -ENXIO && strstr(err.msg, "missing alone");
        if (rc < 0 && !fair)
                case_fail("the import ended with %d: %s", rc, err.msg);
        if (rc == 0) {
                look_at(&next, false, &again);
                if (memcmp(o, &again, sizeof(again)) != 0)
                        case_fail("it is not what it was with all devices");
        }
        stage_fini(&next);
        cuts_fini(&cuts);
}

/* Without the lost device the import says what is missing, or the others know that it is out of
 * use. Where everything is mirrored the operator may say that it is lost; all there should be is
 * there, and what is written then is not forgotten when the device comes back after all. A device
 * that was there in the recovery before, and is gone now, may take along what that found on it
 * alone, as lose_behind says. */
static void import_without(const struct run *run, const struct cuts *cuts, uint32_t state,
                           bool write, struct outcome *ret)
{
        const struct demand *demand = run->demand;
        struct stage s;
        struct err err;
        bool mirrored = !demand->volumes[MAIN].errors_fair;
        case_now.doing = "importing without the lost device";
        memset(ret, 0, sizeof(*ret));
        cuts_make(cuts, state, &s);
        int rc = stage_import(&s, s.ndisks - 1, &err);
        if (rc < 0 && (rc != -ENXIO || !strstr(err.msg, "missing")))
                case_fail("the import ended with %d: %s", rc, err.msg);
        if (rc < 0 && mirrored) {
                stage_fini(&s);
                cuts_make(cuts, state, &s);
                case_now.doing = "importing degraded, without the lost device";
                s.options.degraded = true;
                rc = stage_import(&s, s.ndisks - 1, &err);
                bool fair = run->odd && rc == -ENXIO && strstr(err.msg, "missing alone");
                if (rc < 0 && !fair)
                        case_fail("the import ended with %d: %s", rc, err.msg);
        }
        ret->refused = rc < 0;
        if (!ret->refused) {
                look_without(&s, demand, ret);
                if (mirrored && write)
                        go_on(&s, demand, ret);
        }
        stage_fini(&s);
}

static void recover(struct run *run, const struct cuts *cuts, uint32_t state, uint64_t hash,
                    bool explore_it)
{
        struct explorer *x = run->x;
        struct stage s;
        struct outcome o, without;
        struct err err;
        bool odd = run->odd || cuts_takes_below(cuts, state);
        struct run inner = {.x = x,
                            .level = 1,
                            .demand = run->demand,
                            .odd = odd || cuts_leaves_above(cuts, state)};
        const struct demand *demand = run->demand;
        bool write = x->only || lot(hash, 2) % GO_ON_1_OF == 0;
        if (case_now.verbose)
                cuts_describe(cuts, state);
        if (demand->lost)
                import_without(run, cuts, state, write, &without);
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
        x->picked += run->level == 0;
        case_now.ncrashes = run->level + 1;
        if (rc < 0)
                case_fail("the import ended with %d: %s", rc, err.msg);
        case_now.doing = "looking at what was recovered";
        look_at(&s, false, &o);
        demand_check(demand, &o);
        if (demand->mirrored && !demand->lost && (x->only || lot(hash, 4) % LOSE_1_OF == 0))
                lose_behind(&s, &o, odd);
        if (write)
                go_on(&s, demand, &o);
        stage_fini(&s);
        struct seen_state *st = seen_add(&x->seen, hash, &o, demand->lost ? &without : NULL);
        st->explored |= explore_it;
}

/* What its recovery showed then is held against what is demanded now. */
static void check_again(const struct explorer *x, const struct demand *demand,
                        const struct seen_state *st)
{
        case_now.doing = "recovering a state that came up before";
        demand_check(demand, seen_outcome(&x->seen, st->outcome));
        if (demand->lost && st->without != SEEN_NONE)
                demand_check(demand, seen_outcome(&x->seen, st->without));
}

/* Up to which lot states are taken. */
static uint64_t limit_of(const struct run *run, const struct cuts *cuts)
{
        if (run->level)
                return run->x->inner_limit;
        uint64_t limit = run->x->hash_limit;
        if (!cuts->ring_turns)
                return limit;
        return limit < UINT64_MAX / RING_TIMES ? limit * RING_TIMES : UINT64_MAX;
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
                x->pruned++;
                check_again(x, run->demand, st);
                if (st->explored || !explore_it)
                        return;
        }
        x->fresh += run->level == 0;
        /* the state whose recovery crashes here is not counted yet */
        if (x->seen.n + run->level >= x->bound || lot(hash, 3) > limit_of(run, cuts))
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
        run->x->points++;
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

void explore(struct explorer *x, const struct sequence *seq)
{
        struct stage s;
        struct script sc;
        struct history h = seq->base->history;
        struct run run = {.x = x, .history = &h};
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
        if (makes_sense) {
                x->sequences++;
                case_now.doing = "reading at the end";
                case_now.ncrashes = 0;
                look_at(&s, h.lost, &o);
                history_demand(&h, true, &demand);
                demand_check(&demand, &o);
        }
        script_fini(&sc);
        stage_fini(&s);
}
