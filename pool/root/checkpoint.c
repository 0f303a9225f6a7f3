/* Checkpoints: changed pages -> flush -> a root on every device -> flush -> only then is what it
 * supersedes freed.
 *
 * Freeze: no batch is issued until those in flight have completed. The tables then hold exactly the
 * records up to pool->seq. All changed pages are put into buffers, lowest first, their new
 * addresses entered in their parents; what is sealed and holds nothing live now is what this
 * checkpoint frees; the groups are noted as they stand. That takes no I/O, and batches go on at
 * once.
 *
 * P4: pages and all data before them are durable: the first flush.
 * P5: the root is durable: the second flush. Groups it calls free get their next generation in RAM.
 *
 * P6: before a release writes its root, the records that emptied its groups are durable.
 *
 * A release frees groups between two checkpoints and writes no pages: the last root once more, but
 * for the groups it frees. That takes that replay needs nothing from them: they were sealed at the
 * checkpoint, so that their records are covered, and what lived in them was moved, overwritten or
 * discarded by records that are durable. Moving a block then costs its copy, not its table page.
 *
 * A failed checkpoint or release frees nothing; the pages it moved are marked changed again. After
 * three in a row the pool becomes read-only.
 */
#include "pool/internal.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"
#include "pool/table/catalog.h"

#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

enum {
        MAX_FAILURES = 3,
        MAX_LABEL_FAILURES = 2,
        DEFAULT_PERMILLE = 50,
        SOON_FREE = 6,
        ROOTS_WORTH = 128
};

/* What recovery may have to walk. */
static const uint64_t MIN_LOG_BLOCKS = 4096, MAX_LOG_BLOCKS = 524288;

static void fail(struct pool *pool, int status);

/* What was released and not used since is free now. Where tables still name blocks of it the log is
 * damaged: it is left alone. */
static void groups_settle(struct pool *pool)
{
        bool any = false;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->state != GROUP_PARKED || !pdev_takes(group_dev(pool, g)))
                        continue;
                any = true;
                if (g->live) {
                        g->state = GROUP_BAD;
                        pool_event_send(pool, POOL_EVENT_CORRUPTION, -EBADMSG, g->member[0].dev,
                                        NULL, 0);
                } else {
                        group_make_free(pool, g);
                }
        }
        if (any)
                space_init(pool);
}

static void start_freezing(struct pool *pool)
{
        groups_settle(pool);
        pending_free(pool);
        pool->ckpt.state = CKPT_FREEZING;
        pool->frozen = true;
}

static void tables_settled(void *ctx, int status)
{
        struct pool *pool = ctx;

        if (status < 0)
                fail(pool, status);
        else
                start_freezing(pool);
}

void ckpt_start(struct pool *pool, struct ckpt_wait *w)
{
        struct ckpt *c = &pool->ckpt;

        if (c->state == CKPT_IDLE) {
                c->state = CKPT_SETTLING;
                if (pending_drain(pool, tables_settled, pool))
                        start_freezing(pool);
        } else if (c->state > CKPT_FREEZING) {
                c->again = true;
                if (w)
                        list_add_tail(&c->next, &w->node);
                return;
        }
        if (w)
                list_add_tail(&c->waits, &w->node);
}

static void cleanup(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        for (uint32_t i = 0; c->bufs && i < c->nbufs; i++)
                free(c->bufs[i]);
        free(c->bufs);
        c->bufs = NULL;
}

void ckpt_free(struct pool *pool)
{
        cleanup(pool);
        root_fini(&pool->ckpt.root);
}

static void tell(struct list *waits, int status)
{
        while (!list_empty(waits)) {
                struct ckpt_wait *w = list_first(waits, struct ckpt_wait, node);
                list_del(&w->node);
                w->done(w, status);
        }
}

static void end(struct pool *pool, int status)
{
        struct ckpt *c = &pool->ckpt;
        struct list waits;

        pool->frozen = false;
        cleanup(pool);
        list_init(&waits);
        list_splice_tail(&waits, &c->waits);
        c->state = CKPT_IDLE;
        c->failures = status < 0 ? c->failures + 1 : 0;
        if (c->failures >= MAX_FAILURES) {
                pool_set_readonly(pool, status);
                list_splice_tail(&waits, &c->next);
                c->again = false;
        } else if (c->again || status < 0) {
                c->again = false;
                ckpt_start(pool, NULL);
                /* the next one goes without the device or zone that failed this one, or is the last
                 */
                if (status < 0 && (pool->running || (pool->unrecorded && pool->nusable)))
                        list_splice_tail(&c->waits, &waits);
                list_splice_tail(&c->waits, &c->next);
        }
        /* what fails three times is read-only, whatever it was that failed the last time */
        tell(&waits, status < 0 && pool->readonly && pool->running ? -EROFS : status);
}

