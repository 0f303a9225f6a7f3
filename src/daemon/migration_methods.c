/* lock.*, domain.*, migrate.* and volume.reclaim (docs/control.md).
 *
 * The files RUNDIR/domains/UUID are the hook's; a restarted daemon reads from them which volumes a
 * domain may claim.
 */
#include "daemon/migration.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/report.h"
#include "migrate/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED_FILE_MAX = 16384 };

/* How long a request waits for imports that are under way, and how often it looks. */
#define PARK_NS UINT64_C(30000000000)
#define PARK_STEP_NS UINT64_C(20000000)

/* ---- parameters ---- */

/* [{"pool", "volume"}]: at most OWNER_MAX_VOLUMES. */
static int parse_disks(const json_t *array, struct migrate_disk out[OWNER_MAX_VOLUMES],
                       uint32_t *ret_n, struct err *err)
{
        size_t n = json_array_size(array);

        if (n > OWNER_MAX_VOLUMES)
                return err_set(err, E2BIG, "disks: a domain may have at most %d zonepool disks",
                               OWNER_MAX_VOLUMES);
        for (size_t i = 0; i < n; i++) {
                const char *pool = NULL, *volume = NULL;
                const struct control_param table[] = {PARAM_STR("pool", &pool, PARAM_REQUIRED),
                                                      PARAM_STR("volume", &volume, PARAM_REQUIRED)};
                int rc = control_parse(json_array_get(array, i), table, ARRAY_SIZE(table), err);
                if (rc == 0)
                        rc = pool_name_check(pool, err);
                if (rc == 0)
                        rc = volume_name_check(volume, err);
                if (rc < 0) {
                        err_prefix(err, "disks");
                        return rc;
                }
                snprintf(out[i].pool, sizeof(out[i].pool), "%s", pool);
                snprintf(out[i].volume, sizeof(out[i].volume), "%s", volume);
        }
        *ret_n = (uint32_t)n;
        return 0;
}

static struct dvol *find_disk(struct daemon *d, const struct migrate_disk *disk, struct err *err)
{
        struct dpool *p = dpool_active(d, disk->pool, err);
        struct dvol *v = p ? dvol_find(p, disk->volume, err) : NULL;

        if (v && !v->migrate) {
                err_set(err, EIO, "volume %s/%s is not served: %s", disk->pool, disk->volume,
                        v->error.msg);
                return NULL;
        }
        return v;
}

/* ---- domain.* ---- */

static void domain_seed(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct owner_volume *vols[OWNER_MAX_VOLUMES];
        struct migrate_disk disks[OWNER_MAX_VOLUMES];
        struct uuid domain;
        json_t *array = NULL;
        uint32_t n = 0;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED),
                                              PARAM_ARRAY("disks", &array, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc == 0)
                rc = parse_disks(array, disks, &n, &err);
        for (uint32_t i = 0; rc == 0 && i < n; i++) {
                struct dvol *v = find_disk(d, &disks[i], &err);
                if (v)
                        vols[i] = migrate_volume_owner(v->migrate);
                else
                        rc = -err.code;
        }
        if (rc == 0)
                rc = owner_domain_seed(migrate_owner(migration_engine(d)), &domain, vols, n, NULL,
                                       &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                control_reply(req, json_object());
}

static void domain_released(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct uuid domain;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc < 0) {
                control_refuse(req, rc, &err);
                return;
        }
        owner_domain_released(migrate_owner(migration_engine(d)), &domain);
        control_reply(req, json_object());
}

