/* A zoned device whose image costs nearly nothing to copy, see disk.h. */
#include "tests/sim/exhaustive/disk.h"

#include "base/cleanup.h"
#include "base/rng.h"
#include "tests/sim/exhaustive/case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory that lives as long as the disk ---- */

enum { CHUNK_BYTES = 64 << 10, LABELS = 2 /* zones behind the conventional ones */ };

struct chunk {
        struct chunk *next;
        size_t used;
        _Alignas(64) uint8_t bytes[CHUNK_BYTES];
};

static struct chunk *spare_chunks;

static void *must(void *p)
{
        if (!p)
                abort();
        return p;
}

static void *arena_take(struct disk *d, size_t len)
{
        struct chunk *c = d->arena;
        len = (len + 63) & ~(size_t)63;
        if (len > CHUNK_BYTES)
                abort();
        if (!c || c->used + len > CHUNK_BYTES) {
                c = spare_chunks;
                if (c)
                        spare_chunks = c->next;
                else
                        c = must(aligned_alloc(64, sizeof(*c)));
                c->used = 0;
                c->next = d->arena;
                d->arena = c;
        }
        void *p = c->bytes + c->used;
        c->used += len;
        return p;
}

/* ---- hashes ---- */

static uint64_t mix(uint64_t x)
{
        x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        return x ^ (x >> 32);
}

static uint64_t block_hash(const uint8_t *p)
{
        uint64_t h[4] = {1, 2, 3, 4};
        for (int i = 0; i < ZP_BLOCK; i += 32) {
                uint64_t w[4];
                memcpy(w, p + i, sizeof(w));
                for (int k = 0; k < 4; k++) {
                        h[k] = (h[k] ^ w[k]) * UINT64_C(0x9e3779b97f4a7c15);
                        h[k] ^= h[k] >> 29;
                }
        }
        return mix(h[0] ^ mix(h[1] ^ mix(h[2] ^ mix(h[3]))));
}

static uint64_t cell_part(struct cell c, uint32_t block)
{
        return c.data ? mix(c.hash + block * UINT64_C(0x9e3779b97f4a7c15)) : 0;
}

uint64_t disk_cell_sum(const struct cell *cells, uint32_t n)
{
        uint64_t sum = 0;
        for (uint32_t i = 0; i < n; i++)
                sum += cell_part(cells[i], i);
        return sum;
}

/* As zone_model_restore puts it: no zone is open after a power-on. */
static enum zdev_zone_state at_rest(const struct disk *d, enum zdev_zone_state state, uint64_t wp)
{
        if (state != ZDEV_ZONE_OPEN && state != ZDEV_ZONE_CLOSED)
                return state;
        if (wp == 0)
                return ZDEV_ZONE_EMPTY;
        return wp == d->spec.capacity_blocks ? ZDEV_ZONE_FULL : ZDEV_ZONE_CLOSED;
}

uint64_t disk_zone_hash(const struct disk *d, uint32_t zone, uint64_t cell_sum,
                        enum zdev_zone_state state, uint64_t wp_block)
{
        state = at_rest(d, state, wp_block);
        uint64_t where = (uint64_t)d->index << 32 | zone;
        /* members of a mirror hold the same: which is where must tell them apart */
        return mix(cell_sum ^ mix(mix(where + 1) ^ (uint64_t)state << 32 ^ wp_block));
}

uint64_t disk_zone_hash_now(const struct disk *d, uint32_t zone)
{
        const struct zone_model_zone *z = &d->model.zones[zone];
        return disk_zone_hash(d, zone, d->zones[zone].sum, z->state, z->wp_block);
}

uint64_t disk_lost_hash(const struct disk *d)
{
        return d->lost ? mix(d->index + 77) : 0;
}

uint64_t disk_changes_hash(const struct disk *d)
{
        uint64_t h = disk_lost_hash(d);
        for (uint32_t i = 0; i < d->nchanges; i++) {
                const struct change *c = &d->changes[i];
                h = mix(h + 1 +
                        ((uint64_t)c->op << 60 ^ (uint64_t)c->zone << 40 ^
                         (uint64_t)c->block << 20 ^ c->nblocks));
                h = mix(h + ((uint64_t)c->state << 32 ^ c->wp ^ (uint64_t)d->index << 40));
                if (c->undo)
                        h = mix(h + disk_cell_sum(c->undo, c->nblocks));
        }
        return h;
}

