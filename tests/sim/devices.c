/* See devices.h. One call at a time is under way. */
#include "tests/sim/devices.h"

#include "base/cleanup.h"
#include "tests/sim/ailing.h"
#include "tests/sim/balance.h"
#include "tests/sim/media.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The call under way. A power cut takes it, and the next one has another number. */
struct call {
        struct list node; /* first: sim.device_pending */
        struct sim *sim;
        uint64_t number;
        uint32_t media, old; /* old: replaced, or MAX_MEDIA */
        enum device_fate was, then;
};

static uint32_t media_of(struct pool *pool, uint32_t slot)
{
        struct pool_device_status st;
        pool_get_device_status(pool, slot, &st);
        return st.path[0] ? (uint32_t)strtoul(st.path + 3, NULL, 10) : MAX_MEDIA; /* "simN" */
}

bool devices_ailing(const struct sim *sim, struct pool *pool, uint32_t slot)
{
        uint32_t m = media_of(pool, slot);
        return m < MAX_MEDIA && ailing_may_fail(sim, m);
}

uint32_t devices_slot(struct sim *sim, uint32_t media)
{
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        for (uint32_t i = 0; i < st.ndevices; i++)
                if (media_of(sim->pool, i) == media)
                        return i;
        sim_fail(sim, "device %u has no slot", media);
}

bool devices_here(const struct sim *sim)
{
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (sim->devices[i].away)
                        return false;
        return true;
}

/* ---- calls ---- */

static bool refusal(const struct sim *sim, const struct call *c, int status)
{
        if (status == -ENOSPC || status == -EALREADY)
                return c->then != DEVICE_IN || c->was == DEVICE_OUT;
        if (status == -EINVAL) /* it has gone meanwhile; or the roots would not fit its zones */
                return c->then == DEVICE_IN;
        if (status == -ECANCELED)
                return strcmp(sim->phase, "exporting") == 0;
        return sim->faults && (status == -EIO || status == -EROFS || status == -ENODEV);
}

static void answered(struct call *c, int status, const struct err *err)
{
        struct sim *sim = c->sim;
        bool late = c->number != sim->device_call;
        struct sim_device *d = &sim->devices[c->media];
        list_del(&c->node);
        if (late || sim->power_lost) {
                free(c);
                return;
        }
        sim->device_call = 0;
        sim_trace(sim, "device %u: answered %d %s", c->media, status, err ? err->msg : "");
        if (status < 0 && !refusal(sim, c, status))
                sim_fail(sim, "device %u: ended with %d %s", c->media, status, err ? err->msg : "");
        if (status < 0 && !err)
                sim_fail(sim, "device %u: refused without a text", c->media);
        if (d->fate == DEVICE_OUT) { /* it has left before the answer came */
        } else if (status == 0) {
                d->fate = c->then;
                if (c->then == DEVICE_IN)
                        d->empty = false;
                if (c->old < MAX_MEDIA && sim->devices[c->old].fate == DEVICE_REMOVING)
                        sim->devices[c->old].fate = DEVICE_REMOVED;
        } else if (status == -EIO && strstr(err->msg, "took it in")) {
                *d = (struct sim_device){.fate = DEVICE_OUT, .marked = true};
                if (c->old < MAX_MEDIA && sim->devices[c->old].fate == DEVICE_REMOVING) {
                        sim->devices[c->old].fate = DEVICE_IN;
                        sim->devices[c->old].heir = 0;
                }
        } else if (status == -EROFS || status == -EIO || status == -ENODEV) {
                sim->power_lost = true; /* what came of it, the next recovery tells */
        } else {
                d->fate = c->was;
                d->listed = d->fate != DEVICE_OUT;
                if (c->old < MAX_MEDIA && sim->devices[c->old].fate == DEVICE_REMOVING) {
                        sim->devices[c->old].fate = DEVICE_IN;
                        sim->devices[c->old].heir = 0;
                }
        }
        free(c);
        sim_answered(sim);
}

