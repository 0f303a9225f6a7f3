/* The states of devices, see member.h: leaving, staying, and the end of a device that has left.
 * Joining is join.c's, moving the data mover.c's.
 *
 * P7: a device is empty when a durable root has none of its groups in use, and no read of them is
 * in flight. P8: its label is wiped when the root that has it no more is durable. */
#include "pool/member/member.h"
#include "pool/internal.h"
#include "pool/root/label.h"
#include "pool/space/mirror.h"

#include <string.h>

enum { MIN_GROUPS = 14 }; /* as many as the least pool has */
enum { KEEP_FORMABLE = 6 };
enum { FREE_ON_OTHERS = 4 };

/* ---- answers ---- */

static void answer_now(struct deferred *d)
{
        struct member_op *op = container_of(d, struct member_op, later);
        const struct err *err = op->status < 0 ? &op->err : NULL;
        uint32_t slot = op->slot;

        if (op->status < 0 && !op->err.code)
                err_set_sys(&op->err, -op->status, "pool %s", op->pool->name);
        if (op->joined)
                op->joined(op->ctx, op->status, err, slot);
        else
                op->done(op->ctx, op->status, err);
        member_op_free(op);
}

void member_answer(struct member_op *op, int status)
{
        op->status = status;
        op->later.call = answer_now;
        pool_defer(op->pool, &op->later);
}

void member_ask(struct member_op *op)
{
        list_add_tail(&op->pool->member_ops, &op->node);
        pool_poll(op->pool);
}

struct member_op *member_op_new(struct pool *pool, enum member_kind kind, struct zdev *dev,
                                void *ctx,
                                void (*done)(void *ctx, int status, const struct err *err,
                                             uint32_t index))
{
        struct member_op *op = pool_alloc(pool, sizeof(*op));

        if (!op)
                return NULL;
        op->zones = pool_alloc(pool, (dev->geo.nr_zones + LABEL_ZONES) * sizeof(*op->zones));
        if (!op->zones) {
                pool_release(op);
                return NULL;
        }
        op->pool = pool;
        op->kind = kind;
        op->dev = dev;
        op->ctx = ctx;
        op->joined = done;
        return op;
}

void member_op_free(struct member_op *op)
{
        if (op)
                pool_release(op->zones);
        pool_release(op);
}

void member_looked_at(struct member_op *op, int status)
{
        if (status == 0 && !op->pool->running)
                status = err_set(&op->err, ECANCELED, "pool %s is being exported", op->pool->name);
        if (status < 0 && !op->err.code)
                err_set_sys(&op->err, -status, "device %s", op->dev->path);
        if (status < 0)
                member_answer(op, status);
        else
                member_ask(op);
}

/* NULL: done has been called. */
static struct member_op *op_of(struct pool *pool, enum member_kind kind, uint32_t index, void *ctx,
                               void (*done)(void *ctx, int status, const struct err *err))
{
        struct member_op *op = pool_alloc(pool, sizeof(*op));

        if (!op) {
                done(ctx, -ENOMEM, NULL);
                return NULL;
        }
        op->pool = pool;
        op->kind = kind;
        op->index = index;
        op->ctx = ctx;
        op->done = done;
        return op;
}

static void ask_to_leave(struct pool *pool, uint32_t index, bool remove, void *ctx,
                         void (*done)(void *ctx, int status, const struct err *err))
{
        struct member_op *op = op_of(pool, MEMBER_LEAVE, index, ctx, done);

        if (!op)
                return;
        op->remove = remove;
        member_ask(op);
}

void pool_device_evacuate(struct pool *pool, uint32_t index, void *ctx,
                          void (*done)(void *ctx, int status, const struct err *err))
{
        ask_to_leave(pool, index, false, ctx, done);
}

void pool_device_remove(struct pool *pool, uint32_t index, void *ctx,
                        void (*done)(void *ctx, int status, const struct err *err))
{
        ask_to_leave(pool, index, true, ctx, done);
}

void pool_device_keep(struct pool *pool, uint32_t index, void *ctx,
                      void (*done)(void *ctx, int status, const struct err *err))
{
        struct member_op *op = op_of(pool, MEMBER_KEEP, index, ctx, done);

        if (op)
                member_ask(op);
}

