/* Records sorted by leaf page, see pending.h.
 *
 * A counting sort: the leaf pages below each page of level 1 are numbered, records are counted by
 * leaf, and each is put into its place. Pages of level 1 that have a number stay in RAM until all
 * leaves below have taken theirs; the leaf's number is found through its parent. */
#include "pool/table/pending.h"
#include "pool/internal.h"

#include <assert.h>
#include <stdlib.h>

enum { DRAIN_AHEAD = 64 }; /* pages being read at once */

#define NOTHING UINT32_MAX

static const uint64_t REACH = (uint64_t)ENTRIES * ENTRIES; /* blocks of a page of level 1 */

/* A write; or a move, and behind it a second one whose addr is what was moved. */
struct change {
        uint64_t addr;
        uint32_t crc;
        uint16_t slot;
        bool move;
};

struct parent {
        struct page *page;
        uint32_t left; /* leaves below it that have not taken theirs */
        uint8_t copies; /* of what is charged */
};

/* Where the pages of level 1 of a tree are in parents: by index, and 0 for none, else + 1. */
struct map {
        struct tree *tree;
        uint32_t *of;
        uint64_t n;
};

struct pending {
        struct map *maps;
        struct map *last; /* that was looked up */
        uint32_t nmaps;
        struct parent *parents;
        uint32_t nparents;
        struct change *changes;
        /* By leaf, ENTRIES a parent: how many changes; then where the next one goes; in the end
         * where its run ends. NOTHING: its pages are changed at once. */
        uint32_t *at;
        struct bitmap waits; /* leaves that have not taken theirs */
        uint64_t next; /* of these to be read */
        uint32_t reading;
        int status;
        bool draining;
        void (*done)(void *ctx, int status);
        void *ctx;
        struct pin pins[DRAIN_AHEAD];
};

bool pending_fits(const struct record *rec)
{
        switch (rec->type) {
        case RECORD_WRITE:
        case RECORD_MOVE:
        case RECORD_PAGE:
        case RECORD_INODE:
        case RECORD_RESIZE:
        case RECORD_OWNER:
                return true;
        default:
                return false;
        }
}

/* ---- numbers ---- */

static void count_parents(const struct page *p, uint32_t *n, uint64_t *ret_end)
{
        if (p->level == 1) {
                (*n)++;
                *ret_end = MAX(*ret_end, p->index + 1);
                return;
        }
        for (unsigned i = 0; i < ENTRIES; i++)
                if (p->child[i])
                        count_parents(p->child[i], n, ret_end);
}

static void number(struct pending *pd, struct map *m, struct page *p)
{
        if (p->level > 1) {
                for (unsigned i = 0; i < ENTRIES; i++)
                        if (p->child[i])
                                number(pd, m, p->child[i]);
                return;
        }
        uint32_t *at = pd->at + (size_t)pd->nparents * ENTRIES;
        for (unsigned i = 0; i < ENTRIES; i++)
                at[i] = p->addr[i] && !p->child[i] ? 0 : NOTHING;
        pd->parents[pd->nparents] = (struct parent){.page = p, .copies = m->tree->vol->copies};
        m->of[p->index] = ++pd->nparents;
}

static bool has_parents(const struct tree *t)
{
        return t->root && t->root->level > 0;
}

int pending_begin(struct pool *pool)
{
        struct pending *pd = calloc(1, sizeof(*pd));
        struct volume *vol;
        uint32_t n = 0;

        pool->pending = pd;
        if (!pd || !(pd->maps = calloc(pool->nnodes + 1, sizeof(*pd->maps))))
                return -ENOMEM;
        list_for_each (vol, &pool->nodes, all) {
                struct map *m = &pd->maps[pd->nmaps];
                if (!has_parents(vol->tree))
                        continue;
                count_parents(vol->tree->root, &n, &m->n);
                m->tree = vol->tree;
                m->of = calloc(m->n + 1, sizeof(*m->of));
                if (!m->of)
                        return -ENOMEM;
                vol->tree->map = ++pd->nmaps;
        }
        pd->parents = calloc(n + 1, sizeof(*pd->parents));
        pd->at = malloc(((size_t)n * ENTRIES + 1) * sizeof(*pd->at));
        if (!pd->parents || !pd->at)
                return -ENOMEM;
        for (uint32_t i = 0; i < pd->nmaps; i++)
                number(pd, &pd->maps[i], pd->maps[i].tree->root);
        return 0;
}

static uint32_t *place_of(const struct pending *pd, const struct tree *t, uint64_t index)
{
        const struct map *m = t->map ? &pd->maps[t->map - 1] : NULL;
        uint64_t of = index / REACH;

        if (!m || of >= m->n || !m->of[of])
                return NULL;
        uint32_t *at = &pd->at[(uint64_t)(m->of[of] - 1) * ENTRIES + index / ENTRIES % ENTRIES];
        return *at == NOTHING ? NULL : at;
}

/* ---- records ---- */

