/* A zoned device that loses power, see media.h.
 *
 * The medium holds one image, that of all completed commands. Each command that changed it and is
 * not durable yet is an event with what it takes to undo it. Events of one zone are strictly
 * ordered (one write in flight, no reset beside it), so undoing them from the last one on gives
 * every state the zone has been in.
 */
#include "tests/sim/media.h"

#include "base/cleanup.h"
#include "pool/device/zone_model.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A completed command that is not durable. */
struct event {
        struct list all; /* media.events, by completion */
        struct list zone; /* media_zone.events */
        uint64_t number;
        enum zdev_op op;
        uint32_t nblocks;
        uint64_t block;
        struct zone_model_zone before;
        uint8_t undo[]; /* WRITE: the bytes that were there */
};

/* An operation in flight. */
struct flight {
        struct list node; /* media.flights, by submission */
        struct zdev_io *io;
        uint64_t flush_upto; /* FLUSH: events to become durable */
        bool dead; /* submitted after power was lost */
        uint64_t not_before; /* sim.completions: slow operations let others pass */
        uint8_t data[]; /* WRITE: the bytes as submitted */
};

struct media_zone {
        struct list events;
        uint32_t reading, managing, resetting; /* in flight; a reset counts as managing too */
};

struct media {
        struct zdev dev;
        struct sim *sim;
        uint32_t index;
        struct media_spec spec;
        struct zone_model model;
        struct media_zone *zones;
        uint8_t *bytes;
        struct list events, flights;
        uint32_t nflights;
        uint64_t next_event;
        uint64_t fingerprint;
        bool on;
};

static uint8_t *zone_bytes(struct media *m, uint32_t zone, uint64_t block)
{
        return m->bytes + ((uint64_t)zone * m->spec.zone_blocks + block) * ZP_BLOCK;
}

static const char *op_name(enum zdev_op op)
{
        static const char *const names[] = {"report", "read", "write", "reset", "finish", "flush"};
        return names[op];
}

static void violation(struct media *m, const struct zdev_io *io, const char *what)
{
        struct zdev_zone z = {0};
        if (io->zone < m->spec.nr_zones)
                zone_model_report(&m->model, io->zone, 1, &z);
        sim_fail(m->sim, "device %u: %s zone %u block %llu+%u: %s (state %d, pointer %llu of %llu)",
                 m->index, op_name(io->op), io->zone, (unsigned long long)io->block, io->nblocks,
                 what, z.state, (unsigned long long)z.wp_block,
                 (unsigned long long)z.capacity_blocks);
}

/* ---- submission ---- */

static void check_iov(struct media *m, const struct zdev_io *io)
{
        uint64_t sum = 0;
        for (int i = 0; i < io->niov; i++)
                sum += io->iov[i].iov_len;
        if (sum != (uint64_t)io->nblocks * ZP_BLOCK)
                violation(m, io, "the buffers do not add up to its length");
}

static void check_rules(struct media *m, const struct zdev_io *io)
{
        if (io->op == ZDEV_FLUSH || io->op == ZDEV_REPORT)
                return;
        if (io->zone >= m->spec.nr_zones)
                violation(m, io, "no such zone");
        struct media_zone *z = &m->zones[io->zone];
        int rc;
        switch (io->op) {
        case ZDEV_READ:
                check_iov(m, io);
                if (zone_model_check_read(&m->model, io->zone, io->block, io->nblocks) < 0)
                        violation(m, io, "read outside the zone, or too long");
                if (z->resetting)
                        violation(m, io, "read of a zone that is being reset");
                z->reading++;
                break;
        case ZDEV_WRITE:
                check_iov(m, io);
                if (z->managing)
                        violation(m, io, "write to a zone that is being reset or finished");
                rc = zone_model_begin_write(&m->model, io->zone, io->block, io->nblocks);
                if (rc < 0)
                        violation(m, io,
                                  rc == -EOVERFLOW ? "too many zones active or open"
                                                   : "write not at the pointer, or too long");
                break;
        case ZDEV_RESET:
                if (z->reading)
                        violation(m, io, "reset of a zone that is being read");
                z->resetting++;
                /* fall through */
        case ZDEV_FINISH:
                if (zone_model_check_manage(&m->model, io->zone) < 0 || z->managing)
                        violation(m, io, "zone busy or not to be managed");
                z->managing++;
                break;
        default:
                break;
        }
}

