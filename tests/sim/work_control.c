/* Control operations that users ask for, see work.h. */
#include "tests/sim/work_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VOLUMES = 5 }; /* and as many snapshots and clones */

struct control *work_control_new(struct work *w, enum ask kind, struct oracle_volume *v)
{
        struct control *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        c->w = w;
        c->kind = kind;
        c->v = v;
        list_add_tail(&w->controls, &c->node);
        w->outstanding++;
        return c;
}

void work_control_free(struct control *c)
{
        list_del(&c->node);
        free(c->kinds);
        free(c);
}

void work_control_end(struct control *c)
{
        struct sim *sim = c->w->sim;
        bool durable = c->kind != ASK_MAP;
        c->w->outstanding--;
        c->w->in_vain = 0;
        sim->user_ops++;
        sim->progress_at = sim->commands;
        work_control_free(c);
        if (durable)
                sim_answered(sim);
}

/* A control operation ended with an error. When devices fail that may be, and whether it took
 * effect is open, as if power had failed meanwhile: so it does, and the next recovery tells. */
void work_control_failed(struct control *c, const char *what, int status)
{
        struct sim *sim = c->w->sim;
        bool fair = status == -EIO || status == -EROFS ||
                    (sim->gave_up && (status == -ENODEV || status == -ENOSPC));
        if ((!sim->faults && !sim->gave_up) || !fair)
                sim_fail(sim, "%s of volume %u ended with %d (%s)", what, c->v ? c->v->number : 0,
                         status, strerror(-status));
        sim->failures++;
        sim->power_lost = true;
}

/* ---- create, delete, clear, resize ---- */

static void created(void *ctx, int status, struct volume *vol)
{
        struct control *c = ctx;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: created %d", c->v->number, status);
        if (status == -ENOSPC ||
            (c->w->sim->mirrored && (status == -EMFILE || status == -ENODEV))) {
                oracle_remove(c->w->sim->oracle, c->v);
        } else if (status < 0) {
                work_control_failed(c, "create", status);
                return;
        } else {
                c->v->vol = vol;
                c->v->fate = FATE_THERE;
        }
        work_control_end(c);
}

void work_make_owner(struct sim *sim, uint8_t *owner, size_t *ret_len)
{
        *ret_len = (size_t)sim_below(sim, 60);
        for (size_t i = 0; i < *ret_len; i++)
                owner[i] = (uint8_t)rng_next(&sim->rng);
}

/* One volume in four is mostly nothing, and its blocks lie far apart. */
static void choose_gap(struct sim *sim, struct oracle_volume *v)
{
        static const uint64_t blocks[] = {340, 340 * 340, 340 * 340 * 340, UINT64_C(15) << 30};
        uint64_t splits = v->size_bytes / (SPLIT_BLOCKS * ZP_BLOCK);
        if (splits < 2 || !sim_chance(sim, 1, 4))
                return;
        v->split_bytes = sim_between(sim, 1, splits - 1) * SPLIT_BLOCKS * ZP_BLOCK;
        v->gap_bytes =
            (blocks[sim_below(sim, ARRAY_SIZE(blocks))] + sim_below(sim, 1000)) * ZP_BLOCK;
        sim_trace(sim, "volume %u: %llu blocks of nothing behind block %llu", v->number,
                  (unsigned long long)(v->gap_bytes / ZP_BLOCK),
                  (unsigned long long)(v->split_bytes / ZP_BLOCK));
}

/* Few names, so that one returns after a delete. */
void work_name(struct work *w, struct oracle_volume *v)
{
        struct oracle *o = w->sim->oracle;
        for (bool taken = true; taken;) {
                snprintf(v->name, sizeof(v->name), "disk-%u", w->next_name++ % (2 * MAX_VOLUMES));
                taken = false;
                for (uint32_t i = 0; i < oracle_count(o); i++) {
                        struct oracle_volume *other = oracle_get(o, i);
                        taken = taken || (other != v && strcmp(other->name, v->name) == 0);
                }
        }
}