/* One file: a "pool/volume" a line. What is not (yet) here keeps the domain from being acquired. */
static void seed_from_file(struct daemon *d, const struct uuid *domain, const char *path)
{
        struct owner_volume *vols[OWNER_MAX_VOLUMES];
        char text[SEED_FILE_MAX], missing[256] = "", *save = NULL;
        uint32_t n = 0;
        FILE *f = fopen(path, "re");

        if (!f)
                return;
        size_t len = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[len] = '\0';
        for (char *line = strtok_r(text, "\n", &save); line && n < OWNER_MAX_VOLUMES;
             line = strtok_r(NULL, "\n", &save)) {
                struct migrate_disk disk;
                char *slash = strchr(line, '/');
                if (!slash || (size_t)(slash - line) >= sizeof(disk.pool) ||
                    strlen(slash + 1) >= sizeof(disk.volume))
                        continue;
                *slash = '\0';
                snprintf(disk.pool, sizeof(disk.pool), "%s", line);
                snprintf(disk.volume, sizeof(disk.volume), "%s", slash + 1);
                struct dvol *v = find_disk(d, &disk, NULL);
                if (v)
                        vols[n++] = migrate_volume_owner(v->migrate);
                else
                        snprintf(missing, sizeof(missing), "%s/%s", disk.pool, disk.volume);
        }
        owner_domain_seed(migrate_owner(migration_engine(d)), domain, vols, n,
                          missing[0] ? missing : NULL, NULL);
}

void migration_seed_domains(struct daemon *d)
{
        char path[PATH_MAX];
        struct dirent *e;

        snprintf(path, sizeof(path), "%s/domains", d->cfg.rundir);
        DIR *dir = opendir(path);
        while (dir && (e = readdir(dir))) {
                struct uuid domain;
                if (uuid_parse_text(e->d_name, &domain) == 0 &&
                    snprintf(path, sizeof(path), "%s/domains/%s", d->cfg.rundir, e->d_name) <
                        (int)sizeof(path))
                        seed_from_file(d, &domain, path);
        }
        if (dir)
                closedir(dir);
}

/* ---- lock.* ---- */

struct acquire_op {
        struct owner_request r;
        struct control_request *req;
        struct dvol *v; /* volume.reclaim: to report */
};

static void acquired(struct owner_request *r, int status, const struct err *err)
{
        struct acquire_op *op = container_of(r, struct acquire_op, r);

        if (status < 0)
                control_refuse(op->req, status, err);
        else
                control_reply(op->req, op->v ? report_volume(op->v) : json_object());
        free(op);
}

static void lock_acquire(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct uuid domain;
        uint64_t pid = 0;
        const char *state = "";
        bool reg = false;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED),
                                              PARAM_U64("pid", &pid, PARAM_REQUIRED),
                                              PARAM_STR("state", &state, PARAM_OPTIONAL),
                                              PARAM_BOOL("register", &reg, PARAM_OPTIONAL)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct acquire_op *op = rc == 0 ? calloc(1, sizeof(*op)) : NULL;

        if (!op) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        op->r.done = acquired;
        op->req = req;
        owner_acquire(migrate_owner(migration_engine(d)), &domain, (pid_t)pid, state, reg, &op->r);
}

/* Inquire and Release: a process of a domain asks, a state to put into the cookie is the answer. */
static void answer_state(struct control_request *req, struct daemon *d,
                         int (*ask)(struct owner *o, const struct uuid *domain, pid_t pid,
                                    char ret_state[OWNER_TOKEN_TEXT], struct err *err))
{
        struct uuid domain;
        uint64_t pid = 0;
        char state[OWNER_TOKEN_TEXT];
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED),
                                              PARAM_U64("pid", &pid, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc == 0)
                rc = ask(migrate_owner(migration_engine(d)), &domain, (pid_t)pid, state, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                control_reply(req, json_pack("{s:s}", "state", state));
}

static void lock_inquire(struct control_request *req, void *ctx)
{
        answer_state(req, ctx, owner_inquire);
}

static int release(struct owner *o, const struct uuid *domain, pid_t pid,
                   char ret_state[OWNER_TOKEN_TEXT], struct err *err)
{
        owner_release(o, domain, pid, ret_state);
        return 0;
}

static void lock_release(struct control_request *req, void *ctx)
{
        answer_state(req, ctx, release);
}

/* ---- migrate.* ---- */

struct incoming_op {
        struct migrate_incoming in;
        struct control_request *req;
        struct daemon *daemon;
        uint32_t ndisks;
        struct migrate_disk disks[OWNER_MAX_VOLUMES];
};

