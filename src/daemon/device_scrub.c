/* device.scrub: starts, pauses, cancels, follows a scrub of a pool, or says how it stands. */
#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/device_methods.h"
#include "daemon/dpool.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define LOOK_NS UINT64_C(200000000)

struct scrub {
        struct control_request *req;
        struct daemon *d;
        struct dpool *p; /* while a change is under way */
        struct loop_timer timer;
        char pool[POOL_NAME_MAX + 1];
};

static json_t *u64(uint64_t n)
{
        return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static json_t *finding(struct pool *pool, const struct pool_scrub_finding *f)
{
        const struct volume *vol = volume_by_uuid(pool, &f->volume);
        char uuid[UUID_TEXT_LEN];

        uuid_format(&f->volume, uuid);
        return json_pack("{s:o, s:s, s:o}", "volume",
                         vol ? json_string(volume_name(vol)) : json_null(), "uuid", uuid,
                         "offset_bytes", u64(f->block * ZP_BLOCK));
}

static json_t *report(struct pool *pool)
{
        static const char *const names[] = {
            [POOL_SCRUB_NONE] = "none",
            [POOL_SCRUB_RUNNING] = "running",
            [POOL_SCRUB_PAUSED] = "paused",
            [POOL_SCRUB_DONE] = "done",
        };
        struct pool_scrub_status st;
        json_t *findings = json_array();

        pool_get_scrub_status(pool, &st);
        for (uint32_t i = 0; findings && i < st.nfindings; i++)
                json_array_append_new(findings, finding(pool, &st.findings[i]));
        return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state", names[st.state],
                         "verified_bytes", u64(st.verified_bytes), "left_bytes", u64(st.left_bytes),
                         "wrong_copies", u64(st.wrong_copies), "damaged_blocks",
                         u64(st.damaged_blocks), "repaired_blocks", u64(st.repaired_blocks),
                         "unknown_batches", u64(st.unknown_batches), "findings", findings);
}

/* ---- following ---- */

/* False: it is over, s is gone. */
static bool look(struct scrub *s)
{
        struct err err = ERR_INIT;
        struct pool_scrub_status st;
        struct dpool *p = s->d->stopping ? NULL : dpool_find(s->d, s->pool);

        if (!p || p->state != DPOOL_ACTIVE) {
                err_set(&err, ECANCELED,
                        "pool %s is being exported; its scrub goes on when it is imported again",
                        s->pool);
                control_refuse(s->req, -ECANCELED, &err);
                free(s);
                return false;
        }
        pool_get_scrub_status(p->pool, &st);
        if (st.state != POOL_SCRUB_RUNNING) {
                control_reply(s->req, report(p->pool));
                free(s);
                return false;
        }
        control_progress(s->req, "verifying", st.verified_bytes, st.verified_bytes + st.left_bytes);
        return true;
}

static void fire(struct loop_timer *t)
{
        struct scrub *s = container_of(t, struct scrub, timer);
        struct loop *loop = s->d->loop;

        if (look(s))
                loop_timer_arm(loop, t, loop_now_ns(loop) + LOOK_NS);
}

/* ---- asking ---- */

static void changed(void *ctx, int status, const struct err *err)
{
        struct scrub *s = ctx;

        s->p->changing--;
        if (status < 0)
                control_refuse(s->req, status, err);
        else
                control_reply(s->req, report(s->p->pool));
        free(s);
}

static void act(struct scrub *s, struct dpool *p, const char *action)
{
        enum pool_scrub_what what = !strcmp(action, "start")   ? POOL_SCRUB_START
                                    : !strcmp(action, "pause") ? POOL_SCRUB_PAUSE
                                                               : POOL_SCRUB_CANCEL;

        if (!strcmp(action, "status")) {
                control_reply(s->req, report(p->pool));
                free(s);
        } else if (!strcmp(action, "wait")) {
                s->timer.fire = fire;
                if (look(s))
                        loop_timer_arm(s->d->loop, &s->timer, loop_now_ns(s->d->loop) + LOOK_NS);
        } else {
                s->p = p;
                p->changing++;
                pool_scrub(p->pool, what, s, changed);
        }
}

void device_scrub(struct control_request *req, void *ctx)
{
        static const char *const actions[] = {"start", "pause", "cancel", "status", "wait"};
        struct daemon *d = ctx;
        struct err err = ERR_INIT;
        const char *pool = NULL, *action = NULL;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("action", &action, PARAM_REQUIRED),
        };
        bool known = false;
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(actions); i++)
                known |= !strcmp(action, actions[i]);
        if (rc == 0 && !known)
                rc = err_set(
                    &err, EINVAL,
                    "action '%.40s' is not known; give start, pause, cancel, status or wait",
                    action);
        struct dpool *p = rc == 0 ? dpool_active(d, pool, &err) : NULL;
        if (rc == 0 && !p)
                rc = -err.code;
        struct scrub *s = rc == 0 ? calloc(1, sizeof(*s)) : NULL;
        if (!s) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        s->req = req;
        s->d = d;
        strcpy(s->pool, pool);
        act(s, p, action);
}