static void ended(void *ctx, int status, const struct err *err)
{
        answered(ctx, status, err);
}

static void added(void *ctx, int status, const struct err *err, uint32_t index)
{
        struct call *c = ctx;
        if (status == 0 && c->number == c->sim->device_call &&
            media_of(c->sim->pool, index) != c->media)
                sim_fail(c->sim, "device %u was added to a slot of another", c->media);
        answered(c, status, err);
}

static struct call *call_new(struct sim *sim, uint32_t media, enum device_fate during,
                             enum device_fate then)
{
        struct call *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        *c = (struct call){.sim = sim,
                           .number = ++sim->device_calls,
                           .media = media,
                           .old = MAX_MEDIA,
                           .was = sim->devices[media].fate,
                           .then = then};
        list_add_tail(&sim->device_pending, &c->node);
        sim->device_call = c->number;
        sim->devices[media].fate = during;
        sim_called(sim);
        return c;
}

static uint32_t pick(struct sim *sim, enum device_fate a, enum device_fate b)
{
        uint32_t first = (uint32_t)sim_below(sim, sim->nmedia);
        for (uint32_t n = 0; n < sim->nmedia; n++) {
                uint32_t i = (first + n) % sim->nmedia;
                if (!sim->devices[i].away &&
                    (sim->devices[i].fate == a || sim->devices[i].fate == b))
                        return i;
        }
        return MAX_MEDIA;
}

static void probed(void *ctx, int status, const struct pool_label *label)
{
        *(int *)ctx = status ? status : 1;
}

/* Its label was wiped before the pool said that it has left. */
static void check_blank(struct sim *sim, uint32_t i)
{
        int status = 0;
        sim->devices[i].blank = false;
        struct zdev *dev = media_power_on(sim->media[i]);
        pool_probe(dev, &status, probed);
        while (!status)
                if (sim->power_lost || !sim_step(sim))
                        break;
        if (sim->power_lost) {
                sim->ran_on = true;
                while (!status && sim_step(sim))
                        ;
                return;
        }
        bool silent = (sim->faulty && status == -EIO) || media_is_lost(sim->media[i]);
        if (status != -ENOENT && !silent)
                sim_fail(sim, "device %u has left, and has a label still: %d", i, status);
}

static void add(struct sim *sim, uint32_t old)
{
        uint32_t i = pick(sim, DEVICE_OUT, DEVICE_OUT);
        if (i == MAX_MEDIA || sim->devices[i].marked)
                return;
        uint32_t slot = old < MAX_MEDIA ? devices_slot(sim, old) : 0;
        if (sim->devices[i].blank)
                check_blank(sim, i);
        if (sim->power_lost || (old < MAX_MEDIA && sim->devices[old].fate != DEVICE_IN))
                return;
        sim_trace(sim, "device %u: %s", i, old < MAX_MEDIA ? "to replace another" : "add");
        struct call *c = call_new(sim, i, DEVICE_JOINING, DEVICE_IN);
        sim->devices[i].listed = true;
        sim->devices[i].empty = false;
        struct zdev *dev = media_power_on(sim->media[i]);
        if (old == MAX_MEDIA) {
                pool_device_add(sim->pool, dev, c, added);
                return;
        }
        c->old = old;
        sim->devices[old].fate = DEVICE_REMOVING;
        sim->devices[old].heir = i + 1;
        pool_device_replace(sim->pool, slot, dev, c, added);
}

/* ---- scrubbing ---- */

void devices_scrubbed(struct sim *sim, struct pool *pool)
{
        struct pool_scrub_status st;
        pool_get_scrub_status(pool, &st);
        sim_trace(sim, "event: scrubbed, %u damaged, %u repaired", st.damaged_blocks,
                  st.repaired_blocks);
        if (st.state != POOL_SCRUB_DONE || st.left_bytes)
                sim_fail(sim, "a scrub ended and is in state %d, %llu bytes left", st.state,
                         (unsigned long long)st.left_bytes);
        bool may = sim->least_copies ? !st.damaged_blocks : sim->rotten || sim->faults;
        if (!may && (st.damaged_blocks || st.repaired_blocks))
                sim_fail(sim, "a scrub found %u blocks damaged, %u repaired, and none was",
                         st.damaged_blocks, st.repaired_blocks);
        sim->scrubs++;
}