static void incoming_done(struct migrate_incoming *in, int status, const struct err *err)
{
        struct incoming_op *op = container_of(in, struct incoming_op, in);

        control_on_hangup(op->req, NULL, NULL);
        if (status < 0) {
                log_info("migrate", "incoming migration refused: %s", err_text(err, status));
                control_refuse(op->req, status, err);
        } else {
                json_t *list = json_array();
                for (uint32_t i = 0; list && i < op->ndisks; i++) {
                        struct dvol *v = find_disk(op->daemon, &op->disks[i], NULL);
                        if (v)
                                json_array_append_new(list, report_volume(v));
                }
                control_reply(op->req, json_pack("{s:o}", "volumes", list));
        }
        free(op);
}

static void incoming_progress(struct migrate_incoming *in, const struct migrate_progress *p)
{
        struct incoming_op *op = container_of(in, struct incoming_op, in);

        control_progress(op->req, "copying", p->moved_bytes, p->total_bytes);
}

static void incoming_hangup(void *ctx)
{
        struct incoming_op *op = ctx;

        migrate_incoming_cancel(&op->in);
}

static void migrate_incoming_method(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct uuid domain;
        const char *name = "";
        json_t *array = NULL;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED),
                                              PARAM_STR("name", &name, PARAM_OPTIONAL),
                                              PARAM_ARRAY("disks", &array, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct incoming_op *op = rc == 0 ? calloc(1, sizeof(*op)) : NULL;

        if (rc == 0 && !op)
                rc = -ENOMEM;
        if (rc == 0)
                rc = parse_disks(array, op->disks, &op->ndisks, &err);
        if (rc < 0) {
                free(op);
                control_refuse(req, rc, &err);
                return;
        }
        op->in.done = incoming_done;
        op->in.progress = incoming_progress;
        op->req = req;
        op->daemon = d;
        log_info("migrate", "domain '%s' is coming to this host", name);
        control_progress(req, "asking peers", 0, 0);
        control_on_hangup(req, op, incoming_hangup);
        migrate_incoming(migration_engine(d), &domain, op->disks, op->ndisks, &op->in);
}

struct status_ctx {
        json_t *list;
        const struct uuid *domain; /* NULL: all */
};

static json_t *u64(uint64_t n)
{
        return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static void add_status(void *ctx, const struct migrate_status *s)
{
        struct status_ctx *c = ctx;
        char domain[UUID_TEXT_LEN], text[POOL_NAME_MAX + VOLUME_NAME_MAX + 2];
        json_t *volumes = json_array();

        if (c->domain && !uuid_equal(c->domain, &s->domain)) {
                json_decref(volumes);
                return;
        }
        uuid_format(&s->domain, domain);
        for (uint32_t i = 0; i < s->nvolumes; i++) {
                snprintf(text, sizeof(text), "%s/%s", s->pools[i], s->volumes[i]);
                json_array_append_new(volumes, json_string(text));
        }
        json_array_append_new(
            c->list,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o}", "domain", domain,
                      "direction", s->outgoing ? "outgoing" : "incoming", "state",
                      owner_state_name(s->state), "peer", s->peer, "token", s->token, "volumes",
                      volumes, "moved_bytes", u64(s->progress.moved_bytes), "total_bytes",
                      u64(s->progress.total_bytes), "remaining_bytes",
                      u64(s->progress.remaining_bytes), "passes", (json_int_t)s->progress.passes,
                      "pause_ns", u64(s->progress.pause_ns)));
}

static void migrate_status_method(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct uuid domain = {0};
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_OPTIONAL)};
        struct status_ctx c = {.list = json_array()};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc < 0) {
                json_decref(c.list);
                control_refuse(req, rc, &err);
                return;
        }
        if (!uuid_is_nil(&domain))
                c.domain = &domain;
        migrate_status(migration_engine(d), &c, add_status);
        control_reply(req, json_pack("{s:o}", "migrations", c.list));
}