static void media_submit(struct zdev *dev, struct zdev_io *io)
{
        struct media *m = container_of(dev, struct media, dev);
        struct sim *sim = m->sim;
        if (!m->on)
                sim_fail(sim, "device %u: used after it was closed", m->index);
        size_t len = io->op == ZDEV_WRITE ? (size_t)io->nblocks * ZP_BLOCK : 0;
        bool dead = sim->power_lost;
        if (!dead) {
                if (sim->cut == CUT_NEAR_RESET && io->op == ZDEV_RESET && --sim->cut_countdown == 0)
                        sim->cut_at = sim->commands + sim_between(sim, 1, 12);
                if (++sim->commands == sim->cut_at)
                        sim->power_lost = true; /* the command itself is in flight then */
                check_rules(m, io);
        }
        struct flight *f = malloc(sizeof(*f) + len);
        if (!f)
                abort();
        f->io = io;
        f->flush_upto = m->next_event;
        f->dead = dead;
        f->not_before = 0;
        if (sim_chance(sim, sim->slow_permille, 1000))
                f->not_before = sim->completions + sim_between(sim, 5, 400);
        uint8_t *to = f->data;
        for (int i = 0; len && i < io->niov; i++) {
                memcpy(to, io->iov[i].iov_base, io->iov[i].iov_len);
                to += io->iov[i].iov_len;
        }
        io->driver = (uint64_t)(uintptr_t)f;
        list_add_tail(&m->flights, &f->node);
        m->nflights++;
        sim_trace(sim, "dev %u: %s zone %u block %llu+%u submitted%s", m->index, op_name(io->op),
                  io->zone, (unsigned long long)io->block, io->nblocks,
                  sim->power_lost ? " (power lost)" : "");
}

/* ---- taking effect ---- */

static void event_free(struct event *e)
{
        list_del(&e->all);
        list_del(&e->zone);
        free(e);
}

static void add_event(struct media *m, const struct zdev_io *io, const uint8_t *data)
{
        size_t len = data ? (size_t)io->nblocks * ZP_BLOCK : 0;
        struct event *e = malloc(sizeof(*e) + len);
        if (!e)
                abort();
        e->number = m->next_event++;
        e->op = io->op;
        e->nblocks = data ? io->nblocks : 0;
        e->block = io->block;
        e->before = m->model.zones[io->zone];
        list_add_tail(&m->events, &e->all);
        list_add_tail(&m->zones[io->zone].events, &e->zone);
        if (!data)
                return;
        memcpy(e->undo, zone_bytes(m, io->zone, io->block), len);
        memcpy(zone_bytes(m, io->zone, io->block), data, len);
}

static void make_durable(struct media *m, uint64_t upto)
{
        struct event *e;
        while ((e = list_first(&m->events, struct event, all)) && e->number < upto)
                event_free(e);
}

/* Carries out an operation that kept the rules. */
static void take_effect(struct media *m, struct flight *f)
{
        struct zdev_io *io = f->io;
        switch (io->op) {
        case ZDEV_WRITE:
                add_event(m, io, f->data);
                zone_model_end_write(&m->model, io->zone, io->nblocks);
                break;
        case ZDEV_RESET:
                m->zones[io->zone].managing = m->zones[io->zone].resetting = 0;
                add_event(m, io, NULL);
                zone_model_reset(&m->model, io->zone);
                break;
        case ZDEV_FINISH:
                m->zones[io->zone].managing = 0;
                add_event(m, io, NULL);
                zone_model_finish(&m->model, io->zone);
                break;
        case ZDEV_FLUSH:
                make_durable(m, f->flush_upto);
                break;
        case ZDEV_READ:
        case ZDEV_REPORT:
                break;
        }
}

/* A guest may write into the buffer of its own read: the pool has to find out whether it was that
 * or the device, without blaming the device. */
static void scribble(struct media *m, const struct zdev_io *io)
{
        struct sim *sim = m->sim;
        if (!sim->options.checksums || !sim->work || !sim_chance(sim, 1, 30))
                return;
        uint8_t *p = io->iov[0].iov_base;
        if (io->iov[0].iov_len && work_reads_into(sim->work, p))
                p[sim_below(sim, io->iov[0].iov_len)] ^= 0x40;
}

