/* A zoned device that loses power, see media.h.
 *
 * The medium holds one image, that of all completed commands. Each command that changed it and is
 * not durable yet is an event with what it takes to undo it. Events of one zone are strictly
 * ordered (one write in flight, no reset beside it), so undoing them from the last one on gives
 * every state the zone has been in.
 */
#include "tests/sim/ailing.h"
#include "tests/sim/devices.h"
#include "tests/sim/media_internal.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* What a zone that went bad answers; the pool may not have heard of it yet. */
static int bad_zone_status(const struct media *m, const struct zdev_io *io)
{
        enum zdev_zone_state state = m->model.zones[io->zone].state;
        if (state == ZDEV_ZONE_OFFLINE)
                return -EIO;
        return state == ZDEV_ZONE_READONLY && io->op != ZDEV_READ ? -EROFS : 0;
}

/* Returns the status of an operation that kept the rules and fails all the same, or 0. */
static int check_rules(struct media *m, const struct zdev_io *io)
{
        if (io->op == ZDEV_FLUSH || io->op == ZDEV_REPORT)
                return 0;
        if (io->zone >= m->spec.nr_zones)
                violation(m, io, "no such zone");
        struct media_zone *z = &m->zones[io->zone];
        if (m->model.zones[io->zone].state == ZDEV_ZONE_CONVENTIONAL)
                violation(m, io, "a conventional zone holds nothing of the pool's");
        int rc = bad_zone_status(m, io);
        if (rc < 0 && !ailing_may_fail(m->sim, m->index))
                violation(m, io, "zone is read-only or offline, as was reported");
        if (rc < 0)
                return rc;
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
        return 0;
}

static bool into_users(const struct sim *sim, const struct zdev_io *io)
{
        return sim->work && work_reads_into(sim->work, io->iov[0].iov_base);
}

