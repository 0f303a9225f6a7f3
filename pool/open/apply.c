/* Applying what replay found, by the run-time rule (record.c), in the order of sequences.
 *
 * Up to the last batch that changes which trees there are, or many entries at once, batch by batch,
 * with their table pages in RAM. What follows are writes and moves: they are sorted by leaf page,
 * and each page takes its own when it is read (pending.h). Where devices are missing all is applied
 * at once: whether they can be done without is to be known before anything is written; and so it is
 * where trees have gone, or go: the leaf a move is about is found by looking. */
#include "pool/internal.h"
#include "pool/open/import.h"

#include <stdlib.h>
#include <string.h>

static void fail(struct import *im, int rc)
{
        import_fail(im, -rc, "pool %s: replaying: %s", im->pool->name, strerror(-rc));
}

static int by_seq(const void *a, const void *b)
{
        const struct found *x = a, *y = b;

        return x->h.seq < y->h.seq ? -1 : x->h.seq > y->h.seq;
}

static bool counts(const struct import *im, const struct found *f)
{
        return !f->dropped && f->h.kind == HEADER_BATCH && f->h.seq > im->root.seq;
}

static int apply_batch(struct import *im, const struct found *f)
{
        struct record rec;
        uint32_t pos = 0, data = 0;
        int rc = 0;

        while (record_next(f->buf + HEADER_FIXED, f->h.record_bytes, &pos, &data, &rec) > 0) {
                const struct tree *t = pool_tree(im->pool, rec.tree);
                for (uint32_t i = 0; t && i < (rec.index_bytes ? rec.count : 1); i++)
                        tree_prefetch(t, record_index(&rec, i));
        }
        pos = data = 0;
        while (rc == 0 &&
               record_next(f->buf + HEADER_FIXED, f->h.record_bytes, &pos, &data, &rec) > 0)
                rc = record_apply(im->pool, &rec, f->h.seq, f->group->id,
                                  f->h.offset + f->h.header_blocks);
        return rc;
}

static void apply_some(struct import *im);
static void sort_rest(struct import *im);
static void sort_now(struct import *im);

static void pages_there(struct batch_pins *b)
{
        apply_some(b->ctx);
}

/* It changes which trees there are, and which stands above which: what the batches behind it need
 * is known when it is applied. */
static bool changes_trees(const struct found *f)
{
        struct record rec;
        uint32_t pos = 0, data = 0;

        while (record_next(f->buf + HEADER_FIXED, f->h.record_bytes, &pos, &data, &rec) > 0)
                if (rec.type >= RECORD_CREATE && rec.type != RECORD_MERGE)
                        return true;
        return false;
}

/* ---- with all pages in RAM ---- */

static void trees_there(struct pin *pin, int status)
{
        struct import *im = pin->ctx;

        if (status < 0 && im->status == 0)
                im->status = status;
        if (!--im->pending)
                apply_some(im);
}

/* The log changes so much that reading every page and holding all of them is less work than finding
 * out for each record what it needs; and there is room. */
static bool worth_reading_all(const struct import *im)
{
        const struct pool *pool = im->pool;
        uint64_t blocks = 0;

        for (uint32_t i = 0; i < im->eager; i++)
                blocks += im->found[i].h.data_blocks;
        return blocks > pool->npages &&
               (!pool->pager.cap || pool->npages * page_bytes(0) < pool->pager.cap / 2);
}

/* Pages of that level and above, of trees that have any; else those of level 0. False: nothing to
 * wait for. */
static bool read_trees(struct import *im, uint8_t level, void (*ready)(struct pin *, int))
{
        struct pool *pool = im->pool;
        struct tree *t;
        uint32_t n = 0;

        for (int i = 0; i < TREE_BUCKETS; i++)
                list_for_each (t, &pool->trees[i], node)
                        n++;
        im->trees = pool_alloc(pool, n * sizeof(*im->trees));
        if (!im->trees)
                return false; /* batch by batch then */
        im->status = 0;
        im->pending = 1;
        for (int i = 0; i < TREE_BUCKETS; i++) {
                list_for_each (t, &pool->trees[i], node) {
                        struct pin *pin = &im->trees[im->ntrees++];
                        *pin = (struct pin){.end = VOLUME_MAX_BYTES / ZP_BLOCK,
                                            .level = t->height > level ? level : 0,
                                            .now = true,
                                            .ready = ready,
                                            .ctx = im};
                        im->pending += !pin_take(pool, t, pin);
                }
        }
        return --im->pending;
}

static void drop_all(struct import *im)
{
        for (uint32_t i = 0; i < im->ntrees; i++)
                pin_drop(&im->trees[i]);
        im->ntrees = 0;
        pool_release(steal_ptr(&im->trees));
}

/* ---- batch by batch ---- */

