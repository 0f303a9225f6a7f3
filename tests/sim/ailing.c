/* Devices in trouble where others have copies of everything, see ailing.h. */
#include "tests/sim/ailing.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/devices.h"
#include "tests/sim/media.h"
#include "tests/sim/oracle.h"
#include "tests/sim/trouble.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <string.h>

enum { ONE_RUN_IN = 6, MAX_AILING_ROT = 12, LONGEST_STALL = 20000 };

uint32_t ailing_choose(struct sim *sim)
{
        /* a generator of its own: the other runs stay what they are */
        struct rng rng = {.state = sim->seed * UINT64_C(0x9e3779b97f4a7c15) + 77};
        uint32_t spare;
        sim->stall_rng.state = sim->seed * UINT64_C(0x9e3779b97f4a7c15) + 99;
        if (rng_below(&rng, ONE_RUN_IN))
                return 0;
        sim->least_copies = rng_below(&rng, 4) ? 2 : 3;
        spare = (uint32_t)rng_below(&rng, 3);
        return MIN(sim->least_copies + spare, (uint32_t)MAX_MEDIA - 1);
}

bool ailing_may_fail(const struct sim *sim, uint32_t media)
{
        return sim->faults || ((sim->ailing | sim->ailed) >> media & 1);
}

uint64_t ailing_forgets(struct sim *sim, uint32_t media)
{
        if (!(sim->ailing >> media & 1) || !sim->stall_permille || !sim->pool ||
            !rng_chance(&sim->stall_rng, 1, 60))
                return 0;
        return 400 + rng_below(&sim->stall_rng, LONGEST_STALL);
}

static uint32_t gone(const struct sim *sim)
{
        uint32_t n = 0;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                n += sim->devices[i].absent || media_is_lost(sim->media[i]);
        return n;
}

bool ailing_took_room(const struct sim *sim, struct pool *pool)
{
        struct pool_status st;
        pool_get_status(pool, &st);
        return sim->shrank && !st.available_bytes;
}

/* ---- rot ---- */

struct rot {
        struct sim *sim;
        uint64_t seen; /* copies so far: each is as likely to be the one */
        uint32_t media, zone;
        uint64_t offset;
};

static void consider(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                     uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct rot *r = ctx;
        struct sim *sim = r->sim;
        const struct zdev *dev;
        uint32_t zone;
        (void)vol;
        (void)block;
        (void)generation;
        (void)crc;
        for (uint32_t k = 0; (dev = pool_inspect_member(sim->pool, group, k, &zone)); k++) {
                for (uint32_t i = 0; i < sim->nmedia; i++) {
                        if (!(sim->ailing >> i & 1) || !media_is(sim->media[i], dev) ||
                            sim_below(sim, ++r->seen))
                                continue;
                        r->media = i;
                        r->zone = zone;
                        r->offset = offset;
                }
        }
}

/* A block of a volume, or whatever else is written in front of it in its zone. */
static void rot_one(struct sim *sim)
{
        struct rot r = {.sim = sim};
        pool_inspect_table(sim->pool, &r, consider);
        if (!r.seen)
                return;
        if (sim_chance(sim, 1, 4))
                r.offset = sim_below(sim, r.offset + 1);
        media_rot(sim->media[r.media], r.zone, r.offset);
        sim->rotten++;
}

/* ---- a life ---- */

/* All that there is has its copies, by what the import made durable. */
static bool all_whole(struct sim *sim)
{
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        return st.copies >= sim->least_copies && !st.rebuild_bytes && !st.lost_bytes;
}

/* Others are in trouble from now on, if nothing is left of the trouble that there was. */
static void choose_ailing(struct sim *sim)
{
        uint32_t most = sim->least_copies - 1u;
        if (gone(sim) || sim->rotten || sim->devices_change)
                return;
        sim->ailed |= sim->ailing;
        sim->ailing = 0;
        while (most--)
                sim->ailing |= 1u << sim_below(sim, sim->nmedia);
        sim_trace(sim, "devices in trouble: %x", sim->ailing);
}

