/* One simulated run: everything that happens in it follows from its seed.
 *
 * Parts: media.h devices that lose power; oracle.h what may be read; work.h what users ask for;
 * life.h power cycles; main.c seeds and processes. docs/simulation.md tells the model.
 */
#ifndef ZONEPOOL_TESTS_SIM_SIM_H
#define ZONEPOOL_TESTS_SIM_SIM_H

#include "base/rng.h"
#include "pool/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_MEDIA = 5, MAX_ZONES = 40, MAX_CONVENTIONAL = 5, MAX_ZONE_BLOCKS = 64 };

struct media;
struct sim_device;
struct oracle;
struct work;

/* When power fails. */
enum cut_when {
        CUT_NEVER,
        CUT_AT_COMMAND, /* at a device command picked beforehand */
        CUT_NEAR_RESET, /* a few commands after one of the resets or label writes */
        CUT_AT_ANSWER, /* the moment something was reported as durable */
        CUT_AFTER_CALL, /* a few commands after something durable was asked for */
};

struct sim {
        uint64_t seed;
        bool verbose;
        struct rng rng; /* of the simulation */
        struct rng pool_rng; /* what the pool is given as random */
        uint64_t now_ns; /* the pool's clock */
        uint32_t time; /* orders what the oracle hears of; raised by sim_time */
        const char *phase; /* for the text of a failure */

        struct media *media[MAX_MEDIA];
        uint32_t nmedia;
        struct sim_device *devices; /* nmedia */
        bool devices_change; /* they join and leave in this run */
        uint64_t scrub_call, scrubs; /* as below; scrubs that were through */
        int scrub_told; /* the state users were told last, POOL_SCRUB_NONE: nothing for sure */
        uint64_t balance_call; /* likewise */
        int balance_told; /* enum balance_told */
        struct list device_pending; /* calls without an answer */
        uint64_t comeback_call; /* number of the one that gives a device back, 0: none */
        uint64_t returned; /* devices that came back while the pool was in use */
        uint64_t device_calls, device_call; /* ever; number of the one under way, 0: none */
        uint64_t commands; /* device commands of this power-up, */
        uint64_t progress_at; /* the last of them before a user's operation ended, */
        uint64_t cut_at; /* and the number of the one at which power fails */
        enum cut_when cut;
        uint32_t cut_countdown; /* resets, or answers, until then */
        bool power_lost;
        bool ran_on; /* operations ended after that: what the pool has in RAM is not what was there
                      */
        uint64_t completions;
        unsigned slow_permille; /* of device operations */

        struct pool *pool; /* NULL: not imported */
        struct pool *woken; /* wants a tick at once; NULL: none */
        struct pool_host host;
        struct pool_options options;
        struct uuid pool_uuid;
        bool reserves; /* volumes of this run have reservations, and shrink */
        uint64_t excess; /* blocks charged beyond the budget when the pool was imported: a crash may
                            lose what made room and keep what was written there */
        bool snapshots; /* users of this run take some, and clone */
        bool faults; /* devices of this run may fail */
        bool faulty; /* they do at present */
        bool loses; /* one of them may be lost for good, */
        uint64_t lose_at; /* after so many commands */
        bool rots; /* blocks may rot, */
        uint32_t rotten; /* so many did */
        unsigned stall_permille; /* of events: a device stalls */
        uint32_t waited; /* ticks while all that is in flight stalls */
        struct rng stall_rng; /* of the choices about stalls of ailing devices alone */
        bool patient; /* there are more of these: until the pool gives the device up */
        bool mirrored; /* volumes keep up to so many copies as there are devices */
        uint8_t least_copies; /* and all at least so many, see ailing.h; 0: another kind of run */
        uint8_t ailing; /* devices in trouble then, a bit each: fewer than least_copies */
        uint8_t ailed; /* devices that were in trouble before: zones of theirs may be worn */
        uint32_t erred; /* operations that failed for no reason that lasts */
        bool whole; /* all had its copies at the last import */
        bool shrank; /* one of them has been gone: what lives may take more room than there is */
        bool leaves; /* one of them may be gone when the power comes back */
        uint64_t healed; /* blocks */
        uint32_t worn; /* zones that went bad */
        bool gave_up; /* the pool said since power-up that a device failed, or that it is read-only
                       */
        bool failed; /* it said that a device failed */
        bool held; /* between POOL_EVENT_HELD and POOL_EVENT_RELEASED */
        struct oracle *oracle;
        struct work *work;

        uint64_t stalls, given_up; /* devices that the pool told of */
        uint64_t states; /* crash states that were recovered and verified */
        uint64_t user_ops; /* completed */
        uint64_t cleaned; /* bytes, over all power-ups */
        uint64_t faulted; /* table pages read again, likewise */
        uint64_t evened; /* blocks that were moved for evenness */
        uint64_t imports;
        uint64_t failures; /* operations that failed for the device's sake */
};

/* Ends the process: this run has failed. */
void sim_fail(struct sim *sim, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#define sim_trace(sim, ...)                                                                        \
        do {                                                                                       \
                if ((sim)->verbose)                                                                \
                        sim_trace_((sim), __VA_ARGS__);                                            \
        } while (0)
void sim_trace_(const struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t sim_time(struct sim *sim)
{
        return ++sim->time;
}

static inline uint64_t sim_below(struct sim *sim, uint64_t n)
{
        return rng_below(&sim->rng, n);
}

static inline bool sim_chance(struct sim *sim, uint64_t num, uint64_t den)
{
        return rng_chance(&sim->rng, num, den);
}

/* In [lo, hi]. */
static inline uint64_t sim_between(struct sim *sim, uint64_t lo, uint64_t hi)
{
        return lo + rng_below(&sim->rng, hi - lo + 1);
}

/* ---- driving (sim.c) ---- */

/* Runs one thing: ticks that are due, one device completion, or the clock going on. False: nothing
 * is left that could happen by itself. */
bool sim_step(struct sim *sim);
/* Steps until *flag, power loss, or nothing happens any more (a failure that names `what`). False:
 * power was lost first. */
bool sim_run_until(struct sim *sim, const bool *flag, const char *what);

/* Something was reported as durable: a good moment for a power cut. */
void sim_answered(struct sim *sim);
/* Nothing goes on although users wait: for space, or, after devices have failed, for ever. */
void sim_stuck(struct sim *sim);
/* Something durable was asked for. */
void sim_called(struct sim *sim);

/* The whole run. */
void sim_run(struct sim *sim);

#endif
