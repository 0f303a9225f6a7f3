/* What changed between two snapshots, or a snapshot and its volume: the blocks whose entries
 * differ.
 *
 * Both see the same where both ask the same tree. So only entries of the trees below the one they
 * have in common are looked at, and what of that one shows through to one of them and not to the
 * other. A few leaf pages at a time, held by pins.
 */
#include "pool/table/vop.h"

enum { DIFF_WALK = 65536, STEP_LEAVES = 64 };

struct diff_call {
        struct deferred later;
        struct pin pin[2];
        struct pool *pool;
        struct volume *from, *to; /* from NULL: nothing */
        uint64_t at, end, stop;
        struct volume_change *out;
        uint32_t n, max, seen, loading;
        int status;
        bool starting;
        void *ctx;
        void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block);
};

static void pin_tree(struct volume *vol)
{
        if (vol && vol->frozen)
                node_pin(vol);
}

static void unpin_tree(struct volume *vol)
{
        if (vol && vol->frozen)
                node_unpin(vol);
}

static void tell(struct deferred *d)
{
        struct diff_call c = *container_of(d, struct diff_call, later);

        unpin_tree(c.from);
        unpin_tree(c.to);
        pool_release(container_of(d, struct diff_call, later));
        c.done(c.ctx, c.status, c.n, c.at < c.end ? c.at : UINT64_MAX);
}

static void drop_pins(struct diff_call *c)
{
        pin_drop(&c->pin[0]);
        pin_drop(&c->pin[1]);
}

static void end(struct diff_call *c, int status)
{
        drop_pins(c);
        c->status = status;
        c->later.call = tell;
        if (c->starting)
                pool_defer(c->pool, &c->later);
        else
                tell(&c->later);
}

/* The tree both ask in the end, or NULL; and up to where each of them sees it. Parents have lower
 * ids than their children. */
static const struct tree *fork_of(const struct tree *a, const struct tree *b, uint64_t limit[2])
{
        limit[0] = limit[1] = UINT64_MAX;
        while (a && b && a != b) {
                const struct tree **t = a->id > b->id ? &a : &b;
                uint64_t *l = &limit[t == &b];
                *l = MIN(*l, (*t)->limit);
                *t = (*t)->up;
        }
        return a == b ? a : NULL;
}

/* First block in [at, end) that may differ, or end. */
static uint64_t next_maybe(const struct diff_call *c, uint64_t at, uint64_t stop)
{
        const struct tree *from = c->from ? c->from->tree : NULL, *to = c->to->tree;
        uint64_t limit[2], next = stop;
        const struct tree *fork = fork_of(from, to, limit);

        for (; from && from != fork && at < next; from = from->up)
                next = tree_next_entry_maybe(from, at, next);
        for (; to && to != fork && at < next; to = to->up)
                next = tree_next_entry_maybe(to, at, next);
        at = MAX(at, MIN(limit[0], limit[1]));
        if (fork && limit[0] != limit[1] && at < next)
                next = tree_next_shown_maybe(fork, at, next);
        return next;
}

static bool differ(const struct diff_call *c, uint64_t block, bool *ret_zeroes)
{
        struct entry was = {0}, is = tree_lookup(c->to->tree, block);

        if (c->from)
                was = tree_lookup(c->from->tree, block);
        *ret_zeroes = !is.addr;
        return was.addr != is.addr;
}

/* The pages of the step are there. True: the call is through. */
static bool list(struct diff_call *c)
{
        bool zeroes;

        while (c->seen < DIFF_WALK) {
                c->at = next_maybe(c, c->at, c->stop);
                if (c->at >= c->stop)
                        return false;
                if (differ(c, c->at, &zeroes)) {
                        struct volume_change *x = c->n ? &c->out[c->n - 1] : NULL;
                        if (x && x->block + x->nblocks == c->at && x->zeroes == zeroes)
                                x->nblocks++;
                        else if (c->n < c->max)
                                c->out[c->n++] = (struct volume_change){c->at, 1, zeroes};
                        else
                                return true;
                }
                c->at++;
                c->seen++;
        }
        return true;
}

static void step(struct diff_call *c);

static void pages_there(struct pin *pin, int status)
{
        struct diff_call *c = pin->ctx;

        if (status == 0 && !pin->tree)
                status = -ENOENT; /* deleted meanwhile */
        if (status < 0)
                c->status = status;
        if (--c->loading)
                return;
        if (c->status < 0 || list(c)) {
                end(c, c->status);
                return;
        }
        drop_pins(c);
        step(c);
}

static void step(struct diff_call *c)
{
        while ((c->at = next_maybe(c, c->at, c->end)) < c->end) {
                c->stop = MIN(c->end, (c->at / ENTRIES + STEP_LEAVES) * ENTRIES);
                c->loading = 1;
                for (int i = 0; i < 2; i++) {
                        struct volume *vol = i ? c->to : c->from;
                        c->pin[i] = (struct pin){.first = c->at,
                                                 .end = c->stop,
                                                 .now = true,
                                                 .chain = true,
                                                 .ready = pages_there,
                                                 .ctx = c};
                        if (vol && !pin_take(c->pool, vol->tree, &c->pin[i]))
                                c->loading++;
                }
                if (--c->loading)
                        return;
                if (list(c))
                        break;
                drop_pins(c);
        }
        end(c, 0);
}

void volume_diff(struct volume *from, struct volume *to, uint64_t first_block,
                 struct volume_change *out, uint32_t max, void *ctx,
                 void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        struct diff_call *c = pool_alloc(to->pool, sizeof(*c));

        if (!c) {
                done(ctx, -ENOMEM, 0, UINT64_MAX);
                return;
        }
        c->pool = to->pool;
        c->from = from;
        c->to = to;
        c->at = first_block;
        c->end = DIV_ROUND_UP(to->size_bytes, ZP_BLOCK);
        c->out = out;
        c->max = max;
        c->ctx = ctx;
        c->done = done;
        pin_tree(from);
        pin_tree(to);
        c->starting = true;
        step(c);
        c->starting = false;
}
