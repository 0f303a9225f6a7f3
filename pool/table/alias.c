/* Which tree took the place of one that is gone, see alias.h. Entries stay where they are, so that
 * a change costs one block of the next checkpoint; in RAM a hash finds them. */
#include "pool/table/alias.h"

#include "pool/internal.h"

#include "base/le.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t magic_alias[4] = {'Z', 'P', 'A', 'L'};
enum { ALIAS_VERSION = 1, FIRST_BUCKETS = 64, FIXED = 16, EACH = 16 };

int alias_init(struct alias_table *a)
{
        a->buckets = calloc(FIRST_BUCKETS, sizeof(*a->buckets));
        a->nbuckets = FIRST_BUCKETS;
        if (!a->buckets)
                return -ENOMEM;
        return bitmap_init(&a->dirty, ALIAS_BLOCKS_MAX);
}

void alias_fini(struct alias_table *a)
{
        free(a->entries);
        free(a->buckets);
        bitmap_fini(&a->dirty);
}

static uint32_t *bucket(struct alias_table *a, uint64_t from)
{
        return &a->buckets[(from * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (a->nbuckets - 1)];
}

static void chain_in(struct alias_table *a, uint32_t i)
{
        uint32_t *b = bucket(a, a->entries[i].from);

        a->entries[i].next = *b;
        *b = i + 1;
}

static struct alias *find(struct alias_table *a, uint64_t from)
{
        uint32_t i = *bucket(a, from);

        while (i && a->entries[i - 1].from != from)
                i = a->entries[i - 1].next;
        return i ? &a->entries[i - 1] : NULL;
}

static void rehash(struct alias_table *a)
{
        memset(a->buckets, 0, a->nbuckets * sizeof(*a->buckets));
        for (uint32_t i = 0; i < a->blocks * ALIASES_PER_BLOCK; i++)
                if (a->entries[i].from)
                        chain_in(a, i);
}

static int make_room(struct alias_table *a, uint32_t blocks)
{
        if (blocks > ALIAS_BLOCKS_MAX)
                return -ENOSPC;
        if (blocks <= a->blocks)
                return 0;
        uint32_t had = a->blocks * ALIASES_PER_BLOCK, n = blocks * ALIASES_PER_BLOCK;
        struct alias *more = realloc(a->entries, n * sizeof(*more));
        if (!more)
                return -ENOMEM;
        memset(more + had, 0, (n - had) * sizeof(*more));
        a->entries = more;
        a->blocks = blocks;
        if (n > 2 * a->nbuckets) {
                uint32_t want = a->nbuckets;
                while (want < n)
                        want *= 2;
                uint32_t *buckets = calloc(want, sizeof(*buckets));
                if (buckets) { /* else the chains are longer */
                        free(a->buckets);
                        a->buckets = buckets;
                        a->nbuckets = want;
                        rehash(a);
                }
        }
        return 0;
}

uint64_t alias_resolve(struct pool *pool, uint64_t tree)
{
        struct alias_table *a = &pool->aliases;
        struct alias *first = a->used ? find(a, tree) : NULL;

        if (!first)
                return tree;
        uint64_t to = first->to;
        for (struct alias *next; (next = find(a, to));)
                to = next->to;
        first->to = to; /* shorter next time; on disk it may stay as it is */
        return to;
}

int alias_add(struct pool *pool, uint64_t from, uint64_t to)
{
        struct alias_table *a = &pool->aliases;
        uint32_t i = a->hint, n = a->blocks * ALIASES_PER_BLOCK;

        if (find(a, from))
                return 0; /* replayed over a checkpoint that has it */
        while (i < n && a->entries[i].from)
                i++;
        if (i == n) {
                int rc = make_room(a, a->blocks + 1);
                if (rc < 0)
                        return rc;
        }
        a->entries[i].from = from;
        a->entries[i].to = to;
        chain_in(a, i);
        a->used++;
        a->hint = i + 1;
        alias_mark_dirty(pool, i / ALIASES_PER_BLOCK);
        return 0;
}

void alias_drop(struct pool *pool, uint64_t tree)
{
        struct alias_table *a = &pool->aliases;
        uint32_t n = a->blocks * ALIASES_PER_BLOCK;
        bool any = false;

        for (uint32_t i = 0; i < n; i++)
                if (a->entries[i].from)
                        alias_resolve(pool, a->entries[i].from);
        for (uint32_t i = 0; i < n; i++) {
                if (!a->entries[i].from || a->entries[i].to != tree)
                        continue;
                a->entries[i].from = a->entries[i].to = 0;
                a->used--;
                a->hint = MIN(a->hint, i);
                alias_mark_dirty(pool, i / ALIASES_PER_BLOCK);
                any = true;
        }
        if (any)
                rehash(a);
}

bool alias_full(const struct pool *pool)
{
        return pool->aliases.used >= ALIAS_BLOCKS_MAX * ALIASES_PER_BLOCK;
}

void alias_loaded(struct pool *pool)
{
        struct alias_table *a = &pool->aliases;

        for (uint32_t i = 0; i < a->blocks * ALIASES_PER_BLOCK; i++) {
                struct tree *t = NULL;
                if (a->entries[i].from)
                        t = pool_tree(pool, alias_resolve(pool, a->entries[i].from));
                if (t)
                        t->aliased = true;
        }
}

uint32_t alias_blocks(const struct pool *pool)
{
        return pool->aliases.blocks;
}

void alias_mark_dirty(struct pool *pool, uint64_t block)
{
        struct bitmap *d = &pool->aliases.dirty;

        if (block < pool->aliases.blocks && !bitmap_test(d, block))
                bitmap_set_range(d, block, 1);
}

void alias_mark_all_dirty(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->aliases.blocks; i++)
                alias_mark_dirty(pool, i);
}

