/* I/O that users ask for, see work.h. */
#include "tests/sim/work_internal.h"

#include "base/cleanup.h"
#include "pool/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One request of I/O. */
struct request {
        struct list node;
        struct volume_io io;
        struct iovec iov[4];
        struct work *w;
        struct oracle_volume *v;
        uint32_t op;
        uint32_t scribble; /* op of what replaced part of a write's bytes in flight; 0: none */
        struct oracle_view *view;
        uint32_t start; /* FLUSH */
        uint64_t first, n; /* sectors the op covers */
        bool covered; /* by its volume's reservation, whatever of it is mapped already */
        uint8_t buf[];
};

struct work *work_new(struct sim *sim)
{
        struct work *w = calloc(1, sizeof(*w));
        if (!w)
                abort();
        w->sim = sim;
        list_init(&w->requests);
        list_init(&w->controls);
        return w;
}

static void request_free(struct request *r)
{
        list_del(&r->node);
        oracle_view_free(r->view);
        free(r);
}

void work_power_cut(struct work *w)
{
        struct request *r;
        while ((r = list_first(&w->requests, struct request, node))) {
                r->v->busy--;
                request_free(r);
        }
        struct control *c;
        while ((c = list_first(&w->controls, struct control, node)))
                work_control_free(c);
        w->outstanding = 0;
}

void work_free(struct work *w)
{
        work_power_cut(w);
        free(w);
}

uint32_t work_asked(const struct work *w)
{
        return w->asked;
}

uint32_t work_outstanding(const struct work *w)
{
        return w->outstanding;
}

/* ---- mixes ---- */

static const struct mix mixes[] = {
    /* everything */
    {.weight = {40, 20, 6, 8, 4, 1, 2, 1, 1, 2, 1, 2},
     .depth = 8,
     .fua_permille = 100,
     .no_hold_permille = 50,
     .small_permille = 400,
     .hot_permille = 500,
     .again_permille = 300,
     .max_sectors = 128},
    /* overwrites, so that cleaning runs */
    {.weight = {80, 5, 3, 1, 0, 0, 1, 0, 0, 0, 1, 0},
     .depth = 16,
     .fua_permille = 20,
     .small_permille = 50,
     .hot_permille = 600,
     .again_permille = 300,
     .max_sectors = 64},
    /* one at a time, sub-block, much flushed */
    {.weight = {50, 20, 20, 5, 5, 0, 1, 0, 0, 1, 1, 1},
     .depth = 1,
     .fua_permille = 300,
     .small_permille = 900,
     .hot_permille = 800,
     .max_sectors = 16},
    /* filling up */
    {.weight = {90, 5, 2, 0, 0, 2, 3, 0, 0, 0, 0, 1},
     .depth = 12,
     .no_hold_permille = 100,
     .max_sectors = 128,
     .sequential = true},
    /* control */
    {.weight = {30, 10, 5, 5, 5, 6, 8, 6, 4, 10, 8, 4},
     .depth = 6,
     .fua_permille = 100,
     .small_permille = 300,
     .hot_permille = 300,
     .again_permille = 300,
     .max_sectors = 64},
    /* checkpoints, so that the label rings go round */
    {.weight = {30, 2, 4, 4, 0, 0, 1, 0, 0, 2, 40, 0},
     .depth = 3,
     .fua_permille = 100,
     .small_permille = 200,
     .hot_permille = 500,
     .max_sectors = 32},
    /* ownership moves while much is written and nothing flushed */
    {.weight = {60, 2, 0, 2, 2, 0, 2, 0, 0, 25, 0, 0},
     .depth = 6,
     .hot_permille = 300,
     .max_sectors = 128},
    /* never flushed */
    {.weight = {70, 20, 0, 8, 3, 0, 1, 0, 0, 0, 0, 1},
     .depth = 32,
     .small_permille = 300,
     .hot_permille = 700,
     .again_permille = 300,
     .max_sectors = 96},
};

void work_new_mix(struct work *w)
{
        w->mix = mixes[sim_below(w->sim, ARRAY_SIZE(mixes))];
        static const unsigned rates[] = {0, 1, 3, 12};
        for (int i = ASK_SNAPSHOT; w->sim->snapshots && i <= ASK_REVERT; i++)
                w->mix.weight[i] = rates[sim_below(w->sim, ARRAY_SIZE(rates))];
        for (int i = ASK_RESERVE; w->sim->reserves && i <= ASK_SHRINK; i++)
                w->mix.weight[i] = rates[sim_below(w->sim, ARRAY_SIZE(rates))];
        if (sim_chance(w->sim, 1, 4))
                w->mix.depth = (unsigned)sim_between(w->sim, 1, 32);
        w->asked = 0;
}

