/* See lock.h. The locks stand in a treap by first block and arrival, each with the highest end
 * below it, so that those that overlap a range are found without looking at the others. Its
 * priorities are a mix of the arrivals: the same in every run, and as good as random for the
 * balance.
 *
 * A waiting lock counts those it waits for: earlier ones that overlap it, but for idle ones where
 * it may pass these. Nobody waits for a later one, so that there is no deadlock. */
#include "pool/table/lock.h"

#include "base/cleanup.h"

#include <assert.h>

static uint64_t priority(const struct lock *l)
{
        uint64_t z = (l->arrival + 1) * UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

static bool before(const struct lock *a, const struct lock *b)
{
        return a->first < b->first || (a->first == b->first && a->arrival < b->arrival);
}

static void update(struct lock *l)
{
        l->last = l->end;
        if (l->left)
                l->last = MAX(l->last, l->left->last);
        if (l->right)
                l->last = MAX(l->last, l->right->last);
}

/* Those before at go to *ret_left, the others to *ret_right. */
static void split(struct lock *t, const struct lock *at, struct lock **ret_left,
                  struct lock **ret_right)
{
        if (!t) {
                *ret_left = *ret_right = NULL;
        } else if (before(t, at)) {
                split(t->right, at, &t->right, ret_right);
                *ret_left = t;
                update(t);
        } else {
                split(t->left, at, ret_left, &t->left);
                *ret_right = t;
                update(t);
        }
}

static struct lock *merge(struct lock *left, struct lock *right)
{
        if (!left || !right)
                return left ? left : right;
        if (priority(left) > priority(right)) {
                left->right = merge(left->right, right);
                update(left);
                return left;
        }
        right->left = merge(left, right->left);
        update(right);
        return right;
}

static struct lock *insert(struct lock *t, struct lock *l)
{
        if (!t || priority(l) > priority(t)) {
                split(t, l, &l->left, &l->right);
                t = l;
        } else if (before(l, t)) {
                t->left = insert(t->left, l);
        } else {
                t->right = insert(t->right, l);
        }
        update(t);
        return t;
}

static struct lock *erase(struct lock *t, const struct lock *l)
{
        if (t == l)
                return merge(t->left, t->right);
        if (before(l, t))
                t->left = erase(t->left, l);
        else
                t->right = erase(t->right, l);
        update(t);
        return t;
}

/* Calls see for each lock that overlaps the range. */
static void visit(struct lock *t, uint64_t first, uint64_t end,
                  void (*see)(struct lock *other, void *ctx), void *ctx)
{
        for (; t && t->last > first; t = t->right) {
                visit(t->left, first, end, see, ctx);
                if (t->first >= end)
                        return;
                if (t->end > first)
                        see(t, ctx);
        }
}

/* ---- who waits for whom ---- */

/* w came behind l, overlaps it, and is not granted. */
static bool waits(const struct lock *w, const struct lock *l)
{
        return !w->granted && w->arrival > l->arrival;
}

struct release {
        const struct lock *gone;
        struct list ready; /* by arrival */
};

static void one_less(struct lock *w, struct release *r)
{
        if (--w->waits_for)
                return;
        struct list *at = r->ready.prev;
        while (at != &r->ready && list_entry(at, struct lock, ready)->arrival > w->arrival)
                at = at->prev;
        list_add_head(at, &w->ready);
        w->granted = true;
}

static void grant_all(struct release *r)
{
        while (!list_empty(&r->ready)) {
                struct lock *w = list_first(&r->ready, struct lock, ready);
                list_del(&w->ready);
                w->grant(w);
        }
}

static void count(struct lock *other, void *ctx)
{
        struct lock *l = ctx;

        l->waits_for += !(l->over_idle && other->idle);
}

bool lock_take(struct lock_set *set, struct lock *l)
{
        assert(!l->taken);
        l->arrival = set->arrivals++;
        l->waits_for = 0;
        l->idle = false;
        list_init(&l->ready);
        visit(set->root, l->first, l->end, count, l);
        l->granted = !l->waits_for;
        l->left = l->right = NULL;
        l->taken = true;
        set->root = insert(set->root, l);
        return l->granted;
}

static void without(struct lock *w, void *ctx)
{
        struct release *r = ctx;

        if (waits(w, r->gone) && !(w->over_idle && r->gone->idle))
                one_less(w, r);
}

void lock_release(struct lock_set *set, struct lock *l)
{
        struct release r = {.gone = l};

        if (!l->taken)
                return;
        list_init(&r.ready);
        set->root = erase(set->root, l);
        l->taken = false;
        visit(set->root, l->first, l->end, without, &r);
        grant_all(&r);
}

static void passes(struct lock *w, void *ctx)
{
        struct release *r = ctx;

        if (waits(w, r->gone) && w->over_idle)
                one_less(w, r);
}

void lock_set_idle(struct lock_set *set, struct lock *l)
{
        struct release r = {.gone = l};

        if (l->idle)
                return;
        list_init(&r.ready);
        l->idle = true;
        visit(set->root, l->first, l->end, passes, &r);
        grant_all(&r);
}

static void passes_no_more(struct lock *w, void *ctx)
{
        const struct lock *l = ctx;

        w->waits_for += waits(w, l) && w->over_idle;
}

void lock_clear_idle(struct lock_set *set, struct lock *l)
{
        if (!l->idle)
                return;
        l->idle = false;
        visit(set->root, l->first, l->end, passes_no_more, l);
}

static void works_there(struct lock *other, void *ctx)
{
        const struct lock **l = ctx;

        if (*l && other != *l && other->over_idle && other->granted)
                *l = NULL;
}

bool lock_may_resume(const struct lock_set *set, const struct lock *l)
{
        const struct lock *left = l;

        visit(set->root, l->first, l->end, works_there, &left);
        return left;
}

static void later(struct lock *other, void *ctx)
{
        struct lock **last = ctx;

        if (!*last || other->arrival > (*last)->arrival)
                *last = other;
}

struct lock *lock_last(const struct lock_set *set, uint64_t first, uint64_t end)
{
        struct lock *last = NULL;

        visit(set->root, first, end, later, &last);
        return last;
}
