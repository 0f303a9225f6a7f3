/* One simulated run: set-up, the order of events, the plan. See sim.h. */
#include "tests/sim/sim.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/ailing.h"
#include "tests/sim/balance.h"
#include "tests/sim/comeback.h"
#include "tests/sim/devices.h"
#include "tests/sim/life.h"
#include "tests/sim/media.h"
#include "tests/sim/oracle.h"
#include "tests/sim/trouble.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        MIN_ZONE_BLOCKS = 32, /* the pool refuses smaller ones */
        MAX_COMMANDS = 20000, /* without an operation of a user's that ends */
        MAX_IN_VAIN = 50, /* tries to make room */
        MAX_IDLE_TICKS = 2000, /* clock moves without any completion */
};

void sim_trace_(const struct sim *sim, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        printf("[%s t%u c%llu] ", sim->phase, sim->time, (unsigned long long)sim->commands);
        vprintf(fmt, ap);
        putchar('\n');
        va_end(ap);
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
        char text[2048];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        fflush(stdout);
        fprintf(stderr, "seed %llu: while %s: %s\n", (unsigned long long)sim->seed, sim->phase,
                text);
        _exit(1);
}

/* ---- the order of events ---- */

/* All that is in flight stalls: the clock goes on for a while, then the stalls are over. False:
 * nothing is in flight, or it is the clock's turn. */
static bool stalls_end(struct sim *sim)
{
        uint32_t pending = 0;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                pending += media_pending(sim->media[i]);
        if (!pending)
                return false;
        if (sim->pool && !sim->power_lost && pool_next_tick_ns(sim->pool) != UINT64_MAX &&
            ++sim->waited % (sim->patient ? 150 : 20))
                return false;
        if (sim->pool && !sim->power_lost)
                ailing_still(sim);
        trouble_wake(sim);
        return true;
}

static bool complete_some(struct sim *sim)
{
        uint32_t total = 0;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                total += media_stalled(sim->media[i]) ? 0 : media_pending(sim->media[i]);
        if (!total && !stalls_end(sim))
                return false;
        if (!total)
                return complete_some(sim);
        for (int tries = 0;; tries++) {
                uint64_t pick = sim_below(sim, total);
                uint32_t i = 0;
                for (;; i++) {
                        uint32_t pending =
                            media_stalled(sim->media[i]) ? 0 : media_pending(sim->media[i]);
                        if (pick < pending)
                                break;
                        pick -= pending;
                }
                if (media_complete_one(sim->media[i], tries == 8))
                        return true;
        }
}

void sim_answered(struct sim *sim)
{
        if (sim->cut != CUT_AT_ANSWER || sim->power_lost || --sim->cut_countdown)
                return;
        sim_trace(sim, "power fails now");
        sim->power_lost = true;
}

void sim_called(struct sim *sim)
{
        if (sim->cut == CUT_AFTER_CALL && --sim->cut_countdown == 0)
                sim->cut_at = sim->commands + sim_between(sim, 1, 15);
}

/* The pool works and works, and no user gets anything of it. */
static void keeps_busy(struct sim *sim)
{
        if (!work_outstanding(sim->work)) {
                sim->progress_at = sim->commands;
                return;
        }
        if (sim->held) { /* for space; what goes on is what the run itself asks for */
                sim->progress_at = sim->commands;
                work_relieve(sim->work);
                return;
        }
        if (!sim->worn || sim->least_copies)
                sim_fail(sim, "%u operations wait, and the pool only keeps itself busy",
                         work_outstanding(sim->work));
        sim->power_lost = true; /* the zones it had to spare are gone */
}

