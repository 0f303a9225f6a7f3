/* What a device remembers after a power cut, see media.h. */
#include "tests/sim/media_internal.h"

#include <stdlib.h>
#include <string.h>

/* What a lost block reads as: older bytes are the most dangerous. */
static void lose_block(struct media *m, uint8_t *block, const uint8_t *old)
{
        uint64_t kind = sim_below(m->sim, 8);
        if (kind < 6) {
                memcpy(block, old, ZP_BLOCK);
        } else if (kind == 6) {
                memset(block, 0, ZP_BLOCK);
        } else {
                for (int i = 0; i < ZP_BLOCK; i += 8) {
                        uint64_t word = rng_next(&m->sim->rng);
                        memcpy(block + i, &word, sizeof(word));
                }
        }
}

/* Undoes one event of a zone: none of it survives but, of a write, the first `keep` blocks. When
 * data_stays the bytes remain above the pointer. */
static void undo_event(struct media *m, uint32_t zone, struct event *e, uint32_t keep,
                       bool data_stays)
{
        for (uint32_t i = keep; e->op == ZDEV_WRITE && !data_stays && i < e->nblocks; i++)
                lose_block(m, media_bytes(m, zone, e->block + i), e->undo + (size_t)i * ZP_BLOCK);
        uint64_t wp = e->before.wp_block + keep;
        enum zdev_zone_state state = e->before.state;
        if (keep)
                state = ZDEV_ZONE_CLOSED;
        zone_model_restore(&m->model, zone, state, wp);
}

/* Loses some blocks of an event that survived: the pointer is ahead of its data. */
static void lose_data(struct media *m, uint32_t zone, struct event *e, unsigned permille)
{
        for (uint32_t i = 0; e->op == ZDEV_WRITE && i < e->nblocks; i++)
                if (sim_chance(m->sim, permille, 1000))
                        lose_block(m, media_bytes(m, zone, e->block + i),
                                   e->undo + (size_t)i * ZP_BLOCK);
}

static uint32_t pick_survivors(struct sim *sim, enum media_cut cut, uint32_t n)
{
        if (cut == MEDIA_CUT_ALL_LOST)
                return 0;
        if (cut == MEDIA_CUT_TAIL)
                return n - (uint32_t)(sim_chance(sim, 1, 4) ? MIN(n, 1U) : 0);
        switch (sim_below(sim, 4)) {
        case 0:
                return 0;
        case 1:
                return n;
        default:
                return (uint32_t)sim_below(sim, n + 1);
        }
}

static void cut_zone(struct media *m, uint32_t zone, enum media_cut cut)
{
        struct sim *sim = m->sim;
        struct media_zone *mz = &m->zones[zone];
        uint32_t n = 0, keep = 0;
        struct event *e, *tmp;
        bool power = cut != MEDIA_CUT_KILL && cut != MEDIA_CUT_KILL_LATE;
        const struct zone_model_zone *z = &m->model.zones[zone];
        if (!power) { /* all is as it was, and still not durable */
                zone_model_restore(&m->model, zone, z->state, z->wp_block);
                return;
        }
        list_for_each (e, &mz->events, zone)
                n++;
        uint32_t survive = pick_survivors(sim, cut, n);
        bool behind = sim_chance(sim, zone < 2 ? 2 : 1, 4); /* data may stay above the pointer */
        unsigned holes = 0;
        if (cut != MEDIA_CUT_ALL_LOST && sim_chance(sim, 1, 2))
                holes = (unsigned)sim_below(sim, sim_chance(sim, 1, 2) ? 100 : 1000);
        uint32_t i = 0, first_reset = n; /* of those lost: what was written after it is gone */
        list_for_each (e, &mz->events, zone)
                if (i++ >= survive && e->op == ZDEV_RESET && first_reset == n)
                        first_reset = i - 1;
        i = n;
        for (struct list *at = mz->events.prev; at != &mz->events; at = at->prev) {
                e = list_entry(at, struct event, zone);
                if (--i >= survive) {
                        keep = 0;
                        if (i == survive && e->op == ZDEV_WRITE && cut != MEDIA_CUT_ALL_LOST &&
                            sim_chance(sim, 1, 2))
                                keep = (uint32_t)sim_below(sim, e->nblocks + 1);
                        undo_event(m, zone, e, keep, behind && i < first_reset);
                } else {
                        lose_data(m, zone, e, holes);
                }
        }
        list_for_each_safe (e, tmp, &mz->events, zone)
                media_event_free(e);
        zone_model_restore(&m->model, zone, z->state, z->wp_block);
        if (n)
                sim_trace(sim, "dev %u: zone %u: %u of %u commands survive%s%s, pointer %llu",
                          m->index, zone, survive, n, holes ? ", with holes" : "",
                          behind ? ", data above the pointer" : "",
                          (unsigned long long)z->wp_block);
}

/* Commands in flight may have been carried out, in their order. */
static void settle_flights(struct media *m, enum media_cut cut)
{
        struct flight *f, *tmp;
        bool may = cut != MEDIA_CUT_KILL && cut != MEDIA_CUT_ALL_LOST;
        list_for_each_safe (f, tmp, &m->flights, node) {
                if (may && !f->dead && sim_chance(m->sim, 1, 2))
                        media_take_effect(m, f);
                list_del(&f->node);
                free(f);
        }
        m->nflights = 0;
}

void media_power_off(struct media *m, enum media_cut cut)
{
        settle_flights(m, cut);
        uint64_t print = 0;
        for (uint32_t i = 0; i < m->spec.nr_zones; i++) {
                cut_zone(m, i, cut);
                m->zones[i].reading = m->zones[i].managing = m->zones[i].resetting = 0;
                print = print * UINT64_C(0x9e3779b97f4a7c15) + m->model.zones[i].wp_block + 1;
        }
        m->fingerprint = print ^ rng_next(&(struct rng){.state = m->next_event});
        m->on = false;
}
