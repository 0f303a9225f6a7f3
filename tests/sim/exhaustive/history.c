/* What was asked of a pool, see history.h. */
#include "tests/sim/exhaustive/history.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <string.h>

void history_init(struct history *h)
{
        *h = (struct history){.next_tag = 1};
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                struct volume_history *v = &h->volumes[i];
                v->created = v->exists = v->deleting = v->gone = TIME_NEVER;
                v->nblocks.start = v->owner.start = v->reserved.start = TIME_NEVER;
                v->from = MAX_VOLUMES;
                v->copies = 1;
        }
}

uint32_t history_write(struct history *h, unsigned volume, uint32_t first, uint32_t n, bool data,
                       bool fua)
{
        if (h->nwrites == MAX_WRITES || h->next_tag == MAX_TAGS)
                case_fail("the sequence is too long for this test");
        h->writes[h->nwrites] = (struct write){.volume = (uint8_t)volume,
                                               .tag = data ? h->next_tag++ : 0,
                                               .fua = fua,
                                               .first = (uint16_t)first,
                                               .n = (uint16_t)n,
                                               .start = ++h->now,
                                               .end = TIME_NEVER};
        return h->nwrites++;
}

void history_written(struct history *h, uint32_t write, bool definite)
{
        h->writes[write].end = ++h->now;
        h->writes[write].definite = definite;
        h->acks++;
}

void history_flushed(struct history *h, unsigned volume, uint32_t start)
{
        for (unsigned i = 0; i < MAX_VOLUMES; i++)
                if (i == volume || volume == MAX_VOLUMES)
                        h->volumes[i].flushed = MAX(h->volumes[i].flushed, start);
}

/* ---- what a volume may hold ---- */

/* Which of the past is meant. */
struct when {
        uint32_t flushed; /* what ended before is durable, */
        bool now; /* or all that ended */
        uint32_t before; /* what began later is none of it, */
        uint32_t settled; /* and what ended later does not supersede */
        bool reverted; /* the last revert took place, although it is not answered */
};

static void tags_of_beginning(const struct history *h, unsigned volume, bool now, uint64_t *ret);

static bool counts(const struct write *w, const struct when *at)
{
        return w->definite && w->end <= at->settled && (w->fua || at->now || w->end <= at->flushed);
}

static bool revert_counts(const struct history *h, uint32_t i, const struct when *at)
{
        const struct revert *r = &h->reverts[i];
        return r->end == TIME_NEVER ? at->reverted : r->end <= at->settled;
}

/* Tags that blocks of a volume may have. */
static void allow(const struct history *h, unsigned volume, const struct when *at,
                  uint64_t *allowed)
{
        uint32_t floor[MAX_BLOCKS] = {0}, nreverts = volume == MAIN ? h->nreverts : 0,
                 gone_back = 0;
        uint64_t begins[MAX_BLOCKS];
        for (uint32_t i = 0; i < nreverts; i++)
                if (revert_counts(h, i, at))
                        gone_back = MAX(gone_back, h->reverts[i].start);
        for (uint32_t b = 0; b < MAX_BLOCKS; b++)
                floor[b] = gone_back;
        for (uint32_t i = 0; i < h->nwrites; i++) {
                const struct write *w = &h->writes[i];
                if (w->volume != volume || !counts(w, at))
                        continue;
                for (uint32_t b = w->first; b < (uint32_t)w->first + w->n; b++)
                        floor[b] = MAX(floor[b], w->start);
        }
        tags_of_beginning(h, volume, at->now, begins);
        for (uint32_t b = 0; b < MAX_BLOCKS; b++)
                allowed[b] = floor[b] == 0 ? begins[b] : 0;
        for (uint32_t i = 0; i < nreverts; i++) {
                const struct revert *r = &h->reverts[i];
                if (!revert_counts(h, i, at) && (r->end == TIME_NEVER || r->start > at->before))
                        continue;
                for (uint32_t b = 0; b < MAX_BLOCKS; b++)
                        if (r->end >= floor[b])
                                allowed[b] |= r->tags[b];
        }
        for (uint32_t i = 0; i < h->nwrites; i++) {
                const struct write *w = &h->writes[i];
                if (w->volume != volume || w->start > at->before)
                        continue;
                for (uint32_t b = w->first; b < (uint32_t)w->first + w->n; b++)
                        if (w->end >= floor[b])
                                allowed[b] |= UINT64_C(1) << w->tag;
        }
}

/* What its volume held at some moment of its making; when that is answered, what had ended before
 * it was asked for is durable with it. */
