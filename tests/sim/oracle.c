/* What a volume may read as, see oracle.h. */
#include "tests/sim/oracle.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

struct oracle {
        struct sim *sim;
        struct op *ops;
        uint32_t nops, ops_room;
        uint32_t first_open; /* ops below it have ended */
        struct oracle_volume **volumes;
        uint32_t nvolumes;
        uint16_t next_volume;
};

static void *must(void *p)
{
        if (!p)
                abort();
        return p;
}

struct oracle *oracle_new(struct sim *sim)
{
        struct oracle *o = must(calloc(1, sizeof(*o)));
        o->sim = sim;
        o->ops_room = 1024;
        o->ops = must(calloc(o->ops_room, sizeof(*o->ops)));
        o->ops[0] = (struct op){.definite = true};
        o->nops = 1;
        o->next_volume = 1;
        return o;
}

static void free_sectors(struct oracle_volume *v)
{
        for (uint64_t i = 0; i < v->new_size_bytes / VOLUME_SECTOR; i++)
                free(v->sectors[i].values);
        free(v->sectors);
}

void oracle_free(struct oracle *o)
{
        while (o->nvolumes)
                oracle_remove(o, o->volumes[0]);
        free(o->volumes);
        free(o->ops);
        free(o);
}

/* ---- volumes ---- */

struct oracle_volume *oracle_add(struct oracle *o, uint64_t size_bytes)
{
        struct oracle_volume *v = must(calloc(1, sizeof(*v)));
        v->number = o->next_volume++;
        v->size_bytes = v->new_size_bytes = size_bytes;
        v->split_bytes = UINT64_MAX;
        v->sectors = must(calloc(size_bytes / VOLUME_SECTOR, sizeof(*v->sectors)));
        for (size_t i = 0; i < sizeof(v->uuid.b); i += 8) {
                uint64_t word = rng_next(&o->sim->rng);
                memcpy(v->uuid.b + i, &word, sizeof(word));
        }
        uuid_from_random(&v->uuid);
        o->volumes = must(realloc(o->volumes, (o->nvolumes + 1) * sizeof(*o->volumes)));
        o->volumes[o->nvolumes++] = v;
        return v;
}

void oracle_remove(struct oracle *o, struct oracle_volume *v)
{
        for (uint32_t i = 0; i < o->nvolumes; i++) {
                if (o->volumes[i] != v)
                        continue;
                memmove(o->volumes + i, o->volumes + i + 1,
                        (o->nvolumes - i - 1) * sizeof(*o->volumes));
                o->nvolumes--;
                break;
        }
        free_sectors(v);
        free(v);
}

uint32_t oracle_count(const struct oracle *o)
{
        return o->nvolumes;
}

struct oracle_volume *oracle_get(struct oracle *o, uint32_t i)
{
        return o->volumes[i];
}

struct oracle_volume *oracle_find(struct oracle *o, const struct uuid *uuid)
{
        for (uint32_t i = 0; i < o->nvolumes; i++)
                if (uuid_equal(&o->volumes[i]->uuid, uuid))
                        return o->volumes[i];
        return NULL;
}

void oracle_resize(struct oracle *o, struct oracle_volume *v, uint64_t size_bytes)
{
        uint64_t was = v->new_size_bytes / VOLUME_SECTOR, now = size_bytes / VOLUME_SECTOR;
        for (uint64_t i = now; i < was; i++)
                free(v->sectors[i].values);
        v->sectors = must(realloc(v->sectors, now * sizeof(*v->sectors)));
        if (now < was && now % SECTORS_PER_BLOCK)
                v->sectors[now - 1].edge = true;
        if (now > was)
                memset(v->sectors + was, 0, (now - was) * sizeof(*v->sectors));
        v->new_size_bytes = size_bytes;
}

/* ---- values of a sector ---- */

static const struct value beginning[] = {{.op = 0, .start = 0}};

static const struct value *values_of(const struct sector *s, uint32_t *ret_n)
{
        *ret_n = s->values ? s->n : 1;
        return s->values ? s->values : beginning;
}

static uint32_t end_of(const struct oracle *o, const struct value *val)
{
        return MAX(o->ops[val->op].end, val->start); /* a later start: seen to be the last one */
}

/* Forgets what a durable value has superseded. */
static void prune(const struct oracle *o, struct sector *s)
{
        uint16_t n = 0;
        for (uint16_t i = 0; s->values && i < s->n; i++)
                if (end_of(o, &s->values[i]) >= s->durable_start)
                        s->values[n++] = s->values[i];
        if (s->values)
                s->n = n;
}

