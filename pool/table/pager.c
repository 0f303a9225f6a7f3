/* Pins, faults and the clock, see pager.h.
 *
 * A page is read once however many pins want it. A pin that lacks several has all of them read (up
 * to FAULTS_OF_PIN) and waits for one in the middle; when that is there it looks again. A page that
 * was read is linked in only where its entry still is what was read: the tree may have changed or
 * gone.
 */
#include "pool/table/pager.h"
#include "pool/internal.h"

enum {
        FAULTS_OF_PIN = 64,
        CLOCK_STEPS = 4, /* pages the clock looks at for each one beyond the cap, */
        CLOCK_LEAST = 32, /* and at least, */
        CLOCK_MOST = 1024, /* and at most, in one go */
        DIRTY_LEAST = 16, /* changed pages: what a batch may need, a few times */
};

struct fault {
        struct list node; /* pager.faults */
        struct block_read read;
        struct deferred later; /* no memory for the read */
        struct pool *pool;
        uint64_t tree, index;
        uint8_t level;
        struct list waiters; /* pins */
};

void pager_init(struct pool *pool)
{
        struct pager *pg = &pool->pager;

        pg->cap = pool->options.table_cache_bytes;
        list_init(&pg->pages);
        list_init(&pg->line);
        for (int i = 0; i < FAULT_BUCKETS; i++)
                list_init(&pg->faults[i]);
}

uint64_t pager_dirty_limit(const struct pool *pool)
{
        if (!pool->pager.cap)
                return UINT64_MAX;
        return MAX(pool->pager.cap / 4 / page_bytes(0), (uint64_t)DIRTY_LEAST);
}

/* ---- the clock ---- */

static bool covered(const struct page *p)
{
        uint64_t first = p->index * table_reach(p->level + 1u),
                 end = first + table_reach(p->level + 1u);
        const struct pin *pin;

        list_for_each (pin, &p->tree->pins, node) {
                if (pin->first < end && first < pin->end)
                        return true;
        }
        return false;
}

/* RAM of the pages, and of what was borrowed from them (borrow.h). */
uint64_t pager_bytes(const struct pool *pool)
{
        return pool->pager.bytes + pool->borrow.bytes;
}

/* Looks at so many pages at most: what is beyond the cap now may all have to stay, and there is a
 * next time soon. */
static void shrink(struct pool *pool, uint64_t steps)
{
        struct pager *pg = &pool->pager;

        if (!pg->cap)
                return;
        while (pager_bytes(pool) > pg->cap && steps-- && !list_empty(&pg->pages)) {
                struct page *p = list_first(&pg->pages, struct page, node);
                bool stays = p->dirty || p->writing || p->children || p->pending || !p->tree->vol ||
                             covered(p);
                if (!stays && !p->touched) {
                        page_evict(pool, p);
                        continue;
                }
                p->touched = false;
                list_del(&p->node);
                list_add_tail(&pg->pages, &p->node);
        }
}

/* ---- faults ---- */

static struct list *bucket(struct pool *pool, uint64_t tree, uint8_t level, uint64_t index)
{
        uint64_t h = (tree * 31 + index) * 8 + level;

        return &pool->pager.faults[h * UINT64_C(0x9E3779B97F4A7C15) >> 56];
}

static void advance(struct pin *pin);

static void fault_end(struct fault *f, int status)
{
        struct pool *pool = f->pool;
        struct list waiters;

        list_del(&f->node);
        pool->pager.nfaults--;
        list_init(&waiters);
        list_splice_tail(&waiters, &f->waiters);
        pool_block_put(pool, f->read.buf);
        pool_release(f);
        while (!list_empty(&waiters)) {
                struct pin *pin = list_first(&waiters, struct pin, wait);
                list_del(&pin->wait);
                if (status == 0) {
                        advance(pin);
                        continue;
                }
                pin_drop(pin);
                pin->ready(pin, status);
        }
}

