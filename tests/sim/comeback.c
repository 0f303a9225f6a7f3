/* See comeback.h. As an operator does: the pool lets go of what it has of the device, and is given
 * it anew. Like one that was unplugged it has lost what no flush covered. */
#include "tests/sim/comeback.h"

#include "tests/sim/devices.h"
#include "tests/sim/media.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>

struct comeback {
        struct list node; /* first: sim.device_pending */
        struct sim *sim;
        uint64_t number;
        uint32_t media;
};

static void returned(void *ctx, int status, const struct err *err, uint32_t index)
{
        struct comeback *c = ctx;
        struct sim *sim = c->sim;
        bool late = c->number != sim->comeback_call || sim->power_lost;
        list_del(&c->node);
        if (!late) {
                sim->comeback_call = 0;
                sim_trace(sim, "device %u: given back, answered %d %s", c->media, status,
                          err ? err->msg : "");
                bool fails = status == -EIO || status == -EROFS || status == -ENODEV ||
                             status == -ECANCELED || status == -EAGAIN;
                if (status < 0 && !fails)
                        sim_fail(sim, "device %u is not taken back: %d %s", c->media, status,
                                 err ? err->msg : "");
                /* read-only by now: it may be the pool's or not, the next recovery tells */
                if (status == -EROFS)
                        sim->power_lost = true;
                sim->devices[c->media].away = status < 0;
                sim->returned += status == 0;
        }
        free(c);
        if (!late)
                sim_answered(sim);
}

static uint32_t pick_lost(struct sim *sim)
{
        for (uint32_t i = 0; i < sim->nmedia; i++)
                if (sim->devices[i].fate == DEVICE_IN &&
                    (sim->devices[i].away || media_is_lost(sim->media[i])))
                        return i;
        return MAX_MEDIA;
}

void comeback_act(struct sim *sim)
{
        if (!sim->loses || sim->comeback_call || sim->device_call || !sim->pool ||
            sim->power_lost || !sim_chance(sim, 1, 30))
                return;
        uint32_t i = pick_lost(sim);
        if (i == MAX_MEDIA)
                return;
        struct sim_device *d = &sim->devices[i];
        if (!d->away && pool_device_detach(sim->pool, devices_slot(sim, i), NULL) < 0)
                return;
        if (media_is_lost(sim->media[i])) {
                media_return(sim->media[i]);
                media_power_off(sim->media[i], MEDIA_CUT_RANDOM);
        }
        d->away = true;
        struct comeback *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        *c = (struct comeback){.sim = sim, .number = ++sim->device_calls, .media = i};
        list_add_tail(&sim->device_pending, &c->node);
        sim->comeback_call = c->number;
        sim_trace(sim, "device %u: given back", i);
        sim_called(sim);
        pool_device_return(sim->pool, media_power_on(sim->media[i]), c, returned);
}