/* The tree whose entries the record changes, or NULL: none. */
static struct tree *tree_of(struct pool *pool, const struct record *rec, struct tree *last)
{
        if (rec->type != RECORD_WRITE && rec->type != RECORD_MOVE)
                return NULL;
        struct tree *t = last && last->id == rec->tree ? last : pool_tree(pool, rec->tree);
        if (!t || !t->vol || (rec->type == RECORD_WRITE && t->vol->frozen))
                return NULL;
        return t;
}

void pending_count(struct pool *pool, const uint8_t *records, uint32_t bytes)
{
        struct pending *pd = pool->pending;
        struct tree *last = NULL;
        struct record rec;
        uint32_t pos = 0, data = 0;

        while (record_next(records, bytes, &pos, &data, &rec) > 0) {
                struct tree *t = tree_of(pool, &rec, last);
                uint64_t from;
                last = t ? t : last;
                for (uint32_t i = 0; t && i < rec.count; i++) {
                        uint32_t *at = place_of(pd, t, record_index(&rec, i));
                        if (at && (rec.type == RECORD_WRITE || record_moved(pool, &rec, i, &from)))
                                *at += rec.type == RECORD_MOVE ? 2 : 1;
                }
        }
}

int pending_lay_out(struct pool *pool)
{
        struct pending *pd = pool->pending;
        uint64_t n = (uint64_t)pd->nparents * ENTRIES, total = 0;

        if (bitmap_init(&pd->waits, n + 1) < 0)
                return -ENOMEM;
        for (uint64_t i = 0; i < n; i++) {
                uint32_t count = pd->at[i];
                if (count == NOTHING)
                        continue;
                if (count) {
                        bitmap_set_range(&pd->waits, i, 1);
                        pd->parents[i / ENTRIES].left++;
                }
                pd->at[i] = (uint32_t)total;
                total += count;
                if (total >= NOTHING)
                        return -ENOMEM;
        }
        for (uint32_t i = 0; i < pd->nparents; i++)
                if (pd->parents[i].left)
                        pd->parents[i].page->pending = i + 1;
        pd->changes = malloc((total + 1) * sizeof(*pd->changes));
        return pd->changes ? 0 : -ENOMEM;
}

static void charge(struct pool *pool, unsigned copies, uint64_t blocks)
{
        pool->reserved += blocks;
        pool->reserved_of[copies] += blocks;
}

static void uncharge(struct pool *pool, unsigned copies, uint64_t blocks)
{
        pool->reserved -= blocks;
        pool->reserved_of[copies] -= blocks;
}

/* The page is in RAM, or there is none yet. */
static int change_now(struct pool *pool, struct tree *t, uint64_t index, struct entry e, bool move,
                      uint64_t from)
{
        if (index >= VOLUME_MAX_BYTES / ZP_BLOCK || (move && tree_get(t, index).addr != from))
                return 0;
        t->vol->moved_blocks += move;
        return tree_set(pool, t, index, e);
}

/* Where the batch's changes go is all over the place: that is asked for ahead. */
static void fetch(struct pool *pool, const uint8_t *records, uint32_t bytes)
{
        const struct pending *pd = pool->pending;
        struct tree *last = NULL;
        struct record rec;
        uint32_t pos = 0, data = 0;

        while (record_next(records, bytes, &pos, &data, &rec) > 0) {
                struct tree *t = tree_of(pool, &rec, last);
                last = t ? t : last;
                for (uint32_t i = 0; t && i < (rec.index_bytes ? rec.count : 1); i++) {
                        const uint32_t *at = place_of(pd, t, record_index(&rec, i));
                        if (at)
                                __builtin_prefetch(&pd->changes[*at], 1);
                }
        }
}

int pending_add(struct pool *pool, const uint8_t *records, uint32_t bytes, uint64_t seq,
                uint32_t group, uint32_t data_off)
{
        struct pending *pd = pool->pending;
        struct tree *last = NULL;
        struct record rec;
        uint32_t pos = 0, data = 0;
        int rc = 0;

        fetch(pool, records, bytes);
        while (rc == 0 && record_next(records, bytes, &pos, &data, &rec) > 0) {
                struct tree *t = tree_of(pool, &rec, last);
                bool move = rec.type == RECORD_MOVE;
                last = t ? t : last;
                if (rec.type == RECORD_RESIZE || rec.type == RECORD_OWNER)
                        rc = record_apply(pool, &rec, seq, group, data_off);
                if (t && !move)
                        t->vol->user_blocks += rec.count;
                for (uint32_t i = 0; t && rc == 0 && i < rec.count; i++) {
                        uint64_t index = record_index(&rec, i), from = 0;
                        struct entry e = {addr_make(group, data_off + rec.data + i),
                                          record_crc(&rec, i)};
                        uint32_t *at = place_of(pd, t, index);
                        if (move && !record_moved(pool, &rec, i, &from))
                                continue;
                        if (!at) {
                                rc = change_now(pool, t, index, e, move, from);
                                continue;
                        }
                        struct change *c = &pd->changes[*at];
                        *at += move ? 2 : 1;
                        *c = (struct change){e.addr, e.crc, (uint16_t)(index % ENTRIES), move};
                        if (move)
                                c[1] = (struct change){.addr = from};
                        group_live_inc(pool, e.addr);
                        charge(pool, t->vol->copies, 1);
                }
        }
        return rc;
}

