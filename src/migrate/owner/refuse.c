/* How an Acquire is answered, and the texts of refusals. */
#include "migrate/owner/internal.h"

#include <errno.h>

static void refusal(const struct owner_group *g, enum owner_event event, struct err *err)
{
        char what[256];
        const char *peer = owner_peer_text(g);

        owner_group_text(g, what);
        if (g->state == OWNER_GIVEN && event == OWNER_EV_TIMEUP)
                err_set(err, ETIMEDOUT,
                        "%s was handed over to %s, which does not answer: bring it back, then try "
                        "again (if it is lost for good: zonepool volume reclaim --force)",
                        what, peer);
        else if (g->state == OWNER_GIVEN)
                err_set(err, EREMOTE,
                        "%s belongs to %s now: run the domain there and destroy it here", what,
                        peer);
        else if (g->state == OWNER_REFUSED && g->why.code)
                err_set(err, g->why.code, "%s was not taken over from %s: %s", what, peer,
                        g->why.msg);
        else if (g->state == OWNER_REFUSED || g->state == OWNER_STAGED)
                err_set(err, EREMOTE,
                        "%s is only a copy, its owner is %s: resume or start the domain there",
                        what, peer);
        else
                err_set(err, EBUSY, "%s is %s: %s is refused", what, owner_state_name(g->state),
                        owner_event_name(event));
}

/* What is remembered as the reason when a target refuses. */
void owner_group_remember_why(struct owner_group *g, enum owner_event event)
{
        const char *peer = owner_peer_text(g);

        if (g->why.code)
                return;
        if (event == OWNER_EV_NO)
                err_set(&g->why, EREMOTE, "%s no longer offers it", peer);
        else if (event == OWNER_EV_TIMEUP && g->taking)
                err_set(&g->why, ETIMEDOUT, "%s did not answer the request to hand over", peer);
        else if (event == OWNER_EV_TIMEUP && g->preparing)
                err_set(&g->why, ETIMEDOUT, "the staged data could not be flushed in time");
        else if (event == OWNER_EV_TIMEUP)
                err_set(&g->why, ETIMEDOUT, "the last changes did not come from %s in time", peer);
        else if (event == OWNER_EV_ASK)
                err_set(&g->why, EREMOTE, "%s asked for it back", peer);
}

void owner_group_answer(struct owner_group *g, int status, enum owner_event event)
{
        struct err err = ERR_INIT;
        struct owner_request *r = steal_ptr(&g->acquire);

        if (!r)
                return;
        if (status)
                refusal(g, event, &err);
        owner_acquire_done(g->owner, r, status ? -err.code : 0, &err);
}
