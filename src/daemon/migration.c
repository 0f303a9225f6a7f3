/* Ownership without peers: every volume is this host's. See migration.h.
 *
 * Each volume's gate is open from the moment it is attached.
 */
#include "daemon/migration.h"

#include "daemon/dvol.h"

int migration_start(struct daemon *d, struct err *err)
{
        return 0;
}

void migration_stop(struct daemon *d)
{
}

void migration_free(struct daemon *d)
{
}

int migration_attach(struct dvol *v, struct err *err)
{
        nvc_gate_set(v->nvc, true);
        return 0;
}

void migration_detach(struct dvol *v)
{
        if (v->nvc)
                nvc_gate_set(v->nvc, false);
}

void migration_pool_ready(struct dpool *p)
{
}

void migration_pool_gone(struct dpool *p)
{
}

size_t migration_first_record(uint8_t buf[OWNER_RECORD_MAX])
{
        return 0;
}

void migration_volume_info(const struct dvol *v, struct migration_info *ret_info)
{
        *ret_info = (struct migration_info){.state = "ACTIVE", .epoch = 1};
}

int migration_check(const struct dvol *v, const char *what, struct err *err)
{
        return 0;
}

void migration_before_delete(struct dvol *v, void *ctx,
                             void (*done)(void *ctx, int status, const struct err *err))
{
        done(ctx, 0, NULL);
}
