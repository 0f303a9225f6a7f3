/* What a group waits for, with its one timer: an answer of a peer, asked for again and again; the
 * acknowledgements of a tombstone; a target that comes for an offer.
 */
#include "migrate/owner/internal.h"

#include <errno.h>

void owner_group_wait(struct owner_group *g, enum owner_msg_kind repeat, uint64_t total_ns)
{
        struct owner *o = g->owner;
        uint64_t now = loop_now_ns(o->s.loop);

        g->repeat = repeat;
        g->interval_ns = o->s.retry_ns;
        g->deadline_ns = now + total_ns;
        loop_timer_arm(o->s.loop, &g->timer, now + MIN(g->interval_ns, total_ns));
}

void owner_group_wait_over(struct owner_group *g)
{
        g->repeat = OWNER_MSG_NONE;
        loop_timer_disarm(&g->timer);
}

/* libvirt does not say that a migration ended before its target came to pull: an offer that nobody
 * has come for ends by its age, or as soon as its guest has gone. What came for it may still run
 * the guest. */
void owner_group_wait_for_puller(struct owner_group *g)
{
        struct owner *o = g->owner;

        if (g->state != OWNER_OFFERED || g->pulled)
                return;
        if (g->event == OWNER_EV_INQUIRE)
                g->deadline_ns = loop_now_ns(o->s.loop) + o->s.offer_ns;
        else if (g->event == OWNER_EV_QEMU_GONE)
                g->deadline_ns = loop_now_ns(o->s.loop);
        loop_timer_arm(o->s.loop, &g->timer, g->deadline_ns);
}

void owner_group_set_pulled(struct owner_group *g)
{
        g->pulled = true;
        if (g->state == OWNER_OFFERED)
                owner_group_wait_over(g);
}

void owner_group_timer(struct loop_timer *t)
{
        struct owner_group *g = container_of(t, struct owner_group, timer);
        struct owner *o = g->owner;
        uint64_t now = loop_now_ns(o->s.loop);

        if (g->row) { /* a write is under way: look again later */
                loop_timer_arm(o->s.loop, &g->timer, now + o->s.retry_ns);
                return;
        }
        if (g->state == OWNER_TOMB) {
                if (g->special && now >= g->deadline_ns)
                        owner_answer(o, steal_ptr(&g->special), -EINPROGRESS, NULL);
                g->interval_ns = MIN(g->interval_ns * 2, 60 * SECOND_NS);
                loop_timer_arm(o->s.loop, &g->timer, now + g->interval_ns);
                owner_dispatch(g, OWNER_EV_TIMEUP, 0, NULL, NULL);
                return;
        }
        if (g->state == OWNER_OFFERED) {
                if (now < g->deadline_ns)
                        loop_timer_arm(o->s.loop, &g->timer, g->deadline_ns);
                else
                        owner_dispatch(g, OWNER_EV_FAILED, 0, NULL, NULL);
                return;
        }
        if (now >= g->deadline_ns) {
                g->repeat = OWNER_MSG_NONE;
                owner_dispatch(g, OWNER_EV_TIMEUP, 0, NULL, NULL);
                return;
        }
        if (g->repeat != OWNER_MSG_NONE && g->base.nhosts)
                owner_group_send(g, g->repeat, &g->base.hosts[0]);
        loop_timer_arm(o->s.loop, &g->timer, MIN(now + g->interval_ns, g->deadline_ns));
}
