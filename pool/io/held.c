/* Requests that wait for room: with their locks and without their pages, in the order they came. */
#include "pool/io/req.h"

/* Blocks that were let in before a device was lost, and find no room for good. */
static uint64_t queued_for_good(const struct pool *pool)
{
        const struct stream *q;
        uint64_t n = 0;

        if (!space_lacking(pool) || !clean_idle(pool) || pool->ckpt.state != CKPT_IDLE ||
            pool->count.free != pool->count.ready || pool->count.emptied)
                return 0;
        for_each_queue (q, pool) {
                if (class_is_user(q->cls) && !stream_busy(q) && (!stream_has_group(q) || q->starved))
                        n += q->nitems;
        }
        return n;
}

uint64_t held_requests(const struct pool *pool)
{
        return pool->nheld + (pool->running ? queued_for_good(pool) : 0);
}

void held_tell(struct pool *pool)
{
        bool held = held_requests(pool) != 0;

        if (held == pool->held_event)
                return;
        pool->held_event = held;
        pool_event_send(pool, held ? POOL_EVENT_HELD : POOL_EVENT_RELEASED, 0, 0, NULL, 0);
}

void req_unhold(struct req *r)
{
        struct pool *pool = r->pool;

        list_del(&r->held);
        r->is_held = false;
        lock_clear_idle(&r->vol->locks, &r->lock);
        pool->nheld--;
        held_tell(pool);
}

void req_hold(struct req *r)
{
        struct pool *pool = r->pool;

        req_unpin(r);
        list_add_tail(r->lacks ? &pool->held : &pool->held_over, &r->held);
        r->is_held = true;
        pool->nheld++;
        lock_set_idle(&r->vol->locks, &r->lock);
        held_tell(pool);
}

/* As far as space reaches; false: not now. */
static bool resume(struct req *r)
{
        if (r->loading)
                return false;
        if (!r->npins) {
                if (!req_has_room(r) || !lock_may_resume(&r->vol->locks, &r->lock))
                        return false;
                /* from here on it holds pages of the tree */
                lock_clear_idle(&r->vol->locks, &r->lock);
                if (!req_pin_pages(r))
                        return false;
        }
        if (!req_admit(r)) {
                req_unpin(r);
                lock_set_idle(&r->vol->locks, &r->lock);
                return false;
        }
        req_unhold(r);
        req_admitted(r);
        return true;
}

/* In the order they came, but for those that have got a reservation, or have begun: they pass the
 * others. */
static void resume_all(struct pool *pool, struct list *held)
{
        struct req *r, *tmp;
        bool waits = false;

        list_for_each_safe (r, tmp, held, held) {
                if (pool->readonly) {
                        req_unhold(r);
                        req_unpin(r);
                        req_end_later(r, -EROFS);
                        continue;
                }
                if (waits && !pool->reserves)
                        return;
                if (waits && !r->npins && promise_room(r->vol) < r->lacks)
                        continue;
                waits |= !resume(r);
        }
}

void held_resume(struct pool *pool)
{
        resume_all(pool, &pool->held_over);
        resume_all(pool, &pool->held);
}

uint64_t held_of(const struct volume *vol)
{
        const struct req *r;
        uint64_t n = 0;

        list_for_each (r, &vol->pool->held, held)
                n += r->vol == vol;
        list_for_each (r, &vol->pool->held_over, held)
                n += r->vol == vol;
        return n;
}

static void cancel(const struct volume *vol, struct list *held)
{
        struct req *r, *tmp;

        list_for_each_safe (r, tmp, held, held) {
                if (r->vol != vol)
                        continue;
                req_unhold(r);
                req_unpin(r);
                req_end_later(r, -ECANCELED);
        }
}

void volume_cancel_held(struct volume *vol)
{
        cancel(vol, &vol->pool->held);
        cancel(vol, &vol->pool->held_over);
}