static void add_value(const struct oracle *o, const struct oracle_volume *v, struct sector *s,
                      uint32_t op)
{
        if (v->reads == 0)
                prune(o, s);
        if (!s->values || s->n == s->room) {
                bool first = !s->values;
                s->room = (uint16_t)(s->room ? s->room * 2 : 4);
                s->values = must(realloc(s->values, s->room * sizeof(*s->values)));
                if (first) {
                        s->n = 0;
                        if (s->durable_start == 0)
                                s->values[s->n++] = beginning[0];
                }
        }
        s->values[s->n++] = (struct value){.op = op, .start = o->ops[op].start};
}

/* Values that ended before it are superseded by an op that completed before `by`. */
static uint32_t floor_at(const struct oracle *o, const struct sector *s, uint32_t by)
{
        uint32_t n, floor = 0;
        const struct value *vals = values_of(s, &n);
        for (uint32_t i = 0; i < n; i++) {
                const struct op *op = &o->ops[vals[i].op];
                if (op->definite && op->end < by)
                        floor = MAX(floor, vals[i].start);
        }
        return floor;
}

/* ---- snapshots ---- */

static void copy_sector(struct sector *dst, const struct sector *src)
{
        free(dst->values);
        *dst = *src;
        if (!src->values)
                return;
        dst->values = must(malloc(src->room * sizeof(*dst->values)));
        memcpy(dst->values, src->values, src->n * sizeof(*dst->values));
}

struct oracle_volume *oracle_copy(struct oracle *o, struct oracle_volume *v, bool loose)
{
        struct oracle_volume *s = oracle_add(o, v->size_bytes);
        s->split_bytes = v->split_bytes;
        s->gap_bytes = v->gap_bytes;
        s->loose = loose;
        for (uint64_t i = 0; i < v->size_bytes / VOLUME_SECTOR; i++) {
                struct sector *sec = &s->sectors[i];
                uint32_t floor = floor_at(o, &v->sectors[i], TIME_NEVER);
                copy_sector(sec, &v->sectors[i]);
                if (!loose || !sec->values)
                        continue;
                uint16_t n = 0; /* what is superseded by now, and nothing else, is not in it */
                for (uint16_t k = 0; k < sec->n; k++)
                        if (end_of(o, &sec->values[k]) >= floor)
                                sec->values[n++] = sec->values[k];
                sec->n = n;
                sec->durable_start = 0;
        }
        return s;
}

bool oracle_has_snapshots(const struct oracle *o, const struct oracle_volume *v)
{
        for (uint32_t i = 0; i < o->nvolumes; i++)
                if (o->volumes[i]->snapshot && o->volumes[i]->of == v->number)
                        return true;
        return false;
}

static void push_value(struct sector *s, struct value val)
{
        if (s->n == s->room) {
                s->room = (uint16_t)(s->room ? s->room * 2 : 4);
                s->values = must(realloc(s->values, s->room * sizeof(*s->values)));
        }
        s->values[s->n++] = val;
}

void oracle_add_values(struct oracle_volume *v, const struct oracle_volume *s)
{
        uint64_t n = MIN(v->size_bytes, s->size_bytes) / VOLUME_SECTOR;
        for (uint64_t i = 0; i < n; i++) {
                struct sector *to = &v->sectors[i];
                uint32_t k, have;
                const struct value *vals = values_of(&s->sectors[i], &k);
                if (!to->values && !s->sectors[i].values)
                        continue;
                if (!to->values)
                        push_value(to, beginning[0]);
                have = to->n;
                for (uint32_t x = 0; x < k; x++) {
                        bool known = false;
                        for (uint32_t y = 0; y < have && !known; y++)
                                known = to->values[y].op == vals[x].op;
                        if (!known)
                                push_value(to, vals[x]);
                }
                to->durable_start = 0;
        }
}