struct cell disk_garbage(void)
{
        static uint8_t bytes[ZP_BLOCK];
        static struct cell cell;
        if (!cell.data) {
                struct rng rng = {.state = 99};
                for (int i = 0; i < ZP_BLOCK; i++)
                        bytes[i] = (uint8_t)(rng_next(&rng) >> 40);
                cell = (struct cell){bytes, block_hash(bytes)};
        }
        return cell;
}

/* ---- content ---- */

struct cell *disk_cells(const struct disk *d, uint32_t zone)
{
        return d->cells + (size_t)zone * d->spec.zone_blocks;
}

static void put_cell(struct disk *d, uint32_t zone, uint32_t block, struct cell c)
{
        struct cell *at = &disk_cells(d, zone)[block];
        d->zones[zone].sum += cell_part(c, block) - cell_part(*at, block);
        *at = c;
}

void disk_put_zone(struct disk *d, uint32_t zone, const struct cell *cells, uint64_t cell_sum,
                   enum zdev_zone_state state, uint64_t wp_block)
{
        memcpy(disk_cells(d, zone), cells, d->spec.zone_blocks * sizeof(*cells));
        d->zones[zone].sum = cell_sum;
        zone_model_restore(&d->model, zone, state, wp_block);
}

/* ---- commands ---- */

struct command {
        struct list node;
        struct zdev_io *io;
        uint64_t number;
        uint64_t durable_upto; /* FLUSH: changes below it */
        int status;
        bool ruled; /* counted by check_rules */
        uint32_t nblocks; /* WRITE: that arrive */
        struct cell *cells; /* WRITE: as submitted */
};

static const char *op_name(enum zdev_op op)
{
        static const char *const names[] = {"report", "read", "write", "reset", "finish", "flush"};
        return names[op];
}

static void violation(const struct disk *d, const struct zdev_io *io, const char *what)
{
        struct zdev_zone z = {0};
        if (io->zone < d->spec.nr_zones)
                zone_model_report(&d->model, io->zone, 1, &z);
        case_fail("device %u: %s zone %u block %llu+%u: %s (state %d, pointer %llu of %llu)",
                  d->index, op_name(io->op), io->zone, (unsigned long long)io->block, io->nblocks,
                  what, z.state, (unsigned long long)z.wp_block,
                  (unsigned long long)z.capacity_blocks);
}

static void check_rules(struct disk *d, const struct zdev_io *io)
{
        if (io->op == ZDEV_FLUSH || io->op == ZDEV_REPORT)
                return;
        if (io->zone >= d->spec.nr_zones)
                violation(d, io, "no such zone");
        struct disk_zone *z = &d->zones[io->zone];
        uint64_t sum = 0;
        if (io->zone < d->spec.nr_conventional)
                violation(d, io, "a conventional zone holds nothing of the pool's");
        for (int i = 0; i < io->niov; i++)
                sum += io->iov[i].iov_len;
        if ((io->op == ZDEV_READ || io->op == ZDEV_WRITE) &&
            sum != (uint64_t)io->nblocks * ZP_BLOCK)
                violation(d, io, "the buffers do not add up to its length");
        switch (io->op) {
        case ZDEV_READ:
                if (zone_model_check_read(&d->model, io->zone, io->block, io->nblocks) < 0)
                        violation(d, io, "read outside the zone, or too long");
                if (z->resetting)
                        violation(d, io, "read of a zone that is being reset");
                z->reading++;
                break;
        case ZDEV_WRITE:
                if (z->managing)
                        violation(d, io, "write to a zone that is being reset or finished");
                if (zone_model_begin_write(&d->model, io->zone, io->block, io->nblocks) < 0)
                        violation(d, io, "write not at the pointer, too long, or a zone too many");
                break;
        case ZDEV_RESET:
                if (z->reading)
                        violation(d, io, "reset of a zone that is being read");
                z->resetting++;
                /* fall through */
        default:
                if (zone_model_check_manage(&d->model, io->zone) < 0 || z->managing)
                        violation(d, io, "zone busy or not to be managed");
                z->managing++;
        }
}

