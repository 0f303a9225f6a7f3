/* States seen, see seen.h. */
#include "tests/sim/exhaustive/seen.h"

#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
        if (!p)
                abort();
        return p;
}

void seen_init(struct seen *s)
{
        *s = (struct seen){.room = 1 << 12, .outcomes_room = 64, .index_room = 1 << 8};
        s->states = must(calloc(s->room, sizeof(*s->states)));
        s->outcomes = must(calloc(s->outcomes_room, sizeof(*s->outcomes)));
        s->index = must(calloc(s->index_room, sizeof(*s->index)));
}

void seen_fini(struct seen *s)
{
        free(s->states);
        free(s->outcomes);
        free(s->index);
}

static struct seen_state *slot(const struct seen *s, uint64_t hash)
{
        uint64_t at = hash & (s->room - 1);
        while (s->states[at].hash && s->states[at].hash != hash)
                at = (at + 1) & (s->room - 1);
        return &s->states[at];
}

struct seen_state *seen_find(const struct seen *s, uint64_t hash)
{
        struct seen_state *st = slot(s, hash ? hash : 1);
        return st->hash ? st : NULL;
}

static void grow(struct seen *s)
{
        struct seen_state *old = s->states;
        uint64_t n = s->room;
        s->room *= 2;
        s->states = must(calloc(s->room, sizeof(*s->states)));
        for (uint64_t i = 0; i < n; i++)
                if (old[i].hash)
                        *slot(s, old[i].hash) = old[i];
        free(old);
}

/* ---- outcomes ---- */

static uint32_t outcome_hash(const struct outcome *o)
{
        uint64_t h = 1;
        const uint8_t *p = (const uint8_t *)o;
        for (size_t i = 0; i < sizeof(*o); i++)
                h = (h ^ p[i]) * UINT64_C(0x100000001b3);
        return (uint32_t)(h ^ h >> 32);
}

/* The place in the index where the outcome is, or would be. Numbers there count from 1. */
static uint32_t *place(const struct seen *s, const struct outcome *o)
{
        uint32_t at = outcome_hash(o) & (s->index_room - 1);
        while (s->index[at] && memcmp(&s->outcomes[s->index[at] - 1], o, sizeof(*o)) != 0)
                at = (at + 1) & (s->index_room - 1);
        return &s->index[at];
}

static uint32_t outcome_number(struct seen *s, const struct outcome *o)
{
        uint32_t *at = place(s, o);
        if (*at)
                return *at - 1;
        if (s->noutcomes == s->outcomes_room) {
                s->outcomes_room *= 2;
                s->outcomes = must(realloc(s->outcomes, s->outcomes_room * sizeof(*s->outcomes)));
        }
        s->outcomes[s->noutcomes++] = *o;
        *at = s->noutcomes;
        if (s->noutcomes * 2 > s->index_room) {
                s->index_room *= 2;
                free(s->index);
                s->index = must(calloc(s->index_room, sizeof(*s->index)));
                for (uint32_t i = 0; i < s->noutcomes; i++)
                        *place(s, &s->outcomes[i]) = i + 1;
        }
        return s->noutcomes - 1;
}

struct seen_state *seen_add(struct seen *s, uint64_t hash, const struct outcome *o,
                            const struct outcome *without)
{
        if (s->n * 2 >= s->room)
                grow(s);
        struct seen_state *st = slot(s, hash ? hash : 1);
        if (!st->hash)
                s->n++;
        st->hash = hash ? hash : 1;
        st->outcome = outcome_number(s, o);
        st->without = without ? outcome_number(s, without) : SEEN_NONE;
        return st;
}

const struct outcome *seen_outcome(const struct seen *s, uint32_t number)
{
        return &s->outcomes[number];
}
