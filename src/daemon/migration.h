/* Where the daemon meets src/migrate: ownership of volumes, and the methods migrate.*, lock.*,
 * domain.* and volume.reclaim. The rest of the daemon asks about ownership only here.
 *
 *   migration.c          volumes, pools, what src/migrate asks of the daemon
 *   migration_methods.c  the methods
 *
 * Threads: the loop's. Callbacks never come from inside the call.
 */
#ifndef ZONEPOOL_DAEMON_MIGRATION_H
#define ZONEPOOL_DAEMON_MIGRATION_H

#include "daemon/daemon.h"
#include "daemon/dvol.h"
#include "migrate/owner/record.h"

/* Makes d->migration over d->nvm (both exist then) and registers the methods. */
int migration_start(struct daemon *d, struct err *err);
/* Gives up what is under way, answers its requests. Volumes may still be attached. */
void migration_stop(struct daemon *d);
/* Nothing of it is under way any more: pools may be exported. */
bool migration_stopped(const struct daemon *d);
/* All volumes are detached. A daemon without migration is accepted. */
void migration_free(struct daemon *d);

/* v has a controller: reads its record, sets v->migrate and v->owner. -EBADMSG with text: the
 * volume must not be served. */
int migration_attach(struct dvol *v, struct err *err);
/* Before the controller goes. A volume never attached is accepted. False: a change log of it is
 * still being taken down, ask again. */
bool migration_detach(struct dvol *v);
/* Every volume of the pool is attached; or none any more. */
void migration_pool_ready(struct dpool *p);
void migration_pool_gone(struct dpool *p);

/* The first record of a new volume of this host's: its length. */
size_t migration_first_record(uint8_t buf[OWNER_RECORD_MAX]);

struct migration_info {
        const char *state; /* "ACTIVE", ... */
        uint64_t epoch;
        char peer[OWNER_ADDRESS]; /* empty: none */
        bool hidden; /* another host owns it: virsh does not list it */
        bool migrating;
};
void migration_volume_info(const struct dvol *v, struct migration_info *ret_info);

/* May a person read, write, resize, wipe it here, now? 0, or -EBUSY, -EREMOTE with text. */
int migration_check(const struct dvol *v, const char *what, struct err *err);

/* Before a deletion asked for by a person. status 0: delete it now; -EINPROGRESS: it is a tombstone
 * until other hosts have acknowledged, and goes by itself then; else it must stay, err says why. */
void migration_before_delete(struct dvol *v, void *ctx,
                             void (*done)(void *ctx, int status, const struct err *err));

/* migration_methods.c */

struct migrate;
struct migrate *migration_engine(struct daemon *d);
int migration_register_methods(struct daemon *d);
/* A pool is being imported: who owns what is not known yet. */
bool migration_importing(const struct daemon *d);
/* Which volumes domains may claim, from RUNDIR/domains: what the hook told a daemon before this
 * one. Volumes of pools that are not imported yet are left out; called again for each pool. */
void migration_seed_domains(struct daemon *d);

#endif
