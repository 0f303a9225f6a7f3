/* Every state that disks may be found in after a power cut, see cut.h. */
#include "tests/sim/exhaustive/cut.h"

#include "base/cleanup.h"
#include "pool/root/root.h"
#include "tests/sim/exhaustive/case.h"

#include <stdlib.h>
#include <string.h>

/* States with the changes kept come first. */
enum { KILLS = 2 };

/* ---- outcomes of one zone ---- */

struct builder {
        struct cuts *cuts;
        struct disk *disk;
        struct loose_zone *lz;
        const struct change *changes[64]; /* of the zone */
        uint32_t nchanges;
        struct cell *scratch; /* what is being built */
        struct cell *room; /* where outcomes go */
};

enum lost_bytes { BYTES_OLD, BYTES_STAY };

/* The zone with the first `survive` of its changes, and `keep` blocks of the next one. */
static void roll_back(struct builder *b, uint32_t survive, uint32_t keep, enum lost_bytes bytes,
                      struct zone_outcome *ret)
{
        const struct zone_model_zone *z = &b->disk->model.zones[b->lz->zone];
        uint32_t blocks = b->disk->spec.zone_blocks, first_reset = b->nchanges;
        memcpy(b->scratch, disk_cells(b->disk, b->lz->zone), blocks * sizeof(*b->scratch));
        ret->state = z->state;
        ret->wp = (uint32_t)z->wp_block;
        for (uint32_t i = b->nchanges; i-- > survive;)
                if (b->changes[i]->op == ZDEV_RESET)
                        first_reset = i; /* what was written after a lost reset is gone */
        for (uint32_t i = b->nchanges; i-- > survive;) {
                const struct change *c = b->changes[i];
                uint32_t kept = i == survive ? keep : 0;
                for (uint32_t k = kept; k < c->nblocks; k++)
                        if (bytes == BYTES_OLD || i > first_reset)
                                b->scratch[c->block + k] = c->undo[k];
                ret->state = kept ? ZDEV_ZONE_CLOSED : c->state;
                ret->wp = c->wp + kept;
        }
        ret->survive = survive;
        ret->below = false;
        ret->above = bytes == BYTES_STAY;
}

static void lose_bytes(struct builder *b, const struct change *c, uint32_t from, uint32_t n,
                       bool garbage, struct zone_outcome *o)
{
        o->below = true;
        for (uint32_t k = from; k < from + n; k++)
                b->scratch[c->block + k] = garbage ? disk_garbage() : c->undo[k];
}

/* Adds what was built unless the zone has that outcome already. */
static void keep_outcome(struct builder *b, struct zone_outcome o, const char *how)
{
        uint32_t blocks = b->disk->spec.zone_blocks;
        o.sum = disk_cell_sum(b->scratch, blocks);
        o.hash = disk_zone_hash(b->disk, b->lz->zone, o.sum, o.state, o.wp);
        o.how = how;
        for (uint32_t i = 0; i < b->lz->n; i++)
                if (b->lz->outcomes[i].hash == o.hash)
                        return;
        if (b->lz->n == MAX_OUTCOMES)
                return; /* only zones with very many changes: the later kinds are left out */
        o.cells = b->room + (size_t)b->lz->n * blocks;
        memcpy(o.cells, b->scratch, blocks * sizeof(*o.cells));
        b->lz->outcomes[b->lz->n++] = o;
}

/* Data of writes that survived is lost: of the last one in part, of an earlier one wholly. */
static void pointer_ahead(struct builder *b, uint32_t survive)
{
        struct zone_outcome o;
        for (uint32_t i = survive; i-- > 0 && i + 2 >= survive;) {
                const struct change *c = b->changes[i];
                bool gone = false; /* with a reset that survived */
                for (uint32_t k = i; k < survive; k++)
                        gone = gone || b->changes[k]->op == ZDEV_RESET;
                if (c->op != ZDEV_WRITE || gone)
                        continue;
                roll_back(b, survive, 0, BYTES_OLD, &o);
                lose_bytes(b, c, 0, c->nblocks, false, &o);
                keep_outcome(b, o, "a write's data lost");
                roll_back(b, survive, 0, BYTES_OLD, &o);
                lose_bytes(b, c, c->nblocks - 1, 1, false, &o);
                keep_outcome(b, o, "a write's last block lost");
                roll_back(b, survive, 0, BYTES_OLD, &o);
                lose_bytes(b, c, 0, 1, false, &o);
                keep_outcome(b, o, "a write's first block lost");
                roll_back(b, survive, 0, BYTES_OLD, &o);
                lose_bytes(b, c, c->nblocks / 2, 1, true, &o);
                keep_outcome(b, o, "a block of a write garbled");
        }
}