static void media_submit(struct zdev *dev, struct zdev_io *io)
{
        struct media *m = container_of(dev, struct media, dev);
        struct sim *sim = m->sim;
        if (!m->on)
                sim_fail(sim, "device %u: used after it was closed", m->index);
        size_t len = io->op == ZDEV_WRITE ? (size_t)io->nblocks * ZP_BLOCK : 0;
        bool dead = sim->power_lost;
        int status = m->lost ? -ENODEV : 0;
        if (!dead) {
                bool label = io->op == ZDEV_WRITE && io->zone < 2;
                if (sim->cut == CUT_NEAR_RESET && (label || io->op == ZDEV_RESET) &&
                    --sim->cut_countdown == 0)
                        sim->cut_at = sim->commands + sim_between(sim, 1, label ? 3 : 12);
                if (io->op == ZDEV_WRITE && io->zone >= m->spec.nr_conventional + 2)
                        devices_written(sim, m->index);
                if (++sim->commands == sim->cut_at)
                        sim->power_lost = true; /* the command itself is in flight then */
                if (!m->lost)
                        status = check_rules(m, io);
        }
        struct flight *f = malloc(sizeof(*f) + len);
        if (!f)
                abort();
        f->io = io;
        f->users = io->op == ZDEV_READ && into_users(sim, io);
        f->flush_upto = m->next_event;
        f->dead = dead;
        f->bad_zone = status < 0;
        f->status = status;
        f->written = io->op == ZDEV_WRITE ? io->nblocks : 0;
        if (!dead && status == 0 && sim->faulty && (sim->faults || (sim->ailing >> m->index & 1)) &&
            io->op != ZDEV_REPORT && sim_chance(sim, 1, io->op == ZDEV_WRITE ? 150 : 400)) {
                f->status = -EIO;
                sim->erred++;
                f->written = f->written ? (uint32_t)sim_below(sim, f->written) : 0;
        }
        f->not_before = 0;
        if (sim_chance(sim, sim->slow_permille, 1000))
                f->not_before = sim->completions + sim_between(sim, 5, 400);
        uint64_t forgotten = io->op == ZDEV_READ ? ailing_forgets(sim, m->index) : 0;
        if (forgotten)
                f->not_before = sim->completions + forgotten;
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

void media_event_free(struct event *e)
{
        list_del(&e->all);
        list_del(&e->zone);
        free(e);
}

static void add_event(struct media *m, const struct zdev_io *io, const uint8_t *data,
                      uint32_t nblocks)
{
        size_t len = (size_t)nblocks * ZP_BLOCK;
        struct event *e = malloc(sizeof(*e) + len);
        if (!e)
                abort();
        e->number = m->next_event++;
        e->op = io->op;
        e->nblocks = nblocks;
        e->block = io->block;
        e->before = m->model.zones[io->zone];
        list_add_tail(&m->events, &e->all);
        list_add_tail(&m->zones[io->zone].events, &e->zone);
        if (!data)
                return;
        memcpy(e->undo, media_bytes(m, io->zone, io->block), len);
        memcpy(media_bytes(m, io->zone, io->block), data, len);
}

static void make_durable(struct media *m, uint64_t upto)
{
        struct event *e;
        while ((e = list_first(&m->events, struct event, all)) && e->number < upto)
                media_event_free(e);
}

void media_take_effect(struct media *m, struct flight *f)
{
        struct zdev_io *io = f->io;
        struct media_zone *z = &m->zones[io->zone];
        if (f->bad_zone)
                return;
        switch (io->op) {
        case ZDEV_WRITE:
                if (f->written)
                        add_event(m, io, f->data, f->written);
                zone_model_end_write(&m->model, io->zone, f->written);
                break;
        case ZDEV_RESET:
        case ZDEV_FINISH:
                z->managing = z->resetting = 0;
                if (f->status < 0)
                        break;
                add_event(m, io, NULL, 0);
                if (io->op == ZDEV_RESET)
                        zone_model_reset(&m->model, io->zone);
                else
                        zone_model_finish(&m->model, io->zone);
                break;
        case ZDEV_FLUSH:
                if (f->status == 0)
                        make_durable(m, f->flush_upto);
                break;
        case ZDEV_READ:
                z->reading--;
                break;
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
                if (f->users && !into_users(m->sim, io))
                        violation(m, io, "the answer goes into memory of a request that is over");
                bytes = media_bytes(m, io->zone, io->block);
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
        int status = m->sim->power_lost ? -ENODEV : f->status;
        list_del(&f->node);
        m->nflights--;
        if (!m->sim->power_lost) {
                media_take_effect(m, f);
                if (status == 0)
                        answer(m, f);
        } else if (!f->dead && sim_chance(m->sim, 1, 2)) {
                media_take_effect(m, f); /* carried out, but nobody heard of it */
        }
        free(f);
        sim_trace(m->sim, "dev %u: %s zone %u block %llu+%u done %d", m->index, op_name(io->op),
                  io->zone, (unsigned long long)io->block, io->nblocks, status);
        io->done(io, status);
        return true;
}

/* ---- life ---- */

uint64_t media_fingerprint(const struct media *m)
{
        return m->fingerprint;
}

static void media_close(struct zdev *dev)
{
        struct media *m = container_of(dev, struct media, dev);
        m->on = false;
}

/* Also what is still being written: the pool may ask only for what it knows to be there. */
static int media_peek(struct zdev *dev, uint32_t zone, uint64_t block, void *buf)
{
        struct media *m = container_of(dev, struct media, dev);

        memcpy(buf, media_bytes(m, zone, block), ZP_BLOCK);
        return 0;
}

struct zdev *media_power_on(struct media *m)
{
        static const struct zdev_ops ops = {
            .kind = "sim", .submit = media_submit, .close = media_close, .peek = media_peek};
        m->dev.ops = &ops;
        m->dev.geo = m->model.geo;
        m->dev.inflight = 0;
        snprintf(m->dev.path, sizeof(m->dev.path), "sim%u", m->index);
        m->on = true;
        m->ever_stalled = false;
        return &m->dev;
}

uint32_t media_pending(const struct media *m)
{
        return m->nflights;
}

bool media_writing(const struct media *m)
{
        const struct flight *f;
        list_for_each (f, &m->flights, node)
                if (f->io->op == ZDEV_WRITE)
                        return true;
        return false;
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
            zone_model_init(&m->model, &geo, spec->capacity_blocks, spec->nr_conventional) < 0)
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
                media_event_free(e);
        struct flight *f, *tmp;
        list_for_each_safe (f, tmp, &m->flights, node)
                free(f);
        zone_model_fini(&m->model);
        free(m->zones);
        free(m->bytes);
        free(m);
}