void pool_device_give_up(struct pool *pool, uint32_t index, uint64_t bytes, void *ctx,
                         void (*done)(void *ctx, int status, const struct err *err))
{
        struct member_op *op = op_of(pool, MEMBER_GIVE_UP, index, ctx, done);

        if (!op)
                return;
        op->bytes = bytes;
        member_ask(op);
}

/* ---- checks ---- */

static const char *path_of(const struct pdev *d)
{
        return d->dev ? d->dev->path : "that is missing";
}

static uint64_t live_on(const struct pool *pool, uint32_t index)
{
        uint64_t live = 0;

        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (group_on(pool->groups[i], index))
                        live += pool->groups[i]->live;
        return live;
}

int member_check_leave(const struct pool *pool, uint32_t index, struct err *err)
{
        const struct pdev *d = &pool->devs[index];
        uint32_t groups = 0;
        unsigned stay = pool->nusable - pdev_takes(d);
        uint64_t used = space_charged(pool), budget = space_without(pool, index, &groups);

        if (stay < pool->copies)
                return err_set(
                    err, ENOSPC,
                    "device %s cannot leave pool %s: a volume keeps %u copies, and %u other "
                    "devices are in use; add a device first",
                    path_of(d), pool->name, pool->copies, stay);
        if (groups < MIN_GROUPS)
                return err_set(
                    err, ENOSPC,
                    "device %s cannot leave pool %s: the other devices have %u zones for "
                    "data, at least %d are needed; add a device first",
                    path_of(d), pool->name, groups, MIN_GROUPS);
        if (used > budget)
                return err_set(err, ENOSPC,
                               "device %s cannot leave pool %s: %llu MiB are in use or reserved, "
                               "and the other devices can hold %llu MiB; add a device or delete "
                               "data first",
                               path_of(d), pool->name, (unsigned long long)DIV_ROUND_UP(used, 256),
                               (unsigned long long)(budget / 256));
        return 0;
}

/* What leaves can be moved: it goes into groups that are free elsewhere, and so do the tables. The
 * device's own are used no more once it leaves. */
static bool others_have_groups(const struct pool *pool, uint32_t index)
{
        return groups_free_without(pool, index) > (uint64_t)FREE_ON_OTHERS * pool->max_cap;
}

static int check_slot(const struct member_op *op, struct err *err)
{
        const struct pool *pool = op->pool;

        if (pool->readonly)
                return err_set(err, EROFS, "pool %s is read-only", pool->name);
        if (op->index < pool->ndevs && pool->devs[op->index].state <= POOL_DEVICE_LEAVING)
                return 0;
        return err_set(err, EINVAL, "pool %s has no device %u", pool->name, op->index);
}

static int check_leave(const struct member_op *op, struct err *err)
{
        const struct pool *pool = op->pool;
        int rc = check_slot(op, err);

        if (rc < 0)
                return rc;
        const struct pdev *d = &pool->devs[op->index];
        if (d->state == POOL_DEVICE_LEAVING && (d->removing || !op->remove))
                return err_set(err, EALREADY, "device %s is being %s already", path_of(d),
                               d->removing ? "removed" : "evacuated");
        if (d->state == POOL_DEVICE_JOINING)
                return err_set(err, EAGAIN, "device %s is being added; try again when it is done",
                               path_of(d));
        return d->state == POOL_DEVICE_LEAVING ? 0 : member_check_leave(pool, op->index, err);
}

/* ---- changes ---- */

void member_leave(struct pool *pool, struct pdev *d, bool remove)
{
        bool was = d->state == POOL_DEVICE_LEAVING;

        d->removing = remove;
        if (was)
                return;
        d->state = POOL_DEVICE_LEAVING;
        d->drained = d->giving_up = false;
        d->looked = 0;
        d->stuck_blocks = 0;
        d->leaving_blocks = live_on(pool, d->index);
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->state == GROUP_FREE && group_on(g, d->index))
                        group_park(pool, g);
        }
        space_init(pool);
        mover_begin(pool);
}

int member_check_replace(struct pool *pool, struct pdev *d, uint32_t old, struct err *err)
{
        d->state = POOL_DEVICE_MEMBER; /* for the moment */
        space_init(pool);
        int rc = member_check_leave(pool, old, err);
        d->state = POOL_DEVICE_JOINING;
        space_init(pool);
        return rc;
}