static void create(struct work *w)
{
        struct sim *sim = w->sim;
        if (oracle_count(sim->oracle) >= MAX_VOLUMES)
                return;
        struct pool_status st;
        pool_get_status(sim->pool, &st);
        uint64_t sectors = st.capacity_bytes / VOLUME_SECTOR;
        uint64_t size = sim_between(sim, 1, MAX(sectors / 2, UINT64_C(2)));
        if (!sim_chance(sim, 1, 8))
                size = MAX(size, sectors / 8);
        if (sim_chance(sim, 3, 4))
                size = DIV_ROUND_UP(size, SECTORS_PER_BLOCK) * SECTORS_PER_BLOCK;
        struct oracle_volume *v = oracle_add(sim->oracle, size * VOLUME_SECTOR);
        v->fate = FATE_CREATING;
        choose_gap(sim, v);
        work_name(w, v);
        work_make_owner(sim, v->owner, &v->owner_len);
        v->reserved_bytes = v->new_reserved_bytes =
            sim->reserves ? work_choose_reservation(sim, v->size_bytes) : 0;
        v->copies = 1;
        if (sim->mirrored)
                v->copies =
                    (uint8_t)sim_between(sim, MAX(sim->least_copies, 1), MIN(sim->nmedia, 3u));
        struct volume_spec spec = {.name = v->name,
                                   .uuid = v->uuid,
                                   .size_bytes = oracle_real_size(v, v->size_bytes),
                                   .owner = v->owner,
                                   .owner_len = v->owner_len,
                                   .copies = v->copies,
                                   .reserved_bytes = v->reserved_bytes};
        struct control *c = work_control_new(w, ASK_CREATE, v);
        sim_trace(sim, "volume %u: create %s of %llu sectors", v->number, v->name,
                  (unsigned long long)size);
        volume_create(sim->pool, &spec, c, created);
}

static void deleted(void *ctx, int status)
{
        struct control *c = ctx;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: deleted %d", c->v->number, status);
        if (status < 0) {
                work_control_failed(c, "delete", status);
                return;
        }
        oracle_remove(c->w->sim->oracle, c->v);
        work_control_end(c);
}

static void cleared(void *ctx, int status)
{
        struct control *c = ctx;
        struct oracle_volume *v = c->v;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: cleared %d", v->number, status);
        if (status < 0) {
                work_control_failed(c, "clear", status);
                return;
        }
        oracle_op_end(c->w->sim->oracle, v, c->op, true, true, 0, v->size_bytes / VOLUME_SECTOR);
        v->control = false;
        work_control_end(c);
}

static uint32_t others(const struct sim *sim, const struct oracle_volume *v)
{
        uint32_t n = 0;
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++) {
                const struct oracle_volume *other = oracle_get(sim->oracle, i);
                n += other != v && other->fate == FATE_THERE && !other->snapshot;
        }
        return n;
}

static void delete_or_clear(struct work *w, enum ask kind)
{
        struct sim *sim = w->sim;
        struct oracle_volume *v = work_pick(w, true);
        if (!v || (kind == ASK_DELETE && oracle_has_snapshots(sim->oracle, v)))
                return;
        if (kind == ASK_DELETE && sim->least_copies && others(sim, v) == 0)
                return; /* with the last volume the tables would have one copy again */
        struct control *c = work_control_new(w, kind, v);
        v->control = true;
        sim_trace(sim, "volume %u: %s", v->number, kind == ASK_DELETE ? "delete" : "clear");
        if (kind == ASK_DELETE) {
                v->fate = FATE_DELETING;
                volume_delete(v->vol, c, deleted);
                return;
        }
        c->op = oracle_op_begin(sim->oracle, v, false);
        oracle_op_covers(sim->oracle, v, c->op, 0, v->size_bytes / VOLUME_SECTOR);
        volume_clear(v->vol, c, cleared);
}