bool sim_step(struct sim *sim)
{
        bool lost_before = sim->power_lost;
        trouble_step(sim);
        comeback_act(sim);
        bool ticked = sim->pool && !sim->power_lost && pool_next_tick_ns(sim->pool) <= sim->now_ns;
        if (ticked)
                pool_tick(sim->pool);
        if (sim->woken) { /* perhaps one that is still being imported */
                struct pool *pool = sim->woken;
                sim->woken = NULL;
                ticked = true;
                pool_tick(pool);
        }
        if (sim->commands - sim->progress_at > MAX_COMMANDS && sim->work)
                keeps_busy(sim);
        if (sim->power_lost && !lost_before)
                return true; /* nothing completes any more */
        if (complete_some(sim)) {
                sim->now_ns += sim_between(sim, 1000, 200000);
                return true;
        }
        if (ticked)
                return true;
        if (!sim->pool || sim->power_lost || pool_next_tick_ns(sim->pool) == UINT64_MAX)
                return false;
        sim->now_ns = pool_next_tick_ns(sim->pool);
        pool_tick(sim->pool);
        return true;
}

bool sim_run_until(struct sim *sim, const bool *flag, const char *what)
{
        uint64_t since = sim->commands;
        uint32_t idle = 0;
        while (!*flag) {
                if (sim->power_lost)
                        return false;
                if (!sim_step(sim))
                        sim_fail(sim, "%s never ends: nothing is in flight", what);
                idle = sim->commands == since ? idle + 1 : 0;
                since = sim->commands;
                if (idle > MAX_IDLE_TICKS)
                        sim_fail(sim, "%s never ends: the clock goes on and nothing happens", what);
        }
        return true;
}

/* ---- what the pool is given ---- */

static uint64_t host_now(void *ctx)
{
        return ((struct sim *)ctx)->now_ns;
}

static void host_random(void *ctx, void *buf, size_t len)
{
        struct sim *sim = ctx;
        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)(rng_next(&sim->pool_rng) >> 24);
}

static void host_wake(void *ctx, struct pool *pool)
{
        ((struct sim *)ctx)->woken = pool;
}

static void host_event(void *ctx, struct pool *pool, const struct pool_event *e)
{
        struct sim *sim = ctx;
        if (sim->power_lost)
                return;
        switch (e->kind) {
        case POOL_EVENT_HELD:
        case POOL_EVENT_RELEASED:
                if (sim->held == (e->kind == POOL_EVENT_HELD))
                        sim_fail(sim, "the event of held writes came twice in a row");
                sim->held = e->kind == POOL_EVENT_HELD;
                sim_trace(sim, "event: %s", sim->held ? "held" : "released");
                break;
        case POOL_EVENT_DEVICE_FAILED:
                if (!sim->faults && !devices_ailing(sim, pool, e->device))
                        sim_fail(sim, "device %u reported as failed (%d), and it did not fail",
                                 e->device, e->status);
                sim->gave_up |= sim->faults;
                sim->failed = true;
                sim->shrank |= e->status == -ETIMEDOUT;
                sim->given_up += e->status == -ETIMEDOUT;
                sim_trace(sim, "event: device %u failed (%d)", e->device, e->status);
                break;
        case POOL_EVENT_DEVICE_STALLED:
        case POOL_EVENT_DEVICE_ANSWERS:
                trouble_told(sim, pool, e);
                break;
        case POOL_EVENT_CORRUPTION:
                /* read in vain, twice */
                if ((sim->rotten && !sim->least_copies) || (sim->faults && e->status == -EIO))
                        break;
                sim_fail(sim, "corruption reported at run time: block %llu of %s",
                         (unsigned long long)e->block, e->volume ? volume_name(e->volume) : "none");
        case POOL_EVENT_HEALED:
                if (!sim->faults && !sim->rots &&
                    !(sim->least_copies && (sim->rotten || sim->erred)))
                        sim_fail(sim, "block %llu of %s was healed, and nothing was wrong",
                                 (unsigned long long)e->block,
                                 e->volume ? volume_name(e->volume) : "a volume that is gone");
                sim->healed++;
                break;
        case POOL_EVENT_UNBACKED:
                if (!sim->faults && !sim->excess && sim->pool) /* else a crash was in between */
                        sim_fail(sim, "%llu blocks that are reserved are not there",
                                 (unsigned long long)e->block);
                sim_trace(sim, "event: %llu reserved blocks are lacking",
                          (unsigned long long)e->block);
                break;
        case POOL_EVENT_BACKED:
                sim_trace(sim, "event: all that is reserved is there");
                break;
        case POOL_EVENT_READONLY:
                if (!sim->faults && !(e->status == -ENOSPC && ailing_took_room(sim, pool)))
                        sim_fail(sim, "the pool became read-only: %d", e->status);
                sim->gave_up = true;
                sim_trace(sim, "event: read-only");
                break;
        case POOL_EVENT_SCRUBBED:
                devices_scrubbed(sim, pool);
                break;
        case POOL_EVENT_BALANCING:
        case POOL_EVENT_BALANCED:
                balance_event(sim, pool, e);
                break;
        case POOL_EVENT_DEVICE_EMPTY:
        case POOL_EVENT_DEVICE_STUCK:
        case POOL_EVENT_DEVICE_REMOVED:
                devices_event(sim, pool, e);
                break;
        }
}

