/* What goes wrong with devices while users work, see trouble.h. */
#include "tests/sim/trouble.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/ailing.h"
#include "tests/sim/media.h"
#include "tests/sim/oracle.h"

#include <stdlib.h>

enum { MAX_ROTTEN = 3 }; /* blocks in a run */

void trouble_choose(struct sim *sim)
{
        sim->loses = sim->faults && sim_chance(sim, 1, 3);
        sim->rots =
            !sim->faults && !sim->least_copies && sim->options.checksums && sim_chance(sim, 1, 10);
}

/* ---- rot ---- */

struct rot {
        struct sim *sim;
        uint64_t seen; /* blocks so far: each is as likely to be the one */
        struct uuid vol;
        uint64_t block, offset;
        uint32_t group;
};

static void consider(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                     uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct rot *r = ctx;
        (void)generation;
        (void)crc;
        if (sim_below(r->sim, ++r->seen))
                return;
        r->vol = *vol;
        r->block = block;
        r->group = group;
        r->offset = offset;
}

/* Only data: a table page or a header that rots leaves nothing to be right about while there is one
 * copy of it. And only what a checkpoint covers, as all does after an import: above the durable
 * mark rot looks like a write that was never finished. */
static void rot_one(struct sim *sim)
{
        struct rot r = {.sim = sim};
        uint32_t zone;
        pool_inspect_table(sim->pool, &r, consider);
        if (!r.seen)
                return;
        const struct zdev *dev = pool_inspect_member(sim->pool, r.group, 0, &zone);
        struct oracle_volume *v = oracle_find(sim->oracle, &r.vol);
        if (!v) /* deleted, and not gone yet */
                return;
        uint64_t at = r.block * ZP_BLOCK;
        if (at >= v->split_bytes)
                at -= v->gap_bytes;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (media_is(sim->media[i], dev))
                        media_rot(sim->media[i], zone, r.offset);
        oracle_rot(v, at / ZP_BLOCK);
        sim->rotten++;
        sim->worn++; /* its group cannot be emptied by cleaning */
}

/* ---- the rest ---- */

void trouble_begin(struct sim *sim)
{
        if (sim->rots && sim->rotten < MAX_ROTTEN && sim_chance(sim, 1, 2))
                rot_one(sim);
        sim->lose_at = UINT64_MAX;
        if (sim->loses && sim_chance(sim, 1, 3))
                sim->lose_at = sim->commands + sim_between(sim, 1, 600);
        sim->stall_permille = sim_chance(sim, 1, 8) ? (unsigned)sim_between(sim, 1, 10) : 0;
        if (sim->least_copies)
                ailing_begin(sim);
}

void trouble_step(struct sim *sim)
{
        struct media *m;
        if (sim->least_copies) {
                ailing_step(sim);
                return;
        }
        if (sim->commands >= sim->lose_at && !sim->power_lost) {
                sim->lose_at = UINT64_MAX;
                media_lose(sim->media[sim_below(sim, sim->nmedia)]);
        }
        if (sim->stall_permille && sim_chance(sim, sim->stall_permille, 1000)) {
                m = sim->media[sim_below(sim, sim->nmedia)];
                if (!media_stalled(m))
                        media_stall(m, (uint32_t)sim_between(sim, 10, 2000));
        }
        if (sim->faulty && sim->worn < MAX_WORN && sim_chance(sim, 1, 2000))
                media_wear_now(sim->media[sim_below(sim, sim->nmedia)]);
}

void trouble_wake(struct sim *sim)
{
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (media_stalled(sim->media[i]))
                        media_stall(sim->media[i], 0);
}

void trouble_told(struct sim *sim, struct pool *pool, const struct pool_event *e)
{
        bool stalls = e->kind == POOL_EVENT_DEVICE_STALLED, some = sim->slow_permille;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                some |= media_ever_stalled(sim->media[i]);
        struct pool_device_status st;
        pool_get_device_status(pool, e->device, &st);
        if (st.stalled != stalls)
                sim_fail(sim, "device %u: its status is not what the event says", e->device);
        if (stalls && !some)
                sim_fail(sim, "device %u is said to stall, and none does", e->device);
        sim_trace(sim, "event: device %u %s", e->device, stalls ? "stalls" : "answers");
        sim->stalls += stalls;
}