/* Has the table pages of the batches read that come next. */
static int look_ahead(struct import *im)
{
        if (im->trees)
                return im->status;
        for (; im->pinned < im->eager && im->pinned - im->applied < APPLY_AHEAD; im->pinned++) {
                struct found *f = &im->found[im->pinned];
                struct batch_pins **b = &im->ahead[im->pinned % APPLY_AHEAD];
                const struct found *before = im->pinned > im->applied ? f - 1 : NULL;
                if (before && counts(im, before) && changes_trees(before))
                        break;
                *b = NULL;
                if (!counts(im, f))
                        continue;
                batch_pins_take(im->pool, f->buf + HEADER_FIXED, f->h.record_bytes, pages_there, im,
                                b);
                if (!*b)
                        return -ENOMEM;
        }
        return 0;
}

static void apply_some(struct import *im)
{
        int rc = 0;

        if (im->applying)
                return;
        im->applying = true;
        while ((rc = look_ahead(im)) == 0 && im->applied < im->eager) {
                struct found *f = &im->found[im->applied];
                struct batch_pins *b = im->ahead[im->applied % APPLY_AHEAD];
                if (b && b->loading) {
                        im->applying = false;
                        return;
                }
                if (im->trees ? counts(im, f) : b != NULL)
                        rc = b && b->status < 0 ? b->status : apply_batch(im, f);
                if (rc < 0)
                        break;
                batch_pins_free(b);
                free(f->buf);
                f->buf = NULL;
                im->applied++;
        }
        drop_all(im);
        im->applying = false;
        if (rc < 0)
                fail(im, rc);
        else
                sort_rest(im);
}

/* ---- by page ---- */

static bool all_at_once(const struct import *im)
{
        const struct pool *pool = im->pool;
        const struct volume *vol;

        for (uint32_t i = 0; i < pool->ndevs; i++)
                if (pool->devs[i].error)
                        return true;
        list_for_each (vol, &pool->nodes, all) {
                if (vol->doomed)
                        return true;
        }
        return pool->aliases.used;
}

static void sort_ready(struct pin *pin, int status)
{
        struct import *im = pin->ctx;

        if (status < 0 && im->status == 0)
                im->status = status;
        if (!--im->pending)
                sort_now(im);
}

static void over(struct import *im)
{
        if (import_check_absent(im) == 0)
                catchup_start(im);
}

static int sort_all(struct import *im)
{
        struct pool *pool = im->pool;
        int rc = pending_begin(pool);

        for (uint32_t i = im->eager; rc == 0 && i < im->nfound; i++)
                if (counts(im, &im->found[i]))
                        pending_count(pool, im->found[i].buf + HEADER_FIXED,
                                      im->found[i].h.record_bytes);
        if (rc == 0)
                rc = pending_lay_out(pool);
        for (uint32_t i = im->eager; rc == 0 && i < im->nfound; i++) {
                struct found *f = &im->found[i];
                if (counts(im, f))
                        rc = pending_add(pool, f->buf + HEADER_FIXED, f->h.record_bytes, f->h.seq,
                                         f->group->id, f->h.offset + f->h.header_blocks);
                free(f->buf);
                f->buf = NULL;
        }
        if (rc == 0)
                pending_end(pool);
        return rc;
}

/* All pages above leaves are in RAM. */
static void sort_now(struct import *im)
{
        int rc = im->status < 0 ? im->status : sort_all(im);

        drop_all(im);
        if (rc < 0)
                fail(im, rc);
        else
                over(im);
}

static void sort_rest(struct import *im)
{
        uint32_t i = im->eager;

        while (i < im->nfound && !counts(im, &im->found[i]))
                i++;
        if (i == im->nfound) {
                over(im);
        } else if (all_at_once(im)) { /* by now */
                im->eager = im->nfound;
                im->pinned = im->applied;
                apply_some(im);
        } else if (!read_trees(im, 1, sort_ready)) {
                im->status = im->trees ? im->status : -ENOMEM;
                sort_now(im);
        }
}

/* ---- which ---- */

static bool fits(const struct found *f)
{
        struct record rec;
        uint32_t pos = 0, data = 0;

        while (record_next(f->buf + HEADER_FIXED, f->h.record_bytes, &pos, &data, &rec) > 0)
                if (!pending_fits(&rec))
                        return false;
        return true;
}

void apply_start(struct import *im)
{
        if (im->nfound)
                qsort(im->found, im->nfound, sizeof(*im->found), by_seq);
        im->eager = im->nfound;
        if (!all_at_once(im))
                while (im->eager &&
                       (!counts(im, &im->found[im->eager - 1]) || fits(&im->found[im->eager - 1])))
                        im->eager--;
        if (!worth_reading_all(im) || !read_trees(im, 0, trees_there))
                apply_some(im);
}