/* ---- pages ---- */

static void page_written(struct item *it, int status)
{
        struct pool *pool = it->ctx;
        struct ckpt *c = &pool->ckpt;

        struct tree *t = pool_tree(pool, it->tree);

        c->pending--;
        if (it->type == RECORD_PAGE && t)
                page_is_written(t, it->level, it->index, it->addr);
        if (status == 0)
                return;
        c->status = status;
        if (it->type == RECORD_PAGE) {
                if (t)
                        tree_dirty_page_at(pool, t, it->level, it->index, it->addr);
                return;
        }
        catalog_mark_dirty(pool, it->index);
}

/* Gives the block an address; it is written when the freeze is over. */
static int place(struct pool *pool, struct item *it, struct entry *ret_entry)
{
        it->crc = crc32c(0, it->data, ZP_BLOCK);
        it->done = page_written;
        it->ctx = pool;
        int rc = stream_place(pool, it);
        if (rc < 0) {
                item_free(pool, it);
                return rc;
        }
        pool->ckpt.pending++;
        *ret_entry = (struct entry){it->addr, it->crc};
        return 0;
}

static int save_page(struct pool *pool, struct tree *t, struct page *p)
{
        struct entry e;

        for (unsigned i = 0; p->level && i < ENTRIES; i++) {
                if (p->child[i] && p->child[i]->dirty) {
                        int rc = save_page(pool, t, p->child[i]);
                        if (rc < 0)
                                return rc;
                }
        }
        struct item *it = item_new(pool, RECORD_PAGE, t->id, p->index);
        if (!it || !(it->data = pool_block_get(pool))) {
                item_free(pool, it);
                return -ENOMEM;
        }
        it->level = p->level;
        page_encode(t, p, it->data);
        int rc = place(pool, it, &e);
        if (rc < 0)
                return rc;
        p->dirty = false;
        p->writing = true;
        pool->ndirty--;
        uint64_t *addr = p->parent ? &p->parent->addr[p->slot] : &t->root_entry.addr;
        uint32_t *crc = p->parent ? &p->parent->crc[p->slot] : &t->root_entry.crc;
        group_live_inc(pool, e.addr);
        if (*addr)
                group_live_dec(pool, *addr);
        *addr = e.addr;
        *crc = e.crc;
        return 0;
}

static int save_tree(struct pool *pool, struct tree *t)
{
        if (t->root && t->root->dirty) {
                int rc = save_page(pool, t, t->root);
                if (rc < 0)
                        return rc;
        }
        t->root_changed = false;
        return 0;
}

static struct item *catalog_item(struct pool *pool, uint64_t index)
{
        struct item *it = item_new(pool, RECORD_INODE, CATALOG_TREE, index);

        if (!it || !(it->data = pool_block_get(pool))) {
                item_free(pool, it);
                return NULL;
        }
        memset(it->data, 0, ZP_BLOCK);
        return it;
}

static int place_in_catalog(struct pool *pool, struct item *it)
{
        uint64_t index = it->index;
        struct entry e;
        int rc = place(pool, it, &e);

        return rc < 0 ? rc : tree_set(pool, &pool->catalog, index, e);
}

static int save_inode(struct pool *pool, struct volume *vol)
{
        struct item *it = catalog_item(pool, vol->slot);

        if (!it)
                return -ENOMEM;
        inode_encode(vol, it->data);
        int rc = place_in_catalog(pool, it);
        if (rc == 0)
                vol->dirty = false;
        return rc;
}

static int save_aliases(struct pool *pool)
{
        for (uint32_t b = 0; (b = alias_next_dirty(pool, b)) != UINT32_MAX; b++) {
                struct item *it = catalog_item(pool, MAX_VOLUMES + b);
                int rc;
                if (!it)
                        return -ENOMEM;
                if (alias_encode(pool, b, it->data)) {
                        rc = place_in_catalog(pool, it);
                } else {
                        item_free(pool, it);
                        rc = tree_set(pool, &pool->catalog, MAX_VOLUMES + b, (struct entry){0});
                }
                if (rc < 0) {
                        alias_mark_dirty(pool, b);
                        return rc;
                }
        }
        return 0;
}

