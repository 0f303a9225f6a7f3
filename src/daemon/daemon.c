/* Start and orderly end, see daemon.h.
 *
 * Start: directories, the lock of the run directory, identity, subsystem, mount, methods, socket;
 * then the stored pools are imported all at once, and when the last one is (or has failed) the
 * service manager hears READY. The control socket answers from before that on.
 *
 * Stop: the socket goes, long work and migrations are cancelled; when no request is pending any
 * more, every pool is exported (its guests drained, their QEMUs left to reconnect to the next
 * daemon). A second request, or the deadline, ends the loop at once: what was acknowledged as
 * durable is, and the next start recovers.
 */
#include "daemon/daemon.h"

#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "daemon/dpool.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/mount.h"
#include "daemon/notify.h"
#include "nvme/subsystem.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define STOP_POLL_NS UINT64_C(10000000)

/* ---- start ---- */

static int make_dirs(const struct config *c, struct err *err)
{
        char path[PATH_MAX];
        int rc = dir_make(c->rundir, 0755, err);

        if (rc == 0) {
                snprintf(path, sizeof(path), "%s/domains", c->rundir);
                rc = dir_make(path, 0755, err);
        }
        if (rc == 0)
                rc = dir_make(c->statedir, 0700, err);
        if (rc == 0) {
                snprintf(path, sizeof(path), "%s/pools", c->statedir);
                rc = dir_make(path, 0700, err);
        }
        return rc == 0 ? dir_make(c->logdir, 0750, err) : rc;
}

static int open_eventlog(const struct config *c, struct err *err)
{
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/events.jsonl", c->logdir);
        int rc = eventlog_open(path);
        return rc < 0 ? err_set_sys(err, -rc, "cannot open the event log %s", path) : 0;
}

/* A group that does not exist is none: most hosts lack one or the other. */
static gid_t find_group(const char *setting, const char *name)
{
        struct group *g = name[0] ? getgrnam(name) : NULL;

        if (name[0] && !g)
                log_info("daemon", "%s: no group '%s' on this host, going without", setting, name);
        return g ? g->gr_gid : (gid_t)-1;
}

static int find_owners(struct daemon *d, struct err *err)
{
        const char *user = d->cfg.disk_user;
        struct passwd *pw = user[0] ? getpwnam(user) : NULL;

        if (user[0] && !pw)
                return err_set(err, EINVAL, "disk_user: no user '%s' on this host", user);
        d->disk_uid = pw ? pw->pw_uid : (uid_t)-1;
        d->disk_gid = find_group("disk_group", d->cfg.disk_group);
        return 0;
}

static int start_control(struct daemon *d, struct err *err)
{
        char path[PATH_MAX];
        int rc = control_server_new(d->loop, &d->control);

        if (rc == 0)
                rc = daemon_register_methods(d);
        if (rc == 0)
                rc = pool_register_methods(d);
        if (rc == 0)
                rc = volume_register_methods(d);
        if (rc < 0)
                return err_set(err, -rc, "out of memory");
        rc = migration_start(d, err);
        if (rc < 0)
                return rc;
        if (snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET_NAME, d->cfg.rundir) >=
            (int)sizeof(path))
                return err_set(err, ENAMETOOLONG, "rundir is too long");
        return control_server_listen(d->control, path, (mode_t)d->cfg.control_mode,
                                     find_group("control_group", d->cfg.control_group), err);
}

static void ready_if_all_imported(struct daemon *d)
{
        if (--d->starting > 0)
                return;
        log_info("daemon", "zonepoold %s is ready in %s", ZONEPOOL_VERSION, d->cfg.rundir);
        eventlog_emit("daemon-ready", "\"incarnation\":%llu", (unsigned long long)d->incarnation);
        notify("READY=1");
}

static void stored_imported(void *ctx, int status, const struct err *err, struct dpool *p)
{
        struct daemon *d = ctx;

        if (status < 0)
                log_error("pool", "%s could not be imported: %s", p ? p->spec.name : "?",
                          err_text(err, status));
        ready_if_all_imported(d);
}

static void import_stored(struct daemon *d, struct pool_spec *spec, const struct err *err)
{
        if (!err) {
                d->starting++;
                dpool_import(d, spec, NULL, true, d, stored_imported);
                return;
        }
        log_error("pool", "%s could not be imported: %s", spec->name, err->msg);
        struct dpool *p = dpool_new(d, spec);
        if (p)
                dpool_failed(p, err);
}