static void choose_media(struct sim *sim)
{
        static const uint32_t nmedia[] = {1, 1, 2, 2, 3};
        static struct sim_device devices[MAX_MEDIA];
        uint32_t members = nmedia[sim_below(sim, ARRAY_SIZE(nmedia))];
        sim->devices_change = sim_chance(sim, 1, 3);
        uint32_t enough = ailing_choose(sim);
        if (enough) {
                members = enough;
                sim->devices_change = false;
        }
        sim->nmedia = members;
        if (sim->devices_change)
                sim->nmedia = MIN(members + (uint32_t)sim_between(sim, 0, 2), (uint32_t)MAX_MEDIA);
        sim->devices = devices;
        for (uint32_t i = 0; i < MAX_MEDIA; i++)
                devices[i] = (struct sim_device){.fate = i < members ? DEVICE_IN : DEVICE_OUT,
                                                 .listed = i < members};
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                struct media_spec spec = {
                    .nr_zones = (uint32_t)sim_between(sim, 16, MAX_ZONES),
                    .zone_blocks = (uint32_t)sim_between(sim, MIN_ZONE_BLOCKS, MAX_ZONE_BLOCKS),
                    .max_io_blocks = (uint32_t)sim_between(sim, 8, 64),
                };
                spec.capacity_blocks = spec.zone_blocks;
                if (sim_chance(sim, 1, 2))
                        spec.capacity_blocks = (uint32_t)sim_between(
                            sim, MAX((uint32_t)MIN_ZONE_BLOCKS, spec.zone_blocks * 3 / 4),
                            spec.zone_blocks);
                if (sim_chance(sim, 1, 2))
                        spec.max_active = (uint32_t)sim_between(sim, 6, 14);
                if (sim_chance(sim, 1, 2))
                        spec.max_open =
                            (uint32_t)sim_between(sim, 4, spec.max_active ? spec.max_active : 14);
                if (spec.max_active && !spec.max_open)
                        spec.max_open = spec.max_active;
                if (sim_chance(sim, 1, 3)) { /* besides the zones that can be used */
                        spec.nr_conventional = (uint32_t)sim_between(sim, 1, MAX_CONVENTIONAL);
                        spec.nr_zones += spec.nr_conventional;
                }
                sim_trace(
                    sim,
                    "device %u: %u zones (%u conventional) of %u blocks, %u writable, open %u "
                    "active %u io %u",
                    i, spec.nr_zones, spec.nr_conventional, spec.zone_blocks, spec.capacity_blocks,
                    spec.max_open, spec.max_active, spec.max_io_blocks);
                sim->media[i] = media_new(sim, i, &spec);
        }
}