struct oracle_volume *work_pick(struct work *w, bool idle)
{
        struct oracle *o = w->sim->oracle;
        uint32_t n = oracle_count(o);
        for (uint32_t tries = 0; n && tries < 4; tries++) {
                struct oracle_volume *v = oracle_get(o, (uint32_t)sim_below(w->sim, n));
                if (v->fate != FATE_THERE || v->control || v->snapshot)
                        continue;
                if (!idle || (v->busy == 0 && v->owner_call == 0 && !v->taking &&
                              v->new_size_bytes == v->size_bytes &&
                              v->new_reserved_bytes == v->reserved_bytes))
                        return v;
        }
        return NULL;
}

struct oracle_volume *work_pick_snapshot(struct work *w)
{
        struct oracle *o = w->sim->oracle;
        uint32_t n = oracle_count(o);
        for (uint32_t tries = 0; n && tries < 6; tries++) {
                struct oracle_volume *s = oracle_get(o, (uint32_t)sim_below(w->sim, n));
                if (s->snapshot && s->fate == FATE_THERE && !s->control)
                        return s;
        }
        return NULL;
}

/* ---- requests ---- */

/* Cuts the buffer at random places. */
static void scatter(struct request *r, struct sim *sim, size_t len)
{
        int n = 0;
        size_t at = 0;
        while (n < 3 && at < len && sim_chance(sim, 1, 2)) {
                size_t unit = len - at < VOLUME_SECTOR || sim_chance(sim, 1, 4) ? 4 : VOLUME_SECTOR;
                size_t part = unit * (size_t)sim_between(sim, 1, (len - at) / unit);
                r->iov[n++] = (struct iovec){r->buf + at, part};
                at += part;
        }
        if (at < len)
                r->iov[n++] = (struct iovec){r->buf + at, len - at};
        r->io.iov = r->iov;
        r->io.niov = n;
}

static void pick_range(struct work *w, const struct oracle_volume *v, enum ask kind,
                       uint64_t *ret_first, uint64_t *ret_n)
{
        struct sim *sim = w->sim;
        uint64_t total = v->size_bytes / VOLUME_SECTOR;
        uint64_t range = total;
        if (w->mix.hot_permille && sim_chance(sim, w->mix.hot_permille, 1000))
                range = MAX(total / 10, MIN(total, (uint64_t)SECTORS_PER_BLOCK));
        uint64_t n = sim_between(sim, 1, w->mix.max_sectors), first = sim_below(sim, range);
        if (kind == ASK_DISCARD && sim_chance(sim, 1, 8))
                n = sim_between(sim, 1, total);
        if (sim_chance(sim, 1, 3))
                n = MIN(n, (uint64_t)SECTORS_PER_BLOCK);
        if (!sim_chance(sim, w->mix.small_permille, 1000)) {
                n = DIV_ROUND_UP(n, SECTORS_PER_BLOCK) * SECTORS_PER_BLOCK;
                first = first / SECTORS_PER_BLOCK * SECTORS_PER_BLOCK;
        }
        if (w->mix.sequential && kind == ASK_WRITE) {
                first = w->cursor % total;
                w->cursor += n;
        }
        n = MIN(n, total - first);
        uint64_t split = v->split_bytes / VOLUME_SECTOR;
        if ((kind == ASK_WRITE || kind == ASK_READ) && first < split)
                n = MIN(n, split - first); /* the others may span the gap */
        *ret_first = first;
        *ret_n = n;
}

/* A write that is under way, for another of just its range; or NULL. Rather a late one: it may wait
 * for one before it. */
static const struct request *pick_again(struct work *w, const struct oracle_volume *v)
{
        const struct request *r, *again = NULL;
        list_for_each (r, &w->requests, node)
                if (r->v == v && r->io.op == VOLUME_WRITE && sim_chance(w->sim, 1, 2))
                        again = r;
        return again;
}

/* Sectors that a discard certainly zeroes: whole blocks. */
static void whole_blocks(uint64_t *first, uint64_t *n)
{
        uint64_t end = *first + *n;
        uint64_t from = DIV_ROUND_UP(*first, SECTORS_PER_BLOCK) * SECTORS_PER_BLOCK;
        uint64_t to = end / SECTORS_PER_BLOCK * SECTORS_PER_BLOCK;
        *first = from;
        *n = to > from ? to - from : 0;
}