static void tags_of_beginning(const struct history *h, unsigned volume, bool now, uint64_t *ret)
{
        const struct volume_history *v = &h->volumes[volume];
        bool answered = v->exists != TIME_NEVER;
        if (v->from == MAX_VOLUMES) { /* the zeroes of the beginning */
                for (uint32_t b = 0; b < MAX_BLOCKS; b++)
                        ret[b] = 1;
        } else if (answered) {
                memcpy(ret, v->begins, sizeof(v->begins));
        } else {
                struct when at = {.flushed = h->volumes[v->from].flushed,
                                  .now = now,
                                  .before = TIME_NEVER,
                                  .settled = v->created};
                allow(h, v->from, &at, ret);
        }
}

void history_begin(struct history *h, unsigned volume, unsigned from, bool frozen)
{
        for (uint32_t i = 0; i < h->nwrites; i++)
                if (h->writes[i].volume == volume)
                        h->writes[i].n = 0; /* of its earlier life */
        h->volumes[volume] = (struct volume_history){.created = ++h->now,
                                                     .exists = TIME_NEVER,
                                                     .deleting = TIME_NEVER,
                                                     .gone = TIME_NEVER,
                                                     .nblocks.start = TIME_NEVER,
                                                     .owner.start = TIME_NEVER,
                                                     .reserved.start = TIME_NEVER,
                                                     .copies = 1,
                                                     .frozen = frozen,
                                                     .from = (uint8_t)from};
        if (from == MAX_VOLUMES)
                return;
        h->volumes[volume].copies = h->volumes[from].copies;
        h->volumes[volume].nblocks = h->volumes[from].nblocks;
}

void history_began(struct history *h, unsigned volume)
{
        struct volume_history *v = &h->volumes[volume];
        uint32_t answered = ++h->now;
        if (v->from != MAX_VOLUMES) {
                struct when at = {.now = true, .before = answered, .settled = v->created};
                allow(h, v->from, &at, v->begins);
        }
        v->exists = answered;
}

void history_revert(struct history *h, unsigned snapshot)
{
        if (h->nreverts == MAX_REVERTS)
                case_fail("the sequence is too long for this test");
        struct revert *r = &h->reverts[h->nreverts++];
        *r = (struct revert){
            .start = ++h->now, .end = TIME_NEVER, .nblocks = h->volumes[snapshot].nblocks};
        memcpy(r->tags, h->volumes[snapshot].begins, sizeof(r->tags));
}

void history_reverted(struct history *h, bool took_place)
{
        struct revert *r = &h->reverts[h->nreverts - 1];
        struct volume_history *v = &h->volumes[MAIN];
        if (!took_place) {
                h->nreverts--;
                return;
        }
        r->end = ++h->now;
        v->nblocks = r->nblocks;
        v->reserved.value = MIN(v->reserved.value, v->nblocks.value);
}

/* ---- demands ---- */

static void add_ways(const struct history *h, unsigned volume, bool now, struct demand *d)
{
        const struct volume_history *v = &h->volumes[volume];
        bool going = volume == MAIN && h->nreverts && h->reverts[h->nreverts - 1].end == TIME_NEVER;
        for (unsigned way = 0; way < 4; way++) {
                bool owner_next = way & 1, reverted = way & 2;
                if ((owner_next && v->owner.start == TIME_NEVER) || (reverted && !going))
                        continue;
                struct alternative *a = &d->volumes[volume].ways[d->volumes[volume].nways++];
                struct when at = {.flushed =
                                      owner_next ? MAX(v->flushed, v->owner.start) : v->flushed,
                                  .now = now,
                                  .before = TIME_NEVER,
                                  .settled = TIME_NEVER,
                                  .reverted = reverted};
                a->owner_next = owner_next;
                a->nblocks = reverted ? h->reverts[h->nreverts - 1].nblocks : v->nblocks;
                allow(h, volume, &at, a->allowed);
        }
}

void history_demand(const struct history *h, bool now, struct demand *ret_demand)
{
        struct demand *d = ret_demand;
        d->lost = h->lost;
        d->mirrored = h->volumes[MAIN].copies > 1;
        d->whole = h->whole;
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                const struct volume_history *v = &h->volumes[i];
                d->volumes[i].may_be = v->created != TIME_NEVER && v->gone == TIME_NEVER;
                d->volumes[i].must_be = v->exists != TIME_NEVER && v->deleting == TIME_NEVER;
                d->volumes[i].errors_fair = h->lost && v->copies == 1;
                d->volumes[i].owner = v->owner;
                d->volumes[i].reserved = v->reserved;
                d->volumes[i].nways = 0;
                if (d->volumes[i].may_be)
                        add_ways(h, i, now, d);
        }
}

static bool is_one_of(const struct pending *p, uint32_t value)
{
        return value == p->value || (p->start != TIME_NEVER && value == p->next);
}

