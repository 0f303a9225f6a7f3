/* Scrubbing goes from group to group in the order of their ids, and walks each as the mover does.
 * What is written while it is under way is verified by who writes; what cleaning moves ahead of it
 * is verified by cleaning.
 *
 * Of a mirrored group every member is read, headers too. A copy that is wrong twice where another
 * one is right is healed by moving the block, as reads do; a header by moving all that lives in the
 * group. A table page or inode that is wrong on its device, and in RAM, is marked changed: the next
 * checkpoint writes it anew. Of data that no member has right the block is told of, and stays.
 *
 * The next batch is looked at, and the place moves on, when the moves are through: a root that says
 * so has them. While room is short nothing is moved: what was found is counted, and left to reads
 * and the next scrub.
 *
 * State and place stand in every root: a crash goes on from the last one's. */
#include "pool/member/scrub.h"
#include "pool/internal.h"
#include "pool/member/pace.h"
#include "pool/member/patrol.h"

#include <stdlib.h>

struct scrub {
        struct pool *pool;
        struct patrol patrol;
        struct pace pace;
        enum pool_scrub_state state;
        uint32_t next; /* group */
        uint64_t verified; /* blocks */
        uint32_t wrong, damaged, repaired;
        uint32_t healing; /* moves under way */
        uint32_t unread; /* batches whose owners cannot be told, a table page being damaged */
        struct pool_scrub_finding findings[POOL_SCRUB_FINDINGS];
        uint32_t nfindings;
        uint32_t shown; /* blocks of the batch at hand */
        bool paused; /* the patrol waits for its turn */
        bool again; /* the walk under way belongs to a scrub that was cancelled */
};

/* ---- findings ---- */

/* What is in RAM goes with the next checkpoint. */
static bool write_anew(struct scrub *s, const struct patrol_block *b)
{
        struct pool *pool = s->pool;

        if (b->type == RECORD_PAGE) {
                if (!tree_dirty_page_at(pool, b->tree, b->level, b->index, b->entry.addr))
                        return false;
        } else if (b->type == RECORD_INODE) {
                catalog_mark_dirty(pool, b->index);
        } else {
                return false;
        }
        s->repaired++;
        return true;
}

static void healed(void *ctx, bool is)
{
        struct scrub *s = ctx;

        s->healing--;
        s->repaired += is;
}

/* Some member has it right, and that is data. */
static void heal(struct scrub *s, const struct patrol_block *b, const uint8_t *data)
{
        struct pool *pool = s->pool;
        const struct group *g = s->patrol.group;

        s->wrong += (uint32_t)__builtin_popcount(b->wrong);
        if (b->type != RECORD_PAGE && b->type != RECORD_INODE) {
                if (!b->tree->vol || space_lacking(pool) || !groups_for_users(pool))
                        return;
                s->healing++;
                if (!heal_block(pool, b->tree, b->index, b->entry, data, b->wrong, s, healed))
                        s->healing--;
        } else if (write_anew(s, b)) {
                pool->healed++;
                pool_event_send(pool, POOL_EVENT_HEALED, 0, g->member[__builtin_ctz(b->wrong)].dev,
                                NULL, 0);
        }
}

static void wrong_header(struct patrol *p, unsigned wrong, bool nowhere)
{
        struct scrub *s = p->ctx;

        if (s->again)
                return;
        s->wrong += (uint32_t)__builtin_popcount(wrong);
        if (nowhere)
                mover_empty(s->pool, p->group);
        else if (p->group->state == GROUP_SEALED)
                p->group->failing = s->pool->rebuild = true;
}

static void found(struct scrub *s, const struct patrol_block *b, int status)
{
        struct pool *pool = s->pool;
        struct volume *vol = b->tree->vol;

        s->wrong += b->wrong ? (uint32_t)__builtin_popcount(b->wrong) : 1;
        if (write_anew(s, b))
                return;
        s->damaged++;
        if (s->nfindings < POOL_SCRUB_FINDINGS && vol)
                s->findings[s->nfindings++] =
                    (struct pool_scrub_finding){.volume = vol->uuid, .block = b->index};
        pool_event_send(pool, POOL_EVENT_CORRUPTION, status, s->patrol.group->member[0].dev, vol,
                        b->index);
}