uint32_t alias_next_dirty(const struct pool *pool, uint32_t from)
{
        for (uint32_t i = from; i < pool->aliases.blocks; i++)
                if (bitmap_test(&pool->aliases.dirty, i))
                        return i;
        return UINT32_MAX;
}

bool alias_encode(struct pool *pool, uint32_t block, uint8_t *buf)
{
        const struct alias *e = &pool->aliases.entries[block * ALIASES_PER_BLOCK];
        bool any = false;

        memset(buf, 0, ZP_BLOCK);
        memcpy(buf, magic_alias, 4);
        put_le16(buf + 4, ALIAS_VERSION);
        for (uint32_t i = 0; i < ALIASES_PER_BLOCK; i++) {
                put_le64(buf + FIXED + EACH * i, e[i].from);
                put_le64(buf + FIXED + EACH * i + 8, e[i].to);
                any |= e[i].from != 0;
        }
        bitmap_clear_range(&pool->aliases.dirty, block, 1);
        return any;
}

int alias_decode(struct pool *pool, uint64_t block, const uint8_t *buf)
{
        struct alias_table *a = &pool->aliases;

        if (block >= ALIAS_BLOCKS_MAX || memcmp(buf, magic_alias, 4) ||
            get_le16(buf + 4) != ALIAS_VERSION)
                return -EBADMSG;
        int rc = make_room(a, (uint32_t)block + 1);
        if (rc < 0)
                return rc;
        for (uint32_t i = 0; i < ALIASES_PER_BLOCK; i++) {
                uint32_t at = (uint32_t)block * ALIASES_PER_BLOCK + i;
                uint64_t from = get_le64(buf + FIXED + EACH * i);
                uint64_t to = get_le64(buf + FIXED + EACH * i + 8);
                if (!from && !to)
                        continue;
                /* heirs are younger: so no chain ends in itself */
                if (from <= CATALOG_TREE || to <= from || find(a, from))
                        return -EBADMSG;
                a->entries[at].from = from;
                a->entries[at].to = to;
                chain_in(a, at);
                a->used++;
        }
        return 0;
}