static void answer(struct media *m, struct flight *f)
{
        struct zdev_io *io = f->io;
        const uint8_t *bytes = f->data;
        if (io->op == ZDEV_REPORT) {
                if (zone_model_report(&m->model, io->zone, io->nblocks, io->report) < 0)
                        violation(m, io, "report outside the device");
        } else if (io->op == ZDEV_READ) {
                m->zones[io->zone].reading--;
                bytes = zone_bytes(m, io->zone, io->block);
                for (int i = 0; i < io->niov; i++) {
                        memcpy(io->iov[i].iov_base, bytes, io->iov[i].iov_len);
                        bytes += io->iov[i].iov_len;
                }
                scribble(m, io);
        } else if (io->op == ZDEV_WRITE) {
                for (int i = 0; i < io->niov; i++) {
                        if (memcmp(io->iov[i].iov_base, bytes, io->iov[i].iov_len) != 0)
                                violation(m, io, "its buffer changed while it was in flight");
                        bytes += io->iov[i].iov_len;
                }
        }
}

static struct flight *pick_flight(struct media *m, bool force)
{
        uint64_t skip = sim_below(m->sim, m->nflights);
        if (sim_chance(m->sim, 1, 2))
                skip = 0;
        struct list *at = m->flights.next;
        while (skip--)
                at = at->next;
        struct flight *f = list_entry(at, struct flight, node);
        return force || f->not_before <= m->sim->completions ? f : NULL;
}

bool media_complete_one(struct media *m, bool force)
{
        struct flight *f = pick_flight(m, force);
        if (!f)
                return false;
        m->sim->completions++;
        struct zdev_io *io = f->io;
        int status = m->sim->power_lost ? -ENODEV : 0;
        list_del(&f->node);
        m->nflights--;
        if (status == 0) {
                take_effect(m, f);
                answer(m, f);
        } else if (!f->dead && sim_chance(m->sim, 1, 2)) {
                take_effect(m, f); /* carried out, but nobody heard of it */
        }
        free(f);
        sim_trace(m->sim, "dev %u: %s zone %u block %llu+%u done %d", m->index, op_name(io->op),
                  io->zone, (unsigned long long)io->block, io->nblocks, status);
        io->done(io, status);
        return true;
}

/* ---- power ---- */

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
                lose_block(m, zone_bytes(m, zone, e->block + i), e->undo + (size_t)i * ZP_BLOCK);
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
                        lose_block(m, zone_bytes(m, zone, e->block + i),
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
        bool behind = sim_chance(sim, 1, 4); /* data may stay above the pointer */
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
                event_free(e);
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
                        take_effect(m, f);
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

uint64_t media_fingerprint(const struct media *m)
{
        return m->fingerprint;
}

static void media_close(struct zdev *dev)
{
        struct media *m = container_of(dev, struct media, dev);
        m->on = false;
}

struct zdev *media_power_on(struct media *m)
{
        static const struct zdev_ops ops = {
            .kind = "sim", .submit = media_submit, .close = media_close};
        m->dev.ops = &ops;
        m->dev.geo = m->model.geo;
        snprintf(m->dev.path, sizeof(m->dev.path), "sim%u", m->index);
        m->on = true;
        return &m->dev;
}

uint32_t media_pending(const struct media *m)
{
        return m->nflights;
}

struct media *media_new(struct sim *sim, uint32_t index, const struct media_spec *spec)
{
        struct media *m = calloc(1, sizeof(*m));
        if (!m)
                abort();
        m->sim = sim;
        m->index = index;
        m->spec = *spec;
        struct zdev_geometry geo = {.nr_zones = spec->nr_zones,
                                    .zone_blocks = spec->zone_blocks,
                                    .max_open = spec->max_open,
                                    .max_active = spec->max_active,
                                    .max_io_blocks = spec->max_io_blocks,
                                    .rotational = spec->rotational};
        m->zones = calloc(spec->nr_zones, sizeof(*m->zones));
        m->bytes = calloc((size_t)spec->nr_zones * spec->zone_blocks, ZP_BLOCK);
        if (!m->zones || !m->bytes ||
            zone_model_init(&m->model, &geo, spec->capacity_blocks, 0) < 0)
                abort();
        list_init(&m->events);
        list_init(&m->flights);
        for (uint32_t i = 0; i < spec->nr_zones; i++)
                list_init(&m->zones[i].events);
        return m;
}

void media_free(struct media *m)
{
        if (!m)
                return;
        struct event *e;
        while ((e = list_first(&m->events, struct event, all)))
                event_free(e);
        struct flight *f, *tmp;
        list_for_each_safe (f, tmp, &m->flights, node)
                free(f);
        zone_model_fini(&m->model);
        free(m->zones);
        free(m->bytes);
        free(m);
}
