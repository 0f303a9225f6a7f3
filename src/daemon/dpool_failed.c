/* Pools whose import did not succeed: they stay in the registry, and are tried again when what was
 * missing is there, see dpool.h.
 *
 * What is looked at every few seconds is what stands at the paths listed: nothing, something, or a
 * member device of some pool, and which file of which size. As long as that is as it was when the
 * import failed another try would fail alike, and none is made. */
#include "base/log.h"
#include "daemon/devices.h"
#include "daemon/dpool.h"

#include <sys/stat.h>

#define LOOK_NS UINT64_C(2000000000)

static uint64_t mix(uint64_t h, uint64_t n)
{
        return (h ^ n) * UINT64_C(0x100000001b3);
}

static uint64_t what_is_there(const struct pool_spec *s)
{
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        struct stat st;

        for (uint32_t i = 0; i < s->ndevices; i++) {
                if (stat(s->devices[i], &st) < 0) {
                        h = mix(h, 0);
                        continue;
                }
                h = mix(h, 1 + device_may_be_member(s->devices[i]));
                h = mix(mix(mix(h, st.st_ino), st.st_rdev), (uint64_t)st.st_size);
        }
        return h;
}

static void tried_again(void *ctx, int status, const struct err *err, struct dpool *p)
{
        if (status < 0)
                log_warn("pool", "%s could not be imported: %s", p ? p->spec.name : "?",
                         err_text(err, status));
}

/* dpool_import frees the entry, and makes it anew. */
static void try_again(struct dpool *p)
{
        struct pool_spec spec = p->spec;

        log_info("pool", "%s: its devices have changed, it is imported again", spec.name);
        p->spec.devices = p->spec.peers = NULL;
        p->spec.ndevices = p->spec.npeers = 0;
        spec.options.degraded_if_sure = false;
        dpool_import(p->daemon, &spec, NULL, true, NULL, tried_again);
}

static void look(struct loop_timer *t)
{
        struct dpool *p = container_of(t, struct dpool, tick);
        struct loop *loop = p->daemon->loop;

        if (p->state != DPOOL_FAILED || p->daemon->stopping)
                return;
        if (what_is_there(&p->spec) != p->was_there)
                try_again(p);
        else
                loop_timer_arm(loop, t, loop_now_ns(loop) + LOOK_NS);
}

void dpool_failed(struct dpool *p, const struct err *err)
{
        struct loop *loop = p->daemon->loop;

        p->state = DPOOL_FAILED;
        p->error = *err;
        if (!p->spec.ndevices)
                return;
        p->was_there = what_is_there(&p->spec);
        p->tick.fire = look;
        loop_timer_arm(loop, &p->tick, loop_now_ns(loop) + LOOK_NS);
}
