/* Power-ups and power cuts of a pool, see life.h. */
#include "tests/sim/life.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/ailing.h"
#include "tests/sim/devices.h"
#include "tests/sim/media.h"
#include "tests/sim/oracle.h"
#include "tests/sim/trouble.h"
#include "tests/sim/verify.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- power ---- */

/* Fills devs with those that are listed; how many. */
static uint32_t power_on(struct sim *sim, struct zdev **devs)
{
        uint32_t n = 0;
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                struct zdev *dev = media_power_on(sim->media[i]);
                if (sim->devices[i].listed && !sim->devices[i].absent)
                        devs[n++] = dev;
        }
        for (uint32_t i = n; i > 1; i--) { /* in any order */
                uint64_t k = sim_below(sim, i);
                struct zdev *tmp = devs[i - 1];
                devs[i - 1] = devs[k];
                devs[k] = tmp;
        }
        sim->power_lost = sim->ran_on = false;
        sim->commands = sim->progress_at = 0;
        sim->cut = CUT_NEVER;
        sim->cut_at = UINT64_MAX;
        sim->slow_permille = sim->stall_permille = 0;
        sim->lose_at = UINT64_MAX;
        sim->waited = 0;
        sim->faulty = sim->gave_up = sim->failed = false;
        sim->woken = NULL;
        sim->held = false;
        return n;
}

static enum media_cut pick_cut(struct sim *sim)
{
        static const enum media_cut cuts[] = {
            MEDIA_CUT_RANDOM, MEDIA_CUT_RANDOM,   MEDIA_CUT_RANDOM, MEDIA_CUT_RANDOM,
            MEDIA_CUT_TAIL,   MEDIA_CUT_ALL_LOST, MEDIA_CUT_KILL,   MEDIA_CUT_KILL_LATE,
        };
        return cuts[sim_below(sim, ARRAY_SIZE(cuts))];
}

static void power_off(struct sim *sim, enum media_cut cut)
{
        static const char *const names[] = {"all lost", "random", "tail", "kill", "late kill"};
        sim_trace(sim, "power off: %s", names[cut]);
        for (uint32_t i = 0; i < sim->nmedia; i++)
                media_power_off(sim->media[i], cut);
        sim->power_lost = true;
}

/* A crash state, told apart from the earlier ones of the run. */
static void count_state(struct sim *sim)
{
        static uint64_t seen[256];
        static size_t nseen;
        static uint64_t seen_seed;
        uint64_t print = 0;
        if (seen_seed != sim->seed)
                nseen = 0;
        seen_seed = sim->seed;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                print = print * 31 + media_fingerprint(sim->media[i]);
        for (size_t i = 0; i < nseen; i++)
                if (seen[i] == print)
                        return;
        if (nseen < ARRAY_SIZE(seen))
                seen[nseen++] = print;
        sim->states++;
}

void life_cut(struct sim *sim)
{
        sim->phase = "losing power";
        enum media_cut cut = pick_cut(sim);
        verify_table_lost();
        /* a mirrored batch may have got to some members, or have failed on one: replay counts it */
        bool halfway = sim->failed;
        for (uint32_t i = 0; sim->mirrored && i < sim->nmedia; i++)
                halfway |= media_writing(sim->media[i]);
        for (uint32_t i = 0; i < sim->nmedia;
             i++) /* what it was writing failed, and stands there */
                halfway |= media_is_lost(sim->media[i]);
        if (cut == MEDIA_CUT_KILL && !sim->ran_on && !halfway)
                verify_keep_table(sim);
        power_off(sim, cut);
        pool_abandon(sim->pool);
        sim->pool = sim->woken = NULL;
        work_power_cut(sim->work);
        devices_power_cut(sim);
        oracle_power_cut(sim->oracle);
}

/* ---- format, import, export ---- */

struct answer {
        bool done;
        int status;
        struct pool *pool;
        struct sim *sim; /* export: whose pool is gone when it is done */
        char text[512];
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        snprintf(a->text, sizeof(a->text), "%s", status < 0 ? err_text(err, status) : "");
}

static void exported(void *ctx, int status)
{
        answered(ctx, status, NULL);
        ((struct answer *)ctx)->sim->pool = ((struct answer *)ctx)->sim->woken = NULL;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        answered(ctx, status, err);
        ((struct answer *)ctx)->pool = pool;
}

/* After power was lost: everything the pool still tries fails until it has given up. */
static void run_out(struct sim *sim, struct answer *a, const char *what)
{
        for (uint32_t i = 0; !a->done; i++)
                if (!sim_step(sim) || i > 100000)
                        sim_fail(sim, "%s does not end when its devices are gone", what);
}