static void resized(void *ctx, int status)
{
        struct control *c = ctx;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: resized %d", c->v->number, status);
        if (status == -ENOSPC && c->v->reserved_bytes) { /* for the pages of what is reserved */
                oracle_resize(c->w->sim->oracle, c->v, c->v->size_bytes);
        } else if (status < 0) {
                work_control_failed(c, "resize", status);
                return;
        }
        c->v->size_bytes = c->v->new_size_bytes;
        work_control_end(c);
}

static void resize(struct work *w)
{
        struct sim *sim = w->sim;
        struct oracle_volume *v = work_pick(w, false);
        if (!v || v->taking || v->new_size_bytes != v->size_bytes ||
            v->new_reserved_bytes != v->reserved_bytes || v->size_bytes > 16 << 20)
                return;
        uint64_t size = v->size_bytes + VOLUME_SECTOR * sim_between(sim, 1, 512);
        oracle_resize(sim->oracle, v, size);
        struct control *c = work_control_new(w, ASK_RESIZE, v);
        sim_trace(sim, "volume %u: resize to %llu sectors", v->number,
                  (unsigned long long)(size / VOLUME_SECTOR));
        volume_resize(v->vol, oracle_real_size(v, size), c, resized);
}

/* ---- owners ---- */

static void owner_set(void *ctx, int status)
{
        struct control *c = ctx;
        struct sim *sim = c->w->sim;
        if (sim->power_lost)
                return;
        sim_trace(sim, "owner call %u done %d", c->others[0]->owner_call, status);
        if (status < 0) {
                work_control_failed(c, "set_owner", status);
                return;
        }
        for (uint32_t i = 0; i < c->nothers; i++) {
                struct oracle_volume *v = c->others[i];
                memcpy(v->owner, v->next_owner, sizeof(v->owner));
                v->owner_len = v->next_owner_len;
                v->owner_call = 0;
                oracle_flushed(sim->oracle, v, c->start);
        }
        work_control_end(c);
}

static void set_owner(struct work *w)
{
        struct sim *sim = w->sim;
        struct volume_owner_update updates[MAX_OWNERS];
        struct oracle_volume *picked[MAX_OWNERS];
        uint32_t n = 0;
        for (uint32_t i = 0; i < oracle_count(sim->oracle) && n < MAX_OWNERS; i++) {
                struct oracle_volume *v = oracle_get(sim->oracle, i);
                if (v->fate == FATE_THERE && !v->snapshot && !v->control && !v->owner_call &&
                    sim_chance(sim, 2, 3))
                        picked[n++] = v;
        }
        if (!n)
                return;
        struct control *c = work_control_new(w, ASK_OWNER, picked[0]);
        uint32_t call = ++w->next_owner_call;
        c->start = sim_time(sim);
        c->nothers = n;
        for (uint32_t i = 0; i < n; i++) {
                struct oracle_volume *v = c->others[i] = picked[i];
                v->owner_call = call;
                v->owner_time = c->start;
                work_make_owner(sim, v->next_owner, &v->next_owner_len);
                updates[i] = (struct volume_owner_update){
                    .vol = v->vol, .record = v->next_owner, .len = v->next_owner_len};
        }
        sim_trace(sim, "owner call %u for %u volumes", call, n);
        volume_set_owner(sim->pool, updates, n, c, owner_set);
}

/* ---- checkpoint, map ---- */

static void checkpointed(void *ctx, int status)
{
        struct control *c = ctx;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "checkpoint done %d", status);
        if (status < 0) {
                work_control_failed(c, "checkpoint", status);
                return;
        }
        work_control_end(c);
}