void pending_end(struct pool *pool)
{
        struct pending *pd = pool->pending;

        for (uint32_t i = 0; i < pd->nmaps; i++) {
                pd->maps[i].tree->map = 0;
                free(pd->maps[i].of);
        }
        free(steal_ptr(&pd->maps));
        pd->nmaps = 0;
        if (!pd->waits.nset)
                pending_free(pool);
}

/* ---- pages ---- */

uint64_t pending_pages(const struct pool *pool)
{
        return pool->pending ? pool->pending->waits.nset : 0;
}

static uint32_t begin_of(const struct pending *pd, uint64_t leaf)
{
        while (leaf--)
                if (pd->at[leaf] != NOTHING)
                        return pd->at[leaf];
        return 0;
}

void pending_apply(struct pool *pool, struct page *leaf)
{
        struct pending *pd = pool->pending;
        struct page *above = leaf->parent;

        if (leaf->level || !above || !above->pending)
                return;
        struct parent *parent = &pd->parents[above->pending - 1];
        uint64_t n = (uint64_t)(above->pending - 1) * ENTRIES + leaf->slot;
        if (!bitmap_test(&pd->waits, n))
                return;
        bitmap_clear_range(&pd->waits, n, 1);
        uint64_t blocks = 0;
        for (uint32_t i = begin_of(pd, n); i < pd->at[n]; i++, blocks++) {
                const struct change *c = &pd->changes[i];
                i += c->move;
                if (!c->move || leaf->addr[c->slot] == c[1].addr) {
                        page_set(pool, leaf, c->slot, (struct entry){c->addr, c->crc});
                        if (c->move)
                                leaf->tree->vol->moved_blocks++;
                }
                group_live_dec(pool, c->addr);
        }
        uncharge(pool, parent->copies, blocks);
        if (!--parent->left) {
                above->pending = 0;
                parent->page = NULL;
        }
}

void pending_view(const struct pool *pool, const struct page *above, unsigned slot, uint64_t *addr,
                  uint32_t *crc)
{
        const struct pending *pd = pool->pending;

        if (above->level != 1 || !above->pending)
                return;
        uint64_t n = (uint64_t)(above->pending - 1) * ENTRIES + slot;
        if (!bitmap_test(&pd->waits, n))
                return;
        for (uint32_t i = begin_of(pd, n); i < pd->at[n]; i++) {
                const struct change *c = &pd->changes[i];
                i += c->move;
                if (c->move && addr[c->slot] != c[1].addr)
                        continue;
                addr[c->slot] = c->addr;
                crc[c->slot] = c->crc;
        }
}

/* ---- all of them ---- */

static void read_next(struct pool *pool);

static void page_there(struct pin *pin, int status)
{
        struct pool *pool = pin->ctx;

        pin_drop(pin);
        if (status < 0 && pool->pending->status == 0)
                pool->pending->status = status;
        pool->pending->reading--;
        read_next(pool);
}

static struct pin *free_pin(struct pending *pd)
{
        for (unsigned i = 0; i < DRAIN_AHEAD; i++)
                if (!pd->pins[i].pool)
                        return &pd->pins[i];
        return NULL;
}

static void read_next(struct pool *pool)
{
        struct pending *pd = pool->pending;
        struct pin *pin;

        while ((pin = free_pin(pd))) {
                pd->next = bitmap_next_set(&pd->waits, pd->next);
                if (pd->next >= (uint64_t)pd->nparents * ENTRIES)
                        break;
                const struct page *above = pd->parents[pd->next / ENTRIES].page;
                uint64_t leaf = above->index * ENTRIES + pd->next++ % ENTRIES;
                *pin = (struct pin){.first = leaf * ENTRIES,
                                    .end = (leaf + 1) * ENTRIES,
                                    .now = true,
                                    .ready = page_there,
                                    .ctx = pool};
                if (pin_take(pool, above->tree, pin))
                        pin_drop(pin);
                else
                        pd->reading++;
        }
        if (pd->reading || !pd->draining)
                return;
        pd->draining = false;
        pd->done(pd->ctx, pd->waits.nset ? pd->status : 0);
}

bool pending_drain(struct pool *pool, void (*done)(void *ctx, int status), void *ctx)
{
        struct pending *pd = pool->pending;

        if (!pending_pages(pool))
                return true;
        pd->done = done;
        pd->ctx = ctx;
        pd->next = 0;
        pd->status = 0;
        pd->reading = 1;
        pd->draining = true;
        read_next(pool);
        if (--pd->reading)
                return false;
        pd->draining = false; /* cannot be: what waits is not in RAM */
        assert(!pd->waits.nset);
        return true;
}

void pending_free(struct pool *pool)
{
        struct pending *pd = steal_ptr(&pool->pending);

        if (!pd)
                return;
        for (uint32_t i = 0; i < pd->nmaps; i++)
                free(pd->maps[i].of);
        free(pd->maps);
        free(pd->parents);
        free(pd->changes);
        free(pd->at);
        bitmap_fini(&pd->waits);
        free(pd);
}