void life_format(struct sim *sim)
{
        sim->phase = "formatting";
        verify_forget();
        for (uint32_t tries = 0;; tries++) {
                struct zdev *devs[MAX_MEDIA];
                struct answer a = {0};
                uint32_t n = power_on(sim, devs);
                if (tries == 0 && sim_chance(sim, 1, 4))
                        sim->cut_at = sim_between(sim, 1, 120);
                pool_format(devs, n, "pool", &sim->pool_uuid, &sim->host, &sim->options, &a,
                            answered);
                bool whole = sim_run_until(sim, &a.done, "format");
                if (whole && a.status < 0)
                        sim_fail(sim, "format: %d %s", a.status, a.text);
                if (!whole)
                        run_out(sim, &a, "format");
                power_off(sim, whole ? MEDIA_CUT_ALL_LOST : pick_cut(sim));
                if (whole) {
                        devices_formatted(sim);
                        return;
                }
        }
}

static void probed(void *ctx, int status, const struct pool_label *label)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        if (status == 0 && !uuid_equal(&label->pool_uuid, &a->sim->pool_uuid))
                sim_fail(a->sim, "a label tells of another pool");
}

/* A label of another pool is none of this one. */
static void labelled(void *ctx, int status, const struct pool_label *label)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        if (status == 0 && !uuid_equal(&label->pool_uuid, &a->sim->pool_uuid))
                a->status = -ENOENT;
}

/* Every device has a label, and the pool is refused when one device is missing. */
static void look_around(struct sim *sim)
{
        struct zdev *devs[MAX_MEDIA];
        sim->phase = "probing";
        uint32_t n = power_on(sim, devs);
        for (uint32_t i = 0; i < n; i++) {
                struct answer a = {.sim = sim};
                pool_probe(devs[i], &a, probed);
                sim_run_until(sim, &a.done, "probe");
                if (a.status < 0)
                        sim_fail(sim, "probe of %s: %d", devs[i]->path, a.status);
        }
        struct pool *recorded = NULL;
        if (n > 1) {
                struct answer a = {.sim = sim};
                pool_import(devs, n - 1, &sim->host, &sim->options, &a, imported);
                sim_run_until(sim, &a.done, "import");
                if (a.status >= 0 && sim->faults) /* it is on record as lost */
                        recorded = a.pool;
                else if (a.status != -ENXIO)
                        sim_fail(sim, "import without a device: %d %s", a.status, a.text);
        }
        power_off(sim, MEDIA_CUT_KILL);
        if (recorded)
                pool_abandon(recorded);
        sim->woken = NULL;
}

/* A device was lost. It answers nothing, or is not there at all: neither makes a pool; nor does the
 * try hurt the others. Then it comes back as it was. */
static void return_lost(struct sim *sim)
{
        struct zdev *devs[MAX_MEDIA], *all[MAX_MEDIA];
        uint32_t n = 0, nall = 0;
        bool lost = false, faults = sim->faults;
        struct pool *recorded = NULL;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                lost = lost || (sim->devices[i].listed && media_is_lost(sim->media[i]));
        if (!lost || !devices_quiet(sim)) {
                for (uint32_t i = 0; i < sim->nmedia; i++)
                        media_return(sim->media[i]);
                return;
        }
        sim->phase = "importing without a lost device";
        nall = power_on(sim, all);
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (sim->devices[i].listed && !media_is_lost(sim->media[i]))
                        devs[n++] = media_power_on(sim->media[i]);
        struct answer silent = {.sim = sim}, without = {.sim = sim};
        sim->faults = true;
        pool_import(all, nall, &sim->host, &sim->options, &silent, imported);
        sim_run_until(sim, &silent.done, "import");
        if (silent.status >= 0)
                sim_fail(sim, "a pool with a device that does not answer was imported");
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (media_pending(sim->media[i]))
                        sim_fail(sim, "the import has failed and operations are in flight");
        if (n) {
                pool_import(devs, n, &sim->host, &sim->options, &without, imported);
                sim_run_until(sim, &without.done, "import");
                if (without.status >= 0) /* its loss was on record */
                        recorded = without.pool;
                else if (without.status == -EIO && strstr(without.text, "table page"))
                        ; /* on record, and what has one copy cannot be read */
                else if (without.status != -ENXIO || !strstr(without.text, "missing"))
                        sim_fail(sim, "import without a device: %d %s", without.status,
                                 without.text);
        }
        sim->faults = faults;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                media_return(sim->media[i]);
        power_off(sim, MEDIA_CUT_KILL);
        if (recorded)
                pool_abandon(recorded);
        sim->woken = NULL;
}

/* As the daemon does: what is listed and has no label has left, or has never joined. */
static uint32_t only_labelled(struct sim *sim, struct zdev **devs, uint32_t n)
{
        uint32_t good = 0;
        for (uint32_t i = 0; i < n; i++) {
                struct answer a = {.sim = sim};
                if (devices_quiet(sim)) {
                        devs[good++] = devs[i];
                        continue;
                }
                pool_probe(devs[i], &a, labelled);
                sim_run_until(sim, &a.done, "probe");
                if (a.status < 0)
                        devices_drop(sim, (uint32_t)strtoul(devs[i]->path + 3, NULL, 10), a.status);
                else
                        devs[good++] = devs[i];
        }
        return good;
}