static int save_tables(struct pool *pool)
{
        struct volume *vol;
        int rc = 0;

        list_for_each (vol, &pool->nodes, all) {
                rc = save_tree(pool, vol->tree);
                if (rc == 0 && vol->dirty)
                        rc = save_inode(pool, vol);
                if (rc < 0)
                        break;
        }
        if (rc == 0)
                rc = save_aliases(pool);
        if (rc == 0)
                rc = save_tree(pool, &pool->catalog);
        stream_place_end(pool);
        return rc;
}

/* ---- steps ---- */

static void unfree(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ngroups; i++)
                pool->groups[i]->freeing = false;
}

static void freeze(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        c->status = 0;
        c->pending = 0;
        c->releasing = c->resuming = c->root_stands = false;
        c->seq = pool->seq;
        root_fini(&c->root);
        pool->table_failed = false;
        streams_leave_failed(pool);
        int rc = save_tables(pool);
        if (rc == 0)
                rc = root_note(pool);
        pool->frozen = false;
        c->state = CKPT_PAGES;
        pool->user_since = pool->log_since = pool->headers_since = 0;
        if (rc < 0) {
                c->status = rc;
                unfree(pool);
                stream_drop_ready(pool, rc);
        }
}

/* What the checkpoint covers besides the groups it frees. */
static void covered(struct pool *pool)
{
        const struct root *root = &pool->ckpt.root;

        pool->marks_held = false;
        if (pool->ckpt.seq >= pool->failed_seq)
                pool->mark_limit = UINT64_MAX;
        pool->count.limbo = 0;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->cls == CLASS_TABLE)
                        g->unclean = false; /* what was marked there has moved */
                g->covered = i < root->ngroups && root->groups[i].state == ROOT_GROUP_SEALED;
                g->released = false;
                pool->count.limbo += g->state == GROUP_SEALED && !g->live && group_in_limbo(g);
        }
        pool->last_ckpt_ns = pool->host.now_ns(pool->host.ctx);
}

static void succeed(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        pool->generation = c->root.generation;
        c->root_stands = !c->resuming; /* there are no releases before the checkpoint */
        devices_recorded(pool);
        if (!c->releasing)
                covered(pool);
        if (c->resuming) /* what had not counted is told apart by its place */
                pool->marks_held = false;
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (!g->freeing)
                        continue;
                group_not_emptied(pool, g);
                g->generation++;
                g->needs_reset = true;
                g->covered = false;
                g->released = c->releasing;
                group_make_free(pool, g);
        }
        end(pool, 0);
}

static void fail(struct pool *pool, int status)
{
        pool->ckpt.root_stands = false;
        unfree(pool);
        end(pool, status);
}

static void roots_durable(struct flush_wait *w, int status)
{
        struct pool *pool = w->ctx;

        if (status < 0) { /* it stands all the same, and perhaps for good */
                pool->generation = pool->ckpt.root.generation;
                fail(pool, status);
                return;
        }
        for (uint32_t i = 0; i < pool->ndevs; i++) /* P5: the root is durable */
                pool->devs[i].ring_durable |= pool->devs[i].dev != NULL;
        succeed(pool);
}

struct root_write {
        struct label_write label;
        struct keep keep; /* of this, and of the root's bytes, */
        uint8_t *left; /* where a device that was given up may yet read them */
};

static void root_release(struct keep *k)
{
        struct root_write *r = container_of(k, struct root_write, keep);

        free(r->left);
        pool_release(r);
}

