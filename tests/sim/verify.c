/* What must be found after a recovery, see verify.h. */
#include "tests/sim/verify.h"

#include "base/cleanup.h"
#include "pool/inspect.h"
#include "tests/sim/devices.h"
#include "tests/sim/oracle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

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

void verify_table_lost(void)
{
        table_is_known = false;
        killed_table.n = 0;
}

bool verify_table_kept(void)
{
        return table_is_known;
}

void verify_keep_table(struct sim *sim)
{
        if (!devices_here(sim)) /* what is not in RAM may be out of sight */
                return;
        pool_inspect_table(sim->pool, &killed_table, table_add);
        table_is_known = true;
}

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

void verify_forget(void)
{
        verify_table_lost();
        memset(seen_groups, 0, sizeof(seen_groups));
}

/* ---- volumes ---- */

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
        uint64_t size = volume_size_bytes(v->vol) - v->gap_bytes;
        if (size != v->size_bytes && size != v->new_size_bytes && size != v->shrunk_bytes)
                sim_fail(sim, "volume %u is %llu bytes long, not %llu or %llu", v->number,
                         (unsigned long long)size, (unsigned long long)v->size_bytes,
                         (unsigned long long)v->new_size_bytes);
        struct volume_info info;
        volume_get_info(v->vol, &info);
        uint64_t reserved = info.reserved_bytes;
        if (reserved != v->reserved_bytes && reserved != v->new_reserved_bytes)
                sim_fail(sim, "volume %u has %llu bytes reserved, not %llu or %llu", v->number,
                         (unsigned long long)reserved, (unsigned long long)v->reserved_bytes,
                         (unsigned long long)v->new_reserved_bytes);
        v->reserved_bytes = v->new_reserved_bytes = reserved;
        v->shrunk_bytes = 0;
        check_owner(sim, v, applied_call);
        oracle_resize(sim->oracle, v, size);
        v->size_bytes = size;
        v->owner_call = 0;
        v->control = false;
        v->busy = 0;
        v->fate = FATE_THERE;
}

/* A snapshot that was being taken may be there: of whatever its volume may hold now. */
static void check_snapshot(struct sim *sim, struct oracle_volume *s)
{
        struct snapshot_info info;
        snapshot_get_info(s->vol, &info);
        struct oracle_volume *v = oracle_find(sim->oracle, &info.of);
        if (!v || v->number != s->of || strcmp(info.name, s->name) != 0)
                sim_fail(sim, "snapshot %u: its name is %s, or its volume another", s->number,
                         info.name);
        if (info.size_bytes != oracle_real_size(s, s->size_bytes))
                sim_fail(sim, "snapshot %u: %llu bytes long", s->number,
                         (unsigned long long)info.size_bytes);
        if (s->fate == FATE_CREATING)
                oracle_add_values(s, v);
        s->control = false;
        s->busy = 0;
        s->fate = FATE_THERE;
}

static void find_snapshots(struct sim *sim, struct volume *vol)
{
        for (struct volume *snap = snapshot_next(vol, NULL); snap;
             snap = snapshot_next(vol, snap)) {
                struct snapshot_info info;
                snapshot_get_info(snap, &info);
                struct oracle_volume *s = oracle_find(sim->oracle, &info.uuid);
                if (!s || !s->snapshot || s->vol)
                        sim_fail(sim, "snapshot %s of %s is there and should not be", info.name,
                                 volume_name(vol));
                s->vol = snap;
                if (snapshot_by_name(vol, s->name) != snap)
                        sim_fail(sim, "snapshot %u is not found by name", s->number);
        }
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
                find_snapshots(sim, vol);
        }
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++) { /* before volumes settle */
                struct oracle_volume *v = oracle_get(sim->oracle, i);
                v->taking = NULL;
                if (v->vol && v->snapshot)
                        check_snapshot(sim, v);
                if (v->going_back) /* it happened or not */
                        oracle_maybe_became(v, v->going_back);
                v->going_back = NULL;
        }
        for (uint32_t i = 0; i < oracle_count(sim->oracle);) {
                struct oracle_volume *v = oracle_get(sim->oracle, i);
                if (v->vol && v->snapshot) {
                        i++;
                        continue;
                }
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

/* A read ends where a gap may begin. */
enum { READ_BLOCKS = SPLIT_BLOCKS, READS_AT_ONCE = 8 };

struct check_read {
        struct volume_io io;
        struct iovec iov;
        struct sim *sim;
        struct oracle_volume *v;
        uint32_t *outstanding;
        uint64_t at;
        bool busy;
        uint8_t buf[READ_BLOCKS * ZP_BLOCK];
};

static void check_read_done(struct volume_io *io, int status)
{
        struct check_read *r = container_of(io, struct check_read, io);
        struct oracle_volume *v = r->v;
        uint64_t first = r->at / ZP_BLOCK;
        bool unreadable = status == -EILSEQ && io->length_bytes <= ZP_BLOCK &&
                          oracle_rotten(v, first * SECTORS_PER_BLOCK, 1);
        if (status < 0 && !unreadable)
                sim_fail(r->sim, "volume %u: read of block %llu after recovery ended with %d (%s)",
                         v->number, (unsigned long long)first, status, strerror(-status));
        for (uint64_t at = 0; at < io->length_bytes && !unreadable; at += ZP_BLOCK)
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
                size_t len;
                for (uint64_t at = 0; at < v->size_bytes; at += len) {
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
                        r->at = at;
                        len = (size_t)MIN(v->size_bytes - at, sizeof(r->buf) - at % sizeof(r->buf));
                        if (oracle_rotten(v, at / VOLUME_SECTOR, len / VOLUME_SECTOR))
                                len =
                                    MIN(len, (size_t)ZP_BLOCK); /* by itself: the others are fine */
                        r->iov = (struct iovec){r->buf, len};
                        r->io = (struct volume_io){.op = VOLUME_READ,
                                                   .offset_bytes = oracle_real(v, at),
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

void verify(struct sim *sim)
{
        struct err err = ERR_INIT;
        if (pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "after recovery: %s", err.msg);
        struct pool_inspect_space space;
        pool_inspect_space(sim->pool, &space);
        sim->excess = space.excess;
        if (table_is_known)
                compare_tables(sim);
        verify_table_lost();
        pool_inspect_table(sim->pool, sim, note_address); /* before cleaning moves anything */
        check_volumes(sim);
        check_data(sim);
        for (uint32_t i = 0; i < oracle_count(sim->oracle); i++)
                oracle_get(sim->oracle, i)->loose = false; /* all of it was read */
        if (pool_inspect_check(sim->pool, &err) < 0)
                sim_fail(sim, "after verification: %s", err.msg);
}