/* The page was read: it is linked in where it is still wanted. */
static int attach(struct fault *f)
{
        struct pool *pool = f->pool;
        struct tree *t = pool_tree(pool, f->tree);
        struct page *parent = NULL, *p;
        uint16_t slot = (uint16_t)(f->index % ENTRIES);

        if (!t || t->height <= f->level)
                return 0;
        if (f->level + 1u < t->height) {
                parent = tree_find_page(t, f->level + 1u, f->index / ENTRIES);
                if (!parent || parent->child[slot] || parent->addr[slot] != f->read.entry.addr)
                        return 0;
        } else if (t->root || t->root_entry.addr != f->read.entry.addr) {
                return 0;
        }
        int rc = page_decode(pool, t, parent, slot, f->level, f->index, f->read.buf, &p);
        if (rc == 0)
                pending_apply(pool, p);
        return rc;
}

static void page_read(struct block_read *read, int status)
{
        struct fault *f = read->ctx;
        struct pool *pool = f->pool;

        if (status == 0)
                status = attach(f);
        if (status == 0 && read->bad) { /* some member has it wrong: the checkpoint moves it */
                struct tree *t = pool_tree(pool, f->tree);
                pool->healed++;
                if (t)
                        tree_dirty_page_at(pool, t, f->level, f->index, read->entry.addr);
        }
        if (status == -EBADMSG) {
                pool_event_send(pool, POOL_EVENT_CORRUPTION, -EILSEQ, read->group->member[0].dev,
                                NULL, 0);
                status = -EILSEQ;
        }
        fault_end(f, status);
}

static void no_memory(struct deferred *d)
{
        fault_end(container_of(d, struct fault, later), -ENOMEM);
}

static struct fault *find_fault(struct list *in, uint64_t tree, const struct absent *a)
{
        struct fault *f;

        list_for_each (f, in, node) {
                if (f->tree == tree && f->level == a->level && f->index == a->index)
                        return f;
        }
        return NULL;
}

/* The page is being read, from now on at the latest. NULL: no memory. */
static struct fault *fault_in(struct pool *pool, struct tree *t, const struct absent *a)
{
        struct list *in = bucket(pool, t->id, a->level, a->index);
        struct fault *f = find_fault(in, t->id, a);

        if (f)
                return f;
        f = pool_alloc(pool, sizeof(*f));
        if (!f)
                return NULL;
        f->pool = pool;
        f->tree = t->id;
        f->level = a->level;
        f->index = a->index;
        list_init(&f->waiters);
        list_add_tail(in, &f->node);
        pool->pager.nfaults++;
        pool->pager.misses++;
        f->read.buf = pool_block_get(pool);
        if (!f->read.buf) {
                f->later.call = no_memory;
                pool_defer(pool, &f->later);
                return f;
        }
        f->read.verify = true;
        f->read.done = page_read;
        f->read.ctx = f;
        block_read_start(pool, &f->read, a->entry);
        return f;
}

/* ---- pins ---- */

static void no_memory_for_pin(struct deferred *d)
{
        struct pin *pin = container_of(d, struct pin, later);

        pin_drop(pin);
        pin->ready(pin, -ENOMEM);
}

static void drop_above(struct pin *pin)
{
        struct pin *p = steal_ptr(&pin->above);

        while (p) {
                struct pin *next = p->above;
                list_del(&p->node);
                pool_release(p);
                p = next;
        }
}

/* The pin on the tree above, for as far as that shows through. */
static struct pin *pin_above(struct pin *p)
{
        struct tree *up = p->tree->up;
        struct pin *above = p->above;

        if (above && above->tree == up)
                return above;
        drop_above(p); /* what stood there is gone */
        above = pool_alloc(p->pool, sizeof(*above));
        if (!above)
                return NULL;
        *above = (struct pin){.pool = p->pool,
                              .tree = up,
                              .first = p->first,
                              .seen = p->first,
                              .end = MIN(p->end, p->tree->limit),
                              .now = true,
                              .taken = true};
        list_init(&above->wait);
        list_init(&above->later.node);
        list_add_tail(&up->pins, &above->node);
        p->above = above;
        return above;
}

/* Has what p lacks read, for which pin waits. True: it lacks nothing. */
static bool load_tree(struct pin *pin, struct pin *p)
{
        struct absent a;
        struct fault *last = NULL;
        uint64_t at = p->seen;
        int n = 0;

        while (p->tree && n < FAULTS_OF_PIN &&
               tree_next_absent(p->tree, p->level, &at, p->end, &a)) {
                struct fault *f = fault_in(pin->pool, p->tree, &a);
                if (!n)
                        p->seen = MAX(p->seen, a.index * table_reach(a.level + 1u));
                n++;
                if (!f)
                        break;
                if (n <= FAULTS_OF_PIN / 2)
                        last = f;
        }
        if (last) {
                list_add_tail(&last->waiters, &pin->wait);
        } else if (n) {
                pin->later.call = no_memory_for_pin;
                pool_defer(pin->pool, &pin->later);
        }
        return !n;
}