void oracle_maybe_became(struct oracle_volume *v, const struct oracle_volume *s)
{
        uint64_t n = MIN(v->size_bytes, s->size_bytes) / VOLUME_SECTOR;
        v->sides = SIDE_BOTH;
        for (uint64_t i = 0; i < n; i++) {
                struct sector *sec = &v->sectors[i];
                if (!sec->values && s->sectors[i].values)
                        push_value(sec, beginning[0]);
                for (uint32_t x = 0; x < sec->n && sec->values; x++)
                        sec->values[x].side = SIDE_BEFORE;
        }
        oracle_add_values(v, s);
        for (uint64_t i = 0; i < n; i++) {
                struct sector *sec = &v->sectors[i];
                uint32_t k;
                const struct value *vals = values_of(&s->sectors[i], &k);
                for (uint32_t x = 0; x < sec->n && sec->values; x++)
                        for (uint32_t y = 0; y < k; y++)
                                if (vals[y].op == sec->values[x].op)
                                        sec->values[x].side |= SIDE_BACK;
        }
}

void oracle_become(struct oracle_volume *v, const struct oracle_volume *s)
{
        uint64_t n = MIN(v->size_bytes, s->size_bytes) / VOLUME_SECTOR;
        for (uint64_t i = 0; i < n; i++)
                copy_sector(&v->sectors[i], &s->sectors[i]);
}

/* Of a loose one the first read tells which value it is. */
static void collapse(const struct oracle *o, struct sector *s, uint32_t found)
{
        uint16_t n = 0;
        for (uint16_t i = 0; s->values && i < s->n; i++)
                if (found ? s->values[i].op == found : !o->ops[s->values[i].op].data)
                        s->values[n++] = s->values[i];
        if (s->values)
                s->n = n;
}

/* ---- ops ---- */

uint32_t oracle_op_begin(struct oracle *o, struct oracle_volume *v, bool data)
{
        if (o->nops == o->ops_room) {
                o->ops_room *= 2;
                o->ops = must(realloc(o->ops, o->ops_room * sizeof(*o->ops)));
        }
        o->ops[o->nops] = (struct op){
            .start = sim_time(o->sim), .end = TIME_NEVER, .data = data, .volume = v->number};
        return o->nops++;
}

void oracle_op_covers(struct oracle *o, struct oracle_volume *v, uint32_t op, uint64_t sector,
                      uint64_t n)
{
        for (uint64_t i = sector; i < sector + n; i++) {
                add_value(o, v, &v->sectors[i], op);
                if (v->taking && i < v->taking->size_bytes / VOLUME_SECTOR)
                        add_value(o, v->taking, &v->taking->sectors[i], op);
        }
}

void oracle_op_end(struct oracle *o, struct oracle_volume *v, uint32_t op, bool definite,
                   bool durable, uint64_t sector, uint64_t n)
{
        o->ops[op].end = sim_time(o->sim);
        o->ops[op].definite = definite;
        for (uint64_t i = sector; definite && durable && i < sector + n; i++) {
                struct sector *s = &v->sectors[i];
                s->durable_start = MAX(s->durable_start, o->ops[op].start);
        }
}

void oracle_power_cut(struct oracle *o)
{
        uint32_t now = sim_time(o->sim);
        for (uint32_t i = o->first_open; i < o->nops; i++)
                if (o->ops[i].end == TIME_NEVER)
                        o->ops[i].end = now;
        o->first_open = o->nops;
        for (uint32_t i = 0; i < o->nvolumes; i++)
                o->volumes[i]->reads = 0;
}

void oracle_flushed(struct oracle *o, struct oracle_volume *v, uint32_t start)
{
        for (uint64_t i = 0; !v->loose && i < v->new_size_bytes / VOLUME_SECTOR; i++) {
                struct sector *s = &v->sectors[i];
                if (!s->values)
                        continue;
                s->durable_start = MAX(s->durable_start, floor_at(o, s, start));
                if (v->reads == 0)
                        prune(o, s);
        }
}

/* ---- content ---- */

enum { WORDS = VOLUME_SECTOR / 8 };

#define SECTOR_MAGIC UINT64_C(0x5a50000000000000)

static void fill_words(uint64_t where, uint64_t op, uint64_t *words)
{
        words[0] = where;
        words[1] = op;
        uint64_t x = where ^ op * UINT64_C(0x9e3779b97f4a7c15);
        for (uint64_t i = 2; i < WORDS; i++)
                words[i] = x + i * UINT64_C(0x9e6c63d0676a9a99);
}

static uint64_t where_of(uint16_t volume, uint64_t sector)
{
        return SECTOR_MAGIC | (uint64_t)volume << 32 | sector;
}

void oracle_fill(const struct oracle_volume *v, uint64_t sector, uint32_t op, uint8_t *buf)
{
        uint64_t words[WORDS];
        fill_words(where_of(v->number, sector), op, words);
        memcpy(buf, words, sizeof(words));
}