static void outcomes(struct builder *b)
{
        struct zone_outcome o;
        roll_back(b, b->nchanges, 0, BYTES_OLD, &o);
        keep_outcome(b, o, "all survives");
        roll_back(b, 0, 0, BYTES_OLD, &o);
        keep_outcome(b, o, "all lost");
        for (uint32_t s = b->nchanges + 1; s-- > 0;) {
                roll_back(b, s, 0, BYTES_OLD, &o);
                keep_outcome(b, o, "the rest lost");
                if (s < b->nchanges) {
                        const struct change *c = b->changes[s];
                        roll_back(b, s, 0, BYTES_STAY, &o);
                        keep_outcome(b, o, "the rest above the pointer");
                        const uint32_t keeps[] = {1, c->nblocks / 2, c->nblocks - 1};
                        for (size_t k = 0; c->op == ZDEV_WRITE && k < ARRAY_SIZE(keeps); k++) {
                                if (!keeps[k] || keeps[k] >= c->nblocks)
                                        continue;
                                roll_back(b, s, keeps[k], BYTES_OLD, &o);
                                keep_outcome(b, o, "the next one torn");
                                roll_back(b, s, keeps[k], BYTES_STAY, &o);
                                keep_outcome(b, o, "the next one torn, its bytes there");
                        }
                }
                pointer_ahead(b, s);
        }
}

/* ---- all of them ---- */

static struct loose_zone *loose_zone(struct cuts *c, uint32_t disk, uint32_t zone)
{
        for (uint32_t i = 0; i < c->nloose; i++)
                if (c->loose[i].disk == disk && c->loose[i].zone == zone)
                        return &c->loose[i];
        if (c->nloose == MAX_LOOSE)
                return NULL;
        struct loose_zone *lz = &c->loose[c->nloose++];
        lz->disk = disk;
        lz->zone = zone;
        lz->n = 0;
        lz->now_hash = disk_zone_hash_now(c->all.disks[disk], zone);
        return lz;
}

static void find_outcomes(struct cuts *c, uint32_t max_blocks)
{
        for (uint32_t i = 0; i < c->all.ndisks; i++)
                for (uint32_t k = 0; k < c->all.disks[i]->nchanges; k++)
                        loose_zone(c, i, c->all.disks[i]->changes[k].zone);
        c->cells = malloc(((size_t)c->nloose * MAX_OUTCOMES + 1) * max_blocks * sizeof(*c->cells));
        if (!c->cells)
                abort();
        struct cell *scratch = c->cells + (size_t)c->nloose * MAX_OUTCOMES * max_blocks;
        for (uint32_t i = 0; i < c->nloose; i++) {
                struct builder b = {.cuts = c,
                                    .lz = &c->loose[i],
                                    .disk = c->all.disks[c->loose[i].disk],
                                    .scratch = scratch,
                                    .room = c->cells + (size_t)i * MAX_OUTCOMES * max_blocks};
                for (uint32_t k = 0; k < b.disk->nchanges; k++) {
                        const struct change *change = &b.disk->changes[k];
                        if (change->zone == b.lz->zone && b.nchanges < ARRAY_SIZE(b.changes))
                                b.changes[b.nchanges++] = change;
                }
                outcomes(&b);
        }
}

/* kept: the changes are still volatile. */
static uint64_t whole_hash(const struct stage *s, bool kept)
{
        uint64_t h = 0;
        for (uint32_t i = 0; i < s->ndisks; i++) {
                for (uint32_t z = 0; z < s->disks[i]->spec.nr_zones; z++)
                        h += disk_zone_hash_now(s->disks[i], z);
                h += kept ? disk_changes_hash(s->disks[i]) : disk_lost_hash(s->disks[i]);
        }
        return h;
}

static bool ring_turns(const struct disk *d)
{
        uint32_t first = d->spec.nr_conventional;
        for (uint32_t i = 0; i < d->nchanges; i++) {
                const struct change *change = &d->changes[i];
                if (change->op == ZDEV_RESET && change->zone >= first &&
                    change->zone < first + LABEL_ZONES)
                        return true;
        }
        return false;
}

void cuts_init(struct cuts *c, const struct stage *now, uint32_t limit)
{
        uint32_t max_blocks = 0;
        c->nloose = 0;
        c->limit = limit;
        stage_copy(&c->kill, now, false);
        stage_copy(&c->all, now, true);
        c->all_differs = c->ring_turns = false;
        for (uint32_t i = 0; i < now->ndisks; i++) {
                c->all_differs |= c->all.disks[i]->nchanges != c->kill.disks[i]->nchanges;
                c->ring_turns |= ring_turns(c->all.disks[i]);
                max_blocks = MAX(max_blocks, now->disks[i]->spec.zone_blocks);
        }
        find_outcomes(c, max_blocks);
        c->base_hash = whole_hash(&c->all, false);
        c->product = 1;
        uint64_t singles = 2;
        for (uint32_t i = 0; i < c->nloose; i++) {
                c->product = MIN(c->product * c->loose[i].n, UINT64_C(1) << 40);
                singles += 2 * (uint64_t)c->loose[i].n;
        }
        uint64_t states = c->product <= limit ? c->product : MAX(singles, (uint64_t)limit);
        c->nstates = KILLS + (uint32_t)states;
}

