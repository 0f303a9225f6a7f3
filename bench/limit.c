/* See limit.h. The simulated store shares no code with pool/: it is there to be compared with. */
#include "limit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

double limit_uniform(double u)
{
        double v = u;

        /* the fixed point below 1 attracts: the slope there is v / u < 1 */
        for (int i = 0; i < 100000; i++) {
                double next = exp(-(1 - v) / u);
                if (fabs(next - v) < 1e-12)
                        break;
                v = next;
        }
        return 1 / (1 - v);
}

enum { CLASSES = 6, LIFESPANS = 16, NOWHERE = UINT32_MAX };

struct segment {
        int cls; /* -1: free */
        uint32_t used, live;
        uint64_t born, sealed; /* user writes by then */
};

struct store {
        uint32_t seg_blocks, nsegs, nfree, scan;
        struct segment *segs;
        uint32_t open[CLASSES];
        uint32_t *owner; /* of a place */
        uint64_t *wrote; /* when its user wrote it */
        uint32_t *place; /* of a block */
        uint64_t now, moved;
        double lifespan; /* mean of the last short-lived segments' lives */
        double lives;
        unsigned nlives;
};

static void put(struct store *s, int cls, uint32_t block, uint64_t when)
{
        struct segment *g = s->open[cls] == NOWHERE ? NULL : &s->segs[s->open[cls]];

        if (!g || g->used == s->seg_blocks) {
                if (g)
                        g->sealed = s->now;
                while (s->segs[s->scan % s->nsegs].cls >= 0)
                        s->scan++;
                s->open[cls] = s->scan % s->nsegs;
                g = &s->segs[s->open[cls]];
                *g = (struct segment){.cls = cls, .born = s->now};
                s->nfree--;
        }
        uint32_t at = s->open[cls] * s->seg_blocks + g->used++;
        uint32_t old = s->place[block];
        if (old != NOWHERE)
                s->segs[old / s->seg_blocks].live--;
        g->live++;
        s->owner[at] = block;
        s->wrote[at] = when;
        s->place[block] = at;
}

static void user_write(struct store *s, uint32_t block)
{
        uint32_t old = s->place[block];
        double age = old == NOWHERE ? INFINITY : (double)(s->now - s->wrote[old]);

        put(s, age < s->lifespan ? 0 : 1, block, s->now);
        s->now++;
}

static bool is_open(const struct store *s, uint32_t seg)
{
        for (int c = 0; c < CLASSES; c++)
                if (s->open[c] == seg && s->segs[seg].used < s->seg_blocks)
                        return true;
        return false;
}

static int class_for(const struct store *s, int from, double age)
{
        if (from == 0)
                return 2;
        if (age < 4 * s->lifespan)
                return 3;
        return age < 16 * s->lifespan ? 4 : 5;
}

static void clean(struct store *s)
{
        uint32_t best = NOWHERE;
        double best_score = -1;

        for (uint32_t i = 0; i < s->nsegs; i++) {
                const struct segment *g = &s->segs[i];
                if (g->cls < 0 || is_open(s, i) || g->live == s->seg_blocks)
                        continue;
                double u = (double)g->live / s->seg_blocks;
                double score = (1 - u) * (double)(s->now - g->sealed + 1) / (u + 1e-9);
                if (score > best_score) {
                        best_score = score;
                        best = i;
                }
        }
        if (best == NOWHERE)
                return;
        struct segment *g = &s->segs[best];
        int from = g->cls;
        uint32_t base = best * s->seg_blocks, used = g->used;
        for (int c = 0; c < CLASSES; c++)
                if (s->open[c] == best)
                        s->open[c] = NOWHERE;
        for (uint32_t i = base; i < base + used; i++) {
                uint32_t block = s->owner[i];
                if (s->place[block] != i)
                        continue;
                put(s, class_for(s, from, (double)(s->now - s->wrote[i])), block, s->wrote[i]);
                s->moved++;
        }
        if (from == 0) {
                s->lives += (double)(s->now - g->born);
                if (++s->nlives == LIFESPANS) {
                        s->lifespan = s->lives / LIFESPANS;
                        s->lives = 0;
                        s->nlives = 0;
                }
        }
        g->cls = -1;
        s->nfree++;
}

static int store_init(struct store *s, uint64_t live, double u, uint32_t seg_blocks)
{
        *s = (struct store){.seg_blocks = seg_blocks, .lifespan = INFINITY};
        s->nsegs = (uint32_t)((double)live / u / seg_blocks + 0.5) + CLASSES + 1;
        s->nfree = s->nsegs;
        s->segs = calloc(s->nsegs, sizeof(*s->segs));
        s->owner = calloc((size_t)s->nsegs * seg_blocks, sizeof(*s->owner));
        s->wrote = calloc((size_t)s->nsegs * seg_blocks, sizeof(*s->wrote));
        s->place = malloc(live * sizeof(*s->place));
        if (!s->segs || !s->owner || !s->wrote || !s->place)
                return -1;
        for (uint32_t i = 0; i < s->nsegs; i++)
                s->segs[i].cls = -1;
        for (uint64_t i = 0; i < live; i++)
                s->place[i] = NOWHERE;
        for (int c = 0; c < CLASSES; c++)
                s->open[c] = NOWHERE;
        return 0;
}

double limit_simulated(enum workload_kind kind, uint64_t live, double u, uint32_t seg_blocks,
                       unsigned settle, unsigned measure, uint64_t seed)
{
        struct store s;
        struct workload w = {0};
        double wa = -1;

        if (store_init(&s, live, u, seg_blocks) == 0 && workload_init(&w, kind, live, seed) == 0) {
                for (uint64_t i = 0; i < live; i++)
                        user_write(&s, (uint32_t)i);
                uint64_t start = (uint64_t)settle * live, end = start + (uint64_t)measure * live;
                uint64_t before = 0;
                for (uint64_t i = 0; i < end; i++) {
                        if (i == start)
                                before = s.moved;
                        /* a victim may need a new segment of each cleaning class, the write one */
                        for (unsigned k = 0; s.nfree <= CLASSES - 1 && k < s.nsegs; k++)
                                clean(&s);
                        user_write(&s, (uint32_t)workload_next(&w));
                }
                wa = 1 + (double)(s.moved - before) / (double)(end - start);
        }
        workload_fini(&w);
        free(s.segs);
        free(s.owner);
        free(s.wrote);
        free(s.place);
        return wa;
}