/* Which op's bytes these are: 0 for zeroes. Fails the run when they are nobody's. */
static uint32_t identify(struct oracle *o, const struct oracle_volume *v, uint64_t sector,
                         const uint8_t *buf)
{
        uint64_t words[WORDS], want[WORDS];
        memcpy(words, buf, sizeof(words));
        uint64_t any = 0;
        for (int i = 0; i < WORDS; i++)
                any |= words[i];
        if (!any)
                return 0;
        fill_words(words[0], words[1], want);
        bool ours = memcmp(words, want, sizeof(words)) == 0;
        if (!ours || (words[0] >> 48) != (SECTOR_MAGIC >> 48) || words[1] >= o->nops)
                sim_fail(o->sim,
                         "volume %u sector %llu reads as bytes nobody wrote (%016llx %016llx)",
                         v->number, (unsigned long long)sector, (unsigned long long)words[0],
                         (unsigned long long)words[1]);
        /* a clone or snapshot holds what was written to another volume; which ops these can be
         * stands among its values */
        if (words[0] != where_of(words[1] ? o->ops[words[1]].volume : v->number, sector))
                sim_fail(
                    o->sim,
                    "volume %u sector %llu reads as volume %u sector %u, op %llu: another's data",
                    v->number, (unsigned long long)sector, (unsigned)(words[0] >> 32 & 0xffff),
                    (unsigned)words[0], (unsigned long long)words[1]);
        return (uint32_t)words[1];
}

static void describe(const struct oracle *o, const struct sector *s, char *text, size_t len)
{
        uint32_t n;
        const struct value *vals = values_of(s, &n);
        size_t at = 0;
        text[0] = '\0';
        for (uint32_t i = 0; i < n && at < len - 64; i++) {
                const struct op *op = &o->ops[vals[i].op];
                at += (size_t)snprintf(text + at, len - at, " op %u%s [%u, ", vals[i].op,
                                       op->data ? "" : " (zeroes)", vals[i].start);
                if (op->end == TIME_NEVER)
                        at += (size_t)snprintf(text + at, len - at, "..]");
                else
                        at += (size_t)snprintf(text + at, len - at, "%u%s]", op->end,
                                               op->definite ? "" : " failed");
        }
}

/* The content `found` (an op, 0: zeroes) matches this value. */
static bool matches(const struct oracle *o, const struct value *val, uint32_t found)
{
        return found ? val->op == found : !o->ops[val->op].data;
}

static __attribute__((noreturn)) void wrong_value(struct oracle *o, const struct oracle_volume *v,
                                                  uint64_t sector, uint32_t found, uint32_t floor,
                                                  const char *why)
{
        char text[1024];
        describe(o, &v->sectors[sector], text, sizeof(text));
        sim_fail(
            o->sim,
            "volume %u sector %llu (block %llu) reads as op %u [%u, %u]%s, %s; floor %u, durable "
            "%u, written:%s",
            v->number, (unsigned long long)sector, (unsigned long long)(sector / SECTORS_PER_BLOCK),
            found, o->ops[found].start, o->ops[found].end, found ? "" : " (zeroes)", why, floor,
            v->sectors[sector].durable_start, text);
}

/* ---- reads at run time ---- */

struct oracle_view *oracle_read_begin(struct oracle *o, struct oracle_volume *v, uint64_t sector,
                                      uint32_t n)
{
        struct oracle_view *view = must(malloc(sizeof(*view)));
        view->start = sim_time(o->sim);
        view->nsectors = n;
        view->floor = must(malloc(n * sizeof(*view->floor)));
        for (uint32_t i = 0; i < n; i++) {
                const struct sector *s = &v->sectors[sector + i];
                view->floor[i] = v->loose ? 0 : floor_at(o, s, view->start);
        }
        v->reads++;
        return view;
}

void oracle_view_free(struct oracle_view *view)
{
        if (!view)
                return;
        free(view->floor);
        free(view);
}

/* The read proves that this value was the last of those that had ended when it began. */
static void settle(struct oracle *o, struct sector *s, uint32_t found, uint32_t start)
{
        struct value *only = NULL;
        for (uint16_t i = 0; s->values && i < s->n; i++) {
                if (end_of(o, &s->values[i]) >= start)
                        return; /* something runs or ran beside the read */
                if (matches(o, &s->values[i], found)) {
                        if (only)
                                return; /* zeroes of more than one op */
                        only = &s->values[i];
                }
        }
        if (only && o->ops[only->op].definite)
                only->start = start;
}

