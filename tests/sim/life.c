/* Power-ups and power cuts of a pool, see life.h. */
#include "tests/sim/life.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/media.h"
#include "tests/sim/oracle.h"
#include "tests/sim/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One line of the pool's table. */
struct table_entry {
        struct uuid vol;
        uint64_t block, offset;
        uint32_t group, generation, crc;
};

struct table {
        struct table_entry *entries;
        size_t n, room;
};

static void table_add(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                      uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct table *t = ctx;
        if (t->n == t->room) {
                t->room = t->room ? t->room * 2 : 1024;
                t->entries = realloc(t->entries, t->room * sizeof(*t->entries));
                if (!t->entries)
                        abort();
        }
        struct table_entry *e = &t->entries[t->n++];
        memset(e, 0, sizeof(*e));
        *e = (struct table_entry){.vol = *vol,
                                  .block = block,
                                  .group = group,
                                  .generation = generation,
                                  .offset = offset,
                                  .crc = crc};
}

/* The table of a pool whose process was killed, until it was recovered. */
static struct table killed_table;
static bool table_is_known;

static void compare_tables(struct sim *sim)
{
        struct table now = {0};
        pool_inspect_table(sim->pool, &now, table_add);
        for (size_t i = 0; i < MAX(now.n, killed_table.n); i++) {
                const struct table_entry *a = i < killed_table.n ? &killed_table.entries[i] : NULL;
                const struct table_entry *b = i < now.n ? &now.entries[i] : NULL;
                if (a && b && uuid_equal(&a->vol, &b->vol) && a->block == b->block &&
                    a->group == b->group && a->generation == b->generation &&
                    a->offset == b->offset && a->crc == b->crc)
                        continue;
                struct oracle_volume *va = a ? oracle_find(sim->oracle, &a->vol) : NULL;
                struct oracle_volume *vb = b ? oracle_find(sim->oracle, &b->vol) : NULL;
                sim_fail(
                    sim,
                    "the replayed table differs from the run-time one at entry %zu of %zu/%zu: "
                    "volume %u block %llu lay at group %u.%u+%llu, now volume %u block %llu at "
                    "%u.%u+%llu",
                    i, killed_table.n, now.n, va ? va->number : 0,
                    (unsigned long long)(a ? a->block : 0), a ? a->group : 0, a ? a->generation : 0,
                    (unsigned long long)(a ? a->offset : 0), vb ? vb->number : 0,
                    (unsigned long long)(b ? b->block : 0), b ? b->group : 0, b ? b->generation : 0,
                    (unsigned long long)(b ? b->offset : 0));
        }
        free(now.entries);
}

/* What was found durable at an address once. The same generation of a group never holds two things
 * at one place: that is what makes an address with its generation a name for ever. */
struct seen_group {
        uint32_t generation;
        bool known[MAX_ZONE_BLOCKS];
        uint32_t crc[MAX_ZONE_BLOCKS];
};
static struct seen_group seen_groups[MAX_MEDIA * MAX_ZONES];

static void note_address(void *ctx, const struct uuid *vol, uint64_t block, uint32_t group,
                         uint32_t generation, uint64_t offset, uint32_t crc)
{
        struct sim *sim = ctx;
        if (group >= ARRAY_SIZE(seen_groups) || offset >= MAX_ZONE_BLOCKS)
                sim_fail(sim, "an entry names group %u offset %llu", group,
                         (unsigned long long)offset);
        struct seen_group *g = &seen_groups[group];
        if (generation < g->generation)
                sim_fail(sim, "group %u went from generation %u back to %u", group, g->generation,
                         generation);
        if (generation > g->generation)
                *g = (struct seen_group){.generation = generation};
        if (g->known[offset] && g->crc[offset] != crc)
                sim_fail(sim, "group %u generation %u offset %llu holds something new", group,
                         generation, (unsigned long long)offset);
        g->known[offset] = true;
        g->crc[offset] = crc;
}

