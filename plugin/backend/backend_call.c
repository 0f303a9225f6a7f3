/* The backend's way to zonepoold: one connection a call, every call with a limit. */
#include "backend.h"
#include "base/cleanup.h"
#include "control/control.h"
#include "control/control_client.h"
#include "errmap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SECONDS UINT64_C(1000000000)

const char *backend_rundir(void)
{
        const char *dir = getenv("ZONEPOOL_RUNDIR");

        return dir && *dir == '/' ? dir : ZONEPOOL_RUNDIR;
}

/* Progress is asked for so that the daemon shows signs of life; nobody reads it here. */
static bool keep_waiting(void *ctx, const char *what, uint64_t done, uint64_t total)
{
        return true;
}

/* True when rc is the daemon's answer and not a failure to get one. */
static bool is_answer(int rc)
{
        return rc != -ETIMEDOUT && rc != -ECONNRESET && rc != -EBADMSG && rc != -ENOTCONN &&
               rc != -EMSGSIZE && rc != -ENOMEM;
}

int backend_ask(const char *method, json_t *params, unsigned limit_s, json_t **ret_result,
                bool *ret_refused, struct err *err)
{
        const struct control_call_options opt = {
            .silence_timeout_ns = MIN(limit_s, (unsigned)BACKEND_SILENCE_S) * SECONDS,
            .total_timeout_ns = limit_s * SECONDS,
            .progress = limit_s > BACKEND_SHORT_S ? keep_waiting : NULL,
        };
        struct control_client *client = NULL;
        char path[256];
        int rc;

        if (ret_refused)
                *ret_refused = false;
        if (!params)
                return err_set_sys(err, ENOMEM, "%s", method);
        snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET_NAME, backend_rundir());
        rc = control_client_open(path, 0, &client, err);
        if (rc == 0) {
                rc = control_client_call(client, method, params, &opt, ret_result, err);
                if (ret_refused)
                        *ret_refused = rc < 0 && is_answer(rc);
        }
        control_client_close(client);
        json_decref(params);
        return rc;
}

int backend_report(int rc, const struct err *err)
{
        virReportError(errmap_code(rc), "%s", err_text(err, rc));
        return -1;
}

int backend_call(const char *method, json_t *params, unsigned limit_s, json_t **ret_result)
{
        struct err err = ERR_INIT;
        int rc = backend_ask(method, params, limit_s, ret_result, NULL, &err);

        return rc < 0 ? backend_report(rc, &err) : 0;
}