void oracle_read_end(struct oracle *o, struct oracle_volume *v, struct oracle_view *view,
                     uint64_t sector, const uint8_t *buf)
{
        for (uint32_t i = 0; i < view->nsectors; i++) {
                uint32_t found = identify(o, v, sector + i, buf + (size_t)i * VOLUME_SECTOR);
                struct sector *s = &v->sectors[sector + i];
                uint32_t n;
                const struct value *vals = values_of(s, &n);
                bool ok = false;
                for (uint32_t k = 0; k < n && !ok; k++)
                        ok = matches(o, &vals[k], found) && end_of(o, &vals[k]) >= view->floor[i];
                if (!ok)
                        wrong_value(o, v, sector + i, found, view->floor[i],
                                    "which is not its last value");
                if (v->loose)
                        collapse(o, s, found);
                else
                        settle(o, s, found, view->start);
        }
        v->reads--;
        oracle_view_free(view);
}

/* ---- after a power cut ---- */

static void check_allowed(struct oracle *o, const struct oracle_volume *v, uint64_t sector,
                          uint32_t found)
{
        const struct sector *s = &v->sectors[sector];
        uint32_t n;
        const struct value *vals = values_of(s, &n);
        for (uint32_t i = 0; i < n; i++)
                if (matches(o, &vals[i], found) && end_of(o, &vals[i]) >= s->durable_start)
                        return;
        wrong_value(o, v, sector, found, s->durable_start,
                    "which is neither its last durable value nor a later one");
}

static uint8_t side_of(const struct value *val)
{
        return val->side ? val->side : SIDE_BOTH;
}

/* The earliest start among the allowed values the content can be: op 0 counts as 0. */
static uint32_t earliest_start(const struct oracle *o, const struct sector *s, uint32_t found,
                               uint8_t sides)
{
        uint32_t n, start = TIME_NEVER;
        const struct value *vals = values_of(s, &n);
        for (uint32_t i = 0; i < n; i++)
                if ((side_of(&vals[i]) & sides) && matches(o, &vals[i], found) &&
                    end_of(o, &vals[i]) >= s->durable_start)
                        start = MIN(start, o->ops[vals[i].op].start);
        return start;
}

/* All sectors of a block are of one moment: every op that ended before the latest of the values
 * began, and every op one of the values comes from, is in all of them. */
static void check_one_moment(struct oracle *o, const struct oracle_volume *v, uint64_t first,
                             const uint32_t *found, uint32_t nsectors, uint8_t sides)
{
        uint32_t moment = 0;
        for (uint32_t i = 0; i < nsectors; i++)
                moment = MAX(moment, earliest_start(o, &v->sectors[first + i], found[i], sides));
        for (uint32_t i = 0; i < nsectors; i++) {
                const struct sector *s = &v->sectors[first + i];
                uint32_t n, floor = 0;
                const struct value *vals = values_of(s, &n);
                for (uint32_t k = 0; k < n; k++) {
                        const struct op *op = &o->ops[vals[k].op];
                        if (!(side_of(&vals[k]) & sides))
                                continue;
                        bool in = op->definite && op->end < moment;
                        for (uint32_t j = 0; j < nsectors && !in; j++)
                                in = found[j] && found[j] == vals[k].op;
                        if (in)
                                floor = MAX(floor, op->start);
                }
                bool ok = false;
                for (uint32_t k = 0; k < n && !ok; k++)
                        ok = matches(o, &vals[k], found[i]) && end_of(o, &vals[k]) >= floor;
                if (!ok)
                        wrong_value(
                            o, v, first + i, found[i], floor,
                            "which is older than what its block holds beside it: a mixture");
        }
}

/* Some value of the block is of one side only. */
static bool mixed(const struct oracle_volume *v, uint64_t first, uint32_t nsectors)
{
        for (uint32_t i = 0; i < nsectors; i++) {
                const struct sector *s = &v->sectors[first + i];
                for (uint32_t k = 0; s->values && k < s->n; k++)
                        if (side_of(&s->values[k]) != SIDE_BOTH)
                                return true;
        }
        return false;
}

/* Which of before and back the block can be. Fails the run when it is neither as a whole, or not
 * what the volume's other blocks are. */