static void migrate_cancel_method(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        struct uuid domain;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_UUID("domain", &domain, PARAM_REQUIRED)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);

        if (rc == 0)
                rc = migrate_cancel(migration_engine(d), &domain, &err);
        if (rc < 0)
                control_refuse(req, rc, &err);
        else
                control_reply(req, json_object());
}

/* ---- volume.reclaim ---- */

static void volume_reclaim(struct control_request *req, void *ctx)
{
        struct daemon *d = ctx;
        const char *pool = NULL, *volume = NULL;
        bool force = false;
        struct migrate_disk disk;
        struct err err = ERR_INIT;
        const struct control_param table[] = {PARAM_STR("pool", &pool, PARAM_REQUIRED),
                                              PARAM_STR("volume", &volume, PARAM_REQUIRED),
                                              PARAM_BOOL("force", &force, PARAM_OPTIONAL)};
        int rc = control_parse(control_params(req), table, ARRAY_SIZE(table), &err);
        struct dvol *v = NULL;

        if (rc == 0) {
                snprintf(disk.pool, sizeof(disk.pool), "%s", pool);
                snprintf(disk.volume, sizeof(disk.volume), "%s", volume);
                v = find_disk(d, &disk, &err);
                rc = v ? 0 : -err.code;
        }
        struct acquire_op *op = rc == 0 ? calloc(1, sizeof(*op)) : NULL;
        if (!op) {
                control_refuse(req, rc < 0 ? rc : -ENOMEM, &err);
                return;
        }
        *op = (struct acquire_op){.r.done = acquired, .req = req, .v = v};
        owner_reclaim(migrate_volume_owner(v->migrate), force, &op->r);
}

/* ---- while pools are being imported ---- */

struct method {
        const char *name;
        control_handler handler;
        bool waits; /* needs to know the volumes: not before all pools are there */
        struct daemon *daemon;
};

/* A request that came too early: libvirt does not ask again when it is refused. */
struct parked {
        const struct method *method;
        struct control_request *req;
        struct loop_timer timer;
        uint64_t until_ns;
};

static void unpark(struct loop_timer *t)
{
        struct parked *k = container_of(t, struct parked, timer);
        const struct method *m = k->method;
        struct control_request *req = k->req;
        uint64_t now = loop_now_ns(m->daemon->loop);

        if (migration_importing(m->daemon) && now < k->until_ns && !m->daemon->stopping) {
                loop_timer_arm(m->daemon->loop, t, now + PARK_STEP_NS);
                return;
        }
        free(k);
        m->handler(req, m->daemon);
}

static void when_imported(struct control_request *req, void *ctx)
{
        const struct method *m = ctx;
        struct parked *k = migration_importing(m->daemon) ? calloc(1, sizeof(*k)) : NULL;

        if (!k) {
                m->handler(req, m->daemon);
                return;
        }
        uint64_t now = loop_now_ns(m->daemon->loop);
        *k = (struct parked){
            .method = m, .req = req, .timer.fire = unpark, .until_ns = now + PARK_NS};
        control_progress(req, "waiting for pools to be imported", 0, 0);
        loop_timer_arm(m->daemon->loop, &k->timer, now + PARK_STEP_NS);
}

int migration_register_methods(struct daemon *d)
{
        static struct method methods[] = {
            {"domain.seed", domain_seed, true, NULL},
            {"domain.released", domain_released, false, NULL},
            {"lock.acquire", lock_acquire, true, NULL},
            {"lock.inquire", lock_inquire, true, NULL},
            {"lock.release", lock_release, false, NULL},
            {"migrate.incoming", migrate_incoming_method, true, NULL},
            {"migrate.status", migrate_status_method, false, NULL},
            {"migrate.cancel", migrate_cancel_method, false, NULL},
            {"volume.reclaim", volume_reclaim, false, NULL},
        };
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(methods); i++) {
                methods[i].daemon = d;
                rc = control_register(d->control, methods[i].name,
                                      methods[i].waits ? when_imported : methods[i].handler,
                                      methods[i].waits ? (void *)&methods[i] : d);
        }
        return rc;
}