/* ---- power ---- */

static void power_on(struct sim *sim, struct zdev **devs)
{
        for (uint32_t i = 0; i < sim->nmedia; i++)
                devs[i] = media_power_on(sim->media[i]);
        for (uint32_t i = sim->nmedia; i > 1; i--) { /* in any order */
                uint64_t k = sim_below(sim, i);
                struct zdev *tmp = devs[i - 1];
                devs[i - 1] = devs[k];
                devs[k] = tmp;
        }
        sim->power_lost = false;
        sim->commands = 0;
        sim->cut = CUT_NEVER;
        sim->cut_at = UINT64_MAX;
        sim->slow_permille = 0;
        sim->faulty = sim->gave_up = false;
        sim->held = false;
}

static enum media_cut pick_cut(struct sim *sim)
{
        static const enum media_cut cuts[] = {
            MEDIA_CUT_RANDOM, MEDIA_CUT_RANDOM,   MEDIA_CUT_RANDOM, MEDIA_CUT_RANDOM,
            MEDIA_CUT_TAIL,   MEDIA_CUT_ALL_LOST, MEDIA_CUT_KILL,   MEDIA_CUT_KILL_LATE,
        };
        return cuts[sim_below(sim, ARRAY_SIZE(cuts))];
}

static void power_off(struct sim *sim, enum media_cut cut)
{
        static const char *const names[] = {"all lost", "random", "tail", "kill", "late kill"};
        sim_trace(sim, "power off: %s", names[cut]);
        for (uint32_t i = 0; i < sim->nmedia; i++)
                media_power_off(sim->media[i], cut);
        sim->power_lost = true;
}

/* A crash state, told apart from the earlier ones of the run. */
static void count_state(struct sim *sim)
{
        static uint64_t seen[256];
        static size_t nseen;
        static uint64_t seen_seed;
        uint64_t print = 0;
        if (seen_seed != sim->seed)
                nseen = 0;
        seen_seed = sim->seed;
        for (uint32_t i = 0; i < sim->nmedia; i++)
                print = print * 31 + media_fingerprint(sim->media[i]);
        for (size_t i = 0; i < nseen; i++)
                if (seen[i] == print)
                        return;
        if (nseen < ARRAY_SIZE(seen))
                seen[nseen++] = print;
        sim->states++;
}

void life_cut(struct sim *sim)
{
        sim->phase = "losing power";
        enum media_cut cut = pick_cut(sim);
        table_is_known = cut == MEDIA_CUT_KILL;
        killed_table.n = 0;
        if (table_is_known)
                pool_inspect_table(sim->pool, &killed_table, table_add);
        power_off(sim, cut);
        pool_abandon(sim->pool);
        sim->pool = NULL;
        work_power_cut(sim->work);
        oracle_power_cut(sim->oracle);
}

/* ---- format, import, export ---- */

struct answer {
        bool done;
        int status;
        struct pool *pool;
        struct sim *sim; /* export: whose pool is gone when it is done */
        char text[512];
};

static void answered(void *ctx, int status, const struct err *err)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        snprintf(a->text, sizeof(a->text), "%s", status < 0 ? err_text(err, status) : "");
}

static void exported(void *ctx, int status)
{
        answered(ctx, status, NULL);
        ((struct answer *)ctx)->sim->pool = NULL;
}

static void imported(void *ctx, int status, const struct err *err, struct pool *pool)
{
        answered(ctx, status, err);
        ((struct answer *)ctx)->pool = pool;
}

/* After power was lost: everything the pool still tries fails until it has given up. */
static void run_out(struct sim *sim, struct answer *a, const char *what)
{
        for (uint32_t i = 0; !a->done; i++)
                if (!sim_step(sim) || i > 100000)
                        sim_fail(sim, "%s does not end when its devices are gone", what);
}