/* Blocks [from, to) of the pool's volume were listed as mapped, or were not. */
static void check_mapped(const struct control *c, uint64_t from, uint64_t to, bool listed)
{
        uint64_t split = c->v->split_bytes / ZP_BLOCK, gap = c->v->gap_bytes / ZP_BLOCK;
        if (listed && (to > c->nblocks + gap || (gap && to > split && from < split + gap)))
                sim_fail(c->w->sim, "map of volume %u: blocks %llu..%llu are listed and not there",
                         c->v->number, (unsigned long long)from, (unsigned long long)to);
        uint64_t first = from < split ? from : MAX(from, split + gap) - gap;
        uint64_t end = to <= split ? to : MAX(to, split + gap) - gap;
        for (uint64_t b = first; b < MIN(end, c->nblocks); b++)
                if (c->kinds[b] == (listed ? -1 : 1))
                        sim_fail(c->w->sim, "map of volume %u: block %llu is %s", c->v->number,
                                 (unsigned long long)b, listed ? "listed but a hole" : "missing");
}

static void mapped(void *ctx, int status, uint32_t n, uint64_t next_block)
{
        struct control *c = ctx;
        struct sim *sim = c->w->sim;
        if (sim->power_lost)
                return;
        if (status < 0) {
                work_control_failed(c, "map", status);
                return;
        }
        uint64_t at = c->next_block;
        for (uint32_t i = 0; i < n; i++) {
                const struct volume_extent *e = &c->extents[i];
                if (!e->nblocks || (i && e->block <= at) || e->block < at)
                        sim_fail(sim, "map of volume %u: extent %u (%llu+%llu) out of order",
                                 c->v->number, i, (unsigned long long)e->block,
                                 (unsigned long long)e->nblocks);
                check_mapped(c, at, e->block, false);
                at = e->block + e->nblocks;
                check_mapped(c, e->block, at, true);
        }
        if (next_block != UINT64_MAX && (next_block < at || next_block <= c->next_block))
                sim_fail(sim, "map of volume %u: goes on at %llu, behind %llu", c->v->number,
                         (unsigned long long)next_block, (unsigned long long)at);
        uint64_t blocks = c->nblocks + c->v->gap_bytes / ZP_BLOCK;
        check_mapped(c, at, MIN(next_block, blocks), false);
        c->next_block = next_block;
        if (next_block < blocks) {
                volume_map(c->v->vol, next_block, c->extents, ARRAY_SIZE(c->extents), c, mapped);
                return;
        }
        c->v->control = false;
        work_control_end(c);
}

static void map(struct work *w)
{
        struct oracle_volume *v = work_pick(w, true);
        if (!v)
                return;
        struct control *c = work_control_new(w, ASK_MAP, v);
        v->control = true; /* the volume stays as it is meanwhile, so the answer is known */
        c->nblocks = DIV_ROUND_UP(v->size_bytes, (uint64_t)ZP_BLOCK);
        c->kinds = malloc(c->nblocks);
        if (!c->kinds)
                abort();
        for (uint64_t b = 0; b < c->nblocks; b++)
                c->kinds[b] = (int8_t)oracle_block_kind(w->sim->oracle, v, b);
        volume_map(v->vol, 0, c->extents, (uint32_t)sim_between(w->sim, 1, ARRAY_SIZE(c->extents)),
                   c, mapped);
}

void work_control(struct work *w, enum ask kind)
{
        struct control *c;
        if (kind != ASK_MAP)
                sim_called(w->sim);
        switch (kind) {
        case ASK_CREATE:
                create(w);
                break;
        case ASK_DELETE:
        case ASK_CLEAR:
                delete_or_clear(w, kind);
                break;
        case ASK_RESIZE:
                resize(w);
                break;
        case ASK_OWNER:
                set_owner(w);
                break;
        case ASK_CHECKPOINT:
                c = work_control_new(w, kind, NULL);
                sim_trace(w->sim, "checkpoint");
                pool_checkpoint(w->sim->pool, c, checkpointed);
                break;
        case ASK_MAP:
                map(w);
                break;
        case ASK_RESERVE:
        case ASK_SHRINK:
                work_reserve(w, kind);
                break;
        default:
                work_snapshot(w, kind);
                break;
        }
}