static bool load(struct pin *pin)
{
        for (struct pin *p = pin;;) {
                if (!load_tree(pin, p))
                        return false;
                if (!pin->chain || !p->tree || !p->tree->up || p->first >= p->tree->limit)
                        return true;
                p = pin_above(p);
                if (!p) {
                        pin->later.call = no_memory_for_pin;
                        pool_defer(pin->pool, &pin->later);
                        return false;
                }
        }
}

static void advance(struct pin *pin)
{
        if (load(pin))
                pin->ready(pin, 0);
}

static void hold(struct pin *pin)
{
        list_add_tail(&pin->tree->pins, &pin->node);
        pin->taken = true;
        if (!pin->now)
                pin->pool->pager.holders++;
}

/* One more that reads pages may go on. */
static bool room(const struct pool *pool)
{
        const struct pager *pg = &pool->pager;

        return !pg->cap || !pg->holders || pager_bytes(pool) + pg->nfaults * page_bytes(0) < pg->cap;
}

bool pin_take(struct pool *pool, struct tree *t, struct pin *pin)
{
        struct pager *pg = &pool->pager;
        struct absent a;
        uint64_t at = pin->first;

        pin->pool = pool;
        pin->tree = t;
        pin->seen = pin->first;
        pin->taken = false;
        pin->above = NULL;
        list_init(&pin->node);
        list_init(&pin->wait);
        list_init(&pin->later.node);
        if (!tree_next_absent(t, pin->level, &at, pin->end, &a)) {
                pg->hits++;
                hold(pin);
                return load(pin); /* false: something above is absent */
        }
        if (!pin->now && (!list_empty(&pg->line) || !room(pool))) {
                list_add_tail(&pg->line, &pin->wait);
                return false;
        }
        hold(pin);
        return load(pin); /* false: something is absent */
}

void pin_drop(struct pin *pin)
{
        if (!pin->pool)
                return;
        list_del(&pin->wait);
        list_del(&pin->node);
        list_del(&pin->later.node);
        drop_above(pin);
        if (pin->taken && !pin->now)
                pin->pool->pager.holders--;
        pin->taken = false;
        pin->pool = NULL;
}

void pager_forget_tree(struct pool *pool, struct tree *t)
{
        while (!list_empty(&t->pins)) {
                struct pin *pin = list_first(&t->pins, struct pin, node);
                list_del(&pin->node);
                pin->tree = NULL; /* what it waits for comes, and changes nothing */
        }
        struct pin *pin;
        list_for_each (pin, &pool->pager.line, wait) {
                if (pin->tree == t)
                        pin->tree = NULL;
        }
}

void pager_set_cap(struct pool *pool, uint64_t cap)
{
        pool->pager.cap = cap;
        borrow_drop(pool);
        shrink(pool, 2 * pool->npages); /* the second time round no page is new */
}

/* ---- now and then ---- */

void pager_poll(struct pool *pool)
{
        struct pager *pg = &pool->pager;

        uint64_t bytes = pager_bytes(pool);
        uint64_t over = bytes > pg->cap ? (bytes - pg->cap) / page_bytes(0) : 0;

        shrink(pool, MIN(CLOCK_LEAST + CLOCK_STEPS * over, (uint64_t)CLOCK_MOST));
        if (list_empty(&pg->line))
                return;
        if (pool->running && !room(pool) && pool->ndirty >= pager_dirty_limit(pool) / 2 &&
            pool->ckpt.state == CKPT_IDLE && !pool->readonly)
                ckpt_start(pool, NULL);
        while (!list_empty(&pg->line) && room(pool)) {
                struct pin *pin = list_first(&pg->line, struct pin, wait);
                list_del(&pin->wait);
                if (pin->tree) {
                        hold(pin);
                } else {
                        pin->taken = true;
                        pg->holders += !pin->now;
                }
                advance(pin);
        }
}