struct scrub_call {
        struct list node; /* first: sim.device_pending */
        struct sim *sim;
        uint64_t number;
        enum pool_scrub_state then;
};

static void scrub_answered(void *ctx, int status, const struct err *err)
{
        struct scrub_call *c = ctx;
        struct sim *sim = c->sim;
        bool late = c->number != sim->scrub_call || sim->power_lost;
        list_del(&c->node);
        if (!late) {
                sim->scrub_call = 0;
                bool fine = status == 0 || status == -EALREADY || status == -EINVAL;
                if (!fine && !sim->faults && !sim->gave_up)
                        sim_fail(sim, "scrub: %d %s", status, err ? err->msg : "");
                sim->scrub_told = status == 0 ? c->then : POOL_SCRUB_NONE;
        }
        free(c);
        if (!late)
                sim_answered(sim);
}

static void scrub(struct sim *sim)
{
        static const enum pool_scrub_what whats[] = {POOL_SCRUB_START, POOL_SCRUB_START,
                                                     POOL_SCRUB_START, POOL_SCRUB_PAUSE,
                                                     POOL_SCRUB_CANCEL};
        static const enum pool_scrub_state thens[] = {POOL_SCRUB_RUNNING, POOL_SCRUB_PAUSED,
                                                      POOL_SCRUB_NONE};
        struct scrub_call *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        enum pool_scrub_what what = whats[sim_below(sim, ARRAY_SIZE(whats))];
        *c = (struct scrub_call){.sim = sim, .number = ++sim->device_calls, .then = thens[what]};
        list_add_tail(&sim->device_pending, &c->node);
        sim->scrub_call = c->number;
        sim->scrub_told = POOL_SCRUB_NONE;
        sim_trace(sim, "scrub: %d", what);
        sim_called(sim);
        pool_scrub(sim->pool, what, c, scrub_answered);
}

void devices_act(struct sim *sim)
{
        if (!sim->scrub_call && !sim->power_lost && sim_chance(sim, 1, 200))
                scrub(sim);
        balance_act(sim);
        if (!sim->devices_change || sim->device_call || sim->comeback_call || sim->power_lost ||
            !sim_chance(sim, 1, 80))
                return;
        uint32_t i = pick(sim, DEVICE_IN, DEVICE_IN);
        switch (sim_below(sim, 6)) {
        case 0:
        case 1:
                add(sim, MAX_MEDIA);
                return;
        case 2:
                if (i < MAX_MEDIA)
                        add(sim, i);
                return;
        case 3:
                i = pick(sim, DEVICE_EVACUATED, DEVICE_REMOVED);
                if (i == MAX_MEDIA)
                        return;
                sim_trace(sim, "device %u: keep", i);
                sim->devices[i].empty = false; /* it may be used before the answer */
                sim->devices[i].heir = 0;
                pool_device_keep(sim->pool, devices_slot(sim, i),
                                 call_new(sim, i, DEVICE_KEEPING, DEVICE_IN), ended);
                return;
        case 4:
                if (i == MAX_MEDIA)
                        return;
                sim_trace(sim, "device %u: evacuate", i);
                pool_device_evacuate(sim->pool, devices_slot(sim, i),
                                     call_new(sim, i, DEVICE_EVACUATING, DEVICE_EVACUATED), ended);
                return;
        default:
                i = pick(sim, DEVICE_IN, DEVICE_EVACUATED);
                if (i == MAX_MEDIA)
                        return;
                sim_trace(sim, "device %u: remove", i);
                pool_device_remove(sim->pool, devices_slot(sim, i),
                                   call_new(sim, i, DEVICE_REMOVING, DEVICE_REMOVED), ended);
        }
}

/* ---- what the pool says ---- */