void life_format(struct sim *sim)
{
        sim->phase = "formatting";
        memset(seen_groups, 0, sizeof(seen_groups));
        table_is_known = false;
        for (uint32_t tries = 0;; tries++) {
                struct zdev *devs[MAX_MEDIA];
                struct answer a = {0};
                power_on(sim, devs);
                if (tries == 0 && sim_chance(sim, 1, 4))
                        sim->cut_at = sim_between(sim, 1, 120);
                pool_format(devs, sim->nmedia, "pool", &sim->pool_uuid, &sim->host, &sim->options,
                            &a, answered);
                bool whole = sim_run_until(sim, &a.done, "format");
                if (whole && a.status < 0)
                        sim_fail(sim, "format: %d %s", a.status, a.text);
                if (!whole)
                        run_out(sim, &a, "format");
                power_off(sim, whole ? MEDIA_CUT_ALL_LOST : pick_cut(sim));
                if (whole)
                        return;
        }
}

static void probed(void *ctx, int status, const struct pool_label *label)
{
        struct answer *a = ctx;
        a->done = true;
        a->status = status;
        if (status == 0 && (!uuid_equal(&label->pool_uuid, &a->sim->pool_uuid) ||
                            label->ndevices != a->sim->nmedia))
                sim_fail(a->sim, "a label tells of another pool");
}

/* Every device has a label, and the pool is refused when one device is missing. */
static void look_around(struct sim *sim)
{
        struct zdev *devs[MAX_MEDIA];
        sim->phase = "probing";
        power_on(sim, devs);
        for (uint32_t i = 0; i < sim->nmedia; i++) {
                struct answer a = {.sim = sim};
                pool_probe(devs[i], &a, probed);
                sim_run_until(sim, &a.done, "probe");
                if (a.status < 0)
                        sim_fail(sim, "probe of %s: %d", devs[i]->path, a.status);
        }
        if (sim->nmedia > 1) {
                struct answer a = {.sim = sim};
                pool_import(devs, sim->nmedia - 1, &sim->host, &sim->options, &a, imported);
                sim_run_until(sim, &a.done, "import");
                if (a.status != -ENXIO)
                        sim_fail(sim, "import without a device: %d %s", a.status, a.text);
        }
        power_off(sim, MEDIA_CUT_KILL);
}

/* One attempt. False: power was lost in the middle. */
static bool import_once(struct sim *sim, uint64_t cut_at)
{
        struct zdev *devs[MAX_MEDIA];
        struct answer a = {0};
        sim->phase = "importing";
        power_on(sim, devs);
        sim->cut_at = cut_at;
        pool_import(devs, sim->nmedia, &sim->host, &sim->options, &a, imported);
        bool whole = sim_run_until(sim, &a.done, "import");
        sim->imports++;
        if (whole && a.status < 0)
                sim_fail(sim, "import: %d %s", a.status, a.text);
        if (!whole)
                run_out(sim, &a, "import");
        sim->pool = a.status < 0 ? NULL : a.pool;
        if (whole && !sim->power_lost) {
                sim->cut_at = UINT64_MAX;
                return true;
        }
        enum media_cut cut = table_is_known ? MEDIA_CUT_KILL : pick_cut(sim);
        power_off(sim, cut);
        if (sim->pool)
                pool_abandon(sim->pool);
        sim->pool = NULL;
        return false;
}

