/* ACTIVE-reports: the former owner is told that its copy may be evicted, until it acknowledges or
 * has been told often enough.
 */
#include "migrate/owner/internal.h"

void owner_report_add(struct owner *o, const struct owner_host *to, const struct owner_token *token)
{
        struct owner_report *r;

        if (o->nreports >= OWNER_MAX_REPORTS || !(r = calloc(1, sizeof(*r))))
                return; /* the copy there is not evicted: space, not safety */
        r->to = *to;
        r->token = *token;
        list_add_tail(&o->reports, &r->node);
        o->nreports++;
        owner_report_timer(&o->report_timer);
}

void owner_report_acked(struct owner *o, const struct owner_token *token)
{
        struct owner_report *r, *tmp;

        list_for_each_safe (r, tmp, &o->reports, node) {
                if (owner_token_equal(&r->token, token)) {
                        list_del(&r->node);
                        free(r);
                        o->nreports--;
                }
        }
}

void owner_report_timer(struct loop_timer *t)
{
        struct owner *o = container_of(t, struct owner, report_timer);
        struct owner_report *r, *tmp;

        list_for_each_safe (r, tmp, &o->reports, node) {
                struct owner_msg m = {.kind = OWNER_MSG_ACTIVE_REPORT, .token = r->token};
                if (r->tries++ < OWNER_REPORT_TRIES) {
                        o->ops.send(o->ops.ctx, &r->to, &m);
                        continue;
                }
                list_del(&r->node);
                free(r);
                o->nreports--;
        }
        if (!list_empty(&o->reports))
                loop_timer_arm(o->s.loop, t, loop_now_ns(o->s.loop) + 2 * SECOND_NS);
}