/* The blocks at the ends of a range, or all it reads, may be rotten. */
static bool touches_rot(const struct request *r)
{
        uint64_t at = r->io.offset_bytes;
        if (at >= r->v->split_bytes)
                at -= r->v->gap_bytes;
        uint64_t n = r->io.length_bytes / VOLUME_SECTOR,
                 total = r->v->new_size_bytes / VOLUME_SECTOR;
        at /= VOLUME_SECTOR;
        return oracle_rotten(r->v, at, MIN(n, total - at));
}

static bool status_is_fair(const struct request *r, int status)
{
        if (status == 0)
                return true;
        if ((r->w->sim->faults || r->w->sim->gave_up) && (status == -EIO || status == -EROFS))
                return true;
        if (r->w->sim->loses && status == -ENODEV)
                return true;
        if (status == -EILSEQ && r->io.op != VOLUME_FLUSH && touches_rot(r))
                return true;
        bool changes = r->io.op != VOLUME_READ && r->io.op != VOLUME_FLUSH;
        if (status == -ENOSPC && r->v->cloned && changes && r->io.op != VOLUME_WRITE)
                return true; /* no room for the pages of holes */
        if (status == -ENOSPC)
                return changes && r->io.no_hold && !r->covered;
        return status == -ECANCELED && changes && r->w->relieved > 0;
}

static void request_done(struct volume_io *io, int status)
{
        struct request *r = container_of(io, struct request, io);
        struct sim *sim = r->w->sim;
        if (sim->power_lost)
                return; /* nobody is there to hear it; freed by work_power_cut */
        sim_trace(sim, "volume %u: op %u done %d", r->v->number, r->op, status);
        if (!status_is_fair(r, status))
                sim_fail(sim, "volume %u: %s of sectors %llu+%llu ended with %d (%s)", r->v->number,
                         io->op == VOLUME_READ    ? "read"
                         : io->op == VOLUME_WRITE ? "write"
                         : io->op == VOLUME_FLUSH ? "flush"
                                                  : "discard or write-zeroes",
                         (unsigned long long)r->first, (unsigned long long)r->n, status,
                         strerror(-status));
        switch (io->op) {
        case VOLUME_READ:
                if (status < 0) {
                        r->v->reads--;
                        break;
                }
                oracle_read_end(sim->oracle, r->v, r->view, r->first, r->buf);
                r->view = NULL;
                break;
        case VOLUME_FLUSH:
                if (status == 0)
                        oracle_flushed(sim->oracle, r->v, r->start);
                break;
        default:
                oracle_op_end(sim->oracle, r->v, r->op, status == 0, io->fua, r->first, r->n);
                if (r->scribble) /* which of the two it is nobody knows */
                        oracle_op_end(sim->oracle, r->v, r->scribble, false, false, 0, 0);
        }
        r->v->busy--;
        r->w->outstanding--;
        r->w->in_vain = 0;
        sim->user_ops++;
        sim->progress_at = sim->commands;
        sim->failures += status == -EIO || status == -EROFS;
        bool durable = status == 0 && (io->fua || io->op == VOLUME_FLUSH);
        request_free(r);
        if (durable)
                sim_answered(sim);
}

uint64_t work_blocks_under_way(const struct work *w, const struct oracle_volume *v)
{
        const struct request *r;
        uint64_t blocks = 0;
        list_for_each (r, &w->requests, node)
                if (r->v == v && (r->io.op == VOLUME_WRITE || r->io.op == VOLUME_WRITE_ZEROES))
                        blocks += r->n / SECTORS_PER_BLOCK + 2;
        return blocks;
}

/* The request is among those under way already. */
static bool is_covered(const struct work *w, const struct oracle_volume *v)
{
        struct volume_info info;
        struct pool_status st;
        if (!v->reserved_bytes || v->control || v->taking)
                return false;
        struct pool_inspect_space space;
        pool_inspect_space(w->sim->pool, &space);
        if (space.pending) /* what it has mapped is not all counted yet */
                return false;
        volume_get_info(v->vol, &info);
        pool_get_status(w->sim->pool, &st);
        uint64_t most = work_blocks_under_way(w, v) + info.allocated_bytes / ZP_BLOCK;
        return !st.unbacked_bytes &&
               most <= MIN(v->reserved_bytes, v->new_reserved_bytes) / ZP_BLOCK;
}

void work_uncover(struct work *w, const struct oracle_volume *v)
{
        struct request *r;
        list_for_each (r, &w->requests, node)
                if (r->v == v)
                        r->covered = false;
}

