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
                v->nblocks.start = v->owner.start = TIME_NEVER;
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

/* ---- demands ---- */

/* Tags that blocks of a volume may have when what ended before `flushed` is durable. */
static void allow(const struct history *h, unsigned volume, uint32_t flushed, bool now,
                  uint64_t *allowed)
{
        uint32_t floor[MAX_BLOCKS] = {0};
        for (uint32_t i = 0; i < h->nwrites; i++) {
                const struct write *w = &h->writes[i];
                if (w->volume != volume || !w->definite || !(w->fua || now || w->end <= flushed))
                        continue;
                for (uint32_t b = w->first; b < (uint32_t)w->first + w->n; b++)
                        floor[b] = MAX(floor[b], w->start);
        }
        for (uint32_t b = 0; b < MAX_BLOCKS; b++)
                allowed[b] = floor[b] == 0; /* the zeroes of the beginning */
        for (uint32_t i = 0; i < h->nwrites; i++) {
                const struct write *w = &h->writes[i];
                for (uint32_t b = w->first; w->volume == volume && b < (uint32_t)w->first + w->n;
                     b++)
                        if (w->end >= floor[b])
                                allowed[b] |= UINT64_C(1) << w->tag;
        }
}

void history_demand(const struct history *h, bool now, struct demand *ret_demand)
{
        struct demand *d = ret_demand;
        d->lost = h->lost;
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                const struct volume_history *v = &h->volumes[i];
                d->volumes[i].may_be = v->created != TIME_NEVER && v->gone == TIME_NEVER;
                d->volumes[i].must_be = v->exists != TIME_NEVER && v->deleting == TIME_NEVER;
                d->volumes[i].nblocks = v->nblocks;
                d->volumes[i].owner = v->owner;
                if (!d->volumes[i].may_be)
                        continue;
                allow(h, i, v->flushed, now, d->volumes[i].allowed);
                if (v->owner.start != TIME_NEVER)
                        allow(h, i, MAX(v->flushed, v->owner.start), now,
                              d->volumes[i].with_next_owner);
        }
}

static bool is_one_of(const struct pending *p, uint32_t value)
{
        return value == p->value || (p->start != TIME_NEVER && value == p->next);
}

static void check_blocks(unsigned volume, const uint64_t *allowed, const struct volume_outcome *v,
                         bool lost)
{
        for (uint32_t b = 0; b < v->nblocks; b++) {
                if (v->tags[b] == TAG_UNREADABLE && lost)
                        continue;
                if (v->tags[b] >= MAX_TAGS || !(allowed[b] >> v->tags[b] & 1))
                        case_fail("volume %u block %u reads as write %u; allowed are those of mask "
                                  "%llx (bit 0: zeroes)",
                                  volume, b, v->tags[b], (unsigned long long)allowed[b]);
        }
}

void demand_check(const struct demand *d, const struct outcome *o)
{
        if (o->refused)
                return; /* nothing is shown, so nothing wrong is; the import has been judged */
        for (unsigned i = 0; i < MAX_VOLUMES; i++) {
                const struct volume_outcome *v = &o->volumes[i];
                if (!v->there && d->volumes[i].must_be)
                        case_fail("volume %u is gone", i);
                if (!v->there)
                        continue;
                if (!d->volumes[i].may_be)
                        case_fail("volume %u is there and should not be", i);
                if (!is_one_of(&d->volumes[i].nblocks, v->nblocks))
                        case_fail("volume %u has %u blocks, not %u or %u", i, v->nblocks,
                                  d->volumes[i].nblocks.value, d->volumes[i].nblocks.next);
                const struct pending *owner = &d->volumes[i].owner;
                if (!is_one_of(owner, v->owner))
                        case_fail("volume %u: its ownership record is %u, not %u or %u", i,
                                  v->owner, owner->value, owner->next);
                bool next = owner->start != TIME_NEVER && v->owner == owner->next;
                check_blocks(i, next ? d->volumes[i].with_next_owner : d->volumes[i].allowed, v,
                             d->lost);
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
        if (name != place(volume, block, tag))
                case_fail("volume %u block %u reads as volume %u block %u: another's data", volume,
                          block, (unsigned)(name >> 40 & 0xff), (unsigned)name);
        return tag;
}
