/* The methods daemon.*, see docs/control.md. */
#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/dpool.h"

#include <unistd.h>

static bool no_params(struct control_request *req)
{
        struct err err = ERR_INIT;
        int rc = control_parse(control_params(req), NULL, 0, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        return rc == 0;
}

static void status(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct dpool *p;
        json_int_t pools = 0, failed = 0;
        char uuid[UUID_TEXT_LEN];

        if (!no_params(req))
                return;
        list_for_each (p, &d->pools, node) {
                pools++;
                failed += p->state == DPOOL_FAILED;
        }
        uuid_format(&d->host_uuid, uuid);
        control_reply(req, json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:b}",
                                     "version", ZONEPOOL_VERSION, "pid", (int)getpid(),
                                     "incarnation", (json_int_t)d->incarnation, "uptime_ns",
                                     (json_int_t)(clock_now_ns() - d->start_ns), "pools", pools,
                                     "failed_pools", failed, "host_uuid", uuid, "rundir",
                                     d->cfg.rundir, "peer_listen", d->cfg.peer_listen,
                                     "insecure_lab_transport", d->cfg.insecure_lab_transport));
}

static void stop(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;

        if (!no_params(req))
                return;
        control_reply(req, json_object());
        if (!d->stopping)
                daemon_stop(d);
}

int daemon_register_methods(struct daemon *d)
{
        int rc = control_register(d->control, "daemon.status", status, d);
        return rc < 0 ? rc : control_register(d->control, "daemon.stop", stop, d);
}