void work_check_held(const struct work *w)
{
        const struct request *r, *other;
        struct pool_status st;
        pool_get_status(w->sim->pool, &st);
        if (st.unbacked_bytes || w->sim->power_lost)
                return;
        list_for_each (r, &w->requests, node) {
                bool all = r->covered;
                list_for_each (other, &w->requests, node)
                        if (other->v == r->v &&
                            (other->io.op == VOLUME_WRITE || other->io.op == VOLUME_WRITE_ZEROES))
                                all = all && other->covered;
                struct volume_info info;
                if (!all)
                        continue;
                volume_get_info(r->v->vol, &info);
                if (info.held_requests)
                        sim_fail(w->sim,
                                 "volume %u: a write waits for space and %llu blocks are reserved, "
                                 "%llu mapped",
                                 r->v->number, (unsigned long long)info.reserved_bytes / ZP_BLOCK,
                                 (unsigned long long)info.allocated_bytes / ZP_BLOCK);
        }
}

static void ask_io(struct work *w, enum ask kind)
{
        static const enum volume_op ops[] = {[ASK_WRITE] = VOLUME_WRITE,
                                             [ASK_READ] = VOLUME_READ,
                                             [ASK_FLUSH] = VOLUME_FLUSH,
                                             [ASK_DISCARD] = VOLUME_DISCARD,
                                             [ASK_ZEROES] = VOLUME_WRITE_ZEROES};
        struct sim *sim = w->sim;
        struct oracle_volume *v = work_pick(w, false), *s = NULL;
        if (kind == ASK_READ && sim->snapshots && sim_chance(sim, 1, 3))
                s = work_pick_snapshot(w);
        v = s ? s : v;
        if (!v)
                return;
        uint64_t first, n;
        pick_range(w, v, kind, &first, &n);
        const struct request *again = NULL;
        if (kind == ASK_WRITE && w->mix.again_permille &&
            sim_chance(sim, w->mix.again_permille, 1000) && (again = pick_again(w, v))) {
                first = again->first;
                n = again->n;
        }
        size_t len = kind == ASK_WRITE || kind == ASK_READ ? (size_t)n * VOLUME_SECTOR : 0;
        struct request *r = calloc(1, sizeof(*r) + len);
        if (!r)
                abort();
        r->w = w;
        r->v = v;
        r->first = first;
        r->n = n;
        r->io.op = ops[kind];
        r->io.done = request_done;
        r->io.offset_bytes = oracle_real(v, first * VOLUME_SECTOR);
        r->io.length_bytes =
            oracle_real(v, (first + n - 1) * VOLUME_SECTOR) + VOLUME_SECTOR - r->io.offset_bytes;
        r->io.no_hold = sim_chance(sim, w->mix.no_hold_permille, 1000);
        if (kind != ASK_READ && kind != ASK_FLUSH)
                r->io.fua = sim_chance(sim, w->mix.fua_permille, 1000);
        if (again && sim_chance(sim, 1, 2)) { /* alike in all */
                r->io.fua = again->io.fua;
                r->io.no_hold = again->io.no_hold;
        }
        if (len)
                scatter(r, sim, len);
        if (kind == ASK_DISCARD)
                whole_blocks(&r->first, &r->n);
        if (kind == ASK_READ) {
                r->view = oracle_read_begin(sim->oracle, v, first, (uint32_t)n);
        } else if (kind == ASK_FLUSH) {
                r->start = sim_time(sim);
        } else {
                r->op = oracle_op_begin(sim->oracle, v, kind == ASK_WRITE);
                oracle_op_covers(sim->oracle, v, r->op, r->first, r->n);
                for (uint64_t i = 0; kind == ASK_WRITE && i < n; i++)
                        oracle_fill(v, first + i, r->op, r->buf + i * VOLUME_SECTOR);
        }
        v->busy++;
        w->outstanding++;
        list_add_tail(&w->requests, &r->node);
        sim_trace(sim, "volume %u: op %u %s sectors %llu+%llu (blocks %llu..%llu)%s", v->number,
                  r->op, (const char *[]){"write", "read", "flush", "discard", "zeroes"}[kind],
                  (unsigned long long)first, (unsigned long long)n,
                  (unsigned long long)(first / SECTORS_PER_BLOCK),
                  (unsigned long long)((first + n - 1) / SECTORS_PER_BLOCK),
                  r->io.fua ? " fua" : "");
        if (kind == ASK_FLUSH || r->io.fua)
                sim_called(sim);
        r->covered = kind == ASK_WRITE && is_covered(w, v);
        volume_submit(v->vol, &r->io);
}