static void choose_options(struct sim *sim)
{
        static const uint32_t permilles[] = {0, 0, 50, 200, 500, 5};
        sim->options = POOL_OPTIONS_DEFAULT;
        sim->faults = sim_chance(sim, 1, 5) && !sim->least_copies;
        sim->mirrored = sim->nmedia > 1 && sim_chance(sim, 1, 2);
        sim->mirrored |= sim->least_copies != 0;
        sim->options.checksums = !sim_chance(sim, 1, sim->least_copies ? 3 : 8);
        /* what table pages may take of RAM: next to nothing, little, all they want */
        static const uint64_t caches[] = {0, 0, 1, 30000, 100000, 300000};
        sim->options.borrow_depth = 1; /* as much as can be */
        sim->options.table_cache_bytes = caches[sim_below(sim, ARRAY_SIZE(caches))];
        sim->options.checkpoint_permille = permilles[sim_below(sim, ARRAY_SIZE(permilles))];
        /* a stall of so many completions takes a fraction of a second */
        static const uint32_t stalls[] = {0, 20, 100};
        sim->options.stall_ms = sim->least_copies ? stalls[sim->seed % ARRAY_SIZE(stalls)] : 0;
        sim->options.give_up_ms = sim->least_copies ? 6 * sim->options.stall_ms : UINT32_MAX;
        sim->host = (struct pool_host){
            .now_ns = host_now, .random = host_random, .event = host_event, .ctx = sim};
        if (sim_chance(sim, 1, 2))
                sim->host.wake = host_wake;
        trouble_choose(sim);
        sim->reserves = sim->seed % 3 == 0 && !sim->least_copies;
        sim->snapshots = !sim->rots && sim_chance(sim, 1, 2);
        host_random(sim, sim->pool_uuid.b, sizeof(sim->pool_uuid.b));
        uuid_from_random(&sim->pool_uuid);
}

/* ---- the plan ---- */

/* What can be looked at any time. */
static void look_at_run_time(struct sim *sim)
{
        struct err err = ERR_INIT;
        if (devices_here(sim) && pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "at run time: %s", err.msg);
        if (sim->reserves)
                work_check_budget(sim->work);
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++) {
                const struct oracle_volume *v = oracle_get(sim->oracle, i);
                size_t len;
                if (v->fate != FATE_THERE || v->owner_call || v->snapshot || v->going_back)
                        continue;
                const void *owner = volume_owner(v->vol, &len);
                if (len != v->owner_len || memcmp(owner, v->owner, len) != 0)
                        sim_fail(sim, "volume %u: its ownership record is not the one set last",
                                 v->number);
                if (sim->reserves)
                        work_check_reservation(sim->work, v);
                if (v->size_bytes == v->new_size_bytes && !v->shrunk_bytes &&
                    volume_size_bytes(v->vol) != oracle_real_size(v, v->size_bytes))
                        sim_fail(sim, "volume %u: its size is not the one set last", v->number);
        }
}

void sim_stuck(struct sim *sim)
{
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        /* what was admitted before a device took its room along waits in the pool, untold */
        bool shrunk = sim->least_copies && ailing_took_room(sim, sim->pool);
        /* and whoever wants to give room may have to wait for its lock */
        bool vain = shrunk && work_relieved_in_vain(sim->work) > MAX_IN_VAIN;
        if ((!sim->gave_up && !sim->worn && !shrunk) || (st.held_requests && !vain) ||
            (sim->least_copies && !shrunk)) {
                work_relieve(sim->work);
                return;
        }
        sim_trace(sim, "devices have failed and the pool waits: power off");
        sim->power_lost = true;
}

/* Users at work until enough was asked for or power is lost. */
static void work_for_a_while(struct sim *sim, uint32_t asks)
{
        sim->phase = "working";
        work_new_mix(sim->work);
        uint32_t idle = 0;
        while (!sim->power_lost && work_asked(sim->work) < asks) {
                uint32_t before = work_asked(sim->work);
                while (!sim->power_lost && sim_chance(sim, 2, 3) && work_asked(sim->work) < asks)
                        work_ask(sim->work);
                if (sim->power_lost)
                        return;
                if (sim->options.checksums && sim_chance(sim, 1, 50))
                        work_scribble(sim->work);
                devices_act(sim);
                if (sim->power_lost)
                        return;
                uint64_t commands = sim->commands;
                bool stepped = sim_step(sim);
                bool moved = sim->commands != commands || work_asked(sim->work) != before;
                idle = stepped && moved ? 0 : idle + 1;
                if (sim->reserves && sim->held)
                        work_check_held(sim->work);
                if (work_outstanding(sim->work) == 0)
                        idle = 0;
                if (idle > 200) {
                        sim_stuck(sim);
                        idle = 0;
                }
                if (sim_chance(sim, 1, 300) && !sim->power_lost)
                        look_at_run_time(sim);
                if (sim_chance(sim, 1, 1000)) /* a pause */
                        sim->now_ns += UINT64_C(60000000000);
        }
}

