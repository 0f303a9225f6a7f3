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

#include <stdlib.h>
#include <string.h>

enum {
        MAX_FAILURES = 3,
        MAX_LABEL_FAILURES = 2,
};

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
        int rc = ckpt_save_tables(pool);
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
                if (c->root_stands && ckpt_worth_releasing(pool))
                        release(pool);
                if (c->state == CKPT_IDLE && ckpt_due(pool))
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