/* The bytes as they are now, block by block. */
static struct cell *take_cells(struct disk *d, const struct zdev_io *io)
{
        struct cell *cells = arena_take(d, io->nblocks * sizeof(*cells));
        int part = 0;
        size_t skip = 0;
        for (uint32_t i = 0; i < io->nblocks; i++) {
                uint8_t *bytes = arena_take(d, ZP_BLOCK);
                for (size_t have = 0; have < ZP_BLOCK;) {
                        size_t n = MIN(ZP_BLOCK - have, io->iov[part].iov_len - skip);
                        memcpy(bytes + have, (uint8_t *)io->iov[part].iov_base + skip, n);
                        have += n;
                        skip += n;
                        if (skip == io->iov[part].iov_len) {
                                part++;
                                skip = 0;
                        }
                }
                cells[i] = (struct cell){bytes, block_hash(bytes)};
        }
        return cells;
}

static void fail_once(struct disk *d, struct command *c)
{
        if (c->io->op == ZDEV_WRITE && d->fail_root &&
            c->io->zone < d->spec.nr_conventional + LABELS) {
                d->fail_root = false;
                d->fail_flush = true;
        }
        bool *fail = c->io->op == ZDEV_WRITE   ? &d->fail_write
                     : c->io->op == ZDEV_FLUSH ? &d->fail_flush
                                               : NULL;
        if (!fail || !*fail || !c->ruled)
                return;
        *fail = false;
        c->status = -EIO;
        c->nblocks /= 2;
}

static bool is_worn(const struct disk *d, uint32_t zone)
{
        enum zdev_zone_state state = d->model.zones[zone].state;
        return state == ZDEV_ZONE_READONLY || state == ZDEV_ZONE_OFFLINE;
}

/* How it ends for the state of the device or of the zone. */
static int status_of(const struct disk *d, const struct zdev_io *io)
{
        if (d->lost)
                return -ENODEV;
        if (!d->worn || io->op == ZDEV_FLUSH || io->op == ZDEV_REPORT ||
            io->zone >= d->spec.nr_zones || !is_worn(d, io->zone))
                return 0;
        bool readable = d->model.zones[io->zone].state == ZDEV_ZONE_READONLY;
        return io->op == ZDEV_READ && readable ? 0 : -EIO;
}

static void disk_submit(struct zdev *dev, struct zdev_io *io)
{
        struct disk *d = container_of(dev, struct disk, dev);
        struct command *c = arena_take(d, sizeof(*c));
        *c = (struct command){.io = io,
                              .number = ++*d->numbers,
                              .durable_upto = d->next_change,
                              .status = status_of(d, io)};
        c->ruled = c->status == 0;
        if (c->ruled)
                check_rules(d, io);
        if (io->op == ZDEV_WRITE && c->ruled) {
                c->cells = take_cells(d, io);
                c->nblocks = io->nblocks;
        }
        fail_once(d, c);
        if (io->op != ZDEV_READ && io->op != ZDEV_REPORT)
                d->version++;
        list_add_tail(&d->commands, &c->node);
        d->ncommands++;
        case_trace("dev %u: %s zone %u block %llu+%u submitted", d->index, op_name(io->op),
                   io->zone, (unsigned long long)io->block, io->nblocks);
}

static struct change *add_change(struct disk *d, const struct zdev_io *io, uint32_t nblocks)
{
        const struct zone_model_zone *z = &d->model.zones[io->zone];
        if (d->nchanges == d->changes_room) {
                d->changes_room = d->changes_room ? d->changes_room * 2 : 16;
                d->changes = must(realloc(d->changes, d->changes_room * sizeof(*d->changes)));
        }
        struct change *c = &d->changes[d->nchanges++];
        *c = (struct change){.number = d->next_change++,
                             .op = io->op,
                             .zone = io->zone,
                             .block = (uint32_t)io->block,
                             .nblocks = nblocks,
                             .state = at_rest(d, z->state, z->wp_block),
                             .wp = (uint32_t)z->wp_block};
        return c;
}

static void make_durable(struct disk *d, uint64_t upto)
{
        uint32_t n = 0;
        while (n < d->nchanges && d->changes[n].number < upto)
                n++;
        memmove(d->changes, d->changes + n, (d->nchanges - n) * sizeof(*d->changes));
        d->nchanges -= n;
}

void disk_settle(struct disk *d)
{
        make_durable(d, UINT64_MAX);
}