/* What it replaces begins to leave. */
static void replace(struct pool *pool, struct pdev *d)
{
        struct pdev *old = &pool->devs[d->replaces];

        d->replacing = false;
        if (old != d && pdev_holds(old))
                member_leave(pool, old, true);
}

void members_go_on(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ndevs; i++) {
                struct pdev *d = &pool->devs[i];
                if (!d->replacing || !pdev_takes(d))
                        continue;
                replace(pool, d);
                ckpt_start(pool, NULL);
        }
}

static int leave(struct member_op *op)
{
        struct pdev *d = &op->pool->devs[op->index];
        int rc = check_leave(op, &op->err);

        if (rc == 0 && d->state == POOL_DEVICE_MEMBER && !others_have_groups(op->pool, op->index))
                return err_set(&op->err, ENOSPC,
                               "device %s cannot leave pool %s: the other devices have no zones "
                               "free to begin with, and cleaning gains none; add a device or "
                               "delete data first",
                               path_of(d), op->pool->name);
        if (rc == 0)
                member_leave(op->pool, d, op->remove);
        return rc;
}

/* Its parked groups may be used. */
void member_unpark(struct pool *pool, struct pdev *d)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (g->state == GROUP_PARKED && group_on(g, d->index) && !g->live)
                        group_make_free(pool, g);
        }
        space_init(pool);
}

static int keep(struct member_op *op)
{
        int rc = check_slot(op, &op->err);

        if (rc < 0)
                return rc;
        struct pdev *d = &op->pool->devs[op->index];
        if (d->state != POOL_DEVICE_LEAVING)
                return err_set(&op->err, EINVAL, "device %s is not being evacuated or removed",
                               path_of(d));
        d->state = POOL_DEVICE_MEMBER;
        d->removing = d->drained = d->giving_up = false;
        d->leaving_blocks = d->stuck_blocks = 0;
        member_unpark(op->pool, d);
        return 0;
}

/* What is confirmed may have become less meanwhile, and not more. */
static int give_up(struct member_op *op)
{
        struct pool *pool = op->pool;
        int rc = check_slot(op, &op->err);

        if (rc < 0)
                return rc;
        struct pdev *d = &pool->devs[op->index];
        uint64_t bytes = live_on(pool, op->index) * ZP_BLOCK;
        if (d->state != POOL_DEVICE_LEAVING)
                return err_set(&op->err, EINVAL,
                               "device %s is not leaving pool %s: have it removed or replaced "
                               "first, and what can be read is saved",
                               path_of(d), pool->name);
        if (!d->stuck_blocks)
                return err_set(&op->err, EAGAIN,
                               "device %s: what can be read of it is still being moved",
                               path_of(d));
        if (bytes > op->bytes)
                return err_set(
                    &op->err, ESTALE,
                    "device %s: %llu bytes of it cannot be read, and %llu were confirmed",
                    path_of(d), (unsigned long long)bytes, (unsigned long long)op->bytes);
        rc = d->dev && d->error ? pool_device_detach(pool, op->index, &op->err) : 0;
        if (rc < 0)
                return rc;
        d->giving_up = true;
        d->stuck_blocks = 0;
        mover_begin(pool);
        return 0;
}

/* Its groups have no zones any more. */
static void go(struct pool *pool, struct pdev *d)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                if (!group_on(g, d->index))
                        continue;
                g->state = GROUP_GONE;
                g->cls = CLASS_USER;
                g->cap = g->wp = g->tail = g->summary = 0;
                g->last_seq = g->last_sum = g->sealed = 0;
                g->needs_reset = g->nosummary = g->unclean = g->covered = g->released = false;
                g->headless = false;
                g->width = g->copies = 1;
                g->zone_cap = 0;
                memset(g->member, 0, sizeof(g->member));
        }
        d->state = POOL_DEVICE_LEFT;
        d->removing = d->drained = d->giving_up = false;
        d->leaving_blocks = d->stuck_blocks = 0;
}

void member_forget(struct pool *pool, struct pdev *d)
{
        go(pool, d);
        free(d->zones);
        *d = (struct pdev){.index = d->index, .state = POOL_DEVICE_NONE};
        list_init(&d->free);
}

/* The new device has failed before it was a member: nothing was placed there. Its label may stand
 * on it or not, so no root may call it a member; the next one has an empty slot again. */
