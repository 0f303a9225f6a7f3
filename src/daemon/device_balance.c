/* device.balance: whether data of a pool even out over its devices, and how they stand. */
#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/device_methods.h"
#include "daemon/dpool.h"
#include "daemon/report.h"

#include <errno.h>
#include <string.h>

struct balance {
        struct control_request *req;
        struct dpool *p;
};

static void changed(void *ctx, int status, const struct err *err)
{
        struct balance *b = ctx;

        b->p->changing--;
        if (status < 0)
                control_refuse(b->req, status, err);
        else
                control_reply(b->req, report_balance(b->p->pool));
        free(b);
}

void device_balance(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct err err = ERR_INIT;
        const char *pool = NULL, *action = NULL;
        const struct control_param table[] = {
            PARAM_STR("pool", &pool, PARAM_REQUIRED),
            PARAM_STR("action", &action, PARAM_REQUIRED),
        };
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        bool status = rc == 0 && !strcmp(action, "status"),
             resume = rc == 0 && !strcmp(action, "resume");

        if (rc == 0 && !status && !resume && strcmp(action, "pause") != 0)
                rc = err_set(&err, EINVAL,
                             "action '%.40s' is not known; give pause, resume or status", action);
        struct dpool *p = rc == 0 ? dpool_active(d, pool, &err) : NULL;
        if (rc == 0 && !p)
                rc = -err.code;
        if (rc == 0 && status) {
                control_reply(req, report_balance(p->pool));
                return;
        }
        struct balance *b = rc == 0 ? calloc(1, sizeof(*b)) : NULL;
        if (!b) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        *b = (struct balance){.req = req, .p = p};
        p->changing++;
        pool_balance(p->pool, resume, b, changed);
}