void cuts_fini(struct cuts *c)
{
        free(c->cells);
        stage_fini(&c->all);
        stage_fini(&c->kill);
}

/* Which outcome each loose zone has in state i. */
static void pick(const struct cuts *c, uint32_t i, uint32_t *picks)
{
        if (c->product <= c->limit) { /* counting with wheels */
                for (uint32_t z = 0; z < c->nloose; z++) {
                        picks[z] = i % c->loose[z].n;
                        i /= c->loose[z].n;
                }
                return;
        }
        bool lost = i & 1;
        for (uint32_t z = 0; z < c->nloose; z++)
                picks[z] = MIN((uint32_t)lost, c->loose[z].n - 1);
        uint32_t single = i / 2;
        if (single == 0)
                return;
        single--;
        for (uint32_t z = 0; z < c->nloose; z++) {
                if (single < c->loose[z].n) {
                        picks[z] = single;
                        return;
                }
                single -= c->loose[z].n;
        }
        struct rng rng = {.state = c->base_hash + i};
        for (uint32_t z = 0; z < c->nloose; z++)
                picks[z] = (uint32_t)rng_below(&rng, c->loose[z].n);
}

uint64_t cuts_hash(const struct cuts *c, uint32_t i)
{
        uint32_t picks[MAX_LOOSE];
        if (i < KILLS)
                return whole_hash(i ? &c->all : &c->kill, true);
        pick(c, i - KILLS, picks);
        uint64_t h = c->base_hash;
        for (uint32_t z = 0; z < c->nloose; z++)
                h += c->loose[z].outcomes[picks[z]].hash - c->loose[z].now_hash;
        return h;
}

void cuts_make(const struct cuts *c, uint32_t i, struct stage *ret_stage)
{
        uint32_t picks[MAX_LOOSE];
        stage_copy(ret_stage, i ? &c->all : &c->kill, false);
        if (i < KILLS)
                return;
        for (uint32_t d = 0; d < ret_stage->ndisks; d++)
                disk_settle(ret_stage->disks[d]);
        pick(c, i - KILLS, picks);
        for (uint32_t z = 0; z < c->nloose; z++) {
                const struct loose_zone *lz = &c->loose[z];
                const struct zone_outcome *o = &lz->outcomes[picks[z]];
                disk_put_zone(ret_stage->disks[lz->disk], lz->zone, o->cells, o->sum, o->state,
                              o->wp);
        }
}

uint32_t cuts_all_lost(const struct cuts *c)
{
        if (c->product > c->limit)
                return KILLS + 1;
        uint32_t i = 0;
        for (uint32_t z = c->nloose; z-- > 0;)
                i = i * c->loose[z].n + (c->loose[z].n > 1);
        return KILLS + i;
}

static bool any_picked(const struct cuts *c, uint32_t i, bool below)
{
        uint32_t picks[MAX_LOOSE];
        if (i < KILLS)
                return false;
        pick(c, i - KILLS, picks);
        for (uint32_t z = 0; z < c->nloose; z++) {
                const struct zone_outcome *o = &c->loose[z].outcomes[picks[z]];
                if (below ? o->below : o->above)
                        return true;
        }
        return false;
}

bool cuts_takes_below(const struct cuts *c, uint32_t i)
{
        return any_picked(c, i, true);
}

bool cuts_leaves_above(const struct cuts *c, uint32_t i)
{
        return any_picked(c, i, false);
}

void cuts_describe(const struct cuts *c, uint32_t i)
{
        uint32_t picks[MAX_LOOSE];
        if (i < KILLS) {
                case_trace("crash: the process is killed; what was in flight is %scarried out",
                           i ? "" : "not ");
                return;
        }
        case_trace("crash: power is lost");
        pick(c, i - KILLS, picks);
        for (uint32_t z = 0; z < c->nloose; z++) {
                const struct loose_zone *lz = &c->loose[z];
                const struct zone_outcome *o = &lz->outcomes[picks[z]];
                case_trace("  device %u zone %u: %u changes survive, %s; pointer %u", lz->disk,
                           lz->zone, o->survive, o->how, o->wp);
        }
}