int daemon_start(struct daemon *d, struct config *cfg, struct err *err)
{
        list_init(&d->pools);
        list_init(&d->jobs);
        d->lock_fd = -1;
        d->cfg = *cfg;
        memset(cfg, 0, sizeof(*cfg));
        d->start_ns = clock_now_ns();
        random_bytes(NULL, &d->incarnation, sizeof(d->incarnation));
        d->incarnation = (d->incarnation >> 11) | 1; /* within JSON's exact integers, not 0 */

        int rc = loop_new(&d->loop);
        if (rc < 0)
                return err_set_sys(err, -rc, "cannot make the event loop");
        rc = worker_new(d->loop, &d->worker);
        if (rc < 0)
                return err_set_sys(err, -rc, "cannot start a thread");
        rc = make_dirs(&d->cfg, err);
        if (rc == 0)
                rc = rundir_lock(d->cfg.rundir, &d->lock_fd, err);
        if (rc == 0)
                rc = open_eventlog(&d->cfg, err);
        if (rc == 0)
                rc = host_uuid_load(d->cfg.statedir, &d->host_uuid, err);
        if (rc == 0)
                rc = find_owners(d, err);
        if (rc == 0 && (rc = nvm_subsystem_new(d->loop, &d->host_uuid, &d->nvm)) < 0)
                err_set_sys(err, -rc, "cannot make the NVM subsystem");
        if (rc == 0)
                rc = mount_start(d, err);
        if (rc == 0)
                rc = start_control(d, err);
        if (rc < 0)
                return rc;
        d->starting = 1;
        dpool_store_each(d, import_stored);
        ready_if_all_imported(d);
        return 0;
}

/* ---- stop ---- */

static void stop_finished(void *ctx)
{
        struct daemon *d = ctx;

        log_info("daemon", "stopped");
        eventlog_emit("daemon-stopped", NULL);
        loop_timer_disarm(&d->stop_deadline);
        d->clean = true;
        loop_stop(d->loop);
}

static void stop_exported(void *ctx, int status, const struct err *err)
{
        struct daemon *d = ctx;

        if (status < 0)
                log_warn("pool", "%s", err_text(err, status));
        if (--d->exporting == 0)
                mount_close(d, stop_finished);
}

static void export_all(struct daemon *d)
{
        struct dpool *p, *next;

        d->exporting = 1;
        list_for_each_safe (p, next, &d->pools, node) {
                d->exporting++;
                dpool_export(p, d, stop_exported);
        }
        stop_exported(d, 0, NULL);
}

static bool quiet(const struct daemon *d)
{
        struct dpool *p;

        if (control_server_pending(d->control) || d->starting || !migration_stopped(d))
                return false;
        list_for_each (p, &d->pools, node) {
                if (p->changing || p->state == DPOOL_IMPORTING || p->state == DPOOL_EXPORTING)
                        return false;
        }
        return true;
}

static void stop_poll(struct loop_timer *t)
{
        struct daemon *d = container_of(t, struct daemon, stop_poll);

        if (quiet(d))
                export_all(d);
        else
                loop_timer_arm(d->loop, t, loop_now_ns(d->loop) + STOP_POLL_NS);
}

static void stop_now(struct daemon *d, const char *why)
{
        log_warn("daemon", "%s: stopping at once; the next start recovers", why);
        eventlog_emit("daemon-stopped-hard", NULL);
        d->exit_code = 1;
        loop_stop(d->loop);
}

static void stop_deadline(struct loop_timer *t)
{
        stop_now(container_of(t, struct daemon, stop_deadline),
                 "what is under way has not ended in stop_timeout_ms");
}

void daemon_stop(struct daemon *d)
{
        struct job *job;

        if (d->stopping) {
                stop_now(d, "asked a second time");
                return;
        }
        d->stopping = true;
        log_info("daemon", "stopping");
        notify("STOPPING=1");
        control_server_stop(d->control);
        migration_stop(d);
        list_for_each (job, &d->jobs, node) {
                job->cancel(job);
        }
        uint64_t now = loop_now_ns(d->loop);
        d->stop_deadline.fire = stop_deadline;
        loop_timer_arm(d->loop, &d->stop_deadline, now + d->cfg.stop_timeout_ms * 1000000);
        d->stop_poll.fire = stop_poll;
        loop_timer_arm(d->loop, &d->stop_poll, now);
}

/* After a start that failed there are no pools yet; after a hard stop main leaves without this. */
void daemon_fini(struct daemon *d)
{
        control_server_free(d->control);
        migration_free(d);
        mount_drop(d); /* only after a start that failed is there one */
        nvm_subsystem_free(d->nvm);
        loop_timer_disarm(&d->stop_deadline);
        loop_timer_disarm(&d->stop_poll);
        worker_free(d->worker);
        loop_free(d->loop);
        eventlog_close();
        close_fd(&d->lock_fd);
        config_fini(&d->cfg);
}
