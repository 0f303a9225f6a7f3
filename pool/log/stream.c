/* Streams: queues of items, and lanes that take batches from them.
 *
 * One batch a lane is in flight; what arrives meanwhile is the next one's. An idle stream sends at
 * once; a further lane takes part only when enough waits for a write of its own (more of it, where
 * that is not for the sake of another device: each batch costs a header), and the second
 * class of users gathers while the first is busy, for four of its batches at most. Lanes open
 * groups on the devices with most room, so that all devices of the pool are written side by side.
 *
 * A stream that may open no group goes on all the same, so that what is open gets used up: a class
 * that is not the first of its kind hands its items to that; the first takes over the open group
 * of an idle lane of its kind. So more classes and lanes never need more groups than one of each
 * kind would.
 *
 * Lanes that write to a device that stalls are passed over: the first of the others takes what
 * there is, into a group elsewhere, besides those that wait. Where none can be had they all wait.
 */
#include "pool/internal.h"

enum { LANE_ITEMS = 64, SHARED_LANE_ITEMS = 128, PASSES = 4 };

void streams_init(struct pool *pool)
{
        for (int c = 0; c < NCLASSES; c++) {
                for (int n = 0; n < POOL_MAX_GROUP_WIDTH; n++) {
                        struct stream *q = &pool->streams[c][n];
                        for (int l = 0; l < STREAM_LANES; l++) {
                                struct stream *s = l ? &pool->lanes[c][n][l - 1] : q;
                                s->cls = (enum cls)c;
                                s->copies = (uint8_t)(n + 1);
                                s->queue = q;
                                s->next = l + 1 < STREAM_LANES ? &pool->lanes[c][n][l] : NULL;
                                list_init(&s->ready);
                                list_init(&s->items);
                        }
                }
        }
}

void stream_add(struct stream *s, struct item *it)
{
        list_add_tail(&s->queue->items, &it->node);
        s->queue->nitems++;
}

uint32_t stream_take_back(struct stream *s, void (*done)(struct item *it, int status),
                          struct list *list)
{
        struct item *it, *tmp;
        uint32_t n = 0;

        list_for_each_safe (it, tmp, &s->queue->items, node) {
                if (it->done != done)
                        continue;
                list_del(&it->node);
                list_add_tail(list, &it->node);
                n++;
        }
        s->queue->nitems -= n;
        return n;
}

bool stream_has_group(const struct stream *s)
{
        for (s = s->queue; s; s = s->next)
                if (s->open)
                        return true;
        return false;
}

static bool lane_busy(const struct stream *s)
{
        return s->inflight || !list_empty(&s->ready);
}

bool stream_busy(const struct stream *s)
{
        for (s = s->queue; s; s = s->next)
                if (lane_busy(s))
                        return true;
        return false;
}

bool stream_kind_idle(struct pool *pool, const struct stream *s)
{
        for (int c = 0; c < NCLASSES; c++) {
                const struct stream *other = pool_stream(pool, (enum cls)c, s->copies);
                if (class_kind((enum cls)c) == class_kind(s->cls) &&
                    (stream_has_group(other) || stream_busy(other)))
                        return false;
        }
        return true;
}

/* It waits for a device that stalls, or would. */
static bool lane_stalled(const struct pool *pool, const struct stream *s)
{
        const struct batch *b = s->inflight ? s->inflight : list_first(&s->ready, struct batch, node);

        return pool->nstalled && ((b && group_stalled(pool, b->group)) ||
                                  (s->open && group_stalled(pool, s->open)));
}

/* Some lane of the stream has a group to write to, */
static bool stream_goes(const struct pool *pool, const struct stream *s)
{
        for (s = s->queue; s; s = s->next)
                if (s->open && !lane_stalled(pool, s))
                        return true;
        return false;
}

/* or writes. */
static bool stream_moves(const struct pool *pool, const struct stream *s)
{
        for (s = s->queue; s; s = s->next)
                if ((s->open || lane_busy(s)) && !lane_stalled(pool, s))
                        return true;
        return false;
}

/* An open group that nobody writes to now, of another lane of the stream. */
static struct group *idle_group(const struct pool *pool, struct stream *s)
{
        for (s = s->queue; s; s = s->next)
                if (s->open && !lane_busy(s) && !group_stalled(pool, s->open))
                        return steal_ptr(&s->open);
        return NULL;
}

/* The same, of any class of the kind. */
static struct group *take_over(struct pool *pool, const struct stream *to)
{
        struct group *g = NULL;

        for (int c = 0; c < NCLASSES && !g; c++)
                if (class_kind((enum cls)c) == class_kind(to->cls))
                        g = idle_group(pool, pool_stream(pool, (enum cls)c, to->copies));
        return g;
}

/* Devices allow no more open zones: ends an open group that has another number of copies and is not
 * written to; one that no volume needs any more first, then one of the kind. */
static void make_slot(struct pool *pool, const struct stream *s)
{
        for (int n = 1; n <= POOL_MAX_GROUP_WIDTH; n++) {
                for (int c = 0; n != s->copies && !pool->volumes_of[n] && c < NCLASSES; c++) {
                        struct stream *other = pool_stream(pool, (enum cls)c, (uint32_t)n);
                        struct group *g = c == CLASS_TABLE ? NULL : idle_group(pool, other);
                        if (g) {
                                group_retire(pool, g);
                                return;
                        }
                }
        }
        for (int n = 1; n <= POOL_MAX_GROUP_WIDTH; n++) {
                struct stream *other = pool_stream(pool, s->cls, (uint32_t)n);
                struct group *g = NULL;
                if (n != s->copies && list_empty(&other->items))
                        g = take_over(pool, other);
                if (g) {
                        group_retire(pool, g);
                        return;
                }
        }
}

