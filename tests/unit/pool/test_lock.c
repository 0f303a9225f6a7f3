/* Range locks: in order of arrival, never two that overlap, compared with a plain list. */
#include "base/cleanup.h"
#include "base/rng.h"
#include "pool/table/lock.h"
#include "tests/t_suite.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LOCKS = 64 };

struct client {
        struct lock lock;
        bool in_use, told; /* grant was called, or lock_take said so */
};

static struct client *granted_last[MAX_LOCKS];
static unsigned ngranted;

static void granted(struct lock *l)
{
        struct client *c = container_of(l, struct client, lock);

        CU_ASSERT_FALSE(c->told);
        c->told = true;
        granted_last[ngranted++] = c;
}

static void take(struct lock_set *set, struct client *c, uint64_t first, uint64_t end)
{
        *c =
            (struct client){.lock = {.first = first, .end = end, .grant = granted}, .in_use = true};
        c->told = lock_take(set, &c->lock);
}

static void test_what_overlaps_goes_in_order_of_arrival(void)
{
        struct lock_set set = {0};
        struct client c[5];

        ngranted = 0;
        take(&set, &c[0], 10, 20);
        take(&set, &c[1], 15, 25);
        take(&set, &c[2], 20, 30); /* free of the first, but behind the second */
        take(&set, &c[3], 30, 31);
        take(&set, &c[4], 10, 12);
        CU_ASSERT_TRUE(c[0].told && !c[1].told && !c[2].told && c[3].told && !c[4].told);
        CU_ASSERT_PTR_EQUAL(lock_last(&set, 10, 11), &c[4].lock);
        CU_ASSERT_PTR_EQUAL(lock_last(&set, 18, 21), &c[2].lock);
        CU_ASSERT_PTR_NULL(lock_last(&set, 31, 100));
        lock_release(&set, &c[0].lock);
        CU_ASSERT_EQUAL(ngranted, 2);
        CU_ASSERT_PTR_EQUAL(granted_last[0], &c[1]);
        CU_ASSERT_PTR_EQUAL(granted_last[1], &c[4]);
        CU_ASSERT_FALSE(c[2].told);
        lock_release(&set, &c[1].lock);
        CU_ASSERT_TRUE(c[2].told);
        lock_release(&set, &c[0].lock); /* is not taken: nothing */
        for (int i = 2; i < 5; i++)
                lock_release(&set, &c[i].lock);
        CU_ASSERT_PTR_NULL(set.root);
}

static void test_idle_ones_are_passed_by_those_that_may(void)
{
        struct lock_set set = {0};
        struct client held, vop, write;

        ngranted = 0;
        take(&set, &held, 0, 10);
        vop = (struct client){.lock = {.end = 100, .over_idle = true, .grant = granted}};
        vop.told = lock_take(&set, &vop.lock);
        take(&set, &write, 5, 6);
        CU_ASSERT_FALSE(vop.told || write.told);
        lock_set_idle(&set, &held.lock);
        CU_ASSERT_TRUE(vop.told);
        CU_ASSERT_FALSE(write.told || lock_may_resume(&set, &held.lock));
        lock_release(&set, &vop.lock);
        CU_ASSERT_TRUE(lock_may_resume(&set, &held.lock));
        CU_ASSERT_FALSE(write.told);
        lock_clear_idle(&set, &held.lock);
        vop.told = false;
        vop.told = lock_take(&set, &vop.lock); /* must wait again */
        CU_ASSERT_FALSE(vop.told);
        lock_release(&set, &held.lock);
        CU_ASSERT_TRUE(write.told);
        CU_ASSERT_FALSE(vop.told);
        lock_release(&set, &write.lock);
        CU_ASSERT_TRUE(vop.told);
}

/* ---- against a list ---- */

static bool overlap(const struct lock *a, const struct lock *b)
{
        return a->first < b->end && b->first < a->end;
}

/* Whether it should be granted: no earlier one overlaps it that it does not pass. */
static bool free_in_list(struct client **queue, unsigned n, const struct client *c)
{
        for (unsigned i = 0; i < n && queue[i] != c; i++)
                if (overlap(&queue[i]->lock, &c->lock) &&
                    !(c->lock.over_idle && queue[i]->lock.idle))
                        return false;
        return true;
}

static const struct lock *last_in_list(struct client **queue, unsigned n, uint64_t first,
                                       uint64_t end)
{
        for (unsigned i = n; i; i--)
                if (queue[i - 1]->lock.first < end && first < queue[i - 1]->lock.end)
                        return &queue[i - 1]->lock;
        return NULL;
}