/* The first block that is none of the allowed ones; nblocks: there is none. */
static uint32_t wrong_block(const struct alternative *a, const struct volume_outcome *v, bool fair)
{
        uint32_t b = 0;
        while (b < v->nblocks && ((v->tags[b] == TAG_UNREADABLE && fair) ||
                                  (v->tags[b] < MAX_TAGS && (a->allowed[b] >> v->tags[b] & 1))))
                b++;
        return b;
}

/* What is more than the volume is cut to its size. */
static void check_reserved(unsigned i, const struct pending *p, const struct volume_outcome *v)
{
        bool cut = v->reserved == v->nblocks &&
                   (p->value > v->nblocks || (p->start != TIME_NEVER && p->next > v->nblocks));
        if (!cut && !is_one_of(p, v->reserved))
                case_fail("volume %u has %u blocks reserved, not %u or %u", i, v->reserved,
                          p->value, p->next);
}

static void check_volume(const struct demand *d, unsigned i, const struct volume_outcome *v)
{
        const struct pending *owner = &d->volumes[i].owner;
        bool owner_next = owner->start != TIME_NEVER && v->owner == owner->next;
        const struct alternative *nearest = NULL, *sized = NULL;
        if (!is_one_of(owner, v->owner))
                case_fail("volume %u: its ownership record is %u, not %u or %u", i, v->owner,
                          owner->value, owner->next);
        check_reserved(i, &d->volumes[i].reserved, v);
        for (uint32_t k = 0; k < d->volumes[i].nways; k++) {
                const struct alternative *a = &d->volumes[i].ways[k];
                if (a->owner_next != owner_next)
                        continue;
                nearest = a;
                if (!is_one_of(&a->nblocks, v->nblocks))
                        continue;
                sized = a;
                if (wrong_block(a, v, d->volumes[i].errors_fair) == v->nblocks)
                        return;
        }
        if (!sized)
                case_fail("volume %u has %u blocks, not %u or %u", i, v->nblocks,
                          nearest->nblocks.value, nearest->nblocks.next);
        uint32_t b = wrong_block(sized, v, d->volumes[i].errors_fair);
        case_fail("volume %u block %u reads as write %u; allowed are those of mask %llx (bit 0: "
                  "zeroes)",
                  i, b, v->tags[b], (unsigned long long)sized->allowed[b]);
}

void demand_check(const struct demand *d, const struct outcome *o)
{
        if (o->refused)
                return; /* nothing is shown, so nothing wrong is; the import has been judged */
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                const struct volume_outcome *v = &o->volumes[i];
                if (!v->there && d->volumes[i].must_be)
                        case_fail("volume %u is gone", i);
                if (v->there && !d->volumes[i].may_be)
                        case_fail("volume %u is there and should not be", i);
                if (v->there)
                        check_volume(d, i, v);
        }
}

/* ---- content ---- */

enum { WORDS = ZP_BLOCK / 8 };

struct uuid volume_uuid_of(unsigned volume)
{
        return (struct uuid){.b = {0xd1, 0x5c, (uint8_t)volume, 3, 4, 5, 0x40, 7, 0x80}};
}

static uint64_t place(unsigned volume, uint32_t block, uint8_t tag)
{
        return UINT64_C(0x5a50) << 48 | (uint64_t)volume << 40 | (uint64_t)tag << 32 | block;
}

static void fill(uint64_t name, uint64_t *words)
{
        uint64_t x = name * UINT64_C(0x9e3779b97f4a7c15);
        for (uint64_t i = 0; i < WORDS; i++)
                words[i] = x + i * UINT64_C(0x9e6c63d0676a9a99);
        words[0] = name;
}

void content_fill(unsigned volume, uint32_t block, uint8_t tag, uint8_t *buf)
{
        uint64_t words[WORDS];
        fill(place(volume, block, tag), words);
        memcpy(buf, words, sizeof(words));
}

uint8_t content_tag(unsigned volume, uint32_t block, const uint8_t *buf)
{
        static const uint8_t zeroes[ZP_BLOCK];
        uint64_t words[WORDS], name;
        memcpy(&name, buf, sizeof(name));
        if (!name && memcmp(buf, zeroes, ZP_BLOCK) == 0)
                return 0;
        fill(name, words);
        uint8_t tag = (uint8_t)(name >> 32);
        if (memcmp(buf, words, sizeof(words)) != 0 || name >> 48 != 0x5a50)
                case_fail("volume %u block %u reads as bytes nobody wrote (%016llx)", volume, block,
                          (unsigned long long)name);
        if ((uint32_t)name != block)
                case_fail("volume %u block %u reads as volume %u block %u", volume, block,
                          (unsigned)(name >> 40 & 0xff), (unsigned)name);
        return tag;
}