static void root_written(struct label_write *w, int status)
{
        struct pool *pool = w->pool;
        struct ckpt *c = &pool->ckpt;
        struct root_write *r = container_of(w, struct root_write, label);

        if (status < 0 && w->pdev->state == POOL_DEVICE_JOINING) {
                device_fail(pool, w->pdev, status); /* it does not join: the others need no more */
                pool_device_error(pool, w->pdev, status);
        } else if (status < 0) {
                c->status = status;
                pool_device_error(pool, w->pdev, status);
                if (++w->pdev->label_failures >= MAX_LABEL_FAILURES && pool->nusable > 1)
                        device_fail(pool, w->pdev, status);
        } else {
                w->pdev->label_failures = 0;
        }
        if (r->keep.refs > 1)
                r->left = steal_ptr(&c->bufs[w->pdev->index]);
        keep_put(&r->keep);
        if (--c->pending)
                return;
        /* A root may stand on some devices and count: then its generation must not be given out
         * again. */
        if (c->status < 0) {
                pool->generation = c->root.generation;
                fail(pool, c->status);
                return;
        }
        c->state = CKPT_FLUSH_ROOT;
        c->flush.done = roots_durable;
        c->flush.ctx = pool;
        c->flush.ckpt = true;
        flush_add(pool, &c->flush);
}

static void write_roots(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        if (!c->releasing)
                root_note_tables(pool);
        if (root_encode_all(pool) < 0) {
                fail(pool, -ENOMEM);
                return;
        }
        c->state = CKPT_ROOT;
        c->pending = 1;
        for (uint32_t i = 0; i < c->nbufs; i++) {
                if (!c->bufs[i])
                        continue;
                struct root_write *r = pool_alloc(pool, sizeof(*r));
                if (!r) {
                        c->status = -ENOMEM;
                        continue;
                }
                struct label_write *w = &r->label;
                r->keep = (struct keep){.refs = 1, .done = root_release};
                w->pio.keep = &r->keep;
                w->pool = pool;
                w->pdev = &pool->devs[i];
                w->buf = c->bufs[i];
                w->blocks = c->root.blocks;
                w->done = root_written;
                c->pending++;
                label_write_start(w);
        }
        if (!--c->pending) /* no device is left to write to */
                fail(pool, c->status ? c->status : -EIO);
}

/* A device failed since the root was noted: the flush did without it, and this root would call good
 * what the device has lost. The next one puts the failure on record. */
static bool root_outdated(const struct pool *pool)
{
        const struct root *root = &pool->ckpt.root;

        for (uint32_t i = 0; i < root->ndevices; i++)
                if (pdev_holds(&pool->devs[i]) && pool->devs[i].error &&
                    root->devices[i].state == ROOT_DEVICE_IN_USE)
                        return true;
        return false;
}

static void pages_durable(struct flush_wait *w, int status)
{
        struct pool *pool = w->ctx;

        if (status < 0 || root_outdated(pool))
                fail(pool, status ? status : -EIO);
        else /* P4: pages and the data they name are durable */
                write_roots(pool);
}

/* ---- releases ---- */

static void emptying_durable(struct flush_wait *w, int status)
{
        struct pool *pool = w->ctx;
        struct ckpt *c = &pool->ckpt;

        if (status < 0) {
                fail(pool, status);
        } else if (pool->mark < c->seq) { /* a batch failed half-way: the checkpoint frees them */
                unfree(pool);
                c->again = true;
                end(pool, 0);
        } else { /* P6: the records that emptied them are durable */
                root_note_released(pool, c->seq);
                write_roots(pool);
        }
}

static void release(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        if (pool->unrecorded || !root_choose_released(pool))
                return;
        c->state = CKPT_RELEASE_FLUSH;
        c->releasing = true;
        c->resuming = false;
        c->status = 0;
        c->seq = pool->seq;
        c->flush.done = emptying_durable;
        c->flush.ctx = pool;
        c->flush.ckpt = true;
        flush_add(pool, &c->flush);
}

/* ---- the end of an import ---- */

void ckpt_resume(struct pool *pool, const struct root *root, struct ckpt_wait *w)
{
        struct ckpt *c = &pool->ckpt;

        c->releasing = c->resuming = true;
        c->status = 0;
        c->seq = pool->seq;
        list_add_tail(&c->waits, &w->node);
        pool->last_ckpt_ns = pool->host.now_ns(pool->host.ctx);
        if (root_note_resumed(pool, root) < 0)
                fail(pool, -ENOMEM);
        else
                write_roots(pool);
}

/* ---- when ---- */

static bool free_wanted(const struct pool *pool)
{
        return groups_free_blocks(pool) <= SOON_FREE * (uint64_t)pool->max_cap;
}