static void join_failed(struct member_op *op)
{
        struct pdev *d = &op->pool->devs[op->slot];

        op->status = err_set(&op->err, EIO, "device %s has failed while pool %s took it in: %s",
                             d->dev->path, op->pool->name, strerror(-d->error));
        member_forget(op->pool, d);
}

/* A root with the new device is durable. True: another one is needed. */
static bool joined_more(struct member_op *op)
{
        struct pool *pool = op->pool;
        struct pdev *d = &pool->devs[op->slot];

        if (d->state == POOL_DEVICE_JOINING && d->error) {
                join_failed(op);
                return true;
        }
        if (d->state != POOL_DEVICE_JOINING)
                return false; /* and the root that says that the old one leaves, or none came */
        if (!d->confirming) {
                d->confirming = true;
                return true;
        }
        d->state = POOL_DEVICE_MEMBER;
        d->confirming = false;
        member_unpark(pool, d);
        if (op->index == NO_SLOT)
                return false;
        replace(pool, d);
        return true;
}

static void durable(struct ckpt_wait *w, int status)
{
        struct member_op *op = container_of(w, struct member_op, wait);
        struct pool *pool = op->pool;

        if (status < 0 && !pool->readonly && pool->running) {
                ckpt_start(pool, w); /* it stands in RAM: the next root says it */
                return;
        }
        if (status == 0 && op->kind == MEMBER_JOIN && joined_more(op)) {
                ckpt_start(pool, w);
                return;
        }
        if (status == 0 && op->kind == MEMBER_RETURN)
                member_returned(op);
        member_answer(op, op->status ? op->status : status);
}

static int change(struct member_op *op)
{
        switch (op->kind) {
        case MEMBER_JOIN:
                return member_join(op);
        case MEMBER_LEAVE:
                return leave(op);
        case MEMBER_KEEP:
                return keep(op);
        case MEMBER_GIVE_UP:
                return give_up(op);
        default:
                return member_return(op);
        }
}

/* The others have room, but no groups that are free: cleaning is asked for them first, and comes to
 * an end. */
static bool must_wait(const struct member_op *op)
{
        struct pool *pool = op->pool;
        struct err err = ERR_INIT;

        if (op->kind != MEMBER_LEAVE || pool->readonly || others_have_groups(pool, op->index) ||
            check_leave(op, &err) < 0 || pool->devs[op->index].state != POOL_DEVICE_MEMBER)
                return false;
        bool vain = clean_in_vain(pool), idle = pool->ckpt.state == CKPT_IDLE;
        if (vain && idle && !pool->count.emptied && pool->count.free == pool->count.ready)
                return false;
        if (idle && pool->count.emptied && (vain || pool->count.emptied > FREE_ON_OTHERS))
                ckpt_start(pool, NULL);
        pool->leave_slot = op->index;
        return true;
}

static void carry_out(struct member_op *op)
{
        int rc = change(op);

        if (rc < 0) {
                member_answer(op, rc);
                return;
        }
        op->wait.done = durable;
        ckpt_start(op->pool, &op->wait);
}

/* ---- the end of a device ---- */

enum emptiness { HOLDS_DATA, IN_FLIGHT, EMPTY };

static enum emptiness emptiness(const struct pool *pool, uint32_t index)
{
        enum emptiness e = EMPTY;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                const struct group *g = pool->groups[i];
                if (!group_on(g, index))
                        continue;
                if ((g->state != GROUP_PARKED && g->state != GROUP_BAD) || g->live)
                        return HOLDS_DATA;
                if (g->refs || g->resetting || g->finishing)
                        e = IN_FLIGHT;
        }
        return e;
}

struct leaving {
        struct ckpt_wait wait;
        struct pio pio;
        struct pool *pool;
        struct pdev *dev;
        uint32_t zone;
        int status;
};

static void wipe(struct leaving *l);

static void left(struct leaving *l)
{
        struct pdev *d = l->dev;

        d->state = POOL_DEVICE_NONE;
        d->busy = true; /* until the zdev is closed */
        d->error = l->status;
        pool_release(l);
}

static void wiped(struct pio *p, int status)
{
        struct leaving *l = container_of(p, struct leaving, pio);

        if (status < 0 && !l->status)
                l->status = status;
        if (p->io.op == ZDEV_FLUSH)
                left(l);
        else
                wipe(l);
}