void devices_event(struct sim *sim, struct pool *pool, const struct pool_event *e)
{
        if (e->kind == POOL_EVENT_DEVICE_REMOVED) {
                /* the slot is empty: which one it was is known by what was asked for */
                uint32_t gone = MAX_MEDIA;
                struct pool_status st;
                bool there[MAX_MEDIA] = {false};
                for (uint32_t i = 0; i < sim->nmedia; i++)
                        there[i] = sim->devices[i].away;
                pool_get_status(pool, &st);
                for (uint32_t i = 0; i < st.ndevices; i++) {
                        uint32_t m = media_of(pool, i);
                        if (m < MAX_MEDIA)
                                there[m] = true;
                }
                for (uint32_t i = 0; i < sim->nmedia; i++)
                        if (!there[i] && (sim->devices[i].fate == DEVICE_REMOVING ||
                                          sim->devices[i].fate == DEVICE_REMOVED ||
                                          sim->devices[i].fate == DEVICE_KEEPING))
                                gone = i;
                for (uint32_t i = 0; i < sim->nmedia; i++)
                        if (!there[i] && (sim->devices[i].fate == DEVICE_IN ||
                                          sim->devices[i].fate == DEVICE_EVACUATED))
                                sim_fail(sim, "device %u left and was not asked to", i);
                if (gone == MAX_MEDIA)
                        return; /* its label was wiped before power failed */
                sim_trace(sim, "event: device %u has left (%d)", gone, e->status);
                sim->devices[gone] = (struct sim_device){
                    .fate = DEVICE_OUT, .blank = e->status == 0, .marked = e->status != 0};
                return;
        }
        uint32_t m = media_of(pool, e->device);
        if (m == MAX_MEDIA)
                sim_fail(sim, "an event of slot %u, which has no device", e->device);
        struct sim_device *d = &sim->devices[m];
        if (e->kind == POOL_EVENT_DEVICE_STUCK) {
                if (!sim->worn && !sim->faults) /* what fails now ends a round that began before */
                        sim_fail(sim, "device %u cannot be emptied", m);
                return;
        }
        sim_trace(sim, "event: device %u is empty", m);
        if (d->fate == DEVICE_IN || d->fate == DEVICE_OUT || d->fate == DEVICE_JOINING)
                sim_fail(sim, "device %u was emptied, and was not asked to", m);
        d->empty = d->fate != DEVICE_KEEPING;
}

void devices_written(struct sim *sim, uint32_t media)
{
        if (sim->devices[media].empty)
                sim_fail(sim, "device %u was empty to stay so, and is written to", media);
}

/* ---- power ---- */

void devices_power_cut(struct sim *sim)
{
        sim->device_call = sim->scrub_call = sim->balance_call = sim->comeback_call = 0;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                sim->devices[i].empty = sim->devices[i].away = false;
}

void devices_drop(struct sim *sim, uint32_t media, int status)
{
        struct sim_device *d = &sim->devices[media];
        if (d->fate != DEVICE_JOINING && d->fate != DEVICE_REMOVING && d->fate != DEVICE_REMOVED &&
            d->fate != DEVICE_KEEPING)
                sim_fail(sim, "device %u is a member, and its label reads %d", media, status);
        sim_trace(sim, "device %u: no label (%d), not listed any more", media, status);
        d->listed = false;
}