/* So many groups that the root is nothing beside them, or what there is. */
static bool worth_releasing(const struct pool *pool)
{
        uint64_t gain =
            (uint64_t)(pool->count.emptied - pool->count.limbo) * (uint64_t)pool->min_cap;
        uint64_t roots = (uint64_t)pool->ndevs * root_blocks(pool->ndevs, pool->ngroups);

        return gain && (gain >= ROOTS_WORTH * roots || free_wanted(pool));
}

/* A few groups at a time, where the pages to write for them are many. */
static bool worth_freeing(const struct pool *pool)
{
        uint32_t groups = pool->ckpt.root_stands ? pool->count.limbo : pool->count.emptied;

        if (!groups || !free_wanted(pool))
                return false;
        return (uint64_t)groups * pool->min_cap >= 8 * pool->ndirty || groups >= 3 ||
               groups_free_blocks(pool) <= 3 * (uint64_t)pool->max_cap || clean_idle(pool);
}

/* Blocks of log that recovery may have to walk. A large table is given the time that its share of
 * writes asks for: recovery then takes as long as reading that table does. */
static uint64_t log_limit(const struct pool *pool, uint64_t permille)
{
        uint64_t blocks = MAX(MAX_LOG_BLOCKS, 2 * pool->npages * 1000 / permille);

        return MAX(MIN(pool->budget / 3, blocks), MIN_LOG_BLOCKS);
}

/* All that is not users' data is down to its share of what they wrote since the last checkpoint.
 * Headers of small batches, which no interval makes fewer, count for a third of it at most. */
static bool share_reached(const struct pool *pool, uint64_t pages, uint64_t permille)
{
        uint64_t allowed = pool->user_since * permille / 1000;

        pages += pages / TABLE_BATCH_PAGES;
        return pages + MIN(pool->headers_since, allowed / 3) <= allowed;
}

static bool due(const struct pool *pool)
{
        uint64_t permille = pool->options.checkpoint_permille;
        uint64_t many = MAX(pool->min_cap / 4, 8u);
        uint64_t changed = pool->ndirty + pending_pages(pool);

        if (!permille)
                permille = DEFAULT_PERMILLE;
        if (!pool->ndirty && !pool->log_since && !pool->count.emptied)
                return false;
        if (pool->mark_limit != UINT64_MAX)
                return true;
        /* what waits for its page is charged as more than it is */
        if (pending_pages(pool) && !list_empty(&pool->held))
                return true;
        /* what is free only after a checkpoint is wanted soon */
        if (worth_freeing(pool))
                return true;
        if (changed >= many && share_reached(pool, changed, permille))
                return true;
        if (changed >= space_dirty_limit(pool))
                return true;
        return pool->log_since >= log_limit(pool, permille);
}

/* Groups for the pages may be free but not reset yet: that is worth waiting for. */
static bool room_ready(struct pool *pool)
{
        uint64_t pages = pool->ndirty + 2 * catalog_blocks(pool) + 8;
        uint64_t groups = pages / MAX(pool->min_cap / 2, 1u) + 2;

        unsigned width = width_for(pool, pool->copies);
        if (groups_formable(pool, width, true) >= MIN(groups, groups_free(pool)))
                return true;
        group_start_resets(pool);
        return false;
}

void ckpt_poll(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;

        if (c->state == CKPT_IDLE && pool->running && !pool->readonly && !stall_silent(pool)) {
                if (c->root_stands && worth_releasing(pool))
                        release(pool);
                if (c->state == CKPT_IDLE && due(pool))
                        ckpt_start(pool, NULL);
        }
        if (c->state == CKPT_FREEZING) { /* a silent device would be waited for, and all with it */
                pool->frozen = !stall_silent(pool);
                if (pool->frozen && list_empty(&pool->inflight) && room_ready(pool))
                        freeze(pool);
        }
        if (c->state != CKPT_PAGES)
                return;
        if (pool->table_failed) {
                pool->table_failed = false;
                c->status = c->status ? c->status : -EIO;
                stream_drop_ready(pool, c->status);
        }
        stream_kick(pool, pool_stream(pool, CLASS_TABLE, 1));
        if (c->pending || !list_empty(&pool->streams[CLASS_TABLE][0].ready) ||
            pool->streams[CLASS_TABLE][0].inflight)
                return;
        if (c->status < 0) {
                fail(pool, c->status);
                return;
        }
        c->state = CKPT_FLUSH;
        c->flush.done = pages_durable;
        c->flush.ctx = pool;
        c->flush.ckpt = true;
        flush_add(pool, &c->flush);
}
