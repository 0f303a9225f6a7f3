/* What happens to a device besides losing power, see media.h. */
#include "tests/sim/media_internal.h"

#include <errno.h>

/* ---- zones that wear out ---- */

static void wear_zone(struct media *m, uint32_t zone)
{
        const struct zone_model_zone *z = &m->model.zones[zone];
        if (z->state == ZDEV_ZONE_OFFLINE || !list_empty(&m->zones[zone].events))
                return;
        bool empty = z->state == ZDEV_ZONE_EMPTY;
        uint64_t wp = z->wp_block;
        m->sim->worn++;
        zone_model_restore(
            &m->model, zone,
            empty && sim_chance(m->sim, 1, 2) ? ZDEV_ZONE_OFFLINE : ZDEV_ZONE_READONLY, wp);
        sim_trace(m->sim, "dev %u: zone %u is worn out: state %d, pointer %llu", m->index, zone,
                  m->model.zones[zone].state, (unsigned long long)wp);
}

void media_wear(struct media *m)
{
        wear_zone(m,
                  (uint32_t)sim_between(m->sim, m->spec.nr_conventional + 2, m->spec.nr_zones - 1));
}

void media_wear_now(struct media *m)
{
        const struct flight *f;
        uint32_t zone =
            (uint32_t)sim_between(m->sim, m->spec.nr_conventional + 2, m->spec.nr_zones - 1);
        list_for_each (f, &m->flights, node)
                if (f->io->op == ZDEV_FLUSH || f->io->zone == zone)
                        return;
        wear_zone(m, zone);
}

/* ---- the whole device ---- */

bool media_is(const struct media *m, const struct zdev *dev)
{
        return &m->dev == dev;
}

void media_lose(struct media *m)
{
        struct flight *f;
        sim_trace(m->sim, "dev %u: lost", m->index);
        m->lost = true;
        list_for_each (f, &m->flights, node) {
                f->bad_zone = true;
                f->status = -ENODEV;
        }
}

bool media_is_lost(const struct media *m)
{
        return m->lost;
}

void media_return(struct media *m)
{
        m->lost = false;
}

void media_stall(struct media *m, uint32_t completions)
{
        m->ever_stalled |= completions != 0;
        if (completions)
                sim_trace(m->sim, "dev %u: stalls for %u completions", m->index, completions);
        m->stalled_until = m->sim->completions + completions;
}

bool media_stalled(const struct media *m)
{
        return m->stalled_until > m->sim->completions;
}

bool media_ever_stalled(const struct media *m)
{
        return m->ever_stalled;
}

void media_rot(struct media *m, uint32_t zone, uint64_t block)
{
        uint64_t bit = sim_below(m->sim, (uint64_t)ZP_BLOCK * 8);
        sim_trace(m->sim, "dev %u: zone %u block %llu rots", m->index, zone,
                  (unsigned long long)block);
        media_bytes(m, zone, block)[bit / 8] ^= (uint8_t)(1 << bit % 8);
}