static void hand_over(struct pool *pool, struct stream *q, struct stream *to)
{
        list_splice_tail(&to->items, &q->items);
        to->nitems += q->nitems;
        q->nitems = 0;
        stream_kick(pool, to);
}

bool stream_records_first(struct pool *pool, struct stream *s)
{
        struct stream *q = s->queue;
        struct list data;
        struct item *it, *tmp;

        if (!class_is_user(q->cls) || !space_lacking(pool) || groups_for_users(pool))
                return false;
        list_init(&data);
        list_for_each_safe (it, tmp, &q->items, node) {
                if (!it->data)
                        continue;
                list_del(&it->node);
                list_add_tail(&data, &it->node);
        }
        bool any = !list_empty(&q->items);
        list_splice_tail(&q->items, &data);
        return any;
}

/* The lane that takes what there is, however little: the first, or the first that does not wait for
 * a device that stalls. */
static bool lane_leads(const struct pool *pool, const struct stream *s)
{
        const struct stream *lead = s->queue;

        while (lead && lane_stalled(pool, lead))
                lead = lead->next;
        return s == (lead ? lead : s->queue);
}

/* The lane has a group to write to. */
static bool find_group(struct pool *pool, struct stream *s)
{
        struct stream *first = pool_stream(pool, class_kind(s->cls), s->copies);

        if (!s->open)
                s->open = group_open(pool, s, stream_records_first(pool, s));
        if (s->open)
                return true;
        if (!lane_leads(pool, s))
                return false;
        s->open = s->queue == first ? take_over(pool, s) : idle_group(pool, s);
        if (s->open || stream_goes(pool, s))
                return s->open;
        if (s->queue != first && (!stream_has_group(s) || stream_goes(pool, first)))
                hand_over(pool, s->queue, first);
        else if (pool->no_slot && s->cls != CLASS_TABLE && !stream_has_group(s))
                make_slot(pool, s);
        return false;
}

/* Users' second class has little to write while the first is busy: a header of its own is too much
 * for that. It waits for some of the first's batches, unless more comes. */
static bool gathers(struct pool *pool, const struct stream *q)
{
        return q->cls == CLASS_USER_COLD && q->nitems < SHARED_LANE_ITEMS && q->passed < PASSES &&
               stream_busy(pool_stream(pool, CLASS_USER, q->copies));
}

/* So much waits that the lane takes part. */
static bool enough(const struct pool *pool, const struct stream *s)
{
        uint32_t number = 0;

        for (const struct stream *l = s->queue; l != s; l = l->next)
                number++;
        return s->queue->nitems >= (number < pool->ndevs ? LANE_ITEMS : SHARED_LANE_ITEMS);
}

static bool may_take(struct pool *pool, const struct stream *s, bool waits)
{
        const struct stream *q = s->queue;

        if (list_empty(&q->items))
                return false;
        if (!enough(pool, s) && !lane_leads(pool, s) && !(waits && s->open))
                return false;
        if (class_is_user(s->cls) && (clean_behind(pool) || gathers(pool, q)))
                return false;
        return pool->ckpt.state <= CKPT_SETTLING || pool->ndirty < 2 * space_dirty_limit(pool);
}

static void lane_kick(struct pool *pool, struct stream *s, bool waits)
{
        while (!s->inflight && !pool->frozen && !(s->cls == CLASS_TABLE && pool->table_finishing)) {
                struct batch *b = list_first(&s->ready, struct batch, node);
                if (!b) {
                        if (!may_take(pool, s, waits) || !find_group(pool, s) || !batch_make(pool, s))
                                return;
                        continue;
                }
                list_del(&b->node);
                if (b->kind == BATCH_FINISH) {
                        group_retire(pool, b->group);
                        batch_free(b);
                        continue;
                }
                if (!b->hdr && batch_alloc(b) < 0) {
                        list_add_head(&s->ready, &b->node);
                        return;
                }
                batch_issue(b);
        }
}

void stream_kick(struct pool *pool, struct stream *s)
{
        if (pool->completing)
                return;
        struct stream *q = s->queue;
        for (s = q; s; s = s->next)
                if (!lane_stalled(pool, s))
                        lane_kick(pool, s, false);
        /* what no other takes waits with the device */
        for (s = pool->nstalled && !stream_moves(pool, q) ? q : NULL; s; s = s->next)
                lane_kick(pool, s, true);
}

void stream_kick_all(struct pool *pool)
{
        struct stream *q;

        for_each_queue (q, pool)
                stream_kick(pool, q);
}

bool stream_hopeless(const struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ndevs && !pool->readonly; i++)
                if (pdev_labelled(&pool->devs[i]) && !pool->devs[i].error)
                        return false;
        return true;
}

void stream_fail_stuck(struct pool *pool)
{
        struct list stuck;
        struct stream *s;

        if (!pool->running || !stream_hopeless(pool))
                return;
        list_init(&stuck);
        for_each_queue (s, pool) {
                if (stream_busy(s))
                        continue;
                list_splice_tail(&stuck, &s->items);
                s->nitems = 0;
        }
        items_done(pool, &stuck, pool->readonly ? -EROFS : -EIO);
}

static void batch_discard(struct batch *b)
{
        struct item *it, *tmp;

        list_for_each_safe (it, tmp, &b->items, node)
                item_free(b->pool, it);
        batch_free(b);
}

/* The items themselves go with the pool's memory. */
void stream_free_all(struct pool *pool)
{
        struct batch *b, *tmp;
        struct stream *q;

        list_for_each_safe (b, tmp, &pool->inflight, inflight)
                batch_discard(b);
        for_each_queue (q, pool)
                for (struct stream *s = q; s; s = s->next)
                        list_for_each_safe (b, tmp, &s->ready, node)
                                batch_discard(b);
}