static void choose_cut(struct sim *sim)
{
        static const enum cut_when whens[] = {
            CUT_NEVER,     CUT_AT_COMMAND, CUT_AT_COMMAND, CUT_NEAR_RESET,
            CUT_AT_ANSWER, CUT_AT_ANSWER,  CUT_AFTER_CALL, CUT_AFTER_CALL,
        };
        static const unsigned slow[] = {0, 0, 10, 100};
        sim->cut = whens[sim_below(sim, ARRAY_SIZE(whens))];
        sim->cut_at = UINT64_MAX;
        if (sim->cut == CUT_AT_COMMAND)
                sim->cut_at = sim->commands + sim_between(sim, 1, 1000);
        sim->cut_countdown = (uint32_t)sim_between(sim, 1, sim->cut == CUT_NEAR_RESET ? 16 : 25);
        sim->faulty = sim->faults && sim_chance(sim, 1, 2);
        sim->slow_permille = slow[sim_below(sim, ARRAY_SIZE(slow))];
}

/* One power-up: some mixes, then an end of some kind. */
static void live(struct sim *sim)
{
        choose_cut(sim);
        trouble_begin(sim);
        uint32_t mixes = (uint32_t)sim_between(sim, 1, 3);
        for (uint32_t i = 0; i < mixes && !sim->power_lost; i++)
                work_for_a_while(sim, (uint32_t)sim_between(sim, 20, 250));
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        sim->cleaned += st.clean_write_bytes;
        sim->faulted += st.table_misses;
        if (!sim->power_lost && sim_chance(sim, 1, 3) && life_export(sim))
                return;
        life_cut(sim);
        life_recover(sim, false);
}

/* The devices have had an earlier life in another pool, of which nothing may come back. */
static void begin_anew(struct sim *sim)
{
        work_for_a_while(sim, (uint32_t)sim_between(sim, 1, 150));
        life_cut(sim);
        oracle_free(sim->oracle);
        sim->oracle = oracle_new(sim);
        choose_options(sim);
        life_format(sim);
        life_recover(sim, true);
}

/* Power fails again and again with little done in between: nothing may be used up by that. */
static void storm(struct sim *sim)
{
        uint32_t cuts = (uint32_t)sim_between(sim, 5, 30);
        for (uint32_t i = 0; i < cuts; i++) {
                work_for_a_while(sim, (uint32_t)sim_below(sim, 8));
                life_cut(sim);
                life_recover(sim, false);
        }
}

void sim_run(struct sim *sim)
{
        sim->rng.state = sim->seed * UINT64_C(0xd1342543de82ef95) + 1;
        sim->pool_rng.state = sim->seed ^ UINT64_C(0x5bd1e995cafef00d);
        sim->phase = "setting up";
        sim->now_ns = 1000000000;
        sim->cut_at = UINT64_MAX;
        list_init(&sim->device_pending);
        choose_media(sim);
        choose_options(sim);
        sim->oracle = oracle_new(sim);
        sim->work = work_new(sim);
        life_format(sim);
        life_recover(sim, true);
        if (sim_chance(sim, 1, 4) &&
            !sim->faults) /* worn devices may be too small for a new pool */
                begin_anew(sim);
        uint32_t lives = (uint32_t)sim_between(sim, 2, 5);
        for (uint32_t i = 0; i < lives; i++) {
                live(sim);
                if (sim_chance(sim, 1, 30))
                        storm(sim);
        }
        sim->cut = CUT_NEVER;
        sim->cut_at = UINT64_MAX;
        work_for_a_while(sim, 30);
        if (!life_export(sim) || !devices_settle(sim)) { /* devices have failed */
                life_cut(sim);
                life_recover(sim, false);
        }
        balance_rests(sim);
        pool_abandon(sim->pool);
        devices_fini(sim);
        work_free(sim->work);
        oracle_free(sim->oracle);
        for (uint32_t i = 0; i < sim->nmedia; i++)
                media_free(sim->media[i]);
}
