/* Borrowed entries, see borrow.h: sets of four, in each the oldest goes first, and one that is used
 * moves up a place. The table begins small; when as many were kept as it has places it is made
 * anew with four times as many, and empty: what is wanted comes back, and nobody waits for entries
 * to be copied. */
#include "pool/table/borrow.h"
#include "pool/internal.h"

enum {
        WAYS = 4,
        CAP_SHARE = 8, /* of the cap of table pages: one such part */
        SETS_LEAST = 16, /* of a table that a small cap allows, */
        SETS_FIRST = 256, /* and that it begins with */
};

#define BYTES_MOST (UINT64_C(32) << 20)
#define SET_BYTES (WAYS * sizeof(struct borrowed))

struct borrowed {
        uint64_t tree, index; /* tree 0: none */
        uint64_t addr; /* 0: a hole */
        uint32_t crc;
        uint32_t departed; /* of the group, when it was borrowed */
};

_Static_assert(sizeof(struct borrowed) == 32, "a set is two cache lines");

static struct borrowed *set_of(const struct borrow *b, uint64_t tree, uint64_t index)
{
        uint64_t h = (index * UINT64_C(0x9E3779B97F4A7C15)) ^ (tree * UINT64_C(0xC2B2AE3D27D4EB4F));

        return &b->slots[((h ^ h >> 32) & (b->nsets - 1)) * WAYS];
}

static struct borrowed *find(const struct borrow *b, uint64_t tree, uint64_t index)
{
        if (!b->slots)
                return NULL;
        struct borrowed *set = set_of(b, tree, index);
        for (unsigned i = 0; i < WAYS; i++)
                if (set[i].tree == tree && set[i].index == index)
                        return &set[i];
        return NULL;
}

static bool stands(const struct pool *pool, const struct tree *t, const struct borrowed *e)
{
        if (!e->addr)
                return true;
        return e->index < t->limit && pool->groups[addr_group(e->addr)]->departed == e->departed;
}

bool borrow_has(const struct pool *pool, const struct tree *t, uint64_t first, uint64_t end)
{
        if (!t->up)
                return false;
        for (; first < end; first++) {
                const struct borrowed *e = find(&pool->borrow, t->id, first);
                if (!e || !stands(pool, t, e))
                        return false;
        }
        return true;
}

void borrow_forget(struct pool *pool, const struct tree *t, uint64_t index)
{
        struct borrowed *e = find(&pool->borrow, t->id, index);

        if (e)
                *e = (struct borrowed){0};
}

void borrow_drop(struct pool *pool)
{
        pool_release(pool->borrow.slots);
        pool->borrow.slots = NULL;
        pool->borrow.bytes = pool->borrow.kept = 0;
}

/* Sets that the cap allows. */
static uint64_t sets_most(const struct pool *pool)
{
        uint64_t cap = pool->pager.cap;
        uint64_t bytes = cap ? MIN(cap / CAP_SHARE, BYTES_MOST) : BYTES_MOST;

        return MAX(bytes / SET_BYTES, (uint64_t)SETS_LEAST);
}

/* There is a place for one more. */
static bool make_room(struct pool *pool)
{
        struct borrow *b = &pool->borrow;
        uint64_t nsets = MIN(b->slots ? 4 * b->nsets : SETS_FIRST, sets_most(pool));

        while (nsets & (nsets - 1)) /* the cap need not be a power of two */
                nsets &= nsets - 1;
        if (b->slots && (b->kept < WAYS * b->nsets || nsets <= b->nsets))
                return true;
        borrow_drop(pool);
        b->slots = pool_alloc(pool, nsets * SET_BYTES);
        b->nsets = nsets;
        b->bytes = b->slots ? nsets * SET_BYTES : 0;
        return b->slots;
}

static uint32_t depth(const struct pool *pool)
{
        return pool->options.borrow_depth ? pool->options.borrow_depth : BORROW_DEPTH;
}

static void keep(struct pool *pool, const struct tree *t, uint64_t index, struct entry e)
{
        bool mapped = e.addr & ADDR_MAPPED;

        if (!make_room(pool))
                return;
        pool->borrow.kept++;
        struct borrowed *in = find(&pool->borrow, t->id, index);
        if (!in) {
                in = set_of(&pool->borrow, t->id, index);
                for (unsigned i = WAYS - 1; i; i--)
                        in[i] = in[i - 1];
        }
        *in = (struct borrowed){
            .tree = t->id,
            .index = index,
            .addr = mapped ? e.addr : 0,
            .crc = mapped ? e.crc : 0,
            .departed = mapped ? pool->groups[addr_group(e.addr)]->departed : 0,
        };
}

static struct entry use(struct borrow *b, struct borrowed *e)
{
        struct entry found = {e->addr, e->crc};

        if (e != set_of(b, e->tree, e->index)) {
                struct borrowed before = e[-1];
                e[-1] = *e;
                *e = before;
        }
        b->found++;
        return found;
}

struct entry borrow_lookup(struct pool *pool, const struct tree *t, uint64_t index)
{
        struct borrow *b = &pool->borrow;
        const struct tree *at = t;
        struct entry e = {0};
        uint64_t trees = 0;

        if (!t->up)
                return tree_get(t, index);
        b->reads++;
        struct borrowed *have = find(b, t->id, index);
        if (have && stands(pool, t, have))
                return use(b, have);
        for (; at; at = at->up) { /* tree_lookup, and how far it went */
                e = tree_get(at, index);
                trees++;
                if (e.addr || index >= at->limit)
                        break;
        }
        b->trees += trees;
        if (trees > depth(pool)) /* the last one is so many above t */
                keep(pool, t, index, e);
        return (e.addr & ADDR_MAPPED) ? e : (struct entry){0};
}