static uint8_t one_side(struct oracle *o, struct oracle_volume *v, uint64_t first,
                        const uint32_t *found, uint32_t nsectors)
{
        uint8_t sides = v->sides ? v->sides : SIDE_BOTH;
        for (uint32_t i = 0; i < nsectors; i++) {
                const struct sector *s = &v->sectors[first + i];
                uint32_t n;
                uint8_t of = 0;
                const struct value *vals = values_of(s, &n);
                for (uint32_t k = 0; k < n; k++)
                        if (matches(o, &vals[k], found[i]) &&
                            end_of(o, &vals[k]) >= s->durable_start)
                                of |= side_of(&vals[k]);
                sides &= of;
                if (!sides)
                        wrong_value(o, v, first + i, found[i], s->durable_start,
                                    "and the volume has gone back to a snapshot in part");
        }
        v->sides = sides;
        return sides;
}

void oracle_recovered(struct oracle *o, struct oracle_volume *v, uint64_t block, const uint8_t *buf)
{
        uint64_t first = block * SECTORS_PER_BLOCK;
        uint64_t total = v->size_bytes / VOLUME_SECTOR;
        uint32_t nsectors = (uint32_t)MIN(total - first, (uint64_t)SECTORS_PER_BLOCK);
        uint32_t found[SECTORS_PER_BLOCK];
        bool settled = true;
        for (uint32_t i = 0; i < nsectors; i++) {
                const struct sector *s = &v->sectors[first + i];
                found[i] = identify(o, v, first + i, buf + (size_t)i * VOLUME_SECTOR);
                check_allowed(o, v, first + i, found[i]);
                settled = settled && (!s->values || s->n == 1);
        }
        uint8_t sides = one_side(o, v, first, found, nsectors);
        /* where it can be either, the order of ops says nothing: the snapshot's are older */
        if (!settled && !(sides == SIDE_BOTH && mixed(v, first, nsectors)))
                check_one_moment(o, v, first, found, nsectors, sides);
        for (uint32_t i = 0; i < nsectors; i++) {
                struct sector *s = &v->sectors[first + i];
                if (!s->values)
                        continue;
                uint16_t keep = 0;
                while (keep + 1 < s->n && !matches(o, &s->values[keep], found[i]))
                        keep++;
                uint32_t op = found[i] ? s->values[keep].op : 0;
                s->values[0] = (struct value){.op = op, .start = o->ops[op].start};
                s->n = 1;
                s->durable_start = o->ops[op].start;
        }
}

/* The only value a sector can have now, or NULL. */
static const struct value *only_value(const struct oracle *o, const struct sector *s)
{
        uint32_t n, floor = floor_at(o, s, TIME_NEVER);
        const struct value *vals = values_of(s, &n), *only = NULL;
        for (uint32_t i = 0; i < n; i++) {
                if (end_of(o, &vals[i]) < floor)
                        continue;
                if (only)
                        return NULL;
                only = &vals[i];
        }
        return only;
}

int oracle_block_kind(struct oracle *o, const struct oracle_volume *v, uint64_t block)
{
        uint64_t first = block * SECTORS_PER_BLOCK;
        uint64_t end = MIN(first + SECTORS_PER_BLOCK, v->size_bytes / VOLUME_SECTOR);
        bool never = true, one = true;
        const struct value *all = only_value(o, &v->sectors[first]);
        for (uint64_t i = first; i < end; i++) {
                const struct value *only = only_value(o, &v->sectors[i]);
                if (only && o->ops[only->op].data)
                        return 1;
                never = never && !v->sectors[i].values && !v->sectors[i].edge;
                one = one && only && all && only->op == all->op && only->op != 0;
        }
        return never || (one && end == first + SECTORS_PER_BLOCK) ? -1 : 0;
}

/* ---- rot ---- */

void oracle_rot(struct oracle_volume *v, uint64_t block)
{
        uint64_t end = MIN((block + 1) * SECTORS_PER_BLOCK, v->new_size_bytes / VOLUME_SECTOR);
        for (uint64_t i = block * SECTORS_PER_BLOCK; i < end; i++)
                v->sectors[i].rotten = true;
}

bool oracle_rotten(const struct oracle_volume *v, uint64_t sector, uint64_t n)
{
        uint64_t end = DIV_ROUND_UP(sector + n, SECTORS_PER_BLOCK) * SECTORS_PER_BLOCK;
        end = MIN(end, v->new_size_bytes / VOLUME_SECTOR);
        for (uint64_t i = sector / SECTORS_PER_BLOCK * SECTORS_PER_BLOCK; i < end; i++)
                if (v->sectors[i].rotten)
                        return true;
        return false;
}