bool disk_wear(struct disk *d, enum zdev_zone_state state)
{
        uint32_t zone = d->last_zone, n = 0;
        for (uint32_t z = d->spec.nr_conventional + LABELS; !zone && z < d->spec.nr_zones; z++)
                if (d->model.zones[z].wp_block)
                        zone = z;
        if (!zone)
                return false;
        for (uint32_t i = 0; i < d->nchanges; i++)
                if (d->changes[i].zone != zone)
                        d->changes[n++] = d->changes[i];
        d->nchanges = n;
        zone_model_restore(&d->model, zone, state, d->model.zones[zone].wp_block);
        case_trace("dev %u: zone %u is worn out: state %d", d->index, zone, state);
        d->worn = true;
        d->version++;
        return true;
}

static void write_cells(struct disk *d, const struct command *c)
{
        const struct zdev_io *io = c->io;
        if (!c->nblocks)
                return;
        struct change *change = add_change(d, io, c->nblocks);
        change->undo = arena_take(d, c->nblocks * sizeof(*change->undo));
        memcpy(change->undo, disk_cells(d, io->zone) + io->block,
               c->nblocks * sizeof(*change->undo));
        for (uint32_t i = 0; i < c->nblocks; i++)
                put_cell(d, io->zone, (uint32_t)io->block + i, c->cells[i]);
}

static void take_effect(struct disk *d, struct command *c)
{
        const struct zdev_io *io = c->io;
        struct disk_zone *z = &d->zones[io->zone];
        if (c->status < 0 && io->op == ZDEV_READ && c->ruled)
                z->reading--;
        if (c->status < 0 && (io->op == ZDEV_RESET || io->op == ZDEV_FINISH))
                z->managing = z->resetting = 0;
        if (c->status < 0 && (d->lost || io->op != ZDEV_WRITE))
                return;
        switch (io->op) {
        case ZDEV_WRITE:
                write_cells(d, c);
                zone_model_end_write(&d->model, io->zone, c->nblocks);
                if (c->nblocks && io->zone >= d->spec.nr_conventional + LABELS)
                        d->last_zone = io->zone;
                break;
        case ZDEV_RESET:
        case ZDEV_FINISH:
                z->managing = z->resetting = 0;
                add_change(d, io, 0);
                if (io->op == ZDEV_RESET)
                        zone_model_reset(&d->model, io->zone);
                else
                        zone_model_finish(&d->model, io->zone);
                break;
        case ZDEV_FLUSH:
                make_durable(d, c->durable_upto);
                break;
        case ZDEV_READ:
                z->reading--;
                return;
        case ZDEV_REPORT:
                return;
        }
        d->version++;
}

static void answer(const struct disk *d, const struct command *c)
{
        const struct zdev_io *io = c->io;
        static const uint8_t zeroes[ZP_BLOCK];
        if (io->op == ZDEV_REPORT &&
            zone_model_report(&d->model, io->zone, io->nblocks, io->report) < 0)
                violation(d, io, "report outside the device");
        if (io->op != ZDEV_READ && io->op != ZDEV_WRITE)
                return;
        const struct cell *cells =
            io->op == ZDEV_READ ? disk_cells(d, io->zone) + io->block : c->cells;
        size_t at = 0; /* bytes of the operation */
        for (int part = 0; part < io->niov; part++) {
                uint8_t *p = io->iov[part].iov_base;
                for (size_t done = 0; done < io->iov[part].iov_len;) {
                        size_t skip = at % ZP_BLOCK;
                        size_t n = MIN(ZP_BLOCK - skip, io->iov[part].iov_len - done);
                        const uint8_t *data = cells[at / ZP_BLOCK].data;
                        data = (data ? data : zeroes) + skip;
                        if (io->op == ZDEV_READ)
                                memcpy(p + done, data, n);
                        else if (memcmp(p + done, data, n) != 0)
                                violation(d, io, "its buffer changed while it was in flight");
                        done += n;
                        at += n;
                }
        }
}

static struct command *next_command(const struct disk *d, bool newest)
{
        struct list *at = newest ? d->commands.prev : d->commands.next;
        return list_entry(at, struct command, node);
}

uint64_t disk_next_number(const struct disk *d, bool newest)
{
        return next_command(d, newest)->number;
}

void disk_complete(struct disk *d, bool newest)
{
        struct command *c = next_command(d, newest);
        struct zdev_io *io = c->io;
        list_del(&c->node);
        d->ncommands--;
        int status = status_of(d, io); /* also of what was under way */
        if (status < 0) {
                c->status = status;
                c->nblocks = 0;
        }
        take_effect(d, c);
        if (c->status == 0)
                answer(d, c);
        case_trace("dev %u: %s zone %u block %llu+%u done %d", d->index, op_name(io->op), io->zone,
                   (unsigned long long)io->block, io->nblocks, c->status);
        io->done(io, c->status);
}