void work_ask(struct work *w)
{
        if (w->outstanding >= w->mix.depth)
                return;
        unsigned sum = 0;
        for (int i = 0; i < NASKS; i++)
                sum += w->mix.weight[i];
        uint64_t pick = sim_below(w->sim, sum);
        enum ask kind = ASK_WRITE;
        while (pick >= w->mix.weight[kind])
                pick -= w->mix.weight[kind++];
        w->asked++;
        if (oracle_count(w->sim->oracle) == 0)
                kind = ASK_CREATE;
        if (kind <= ASK_ZEROES)
                ask_io(w, kind);
        else
                work_control(w, kind);
}

/* A guest may change the buffer of a write that is under way. What arrives is then some of both,
 * but it must be readable: the pool may not look twice at the same byte. */
void work_scribble(struct work *w)
{
        struct sim *sim = w->sim;
        struct request *r;
        list_for_each (r, &w->requests, node) {
                if (r->io.op != VOLUME_WRITE || r->scribble || !sim_chance(sim, 1, 4))
                        continue;
                uint64_t at = sim_below(sim, r->n), n = sim_between(sim, 1, r->n - at);
                r->scribble = oracle_op_begin(sim->oracle, r->v, true);
                oracle_op_covers(sim->oracle, r->v, r->scribble, r->first + at, n);
                for (uint64_t i = at; i < at + n; i++)
                        oracle_fill(r->v, r->first + i, r->scribble, r->buf + i * VOLUME_SECTOR);
                sim_trace(sim, "volume %u: op %u scribbles over op %u, sectors %llu+%llu",
                          r->v->number, r->scribble, r->op, (unsigned long long)(r->first + at),
                          (unsigned long long)n);
                return;
        }
}

bool work_reads_into(const struct work *w, const void *p)
{
        const struct request *r;
        list_for_each (r, &w->requests, node)
                if (r->io.op == VOLUME_READ && (const uint8_t *)p >= r->buf &&
                    (const uint8_t *)p < r->buf + r->n * VOLUME_SECTOR)
                        return true;
        return false;
}

bool work_reads_waiting(const struct work *w)
{
        const struct request *r;
        list_for_each (r, &w->requests, node)
                if (r->io.op == VOLUME_READ)
                        return true;
        return false;
}

/* ---- a full pool ---- */

/* Blocks that the held requests may need and do not have yet: theirs, and pages of a tall tree. */
enum { TABLE_PAGES = 10 };

static uint64_t blocks_wanted(const struct work *w)
{
        uint64_t blocks = 0;
        struct request *r;
        list_for_each (r, &w->requests, node)
                if (r->io.op == VOLUME_WRITE || r->io.op == VOLUME_WRITE_ZEROES)
                        blocks += r->n / SECTORS_PER_BLOCK + 2 + TABLE_PAGES;
        return blocks * POOL_MAX_GROUP_WIDTH; /* what is available is told for one copy */
}

unsigned work_relieved_in_vain(const struct work *w)
{
        return w->in_vain;
}

void work_relieve(struct work *w)
{
        struct sim *sim = w->sim;
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        uint64_t wanted = blocks_wanted(w) * ZP_BLOCK;
        sim_trace(sim, "stuck: %u outstanding, held %llu, allocated %llu available %llu of %llu",
                  w->outstanding, (unsigned long long)st.held_requests,
                  (unsigned long long)st.allocated_bytes, (unsigned long long)st.available_bytes,
                  (unsigned long long)st.capacity_bytes);
        if (!st.held_requests)
                sim_fail(sim, "%u operations neither end nor wait for space", w->outstanding);
        if (!sim->held)
                sim_fail(sim, "requests wait for space, and no event told of it");
        if (st.available_bytes > wanted)
                sim_fail(sim,
                         "requests wait for space (%llu bytes at most) although %llu are available",
                         (unsigned long long)wanted, (unsigned long long)st.available_bytes);
        w->relieved++;
        w->in_vain++;
        struct request *r, *tmp;
        if (w->relieved % 3) { /* give space back */
                for (uint32_t i = 0; i < oracle_count(sim->oracle); i++) {
                        struct oracle_volume *v = oracle_get(sim->oracle, i);
                        if (v->fate != FATE_THERE || v->control || v->snapshot)
                                continue;
                        unsigned depth = w->mix.max_sectors;
                        w->mix.max_sectors = 100000;
                        ask_io(w, ASK_DISCARD);
                        w->mix.max_sectors = depth;
                }
                return;
        }
        list_for_each_safe (r, tmp, &w->requests, node)
                volume_cancel_held(r->v->vol);
}
