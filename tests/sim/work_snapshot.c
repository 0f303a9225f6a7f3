/* Snapshots and clones that users ask for, see work.h. */
#include "tests/sim/work_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

enum { MAX_COPIES = 9 }; /* volumes and snapshots in all */

/* What was made is there, or there was no room for it. */
static void made(struct control *c, int status, struct volume *vol, const char *what)
{
        struct sim *sim = c->w->sim;
        sim_trace(sim, "volume %u: %s %u done %d", c->others[0]->number, what, c->v->number,
                  status);
        c->others[0]->control = false;
        if (c->others[0]->taking == c->v)
                c->others[0]->taking = NULL;
        if (status == -ENOSPC || (sim->mirrored && (status == -EMFILE || status == -ENODEV))) {
                oracle_remove(sim->oracle, c->v);
        } else if (status < 0) {
                work_control_failed(c, what, status);
                return;
        } else {
                c->v->vol = vol;
                c->v->fate = FATE_THERE;
                oracle_flushed(sim->oracle, c->v, c->start);
        }
        work_control_end(c);
}

static void taken(void *ctx, int status, struct volume *snap)
{
        struct control *c = ctx;
        if (!c->w->sim->power_lost)
                made(c, status, snap, "snapshot");
}

static void take(struct work *w)
{
        struct sim *sim = w->sim;
        bool still = sim_chance(sim, 1, 3);
        struct oracle_volume *v = work_pick(w, still);
        if (!v || v->taking || v->new_size_bytes != v->size_bytes)
                return;
        struct oracle_volume *s = oracle_copy(sim->oracle, v, !still);
        s->snapshot = true;
        s->of = v->number;
        s->fate = FATE_CREATING;
        v->cloned = true; /* as of now it is above something */
        work_name(w, s);
        struct control *c = work_control_new(w, ASK_SNAPSHOT, s);
        c->others[0] = v;
        c->start = sim_time(sim);
        if (still)
                v->control = true;
        else
                v->taking = s;
        struct snapshot_spec spec = {.name = s->name, .uuid = s->uuid, .time = s->number};
        sim_trace(sim, "volume %u: snapshot %u%s", v->number, s->number, still ? "" : ", loose");
        snapshot_create(v->vol, &spec, c, taken);
}

static void cloned(void *ctx, int status, struct volume *vol)
{
        struct control *c = ctx;
        if (!c->w->sim->power_lost)
                made(c, status, vol, "clone");
}

static void clone(struct work *w)
{
        struct sim *sim = w->sim;
        struct oracle_volume *from = work_pick_snapshot(w);
        if (!from || sim_chance(sim, 1, 2))
                from = work_pick(w, true);
        if (!from || from->loose)
                return;
        struct oracle_volume *v = oracle_copy(sim->oracle, from, false);
        v->fate = FATE_CREATING;
        v->cloned = from->cloned = true;
        work_name(w, v);
        work_make_owner(sim, v->owner, &v->owner_len);
        struct control *c = work_control_new(w, ASK_CLONE, v);
        c->others[0] = from;
        c->start = sim_time(sim);
        from->control = true;
        struct volume_spec spec = {
            .name = v->name, .uuid = v->uuid, .owner = v->owner, .owner_len = v->owner_len};
        sim_trace(sim, "volume %u: clone %u", from->number, v->number);
        volume_clone(from->vol, &spec, c, cloned);
}

static void removed(void *ctx, int status)
{
        struct control *c = ctx;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "snapshot %u: deleted %d", c->v->number, status);
        if (status < 0) {
                work_control_failed(c, "delete of a snapshot", status);
                return;
        }
        oracle_remove(c->w->sim->oracle, c->v);
        work_control_end(c);
}

static void remove_one(struct work *w)
{
        struct oracle_volume *s = work_pick_snapshot(w);
        if (!s || s->busy)
                return;
        struct control *c = work_control_new(w, ASK_SNAPSHOT_DELETE, s);
        s->control = true;
        s->fate = FATE_DELETING;
        sim_trace(w->sim, "snapshot %u: delete", s->number);
        snapshot_delete(s->vol, c, removed);
}

static void back(void *ctx, int status)
{
        struct control *c = ctx;
        struct oracle_volume *v = c->v;
        if (c->w->sim->power_lost)
                return;
        sim_trace(c->w->sim, "volume %u: back at %u, %d", v->number, c->others[0]->number, status);
        if (status < 0 && (status != -ENOSPC || !v->reserved_bytes)) {
                work_control_failed(c, "revert", status);
                return;
        }
        if (status == 0)
                oracle_become(v, c->others[0]);
        v->going_back = NULL;
        v->control = c->others[0]->control = false;
        work_control_end(c);
}

static void go_back(struct work *w)
{
        struct oracle_volume *s = work_pick_snapshot(w), *v = NULL;
        for (uint32_t i = 0; s && i < oracle_count(w->sim->oracle); i++)
                if (oracle_get(w->sim->oracle, i)->number == s->of)
                        v = oracle_get(w->sim->oracle, i);
        if (!v || s->loose || v->fate != FATE_THERE || v->control || v->busy || v->owner_call ||
            v->taking || v->size_bytes != s->size_bytes || v->new_size_bytes != v->size_bytes ||
            v->new_reserved_bytes != v->reserved_bytes)
                return;
        struct control *c = work_control_new(w, ASK_REVERT, v);
        c->others[0] = s;
        v->control = s->control = true;
        v->going_back = s;
        sim_trace(w->sim, "volume %u: back to %u", v->number, s->number);
        volume_revert(v->vol, s->vol, c, back);
}

void work_snapshot(struct work *w, enum ask kind)
{
        bool room = oracle_count(w->sim->oracle) < MAX_COPIES;
        if (kind == ASK_SNAPSHOT && room)
                take(w);
        else if (kind == ASK_CLONE && room)
                clone(w);
        else if (kind == ASK_SNAPSHOT_DELETE)
                remove_one(w);
        else if (kind == ASK_REVERT)
                go_back(w);
}