bool life_export(struct sim *sim)
{
        sim->phase = "ending work";
        for (uint32_t idle = 0; work_outstanding(sim->work);) {
                if (sim->power_lost)
                        return false;
                uint64_t commands = sim->commands;
                uint32_t left = work_outstanding(sim->work);
                bool stepped = sim_step(sim);
                bool moved = sim->commands != commands || work_outstanding(sim->work) != left;
                idle = stepped && moved ? 0 : idle + 1;
                if (idle > 200) {
                        sim_stuck(sim);
                        idle = 0;
                }
        }
        if (sim->power_lost)
                return false;
        sim->phase = "exporting";
        struct answer a = {.sim = sim};
        struct err err = ERR_INIT;
        if (pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "before the export: %s", err.msg);
        pool_export(sim->pool, &a, exported);
        bool whole = sim_run_until(sim, &a.done, "export");
        if (whole && a.status < 0 && !sim->faults)
                sim_fail(sim, "export: %d", a.status);
        if (!whole)
                run_out(sim, &a, "export");
        whole = whole && a.status == 0;
        if (!whole) {
                power_off(sim, pick_cut(sim));
        } else {
                uint32_t start = sim_time(sim);
                for (uint32_t i = 0; i < oracle_count(sim->oracle); i++)
                        oracle_flushed(sim->oracle, oracle_get(sim->oracle, i), start);
                power_off(sim, MEDIA_CUT_ALL_LOST);
        }
        table_is_known = false;
        work_power_cut(sim->work);
        oracle_power_cut(sim->oracle);
        life_recover(sim, whole);
        return true;
}

/* ---- what must be found ---- */

static void check_owner(struct sim *sim, struct oracle_volume *v, uint32_t *applied_call)
{
        size_t len;
        const uint8_t *owner = volume_owner(v->vol, &len);
        bool old = len == v->owner_len && memcmp(owner, v->owner, len) == 0;
        bool new =
            v->owner_call &&len == v->next_owner_len &&memcmp(owner, v->next_owner, len) == 0;
        if (!old && !new)
                sim_fail(sim, "volume %u: its ownership record is neither the old nor the new one",
                         v->number);
        if (!v->owner_call || (old && new))
                return;
        /* one call changes all of its volumes, or none */
        uint32_t verdict = v->owner_call * 2 + (new ? 1 : 0);
        for (uint32_t i = 0; i < 64 && applied_call[i]; i++)
                if (applied_call[i] == (verdict ^ 1))
                        sim_fail(sim, "volume %u: ownership call %u took effect in part", v->number,
                                 v->owner_call);
        for (uint32_t i = 0; i < 64; i++) {
                if (applied_call[i])
                        continue;
                applied_call[i] = verdict;
                break;
        }
        if (new) {
                memcpy(v->owner, v->next_owner, sizeof(v->owner));
                v->owner_len = v->next_owner_len;
                oracle_flushed(sim->oracle, v, v->owner_time);
        }
}

static void check_volume(struct sim *sim, struct oracle_volume *v, uint32_t *applied_call)
{
        if (strcmp(volume_name(v->vol), v->name) != 0)
                sim_fail(sim, "volume %u is called %s, not %s", v->number, volume_name(v->vol),
                         v->name);
        uint64_t size = volume_size_bytes(v->vol);
        if (size != v->size_bytes && size != v->new_size_bytes)
                sim_fail(sim, "volume %u is %llu bytes long, not %llu or %llu", v->number,
                         (unsigned long long)size, (unsigned long long)v->size_bytes,
                         (unsigned long long)v->new_size_bytes);
        check_owner(sim, v, applied_call);
        oracle_resize(sim->oracle, v, size);
        v->size_bytes = size;
        v->owner_call = 0;
        v->control = false;
        v->busy = 0;
        v->fate = FATE_THERE;
}

static void check_volumes(struct sim *sim)
{
        uint32_t applied_call[64] = {0};
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++)
                oracle_get(sim->oracle, i)->vol = NULL;
        for (struct volume *vol = volume_next(sim->pool, NULL); vol;
             vol = volume_next(sim->pool, vol)) {
                struct oracle_volume *v = oracle_find(sim->oracle, volume_uuid(vol));
                if (!v)
                        sim_fail(sim, "volume %s is there and should not be", volume_name(vol));
                if (v->vol)
                        sim_fail(sim, "volume %u is there twice", v->number);
                v->vol = vol;
                if (volume_by_name(sim->pool, volume_name(vol)) != vol ||
                    volume_by_uuid(sim->pool, &v->uuid) != vol)
                        sim_fail(sim, "volume %u is not found by name or uuid", v->number);
        }
        for (uint32_t i = 0; i < oracle_count(sim->oracle);) {
                struct oracle_volume *v = oracle_get(sim->oracle, i);
                if (v->vol) {
                        check_volume(sim, v, applied_call);
                        i++;
                        continue;
                }
                if (v->fate == FATE_THERE)
                        sim_fail(sim, "volume %u is gone", v->number);
                oracle_remove(sim->oracle, v);
        }
}

