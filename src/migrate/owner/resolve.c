/* What a start makes of the records: groups are put together again, and a hand-over that crashed
 * between the atomic writes of two pools gets one answer for all volumes of its token.
 *
 * A group waits (unresolved: gates shut, requests refused with text, messages unanswered) until
 * every pool of its list is imported. Then, from the records of all volumes of the list:
 *
 *   target  one ACTIVE made from the token -> all ACTIVE: it was served, so all were OWNED
 *           else one REFUSED -> all REFUSED: BACK may have been sent, OK for ACTIVE was not
 *           else one OWNED -> all OWNED: OK was received, the data of all was flushed before TAKE
 *           else STAGED -> REFUSED: the bulk belongs to the former incarnation
 *   source  GIVEN beside a sibling that is still ACTIVE at exactly the epoch before: OK was never
 * sent, or ACTIVE because this token came back: BACK was under way -> all ACTIVE(e+2) else GIVEN. A
 * sibling that has moved on since (another token, another epoch), or is not there any more, proves
 * nothing.
 *
 * Each of these writes may crash between pools again: the same rule then gives the same answer.
 */
#include "migrate/owner/internal.h"

#include <stdio.h>

static struct owner_group *waiting_group(struct owner *o, const struct owner_record *rec)
{
        struct owner_group *g;

        list_for_each (g, &o->groups, node)
                if (g->unresolved && owner_token_equal(&g->base.token, &rec->token))
                        return g;
        return NULL;
}

/* Of two states that stand beside each other the one that has further to go: its rows write. */
static enum owner_state less_settled(enum owner_state a, enum owner_state b)
{
        static const enum owner_state order[] = {OWNER_STAGED, OWNER_OWNED, OWNER_REFUSED};

        for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
                if (a == order[i] || b == order[i])
                        return order[i];
        return a;
}

static void take_record(struct owner_group *g, const struct owner_record *rec)
{
        struct owner *o = g->owner;

        g->base = *rec;
        g->base.evictable = false;
        if (rec->qemu_pid && uuid_equal(&rec->boot_id, &o->s.boot_id)) {
                g->qemu_pid = (pid_t)rec->qemu_pid;
                g->qemu_start = rec->qemu_start;
        }
}

static void tombstone(struct owner_volume *v)
{
        struct owner_group *g = owner_group_new(v->owner);

        if (!g)
                return; /* stays hidden; the next start tries again */
        take_record(g, &v->rec);
        g->state = OWNER_TOMB;
        g->base.nvolumes = g->base.npools = 1;
        g->base.volumes[0] = (struct owner_member){v->uuid, v->rec.epoch, 0};
        memcpy(g->base.pools[0], v->pool, OWNER_POOL_NAME);
        owner_group_adopt(g, 0, v);
        g->interval_ns = v->owner->s.retry_ns;
        loop_timer_arm(v->owner->s.loop, &g->timer, loop_now_ns(v->owner->s.loop) + g->interval_ns);
}

void owner_resolve_volume(struct owner_volume *v)
{
        struct owner *o = v->owner;
        struct owner_group *g;

        if (v->rec.state == OWNER_TOMB) {
                tombstone(v);
                return;
        }
        if (owner_pool_is_ready(o, v->pool) && v->rec.state == OWNER_STAGED)
                return; /* just created: owner_stage puts it into its group */
        g = waiting_group(o, &v->rec);
        if (!g) {
                if (!(g = owner_group_new(o)))
                        return; /* no group and not ACTIVE: nothing is served, all is refused */
                take_record(g, &v->rec);
                g->state = v->rec.state;
                g->unresolved = true;
        }
        g->state = less_settled(g->state, v->rec.state);
        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                if (uuid_equal(&g->base.volumes[i].uuid, &v->uuid)) {
                        owner_group_adopt(g, i, v);
                        return;
                }
        }
        /* A record that does not list its own volume: the volume stays without a group. */
        bool any = false;
        for (unsigned i = 0; i < g->base.nvolumes; i++)
                any |= g->member[i] != NULL;
        if (!any)
                owner_group_dissolve(g);
}

static bool pools_are_here(const struct owner_group *g)
{
        for (unsigned i = 0; i < g->base.npools; i++)
                if (!owner_pool_is_ready(g->owner, g->base.pools[i]))
                        return false;
        return true;
}

static unsigned sibling_conditions(struct owner_group *g)
{
        struct owner *o = g->owner;
        unsigned c = 0;

        for (unsigned i = 0; i < g->base.nvolumes; i++) {
                const struct owner_member *m = &g->base.volumes[i];
                struct owner_volume *v = owner_volume_in_pool(o, g->base.pools[m->pool], &m->uuid);
                if (!v)
                        continue;
                bool same = owner_token_equal(&v->rec.token, &g->base.token);
                if (v->rec.state == OWNER_ACTIVE && same && v->rec.origin == OWNER_ORIGIN_TAKEN)
                        c |= OWNER_C_SIBLING_ACTIVE;
                if (v->rec.state == OWNER_REFUSED && same)
                        c |= OWNER_C_SIBLING_REFUSED;
                if (v->rec.state == OWNER_OWNED && same)
                        c |= OWNER_C_SIBLING_OWNED;
                if (v->rec.state != OWNER_ACTIVE || g->state != OWNER_GIVEN)
                        continue;
                if ((same && v->rec.origin == OWNER_ORIGIN_BACK &&
                     v->rec.epoch == m->epoch_before + 2) ||
                    (!same && v->rec.epoch == m->epoch_before)) {
                        c |= OWNER_C_SIBLING_HERE;
                        if (!same && !v->group)
                                owner_group_adopt(g, i, v); /* gets e+2 with the others */
                }
        }
        return c;
}

static bool all_evictable(const struct owner_group *g)
{
        if (g->state != OWNER_GIVEN)
                return false;
        for (unsigned i = 0; i < g->base.nvolumes; i++)
                if (g->member[i] && g->member[i]->rec.evictable)
                        return true; /* the new owner has reported: nothing is open any more */
        return false;
}

void owner_resolve_all(struct owner *o)
{
        struct owner_group *g, *tmp;

        list_for_each_safe (g, tmp, &o->groups, node) {
                if (!g->unresolved || (!pools_are_here(g) && !all_evictable(g)))
                        continue;
                unsigned c = all_evictable(g) ? 0 : sibling_conditions(g);
                g->unresolved = false;
                owner_dispatch(g, OWNER_EV_START, c, NULL, NULL);
        }
}