void devices_check(struct sim *sim)
{
        struct pool_status st;
        bool there[MAX_MEDIA] = {false};
        struct pool_scrub_status scrub;
        pool_get_scrub_status(sim->pool, &scrub);
        bool goes_on = (int)scrub.state == sim->scrub_told ||
                       (sim->scrub_told == POOL_SCRUB_RUNNING && scrub.state == POOL_SCRUB_DONE);
        if (sim->scrub_told && !goes_on)
                sim_fail(sim, "the scrub is in state %d after a recovery, and users were told %d",
                         scrub.state, sim->scrub_told);
        balance_check(sim);
        pool_get_status(sim->pool, &st);
        for (uint32_t i = 0; i < st.ndevices; i++) {
                struct pool_device_status ds;
                uint32_t m = media_of(sim->pool, i);
                pool_get_device_status(sim->pool, i, &ds);
                if (m == MAX_MEDIA)
                        continue;
                there[m] = true;
                struct sim_device *d = &sim->devices[m];
                bool leaving = ds.state == POOL_DEVICE_LEAVING;
                bool going = (leaving && ds.removing) || ds.state == POOL_DEVICE_LEFT;
                bool member = ds.state == POOL_DEVICE_MEMBER;
                bool ok = (d->fate == DEVICE_JOINING && member) ||
                          (d->fate == DEVICE_IN && member) ||
                          (d->fate == DEVICE_EVACUATING && (member || leaving)) ||
                          (d->fate == DEVICE_EVACUATED && leaving && !ds.removing) ||
                          (d->fate == DEVICE_REMOVING && (member || leaving || going)) ||
                          (d->fate == DEVICE_REMOVED && going) ||
                          (d->fate == DEVICE_KEEPING && (member || leaving || going));
                if (!ok)
                        sim_fail(sim,
                                 "device %u is in state %d%s after a recovery, and users were "
                                 "told %d",
                                 m, ds.state, ds.removing ? " (removing)" : "", d->fate);
                d->empty = leaving && ds.drained;
                d->fate = going ? DEVICE_REMOVED : leaving ? DEVICE_EVACUATED : DEVICE_IN;
        }
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                uint32_t heir = sim->devices[i].heir;
                sim->devices[i].heir = 0;
                if (heir && there[i] && there[heir - 1] && sim->devices[i].fate == DEVICE_IN)
                        sim_fail(sim, "device %u has joined for device %u, which stays", heir - 1,
                                 i);
        }
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                struct sim_device *d = &sim->devices[i];
                if (there[i] || d->fate == DEVICE_OUT || d->absent)
                        continue;
                if (d->fate != DEVICE_JOINING && d->fate != DEVICE_REMOVING &&
                    d->fate != DEVICE_REMOVED && d->fate != DEVICE_KEEPING)
                        sim_fail(sim, "device %u was a member and has no slot", i);
                d->fate = DEVICE_OUT;
                d->listed = false;
        }
}

bool devices_quiet(const struct sim *sim)
{
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (sim->devices[i].fate != DEVICE_IN && sim->devices[i].fate != DEVICE_OUT)
                        return false;
        return true;
}

bool devices_settle(struct sim *sim)
{
        uint32_t idle = 0;
        for (uint64_t n = 0;; n++) {
                bool left = sim->device_call != 0;
                for (uint32_t i = 0; i < sim->nmedia; i++)
                        left |=
                            sim->devices[i].fate == DEVICE_REMOVED ||
                            (sim->devices[i].fate == DEVICE_EVACUATED && !sim->devices[i].empty);
                if (!left)
                        return true;
                uint64_t commands = sim->commands;
                bool stepped = sim_step(sim);
                if (sim->power_lost || sim->gave_up)
                        return false;
                idle = stepped && commands != sim->commands ? 0 : idle + 1;
                if (idle <= 1000 && n < 2000000)
                        continue;
                if (sim->worn || sim->faults)
                        return false;
                sim_fail(sim, "a device that is leaving never does: %s",
                         idle > 1000 ? "nothing happens" : "the pool keeps itself busy");
        }
}

void devices_formatted(struct sim *sim)
{
        sim->scrub_told = POOL_SCRUB_NONE;
        sim->balance_told = BALANCE_ON;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                sim->devices[i] =
                    (struct sim_device){.fate = sim->devices[i].listed ? DEVICE_IN : DEVICE_OUT,
                                        .listed = sim->devices[i].listed};
}

/* What power cuts left without an answer. */
void devices_fini(struct sim *sim)
{
        while (!list_empty(&sim->device_pending)) {
                struct list *node = sim->device_pending.next;
                list_del(node);
                free(node);
        }
}