/* One attempt. False: power was lost in the middle. */
static bool import_once(struct sim *sim, uint64_t cut_at)
{
        struct zdev *devs[MAX_MEDIA];
        struct answer a = {0};
        sim->phase = "importing";
        uint32_t n = power_on(sim, devs);
        n = only_labelled(sim, devs, n);
        sim->cut_at = cut_at == UINT64_MAX ? cut_at : sim->commands + cut_at;
        sim->faulty = (sim->faults || sim->whole) && sim_chance(sim, 1, 4);
        pool_import(devs, n, &sim->host, &sim->options, &a, imported);
        bool whole = sim_run_until(sim, &a.done, "import");
        sim->imports++;
        if (whole && a.status == -ENXIO && sim->least_copies)
                ailing_refused(sim, a.status, a.text);
        else if (whole && a.status < 0 &&
                 !(sim->faulty && (a.status == -EIO || a.status == -EROFS)))
                sim_fail(sim, "import: %d %s", a.status, a.text);
        if (!whole)
                run_out(sim, &a, "import");
        for (uint32_t i = 0; a.status < 0 && i < sim->nmedia; i++)
                if (media_pending(sim->media[i]))
                        sim_fail(sim,
                                 "the import has failed (%d) and operations are still in flight",
                                 a.status);
        sim->faulty = false;
        sim->pool = a.status < 0 ? NULL : a.pool;
        if (sim->pool && !sim->power_lost) {
                sim->cut_at = UINT64_MAX;
                return true;
        }
        enum media_cut cut = verify_table_kept() ? MEDIA_CUT_KILL : pick_cut(sim);
        power_off(sim, cut);
        if (sim->pool)
                pool_abandon(sim->pool);
        sim->pool = sim->woken = NULL;
        return false;
}

bool life_export(struct sim *sim)
{
        sim->phase = "ending work";
        for (uint32_t idle = 0; work_outstanding(sim->work);) {
                if (sim->power_lost)
                        return false;
                uint64_t commands = sim->commands;
                uint32_t left = work_outstanding(sim->work);
                bool stepped = sim_step(sim);
                bool moved = sim->commands != commands || work_outstanding(sim->work) != left;
                idle = stepped && moved ? 0 : idle + 1;
                if (idle > 200) {
                        sim_stuck(sim);
                        idle = 0;
                }
        }
        if (sim->power_lost)
                return false;
        sim->phase = "exporting";
        struct answer a = {.sim = sim};
        struct err err = ERR_INIT;
        if (devices_here(sim) && pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "before the export: %s", err.msg);
        pool_export(sim->pool, &a, exported);
        bool whole = sim_run_until(sim, &a.done, "export");
        if (whole && a.status < 0 && !sim->faults && !sim->gave_up)
                sim_fail(sim, "export: %d", a.status);
        if (!whole)
                run_out(sim, &a, "export");
        whole = whole && a.status == 0;
        if (!whole) {
                power_off(sim, pick_cut(sim));
        } else {
                uint32_t start = sim_time(sim);
                for (uint32_t i = 0; i < oracle_count(sim->oracle); i++)
                        oracle_flushed(sim->oracle, oracle_get(sim->oracle, i), start);
                power_off(sim, MEDIA_CUT_ALL_LOST);
        }
        verify_table_lost();
        work_power_cut(sim->work);
        devices_power_cut(sim);
        oracle_power_cut(sim->oracle);
        life_recover(sim, whole);
        return true;
}

void life_recover(struct sim *sim, bool clean)
{
        uint32_t attempts = 0;
        if (sim->least_copies)
                ailing_power_on(sim, false);
        else
                return_lost(sim);
        if (!sim->least_copies && sim_chance(sim, 1, 8) && devices_quiet(sim))
                look_around(sim);
        if (sim->faults && sim->worn < MAX_WORN && sim_chance(sim, 1, 4))
                media_wear(sim->media[sim_below(sim, sim->nmedia)]);
        for (;;) {
                uint64_t cut_at = UINT64_MAX;
                if (!clean && attempts < 3 && sim_chance(sim, 1, 2))
                        cut_at = sim_between(sim, 1, sim_chance(sim, 1, 2) ? 20 : 200);
                if (import_once(sim, cut_at))
                        break;
                if (sim->least_copies && !sim->options.degraded && sim_chance(sim, 1, 4))
                        ailing_power_on(sim, true);
                attempts++;
        }
        ailing_imported(sim);
        sim->phase = "verifying";
        devices_check(sim);
        verify(sim);
        if (!clean)
                count_state(sim);
}