static void compare(struct lock_set *set, struct client **queue, unsigned n, struct rng *rng)
{
        for (unsigned i = 0; i < n; i++) {
                /* what was granted stays so, though one it passed goes on meanwhile */
                bool want = queue[i]->told || free_in_list(queue, n, queue[i]);
                CU_ASSERT_EQUAL(queue[i]->told, want);
                CU_ASSERT_EQUAL(queue[i]->lock.granted, queue[i]->told);
        }
        for (unsigned i = 0; i < ngranted; i++) /* in this step */
                CU_ASSERT_TRUE(free_in_list(queue, n, granted_last[i]));
        for (unsigned i = 1; i < ngranted; i++)
                CU_ASSERT_TRUE(granted_last[i - 1]->lock.arrival < granted_last[i]->lock.arrival);
        uint64_t first = rng_below(rng, 60), end = first + 1 + rng_below(rng, 4);
        CU_ASSERT_PTR_EQUAL(lock_last(set, first, end), last_in_list(queue, n, first, end));
}

static void remove_at(struct client **queue, unsigned *n, unsigned i)
{
        queue[i]->in_use = false;
        memmove(queue + i, queue + i + 1, (--*n - i) * sizeof(*queue));
}

static void random_step(struct lock_set *set, struct client *pool, struct client **queue,
                        unsigned *n, struct rng *rng)
{
        ngranted = 0;
        if (*n < MAX_LOCKS && rng_chance(rng, 1, 2)) {
                struct client *c = pool;
                while (c->in_use)
                        c++;
                bool wide = rng_chance(rng, 1, 10);
                uint64_t first = wide ? 0 : rng_below(rng, 60);
                *c = (struct client){
                    .lock = {.first = first,
                             .end = wide ? UINT64_MAX : first + 1 + rng_below(rng, 5),
                             .over_idle = rng_chance(rng, 1, 5),
                             .grant = granted},
                    .in_use = true};
                c->told = lock_take(set, &c->lock);
                queue[(*n)++] = c;
                if (c->told)
                        granted_last[ngranted++] = c;
        } else if (*n) {
                unsigned i = (unsigned)rng_below(rng, *n);
                struct client *c = queue[i];
                if (c->told && c->lock.idle && rng_chance(rng, 1, 2)) {
                        if (lock_may_resume(set, &c->lock))
                                lock_clear_idle(set, &c->lock);
                } else if (c->told && !c->lock.idle && !c->lock.over_idle &&
                           rng_chance(rng, 1, 4)) {
                        lock_set_idle(set, &c->lock);
                } else {
                        remove_at(queue, n, i);
                        lock_release(set, &c->lock);
                }
        }
}

static void test_as_a_list_would(void)
{
        for (uint64_t seed = 1; seed <= 40; seed++) {
                struct lock_set set = {0};
                struct client pool[MAX_LOCKS] = {0}, *queue[MAX_LOCKS];
                struct rng rng = {seed};
                unsigned n = 0;

                for (int i = 0; i < 2000; i++) {
                        random_step(&set, pool, queue, &n, &rng);
                        compare(&set, queue, n, &rng);
                }
                while (n) {
                        struct client *c = queue[n - 1];
                        remove_at(queue, &n, n - 1);
                        lock_release(&set, &c->lock);
                }
                CU_ASSERT_PTR_NULL(set.root);
        }
}

/* Looking at all the others for each would take longer than a test may. */
static void test_many_cost_little(void)
{
        enum { MANY = 100000 };
        struct lock_set set = {0};
        struct client *c = calloc(MANY, sizeof(*c));

        ngranted = 0;
        for (uint64_t i = 0; i < MANY; i++) {
                take(&set, &c[i], 2 * i, 2 * i + 1);
                CU_ASSERT_TRUE(c[i].told);
        }
        for (uint64_t i = 0; i < MANY; i++)
                lock_release(&set, &c[i].lock);
        CU_ASSERT_EQUAL(ngranted, 0);
        CU_ASSERT_PTR_NULL(set.root);
        free(c);
}

static const struct t_case cases[] = {
    T_CASE(test_what_overlaps_goes_in_order_of_arrival),
    T_CASE(test_idle_ones_are_passed_by_those_that_may),
    T_CASE(test_as_a_list_would),
    T_CASE(test_many_cost_little),
};
T_MAIN("range locks", cases)