/* ---- one group ---- */

static bool is_wanted(struct patrol *p, const struct patrol_block *b)
{
        return true;
}

static void shown(struct patrol *p, const struct patrol_block *b, const uint8_t *data, int status)
{
        struct scrub *s = p->ctx;

        if (s->again)
                return;
        s->shown++;
        if (status == 0) {
                s->verified++;
                if (b->wrong && data)
                        heal(s, b, data);
        } else if (status == -EILSEQ || status == -EIO) {
                found(s, b, status);
        }
}

static void unknown(struct patrol *p, int status)
{
        struct scrub *s = p->ctx;

        s->unread += !s->again;
}

static bool batch_shown(struct patrol *p)
{
        struct scrub *s = p->ctx;
        struct pool *pool = s->pool;

        if (s->shown)
                pace_pay(pool, &s->pace, s->shown);
        s->shown = 0;
        s->again |= !pool->running;
        if (s->again || s->state != POOL_SCRUB_RUNNING) {
                patrol_stop(p);
                return false;
        }
        s->paused = s->healing || !pace_turn(pool, &s->pace);
        return !s->paused;
}

static void group_over(struct patrol *p, int status)
{
        struct scrub *s = p->ctx;

        s->paused = false;
        if (!s->again && s->state == POOL_SCRUB_RUNNING) {
                s->unread += status < 0;
                s->next++;
        }
        s->again = false;
        pool_poll(s->pool);
}

/* ---- going on ---- */

static void end(struct scrub *s)
{
        s->state = POOL_SCRUB_DONE;
        pool_event_send(s->pool, POOL_EVENT_SCRUBBED, 0, 0, NULL, s->damaged);
        ckpt_start(s->pool, NULL);
}

static void next_group(struct scrub *s)
{
        struct pool *pool = s->pool;

        while (s->next < pool->ngroups) {
                struct group *g = pool->groups[s->next];
                bool written =
                    g->state == GROUP_OPEN || g->state == GROUP_SEALING || g->state == GROUP_SEALED;
                if (!written || !g->live || !g->tail) {
                        s->next++;
                        continue;
                }
                if (g->busy && !clean_yield(pool, g)) /* its turn comes */
                        return;
                uint32_t was = s->next;
                patrol_start(&s->patrol, g);
                if (s->patrol.group || s->next == was)
                        return;
        }
        end(s);
}

void scrub_poll(struct pool *pool)
{
        struct scrub *s = pool->scrub;

        if (s->state != POOL_SCRUB_RUNNING && !s->patrol.group)
                return;
        if (!s->patrol.group) {
                if (pace_turn(pool, &s->pace))
                        next_group(s);
                return;
        }
        if (!s->paused)
                return;
        if (s->state != POOL_SCRUB_RUNNING || s->again) {
                s->paused = false;
                patrol_stop(&s->patrol);
        } else if (!s->healing && pace_turn(pool, &s->pace)) {
                s->paused = false;
                patrol_next(&s->patrol);
        }
}

uint64_t scrub_next_ns(const struct pool *pool)
{
        const struct scrub *s = pool->scrub;
        bool waits = s->state == POOL_SCRUB_RUNNING && (s->paused || !s->patrol.group);

        /* a group that is busy is waited for without a clock */
        if (!waits || !pool->running || s->healing || pace_turn(pool, &s->pace))
                return UINT64_MAX;
        return s->pace.turn_ns;
}

int scrub_init(struct pool *pool)
{
        struct scrub *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        pool->scrub = s;
        s->pool = pool;
        s->patrol = (struct patrol){.pool = pool,
                                    .ctx = s,
                                    .every = true,
                                    .header = wrong_header,
                                    .wanted = is_wanted,
                                    .block = shown,
                                    .unknown = unknown,
                                    .batch = batch_shown,
                                    .done = group_over};
        return 0;
}

void scrub_fini(struct pool *pool)
{
        if (pool->scrub)
                patrol_fini(&pool->scrub->patrol);
        free(pool->scrub);
        pool->scrub = NULL;
}