enum { READ_BLOCKS = 16, READS_AT_ONCE = 8 };

struct check_read {
        struct volume_io io;
        struct iovec iov;
        struct sim *sim;
        struct oracle_volume *v;
        uint32_t *outstanding;
        bool busy;
        uint8_t buf[READ_BLOCKS * ZP_BLOCK];
};

static void check_read_done(struct volume_io *io, int status)
{
        struct check_read *r = container_of(io, struct check_read, io);
        struct oracle_volume *v = r->v;
        uint64_t first = io->offset_bytes / ZP_BLOCK;
        if (status < 0)
                sim_fail(r->sim, "volume %u: read of block %llu after recovery ended with %d (%s)",
                         v->number, (unsigned long long)first, status, strerror(-status));
        for (uint64_t at = 0; at < io->length_bytes; at += ZP_BLOCK)
                oracle_recovered(r->sim->oracle, v, first + at / ZP_BLOCK, r->buf + at);
        r->busy = false;
        (*r->outstanding)--;
}

static void check_data(struct sim *sim)
{
        static struct check_read reads[READS_AT_ONCE];
        uint32_t outstanding = 0;
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++) {
                struct oracle_volume *v = oracle_get(sim->oracle, i);
                for (uint64_t at = 0; at < v->size_bytes; at += READ_BLOCKS * ZP_BLOCK) {
                        while (outstanding == READS_AT_ONCE)
                                if (!sim_step(sim))
                                        sim_fail(sim, "reads do not end");
                        struct check_read *r = reads;
                        while (r->busy)
                                r++;
                        r->sim = sim;
                        r->v = v;
                        r->outstanding = &outstanding;
                        r->busy = true;
                        size_t len = (size_t)MIN(v->size_bytes - at, sizeof(r->buf));
                        r->iov = (struct iovec){r->buf, len};
                        r->io = (struct volume_io){.op = VOLUME_READ,
                                                   .offset_bytes = at,
                                                   .length_bytes = len,
                                                   .iov = &r->iov,
                                                   .niov = 1,
                                                   .done = check_read_done};
                        outstanding++;
                        volume_submit(v->vol, &r->io);
                }
        }
        for (uint32_t idle = 0; outstanding; idle++)
                if (!sim_step(sim) || idle > 100000)
                        sim_fail(sim, "%u reads do not end", outstanding);
}

void life_recover(struct sim *sim, bool clean)
{
        uint32_t attempts = 0;
        if (sim_chance(sim, 1, 8))
                look_around(sim);
        if (sim->faults && sim_chance(sim, 1, 3))
                media_wear(sim->media[sim_below(sim, sim->nmedia)]);
        for (;;) {
                uint64_t cut_at = UINT64_MAX;
                if (!clean && attempts < 3 && sim_chance(sim, 1, 2))
                        cut_at = sim_between(sim, 1, sim_chance(sim, 1, 2) ? 20 : 200);
                if (import_once(sim, cut_at))
                        break;
                attempts++;
        }
        sim->phase = "verifying";
        struct err err = ERR_INIT;
        if (pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "after recovery: %s", err.msg);
        if (table_is_known)
                compare_tables(sim);
        table_is_known = false;
        pool_inspect_table(sim->pool, sim, note_address); /* before cleaning moves anything */
        check_volumes(sim);
        check_data(sim);
        if (pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "after verification: %s", err.msg);
        if (!clean)
                count_state(sim);
}