/* Commands in flight on another disk that would change the medium are carried out on this one. */
static void carry_out(struct disk *d, const struct disk *from)
{
        const struct command *c;
        list_for_each (c, &from->commands, node) {
                const struct zdev_io *io = c->io;
                if (status_of(d, io) < 0)
                        continue;
                if (io->op == ZDEV_WRITE) {
                        write_cells(d, c);
                        zone_model_restore(&d->model, io->zone, ZDEV_ZONE_CLOSED,
                                           io->block + c->nblocks);
                } else if (io->op == ZDEV_RESET || io->op == ZDEV_FINISH) {
                        add_change(d, io, 0);
                        zone_model_restore(&d->model, io->zone,
                                           io->op == ZDEV_RESET ? ZDEV_ZONE_EMPTY : ZDEV_ZONE_FULL,
                                           0);
                }
        }
}

/* ---- life ---- */

static void disk_close(struct zdev *dev)
{
        (void)dev; /* no event for the medium */
}

/* Also where the device is lost: the one who asks is the test. */
static int disk_peek(struct zdev *dev, uint32_t zone, uint64_t block, void *buf)
{
        const struct disk *d = container_of(dev, struct disk, dev);
        const uint8_t *data = disk_cells(d, zone)[block].data;

        if (data)
                memcpy(buf, data, ZP_BLOCK);
        else
                memset(buf, 0, ZP_BLOCK);
        return 0;
}

static struct disk *make(const struct disk_spec *spec, uint32_t index, uint64_t *numbers)
{
        static const struct zdev_ops ops = {
            .kind = "sim", .submit = disk_submit, .close = disk_close, .peek = disk_peek};
        struct disk *d = must(calloc(1, sizeof(*d)));
        struct zdev_geometry geo = {.nr_zones = spec->nr_zones,
                                    .zone_blocks = spec->zone_blocks,
                                    .max_open = spec->max_open,
                                    .max_active = spec->max_active,
                                    .max_io_blocks = spec->max_io_blocks};
        d->spec = *spec;
        d->index = index;
        d->numbers = numbers;
        d->dev.ops = &ops;
        d->dev.geo = geo;
        snprintf(d->dev.path, sizeof(d->dev.path), "disk%u", index);
        list_init(&d->commands);
        d->zones = must(calloc(spec->nr_zones, sizeof(*d->zones)));
        d->cells = must(malloc((size_t)spec->nr_zones * spec->zone_blocks * sizeof(*d->cells)));
        if (zone_model_init(&d->model, &geo, spec->capacity_blocks, spec->nr_conventional) < 0)
                abort();
        return d;
}

struct disk *disk_new(const struct disk_spec *spec, uint32_t index, uint64_t *numbers)
{
        struct disk *d = make(spec, index, numbers);
        memset(d->cells, 0, (size_t)spec->nr_zones * spec->zone_blocks * sizeof(*d->cells));
        return d;
}

struct disk *disk_clone(const struct disk *from, uint64_t *numbers, bool carried_out)
{
        struct disk *d = make(&from->spec, from->index, numbers);
        memcpy(d->cells, from->cells,
               (size_t)d->spec.nr_zones * d->spec.zone_blocks * sizeof(*d->cells));
        for (uint32_t i = 0; i < d->spec.nr_zones; i++) {
                d->zones[i].sum = from->zones[i].sum;
                zone_model_restore(&d->model, i, from->model.zones[i].state,
                                   from->model.zones[i].wp_block);
        }
        if (from->nchanges) {
                d->changes_room = from->nchanges;
                d->changes = must(malloc(d->changes_room * sizeof(*d->changes)));
                memcpy(d->changes, from->changes, from->nchanges * sizeof(*d->changes));
        }
        d->nchanges = from->nchanges;
        d->next_change = from->next_change;
        d->lost = from->lost;
        d->worn = from->worn;
        d->last_zone = from->last_zone;
        if (carried_out && !from->lost)
                carry_out(d, from);
        return d;
}

void disk_free(struct disk *d)
{
        if (!d)
                return;
        struct chunk *c;
        while ((c = d->arena)) {
                d->arena = c->next;
                c->next = spare_chunks;
                spare_chunks = c;
        }
        zone_model_fini(&d->model);
        free(d->changes);
        free(d->cells);
        free(d->zones);
        free(d);
}