void ailing_imported(struct sim *sim)
{
        sim->whole = sim->least_copies && all_whole(sim);
}

void ailing_begin(struct sim *sim)
{
        sim->lose_at = UINT64_MAX;
        sim->patient = false;
        if (!sim->whole)
                return;
        if (!sim->ailing || sim_chance(sim, 1, 2))
                choose_ailing(sim);
        sim->faulty = sim_chance(sim, 1, 6);
        sim->patient = rng_chance(&sim->stall_rng, 2, 3);
        sim->leaves = sim_chance(sim, 1, 2); /* or is lost while the power is off */
        if (!sim->stall_permille && rng_chance(&sim->stall_rng, 1, 4))
                sim->stall_permille = 1 + (unsigned)rng_below(&sim->stall_rng, 10);
        if (sim_chance(sim, 1, 2))
                sim->lose_at =
                    sim->commands + sim_between(sim, 1, sim_chance(sim, 1, 2) ? 60 : 600);
        for (int i = 0;
             sim->options.checksums && !sim->snapshots && i < 3 && sim->rotten < MAX_AILING_ROT;
             i++)
                if (sim_chance(sim, 1, 3))
                        rot_one(sim);
}

static struct media *pick(struct sim *sim)
{
        uint32_t first = (uint32_t)sim_below(sim, sim->nmedia);
        for (uint32_t n = 0; n < sim->nmedia; n++) {
                uint32_t i = (first + n) % sim->nmedia;
                if ((sim->ailing >> i & 1) && !sim->devices[i].absent &&
                    !media_is_lost(sim->media[i]))
                        return sim->media[i];
        }
        return NULL;
}

void ailing_step(struct sim *sim)
{
        struct media *m = sim->power_lost ? NULL : pick(sim);
        if (!m)
                return;
        if (sim->commands >= sim->lose_at) {
                sim->lose_at = UINT64_MAX;
                sim->shrank = true;
                media_lose(m);
        } else if (sim->stall_permille && !media_stalled(m) &&
                   sim_chance(sim, sim->stall_permille, 1000)) {
                media_stall(m, (uint32_t)sim_between(sim, 10, LONGEST_STALL));
        } else if (sim->faulty && sim->worn < MAX_WORN && sim_chance(sim, 1, 1000)) {
                media_wear_now(m);
        }
}

void ailing_still(struct sim *sim)
{
        bool told = sim->whole;
        for (uint32_t i = 0; told && i < sim->nmedia; i++) {
                struct pool_device_status st;
                if (!media_pending(sim->media[i]))
                        continue;
                pool_get_device_status(sim->pool, devices_slot(sim, i), &st);
                told = st.stalled;
        }
        if (told && work_reads_waiting(sim->work))
                sim_fail(sim, "reads wait for a device that stalls, and others have the blocks");
}

/* ---- imports ---- */

void ailing_power_on(struct sim *sim, bool again)
{
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                struct sim_device *d = &sim->devices[i];
                bool was = d->absent || media_is_lost(sim->media[i]);
                if (!was && !again && sim->leaves && (sim->ailing >> i & 1) && d->listed &&
                    sim_chance(sim, 1, 3))
                        was = true;
                media_return(sim->media[i]);
                d->absent = was && sim_chance(sim, 2, 3);
                sim->shrank |= was;
                if (was)
                        sim_trace(sim, "device %u is %s", i, d->absent ? "away" : "back");
        }
        sim->leaves = false;
        sim->options.degraded = false;
}

void ailing_refused(struct sim *sim, int status, const char *text)
{
        uint32_t n = gone(sim);
        if (!n || status != -ENXIO || !strstr(text, "missing"))
                sim_fail(sim, "import with %u devices away: %d %s", n, status, text);
        sim_trace(sim, "refused: %s", text);
        if (!sim->options.degraded) {
                sim->options.degraded = true;
                return;
        }
        if (2 * n <= sim->nmedia)
                sim_fail(sim, "degraded import with %u devices away: %d %s", n, status, text);
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                if (!sim->devices[i].absent)
                        continue;
                sim->devices[i].absent = false;
                sim->options.degraded = false;
                return;
        }
}