void scrub_note(const struct pool *pool, struct root_scrub *ret_scrub)
{
        const struct scrub *s = pool->scrub;

        *ret_scrub = (struct root_scrub){.state = (uint8_t)s->state,
                                         .next = s->next,
                                         .verified = s->verified,
                                         .damaged = s->damaged,
                                         .repaired = s->repaired};
}

void scrub_restore(struct pool *pool, const struct root_scrub *r)
{
        struct scrub *s = pool->scrub;

        s->state = (enum pool_scrub_state)r->state;
        s->next = r->next;
        s->verified = r->verified;
        s->damaged = r->damaged;
        s->repaired = r->repaired;
}

/* ---- asking ---- */

struct asked {
        struct ckpt_wait wait;
        struct deferred later;
        struct pool *pool;
        int status;
        struct err err;
        void *ctx;
        void (*done)(void *ctx, int status, const struct err *err);
};

static void answer(struct asked *a, int status)
{
        a->done(a->ctx, status, status < 0 ? &a->err : NULL);
        pool_release(a);
}

static void answer_later(struct deferred *d)
{
        struct asked *a = container_of(d, struct asked, later);

        answer(a, a->status);
}

static void durable(struct ckpt_wait *w, int status)
{
        struct asked *a = container_of(w, struct asked, wait);

        if (status < 0)
                err_set_sys(&a->err, -status, "pool %s: the state of the scrub", a->pool->name);
        answer(a, status);
}

static void begin(struct scrub *s)
{
        s->again = s->patrol.group != NULL;
        s->next = s->wrong = s->damaged = s->repaired = s->unread = s->nfindings = 0;
        s->verified = 0;
}

static int change(struct scrub *s, enum pool_scrub_what what, struct err *err)
{
        const char *name = s->pool->name;
        bool runs = s->state == POOL_SCRUB_RUNNING, paused = s->state == POOL_SCRUB_PAUSED;

        switch (what) {
        case POOL_SCRUB_START:
                if (runs)
                        return err_set(err, EALREADY, "pool %s is being scrubbed already", name);
                if (!paused)
                        begin(s);
                s->state = POOL_SCRUB_RUNNING;
                return 0;
        case POOL_SCRUB_PAUSE:
                if (!runs)
                        return err_set(err, EINVAL, "pool %s is not being scrubbed", name);
                s->state = POOL_SCRUB_PAUSED;
                return 0;
        case POOL_SCRUB_CANCEL:
                if (!runs && !paused)
                        return err_set(err, EINVAL, "pool %s is not being scrubbed", name);
                begin(s);
                s->state = POOL_SCRUB_NONE;
                return 0;
        }
        return -EINVAL;
}

void pool_scrub(struct pool *pool, enum pool_scrub_what what, void *ctx,
                void (*done)(void *ctx, int status, const struct err *err))
{
        struct asked *a = pool_alloc(pool, sizeof(*a));

        if (!a) {
                done(ctx, -ENOMEM, NULL);
                return;
        }
        a->pool = pool;
        a->ctx = ctx;
        a->done = done;
        if (pool->readonly)
                a->status = err_set(&a->err, EROFS, "pool %s is read-only", pool->name);
        else
                a->status = change(pool->scrub, what, &a->err);
        if (a->status < 0) {
                a->later.call = answer_later;
                pool_defer(pool, &a->later);
        } else {
                a->wait.done = durable;
                ckpt_start(pool, &a->wait);
        }
        pool_poll(pool);
}

void pool_get_scrub_status(const struct pool *pool, struct pool_scrub_status *ret_status)
{
        const struct scrub *s = pool->scrub;
        uint64_t left = 0;

        for (uint32_t i = s->next; i < pool->ngroups; i++)
                if (pool->groups[i]->state != GROUP_GONE)
                        left += pool->groups[i]->live;
        *ret_status = (struct pool_scrub_status){.state = s->state,
                                                 .verified_bytes = s->verified * ZP_BLOCK,
                                                 .left_bytes = left * ZP_BLOCK,
                                                 .wrong_copies = s->wrong,
                                                 .damaged_blocks = s->damaged,
                                                 .repaired_blocks = s->repaired,
                                                 .unknown_batches = s->unread,
                                                 .nfindings = s->nfindings};
        for (uint32_t i = 0; i < s->nfindings; i++)
                ret_status->findings[i] = s->findings[i];
}