static void wipe(struct leaving *l)
{
        struct pdev *d = l->dev;
        uint32_t ring[LABEL_ZONES] = {0};
        bool reset = l->zone < LABEL_ZONES && label_zones(d->zones, d->nr_zones, ring);

        l->pio.cb = wiped;
        l->pio.io = (struct zdev_io){.op = reset ? ZDEV_RESET : ZDEV_FLUSH,
                                     .zone = reset ? ring[l->zone] : 0};
        l->zone++;
        pio_submit(l->pool, l->dev->dev, &l->pio);
}

static void wipe_start(struct leaving *l)
{
        if (!l->dev->dev)
                l->status = -ENODEV; /* it may have its label still */
        /* P8: no root has the device any more */
        if (l->dev->dev)
                wipe(l);
        else
                left(l);
}

static void left_durable(struct ckpt_wait *w, int status)
{
        struct leaving *l = container_of(w, struct leaving, wait);

        if (status == 0) {
                wipe_start(l);
                return;
        }
        l->dev->busy = false; /* member_poll asks again */
        pool_release(l);
}

/* The next step of a device on its way out. */
static void go_on(struct pool *pool, struct pdev *d)
{
        if (d->state == POOL_DEVICE_LEAVING && !d->drained && d->looked != pool->generation) {
                enum emptiness e = emptiness(pool, d->index);
                if (e == HOLDS_DATA)
                        d->looked = pool->generation; /* only a root empties groups */
                d->drained = e == EMPTY;
                if (d->drained) /* P7 */
                        pool_event_send(pool, POOL_EVENT_DEVICE_EMPTY, 0, d->index, NULL, 0);
        }
        bool leaves = d->state == POOL_DEVICE_LEAVING && d->drained && d->removing;
        if ((!leaves && d->state != POOL_DEVICE_LEFT) || d->busy)
                return;
        struct leaving *l = pool_alloc(pool, sizeof(*l));
        if (!l)
                return;
        l->pool = pool;
        l->dev = d;
        l->wait.done = left_durable;
        d->busy = true;
        if (leaves)
                go(pool, d);
        ckpt_start(pool, &l->wait);
}

static void close_left(struct pool *pool, struct pdev *d)
{
        if (d->state != POOL_DEVICE_NONE || !d->busy || (d->dev && d->dev->inflight))
                return;
        int status = d->error;
        zdev_close(d->dev);
        free(d->zones);
        *d = (struct pdev){.index = d->index, .state = POOL_DEVICE_NONE};
        list_init(&d->free);
        pool_event_send(pool, POOL_EVENT_DEVICE_REMOVED, status, d->index, NULL, 0);
        ckpt_start(pool, NULL);
}

/* It was opened for fewer copies than can be kept by now: only what is sealed is rebuilt. */
static bool outgrown(const struct pool *pool, const struct group *g)
{
        unsigned wanted = members_wanted(pool, g);

        return g->width < wanted && groups_formable(pool, wanted, true) > KEEP_FORMABLE;
}

/* Streams that write go elsewhere with their next batch; idle ones are closed here. */
static void seal_idle(struct pool *pool)
{
        struct stream *q;

        for_each_queue (q, pool) {
                for (struct stream *s = q; s; s = s->next)
                        if (s->open && !s->inflight && list_empty(&s->ready) &&
                            (group_away(pool, s->open) || outgrown(pool, s->open)))
                                stream_seal(pool, s);
        }
}

void member_poll(struct pool *pool)
{
        seal_idle(pool);
        if (pool->ckpt.state > CKPT_FREEZING)
                return;
        pool->leave_waits = false;
        while (!list_empty(&pool->member_ops)) {
                struct member_op *op = list_first(&pool->member_ops, struct member_op, node);
                pool->leave_waits = must_wait(op);
                if (pool->leave_waits)
                        break;
                list_del(&op->node);
                carry_out(op);
        }
        for (uint32_t i = 0; i < pool->ndevs && !pool->readonly; i++) {
                go_on(pool, &pool->devs[i]);
                close_left(pool, &pool->devs[i]);
        }
}

void members_cancel(struct pool *pool)
{
        while (!list_empty(&pool->member_ops)) {
                struct member_op *op = list_first(&pool->member_ops, struct member_op, node);
                list_del(&op->node);
                member_answer(
                    op, err_set(&op->err, ECANCELED, "pool %s is being exported", pool->name));
        }
        pool->leave_waits = false;
}
