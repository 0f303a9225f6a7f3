/* See balance.h. */
#include "tests/sim/balance.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <stdlib.h>

struct call {
        struct list node; /* first: sim.device_pending */
        struct sim *sim;
        uint64_t number;
        bool on;
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct call *c = ctx;
        struct sim *sim = c->sim;
        bool late = c->number != sim->balance_call || sim->power_lost;
        list_del(&c->node);
        if (!late) {
                sim->balance_call = 0;
                if (status < 0 && !sim->faults && !sim->gave_up)
                        sim_fail(sim, "balance: %d %s", status, err ? err->msg : "");
                if (status == 0)
                        sim->balance_told = c->on ? BALANCE_ON : BALANCE_OFF;
        }
        free(c);
        if (!late)
                sim_answered(sim);
}

void balance_act(struct sim *sim)
{
        if (sim->balance_call || sim->power_lost || !sim_chance(sim, 1, 400))
                return;
        struct call *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        *c = (struct call){.sim = sim, .number = ++sim->device_calls, .on = !sim_chance(sim, 1, 3)};
        list_add_tail(&sim->device_pending, &c->node);
        sim->balance_call = c->number;
        sim->balance_told = BALANCE_UNSURE;
        sim_trace(sim, "balance: %s", c->on ? "on" : "off");
        sim_called(sim);
        pool_balance(sim->pool, c->on, c, answered);
}

void balance_event(struct sim *sim, struct pool *pool, const struct pool_event *e)
{
        bool over = e->kind == POOL_EVENT_BALANCED;
        struct pool_balance_status st;
        pool_get_balance_status(pool, &st);
        sim_trace(sim, "event: %s, %u to %u permille", over ? "balanced" : "balancing",
                  st.least_used_permille, st.most_used_permille);
        if (!over)
                return;
        sim->evened += e->block;
        if (st.state == POOL_BALANCE_RESTING && !sim->faults)
                sim_fail(sim, "evening out found no end: %llu blocks were moved",
                         (unsigned long long)e->block);
}

void balance_check(struct sim *sim)
{
        struct pool_balance_status st;
        pool_get_balance_status(sim->pool, &st);
        bool off = st.state == POOL_BALANCE_OFF;
        if (sim->balance_told && off != (sim->balance_told == BALANCE_OFF))
                sim_fail(sim, "evening out is %s after a recovery, and users were told otherwise",
                         off ? "off" : "on");
}

static void pass(struct sim *sim, uint64_t ns)
{
        uint64_t end = sim->now_ns + ns;
        while (sim->now_ns < end && !sim->power_lost && sim_step(sim))
                ;
}

void balance_rests(struct sim *sim)
{
        static const uint64_t minutes = UINT64_C(5) * 60 * 1000 * 1000 * 1000;
        struct pool_balance_status first, st;
        if (sim->faults || sim->power_lost)
                return;
        sim->phase = "resting";
        pass(sim, minutes);
        pool_get_balance_status(sim->pool, &first);
        pass(sim, minutes);
        pool_get_balance_status(sim->pool, &st);
        if (!sim->power_lost && st.moved_bytes != first.moved_bytes)
                sim_fail(sim, "data are moved for evenness on and on: from %u to %u permille",
                         st.least_used_permille, st.most_used_permille);
}
