/* Reservations that users ask for, and volumes that become smaller, see work.h. */
#include "tests/sim/work_internal.h"

#include "base/cleanup.h"
#include "pool/inspect.h"

#include <errno.h>

uint64_t work_choose_reservation(struct sim *sim, uint64_t size_bytes)
{
        uint64_t sectors = size_bytes / VOLUME_SECTOR;
        if (sim_chance(sim, 1, 2))
                return 0;
        if (sim_chance(sim, 1, 4))
                return size_bytes;
        return sim_below(sim, sectors + 1) * VOLUME_SECTOR;
}

static void reserved(void *ctx, int status)
{
        struct control *c = ctx;
        struct oracle_volume *v = c->v;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: reserved %d", v->number, status);
        if (status < 0 && status != -ENOSPC) {
                work_control_failed(c, "reserve", status);
                return;
        }
        if (status == 0)
                v->reserved_bytes = v->new_reserved_bytes;
        v->new_reserved_bytes = v->reserved_bytes;
        work_control_end(c);
}

static void reserve(struct work *w)
{
        struct oracle_volume *v = work_pick(w, false);
        if (!v || v->taking || v->new_size_bytes != v->size_bytes ||
            v->new_reserved_bytes != v->reserved_bytes)
                return;
        v->new_reserved_bytes = work_choose_reservation(w->sim, v->size_bytes);
        if (v->new_reserved_bytes == v->reserved_bytes)
                return; /* that it is under way could not be told */
        if (v->new_reserved_bytes < v->reserved_bytes)
                work_uncover(w, v);
        struct volume_size to = {.reserved_bytes = v->new_reserved_bytes};
        struct control *c = work_control_new(w, ASK_RESERVE, v);
        sim_trace(w->sim, "volume %u: reserve %llu sectors", v->number,
                  (unsigned long long)(v->new_reserved_bytes / VOLUME_SECTOR));
        volume_set_size(v->vol, &to, c, reserved);
}

static void shrunk(void *ctx, int status)
{
        struct control *c = ctx;
        struct oracle_volume *v = c->v;
        struct sim *sim = c->w->sim;
        uint64_t size = v->shrunk_bytes / VOLUME_SECTOR, was = v->size_bytes / VOLUME_SECTOR;
        if (sim->power_lost)
                return;
        sim_trace(sim, "volume %u: shrunk %d", v->number, status);
        bool edge = status == -ENOSPC && v->shrunk_bytes % ZP_BLOCK;
        if (status < 0 && !edge) {
                work_control_failed(c, "shrinking", status);
                return;
        }
        oracle_op_end(sim->oracle, v, c->op, status == 0, true, size, was - size);
        if (status == 0) {
                oracle_resize(sim->oracle, v, v->shrunk_bytes);
                v->size_bytes = v->shrunk_bytes;
                v->reserved_bytes = v->new_reserved_bytes;
        }
        v->new_reserved_bytes = v->reserved_bytes;
        v->shrunk_bytes = 0;
        v->control = false;
        work_control_end(c);
}

static void shrink(struct work *w)
{
        struct sim *sim = w->sim;
        struct oracle_volume *v = work_pick(w, true);
        if (!v)
                return;
        uint64_t least = (v->gap_bytes ? v->split_bytes / VOLUME_SECTOR : 0) + 1;
        uint64_t was = v->size_bytes / VOLUME_SECTOR;
        if (least >= was)
                return;
        uint64_t size = sim_between(sim, least, was - 1);
        if (sim_chance(sim, 1, 2)) /* not by much */
                size = MAX(size, was - MIN(was - 1, (uint64_t)64));
        if (sim_chance(sim, 1, 2))
                size = DIV_ROUND_UP(size, SECTORS_PER_BLOCK) * SECTORS_PER_BLOCK;
        if (size >= was)
                return;
        v->shrunk_bytes = size * VOLUME_SECTOR;
        uint64_t real = oracle_real_size(v, v->shrunk_bytes);
        v->new_reserved_bytes = MIN(v->reserved_bytes, real);
        v->control = true;
        struct control *c = work_control_new(w, ASK_SHRINK, v);
        c->op = oracle_op_begin(sim->oracle, v, false);
        oracle_op_covers(sim->oracle, v, c->op, size, was - size);
        struct volume_size to = {.size_bytes = real, .reserved_bytes = VOLUME_KEEP, .shrink = true};
        sim_trace(sim, "volume %u: shrink to %llu sectors", v->number, (unsigned long long)size);
        volume_set_size(v->vol, &to, c, shrunk);
}

void work_reserve(struct work *w, enum ask kind)
{
        if (kind == ASK_RESERVE)
                reserve(w);
        else
                shrink(w);
}

void work_check_reservation(const struct work *w, const struct oracle_volume *v)
{
        struct volume_info info;
        volume_get_info(v->vol, &info);
        if (v->reserved_bytes == v->new_reserved_bytes && info.reserved_bytes != v->reserved_bytes)
                sim_fail(w->sim, "volume %u has %llu bytes reserved, not %llu", v->number,
                         (unsigned long long)info.reserved_bytes,
                         (unsigned long long)v->reserved_bytes);
}

void work_check_budget(const struct work *w)
{
        const struct sim *sim = w->sim;
        struct pool_inspect_space space;
        if (w->outstanding || sim->faults || sim->worn)
                return;
        pool_inspect_space(sim->pool, &space);
        if (space.excess > sim->excess)
                sim_fail(w->sim, "%llu blocks are promised beyond what there is",
                         (unsigned long long)space.excess);
}
